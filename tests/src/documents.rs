//! Cluster documents for tests.

use std::net::SocketAddr;

use stickler_core::document::check_cluster;
use stickler_core::document::cluster::ClusterDocument;

/// A document with one pool of these backends and one affinity by the header `x-session`.
///
/// # Panics
/// When the text is not a valid document, which is a mistake of this function.
#[must_use]
pub fn by_header(backends: &[SocketAddr]) -> ClusterDocument {
    let backends: String = backends
        .iter()
        .enumerate()
        .map(|(number, address)| {
            format!("[[pool.backend]]\nname = \"web-{}\"\naddress = \"{address}\"\n", number + 1)
        })
        .collect();
    let text = format!(
        r#"
version = 1
[[listener]]
name = "public"
address = "127.0.0.1:0"
[[pool]]
name = "shop"
{backends}
[[affinity]]
name = "cart"
[[affinity.by]]
method = "header"
name = "X-Session"
[[route]]
name = "shop"
path_prefix = "/"
pool = "shop"
affinity = "cart"
"#
    );
    check_cluster("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The text of a document with these backends as `web-1`, `web-2`, … and one affinity with these methods,
/// each a few lines of TOML below `[[affinity.by]]`.
#[must_use]
pub fn text(backends: &[SocketAddr], methods: &[&str]) -> String {
    with_settings(backends, methods, "", "")
}

/// As [`text`], with lines of its own for the listener.
#[must_use]
pub fn with_listener(backends: &[SocketAddr], methods: &[&str], listener: &str) -> String {
    written(backends, methods, listener, "", "")
}

/// As [`text`], with lines of their own for the pool, for its check, and for the affinity.
#[must_use]
pub fn with_failover(backends: &[SocketAddr], pool: &str, check: &str, affinity: &str) -> String {
    let text = written(backends, &[HEADER], "", affinity, "");
    let text = text.replacen("name = \"shop\"\n", &format!("name = \"shop\"\n{pool}\n"), 1);
    text.replacen("fall = 2\n", &format!("fall = 2\n{check}\n"), 1)
}

/// As [`text`], with lines of their own for the affinity and for every backend.
#[must_use]
pub fn with_settings(backends: &[SocketAddr], methods: &[&str], affinity: &str, backend: &str) -> String {
    written(backends, methods, "", affinity, backend)
}

fn written(
    backends: &[SocketAddr],
    methods: &[&str],
    listener: &str,
    affinity: &str,
    backend: &str,
) -> String {
    let backends: String = backends
        .iter()
        .enumerate()
        .map(|(number, address)| {
            let name = number + 1;
            format!("[[pool.backend]]\nname = \"web-{name}\"\naddress = \"{address}\"\n{backend}\n")
        })
        .collect();
    let methods: String = methods.iter().map(|method| format!("[[affinity.by]]\n{method}\n")).collect();
    format!(
        r#"
version = 1
[limits]
debug_headers = true
[[listener]]
name = "public"
address = "127.0.0.1:1"
{listener}
[[pool]]
name = "shop"
[pool.check]
path = "/health"
interval = "300ms"
timeout = "250ms"
rise = 1
fall = 2
{backends}
[[affinity]]
name = "cart"
{affinity}
{methods}
[[route]]
name = "shop"
path_prefix = "/"
pool = "shop"
affinity = "cart"
"#
    )
}

/// The application's cookie.
pub const APPLICATION_COOKIE: &str = "method = \"application-cookie\"\nname = \"SHOPSESSION\"";
/// Stickler's cookie.
pub const OWN_COOKIE: &str = "method = \"cookie\"\nname = \"STICKLER\"";
/// A header.
pub const HEADER: &str = "method = \"header\"\nname = \"X-Session\"";
/// The source address.
pub const SOURCE: &str = "method = \"source-address\"";
