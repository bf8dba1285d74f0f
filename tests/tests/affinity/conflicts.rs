//! What a node that was cut off served by epochs that ended meanwhile, and how operators learn of it.

use stickler_core::ids::NodeId;
use stickler_core::lease::Footing;
use stickler_core::state::Admin;
use stickler_proto::admin::{Conflict, ListConflictsRequest};
use stickler_tests::browser::Browser;
use stickler_tests::cluster::until;
use stickler_tests::documents::HEADER;
use stickler_tests::nodes::TestNodes;

use crate::{get, three_nodes, with};

fn client(name: &str) -> Browser {
    with(Browser::with_header("x-session", name), "x-no-cookie", "1")
}

async fn conflicts(nodes: &TestNodes, node: u64) -> Vec<Conflict> {
    let mut admin = nodes.admin(NodeId(node)).await;
    admin.list_conflicts(ListConflictsRequest {}).await.unwrap().into_inner().conflicts
}

async fn footing(nodes: &TestNodes, node: NodeId, wanted: Footing) {
    until(&format!("node {node} is {wanted:?}"), || {
        let footing = nodes.cluster(node).standing().footing;
        std::future::ready((footing == wanted).then_some(()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_lists_what_a_node_that_was_cut_off_served_by_an_epoch_that_had_ended() {
    let nodes = three_nodes(&[HEADER], "").await;
    let leader = nodes.leader().await;
    let away = NodeId(if leader == NodeId(3) { 2 } else { 3 });
    let old_home = get(&mut client("moved"), nodes.address(away), "/").await.backend();
    // Some client whose session stays where it is.
    let mut kept = None;
    for number in 0.. {
        let name = format!("kept-{number}");
        if get(&mut client(&name), nodes.address(away), "/").await.backend() != old_home {
            kept = Some(name);
            break;
        }
    }
    let kept = kept.unwrap();

    nodes.cut(away);
    footing(&nodes, away, Footing::Isolated).await;
    nodes.set_admin(&old_home, Admin::Maint).await;
    let new_home = until("the session has moved", || async {
        let reply = client("moved").get(nodes.address(leader), "/").await.unwrap();
        Some(reply.backend()).filter(|backend| !backend.is_empty() && *backend != old_home)
    })
    .await;
    for _ in 0..3 {
        assert_eq!(get(&mut client("moved"), nodes.address(away), "/").await.backend(), old_home);
        get(&mut client(&kept), nodes.address(away), "/").await;
    }
    nodes.heal();
    footing(&nodes, away, Footing::Leased).await;
    for node in 1..=3 {
        let listed = until("the conflict is listed", || async {
            Some(conflicts(&nodes, node).await).filter(|listed| !listed.is_empty())
        })
        .await;
        assert_eq!(listed.len(), 1, "{listed:?}");
        let conflict = &listed[0];
        assert_eq!((conflict.node, conflict.requests), (away.0, 3));
        assert_eq!(conflict.backend_name, format!("shop/{old_home}"));
        assert_eq!(conflict.instead_backend_name, format!("shop/{new_home}"));
        assert!(conflict.instead_epoch > conflict.epoch && conflict.affinity == "cart");
    }
}
