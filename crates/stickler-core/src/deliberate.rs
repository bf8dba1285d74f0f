//! Deliberate faults: mistakes that this product could have, each behind a switch, so that the simulation
//! can prove that it would find them (docs/adr/0004).
//!
//! Without the cargo feature `deliberate-faults`, which the `stickler` binary never has, [`active`] is a
//! constant and the mistakes are not in the program.

/// One mistake; [`Fault::mistake`] says which.
#[expect(missing_docs, reason = "`Fault::mistake` says what each is")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    MoveWithoutReason,
    MoveWithoutEpoch,
    UnbindWithoutEpoch,
    MoveUsableAtOnce,
    AliasUsableAtOnce,
    SecondBinderWins,
    AdoptElsewhere,
    ForgetEndedAtOnce,
    ForgetPendingMoves,
    AcceptTornSnapshot,
    RestartEpochs,
    ReuseBackendId,
    OneNodesWord,
    ExpireByWallClock,
    RouteBeforeStable,
    LeaseWithoutQuorum,
    LeaseWhileBehind,
    LeaseBeforeCatchingUp,
    LeaseFromReceipt,
    LeasePastItsEnd,
    IsolatedWhileCatchingUp,
    StableByLeaderAlone,
    StableFromTheFirstMoment,
    RestartClusterTime,
    SkipSync,
    RevealBeforeCommit,
    SkipLastLook,
    KeepRefusedCookie,
    SendTwice,
    PassForgedFence,
    ReturnForever,
    RevealUnbound,
    SealBeforeStable,
    ReceiptBeforeStable,
    ReceiptNamesNobody,
    EvictBusiest,
    EvictNobody,
    ForgetConflicts,
    OverlookRestart,
    RestartOnOneWord,
    ReturnTooEarly,
    WaitTooLong,
    CountNoNewSessions,
    CountKnownSessions,
    MoveBeforeQuiet,
    SendAnnounced,
    MoveUntold,
    IgnorePause,
    RemoveAtOnce,
    ForgetWhereItWas,
    IgnoreBound,
    EmptyPoolByName,
    MoveEjected,
    EjectEverybody,
    ChooseEjected,
    QueueWithoutLimit,
    SendStaleFromQueue,
    WaitWithAll,
    WaitForRoomForEver,
    RetrySent,
    RetryForEver,
    RetryWithoutBudget,
    StartAtOnce,
    RequestsByCounts,
    CheckWithoutBody,
    RefusalPasses,
    OverlookDrain,
    MoveRefused,
    RefuseWhileDraining,
    RedirectWithoutQuery,
    LeaveAllAtOnce,
    UndoEverything,
    RebalanceBackwards,
}

/// A fault's name on the command line, and what it does.
type Described = (Fault, &'static str, &'static str);

const DESCRIBED: [Described; 73] = [
    (Fault::MoveWithoutReason, "move-without-reason", "a move is not checked for its reason"),
    (Fault::MoveWithoutEpoch, "move-without-epoch", "a move is not compared on the epoch"),
    (Fault::UnbindWithoutEpoch, "unbind-without-epoch", "an unbind is not compared on the epoch"),
    (Fault::MoveUsableAtOnce, "move-usable-at-once", "a moved session's new epoch waits for nothing"),
    (Fault::AliasUsableAtOnce, "alias-usable-at-once", "an old identifier follows the new one at once"),
    (Fault::SecondBinderWins, "second-binder-wins", "a bind replaces the binding that is there"),
    (Fault::AdoptElsewhere, "adopt-elsewhere", "a session is bound to another backend than the one it is on"),
    (Fault::ForgetEndedAtOnce, "forget-ended-at-once", "ended epochs are forgotten with the next entry"),
    (Fault::ForgetPendingMoves, "forget-pending-moves", "a restored snapshot has no pending moves"),
    (Fault::AcceptTornSnapshot, "accept-torn-snapshot", "half a snapshot is taken for a whole one"),
    (Fault::RestartEpochs, "restart-epochs", "a restored state draws epochs from one again"),
    (Fault::ReuseBackendId, "reuse-backend-id", "a new backend gets the id of one that was removed"),
    (Fault::OneNodesWord, "one-nodes-word", "one node's report is the cluster's verdict"),
    (Fault::ExpireByWallClock, "expire-by-wall-clock", "sessions expire by the leader's wall clock"),
    (Fault::RouteBeforeStable, "route-before-stable", "a node routes without looking at the stable index"),
    (Fault::LeaseWithoutQuorum, "lease-without-quorum", "a leader that reaches nobody grants leases"),
    (Fault::LeaseWhileBehind, "lease-while-behind", "a node that must catch up gets a lease"),
    (
        Fault::LeaseBeforeCatchingUp,
        "lease-before-catching-up",
        "a node that comes back gets a lease before it has applied what was committed then",
    ),
    (Fault::LeaseFromReceipt, "lease-from-receipt", "a lease counts from the receipt of its answer"),
    (Fault::LeasePastItsEnd, "lease-past-its-end", "a node serves for half a second past its lease"),
    (
        Fault::IsolatedWhileCatchingUp,
        "isolated-while-catching-up",
        "an isolated node goes on routing by its view while a leader brings it up to date",
    ),
    (Fault::StableByLeaderAlone, "stable-by-leader-alone", "the stable index is what the leader has applied"),
    (
        Fault::StableFromTheFirstMoment,
        "stable-from-the-first-moment",
        "a new leader does not wait for old leases",
    ),
    (Fault::RestartClusterTime, "restart-cluster-time", "cluster time starts again with each leader"),
    (Fault::SkipSync, "skip-sync", "log entries are acknowledged before they are synced"),
    (
        Fault::RevealBeforeCommit,
        "reveal-before-commit",
        "a response shows its session before the bind is committed",
    ),
    (Fault::SkipLastLook, "skip-last-look", "a ticket is not validated once the connection is there"),
    (Fault::KeepRefusedCookie, "keep-refused-cookie", "a cookie whose bind was refused reaches the client"),
    (Fault::SendTwice, "send-twice", "an unsafe request is sent again after it was sent"),
    (Fault::PassForgedFence, "pass-forged-fence", "a client's own fencing headers reach the backend"),
    (Fault::ReturnForever, "return-forever", "a token without a record brings back a session that has ended"),
    (
        Fault::RevealUnbound,
        "reveal-unbound",
        "a token says that it is recorded, and its session is not bound",
    ),
    (Fault::SealBeforeStable, "seal-before-stable", "a new key seals before all nodes can open its tokens"),
    (
        Fault::ReceiptBeforeStable,
        "receipt-before-stable",
        "an operator's receipt does not wait for the stable index",
    ),
    (Fault::ReceiptNamesNobody, "receipt-names-nobody", "a receipt does not name the nodes without a lease"),
    (Fault::EvictBusiest, "evict-busiest", "a full affinity evicts the session that was used last"),
    (Fault::EvictNobody, "evict-nobody", "a full affinity that evicts takes a session more and evicts none"),
    (
        Fault::ForgetConflicts,
        "forget-conflicts",
        "a node that was cut off does not report what it served by epochs that had ended",
    ),
    (
        Fault::OverlookRestart,
        "overlook-restart",
        "a backend that was started again keeps the sessions it has forgotten",
    ),
    (
        Fault::RestartOnOneWord,
        "restart-on-one-word",
        "one node's report says that a backend was started again",
    ),
    (
        Fault::ReturnTooEarly,
        "return-too-early",
        "a session goes back to its backend before that takes sessions",
    ),
    (Fault::WaitTooLong, "wait-too-long", "requests wait for a backend for ever"),
    (Fault::CountNoNewSessions, "count-no-new-sessions", "no client's address ever begins too many sessions"),
    (
        Fault::CountKnownSessions,
        "count-known-sessions",
        "requests of known sessions count as if each began one",
    ),
    (Fault::MoveBeforeQuiet, "move-before-quiet", "a job moves sessions whose exchanges go on"),
    (
        Fault::SendAnnounced,
        "send-announced",
        "a node goes on with requests of a session that is about to move",
    ),
    (Fault::MoveUntold, "move-untold", "a session moves although its application has not agreed"),
    (Fault::IgnorePause, "ignore-pause", "a job that is paused goes on"),
    (
        Fault::RemoveAtOnce,
        "remove-at-once",
        "a backend that is removed does not keep its sessions for a while",
    ),
    (
        Fault::ForgetWhereItWas,
        "forget-where-it-was",
        "a backend of which the document says where it was before is another one",
    ),
    (
        Fault::IgnoreBound,
        "ignore-bound",
        "a backend gets more new sessions than its pool's bound lets it have",
    ),
    (Fault::EmptyPoolByName, "empty-pool-by-name", "a name that leads to nothing takes its backends away"),
    (
        Fault::MoveEjected,
        "move-ejected",
        "a bound session's requests go elsewhere while a node has its backend ejected",
    ),
    (Fault::EjectEverybody, "eject-everybody", "a node ejects as many backends as have errors"),
    (Fault::ChooseEjected, "choose-ejected", "backends are chosen as if none was ejected"),
    (Fault::QueueWithoutLimit, "queue-without-limit", "requests never wait for a backend to have room"),
    (
        Fault::SendStaleFromQueue,
        "send-stale-from-queue",
        "a ticket is not validated again after its request has waited in a queue",
    ),
    (Fault::WaitWithAll, "wait-with-all", "requests of bound sessions wait for room with all others"),
    (Fault::WaitForRoomForEver, "wait-for-room-for-ever", "requests wait for room as long as it takes"),
    (
        Fault::RetrySent,
        "retry-sent",
        "an unsafe request that the backend broke off is tried again where idempotent ones are",
    ),
    (Fault::RetryForEver, "retry-for-ever", "a request is sent again as often as the budget allows"),
    (Fault::RetryWithoutBudget, "retry-without-budget", "retries are not limited by the pool's budget"),
    (Fault::StartAtOnce, "start-at-once", "a backend that has come up gets its whole share at once"),
    (
        Fault::RequestsByCounts,
        "requests-by-counts",
        "requests that begin no session go by how many sessions each backend has",
    ),
    (Fault::CheckWithoutBody, "check-without-body", "a check passes whatever the body says"),
    (Fault::RefusalPasses, "refusal-passes", "a check by connecting alone passes where nobody accepts"),
    (Fault::OverlookDrain, "overlook-drain", "a backend that says that it drains gets new sessions"),
    (
        Fault::MoveRefused,
        "move-refused",
        "a session moves whose affinity has it refused, or sent elsewhere, while its backend is away",
    ),
    (
        Fault::RefuseWhileDraining,
        "refuse-while-draining",
        "such a session is refused while its backend drains, and would serve it",
    ),
    (
        Fault::RedirectWithoutQuery,
        "redirect-without-query",
        "a client that is sent elsewhere is not sent with its query",
    ),
    (
        Fault::LeaveAllAtOnce,
        "leave-all-at-once",
        "the sessions of a backend that is gone leave it as fast as they can",
    ),
    (
        Fault::UndoEverything,
        "undo-everything",
        "an undo moves back whoever was elsewhere before, for whatever reason",
    ),
    (
        Fault::RebalanceBackwards,
        "rebalance-backwards",
        "a job that evens sessions out takes them from the backends that have the fewest",
    ),
];

impl Fault {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        DESCRIBED.into_iter().map(|(fault, _, _)| fault)
    }

    /// The fault of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        DESCRIBED.into_iter().find(|(_, known, _)| *known == name).map(|(fault, _, _)| fault)
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        DESCRIBED[self as usize].1
    }

    /// What is wrong while it is switched on.
    #[must_use]
    pub fn mistake(self) -> &'static str {
        DESCRIBED[self as usize].2
    }
}

/// Whether the fault is switched on, on this thread.
#[cfg(not(feature = "deliberate-faults"))]
#[must_use]
pub const fn active(_fault: Fault) -> bool {
    false
}

#[cfg(feature = "deliberate-faults")]
pub use switch::{active, switch_on};

#[cfg(feature = "deliberate-faults")]
mod switch {
    use std::cell::Cell;

    use super::Fault;

    thread_local! {
        static SWITCHED_ON: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Makes the mistake from now on, in everything that runs on this thread.
    pub fn switch_on(fault: Fault) {
        SWITCHED_ON.set(Some(fault));
    }

    /// Whether the fault is switched on, on this thread.
    #[must_use]
    pub fn active(fault: Fault) -> bool {
        SWITCHED_ON.get() == Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_the_name_that_belongs_to_it() {
        for (place, (fault, name, _)) in DESCRIBED.into_iter().enumerate() {
            assert_eq!(fault as usize, place);
            assert_eq!(Fault::named(fault.name()), Some(fault));
            assert_eq!(format!("{fault:?}").to_lowercase(), name.replace('-', ""));
        }
    }
}
