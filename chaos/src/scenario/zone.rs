//! Backends that a name leads to come and go with the records of a real name server, which fails, too.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::front::Front;
use super::pool::{expected, judge_changes, sight};
use super::routing::report_witness;
use super::users::{self, BY_HEADER, Users};
use super::verdicts::{Look, Watch};
use super::{Scenario, ScenarioError, Stage, places};
use crate::report::Report;
use crate::rig::document::{Document, Door, NEVER_IDLE};
use crate::rig::zone::{SERVICES, Zone};
use crate::rig::{Rig, RigError, Setting};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "zone",
    proves: "backends follow a zone at one log index on all nodes, through the leader's death, a zone without records and a dead \
             name server, and no session moves",
    rounds: 1,
    lasts: None,
    limit: Duration::from_secs(300),
    run: |stage| Box::pin(run(stage)),
};

const BACKENDS: usize = 6;
/// Those that the name leads to at first.
const AT_FIRST: usize = 4;
const USERS: usize = 80;
/// Pause of each between two requests.
const PAUSE: Duration = Duration::from_millis(300);
/// Sessions that begin while a backend leaves.
const LATER: usize = 80;
/// How long the leader is away.
const AWAY: Duration = Duration::from_secs(2);
/// How long the zone has no records, and how long its server is dead: several times as long as records are good for.
const NOTHING: Duration = Duration::from_secs(4);
/// Longest wait for the nodes to follow the zone.
const PATIENCE: Duration = Duration::from_secs(30);

const DOOR: Door<'static> = Door { name: "shop", path_prefix: "/", options: NEVER_IDLE, methods: BY_HEADER };

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    for round in 1..=stage.rounds {
        let stage = stage.apart(&format!("round {round}"));
        play(&stage, &format!("round {round}"), &mut report).await?;
    }
    Ok(report)
}

async fn play(stage: &Stage, label: &str, report: &mut Report) -> Result<(), ScenarioError> {
    std::fs::create_dir_all(&stage.directory).map_err(RigError::from)?;
    let mut zone = Zone::start(&stage.outside, &stage.directory)?;
    let dns = format!("[pool.dns]\nname = \"{SERVICES}\"\nrecord = \"srv\"");
    let document = Document::of(&[DOOR]).with_pool("response_timeout = \"2s\"", "", &dns);
    let setting =
        Setting { in_pool: 0, name_server: Some(zone.address), document, ..Setting::plain(BACKENDS) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    let all: Vec<(String, SocketAddr)> =
        rig.backend_places().into_iter().map(|(_, at)| (format!("web-{}", at.port()), at)).collect();
    let named = |places: &[(String, SocketAddr)]| places.iter().map(|(_, at)| *at).collect::<Vec<_>>();
    zone.set_services(&named(&all[..AT_FIRST]))?;
    until_up(&mut rig, AT_FIRST).await?;
    let front = Front::of(stage, &rig);
    let called = |number| format!("client-{number}");
    users::begin(&front, DOOR.path_prefix, (0..USERS).map(called)).await?;
    let users = Users::start(&front, DOOR.path_prefix, (0..USERS).map(called), PAUSE);
    let mut watch = Watch::start_at(&mut rig, &stage.outside.clock, sight(PATIENCE));
    let first = expected(&all[..AT_FIRST], None);
    watch.until_all(&first).await?;
    let before = of_first(&mut rig, &all[0].0).await?;

    // One goes and another comes, and the leader dies.
    let leader = rig.settle().await?;
    zone.set_services(&named(&all[1..=AT_FIRST]))?;
    let exchanged = expected(&all[1..=AT_FIRST], Some(&all[0]));
    watch.until_all(&exchanged).await?;
    rig.kill(&[leader]).await?;
    tokio::time::sleep(AWAY).await;
    rig.restart(leader)?;
    rig.settle().await?;
    let later = (USERS..USERS + LATER).map(called);
    users::begin(&front, DOOR.path_prefix, later).await?;
    let meanwhile = of_first(&mut rig, &all[0].0).await?;

    zone.set_services(&[])?;
    tokio::time::sleep(NOTHING).await;
    zone.end().await?;
    tokio::time::sleep(NOTHING).await;
    zone.set_services(&named(&all[..=AT_FIRST]))?;
    zone.serve()?;
    let back = expected(&all[..=AT_FIRST], None);
    watch.until_all(&back).await?;
    until_up(&mut rig, AT_FIRST + 1).await?;
    let after = of_first(&mut rig, &all[0].0).await?;
    let (seen, looks) = (users.stop().await?, watch.stop().await?);
    rig.settle().await?;

    let changes = [(exchanged.clone(), None), (back.clone(), None)];
    judge_changes(label, &looks, &changes, report);
    judge_lists(label, &looks, &[first, exchanged, back], report);
    judge_first(label, &before, &[meanwhile, after], report);
    seen.judge(label, report);
    seen.judge_moves(label, 0, report);
    report_witness(&rig, report);
    Ok(())
}

async fn until_up(rig: &mut Rig, count: usize) -> Result<(), RigError> {
    rig.until("the backends that the name leads to are up", async |rig| {
        let backends = rig.admin(0).backends().await.map_err(|error| error.to_string())?;
        let up = backends.iter().filter(|backend| backend.health == "up").count();
        if up == count && backends.len() == count { Ok(()) } else { Err(format!("{backends:?}")) }
    })
    .await
}

/// The id of the backend that goes and comes back, and the sessions on it.
#[derive(Debug, PartialEq, Eq)]
struct First {
    id: u64,
    sessions: BTreeSet<String>,
}

async fn of_first(rig: &mut Rig, name: &str) -> Result<First, ScenarioError> {
    rig.settle().await?;
    let id = rig.admin(0).backend(name).await.map_err(RigError::from)?.id;
    let listed = rig.sessions().await?.swap_remove(0);
    // One that leaves is listed with its id behind its name.
    let with_id = format!("{name}#{id}");
    let named = places::on(&listed, name);
    let sessions = named.union(&places::on(&listed, &with_id)).map(|key| (*key).to_owned()).collect();
    Ok(First { id, sessions })
}

/// It is the same one all the while, with the same sessions.
fn judge_first(label: &str, before: &First, others: &[First], report: &mut Report) {
    let count = before.sessions.len();
    report.bar(format!("{label}: sessions on the backend that goes"), count, "some", count > 0);
    for (what, other) in ["while it leaves", "when it is back"].iter().zip(others) {
        report.bar(
            format!("{label}: its id and its sessions {what}"),
            format!("{} and {}", other.id, other.sessions.len()),
            format!("{} and the same {count}", before.id),
            other == before,
        );
    }
}

/// No node ever lists anything else than what the zone says, or said before it had nothing to say.
fn judge_lists(label: &str, looks: &[Look], said: &[String], report: &mut Report) {
    let odd: BTreeSet<&str> = looks
        .iter()
        .map(|look| look.says.as_str())
        .filter(|says| !said.iter().any(|said| said == says))
        .collect();
    let what = format!("{label}: of {} looks at nodes, other lists of backends", looks.len());
    report.bar(what, odd.len(), "0", odd.is_empty());
    report.faults(odd.iter().map(|says| format!("{label}: a node listed {says}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(id: u64, sessions: &[&str]) -> First {
        First { id, sessions: sessions.iter().map(|key| (*key).to_owned()).collect() }
    }

    #[test]
    fn another_id_or_another_session_is_a_failure() {
        let held = |after: First| {
            let mut report = Report::default();
            judge_first("r", &first(7, &["a", "b"]), &[first(7, &["a", "b"]), after], &mut report);
            report.held()
        };
        assert!(held(first(7, &["a", "b"])));
        assert!(!held(first(8, &["a", "b"])));
        assert!(!held(first(7, &["a"])));
        assert!(!held(first(7, &["a", "b", "c"])));
    }
}
