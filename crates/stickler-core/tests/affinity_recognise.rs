//! What is found in requests and learned from responses.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use stickler_core::affinity::key::{Handle, Identifier, KeyHasher, MAX_IDENTIFIER};
use stickler_core::affinity::learn::{Lesson, learn};
use stickler_core::affinity::mint::own_cookie;
use stickler_core::affinity::pattern::Patterns;
use stickler_core::affinity::recognise::{
    Carried, Found, MAX_TOKENS, MAX_VALUES, PassedOver, Policy, Recognised, recognise,
};
use stickler_core::affinity::sealing::{KeyRing, SealingKey, SealingKeyId};
use stickler_core::affinity::source::MaskedAddress;
use stickler_core::affinity::token::Token;
use stickler_core::document::cluster::{
    Affinity, CookieAttributes, Method, Mode, Otherwise, RecordWhen, SameSite, Scope, WhenBack, WhenDown,
    WhenFull, WhenIsolated,
};
use stickler_core::ids::{AffinityId, BackendId, ClusterId, Epoch, KeyHash};
use stickler_core::time::ClusterTime;

const ID: AffinityId = AffinityId(3);
const CLUSTER: ClusterId = ClusterId(99);
const NOW: i64 = 1_700_000_000;

fn hasher() -> KeyHasher {
    KeyHasher::new([5; 16])
}

fn sealing_key(id: u32) -> SealingKey {
    SealingKey::new(SealingKeyId(id), [8; 32])
}

fn ring() -> KeyRing {
    KeyRing::new(vec![sealing_key(1)]).unwrap()
}

fn affinity(methods: Vec<Method>) -> Affinity {
    Affinity {
        name: "cart".into(),
        methods,
        otherwise: Otherwise::Balance,
        idle_timeout: Duration::from_secs(1800),
        max_age: None,
        max_sessions: None,
        when_down: WhenDown::Rebind,
        when_isolated: WhenIsolated::ServeKnown,
        alias_grace: Duration::from_secs(30),
        mode: Mode::Keep,
        scope: Scope::Affinity,
        ignore: Vec::new(),
        end_header: None,
        when_full: WhenFull::Refuse,
        new_sessions_per_source: None,
        when_back: WhenBack::Stay,
        rebind_rate: None,
        unavailable_page: None,
    }
}

fn own() -> Method {
    Method::Cookie(CookieAttributes {
        name: "stickler".into(),
        path: "/".into(),
        domain: None,
        secure: true,
        http_only: true,
        same_site: SameSite::Lax,
        max_age: None,
        partitioned: false,
        on_cacheable: false,
        record: RecordWhen::Always,
        return_window: Duration::from_secs(600),
    })
}

fn app(name: &str) -> Method {
    Method::ApplicationCookie { name: name.into(), path_parameter: None, route_separator: None }
}

fn header(name: &str, bearer: bool) -> Method {
    Method::Header { name: name.into(), bearer, pattern: None, learn_from_response: None }
}

fn source() -> Method {
    Method::SourceAddress { ipv4_prefix: 24, ipv6_prefix: 64 }
}

fn token(handle: u8) -> Token {
    Token {
        handle: Handle([handle; 16]),
        backend: BackendId(4),
        epoch: Epoch(6),
        issued: ClusterTime(12_000),
        recorded: true,
    }
}

fn sealed(key: u32, affinity: AffinityId, token: &Token) -> String {
    sealing_key(key).seal(CLUSTER, affinity, token, [0; 24])
}

fn request(lines: &[(HeaderName, &str)]) -> HeaderMap {
    lines.iter().map(|(name, line)| (name.clone(), HeaderValue::from_str(line).unwrap())).collect()
}

fn look(methods: Vec<Method>, headers: &HeaderMap) -> Recognised {
    look_at(methods, headers, None, "192.0.2.77")
}

fn look_at(methods: Vec<Method>, headers: &HeaderMap, query: Option<&str>, source: &str) -> Recognised {
    let carried = Carried { headers, path: "/", query, source: source.parse().unwrap() };
    recognise_with(methods, carried)
}

fn recognise_with(methods: Vec<Method>, carried: Carried<'_>) -> Recognised {
    with_policy(methods, |policy| recognise(policy, &ring(), CLUSTER, carried))
}

fn with_policy<T>(methods: Vec<Method>, use_it: impl FnOnce(&Policy<'_>) -> T) -> T {
    let affinity = affinity(methods);
    let patterns = Patterns::of_affinities(std::slice::from_ref(&affinity));
    use_it(&Policy { id: ID, affinity: &affinity, hasher: &hasher(), patterns: &patterns })
}

fn key(identifier: &Identifier<'_>) -> KeyHash {
    hasher().key(ID, identifier).unwrap()
}

fn app_key(name: &str, value: &str) -> KeyHash {
    key(&Identifier::ApplicationCookie { name, value: value.as_bytes() })
}

fn source_key(address: &str) -> KeyHash {
    key(&Identifier::Source(MaskedAddress::of(address.parse().unwrap(), 24, 64)))
}

#[test]
fn every_identifier_of_a_request_is_found_in_order_of_preference() {
    let cookies = format!("SID=one; stickler={}; other=x", sealed(1, ID, &token(7)));
    let headers = request(&[
        (HeaderName::from_static("x-user"), "Ann"),
        (AUTHORIZATION, "Bearer secret"),
        (COOKIE, &cookies),
    ]);
    let methods = vec![source(), header("X-User", false), own(), header("Authorization", true), app("SID")];
    let recognised = look(methods, &headers);
    let found = |method, key| Found { method, key, token: None, sealed_with: None };
    assert_eq!(
        recognised.found,
        [
            found(0, source_key("192.0.2.1")),
            found(1, key(&Identifier::Header { name: "x-user", value: b"Ann" })),
            Found {
                token: Some(token(7)),
                sealed_with: Some(SealingKeyId(1)),
                ..found(2, key(&Identifier::Handle(Handle([7; 16]))))
            },
            found(3, key(&Identifier::Bearer { name: "authorization", token: b"secret" })),
            found(4, app_key("SID", "one")),
        ]
    );
    assert_eq!(recognised.passed_over, []);
}

#[test]
fn a_request_without_identifiers_finds_none() {
    let headers = request(&[
        (COOKIE, "sid=wrong case; SID=; SID=\"\"; x"),
        (AUTHORIZATION, "Basic eDp5"),
        (HeaderName::from_static("x-user"), ""),
    ]);
    let methods = vec![own(), app("SID"), header("authorization", true), header("x-user", false)];
    assert_eq!(look(methods, &headers), Recognised::default());
}

#[test]
fn the_first_of_sticklers_cookies_that_opens_counts_and_the_others_are_named() {
    let cookies = format!(
        "stickler=junk; stickler={}; stickler={}; stickler={}; stickler={}",
        sealed(1, AffinityId(4), &token(1)),
        sealed(2, ID, &token(2)),
        sealed(1, ID, &token(3)),
        sealed(1, ID, &token(4)),
    );
    let recognised = look(vec![own()], &request(&[(COOKIE, &cookies)]));
    let tokens: Vec<_> = recognised.found.iter().map(|found| found.token).collect();
    assert_eq!(tokens, [Some(token(3))]);
    assert_eq!(
        recognised.passed_over,
        [PassedOver::MalformedToken, PassedOver::ForgedToken, PassedOver::UnknownKey(SealingKeyId(2))]
    );
    assert!(recognised.has_unknown_key());
}

#[test]
fn made_up_cookies_of_sticklers_name_are_tried_so_often_and_no_more() {
    let with_junk = |count: usize| {
        let cookies = "stickler=junk; ".repeat(count) + "stickler=" + &sealed(1, ID, &token(3));
        look(vec![own()], &request(&[(COOKIE, &cookies)]))
    };
    assert_eq!(with_junk(MAX_TOKENS - 1).found.len(), 1);
    let flooded = with_junk(5000);
    assert_eq!(flooded.found, []);
    assert_eq!(flooded.passed_over.len(), MAX_TOKENS + 1);
    assert_eq!(flooded.passed_over.last(), Some(&PassedOver::TooManyCookies));
}

#[test]
fn each_value_of_the_applications_cookie_is_found_once_and_only_a_few() {
    let keys = |recognised: &Recognised| recognised.found.iter().map(|found| found.key).collect::<Vec<_>>();
    let lines = [(COOKIE, "SID=a; SID=b; SID=\"a\""), (COOKIE, "SID=c;SID=d")];
    let recognised = look(vec![app("SID")], &request(&lines));
    assert_eq!(keys(&recognised), ["a", "b", "c", "d"].map(|value| app_key("SID", value)));
    assert_eq!(recognised.passed_over, []);

    let recognised =
        look(vec![app("SID")], &request(&[(COOKIE, "SID=1; SID=2; SID=3; SID=4; SID=5; SID=6")]));
    assert_eq!(recognised.found.len(), MAX_VALUES);
    assert_eq!(recognised.passed_over, [PassedOver::TooManyCookies]);
}

#[test]
fn an_identifier_that_is_too_long_is_passed_over_by_name() {
    let long = "x".repeat(MAX_IDENTIFIER + 1);
    let headers = request(&[
        (COOKIE, &format!("SID={long}; SID=short")),
        (HeaderName::from_static("x-user"), &long),
        (AUTHORIZATION, &format!("Bearer {long}")),
    ]);
    let methods = vec![app("SID"), header("x-user", false), header("authorization", true)];
    let recognised = look(methods, &headers);
    assert_eq!(
        recognised.found,
        [Found { method: 0, key: app_key("SID", "short"), token: None, sealed_with: None }]
    );
    assert_eq!(recognised.passed_over, [PassedOver::OversizeIdentifier; 3]);
}

#[test]
fn clients_of_one_network_are_one_and_of_another_network_another() {
    let key_of = |address: &str| look_at(vec![source()], &HeaderMap::new(), None, address).found[0].key;
    assert_eq!(key_of("192.0.2.1"), key_of("192.0.2.254"));
    assert_eq!(key_of("192.0.2.1"), key_of("::ffff:192.0.2.9"));
    assert_ne!(key_of("192.0.2.1"), key_of("192.0.3.1"));
    assert_eq!(key_of("2001:db8::1"), key_of("2001:db8::ffff:ffff:ffff:ffff"));
    assert_ne!(key_of("2001:db8::1"), key_of("2001:db8:0:1::1"));
}

#[test]
fn a_parameter_of_the_query_names_a_session() {
    let methods = || vec![Method::Query { name: "room".into() }, source()];
    let none = HeaderMap::new();
    let recognised = look_at(methods(), &none, Some("a=b&room=green%20one"), "192.0.2.1");
    let room = key(&Identifier::Query { name: "room", value: b"green one" });
    assert_eq!(recognised.found[0], Found { method: 0, key: room, token: None, sealed_with: None });
    for query in [None, Some(""), Some("room=")] {
        assert_eq!(look_at(methods(), &none, query, "192.0.2.1").found[0].method, 1, "{query:?}");
    }
    let long = format!("room={}", "x".repeat(MAX_IDENTIFIER + 1));
    let recognised = look_at(methods(), &none, Some(&long), "192.0.2.1");
    assert_eq!(recognised.passed_over, [PassedOver::OversizeIdentifier]);
}

/// Every token of one user has another signature and another time.
#[test]
fn tokens_with_one_claim_are_one_session_and_their_signatures_are_not_looked_at() {
    let payload = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let look_for = |token: &str| {
        let methods = vec![Method::JwtClaim { header: "Authorization".into(), claim: "sub".into() }];
        look(methods, &request(&[(AUTHORIZATION, &format!("Bearer {token}"))]))
    };
    let user = key(&Identifier::Claim { name: "sub", value: b"u-17" });
    for (json, signature) in [("{\"sub\":\"u-17\",\"exp\":1}", "aaaa"), ("{\"exp\":2,\"sub\":\"u-17\"}", "")]
    {
        let recognised = look_for(&format!("e30.{}.{signature}", payload(json)));
        assert_eq!(
            recognised.found,
            [Found { method: 0, key: user, token: None, sealed_with: None }],
            "{json}"
        );
    }
    for token in ["opaque", &format!("e30.{}.x", payload("{\"sub\":{}}")), "e30.%.x"] {
        assert_eq!(look_for(token), Recognised::default(), "{token}");
    }
}

#[test]
fn a_live_binding_is_chosen_before_a_preferred_identifier_without_one() {
    let recognised = look(vec![app("SID"), source()], &request(&[(COOKIE, "SID=a; SID=b")]));
    let chosen = |live: KeyHash| recognised.choose(|found| found.key == live).map(|found| found.key);
    assert_eq!(chosen(app_key("SID", "b")), Some(app_key("SID", "b")));
    assert_eq!(chosen(source_key("192.0.2.0")), Some(source_key("192.0.2.0")));
    assert_eq!(chosen(KeyHash(0)), Some(app_key("SID", "a")));
    assert_eq!(Recognised::default().choose(|_| true), None);
}

#[test]
fn stickler_can_name_a_session_only_where_it_makes_the_cookie() {
    assert_eq!(own_cookie(&affinity(vec![app("SID"), own()])).map(|(index, _)| index), Some(1));
    assert_eq!(own_cookie(&affinity(vec![app("SID"), source()])), None);
}

/// What is learned when `used` is the method and key that the request was recognised by.
fn lesson(methods: Vec<Method>, used: Option<(usize, KeyHash)>, set_cookies: &[&str]) -> Lesson {
    let lines: Vec<_> = set_cookies.iter().map(|line| (SET_COOKIE, *line)).collect();
    let used = used.map(|(method, key)| Found { method, key, token: None, sealed_with: None });
    with_policy(methods, |policy| learn(policy, used.as_ref(), &request(&lines), NOW))
}

#[test]
fn a_response_teaches_a_new_identifier_the_same_one_or_its_end() {
    let methods = || vec![app("SID")];
    let one = app_key("SID", "one");
    let new = |value| Lesson::NewIdentifier { method: 0, key: app_key("SID", value) };
    assert_eq!(lesson(methods(), None, &[]), Lesson::Nothing);
    assert_eq!(lesson(methods(), None, &["other=one", "sid=one"]), Lesson::Nothing);
    assert_eq!(lesson(methods(), None, &["SID=one; Path=/"]), new("one"));
    assert_eq!(lesson(methods(), Some((0, one)), &["SID=one; Path=/"]), Lesson::SameIdentifier);
    assert_eq!(lesson(methods(), Some((0, one)), &["SID=two; Path=/"]), new("two"));
    assert_eq!(lesson(methods(), Some((0, one)), &["SID=x; Max-Age=0"]), Lesson::Ended { key: one });
    assert_eq!(lesson(methods(), Some((0, one)), &[]), Lesson::Nothing);
    assert_eq!(lesson(methods(), None, &["SID=; Max-Age=0"]), Lesson::Nothing);
    assert_eq!(lesson(vec![own(), source()], None, &["SID=one"]), Lesson::Nothing);
}

#[test]
fn an_identifier_that_is_too_long_is_not_revealed() {
    let long = format!("SID={}", "x".repeat(MAX_IDENTIFIER + 1));
    assert_eq!(lesson(vec![source(), app("SID")], None, &[&long]), Lesson::Unkeepable { method: 1 });
}

#[test]
fn less_preferred_cookies_teach_nothing_unless_the_one_in_use_ends() {
    let methods = || vec![app("A"), own(), app("B")];
    let (a, b) = (app_key("A", "1"), app_key("B", "1"));
    let handle = key(&Identifier::Handle(Handle([1; 16])));
    let new = |method, key| Lesson::NewIdentifier { method, key };
    assert_eq!(lesson(methods(), None, &["B=1", "A=1"]), new(0, a));
    assert_eq!(lesson(methods(), None, &["B=1"]), new(2, b));
    assert_eq!(lesson(methods(), Some((1, handle)), &["B=1"]), Lesson::Nothing);
    assert_eq!(lesson(methods(), Some((1, handle)), &["B=1", "A=1"]), new(0, a));
    assert_eq!(lesson(methods(), Some((1, handle)), &["A=; Max-Age=0"]), Lesson::Nothing);
    assert_eq!(lesson(methods(), Some((0, a)), &["B=1"]), Lesson::Nothing);
    assert_eq!(lesson(methods(), Some((0, a)), &["B=1", "A="]), new(2, b));
    assert_eq!(lesson(methods(), Some((0, a)), &["B=", "A="]), Lesson::Ended { key: a });
    assert_eq!(lesson(methods(), Some((2, b)), &["A=", "B="]), Lesson::Ended { key: b });
}

proptest! {
    #[test]
    fn what_a_response_reveals_is_what_the_next_request_is_recognised_by(
        value in "[!-:<-~]{1,40}", quoted: bool, before in "[a-c=; ]{0,10}",
    ) {
        prop_assume!(!value.contains('"'));
        let written = if quoted { format!("\"{value}\"") } else { value };
        let revealed = lesson(vec![app("SID")], None, &[&format!("SID={written}; Path=/; HttpOnly")]);
        let next = look(vec![app("SID")], &request(&[(COOKIE, &format!("{before};SID={written}"))]));
        prop_assert_eq!(next.found.len(), 1);
        prop_assert_eq!(revealed, Lesson::NewIdentifier { method: 0, key: next.found[0].key });
    }

    #[test]
    fn arbitrary_requests_never_panic_and_stay_within_limits(raw: Vec<Vec<u8>>) {
        let mut headers = HeaderMap::new();
        for line in raw {
            for prefix in [b"".as_slice(), b"stickler=", b"SID=", b"Bearer "] {
                if let Ok(value) = HeaderValue::from_bytes(&[prefix, &line].concat()) {
                    headers.append(COOKIE, value.clone());
                    headers.append(AUTHORIZATION, value);
                }
            }
        }
        let methods = vec![own(), app("SID"), header("authorization", true), header("cookie", false)];
        let recognised = look(methods, &headers);
        prop_assert!(recognised.found.len() <= MAX_VALUES + 3);
        prop_assert!(recognised.passed_over.len() <= MAX_TOKENS + MAX_VALUES + 4);
    }
}

#[test]
fn an_identifier_in_the_path_is_the_one_of_the_cookie_and_comes_after_it() {
    let methods = || {
        let path_parameter = Some("jsessionid".to_owned());
        vec![Method::ApplicationCookie { name: "SID".into(), path_parameter, route_separator: None }]
    };
    let keys = |path: &str, headers: &HeaderMap| {
        let carried = Carried { headers, path, query: None, source: "192.0.2.77".parse().unwrap() };
        recognise_with(methods(), carried).found.iter().map(|found| found.key).collect::<Vec<_>>()
    };
    let cookie = request(&[(COOKIE, "SID=one")]);
    assert_eq!(keys("/cart;jsessionid=two", &HeaderMap::new()), [app_key("SID", "two")]);
    assert_eq!(keys("/cart;jsessionid=two", &cookie), [app_key("SID", "one"), app_key("SID", "two")]);
    assert_eq!(keys("/cart;jsessionid=one", &cookie), [app_key("SID", "one")]);
}

#[test]
fn an_identifier_names_its_backend_behind_the_last_separator() {
    let routes = |value: &str| {
        let methods = vec![Method::ApplicationCookie {
            name: "SID".into(),
            path_parameter: None,
            route_separator: Some('.'),
        }];
        look(methods, &request(&[(COOKIE, &format!("SID={value}"))])).routes
    };
    assert_eq!(routes("a.b.web-1"), [(app_key("SID", "a.b.web-1"), "web-1".to_owned())]);
    assert_eq!(routes("abc"), []);
    assert_eq!(routes("abc."), []);
}

fn pattern(name: &str, bearer: bool, pattern: &str) -> Method {
    let pattern = Some(pattern.to_owned());
    Method::Header { name: name.into(), bearer, pattern, learn_from_response: Some("X-Token".to_owned()) }
}

#[test]
fn a_pattern_cuts_the_identifier_out_of_a_header() {
    let methods = || vec![pattern("X-User", false, "id=([0-9]+)")];
    let found = |value| look(methods(), &request(&[(HeaderName::from_static("x-user"), value)])).found;
    let expected = key(&Identifier::Header { name: "x-user", value: b"17" });
    assert_eq!(found("v=2; id=17").first().map(|found| found.key), Some(expected));
    assert_eq!(found("id=x"), []);
}

#[test]
fn a_token_learned_from_a_response_header_is_the_one_that_the_client_will_send() {
    let learned = |method: Method, value: &str| {
        let headers = request(&[(HeaderName::from_static("x-token"), value)]);
        with_policy(vec![method], |policy| learn(policy, None, &headers, NOW))
    };
    let new = |identifier: &Identifier<'_>| Lesson::NewIdentifier { method: 0, key: key(identifier) };
    let bearer = || Method::Header {
        name: "Authorization".into(),
        bearer: true,
        pattern: None,
        learn_from_response: Some("X-Token".into()),
    };
    let expected = new(&Identifier::Bearer { name: "authorization", token: b"abc" });
    assert_eq!(learned(bearer(), "abc"), expected);
    assert_eq!(learned(bearer(), "Bearer abc"), expected);
    let cut = pattern("X-User", false, "id=([0-9]+)");
    assert_eq!(learned(cut.clone(), "id=17"), new(&Identifier::Header { name: "x-user", value: b"17" }));
    assert_eq!(learned(cut, "nothing"), Lesson::Nothing);
    assert_eq!(learned(bearer(), &"x".repeat(MAX_IDENTIFIER + 1)), Lesson::Unkeepable { method: 0 });
}
