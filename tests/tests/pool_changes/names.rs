//! By names.

use std::net::SocketAddr;

use stickler_core::ids::{BackendId, NodeId};
use stickler_core::state::Source;
use stickler_rt::Resolver;
use stickler_tests::documents;
use stickler_tests::log;
use stickler_tests::name_server::NameServer;
use stickler_tests::nodes::TestNodes;

use super::{begin_at, named, until_all, visit};

const NAME: &str = "_http._tcp.shop.internal";
const DNS: &str = "[pool.dns]\nname = \"_http._tcp.shop.internal\"\nrecord = \"srv\"";

/// Three nodes, whose pool has no backends but those of the name, and two shops in its zone.
async fn start(server: &NameServer) -> TestNodes {
    log::start();
    server.addresses("web.shop.internal", &[[127, 0, 0, 1].into()]);
    let servers = vec![server.address];
    let document = |shops: &[SocketAddr]| {
        let services: Vec<(&str, u16)> =
            shops.iter().map(|shop| ("web.shop.internal", shop.port())).collect();
        server.services(NAME, &services);
        documents::with_failover(&[], "", "", "").replacen("[[affinity]]", &format!("{DNS}\n[[affinity]]"), 1)
    };
    let adjust = |file: &mut stickler_core::document::node::NodeFile| file.dns_servers = servers.clone();
    let nodes = TestNodes::start_with(3, 2, document, adjust).await;
    until_all(&nodes, "both shops are up", |view| {
        view.catalog.backends.values().filter(|backend| backend.takes_new()).count() == 2
    })
    .await;
    nodes
}

fn name_of(nodes: &TestNodes, shop: usize) -> String {
    format!("web-{}", nodes.shops[shop].address.port())
}

fn id_of(nodes: &TestNodes, name: &str) -> BackendId {
    nodes.backend(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_name_leads_to_gets_sessions_and_leaves_when_the_zone_no_longer_has_it() {
    let server = NameServer::start().await;
    let mut nodes = start(&server).await;
    let first = name_of(&nodes, 0);
    let id = id_of(&nodes, &first);
    // The shops call themselves by other names than the zone does.
    let number = begin_at(&nodes, 0, "web-1").await;

    server.services(NAME, &[("web.shop.internal", nodes.shops[1].address.port())]);
    until_all(&nodes, "it leaves", |view| named(view, &first).is_some_and(|it| it.leaving.is_some())).await;
    assert_eq!(visit(&nodes, 2, number).await.backend(), "web-1", "its session stays");
    for other in 300..310 {
        assert_eq!(visit(&nodes, 3, other).await.backend(), "web-2");
    }
    // The next leader goes on with it.
    let leader = nodes.leader().await;
    nodes.stop(leader).await;
    let both = [nodes.shops[0].address.port(), nodes.shops[1].address.port()];
    server.services(NAME, &both.map(|port| ("web.shop.internal", port)));
    until_all(&nodes, "it is back", |view| named(view, &first).is_some_and(|it| it.takes_new())).await;
    assert_eq!(id_of(&nodes, &first), id, "it is the same, with its sessions");
    let (node, cluster) = nodes.running().next().unwrap();
    assert!(cluster.view().catalog.backends.values().all(|backend| backend.source == Source::Discovery));
    assert_eq!(visit(&nodes, node.0, number).await.backend(), "web-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_nowhere_and_a_server_that_is_silent_take_no_backend_away() {
    let server = NameServer::start().await;
    let nodes = start(&server).await;
    let leader = nodes.leader().await;
    let revision = || nodes.cluster(leader).view().catalog.discovered.values().next().unwrap().revision;
    let before = revision();
    server.services(NAME, &[]);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    server.set_silent(true);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(revision(), before);
    let taking = nodes.cluster(leader).view();
    assert_eq!(taking.catalog.backends.values().filter(|backend| backend.takes_new()).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spares_do_not_come_in_because_the_first_ones_hosts_have_no_addresses_for_a_moment() {
    let server = NameServer::start().await;
    let nodes = start(&server).await;
    let first = [nodes.shops[0].address.port(), nodes.shops[1].address.port()];
    server.addresses("spare.shop.internal", &[[127, 0, 0, 2].into()]);
    server.addresses("web.shop.internal", &[]);
    let web = first.map(|port| (0, "web.shop.internal", port));
    server.services_by_priority(NAME, &[web[0], web[1], (10, "spare.shop.internal", 8080)]);
    // Its records are good for a second.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let view = nodes.cluster(NodeId(1)).view();
    let names: Vec<&str> = view.catalog.backends.values().map(|backend| backend.name.as_str()).collect();
    assert!(view.catalog.backends.values().all(|backend| backend.takes_new()), "{names:?}");
    assert_eq!(names.len(), 2, "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_can_not_remove_what_a_name_leads_to() {
    let server = NameServer::start().await;
    let nodes = start(&server).await;
    let request = stickler_proto::admin::RemoveBackendRequest {
        pool: "shop".to_owned(),
        name: name_of(&nodes, 0),
        removal: None,
    };
    let refused = nodes.admin(NodeId(1)).await.remove_backend(request).await.unwrap_err();
    assert!(refused.message().contains("take it out of the zone"), "{refused}");
}

#[tokio::test]
async fn a_name_is_looked_up_with_the_time_that_its_records_are_good_for() {
    let server = NameServer::start().await;
    let resolver = stickler_rt::DnsResolver::asking(vec![server.address]);
    let addresses = [[127, 0, 0, 1].into(), [127, 0, 0, 2].into()];
    server.addresses("shop.internal", &addresses);
    let mut found = resolver.addresses("shop.internal", stickler_rt::Family::Ipv4).await.unwrap();
    found.records.sort();
    assert_eq!((found.records, found.ttl.as_secs()), (addresses.to_vec(), 1));
    for (name, family) in
        [("shop.internal", stickler_rt::Family::Ipv6), ("no.internal", stickler_rt::Family::Ipv4)]
    {
        let nothing = resolver.addresses(name, family).await;
        assert_eq!(nothing, Err(stickler_rt::ResolveError::NoRecords), "{name}");
    }
}
