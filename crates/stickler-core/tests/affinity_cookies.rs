//! Cookies in requests and responses: read as browsers write them, and taken out without touching others.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

use std::time::Duration;

use http::header::{COOKIE, HOST, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use stickler_core::affinity::cookie_header::{cookies, remove_cookie, values};
use stickler_core::affinity::set_cookie::{Learned, find_application_cookie, remove_set_cookie};
use stickler_core::affinity::set_cookie_writer::{UnwritableCookie, write_removal, write_set_cookie};
use stickler_core::document::cluster::{CookieAttributes, RecordWhen, SameSite};

/// 2023-11-14T22:13:20Z.
const NOW: i64 = 1_700_000_000;

fn headers(name: HeaderName, lines: &[impl AsRef<[u8]>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("shop.example"));
    for line in lines {
        headers.append(&name, HeaderValue::from_bytes(line.as_ref()).unwrap());
    }
    headers
}

fn lines(headers: &HeaderMap, name: HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .into_iter()
        .map(|line| String::from_utf8(line.as_bytes().to_vec()).unwrap())
        .collect()
}

/// The simplest reading that can be written down, on owned text.
fn reference(lines: &[String]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for segment in lines.iter().flat_map(|line| line.split(';')) {
        let Some((name, value)) = segment.split_once('=') else { continue };
        let (name, mut value) = (name.trim(), value.trim());
        if let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            value = inner;
        }
        if !name.is_empty() {
            pairs.push((name.to_owned(), value.to_owned()));
        }
    }
    pairs
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    cookies(headers).map(|(name, value)| (text(name), text(value))).collect()
}

/// Few characters, so that names meet and separators come everywhere.
fn cookie_lines() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("([abAB \t=\";,x]|a=|; |b=\")*", 0..5)
}

proptest! {
    #[test]
    fn cookies_are_read_as_the_reference_reads_them(lines in cookie_lines()) {
        prop_assert_eq!(pairs(&headers(COOKIE, &lines)), reference(&lines));
    }

    #[test]
    fn a_cookie_is_taken_out_and_every_other_byte_stays(before in cookie_lines()) {
        let mut request = headers(COOKIE, &before);
        let removed = remove_cookie(&mut request, "a");
        prop_assert_eq!(removed, reference(&before).iter().any(|(name, _)| name == "a"));
        prop_assert_eq!(values(&request, "a").count(), 0);
        prop_assert_eq!(&request[HOST], "shop.example");
        let expected: Vec<String> = before.iter().filter_map(|line| {
            let is_a = |segment: &&str| reference(&[(*segment).to_owned()]).iter().any(|(name, _)| name == "a");
            if !line.split(';').any(|segment| is_a(&segment)) {
                return Some(line.clone());
            }
            let rest = line.split(';').filter(|segment| !is_a(segment)).collect::<Vec<_>>().join(";");
            let holds_something = !rest.trim_matches([' ', '\t', ';']).is_empty();
            holds_something.then(|| rest.trim_start().to_owned())
        }).collect();
        prop_assert_eq!(lines(&request, COOKIE), expected);
    }

    #[test]
    fn arbitrary_header_bytes_never_panic(raw: Vec<Vec<u8>>, now: i64) {
        let valid: Vec<_> = raw.iter().filter(|line| HeaderValue::from_bytes(line).is_ok()).collect();
        let _ = cookies(&headers(COOKIE, &valid)).count();
        remove_cookie(&mut headers(COOKIE, &valid), "a");
        let named: Vec<Vec<u8>> = valid.iter().map(|line| [b"a=b;", line.as_slice()].concat()).collect();
        prop_assert_eq!(
            find_application_cookie(&headers(SET_COOKIE, &named), "a", now).is_some(),
            !named.is_empty()
        );
    }
}

#[test]
fn a_cookie_of_four_kibibytes_many_of_one_name_and_odd_bytes_are_normal_traffic() {
    let long = "x".repeat(4096);
    let request =
        headers(COOKIE, &[format!("a=1; big={long}; a=\"2\"").into_bytes(), b"a=\xff\xfe".to_vec()]);
    assert_eq!(values(&request, "big").next(), Some(long.as_bytes()));
    let of_a: Vec<&[u8]> = values(&request, "a").collect();
    assert_eq!(of_a, [b"1".as_slice(), b"2", b"\xff\xfe"]);
}

#[test]
fn a_request_without_its_only_cookie_has_no_cookie_header() {
    for only in ["s=1", "s=1;", " s=1 ; ", "s=1; s=2"] {
        let mut request = headers(COOKIE, &[only]);
        assert!(remove_cookie(&mut request, "s"), "{only:?}");
        assert!(!request.contains_key(COOKIE), "{only:?}");
    }
}

fn learned(lines: &[&str]) -> Option<String> {
    find_application_cookie(&headers(SET_COOKIE, lines), "SID", NOW).map(|learned| match learned {
        Learned::Value(value) => String::from_utf8(value.to_vec()).unwrap(),
        Learned::Deleted => "deleted".into(),
    })
}

#[test]
fn a_value_is_learned_from_the_line_that_names_the_cookie() {
    for line in [
        "SID=v",
        " SID = v ",
        "SID=\"v\"; Path=/",
        "SID=v; Max-Age=1",
        "SID=v; max-age=99999999999999999999999",
        "SID=v; Expires=Tue, 14 Nov 2023 22:13:21 GMT",
        "SID=v; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        "SID=v; Expires=never",
        "SID=v; Max-Age=\"0\"",
        "SID=v; Max-Age=-",
        "SID=v; Max-Age=",
        "SID=v; Max-Age=0; Max-Age=5",
        "SID=v; Max-Age=5; Max-Age=x",
    ] {
        assert_eq!(learned(&[line]).as_deref(), Some("v"), "{line}");
    }
    for line in ["sid=v", "SID", "XSID=v", "A=SID=v", "a=b; SID=v", "=v", ""] {
        assert_eq!(learned(&[line]), None, "{line}");
    }
}

#[test]
fn a_cookie_is_deleted_by_its_age_its_date_or_an_empty_value() {
    for line in [
        "SID=",
        "SID=\"\"",
        "SID=; Max-Age=60",
        "SID=v; Max-Age=0",
        "SID=v; Max-Age=000",
        "SID=v; MAX-AGE=-1",
        "SID=v; Max-Age=-99999999999999999999999",
        "SID=v; Max-Age=0; Expires=Fri, 31 Dec 9999 23:59:59 GMT",
        "SID=v; Expires=Tue, 14 Nov 2023 22:13:20 GMT",
        "SID=v; Expires=Thu, 01-Jan-1970 00:00:10 GMT",
        "SID=v; expires=Thu Jan  1 00:00:00 1970; Path=/",
        "SID=v; Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        "SID=v; Max-Age=0; Max-Age=x",
        "SID=v; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Expires=never",
    ] {
        assert_eq!(learned(&[line]).as_deref(), Some("deleted"), "{line}");
    }
}

#[test]
fn of_several_lines_the_last_for_one_place_wins() {
    let clear = "SID=; Max-Age=0; Path=/";
    let clear_elsewhere = "SID=; Max-Age=0; Path=/old";
    assert_eq!(learned(&["SID=1", "other=x", "SID=2"]).as_deref(), Some("2"));
    assert_eq!(learned(&["SID=1; Path=/", clear]).as_deref(), Some("deleted"));
    assert_eq!(learned(&[clear, "SID=1; Path=/"]).as_deref(), Some("1"));
    assert_eq!(learned(&["SID=1; Path=/", clear_elsewhere]).as_deref(), Some("1"));
    assert_eq!(learned(&["SID=1; Path=/", "SID=2; Path=/old", clear_elsewhere]).as_deref(), Some("1"));
    assert_eq!(learned(&[clear_elsewhere, clear]).as_deref(), Some("deleted"));
    let (with_dot, without_dot) = ("SID=1; Domain=.Example.org", "SID=; Domain=example.ORG");
    assert_eq!(learned(&[with_dot, without_dot]).as_deref(), Some("deleted"));
    assert_eq!(learned(&[with_dot, "SID="]).as_deref(), Some("1"));
}

#[test]
fn a_response_loses_the_named_cookie_and_nothing_else() {
    let before = ["a=1; Path=/", "SID=1", "sid=2", " SID = 3; Max-Age=0", "b=SID=4", "SID"];
    let mut response = headers(SET_COOKIE, &before);
    assert!(remove_set_cookie(&mut response, "SID"));
    assert_eq!(lines(&response, SET_COOKIE), ["a=1; Path=/", "sid=2", "b=SID=4", "SID"]);
    assert_eq!(response[HOST], "shop.example");
    assert!(!remove_set_cookie(&mut response, "SID"));
}

fn attributes() -> CookieAttributes {
    CookieAttributes {
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
    }
}

#[test]
fn sticklers_cookie_is_written_as_configured_for_the_browser_session() {
    let written = |attributes: &CookieAttributes| write_set_cookie(attributes, "Va-l_ue").unwrap();
    assert_eq!(written(&attributes()), "stickler=Va-l_ue; Path=/; Secure; HttpOnly; SameSite=Lax");
    let plain = CookieAttributes {
        path: "/shop floor".into(),
        domain: Some("shop.example".into()),
        secure: false,
        http_only: false,
        same_site: SameSite::Strict,
        ..attributes()
    };
    assert_eq!(written(&plain), "stickler=Va-l_ue; Path=/shop floor; Domain=shop.example; SameSite=Strict");
    let everywhere = CookieAttributes { same_site: SameSite::None, ..attributes() };
    assert_eq!(written(&everywhere), "stickler=Va-l_ue; Path=/; Secure; HttpOnly; SameSite=None");
    let kept =
        CookieAttributes { max_age: Some(Duration::from_secs(600)), partitioned: true, ..attributes() };
    assert_eq!(
        written(&kept),
        "stickler=Va-l_ue; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax; Partitioned"
    );
    assert_eq!(
        write_removal(&attributes()).unwrap(),
        "stickler=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"
    );
    assert_eq!(format!("{:?}", written(&attributes())), "Sensitive");
}

#[test]
fn an_attribute_that_would_break_the_line_is_refused_by_name() {
    let refused = |attributes: &CookieAttributes| write_set_cookie(attributes, "v").unwrap_err();
    for name in ["", "a b", "a=b", "a;b", "ä"] {
        let cookie = CookieAttributes { name: name.into(), ..attributes() };
        assert_eq!(refused(&cookie), UnwritableCookie::Name, "{name}");
    }
    for path in ["", "shop", "/;Secure", "/\n", "/ä"] {
        let cookie = CookieAttributes { path: path.into(), ..attributes() };
        assert_eq!(refused(&cookie), UnwritableCookie::Path, "{path}");
    }
    for domain in ["", "a b", "a;b", "a\r\n"] {
        let cookie = CookieAttributes { domain: Some(domain.into()), ..attributes() };
        assert_eq!(refused(&cookie), UnwritableCookie::Domain, "{domain}");
    }
    for value in ["a b", "a;b", "a,b", "\"", "\\", "\n", "ä"] {
        assert_eq!(write_set_cookie(&attributes(), value), Err(UnwritableCookie::Value), "{value}");
    }
}

#[test]
fn a_cookie_written_here_is_read_back_and_taken_out_again() {
    let mut response = HeaderMap::new();
    response.append(SET_COOKIE, write_set_cookie(&attributes(), "Va-l_ue").unwrap());
    assert_eq!(find_application_cookie(&response, "stickler", NOW), Some(Learned::Value(b"Va-l_ue")));
    assert!(remove_set_cookie(&mut response, "stickler"));
    assert!(response.is_empty());
}
