//! `snapshot`: what a snapshot of a million sessions costs the binds that go on meanwhile, while it is taken
//! and while it is sent to a node that was away too long.

mod files;
mod phase;
mod table;

use std::time::Duration;

use crate::callers::Window;
use crate::child::{PATIENCE, until};
use crate::failure::Failure;
use crate::print::{grouped, machine, note, out};
use crate::process_figures::memory;
use crate::scratch::{ScratchOptions, empty_directory};
use crate::stickler::{InNodes, SticklerCluster};

use files::Snapshots;
use phase::{Laboratory, Phase};
pub use table::{TableOptions, print_table_size};

/// Nodes of the cluster.
const NODES: usize = 3;

/// Callers that fill the table.
const FILLING: usize = 256;

/// A bind may take as long, in milliseconds.
const SLOWEST: f64 = 100.0;

/// What a node may have beside its table, as a multiple of it.
const MEMORY: f64 = 1.3;

/// By how many entries a node is behind when it comes back: any, since a snapshot that was asked for leaves no
/// log before it.
const BEHIND: u64 = 500;

/// How large the table is, and what goes on meanwhile.
#[derive(Clone, Debug, clap::Args)]
pub struct SnapshotOptions {
    /// Sessions in the table
    #[arg(long, default_value_t = 1_000_000)]
    sessions: u64,
    /// Concurrent callers inside the nodes meanwhile
    #[arg(long, default_value_t = 64)]
    callers: usize,
    /// How long they call in each phase; a snapshot must be done within this time
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[command(flatten)]
    scratch: ScratchOptions,
}

/// Runs it and prints what was seen. Whether both bars held.
///
/// # Errors
/// [`Failure`].
pub async fn snapshot(options: &SnapshotOptions) -> Result<bool, Failure> {
    let place = options.scratch.place()?;
    let table = table::table_size(options.sessions).await?;
    note(format_args!("a table of {} sessions takes {} MB by itself", options.sessions, table / 1_000_000));
    let directory = empty_directory(&place)?;
    let mut cluster = SticklerCluster::start(directory.path(), NODES).await?;
    let mut empty = Vec::new();
    for node in 0..NODES {
        empty.push(memory(cluster.process_id(node)?)?.now);
    }
    let window = Window { warm_up: Duration::ZERO, measured: Duration::from_secs_f64(options.seconds) };
    let mut laboratory = Laboratory { callers: options.callers, window, empty, loads: 0 };
    fill(&cluster, &mut laboratory, options.sessions).await?;

    let without = laboratory.run("without a snapshot", &mut cluster, async |_| Ok(())).await?;
    files::quiet(&cluster).await?;
    let taken = laboratory.run("taken by all nodes", &mut cluster, async |cluster| cluster.compact().await);
    let taken = taken.await?;
    let away = send_away(&mut cluster, &mut laboratory).await?;
    let sent = laboratory
        .run("sent to one that was away", &mut cluster, async |cluster| catch_up(cluster, &away).await);
    let sent = sent.await?;

    machine(Some(&place));
    out(format_args!(
        "{} sessions: a table of {} MB; {} callers inside {NODES} nodes for {:.1} s in each phase",
        grouped(options.sessions as f64),
        table / 1_000_000,
        options.callers,
        options.seconds,
    ));
    cluster.stop().await?;
    phase::print(&[&without, &taken, &sent]);
    Ok(judge(&[&taken, &sent]))
}

/// Binds the sessions, and waits until the snapshots that this led to are done.
async fn fill(cluster: &SticklerCluster, laboratory: &mut Laboratory, sessions: u64) -> Result<(), Failure> {
    note("filling the table");
    let first = laboratory.first_session();
    let window = Window { warm_up: Duration::ZERO, measured: Duration::from_secs(600) };
    let load = InNodes { callers: FILLING, offset: 0, window, first, sessions, again: false };
    let filled = cluster.load(load).await?;
    if filled.done != sessions {
        let failure = filled.first_failure.unwrap_or_else(|| "out of time".to_owned());
        return Err(Failure::Void(format!(
            "only {} of {sessions} sessions are bound: {failure}",
            filled.done
        )));
    }
    files::quiet(cluster).await
}

/// A node that was killed, and what it had missed when it is started again.
struct Away {
    node: usize,
    /// The leader's snapshot that it needs.
    snapshot: String,
}

/// Kills a follower, and goes on until the others have forgotten the log that it needs.
async fn send_away(cluster: &mut SticklerCluster, laboratory: &mut Laboratory) -> Result<Away, Failure> {
    files::quiet(cluster).await?;
    let leader = leader(cluster).await?;
    let node = (leader + 1) % NODES;
    note(format_args!("node {} is away until it is {BEHIND} entries behind", node + 1));
    let has = cluster.status(node).await?.applied;
    cluster.kill_node(node).await?;
    while cluster.status(leader).await?.applied < has + BEHIND {
        let window = Window { warm_up: Duration::ZERO, measured: Duration::from_millis(500) };
        let first = laboratory.first_session();
        // One caller at each node: many entries, few sessions.
        let load = InNodes { callers: 2, offset: 0, window, first, sessions: 1 << 32, again: false };
        let kept_on = cluster.load(load).await?;
        if let Some(failure) = kept_on.first_failure {
            return Err(Failure::Void(format!("binds failed while one of three nodes was away: {failure}")));
        }
    }
    cluster.compact().await?;
    files::quiet(cluster).await?;
    let snapshots = Snapshots::of(cluster.directory(leader))?;
    let snapshot =
        snapshots.newest().ok_or_else(|| Failure::Void("the leader has no snapshot".to_owned()))?;
    Ok(Away { node, snapshot: snapshot.to_owned() })
}

/// Starts the node again, and waits until it has what the leader had then.
async fn catch_up(cluster: &mut SticklerCluster, away: &Away) -> Result<(), Failure> {
    let wanted = cluster.status(leader(cluster).await?).await?.applied;
    cluster.start_node(away.node)?;
    let mut was_sent = false;
    until("the node that was away to catch up", PATIENCE, async || {
        was_sent |= Snapshots::of(cluster.directory(away.node))?.has(&away.snapshot);
        // It answers nobody before it has started.
        let caught_up = cluster.status(away.node).await.is_ok_and(|status| status.applied >= wanted);
        Ok(caught_up.then_some(()))
    })
    .await?;
    if was_sent { Ok(()) } else { Err(Failure::Void("the node was sent the log, not a snapshot".to_owned())) }
}

async fn leader(cluster: &SticklerCluster) -> Result<usize, Failure> {
    let leader = cluster.leadership().await?.leader;
    leader.ok_or_else(|| Failure::Void("nobody leads".to_owned()))
}

/// Prints whether the bars held.
fn judge(phases: &[&Phase]) -> bool {
    let slowest = phases.iter().map(|phase| phase.measured.latencies.slowest()).fold(0.0, f64::max);
    let memory = phases.iter().map(|phase| phase.beside_table()).fold(0.0, f64::max);
    let failed: u64 = phases.iter().map(|phase| phase.measured.failed).sum();
    let verdict = |held: bool| if held { "held" } else { "NOT HELD" };
    out(format_args!(
        "no bind slower than {SLOWEST:.0} ms: slowest {slowest:.1} ms: {}",
        verdict(slowest <= SLOWEST)
    ));
    out(format_args!(
        "memory below {MEMORY} times the table's own: {memory:.2}: {}",
        verdict(memory < MEMORY)
    ));
    out(format_args!("no bind fails: {failed} failed: {}", verdict(failed == 0)));
    slowest <= SLOWEST && memory < MEMORY && failed == 0
}
