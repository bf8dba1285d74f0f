//! Faults of nodes' disks and clocks.

use std::io;

use rand::Rng;
use rand::rngs::StdRng;

use super::Field;
use super::nodes::{AWAY, away, id};
use crate::rig::preload::Control;
use crate::rig::{NODES, RigError};

/// How long a clock is wrong or a disk slow, in milliseconds.
const LONG: std::ops::Range<u64> = 3000..12000;

pub(super) async fn power_cut(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let node = random.random_range(0..NODES);
    let begun = field.begin("power-cut", format!("node {}", id(node)), vec![away(node)]);
    cut(field, &[node]).await?;
    field.hold(random, AWAY).await;
    field.rig.lock().await.restart(node)?;
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

pub(super) async fn power_cut_all(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let all: Vec<usize> = (0..NODES).collect();
    let effects = all.iter().map(|node| away(*node)).collect();
    let begun = field.begin("power-cut-all", "all nodes".to_owned(), effects);
    cut(field, &all).await?;
    field.hold(random, 200..2000).await;
    for node in all {
        field.rig.lock().await.restart(node)?;
    }
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

async fn cut(field: &Field, nodes: &[usize]) -> Result<(), RigError> {
    let mut rig = field.rig.lock().await;
    rig.kill(nodes).await?;
    for node in nodes {
        rig.lose_unsynced(*node)?;
    }
    Ok(())
}

pub(super) async fn sync_fails(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    disk_fault(field, random, "sync-fails", |control, broken| control.set_syncs_fail(broken)).await
}

pub(super) async fn disk_full(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    disk_fault(field, random, "disk-full", |control, broken| control.set_no_space(broken)).await
}

/// A node whose disk has failed may end, or go on without its part in consensus; a person starts it again.
async fn disk_fault(
    field: &Field,
    random: &mut StdRng,
    name: &str,
    set: fn(&mut Control, bool) -> io::Result<()>,
) -> Result<(), RigError> {
    let node = random.random_range(0..NODES);
    let begun = field.begin(name, format!("node {}", id(node)), vec![away(node)]);
    field.let_end(node, true);
    with_control(field, node, |control| set(control, true)).await?;
    field.hold(random, 1000..7000).await;
    field.rig.lock().await.kill(&[node]).await?;
    with_control(field, node, |control| set(control, false)).await?;
    field.let_end(node, false);
    field.rig.lock().await.restart(node)?;
    field.healed(&begun);
    field.recovered(begun).await;
    Ok(())
}

pub(super) async fn slow_disk(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let node = random.random_range(0..NODES);
    let milliseconds = random.random_range(5..60);
    let begun = field.begin("slow-disk", format!("node {}, {milliseconds} ms a sync", id(node)), vec![]);
    with_control(field, node, |control| control.set_sync_delay(milliseconds * 1000)).await?;
    field.hold(random, LONG).await;
    with_control(field, node, |control| control.set_sync_delay(0)).await?;
    field.healed(&begun);
    field.over(&begun);
    Ok(())
}

pub(super) async fn wall_clock(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let node = random.random_range(0..NODES);
    let seconds = random.random_range(-100_000..100_000);
    let begun = field.begin("wall-clock", format!("node {}, {seconds} s", id(node)), vec![]);
    with_control(field, node, |control| control.set_wall_clock_ahead(seconds)).await?;
    field.hold(random, LONG).await;
    with_control(field, node, |control| control.set_wall_clock_ahead(0)).await?;
    field.healed(&begun);
    field.over(&begun);
    Ok(())
}

pub(super) async fn clock_rate(field: &Field, random: &mut StdRng) -> Result<(), RigError> {
    let node = random.random_range(0..NODES);
    let millionths = random.random_range(-20_000..20_000);
    let begun = field.begin("clock-rate", format!("node {}, {millionths} millionths", id(node)), vec![]);
    with_control(field, node, |control| control.set_clock_rate(millionths)).await?;
    field.hold(random, LONG).await;
    with_control(field, node, |control| control.set_clock_rate(0)).await?;
    field.healed(&begun);
    field.over(&begun);
    Ok(())
}

async fn with_control(
    field: &Field,
    node: usize,
    change: impl FnOnce(&mut Control) -> io::Result<()>,
) -> Result<(), RigError> {
    let mut rig = field.rig.lock().await;
    rig.control(node).map_or(Ok(()), change)?;
    Ok(())
}
