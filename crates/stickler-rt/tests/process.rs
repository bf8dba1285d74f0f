//! What a real process gets: TCP that can share a port, workers on threads, a signal to stop.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use futures::StreamExt;
use stickler_rt::{
    BindOptions, Network, Outside, Shutdown, Spawner, TaskSpawner, TcpNetwork, ThreadSpawner, incoming,
};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[tokio::test]
async fn a_connected_stream_carries_bytes_both_ways_and_knows_its_ends() {
    let listener = TcpNetwork.bind(loopback(), BindOptions::default()).await.unwrap();
    let address = listener.local_address().unwrap();
    let mut connections = Box::pin(incoming(listener));
    let mut client = TcpNetwork.connect(address).await.unwrap();
    let mut server = connections.next().await.unwrap().unwrap();
    assert_eq!(client.peer_address().unwrap(), address);
    assert_eq!(client.local_address().unwrap(), server.peer_address().unwrap());
    assert!(client.is_write_vectored(), "heads and bodies go out in one write");
    client.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    server.read_exact(&mut bytes).await.unwrap();
    server.write_all(b"pong").await.unwrap();
    client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"pong");
}

#[tokio::test]
async fn two_sockets_share_a_port_only_when_both_asked_for_it() {
    let shared = BindOptions { reuse_port: true, ..BindOptions::default() };
    let first = TcpNetwork.bind(loopback(), shared).await.unwrap();
    let address = first.local_address().unwrap();
    let _second = TcpNetwork.bind(address, shared).await.unwrap();
    let refused = TcpNetwork.bind(address, BindOptions::default()).await.err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_port_where_nothing_listens_refuses() {
    let listener = TcpNetwork.bind(loopback(), BindOptions::default()).await.unwrap();
    let address = listener.local_address().unwrap();
    drop(listener);
    let error = TcpNetwork.connect(address).await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_worker_runs_on_a_thread_of_its_own_until_told_to_stop() {
    let shutdown = Shutdown::new();
    let (sender, receiver) = mpsc::channel();
    let told = shutdown.child();
    let worker = ThreadSpawner
        .spawn_worker(
            "worker-0",
            Box::new(move || {
                Box::pin(async move {
                    // What is not `Send` is at home in a worker.
                    let local = Rc::new(told);
                    tokio::task::spawn_local({
                        let local = Rc::clone(&local);
                        async move { local.wait().await }
                    })
                    .await
                    .unwrap();
                    let name = std::thread::current().name().map(str::to_owned);
                    sender.send(name).unwrap();
                })
            }),
        )
        .unwrap();
    assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err(), "it runs until it is told to stop");
    shutdown.trigger();
    worker.join().await.unwrap();
    assert_eq!(receiver.recv().unwrap().as_deref(), Some("worker-0"));
}

#[tokio::test]
async fn a_worker_that_panics_is_told_from_one_that_ended() {
    let worker = ThreadSpawner
        .spawn_worker("worker-1", Box::new(|| Box::pin(async { panic!("on purpose") })))
        .unwrap();
    assert_eq!(worker.join().await.unwrap_err().name, "worker-1");
}

#[tokio::test]
async fn in_a_simulation_a_worker_is_a_task_of_the_callers_thread() {
    let here = std::thread::current().id();
    tokio::task::LocalSet::new()
        .run_until(async move {
            let worker = TaskSpawner
                .spawn_worker(
                    "worker-0",
                    Box::new(move || Box::pin(async move { assert_eq!(std::thread::current().id(), here) })),
                )
                .unwrap();
            worker.join().await.unwrap();
        })
        .await;
}

#[tokio::test]
async fn a_part_can_be_stopped_alone_and_stops_with_the_whole() {
    let whole = Shutdown::new();
    let (one, other) = (whole.child(), whole.child());
    one.trigger();
    assert!(one.is_triggered() && !other.is_triggered() && !whole.is_triggered());
    whole.trigger();
    other.wait_owned().await;
}

#[test]
fn a_real_process_gets_everything_from_the_system() {
    let _entered = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outside = Outside::of_process().unwrap();
    assert!(format!("{outside:?}").contains("redacted"));
}
