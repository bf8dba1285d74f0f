//! Sessions, as this node's replica holds them: all of them as a stream, or one by what its client sends.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use stickler_core::affinity::claim::claim;
use stickler_core::affinity::key::{Handle, Identifier, OversizeIdentifier};
use stickler_core::affinity::recognise::Policy;
use stickler_core::affinity::source::MaskedAddress;
use stickler_core::document::cluster::Method;
use stickler_core::ids::{AffinityId, BackendId, KeyHash};
use stickler_core::lease::Footing;
use stickler_core::routing::Plan;
use stickler_core::secrets::SecretsKey;
use stickler_core::state::{Binding, Catalog, Cause, MoveReason, Record, SessionKey, View};
use stickler_core::time::ClusterTime;
use stickler_proto::admin::{ListSessionsReply, ListSessionsRequest, Session, ShowSessionRequest};
use stickler_raft::Cluster;
use stickler_rt::Clock;
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;
use tonic::Status;

use super::replies::{milliseconds, time};

/// Sessions in one message.
const CHUNK: usize = 1000;

/// Longest wait for a slow reader. The table can't free what changes while somebody walks through it, so
/// nobody may stand still in there.
const READER_PATIENCE: Duration = Duration::from_secs(10);

/// Longest walk through the table, for the same reason.
const LONGEST_WALK: Duration = Duration::from_secs(120);

/// Where a stream of sessions goes.
pub(super) type Chunks = mpsc::Sender<Result<ListSessionsReply, Status>>;

/// One list of sessions that was asked for.
pub(super) struct Listing {
    view: View,
    names: Names,
    now: ClusterTime,
    clock: Clock,
    affinity: Option<AffinityId>,
    backend: Option<BackendId>,
    limit: u64,
}

impl Listing {
    /// Takes the request in.
    pub(super) fn new(cluster: &Cluster, request: &ListSessionsRequest) -> Result<Self, Status> {
        if !request.local && cluster.standing().footing != Footing::Leased {
            return Err(Status::unavailable(
                "this node holds no lease, so its view may be old: ask another node, or for its local view",
            ));
        }
        let view = View::clone(&cluster.view());
        let affinity =
            (!request.affinity.is_empty()).then(|| affinity_named(&view, &request.affinity)).transpose()?;
        Ok(Self {
            names: Names::of(&view.catalog),
            now: time(cluster),
            clock: cluster.outside().clock.clone(),
            affinity,
            backend: (request.backend != 0).then_some(BackendId(request.backend)),
            limit: if request.limit == 0 { u64::MAX } else { request.limit },
            view,
        })
    }

    /// Walks through the table on this thread, and hands out what was asked for.
    pub(super) fn run(&self, runtime: &Runtime, chunks: &Chunks) {
        let until = self.clock.now() + LONGEST_WALK;
        let mut found = Vec::with_capacity(CHUNK);
        let mut left = self.limit;
        let mut sent = Ok(());
        self.view.table.visit(|session, record| {
            if let Record::Binding(binding) = record
                && self.is_wanted(session, binding)
            {
                found.push(self.names.session(*session, binding, self.now));
                left -= 1;
            }
            if found.len() == CHUNK {
                let chunk = std::mem::replace(&mut found, Vec::with_capacity(CHUNK));
                sent = send(runtime, chunks, chunk);
                if sent.is_ok() && self.clock.now() > until {
                    sent = Err(SlowReader);
                }
            }
            sent.is_ok() && left > 0
        });
        let ended = sent.and_then(|()| if found.is_empty() { Ok(()) } else { send(runtime, chunks, found) });
        if ended.is_err() {
            // A reader that hung up does not want to know.
            let _ = chunks.try_send(Err(Status::deadline_exceeded("the list was read too slowly")));
        }
    }

    fn is_wanted(&self, session: &SessionKey, binding: &Binding) -> bool {
        self.affinity.is_none_or(|affinity| affinity == session.affinity)
            && self.backend.is_none_or(|backend| backend == binding.backend)
    }
}

/// The reader has hung up or is too slow.
struct SlowReader;

fn send(runtime: &Runtime, chunks: &Chunks, sessions: Vec<Session>) -> Result<(), SlowReader> {
    let message = Ok(ListSessionsReply { sessions });
    runtime.block_on(chunks.send_timeout(message, READER_PATIENCE)).map_err(|_| SlowReader)
}

/// Names of affinities and backends, looked up once for many sessions.
pub(super) struct Names {
    affinities: BTreeMap<AffinityId, Arc<str>>,
    backends: BTreeMap<BackendId, Arc<str>>,
}

impl Names {
    pub(super) fn of(catalog: &Catalog) -> Self {
        let affinities = catalog
            .affinities
            .iter()
            .filter_map(|id| Some((*id, catalog.affinity(*id)?.name.as_str().into())))
            .collect();
        let backends = catalog
            .backends
            .iter()
            .filter_map(|(id, record)| {
                Some((*id, format!("{}/{}", catalog.pool(record.pool)?.name, record.name).into()))
            })
            .collect();
        Self { affinities, backends }
    }

    pub(super) fn session(&self, session: SessionKey, binding: &Binding, now: ClusterTime) -> Session {
        let affinity = self.affinities.get(&session.affinity);
        Session {
            affinity: affinity.map_or_else(|| format!("#{}", session.affinity), |name| name.to_string()),
            key: session.key.to_string(),
            backend: binding.backend.0,
            backend_name: self
                .backends
                .get(&binding.backend)
                .map(|name| name.to_string())
                .unwrap_or_default(),
            epoch: binding.epoch.0,
            cause: cause(binding.cause).to_owned(),
            age_milliseconds: milliseconds(now.since(binding.bound_at)),
            idle_milliseconds: milliseconds(now.since(binding.last_use)),
            usable_from: binding.usable_from.0,
        }
    }
}

/// How a session came to its backend, for people.
pub(super) const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Placed => "placed",
        Cause::Adopted => "adopted",
        Cause::Returned => "returned",
        Cause::Inherited => "inherited",
        Cause::Moved(MoveReason::BackendDown) => "moved: backend down",
        Cause::Moved(MoveReason::BackendMaint) => "moved: backend in maint",
        Cause::Moved(MoveReason::BackendRemoved) => "moved: backend removed",
        Cause::Moved(MoveReason::DrainDeadline) => "moved: drain deadline",
        Cause::Moved(MoveReason::Operator) => "moved: by an operator",
        Cause::Moved(MoveReason::BackendRestarted) => "moved: backend restarted",
        Cause::Moved(MoveReason::BackendBack) => "moved: backend back",
        Cause::Moved(MoveReason::Job) => "moved: by a job",
    }
}

/// One session.
pub(super) fn show(
    view: &View,
    secrets: Option<&SecretsKey>,
    now: ClusterTime,
    request: &ShowSessionRequest,
) -> Result<Session, Status> {
    let affinity = affinity_named(view, &request.affinity)?;
    let keys = match (request.key.as_str(), request.identifier.as_str()) {
        ("", "") => return Err(Status::invalid_argument("a session is shown by its key or its identifier")),
        ("", identifier) => keys_of(view, secrets, affinity, identifier)?,
        (key, "") => vec![key_written(key)?],
        _ => {
            return Err(Status::invalid_argument(
                "a session is shown by its key or its identifier, not both",
            ));
        }
    };
    let located = keys.into_iter().find_map(|key| view.locate(SessionKey { affinity, key }));
    let located = located.ok_or_else(|| Status::not_found("there is no such session on this node"))?;
    Ok(Names::of(&view.catalog).session(located.session, &located.binding, now))
}

/// The affinity of a name, or of "#" and its id.
pub(super) fn affinity_named(view: &View, name: &str) -> Result<AffinityId, Status> {
    let catalog = &view.catalog;
    if let Some(id) = name.strip_prefix('#').and_then(|id| id.parse().ok()) {
        return Ok(AffinityId(id));
    }
    let named = |id: &&AffinityId| catalog.affinity(**id).is_some_and(|affinity| affinity.name == name);
    catalog.affinities.iter().find(named).copied().ok_or_else(|| {
        let names = catalog.affinities.iter().filter_map(|id| Some(catalog.affinity(*id)?.name.as_str()));
        let names = names.collect::<Vec<_>>().join(", ");
        Status::not_found(format!("the cluster document has no affinity {name:?}; it has: {names}"))
    })
}

/// The key that these 32 hexadecimal digits are.
pub(super) fn key_written(key: &str) -> Result<KeyHash, Status> {
    let digits = key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parsed = if digits { key.parse().ok() } else { None };
    parsed
        .ok_or_else(|| Status::invalid_argument("a key is 32 hexadecimal digits, as `session list` shows it"))
}

/// What a backend is called: its pool and its name.
pub(super) fn backend_called(view: &View, id: BackendId) -> Option<String> {
    let record = view.catalog.backends.get(&id)?;
    Some(format!("{}/{}", view.catalog.pool(record.pool)?.name, record.name))
}

/// The keys that an identifier may have, by each method of the affinity, and in each pool where sessions are apart.
fn keys_of(
    view: &View,
    secrets: Option<&SecretsKey>,
    affinity: AffinityId,
    identifier: &str,
) -> Result<Vec<KeyHash>, Status> {
    let plan =
        Plan::of(&view.catalog, secrets).map_err(|error| Status::failed_precondition(error.to_string()))?;
    let (Some(plan), Some(settings)) = (plan, view.catalog.affinity(affinity)) else {
        return Err(Status::failed_precondition("the cluster document no longer has this affinity"));
    };
    let mut keys = Vec::new();
    for policy in plan.policies(affinity, settings) {
        for method in &settings.methods {
            keys.extend(key_by(&plan, &policy, method, identifier)?);
        }
    }
    Ok(keys)
}

fn key_by(
    plan: &Plan,
    policy: &Policy<'_>,
    method: &Method,
    identifier: &str,
) -> Result<Option<KeyHash>, Status> {
    let hash = |identifier: &Identifier<'_>| {
        let key = policy.key(identifier);
        key.map(Some).map_err(|error: OversizeIdentifier| Status::invalid_argument(error.to_string()))
    };
    match method {
        Method::Cookie(_) => {
            let handle = token_handle(plan, policy.id, identifier);
            Ok(handle.map(|handle| policy.hasher.handle_key(policy.id, handle)))
        }
        Method::ApplicationCookie { name, .. } => {
            hash(&Identifier::ApplicationCookie { name, value: unquoted(identifier).as_bytes() })
        }
        Method::Header { name, bearer, pattern, .. } => {
            let written = if *bearer { bearer_token(identifier) } else { identifier.trim_ascii() };
            // The identifier itself, or the whole value that it is cut from.
            let value = policy.cut(pattern.as_deref(), written.as_bytes()).unwrap_or(written.as_bytes());
            hash(&Policy::identifier_of_header(name, *bearer, value))
        }
        Method::SourceAddress { ipv4_prefix, ipv6_prefix } => {
            let Ok(address) = identifier.trim_ascii().parse::<IpAddr>() else { return Ok(None) };
            hash(&Identifier::Source(MaskedAddress::of(address, *ipv4_prefix, *ipv6_prefix)))
        }
        Method::Query { name } => {
            hash(&Identifier::Query { name, value: identifier.trim_ascii().as_bytes() })
        }
        Method::JwtClaim { claim: name, .. } => {
            // The claim itself, or the whole token.
            let written = bearer_token(identifier).as_bytes();
            let value = claim(written, name).unwrap_or_else(|| written.to_vec());
            hash(&Identifier::Claim { name, value: &value })
        }
    }
}

fn token_handle(plan: &Plan, affinity: AffinityId, identifier: &str) -> Option<Handle> {
    let text = unquoted(identifier).as_bytes();
    plan.ring.open(plan.cluster, affinity, text).ok().map(|opened| opened.token.handle)
}

/// A cookie's value without the quotes that may stand around it.
fn unquoted(value: &str) -> &str {
    let value = value.trim_ascii();
    value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value)
}

/// A bearer token, with or without its scheme.
fn bearer_token(value: &str) -> &str {
    let value = value.trim_ascii();
    match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim_ascii_start(),
        _ => value,
    }
}
