//! Faults one after the other, in an order that follows from the seed; several lanes at once make mixes.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{Fault, Field};
use crate::rig::{NODES, RigError};

/// Faults of one lane never overlap; faults of different lanes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// At most a minority of nodes can't serve, unless the fault says otherwise.
    Nodes,
    /// At most one backend is away.
    Backends,
    /// What makes nodes slow or their clocks wrong, and stops none.
    Weather,
}

impl Lane {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Nodes, Self::Backends, Self::Weather];

    /// Pause between two faults, in milliseconds.
    const fn pause(self) -> std::ops::Range<u64> {
        match self {
            Self::Nodes => 1500..4000,
            Self::Backends => 2000..8000,
            Self::Weather => 1000..6000,
        }
    }
}

/// Plays these faults, each as often as any other, until the field says stop.
pub(crate) async fn play_lane(field: &Field, faults: &[Fault], mut random: StdRng) -> Result<(), RigError> {
    let Some(lane) = faults.first().map(|fault| fault.lane) else { return Ok(()) };
    let mut deck: Vec<Fault> = Vec::new();
    loop {
        let pause = Duration::from_millis(random.random_range(lane.pause()));
        tokio::select! {
            biased;
            () = field.stop.wait() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        if deck.is_empty() {
            deck = faults.to_vec();
            deck.shuffle(&mut random);
        }
        if let Some(fault) = deck.pop() {
            (fault.play)(field, &mut random).await?;
        }
    }
}

/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// A node that ends by itself has failed, unless its fault lets it; it is started again, so that the run goes on.
pub(crate) async fn watch_processes(field: &Field) -> Result<(), RigError> {
    loop {
        for node in 0..NODES {
            let mut rig = field.rig.lock().await;
            if rig.take_ended(node).await? && !field.may_end(node) {
                field.fail(format!("node {} ended by itself: see its log", node + 1));
                rig.restart(node)?;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}
