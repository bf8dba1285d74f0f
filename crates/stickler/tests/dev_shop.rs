//! The demo shop as its visitors see it: a process that keeps carts in its own memory.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A running shop; killed when the test ends.
struct Shop {
    process: Child,
    address: SocketAddr,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Shop {
    fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    fn start_with(name: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_stickler"))
            .args(["demo-shop", "--listen", "127.0.0.1:0", "--name", name])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("http://").unwrap().1.parse().unwrap();
        Self { process, address }
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn cart(&self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{}\n{}", self.head, self.body);
        serde_json::from_str(&self.body).unwrap()
    }

    /// The cookie that was set, as a client sends it back.
    fn cookie(&self) -> Option<String> {
        self.header("set-cookie").map(|line| line.split(';').next().unwrap().to_owned())
    }
}

#[test]
fn a_visitor_with_the_shops_cookie_keeps_the_cart() {
    let shop = Shop::start("web-1");
    let first = shop.ask("POST", "/cart", &[], "item=tea&number=1");
    let cookie = first.cookie().unwrap();
    assert!(cookie.starts_with("SHOPSESSION="));
    assert_eq!(first.header("x-backend"), Some("web-1"));

    let mine = [("Cookie", cookie.as_str())];
    shop.ask("POST", "/cart", &mine, "item=bread&number=2");
    let again = shop.ask("POST", "/cart", &mine, "item=bread&number=2");
    assert_eq!(again.cookie(), None);
    let cart = again.cart();
    assert_eq!(cart["backend"], "web-1");
    assert_eq!(cart["count"], 2);
    assert_eq!(cart["items"][1], serde_json::json!({"number": 2, "item": "bread"}));
    assert_eq!(cookie, format!("SHOPSESSION={}", cart["session"].as_str().unwrap()));

    let page = shop.ask("GET", "/", &[mine[0], ("stickler-epoch", "42")], "");
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    for shown in ["web-1", ">tea<", ">bread<", "<code>42</code>", "action=\"/cart\""] {
        assert!(page.body.contains(shown), "{shown} in {}", page.body);
    }
}

#[test]
fn a_cookie_that_the_shop_did_not_make_opens_no_cart() {
    let shop = Shop::start("web-1");
    let planted = shop.ask("POST", "/cart", &[("Cookie", "SHOPSESSION=planted")], "item=tea");
    assert_eq!(planted.cart()["count"], 1);
    assert!(!planted.cookie().unwrap().contains("planted"));
}

#[test]
fn a_handle_or_a_header_names_a_cart_of_its_own() {
    let shop = Shop::start("web-1");
    for (path, name) in [("/token/cart", "stickler-session"), ("/api/cart", "X-Session")] {
        let added = shop.ask("POST", path, &[(name, "same")], "item=tea");
        assert_eq!(added.cart()["count"], 1, "{path}");
        assert_eq!(added.cookie(), None);
        assert_eq!(shop.ask("GET", path, &[(name, "same")], "").cart()["count"], 1);
        assert_eq!(shop.ask("GET", path, &[(name, "other")], "").cart()["count"], 0);
        assert_eq!(shop.ask("GET", path, &[], "").status, 400);
    }
}

const HANDLE: &str = "0123456789abcdef0123456789abcdef";

/// The headers of a request to `/api`, as a node forwards it by this epoch.
fn forwarded(epoch: &str) -> [(&str, &str); 3] {
    [("X-Session", "mine"), ("stickler-session", HANDLE), ("stickler-epoch", epoch)]
}

#[test]
fn a_request_that_was_overtaken_is_refused_and_changes_nothing() {
    let shop = Shop::start("web-1");
    // What begins a session may come before it has an epoch.
    let first = shop.ask("POST", "/api/cart", &forwarded("7")[..2], "item=tea&number=1");
    assert_eq!(first.cart()["count"], 1);
    assert_eq!(shop.ask("GET", "/api/cart", &forwarded("7"), "").cart()["count"], 1);
    shop.ask("GET", "/api/cart", &forwarded("9"), "").cart();
    for overtaken in [&forwarded("8")[..], &forwarded("7"), &forwarded("7")[..2]] {
        for (method, body) in [("POST", "item=bread&number=2"), ("GET", "")] {
            let refused = shop.ask(method, "/api/cart", overtaken, body);
            assert_eq!(refused.status, 412, "{method} by {overtaken:?}: {}", refused.body);
            assert!(refused.body.contains("overtaken by epoch 9"), "{}", refused.body);
        }
    }
    // It was away and is back: a later epoch simply goes on.
    let back = shop.ask("POST", "/api/cart", &forwarded("12"), "item=honey&number=3").cart();
    assert_eq!(back["items"].as_array().unwrap().len(), 2, "{back}");
    // Whoever does not come through a node is not fenced.
    assert_eq!(shop.ask("GET", "/api/cart", &forwarded("")[..1], "").cart()["count"], 2);
}

#[test]
fn a_shop_that_a_session_has_left_can_not_order_for_it_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let till = ["--till", directory.path().to_str().unwrap()];
    let [old, new] = ["web-1", "web-2"].map(|name| Shop::start_with(name, &till));
    for shop in [&old, &new] {
        shop.ask("POST", "/api/cart", &forwarded("3"), "item=tea&number=1");
    }
    let ordered = old.ask("POST", "/api/orders", &forwarded("3"), "number=1").cart();
    assert_eq!(
        ordered["orders"][0],
        serde_json::json!({"number": 1, "backend": "web-1", "epoch": 3, "items": ["tea"]})
    );
    // Looking is enough: what is shown now can't be changed from before.
    assert_eq!(new.ask("GET", "/api/orders", &forwarded("5"), "").cart()["orders"], ordered["orders"]);
    // The old shop itself has seen nothing of the new epoch.
    let late = old.ask("POST", "/api/orders", &forwarded("3"), "number=2");
    assert_eq!((late.status, late.header("x-backend")), (412, Some("web-1")), "{}", late.body);
    assert_eq!(new.ask("POST", "/api/orders", &forwarded("5"), "number=2").cart()["orders"][1]["epoch"], 5);
    let again = new.ask("POST", "/api/orders", &forwarded("5"), "number=2").cart();
    assert_eq!(again["orders"].as_array().unwrap().len(), 2, "{again}");
    let back = old.ask("POST", "/api/orders", &forwarded("6"), "").cart();
    assert_eq!(back["orders"][2]["backend"], "web-1");

    let without = Shop::start("web-3");
    assert_eq!(without.ask("GET", "/api/orders", &forwarded("5"), "").status, 404);
    for (headers, status) in [(&forwarded("9")[..1], 400), (&forwarded("9"), 409)] {
        let path = if status == 409 { "/orders" } else { "/api/orders" };
        assert_eq!(new.ask("POST", path, headers, "").status, status, "{headers:?}");
    }
}

#[test]
fn a_browser_that_adds_an_item_is_led_back_to_the_page() {
    let shop = Shop::start("web-1");
    let added = shop.ask("POST", "/cart", &[("Accept", "text/html,*/*")], "item=green+tea");
    assert_eq!((added.status, added.header("location")), (303, Some("/")));
    let page = shop.ask("GET", "/", &[("Cookie", &added.cookie().unwrap())], "");
    assert!(page.body.contains(">green tea<") && !page.body.contains("/orders"));
}

#[test]
fn what_makes_no_sense_is_refused_and_the_shop_goes_on() {
    let shop = Shop::start("web-1");
    let long = format!("item={}", "x".repeat(65));
    let huge = format!("item={}", "x".repeat(5000));
    for (method, path, body, status) in [
        ("GET", "/nowhere", "", 404),
        ("DELETE", "/cart", "", 405),
        ("POST", "/", "item=tea", 405),
        ("POST", "/cart", "tea", 400),
        ("POST", "/cart", "item=tea&number=first", 400),
        ("POST", "/cart", "item=", 409),
        ("POST", "/cart", &long, 409),
        ("POST", "/cart", &huge, 400),
    ] {
        let answer = shop.ask(method, path, &[], body);
        assert_eq!(answer.status, status, "{method} {path} {body}");
        assert_eq!(answer.header("x-backend"), Some("web-1"));
    }
    assert_eq!(shop.ask("GET", "/health", &[], "").status, 200);
}

#[test]
fn a_shop_that_is_told_to_stop_ends_cleanly() {
    let mut shop = Shop::start("web-1");
    kill_process(shop.pid(), Signal::TERM).unwrap();
    assert!(shop.process.wait().unwrap().success());
}

#[test]
fn a_shop_ends_with_the_process_that_started_it_when_asked_to() {
    let mut shop = Shop::start_with("web-1", &["--until-stdin-closes"]);
    let input: ChildStdin = shop.process.stdin.take().unwrap();
    assert_eq!(shop.ask("GET", "/health", &[], "").status, 200);
    drop(input);
    assert!(shop.process.wait().unwrap().success());
}
