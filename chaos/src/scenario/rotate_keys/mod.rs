//! Sealing keys that are rotated again and again, while clients shop through nodes of which one learns late.

mod shopper;

use std::time::Duration;

use rand::Rng;
use stickler_rt::Shutdown;
use tokio::task::JoinSet;

use super::routing::report_witness;
use super::{Scenario, ScenarioError, Stage};
use crate::report::Report;
use crate::rig::plan::Layout;
use crate::rig::{NODES, Rig, RigError, Setting};
use shopper::{Seen, Shopper};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rotate-keys",
    proves: "a rotation of the sealing key every second, one node 200 ms behind, loses no cart of Stickler's cookie",
    rounds: 3,
    lasts: None,
    limit: Duration::from_secs(300),
    run: |stage| Box::pin(run(stage)),
};

/// Clients who shop at the same time.
const SHOPPERS: usize = 48;
/// Every so manyth of them keeps one session all the time.
const STAYS: usize = 3;
/// How late whatever the others send to one node reaches it.
const DELAY: Duration = Duration::from_millis(200);
/// Pause between two rotations.
const PAUSE: Duration = Duration::from_secs(1);
/// The most keys that a cluster has: from the second on each is a rotation.
const KEYS: u32 = 8;

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let mut all = Seen::default();
    let mut rotations = 0;
    for round in 1..=stage.rounds {
        // A ring that is full takes no key until the oldest opens no more: each round has a cluster of its own.
        let stage = stage.apart(&format!("round {round}"));
        let (seen, rotated) = play(&stage, round, &mut report).await?;
        rotations += rotated;
        all.join(seen);
    }
    let expected = (KEYS - 1) * stage.rounds;
    report.bar("rotations", rotations, expected.to_string(), rotations == expected);
    report.figure("carts", all.carts);
    report.figure("requests", all.visits);
    report.bar("tokens renewed in the middle of a session", all.renewed, "some", all.renewed > 0);
    report.bar("carts that were lost", all.lost.len(), "0", all.lost.is_empty());
    report.bar("requests that were not served", all.unserved.len(), "0", all.unserved.is_empty());
    report.faults(all.lost);
    report.faults(all.unserved);
    Ok(report)
}

/// One cluster, with all the rotations that its ring has room for.
async fn play(stage: &Stage, round: u32, report: &mut Report) -> Result<(Seen, u32), ScenarioError> {
    let mut rig = Rig::start_with(stage, &Setting { layout: Layout::Links, ..Setting::plain(3) }).await?;
    let leader = rig.settle().await?;
    let delayed = (leader + stage.seed.child("delayed node").rng().random_range(1..NODES)) % NODES;
    rig.delay_replication(delayed, DELAY)?;
    rig.settle().await?;

    let stop = Shutdown::new();
    let mut shoppers = JoinSet::new();
    for number in 0..SHOPPERS {
        let name = format!("shopper-{round}-{number}");
        let shopper = Shopper {
            outside: stage.outside.clone(),
            nodes: rig.addresses(),
            stop: stop.clone(),
            random: stage.seed.child(&name).rng(),
            name,
            stays: number.is_multiple_of(STAYS),
        };
        shoppers.spawn(shopper.shop());
    }
    let mut rotated = 0;
    for key in 2..=KEYS {
        tokio::time::sleep(PAUSE).await;
        // Each node is asked in turn, the delayed one too.
        let made = rig.admin(key as usize % NODES).rotate_key().await.map_err(RigError::from)?;
        rotated += u32::from(made == key);
    }
    tokio::time::sleep(PAUSE * 2).await;
    stop.trigger();
    let mut seen = Seen::default();
    while let Some(of_one) = shoppers.join_next().await {
        seen.join(of_one?);
    }
    rig.check_processes()?;
    for place in 0..NODES {
        let keys = seen.keys.remove(&place).unwrap_or_default();
        let late = if place == delayed { ", 200 ms behind" } else { "" };
        report.bar(
            format!("round {round}: keys of cookies from node {}{late}", place + 1),
            format!("{keys:?}"),
            format!("1 to {KEYS}"),
            keys.iter().copied().eq(1..=KEYS),
        );
    }
    report_witness(&rig, report);
    Ok((seen, rotated))
}
