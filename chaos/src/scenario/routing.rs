//! Steps that several scenarios share: acknowledged sessions, and whether nodes route them as they must.

use std::net::SocketAddr;
use std::sync::Arc;

use stickler_rt::Shutdown;

use super::{ScenarioError, Stage};
use crate::load::{Ask, Made, NewSessions, ask_all};
use crate::oracle::ledger::{Ledger, Observed};
use crate::report::Report;
use crate::rig::Rig;
use crate::rig::admin::Listed;

/// Callers that begin or look up sessions where concurrency is not the point.
pub(super) const CALLERS: usize = 32;

/// Begins so many sessions through these nodes and enters them in the ledger. None may be refused.
pub(super) async fn begin_sessions(
    stage: &Stage,
    nodes: Vec<SocketAddr>,
    name: &str,
    count: usize,
    ledger: &mut Ledger,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    let enough = ledger.len() + count;
    let load = NewSessions {
        outside: stage.outside.clone(),
        nodes,
        callers: CALLERS,
        most: count,
        stop: Shutdown::new(),
        name: name.to_owned(),
    };
    // A load that nobody serves would go on for ever; the run's own limit ends it.
    let made = load.run().await;
    if let Some(failure) = &made.first_failure {
        let failures = made.refused + made.broken;
        report.fault(format!("{failures} first requests were not served, the first one: {failure}"));
    }
    report.faults((made.withheld > 0).then(|| format!("{} identifiers were held back", made.withheld)));
    enter(&made, ledger, report);
    if ledger.len() < enough {
        return Err(ScenarioError::Scene(format!("there are {} sessions, not {enough}", ledger.len())));
    }
    Ok(())
}

/// Enters acknowledged sessions in the ledger.
pub(super) fn enter(made: &Made, ledger: &mut Ledger, report: &mut Report) {
    for (identifier, answer) in &made.acknowledged {
        match ledger.observe(identifier, answer) {
            Ok(Observed::New) => {}
            Ok(_) => report.fault(format!("{identifier} was given to two clients")),
            Err(fault) => report.fault(fault),
        }
    }
}

/// How many answers of known sessions were of which kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Routed {
    /// The session was where its client knew it.
    pub stayed: usize,
    /// It has moved, as it may.
    pub moved: usize,
}

/// Sends one request of each session and judges the answers: every one must be served, and fit. With `lists`
/// (of every node, made before), every replica must have had the binding before it was asked for.
pub(super) async fn route(
    stage: &Stage,
    asks: Vec<Ask>,
    lists: &[Listed],
    ledger: &mut Ledger,
    report: &mut Report,
) -> Routed {
    let expected = asks.len();
    let answers = ask_all(&stage.outside, asks, CALLERS).await;
    let mut routed = Routed::default();
    if answers.len() != expected {
        report.fault(format!("{} of {expected} requests were made", answers.len()));
    }
    for (ask, answer) in answers {
        let identifier = &ask.identifier;
        let answer = match answer {
            Ok(answer) if answer.is_served() => answer,
            Ok(answer) => {
                let error = answer.error.unwrap_or_default();
                report.fault(format!("{identifier}: {} {error} from {}", answer.status, ask.node));
                continue;
            }
            Err(error) => {
                report.fault(format!("{identifier}: {error}, from {}", ask.node));
                continue;
            }
        };
        match ledger.observe(identifier, &answer) {
            Ok(Observed::Moved) => routed.moved += 1,
            Ok(_) => routed.stayed += 1,
            Err(fault) => report.fault(fault),
        }
        let Some(key) = &answer.key else {
            report.fault(format!("{identifier}: the backend was not told the session's key"));
            continue;
        };
        for (node, listed) in (1..).zip(lists) {
            if let Err(fault) = ledger.compare(identifier, key, node, listed) {
                report.fault(fault);
            }
        }
    }
    routed
}

/// One request of every session, through the nodes in turn.
pub(super) fn ask_in_turn(ledger: &Ledger, nodes: &[SocketAddr], first: usize) -> Vec<Ask> {
    let nodes = nodes.iter().copied().cycle().skip(first % nodes.len().max(1));
    ledger.identifiers().into_iter().zip(nodes).map(|(identifier, node)| Ask { identifier, node }).collect()
}

/// What the backends have seen together belongs in every report.
pub(super) fn report_witness(rig: &Rig, report: &mut Report) {
    let witness = Arc::clone(&rig.witness);
    report.faults(witness.splits());
    report.figure("requests overtaken by a move (fenced)", witness.overtaken());
}
