//! A backend becomes empty.

use std::time::Duration;

use stickler_core::ids::NodeId;
use stickler_proto::admin::StartJobRequest;
use stickler_rt::Clock;
use stickler_tests::cluster::until;

use super::{at, begin, begin_job, bindings, change, client, evacuate, job, moved, start, until_done, visit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evacuation_keeps_its_pace_through_the_death_of_its_leader_and_moves_each_session_once() {
    let mut nodes = start(2).await;
    begin(&nodes, 400).await;
    let from = nodes.backend("web-1");
    let leaving = at(&nodes, from);
    assert!(leaving > 120, "{leaving}");
    let began = Clock::start();
    let id = evacuate(&nodes, "web-1", 40).await.id;
    until("some have moved", || std::future::ready((moved(&nodes) > leaving / 4).then_some(()))).await;
    let leader = nodes.leader().await;
    nodes.stop(leader).await;
    until_done(&nodes, id).await;
    let (took, expected) = (began.now().0, Duration::from_secs(leaving as u64) / 40);
    assert_eq!((at(&nodes, from), moved(&nodes)), (0, leaving), "each once");
    assert_eq!(job(&nodes, id).await.moved, leaving as u64);
    assert!(took + Duration::from_millis(300) > expected, "{took:?} of {expected:?}");
    // What the election costs is caught up; who was held then may rest for a moment before it is tried again.
    assert!(took < expected + Duration::from_secs(4), "{took:?} of {expected:?}");
    let survivor = nodes.running().next().unwrap().0;
    for number in 1000..1010 {
        let reply = client(number).get(nodes.address(survivor), "/").await.unwrap();
        assert_eq!(reply.backend(), "web-2", "it drains");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_moves_when_its_last_exchange_has_ended_and_its_new_requests_wait_for_that() {
    let nodes = start(2).await;
    begin(&nodes, 20).await;
    let number = {
        let mut number = 0;
        while visit(&nodes, 1, number).await.backend() != "web-1" {
            number += 1;
        }
        number
    };
    nodes.shops[0].hold();
    let slow = nodes.address(NodeId(2));
    let slow = tokio::spawn(async move { client(number).get(slow, "/slow").await.map_err(drop) });
    nodes.shops[0].holds(1).await;
    let from = nodes.backend("web-1");
    let id = evacuate(&nodes, "web-1", 100).await.id;
    until("all others have moved", || std::future::ready((at(&nodes, from) == 1).then_some(()))).await;
    // Held while it is announced, and let go where it is: the client waits no longer than that.
    let began = Clock::start();
    let meanwhile = visit(&nodes, 3, number).await;
    assert_eq!((meanwhile.status.as_u16(), meanwhile.backend()), (200, "web-1".to_owned()));
    assert!(began.now().0 < Duration::from_secs(3));
    until("it was let go", || async { (job(&nodes, id).await.not_quiet > 0).then_some(()) }).await;
    assert!(!slow.is_finished());
    nodes.shops[0].release();
    let reply = slow.await.unwrap().unwrap();
    assert_eq!((reply.status.as_u16(), reply.backend()), (200, "web-1".to_owned()), "it was not cut");
    until_done(&nodes, id).await;
    assert_eq!(visit(&nodes, 1, number).await.backend(), "web-2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_in_use_sees_an_error_or_goes_to_the_old_backend_after_the_new_one() {
    let nodes = start(2).await;
    begin(&nodes, 90).await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let addresses = nodes.addresses();
    let users: Vec<_> = (0..30)
        .map(|number| {
            let (stop, addresses) = (std::sync::Arc::clone(&stop), addresses.clone());
            tokio::spawn(async move {
                let (mut epoch, mut turn) = (0_u64, number as usize);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    turn += 1;
                    let reply = client(number).get(addresses[turn % addresses.len()], "/").await.unwrap();
                    assert_eq!(reply.status, 200, "{:?}", reply.headers);
                    let by: u64 = reply.headers["stickler-epoch"].to_str().unwrap().parse().unwrap();
                    assert!(by >= epoch, "by {by} after {epoch}");
                    epoch = by;
                }
            })
        })
        .collect();
    let id = evacuate(&nodes, "web-1", 60).await.id;
    until_done(&nodes, id).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for user in users {
        user.await.unwrap();
    }
    assert_eq!(at(&nodes, nodes.backend("web-1")), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_paused_goes_on_and_is_undone() {
    let nodes = start(2).await;
    begin(&nodes, 100).await;
    let from = nodes.backend("web-1");
    let leaving = at(&nodes, from);
    let id = evacuate(&nodes, "web-1", 10).await.id;
    until("some have moved", || std::future::ready((moved(&nodes) >= 3).then_some(()))).await;
    change(&nodes, id, "pause").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (paused, revision) = (moved(&nodes), job(&nodes, id).await.revision);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((moved(&nodes), job(&nodes, id).await.revision), (paused, revision));
    assert!(paused < leaving);
    change(&nodes, id, "resume").await;
    until_done(&nodes, id).await;
    assert_eq!(at(&nodes, from), 0);
    let kept: Vec<_> = bindings(&nodes).into_iter().filter(|it| it.cause == super::Cause::Placed).collect();

    nodes.set_admin("web-1", stickler_core::state::Admin::Ready).await;
    let undo = StartJobRequest { work: "undo".to_owned(), undo: id, rate: 200, ..StartJobRequest::default() };
    let undone = begin_job(&nodes, undo).await.id;
    until_done(&nodes, undone).await;
    assert_eq!(at(&nodes, from), leaving);
    let still: Vec<_> = bindings(&nodes).into_iter().filter(|it| it.cause == super::Cause::Placed).collect();
    assert_eq!(still.len(), kept.len(), "nobody else was touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_its_deadline_a_job_leaves_ends_or_moves_what_is_not_quiet() {
    for (at_deadline, left, backend) in [("skip", 1, "web-1"), ("close", 0, ""), ("move", 0, "web-2")] {
        let nodes = start(2).await;
        begin(&nodes, 12).await;
        let mut number = 0;
        while visit(&nodes, 1, number).await.backend() != "web-1" {
            number += 1;
        }
        nodes.shops[0].hold();
        let slow = nodes.address(NodeId(2));
        let slow = tokio::spawn(async move { client(number).get(slow, "/slow").await.map_err(drop) });
        nodes.shops[0].holds(1).await;
        let from = nodes.backend("web-1");
        let request = StartJobRequest {
            work: "evacuate".to_owned(),
            backend: from.0,
            rate: 100,
            hold_milliseconds: 300,
            deadline_milliseconds: Some(3000),
            at_deadline: at_deadline.to_owned(),
            ..StartJobRequest::default()
        };
        let id = begin_job(&nodes, request).await.id;
        assert_eq!(until_done(&nodes, id).await.left, left, "{at_deadline}");
        assert_eq!(at(&nodes, from) as u64, left);
        if !backend.is_empty() {
            assert_eq!(visit(&nodes, 3, number).await.backend(), backend);
        }
        nodes.shops[0].release();
        let _ = slow.await.unwrap();
    }
}
