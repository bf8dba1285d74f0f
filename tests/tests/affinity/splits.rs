//! Routes over several pools, and affinities over several routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use stickler_tests::browser::Browser;
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;

use crate::{backends, get};

/// Each shop is a pool of its own.
fn document(shops: &[SocketAddr], affinity: &str, routes: &str) -> String {
    let pools: String = shops
        .iter()
        .zip(["a", "b", "c"])
        .enumerate()
        .map(|(index, (address, pool))| {
            format!(
                "[[pool]]\nname = \"{pool}\"\n[pool.check]\npath = \"/health\"\ninterval = \"300ms\"\ntimeout = \"250ms\"\n\
                 rise = 1\nfall = 2\n[[pool.backend]]\nname = \"web-{}\"\naddress = \"{address}\"\n",
                index + 1
            )
        })
        .collect();
    format!(
        "version = 1\n[[listener]]\nname = \"public\"\naddress = \"127.0.0.1:1\"\n{pools}\
         [[affinity]]\nname = \"cart\"\n{affinity}\n{routes}"
    )
}

const BY_HEADER: &str = "[[affinity.by]]\nmethod = \"header\"\nname = \"X-Session\"";
const BY_COOKIE: &str = "[[affinity.by]]\nmethod = \"cookie\"";

fn split(weights: [u32; 3]) -> String {
    let parts: String = ["a", "b", "c"]
        .into_iter()
        .zip(weights)
        .map(|(pool, weight)| format!("[[route.split]]\npool = \"{pool}\"\nweight = {weight}\n"))
        .collect();
    format!("[[route]]\nname = \"shop\"\naffinity = \"cart\"\n{parts}")
}

async fn three_nodes(affinity: &str, routes: &str) -> TestNodes {
    log::start();
    TestNodes::start(3, 3, |shops| document(shops, affinity, routes)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_stays_on_the_side_of_a_split_that_it_drew_also_at_weight_0() {
    for affinity in [BY_HEADER, BY_COOKIE] {
        let nodes = three_nodes(affinity, &split([50, 50, 0])).await;
        let mut clients = Vec::new();
        let mut shares: BTreeMap<String, u32> = BTreeMap::new();
        for number in 0..60 {
            let mut client = Browser::with_header("x-session", &format!("s-{number}"));
            let backend = get(&mut client, nodes.addresses()[number % 3], "/").await.backend();
            *shares.entry(backend.clone()).or_default() += 1;
            clients.push((client, backend));
        }
        assert!(!shares.contains_key("web-3") && shares.values().all(|share| *share > 8), "{shares:?}");
        let shops: Vec<SocketAddr> = nodes.shops.iter().map(|shop| shop.address).collect();
        nodes.apply(&document(&shops, affinity, &split([0, 0, 1]))).await;
        for (client, backend) in &mut clients {
            assert_eq!(backends(&nodes, client, "/").await, BTreeSet::from([backend.clone()]));
        }
        let mut new = Browser::with_header("x-session", "new");
        assert_eq!(get(&mut new, nodes.addresses()[0], "/").await.backend(), "web-3");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_split_that_is_down_leaves_its_share_to_the_others() {
    let mut nodes = three_nodes(BY_HEADER, &split([90, 10, 0])).await;
    nodes.shops[0].kill().await;
    nodes.down("web-1").await;
    for number in 0..12 {
        let mut client = Browser::with_header("x-session", &format!("s-{number}"));
        assert_eq!(get(&mut client, nodes.addresses()[number % 3], "/").await.backend(), "web-2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_scope_pool_one_identifier_is_a_session_of_its_own_in_each_pool() {
    let routes = "[[route]]\nname = \"one\"\npath_prefix = \"/one\"\npool = \"a\"\naffinity = \"cart\"\n\
                  [[route]]\nname = \"two\"\npath_prefix = \"/two\"\naffinity = \"cart\"\n\
                  [[route.split]]\npool = \"b\"\nweight = 1\n[[route.split]]\npool = \"c\"\nweight = 1\n";
    let nodes = three_nodes(&format!("scope = \"pool\"\n{BY_HEADER}"), routes).await;
    for number in 0..12 {
        let mut client = Browser::with_header("x-session", &format!("s-{number}"));
        assert_eq!(backends(&nodes, &mut client, "/one").await, BTreeSet::from(["web-1".to_owned()]));
        let found = backends(&nodes, &mut client, "/two").await;
        assert!(found.len() == 1 && !found.contains("web-1"), "{found:?}");
    }
}
