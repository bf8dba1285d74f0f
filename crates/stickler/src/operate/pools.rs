//! `stickler pool`, and how backends get into pools and out of them.

use stickler_proto::admin::{
    AddBackendRequest, Backend, ChangePoolReply, Pool, Removal, RemoveBackendRequest,
};

use super::Target;
use super::backends::{backend_name, duration, listed, times};
use super::drains::watch_id;
use super::jobs::{RebalanceOptions, rebalance};
use crate::admin_client::Purpose;
use crate::failure::Failure;
use crate::printer::{self, Format, Table};

/// What to do with pools.
#[derive(Debug, clap::Subcommand)]
pub enum PoolCommand {
    /// Show every pool: sessions, how uneven they are, requests on all nodes, and how long responses take
    List(Target),
    /// Even out the bound sessions of a pool, as after backends were added, with the fewest moves
    #[command(after_help = "Example: stickler pool rebalance shop --dry-run")]
    Rebalance(RebalanceOptions),
}

/// The backend to add.
#[derive(Debug, clap::Args)]
pub struct AddOptions {
    /// The backend: its pool, and a name that is new there
    #[arg(value_name = "POOL/NAME", value_parser = backend_name)]
    backend: String,
    /// Where it accepts connections
    #[arg(value_name = "ADDRESS")]
    address: std::net::SocketAddr,
    /// Its share of new sessions
    #[arg(long)]
    weight: Option<u32>,
    /// The most sessions that it may have
    #[arg(long, value_name = "SESSIONS")]
    max_sessions: Option<u64>,
    /// The most requests that each node has in flight to it
    #[arg(long, value_name = "REQUESTS")]
    max_requests: Option<u32>,
    /// What the application calls it in its identifiers, where that is not its name
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// The backend to take out, and what becomes of its sessions.
#[derive(Debug, clap::Args)]
pub struct RemoveOptions {
    /// The backend: its pool and its name
    #[arg(value_name = "POOL/NAME", value_parser = backend_name)]
    backend: String,
    /// How long its sessions may stay; without it, the drain_timeout of its pool
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "force")]
    deadline: Option<u64>,
    /// Take it out at once: its sessions move, or end, with their next request
    #[arg(long)]
    force: bool,
    /// Show how many sessions are left, until it is gone
    #[arg(long, conflicts_with = "force")]
    watch: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs one of the commands.
///
/// # Errors
/// [`Failure`].
pub async fn run(command: &PoolCommand) -> Result<(), Failure> {
    match command {
        PoolCommand::List(target) => list(target).await,
        PoolCommand::Rebalance(options) => rebalance(options).await,
    }
}

async fn list(target: &Target) -> Result<(), Failure> {
    let reply = listed(&target.nodes(), true).await?;
    if target.output == Format::Json {
        return Ok(printer::json(&reply.pools)?);
    }
    let mut table = Table::new(&[
        "POOL",
        "BALANCE",
        "BACKENDS",
        "TAKING",
        "SESSIONS",
        "IMBALANCE",
        "IN FLIGHT",
        "WAITING",
        "SLOWEST",
    ]);
    for pool in &reply.pools {
        let mut of_pool = reply.backends.iter().filter(|backend| backend.pool == pool.name);
        table.row(row(pool, &mut of_pool));
    }
    table.print()?;
    super::backends::note_unheard(&reply);
    Ok(())
}

fn row(pool: &Pool, backends: &mut dyn Iterator<Item = &Backend>) -> [String; 9] {
    let backends: Vec<&Backend> = backends.collect();
    let sum =
        |part: fn(&Backend) -> u64| backends.iter().map(|backend| part(backend)).sum::<u64>().to_string();
    let slowest = backends.iter().max_by_key(|backend| backend.tail_microseconds);
    [
        pool.name.clone(),
        pool.balance.clone(),
        pool.backends.to_string(),
        pool.taking.to_string(),
        pool.sessions.to_string(),
        format!("{}%", pool.imbalance_per_mille.div_ceil(10)),
        sum(|backend| backend.in_flight),
        sum(|backend| backend.waiting),
        slowest
            .filter(|backend| backend.responses > 0)
            .map_or_else(String::new, |slowest| format!("{} {}", slowest.name, times(slowest))),
    ]
}

/// Adds a backend to its pool.
pub(super) async fn add(options: &AddOptions) -> Result<(), Failure> {
    let (pool, name) = options.backend.split_once('/').unwrap_or_default();
    let request = AddBackendRequest {
        pool: pool.to_owned(),
        name: name.to_owned(),
        address: options.address.to_string(),
        weight: options.weight,
        max_sessions: options.max_sessions,
        max_requests: options.max_requests,
        route: options.route.clone().unwrap_or_default(),
    };
    let nodes = options.target.nodes();
    let adding = nodes.ask(Purpose::Change, async |mut node| {
        node.add_backend(request.clone()).await.map(tonic::Response::into_inner)
    });
    told(&options.target, &options.backend, "added", &adding.await?)?;
    let added = super::backends::named(&nodes, &options.backend).await?;
    if added.admin != "ready" {
        // It was there before, and what operators decided about it still stands.
        printer::note(&format!("{0} is in {1}: stickler backend ready {0}", options.backend, added.admin));
    }
    Ok(())
}

/// Takes a backend out of its pool.
pub(super) async fn remove(options: &RemoveOptions) -> Result<(), Failure> {
    let (pool, name) = options.backend.split_once('/').unwrap_or_default();
    let nodes = options.target.nodes();
    // By its id it is found again when its name is free for another one.
    let watched = match options.watch {
        true => Some(super::backends::named(&nodes, &options.backend).await?.id),
        false => None,
    };
    let removal = Removal { force: options.force, drain_milliseconds: options.deadline };
    let request =
        RemoveBackendRequest { pool: pool.to_owned(), name: name.to_owned(), removal: Some(removal) };
    let removing = nodes.ask(Purpose::Change, async |mut node| {
        node.remove_backend(request.clone()).await.map(tonic::Response::into_inner)
    });
    let what = if options.force { "removed" } else { "leaves, and keeps its sessions meanwhile" };
    told(&options.target, &options.backend, what, &removing.await?)?;
    match watched {
        Some(id) => watch_id(&options.target, &format!("{}#{id}", options.backend), id).await,
        None => Ok(()),
    }
}

fn told(target: &Target, backend: &str, what: &str, reply: &ChangePoolReply) -> Result<(), Failure> {
    match target.output {
        Format::Json => printer::json(reply)?,
        Format::Table => printer::line(&format!(
            "{backend}: {what}; the cluster document has revision {} at index {}",
            reply.revision, reply.index
        ))?,
    }
    Ok(())
}
