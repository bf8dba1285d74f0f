//! The application takes a session's state out before the session moves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use stickler_proto::admin::StartJobRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{at, begin, begin_job, start, until_done};

/// What an application was told: how often, by idempotency key.
type Told = Arc<Mutex<BTreeMap<String, u32>>>;

/// An application that refuses every third session.
async fn application() -> (SocketAddr, Told) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, told) = (listener.local_addr().unwrap(), Told::default());
    let noted = Arc::clone(&told);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let noted = Arc::clone(&noted);
            tokio::spawn(async move {
                let mut text = String::new();
                let mut buffer = [0; 4096];
                while !text.contains("}") {
                    match stream.read(&mut buffer).await {
                        Ok(read) if read > 0 => text.push_str(&String::from_utf8_lossy(&buffer[..read])),
                        _ => return,
                    }
                }
                assert!(text.starts_with("POST /export HTTP/1.1\r\n"), "{text}");
                let key =
                    text.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap().to_owned();
                let body = text.split("\r\n\r\n").nth(1).unwrap();
                assert!(body.contains("\"session\":\"") && body.contains("\"epoch\":"), "{body}");
                assert!(key.split('-').all(|part| body.contains(part)), "{key} of {body}");
                let status = {
                    let mut noted = noted.lock().unwrap();
                    *noted.entry(key.clone()).or_default() += 1;
                    if refuses(&key) { "500 No" } else { "204 Yes" }
                };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (address, told)
}

fn refuses(key: &str) -> bool {
    let epoch: u64 = key.rsplit('-').next().unwrap().parse().unwrap();
    epoch.is_multiple_of(3)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_is_told_of_each_session_and_one_that_it_refuses_stays() {
    let nodes = start(2).await;
    begin(&nodes, 60).await;
    let (address, told) = application().await;
    let from = nodes.backend("web-1");
    let leaving = at(&nodes, from);
    let request = StartJobRequest {
        work: "evacuate".to_owned(),
        backend: from.0,
        rate: 200,
        hook: format!("http://{address}/export"),
        ..StartJobRequest::default()
    };
    let id = begin_job(&nodes, request).await.id;
    let job = until_done(&nodes, id).await;
    let told = told.lock().unwrap().clone();
    assert_eq!(told.len(), leaving, "each was told of");
    let refused = told.keys().filter(|key| refuses(key)).count();
    assert!(refused > 0 && refused < leaving);
    assert_eq!(
        (job.moved, job.hooks_failed, job.left),
        ((leaving - refused) as u64, refused as u64, refused as u64)
    );
    assert_eq!(at(&nodes, from), refused);
    assert!(told.values().all(|times| *times == 1), "{told:?}");
}
