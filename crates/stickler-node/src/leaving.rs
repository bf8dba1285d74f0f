//! Moves the sessions of backends that are gone without waiting for their next request, where an affinity has a rate for
//! that. The node that leads does it; the next one goes on where the state is.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use stickler_core::deliberate::{self, Fault};
use stickler_core::document::cluster::Rate;
use stickler_core::ids::AffinityId;
use stickler_core::leaving::{Leaving, Occasion, find, occasion};
use stickler_core::state::{Catalog, Outcome, RebindOutcome};
use stickler_raft::{Cluster, Persistence};
use stickler_rt::{Moment, Shutdown};

use crate::leading::next_turn;

/// Pause between two batches; a slower rate has longer ones.
const PAUSE: Duration = Duration::from_millis(50);

/// Longest wait for the outcome of a batch.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause after a session could not be moved: nobody takes it.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// Sessions that one walk through the table finds.
const FOUND: usize = 5000;

/// Moves sessions until `shutdown`.
pub(crate) async fn run(cluster: Cluster, shutdown: Shutdown) {
    let mut movers: BTreeMap<AffinityId, Mover> = BTreeMap::new();
    while let Some(leads) = next_turn(&cluster, &shutdown, PAUSE).await {
        let rates = if leads { rates(&cluster.view().catalog) } else { BTreeMap::new() };
        movers.retain(|affinity, _| rates.contains_key(affinity));
        for (affinity, rate) in rates {
            movers.entry(affinity).or_default().go_on(&cluster, affinity, rate).await;
        }
    }
}

/// Affinities whose sessions move by themselves, and how fast.
fn rates(catalog: &Catalog) -> BTreeMap<AffinityId, Rate> {
    let rate = |id: &AffinityId| Some((*id, catalog.affinity(*id)?.rebind_rate?));
    catalog.affinities.iter().filter_map(rate).collect()
}

/// What moves the sessions of one affinity.
#[derive(Default)]
struct Mover {
    /// Everybody has left who was to leave on this occasion.
    done: Option<Occasion>,
    /// From the last walk.
    found: Vec<Leaving>,
    next_at: Option<Moment>,
}

impl Mover {
    /// The next batch, if its time has come and there is one.
    async fn go_on(&mut self, cluster: &Cluster, affinity: AffinityId, rate: Rate) {
        let now = cluster.outside().clock.now();
        if self.next_at.is_some_and(|next_at| now < next_at) {
            return;
        }
        if self.found.is_empty() {
            let (view, standing) = (cluster.view(), cluster.standing());
            let occasion = occasion(&view, &standing, affinity);
            if self.done.as_ref() == Some(&occasion) {
                return;
            }
            drop(view);
            let walk = cluster.walk(move |view| find(view, &standing, affinity, FOUND)).await;
            let Ok(found) = walk else { return };
            if found.is_empty() {
                self.done = Some(occasion);
                return;
            }
            self.found = found;
        }
        let batch = (u128::from(rate.most) * PAUSE.as_millis() / rate.period.as_millis().max(1)).max(1);
        let all = deliberate::active(Fault::LeaveAllAtOnce);
        let batch = if all { FOUND } else { usize::try_from(batch).unwrap_or(usize::MAX) };
        let rest = self.found.len().saturating_sub(batch);
        let moving = self.found.split_off(rest);
        let moving_count = u32::try_from(moving.len()).unwrap_or(u32::MAX);
        // The pace is kept by the clock, whatever a batch takes.
        let due = self.next_at.filter(|due| now.since(*due) < AFTER_REFUSAL).unwrap_or(now);
        self.next_at = Some(due + rate.period * moving_count / rate.most.max(1));
        if !carry_out(cluster, &moving).await {
            self.found.clear();
            self.next_at = Some(cluster.outside().clock.now() + AFTER_REFUSAL);
        }
    }
}

/// Whether all of them have a backend again, or have ended or moved by themselves.
async fn carry_out(cluster: &Cluster, moving: &[Leaving]) -> bool {
    // A second attempt is harmless: the epoch is a precondition.
    let proposing =
        moving.iter().map(|leaving| cluster.propose(leaving.command(), PATIENCE, Persistence::Retry));
    let answers = join_all(proposing).await;
    answers.into_iter().all(|answer| {
        matches!(
            answer.map(|answer| answer.outcome),
            Ok(Outcome::Rebind(
                RebindOutcome::Moved(_) | RebindOutcome::Superseded(_) | RebindOutcome::NotBound
            ))
        )
    })
}
