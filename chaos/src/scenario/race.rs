//! First requests of one session that race.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use stickler_rt::Outside;
use tokio::sync::Barrier;

use super::routing::report_witness;
use super::{Scenario, ScenarioError, Stage};
use crate::identifier::{Door, Identifier};
use crate::oracle::ledger::Ledger;
use crate::report::Report;
use crate::rig::Rig;
use crate::rig::client::{Answer, Client, VisitError};
use crate::statistics::{Durations, milliseconds, rate, seconds};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "race",
    proves: "50 first requests of one session, all at once through all nodes, give one backend and one binding",
    rounds: 1,
    lasts: None,
    limit: Duration::from_secs(300),
    run: |stage| Box::pin(run(stage)),
};

/// Sessions in one round.
const SESSIONS: usize = 1000;
/// First requests of each session.
const REQUESTS: usize = 50;
/// Sessions whose first requests race at the same moment.
const AT_ONCE: usize = 8;

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let mut rig = Rig::start(stage, 3).await?;
    let mut sessions: Vec<Identifier> = (0..SESSIONS * stage.rounds as usize)
        .map(|number| Identifier::new(Door::Own, format!("racing-{number}")))
        .collect();
    let mut random = stage.seed.child("order").rng();
    sessions.shuffle(&mut random);

    let began = rig.now();
    let answers = race(&stage.outside, &rig, &sessions).await?;
    let took = rig.now().since(began);
    judge(&sessions, answers, &mut report);
    report.figure("time", seconds(took));
    report.figure("requests a second", rate(sessions.len() * REQUESTS, took));

    rig.settle().await?;
    for (node, listed) in (1..).zip(rig.sessions().await?) {
        let bindings = listed.len();
        report.bar(
            format!("bindings on node {node}"),
            bindings,
            format!("{}, one for each session", sessions.len()),
            bindings == sessions.len(),
        );
    }
    report_witness(&rig, &mut report);
    Ok(report)
}

type Raced = Vec<(Identifier, Duration, Result<Answer, VisitError>)>;

async fn race(outside: &Outside, rig: &Rig, sessions: &[Identifier]) -> Result<Raced, ScenarioError> {
    let nodes = rig.addresses();
    let start = Arc::new(Barrier::new(AT_ONCE * REQUESTS));
    let mut callers = Vec::new();
    for place in 0..AT_ONCE {
        // Each place races through its own sessions, one after the other; callers meet before each of them.
        let own: Vec<Identifier> = sessions.iter().skip(place).step_by(AT_ONCE).cloned().collect();
        for request in 0..REQUESTS {
            let mut client = Client::new(outside, nodes[request % nodes.len()]);
            let (start, own, outside) = (Arc::clone(&start), own.clone(), outside.clone());
            callers.push(tokio::spawn(async move {
                let mut answers = Raced::new();
                for identifier in own {
                    // A node that can't be reached is met again in the request.
                    let _ = client.connect().await;
                    start.wait().await;
                    let began = outside.clock.now();
                    let answer = client.visit(&identifier).await;
                    answers.push((identifier, outside.clock.now().since(began), answer));
                }
                answers
            }));
        }
    }
    let mut answers = Raced::new();
    for caller in callers {
        answers.extend(caller.await?);
    }
    Ok(answers)
}

fn judge(sessions: &[Identifier], answers: Raced, report: &mut Report) {
    let mut ledger = Ledger::default();
    let mut backends: HashMap<Identifier, BTreeSet<String>> = HashMap::new();
    let mut durations = Durations::default();
    let requests = answers.len();
    let mut served = 0;
    for (identifier, duration, answer) in answers {
        match answer {
            Ok(answer) if answer.is_served() => {
                served += 1;
                durations.add(duration);
                if let Err(fault) = ledger.observe(&identifier, &answer) {
                    report.fault(fault);
                }
                backends.entry(identifier).or_default().insert(answer.backend);
            }
            Ok(answer) => {
                report.fault(format!("{identifier}: {} {}", answer.status, answer.error.unwrap_or_default()))
            }
            Err(error) => report.fault(format!("{identifier}: {error}")),
        }
    }
    let split = backends.values().filter(|backends| backends.len() > 1).count();
    let used: BTreeSet<&String> = backends.values().flatten().collect();
    report.figure("sessions", sessions.len());
    report.bar(
        "first requests served",
        served,
        format!("{requests}, all"),
        served == sessions.len() * REQUESTS,
    );
    report.bar("sessions with two backends", split, "0", split == 0);
    report.bar("backends in use", used.len(), "more than one", used.len() > 1);
    report.figure("median first request", milliseconds(durations.median()));
    report.figure("99th percentile", milliseconds(durations.quantile(0.99)));
    report.figure("worst", milliseconds(durations.worst()));
}
