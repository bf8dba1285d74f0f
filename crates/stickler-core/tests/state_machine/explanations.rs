//! What an operator is told about a request is what the request meets.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use stickler_core::affinity::key::{Handle, Identifier};
use stickler_core::affinity::recognise::Carried;
use stickler_core::affinity::token::Token;
use stickler_core::balance::Candidate;
use stickler_core::document::cluster::{
    Affinity, AfterWait, CookieAttributes, HostMatch, Method, Mode, Otherwise, PathPattern, RecordWhen,
    Route, SameSite, WeightedPool, WhenDown, WhenIsolated,
};
use stickler_core::ids::{BackendId, Epoch, LogIndex, PoolId};
use stickler_core::lease::{Footing, Standing};
use stickler_core::routing::explain::{Asked, Explained, Part, explain};
use stickler_core::routing::{
    ChooseBy, Chooser, ChosenFor, Mint, Plan, Pools, Step, choose, choose_by_hash, decide,
};
use stickler_core::state::{Admin, Catalog, Command, MoveReason, Rebind, SessionKey, SetAdmin, Unbind, View};
use stickler_core::time::ClusterTime;

use crate::config;
use crate::proposals::answer;
use crate::world::{World, live, records};

/// What happens to clients 0 to 3 and to the backends.
#[derive(Clone, Debug)]
enum Event {
    Place(u8),
    Move(u8),
    Unbind(u8),
    Verdict(usize, bool),
    Admin(usize, u8),
    Answer(usize, bool, u8),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..4u8).prop_map(Event::Place),
        2 => (0..4u8).prop_map(Event::Move),
        1 => (0..4u8).prop_map(Event::Unbind),
        2 => (0..3usize, any::<bool>()).prop_map(|(backend, up)| Event::Verdict(backend, up)),
        2 => (0..3usize, 0..4u8).prop_map(|(backend, admin)| Event::Admin(backend, admin)),
        2 => (0..3usize, proptest::bool::weighted(0.3), 1..3u8)
            .prop_map(|(backend, drains, life)| Event::Answer(backend, drains, life)),
    ];
    proptest::collection::vec(event, 0..24)
}

/// A client's name, in the header by which the last affinity of every document recognises it.
fn client(number: u8) -> String {
    format!("client-{number}")
}

fn session(world: &World, number: u8) -> SessionKey {
    let plan = Plan::of(&world.state.view().catalog, None).unwrap().unwrap();
    let name = client(number);
    let identifier = Identifier::Header { name: "cart", value: name.as_bytes() };
    let affinity = world.session(0).affinity;
    SessionKey { affinity, key: plan.hasher.key(affinity, &identifier).unwrap() }
}

fn happen(world: &mut World, event: &Event) {
    let view = world.state.view();
    let bound = |number| live(&records(&view), session(world, number));
    let command = match *event {
        Event::Place(number) => Some(world.place(session(world, number), None)),
        Event::Move(number) => bound(number).map(|binding| {
            let (session, epoch, candidate) = (session(world, number), binding.epoch, None);
            let backend = &view.catalog.backends[&binding.backend];
            let down = backend.health.is_down();
            let reason = if down { MoveReason::BackendDown } else { MoveReason::BackendMaint };
            Command::Rebind(Rebind { session, epoch, reason, candidate })
        }),
        Event::Unbind(number) => bound(number)
            .map(|binding| Command::Unbind(Unbind { session: session(world, number), epoch: binding.epoch })),
        Event::Verdict(backend, up) => {
            let backend = *view.catalog.backends.keys().cycle().nth(backend).unwrap();
            return drop(world.verdict(backend, up));
        }
        Event::Answer(backend, drains, life) => {
            let backend = *view.catalog.backends.keys().cycle().nth(backend).unwrap();
            let reports = world.all_find(backend, &answer(drains, life));
            return drop(world.commands(reports));
        }
        Event::Admin(backend, admin) => {
            let (backend, record) = view.catalog.backends.iter().cycle().nth(backend).unwrap();
            let admin = match admin {
                0 => Admin::Drain { deadline: None },
                1 => Admin::Drain { deadline: Some(0) },
                2 => Admin::Maint,
                _ => Admin::Ready,
            };
            Some(Command::SetAdmin(SetAdmin { backend: *backend, admin, expected: record.revision }))
        }
    };
    world.commands(command.into_iter().collect());
}

/// What is tried with the affinity of the clients.
#[derive(Clone, Copy, Debug)]
struct Settings {
    cookie: bool,
    by_address: bool,
    when_down: u8,
    refuse: bool,
    observe: bool,
    hash: bool,
}

fn settings() -> impl Strategy<Value = Settings> {
    (any::<[bool; 5]>(), 0..5u8).prop_map(|([cookie, by_address, refuse, observe, hash], when_down)| {
        Settings { cookie, by_address, when_down, refuse, observe, hash }
    })
}

impl Settings {
    fn change(self, policy: &mut Affinity) {
        if self.cookie {
            policy.methods.insert(0, Method::Cookie(cookie()));
        }
        if self.by_address {
            policy.methods.push(Method::SourceAddress { ipv4_prefix: 32, ipv6_prefix: 64 });
        }
        policy.when_down = match self.when_down {
            0 => WhenDown::Reject,
            1 => WhenDown::Redirect("https://sorry.example".to_owned()),
            2 => WhenDown::Wait { timeout: Duration::from_secs(1), then: AfterWait::Reject },
            3 => WhenDown::Wait { timeout: Duration::ZERO, then: AfterWait::Rebind },
            _ => WhenDown::Rebind,
        };
        policy.when_isolated = if self.refuse { WhenIsolated::Refuse } else { WhenIsolated::ServeKnown };
        policy.mode = if self.observe { Mode::Observe } else { Mode::Keep };
        policy.otherwise = if self.hash { Otherwise::Hash } else { Otherwise::Balance };
        policy.ignore = vec![PathPattern::Suffix(".css".to_owned())];
    }
}

fn cookie() -> CookieAttributes {
    CookieAttributes {
        name: "STICKLER".to_owned(),
        path: "/".to_owned(),
        domain: None,
        secure: false,
        http_only: true,
        same_site: SameSite::Lax,
        max_age: None,
        partitioned: false,
        on_cacheable: false,
        record: RecordWhen::OnReturn,
        return_window: Duration::from_secs(2),
    }
}

/// The view with a route to all pools, under the last affinity.
fn routed(view: &View, settings: Settings) -> View {
    let mut catalog = Catalog::clone(&view.catalog);
    let document = Arc::make_mut(catalog.document.as_mut().unwrap());
    let affinity = document.affinities.len() - 1;
    settings.change(&mut document.affinities[affinity]);
    document.routes = vec![Route {
        name: "cart".to_owned(),
        host: HostMatch::Exact("shop.example".to_owned()),
        path_prefix: "/cart".to_owned(),
        pools: (0..document.pools.len()).map(|pool| WeightedPool { pool, weight: 3 }).collect(),
        affinity: Some(affinity),
    }];
    View { catalog: Arc::new(catalog), ..view.clone() }
}

/// A token that a client may show: where, how far its epoch is ahead of the state's, and whether it is recorded.
type Shown = (usize, u64, bool);

/// The headers of a client that shows a name, a token, both or nothing.
fn headers(plan: &Plan, view: &View, number: Option<u8>, token: Option<Shown>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(number) = number {
        headers.insert("cart", HeaderValue::from_str(&client(number)).unwrap());
    }
    if let Some((backend, ahead, recorded)) = token {
        let token = Token {
            handle: Handle([9; 16]),
            backend: *view.catalog.backends.keys().cycle().nth(backend).unwrap(),
            epoch: if recorded { Epoch(view.epoch.0 + ahead) } else { Epoch(0) },
            issued: view.time,
            recorded,
        };
        let affinity = *view.catalog.affinities.last().unwrap();
        let sealed = plan.sealing_key(view.applied).unwrap().seal(plan.cluster, affinity, &token, [3; 24]);
        headers.insert(COOKIE, HeaderValue::try_from(format!("STICKLER={sealed}")).unwrap());
    }
    headers
}

/// Always the last one's turn.
struct Last;

impl Chooser for Last {
    fn in_flight(&self, _: BackendId) -> u64 {
        1
    }

    fn random(&mut self) -> u64 {
        u64::MAX / 3
    }

    fn next_in_turn(&mut self, _: PoolId, candidates: &[Candidate]) -> Option<BackendId> {
        candidates.last().map(|candidate| candidate.backend)
    }
}

/// Nothing that is said contradicts the decision, nor what the proxy makes of it.
fn agrees(
    plan: &Plan,
    (view, now): (&View, ClusterTime),
    explained: &Explained<'_>,
    pools: &Pools,
    source: IpAddr,
) {
    let with =
        |wanted: Part| explained.backends.iter().filter(move |(_, part)| *part == wanted).map(|(id, _)| *id);
    let candidates: Vec<_> = with(Part::Candidate).collect();
    let named: Vec<_> = with(Part::Named).collect();
    let chosen_by = |chosen_for| {
        let mut pools = pools.for_new();
        pools.find_map(|pool| choose((view, now), pool, chosen_for, None, &mut Last))
    };
    let is_chosen = |chosen: Option<BackendId>| {
        assert_eq!(chosen.is_some(), !candidates.is_empty());
        assert!(chosen.is_none_or(|chosen| candidates.contains(&chosen)), "{chosen:?} of {candidates:?}");
        assert!(explained.goes_to.is_none_or(|backend| Some(backend) == chosen), "it was not certain");
        let pool_of = |id: &BackendId| view.catalog.backends[id].pool;
        assert!(candidates.iter().all(|id| Some(pool_of(id)) == chosen.as_ref().map(pool_of)));
    };
    let step = if explained.is_observed() {
        Step::Unbound { pool: pools.drawn, by: ChooseBy::Algorithm, mint: Mint::No }
    } else {
        explained.step
    };
    match step {
        Step::Forward(ticket) => {
            assert_eq!(explained.goes_to, Some(ticket.backend));
            assert!(candidates.is_empty());
            if let (Some((asked, located)), Some(routed)) = (explained.session, ticket.session) {
                assert_eq!((routed.asked.key, routed.epoch), (asked, located.binding.epoch));
                assert_eq!(with(Part::Home).collect::<Vec<_>>(), [ticket.backend]);
            }
        }
        Step::Move { located, reason } => {
            assert_eq!(explained.session.unwrap().1, located);
            let home = explained.backends.iter().find(|(id, _)| *id == located.binding.backend);
            assert!(home.is_none_or(|(_, part)| *part == Part::Gone(reason)));
        }
        Step::Place { .. } if !named.is_empty() => assert_eq!(explained.goes_to, Some(named[0])),
        Step::Place { session, .. } => is_chosen(chosen_by(ChosenFor::Session(session.key))),
        Step::Unbound { by: by @ (ChooseBy::Source | ChooseBy::Key(_)), .. } => {
            let key = if let ChooseBy::Key(key) = by { key } else { plan.source_key(source).unwrap() };
            is_chosen(pools.for_new().find_map(|pool| choose_by_hash((view, now), pool, key, None, &Last)));
        }
        Step::Unbound { by, .. } if explained.drawn.is_some() => {
            let counts = by == ChooseBy::Algorithm;
            is_chosen(chosen_by(if counts { ChosenFor::NewSession } else { ChosenFor::Request }));
        }
        Step::Unbound { .. } | Step::Hold(_) | Step::Refuse(_) | Step::End { .. } => {}
    }
    assert!(explained.goes_to.is_none_or(|id| view.catalog.backends.contains_key(&id)));
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn an_explanation_ends_in_the_decision_and_agrees_with_it(
        shape in any::<u16>(),
        events in events(),
        number in proptest::option::of(0..4u8),
        token in proptest::option::of((0..3usize, 0..2u64, any::<bool>())),
        footing in prop_oneof![2 => Just(Footing::Leased), 1 => Just(Footing::Isolated), 1 => Just(Footing::CatchingUp)],
        behind in 0..6u64,
        settings in settings(),
    ) {
        let mut world = World::new(shape);
        events.iter().for_each(|event| happen(&mut world, event));
        let view = routed(&world.state.view(), settings);
        let plan = Plan::of(&view.catalog, None).unwrap().unwrap();
        let stable = LogIndex(view.applied.0.saturating_sub(behind));
        let standing = Standing { footing, stable, time: view.time };
        let headers = headers(&plan, &view, number, token);
        let source = IpAddr::from([192, 0, 2, 7]);
        let carried = Carried { headers: &headers, path: "/x/../%63art/;a=b", query: None, source };
        let asked = Asked { host: "Shop.Example:8080", carried };
        let explanation = explain(&plan, &view, &standing, asked);
        prop_assert_eq!((explanation.host.as_str(), explanation.path.as_str()), ("shop.example", "/cart"));

        let explained = explanation.explained.unwrap();
        let route = plan.route(asked.host, carried.path).unwrap();
        let policy = plan.policy(route).unwrap();
        let recognised = plan.recognise(&policy, carried);
        let found: Vec<_> = explained.methods.iter().flat_map(|method| method.found.clone()).collect();
        prop_assert_eq!(&found, &recognised.found);
        let passed: Vec<_> = explained.methods.iter().flat_map(|method| method.passed_over.clone()).collect();
        prop_assert_eq!(&passed, &recognised.passed_over);
        let pools = plan.pools(route, plan.draw(Some(&policy), &recognised, source).unwrap_or(0));
        let step = decide(&view, &standing, &pools, (policy.id, policy.affinity), &recognised);
        prop_assert_eq!(explained.step, step);
        agrees(&plan, (&view, standing.time), &explained, &pools, source);

        let at = |path| explain(&plan, &view, &standing, Asked { carried: Carried { path, ..carried }, ..asked });
        prop_assert!(at("/carts").explained.is_none());
        let ignored = at("/cart/x.CSS").explained.unwrap();
        prop_assert!(ignored.ignored && ignored.session.is_none() && ignored.methods.is_empty());
    }
}
