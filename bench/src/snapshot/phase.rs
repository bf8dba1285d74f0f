//! One phase: callers that bind, something that happens meanwhile, and what it did to them and to memory.

use std::time::Duration;

use crate::callers::Window;
use crate::failure::Failure;
use crate::figures::Measured;
use crate::print::{Table, grouped, note};
use crate::process_figures::{forget_peak, memory};
use crate::snapshot::table::table_size;
use crate::stickler::{InNodes, SticklerCluster};

/// How long callers are at it before something happens.
const BEFORE: Duration = Duration::from_millis(300);

/// What all phases have in common.
pub struct Laboratory {
    /// Over all nodes.
    pub callers: usize,
    /// How long they call.
    pub window: Window,
    /// What each node took before the first session.
    pub empty: Vec<u64>,
    /// How many loads there were so far.
    pub loads: u64,
}

/// What was seen in one phase.
#[derive(Debug)]
pub struct Phase {
    name: &'static str,
    /// The callers' binds.
    pub measured: Measured,
    /// How long what happened meanwhile took.
    took: Duration,
    /// Of the nodes that ran throughout.
    nodes: Vec<NodeMemory>,
}

/// What a node took, in bytes.
#[derive(Clone, Copy, Debug)]
struct NodeMemory {
    empty: u64,
    before: u64,
    peak: u64,
    /// The table of as many sessions by itself, before and at the end.
    table_before: u64,
    table_after: u64,
}

impl NodeMemory {
    /// What the node had at most, beside what it had before and the table's own growth since, as a multiple
    /// of the table: 1 when it took nothing beside the table.
    fn beside_table(&self) -> f64 {
        let with_new_sessions = self.before + self.table_after.saturating_sub(self.table_before);
        1.0 + self.peak.saturating_sub(with_new_sessions) as f64 / self.table_after.max(1) as f64
    }

    /// All that sessions have cost the node, log, caches and free heap included, as a multiple of the table.
    fn whole(&self) -> f64 {
        self.peak.saturating_sub(self.empty) as f64 / self.table_after.max(1) as f64
    }
}

impl Laboratory {
    /// The first of numbers that no session has had.
    pub fn first_session(&mut self) -> u64 {
        self.loads += 1;
        self.loads << 40
    }

    /// Lets callers bind new sessions, and does `happens` meanwhile.
    ///
    /// # Errors
    /// [`Failure`], also when the callers were done first.
    pub async fn run(
        &mut self,
        name: &'static str,
        cluster: &mut SticklerCluster,
        happens: impl AsyncFnOnce(&mut SticklerCluster) -> Result<(), Failure>,
    ) -> Result<Phase, Failure> {
        note(name);
        let running: Vec<usize> = cluster.running().collect();
        // Its size does not grow evenly, so it is measured for each number of sessions.
        let table_before = table_size(sessions(cluster, &running).await?).await?;
        let mut nodes = Vec::new();
        for node in &running {
            let process = cluster.process_id(*node)?;
            forget_peak(process)?;
            let before = memory(process)?.now;
            let empty = self.empty[*node];
            nodes.push(NodeMemory { empty, before, peak: before, table_before, table_after: table_before });
        }
        let load = InNodes {
            callers: self.callers,
            offset: 0,
            window: self.window,
            first: self.first_session(),
            sessions: 1 << 32,
            again: false,
        };
        let callers = tokio::spawn(cluster.load(load));
        tokio::time::sleep(BEFORE).await;
        let clock = stickler_rt::Clock::start();
        happens(cluster).await?;
        let took = clock.now().0;
        if callers.is_finished() {
            return Err(Failure::Void(format!(
                "{name}: it took {took:?}, longer than --seconds; raise them"
            )));
        }
        let measured = callers.await.map_err(Failure::call("callers inside the nodes"))??;
        for (seen, node) in nodes.iter_mut().zip(&running) {
            seen.peak = memory(cluster.process_id(*node)?)?.peak;
        }
        let table_after = table_size(sessions(cluster, &running).await?).await?;
        nodes.iter_mut().for_each(|seen| seen.table_after = table_after);
        Ok(Phase { name, measured, took, nodes })
    }
}

/// How many sessions these nodes hold once they agree.
async fn sessions(cluster: &mut SticklerCluster, nodes: &[usize]) -> Result<u64, Failure> {
    cluster.settled().await?;
    match nodes.first() {
        Some(node) => Ok(cluster.status(*node).await?.sessions),
        None => Err(Failure::Void("no node runs".to_owned())),
    }
}

impl Phase {
    /// The largest of the nodes' multiples of the table: see [`NodeMemory::beside_table`].
    pub fn beside_table(&self) -> f64 {
        self.nodes.iter().map(NodeMemory::beside_table).fold(1.0, f64::max)
    }
}

/// Prints the phases side by side.
pub fn print(phases: &[&Phase]) {
    let mut table = Table::new([
        "snapshot",
        "took, s",
        "binds a second",
        "p50, ms",
        "p99, ms",
        "slowest, ms",
        "before, MB",
        "peak, MB",
        "memory : table",
        "all memory : table",
    ]);
    for phase in phases {
        let latencies = &phase.measured.latencies;
        let most = |of: fn(&NodeMemory) -> f64| phase.nodes.iter().map(of).fold(0.0, f64::max);
        table.add(vec![
            phase.name.to_owned(),
            format!("{:.2}", phase.took.as_secs_f64()),
            grouped(phase.measured.rate()),
            format!("{:.2}", latencies.quantile(0.5)),
            format!("{:.2}", latencies.quantile(0.99)),
            format!("{:.1}", latencies.slowest()),
            grouped(most(|node| node.before as f64 / 1e6)),
            grouped(most(|node| node.peak as f64 / 1e6)),
            format!("{:.2}", phase.beside_table()),
            format!("{:.2}", most(NodeMemory::whole)),
        ]);
    }
    table.print();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_sessions_are_not_counted_as_what_a_snapshot_takes() {
        let mega = 1_000_000;
        let node = NodeMemory {
            empty: 20 * mega,
            before: 170 * mega,
            peak: 200 * mega,
            table_before: 90 * mega,
            table_after: 100 * mega,
        };
        // 30 MB more, of which 10 MB are new sessions
        assert!((node.beside_table() - 1.2).abs() < 1e-9, "{}", node.beside_table());
        assert!((node.whole() - 1.8).abs() < 1e-9, "{}", node.whole());
    }
}
