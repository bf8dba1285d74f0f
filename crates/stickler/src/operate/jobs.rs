//! `stickler job`, `stickler backend evacuate` and `stickler pool rebalance`: many sessions that move one after the other.

use std::time::Duration;

use stickler_proto::admin::{
    ChangeJobReply, ChangeJobRequest, Job, ListJobsReply, ListJobsRequest, StartJobReply, StartJobRequest,
};

use super::Target;
use super::backends::{backend_name, duration, named};
use crate::admin_client::{Nodes, Purpose};
use crate::failure::Failure;
use crate::printer::{self, Format, Table};

/// How often a job that is watched is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What to do with jobs.
#[derive(Debug, clap::Subcommand)]
pub enum JobCommand {
    /// Show every job that goes on, and the last ones that are over
    List(Target),
    /// Show how far a job has come, until it is over
    Watch(JobOptions),
    /// Let a job rest: what is held goes on where it is
    Pause(JobOptions),
    /// Let a paused job go on
    Resume(JobOptions),
    /// End a job; what has moved stays there
    Cancel(JobOptions),
    /// Move the sessions back that a job has moved, as long as they are where it has put them
    #[command(after_help = "Example: stickler job undo 3 --rate 100")]
    Undo(UndoOptions),
}

/// Which job.
#[derive(Debug, clap::Args)]
pub struct JobOptions {
    /// The job's number, as `job list` shows it
    job: u64,
    #[command(flatten)]
    target: Target,
}

/// Which job to undo, and how.
#[derive(Debug, clap::Args)]
pub struct UndoOptions {
    /// The job's number; it must be over
    job: u64,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    target: Target,
}

/// Which pool to even out, and how.
#[derive(Debug, clap::Args)]
pub struct RebalanceOptions {
    /// The pool
    pool: String,
    /// The most sessions that move
    #[arg(long, value_name = "SESSIONS", default_value_t = 0, hide_default_value = true)]
    max_moves: u64,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    target: Target,
}

/// Which backend to empty, and how.
#[derive(Debug, clap::Args)]
pub struct EvacuateOptions {
    /// The backend: its pool and its name. It drains from now on
    #[arg(value_name = "POOL/NAME", value_parser = backend_name)]
    backend: String,
    /// Where its sessions go; else as the pool's algorithm says
    #[arg(long, value_name = "POOL/NAME", value_parser = backend_name)]
    to: Option<String>,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    target: Target,
}

/// How a job goes about it.
#[derive(Debug, clap::Args)]
struct Pace {
    /// Sessions a second
    #[arg(long, value_name = "SESSIONS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Sessions of this affinity alone
    #[arg(long, value_name = "NAME")]
    affinity: Option<String>,
    /// How long the requests of a session are held while its last exchange goes on; then it is let go, and tried again later
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    hold: u64,
    /// When the job is over, whatever is left; without it, when nothing is left
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    deadline: Option<u64>,
    /// What becomes of sessions that are left then
    #[arg(long, value_enum, default_value_t, requires = "deadline")]
    at_deadline: AtDeadline,
    /// Told of each session before it moves, with POST: "http://{backend}/path", or an IP address and a port. A session
    /// stays if the answer is not from 200 to 299
    #[arg(long, value_name = "URL")]
    hook: Option<String>,
    /// Only count the sessions
    #[arg(long)]
    dry_run: bool,
    /// Show how far it has come, until it is over
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
}

/// What becomes of sessions that are left at a job's deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum AtDeadline {
    /// They stay where they are
    #[default]
    Skip,
    /// They end: their clients are new ones
    Close,
    /// They move, and what goes on is cut off
    Move,
}

/// Runs one of the commands.
///
/// # Errors
/// [`Failure`].
pub async fn run(command: &JobCommand) -> Result<(), Failure> {
    match command {
        JobCommand::List(target) => list(target).await,
        JobCommand::Watch(options) => watch(&options.target, options.job).await,
        JobCommand::Pause(options) => change(options, "pause").await,
        JobCommand::Resume(options) => change(options, "resume").await,
        JobCommand::Cancel(options) => change(options, "cancel").await,
        JobCommand::Undo(UndoOptions { job, pace, target }) => {
            let request = StartJobRequest { work: "undo".to_owned(), undo: *job, ..pace.request() };
            start(target, pace, request).await
        }
    }
}

/// Evens out a pool.
pub(super) async fn rebalance(options: &RebalanceOptions) -> Result<(), Failure> {
    let RebalanceOptions { pool, max_moves, pace, target } = options;
    let request = StartJobRequest {
        work: "rebalance".to_owned(),
        pool: pool.clone(),
        most_moves: *max_moves,
        ..pace.request()
    };
    start(target, pace, request).await
}

/// Empties a backend.
///
/// # Errors
/// [`Failure`].
pub(super) async fn evacuate(options: &EvacuateOptions) -> Result<(), Failure> {
    let EvacuateOptions { backend, to, pace, target } = options;
    let nodes = target.nodes();
    let from = named(&nodes, backend).await?.id;
    let to = match to {
        Some(to) => named(&nodes, to).await?.id,
        None => 0,
    };
    let request = StartJobRequest { work: "evacuate".to_owned(), backend: from, to, ..pace.request() };
    start(target, pace, request).await
}

impl Pace {
    fn request(&self) -> StartJobRequest {
        let at_deadline = match self.at_deadline {
            AtDeadline::Skip => "skip",
            AtDeadline::Close => "close",
            AtDeadline::Move => "move",
        };
        StartJobRequest {
            affinity: self.affinity.clone().unwrap_or_default(),
            rate: self.rate,
            hold_milliseconds: self.hold,
            deadline_milliseconds: self.deadline,
            at_deadline: at_deadline.to_owned(),
            hook: self.hook.clone().unwrap_or_default(),
            dry_run: self.dry_run,
            ..StartJobRequest::default()
        }
    }
}

async fn start(target: &Target, pace: &Pace, request: StartJobRequest) -> Result<(), Failure> {
    let nodes = target.nodes();
    let newest = ask(&nodes).await?.jobs.last().map_or(0, |job| job.id);
    let request = StartJobRequest { expected_job: newest, ..request };
    let purpose = if pace.dry_run { Purpose::Look } else { Purpose::Change };
    let reply: StartJobReply = nodes
        .ask(purpose, async |mut node| node.start_job(request.clone()).await.map(tonic::Response::into_inner))
        .await?;
    match (target.output, pace.dry_run) {
        (Format::Json, _) => printer::json(&reply)?,
        (Format::Table, true) => printer::line(&format!("{} sessions would move", reply.sessions))?,
        (Format::Table, false) => printer::line(&format!(
            "job {}: {} sessions, {} a second; begun at index {}",
            reply.job, reply.sessions, pace.rate, reply.index
        ))?,
    }
    if pace.watch { watch(target, reply.job).await } else { Ok(()) }
}

async fn change(options: &JobOptions, change: &str) -> Result<(), Failure> {
    let nodes = options.target.nodes();
    let job = find(&nodes, options.job).await?;
    let request =
        ChangeJobRequest { job: job.id, expected_revision: job.revision, change: change.to_owned() };
    let reply: ChangeJobReply = nodes
        .ask(Purpose::Change, async |mut node| {
            node.change_job(request.clone()).await.map(tonic::Response::into_inner)
        })
        .await?;
    match options.target.output {
        Format::Json => printer::json(&reply)?,
        Format::Table => printer::line(&format!("job {}: {change} at index {}", job.id, reply.index))?,
    }
    Ok(())
}

async fn list(target: &Target) -> Result<(), Failure> {
    let reply = ask(&target.nodes()).await?;
    if target.output == Format::Json {
        return Ok(printer::json(&reply)?);
    }
    let mut table = Table::new(&[
        "JOB",
        "WORK",
        "STATE",
        "MOVED",
        "LEFT",
        "HELD",
        "NOT QUIET",
        "HOOKS FAILED",
        "ENDS IN",
    ]);
    for job in &reply.jobs {
        table.row([
            job.id.to_string(),
            format!("{} {}", job.work, job.subject),
            job.state.clone(),
            job.moved.to_string(),
            job.left.to_string(),
            job.announced.to_string(),
            job.not_quiet.to_string(),
            job.hooks_failed.to_string(),
            estimate(job).map_or_else(String::new, printer::duration),
        ]);
    }
    Ok(table.print()?)
}

/// In how many milliseconds a job that goes on is over, by its rate.
fn estimate(job: &Job) -> Option<u64> {
    (job.state == "running").then(|| {
        let by_rate = job.left * 1000 / u64::from(job.rate.max(1));
        job.deadline_milliseconds.map_or(by_rate, |left| left.min(by_rate))
    })
}

/// Tells how far a job has come, once a second, until it is over.
async fn watch(target: &Target, number: u64) -> Result<(), Failure> {
    let nodes = target.nodes();
    loop {
        let job = find(&nodes, number).await?;
        match target.output {
            Format::Json => printer::json(&job)?,
            Format::Table => printer::line(&told(&job))?,
        }
        if job.state == "done" || job.state == "cancelled" {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn told(job: &Job) -> String {
    let mut text = format!("job {} {}: {} moved, {} left", job.id, job.state, job.moved, job.left);
    for (count, what) in [(job.announced, "held"), (job.hooks_failed, "stay since their hook failed")] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    if let Some(left) = estimate(job) {
        text.push_str(&format!(", {} to go", printer::duration(left)));
    }
    text
}

async fn find(nodes: &Nodes, number: u64) -> Result<Job, Failure> {
    let found = ask(nodes).await?.jobs.into_iter().find(|job| job.id == number);
    found.ok_or_else(|| {
        Failure::Refused(format!("there is no job {number}: `job list` shows those there are"))
    })
}

async fn ask(nodes: &Nodes) -> Result<ListJobsReply, Failure> {
    nodes
        .ask(Purpose::Look, async |mut node| {
            node.list_jobs(ListJobsRequest {}).await.map(tonic::Response::into_inner)
        })
        .await
}
