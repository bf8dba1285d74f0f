//! What happened during a check, as the clients and the one who killed saw it.

use stickler_rt::Moment;

/// Everything that the verdict is about.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// From here to `ended` new sessions were started without a pause.
    pub started: Moment,
    pub ended: Moment,
    /// Just before the backend was killed.
    pub backend_killed: Moment,
    /// The backend that was killed.
    pub dead_backend: String,
    /// One session each.
    pub visits: Vec<Visit>,
}

/// One session, as its client saw it.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    /// What messages call the client.
    pub client: String,
    /// Whether the client goes on until the end of the run, rather than to leave after a few requests.
    pub stays: bool,
    /// Whether its first answer proves a committed bind. That of Stickler's own cookie does not: a node that
    /// has lost the others seals a token without a record.
    pub proves_bind: bool,
    /// What the client did, in this order.
    pub exchanges: Vec<Exchange>,
}

/// One addition to a cart, tried on one node after the other until it was answered.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    /// The client's number of this addition; the same again when the one before failed.
    pub number: u64,
    pub started: Moment,
    pub ended: Moment,
    /// Attempts that another node had to make good.
    pub retries: u32,
    pub outcome: Outcome,
}

/// How an addition ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The cart came back.
    Served {
        /// The node that answered.
        node: u64,
        /// Where the cart lies.
        backend: String,
        /// The numbers of all items in it.
        numbers: Vec<u64>,
    },
    /// No node would give the cart, though the client tried another one.
    Failed {
        /// What each attempt met with.
        attempts: String,
    },
}
