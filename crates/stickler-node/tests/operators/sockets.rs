use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use stickler_core::document::node::AdminAddress;
use stickler_node::admin::{AdminListener, BindError};
use stickler_proto::admin::StatusRequest;
use stickler_rt::TcpNetwork;

use crate::support::{TestNode, until};

async fn bind(path: &Path) -> Result<AdminListener, BindError> {
    AdminListener::bind(&AdminAddress::Unix(path.to_owned()), &TcpNetwork).await
}

#[tokio::test]
async fn only_the_nodes_own_user_can_open_the_socket_and_it_goes_with_the_node() {
    let node = TestNode::start_among(1).await;
    let mode = fs::metadata(&node.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    node.client().await.status(StatusRequest {}).await.unwrap();
    node.shutdown.trigger();
    until("the socket is removed", || !node.socket.exists()).await;
}

#[tokio::test]
async fn a_socket_that_somebody_serves_is_not_taken_over() {
    let node = TestNode::start_among(1).await;
    assert!(matches!(bind(&node.socket).await, Err(BindError::InUse { .. })));
    node.client().await.status(StatusRequest {}).await.unwrap();
}

#[tokio::test]
async fn the_socket_of_a_process_that_died_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    // std's listener leaves its file behind, as a killed process does.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = bind(&path).await.unwrap();
    assert!(tokio::net::UnixStream::connect(&path).await.is_ok());
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(&path).await, Err(BindError::NotASocket { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let nowhere = bind(&directory.path().join("missing/admin.sock")).await;
    assert!(matches!(nowhere, Err(BindError::Unix { .. })));
}

#[tokio::test]
async fn operators_can_be_served_on_loopback() {
    let anywhere = AdminAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = AdminListener::bind(&anywhere, &TcpNetwork).await.unwrap();
    let bound = listener.local_address().unwrap();
    let taken = AdminListener::bind(&bound, &TcpNetwork).await;
    assert!(matches!(taken, Err(BindError::Tcp { .. })));
}
