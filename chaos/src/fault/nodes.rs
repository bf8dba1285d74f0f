//! Faults of nodes' processes.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::Field;
use crate::history::event::Effect;
use crate::rig::{NODES, RigError};

/// How long a node is dead or stopped, in milliseconds.
pub(super) const AWAY: std::ops::Range<u64> = 500..7000;

/// Longest wait for a node that was told to stop.
const STOP: Duration = Duration::from_secs(45);

pub(super) fn away(node: usize) -> Effect {
    Effect::NodeAway { node: id(node) }
}

pub(super) fn id(node: usize) -> u64 {
    node as u64 + 1
}

pub(super) async fn kill(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let node = random.random_range(0..NODES);
    kill_one(field, random, "kill", node).await
}

pub(super) async fn kill_leader(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let leader = field.leader().await;
    kill_one(field, random, "kill-leader", leader).await
}

async fn kill_one(field: &Field, random: &mut StdRng, name: &str, node: usize) -> Result<(), RigError> {
    let begun = field.begin(name, format!("node {}", id(node)), vec![away(node)]);
    field.rig.lock().await.kill(&[node]).await?;
    field.hold(random, AWAY).await;
    field.rig.lock().await.restart(node)?;
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

pub(super) async fn kill_all(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let all: Vec<usize> = (0..NODES).collect();
    let effects = all.iter().map(|node| away(*node)).collect();
    let begun = field.begin("kill-all", "all nodes".to_owned(), effects);
    field.rig.lock().await.kill(&all).await?;
    field.hold(random, 200..2000).await;
    for node in all {
        field.rig.lock().await.restart(node)?;
    }
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

pub(super) async fn pause(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let node = random.random_range(0..NODES);
    pause_one(field, random, "pause", node).await
}

pub(super) async fn pause_leader(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let leader = field.leader().await;
    pause_one(field, random, "pause-leader", leader).await
}

async fn pause_one(field: &Field, random: &mut StdRng, name: &str, node: usize) -> Result<(), RigError> {
    let begun = field.begin(name, format!("node {}", id(node)), vec![away(node)]);
    field.rig.lock().await.pause(node)?;
    field.hold(random, AWAY).await;
    field.rig.lock().await.resume(node)?;
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

/// Orders can be refused while a node is far behind or packets are lost, but not all of them.
pub(super) async fn hand_over(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let begun = field.begin("hand-over", "by operators".to_owned(), vec![]);
    let mut refused = Vec::new();
    let orders = random.random_range(3..6);
    for _ in 0..orders {
        let (asked, heir) = (random.random_range(0..NODES), random.random_range(0..NODES));
        let mut admin = field.rig.lock().await.admin(asked).clone();
        if let Err(error) = admin.hand_over(id(heir)).await {
            refused.push(format!("node {} to node {}: {error}", id(asked), id(heir)));
        }
        field.hold(random, 200..1500).await;
    }
    if refused.len() == orders {
        field.fail(format!("leadership was never handed over: {}", refused.join("; ")));
    }
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

pub(super) async fn roll(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let effects = (0..NODES).map(away).collect();
    let begun = field.begin("rolling-restart", "one node after the other".to_owned(), effects);
    let first = random.random_range(0..NODES);
    for turn in 0..NODES {
        let node = (first + turn) % NODES;
        stop(field, node).await?;
        field.rig.lock().await.restart(node)?;
        if let Err(seen) = field.until_ready(super::field::RECOVERY).await {
            field.fail(format!("rolling-restart: node {} did not come back: {seen}", id(node)));
        }
    }
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

/// Tells a node to stop, and kills it when it does not.
async fn stop(field: &Field, node: usize) -> Result<(), RigError> {
    field.let_end(node, true);
    field.rig.lock().await.terminate(node)?;
    let ended = async {
        while field.rig.lock().await.is_meant_to_run(node) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(STOP, ended).await.is_err() {
        field.fail(format!("node {} did not stop within {STOP:?} of SIGTERM", id(node)));
        field.rig.lock().await.kill(&[node]).await?;
    }
    field.let_end(node, false);
    Ok(())
}
