//! `binds`: acknowledged durable binds a second, beside etcd's puts and compare-and-set transactions.

mod report;
mod steady;

use std::path::Path;
use std::time::Duration;

use crate::callers::{Sessions, Window, drive};
use crate::etcd::{self, EtcdCluster, Write};
use crate::failure::Failure;
use crate::figures::Measured;
use crate::print::{machine, note};
use crate::scratch::{ScratchOptions, empty_directory};
use crate::stickler::{InNodes, SticklerCluster};

pub use steady::{SteadyOptions, steady};

/// Nodes of Stickler, members of etcd.
const NODES: usize = 3;

/// More sessions than any point can bind: each has numbers of its own.
const SESSIONS_OF_A_POINT: u64 = 1 << 40;

/// How long is measured, and with how many callers.
#[derive(Clone, Debug, clap::Args)]
pub struct BindsOptions {
    /// Concurrent callers, over all three nodes
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256, 1024])]
    callers: Vec<usize>,
    /// Rounds; in each, every system starts on empty directories
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long one point is measured
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How long callers run before that
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    #[command(flatten)]
    scratch: ScratchOptions,
}

/// What is measured side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    InNodes,
    OneCallEach,
    EtcdPut,
    EtcdCompareAndSet,
}

impl Contender {
    const ALL: [Self; 4] = [Self::InNodes, Self::OneCallEach, Self::EtcdPut, Self::EtcdCompareAndSet];

    const fn name(self) -> &'static str {
        match self {
            Self::InNodes => "in the nodes",
            Self::OneCallEach => "one call each",
            Self::EtcdPut => "etcd put",
            Self::EtcdCompareAndSet => "etcd compare-and-set",
        }
    }
}

/// One contender's points in one round.
#[derive(Debug)]
struct Lap {
    contender: Contender,
    /// In the order of the callers.
    points: Vec<Measured>,
    /// Changes of leader from the first point to the last.
    leader_changes: u64,
    /// Of what was measured.
    version: String,
}

/// Runs the benchmark and prints its tables. Whether no leader has changed and no call has failed.
///
/// # Errors
/// [`Failure`].
pub async fn binds(options: &BindsOptions) -> Result<bool, Failure> {
    // Said before the first round, not in its middle.
    etcd::program()?;
    let place = options.scratch.place()?;
    let window = Window {
        warm_up: Duration::from_secs_f64(options.warm_up),
        measured: Duration::from_secs_f64(options.seconds),
    };
    let mut laps = Vec::new();
    for round in 0..options.rounds {
        // Whoever comes first in one round comes last in another.
        let order =
            (0..Contender::ALL.len()).map(|turn| Contender::ALL[(turn + round) % Contender::ALL.len()]);
        for contender in order {
            note(format_args!("round {} of {}: {}", round + 1, options.rounds, contender.name()));
            let directory = empty_directory(&place)?;
            let lap = run_lap(contender, directory.path(), &options.callers, round, window).await?;
            laps.push(lap);
        }
    }
    machine(Some(&place));
    report::print(&options.callers, options.rounds, window, &laps);
    Ok(laps.iter().all(|lap| lap.leader_changes == 0 && lap.points.iter().all(|point| point.failed == 0)))
}

async fn run_lap(
    contender: Contender,
    directory: &Path,
    callers: &[usize],
    round: usize,
    window: Window,
) -> Result<Lap, Failure> {
    match contender {
        Contender::InNodes | Contender::OneCallEach => {
            let cluster = SticklerCluster::start(directory, NODES).await?;
            let before = cluster.leadership().await?;
            let mut points = Vec::new();
            for (first, callers) in firsts(callers) {
                points.push(match contender {
                    Contender::InNodes => {
                        let sessions = SESSIONS_OF_A_POINT;
                        let load = InNodes { callers, offset: round, window, first, sessions, again: false };
                        cluster.load(load).await?
                    }
                    _ => drive(cluster.outside_callers(callers, round), sessions(first), window).await,
                });
            }
            let after = cluster.leadership().await?;
            cluster.stop().await?;
            let version = env!("CARGO_PKG_VERSION").to_owned();
            Ok(Lap { contender, points, leader_changes: after.term - before.term, version })
        }
        Contender::EtcdPut | Contender::EtcdCompareAndSet => {
            let write = if contender == Contender::EtcdPut { Write::Put } else { Write::CompareAndSet };
            let cluster = EtcdCluster::start(directory, NODES).await?;
            let version = cluster.version().await?;
            let before = cluster.term().await?;
            let mut points = Vec::new();
            for (first, callers) in firsts(callers) {
                points.push(drive(cluster.callers(write, callers, round), sessions(first), window).await);
            }
            let after = cluster.term().await?;
            cluster.stop().await?;
            Ok(Lap { contender, points, leader_changes: after - before, version })
        }
    }
}

/// Each point's callers, with the number of its first session.
fn firsts(callers: &[usize]) -> impl Iterator<Item = (u64, usize)> + '_ {
    (0..).map(|point| point * SESSIONS_OF_A_POINT).zip(callers.iter().copied())
}

fn sessions(first: u64) -> Sessions {
    Sessions::new(first, SESSIONS_OF_A_POINT, false)
}
