//! Backends that pass their checks and do not do their work: they answer with errors, or break off.

mod ejection;
mod retries;

use std::time::Duration;

use super::routing::report_witness;
use super::users::BY_HEADER;
use super::visits::{Callers, KnownAs};
use super::{Scenario, ScenarioError, Stage};
use crate::report::Report;
use crate::rig::document::{Document, Door, NEVER_IDLE};
use crate::rig::{Rig, Setting};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "brownout",
    proves: "a backend that passes its checks and answers with errors gets hardly anything new and keeps its sessions, never \
             more than their share of a pool is ejected, and retries hide one that breaks off without becoming a storm",
    rounds: 2,
    lasts: None,
    limit: Duration::from_secs(300),
    run: |stage| Box::pin(run(stage)),
};

const BACKENDS: usize = 4;
/// At most 30 in 100 backends of a pool: one of four.
const MOST_EJECTED: usize = 1;
const POOL: &str = "retry = \"idempotent\"\nretry_budget = 20";
const EJECTION: &str =
    "[pool.ejection]\nconsecutive_errors = 5\ntime = \"2s\"\nlongest = \"20s\"\nmax_share = 30";

const DOOR: Door<'static> = Door { name: "shop", path_prefix: "/", options: NEVER_IDLE, methods: BY_HEADER };

/// Requests that need no session.
const PASSERS: Callers = Callers {
    name: "passer",
    path: "/open",
    known_as: KnownAs::Nobody,
    count: 40,
    pause: Duration::from_millis(200),
};

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    for round in 1..=stage.rounds {
        let stage = stage.apart(&format!("round {round}"));
        let label = format!("round {round}");
        let document = Document::of(&[DOOR]).with_open_route(PASSERS.path).with_pool(POOL, "", EJECTION);
        let mut rig = Rig::start_with(&stage, &Setting { document, ..Setting::plain(BACKENDS) }).await?;
        // First, as long as nobody is ejected.
        Box::pin(retries::play(&stage, &mut rig, &label, &mut report)).await?;
        Box::pin(ejection::play(&stage, &mut rig, &label, &mut report)).await?;
        rig.settle().await?;
        report_witness(&rig, &mut report);
    }
    Ok(report)
}
