//! Backends up and down, as one node's probes see them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use stickler_core::document::cluster::{CheckAnswer, HealthCheck};
use stickler_core::ids::BackendId;
use stickler_core::state::Finding;
use stickler_proxy::probe::{ProbeEvent, ProbeTarget, Prober};
use stickler_rt::{Clock, Seed, TcpNetwork};
use tokio::net::TcpListener;
use tokio::sync::mpsc::Receiver;

use crate::support::{BACKEND, Backend, loopback, run, until};

const LONG: Duration = Duration::from_secs(600);

fn check(path: Option<&str>, interval: Duration) -> HealthCheck {
    let timeout = Duration::from_millis(500);
    let answer = CheckAnswer::by_status(200, 399);
    let path = path.map(str::to_owned);
    HealthCheck { path, interval, timeout, rise: 2, fall: 3, fast_interval: interval, answer }
}

fn start(address: SocketAddr, check: HealthCheck) -> (Prober, Receiver<ProbeEvent>) {
    let (prober, events) = Prober::new(Arc::new(TcpNetwork), Seed::from_number(1));
    prober.set_targets(&BTreeMap::from([(BACKEND, ProbeTarget { address, check })]));
    (prober, events)
}

fn event(up: bool) -> Option<ProbeEvent> {
    found(Finding::plain(up))
}

fn found(finding: Finding) -> Option<ProbeEvent> {
    Some(ProbeEvent { backend: BACKEND, finding })
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
fn the_answer_decides_by_status_and_body_and_says_drain_and_instance() {
    run(async {
        let answer = Rc::new(RefCell::new(String::new()));
        let asked = Rc::new(RefCell::new(String::new()));
        let (said, heard) = (Rc::clone(&answer), Rc::clone(&asked));
        let backend = Backend::start(move |mut raw, _number| {
            let (said, heard) = (Rc::clone(&said), Rc::clone(&heard));
            async move {
                heard.replace(raw.head().await.unwrap());
                let answer = said.borrow().clone();
                raw.send(&format!("HTTP/1.1 {answer}")).await;
            }
        })
        .await;
        let say = |status: u16, headers: &str, body: &str| {
            let length = body.len();
            answer.replace(format!("{status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}"));
        };
        let mut check = check(Some("/ready"), Duration::from_millis(30));
        (check.rise, check.fall) = (1, 1);
        check.answer = CheckAnswer {
            host: Some("shop.example".to_owned()),
            headers: vec![("X-Probe".to_owned(), "yes".to_owned())],
            expect: vec![(200, 200), (204, 206)],
            body: Some("all well".to_owned()),
            drain_status: Some(404),
            drain_header: Some("X-Drain".to_owned()),
            instance_header: Some("X-Instance".to_owned()),
        };
        say(200, "X-Instance: one\r\n", "yes, all well here");
        let (_prober, mut events) = start(backend.address, check);
        let life = |name: &str, drains| Finding {
            up: true,
            drains,
            instance: (!name.is_empty()).then(|| name.to_owned()),
        };
        assert_eq!(events.recv().await, found(life("one", false)));
        let head = asked.borrow().to_ascii_lowercase();
        assert!(
            head.contains("\r\nhost: shop.example\r\n") && head.contains("\r\nx-probe: yes\r\n"),
            "{head}"
        );
        for (status, headers, body, finding) in [
            (200, "X-Instance: one\r\n", "nothing is well", Finding::DOWN),
            (205, "X-Instance: one\r\n", "all well", life("one", false)),
            (201, "X-Instance: one\r\n", "all well", Finding::DOWN),
            (404, "X-Instance: one\r\n", "", life("one", true)),
            (200, "X-Instance: two\r\nX-Drain: yes\r\n", "all well", life("two", true)),
            (200, "", "all well", life("", false)),
        ] {
            say(status, headers, body);
            assert_eq!(events.recv().await, found(finding), "{status} {headers} {body}");
        }
        let long = "l".repeat(100);
        say(200, &format!("X-Instance: {long}\r\n"), "all well");
        assert_eq!(events.recv().await, found(life(&long[..64], false)), "no more than the state keeps");
    });
}

#[test]
fn a_change_is_looked_into_at_the_faster_interval() {
    run(async {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let mut check = check(None, Duration::from_millis(700));
        (check.fast_interval, check.fall) = (Duration::from_millis(30), 6);
        let (_prober, mut events) = start(listener.local_addr().unwrap(), check);
        assert_eq!(events.recv().await, event(true));
        drop(listener);
        // One interval until the change shows, and five short ones; all six at the interval are 3.8 s or more.
        let down = tokio::time::timeout(Duration::from_secs(3), events.recv()).await;
        assert_eq!(down.unwrap(), event(false));
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
        let new = ProbeEvent { backend: other, finding: Finding::UP };
        assert_eq!(events.recv().await, Some(new), "and the old one is not reported again");
        prober.set_targets(&BTreeMap::new());
        let checks = backend.accepted.get();
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(backend.accepted.get() <= checks + 2, "only what was under way is finished");
        drop(prober);
        assert_eq!(events.recv().await, None);
    });
}
