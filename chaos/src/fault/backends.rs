//! Faults of backends, and of the ways to them.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::Field;
use super::nodes::id;
use crate::history::event::Effect;
use crate::rig::backend::Pace;
use crate::rig::network::{Condition, End};
use crate::rig::{NODES, RigError};

/// How long a backend is away, in milliseconds.
const AWAY: std::ops::Range<u64> = 500..6000;

fn one(field: &Field, random: &mut StdRng) -> (usize, String, Vec<Effect>) {
    let place = random.random_range(0..field.backends.len());
    let backend = field.backends[place].clone();
    (place, backend.clone(), vec![Effect::BackendAway { backend }])
}

pub(super) async fn kill(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let (place, name, effects) = one(field, random);
    let begun = field.begin("backend-kill", name, effects);
    field.rig.lock().await.kill_backend(place).await;
    field.hold(random, AWAY).await;
    field.rig.lock().await.start_backend(place).await?;
    field.healed(&begun);
    field.over(&begun);
    Ok(())
}

pub(super) async fn restart(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let (place, name, effects) = one(field, random);
    let begun = field.begin("backend-restart", name, effects);
    let mut rig = field.rig.lock().await;
    rig.kill_backend(place).await;
    rig.start_backend(place).await?;
    drop(rig);
    field.healed(&begun);
    field.over(&begun);
    Ok(())
}

pub(super) async fn flap(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let (place, name, effects) = one(field, random);
    let begun = field.begin("backend-flap", name, effects);
    for _ in 0..random.random_range(3..8) {
        field.rig.lock().await.kill_backend(place).await;
        field.hold(random, 50..800).await;
        field.rig.lock().await.start_backend(place).await?;
        field.hold(random, 50..1500).await;
    }
    field.healed(&begun);
    field.over(&begun);
    Ok(())
}

pub(super) async fn pause(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let (place, name, effects) = one(field, random);
    paced(field, random, "backend-pause", (place, name, effects), Pace::Stopped).await
}

pub(super) async fn slow(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let (place, name, effects) = one(field, random);
    let delay = Duration::from_millis(random.random_range(100..900));
    paced(field, random, "backend-slow", (place, format!("{name}, {delay:?}"), effects), Pace::Slow(delay))
        .await
}

async fn paced(
    field: &Field,
    random: &mut StdRng,
    name: &str,
    (place, detail, effects): (usize, String, Vec<Effect>),
    pace: Pace,
) -> Result<(), RigError> {
    let begun = field.begin(name, detail, effects);
    field.rig.lock().await.set_backend_pace(place, pace);
    field.hold(random, AWAY).await;
    field.rig.lock().await.set_backend_pace(place, Pace::Usual);
    field.healed(&begun);
    field.over(&begun);
    Ok(())
}

pub(super) async fn blind(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let node = random.random_range(0..NODES);
    let (place, backend, _) = one(field, random);
    let condition = if random.random_ratio(1, 2) { Condition::Dropped } else { Condition::Cut };
    let effects = vec![Effect::Blind { node: id(node), backend: backend.clone() }];
    let begun = field.begin("blind", format!("node {}, {backend}, {condition:?}", id(node)), effects);
    let ends = (End::Node(id(node)), End::Backend(place));
    field.rig.lock().await.set_both_ways(ends.0, ends.1, condition)?;
    field.hold(random, AWAY).await;
    field.rig.lock().await.set_both_ways(ends.0, ends.1, Condition::Open)?;
    field.healed(&begun);
    field.over(&begun);
    Ok(())
}
