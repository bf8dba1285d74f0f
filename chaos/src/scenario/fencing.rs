//! A node stands still while sessions move, with their requests in its sockets and on their way.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::routing::report_witness;
use super::{Scenario, ScenarioError, Stage};
use crate::identifier::{Door, Identifier};
use crate::report::Report;
use crate::rig::client::{Answer, Client};
use crate::rig::slow_request::SlowRequest;
use crate::rig::{NODES, Rig, RigError};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "fencing",
    proves: "a node that stood still while sessions moved sends nothing by the old epoch; what was on its way is refused",
    rounds: 6,
    lasts: None,
    limit: Duration::from_secs(600),
    run: |stage| Box::pin(run(stage)),
};

/// Sessions that move in each round.
const SESSIONS: usize = 120;
/// Requests of each session that the node finds in its sockets when it goes on.
const QUEUED: usize = 2;

/// How long a node that goes on hears from nobody. It is not long enough to know that it is cut off.
const SILENCE: Duration = Duration::from_millis(350);

/// One session, as its client was last told, and what it has under way.
struct Session {
    identifier: Identifier,
    now: Answer,
    before: Answer,
    on_its_way: Option<SlowRequest>,
    at_the_stop: Option<SlowRequest>,
    queued: Vec<SlowRequest>,
}

/// What became of requests, by the backends' and the node's answers.
#[derive(Default)]
struct Outcomes {
    by_the_new_epoch: usize,
    by_the_old_epoch: usize,
    overtaken: usize,
    refused_by_the_node: usize,
    unanswered: usize,
}

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let mut random = stage.seed.child("nodes").rng();
    let mut rig = Rig::start(stage, 3).await?;
    let mut sessions: Vec<Session> = (0..SESSIONS).map(Session::new).collect();
    let (mut late, mut at_the_stop, mut queued) = Default::default();
    for round in 0..stage.rounds {
        let leader = rig.settle().await?;
        // The leader in every other round.
        let node = (leader + if round % 2 == 0 { random.random_range(1..NODES) } else { 0 }) % NODES;
        let role = if node == leader { "which led" } else { "which followed" };
        let stood_still = format!("round {}: node {}, {role}, stood still", round + 1, node + 1);
        send_before(stage, &rig, node, &mut sessions).await?;
        rig.pause(node)?;
        rig.until("the node stands still", async |rig| {
            if rig.is_paused(node) { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await?;
        for session in &mut sessions {
            session.send_meanwhile(stage, &rig, node).await.map_err(RigError::from)?;
        }
        move_all(stage, &mut rig, node, &mut sessions, &mut random).await?;
        // Every other time that it led, nobody tells the node at first that it was replaced.
        let silent =
            if round % 4 == 1 { (0..NODES).filter(|other| *other != node).collect() } else { Vec::new() };
        silent.iter().try_for_each(|other| rig.pause(*other))?;
        rig.resume(node)?;
        if !silent.is_empty() {
            tokio::time::sleep(SILENCE).await;
        }
        silent.iter().try_for_each(|other| rig.resume(*other))?;
        for session in &mut sessions {
            session.judge(&mut report, &stood_still, [&mut late, &mut at_the_stop, &mut queued]).await;
        }
    }
    rig.settle().await?;
    summarise(&mut report, stage.rounds as usize * SESSIONS, [&late, &at_the_stop, &queued]);
    report_witness(&rig, &mut report);
    Ok(report)
}

/// Brings a request of each session on its way to its backend, and more into the node, which is stopped before it
/// is done with them.
async fn send_before(
    stage: &Stage,
    rig: &Rig,
    node: usize,
    sessions: &mut [Session],
) -> Result<(), ScenarioError> {
    let (witness, address) = (Arc::clone(&rig.witness), rig.addresses()[node]);
    let mut begun = witness.begun();
    let enough = *begun.borrow() + sessions.len();
    for session in &mut *sessions {
        session.now = session.visit(stage, rig, node).await?;
        let value = &session.identifier.value;
        let on_its_way = SlowRequest::begin(&stage.outside, address, value).await.map_err(RigError::from)?;
        session.on_its_way = Some(on_its_way);
    }
    // The witness outlives the scenario.
    let _ = begun.wait_for(|begun| *begun >= enough).await;
    for session in sessions {
        let value = &session.identifier.value;
        let sent = SlowRequest::send(&stage.outside, address, value).await.map_err(RigError::from)?;
        session.at_the_stop = Some(sent);
    }
    Ok(())
}

/// Moves every session to another backend, each with a receipt, through another node than the one that stands still;
/// and has each one's new backend see its new epoch.
async fn move_all(
    stage: &Stage,
    rig: &mut Rig,
    stopped: usize,
    sessions: &mut [Session],
    random: &mut impl Rng,
) -> Result<(), ScenarioError> {
    let operator = (stopped + random.random_range(1..NODES)) % NODES;
    let asked = (0..NODES).find(|node| *node != stopped && *node != operator).unwrap_or(operator);
    rig.until("the others have a leader and leases", async |rig| {
        let status = rig.admin(operator).status().await.map_err(|error| error.to_string())?;
        let other = status.leader != 0 && status.leader != stopped as u64 + 1;
        if other && status.footing == "leased" { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await?;
    let names = rig.backend_names();
    for session in &mut *sessions {
        let others: Vec<&String> = names.iter().filter(|name| **name != session.now.backend).collect();
        let to = others[random.random_range(0..others.len())];
        let (key, epoch) = session.binding()?;
        let moved = rig.admin(operator).move_session(("header", &key, epoch), to).await;
        moved.map_err(RigError::from)?;
        session.before = std::mem::take(&mut session.now);
        session.now = session.visit(stage, rig, asked).await?;
        if session.now.backend != *to || session.now.epoch <= session.before.epoch {
            let what = format!("{} is not at {to} after its move: {:?}", session.identifier, session.now);
            return Err(ScenarioError::Scene(what));
        }
    }
    Ok(())
}

fn summarise(report: &mut Report, sessions: usize, [late, at_the_stop, queued]: [&Outcomes; 3]) {
    let all = sessions * QUEUED;
    report.bar(
        "uploads from before the move, refused",
        late.overtaken,
        format!("{sessions}, all"),
        late.overtaken == sessions,
    );
    report.bar("queued requests sent by the old epoch", queued.astray(), "0", queued.astray() == 0);
    let (served, unanswered) = (queued.by_the_new_epoch, queued.unanswered);
    report.bar(
        format!("queued requests of {all} served by the new epoch"),
        served,
        "more than half",
        served * 2 > all,
    );
    report.figure("queued requests refused by the node", queued.refused_by_the_node);
    report.figure("queued requests whose connection ended", unanswered);
    report.figure("requests at the moment of the stop: served before the move", at_the_stop.by_the_old_epoch);
    report.figure("requests at the moment of the stop: refused as overtaken", at_the_stop.overtaken);
    report
        .figure("requests at the moment of the stop: served by the new epoch", at_the_stop.by_the_new_epoch);
    report.figure("requests at the moment of the stop: refused by the node", at_the_stop.refused_by_the_node);
}

impl Outcomes {
    fn astray(&self) -> usize {
        self.by_the_old_epoch + self.overtaken
    }
}

impl Session {
    fn new(number: usize) -> Self {
        Self {
            identifier: Identifier::new(Door::Header, format!("moving-{number}")),
            now: Answer::default(),
            before: Answer::default(),
            on_its_way: None,
            at_the_stop: None,
            queued: Vec::new(),
        }
    }

    async fn visit(&self, stage: &Stage, rig: &Rig, node: usize) -> Result<Answer, ScenarioError> {
        let mut client = Client::new(&stage.outside, rig.addresses()[node]);
        match client.visit(&self.identifier).await {
            Ok(answer) if answer.is_served() => Ok(answer),
            other => Err(ScenarioError::Scene(format!("{} is not served: {other:?}", self.identifier))),
        }
    }

    fn binding(&self) -> Result<(String, u64), ScenarioError> {
        let binding = self.now.key.clone().zip(self.now.epoch);
        binding.ok_or_else(|| {
            ScenarioError::Scene(format!("{} has no binding: {:?}", self.identifier, self.now))
        })
    }

    /// Fills the sockets of a node that stands still. Every other upload comes to its end there, too; the others
    /// once the node goes on.
    async fn send_meanwhile(&mut self, stage: &Stage, rig: &Rig, node: usize) -> std::io::Result<()> {
        let address = rig.addresses()[node];
        for _ in 0..QUEUED {
            self.queued.push(SlowRequest::send(&stage.outside, address, &self.identifier.value).await?);
        }
        match &mut self.on_its_way {
            Some(upload) if self.now.epoch.is_some_and(|epoch| epoch % 2 == 0) => upload.finish().await,
            _ => Ok(()),
        }
    }

    /// What must have become of all that was under way.
    async fn judge(
        &mut self,
        report: &mut Report,
        stood_still: &str,
        [late, at_the_stop, queued]: [&mut Outcomes; 3],
    ) {
        if let Some(mut upload) = self.on_its_way.take() {
            let answer = match upload.finish().await {
                Ok(()) => upload.answer().await,
                Err(error) => Err(error),
            };
            report.faults(self.count(answer, late));
        }
        if let Some(request) = self.at_the_stop.take() {
            report.faults(self.count(request.answer().await, at_the_stop));
        }
        for request in std::mem::take(&mut self.queued) {
            let astray = queued.astray();
            report.faults(self.count(request.answer().await, queued));
            if queued.astray() > astray {
                report.fault(format!("{stood_still}, and sent {} by the old epoch", self.identifier));
            }
        }
    }

    /// Counts an answer; one that fits nothing is a fault.
    fn count(&self, answer: std::io::Result<Answer>, outcomes: &mut Outcomes) -> Option<String> {
        let Ok(answer) = answer else {
            outcomes.unanswered += 1;
            return None;
        };
        let is_by = |known: &Answer| (&answer.backend, answer.epoch) == (&known.backend, known.epoch);
        let counter = match answer.status {
            200 if is_by(&self.now) => &mut outcomes.by_the_new_epoch,
            200 if is_by(&self.before) => &mut outcomes.by_the_old_epoch,
            412 if is_by(&self.before) => &mut outcomes.overtaken,
            500.. if answer.error.is_some() => &mut outcomes.refused_by_the_node,
            _ => {
                return Some(format!(
                    "{}: neither by the old nor by the new epoch: {answer:?}",
                    self.identifier
                ));
            }
        };
        *counter += 1;
        None
    }
}
