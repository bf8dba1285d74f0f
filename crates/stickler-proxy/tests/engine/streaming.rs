//! Bodies pass as they come, with back-pressure, and end with their clients.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use stickler_proxy::hold::Hold;
use stickler_rt::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::{Backend, Proxy, Raw, destination, header, run, until};

const PIECE: usize = 64 * 1024;

/// More than all socket buffers on the way hold, several times over.
const LARGE: usize = 96 * 1024 * 1024;

/// Writes `LARGE` bytes, counting them as they leave.
async fn pour(stream: &mut TcpStream, poured: &Cell<usize>) {
    let piece = vec![b'x'; PIECE];
    while poured.get() < LARGE {
        let end = PIECE.min(LARGE - poured.get());
        poured.set(poured.get() + stream.write(&piece[..end]).await.unwrap());
    }
}

async fn drink(stream: &mut TcpStream) -> usize {
    let (mut piece, mut drunk) = (vec![0; PIECE], 0);
    while drunk < LARGE {
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "ended after {drunk} bytes");
        assert!(piece[..read].iter().all(|byte| *byte == b'x'));
        drunk += read;
    }
    drunk
}

/// Waits until nothing has moved for a while, and answers how much had moved by then.
async fn stall(poured: &Cell<usize>) -> usize {
    loop {
        let before = poured.get();
        tokio::time::sleep(Duration::from_millis(300)).await;
        if before > 0 && poured.get() == before {
            return before;
        }
    }
}

#[test]
fn a_large_upload_waits_for_a_slow_backend_instead_of_piling_up() {
    run(async {
        let go_on = Rc::new(Notify::new());
        let gate = Rc::clone(&go_on);
        let backend = Backend::start(move |mut raw, _number| {
            let gate = Rc::clone(&gate);
            async move {
                raw.head().await.unwrap();
                gate.notified().await;
                let drunk = drink(&mut raw.0).await;
                raw.send(&format!("HTTP/1.1 200 OK\r\nX-Drunk: {drunk}\r\nContent-Length: 0\r\n\r\n")).await;
            }
        })
        .await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n")).await;
        let poured = Rc::new(Cell::new(0));
        let pouring = tokio::task::spawn_local({
            let poured = Rc::clone(&poured);
            async move {
                pour(&mut client.0, &poured).await;
                client
            }
        });
        let stalled = stall(&poured).await;
        assert!(stalled < LARGE / 2, "{stalled} bytes were taken although the backend read none");
        go_on.notify_one();
        let mut client: Raw = pouring.await.unwrap();
        let head = client.head().await.unwrap();
        assert_eq!(header(&head, "x-drunk"), Some(LARGE.to_string().as_str()));
    });
}

#[test]
fn a_large_download_waits_for_a_slow_client_instead_of_piling_up() {
    run(async {
        let poured = Rc::new(Cell::new(0));
        let counted = Rc::clone(&poured);
        let backend = Backend::start(move |mut raw, _number| {
            let poured = Rc::clone(&counted);
            async move {
                raw.head().await.unwrap();
                raw.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await;
                pour(&mut raw.0, &poured).await;
                raw.head().await;
            }
        })
        .await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.head().await.unwrap();
        let stalled = stall(&poured).await;
        assert!(stalled < LARGE / 2, "{stalled} bytes were taken although the client read none");
        assert_eq!(proxy.in_flight(), 1);
        assert_eq!(drink(&mut client.0).await, LARGE);
        until("the connection to the backend is idle again", || proxy.idle() == 1).await;
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn pieces_pass_as_they_come() {
    run(async {
        let backend = Backend::start(|mut raw, _number| async move {
            raw.head().await.unwrap();
            raw.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            // Each piece answers one of the client's: nothing is kept back for more to come.
            for _ in 0..3 {
                let piece = String::from_utf8(raw.bytes(6).await).unwrap();
                raw.send(&piece).await;
            }
            assert_eq!(raw.bytes(5).await, b"0\r\n\r\n");
            raw.send("0\r\n\r\n").await;
            raw.head().await;
        })
        .await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        client.head().await.unwrap();
        for piece in ["1\r\na\r\n", "1\r\nb\r\n", "1\r\nc\r\n"] {
            client.send(piece).await;
            assert_eq!(client.bytes(6).await, piece.as_bytes());
        }
        client.send("0\r\n\r\n").await;
        assert_eq!(client.bytes(5).await, b"0\r\n\r\n");
        until("the exchange has ended", || proxy.in_flight() == 0 && proxy.idle() == 1).await;
    });
}

#[test]
fn a_client_that_leaves_ends_the_exchange_with_the_backend() {
    run(async {
        let closed = Rc::new(Cell::new(0));
        let count = Rc::clone(&closed);
        let backend = Backend::start(move |mut raw, _number| {
            let closed = Rc::clone(&count);
            async move {
                let head = raw.head().await.unwrap();
                if head.contains("/stream") {
                    raw.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
                }
                assert!(raw.head().await.is_none());
                closed.set(closed.get() + 1);
            }
        })
        .await;
        let proxy = Proxy::start(backend.address).await;
        for (left, path) in [(1, "/wait"), (2, "/stream")] {
            let mut client = proxy.connect().await;
            client.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            until("the backend has the request", || proxy.in_flight() == 1).await;
            if path == "/stream" {
                client.head().await.unwrap();
            } else {
                until("it was accepted", || backend.accepted.get() == 1).await;
            }
            drop(client);
            until("the backend's connection is closed", || closed.get() == left).await;
            assert_eq!(proxy.in_flight(), 0);
        }
    });
}

#[test]
fn a_stream_counts_as_use_until_it_ends_and_can_be_closed() {
    run(async {
        let backend = Backend::start(|mut raw, _number| async move {
            raw.head().await.unwrap();
            raw.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
            assert!(raw.head().await.is_none());
        })
        .await;
        let proxy = Proxy::start(backend.address).await;
        let (using, close) = (Rc::new(()), Shutdown::new());
        let hold = Hold::new().with_guard(Rc::clone(&using)).with_close(close.clone());
        proxy.plan.hold.replace(Some(hold));
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.head().await.unwrap();
        assert_eq!(client.bytes(6).await, b"1\r\na\r\n");
        assert_eq!(Rc::strong_count(&using), 2, "the stream is in use");
        close.trigger();
        assert_eq!(client.rest().await, "", "cut off, not ended: the last chunk never comes");
        until("the use has ended", || Rc::strong_count(&using) == 1).await;
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn a_backend_that_does_not_answer_is_given_up_but_not_while_the_client_still_sends() {
    run(async {
        let backend =
            Backend::start(|mut raw, _number| async move { while raw.message().await.is_some() {} }).await;
        let proxy = Proxy::start(backend.address).await;
        let mut to = destination(backend.address);
        to.timeouts.response = Duration::from_millis(200);
        proxy.plan.destination.set(to);
        let mut client = proxy.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await;
        for byte in ["h", "e", "l", "l"] {
            client.send(byte).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert!(proxy.plan.failures.borrow().is_empty(), "{:?}", proxy.plan.failures);
        let (status, head, _body) = client.ask("o").await;
        assert_eq!(status, "HTTP/1.1 504 Gateway Timeout");
        assert_eq!(header(&head, "stickler-error"), Some("response-timeout"));
        assert_eq!(proxy.plan.failures.borrow().len(), 1);
        assert!(!proxy.plan.failures.borrow()[0].1, "slow is not suspect");
    });
}

#[test]
fn a_client_that_stalls_in_its_body_is_answered_and_closed() {
    run(async {
        let backend = Backend::start(|mut raw, _number| async move {
            raw.head().await.unwrap();
            // What of the body came before the cut is nobody's business.
            let _cut = raw.0.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let proxy = Proxy::start(backend.address).await;
        let mut to = destination(backend.address);
        to.timeouts.request_body = Duration::from_millis(100);
        proxy.plan.destination.set(to);
        let mut client = proxy.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await;
        let (head, _body) = client.message().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 408"), "{head}");
        assert_eq!(header(&head, "connection"), Some("close"));
        assert!(!proxy.plan.failures.borrow()[0].1, "the backend is not suspected");
    });
}
