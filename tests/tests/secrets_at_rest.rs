//! Promises about the cluster's secrets in data directories, on whole nodes.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http::StatusCode;
use stickler_core::ids::NodeId;
use stickler_core::secrets::{Purpose, SecretsKey};
use stickler_tests::browser::Browser;
use stickler_tests::cluster::{SOON, until};
use stickler_tests::documents::{self, OWN_COOKIE};
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A folder with the files `one` and `other`, each with a key of its own.
fn keys() -> TempDir {
    let directory = TempDir::new().unwrap();
    for (name, byte) in [("one", 1), ("other", 2)] {
        let path = directory.path().join(name);
        fs::write(&path, SecretsKey::new([byte; 32]).text()).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    directory
}

/// Three nodes with this file.
async fn three_nodes(file: Option<PathBuf>) -> TestNodes {
    log::start();
    let document = |shops: &[_]| documents::text(shops, &[OWN_COOKIE]);
    TestNodes::start_with(3, 3, document, |node| node.secrets_key_file = file.clone()).await
}

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(fs::read(path).unwrap());
        }
    }
}

/// How many secrets of the cluster there are, and how many of them stand somewhere in the data directories.
async fn secrets_on_disk(nodes: &TestNodes) -> (usize, usize) {
    nodes.rotate(NodeId(2)).await;
    for (_, cluster) in nodes.running() {
        cluster.compact(SOON).await.unwrap();
    }
    nodes.rotate(NodeId(3)).await;
    let secrets: Vec<Vec<u8>> = {
        let cluster = nodes.cluster(NodeId(1));
        let (catalog, key) = (cluster.view().catalog.clone(), cluster.secrets());
        let found = catalog.found.as_ref().unwrap();
        let hash_key = found.hash_key(key).unwrap().to_vec();
        let sealing =
            catalog.ring.keys().iter().map(|kept| {
                kept.secret.reveal::<32>(key, found.cluster, Purpose::SealingKey).unwrap().to_vec()
            });
        sealing.chain([hash_key]).collect()
    };
    let mut contents = Vec::new();
    files(nodes.directory(), &mut contents);
    let is_there = |secret: &&Vec<u8>| {
        contents.iter().any(|file| file.windows(secret.len()).any(|part| part == secret.as_slice()))
    };
    (secrets.len(), secrets.iter().filter(is_there).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_secrets_key_no_secret_is_on_any_disk_and_sessions_are_the_same() {
    let keys = keys();
    let mut nodes = three_nodes(Some(keys.path().join("one"))).await;
    let mut browser = Browser::with_header("x-no-cookie", "1");
    let first = browser.get(nodes.addresses()[0], "/").await.unwrap();
    assert_eq!(secrets_on_disk(&nodes).await, (4, 0));
    nodes.stop(NodeId(3)).await;
    nodes.restart(NodeId(3)).await;
    nodes.ready().await;
    for node in nodes.addresses() {
        assert_eq!(browser.get(node, "/").await.unwrap().backend(), first.backend());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_one_they_are_in_the_clear() {
    let nodes = three_nodes(None).await;
    assert_eq!(secrets_on_disk(&nodes).await, (4, 4));
}

/// What a node says under `/readyz`.
async fn readiness(nodes: &TestNodes, node: NodeId) -> String {
    let mut stream = tokio::net::TcpStream::connect(nodes.status_address(node)).await.unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

/// Gives node 3 another file than the one that the cluster was founded with, and has it refuse for a reason.
async fn refuses(file: impl Fn(&Path) -> Option<PathBuf>, reason: &str) {
    let keys = keys();
    let mut nodes = three_nodes(Some(keys.path().join("one"))).await;
    let odd = NodeId(3);
    nodes.stop(odd).await;
    nodes.file(odd).secrets_key_file = file(keys.path());
    nodes.restart(odd).await;
    nodes.ready().await;
    let said = until("it says why", || async {
        let said = readiness(&nodes, odd).await;
        said.contains("secrets: ").then_some(said)
    });
    let said = said.await;
    assert!(said.starts_with("HTTP/1.1 503") && said.contains(reason), "{said}");
    let mut browser = Browser::with_header("x-no-cookie", "1");
    assert_eq!(browser.get(nodes.address(odd), "/").await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(browser.get(nodes.address(NodeId(1)), "/").await.unwrap().status, StatusCode::OK);
    let newest = nodes.cluster(odd).view().catalog.ring.newest().unwrap().id;
    nodes.cluster(odd).rotation(newest).expect_err("a key that the others could not read");
    // Nothing was harmed: with the right file it is a node like the others.
    nodes.stop(odd).await;
    nodes.file(odd).secrets_key_file = Some(keys.path().join("one"));
    nodes.restart(odd).await;
    nodes.ready().await;
    assert_eq!(browser.get(nodes.address(odd), "/").await.unwrap().status, StatusCode::OK);
    assert!(readiness(&nodes, odd).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_key_than_its_cluster_routes_nothing_and_says_why() {
    refuses(|keys| Some(keys.join("other")), "another key").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_key_in_a_cluster_that_has_one_routes_nothing_and_says_why() {
    refuses(|_| None, "has no key").await;
}
