//! WebSockets: tunnelled both ways, held, and closed.

use std::rc::Rc;
use std::time::Duration;

use stickler_proxy::hold::Hold;
use stickler_proxy::worker::WorkerSettings;
use stickler_rt::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Backend, Proxy, Raw, destination, header, run, until};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Switches, says "hi" in the same write as its head, echoes until the end of input, then says "bye".
async fn echo() -> Backend {
    Backend::start(|mut raw, _number| async move {
        let head = raw.head().await.unwrap();
        assert_eq!(header(&head, "upgrade"), Some("websocket"), "{head}");
        assert_eq!(header(&head, "connection"), Some("upgrade"), "{head}");
        raw.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhi",
        )
        .await;
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = raw.0.read(&mut bytes).await {
            raw.0.write_all(&bytes[..read]).await.unwrap();
        }
        // The other side may be gone for good.
        let _gone = raw.0.write_all(b"bye").await;
    })
    .await
}

async fn open(proxy: &Proxy) -> Raw {
    let mut client = proxy.connect().await;
    // A frame right behind the head must not be lost, nor be read as a request.
    client.send(&format!("{UPGRADE}early\n\n")).await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    assert_eq!(header(&head, "connection"), Some("upgrade"));
    assert!(header(&head, "sec-websocket-accept").is_some());
    assert_eq!(client.bytes(2).await, b"hi");
    assert_eq!(client.bytes(7).await, b"early\n\n");
    client
}

#[test]
fn a_websocket_passes_both_ways_and_half_closes() {
    run(async {
        let backend = echo().await;
        let proxy = Proxy::start(backend.address).await;
        let using = Rc::new(());
        proxy.plan.hold.replace(Some(Hold::new().with_guard(Rc::clone(&using))));
        let mut client = open(&proxy).await;
        for n in 0..100 {
            let frame = format!("frame {n:03}\r\n\r\n");
            client.send(&frame).await;
            assert_eq!(client.bytes(frame.len()).await, frame.as_bytes());
        }
        assert_eq!((proxy.in_flight(), Rc::strong_count(&using)), (1, 2), "in use while it is open");
        client.0.shutdown().await.unwrap();
        assert_eq!(client.rest().await, "bye", "the other direction stays open");
        until("the use has ended", || proxy.in_flight() == 0 && Rc::strong_count(&using) == 1).await;
    });
}

#[test]
fn the_end_of_the_backends_side_leaves_the_clients_open() {
    run(async {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let sender = std::cell::Cell::new(Some(sender));
        let backend = Backend::start(move |mut raw, _number| {
            let sender = sender.take().unwrap();
            async move {
                raw.head().await.unwrap();
                raw.send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
                )
                .await;
                raw.0.shutdown().await.unwrap();
                sender.send(raw.rest().await).unwrap();
            }
        })
        .await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        client.send(UPGRADE).await;
        client.head().await.unwrap();
        assert_eq!(client.rest().await, "");
        client.send("last\r\nwords").await;
        client.0.shutdown().await.unwrap();
        assert_eq!(receiver.await.unwrap(), "last\r\nwords");
    });
}

#[test]
fn the_websockets_of_an_ended_session_can_be_closed() {
    run(async {
        let backend = echo().await;
        let settings =
            WorkerSettings { drain_timeout: Duration::from_millis(50), ..WorkerSettings::default() };
        let proxy = Proxy::start_with(backend.address, settings).await;
        let (using, close) = (Rc::new(()), Shutdown::new());
        proxy.plan.hold.replace(Some(Hold::new().with_guard(Rc::clone(&using)).with_close(close.clone())));
        let mut closed = open(&proxy).await;
        let mut other = open(&proxy).await;
        close.trigger();
        assert_eq!(closed.rest().await, "");
        until("its use has ended", || Rc::strong_count(&using) == 1).await;
        other.send("still here").await;
        assert_eq!(other.bytes(10).await, b"still here");
        assert_eq!(proxy.clients(), 1, "a websocket takes a client's place as long as it is open");
        proxy.finish().await;
        assert_eq!(other.rest().await, "", "a worker that ends takes its tunnels along");
    });
}

#[test]
fn a_silent_websocket_is_closed_and_a_talking_one_is_not() {
    run(async {
        let backend = echo().await;
        let proxy = Proxy::start(backend.address).await;
        let mut to = destination(backend.address);
        to.timeouts.tunnel = Duration::from_millis(300);
        proxy.plan.destination.set(to);
        let mut client = open(&proxy).await;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            client.send("x").await;
            assert_eq!(client.bytes(1).await, b"x");
        }
        assert_eq!(client.rest().await, "");
        until("its use has ended", || proxy.in_flight() == 0).await;
    });
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    run(async {
        let backend = Backend::echo().await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        assert_eq!(client.ask(UPGRADE).await.0, "HTTP/1.1 200 OK");
        assert_eq!(client.ask(UPGRADE).await.0, "HTTP/1.1 200 OK", "and the connection goes on");
        assert_eq!(backend.accepted.get(), 1);
    });
}

#[test]
fn a_backend_that_switches_unasked_is_not_followed() {
    run(async {
        let backend = echo_unasked().await;
        let proxy = Proxy::start(backend.address).await;
        let (status, head, _body) = proxy.connect().await.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(status, "HTTP/1.1 502 Bad Gateway");
        assert_eq!(header(&head, "stickler-error"), Some("unexpected-upgrade"));
    });
}

async fn echo_unasked() -> Backend {
    Backend::start(|mut raw, _number| async move {
        raw.head().await.unwrap();
        raw.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
        raw.head().await;
    })
    .await
}
