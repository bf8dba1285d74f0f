//! I6: no answer reveals a session that isn't bound, or to another backend than the one that created it.

use super::verdict::{Promise, Violation};
use crate::history::History;
use crate::history::event::{Outcome, Visit};
use crate::identifier::Door;

/// The backend that created an application cookie: backends put their names in front.
pub(crate) fn creator(cookie: &str) -> Option<&str> {
    cookie.split_once(CREATED_BY).map(|(creator, _)| creator)
}

/// Stands between a backend's name and the rest of a cookie that it creates.
pub(crate) const CREATED_BY: &str = "--";

pub(super) fn check(history: &History) -> Vec<Violation> {
    history
        .visits
        .iter()
        .flat_map(|visit| {
            visit.attempts.iter().filter_map(|it| {
                fault(visit, &it.outcome).map(|what| Violation {
                    promise: Promise::RevealedMeansCommitted,
                    session: visit.session.clone(),
                    at: it.ended,
                    what,
                })
            })
        })
        .collect()
}

fn fault(visit: &Visit, outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Refused { status, error, revealed: Some(_) } => {
            Some(format!("the refusal {status} {error} reveals an identifier"))
        }
        Outcome::Served { backend, revealed: Some(revealed), epoch, .. } => {
            if epoch.is_none() {
                return Some(format!("{backend}'s answer reveals an identifier without a binding"));
            }
            let creator = creator(revealed).filter(|_| visit.door == Door::Own)?;
            (creator != backend).then(|| format!("{creator} created the session, {backend} revealed it"))
        }
        Outcome::Served { backend, epoch: None, .. } if !visit.fresh => {
            Some(format!("{backend} answered a known session without a binding"))
        }
        _ => None,
    }
}
