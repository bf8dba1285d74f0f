//! Why a request goes where it goes: the decision about it, and everything that the decision was made of.
//!
//! The functions that decide here are those that decide about real requests. Only what a node knows beside its view
//! is left out: whose turn it is, what it has in flight, what it draws at random, and what the leader answers to a
//! bind or a move.

mod parts;

pub use parts::Part;

use super::plan::{Plan, Pools};
use super::step::{ChooseBy, Mint, Refusal, Step, Until, decide};
use crate::affinity::ignore::ignores;
use crate::affinity::recognise::{Carried, Policy, Recognised};
use crate::document::cluster::{Affinity, Mode, Route};
use crate::ids::{BackendId, KeyHash, PoolId};
use crate::lease::{Footing, Standing};
use crate::routes::{matching_form, matching_host};
use crate::state::{Located, SessionKey, View};

/// A request as an operator describes it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The host that it is for, a port included or not.
    pub host: &'a str,
    /// Everything else that it carries.
    pub carried: Carried<'a>,
}

/// What a node makes of a request. Holds keys, never identifiers.
#[derive(Clone, Debug)]
pub struct Explanation<'p> {
    /// The host as it is compared with those of routes.
    pub host: String,
    /// The path as it is compared with those of routes.
    pub path: String,
    /// What follows from its route; `None` when no route matches.
    pub explained: Option<Explained<'p>>,
}

/// What follows from a request's route.
#[derive(Clone, Debug)]
pub struct Explained<'p> {
    /// The route.
    pub route: &'p Route,
    /// Its affinity, if it has one.
    pub affinity: Option<&'p Affinity>,
    /// Whether the affinity ignores the path, so that nothing was looked for.
    pub ignored: bool,
    /// What each of the affinity's methods found, in their order.
    pub methods: Vec<Recognised>,
    /// The session that the request belongs to: the key that it shows, and the binding found under it.
    pub session: Option<(KeyHash, Located)>,
    /// The decision. Under an affinity that only observes it is recorded, and the request goes without a session.
    pub step: Step,
    /// The pool that a request without a binding goes to; `None` when it is drawn at random for each.
    pub drawn: Option<PoolId>,
    /// The backends of the pools in question and the part that each has, pool by pool.
    pub backends: Vec<(BackendId, Part)>,
    /// The backend that the request goes to, where that can be told: it is the only one left, or the pool's
    /// algorithm needs nothing but the view.
    pub goes_to: Option<BackendId>,
}

impl Explained<'_> {
    /// Whether the affinity only observes, so that the decision is recorded but not followed.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        !self.ignored && self.affinity.is_some_and(|affinity| affinity.mode == Mode::Observe)
    }
}

impl Refusal {
    /// The name under which the refusal is answered.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoIdentifier => "no-identifier",
            Self::BackendGone => "backend-gone",
            Self::Redirected => "redirected",
            Self::SessionLost => "session-lost",
            Self::Isolated => "isolated",
            Self::NoQuorum => "no-quorum",
            Self::AffinityFull => "affinity-full",
            Self::TableFull => "table-full",
        }
    }
}

/// Explains what a node with this view and standing would do with a request at this moment.
#[must_use]
pub fn explain<'p>(plan: &'p Plan, view: &View, standing: &Standing, asked: Asked<'_>) -> Explanation<'p> {
    let Asked { host, carried } = asked;
    let route = plan.route(host, carried.path);
    Explanation {
        host: matching_host(host).into_owned(),
        path: matching_form(carried.path).into_owned(),
        explained: route.map(|route| explain_route(plan, route, view, standing, carried)),
    }
}

fn explain_route<'p>(
    plan: &'p Plan,
    route: &'p Route,
    view: &View,
    standing: &Standing,
    carried: Carried<'_>,
) -> Explained<'p> {
    let policy = plan.policy(route);
    let ignored = policy.is_some_and(|policy| ignores(policy.affinity, carried.path));
    let looking = policy.filter(|_| !ignored);
    let recognised = looking.map_or_else(Recognised::default, |policy| plan.recognise(&policy, carried));
    let draw = plan.draw(policy.as_ref(), &recognised, carried.source);
    // Any of them, where a real request draws at random; what follows from that alone is not told.
    let pools = plan.pools(route, draw.unwrap_or(0));
    let certain = draw.is_some() || pools.for_new().count() == 1;

    let mut explained = Explained {
        route,
        affinity: policy.map(|policy| policy.affinity),
        ignored,
        methods: looking.map_or_else(Vec::new, |policy| by_method(plan, &policy, carried)),
        session: looking.and_then(|policy| session_of(view, &policy, &recognised)),
        step: step_of(view, standing, &pools, looking.as_ref(), &recognised),
        drawn: certain.then_some(pools.drawn),
        backends: Vec::new(),
        goes_to: None,
    };
    let source_key = plan.source_key(carried.source);
    (explained.backends, explained.goes_to) = parts::of(view, standing, &explained, &pools, source_key);
    explained
}

/// The decision, as the proxy comes to it.
fn step_of(
    view: &View,
    standing: &Standing,
    pools: &Pools,
    policy: Option<&Policy<'_>>,
    recognised: &Recognised,
) -> Step {
    match policy {
        None => Step::Unbound { pool: pools.drawn, by: ChooseBy::WithoutCounts, mint: Mint::No },
        // It looks again with the ring of keys that it has then.
        Some(_) if standing.footing == Footing::CatchingUp && recognised.has_unknown_key() => {
            Step::Hold(Until::Footing)
        }
        Some(policy) => decide(view, standing, pools, (policy.id, policy.affinity), recognised),
    }
}

/// What each method finds by itself. No method finds anything because of another one.
fn by_method(plan: &Plan, policy: &Policy<'_>, carried: Carried<'_>) -> Vec<Recognised> {
    let alone = |method: usize| {
        let methods = vec![policy.affinity.methods[method].clone()];
        let affinity = &Affinity { methods, ..policy.affinity.clone() };
        let mut seen = plan.recognise(&Policy { affinity, ..*policy }, carried);
        seen.found.iter_mut().for_each(|found| found.method = method);
        seen
    };
    (0..policy.affinity.methods.len()).map(alone).collect()
}

/// The session that a request goes by: the first identifier with a live binding counts.
fn session_of(view: &View, policy: &Policy<'_>, recognised: &Recognised) -> Option<(KeyHash, Located)> {
    let live = |key| Some((key, view.locate(SessionKey { affinity: policy.id, key })?));
    recognised.found.iter().find_map(|found| live(found.key))
}
