//! `stickler session`: which sessions there are, where they are, and how to end and to move them.

use stickler_proto::admin::{ListSessionsRequest, Session, ShowSessionRequest};

use super::Target;
use super::backends::{backend_name, named};
use super::conflicts;
use super::session_changes::{self, MoveOptions, UnbindOptions};
use crate::admin_client::{Nodes, Purpose, next_of};
use crate::failure::Failure;
use crate::printer::{self, Format, JsonArray, Table};

/// How many sessions are listed when nobody says.
const LISTED: u64 = 1000;

/// What to do with sessions.
#[derive(Debug, clap::Subcommand)]
pub enum SessionCommand {
    /// List sessions: key, backend, epoch, and how each came to its backend
    #[command(after_help = "Example: stickler session list --backend shop/web-1 --limit 20")]
    List(ListOptions),
    /// Show one session, by its key or by what its client sends
    #[command(
        after_help = "Example: stickler session show cart --identifier 'value of the client'\\''s cookie'"
    )]
    Show(NamedSession),
    /// End a session, or all that a rule means: their clients are new ones from then on
    #[command(after_help = "\
Examples:
  stickler session unbind cart 0123456789abcdef0123456789abcdef
  stickler session unbind cart --identifier 'value of the client'\\''s cookie' --wait all
  stickler session unbind --backend shop/web-1 --older-than 2h --dry-run
  stickler session unbind --affinity cart --rate 2000 --yes

Done means that no node that holds a lease routes by the session any more; nodes without a lease are named, and
--wait all waits for them. A rule means the sessions that are there when it is given. Ctrl-C ends it: what is done
is done.")]
    Unbind(UnbindOptions),
    /// Move a session to another backend of its pool, or all sessions of a backend
    #[command(after_help = "\
Examples:
  stickler session move cart 0123456789abcdef0123456789abcdef --to shop/web-2
  stickler session move --backend shop/web-1 --to shop/web-2 --rate 100

The backend must take new sessions. What the application kept of a session in the old backend's memory does not
move along.")]
    Move(MoveOptions),
}

/// Which sessions to list.
#[derive(Debug, clap::Args)]
pub struct ListOptions {
    /// Only sessions of this affinity
    #[arg(long, default_value = "", hide_default_value = true)]
    affinity: String,
    /// Only sessions on this backend
    #[arg(long, value_name = "POOL/NAME", value_parser = backend_name)]
    backend: Option<String>,
    /// Instead, what nodes that were cut off served by epochs that had ended: the binding that counts is another one
    #[arg(long, conflicts_with_all = ["affinity", "backend", "local", "limit"])]
    conflicts: bool,
    /// All that the node's own replica holds, even when the node has lost the others and its view may be old
    #[arg(long)]
    local: bool,
    /// The most sessions that are listed; 0 is all [default: 1000, with --local all]
    #[arg(long)]
    limit: Option<u64>,
    #[command(flatten)]
    target: Target,
}

/// One session.
#[derive(Debug, clap::Args)]
pub struct NamedSession {
    /// The affinity by which the client was recognised
    affinity: String,
    /// The session's key, as `session list` shows it
    #[arg(required_unless_present = "identifier")]
    key: Option<String>,
    /// What the client sends: the value of its cookie or header, its bearer token, or its address
    #[arg(long, conflicts_with = "key", value_name = "VALUE")]
    identifier: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Runs one of the commands.
///
/// # Errors
/// [`Failure`].
pub async fn run(command: &SessionCommand) -> Result<(), Failure> {
    match command {
        SessionCommand::List(options) => list(options).await,
        SessionCommand::Show(named) => show(named).await,
        SessionCommand::Unbind(options) => session_changes::unbind(options).await,
        SessionCommand::Move(options) => session_changes::move_session(options).await,
    }
}

/// Where listed sessions are printed, as they come.
enum Listed {
    Table(Table),
    Json(JsonArray),
}

impl Listed {
    fn begin(format: Format) -> Result<Self, Failure> {
        Ok(match format {
            Format::Table => {
                Self::Table(Table::new(&["AFFINITY", "KEY", "BACKEND", "EPOCH", "AGE", "IDLE", "CAUSE"]))
            }
            Format::Json => Self::Json(JsonArray::begin()?),
        })
    }

    fn add(&mut self, sessions: Vec<Session>) -> Result<(), Failure> {
        match self {
            Self::Table(table) => {
                for session in sessions {
                    table.row([
                        session.affinity.clone(),
                        session.key.clone(),
                        backend(&session),
                        session.epoch.to_string(),
                        printer::duration(session.age_milliseconds),
                        printer::duration(session.idle_milliseconds),
                        session.cause,
                    ]);
                }
                table.print()?;
            }
            Self::Json(array) => {
                for session in sessions {
                    array.push(&session)?;
                }
            }
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        match self {
            Self::Table(mut table) => table.print()?,
            Self::Json(array) => array.end()?,
        }
        Ok(())
    }
}

/// Where a session is, as people read it.
pub(super) fn backend(session: &Session) -> String {
    if session.backend_name.is_empty() {
        format!("#{} (removed)", session.backend)
    } else {
        session.backend_name.clone()
    }
}

async fn list(options: &ListOptions) -> Result<(), Failure> {
    if options.conflicts {
        return conflicts::list(&options.target).await;
    }
    let nodes = options.target.nodes();
    let backend = match &options.backend {
        Some(name) => named(&nodes, name).await?.id,
        None => 0,
    };
    let limit = options.limit.unwrap_or(if options.local { 0 } else { LISTED });
    let request =
        ListSessionsRequest { affinity: options.affinity.clone(), backend, limit, local: options.local };
    let mut stream = nodes
        .ask(Purpose::Look, async |mut node| {
            node.list_sessions(request.clone()).await.map(tonic::Response::into_inner)
        })
        .await?;
    let mut listed = Listed::begin(options.target.output)?;
    let mut count = 0;
    while let Some(reply) = next_of(&mut stream).await? {
        count += u64::try_from(reply.sessions.len()).unwrap_or(u64::MAX);
        listed.add(reply.sessions)?;
    }
    listed.end()?;
    if limit > 0 && count >= limit {
        printer::note(&format!("{limit} sessions, and there may be more: see --limit"));
    }
    Ok(())
}

pub(super) async fn look_up(nodes: &Nodes, request: ShowSessionRequest) -> Result<Session, Failure> {
    nodes
        .ask(Purpose::Look, async |mut node| {
            node.show_session(request.clone()).await.map(tonic::Response::into_inner)
        })
        .await
}

impl NamedSession {
    async fn look_up(&self) -> Result<Session, Failure> {
        let request = ShowSessionRequest {
            affinity: self.affinity.clone(),
            key: self.key.clone().unwrap_or_default(),
            identifier: self.identifier.clone().unwrap_or_default(),
        };
        look_up(&self.target.nodes(), request).await
    }
}

async fn show(named: &NamedSession) -> Result<(), Failure> {
    let session = named.look_up().await?;
    if named.target.output == Format::Json {
        return Ok(printer::json(&session)?);
    }
    let mut table = Table::new(&["SESSION", ""]);
    for (name, value) in [
        ("affinity", session.affinity.clone()),
        ("key", session.key.clone()),
        ("backend", backend(&session)),
        ("epoch", session.epoch.to_string()),
        ("cause", session.cause.clone()),
        ("age", printer::duration(session.age_milliseconds)),
        ("idle", printer::duration(session.idle_milliseconds)),
        ("usable from", format!("index {}", session.usable_from)),
    ] {
        table.row([name.to_owned(), value]);
    }
    Ok(table.print()?)
}
