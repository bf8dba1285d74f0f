//! One real node with its admin service on a unix socket.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use stickler_core::affinity::key::Identifier;
use stickler_core::document::node::AdminAddress;
use stickler_core::ids::{Incarnation, KeyHash, NodeId};
use stickler_core::lease::Footing;
use stickler_core::routing::Plan;
use stickler_core::state::{Bind, BindOutcome, Command, Finding, Origin, Outcome, Report, SessionKey};
use stickler_core::time::ClusterTime;
use stickler_node::admin::{AdminListener, AdminService};
use stickler_node::metrics::MetricsRegistry;
use stickler_node::readiness::Readiness;
use stickler_node::status_server::StatusPages;
use stickler_proto::admin::admin_client::AdminClient;
use stickler_proto::admin::{ApplyDocumentRequest, Backend, ListBackendsRequest};
use stickler_proxy::request::Proxy;
use stickler_raft::store::DataDirectory;
use stickler_raft::{Cluster, ConsensusConfig, Disk, Persistence};
use stickler_rt::{BindOptions, Network, Outside, Shutdown, TcpNetwork};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::{Channel, Endpoint};

/// How long a test waits for what must happen soon.
pub const SOON: Duration = Duration::from_secs(20);

/// A document with two backends and one affinity, by a cookie of the application, a header or an address.
pub const DOCUMENT: &str = r#"
version = 1
[[listener]]
name = "public"
address = "127.0.0.1:0"
[[pool]]
name = "shop"
[[pool.backend]]
name = "web-1"
address = "127.0.0.1:9"
[[pool.backend]]
name = "web-2"
address = "127.0.0.2:9"
[[affinity]]
name = "cart"
[[affinity.by]]
method = "application-cookie"
name = "JSESSIONID"
[[affinity.by]]
method = "header"
name = "Authorization"
bearer = true
[[affinity.by]]
method = "source-address"
[[route]]
name = "shop"
pool = "shop"
affinity = "cart"
"#;

/// A node with its admin service and its status pages.
pub struct TestNode {
    pub cluster: Cluster,
    pub readiness: Readiness,
    pub shutdown: Shutdown,
    pub status_address: SocketAddr,
    pub socket: PathBuf,
    _directory: TempDir,
}

pub async fn listen() -> Box<dyn stickler_rt::Listener> {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    TcpNetwork.bind(anywhere, BindOptions::default()).await.unwrap()
}

impl TestNode {
    /// A cluster of one that leads.
    pub async fn start() -> Self {
        let node = Self::start_among(0).await;
        until("a lease", || node.cluster.leads() && node.cluster.standing().footing == Footing::Leased).await;
        node
    }

    /// A node that waits for `others` that never come.
    pub async fn start_among(others: u64) -> Self {
        let directory = TempDir::new().unwrap();
        let outside = Outside::of_process().unwrap();
        let peers = listen().await;
        let mut members = BTreeMap::from([(NodeId(1), peers.local_address().unwrap())]);
        for other in 0..others {
            // A listener that is dropped leaves an address where nobody answers.
            members.insert(NodeId(other + 2), listen().await.local_address().unwrap());
        }
        let data = DataDirectory::open(directory.path().join("data"), NodeId(1), [7; 16]).unwrap();
        let shutdown = Shutdown::new();
        let config = ConsensusConfig { node: NodeId(1), members, secrets: None };
        let disk = Disk::Directory(data);
        let cluster = Cluster::start(config, outside, disk, peers, shutdown.clone()).await.unwrap();
        let readiness = Readiness::new(cluster.clone(), shutdown.clone());
        let proxy = Proxy::start(cluster.clone());

        let socket = directory.path().join("admin.sock");
        let listener = AdminListener::bind(&AdminAddress::Unix(socket.clone()), &TcpNetwork).await.unwrap();
        let service = AdminService::new(cluster.clone(), proxy.clone(), readiness.clone());
        tokio::spawn(service.serve(listener, shutdown.clone()));
        let status = listen().await;
        let status_address = status.local_address().unwrap();
        let metrics = MetricsRegistry::new();
        metrics.observe(cluster.clone(), proxy);
        let pages = StatusPages::new(cluster.clone(), readiness.clone(), metrics);
        tokio::spawn(pages.serve(status, shutdown.clone()));
        Self { cluster, readiness, shutdown, status_address, socket, _directory: directory }
    }

    pub async fn client(&self) -> AdminClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("unix:{}", self.socket.display())).unwrap();
        let channel = endpoint.http2_max_header_list_size(1024 * 1024).connect().await.unwrap();
        AdminClient::new(channel)
    }

    /// Applies [`DOCUMENT`], and has its backends reported up.
    pub async fn apply(&self) {
        let request = ApplyDocumentRequest {
            text: DOCUMENT.to_owned(),
            file_name: String::new(),
            expected_revision: 0,
            removal: None,
        };
        self.client().await.apply_document(request).await.unwrap();
        let backends: Vec<_> = self.cluster.view().catalog.backends.keys().copied().collect();
        for backend in backends {
            let report = Report {
                node: NodeId(1),
                incarnation: Incarnation(9),
                sequence: 1,
                backend,
                finding: Finding::UP,
            };
            self.cluster.propose(Command::Report(report), SOON, Persistence::Retry).await.unwrap();
        }
    }

    pub async fn backend(&self, name: &str) -> Backend {
        let listed =
            self.client().await.list_backends(ListBackendsRequest { all_nodes: false }).await.unwrap();
        listed.into_inner().backends.into_iter().find(|backend| backend.name == name).unwrap()
    }

    /// The session of a client that sends this cookie.
    pub fn session_of_cookie(&self, value: &str) -> SessionKey {
        self.session(&Identifier::ApplicationCookie { name: "JSESSIONID", value: value.as_bytes() })
    }

    pub fn session(&self, identifier: &Identifier<'_>) -> SessionKey {
        let view = self.cluster.view();
        let affinity = view.catalog.affinities[0];
        let key = Plan::of(&view.catalog, None).unwrap().unwrap().hasher.key(affinity, identifier).unwrap();
        SessionKey { affinity, key }
    }

    /// Binds a session for each key.
    pub async fn place(&self, keys: impl Iterator<Item = KeyHash>) {
        let view = self.cluster.view().clone();
        let (affinity, pool) = (view.catalog.affinities[0], view.catalog.pools[0]);
        let binds = keys.map(|key| {
            let bind = Bind {
                session: SessionKey { affinity, key },
                origin: Origin::Place { pool, candidate: None },
                seen: view.applied,
                deadline: ClusterTime(u64::MAX),
            };
            self.cluster.propose(Command::Bind(bind), SOON, Persistence::Retry)
        });
        for answer in join_all(binds).await {
            let outcome = answer.unwrap().outcome;
            assert!(matches!(outcome, Outcome::Bind(BindOutcome::Bound { .. })), "{outcome:?}");
        }
    }

    /// What the status address answers to these bytes.
    pub async fn say(&self, request: &[u8]) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.status_address).await.unwrap();
        // A server that refuses a request may close before it has read all of it.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    /// Status line and body of a page.
    pub async fn get(&self, path: &str) -> (String, String) {
        let answer = self.say(format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut look: impl FnMut() -> bool) {
    let looking = async {
        while !look() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, looking).await.is_ok(), "waited {SOON:?} for {what}");
}
