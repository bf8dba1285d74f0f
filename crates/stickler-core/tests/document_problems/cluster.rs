use stickler_core::document::check_cluster;
use stickler_core::document::cluster::ClusterDocument;
use stickler_core::document::problem::Problems;

use crate::{assert_all, shown};

/// Two lines that every case needs; a case starts on line 3.
const BEGINNING: &str = "version = 1\nlistener = [{ name = \"public\", address = \"127.0.0.1:80\" }]\n";

/// Checks a document of which `rest` starts on line 3.
pub fn check(rest: &str) -> Result<ClusterDocument, Problems> {
    check_cluster("cluster.toml", &format!("{BEGINNING}{rest}"))
}

#[test]
fn a_problem_is_shown_with_file_line_column_and_help() {
    let problems = check("[limits]\nmax_binding = 3").unwrap_err();
    let expected =
        "cluster.toml:4:1: unknown key \"max_binding\" in [limits]\n  help: did you mean `max_bindings`?";
    assert_eq!(problems.to_string(), expected);
}

#[test]
fn all_problems_of_a_document_are_reported_in_the_order_of_their_places() {
    let text = r#"version = 1
[[listener]]
name = "Public"
adress = "0.0.0.0:8080"
[[pool]]
name = "shop"
balance = "round-robin"
connect_timeout = 5
[pool.check]
timeout = "3s"
[[pool.backend]]
name = "web-1"
address = "web-1.example.com:80"
weight = -1
[[pool.backend]]
name = "web-1"
address = "10.0.0.1:80"
weight = 1001
[[route]]
name = "shop"
path_prefix = "/a/../b"
pool = "shpo"
affinity = "cart"
tls = true
"#;
    let found = shown(check_cluster("cluster.toml", text));
    assert_eq!(
        found,
        [
            "2:1: `address` is missing from [[listener]] | add address = \"0.0.0.0:8080\"",
            "3:8: \"Public\" can't be a name | write \"public\"",
            "4:1: unknown key \"adress\" in [[listener]] | did you mean `address`?",
            "7:11: `balance` can't be \"round-robin\" | write one of \"two-choices\", \"weighted-round-robin\", \"fewest-sessions\", \"rendezvous\"",
            "8:19: `connect_timeout` must be a duration, not an integer | write a whole number and one of ms, s, m, h, d, such as \"30s\"",
            "10:11: `timeout` is 3s, longer than `interval`, 2s | write timeout = \"2s\" or shorter",
            "13:11: `address` is not an IP address with a port: \"web-1.example.com:80\" | names are not looked up here: write the IP address, such as \"10.0.0.11:8080\"",
            "14:10: `weight` can't be -1 | write a whole number from 0 that fits 64 bits",
            "16:8: a backend of this pool with the name \"web-1\" is already on line 12 | change or remove one of the two",
            "18:10: `weight` can't be 1001 | write a value from 0 to 1000",
            "21:15: `path_prefix` would never match, as paths are compared: \"/a/../b\" | write \"/b\"",
            "22:8: no pool has the name \"shpo\" | did you mean \"shop\"?",
            "23:12: no affinity has the name \"cart\" | add [[affinity]] with this name",
            "24:1: unknown key \"tls\" in [[route]] | the keys are name, host, path_prefix, pool, split, affinity"
        ]
    );
}

#[test]
fn limits_have_limits() {
    assert_all(
        check,
        &[
            ("limits = 3", &["3:10: [limits] must be a table, not an integer | write [limits]"]),
            ("[[limits]]", &["3:1: [limits] must be a table, not an array | write [limits]"]),
            (
                "[limits]\nmax_bindings = 0\nended_memory = \"9999ms\"\nmax_request_head = 100",
                &[
                    "4:16: `max_bindings` can't be 0 | write a value from 1 to 100000000",
                    "5:16: `ended_memory` can't be 9999ms | write a value from 10s to 1h",
                    "6:20: `max_request_head` can't be 100 | write a value from 8KiB to 1MiB",
                ],
            ),
            (
                "[limits]\nmax_bindings = 1e6\nended_memory = \"30 s\"\nmax_request_head = \"1Mb\"",
                &[
                    "4:16: `max_bindings` must be a whole number, not a float | write digits, without quotes",
                    "5:16: `ended_memory` is not a duration: \"30 s\" | write a whole number and one of ms, s, m, h, d, such as \"30s\"",
                    "6:20: `max_request_head` is not a size: \"1Mb\" | write a number of bytes, or a size such as \"32KiB\" or \"1MiB\"",
                ],
            ),
            (
                "[limits]\ndebug_headers = 1\nmax_bindings = 99999999999999999999",
                &[
                    "4:17: `debug_headers` must be true or false, not an integer | write true or false, without quotes",
                    "5:16: `max_bindings` can't be 99999999999999999999 | write a whole number from 0 that fits 64 bits",
                ],
            ),
        ],
    );
}

#[test]
fn keys_rotate_within_limits_and_open_tokens_for_ten_minutes_at_least() {
    assert_all(
        check,
        &[
            (
                "[sealing]\nrotate_every = \"59m\"\noverlap = \"9m\"",
                &[
                    "4:16: `rotate_every` can't be 59m | write a value from 1h to 400d",
                    "5:11: `overlap` can't be 9m | write a value from 10m to 401d",
                ],
            ),
            (
                "[sealing]\nrotate = \"1d\"",
                &["4:1: unknown key \"rotate\" in [sealing] | the keys are rotate_every, overlap"],
            ),
        ],
    );
}

#[test]
fn keys_open_tokens_for_as_long_as_a_session_with_sticklers_cookie_may_be_idle_and_a_little_more() {
    let overlap = |rest: &str| check(rest).unwrap().sealing.overlap.as_secs();
    let affinity = |name: &str, idle: &str, method: &str| {
        format!(
            "[[affinity]]\nname = \"{name}\"\nidle_timeout = \"{idle}\"\n[[affinity.by]]\nmethod = \"{method}\"\n"
        )
    };
    let others = affinity("other", "9h", "source-address");
    assert_eq!(overlap(&others), 600);
    let own = affinity("one", "20m", "cookie") + &affinity("two", "2h", "cookie") + &others;
    assert_eq!(overlap(&own), 2 * 3600 + 600);
    assert_eq!(overlap(&(own + "[sealing]\noverlap = \"12m\"\n")), 720);
}

#[test]
fn listeners_are_needed_and_differ() {
    let listener = |rest: &str| check_cluster("cluster.toml", &format!("version = 1\n{rest}"));
    assert_all(
        listener,
        &[
            (
                "",
                &[
                    "1:1: `listener` is missing from the cluster document | add a [[listener]] with a name and an address",
                ],
            ),
            (
                "listener = []",
                &[
                    "1:1: `listener` is missing from the cluster document | add a [[listener]] with a name and an address",
                ],
            ),
            (
                "[listener]\nname = \"a\"\naddress = \"0.0.0.0:80\"",
                &["2:1: `listener` must be an array of tables | write [[listener]]"],
            ),
            (
                "[[listener]]\nname = \"a\"\naddress = \"0.0.0.0:80\"\n[[listener]]\nname = \"a\"\naddress = \"0.0.0.0:80\"",
                &[
                    "6:8: a listener with the name \"a\" is already on line 3 | change or remove one of the two",
                    "7:11: a listener with the address 0.0.0.0:80 is already on line 4 | change or remove one of the two",
                ],
            ),
            (
                "[[listener]]\nname = \"my_site\"\naddress = \"0.0.0.0\"",
                &[
                    "3:8: \"my_site\" can't be a name | write \"my-site\"",
                    "4:11: `address` is not an IP address with a port: \"0.0.0.0\" | add a port: \"0.0.0.0:8080\"",
                ],
            ),
            (
                "[[listener]]\nname = \"\"\naddress = \"::1\"",
                &[
                    "3:8: \"\" can't be a name | use 1 to 63 of a-z, 0-9 and \"-\", and no \"-\" in front",
                    "4:11: `address` is not an IP address with a port: \"::1\" | add a port: \"[::1]:8080\"",
                ],
            ),
        ],
    );
}

#[test]
fn trusted_proxies_are_networks_that_something_goes_by() {
    let listener = |rest: &str| {
        check_cluster(
            "cluster.toml",
            &format!("version = 1\n[[listener]]\nname = \"a\"\naddress = \"0.0.0.0:80\"\n{rest}"),
        )
    };
    let use_it = "client_address = \"forwarded\"\n";
    let networks = |list: &str| listener(&format!("{use_it}trusted_proxies = [{list}]"));
    let document = networks("\"10.0.0.0/8\", \"192.0.2.7\", \"2001:db8::/32\"").unwrap();
    let read: Vec<String> =
        document.listeners[0].trusted_proxies.iter().map(|network| network.to_string()).collect();
    assert_eq!(read, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
    let help = "write a network such as \"10.0.0.0/8\", or an address such as \"192.0.2.7\"";
    let malformed = |column: u32, text: &str| {
        format!("6:{column}: `trusted_proxies` is not a network of IP addresses: \"{text}\" | {help}")
    };
    for text in ["10.0.0.0/33", "10.0.0.0/08", "lb.example.com", "10.0.0.1:80"] {
        assert_eq!(shown(networks(&format!("\"{text}\""))), [malformed(20, text)]);
    }
    assert_all(
        networks,
        &[
            (
                "\"10.1.2.3/8\", \"::ffff:10.0.0.0/104\", 10",
                &[
                    "6:20: `trusted_proxies` is an address within a network: \"10.1.2.3/8\" | write \"10.0.0.0/8\" for the network, or \"10.1.2.3\" for the address alone",
                    "6:34: `trusted_proxies` is IPv4 in the clothes of IPv6: \"::ffff:10.0.0.0/104\" | write \"10.0.0.0/8\"",
                    "6:57: `trusted_proxies` must be a network, not an integer | write a network such as \"10.0.0.0/8\", or an address such as \"192.0.2.7\"",
                ],
            ),
            (
                "\"10.0.0.1\", \"10.0.0.1/32\"",
                &["6:32: the network 10.0.0.1/32 is already on line 6 | change or remove one of the two"],
            ),
        ],
    );
    let many = |count: usize| (0..count).map(|index| format!("\"10.0.0.{index}\",")).collect::<String>();
    assert!(networks(&many(64)).is_ok());
    assert_eq!(shown(networks(&many(65))), ["6:778: more than 64 networks in `trusted_proxies` | -"]);
    assert_all(
        listener,
        &[
            (
                "client_address = \"x-forwarded-for\"\nproxy_protocol = true",
                &[
                    "5:18: `client_address` without `trusted_proxies`: anyone could say who they are | add trusted_proxies with the networks of the proxies in front, such as [\"10.0.0.0/8\"]",
                    "6:18: `proxy_protocol` without `trusted_proxies`: anyone could say who they are | add trusted_proxies with the networks of the proxies in front, such as [\"10.0.0.0/8\"]",
                ],
            ),
            (
                "client_address = \"forwarded\"\ntrusted_proxies = []",
                &[
                    "5:18: `client_address` without `trusted_proxies`: anyone could say who they are | add trusted_proxies with the networks of the proxies in front, such as [\"10.0.0.0/8\"]",
                ],
            ),
            (
                "client_address = \"connection\"\ntrusted_proxies = [\"10.0.0.0/8\"]",
                &[
                    "6:19: `trusted_proxies` is used by nothing | add client_address = \"x-forwarded-for\" or \"forwarded\", or proxy_protocol = true",
                ],
            ),
            // what can't be read is not missed as well
            (
                "client_address = \"x-forwarded\"\ntrusted_proxies = [\"10.0.0.0/8\"]",
                &["5:18: `client_address` can't be \"x-forwarded\" | did you mean \"forwarded\"?"],
            ),
            (
                "proxy_protocol = true\ntrusted_proxies = \"10.0.0.0/8\"",
                &[
                    "6:19: `trusted_proxies` must be an array of networks, not a string | put it in square brackets",
                ],
            ),
        ],
    );
}

#[test]
fn pools_and_backends_are_checked() {
    assert_all(
        check,
        &[
            (
                "[[pool]]\nname = \"a\"\n[[pool]]\nname = \"a\"",
                &["6:8: a pool with the name \"a\" is already on line 4 | change or remove one of the two"],
            ),
            (
                "[[pool]]\nname = \"a\"\n[[pool.backend]]\nname = \"x\"\naddress = \"10.0.0.1:80\"\n[[pool.backend]]\nname = \"y\"\naddress = \"10.0.0.1:80\"",
                &[
                    "10:11: a backend of this pool with the address 10.0.0.1:80 is already on line 7 | change or remove one of the two",
                ],
            ),
            (
                "[[pool]]\nname = \"a\"\n[[pool.backend]]\nname = \"x\"\naddress = \"0.0.0.0:80\"\nmax_sessions = 0",
                &[
                    "7:11: nobody can connect to 0.0.0.0:80 | write the address and port at which others reach it",
                    "8:16: `max_sessions` can't be 0 | leave it out for no cap; weight = 0 gives no new sessions",
                ],
            ),
            (
                "[[pool]]\nname = \"a\"\ncheck.path = \"health me\"\ncheck.rise = 0\ncheck.fall = 101",
                &[
                    "5:14: `path` is not what a GET can ask for: \"health me\" | start with \"/\", and percent-encode spaces and other special characters",
                    "6:14: `rise` can't be 0 | write a value from 1 to 100",
                    "7:14: `fall` can't be 101 | write a value from 1 to 100",
                ],
            ),
            (
                "[[pool]]\nname = \"a\"\nslow_start = \"10ms\"\ncheck.body = \"x\"\ncheck.fast_interval = \"3s\"",
                &[
                    "5:14: `slow_start` can't be 10ms | write a value from 1s to 1h",
                    "6:14: `body` is about an answer, and this check asks for nothing | add a `path`, such as \"/health\"",
                    "7:23: `fast_interval` is 3s, longer than `interval`, 2s | write fast_interval = \"2s\" or shorter",
                ],
            ),
            (
                "[[pool]]\nname = \"a\"\ncheck.path = \"/\"\ncheck.expect = \"200-\"\ncheck.headers = [\"Host: a\", \"b\"]\ncheck.instance_header = \"a b\"\ncheck.drain_status = 99",
                &[
                    "6:16: `expect` can't be \"200-\" | write statuses from 200 to 599 and ranges of them, such as \"200,204,300-399\"",
                    "7:17: `headers` can't have \"Host: a\" | write a name and a value, such as \"X-Probe: yes\"; the host has a key of its own",
                    "7:17: `headers` can't have \"b\" | write a name and a value, such as \"X-Probe: yes\"; the host has a key of its own",
                    "8:25: `instance_header` can't be \"a b\" | write the name of a header, such as \"X-Instance\"",
                    "9:22: `drain_status` can't be 99 | write a value from 200 to 599",
                ],
            ),
            (
                "[[pool]]\nname = \"a\"\nqueue_timeout = \"1ms\"\nmax_queue = 100_001\nretry = \"idempotant\"\nretry_budget = 101\n[[pool.backend]]\nname = \"x\"\naddress = \"10.0.0.1:80\"\nmax_requests = 0\n[[pool.backend]]\nname = \"y\"\naddress = \"10.0.0.2:80\"\nmax_requests = 1_000_001",
                &[
                    "5:17: `queue_timeout` can't be 1ms | write a value from 10ms to 5m",
                    "6:13: `max_queue` can't be 100001 | write a value from 0 to 100000",
                    "7:9: `retry` can't be \"idempotant\" | did you mean \"idempotent\"?",
                    "8:16: `retry_budget` can't be 101 | write a value from 0 to 100",
                    "12:16: `max_requests` can't be 0 | leave it out for no limit; weight = 0 gives no new sessions",
                    "16:16: `max_requests` can't be 1000001 | write a value from 1 to 1000000",
                ],
            ),
            (
                "[[pool]]\nname = \"a\"\nbounded_load = 99\ndrain_timeout = \"0s\"\n[[pool.backend]]\nname = \"x\"\naddress = \"10.0.0.1:80\"\nmoved_from = \"10.0.0.1:80\"",
                &[
                    "5:16: `bounded_load` can't be 99 | write a value from 100 to 1000",
                    "6:17: `drain_timeout` can't be 0s | write a value from 1s to 30d",
                    "10:14: `moved_from` is where it is now | write the address that it had before, or leave it out",
                ],
            ),
            (
                "[[pool]]\nname = \"a\"\n[pool.dns]\nname = \"10.0.0.1\"\n[[pool]]\nname = \"b\"\ndns.name = \"shop.internal\"\ndns.port = 0\n[[pool]]\nname = \"c\"\n[pool.dns]\nname = \"_http._tcp.shop.internal\"\nrecord = \"srv\"\nport = 80\nweight = 5\nmax_sessions = 0",
                &[
                    "5:1: addresses alone are no backends: `port` is missing | write port = 8080, or record = \"srv\"",
                    "6:8: \"10.0.0.1\" is no name to ask DNS for | write a name such as \"shop.internal\"",
                    "10:12: `port` can't be 0 | write a value from 1 to 65535",
                    "16:8: `port` means nothing with record = \"srv\" | leave it out: each record names its port",
                    "17:10: `weight` means nothing with record = \"srv\" | leave it out: each record has its weight",
                    "18:16: `max_sessions` can't be 0 | leave it out for no cap; weight = 0 gives no new sessions",
                ],
            ),
            (
                "[[pool]]\nname = \"a\"\nejection.consecutive_errors = 0\nejection.time = \"10m\"\nejection.max_share = 101\nejection.share = 3",
                &[
                    "5:31: `consecutive_errors` can't be 0 | write a value from 1 to 1000",
                    "6:17: `time` is 10m, longer than `longest`, 5m | write time = \"5m\" or shorter",
                    "7:22: `max_share` can't be 101 | write a value from 1 to 100",
                    "8:10: unknown key \"share\" in [pool.ejection] | the keys are consecutive_errors, time, longest, max_share",
                ],
            ),
            (
                "[[pool]]\nname = \"a\"\ncheck.interval = \"500ms\"",
                &[
                    "5:18: `timeout` is 1s, longer than `interval`, 500ms | write timeout = \"500ms\" or shorter",
                ],
            ),
            (
                "[[pool]]\nname = \"a\"\nconnect_timeout = \"1ms\"\nresponse_timeout = \"25h\"",
                &[
                    "5:19: `connect_timeout` can't be 1ms | write a value from 10ms to 5m",
                    "6:20: `response_timeout` can't be 25h | write a value from 10ms to 1d",
                ],
            ),
        ],
    );
}

#[test]
fn what_is_no_toml_is_reported_at_each_place_and_hides_nothing_else() {
    let text = "[limits]\nended_memory = 30s\nmax_binding = 3\n[[pool]]\nname = \"a\nbalance = two-choices\n[[route]]\nname = \"r\"\npool = \"a\"\n";
    assert_eq!(
        shown(check(text)),
        [
            "4:16: not TOML: string values must be quoted, expected literal string | durations, sizes, addresses and names stand in double quotes, such as \"30s\"",
            "5:1: unknown key \"max_binding\" in [limits] | did you mean `max_bindings`?",
            "7:10: not TOML: invalid basic string, expected `\"` | -",
            "8:11: not TOML: invalid boolean, expected `true` | durations, sizes, addresses and names stand in double quotes, such as \"30s\""
        ]
    );
    // the value that is missing is not guessed, nor is the pool that the broken header hides missed
    assert_eq!(
        shown(check("[limits]\nmax_bindings =\n")),
        ["4:15: not TOML: string values must be quoted, expected literal string | -"]
    );
    assert_eq!(
        shown(check("[[pool]\nname = \"p\"\n[[route]]\nname = \"r\"\npool = \"p\"\n")),
        ["3:8: not TOML: unclosed array table, expected `]` | -"]
    );
    // a version that can't be read is not taken for another one
    assert_eq!(
        shown(check_cluster("cluster.toml", "version =\nlisteners = []\n")),
        [
            "1:10: not TOML: string values must be quoted, expected literal string | -",
            "2:1: unknown key \"listeners\" in the cluster document | did you mean `listener`?"
        ]
    );
    let duplicate = "[limits]\nmax_bindings = 3\nmax_bindings = 4\n[limits]\n";
    assert_eq!(
        shown(check(duplicate)),
        ["5:1: not TOML: duplicate key | -", "6:2: not TOML: duplicate key | -"]
    );
}

#[test]
fn another_version_is_refused_without_guesses_at_its_keys() {
    let found = shown(check_cluster("cluster.toml", "version = 2\nunheard_of = true"));
    assert_eq!(found, ["1:11: `version` 2 is unknown here | this build reads version 1"]);
    let found =
        shown(check_cluster("cluster.toml", "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:80\""));
    assert_eq!(found, ["1:1: `version` is missing from the cluster document | add version = 1"]);
}

#[test]
fn a_document_has_a_largest_size() {
    let text = format!("{BEGINNING}#{}", " ".repeat(1 << 20));
    assert_eq!(
        shown(check_cluster("cluster.toml", &text)),
        ["1:1: the cluster document is longer than 1MiB | -"]
    );
}

#[test]
fn there_are_at_most_so_many_of_each() {
    let many = |key: &str, count: usize, entry: &dyn Fn(usize) -> String| {
        let entries: Vec<String> = (0..count).map(|index| format!("{{{}}},\n", entry(index))).collect();
        check(&format!("{key} = [\n{}]\n", entries.concat()))
    };
    let pool = |index: usize| format!("name = \"p{index}\"");
    assert!(many("pool", 256, &pool).is_ok());
    assert_eq!(shown(many("pool", 257, &pool)), ["260:1: more than 256 of [[pool]] | -"]);
    let affinity = |index: usize| format!("name = \"a{index}\", by = [{{method = \"source-address\"}}]");
    assert!(many("affinity", 64, &affinity).is_ok());
    assert_eq!(shown(many("affinity", 65, &affinity)), ["68:1: more than 64 of [[affinity]] | -"]);
    let backends = |count: usize| {
        move |index: usize| {
            let backend =
                |n: usize| format!("{{name = \"b{n}\", address = \"10.{index}.{}.{}:1\"}}", n / 256, n % 256);
            let all: Vec<String> = (0..count).map(backend).collect();
            format!("name = \"p{index}\", backend = [{}]", all.join(","))
        }
    };
    assert!(many("pool", 4, &backends(1024)).is_ok());
    assert_eq!(
        shown(many("pool", 4, &backends(1025))),
        ["7:1: more than 4096 backends in all pools together | -"]
    );
    assert_eq!(
        shown(many("pool", 5, &backends(1024))),
        ["8:1: more than 4096 backends in all pools together | -"]
    );
    let named =
        |index: usize| format!("name = \"p{index}\", dns = {{name = \"p{index}.internal\", port = 80}}");
    assert!(many("pool", 16, &named).is_ok());
    assert_eq!(shown(many("pool", 17, &named)), ["20:22: more than 16 pools have a `[pool.dns]` | -"]);
    let route = |index: usize| format!("name = \"r{index}\", path_prefix = \"/{index}\", pool = \"p\"");
    let routes = |count: usize| {
        let entries: Vec<String> = (0..count).map(|index| format!("{{{}}},\n", route(index))).collect();
        check(&format!("pool = [{{name = \"p\"}}]\nroute = [\n{}]\n", entries.concat()))
    };
    assert!(routes(1024).is_ok());
    assert_eq!(shown(routes(1025)), ["1029:1: more than 1024 of [[route]] | -"]);
}
