//! The receipt for what an operator has ended or moved. It is given once no node that holds a lease can route by
//! what was there before (I7), and it names the nodes that hold none: such a node may go on with what it last knew.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::deliberate::{self, Fault};
use crate::ids::{LogIndex, NodeId};

/// What the leader's book says of all members at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// The stable index as announced.
    pub stable: LogIndex,
    /// The members that may hold a lease, with the last entry that each is known to have applied.
    pub leased: BTreeMap<NodeId, LogIndex>,
    /// The members that hold none.
    pub without: BTreeSet<NodeId>,
    /// Whether the office is old enough for the book to have everybody in it who holds a lease. Before that, one
    /// of an earlier leader's may be in nobody's book.
    pub settled: bool,
}

/// What a receipt waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until every node that holds a lease has applied the change.
    Leased,
    /// Until every member holds a lease and has applied it.
    All,
}

/// What is known of a change that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The log entry of the change.
    pub index: LogIndex,
    /// Members that hold no lease.
    pub without_lease: BTreeSet<NodeId>,
    /// Members that hold one, and are not known to have applied the entry.
    pub behind: BTreeSet<NodeId>,
    /// Whether what was waited for has come. Where it has not, the change has happened all the same.
    pub reached: bool,
}

impl Receipt {
    /// Of a change of which nothing is known but that it was committed.
    #[must_use]
    pub const fn unknown(index: LogIndex) -> Self {
        Self { index, without_lease: BTreeSet::new(), behind: BTreeSet::new(), reached: false }
    }

    /// By what the leader's book says.
    #[must_use]
    pub fn of(index: LogIndex, wait: Wait, holdings: &Holdings) -> Self {
        let stable = holdings.stable >= index || deliberate::active(Fault::ReceiptBeforeStable);
        let without_lease = if deliberate::active(Fault::ReceiptNamesNobody) {
            BTreeSet::new()
        } else {
            holdings.without.clone()
        };
        let everybody = holdings.without.is_empty();
        let reached = stable
            && match wait {
                Wait::Leased => everybody || holdings.settled,
                Wait::All => everybody,
            };
        let late = holdings.leased.iter().filter(|(_, applied)| **applied < index);
        let behind = if reached { BTreeSet::new() } else { late.map(|(node, _)| *node).collect() };
        Self { index, without_lease, behind, reached }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: LogIndex = LogIndex(20);

    fn holdings(stable: u64, leased: &[(u64, u64)], without: &[u64], settled: bool) -> Holdings {
        Holdings {
            stable: LogIndex(stable),
            leased: leased.iter().map(|(node, applied)| (NodeId(*node), LogIndex(*applied))).collect(),
            without: without.iter().copied().map(NodeId).collect(),
            settled,
        }
    }

    fn nodes<const N: usize>(numbers: [u64; N]) -> BTreeSet<NodeId> {
        numbers.map(NodeId).into()
    }

    #[test]
    fn a_receipt_waits_for_the_stable_index_and_says_who_has_not_got_there() {
        let early = Receipt::of(INDEX, Wait::Leased, &holdings(19, &[(1, 20), (2, 19), (3, 25)], &[], true));
        assert_eq!((early.reached, early.behind), (false, nodes([2])));
        let late = Receipt::of(INDEX, Wait::Leased, &holdings(20, &[(1, 20), (2, 20), (3, 25)], &[], true));
        assert_eq!((late.reached, late.behind, late.without_lease), (true, nodes([]), nodes([])));
    }

    #[test]
    fn a_receipt_names_who_holds_no_lease_and_one_for_all_waits_for_them() {
        let cut_off = holdings(20, &[(1, 20), (2, 20)], &[3], true);
        let receipt = Receipt::of(INDEX, Wait::Leased, &cut_off);
        assert_eq!((receipt.reached, receipt.without_lease), (true, nodes([3])));
        let receipt = Receipt::of(INDEX, Wait::All, &cut_off);
        assert_eq!((receipt.reached, receipt.without_lease), (false, nodes([3])));
        let back = holdings(20, &[(1, 20), (2, 20), (3, 20)], &[], true);
        assert!(Receipt::of(INDEX, Wait::All, &back).reached);
    }

    #[test]
    fn a_new_leader_names_nobody_before_its_book_is_complete() {
        let young = holdings(20, &[(1, 20)], &[2, 3], false);
        assert!(!Receipt::of(INDEX, Wait::Leased, &young).reached);
        let all_back = holdings(20, &[(1, 20), (2, 20), (3, 20)], &[], false);
        assert!(Receipt::of(INDEX, Wait::Leased, &all_back).reached);
        assert!(Receipt::of(INDEX, Wait::Leased, &holdings(20, &[(1, 20)], &[2, 3], true)).reached);
    }
}
