//! The same engine in a deterministic simulation: worker, exchanges and probes over simulated sockets.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panic")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Response;
use stickler_core::client_address::Greeting;
use stickler_core::document::cluster::{CheckAnswer, HealthCheck, Retry};
use stickler_core::ids::BackendId;
use stickler_core::state::Finding;
use stickler_proxy::backend_connections::{BackendConnections, IdleLimits};
use stickler_proxy::body::Body;
use stickler_proxy::exchange::{Destination, Exchanges, Timeouts};
use stickler_proxy::hold::Hold;
use stickler_proxy::hop_by_hop::{ClientSide, prepare_request};
use stickler_proxy::in_flight::InFlight;
use stickler_proxy::probe::{ProbeEvent, ProbeTarget, Prober};
use stickler_proxy::worker::{ClientRequest, Handler, Worker, WorkerSettings};
use stickler_rt::{BindOptions, Clock, Network, Seed, Shutdown, SimulatedNetwork};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 80;
const SECOND: Duration = Duration::from_secs(1);
const BACKEND: BackendId = BackendId(1);

type Log = Arc<Mutex<Vec<String>>>;

struct Forward {
    exchanges: Exchanges,
    destination: Destination,
}

impl Handler for Forward {
    async fn handle(&self, client: ClientRequest) -> Response<Body> {
        let mut request = client.request;
        prepare_request(&mut request, &ClientSide { address: client.peer.ip(), scheme: "http" });
        match self.exchanges.exchange(&self.destination, Hold::new(), request, || Ok::<(), ()>(())).await {
            Ok(response) => response,
            Err(error) => error.cause.answer().unwrap().into_response(),
        }
    }

    fn greeting(&self, _listener: &str, _peer: IpAddr) -> Greeting {
        Greeting::ProxyHeader
    }
}

fn at(host: &str) -> SocketAddr {
    SocketAddr::new(turmoil::lookup(host), PORT)
}

fn anywhere() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT)
}

async fn node(log: Log) -> Result<(), Box<dyn std::error::Error>> {
    let (network, clock, seed) = (Arc::new(SimulatedNetwork), Clock::start(), Seed::from_number(1));
    let address = at("backend");
    let check = HealthCheck {
        path: Some("/".to_owned()),
        interval: SECOND / 10,
        timeout: SECOND,
        rise: 2,
        fall: 3,
        fast_interval: SECOND / 10,
        answer: CheckAnswer::by_status(200, 399),
    };
    let (prober, mut events) = Prober::new(network.clone(), seed.child("probes"));
    prober.set_targets(&BTreeMap::from([(BACKEND, ProbeTarget { address, check })]));
    let timeouts = Timeouts { connect: SECOND, response: SECOND, request_body: SECOND, tunnel: SECOND };
    let ending = Shutdown::new();
    let connections =
        BackendConnections::new(network.clone(), clock.clone(), IdleLimits::default(), ending.clone());
    let exchanges = Exchanges::new(connections, InFlight::new());
    let destination =
        Destination { backend: BACKEND, address, timeouts, retry: Retry::Unsent, only_new: false };
    let handler = Forward { exchanges, destination };
    let worker: Rc<Worker<Forward>> =
        Worker::new(handler, WorkerSettings::default(), &seed.child("worker"), ending);
    let _stop = worker.listen(Arc::from("web"), network.bind(anywhere(), BindOptions::default()).await?);
    while let Some(ProbeEvent { finding: Finding { up, .. }, .. }) = events.recv().await {
        log.lock().unwrap().push(format!("{} up={up}", clock.now()));
    }
    Ok(())
}

async fn backend() -> Result<(), Box<dyn std::error::Error>> {
    let listener = SimulatedNetwork.bind(anywhere(), BindOptions::default()).await?;
    loop {
        let mut stream = listener.accept().await?;
        tokio::task::spawn_local(async move {
            let mut bytes = [0; 4096];
            while let Ok(1..) = stream.read(&mut bytes).await {
                if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn ask() -> std::io::Result<String> {
    let mut stream = SimulatedNetwork.connect(at("node")).await?;
    stream.write_all(b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

fn run(seed: u64) -> Vec<String> {
    let log = Log::default();
    let mut simulation =
        turmoil::Builder::new().rng_seed(seed).enable_tokio_io().simulation_duration(SECOND * 60).build();
    simulation.host("backend", backend);
    let events = Arc::clone(&log);
    simulation.host("node", move || node(Arc::clone(&events)));
    let answers = Arc::clone(&log);
    simulation.client("client", async move {
        let clock = Clock::start();
        for _ in 0..5 {
            tokio::time::sleep(SECOND).await;
            let answer = ask().await?;
            answers.lock().unwrap().push(format!("{} {answer}", clock.now()));
        }
        Ok(())
    });
    let mut killed = false;
    while !simulation.step().unwrap() {
        if !killed && simulation.elapsed() > SECOND * 3 + SECOND / 2 {
            simulation.crash("backend");
            killed = true;
        }
    }
    let log = log.lock().unwrap();
    log.clone()
}

#[test]
fn requests_and_probes_run_on_simulated_sockets_and_one_seed_gives_one_run() {
    let first = run(7);
    let said: Vec<&str> = first.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    let ok = "HTTP/1.1 200 OK";
    assert_eq!(said[..4], ["up=true", ok, ok, ok]);
    assert!(said.contains(&"up=false"), "{said:?}");
    assert!(said.last().unwrap().starts_with("HTTP/1.1 50"), "{said:?}");
    assert_eq!(first, run(7));
}
