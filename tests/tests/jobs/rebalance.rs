//! A pool becomes even.

use stickler_proto::admin::{ListJobsRequest, StartJobRequest};
use stickler_tests::cluster::until;
use stickler_tests::documents::{self, HEADER};
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;

use super::{a_running_node, at, begin, begin_job, bindings, moved, until_done};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_has_grown_is_evened_out_with_the_fewest_moves() {
    log::start();
    // Six shops run, and three are in the pool at first.
    let nodes = TestNodes::start(3, 6, |shops| documents::text(shops, &[HEADER])).await;
    let addresses: Vec<_> = nodes.shops.iter().map(|shop| shop.address).collect();
    nodes.apply(&documents::text(&addresses[..3], &[HEADER])).await;
    begin(&nodes, 300).await;
    nodes.apply(&documents::text(&addresses, &[HEADER])).await;
    until("the new ones are up", || {
        let (_, cluster) = nodes.running().next().unwrap();
        let up = cluster.view().catalog.backends.values().filter(|backend| backend.takes_new()).count();
        std::future::ready((up == 6).then_some(()))
    })
    .await;
    let request = StartJobRequest {
        work: "rebalance".to_owned(),
        pool: "shop".to_owned(),
        rate: 100,
        hold_milliseconds: 1000,
        ..StartJobRequest::default()
    };
    let mut admin = nodes.admin(a_running_node(&nodes)).await;
    let dry =
        admin.start_job(StartJobRequest { dry_run: true, ..request.clone() }).await.unwrap().into_inner();
    assert!((140..=160).contains(&dry.sessions), "{}", dry.sessions);
    assert!(admin.list_jobs(ListJobsRequest {}).await.unwrap().into_inner().jobs.is_empty(), "only counted");
    let id = begin_job(&nodes, request).await.id;
    let job = until_done(&nodes, id).await;
    assert_eq!((job.moved, moved(&nodes) as u64), (dry.sessions, dry.sessions), "the fewest, each once");
    for number in 1..=6 {
        let sessions = at(&nodes, nodes.backend(&format!("web-{number}")));
        assert!((49..=51).contains(&sessions), "web-{number} has {sessions}");
    }
    assert_eq!(bindings(&nodes).len(), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebalance_moves_no_more_than_it_may() {
    let nodes = super::start(3).await;
    nodes.set_admin("web-3", stickler_core::state::Admin::Maint).await;
    begin(&nodes, 90).await;
    nodes.set_admin("web-3", stickler_core::state::Admin::Ready).await;
    let request = StartJobRequest {
        work: "rebalance".to_owned(),
        pool: "shop".to_owned(),
        rate: 100,
        most_moves: 7,
        ..StartJobRequest::default()
    };
    let id = begin_job(&nodes, request).await.id;
    assert_eq!(until_done(&nodes, id).await.moved, 7);
    assert_eq!(at(&nodes, nodes.backend("web-3")), 7);
}
