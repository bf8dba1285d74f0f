use crate::assert_all;
use crate::cluster::check;

#[test]
fn methods_of_an_affinity_are_checked() {
    let affinity = |by: &str| check(&format!("[[affinity]]\nname = \"a\"\nby = [\n{by}\n]"));
    assert_all(
        affinity,
        &[
            (
                "",
                &["3:1: `by` is missing from [[affinity]] | add an [[affinity.by]] with method = \"cookie\""],
            ),
            (
                "{ method = \"cookie\" }, { method = \"cookie\", name = \"B\" }",
                &["6:24: the method \"cookie\" is already on line 6 | change or remove one of the two"],
            ),
            (
                "{ method = \"cookie\", name = \"A\" }, { method = \"application-cookie\", name = \"A\" }",
                &[
                    "6:36: the method with the name \"A\" is already on line 6 | change or remove one of the two",
                ],
            ),
            (
                "{ method = \"header\", name = \"X-A\" }, { method = \"header\", name = \"x-a\", bearer = true }",
                &[
                    "6:38: the method with the name \"x-a\" is already on line 6 | change or remove one of the two",
                ],
            ),
            (
                "{ method = \"source-address\" }, { method = \"cookie\" }",
                &[
                    "6:1: every request has a source address, so that no later method is tried | move the method \"source-address\" to the end",
                ],
            ),
            (
                "{ method = \"source-address\", ipv4_prefix = 0, ipv6_prefix = 129 }",
                &[
                    "6:44: `ipv4_prefix` can't be 0 | write a value from 1 to 32",
                    "6:61: `ipv6_prefix` can't be 129 | write a value from 1 to 128",
                ],
            ),
            (
                "{ method = \"header\", name = \"Host\" }",
                &[
                    "6:29: the header \"Host\" says nothing about a session | name a header that the application's clients send",
                ],
            ),
            (
                "{ method = \"header\", name = \"cookie\" }",
                &[
                    "6:29: the header \"cookie\" holds all cookies at once | use the method \"application-cookie\" with the name of one cookie",
                ],
            ),
            (
                "{ method = \"header\", name = \"Transfer-Encoding\" }",
                &[
                    "6:29: the header \"Transfer-Encoding\" says nothing about a session | name a header that the application's clients send",
                ],
            ),
            (
                "{ method = \"header\", name = \"Stickler-Epoch\" }",
                &[
                    "6:29: the header \"Stickler-Epoch\" is taken out of requests, as are all that start with \"stickler-\" | name a header that the application's clients send",
                ],
            ),
            (
                "{ method = \"header\", name = \"X A\" }",
                &["6:29: \"X A\" can't be the name of a header | use letters, digits, \"-\" and \"_\""],
            ),
            (
                "{ method = \"query\", name = \"\" }, { method = \"query\" }",
                &[
                    "6:28: \"\" can't be the name of a query's parameter | a name has 1 to 128 bytes",
                    "6:34: `name` is missing from [[affinity.by]] | add name = \"session\"",
                ],
            ),
            (
                "{ method = \"jwt-claim\", claim = \"sub\" }, { method = \"jwt-claim\", header = \"authorization\", claim = \"sub\" }",
                &[
                    "6:42: the method with the name \"sub\" is already on line 6 | change or remove one of the two",
                ],
            ),
            (
                "{ method = \"jwt-claim\", header = \"Host\" }",
                &[
                    "6:1: `claim` is missing from [[affinity.by]] | add claim = \"sub\"",
                    "6:34: the header \"Host\" says nothing about a session | name a header that the application's clients send",
                ],
            ),
            (
                "{ method = \"application-cookie\" }",
                &["6:1: `name` is missing from [[affinity.by]] | add name = \"JSESSIONID\""],
            ),
            (
                "{ name = \"A\" }",
                &["6:1: `method` is missing from [[affinity.by]] | add method = \"cookie\""],
            ),
            (
                "{ method = \"header\", name = \"X-A\", pattern = \"(a\" }, { method = \"header\", name = \"X-A\", learn_from_response = \"Set-Cookie\" }",
                &[
                    "6:46: `pattern` is not a regular expression: unclosed group | write a regular expression whose first group is the identifier, such as \"sid=([0-9a-f]+)\"",
                    "6:111: the header \"Set-Cookie\" says nothing about a session | name a header that the application's clients send",
                ],
            ),
            (
                "{ method = \"application-cookie\", name = \"A\", route_separator = \"..\", path_parameter = \"a b\" }",
                &[
                    "6:64: `route_separator` can't be \"..\" | write one character, such as \".\" or \"!\"",
                    "6:87: \"a b\" can't be the name of a parameter of a path | use letters, digits, \"-\" and \"_\"",
                ],
            ),
            (
                "{ method = \"jwt\" }",
                &[
                    "6:12: `method` can't be \"jwt\" | write one of \"cookie\", \"application-cookie\", \"header\", \"source-address\", \"query\", \"jwt-claim\"",
                ],
            ),
            (
                "{ method = \"cookie\", bearer = true }",
                &[
                    "6:22: unknown key \"bearer\" in an [[affinity.by]] with method \"cookie\" | the keys are method, name, path, domain, secure, http_only, same_site, max_age, partitioned, on_cacheable, record, return_window",
                ],
            ),
            ("3", &["6:1: [[affinity.by]] must be a table, not an integer | write [[affinity.by]]"]),
            (
                "{method=\"header\",name=\"A1\"},{method=\"header\",name=\"A2\"},{method=\"header\",name=\"A3\"},\n{method=\"header\",name=\"A4\"},{method=\"header\",name=\"A5\"},{method=\"header\",name=\"A6\"},\n{method=\"header\",name=\"A7\"},{method=\"header\",name=\"A8\"},{method=\"header\",name=\"A9\"}",
                &["8:57: more than 8 of [[affinity.by]] | -"],
            ),
        ],
    );
}

#[test]
fn cookies_that_browsers_would_drop_are_refused() {
    let cookie = |keys: &str| {
        check(&format!(
            "[[pool]]\nname = \"p\"\n[[route]]\nname = \"r\"\nhost = \"shop.example.com\"\npool = \"p\"\naffinity = \"a\"\n[[affinity]]\nname = \"a\"\nby = [{{ method = \"cookie\", {keys} }}]"
        ))
    };
    assert_all(
        cookie,
        &[
            (
                "same_site = \"none\"",
                &[
                    "12:40: browsers drop a cookie with same_site \"none\" that is not secure | add secure = true, or write same_site = \"lax\"",
                ],
            ),
            (
                "partitioned = true, max_age = \"1s\"",
                &[
                    "12:42: browsers drop a partitioned cookie that is not secure | add secure = true, or leave `partitioned` out",
                    "12:58: `max_age` can't be 1s | write a value from 10s to 400d",
                ],
            ),
            (
                "same_site = \"Strict\"",
                &["12:40: `same_site` can't be \"Strict\" | did you mean \"strict\"?"],
            ),
            (
                "name = \"__Host-S\"",
                &[
                    "12:35: browsers drop a cookie named \"__Host-S\" that is not secure | add secure = true, or change the name",
                ],
            ),
            (
                "name = \"__host-S\", secure = true, domain = \"example.com\"",
                &[
                    "12:35: browsers drop a cookie named \"__host-S\" with a domain or path | leave out domain and path, or change the name",
                ],
            ),
            (
                "name = \"__Secure-S\"",
                &[
                    "12:35: browsers drop a cookie named \"__Secure-S\" that is not secure | add secure = true, or change the name",
                ],
            ),
            (
                "name = \"a=b\"",
                &["12:35: \"a=b\" can't be the name of a cookie | use letters, digits, \"-\" and \"_\""],
            ),
            (
                "path = \"cart\"",
                &["12:35: \"cart\" can't be a cookie's path | start with \"/\", without spaces or \";\""],
            ),
            (
                "path = \"/a;b\"",
                &["12:35: \"/a;b\" can't be a cookie's path | start with \"/\", without spaces or \";\""],
            ),
            (
                "domain = \".example.com\"",
                &[
                    "12:37: `domain` can't be \".example.com\" | write \"example.com\", which covers the names below it too",
                ],
            ),
            (
                "domain = \"example.org\"",
                &[
                    "12:37: browsers drop a cookie of this domain that host \"shop.example.com\" sets | leave `domain` out, or name a domain above every host of the affinity",
                ],
            ),
        ],
    );
    assert!(cookie("domain = \"Example.com\", same_site = \"none\", secure = true").is_ok());
}

#[test]
fn times_and_caps_of_an_affinity_are_checked() {
    let affinity =
        |keys: &str| check(&format!("[[affinity]]\nname = \"a\"\nby = [{{ method = \"cookie\" }}]\n{keys}"));
    assert_all(
        affinity,
        &[
            (
                "idle_timeout = \"1999ms\"",
                &["6:16: `idle_timeout` can't be 1999ms | write a value from 2s to 400d"],
            ),
            (
                "idle_timeout = \"401d\"",
                &["6:16: `idle_timeout` can't be 401d | write a value from 2s to 400d"],
            ),
            (
                "max_age = \"10m\"",
                &[
                    "6:11: `idle_timeout` is 30m, longer than `max_age`, 10m | write idle_timeout = \"10m\" or shorter",
                ],
            ),
            (
                "idle_timeout = \"2h\"\nmax_age = \"1h\"",
                &[
                    "6:16: `idle_timeout` is 2h, longer than `max_age`, 1h | write idle_timeout = \"1h\" or shorter",
                ],
            ),
            (
                "alias_grace = \"2h\"\nmax_sessions = 0",
                &[
                    "6:15: `alias_grace` can't be 2h | write a value from 0s to 1h",
                    "7:16: `max_sessions` can't be 0 | leave it out for no cap of this affinity",
                ],
            ),
            (
                "when_down = \"move\"\nwhen_isolated = \"serve_known\"\notherwise = 3",
                &[
                    "6:13: `when_down` can't be \"move\" | write one of \"rebind\", \"reject\", \"redirect\", \"wait\"",
                    "7:17: `when_isolated` can't be \"serve_known\" | did you mean \"serve-known\"?",
                    "8:13: `otherwise` must be a string, not an integer | write one of \"balance\", \"hash\", \"reject\"",
                ],
            ),
            (
                "idle_timeout = \"99999999999999999d\"",
                &[
                    "6:16: `idle_timeout` is not a duration: \"99999999999999999d\" | write a whole number and one of ms, s, m, h, d, such as \"30s\"",
                ],
            ),
        ],
    );
}

#[test]
fn what_happens_when_there_is_no_room_is_checked() {
    let affinity = |keys: &str| {
        check(&format!(
            "[[affinity]]\nname = \"a\"\nby = [{{ method = \"application-cookie\", name = \"S\" }}]\n{keys}"
        ))
    };
    assert_all(
        affinity,
        &[
            (
                "when_full = \"evict\"",
                &[
                    "6:13: `when_full` can't be \"evict\" | write one of \"refuse\", \"evict-idlest\", \"hash\"",
                ],
            ),
            (
                "when_full = \"hash\"",
                &[
                    "6:13: `when_full` can't be \"hash\" where backends give out the identifiers | a hash seldom names the backend that gave one out: write \"refuse\" or \"evict-idlest\"",
                ],
            ),
            (
                "new_sessions_per_source = \"0/1m\"",
                &[
                    "6:27: `new_sessions_per_source` is not a rate: \"0/1m\" | write a number and a time, such as \"100/1m\" for 100 in each minute",
                ],
            ),
            (
                "new_sessions_per_source = \"5/2h\"",
                &[
                    "6:27: `new_sessions_per_source` must be a rate in 1s to 1h | write a number and a time, such as \"100/1m\" for 100 in each minute",
                ],
            ),
        ],
    );
    for rate in ["5", "5/", "/1m", "+5/1m", "5/1", "5 / 1m"] {
        assert!(affinity(&format!("new_sessions_per_source = {rate:?}")).is_err(), "{rate}");
    }
    for good in ["when_full = \"evict-idlest\"", "new_sessions_per_source = \"5/1m\""] {
        assert!(affinity(good).is_ok(), "{good}");
    }
}

#[test]
fn what_happens_when_a_backend_is_gone_is_checked() {
    let affinity =
        |keys: &str| check(&format!("[[affinity]]\nname = \"a\"\nby = [{{ method = \"cookie\" }}]\n{keys}"));
    let address = "write an address such as \"https://sorry.example/?from={path}\"";
    let missing = format!("6:13: `when_down` is \"redirect\", and `redirect_to` is missing | {address}");
    let no_host = format!(
        "7:15: `redirect_to` does not begin with http:// or https:// and a host: \"{{path}}\" | {address}"
    );
    assert_all(
        affinity,
        &[
            ("when_down = \"redirect\"", &[missing.as_str()]),
            ("when_down = \"redirect\"\nredirect_to = \"{path}\"", &[no_host.as_str()]),
            (
                "redirect_to = \"https://a/\"",
                &[
                    "6:15: `redirect_to` goes with `when_down` = \"redirect\" alone | write when_down = \"redirect\", or leave it out",
                ],
            ),
            (
                "when_down = \"reject\"\nwait_timeout = \"10s\"\nwait_then = \"reject\"",
                &[
                    "7:16: `wait_timeout` goes with `when_down` = \"wait\" alone | write when_down = \"wait\", or leave it out",
                    "8:13: `wait_then` goes with `when_down` = \"wait\" alone | write when_down = \"wait\", or leave it out",
                ],
            ),
            (
                "when_down = \"wait\"\nwait_timeout = \"500ms\"",
                &["7:16: `wait_timeout` can't be 500ms | write a value from 1s to 1h"],
            ),
            (
                "when_down = \"reject\"\nrebind_rate = \"10/1s\"\nwhen_back = \"return\"",
                &[
                    "7:15: `rebind_rate` is about sessions that move, and these don't | write when_down = \"rebind\", or leave it out",
                    "8:13: `when_back` is about sessions that have moved, and these don't | write when_down = \"rebind\", or leave it out",
                ],
            ),
            (
                "unavailable_page = \"\"",
                &["6:20: `unavailable_page` can't have 0 bytes | write HTML of 1 byte to 64 KiB"],
            ),
        ],
    );
    for good in [
        "when_down = \"redirect\"\nredirect_to = \"https://sorry.example{path}{query}\"",
        "when_down = \"wait\"\nwait_then = \"rebind\"\nrebind_rate = \"10/1s\"\nwhen_back = \"return\"",
    ] {
        assert!(affinity(good).is_ok(), "{good}");
    }
}
