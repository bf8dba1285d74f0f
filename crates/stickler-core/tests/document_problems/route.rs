use stickler_core::document::cluster::HostMatch;

use crate::cluster::check;
use crate::{assert_all, shown};

#[test]
fn routes_are_checked() {
    let route = |keys: &str| check(&format!("pool = [{{ name = \"p\" }}]\n[[route]]\nname = \"r\"\n{keys}"));
    assert_all(
        route,
        &[
            ("", &["4:1: `pool` is missing from [[route]] | add pool = \"shop\", or a [[route.split]]"]),
            ("pool = \"q\"", &["6:8: no pool has the name \"q\" | add [[pool]] with this name"]),
            (
                "pool = \"checkout\"",
                &["6:8: no pool has the name \"checkout\" | add [[pool]] with this name"],
            ),
            (
                "pool = \"p\"\naffinity = \"a\"",
                &["7:12: no affinity has the name \"a\" | add [[affinity]] with this name"],
            ),
            (
                "pool = \"p\"\nhost = \"*\"",
                &["7:8: `host` can't be \"*\" | leave `host` out to match every host"],
            ),
            (
                "pool = \"p\"\nhost = \"*x.com\"",
                &["7:8: `host` can't be \"*x.com\" | write \"*.\" and a name: * stands for whole labels"],
            ),
            (
                "pool = \"p\"\nhost = \"a.*.com\"",
                &[
                    "7:8: `host` is not a host name: \"a.*.com\" | write labels of 1 to 63 letters, digits, \"-\" and \"_\", with dots between",
                ],
            ),
            (
                "pool = \"p\"\nhost = \"x.com:80\"",
                &["7:8: `host` is not a host name: \"x.com:80\" | leave out the port: \"x.com\""],
            ),
            (
                "pool = \"p\"\nhost = \"http://x.com\"",
                &[
                    "7:8: `host` is not a host name: \"http://x.com\" | write a name without scheme, port and path",
                ],
            ),
            (
                "pool = \"p\"\nhost = \"x.com.\"",
                &["7:8: `host` is not a host name: \"x.com.\" | leave out the dot at the end: \"x.com\""],
            ),
            (
                "pool = \"p\"\nhost = \"-x.com\"",
                &[
                    "7:8: `host` is not a host name: \"-x.com\" | write labels of 1 to 63 letters, digits, \"-\" and \"_\", with dots between",
                ],
            ),
            (
                "pool = \"p\"\nhost = \"bücher.de\"",
                &[
                    "7:8: `host` is not a host name: \"bücher.de\" | write the name in its ASCII form, whose labels start with xn--",
                ],
            ),
            ("pool = \"p\"\nhost = \"::1\"", &["7:8: `host` is not a host name: \"::1\" | write \"[::1]\""]),
            (
                "pool = \"p\"\nhost = \"[0::1]\"",
                &["7:8: `host` is not a host name: \"[0::1]\" | write \"[::1]\""],
            ),
            (
                "pool = \"p\"\npath_prefix = \"shop\"",
                &["7:15: `path_prefix` must start with \"/\": \"shop\" | write \"/shop\""],
            ),
            (
                "pool = \"p\"\npath_prefix = \"/shop?x\"",
                &[
                    "7:15: `path_prefix` is a path alone: \"/shop?x\" | leave out the query; only the path is compared",
                ],
            ),
            (
                "pool = \"p\"\npath_prefix = \"/a/../b\"",
                &["7:15: `path_prefix` would never match, as paths are compared: \"/a/../b\" | write \"/b\""],
            ),
            (
                "pool = \"p\"\npath_prefix = \"/%61//b/\"",
                &[
                    "7:15: `path_prefix` would never match, as paths are compared: \"/%61//b/\" | write \"/a/b\"",
                ],
            ),
            (
                "pool = \"p\"\npath_prefix = \"/ü\"",
                &[
                    "7:15: `path_prefix` can't stand in a request: \"/ü\" | write at most 1024 characters, and percent-encode special ones",
                ],
            ),
            (
                "pool = \"p\"\n[[route]]\nname = \"r\"\npath_prefix = \"/\"\npool = \"p\"",
                &[
                    "7:1: a route that matches host \"*\" and path \"/\" is already on line 4 | change or remove one of the two",
                    "8:8: a route with the name \"r\" is already on line 5 | change or remove one of the two",
                ],
            ),
            (
                "pool = \"p\"\nhost = \"X.com\"\npath_prefix = \"/a\"\n[[route]]\nname = \"s\"\nhost = \"x.com\"\npath_prefix = \"/a/\"\npool = \"p\"",
                &[
                    "9:1: a route that matches host \"x.com\" and path \"/a\" is already on line 4 | change or remove one of the two",
                ],
            ),
        ],
    );
}

#[test]
fn cookies_of_two_affinities_must_not_overwrite_each_other() {
    let two = |first_host: &str, second: &str| {
        check(&format!(
            "pool = [{{ name = \"p\" }}, {{ name = \"q\" }}]\n\
            [[affinity]]\nname = \"a\"\nby = [{{ method = \"cookie\" }}]\n\
            [[affinity]]\nname = \"b\"\nby = [{{ method = \"cookie\" }}]\n\
            [[route]]\nname = \"r\"\nhost = \"{first_host}\"\npath_prefix = \"/p\"\npool = \"p\"\naffinity = \"a\"\n\
            [[route]]\nname = \"s\"\n{second}pool = \"q\"\naffinity = \"b\""
        ))
    };
    let expected = [
        "9:7: on some host this cookie \"STICKLER\" overwrites that of line 6 | give the cookies of the two affinities different names",
    ];
    assert_eq!(shown(two("x.com", "host = \"x.com\"\n")), expected);
    assert_eq!(shown(two("a.x.com", "host = \"*.x.com\"\n")), expected);
    assert_eq!(shown(two("a.x.com", "")), expected);
    assert!(two("x.com", "host = \"y.com\"\n").is_ok());
    assert!(two("x.com", "host = \"*.x.com\"\n").is_ok());
}

#[test]
fn an_affinity_leads_to_one_pool() {
    let text = "pool = [{ name = \"p\" }, { name = \"q\" }]\n\
        affinity = [{ name = \"a\", by = [{ method = \"cookie\" }] }]\n\
        [[route]]\nname = \"r\"\npath_prefix = \"/r\"\npool = \"p\"\naffinity = \"a\"\n\
        [[route]]\nname = \"s\"\npath_prefix = \"/s\"\npool = \"q\"\naffinity = \"a\"\n";
    assert_eq!(
        shown(check(text)),
        [
            "10:1: affinity \"a\" leads to other pools here than on line 5 | give each pool an affinity of its own, or write scope = \"pool\" in this one"
        ]
    );
    assert!(check(&text.replace("\"q\"\naff", "\"p\"\naff")).is_ok());
    let apart = text.replace("name = \"a\", by", "name = \"a\", scope = \"pool\", by");
    assert_eq!(
        shown(check(&apart)),
        [
            "4:35: the method \"cookie\" can't have scope \"pool\" | give each pool an affinity of its own, with a cookie of another name"
        ]
    );
    assert!(check(&apart.replace("\"cookie\"", "\"query\", name = \"q\"")).is_ok());
}

#[test]
fn a_split_is_checked() {
    let problems = |route: &str| {
        let pools = "pool = [{ name = \"p\" }, { name = \"q\" }]\naffinity = []\n";
        shown(check(&format!("{pools}[[route]]\nname = \"r\"\n{route}")))
    };
    assert_eq!(
        problems("pool = \"p\"\nsplit = [{ pool = \"q\", weight = 1 }]"),
        [
            "7:8: a route leads to a `pool` or is split, not both | leave `pool` out, and name it in a [[route.split]]"
        ]
    );
    assert_eq!(
        problems("split = [{ pool = \"p\", weight = 0 }, { pool = \"p\", weight = 0 }]"),
        [
            "5:1: no part of this split takes new sessions | give one of them a weight above 0",
            "5:1: two parts of this split lead to one pool | leave one of them out"
        ]
    );
    assert_eq!(
        problems("split = [{ pool = \"x\", weight = 1001 }, { weight = 1 }]"),
        [
            "7:19: no pool has the name \"x\" | add [[pool]] with this name",
            "7:33: `weight` can't be 1001 | write a value from 0 to 1000",
            "7:41: `pool` is missing from [[route.split]] | add pool = \"canary\""
        ]
    );
}

#[test]
fn sessions_that_are_recorded_on_return_have_no_caps() {
    let text = |affinity: &str, backend: &str| {
        format!(
            "pool = [{{ name = \"p\", backend = [{{ name = \"b\", address = \"10.0.0.1:80\"{backend} }}] }}]\n\
             affinity = [{{ name = \"a\", by = [{{ method = \"cookie\", record = \"on-return\" }}]{affinity} }}]\n\
             [[route]]\nname = \"r\"\npool = \"p\"\naffinity = \"a\"\n"
        )
    };
    assert!(check(&text("", "")).is_ok());
    let problem = |of: &str| {
        format!(
            "4:63: record \"on-return\" can't keep the cap of {of} | leave `max_sessions` out there, or write record = \"always\""
        )
    };
    assert_eq!(shown(check(&text(", max_sessions = 5", ""))), [problem("its affinity")]);
    assert_eq!(shown(check(&text("", ", max_sessions = 5"))), [problem("backend \"b\"")]);
}

#[test]
fn hosts_are_kept_in_lower_case_and_paths_without_a_slash_at_the_end() {
    let route = "[[pool]]\nname = \"p\"\n[[route]]\nname = \"r\"\npool = \"p\"\n";
    let document = check(&format!("{route}host = \"*.Example.COM\"\npath_prefix = \"/shop/\"")).unwrap();
    assert_eq!(document.routes[0].host, HostMatch::Suffix(".example.com".to_owned()));
    assert_eq!(document.routes[0].path_prefix, "/shop");
    assert!(document.pools[0].backends.is_empty());
}
