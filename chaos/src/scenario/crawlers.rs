//! Clients that never come back.

use std::net::SocketAddr;
use std::time::Duration;

use stickler_rt::Outside;
use tokio::task::JoinSet;

use super::{Scenario, ScenarioError, Stage};
use crate::report::Report;
use crate::rig::client::Client;
use crate::rig::document::{Document, Door, NEVER_IDLE};
use crate::rig::{Rig, RigError, Setting};
use crate::statistics::{rate, seconds};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "crawlers",
    proves: "clients that never show the cookie they got, 100,000 requests in a round, leave nothing in the replicated \
             state",
    rounds: 1,
    lasts: None,
    limit: Duration::from_secs(300),
    run: |stage| Box::pin(run(stage)),
};

/// Requests in one round.
const REQUESTS: usize = 100_000;
/// Clients at once. Each has a connection that it keeps, and no cookies.
const CALLERS: usize = 48;
/// How long the log is watched while nobody asks for anything.
const REST: Duration = Duration::from_secs(10);
/// Log entries that requests may have caused in the whole run: reports of backends' health, an election.
const STRAY_ENTRIES: u64 = 20;

/// Stickler's cookie, as it is called without more.
const COOKIE: &str = "STICKLER";

const CRAWLED: Door<'static> = Door {
    name: "crawled",
    path_prefix: "/",
    options: NEVER_IDLE,
    methods: "[[affinity.by]]\nmethod = \"cookie\"\nrecord = \"on-return\"",
};

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let setting = Setting { document: Document::of(&[CRAWLED]), ..Setting::plain(3) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    rig.settle().await?;
    let first = committed(&mut rig).await?;
    tokio::time::sleep(REST).await;
    let second = committed(&mut rig).await?;

    let requests = REQUESTS * stage.rounds as usize;
    let began = rig.now();
    let crawled = crawl(&stage.outside, &rig.addresses(), requests).await?;
    let took = rig.now().since(began);
    let entries = committed(&mut rig).await? - second;
    rig.check_processes()?;

    let Crawled { served, cookies, failure } = crawled;
    report.bar("requests without a cookie", served, format!("{requests}, all"), served == requests);
    report.bar("cookies that were given out", cookies, requests.to_string(), cookies == requests);
    report.faults(failure);
    report.figure("time", seconds(took));
    report.figure("requests a second", rate(served, took));
    rig.settle().await?;
    let lists = rig.sessions().await?;
    for (node, (status, listed)) in (1..).zip(rig.statuses().await?.iter().zip(lists)) {
        let found = (status.sessions, listed.len());
        report.bar(
            format!("sessions on node {node}, by its status and listed"),
            format!("{} and {}", found.0, found.1),
            "0 and 0",
            found == (0, 0),
        );
    }
    report.figure("log entries in 10 s at rest", second - first);
    let most = (second - first) as f64 * took.as_secs_f64() / REST.as_secs_f64() * 2.0;
    let most = most.ceil() as u64 + STRAY_ENTRIES;
    report.bar(
        "log entries meanwhile",
        entries,
        format!("{most} at most, as time alone makes"),
        entries <= most,
    );
    Ok(report)
}

/// The last log entry that is committed.
async fn committed(rig: &mut Rig) -> Result<u64, RigError> {
    let statuses = rig.statuses().await?;
    Ok(statuses.iter().map(|status| status.committed_index).max().unwrap_or(0))
}

/// What clients without cookies were told.
#[derive(Debug, Default)]
struct Crawled {
    served: usize,
    cookies: usize,
    /// How the first request ended that was not served.
    failure: Option<String>,
}

async fn crawl(outside: &Outside, nodes: &[SocketAddr], requests: usize) -> Result<Crawled, ScenarioError> {
    let mut crawlers = JoinSet::new();
    for number in 0..CALLERS {
        let mut client = Client::new(outside, nodes[number % nodes.len()]);
        let own = requests / CALLERS + usize::from(number < requests % CALLERS);
        crawlers.spawn(async move {
            let mut crawled = Crawled::default();
            for _ in 0..own {
                match client.ask("/", &[], Some(COOKIE)).await {
                    Ok((answer, _)) if answer.is_served() => {
                        crawled.served += 1;
                        crawled.cookies += usize::from(answer.revealed.is_some());
                    }
                    other => {
                        crawled.failure.get_or_insert_with(|| format!("{other:?}"));
                    }
                }
            }
            crawled
        });
    }
    let mut all = Crawled::default();
    while let Some(crawled) = crawlers.join_next().await {
        let crawled = crawled?;
        all.served += crawled.served;
        all.cookies += crawled.cookies;
        all.failure = all.failure.or(crawled.failure);
    }
    Ok(all)
}
