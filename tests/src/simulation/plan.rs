//! What a run consists of: data, so that a part of it can be left out when a failure is looked into. [`super::draw`]
//! makes it of a seed.

use std::fmt;
use std::time::Duration;

use stickler_core::ids::NodeId;
use stickler_core::state::{Admin, AtDeadline};
use stickler_raft::store::SyncPolicy;

use super::crowd::Wants;
use super::document::nodes;
use super::pool_changes::DocumentPlan;
use super::pool_settings::PoolSettings;

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many nodes: three or five.
    pub nodes: u64,
    /// When all disks make durable what was written. The same for all, or the quickest disk would keep
    /// what the others lose.
    pub sync: SyncPolicy,
    /// Segments that a connection takes before whoever writes must wait.
    pub buffer: usize,
    /// When everything is healed.
    pub healed: Duration,
    /// Whether the run goes on until sessions that nobody uses must have expired.
    pub waits_for_expiry: bool,
    /// Whether nodes and links are well all the time.
    pub well: bool,
    /// What the cluster's documents say about the requests of each node.
    pub pool: PoolSettings,
    /// What goes wrong.
    pub events: Vec<Event>,
}

/// Something goes wrong, or somebody does something.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its number in the plan; it keeps it when others are left out.
    pub number: usize,
    /// When it begins.
    pub at: Duration,
    /// How long it lasts, where it has a length.
    pub length: Duration,
    /// What it is.
    pub what: What,
}

/// Which node something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// This one.
    Node(NodeId),
    /// Whoever leads at that moment; if nobody does, this one.
    Leader(NodeId),
}

/// For each node, as for one: what is kept of what it did not sync. And how long it stays away.
pub type PowerCuts = Vec<(Option<u64>, Duration)>;

/// What can happen.
#[derive(Clone, Debug)]
pub enum What {
    /// The process dies. What it wrote stays with its machine.
    Kill(Who),
    /// An operator stops the process, which hands leadership over and lets its requests end.
    Stop(Who),
    /// A leader hands its leadership over and stays.
    HandOver(Who),
    /// The machine dies: it loses what it did not sync or, with a number, keeps a torn part of it, and
    /// nobody hears of it.
    PowerCut(Who, Option<u64>),
    /// All machines die, right after the next session was revealed; each is back after its own while.
    PowerCutAll(PowerCuts),
    /// The node stands still: nothing leaves it or reaches it, and what is sent to it fills the buffers.
    Pause(Who),
    /// It is cut off from the other nodes, but not from clients and shops.
    CutOff(Who),
    /// It reaches its clients and nobody else.
    Alone(Who),
    /// The other nodes reach it, but not each other.
    Bridge(Who),
    /// One node is not heard by another.
    OneWay(Who, NodeId),
    /// Two nodes lose each other again and again.
    Flap(Who, NodeId),
    /// A node can't reach a shop.
    CantReach(Who, &'static str),
    /// All messages may take this long.
    SlowNetwork(Duration),
    /// Those to and from one node do.
    SlowNode(Who, Duration),
    /// A node's clock runs at this rate from now on.
    Skew(Who, f64),
    /// The next sync fails; the process is started again at the end.
    DiskFails(Who),
    /// The log is replaced by a snapshot, which nodes that were away then get.
    Compact(Who),
    /// A shop's process dies; its machine refuses connections.
    ShopDies(&'static str),
    /// A shop's machine dies.
    ShopVanishes(&'static str),
    /// A shop's process dies and is started again, several times.
    ShopFlaps(&'static str),
    /// An operator changes a shop's admin state, and back at the end.
    Admin(&'static str, Admin),
    /// An operator puts a shop into maint and back at once.
    AdminFlaps(&'static str, Duration),
    /// An operator looks at a session, thinks, and acts by what was seen.
    Operate(Who, Operation),
    /// An operator applies a document in which another shop is missing.
    Document(Who, DocumentPlan),
    /// A name leads to these shops.
    Name(Vec<&'static str>),
    /// An operator adds a sealing key.
    Rotate(Who),
    /// A node is cut off, and comes back over slow links while operators at the others move and end sessions.
    ComesBackSlowly(Who, Duration, Vec<Operation>),
    /// A node's links are slow, and then it is cut off while operators at the others move and end sessions.
    LeavesSlowly(Who, Duration, Vec<Operation>),
    /// An operator begins a job.
    Job(Who, JobPlan),
    /// An operator begins a job at a moment when a shop takes so much longer for each request.
    JobAtSlowShop(Who, JobPlan, &'static str, Duration),
    /// An operator ends the jobs that go on.
    CancelJobs(Who),
    /// An operator pauses them, and lets them go on at the end.
    PauseJobs(Who),
    /// A shop says that it wants no new sessions.
    ShopDrains(&'static str),
    /// A shop's process is started again in place: there again before anybody calls it down.
    ShopRestarts(&'static str),
    /// A shop's page for checks has other words than it should have.
    ShopIll(&'static str),
    /// An operator puts a shop into maint, and back at the end, when a crowd comes to a node: so many, for this.
    Newcomer(Who, &'static str, u32, Wants),
    /// A shop is in trouble, and its checks go well.
    ShopTrouble(&'static str, Trouble),
    /// So many come to a node at once who need no session, and meanwhile all shops are in trouble, or well.
    Crowd(Who, u32, Option<Trouble>),
}

/// What can be wrong with a shop whose checks go well.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// It answers this share of requests with an error.
    Errs(f64),
    /// It takes so much longer for each.
    Slow(Duration),
    /// It does what it is asked, and breaks off this share of requests before it answers.
    BreaksOff(f64),
}

/// A job that an operator begins.
#[derive(Clone, Copy, Debug)]
pub struct JobPlan {
    /// What it does.
    pub work: JobWork,
    /// How many sessions it moves in a second.
    pub rate: u32,
    /// After how many milliseconds its time is over.
    pub deadline: Option<u64>,
    /// What becomes of sessions then that are left.
    pub at_deadline: AtDeadline,
    /// Whether a shop is told before a session leaves it. It does not always agree.
    pub tells: bool,
}

/// See [`JobPlan`].
#[derive(Clone, Copy, Debug)]
pub enum JobWork {
    /// A shop becomes empty.
    Evacuate(&'static str),
    /// Sessions become even.
    Rebalance,
    /// The newest job is undone.
    Undo,
}

/// What an operator does to the session at position `pick` of those that are there.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Which.
    pub pick: u64,
    /// How long the operator thinks.
    pub thinks: Duration,
    /// What for.
    pub act: Act,
}

/// See [`Operation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Moves it.
    Move,
    /// Moves it, and again by what was seen the first time.
    MoveTwice,
    /// Ends it.
    Unbind,
    /// Moves it, and ends it by what was seen before.
    MoveAndUnbind,
    /// Ends all of its affinity on its backend.
    UnbindByRule,
    /// Moves all of its affinity on its backend.
    MoveByRule,
}

impl Plan {
    /// Leaves out all events but those of these numbers.
    pub fn keep_only(&mut self, numbers: &[usize]) {
        self.events.retain(|event| numbers.contains(&event.number));
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} nodes, sync {:?}, healed at {:?}", self.nodes, self.sync, self.healed)?;
        if self.well {
            writeln!(f, "nodes and links are well")?;
        }
        writeln!(f, "{:?}", self.pool)?;
        for event in &self.events {
            let (from, length) = (event.at.as_secs_f64(), event.length.as_secs_f64());
            writeln!(f, "  {:3}  at {from:6.3} s, for {length:.3} s: {:?}", event.number, event.what)?;
        }
        Ok(())
    }
}

impl What {
    /// What it counts as.
    #[must_use]
    pub const fn counts_as(&self) -> &'static str {
        match self {
            Self::Kill(_) => "faults: a node is killed",
            Self::Stop(_) => "operators: a node is stopped",
            Self::HandOver(_) => "operators: leadership is handed over",
            Self::PowerCut(..) => "faults: a node loses power",
            Self::PowerCutAll(_) => "faults: all nodes lose power",
            Self::Pause(_) => "faults: a node stands still",
            Self::CutOff(_) => "faults: a node is cut off",
            Self::Alone(_) => "faults: a node is alone with its clients",
            Self::Bridge(_) => "faults: a node is a bridge",
            Self::OneWay(..) => "faults: a node is not heard by another",
            Self::Flap(..) => "faults: a link flaps",
            Self::CantReach(..) => "faults: a node can't reach a shop",
            Self::SlowNetwork(_) => "faults: the network is slow",
            Self::SlowNode(..) => "faults: a node is slow",
            Self::Skew(..) => "faults: a clock changes its rate",
            Self::DiskFails(_) => "faults: a disk fails",
            Self::Compact(_) => "faults: the log becomes a snapshot",
            Self::ShopDies(_) => "faults: a shop dies",
            Self::ShopVanishes(_) => "faults: a shop's machine dies",
            Self::ShopFlaps(_) => "faults: a shop flaps",
            Self::Admin(..) => "operators: admin state",
            Self::AdminFlaps(..) => "operators: admin state, and back at once",
            Self::Operate(..) => "operators: a session",
            Self::Document(..) => "operators: a document",
            Self::Name(_) => "faults: a name leads elsewhere",
            Self::Rotate(_) => "operators: a sealing key",
            Self::ComesBackSlowly(..) => "faults: a node comes back slowly",
            Self::LeavesSlowly(..) => "faults: a node leaves slowly",
            Self::Job(..) => "operators: a job",
            Self::JobAtSlowShop(..) => "operators: a job, when a shop is slow",
            Self::PauseJobs(_) => "operators: jobs are paused",
            Self::CancelJobs(_) => "operators: jobs are cancelled",
            Self::ShopDrains(_) => "faults: a shop drains itself",
            Self::ShopIll(_) => "faults: a shop's page has other words",
            Self::Newcomer(..) => "operators: a shop is back, and a crowd comes",
            Self::ShopRestarts(_) => "faults: a shop restarts in place",
            Self::ShopTrouble(_, Trouble::Errs(_)) => "faults: a shop answers with errors",
            Self::ShopTrouble(_, Trouble::Slow(_)) => "faults: a shop is slow",
            Self::ShopTrouble(_, Trouble::BreaksOff(_)) => "faults: a shop breaks off",
            Self::Crowd(..) => "faults: a crowd comes",
        }
    }
}

impl Who {
    /// The node that it is while `leader` leads.
    #[must_use]
    pub fn is(self, leader: Option<NodeId>) -> NodeId {
        match self {
            Self::Node(node) => node,
            Self::Leader(node) => leader.unwrap_or(node),
        }
    }
}

/// The other nodes than `node` in a cluster of so many.
pub fn others(count: u64, node: NodeId) -> impl Iterator<Item = NodeId> {
    nodes(count).filter(move |other| *other != node)
}
