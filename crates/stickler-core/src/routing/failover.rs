//! What becomes of a request whose session can't stay on its backend, or may go back to an earlier one.

use super::step::{Refusal, Step, Until};
use crate::deliberate::{self, Fault};
use crate::document::cluster::{Affinity, AfterWait, WhenBack, WhenDown};
use crate::ids::BackendId;
use crate::lease::{Footing, Standing};
use crate::state::{AdminState, BackendRecord, Binding, Located, MoveReason, View};
use crate::time::ClusterTime;

/// Why a session can't stay on its backend; `None` when it can, as far as the backend goes.
#[must_use]
pub fn why_gone(backend: Option<&BackendRecord>, now: ClusterTime) -> Option<MoveReason> {
    let Some(backend) = backend.filter(|backend| !backend.has_left(now)) else {
        return Some(MoveReason::BackendRemoved);
    };
    match backend.admin {
        AdminState::Maint => Some(MoveReason::BackendMaint),
        AdminState::Drain { deadline: Some(deadline) } if deadline <= now => Some(MoveReason::DrainDeadline),
        AdminState::Ready | AdminState::Drain { .. } if backend.health.is_down() => {
            Some(MoveReason::BackendDown)
        }
        AdminState::Ready | AdminState::Drain { .. } => None,
    }
}

/// Why a bound session is to leave its backend; `None` when it stays.
pub(super) fn why_leaves(
    view: &View,
    standing: &Standing,
    affinity: &Affinity,
    binding: &Binding,
) -> Option<MoveReason> {
    let backend = view.catalog.backends.get(&binding.backend);
    if let Some(reason) = why_gone(backend, view.time.max(standing.time)) {
        return Some(reason);
    }
    if backend.is_some_and(|backend| backend.has_forgotten(binding.epoch)) {
        return Some(MoveReason::BackendRestarted);
    }
    let refuses = matches!(affinity.when_down, WhenDown::Reject | WhenDown::Redirect(_));
    if deliberate::active(Fault::RefuseWhileDraining)
        && refuses
        && backend.is_some_and(|backend| matches!(backend.admin, AdminState::Drain { .. }))
    {
        return Some(MoveReason::BackendMaint);
    }
    // Only with a lease: it can stay, and a node that may be wrong about it leaves it alone.
    let returns = affinity.when_back == WhenBack::Return && standing.footing == Footing::Leased;
    let home = returns.then(|| view.catalog.may_go_home(binding)).flatten()?;
    let record = view.catalog.backends.get(&home)?;
    let full = record.max_sessions.is_some_and(|most| view.counts.of_backend(home) >= most);
    (!full).then_some(MoveReason::BackendBack)
}

/// What a request does whose session is to leave its backend.
pub(super) fn leave(
    view: &View,
    standing: &Standing,
    affinity: &Affinity,
    located: &Located,
    reason: MoveReason,
) -> Step {
    let moves = match &affinity.when_down {
        WhenDown::Rebind | WhenDown::Wait { then: AfterWait::Rebind, .. } => true,
        WhenDown::Reject | WhenDown::Redirect(_) => deliberate::active(Fault::MoveRefused),
        WhenDown::Wait { then: AfterWait::Reject, .. } => false,
    };
    // What it held is gone, and waiting brings nothing back.
    let backend = located.binding.backend;
    let lost = reason == MoveReason::BackendRestarted || is_for_good(view, backend, reason);
    if lost && !moves {
        return match standing.footing {
            Footing::Leased => Step::End { located: *located },
            Footing::Isolated | Footing::CatchingUp => Step::Refuse(Refusal::SessionLost),
        };
    }
    if let Some(step) = stay_away(view, standing, affinity, backend, reason) {
        return step;
    }
    match standing.footing {
        Footing::Leased => Step::Move { located: *located, reason },
        Footing::Isolated | Footing::CatchingUp => Step::Refuse(Refusal::NoQuorum),
    }
}

/// Why a session leaves its backend without waiting for a request of its own, where its affinity lets sessions go. Those
/// that may go back stay where they are until they are asked for.
#[must_use]
pub fn leaves_at_once(
    view: &View,
    standing: &Standing,
    affinity: &Affinity,
    binding: &Binding,
) -> Option<MoveReason> {
    let backend = view.catalog.backends.get(&binding.backend);
    match why_gone(backend, view.time.max(standing.time)) {
        Some(_) => lets_go(view, standing, affinity, binding.backend),
        None => {
            let forgotten = backend.is_some_and(|backend| backend.has_forgotten(binding.epoch));
            forgotten.then_some(MoveReason::BackendRestarted)
        }
    }
}

/// Why the sessions of an affinity leave a backend that is gone; `None` while they stay or are waited for.
#[must_use]
pub fn lets_go(
    view: &View,
    standing: &Standing,
    affinity: &Affinity,
    backend: BackendId,
) -> Option<MoveReason> {
    let reason = why_gone(view.catalog.backends.get(&backend), view.time.max(standing.time))?;
    let away = stay_away(view, standing, affinity, backend, reason);
    (away.is_none() && standing.footing == Footing::Leased).then_some(reason)
}

/// Whether a backend does not come back: it was removed, and is gone or down.
fn is_for_good(view: &View, backend: BackendId, reason: MoveReason) -> bool {
    let leaves = || view.catalog.backends.get(&backend).is_some_and(|record| record.leaving.is_some());
    reason == MoveReason::BackendRemoved || (reason == MoveReason::BackendDown && leaves())
}

/// What a request does whose backend is gone, where its affinity does not let it go to another one, or not yet.
pub(super) fn stay_away(
    view: &View,
    standing: &Standing,
    affinity: &Affinity,
    backend: BackendId,
    reason: MoveReason,
) -> Option<Step> {
    match &affinity.when_down {
        _ if is_for_good(view, backend, reason) => None,
        WhenDown::Rebind => None,
        WhenDown::Reject | WhenDown::Redirect(_) if deliberate::active(Fault::MoveRefused) => None,
        WhenDown::Reject => Some(Step::Refuse(Refusal::BackendGone)),
        WhenDown::Redirect(_) => Some(Step::Refuse(Refusal::Redirected)),
        WhenDown::Wait { timeout, then } => {
            let gone_at = view.catalog.backends.get(&backend).and_then(|record| match reason {
                MoveReason::BackendDown => Some(record.health.since),
                MoveReason::BackendMaint => Some(record.admin_since),
                // It has been waited for, or will not come back.
                _ => None,
            });
            let until = gone_at.map(|gone_at| gone_at + *timeout);
            let waits = until.filter(|until| {
                *until > view.time.max(standing.time) || deliberate::active(Fault::WaitTooLong)
            });
            match (waits, then) {
                (Some(until), _) if standing.footing == Footing::Leased => {
                    Some(Step::Hold(Until::Back { backend, until }))
                }
                (_, AfterWait::Rebind) => None,
                (_, AfterWait::Reject) => Some(Step::Refuse(Refusal::BackendGone)),
            }
        }
    }
}
