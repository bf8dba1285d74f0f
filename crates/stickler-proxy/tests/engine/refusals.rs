//! Framing that could smuggle, heads too large, clients too many or too slow.

use std::time::Duration;

use stickler_proxy::worker::WorkerSettings;

use crate::support::{Backend, Proxy, header, run, until};

/// Raw bytes in, the status wanted. Each is followed by a request that must never be answered.
const REFUSED: [(&str, &str, u16); 26] = [
    (
        "length then chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunked then length",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    (
        "one length twice",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        400,
    ),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
    ("a signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400),
    ("a negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello", 400),
    ("a length too long", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
    (
        "an unknown encoding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunked after gzip",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunked before identity",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunked on two lines",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("chunked on 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (
        "a space before the colon",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("a folded line", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400),
    ("a folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    ("a bare line feed", "GET / HTTP/1.1\nHost: a\n\n", 400),
    ("a bare carriage return", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", 400),
    ("a null in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\0\r\n\r\n", 400),
    ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("a host that is none", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("a target of another host", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a version that is none", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400),
    ("connect", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
    ("an expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\nx", 417),
];

#[test]
fn what_two_servers_could_read_differently_is_refused_and_ends_the_connection() {
    run(async {
        let backend = Backend::echo().await;
        let proxy = Proxy::start(backend.address).await;
        for (what, bytes, status) in REFUSED {
            let mut client = proxy.connect().await;
            // A good request first: a refusal is as sure on a connection that worked.
            assert_eq!(client.ask("GET /first HTTP/1.1\r\nHost: a\r\n\r\n").await.0, "HTTP/1.1 200 OK");
            let served = proxy.plan.validations.get();
            client.send(&format!("{bytes}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            let answer = client.rest().await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} "))
                    || answer.starts_with(&format!("HTTP/1.0 {status} ")),
                "{what}: {answer:?}"
            );
            assert_eq!(answer.matches("HTTP/1.").count(), 1, "{what}: one answer, then closed: {answer:?}");
            assert_eq!(proxy.plan.validations.get(), served, "{what}: nothing was forwarded");
        }
    });
}

#[test]
fn a_body_that_can_not_be_followed_ends_the_connection() {
    run(async {
        let backend = Backend::start(|mut raw, _number| async move {
            raw.head().await;
            raw.rest().await;
        })
        .await;
        for body in
            ["5\r\nhello!!\r\n0\r\n\r\n", "x\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "ffffffffffffffffff\r\n"]
        {
            let proxy = Proxy::start(backend.address).await;
            let mut client = proxy.connect().await;
            client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            client.send(&format!("{body}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            let answer = client.rest().await;
            assert!(
                answer.matches("HTTP/1.").count() <= 1 && !answer.contains("200 OK"),
                "{body:?}: {answer}"
            );
            assert_eq!(proxy.plan.validations.get(), 1, "{body:?}");
        }
    });
}

#[test]
fn a_head_over_the_limit_is_answered_431_however_it_comes() {
    run(async {
        let backend = Backend::echo().await;
        let settings = WorkerSettings { max_request_head: 8 * 1024, ..WorkerSettings::default() };
        let proxy = Proxy::start_with(backend.address, settings).await;
        let filled =
            |bytes: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX-Filling: {}\r\n\r\n", "x".repeat(bytes));
        assert_eq!(proxy.connect().await.ask(&filled(7 * 1024)).await.0, "HTTP/1.1 200 OK");
        let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
        for head in [filled(9 * 1024), filled(500 * 1024), format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")]
        {
            let mut client = proxy.connect().await;
            client.send(&head).await;
            let answer = client.rest().await;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
        }
        assert_eq!(proxy.plan.validations.get(), 1);
    });
}

#[test]
fn one_client_too_many_is_told_so_and_the_others_are_served() {
    run(async {
        let backend = Backend::echo().await;
        let settings = WorkerSettings { max_connections: 2, ..WorkerSettings::default() };
        let proxy = Proxy::start_with(backend.address, settings).await;
        let (mut first, second) = (proxy.connect().await, proxy.connect().await);
        until("both are in", || proxy.clients() == 2).await;
        let mut third = proxy.connect().await;
        let (head, _body) = third.message().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_eq!(header(&head, "stickler-error"), Some("too-many-connections"));
        assert_eq!(first.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.0, "HTTP/1.1 200 OK");
        drop(second);
        until("a place is free", || proxy.clients() == 1).await;
        assert_eq!(proxy.connect().await.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.0, "HTTP/1.1 200 OK");
    });
}

#[test]
fn a_client_that_dawdles_with_its_head_is_closed() {
    run(async {
        let backend = Backend::echo().await;
        let settings =
            WorkerSettings { head_timeout: Duration::from_millis(100), ..WorkerSettings::default() };
        let proxy = Proxy::start_with(backend.address, settings).await;
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: ").await;
        assert_eq!(client.rest().await, "");
        let mut idle = proxy.connect().await;
        assert_eq!(idle.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.0, "HTTP/1.1 200 OK");
        assert_eq!(idle.rest().await, "", "an idle connection, too");
        until("no connection is left", || proxy.clients() == 0).await;
    });
}

#[test]
fn a_refused_client_that_is_still_sending_is_not_reset_before_it_has_read_the_answer() {
    run(async {
        let backend = Backend::echo().await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        client.send("POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nbegin").await;
        assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
        for _ in 0..5 {
            client.send("more of the body").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}
