//! Reuse, retries, and what a failed exchange says.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::support::{Backend, Proxy, destination, header, loopback, run, until};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn connections_are_kept_and_reused_on_both_sides() {
    run(async {
        let backend = Backend::echo().await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        for _ in 0..3 {
            assert_eq!(client.ask(GET).await.0, "HTTP/1.1 200 OK");
            assert_eq!(client.ask(POST).await.0, "HTTP/1.1 200 OK");
        }
        assert_eq!(proxy.connect().await.ask(GET).await.0, "HTTP/1.1 200 OK");
        assert_eq!((backend.accepted.get(), proxy.idle()), (1, 1));
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let backend = Backend::echo().await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        let requests: String = (0..5).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
        client.send(&requests).await;
        for n in 0..5 {
            let (_head, seen) = client.message().await.unwrap();
            assert!(seen.starts_with(format!("GET /{n} ").as_bytes()));
        }
    });
}

#[test]
fn a_request_meets_a_dead_idle_connection_and_still_arrives() {
    run(async {
        let closed = Rc::new(Cell::new(0));
        let count = Rc::clone(&closed);
        let backend = Backend::start(move |mut raw, _number| {
            let closed = Rc::clone(&count);
            async move {
                let (_head, body) = raw.message().await.unwrap();
                let length = body.len();
                raw.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await;
                raw.send(&String::from_utf8(body).unwrap()).await;
                drop(raw);
                closed.set(closed.get() + 1);
            }
        })
        .await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        for n in 1..=10 {
            let (status, _head, body) = client.ask(POST).await;
            assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "hello"), "request {n}");
            until("the backend has closed", || closed.get() == n).await;
        }
        assert_eq!((backend.accepted.get(), proxy.plan.failures.borrow().len()), (10, 0));
    });
}

/// Answers the first request of its first connection and closes in the middle of the second.
async fn closes_under_the_second() -> (Backend, Rc<RefCell<Vec<String>>>) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&seen);
    let backend = Backend::start(move |mut raw, number| {
        let seen = Rc::clone(&log);
        async move {
            let mut requests = 0;
            while let Some((head, _body)) = raw.message().await {
                requests += 1;
                seen.borrow_mut().push(format!("{number}: {}", head.split(' ').next().unwrap()));
                if number == 1 && requests == 2 {
                    return;
                }
                raw.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    (backend, seen)
}

#[test]
fn a_safe_request_that_a_closing_connection_swallowed_is_sent_again_and_validated_again() {
    run(async {
        let (backend, seen) = closes_under_the_second().await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        client.ask(POST).await;
        until("the connection is idle", || proxy.idle() == 1).await;
        assert_eq!(client.ask(GET).await.0, "HTTP/1.1 200 OK");
        assert_eq!(*seen.borrow(), ["1: POST", "1: GET", "2: GET"]);
        assert_eq!(proxy.plan.validations.get(), 3);
    });
}

#[test]
fn a_request_with_effects_is_never_sent_twice() {
    run(async {
        const DELETE: &str = "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n";
        for (request, method) in [(POST, "POST"), (DELETE, "DELETE")] {
            let (backend, seen) = closes_under_the_second().await;
            let proxy = Proxy::start(backend.address).await;
            let mut client = proxy.connect().await;
            client.ask(GET).await;
            until("the connection is idle", || proxy.idle() == 1).await;
            let (status, head, _body) = client.ask(request).await;
            assert_eq!(status, "HTTP/1.1 502 Bad Gateway");
            assert_eq!(header(&head, "stickler-error"), Some("backend-broke-off"));
            assert_eq!(*seen.borrow(), ["1: GET".to_owned(), format!("1: {method}")]);
            let failures = proxy.plan.failures.borrow();
            assert!(failures[0].1 && !failures[0].2, "suspect, and maybe sent: {failures:?}");
        }
    });
}

#[test]
fn a_request_that_is_no_longer_valid_leaves_no_byte_with_the_backend() {
    run(async {
        let bytes = Rc::new(Cell::new(None));
        let read = Rc::clone(&bytes);
        let backend = Backend::start(move |mut raw, _number| {
            let bytes = Rc::clone(&read);
            async move { bytes.set(Some(raw.rest().await.len())) }
        })
        .await;
        let proxy = Proxy::start(backend.address).await;
        proxy.plan.valid.set(false);
        let (status, head, _body) = proxy.connect().await.ask(POST).await;
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        assert_eq!(header(&head, "stickler-error"), Some("not-valid"));
        assert_eq!(proxy.plan.validations.get(), 1);
        until("the backend's connection is closed", || bytes.get().is_some()).await;
        assert_eq!((bytes.get(), backend.accepted.get()), (Some(0), 1), "connected first, validated last");
    });
}

#[test]
fn a_request_that_was_not_sent_comes_back_whole_and_can_go_elsewhere() {
    run(async {
        let (stale, fresh) = (Backend::echo().await, Backend::echo().await);
        let proxy = Proxy::start(stale.address).await;
        proxy.plan.valid.set(false);
        proxy.plan.second.set(Some(destination(fresh.address)));
        let (status, _head, seen) = proxy.connect().await.ask(POST).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(seen.starts_with("POST / HTTP/1.1\r\n") && seen.ends_with("\r\n\r\nhello"), "{seen}");
    });
}

#[test]
fn a_refused_connection_is_suspect_and_nothing_was_sent() {
    run(async {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let dead = listener.local_addr().unwrap();
        drop(listener);
        let proxy = Proxy::start(dead).await;
        let (status, head, _body) = proxy.connect().await.ask(POST).await;
        assert_eq!(status, "HTTP/1.1 502 Bad Gateway");
        assert_eq!(header(&head, "stickler-error"), Some("backend-refused"));
        let failures = proxy.plan.failures.borrow();
        assert_eq!(*failures, [("the backend refused the connection".to_owned(), true, true)]);
        assert_eq!((proxy.plan.validations.get(), proxy.in_flight()), (0, 0));
    });
}

#[test]
fn idle_connections_are_closed_when_they_are_old_and_at_the_end() {
    run(async {
        let backend = Backend::echo().await;
        let proxy = Proxy::start(backend.address).await;
        let connections = proxy.plan.exchanges.connections().clone();
        tokio::task::spawn_local(async move { connections.keep_tidy().await });
        proxy.connect().await.ask(GET).await;
        assert_eq!(proxy.idle(), 1);
        until("the idle connection got too old", || proxy.idle() == 0).await;
        proxy.connect().await.ask(GET).await;
        assert_eq!((proxy.idle(), backend.accepted.get()), (1, 2));
        proxy.ending.trigger();
        until("none is kept", || proxy.idle() == 0).await;
    });
}

#[test]
fn a_worker_that_finishes_answers_what_it_has_begun() {
    run(async {
        let backend = Backend::start(|mut raw, _number| async move {
            while raw.head().await.is_some() {
                tokio::time::sleep(Duration::from_millis(200)).await;
                raw.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        })
        .await;
        let proxy = Proxy::start(backend.address).await;
        let mut idle = proxy.connect().await;
        idle.ask(GET).await;
        let mut busy = proxy.connect().await;
        busy.send(GET).await;
        until("both are connected", || proxy.clients() == 2 && proxy.in_flight() == 1).await;
        let (head, ()) = tokio::join!(busy.message(), proxy.finish());
        assert!(head.unwrap().0.starts_with("HTTP/1.1 200 OK"));
        assert_eq!(idle.rest().await, "");
        assert_eq!(proxy.clients(), 0);
        assert!(tokio::net::TcpStream::connect(proxy.address).await.is_err(), "the listener is closed");
    });
}
