//! What a run consists of: drawn from its seed before it begins, and data, so that a part of it can be left
//! out when a failure is looked into. No draw depends on what happens in the run.

use std::fmt;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use stickler_core::ids::NodeId;
use stickler_core::state::Admin;
use stickler_raft::store::SyncPolicy;
use stickler_rt::Seed;

use super::document::{NAMED, SHOPS, all_shops, nodes};
use super::pool_changes::DocumentPlan;
use super::pool_settings::PoolSettings;

/// When the first fault may come: by then the cluster is founded and has its document.
const FIRST_FAULT: Duration = Duration::from_secs(2);

/// Shortest and longest time of faults, shortest and longest pause between two, and length of one, all in
/// milliseconds.
const TURMOIL: (u64, u64) = (3000, 7500);
const PAUSE: (u64, u64) = (60, 800);
const LENGTH: (u64, u64) = (100, 2800);

/// The same two of a shop's troubles, and of crowds.
const TROUBLE_PAUSE: (u64, u64) = (300, 1500);
const TROUBLE_LENGTH: (u64, u64) = (600, 2800);

/// Segments that a connection must take where crowds come. It is also how many connections wait to be accepted.
const ROOMY: usize = 1024;

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
    /// An operator begins a job.
    Job(Who, JobPlan),
    /// An operator ends the jobs that go on.
    CancelJobs(Who),
    /// A shop says that it wants no new sessions.
    ShopDrains(&'static str),
    /// A shop's process is started again in place: there again before anybody calls it down.
    ShopRestarts(&'static str),
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
pub enum JobPlan {
    /// A shop becomes empty, at so many sessions a second; with a deadline in milliseconds, after which what is left moves
    /// whatever goes on.
    Evacuate(&'static str, u32, Option<u64>),
    /// Sessions become even.
    Rebalance(u32),
    /// The newest job is undone.
    Undo(u32),
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
    /// The plan of a seed, for so many nodes or as many as the seed says.
    #[must_use]
    pub fn draw(seed: u64, count: Option<u64>) -> Self {
        let seed = Seed::from_number(seed).child("plan");
        let mut shape = seed.child("shape").rng();
        let drawn = if shape.random_bool(0.2) { 5 } else { 3 };
        let sync = match shape.random_range(0..5_u64) {
            0 => SyncPolicy::Immediate,
            several => SyncPolicy::After(Duration::from_millis(6 + several * 6)),
        };
        let buffer = if shape.random_bool(0.3) { 64 } else { 4096 };
        let healed = FIRST_FAULT + milliseconds(&mut shape, TURMOIL);
        let waits_for_expiry = shape.random_bool(0.2);
        let nodes = count.unwrap_or(drawn);
        let mut events = Draw { random: seed.child("events").rng(), nodes }.events(healed);
        let pool = PoolSettings::draw(&mut seed.child("pool").rng());
        if pool.are_any() {
            let draw = Draw { random: seed.child("troubles").rng(), nodes };
            events.extend(draw.troubles(healed, buffer >= ROOMY));
            events.sort_by_key(|event| event.at);
            (0..).zip(&mut events).for_each(|(number, event)| event.number = number);
        }
        Self { nodes, sync, buffer, healed, waits_for_expiry, pool, events }
    }

    /// Leaves out all events but those of these numbers.
    pub fn keep_only(&mut self, numbers: &[usize]) {
        self.events.retain(|event| numbers.contains(&event.number));
    }
}

fn milliseconds(random: &mut StdRng, (least, most): (u64, u64)) -> Duration {
    Duration::from_millis(random.random_range(least..most))
}

struct Draw {
    random: StdRng,
    nodes: u64,
}

impl Draw {
    fn events(mut self, healed: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        let mut at = FIRST_FAULT;
        while at < healed {
            let length = milliseconds(&mut self.random, LENGTH);
            let what = self.what();
            events.push(Event { number: events.len(), at, length, what });
            at += milliseconds(&mut self.random, PAUSE);
        }
        events
    }

    /// What the settings of a pool are for. `crowds`: whether any come.
    fn troubles(mut self, healed: Duration, crowds: bool) -> Vec<Event> {
        let mut events = Vec::new();
        let mut at = FIRST_FAULT + milliseconds(&mut self.random, TROUBLE_PAUSE);
        while at < healed {
            let length = milliseconds(&mut self.random, TROUBLE_LENGTH);
            let what = match self.random.random_range(0..3) {
                0 if crowds => What::Crowd(self.who(), self.random.random_range(10..120), self.of_all()),
                _ => What::ShopTrouble(self.shop(), self.trouble()),
            };
            events.push(Event { number: events.len(), at, length, what });
            at += milliseconds(&mut self.random, TROUBLE_PAUSE);
        }
        events
    }

    fn trouble(&mut self) -> Trouble {
        match self.random.random_range(0..3) {
            0 => Trouble::Errs(self.random.random_range(0.4..1.0)),
            1 => Trouble::Slow(milliseconds(&mut self.random, (300, 1500))),
            _ => Trouble::BreaksOff(self.random.random_range(0.3..1.0)),
        }
    }

    /// The trouble of all shops while a crowd is there.
    fn of_all(&mut self) -> Option<Trouble> {
        match self.random.random_range(0..4) {
            0 => Some(Trouble::Errs(1.0)),
            1 => Some(Trouble::BreaksOff(1.0)),
            2 => Some(Trouble::Slow(milliseconds(&mut self.random, (100, 600)))),
            _ => None,
        }
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.random.random_range(1..=self.nodes))
    }

    fn who(&mut self) -> Who {
        let node = self.node();
        if self.random.random_bool(0.35) { Who::Leader(node) } else { Who::Node(node) }
    }

    fn shop(&mut self) -> &'static str {
        let number = self.random.random_range(0..SHOPS.len() + NAMED.len());
        all_shops().nth(number).unwrap_or(SHOPS[0])
    }

    /// None of them, all, or anything in between.
    fn some_named(&mut self) -> Vec<&'static str> {
        NAMED.into_iter().filter(|_| self.random.random_bool(0.6)).collect()
    }

    fn torn(&mut self) -> Option<u64> {
        let seed = self.random.random();
        self.random.random_bool(0.3).then_some(seed)
    }

    fn what(&mut self) -> What {
        let who = self.who();
        match self.random.random_range(0..142) {
            0..6 => What::Kill(who),
            6..12 => What::PowerCut(who, self.torn()),
            12..18 => {
                let all = 0..self.nodes;
                What::PowerCutAll(
                    all.map(|_| (self.torn(), milliseconds(&mut self.random, (20, 1200)))).collect(),
                )
            }
            18..24 => What::Pause(who),
            24..30 => What::CutOff(who),
            30..33 => What::Alone(who),
            33..35 => What::Bridge(who),
            35..40 => What::OneWay(who, self.node()),
            40..42 => What::Flap(who, self.node()),
            42..45 => What::CantReach(who, self.shop()),
            45..49 => What::SlowNetwork(milliseconds(&mut self.random, (20, 120))),
            49..52 => What::SlowNode(who, milliseconds(&mut self.random, (15, 160))),
            52..54 => What::Skew(who, self.random.random_range(0.98..1.02)),
            54..56 => What::DiskFails(who),
            56..61 => What::Compact(who),
            61..69 => What::ShopDies(self.shop()),
            69..72 => What::ShopVanishes(self.shop()),
            72..75 => What::ShopFlaps(self.shop()),
            75..79 => What::Admin(self.shop(), self.admin()),
            79..83 => What::AdminFlaps(self.shop(), milliseconds(&mut self.random, (15, 200))),
            83..95 => What::Operate(who, self.operation()),
            95..100 => What::Document(who, DocumentPlan::draw(&mut self.random)),
            100..103 => What::Stop(who),
            103..106 => What::HandOver(who),
            106..114 => What::Rotate(who),
            114..118 => {
                let delay = milliseconds(&mut self.random, (60, 200));
                What::ComesBackSlowly(who, delay, (0..8).map(|_| self.operation()).collect())
            }
            118..121 => What::ShopDrains(self.shop()),
            121..126 => What::ShopRestarts(self.shop()),
            126..136 => What::Job(who, self.job()),
            136..138 => What::CancelJobs(who),
            _ => What::Name(self.some_named()),
        }
    }

    fn admin(&mut self) -> Admin {
        match self.random.random_range(0..3) {
            0 => Admin::Maint,
            1 => Admin::Drain { deadline: None },
            _ => Admin::Drain { deadline: Some(self.random.random_range(50..800)) },
        }
    }

    fn job(&mut self) -> JobPlan {
        let rate = self.random.random_range(10..60);
        match self.random.random_range(0..5) {
            0 => JobPlan::Rebalance(rate),
            1 => JobPlan::Undo(rate),
            _ => {
                let deadline = self.random.random_range(300..2500);
                let deadline = self.random.random_bool(0.3).then_some(deadline);
                JobPlan::Evacuate(self.shop(), rate, deadline)
            }
        }
    }

    fn operation(&mut self) -> Operation {
        let acts =
            [Act::Move, Act::MoveTwice, Act::Unbind, Act::MoveAndUnbind, Act::UnbindByRule, Act::MoveByRule];
        Operation {
            pick: self.random.random(),
            thinks: milliseconds(&mut self.random, (1, 400)),
            act: acts[self.random.random_range(0..acts.len())],
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} nodes, sync {:?}, healed at {:?}", self.nodes, self.sync, self.healed)?;
        if self.pool.are_any() {
            writeln!(f, "{:?}", self.pool)?;
        }
        for event in &self.events {
            let (from, length) = (event.at.as_secs_f64(), event.length.as_secs_f64());
            writeln!(f, "  {:3}  at {from:6.3} s, for {length:.3} s: {:?}", event.number, event.what)?;
        }
        Ok(())
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
