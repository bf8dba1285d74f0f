//! Mistakes that the protocol could have. The product's code stays as it is: a mistake is made in what it is
//! told, or in what is done with its answer.

use crate::bounds::{Bounds, ELECT, FORGET, JOIN, LATE, MOVE, ORDER, RETRY, SNAPSHOT, UNBIND, WAIT};
use crate::promises::{AGREEMENT, DELETED, MONOTONE, OWNER, UNFORCED};

/// One mistake at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// A key's next epoch waits for nothing.
    NextEpochUsableAtOnce,
    /// The stable index is what the leader itself has applied.
    LeaderCountsItselfAlone,
    /// A new leader does not wait for its predecessor's leases to end.
    AnnounceAtOnce,
    /// A lease counts from the receipt of its answer.
    LeaseFromReceipt,
    /// A leader that reaches nobody grants leases.
    LeaseWithoutQuorum,
    /// A node gets a lease that has not applied the first entry of the term.
    LeaseWhileBehind,
    /// A ticket is not validated before it is sent.
    NoLastLook,
    /// A snapshot does not hold what an epoch waits for.
    SnapshotForgetsPending,
    /// A move has no epoch to compare.
    MoveWithoutEpoch,
    /// A move draws no new epoch.
    MoveKeepsEpoch,
    /// The counter of epochs starts again after an unbind.
    EpochsRestart,
    /// A bind that is tried again counts as proposed when it arrives.
    RetryRevives,
    /// An unbind is answered with its commit.
    ReceiptWithCommit,
    /// A leader that was replaced counts what it applied of the next leader's entries.
    ReplacedLeaderCountsOn,
    /// A request that an earlier process of a node sent replaces what the book has of its present one.
    EarlierProcessCounts,
    /// The last look loads the view first and reads the lease later.
    ViewBeforeStanding,
}

/// Each mistake, the bounds within which it shows, and the promise that it breaks first. The last four were
/// in the product when the model was made: docs/adr/0005.
pub(crate) const TABLE: [(Mistake, Bounds, &str); 17] = [
    (Mistake::NextEpochUsableAtOnce, LATE, OWNER),
    (Mistake::LeaderCountsItselfAlone, LATE, OWNER),
    (Mistake::AnnounceAtOnce, ELECT, OWNER),
    (Mistake::LeaseFromReceipt, LATE, OWNER),
    (Mistake::LeaseWithoutQuorum, ELECT, OWNER),
    (Mistake::LeaseWhileBehind, ELECT, OWNER),
    (Mistake::NoLastLook, WAIT, OWNER),
    (Mistake::NoLastLook, FORGET, DELETED),
    (Mistake::SnapshotForgetsPending, SNAPSHOT, OWNER),
    (Mistake::MoveWithoutEpoch, ORDER, UNFORCED),
    (Mistake::MoveKeepsEpoch, MOVE, AGREEMENT),
    (Mistake::EpochsRestart, UNBIND, MONOTONE),
    (Mistake::RetryRevives, RETRY, DELETED),
    (Mistake::ReceiptWithCommit, UNBIND, DELETED),
    (Mistake::ReplacedLeaderCountsOn, ELECT, OWNER),
    (Mistake::EarlierProcessCounts, JOIN, OWNER),
    (Mistake::ViewBeforeStanding, SNAPSHOT, OWNER),
];
