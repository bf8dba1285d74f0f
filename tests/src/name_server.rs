//! A DNS server with one zone that a test can change.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use hickory_proto::op::{Message, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// How long its records are good for, in seconds.
const TTL: u32 = 1;

/// Answers over UDP until it is dropped.
pub struct NameServer {
    /// Where it is asked.
    pub address: SocketAddr,
    zone: Zone,
    serving: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Zone {
    records: Arc<Mutex<BTreeMap<String, Vec<RData>>>>,
    silent: Arc<std::sync::atomic::AtomicBool>,
}

impl NameServer {
    /// A server of an empty zone.
    ///
    /// # Panics
    /// When there is no port for it.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let zone = Zone::default();
        let serving = tokio::spawn(serve(socket, zone.clone()));
        Self { address, zone, serving }
    }

    /// The services of a name from now on: hosts with their ports.
    pub fn services(&self, name: &str, hosts: &[(&str, u16)]) {
        let hosts: Vec<_> = hosts.iter().map(|(host, port)| (0, *host, *port)).collect();
        self.services_by_priority(name, &hosts);
    }

    /// The same, each with its priority before it.
    pub fn services_by_priority(&self, name: &str, hosts: &[(u16, &str, u16)]) {
        let service = |(priority, host, port): &(u16, &str, u16)| {
            RData::SRV(SRV::new(*priority, 10, *port, name_of(host)))
        };
        self.set(name, hosts.iter().map(service).collect());
    }

    /// The addresses of a name from now on.
    pub fn addresses(&self, name: &str, addresses: &[IpAddr]) {
        let address = |address: &IpAddr| match address {
            IpAddr::V4(address) => RData::A(A(*address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
        };
        self.set(name, addresses.iter().map(address).collect());
    }

    /// Whether it answers at all.
    pub fn set_silent(&self, silent: bool) {
        self.zone.silent.store(silent, std::sync::atomic::Ordering::Relaxed);
    }

    fn set(&self, name: &str, records: Vec<RData>) {
        self.zone.records.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{name}."), records);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn name_of(name: &str) -> Name {
    Name::from_ascii(format!("{name}.")).expect("a test's names are names")
}

async fn serve(socket: UdpSocket, zone: Zone) {
    let mut asked = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut asked).await {
        if zone.silent.load(std::sync::atomic::Ordering::Relaxed) {
            continue;
        }
        let Ok(question) = Message::from_vec(&asked[..length]) else { continue };
        if let Ok(answer) = zone.answer(&question).to_vec() {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

impl Zone {
    fn answer(&self, question: &Message) -> Message {
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata = Metadata::response_from_request(&question.metadata);
        answer.metadata.authoritative = true;
        let Some(query) = question.queries.first() else { return answer };
        answer.add_query(query.clone());
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        match records.get(&query.name().to_ascii().to_lowercase()) {
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some(records) => {
                let asked = |data: &&RData| is_of(data, query.query_type());
                let record = |data: &RData| Record::from_rdata(query.name().clone(), TTL, data.clone());
                answer.add_answers(records.iter().filter(asked).map(record));
            }
        }
        answer
    }
}

fn is_of(data: &RData, kind: RecordType) -> bool {
    matches!(
        (data, kind),
        (RData::A(_), RecordType::A) | (RData::AAAA(_), RecordType::AAAA) | (RData::SRV(_), RecordType::SRV)
    )
}
