//! Why a request would go where it would go through this node. What the operator says of the request stays in here:
//! no message and no log line has a header, a cookie, a query or an address.

mod words;

use std::net::{IpAddr, Ipv4Addr};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use stickler_core::affinity::recognise::Carried;
use stickler_core::client_address::believe;
use stickler_core::document::cluster::{Affinity, ClusterDocument, Listener, Method, Otherwise};
use stickler_core::ids::{BackendId, PoolId};
use stickler_core::lease::Standing;
use stickler_core::routing::Plan;
use stickler_core::routing::explain::{Asked, Explained, Part, explain as explained};
use stickler_core::state::View;
use stickler_core::time::ClusterTime;
use stickler_proto::admin::{
    ExplainReply, ExplainRequest, ExplainedBackend, ExplainedMethod, Header, Session,
};
use stickler_raft::Cluster;
use tonic::Status;

use super::backends;
use super::replies::time;
use super::sessions::{Names, backend_called};
use crate::metrics::footing_name;

/// Answers by this node's view and standing at this moment.
pub(super) fn explain(cluster: &Cluster, request: &ExplainRequest) -> Result<ExplainReply, Status> {
    let view = View::clone(&cluster.view());
    let standing = cluster.standing();
    let plan = Plan::of(&view.catalog, cluster.secrets())
        .map_err(|error| Status::failed_precondition(error.to_string()))?
        .ok_or_else(|| Status::failed_precondition("no cluster document was applied yet"))?;
    let listener = listener(&plan.document, &request.listener)?;
    let mut headers = headers(&request.headers, plan.document.limits.max_request_head)?;
    let target: PathAndQuery = request.target.parse().map_err(|_| {
        Status::invalid_argument("the path has a character that can't stand in a request: percent-encode it")
    })?;
    let source = source(&request.source)?.map(|peer| believe(listener, peer, &mut headers));
    let carried = Carried {
        headers: &headers,
        path: target.path(),
        query: target.query(),
        source: source.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
    };
    let explanation = explained(&plan, &view, &standing, Asked { host: &request.host, carried });
    let mut reply = ExplainReply {
        node: cluster.node().0,
        footing: footing_name(standing.footing).to_owned(),
        applied_index: view.applied.0,
        stable_index: standing.stable.0,
        host: explanation.host,
        path: explanation.path,
        ..ExplainReply::default()
    };
    let Some(explained) = explanation.explained else {
        words::NO_ROUTE.clone_into(&mut reply.reason);
        words::REFUSE.clone_into(&mut reply.decision);
        return Ok(reply);
    };
    if source.is_none() && !explained.ignored {
        explained.affinity.map_or(Ok(()), needs_no_source)?;
    }
    let found = Found { view: &view, standing: &standing, now: time(cluster), explained: &explained };
    found.fill(&mut reply);
    Ok(reply)
}

/// The listener of a name; without a name the document's first.
fn listener<'d>(document: &'d ClusterDocument, name: &str) -> Result<Option<&'d Listener>, Status> {
    let mut listeners = document.listeners.iter();
    if name.is_empty() {
        return Ok(listeners.next());
    }
    listeners.find(|listener| listener.name == name).map(Some).ok_or_else(|| {
        let names: Vec<&str> = document.listeners.iter().map(|listener| listener.name.as_str()).collect();
        let names = names.join(", ");
        Status::not_found(format!("the cluster document has no listener {name:?}; it has: {names}"))
    })
}

fn headers(written: &[Header], most_bytes: u32) -> Result<HeaderMap, Status> {
    let bytes: usize = written.iter().map(|header| header.name.len() + header.value.len()).sum();
    if bytes > most_bytes as usize {
        return Err(Status::invalid_argument(format!(
            "a listener answers 431 to a head of more than {most_bytes} bytes"
        )));
    }
    let mut headers = HeaderMap::new();
    for (number, Header { name, value }) in (1..).zip(written) {
        let wrong = |what| Status::invalid_argument(format!("the {what} of header {number} can't be one"));
        let name: HeaderName = name.parse().map_err(|_| wrong("name"))?;
        let value = HeaderValue::from_str(value).map_err(|_| wrong("value"))?;
        headers
            .try_append(name, value)
            .map_err(|_| Status::invalid_argument("there are too many headers"))?;
    }
    Ok(headers)
}

fn source(written: &str) -> Result<Option<IpAddr>, Status> {
    if written.is_empty() {
        return Ok(None);
    }
    let wrong = |_| Status::invalid_argument("the source is an address, as in 192.0.2.7, without a port");
    written.parse().map(Some).map_err(wrong)
}

fn needs_no_source(affinity: &Affinity) -> Result<(), Status> {
    let by_address = affinity.methods.iter().any(|method| matches!(method, Method::SourceAddress { .. }));
    if by_address || affinity.otherwise == Otherwise::Hash {
        let name = &affinity.name;
        return Err(Status::invalid_argument(format!(
            "affinity {name:?} goes by the client's address: say which (--source)"
        )));
    }
    Ok(())
}

/// What was found, to be told.
struct Found<'a> {
    view: &'a View,
    standing: &'a Standing,
    now: ClusterTime,
    explained: &'a Explained<'a>,
}

impl Found<'_> {
    fn fill(&self, reply: &mut ExplainReply) {
        let Explained { route, affinity, session, goes_to, .. } = self.explained;
        reply.route.clone_from(&route.name);
        reply.affinity = affinity.map(|affinity| affinity.name.clone()).unwrap_or_default();
        reply.pool = self
            .pool()
            .and_then(|id| self.view.catalog.pool(id))
            .map_or_else(String::new, |pool| pool.name.clone());
        reply.methods = self.methods();
        reply.session = self.session();
        reply.session_changed_index = session.map_or(0, |(_, located)| located.binding.changed_at.0);
        let (decision, reason) = words::decision(self.explained, self.standing.footing);
        decision.clone_into(&mut reply.decision);
        reply.reason = reason;
        reply.backend = goes_to.and_then(|id| backend_called(self.view, id)).unwrap_or_default();
        reply.backends = self.backends();
    }

    /// The session's own pool, or the one that was drawn.
    fn pool(&self) -> Option<PoolId> {
        let session = self.explained.session.filter(|_| !self.explained.is_observed());
        let own = session.map(|(_, located)| located.binding.pool);
        own.filter(|own| self.view.catalog.pool(*own).is_some()).or(self.explained.drawn)
    }

    fn methods(&self) -> Vec<ExplainedMethod> {
        let written = self.explained.affinity.map_or(&[][..], |affinity| &affinity.methods);
        let found = self.explained.methods.iter();
        found
            .zip(written)
            .map(|(seen, method)| ExplainedMethod {
                method: words::method(method),
                keys: seen.found.iter().map(|found| found.key.to_string()).collect(),
                passed_over: seen.passed_over.iter().map(words::passed_over).collect(),
            })
            .collect()
    }

    fn session(&self) -> Option<Session> {
        let (_, located) = self.explained.session?;
        let shown = Names::of(&self.view.catalog).session(located.session, &located.binding, self.now);
        // Of the key that the client shows, which may be an older name of the session.
        Some(Session { usable_from: located.usable_from.0, ..shown })
    }

    fn backends(&self) -> Vec<ExplainedBackend> {
        let told = |(id, part): &(BackendId, Part)| {
            let record = self.view.catalog.backends.get(id)?;
            Some(ExplainedBackend {
                max_sessions: record.max_sessions,
                part: words::part(*part).to_owned(),
                backend: Some(backends::without_load(self.view, self.now, (*id, record))),
            })
        };
        self.explained.backends.iter().filter_map(told).collect()
    }
}
