//! Backends that a command adds to a pool, or takes out: a change of the cluster document's text, made here and applied as
//! any other document is, so that the document goes on to be all there is to know.

use std::net::SocketAddr;
use std::sync::Arc;

use stickler_core::document::check_cluster;
use stickler_core::document::edit::{self, EditError, NewBackend};
use stickler_core::ids::LogIndex;
use stickler_core::state::{AdminOutcome, ApplyDocument, Catalog, Command, Outcome, Removal, Source};
use stickler_proto::admin::{AddBackendRequest, ChangePoolReply, RemoveBackendRequest};
use stickler_raft::Cluster;
use tonic::Status;

use super::changes::{Audited, LONGEST_DRAIN, admin_outcome, all, propose};
use super::connection::Caller;

/// How often a change is made anew because somebody else was faster.
const ATTEMPTS: usize = 5;

/// Adds a backend.
pub(super) async fn add_backend(
    cluster: &Cluster,
    caller: Caller,
    request: AddBackendRequest,
) -> Result<ChangePoolReply, Status> {
    let backend = written(request)?;
    let subject = format!("{}/{} at {}", backend.pool, backend.name, backend.address);
    let change = edited(cluster.clone(), Removal::Drain { deadline: None }, move |_, source| {
        edit::add_backend(source, &backend).map_err(not_edited)
    });
    Audited { caller, action: "add backend", subject }.run(change).await
}

/// Takes a backend out.
pub(super) async fn remove_backend(
    cluster: &Cluster,
    caller: Caller,
    request: RemoveBackendRequest,
) -> Result<ChangePoolReply, Status> {
    let removal = removal(request.removal)?;
    let RemoveBackendRequest { pool, name, .. } = request;
    let subject = format!("{pool}/{name} with {removal:?}");
    let change = edited(cluster.clone(), removal, move |catalog, source| {
        edit::remove_backend(source, &pool, &name).map_err(|error| match error {
            EditError::NoBackend { .. } if is_discovered(catalog, &pool, &name) => {
                Status::failed_precondition(format!(
                    "a name leads to {pool}/{name}: take it out of the zone, or drain it with `backend drain`"
                ))
            }
            error => not_edited(error),
        })
    });
    Audited { caller, action: "remove backend", subject }.run(change).await
}

/// What an operator wants to become of the sessions of backends that are removed.
pub(super) fn removal(wanted: Option<stickler_proto::admin::Removal>) -> Result<Removal, Status> {
    let wanted = wanted.unwrap_or_default();
    match (wanted.force, wanted.drain_milliseconds) {
        (true, None) => Ok(Removal::Now),
        (true, Some(_)) => Err(Status::invalid_argument("a removal is forced, or drains: not both")),
        (false, Some(deadline)) if deadline == 0 || deadline > LONGEST_DRAIN => {
            Err(Status::invalid_argument("a drain's deadline lies between a millisecond and a year from now"))
        }
        (false, deadline) => Ok(Removal::Drain { deadline }),
    }
}

fn written(request: AddBackendRequest) -> Result<NewBackend, Status> {
    let AddBackendRequest { pool, name, address, weight, max_sessions, max_requests, route } = request;
    let no_address = |_| Status::invalid_argument("a backend's address is an IP address and a port");
    let address: SocketAddr = address.parse().map_err(no_address)?;
    let route = Some(route).filter(|route| !route.is_empty());
    Ok(NewBackend { pool, name, address, weight, max_sessions, max_requests, route })
}

/// Applies the document as `edit` changes its text, on what others do meanwhile.
async fn edited(
    cluster: Cluster,
    removal: Removal,
    edit: impl Fn(&Catalog, &str) -> Result<String, Status>,
) -> Result<(LogIndex, ChangePoolReply), Status> {
    for _ in 0..ATTEMPTS {
        let catalog = Arc::clone(&cluster.view().catalog);
        let Some(document) = &catalog.document else {
            return Err(Status::failed_precondition("no cluster document was applied yet"));
        };
        let text = edit(&catalog, &document.source)?;
        let document = check_cluster("the changed document", &text)
            .map_err(|problems| Status::invalid_argument(all(&problems)))?;
        let apply = ApplyDocument { document, expected: catalog.revision, removal };
        let answer = propose(&cluster, Command::ApplyDocument(Box::new(apply))).await?;
        if matches!(answer.1, Outcome::Admin(AdminOutcome::Changed(_))) {
            continue;
        }
        let (index, revision) = admin_outcome(answer, "the cluster document")?;
        return Ok((index, ChangePoolReply { revision: revision.0, index: index.0 }));
    }
    Err(Status::failed_precondition("others change the cluster document all the time: try again"))
}

fn not_edited(error: EditError) -> Status {
    let message = error.to_string();
    match error {
        EditError::Unreadable(_) => Status::internal(message),
        EditError::NoPool(_) | EditError::NoBackend { .. } => Status::not_found(message),
        EditError::Taken { .. } => Status::failed_precondition(message),
    }
}

fn is_discovered(catalog: &Catalog, pool: &str, name: &str) -> bool {
    catalog.backends.values().any(|record| {
        let of_pool = catalog.pool(record.pool).is_some_and(|known| known.name == pool);
        of_pool && record.name == name && record.source == Source::Discovery
    })
}
