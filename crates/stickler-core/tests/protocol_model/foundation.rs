//! Where every run begins: two backends that are up, one session bound, all by the product's own `State`.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use stickler_core::document::cluster::{
    Affinity, Backend, Balance, CheckAnswer, ClusterDocument, HealthCheck, Limits, Method, Mode, Otherwise,
    Pool, Retry, Scope, Sealing, WhenBack, WhenDown, WhenFull, WhenIsolated,
};
use stickler_core::ids::{
    AffinityId, BackendId, ClusterId, Incarnation, KeyHash, LogIndex, NodeId, PoolId, Revision,
};
use stickler_core::secrets::KeptSecret;
use stickler_core::state::{
    ApplyDocument, Batch, Bind, Command, Finding, Found, MoveReason, Origin, Rebind, Record, Removal, Report,
    SessionKey, SnapshotHeader, Stamp, State,
};
use stickler_core::time::ClusterTime;

/// How long the model's cluster remembers that an epoch has ended, the shortest that a document may say.
pub(crate) const ENDED_MEMORY: Duration = Duration::from_secs(10);

/// The state before the model's first entry, in the form in which a snapshot has it.
pub(crate) struct Foundation {
    pub(crate) header: SnapshotHeader,
    pub(crate) records: Vec<(SessionKey, Record)>,
    pub(crate) pool: PoolId,
    pub(crate) affinity: AffinityId,
    pub(crate) backends: [BackendId; 2],
}

pub(crate) static FOUNDATION: LazyLock<Foundation> = LazyLock::new(lay);

/// The name of one of the two sessions.
pub(crate) fn session(key: u8) -> SessionKey {
    SessionKey { affinity: FOUNDATION.affinity, key: KeyHash(u128::from(key)) }
}

/// Three voters, a document, both backends up; key 0 is on the first backend by epoch 2, key 1 unbound.
fn lay() -> Foundation {
    let mut state = State::new();
    let feed = |state: &mut State, commands: Vec<Command>| {
        let index = LogIndex(state.view().applied.0 + 1);
        let stamp = Stamp { time: ClusterTime(0), stable: index, wall: 0 };
        state.apply(index, &Batch { stamp, commands });
    };
    state.set_voters((1..=3).map(NodeId).collect::<BTreeSet<_>>());
    let found = Found {
        cluster: ClusterId(7),
        hash_key: KeptSecret::clear(&[1; 16]),
        sealing_secret: KeptSecret::clear(&[2; 32]),
    };
    feed(&mut state, vec![Command::Found(found)]);
    let document = ApplyDocument { document: document(), expected: Revision(0), removal: Removal::Now };
    feed(&mut state, vec![Command::ApplyDocument(Box::new(document))]);
    let catalog = state.view().catalog;
    let (pool, affinity) = (catalog.pools[0], catalog.affinities[0]);
    let backends: Vec<BackendId> = catalog.backends.keys().copied().collect();
    for backend in &backends {
        feed(&mut state, reports(*backend, true, 1));
    }
    // Epoch 1 is spent on the other backend, so that an epoch which goes back can be told from a new one.
    let session = SessionKey { affinity, key: KeyHash(0) };
    let origin = Origin::Place { pool, candidate: Some(backends[1]) };
    let seen = state.view().applied;
    feed(&mut state, vec![Command::Bind(Bind { session, origin, seen, deadline: ClusterTime(0) })]);
    let (epoch, reason) = (state.view().epoch, MoveReason::Operator);
    feed(&mut state, vec![Command::Rebind(Rebind { session, epoch, reason, candidate: Some(backends[0]) })]);
    let (header, records) = pieces(&state);
    Foundation { header, records, pool, affinity, backends: [backends[0], backends[1]] }
}

/// What a majority of the voters report about a backend.
pub(crate) fn reports(backend: BackendId, up: bool, sequence: u64) -> Vec<Command> {
    let finding = Finding::plain(up);
    let report = |node| {
        let finding = finding.clone();
        Report { node: NodeId(node), incarnation: Incarnation(1), sequence, backend, finding }
    };
    [1, 2].map(|node| Command::Report(report(node))).to_vec()
}

/// A state as its snapshot has it.
pub(crate) fn pieces(state: &State) -> (SnapshotHeader, Vec<(SessionKey, Record)>) {
    let snapshot = state.begin_snapshot();
    let (header, mut records) = (snapshot.header.clone(), Vec::new());
    let read = snapshot.read(16, |chunk| {
        records.extend(chunk);
        Ok::<(), stickler_core::state::SnapshotSuperseded>(())
    });
    read.expect("nothing changes while the model takes a snapshot");
    (header, records)
}

fn document() -> ClusterDocument {
    let limits = Limits {
        max_bindings: 10,
        ended_memory: ENDED_MEMORY,
        max_request_head: 1 << 14,
        debug_headers: false,
    };
    let second = Duration::from_secs(1);
    let check = HealthCheck {
        path: None,
        interval: second,
        timeout: second,
        rise: 1,
        fall: 1,
        fast_interval: second,
        answer: CheckAnswer::by_status(200, 399),
    };
    let backend = |number: u8| Backend {
        name: format!("shop-{number}"),
        address: ([127, 0, 0, number], 8080).into(),
        weight: 100,
        max_sessions: None,
        route: None,
        max_requests: None,
        moved_from: None,
    };
    let pool = Pool {
        name: "shop".to_owned(),
        balance: Balance::TwoChoices,
        check,
        connect_timeout: second * 60,
        response_timeout: second * 30,
        backends: vec![backend(1), backend(2)],
        slow_start: None,
        ejection: None,
        queue_timeout: Duration::from_secs(5),
        max_queue: 1000,
        retry: Retry::Unsent,
        retry_budget: 20,
        bounded_load: None,
        drain_timeout: Duration::from_secs(3600),
        discovery: None,
    };
    let affinity = Affinity {
        name: "cart".to_owned(),
        methods: vec![Method::Header {
            name: "cart".to_owned(),
            bearer: false,
            pattern: None,
            learn_from_response: None,
        }],
        otherwise: Otherwise::Balance,
        idle_timeout: second * 3600,
        max_age: None,
        max_sessions: None,
        when_down: WhenDown::Rebind,
        when_isolated: WhenIsolated::Refuse,
        alias_grace: second,
        mode: Mode::Keep,
        scope: Scope::Affinity,
        ignore: Vec::new(),
        end_header: None,
        when_full: WhenFull::Refuse,
        new_sessions_per_source: None,
        when_back: WhenBack::Stay,
        rebind_rate: None,
        unavailable_page: None,
    };
    let (pools, affinities) = (vec![pool], vec![affinity]);
    ClusterDocument {
        limits,
        listeners: Vec::new(),
        pools,
        affinities,
        routes: Vec::new(),
        source: String::new(),
        sealing: Sealing { rotate_every: second * 3600, overlap: second * 3600 },
    }
}
