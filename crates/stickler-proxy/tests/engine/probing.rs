//! Backends up and down, as one node's probes see them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use stickler_core::document::cluster::HealthCheck;
use stickler_core::ids::BackendId;
use stickler_proxy::probe::{ProbeEvent, ProbeTarget, Prober};
use stickler_rt::{Clock, Seed, TcpNetwork};
use tokio::net::TcpListener;
use tokio::sync::mpsc::Receiver;

use crate::support::{BACKEND, Backend, loopback, run, until};

const LONG: Duration = Duration::from_secs(600);

fn check(path: Option<&str>, interval: Duration) -> HealthCheck {
    let timeout = Duration::from_millis(500);
    HealthCheck { path: path.map(str::to_owned), interval, timeout, rise: 2, fall: 3 }
}

fn start(address: SocketAddr, check: HealthCheck) -> (Prober, Receiver<ProbeEvent>) {
    let (prober, events) = Prober::new(Arc::new(TcpNetwork), Seed::from_number(1));
    prober.set_targets(&BTreeMap::from([(BACKEND, ProbeTarget { address, check })]));
    (prober, events)
}

fn event(up: bool) -> Option<ProbeEvent> {
    Some(ProbeEvent { backend: BACKEND, up })
}

#[test]
fn a_killed_backend_is_reported_down_within_300_ms_of_a_suspicion() {
    run(async {
        let clock = Clock::start();
        for path in [None, Some("/health")] {
            let listener = TcpListener::bind(loopback()).await.unwrap();
            let address = listener.local_addr().unwrap();
            let serving = tokio::task::spawn_local(async move {
                loop {
                    let (stream, _peer) = listener.accept().await.unwrap();
                    let mut raw = crate::support::Raw(stream);
                    if raw.head().await.is_some() {
                        raw.send("HTTP/1.1 204 No Content\r\n\r\n").await;
                    }
                }
            });
            let (prober, mut events) = start(address, check(path, LONG));
            assert_eq!(events.recv().await, event(true), "one pass is enough for a new backend");
            serving.abort();
            assert!(serving.await.is_err());
            let suspected = clock.now();
            prober.suspect(BACKEND);
            assert_eq!(events.recv().await, event(false));
            let took = clock.now().since(suspected);
            assert!(took < Duration::from_millis(300), "{took:?}");
        }
    });
}

#[test]
fn a_suspicion_of_a_healthy_backend_is_one_check_and_no_event() {
    run(async {
        let backend = Backend::start(|raw, _number| async move { drop(raw) }).await;
        let (prober, mut events) = start(backend.address, check(None, LONG));
        assert_eq!(events.recv().await, event(true));
        for checks in 2..=4 {
            prober.suspect(BACKEND);
            until("it was checked at once", || backend.accepted.get() == checks).await;
        }
        prober.suspect(BackendId(99));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!((backend.accepted.get(), events.try_recv().ok()), (4, None));
    });
}

#[test]
fn the_status_decides_and_a_row_of_checks_is_wanted() {
    run(async {
        let status = Rc::new(Cell::new(200));
        let answered = Rc::new(Cell::new(0));
        let (now, count) = (Rc::clone(&status), Rc::clone(&answered));
        let backend = Backend::start(move |mut raw, _number| {
            let (status, answered) = (Rc::clone(&now), Rc::clone(&count));
            async move {
                let head = raw.head().await.unwrap();
                assert!(head.starts_with("GET /ready?x HTTP/1.1\r\n"), "{head}");
                answered.set(answered.get() + 1);
                raw.send(&format!("HTTP/1.1 {} Status\r\nContent-Length: 0\r\n\r\n", status.get())).await;
            }
        })
        .await;
        let (_prober, mut events) =
            start(backend.address, check(Some("/ready?x"), Duration::from_millis(30)));
        assert_eq!(events.recv().await, event(true));
        status.set(500);
        let before = answered.get();
        assert_eq!(events.recv().await, event(false));
        assert!(answered.get() >= before + 3, "fall is 3");
        status.set(399);
        let before = answered.get();
        assert_eq!(events.recv().await, event(true));
        assert!(answered.get() >= before + 2, "rise is 2");
    });
}

#[test]
fn a_backend_that_hangs_fails_its_checks() {
    run(async {
        let backend = Backend::start(|mut raw, _number| async move { drop(raw.rest().await) }).await;
        let mut check = check(Some("/"), Duration::from_millis(30));
        check.timeout = Duration::from_millis(50);
        let (_prober, mut events) = start(backend.address, check);
        assert_eq!(events.recv().await, event(false));
    });
}

#[test]
fn targets_change_at_run_time() {
    run(async {
        let backend = Backend::start(|raw, _number| async move { drop(raw) }).await;
        let check = check(None, Duration::from_millis(30));
        let target = ProbeTarget { address: backend.address, check };
        let (prober, mut events) = start(backend.address, target.check.clone());
        assert_eq!(events.recv().await, event(true));
        let other = BackendId(2);
        let targets = BTreeMap::from([(BACKEND, target.clone()), (other, target)]);
        prober.set_targets(&targets);
        let new = ProbeEvent { backend: other, up: true };
        assert_eq!(events.recv().await, Some(new), "and the old one is not reported again");
        prober.set_targets(&BTreeMap::new());
        let checks = backend.accepted.get();
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(backend.accepted.get() <= checks + 2, "only what was under way is finished");
        drop(prober);
        assert_eq!(events.recv().await, None);
    });
}
