//! What is done to a cluster: every fault with its name, its effects, and the windows in which a client that tries
//! every node may see an error.

mod backends;
mod field;
mod lane;
mod machines;
mod nodes;
mod ways;

use futures::future::LocalBoxFuture;
use rand::rngs::StdRng;

use crate::history::{Allowed, Window};
use crate::rig::RigError;

pub(crate) use field::{Field, RECOVERY};
pub(crate) use lane::{Lane, play_lane, watch_processes};

/// A fault.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    /// What it is called in histories, reports and on the command line.
    pub name: &'static str,
    /// What is done, in one line.
    pub does: &'static str,
    /// With which others it does not overlap.
    pub lane: Lane,
    /// When requests of known sessions may fail on every node.
    pub known: Allowed,
    /// When first requests may.
    pub fresh: Allowed,
    /// It needs links that can be slow.
    pub needs_links: bool,
    /// Does it, heals it, and waits until it is over.
    pub play: for<'a> fn(&'a Field, &'a mut StdRng) -> LocalBoxFuture<'a, Result<(), RigError>>,
}

impl std::fmt::Debug for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Fault {
    /// Its row in the table of windows.
    pub(crate) fn window(&self) -> Window {
        Window { fault: self.name.to_owned(), known: self.known, fresh: self.fresh }
    }
}

/// Time in which nobody can be served, since no majority runs: until it does, and so many milliseconds longer.
const NOBODY: Allowed = Allowed::Throughout(2000);

/// A leader that hears nobody is still heard: until its connections are found dead, and then an election.
const LEASES: Allowed = Allowed::Around(3000);

/// Makes a row of the table below.
macro_rules! fault {
    ($name:literal, $lane:ident, $does:literal, $play:path, known: $known:expr, fresh: $fresh:expr, links: $links:expr) => {
        Fault {
            name: $name,
            does: $does,
            lane: Lane::$lane,
            known: $known,
            fresh: $fresh,
            needs_links: $links,
            play: |field, random| Box::pin($play(field, random)),
        }
    };
    ($name:literal, $lane:ident, $does:literal, $play:path) => {
        fault!($name, $lane, $does, $play, known: Allowed::Never, fresh: Allowed::Never, links: false)
    };
}

/// Every fault.
pub(crate) const ALL: &[Fault] = &[
    fault!("kill", Nodes, "SIGKILL of a node, started again after a while", nodes::kill),
    fault!("kill-leader", Nodes, "SIGKILL of the leader", nodes::kill_leader),
    fault!("pause", Nodes, "SIGSTOP of a node, SIGCONT after a while", nodes::pause),
    fault!("pause-leader", Nodes, "SIGSTOP of the leader", nodes::pause_leader),
    fault!("hand-over", Nodes, "an operator has another node lead, a few times", nodes::hand_over),
    fault!("rolling-restart", Nodes, "SIGTERM of one node after the other, each started again", nodes::roll),
    fault!("kill-all", Nodes, "SIGKILL of all nodes at one moment", nodes::kill_all, known: NOBODY, fresh: NOBODY, links: false),
    fault!("power-cut", Nodes, "a node dies and loses what it had not synced", machines::power_cut),
    fault!("power-cut-all", Nodes, "all nodes die at one moment and lose what they had not synced",
        machines::power_cut_all, known: NOBODY, fresh: NOBODY, links: false),
    fault!(
        "sync-fails",
        Nodes,
        "every sync of a node's disk fails; it is started again on a good one",
        machines::sync_fails
    ),
    fault!(
        "disk-full",
        Nodes,
        "a node's disk is full; it is started again when there is room",
        machines::disk_full
    ),
    fault!("partition", Nodes, "a node and the others don't reach each other", ways::partition),
    fault!("leader-alone", Nodes, "the leader and the others don't reach each other", ways::leader_alone),
    fault!("one-way", Nodes, "what a node sends to the others is lost, what they send is not", ways::one_way),
    fault!("deaf", Nodes, "what the others send to a node is lost, what it sends is not", ways::deaf,
        known: LEASES, fresh: LEASES, links: false),
    fault!("flapping", Nodes, "a node is cut off and joined again, many times", ways::flapping),
    fault!("bridge", Nodes, "two nodes don't reach each other; the third reaches both", ways::bridge),
    fault!("resets", Nodes, "all connections between nodes break, again and again", ways::resets),
    fault!("clients-cut-off", Nodes, "clients don't reach a node", ways::clients_cut_off),
    fault!("backend-kill", Backends, "a backend dies, and is started again after a while", backends::kill),
    fault!(
        "backend-restart",
        Backends,
        "a backend is started again at once, in its place",
        backends::restart
    ),
    fault!("backend-pause", Backends, "a backend accepts connections and answers nothing", backends::pause),
    fault!("backend-slow", Backends, "a backend answers late, its health checks too", backends::slow),
    fault!("backend-flap", Backends, "a backend dies and is started again, many times", backends::flap),
    fault!("blind", Backends, "one node does not reach one backend", backends::blind),
    fault!("wall-clock", Weather, "a node's time of day is hours off", machines::wall_clock),
    fault!(
        "clock-rate",
        Weather,
        "a node's monotonic clock is up to 2 % too fast or too slow",
        machines::clock_rate
    ),
    fault!("slow-disk", Weather, "a node's syncs take long", machines::slow_disk),
    fault!("slow-links", Weather, "all ways between nodes are slow", ways::slow,
        known: Allowed::Never, fresh: Allowed::Never, links: true),
    fault!("far-links", Weather, "all ways between nodes take as long as across a continent", ways::far,
        known: Allowed::Never, fresh: Allowed::Never, links: true),
    fault!("lossy-links", Weather, "all ways between nodes lose packets", ways::lossy,
        known: Allowed::Never, fresh: Allowed::Never, links: true),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own_and_every_lane_has_faults() {
        let names: BTreeSet<&str> = ALL.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), ALL.len());
        for lane in Lane::ALL {
            assert!(ALL.iter().any(|fault| fault.lane == lane), "{lane:?}");
        }
    }

    #[test]
    fn what_stops_no_majority_excuses_no_error_for_long() {
        let throughout = |fault: &&Fault| matches!(fault.fresh, Allowed::Throughout(_));
        let names: Vec<&str> = ALL.iter().filter(throughout).map(|fault| fault.name).collect();
        assert_eq!(names, ["kill-all", "power-cut-all"]);
    }
}
