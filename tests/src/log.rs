//! Log output of tests, off unless `RUST_LOG` asks for it.

use tracing_subscriber::EnvFilter;

/// Shows log lines of this test when `RUST_LOG` is set. May be called by every test.
pub fn start() {
    if std::env::var_os(EnvFilter::DEFAULT_ENV).is_none() {
        return;
    }
    let filter = EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}
