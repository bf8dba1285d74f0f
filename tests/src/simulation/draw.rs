//! Draws a plan from a seed, before its run begins. No draw depends on what happens in the run.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use stickler_core::ids::NodeId;
use stickler_core::state::{Admin, AtDeadline};
use stickler_raft::store::SyncPolicy;
use stickler_rt::Seed;

use super::crowd::Wants;
use super::document::{NAMED, SHOPS, all_shops};
use super::plan::{Act, Event, JobPlan, JobWork, Operation, Plan, Trouble, What, Who};
use super::pool_changes::DocumentPlan;
use super::pool_settings::PoolSettings;

/// When the first fault may come: by then the cluster is founded and has its document.
const FIRST_FAULT: Duration = Duration::from_secs(2);

/// Shortest and longest time of faults (the second where a plan keeps to few), pause between two, and length of one, all
/// in milliseconds.
const TURMOIL: (u64, u64) = (3000, 7500);
const LONG_TURMOIL: (u64, u64) = (5000, 8500);
const PAUSE: (u64, u64) = (60, 800);
const LENGTH: (u64, u64) = (100, 2800);
const LONG_PAUSE: (u64, u64) = (400, 1200);
const SHORT_LENGTH: (u64, u64) = (100, 900);

/// Pause and length of a shop's troubles, and of crowds.
const TROUBLE_PAUSE: (u64, u64) = (300, 1500);
const TROUBLE_LENGTH: (u64, u64) = (600, 2800);

/// Segments that a connection must take where crowds come. It is also how many connections wait to be accepted.
const ROOMY: usize = 1024;

/// What a plan is about. Most have everything; but some mistakes show only where a few things come together, and nothing
/// else gets in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    /// All that can go wrong.
    Everything,
    /// Nodes and links are well, and operators busy: what must wait for exchanges that go on has them.
    Operations,
    /// One node is far away: it knows late what the others know, and leaves and comes back by slow links.
    FarNode(NodeId),
    /// Nodes and links are well, shops go and come back, and crowds come that could go to any of them.
    Newcomers,
}

/// The plan of a seed, for so many nodes or as many as the seed says.
#[must_use]
pub fn draw(seed: u64, count: Option<u64>) -> Plan {
    let seed = Seed::from_number(seed).child("plan");
    let mut shape = seed.child("shape").rng();
    let drawn = if shape.random_bool(0.2) { 5 } else { 3 };
    let sync = match shape.random_range(0..5_u64) {
        0 => SyncPolicy::Immediate,
        several => SyncPolicy::After(Duration::from_millis(6 + several * 6)),
    };
    let narrow = shape.random_bool(0.3);
    let waits_for_expiry = shape.random_bool(0.2);
    let nodes = count.unwrap_or(drawn);
    let far = NodeId(shape.random_range(1..=nodes));
    let theme = match shape.random_range(0..20) {
        0..12 => Theme::Everything,
        12..15 => Theme::Operations,
        15..18 => Theme::FarNode(far),
        _ => Theme::Newcomers,
    };
    let length = if theme == Theme::Everything { TURMOIL } else { LONG_TURMOIL };
    let healed = FIRST_FAULT + milliseconds(&mut shape, length);
    let mut events = Draw { random: seed.child("events").rng(), nodes, theme }.events(healed);
    let mut settings = seed.child("pool").rng();
    let pool = PoolSettings::draw(&mut settings);
    let pool = if theme == Theme::Newcomers { pool.for_newcomers(&mut settings) } else { pool };
    let buffer = if narrow && theme != Theme::Newcomers { 64 } else { 4096 };
    if pool.are_any() {
        let draw = Draw { random: seed.child("troubles").rng(), nodes, theme };
        events.extend(draw.troubles(healed, buffer >= ROOMY));
        events.sort_by_key(|event| event.at);
        (0..).zip(&mut events).for_each(|(number, event)| event.number = number);
    }
    let well = matches!(theme, Theme::Operations | Theme::Newcomers);
    Plan { nodes, sync, buffer, healed, waits_for_expiry, well, pool, events }
}

fn milliseconds(random: &mut StdRng, (least, most): (u64, u64)) -> Duration {
    Duration::from_millis(random.random_range(least..most))
}

struct Draw {
    random: StdRng,
    nodes: u64,
    theme: Theme,
}

impl Draw {
    fn events(mut self, healed: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        let mut at = FIRST_FAULT;
        // Where shops come back, most are there.
        let few = self.theme == Theme::Newcomers;
        let (length, pause) = if few { (SHORT_LENGTH, LONG_PAUSE) } else { (LENGTH, PAUSE) };
        while at < healed {
            let length = milliseconds(&mut self.random, length);
            let what = match self.theme {
                Theme::Everything => self.anything(),
                Theme::Operations => self.operations(),
                Theme::FarNode(node) => self.far_node(Who::Node(node)),
                Theme::Newcomers => self.newcomers(),
            };
            events.push(Event { number: events.len(), at, length, what });
            at += milliseconds(&mut self.random, pause);
        }
        events
    }

    /// What the settings of a pool are for. `crowds`: whether any come.
    fn troubles(mut self, healed: Duration, crowds: bool) -> Vec<Event> {
        let mut events = Vec::new();
        let mut at = FIRST_FAULT + milliseconds(&mut self.random, TROUBLE_PAUSE);
        while at < healed {
            let length = milliseconds(&mut self.random, TROUBLE_LENGTH);
            let most = if self.theme == Theme::Operations { 2 } else { 1 };
            let what = match self.random.random_range(0..3) {
                crowd if crowd < most && crowds => self.crowd(),
                _ => What::ShopTrouble(self.shop(), self.trouble()),
            };
            events.push(Event { number: events.len(), at, length, what });
            at += milliseconds(&mut self.random, TROUBLE_PAUSE);
        }
        events
    }

    fn crowd(&mut self) -> What {
        let who = self.who();
        match self.theme {
            // Most of it waits for longer than it may.
            Theme::Operations => {
                let slow = Trouble::Slow(milliseconds(&mut self.random, (200, 900)));
                What::Crowd(who, self.random.random_range(40..200), Some(slow))
            }
            _ => What::Crowd(who, self.random.random_range(10..120), self.of_all()),
        }
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

    fn anything(&mut self) -> What {
        let who = self.who();
        match self.random.random_range(0..145) {
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
            114..117 => self.comes_back_slowly(who),
            117..118 => self.leaves_slowly(who),
            118..121 => What::ShopDrains(self.shop()),
            121..126 => What::ShopRestarts(self.shop()),
            126..136 => What::Job(who, self.job()),
            136..138 => What::CancelJobs(who),
            138..141 => What::ShopIll(self.shop()),
            _ => What::Name(self.some_named()),
        }
    }

    /// What operators do, and what lets exchanges take long.
    fn operations(&mut self) -> What {
        let who = self.who();
        match self.random.random_range(0..46) {
            0..10 => {
                let (shop, rate) = (self.shop(), self.random.random_range(20..100));
                let job = self.with_other_options(JobPlan { rate, ..evacuates(shop) });
                What::JobAtSlowShop(who, job, shop, milliseconds(&mut self.random, (200, 1200)))
            }
            10..14 => {
                let job = self.job();
                What::Job(who, self.with_other_options(job))
            }
            14..15 => What::CancelJobs(who),
            15..18 => What::PauseJobs(who),
            18..23 => {
                What::ShopTrouble(self.shop(), Trouble::Slow(milliseconds(&mut self.random, (100, 900))))
            }
            23..29 => What::Operate(who, self.operation()),
            29..31 => What::Document(who, DocumentPlan::draw(&mut self.random)),
            31..32 => What::Name(self.some_named()),
            32..34 => What::Rotate(who),
            34..36 => What::ShopDrains(self.shop()),
            36..37 => What::HandOver(who),
            37..38 => What::Compact(who),
            38..40 => What::ShopIll(self.shop()),
            40..42 => What::ShopDies(self.shop()),
            42..44 => What::Job(who, JobPlan { work: JobWork::Undo, ..self.job() }),
            _ => What::Admin(self.shop(), self.admin()),
        }
    }

    /// Shops that come back, and crowds.
    fn newcomers(&mut self) -> What {
        let who = self.who();
        match self.random.random_range(0..20) {
            0..12 => {
                let wants = if self.random.random_bool(0.5) { Wants::Session } else { Wants::Page };
                let shop = SHOPS[self.random.random_range(0..SHOPS.len())];
                What::Newcomer(who, shop, self.random.random_range(80..200), wants)
            }
            12..15 => {
                let slow = Trouble::Slow(milliseconds(&mut self.random, (400, 1200)));
                What::Crowd(who, self.random.random_range(100..200), Some(slow))
            }
            15..16 => What::ShopDies(self.shop()),
            16..17 => What::ShopDrains(self.shop()),
            17..18 => What::ShopIll(self.shop()),
            18..19 => What::Admin(self.shop(), self.admin()),
            _ => What::HandOver(who),
        }
    }

    /// What happens to one node that is far away, and at the others meanwhile.
    fn far_node(&mut self, far: Who) -> What {
        let who = self.who();
        match self.random.random_range(0..40) {
            0..4 => self.comes_back_slowly(far),
            4..10 => self.leaves_slowly(far),
            10..18 => What::SlowNode(far, milliseconds(&mut self.random, (60, 200))),
            18..28 => What::Rotate(who),
            28..37 => What::Operate(who, self.operation()),
            37..38 => What::HandOver(who),
            38..39 => What::Compact(who),
            _ => What::SlowNetwork(milliseconds(&mut self.random, (20, 120))),
        }
    }

    fn comes_back_slowly(&mut self, who: Who) -> What {
        let delay = milliseconds(&mut self.random, (60, 200));
        What::ComesBackSlowly(who, delay, (0..8).map(|_| self.operation()).collect())
    }

    fn leaves_slowly(&mut self, who: Who) -> What {
        let delay = milliseconds(&mut self.random, (100, 250));
        What::LeavesSlowly(who, delay, (0..8).map(|_| self.operation()).collect())
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
        let work = match self.random.random_range(0..5) {
            0 => JobWork::Rebalance,
            1 => JobWork::Undo,
            _ => {
                let deadline = self.random.random_range(300..2500);
                let deadline = self.random.random_bool(0.3).then_some(deadline);
                return JobPlan { rate, deadline, ..evacuates(self.shop()) };
            }
        };
        JobPlan { work, rate, ..evacuates(SHOPS[0]) }
    }

    /// The same job with other options.
    fn with_other_options(&mut self, job: JobPlan) -> JobPlan {
        let deadline = self.random.random_range(500..2500);
        JobPlan {
            deadline: self.random.random_bool(0.3).then_some(deadline),
            at_deadline: [AtDeadline::Skip, AtDeadline::Close, AtDeadline::Move]
                [self.random.random_range(0..3)],
            tells: self.random.random_bool(0.5),
            ..job
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

/// The plainest job.
const fn evacuates(shop: &'static str) -> JobPlan {
    let work = JobWork::Evacuate(shop);
    JobPlan { work, rate: 20, deadline: None, at_deadline: AtDeadline::Move, tells: false }
}
