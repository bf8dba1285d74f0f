//! `stickler backend`: which backends there are, and what operators make of them.

use stickler_proto::admin::{
    Backend, ListBackendsReply, ListBackendsRequest, SetBackendAdminReply, SetBackendAdminRequest,
};

use super::Target;
use super::drains::{DrainOptions, drain, watch};
use super::jobs::{EvacuateOptions, evacuate};
use super::pools::{AddOptions, RemoveOptions, add, remove};
use crate::admin_client::{Nodes, Purpose};
use crate::failure::Failure;
use crate::printer::{self, Format, Table};

/// What to do with backends.
#[derive(Debug, clap::Subcommand)]
pub enum BackendCommand {
    /// Show every backend: address, weight, admin state, health, sessions
    List(Target),
    /// Let a backend take new sessions again
    Ready(ChangeOptions),
    /// Give a backend no new sessions; those it has stay until they end, or until the deadline
    #[command(after_help = "Example: stickler backend drain shop/web-1 --deadline 30m --watch")]
    Drain(DrainOptions),
    /// Show how many sessions are left on a backend that drains or leaves, until none is
    Watch(ChangeOptions),
    /// Add a backend to a pool of the cluster document
    #[command(after_help = "Example: stickler backend add shop/web-7 10.0.0.17:8080")]
    Add(AddOptions),
    /// Take a backend out of the cluster document: it keeps its sessions until they end, or for some time at the most
    #[command(after_help = "Example: stickler backend remove shop/web-1 --deadline 30m --watch")]
    Remove(RemoveOptions),
    /// Take a backend out at once: its sessions move with their next request
    Maint(ChangeOptions),
    /// Move a backend's sessions away one by one, at some pace, each when nothing of it goes on
    #[command(after_help = "Example: stickler backend evacuate shop/web-1 --rate 200 --watch")]
    Evacuate(EvacuateOptions),
}

/// Which backend to change.
#[derive(Debug, clap::Args)]
pub struct ChangeOptions {
    /// The backend: its pool and its name
    #[arg(value_name = "POOL/NAME", value_parser = backend_name)]
    pub(super) backend: String,
    #[command(flatten)]
    pub(super) target: Target,
}

/// Runs one of the commands.
///
/// # Errors
/// [`Failure`].
pub async fn run(command: &BackendCommand) -> Result<(), Failure> {
    match command {
        BackendCommand::List(target) => list(target).await,
        BackendCommand::Ready(options) => change(options, "ready", None).await,
        BackendCommand::Drain(options) => drain(options).await,
        BackendCommand::Watch(options) => watch(&options.target, &options.backend).await,
        BackendCommand::Add(options) => add(options).await,
        BackendCommand::Remove(options) => remove(options).await,
        BackendCommand::Maint(options) => change(options, "maint", None).await,
        BackendCommand::Evacuate(options) => evacuate(options).await,
    }
}

async fn list(target: &Target) -> Result<(), Failure> {
    let reply = listed(&target.nodes(), true).await?;
    if target.output == Format::Json {
        return Ok(printer::json(&reply)?);
    }
    let mut table = Table::new(&[
        "BACKEND",
        "ADDRESS",
        "WEIGHT",
        "ADMIN",
        "HEALTH",
        "SESSIONS",
        "IN FLIGHT",
        "WAITING",
        "MEDIAN, 99%",
        "LOST",
    ]);
    for backend in &reply.backends {
        table.row([
            called(backend),
            backend.address.clone(),
            backend.weight.to_string(),
            admin(backend),
            health(backend),
            backend.sessions.to_string(),
            backend.in_flight.to_string(),
            backend.waiting.to_string(),
            times(backend),
            backend.lost_sessions.to_string(),
        ]);
    }
    table.print()?;
    note_unheard(&reply);
    Ok(())
}

fn admin(backend: &Backend) -> String {
    let left = |what: &str, left: u64| format!("{what} ({} left)", printer::duration(left));
    match (backend.leave_milliseconds, backend.drain_milliseconds) {
        (Some(leave), _) => left("leaves", leave),
        (None, Some(drain)) => left(&backend.admin, drain),
        (None, None) => backend.admin.clone(),
    }
}

fn health(backend: &Backend) -> String {
    let mut text = backend.health.clone();
    if backend.drains_itself {
        text.push_str(", drains itself");
    }
    if !backend.ejected_by.is_empty() {
        let nodes: Vec<String> = backend.ejected_by.iter().map(u64::to_string).collect();
        text.push_str(&format!(", ejected by {}", nodes.join(", ")));
    }
    text
}

/// How long its responses took, over the last minute or two.
pub(super) fn times(backend: &Backend) -> String {
    if backend.responses == 0 {
        return String::new();
    }
    let milliseconds = |microseconds: u64| match microseconds {
        ..10_000 => format!("{}.{}ms", microseconds / 1000, microseconds % 1000 / 100),
        _ => printer::duration(microseconds / 1000),
    };
    format!("{}, {}", milliseconds(backend.median_microseconds), milliseconds(backend.tail_microseconds))
}

/// Says whose requests are not in what was listed.
pub(super) fn note_unheard(reply: &ListBackendsReply) {
    if !reply.unheard.is_empty() {
        let nodes: Vec<String> = reply.unheard.iter().map(u64::to_string).collect();
        printer::note(&format!("requests of node {} are not counted: it did not answer", nodes.join(", ")));
    }
}

pub(super) async fn change(
    options: &ChangeOptions,
    admin: &str,
    drain_milliseconds: Option<u64>,
) -> Result<(), Failure> {
    let nodes = options.target.nodes();
    let backend = named(&nodes, &options.backend).await?;
    let request = SetBackendAdminRequest {
        id: backend.id,
        admin: admin.to_owned(),
        drain_milliseconds,
        expected_revision: backend.revision,
    };
    let reply: SetBackendAdminReply = nodes
        .ask(Purpose::Change, async |mut node| {
            node.set_backend_admin(request.clone()).await.map(tonic::Response::into_inner)
        })
        .await?;
    match options.target.output {
        Format::Json => printer::json(&reply)?,
        Format::Table => {
            let sessions = match admin {
                "drain" => format!(", {} sessions left", backend.sessions),
                _ => String::new(),
            };
            printer::line(&format!("{}: {admin} at index {}{sessions}", options.backend, reply.index))?;
        }
    }
    Ok(())
}

/// All backends and pools, with the requests of all nodes or of the one that is asked.
pub(super) async fn listed(nodes: &Nodes, all_nodes: bool) -> Result<ListBackendsReply, Failure> {
    nodes
        .ask(Purpose::Look, async |mut node| {
            node.list_backends(ListBackendsRequest { all_nodes }).await.map(tonic::Response::into_inner)
        })
        .await
}

/// The backend of this pool and name.
pub(super) async fn named(nodes: &Nodes, name: &str) -> Result<Backend, Failure> {
    let backends = listed(nodes, false).await?.backends;
    let names: Vec<String> = backends.iter().map(called).collect();
    let is_meant = |backend: &Backend| called(backend) == name || numbered(backend) == name;
    backends.into_iter().find(is_meant).ok_or_else(|| {
        Failure::Refused(match names.as_slice() {
            [] => format!("there is no backend {name}: no cluster document was applied yet"),
            names => format!("there is no backend {name}; there are: {}", names.join(", ")),
        })
    })
}

/// A backend's pool and name; with its id where another one may have its name by now.
pub(super) fn called(backend: &Backend) -> String {
    match backend.leave_milliseconds {
        Some(_) => numbered(backend),
        None => format!("{}/{}", backend.pool, backend.name),
    }
}

fn numbered(backend: &Backend) -> String {
    format!("{}/{}#{}", backend.pool, backend.name, backend.id)
}

/// A pool and a backend's name.
pub(super) fn backend_name(written: &str) -> Result<String, String> {
    match written.split_once('/') {
        Some((pool, name)) if !pool.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(written.to_owned())
        }
        _ => Err("write the pool and the backend's name, such as shop/web-1".to_owned()),
    }
}

/// A duration above zero, in milliseconds.
pub(super) fn duration(written: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let digits = written.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = written.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    unit.and_then(|(_, unit)| number.parse::<u64>().ok()?.checked_mul(*unit))
        .filter(|milliseconds| *milliseconds > 0)
        .ok_or_else(|| "write a whole number above 0 and one of ms, s, m, h, d, such as 30m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_needs_a_unit() {
        assert_eq!(duration("5m"), Ok(300_000));
        assert_eq!(duration("250ms"), Ok(250));
        for bad in ["", "5", "m", "0s", "5 m", "-5m", "1w", "99999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_backend_is_named_with_its_pool() {
        assert!(backend_name("shop/web-1").is_ok());
        for bad in ["web-1", "/web-1", "shop/", "a/b/c", ""] {
            assert!(backend_name(bad).is_err(), "{bad}");
        }
    }
}
