//! What a history consists of. All times are microseconds since the run's start, by one monotonic clock.

use serde::{Deserialize, Serialize};

use crate::identifier::Door;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// A client wanted something, and tried one node after the other until it was served.
    Visit(Visit),
    /// A message went over an open WebSocket and back.
    Echo(Echo),
    /// A backend saw a session come by this epoch for the first time.
    Sighting(Sighting),
    /// A fault has begun, was healed, or is over.
    Fault(FaultEvent),
    /// An operator asked for a change.
    Operation(Operation),
    /// What a node says of itself; written when it has changed.
    Standing(Standing),
    /// A part of what a node's replica holds.
    Replica(Replica),
}

impl Event {
    /// When it was over.
    pub(crate) fn at(&self) -> u64 {
        match self {
            Self::Visit(visit) => visit.ended(),
            Self::Echo(echo) => echo.ended,
            Self::Sighting(sighting) => sighting.at,
            Self::Fault(fault) => fault.at,
            Self::Operation(operation) => operation.ended,
            Self::Standing(standing) => standing.at,
            Self::Replica(replica) => replica.at,
        }
    }
}

/// A client wanted something, and tried one node after the other until it was served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Visit {
    /// The client.
    pub client: u32,
    /// How it is recognised.
    pub door: Door,
    /// The session, by the name that the client gave it; what the client shows may change, this does not.
    pub session: String,
    /// The session was not acknowledged before.
    pub fresh: bool,
    /// One for each node that was tried, the last one being what came of it.
    pub attempts: Vec<Attempt>,
}

impl Visit {
    /// When the first attempt began.
    pub(crate) fn began(&self) -> u64 {
        self.attempts.first().map_or(0, |attempt| attempt.began)
    }

    /// When the last attempt ended.
    pub(crate) fn ended(&self) -> u64 {
        self.attempts.last().map_or(0, |attempt| attempt.ended)
    }

    /// Whether a backend answered in the end.
    pub(crate) fn is_served(&self) -> bool {
        self.attempts.last().is_some_and(|attempt| matches!(attempt.outcome, Outcome::Served { .. }))
    }
}

/// One request to one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// The node's id.
    pub node: u64,
    /// When the client began to connect or to send.
    pub began: u64,
    /// When the client knew what had come of it, or gave up.
    pub ended: u64,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a request, as its client knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// A backend answered.
    Served {
        /// Which, as it says itself.
        backend: String,
        /// The epoch of the binding by which it was routed, or that was drawn with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u64>,
        /// The session's key, as the backend was told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The identifier that the answer revealed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revealed: Option<String>,
    },
    /// The node answered by itself.
    Refused {
        /// The status.
        status: u16,
        /// The name of the refusal.
        error: String,
        /// An identifier that the answer revealed all the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revealed: Option<String>,
    },
    /// Nothing was sent: nothing has happened.
    Unsent {
        /// Why.
        why: String,
    },
    /// The request was sent, and there is no answer: neither success nor failure.
    Unknown {
        /// Why.
        why: String,
    },
}

/// A message over an open WebSocket and back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Echo {
    /// The client.
    pub client: u32,
    /// The session.
    pub session: String,
    /// The node through which the WebSocket was opened.
    pub node: u64,
    /// When the message was sent.
    pub began: u64,
    /// When it was back.
    pub ended: u64,
    /// The backend at the other end.
    pub backend: String,
    /// The epoch by which the WebSocket was opened.
    pub epoch: u64,
}

/// A backend saw a session come by this epoch for the first time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sighting {
    /// When.
    pub at: u64,
    /// The backend.
    pub backend: String,
    /// The session's key.
    pub key: String,
    /// The epoch.
    pub epoch: u64,
}

/// A fault has begun, was healed, or is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FaultEvent {
    /// Counts the faults of the run.
    pub number: u32,
    /// The fault's name, as in the table of windows.
    pub name: String,
    /// Which moment of it this is.
    pub phase: Phase,
    /// When.
    pub at: u64,
    /// For people: to whom, and how much.
    pub detail: String,
    /// What it may do, from its beginning until it is over; with `Begun` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Effect>,
}

/// The moments of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Harm is done from here on.
    Begun,
    /// No more harm is done: what was killed was started, what was cut was joined.
    Healed,
    /// The nodes are ready, and agree on a leader.
    Over,
}

/// What a fault may do, as far as it justifies something that must not happen otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "kebab-case")]
pub(crate) enum Effect {
    /// The node does not run as it should: its reports on backends may be old or wrong.
    NodeAway {
        /// The node.
        node: u64,
    },
    /// The node may not reach the others.
    Isolated {
        /// The node.
        node: u64,
    },
    /// The node may not reach the backend.
    Blind {
        /// The node.
        node: u64,
        /// The backend.
        backend: String,
    },
    /// The backend does not answer as it should.
    BackendAway {
        /// The backend.
        backend: String,
    },
}

/// An operator asked for a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Operation {
    /// The node that was asked.
    pub node: u64,
    /// When.
    pub began: u64,
    /// When there was an answer.
    pub ended: u64,
    /// For what.
    #[serde(flatten)]
    pub wish: Wish,
    /// What came of it.
    pub result: OperationResult,
    /// What the node said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said: String,
}

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "kebab-case")]
pub(crate) enum Wish {
    /// An admin state.
    SetBackend {
        /// The backend.
        backend: String,
        /// ready, drain, maint.
        admin: String,
    },
    /// The end of a session.
    Unbind {
        /// The session's key.
        key: String,
        /// The epoch that the operator saw.
        epoch: u64,
    },
    /// Another backend for a session.
    Move {
        /// The session's key.
        key: String,
        /// The epoch that the operator saw.
        epoch: u64,
        /// The backend.
        to: String,
    },
    /// The end of all sessions of an affinity on a backend.
    UnbindByRule {
        /// The affinity.
        affinity: String,
        /// The backend.
        backend: String,
    },
    /// To see something; changes nothing.
    Look {
        /// What.
        what: String,
    },
}

/// What came of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OperationResult {
    /// It was done.
    Done,
    /// It was refused, or could not be asked for: nothing has happened.
    Refused,
    /// It may have happened, or may still.
    Unknown,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// When it was asked.
    pub at: u64,
    /// The node.
    pub node: u64,
    /// Its answer; `None` when there was none.
    pub says: Option<Says>,
}

/// A node's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Says {
    /// leader, follower, candidate, learner, stopped.
    pub role: String,
    /// The term.
    pub term: u64,
    /// Who leads; 0 for nobody.
    pub leader: u64,
    /// leased, isolated, catching-up.
    pub footing: String,
    /// The applied index.
    pub applied: u64,
    /// The state's hash at that index.
    pub hash: String,
    /// Sessions that the node's replica holds.
    pub sessions: u64,
    /// ready, "degraded: " and why, or "not ready: " and why.
    pub readiness: String,
}

/// A part of what a node's replica holds at the end of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Replica {
    /// When the list was complete.
    pub at: u64,
    /// The node.
    pub node: u64,
    /// Some of its sessions.
    pub sessions: Vec<Listed>,
}

/// A session in a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// Its key.
    pub key: String,
    /// Its epoch.
    pub epoch: u64,
    /// Its backend.
    pub backend: String,
    /// How it came to be there: placed, adopted, inherited, or "moved: " and why.
    pub cause: String,
}
