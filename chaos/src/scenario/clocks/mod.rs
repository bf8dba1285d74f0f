//! Wall clocks that are an hour apart, that jump, and that have gone on while the cluster was down.

mod ends;
mod users;

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::routing::report_witness;
use super::{Scenario, ScenarioError, Stage};
use crate::identifier::Door;
use crate::report::Report;
use crate::rig::client::Client;
use crate::rig::document::Document;
use crate::rig::{NODES, Rig, RigError, Setting};
use crate::statistics::seconds;
use ends::{Ends, Hashes, Idle, Leaderless, Look};
use users::Users;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "clocks",
    proves: "with clocks an hour apart, jumping, or an hour later after a stop, no session in use ends, and each idle \
             one in its time, at one log index (I8)",
    rounds: 1,
    lasts: None,
    limit: Duration::from_secs(400),
    run: |stage| Box::pin(run(stage)),
};

/// After so long without use a session ends, or a fifth of it later.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Sessions that are idle in each step.
const IDLE: usize = 45;
/// Clients of each pace.
const USERS: usize = 12;
/// Pauses between requests of sessions in use: often, and just often enough.
const PACES: [Duration; 2] = [Duration::from_millis(700), Duration::from_millis(8_500)];
/// Pause between two looks at the nodes.
const LOOK: Duration = Duration::from_millis(50);
/// Longest watch: whatever has not ended by then never does.
const WATCH: Duration = Duration::from_secs(25);
/// How often clocks jump.
const JUMP: Duration = Duration::from_millis(300);
/// How often leadership moves meanwhile.
const MOVE: Duration = Duration::from_secs(2);

const HOUR: i64 = 3600;

/// What is done to the clocks while sessions are idle.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The nodes' clocks are ahead by so many seconds, and the node at this place leads.
    Apart { ahead: [i64; NODES], leader: usize },
    /// All clocks jump by up to an hour, either way, again and again, and leadership goes round.
    Jumping,
    /// All nodes stop; when they start, an hour has gone by on all their clocks.
    Down,
}

const STEPS: [(&str, Step); 5] = [
    ("the node ahead leads", Step::Apart { ahead: [HOUR, 0, -HOUR], leader: 0 }),
    ("then the node behind", Step::Apart { ahead: [HOUR, 0, -HOUR], leader: 2 }),
    ("its clock jumps by two hours", Step::Apart { ahead: [-HOUR, 0, HOUR], leader: 2 }),
    ("all clocks jump, leadership goes round", Step::Jumping),
    ("down for an hour", Step::Down),
];

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let document = Document::shop_with(IDLE_TIMEOUT);
    let setting = Setting { breakable: true, document, ..Setting::plain(3) };
    let rig = Rig::start_with(stage, &setting).await?;
    let users = Users::start(&stage.outside, rig.addresses(), &PACES, USERS).await?;
    let random = stage.seed.child("jumps").rng();
    let mut play = Play { stage, rig, users, random, hashes: Hashes::default(), report: &mut report };
    for round in 1..=stage.rounds {
        for (name, step) in STEPS {
            play.step(&format!("{round}, {name}"), step).await?;
        }
    }
    let Play { rig, users, hashes, .. } = play;
    users.judge(&mut report).await?;
    report.bar("log indexes at which two nodes were compared", hashes.compared, "some", hashes.compared > 0);
    report_witness(&rig, &mut report);
    Ok(report)
}

struct Play<'a> {
    stage: &'a Stage,
    rig: Rig,
    users: Users,
    random: StdRng,
    hashes: Hashes,
    report: &'a mut Report,
}

impl Play<'_> {
    async fn step(&mut self, name: &str, step: Step) -> Result<(), ScenarioError> {
        let mut ends = Ends::of(self.begin_idle().await?);
        let mut leaderless = Leaderless::default();
        match step {
            Step::Apart { ahead, leader } => {
                self.set_clocks(ahead)?;
                leaderless.most = self.lead(leader).await?;
                self.watch(&mut ends, false).await?;
            }
            Step::Jumping => {
                leaderless.most = self.watch(&mut ends, true).await?;
                self.set_clocks([0; NODES])?;
            }
            Step::Down => {
                leaderless = self.stop_and_start().await?;
                self.look_at_all(&mut ends).await?;
                let (left, all) = (ends.left(), IDLE * NODES);
                self.report.bar(
                    format!("{name}: idle sessions that are there afterwards"),
                    left,
                    format!("{all}"),
                    left == all,
                );
                self.watch(&mut ends, false).await?;
            }
        }
        let ended = ends.judge(IDLE_TIMEOUT, leaderless);
        let wrong = ended.early.len() + ended.late.len() + ended.apart.len();
        let span = |at: Option<Duration>| at.map_or_else(|| "never".to_owned(), seconds);
        self.report.bar(
            format!("{name}: {IDLE} idle sessions ended after"),
            format!("{} to {}", span(ended.soonest), span(ended.latest)),
            format!(
                "{} to {} with a leader, at one index on all nodes; without one {} to {}",
                seconds(IDLE_TIMEOUT),
                seconds(IDLE_TIMEOUT * 6 / 5),
                seconds(leaderless.least),
                seconds(leaderless.most)
            ),
            wrong == 0,
        );
        for (what, sessions) in
            [("early", ended.early), ("late", ended.late), ("not at one index", ended.apart)]
        {
            self.report.faults(
                sessions.first().map(|it| format!("{name}: {} {what}, such as {it}", sessions.len())),
            );
        }
        Ok(())
    }

    /// Begins sessions that nobody uses any more after one visit, and sees to it that all nodes have them.
    async fn begin_idle(&mut self) -> Result<Vec<Idle>, ScenarioError> {
        let nodes = self.rig.addresses();
        let mut clients: Vec<Client> =
            nodes.iter().map(|node| Client::new(&self.stage.outside, *node)).collect();
        let name = self.rig.now();
        let mut all = Vec::new();
        for number in 0..IDLE {
            let door = Door::ALL[number % Door::ALL.len()];
            let header = door.is_by_header().then(|| format!("idle-{name}-{number}"));
            let failed =
                |error: &dyn std::fmt::Display| ScenarioError::Scene(format!("no idle session: {error}"));
            let first = clients[number % NODES].visit_door(door, header.as_deref()).await;
            let value = header.or(first.map_err(|error| failed(&error))?.revealed);
            // The backend is told the key of a session that it knows.
            let sent = self.rig.now();
            let second = clients[(number + 1) % NODES].visit_door(door, value.as_deref()).await;
            let answer = second.map_err(|error| failed(&error))?;
            let key = answer.key.clone().ok_or_else(|| failed(&format!("{answer:?}")))?;
            all.push(Idle { key, sent, answered: self.rig.now() });
        }
        Ok(all)
    }

    fn set_clocks(&mut self, ahead: [i64; NODES]) -> Result<(), RigError> {
        for (node, seconds) in ahead.into_iter().enumerate() {
            if let Some(control) = self.rig.control(node) {
                control.set_wall_clock_ahead(seconds)?;
            }
        }
        Ok(())
    }

    /// Has the node at this place lead; how long that took, in which nobody may have led.
    async fn lead(&mut self, place: usize) -> Result<Duration, RigError> {
        let wanted = place as u64 + 1;
        let began = self.rig.now();
        self.rig
            .until("leadership is where it is wanted", async |rig| {
                let status = rig.admin(place).status().await.map_err(|error| error.to_string())?;
                if status.leader == wanted {
                    return Ok(());
                }
                let handed_over = rig.admin(place).hand_over(wanted).await;
                handed_over.map_err(|error| error.to_string())?;
                Err(format!("node {} leads", status.leader))
            })
            .await?;
        Ok(self.rig.now().since(began))
    }

    /// Looks at the nodes until all idle sessions have ended; how long leadership was on its way meanwhile.
    async fn watch(&mut self, ends: &mut Ends, jumping: bool) -> Result<Duration, RigError> {
        let began = self.rig.now();
        let mut on_its_way = Duration::ZERO;
        let (mut jumps, mut moves) = (0, 0);
        while ends.left() > 0 && self.rig.now().since(began) < WATCH {
            self.rig.check_processes()?;
            self.look_at_all(ends).await?;
            let elapsed = self.rig.now().since(began);
            if jumping && elapsed > JUMP * jumps {
                jumps += 1;
                let ahead = std::array::from_fn(|_| self.random.random_range(-HOUR..=HOUR));
                self.set_clocks(ahead)?;
            }
            if jumping && elapsed > MOVE * moves {
                moves += 1;
                on_its_way += self.lead(moves as usize % NODES).await?;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(on_its_way)
    }

    async fn look_at_all(&mut self, ends: &mut Ends) -> Result<(), RigError> {
        for node in 0..NODES {
            let began = self.rig.now();
            let before = self.rig.admin(node).status().await?;
            let keys = self.rig.admin(node).sessions().await?.into_keys().collect();
            let after = self.rig.admin(node).status().await?;
            let look = Look {
                node,
                began,
                ended: self.rig.now(),
                before: before.applied_index,
                after: after.applied_index,
                keys,
            };
            ends.take(&look);
            for status in [before, after] {
                let taken = self.hashes.take(node, status.applied_index, status.state_hash);
                self.report.faults(taken.err());
            }
        }
        Ok(())
    }

    /// Stops all nodes, lets an hour go by on their clocks, and starts them again.
    async fn stop_and_start(&mut self) -> Result<Leaderless, RigError> {
        let held = self.users.hold().await;
        let stopping = self.rig.now();
        self.rig.kill(&[0, 1, 2]).await?;
        let stopped = self.rig.now();
        for node in 0..NODES {
            if let Some(control) = self.rig.control(node) {
                control.pass_while_stopped(HOUR)?;
            }
        }
        let starting = self.rig.now();
        for node in 0..NODES {
            self.rig.restart(node)?;
        }
        self.rig.settle().await?;
        let started = self.rig.now();
        drop(held);
        Ok(Leaderless { least: starting.since(stopped), most: started.since(stopping) })
    }
}
