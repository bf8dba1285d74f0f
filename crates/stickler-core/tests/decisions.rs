//! What becomes of requests whose session a node does not know, on each footing.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

use std::time::Duration;

use stickler_core::affinity::key::Handle;
use stickler_core::affinity::recognise::{Found, PassedOver, Recognised};
use stickler_core::affinity::sealing::SealingKeyId;
use stickler_core::affinity::token::Token;
use stickler_core::document::check_cluster;
use stickler_core::document::cluster::Affinity;
use stickler_core::ids::{AffinityId, BackendId, Epoch, KeyHash, LogIndex, PoolId};
use stickler_core::lease::{Footing, Standing};
use stickler_core::routing::{ChooseBy, Held, Mint, Pools, Refusal, Step, Until, decide};
use stickler_core::state::{SessionKey, View};
use stickler_core::time::ClusterTime;

const POOL: PoolId = PoolId(7);
const AFFINITY: AffinityId = AffinityId(8);
const KEY: KeyHash = KeyHash(9);
const NOW: ClusterTime = ClusterTime(1_000_000);
const FOOTINGS: [Footing; 3] = [Footing::Leased, Footing::CatchingUp, Footing::Isolated];

/// An affinity with these settings.
fn affinity(settings: &str) -> Affinity {
    let text = format!(
        "version = 1\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:80\"\n[[affinity]]\nname = \"cart\"\n{settings}"
    );
    check_cluster("test.toml", &text).unwrap().affinities.remove(0)
}

/// What a node that knows no session and no backend does.
fn step(footing: Footing, settings: &str, recognised: &Recognised) -> Step {
    let standing = Standing { footing, stable: LogIndex(0), time: NOW };
    decide(&View::default(), &standing, &Pools::one(POOL), (AFFINITY, &affinity(settings)), recognised)
}

fn nothing() -> Recognised {
    Recognised::default()
}

fn identifier() -> Recognised {
    let found = Found { method: 0, key: KEY, token: None, sealed_with: None };
    Recognised { found: vec![found], ..Recognised::default() }
}

/// A token without a record that was sealed so long ago.
fn unrecorded(age: Duration) -> Recognised {
    let token = Token {
        handle: Handle([1; 16]),
        backend: BackendId(3),
        epoch: Epoch(0),
        issued: NOW - age,
        recorded: false,
    };
    let found = Found { method: 0, key: KEY, token: Some(token), sealed_with: Some(SealingKeyId(1)) };
    Recognised { found: vec![found], ..Recognised::default() }
}

/// A backend is chosen by what counts sessions where one begins that counts.
fn unbound(mint: Mint) -> Step {
    let by = if mint == Mint::Recorded { ChooseBy::Algorithm } else { ChooseBy::WithoutCounts };
    Step::Unbound { pool: POOL, by, mint }
}

const COOKIE: &str = "[[affinity.by]]\nmethod = \"cookie\"";
const ON_RETURN: &str = "[[affinity.by]]\nmethod = \"cookie\"\nrecord = \"on-return\"";
const HEADER: &str = "[[affinity.by]]\nmethod = \"header\"\nname = \"X-Session\"";

#[test]
fn a_new_client_gets_a_cookie_on_every_footing_that_can_stand_by_it() {
    let steps = |settings: &str| FOOTINGS.map(|footing| step(footing, settings, &nothing()));
    let hold = Step::Hold(Until::Footing);
    assert_eq!(steps(COOKIE), [unbound(Mint::Recorded), hold, unbound(Mint::Unrecorded)]);
    assert_eq!(steps(ON_RETURN), [unbound(Mint::Unrecorded), hold, unbound(Mint::Unrecorded)]);
    let refuse = Step::Refuse(Refusal::NoQuorum);
    assert_eq!(steps(&format!("when_isolated = \"refuse\"\n{COOKIE}"))[2], refuse);
}

#[test]
fn a_node_that_has_lost_the_others_gives_no_new_cookie_to_a_client_that_may_have_a_session() {
    let refuse = Step::Refuse(Refusal::NoQuorum);
    let passed_over = vec![PassedOver::UnknownKey(SealingKeyId(5))];
    let unknown_key = Recognised { passed_over, ..Recognised::default() };
    assert_eq!(step(Footing::Isolated, COOKIE, &unknown_key), refuse, "its key may be a new one");
    // The backend that the tokens name is gone, as far as this node knows.
    for age in [Duration::from_secs(1), Duration::from_secs(900)] {
        assert_eq!(step(Footing::Isolated, ON_RETURN, &unrecorded(age)), refuse, "{age:?}");
    }
    let forged = Recognised { passed_over: vec![PassedOver::ForgedToken], ..Recognised::default() };
    assert_eq!(step(Footing::Isolated, COOKIE, &forged), unbound(Mint::Unrecorded), "a new client");
}

#[test]
fn a_token_without_a_record_begins_its_session_while_it_is_good() {
    let settings = ON_RETURN;
    let good = unrecorded(Duration::from_secs(599));
    let session = SessionKey { affinity: AFFINITY, key: KEY };
    let issued = NOW - Duration::from_secs(599);
    let held = Held::Token { backend: BackendId(3), issued };
    assert_eq!(step(Footing::Leased, settings, &good), Step::Place { session, pool: POOL, held });
    assert_eq!(step(Footing::CatchingUp, settings, &good), Step::Hold(Until::Footing));
    let old = unrecorded(Duration::from_secs(601));
    assert_eq!(step(Footing::Leased, settings, &old), unbound(Mint::Unrecorded), "a new client");
    let rejects = format!("when_down = \"reject\"\n{settings}");
    let place = Step::Place { session, pool: POOL, held };
    assert_eq!(step(Footing::Leased, &rejects, &good), place, "nobody waits for a backend that was removed");
}

#[test]
fn a_request_whose_answer_may_begin_a_session_goes_where_the_next_session_belongs() {
    let learned = "[[affinity.by]]\nmethod = \"application-cookie\"\nname = \"SHOP\"";
    let begins = Step::Unbound { pool: POOL, by: ChooseBy::Algorithm, mint: Mint::No };
    assert_eq!(step(Footing::Leased, learned, &nothing()), begins);
    assert_eq!(step(Footing::Leased, HEADER, &nothing()), unbound(Mint::No), "it begins none");
}

#[test]
fn a_retiring_affinity_begins_nothing_and_waits_where_a_session_may_be_known_later() {
    let retiring = format!("mode = \"retire\"\n{HEADER}");
    assert_eq!(step(Footing::Leased, &retiring, &identifier()), unbound(Mint::No));
    assert_eq!(step(Footing::CatchingUp, &retiring, &identifier()), Step::Hold(Until::Footing));
    assert_eq!(step(Footing::CatchingUp, &retiring, &nothing()), unbound(Mint::No));
    let rejects = format!("mode = \"retire\"\notherwise = \"reject\"\n{HEADER}");
    assert_eq!(step(Footing::Leased, &rejects, &nothing()), Step::Refuse(Refusal::NoIdentifier));
    assert_eq!(step(Footing::Leased, &rejects, &identifier()), unbound(Mint::No));
    let cookie = format!("mode = \"retire\"\n{COOKIE}");
    assert_eq!(step(Footing::Leased, &cookie, &nothing()), unbound(Mint::No));
}
