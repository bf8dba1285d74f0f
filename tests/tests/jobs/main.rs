//! Sessions that a job moves: at its rate, when they are quiet, and once each, on whole nodes.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod evacuate;
mod hooks;
mod rebalance;

use std::time::Duration;

use futures::StreamExt;
use stickler_core::ids::{BackendId, NodeId};
use stickler_core::state::{Binding, Cause, MoveReason, Record};
use stickler_proto::admin::{ChangeJobRequest, Job, ListJobsRequest, StartJobRequest};
use stickler_tests::browser::{Browser, Reply};
use stickler_tests::cluster::until;
use stickler_tests::documents::{self, HEADER};
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;

async fn start(shops: usize) -> TestNodes {
    log::start();
    TestNodes::start(3, shops, |shops| documents::text(shops, &[HEADER])).await
}

fn client(number: u32) -> Browser {
    Browser::with_header("x-session", &format!("client-{number}"))
}

async fn visit(nodes: &TestNodes, node: u64, number: u32) -> Reply {
    client(number).get(nodes.address(NodeId(node)), "/").await.unwrap()
}

/// Begins so many sessions, and waits until none of them is a young one.
async fn begin(nodes: &TestNodes, sessions: u32) {
    let visits = (0..sessions).map(|number| visit(nodes, 1 + u64::from(number % 3), number));
    let replies: Vec<Reply> = futures::stream::iter(visits).buffer_unordered(16).collect().await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// All bindings of the state of a node that runs.
fn bindings(nodes: &TestNodes) -> Vec<Binding> {
    let (_, cluster) = nodes.running().next().unwrap();
    let mut found = Vec::new();
    cluster.view().table.visit(|_, record| {
        if let Record::Binding(binding) = record {
            found.push(*binding);
        }
        true
    });
    found
}

fn at(nodes: &TestNodes, backend: BackendId) -> usize {
    bindings(nodes).iter().filter(|binding| binding.backend == backend).count()
}

fn moved(nodes: &TestNodes) -> usize {
    bindings(nodes).iter().filter(|binding| binding.cause == Cause::Moved(MoveReason::Job)).count()
}

fn a_running_node(nodes: &TestNodes) -> NodeId {
    nodes.running().next().unwrap().0
}

async fn begin_job(nodes: &TestNodes, request: StartJobRequest) -> Job {
    let mut admin = nodes.admin(a_running_node(nodes)).await;
    let newest =
        admin.list_jobs(ListJobsRequest {}).await.unwrap().into_inner().jobs.last().map_or(0, |job| job.id);
    let hold_milliseconds = if request.hold_milliseconds == 0 { 1000 } else { request.hold_milliseconds };
    let request = StartJobRequest { expected_job: newest, hold_milliseconds, ..request };
    let id = admin.start_job(request).await.unwrap().into_inner().job;
    job(nodes, id).await
}

async fn evacuate(nodes: &TestNodes, backend: &str, rate: u32) -> Job {
    let backend = nodes.backend(backend).0;
    begin_job(
        nodes,
        StartJobRequest { work: "evacuate".to_owned(), backend, rate, ..StartJobRequest::default() },
    )
    .await
}

async fn job(nodes: &TestNodes, id: u64) -> Job {
    let mut admin = nodes.admin(a_running_node(nodes)).await;
    let jobs = admin.list_jobs(ListJobsRequest {}).await.unwrap().into_inner().jobs;
    jobs.into_iter().find(|job| job.id == id).unwrap()
}

async fn change(nodes: &TestNodes, id: u64, change: &str) {
    let expected_revision = job(nodes, id).await.revision;
    let request = ChangeJobRequest { job: id, expected_revision, change: change.to_owned() };
    nodes.admin(a_running_node(nodes)).await.change_job(request).await.unwrap();
}

async fn until_done(nodes: &TestNodes, id: u64) -> Job {
    until("the job is done", || async { Some(job(nodes, id).await).filter(|job| job.state == "done") }).await
}
