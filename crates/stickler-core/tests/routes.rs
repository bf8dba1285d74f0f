//! The most specific route is found, and no spelling of a path slips past one.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

use proptest::prelude::*;
use stickler_core::document::check_cluster;
use stickler_core::document::cluster::{ClusterDocument, HostMatch, Route, WeightedPool};
use stickler_core::routes::{RouteIndex, RouteTable, matching_form};

fn document(routes: Vec<(HostMatch, String)>) -> ClusterDocument {
    let text =
        "version = 1\nlistener = [{ name = \"a\", address = \"127.0.0.1:80\" }]\npool = [{ name = \"p\" }]";
    let mut document = check_cluster("cluster.toml", text).unwrap();
    let route = |(host, path_prefix): (HostMatch, String)| Route {
        name: String::new(),
        host,
        path_prefix,
        pools: vec![WeightedPool { pool: 0, weight: 1 }],
        affinity: None,
    };
    document.routes = routes.into_iter().map(route).collect();
    document
}

fn table(routes: &[(&str, &str)]) -> RouteTable {
    let host = |host: &str| match host.strip_prefix('*') {
        Some("") => HostMatch::Any,
        Some(suffix) => HostMatch::Suffix(suffix.to_owned()),
        None => HostMatch::Exact(host.to_owned()),
    };
    let routes = routes.iter().map(|(name, path)| (host(name), (*path).to_owned())).collect();
    RouteTable::new(&document(routes))
}

#[test]
fn the_most_specific_match_wins() {
    let table = table(&[
        ("*", "/"),
        ("*.example.com", "/"),
        ("*.shop.example.com", "/"),
        ("www.example.com", "/cart"),
        ("www.example.com", "/cart/items"),
        ("*", "/rpc"),
    ]);
    for (host, path, expected) in [
        ("other.org", "/", 0),
        ("", "/", 0),
        ("example.com", "/", 0),
        (".example.com", "/", 0),
        ("a.example.com", "/x", 1),
        ("a.b.example.com", "/x", 1),
        ("eu.shop.example.com", "/x", 2),
        ("shop.example.com", "/x", 1),
        ("www.example.com", "/cart", 3),
        ("www.example.com", "/cart/", 3),
        ("www.example.com", "/cart?items", 3),
        ("www.example.com", "/cart/items/7", 4),
        ("www.example.com", "/cartoons", 1),
        ("WWW.Example.COM:8080", "/cart", 3),
        ("www.example.com.", "/cart", 3),
        ("www.example.com", "/rpc", 1),
        ("[::1]:8080", "/rpc/a", 5),
        ("other.org", "*", 0),
    ] {
        assert_eq!(table.find(host, path), Some(RouteIndex(expected)), "{host} {path}");
    }
}

#[test]
fn a_request_that_no_route_matches_has_none() {
    let table = table(&[("a.com", "/"), ("*.b.com", "/x"), ("[::1]", "/v6")]);
    for (host, path) in [("b.com", "/x"), ("a.b.com", "/"), ("", "/"), ("c.com", "/"), ("[::2]", "/v6")] {
        assert_eq!(table.find(host, path), None, "{host} {path}");
    }
    assert_eq!(table.find("[::1]:80", "/v6/x"), Some(RouteIndex(2)));
    assert_eq!(RouteTable::default().find("a.com", "/"), None);
}

#[test]
fn no_spelling_of_a_path_slips_past_its_route() {
    let table = table(&[("*", "/"), ("*", "/admin")]);
    for path in [
        "/admin",
        "/admin/",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/.%2E/admin/y",
        "/%61dmin",
        "/%61%64%6D%69%6e?x",
        "/../../admin",
        "/x//../../admin//",
        "/admin/x/..",
        "/admin;x",
        "/x/..;/admin",
        "/;a=b/admin;c/y",
    ] {
        assert_eq!(table.find("h", path), Some(RouteIndex(1)), "{path}");
    }
    for path in [
        "/admin/..",
        "/admin/../",
        "/admin%2Fx",
        "/admin%",
        "/Admin",
        "/adm;in",
        "/admin%3Bx",
        "/x/admin",
        "/...",
    ] {
        assert_eq!(table.find("h", path), Some(RouteIndex(0)), "{path}");
    }
}

#[test]
fn a_path_in_its_matching_form_is_not_copied() {
    for path in ["/", "/a", "/a/b.c/%2F%20", "/a/", "/a?x=/../%61", "/a%25"] {
        assert!(matches!(matching_form(path), std::borrow::Cow::Borrowed(_)), "{path}");
    }
}

/// What is decoded once must not be read as an encoding by whoever reads the form again.
#[test]
fn a_percent_sign_that_begins_no_encoding_counts_as_an_encoded_one() {
    for (path, form) in [
        ("/a%", "/a%25"),
        ("/a%zz", "/a%25zz"),
        ("/%%361dmin", "/%2561dmin"),
        ("/%%61%61", "/%25aa"),
        ("/%2%65", "/%252e"),
        ("/%%2e%2e/x", "/%25../x"),
    ] {
        assert_eq!(matching_form(path), form, "{path}");
        assert_eq!(matching_form(form), form, "{path}");
    }
}

/// A path from few pieces, so that prefixes are hit.
fn path() -> impl Strategy<Value = String> {
    let piece =
        prop::sample::select(vec!["a", "b", "ab", ".", "..", "", "%61", "%2e", "%2f", "%2F", "%", "%e4"]);
    prop::collection::vec(piece, 0..6).prop_map(|pieces| format!("/{}", pieces.join("/")))
}

fn prefix() -> impl Strategy<Value = String> {
    path().prop_map(|path| matching_form(&path).into_owned())
}

fn name() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec!["a", "b", "ab"]);
    prop::collection::vec(label, 1..4).prop_map(|labels| labels.join("."))
}

fn host_match() -> impl Strategy<Value = HostMatch> {
    prop_oneof![
        Just(HostMatch::Any),
        name().prop_map(HostMatch::Exact),
        name().prop_map(|name| HostMatch::Suffix(format!(".{name}"))),
    ]
}

/// How specific a match is; `None` when it is none.
fn rank(route: &Route, host: &str, segments: &[&str]) -> Option<(usize, usize, usize)> {
    let (kind, length) = match &route.host {
        HostMatch::Any => (0, 0),
        HostMatch::Suffix(suffix) if host.len() > suffix.len() && host.ends_with(suffix) => (1, suffix.len()),
        HostMatch::Exact(name) if name == host => (2, 0),
        _ => return None,
    };
    let prefix: Vec<&str> = route.path_prefix.split('/').filter(|segment| !segment.is_empty()).collect();
    segments.starts_with(&prefix).then_some((kind, length, prefix.len()))
}

/// The segments of a path, the plain way.
fn segments(path: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for segment in path.split('/') {
        let segment =
            segment.replace("%61", "a").replace("%2e", ".").replace("%2f", "%2F").replace("%e4", "%E4");
        match segment.as_str() {
            "" | "." => {}
            ".." => drop(found.pop()),
            "%" => found.push("%25".to_owned()),
            _ => found.push(segment),
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn finding_agrees_with_trying_every_route(
        routes in prop::collection::vec((host_match(), prefix()), 0..12),
        requests in prop::collection::vec((name(), path()), 1..8),
    ) {
        let mut routes = routes;
        routes.sort_by_key(|(host, prefix)| format!("{host:?} {prefix}"));
        routes.dedup();
        let document = document(routes);
        let table = RouteTable::new(&document);
        for (host, path) in requests {
            let segments = segments(&path);
            let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
            let ranked = document.routes.iter().enumerate();
            let best = ranked.filter_map(|(index, route)| Some((rank(route, &host, &segments)?, index))).max();
            prop_assert_eq!(table.find(&host, &path), best.map(|(_, index)| RouteIndex(index)), "{} {}", host, path);
        }
    }

    #[test]
    fn the_matching_form_is_its_own_matching_form(path in "(/|\\.|;|a|6|%|%61|%36|%2e|%2F|%2f|%25|%2561){0,20}") {
        let once = matching_form(&path).into_owned();
        prop_assert_eq!(matching_form(&once), once.as_str());
        prop_assert!(once == "/" || !once.ends_with('/'));
        prop_assert!(!once.split('/').skip(1).any(|segment| matches!(segment, "." | "..")));
    }

    #[test]
    fn no_request_makes_finding_panic(host in any::<String>(), path in any::<String>()) {
        let table = table(&[("*", "/"), ("*.a.com", "/x"), ("a.com", "/x/y")]);
        prop_assert!(table.find(&host, &path).is_some());
    }
}
