//! `steady`: a minute of binds in which no leader may change.

use std::collections::BTreeSet;
use std::time::Duration;

use super::NODES;
use crate::callers::Window;
use crate::failure::Failure;
use crate::print::{grouped, machine, out};
use crate::scratch::{ScratchOptions, empty_directory};
use crate::stickler::{InNodes, SticklerCluster};

/// How often every node is asked who leads.
const LOOK: Duration = Duration::from_millis(100);

/// How long, and with how many callers.
#[derive(Clone, Debug, clap::Args)]
pub struct SteadyOptions {
    /// Concurrent callers inside the nodes, over all three
    #[arg(long, default_value_t = 1024)]
    callers: usize,
    /// How long
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// How many different sessions are bound; after the last one, binds ask for those that are there
    #[arg(long, default_value_t = 4_000_000)]
    sessions: u64,
    #[command(flatten)]
    scratch: ScratchOptions,
}

/// Runs it and prints what happened. Whether term and leader stayed the same and no bind failed.
///
/// # Errors
/// [`Failure`].
pub async fn steady(options: &SteadyOptions) -> Result<bool, Failure> {
    let place = options.scratch.place()?;
    let directory = empty_directory(&place)?;
    let cluster = SticklerCluster::start(directory.path(), NODES).await?;
    let load = InNodes {
        callers: options.callers,
        offset: 0,
        window: Window { warm_up: Duration::ZERO, measured: Duration::from_secs_f64(options.seconds) },
        first: 0,
        sessions: options.sessions,
        again: true,
    };
    let mut seen = BTreeSet::from([cluster.leadership().await?]);
    let mut loading = std::pin::pin!(cluster.load(load));
    let measured = loop {
        tokio::select! {
            measured = &mut loading => break measured?,
            () = tokio::time::sleep(LOOK) => {
                seen.insert(cluster.leadership().await?);
            }
        }
    };
    seen.insert(cluster.leadership().await?);

    cluster.stop().await?;
    machine(Some(&place));
    out(format_args!(
        "{} callers inside {NODES} nodes for {:.0} s: {} binds a second, p50 {:.2} ms, p99 {:.2} ms, slowest {:.0} ms",
        options.callers,
        measured.seconds,
        grouped(measured.rate()),
        measured.latencies.quantile(0.5),
        measured.latencies.quantile(0.99),
        measured.latencies.slowest(),
    ));
    let first = measured.first_failure.map(|first| format!(", the first: {first}")).unwrap_or_default();
    let changes = seen.len() - 1;
    out(format_args!("{changes} changes of term or leader, {} failed{first}", measured.failed));
    for leadership in &seen {
        let leader = leadership.leader.map_or("nobody".to_owned(), |leader| format!("node {}", leader + 1));
        out(format_args!("  term {}, led by {leader}", leadership.term));
    }
    Ok(changes == 0 && measured.failed == 0)
}
