//! What an explanation is told in.

use stickler_core::affinity::recognise::PassedOver;
use stickler_core::document::cluster::{Method, Mode};
use stickler_core::lease::Footing;
use stickler_core::routing::explain::{Explained, Part};
use stickler_core::routing::{ChooseBy, Held, Mint, NotTaking, Step, Ticket, Until};
use stickler_core::state::{Cause, MoveReason};

use crate::admin::sessions::cause;

/// The decision to answer the request here.
pub(super) const REFUSE: &str = "refuse";

/// Why a request without a route is refused.
pub(super) const NO_ROUTE: &str = "no-route";

/// The decision, and why it was made.
pub(super) fn decision(explained: &Explained<'_>, footing: Footing) -> (&'static str, String) {
    let (decision, reason) = step(explained, footing);
    let choosing = matches!(explained.step, Step::Unbound { .. } | Step::Place { .. } | Step::Move { .. });
    let takes = |(_, part): &(_, Part)| matches!(part, Part::Candidate | Part::Named);
    let observed = explained.is_observed();
    match ((choosing || observed) && !explained.backends.iter().any(takes), observed) {
        (true, _) => (REFUSE, format!("no-backend: none takes it ({reason})")),
        (false, true) => ("balance", format!("the affinity only observes; it would {decision}: {reason}")),
        (false, false) => (decision, reason),
    }
}

fn step(explained: &Explained<'_>, footing: Footing) -> (&'static str, String) {
    match explained.step {
        Step::Forward(Ticket { session: Some(_), .. }) if explained.session.is_some() => {
            let how = if footing == Footing::Isolated { ", by this node's last view" } else { "" };
            ("forward", format!("its session is bound there{how}"))
        }
        Step::Forward(_) => ("forward", "its token names the backend, and no leader can be asked".to_owned()),
        Step::Unbound { by, mint, .. } => ("balance", unbound(explained, by, mint).to_owned()),
        Step::Place { held, .. } => ("place", placed(held).to_owned()),
        Step::Move { reason, .. } => ("move", moved(reason).to_owned()),
        Step::End { .. } => {
            (REFUSE, "session-lost: its backend was started again or removed, and it ends".to_owned())
        }
        Step::Hold(until) => ("hold", held_until(until)),
        Step::Refuse(refusal) => (REFUSE, refusal.name().to_owned()),
    }
}

fn unbound(explained: &Explained<'_>, by: ChooseBy, mint: Mint) -> &'static str {
    match (mint, explained.affinity) {
        (Mint::Recorded, _) => "a new client: its session is bound and comes with the response's cookie",
        (Mint::Unrecorded, _) => "a new client: its session is bound when it comes back with its cookie",
        (Mint::No, None) => "the route has no affinity",
        (Mint::No, Some(_)) if explained.ignored => "the affinity ignores this path",
        (Mint::No, Some(affinity)) if affinity.mode == Mode::Retire => {
            "the affinity begins no sessions any more"
        }
        (Mint::No, Some(_)) => match by {
            ChooseBy::Key(_) => "there is no room for another session: by its identifier",
            ChooseBy::Source => "no identifier of a session, or no room for it: by the client's address",
            ChooseBy::Algorithm | ChooseBy::WithoutCounts => "no identifier of a session",
        },
    }
}

const fn placed(held: Held) -> &'static str {
    match held {
        Held::Unknown => "the identifier has no session: one is bound before the request goes on",
        Held::Named(_) => "the identifier has no session, and names its backend: one is bound there",
        Held::Token { .. } => "the client is back with a token that has no record yet: its session is bound",
    }
}

fn moved(reason: MoveReason) -> &'static str {
    let cause = cause(Cause::Moved(reason));
    cause.strip_prefix("moved: ").unwrap_or(cause)
}

fn held_until(until: Until) -> String {
    match until {
        Until::Stable(index) => format!("until the stable index reaches {index}: the session has just moved"),
        Until::Epoch(epoch) => format!("until this node has applied epoch {epoch}, which the token has"),
        Until::Footing => "until this node holds a lease, or knows that it is isolated".to_owned(),
        Until::Moved { .. } => "until its move is made or taken back: a job has announced it".to_owned(),
        Until::Back { until, .. } => format!("until its backend is back, at most until cluster time {until}"),
    }
}

/// A method as the cluster document has it, with the name that it looks for.
pub(super) fn method(method: &Method) -> String {
    match method {
        Method::Cookie(attributes) => format!("cookie {}", attributes.name),
        Method::ApplicationCookie { name, .. } => format!("application-cookie {name}"),
        Method::Header { name, bearer: false, .. } => format!("header {name}"),
        Method::Header { name, bearer: true, .. } => format!("header {name} (bearer)"),
        Method::SourceAddress { .. } => "source-address".to_owned(),
        Method::Query { name } => format!("query {name}"),
        Method::JwtClaim { header, claim } => format!("jwt-claim {claim} in {header}"),
    }
}

/// Why something was no identifier.
pub(super) fn passed_over(passed_over: &PassedOver) -> String {
    match passed_over {
        PassedOver::ForgedToken => "forged token".to_owned(),
        PassedOver::UnknownKey(id) => format!("token of the unknown sealing key {id}"),
        PassedOver::MalformedToken => "no token".to_owned(),
        PassedOver::OversizeIdentifier => "oversize identifier".to_owned(),
        PassedOver::TooManyCookies => "too many cookies".to_owned(),
    }
}

/// The part of a backend.
pub(super) fn part(part: Part) -> &'static str {
    match part {
        Part::Home => "has the session",
        Part::Gone(reason) => match reason {
            MoveReason::BackendDown => "has the session, but is down",
            MoveReason::BackendMaint => "has the session, but is in maint",
            MoveReason::BackendRemoved => "has the session, but was removed",
            MoveReason::DrainDeadline => "has the session, but its drain is over",
            MoveReason::Operator => "has the session, but an operator moves it",
            MoveReason::BackendRestarted => "has the session, but was started again and has forgotten it",
            MoveReason::Job => "has the session, but a job moves it",
            MoveReason::BackendBack => "has the session, but its earlier backend is back",
        },
        Part::Elsewhere => "the session is elsewhere",
        Part::Named => "is named by the identifier",
        Part::Candidate => "may be chosen",
        Part::NotTaking(NotTaking::NotReady) => "takes no new sessions: not ready",
        Part::NotTaking(NotTaking::Leaves) => "takes no new sessions: it was removed",
        Part::NotTaking(NotTaking::Drains) => "takes no new sessions: it says so itself",
        Part::NotTaking(NotTaking::NotUp) => "takes no new sessions: not up",
        Part::NotTaking(NotTaking::NoWeight) => "takes no new sessions: weight 0",
        Part::NotTaking(NotTaking::Full) => "takes no new sessions: full",
        Part::NotDrawn => "another pool was drawn",
    }
}
