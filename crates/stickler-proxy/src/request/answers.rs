//! What the node answers itself, where no backend does.

use std::time::Duration;

use http::StatusCode;
use stickler_core::deliberate::{self, Fault};
use stickler_core::document::cluster::WhenDown;
use stickler_core::redirect;
use stickler_core::routing::{Refusal, Until};
use stickler_core::secrets::SecretsError;
use stickler_core::state::BindRefusal;
use stickler_raft::ProposeError;

use super::bindings::bind_refused;
use super::steps::Routing;
use crate::responses::Answer;

/// How soon a client that was refused may try again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

pub(super) fn unavailable(name: &'static str, text: &'static str) -> Answer {
    Answer::new(StatusCode::SERVICE_UNAVAILABLE, name, text).retry_after(TRY_AGAIN)
}

pub(super) fn no_document() -> Answer {
    unavailable("no-document", "this node has no cluster document yet")
}

/// What the error says is for operators, who find it in the log and under `/readyz`.
pub(super) fn no_secrets(_: SecretsError) -> Answer {
    unavailable("no-secrets", "this node can't read the cluster's secrets")
}

pub(super) fn no_route() -> Answer {
    Answer::new(StatusCode::NOT_FOUND, "no-route", "no route matches this host and path")
}

pub(super) fn no_backend() -> Answer {
    unavailable("no-backend", "no backend takes this request")
}

pub(super) fn held_too_long(until: Until) -> Answer {
    match until {
        Until::Stable(_) | Until::Moved { .. } => unavailable("moving", "the session is being moved"),
        Until::Epoch(_) | Until::Footing => unavailable("catching-up", "this node is catching up"),
        Until::Back { .. } => unavailable("backend-gone", "the backend of this session is away"),
    }
}

pub(super) fn refused(routing: &Routing<'_>, refusal: Refusal) -> Answer {
    let affinity = routing.policy.map(|policy| policy.affinity);
    // Where its backend is away, the client sees the operator's page.
    let with_page = |answer: Answer| match affinity.and_then(|affinity| affinity.unavailable_page.as_ref()) {
        Some(page) => answer.with_page(page.clone()),
        None => answer,
    };
    match refusal {
        Refusal::NoIdentifier => {
            Answer::new(StatusCode::FORBIDDEN, "no-identifier", "the request names no session")
        }
        Refusal::BackendGone => with_page(unavailable("backend-gone", "the backend of this session is away")),
        Refusal::SessionLost => {
            with_page(unavailable("session-lost", "the backend of this session has lost it"))
        }
        Refusal::Redirected => match affinity.map(|affinity| &affinity.when_down) {
            Some(WhenDown::Redirect(to)) => redirected(routing, to),
            _ => unavailable("backend-gone", "the backend of this session is away"),
        },
        Refusal::Isolated => unavailable("isolated", "this node can't reach the cluster"),
        Refusal::NoQuorum => unavailable("no-quorum", "the cluster can't take new sessions right now"),
        Refusal::AffinityFull => bind_refused(BindRefusal::AffinityFull),
        Refusal::TableFull => bind_refused(BindRefusal::TableFull),
    }
}

fn redirected(routing: &Routing<'_>, template: &str) -> Answer {
    let query = routing.asked.query().filter(|_| !deliberate::active(Fault::RedirectWithoutQuery));
    let to = redirect::fill(template, routing.asked.path(), query);
    Answer::new(StatusCode::FOUND, "backend-gone", "the backend of this session is away").to(to)
}

pub(super) fn not_proposed(error: ProposeError) -> Answer {
    match error {
        ProposeError::Unavailable | ProposeError::Stopped => {
            unavailable("no-quorum", "the cluster can't take new sessions right now")
        }
        ProposeError::Unknown => {
            unavailable("unknown-outcome", "it is not known whether the session was bound")
        }
        ProposeError::Overloaded => unavailable("overloaded", "too many sessions are being bound"),
    }
}
