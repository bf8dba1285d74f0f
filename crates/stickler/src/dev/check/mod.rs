//! The check: virtual shoppers go through all nodes in turn while the leader and a backend are killed.

mod client;
mod record;
mod shopper;
mod table;
mod verdict;

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use stickler_rt::{Moment, Outside, Shutdown};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::rig::{Rig, RigError};
use super::terminal::say;
use record::{Run, Visit};
use shopper::{Kind, Shopper, Surroundings};
use verdict::Failure;

/// Shoppers that stay from the beginning to the end.
const SHOPPERS: usize = 60;
/// So often one looks in for a short time: each is a new bind.
const NEWCOMER_INTERVAL: Duration = Duration::from_millis(20);
/// Those who look in at the same time. More than come while an election lasts; should nobody be answered any
/// more, it ends somewhere.
const MOST_NEWCOMERS: usize = 512;
/// Shopping before anything is killed.
const BEFORE: Duration = Duration::from_secs(6);
/// Without the node that was the leader.
const WITHOUT_LEADER: Duration = Duration::from_secs(8);
/// With all nodes again.
const TOGETHER: Duration = Duration::from_secs(6);
/// Without the backend that was killed.
const WITHOUT_BACKEND: Duration = Duration::from_secs(10);
/// How long a cluster may take to say who leads, while nothing is wrong with it.
const LEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// The failures of one kind that are printed; there may be one for each request.
const FAILURES_SHOWN: usize = 5;

/// Why a check came to no verdict.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    #[error(transparent)]
    Rig(#[from] RigError),
    /// Nobody could be killed as the leader: see the nodes' logs.
    #[error("no node says that it leads within {LEADER_TIMEOUT:?}")]
    NoLeader,
    /// A process ended that nobody has killed: see its log.
    #[error("{0} ended with {1}, and nobody had killed it")]
    Ended(String, std::process::ExitStatus),
    /// A mistake in the check itself.
    #[error("a shopper ended by a panic")]
    ShopperPanicked,
}

/// Runs the check on a cluster that serves, and prints its table. Whether it passed.
pub(super) async fn run(rig: &mut Rig, outside: &Outside) -> Result<bool, CheckError> {
    let run = shop(rig, outside).await?;
    let verdict = verdict::judge(&run);
    say(format_args!("\n{}", table::render(&verdict.counts)));
    tell_failures(&verdict.failures);
    if verdict.failures.is_empty() {
        say("Passed.");
    }
    Ok(verdict.failures.is_empty())
}

/// A few of each kind, so that many of one don't hide another.
fn tell_failures(failures: &[Failure]) {
    let mut told: HashMap<Discriminant<Failure>, usize> = HashMap::new();
    for failure in failures {
        let count = told.entry(discriminant(failure)).or_default();
        *count += 1;
        if *count <= FAILURES_SHOWN {
            say(format_args!("FAILED: {failure}"));
        }
    }
    let more: usize = told.values().map(|count| count.saturating_sub(FAILURES_SHOWN)).sum();
    if more > 0 {
        say(format_args!("FAILED: and {more} more like these"));
    }
}

/// Lets shoppers in, kills, and notes everything.
async fn shop(rig: &mut Rig, outside: &Outside) -> Result<Run, CheckError> {
    let around = Surroundings {
        clock: outside.clock.clone(),
        network: Arc::clone(&outside.network),
        nodes: rig.plan().nodes.clone().into(),
        closing: Shutdown::new(),
    };
    let started = outside.clock.now();
    // Dropped with this future, they end with it.
    let mut shoppers = JoinSet::new();
    for number in 0..SHOPPERS {
        let kind = Kind::ALL[number % Kind::ALL.len()];
        // All kinds begin at all nodes.
        let first = (number / Kind::ALL.len()) % around.nodes.len();
        shoppers.spawn(Shopper::new(kind, format!("s{number}"), first, &around).stay());
    }
    let mut newcomers = JoinSet::new();
    newcomers.spawn(let_newcomers_in(outside.clone(), around.clone()));
    say(format_args!("{SHOPPERS} shoppers go through {} nodes in turn.", around.nodes.len()));

    let (backend_killed, dead_backend) = kill_in_turn(rig, outside, started).await?;
    let ended = outside.clock.now();
    around.closing.trigger();
    let mut visits = Vec::new();
    while let Some(visit) = shoppers.join_next().await {
        visits.push(visit.map_err(|_| CheckError::ShopperPanicked)?);
    }
    while let Some(visited) = newcomers.join_next().await {
        visits.extend(visited.map_err(|_| CheckError::ShopperPanicked)?);
    }
    nobody_else_died(rig)?;
    Ok(Run { started, ended, backend_killed, dead_backend, visits })
}

/// The leader, then, when it is back, a backend. When the backend was killed, and its name.
async fn kill_in_turn(
    rig: &mut Rig,
    outside: &Outside,
    started: Moment,
) -> Result<(Moment, String), CheckError> {
    let clock = &outside.clock;
    let tell = |what: &str| say(format_args!("{:>8}  {what}", verdict::seconds(clock.now().since(started))));
    clock.sleep(BEFORE).await;
    let leader = find_leader(rig, outside).await?;
    let name = rig.plan().nodes[leader].name();
    rig.kill_node(leader).await?;
    tell(&format!("{name}, the leader, was killed"));
    clock.sleep(WITHOUT_LEADER).await;
    rig.start_node_again(leader)?;
    rig.wait_until_ready(leader).await?;
    tell(&format!("{name} is back"));
    clock.sleep(TOGETHER).await;
    nobody_else_died(rig)?;

    let backend = outside.seed.child("dead backend").rng().random_range(0..rig.plan().backends.len());
    let name = rig.plan().backends[backend].name.clone();
    let killed = clock.now();
    rig.kill_backend(backend).await?;
    tell(&format!("{name}, a backend, was killed"));
    clock.sleep(WITHOUT_BACKEND).await;
    Ok((killed, name))
}

async fn find_leader(rig: &Rig, outside: &Outside) -> Result<usize, CheckError> {
    let deadline = outside.clock.now() + LEADER_TIMEOUT;
    loop {
        if let Some(leader) = rig.leader().await {
            return Ok(leader);
        }
        if outside.clock.now() >= deadline {
            return Err(CheckError::NoLeader);
        }
        outside.clock.sleep(Duration::from_millis(50)).await;
    }
}

/// A death that nobody ordered would make the rest of the run worthless.
fn nobody_else_died(rig: &mut Rig) -> Result<(), CheckError> {
    match rig.newly_ended().pop() {
        Some((process, status)) => Err(CheckError::Ended(process, status)),
        None => Ok(()),
    }
}

/// Starts new sessions at regular times, whether or not those before were answered; returns what they saw
/// when all have left after closing.
async fn let_newcomers_in(outside: Outside, around: Surroundings) -> Vec<Visit> {
    let room = Arc::new(Semaphore::new(MOST_NEWCOMERS));
    let mut rng = outside.seed.child("newcomers").rng();
    let mut inside = JoinSet::new();
    let mut visits = Vec::new();
    let mut next = outside.clock.now();
    for number in 0_usize.. {
        tokio::select! {
            () = outside.clock.sleep_until(next) => next = next + NEWCOMER_INTERVAL,
            () = around.closing.wait() => break,
        }
        // One that panicked is missed in the table, and its message is on standard error.
        visits.extend(std::iter::from_fn(|| inside.try_join_next()).flatten());
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let kind = Kind::ALL[number % Kind::ALL.len()];
        let first = rng.random_range(0..around.nodes.len());
        let newcomer = Shopper::new(kind, format!("n{number}"), first, &around);
        inside.spawn(async move {
            let visit = newcomer.look_in().await;
            drop(place);
            visit
        });
    }
    visits.extend(inside.join_all().await);
    visits
}
