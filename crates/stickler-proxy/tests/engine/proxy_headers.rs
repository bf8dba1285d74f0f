//! Connections that begin with a header of the PROXY protocol.

use std::time::Duration;

use stickler_core::client_address::Greeting;
use stickler_proxy::worker::WorkerSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Backend, Proxy, Raw, header, run, until};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";

/// Version 2 for 192.0.2.8, with one note about the connection.
fn binary(note: &[u8]) -> Vec<u8> {
    let addresses = [192, 0, 2, 8, 198, 51, 100, 1, 0x12, 0x34, 0, 80];
    let note_length = u16::try_from(note.len()).unwrap();
    let length = (12 + 3 + note_length).to_be_bytes();
    let fixed = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &length, &addresses].concat();
    [&fixed, &b"\xe0"[..], &note_length.to_be_bytes(), note].concat()
}

async fn proxy() -> Proxy {
    let proxy = Proxy::start(Backend::echo().await.address).await;
    proxy.plan.greeting.set(Greeting::ProxyHeader);
    proxy
}

/// For whom the backend was asked, as the answer to a request says.
async fn asked_for(client: &mut Raw) -> String {
    let (_head, seen) = client.message().await.expect("an answer");
    header(&String::from_utf8(seen).unwrap(), "x-forwarded-for").unwrap().to_owned()
}

/// Waits until the connection ends, and wants no byte before.
async fn ends_without_an_answer(client: &mut Raw) {
    let ended = client.0.read_u8().await;
    assert!(ended.is_err(), "no answer, but {ended:?}");
}

#[test]
fn the_client_is_the_one_that_the_header_names() {
    run(async {
        let proxy = proxy().await;
        for (greeting, expected) in [
            (LINE.as_bytes().to_vec(), "192.0.2.7"),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n".to_vec(), "2001:db8::7"),
            (binary(b"note"), "192.0.2.8"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0".to_vec(), "127.0.0.1"),
        ] {
            let mut client = proxy.connect().await;
            client.0.write_all(&[&greeting, GET.as_bytes(), GET.as_bytes()].concat()).await.unwrap();
            assert_eq!(asked_for(&mut client).await, expected);
            assert_eq!(asked_for(&mut client).await, expected, "for the whole connection");
            client.send(GET).await;
            assert_eq!(asked_for(&mut client).await, expected, "for the whole connection");
        }
        assert_eq!(proxy.plan.refused.get(), 0);
    });
}

#[test]
fn header_and_request_may_come_in_any_pieces() {
    run(async {
        let proxy = proxy().await;
        for greeting in [LINE.as_bytes().to_vec(), binary(b"")] {
            let mut client = proxy.connect().await;
            client.0.set_nodelay(true).unwrap();
            for byte in [&greeting, GET.as_bytes()].concat() {
                client.0.write_all(&[byte]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(asked_for(&mut client).await.starts_with("192.0.2."));
        }
    });
}

#[test]
fn the_watch_over_framing_sees_only_what_is_behind_the_header() {
    run(async {
        let proxy = proxy().await;
        let note = b"GET /\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nx";
        let mut client = proxy.connect().await;
        client.0.write_all(&[&binary(note), GET.as_bytes()].concat()).await.unwrap();
        assert_eq!(asked_for(&mut client).await, "192.0.2.8");
        client.send("GET / HTTP/1.1\nHost: a\r\n\r\n").await;
        let (head, _body) = client.message().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 400"), "and misses nothing: {head}");
        let mut client = proxy.connect().await;
        let smuggled =
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(&format!("{LINE}{smuggled}0\r\n\r\n")).await;
        let (head, _body) = client.message().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 400"), "even in what was read ahead: {head}");
    });
}

#[test]
fn a_connection_that_begins_otherwise_is_closed_without_an_answer() {
    run(async {
        let proxy = proxy().await;
        let cut = &LINE[..20];
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for (number, greeting) in (1..).zip([GET, "PROXY TCP4 nobody\r\n", &long, cut]) {
            let mut client = proxy.connect().await;
            client.send(greeting).await;
            if greeting == cut {
                client.0.shutdown().await.unwrap();
            }
            ends_without_an_answer(&mut client).await;
            until("the place is free", || proxy.clients() == 0).await;
            assert_eq!(proxy.plan.refused.get(), number, "{greeting}");
        }
        proxy.plan.greeting.set(Greeting::Refused);
        let mut client = proxy.connect().await;
        client.send(&format!("{LINE}{GET}")).await;
        ends_without_an_answer(&mut client).await;
        assert_eq!(proxy.plan.refused.get(), 5, "from nobody trusted");
    });
}

#[test]
fn a_connection_that_says_nothing_is_closed_in_time_and_keeps_nobody_waiting() {
    run(async {
        let settings =
            WorkerSettings { greeting_timeout: Duration::from_millis(300), ..WorkerSettings::default() };
        let proxy = Proxy::start_with(Backend::echo().await.address, settings).await;
        proxy.plan.greeting.set(Greeting::ProxyHeader);
        let mut silent = proxy.connect().await;
        let mut half = proxy.connect().await;
        half.send(&LINE[..LINE.len() - 1]).await;
        let mut prompt = proxy.connect().await;
        prompt.send(&format!("{LINE}{GET}")).await;
        assert_eq!(asked_for(&mut prompt).await, "192.0.2.7");
        assert_eq!(proxy.clients(), 3, "the silent ones have their places, too");
        ends_without_an_answer(&mut silent).await;
        ends_without_an_answer(&mut half).await;
        until("their places are free", || proxy.clients() == 1).await;
        assert_eq!(proxy.plan.refused.get(), 2);
    });
}

#[test]
fn a_check_by_connection_alone_is_no_refusal() {
    run(async {
        let proxy = proxy().await;
        drop(proxy.connect().await);
        let mut other = proxy.connect().await;
        other.send(&format!("{LINE}{GET}")).await;
        assert_eq!(asked_for(&mut other).await, "192.0.2.7");
        drop(other);
        until("all places are free", || proxy.clients() == 0).await;
        assert_eq!(proxy.plan.refused.get(), 0);
    });
}

#[test]
fn a_worker_that_finishes_does_not_wait_for_headers() {
    run(async {
        let proxy = proxy().await;
        let mut silent = proxy.connect().await;
        until("it has a place", || proxy.clients() == 1).await;
        let finished = tokio::time::timeout(Duration::from_secs(1), proxy.finish()).await;
        assert!(finished.is_ok(), "less than a header is waited for");
        ends_without_an_answer(&mut silent).await;
    });
}
