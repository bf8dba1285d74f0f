//! The leader dies, again and again.

use std::time::Duration;

use super::routing::{begin_sessions, report_witness};
use super::{Scenario, ScenarioError, Stage};
use crate::oracle::ledger::Ledger;
use crate::report::Report;
use crate::rig::Rig;
use crate::statistics::{Durations, milliseconds};

mod prober;

use prober::{Kind, Probe, Probed, Prober};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "elections",
    proves: "new sessions resume soon after SIGKILL of the leader, and known sessions don't wait at all",
    rounds: 30,
    lasts: None,
    limit: Duration::from_secs(900),
    run: |stage| Box::pin(run(stage)),
};

/// Sessions that exist before the first kill.
const KNOWN: usize = 300;
/// Probing before each kill.
const BEFORE: Duration = Duration::from_millis(300);
/// Probing after each kill: longer than the worst gap may be.
const AFTER: Duration = Duration::from_millis(1500);
/// The bar for the median gap without a successful new session.
const MEDIAN_GAP: Duration = Duration::from_millis(300);
/// The bar for every gap.
const WORST_GAP: Duration = Duration::from_secs(1);
/// A request of a known session that takes longer has waited for something: an election takes longer still.
/// What the machine kept the prober itself waiting in the same round comes on top.
const KNOWN_WORST: Duration = Duration::from_millis(100);

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let mut rig = Rig::start(stage, 3).await?;
    let mut ledger = Ledger::default();
    begin_sessions(stage, rig.addresses(), "known", KNOWN, &mut ledger, &mut report).await?;
    let mut measured = Measured::default();
    for round in 0..stage.rounds {
        let leader = rig.settle().await?;
        let survivors = rig.addresses_without(leader);
        let prober = Prober::start(&stage.outside, survivors, ledger.identifiers(), format!("round-{round}"));
        tokio::time::sleep(BEFORE).await;
        let killed = rig.kill(&[leader]).await?;
        tokio::time::sleep(AFTER).await;
        let until = rig.now();
        let probed = prober.stop().await?;
        measured.take(&probed, killed.0, until.0);
        for probe in &probed.probes {
            judge(probe, &mut ledger, &mut report);
        }
        rig.restart(leader)?;
    }
    rig.settle().await?;
    report.figure("leaders killed", stage.rounds);
    measured.report(&mut report);
    report_witness(&rig, &mut report);
    Ok(report)
}

/// What all elections came to.
#[derive(Debug, Default)]
struct Measured {
    gaps: Durations,
    /// Of every request of a known session, from the kill on.
    known: Durations,
    /// The worst of these, of each election.
    known_worst: Durations,
    late: Durations,
    /// Elections in which a known session waited.
    waited: usize,
    not_served: usize,
}

impl Measured {
    fn take(&mut self, probed: &Probed, killed: Duration, until: Duration) {
        let Probed { probes, late } = probed;
        self.gaps.add(longest_gap(probes, killed, until));
        let known = |probe: &&Probe| matches!(probe.kind, Kind::Known(_)) && probe.ended.0 >= killed;
        let waits: Durations =
            probes.iter().filter(known).map(|probe| probe.ended.since(probe.began)).collect();
        self.waited += usize::from(waits.worst() > KNOWN_WORST + *late);
        self.known_worst.add(waits.worst());
        self.known.extend(waits);
        self.late.add(*late);
        self.not_served += probes.iter().filter(|probe| probe.served().is_none()).count();
    }

    fn report(&self, report: &mut Report) {
        let Self { gaps, known, known_worst, late, waited, not_served } = self;
        let median = gaps.median();
        let held = median <= MEDIAN_GAP;
        report.bar("median gap without a new session", milliseconds(median), "300 ms at most", held);
        report.figure("90th percentile", milliseconds(gaps.quantile(0.9)));
        let worst = gaps.worst();
        let held = worst <= WORST_GAP;
        report.bar("worst gap without a new session", milliseconds(worst), "1 s at most", held);
        report.figure("known sessions' requests from the kills on", known.count());
        report.figure("their median", milliseconds(known.median()));
        report.figure("their 99th percentile", milliseconds(known.quantile(0.99)));
        report.figure("median of the worst of each election", milliseconds(known_worst.median()));
        report.figure("worst of all", milliseconds(known.worst()));
        report.figure("longest that this machine kept the prober waiting", milliseconds(late.worst()));
        report.bar("elections with a known session that waited over 100 ms", waited, "0", *waited == 0);
        report.figure("requests that were not served", not_served);
    }
}

/// The longest time, ending after the kill, in which no new session was served.
fn longest_gap(probes: &[Probe], killed: Duration, until: Duration) -> Duration {
    let served = probes.iter().filter(|probe| probe.kind == Kind::New && probe.served().is_some());
    let mut ends: Vec<Duration> = served.map(|probe| probe.ended.0).collect();
    ends.sort_unstable();
    // The last success before the kill began the gap; what nobody was told since counts from the kill.
    let after = ends.partition_point(|end| *end <= killed);
    let mut longest = Duration::ZERO;
    let mut last = after.checked_sub(1).map_or(killed, |before| ends[before]);
    for end in ends[after..].iter().copied().chain([until]) {
        longest = longest.max(end.saturating_sub(last));
        last = last.max(end);
    }
    longest
}

/// A known session is served, by its backend, whatever happens to the leader.
fn judge(probe: &Probe, ledger: &mut Ledger, report: &mut Report) {
    let Kind::Known(identifier) = &probe.kind else { return };
    match probe.served() {
        Some(answer) => {
            if let Err(fault) = ledger.observe(identifier, answer) {
                report.fault(fault);
            }
        }
        None => report.fault(format!("{identifier}: a known session was not served: {}", probe.failure())),
    }
}

#[cfg(test)]
mod tests {
    use stickler_rt::Moment;

    use super::*;
    use crate::rig::client::Answer;

    fn new_session(ended: u64, status: u16) -> Probe {
        let ended = Moment(Duration::from_millis(ended));
        Probe { kind: Kind::New, began: ended, ended, answer: Ok(Answer { status, ..Answer::default() }) }
    }

    #[test]
    fn the_gap_is_the_longest_time_in_which_nobody_was_served() {
        let served = |ends: &[u64]| ends.iter().map(|end| new_session(*end, 200)).collect::<Vec<_>>();
        let gap = |probes: &[Probe]| {
            longest_gap(probes, Duration::from_millis(100), Duration::from_millis(1000)).as_millis()
        };
        assert_eq!(gap(&served(&[10, 95, 105, 400, 700, 990])), 300);
        assert_eq!(gap(&served(&[90])), 910);
        assert_eq!(gap(&served(&[])), 900);
        let mut refused = served(&[95, 600, 900]);
        refused.push(new_session(300, 503));
        assert_eq!(gap(&refused), 505);
    }
}
