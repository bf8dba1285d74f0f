//! Which sessions a job moves next.

use std::collections::BTreeMap;
use std::time::Duration;

use stickler_core::ids::{BackendId, Epoch};
use stickler_core::rebalance::{loads, next_moves};
use stickler_core::state::{Job, Record, SessionKey, View, Work};
use stickler_core::time::ClusterTime;

/// Sessions that began a moment ago are left alone: their first answer may be on its way, which no node counts as theirs.
const YOUNG: Duration = Duration::from_secs(2);

/// A session, the epoch by which it was seen, and where it is to go, if the job says so.
pub(super) type Candidate = (SessionKey, Epoch, Option<BackendId>);

/// Up to `most` sessions that the job moves, and whether some were left out since they are too young.
pub(super) fn find(view: &View, now: ClusterTime, job: &Job, most: usize) -> (Vec<Candidate>, bool) {
    match job.work {
        Work::Evacuate { to, .. } => concerned(view, now, job, most, |_| Some(to)),
        Work::Undo { .. } => concerned(view, now, job, most, |_| Some(None)),
        Work::Rebalance { most: moves } => {
            let begun = job.moved + view.jobs.announced.len() as u64;
            let left = usize::try_from(moves.saturating_sub(begun)).unwrap_or(usize::MAX);
            let mut wanted: BTreeMap<BackendId, Vec<BackendId>> = BTreeMap::new();
            for (from, to) in next_moves(&loads(view, job.pool), most.min(left)) {
                wanted.entry(from).or_default().push(to);
            }
            if wanted.is_empty() {
                return (Vec::new(), false);
            }
            concerned(view, now, job, most.min(left), |from| wanted.get_mut(&from)?.pop().map(Some))
        }
    }
}

/// How many sessions a job would move, were it begun now.
pub(crate) fn count(view: &View, job: &Job) -> u64 {
    if let Work::Rebalance { most } = job.work {
        let moves = next_moves(&loads(view, job.pool), usize::try_from(most).unwrap_or(usize::MAX));
        return moves.len() as u64;
    }
    let mut count = 0;
    view.table.visit(|session, record| {
        count += u64::from(matches!(record, Record::Binding(binding) if job.concerns(*session, binding)));
        true
    });
    count
}

fn concerned(
    view: &View,
    now: ClusterTime,
    job: &Job,
    most: usize,
    mut destination: impl FnMut(BackendId) -> Option<Option<BackendId>>,
) -> (Vec<Candidate>, bool) {
    let (mut found, mut young) = (Vec::new(), false);
    view.table.visit(|session, record| {
        let Record::Binding(binding) = record else { return true };
        if !job.concerns(*session, binding) || view.jobs.announced.contains_key(session) {
            return true;
        }
        if now.since(binding.bound_at) < YOUNG {
            young = true;
            return true;
        }
        if let Some(to) = destination(binding.backend) {
            found.push((*session, binding.epoch, to));
        }
        found.len() < most
    });
    // The table yields them in no order; with one, a seed of the simulation is one run.
    found.sort_unstable();
    (found, young)
}
