//! I6: no answer reveals a session that isn't bound, or to another backend than the one that created it.

use super::circumstances::Circumstances;
use super::span::Span;
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

pub(super) fn check(history: &History, circumstances: &Circumstances) -> Vec<Violation> {
    history
        .visits
        .iter()
        .flat_map(|visit| {
            visit.attempts.iter().filter_map(|it| {
                // A node that is cut off hands out, and goes by, tokens that prove the session by themselves.
                let span = Span { from: it.began, until: it.ended };
                let by_token = visit.door == Door::Token && circumstances.may_be_isolated(it.node, span);
                fault(visit, &it.outcome, by_token).map(|what| Violation {
                    promise: Promise::RevealedMeansCommitted,
                    session: visit.session.clone(),
                    at: it.ended,
                    what,
                })
            })
        })
        .collect()
}

fn fault(visit: &Visit, outcome: &Outcome, by_token: bool) -> Option<String> {
    match outcome {
        Outcome::Refused { status, error, revealed: Some(_) } => {
            Some(format!("the refusal {status} {error} reveals an identifier"))
        }
        Outcome::Served { epoch: None, .. } if by_token => None,
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
