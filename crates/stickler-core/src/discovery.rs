//! Backends that a name leads to: what DNS answered, as the cluster takes it.
//!
//! What a backend is called must say the same every time, whatever else is in the answer: a name with another address is
//! another backend.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use crate::document::cluster::{Discovery, DnsRecord};

/// The most backends that one name leads to; of more, the first by their names. The answer is somebody else's.
pub const MOST_DISCOVERED: usize = 256;

/// The most pools of a document that have a name. All that their names lead to is one part of each snapshot.
pub const MOST_NAMES: usize = 16;

/// Longest name of a backend, in bytes, as in the document.
const LONGEST_NAME: usize = 63;

/// The largest weight of a backend, as in the document.
const LARGEST_WEIGHT: u32 = 1000;

/// A backend that a name led to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DiscoveredBackend {
    /// Unique among those of its pool.
    pub name: String,
    /// Where it accepts connections.
    pub address: SocketAddr,
    /// Its share of new sessions.
    pub weight: u32,
}

/// One service record (RFC 2782), with an address of its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The host, without a dot at its end.
    pub target: String,
    /// An address of it.
    pub address: IpAddr,
    /// Where it accepts connections there.
    pub port: u16,
    /// Records of the lowest number are used; the others are for when those have left the answer.
    pub priority: u16,
    /// Its share among them.
    pub weight: u16,
}

/// What a name led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Addresses.
    Addresses(Vec<IpAddr>),
    /// Hosts with ports.
    Services(Vec<Service>),
}

/// The backends that an answer names, in their order; the same for the same records in any order.
#[must_use]
pub fn backends(discovery: &Discovery, answer: &Answer) -> Vec<DiscoveredBackend> {
    let mut found = match answer {
        Answer::Addresses(addresses) => of_addresses(discovery, addresses),
        Answer::Services(services) => of_services(discovery, services),
    };
    found.retain(|backend| !backend.address.ip().is_unspecified() && backend.address.port() != 0);
    found.sort();
    // One machine is one backend, by the first of its names, whatever else is in the answer.
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    found.retain(|backend| addresses.insert(backend.address) && names.insert(backend.name.clone()));
    found.truncate(MOST_DISCOVERED);
    found
}

fn of_addresses(discovery: &Discovery, addresses: &[IpAddr]) -> Vec<DiscoveredBackend> {
    let wanted = |address: &&IpAddr| match discovery.record {
        DnsRecord::A => address.is_ipv4(),
        DnsRecord::Aaaa => address.is_ipv6(),
        DnsRecord::Srv => true,
    };
    let backend = |address: &IpAddr| DiscoveredBackend {
        name: format!("ip-{}", plain(&address.to_string())),
        address: SocketAddr::new(*address, discovery.port),
        weight: discovery.weight,
    };
    addresses.iter().filter(wanted).map(backend).collect()
}

fn of_services(discovery: &Discovery, services: &[Service]) -> Vec<DiscoveredBackend> {
    let first = services.iter().map(|service| service.priority).min();
    let used = || services.iter().filter(|service| Some(service.priority) == first);
    let heaviest = used().map(|service| u32::from(service.weight)).max().unwrap_or(0);
    // A weight of 0 means a very small share, not none.
    let weight = |weight: u16| match u32::from(weight) {
        weight if heaviest > LARGEST_WEIGHT => (weight * LARGEST_WEIGHT / heaviest).max(1),
        weight => weight.max(1),
    };
    let backend = |service: &Service| DiscoveredBackend {
        name: service_name(&discovery.name, service),
        address: SocketAddr::new(service.address, service.port),
        weight: weight(service.weight),
    };
    used().map(backend).collect()
}

/// The target's name below the service's domain, and its port: several services may be on one host.
fn service_name(asked: &str, service: &Service) -> String {
    let domain = asked.split('.').skip_while(|label| label.starts_with('_')).collect::<Vec<_>>().join(".");
    let target = service.target.to_ascii_lowercase();
    let within = target.strip_suffix(&domain).and_then(|host| host.strip_suffix('.'));
    let port = format!("-{}", service.port);
    let host = plain(within.filter(|_| !domain.is_empty()).unwrap_or(&target));
    let host = host.trim_start_matches('-');
    let room = LONGEST_NAME - port.len();
    if host.len() <= room {
        return format!("{host}{port}");
    }
    let whole = format!("-{:08x}", SipHasher24::new().hash(target.as_bytes()) >> 32);
    format!("{}{whole}{port}", &host[..room - whole.len()])
}

/// With nothing in it that a backend's name can't have.
fn plain(text: &str) -> String {
    let as_name = |character: char| match character.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9' | '-') => letter,
        _ => '-',
    };
    text.chars().map(as_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(record: DnsRecord) -> Discovery {
        let name = "_http._tcp.shop.internal".to_owned();
        Discovery { name, record, port: 8080, weight: 50, max_sessions: None, max_requests: None }
    }

    fn service(target: &str, port: u16, priority: u16, weight: u16) -> Service {
        Service { target: target.to_owned(), address: [10, 0, 0, 7].into(), port, priority, weight }
    }

    fn named(record: DnsRecord, answer: &Answer) -> Vec<(String, String, u32)> {
        let of = |it: DiscoveredBackend| (it.name, it.address.to_string(), it.weight);
        backends(&by(record), answer).into_iter().map(of).collect()
    }

    #[test]
    fn addresses_are_called_after_themselves_in_whatever_order_they_come() {
        let addresses: Vec<IpAddr> = ["10.0.0.9", "fd00::7", "10.0.0.8", "10.0.0.9", "0.0.0.0"]
            .iter()
            .map(|address| address.parse().expect("an address"))
            .collect();
        let answer = Answer::Addresses(addresses);
        let of = |name: &str, address: &str| (name.to_owned(), address.to_owned(), 50);
        assert_eq!(
            named(DnsRecord::A, &answer),
            [of("ip-10-0-0-8", "10.0.0.8:8080"), of("ip-10-0-0-9", "10.0.0.9:8080")]
        );
        assert_eq!(named(DnsRecord::Aaaa, &answer), [of("ip-fd00--7", "[fd00::7]:8080")]);
    }

    #[test]
    fn services_are_called_after_host_and_port_and_only_the_first_priority_counts() {
        let answer = Answer::Services(vec![
            service("web-0.shop.internal", 9000, 5, 20_000),
            service("WEB-0.shop.internal", 9001, 5, 0),
            service("other.example", 80, 5, 40_000),
            service("spare.shop.internal", 9000, 10, 1),
        ]);
        let of = |name: &str, port, weight| (name.to_owned(), format!("10.0.0.7:{port}"), weight);
        assert_eq!(
            named(DnsRecord::Srv, &answer),
            [of("other-example-80", 80, 1000), of("web-0-9000", 9000, 500), of("web-0-9001", 9001, 1)]
        );
    }

    #[test]
    fn one_machine_under_two_names_is_one_backend_whatever_stands_between_them() {
        let at = |target: &str, last: u8| Service {
            address: [10, 0, 0, last].into(),
            ..service(target, 80, 0, 1)
        };
        let names = |services: Vec<Service>| {
            let found = backends(&by(DnsRecord::Srv), &Answer::Services(services));
            found.into_iter().map(|backend| backend.name).collect::<Vec<_>>()
        };
        assert_eq!(names(vec![at("a", 7), at("b", 8), at("c", 7)]), ["a-80", "b-80"]);
        assert_eq!(names(vec![at("a", 7), at("c", 7)]), ["a-80"]);
    }

    #[test]
    fn long_names_that_begin_alike_are_told_apart_and_are_names() {
        let long = |end: &str| service(&format!("{}-{end}.shop.internal", "web".repeat(30)), 65535, 0, 1);
        let mut other = long("two");
        other.address = [10, 0, 0, 8].into();
        let found = backends(&by(DnsRecord::Srv), &Answer::Services(vec![long("one"), other]));
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|backend| backend.name.len() <= LONGEST_NAME), "{found:?}");
    }

    #[test]
    fn an_answer_without_end_is_cut() {
        let addresses = (0..2000_u16).map(|number| IpAddr::from([10, 0, (number >> 8) as u8, number as u8]));
        let found = backends(&by(DnsRecord::A), &Answer::Addresses(addresses.collect()));
        assert_eq!(found.len(), MOST_DISCOVERED);
    }
}
