//! Faults of the network between nodes, and between them and clients.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::Field;
use super::nodes::id;
use crate::history::event::Effect;
use crate::rig::network::{Condition, End};
use crate::rig::{NODES, RigError};

/// How long the network is broken, in milliseconds.
const BROKEN: std::ops::Range<u64> = 1000..9000;

fn isolated(node: usize) -> Effect {
    Effect::Isolated { node: id(node) }
}

fn others(node: usize) -> impl Iterator<Item = usize> {
    (0..NODES).filter(move |other| *other != node)
}

pub(super) async fn partition(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let node = random.random_range(0..NODES);
    cut_off(field, random, "partition", node).await
}

pub(super) async fn leader_alone(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let leader = field.leader().await;
    cut_off(field, random, "leader-alone", leader).await
}

async fn cut_off(field: &Field, random: &mut StdRng, name: &str, node: usize) -> Result<(), RigError> {
    let begun = field.begin(name, format!("node {}", id(node)), vec![isolated(node)]);
    set_all(field, node, Condition::Dropped, Condition::Dropped).await?;
    field.hold(random, BROKEN).await;
    set_all(field, node, Condition::Open, Condition::Open).await?;
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

pub(super) async fn one_way(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    in_one_direction(field, random, "one-way", Condition::Dropped, Condition::Open).await
}

pub(super) async fn deaf(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    in_one_direction(field, random, "deaf", Condition::Open, Condition::Dropped).await
}

async fn in_one_direction(
    field: &Field,
    random: &mut StdRng,
    name: &str,
    sends: Condition,
    receives: Condition,
) -> Result<(), RigError> {
    let node = if random.random_ratio(1, 2) { field.leader().await } else { random.random_range(0..NODES) };
    let begun = field.begin(name, format!("node {}", id(node)), vec![isolated(node)]);
    set_all(field, node, sends, receives).await?;
    field.hold(random, BROKEN).await;
    set_all(field, node, Condition::Open, Condition::Open).await?;
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

pub(super) async fn flapping(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let node = random.random_range(0..NODES);
    let begun = field.begin("flapping", format!("node {}", id(node)), vec![isolated(node)]);
    for _ in 0..random.random_range(4..12) {
        set_all(field, node, Condition::Dropped, Condition::Dropped).await?;
        field.hold(random, 100..1200).await;
        set_all(field, node, Condition::Open, Condition::Open).await?;
        field.hold(random, 100..1200).await;
    }
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

pub(super) async fn bridge(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let between = random.random_range(0..NODES);
    let apart: Vec<usize> = others(between).collect();
    let effects = apart.iter().map(|node| isolated(*node)).collect();
    let begun = field.begin("bridge", format!("node {} is between the others", id(between)), effects);
    let ends = (End::Node(id(apart[0])), End::Node(id(apart[1])));
    field.rig.lock().await.set_both_ways(ends.0, ends.1, Condition::Dropped)?;
    field.hold(random, BROKEN).await;
    field.rig.lock().await.set_both_ways(ends.0, ends.1, Condition::Open)?;
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

pub(super) async fn resets(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let effects = (0..NODES).map(isolated).collect();
    let begun = field.begin("resets", "between all nodes".to_owned(), effects);
    for _ in 0..random.random_range(3..10) {
        between_all(field, Condition::Cut).await?;
        // Long enough for every connection to notice.
        tokio::time::sleep(Duration::from_millis(20)).await;
        between_all(field, Condition::Open).await?;
        field.hold(random, 100..900).await;
    }
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

pub(super) async fn clients_cut_off(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let node = random.random_range(0..NODES);
    let begun = field.begin("clients-cut-off", format!("node {}", id(node)), vec![]);
    let end = End::Node(id(node));
    field.rig.lock().await.set_both_ways(End::Clients, end, Condition::Dropped)?;
    field.hold(random, BROKEN).await;
    field.rig.lock().await.set_both_ways(End::Clients, end, Condition::Open)?;
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

pub(super) async fn slow(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let delay = Duration::from_millis(random.random_range(1..12));
    let rate = random.random_ratio(1, 2).then_some(1 << 20);
    let detail = format!("{delay:?} one way{}", rate.map_or("", |_| ", 1 MiB a second"));
    weather(field, random, "slow-links", detail, Condition::Slow { delay, rate }).await
}

pub(super) async fn far(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let delay = Duration::from_millis(random.random_range(15..=40));
    let condition = Condition::Slow { delay, rate: None };
    weather(field, random, "far-links", format!("{delay:?} one way"), condition).await
}

pub(super) async fn lossy(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let percent = random.random_range(1..6);
    weather(field, random, "lossy-links", format!("{percent} %"), Condition::Lossy { percent }).await
}

/// Breaks only ways that are whole: others may be cut at the same time, and mended meanwhile.
async fn weather(
    field: &Field,
    random: &mut StdRng,
    name: &str,
    detail: String,
    condition: Condition,
) -> Result<(), RigError> {
    let effects = (0..NODES).map(isolated).collect();
    let begun = field.begin(name, detail, effects);
    field.rig.lock().await.set_fair_weather(condition)?;
    field.hold(random, 3000..12000).await;
    field.rig.lock().await.set_fair_weather(Condition::Open)?;
    field.healed(&begun);
    field.over(&begun);
    Ok(())
}

async fn between_all(field: &Field, condition: Condition) -> Result<(), RigError> {
    let mut rig = field.rig.lock().await;
    for one in 0..NODES {
        for other in one + 1..NODES {
            rig.set_both_ways(End::Node(id(one)), End::Node(id(other)), condition)?;
        }
    }
    Ok(())
}

async fn set_all(field: &Field, node: usize, sends: Condition, receives: Condition) -> Result<(), RigError> {
    let mut rig = field.rig.lock().await;
    for other in others(node) {
        let (own, other) = (End::Node(id(node)), End::Node(id(other)));
        rig.set_way(own, other, sends)?;
        rig.set_way(other, own, receives)?;
    }
    Ok(())
}
