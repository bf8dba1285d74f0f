//! Who a client is when there are other proxies in front of Stickler (docs/affinity.md, "The client's
//! address"). Whoever is connected can say anything, so what is said counts only as far as the listener's
//! trusted proxies said it. Nothing in here can fail: what can't be read is not believed.

pub mod forwarded;
pub mod network;
mod node_name;
pub mod proxy_header;
pub mod x_forwarded_for;

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use crate::document::cluster::{ClientAddress, Listener};

/// The header that proxies add their clients' addresses to.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The most proxies before Stickler that are followed. Chains of more are made up.
pub const MAX_HOPS: usize = 32;

/// How a new connection of a client begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// With its first request.
    Request,
    /// With a header of the PROXY protocol, which names the client.
    ProxyHeader,
    /// Not at all: it would have to begin with such a header, and whoever it comes from is not believed.
    Refused,
}

/// How a connection from `peer` begins at this listener.
#[must_use]
pub fn greeting(listener: &Listener, peer: IpAddr) -> Greeting {
    if !listener.proxy_protocol {
        Greeting::Request
    } else if network::contains(&listener.trusted_proxies, peer) {
        Greeting::ProxyHeader
    } else {
        Greeting::Refused
    }
}

/// Whether what `peer` says about addresses must not reach anybody who could believe it. Where no proxy is
/// trusted nobody was asked to tell them apart, and headers are passed on as they come.
#[must_use]
pub fn is_stranger(listener: &Listener, peer: IpAddr) -> bool {
    !listener.trusted_proxies.is_empty() && !network::contains(&listener.trusted_proxies, peer)
}

/// The address of a request's client. `peer` is the other end of its connection, or who the connection's
/// PROXY header names.
#[must_use]
pub fn client_address(listener: &Listener, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    // Several lines are one list; the last line has its end.
    let from_the_end = |name| headers.get_all(name).into_iter().rev().map(http::HeaderValue::as_bytes);
    match listener.client_address {
        ClientAddress::Connection => peer,
        ClientAddress::XForwardedFor => follow(
            listener,
            peer,
            from_the_end(&X_FORWARDED_FOR).flat_map(x_forwarded_for::hops_from_the_end),
        ),
        ClientAddress::Forwarded => {
            follow(listener, peer, from_the_end(&FORWARDED).flat_map(forwarded::hops_from_the_end))
        }
    }
}

/// The address of a request's client as far as it is believed. What a stranger claims about addresses is taken out of
/// the request, so that neither an affinity nor a backend goes by it. On a listener that the document has no longer
/// (`None`), nobody is believed.
pub fn believe(listener: Option<&Listener>, peer: IpAddr, headers: &mut HeaderMap) -> IpAddr {
    match listener.filter(|listener| !is_stranger(listener, peer)) {
        Some(listener) => client_address(listener, peer, headers),
        None => {
            headers.remove(X_FORWARDED_FOR);
            headers.remove(FORWARDED);
            peer
        }
    }
}

/// Goes from hop to hop, towards the client, while the one that names the next is trusted. Where a hop is not
/// named by its address, the last that was counts.
fn follow(listener: &Listener, peer: IpAddr, mut hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
    let mut current = peer;
    for _ in 0..MAX_HOPS {
        if !network::contains(&listener.trusted_proxies, current) {
            break;
        }
        let Some(Some(next)) = hops.next() else { break };
        current = next;
    }
    current
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn listener(client_address: ClientAddress, trusted: &[&str]) -> Listener {
        Listener {
            name: "public".to_owned(),
            address: ([127, 0, 0, 1], 80).into(),
            trusted_proxies: trusted.iter().map(|text| network::parse_network(text).unwrap()).collect(),
            client_address,
            proxy_protocol: false,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn lines(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_str(line).unwrap())).collect()
    }

    #[track_caller]
    fn assert_client(peer: &str, header: &[&str], expected: &str) {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"];
        let by_x = listener(ClientAddress::XForwardedFor, &trusted);
        assert_eq!(client_address(&by_x, ip(peer), &lines(&X_FORWARDED_FOR, header)), ip(expected));
        // The same hops as Forwarded has them.
        let element = |hop: &str| {
            format!("for=\"{}\"", if hop.contains("::") { format!("[{hop}]") } else { hop.to_owned() })
        };
        let header: Vec<String> = header
            .iter()
            .map(|line| line.split(',').map(|hop| element(hop.trim())).collect::<Vec<_>>().join(", "))
            .collect();
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let by_forwarded = listener(ClientAddress::Forwarded, &trusted);
        assert_eq!(client_address(&by_forwarded, ip(peer), &lines(&FORWARDED, &header)), ip(expected));
    }

    #[test]
    fn the_client_is_the_last_that_a_trusted_proxy_names() {
        assert_client("10.0.0.1", &["192.0.2.7"], "192.0.2.7");
        assert_client("10.0.0.1", &["198.51.100.9, 192.0.2.7"], "192.0.2.7");
        assert_client("10.0.0.1", &["198.51.100.9, 192.0.2.7, 10.9.9.9, 2001:db8::1"], "192.0.2.7");
        assert_client("10.0.0.1", &["198.51.100.9", "192.0.2.7, 10.0.0.3", "10.0.0.2"], "192.0.2.7");
        assert_client("::ffff:10.0.0.1", &["192.0.2.7"], "192.0.2.7");
    }

    #[test]
    fn nobody_else_is_believed() {
        assert_client("192.0.2.1", &["192.0.2.7"], "192.0.2.1");
        assert_client("10.0.0.1", &[], "10.0.0.1");
        assert_client("10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.2");
    }

    #[test]
    fn where_a_hop_is_hidden_the_last_good_address_counts() {
        for hidden in ["unknown", "_hidden", "nonsense"] {
            assert_client("10.0.0.1", &[&format!("192.0.2.7, {hidden}, 10.0.0.2")], "10.0.0.2");
            assert_client("10.0.0.1", &["192.0.2.7", hidden], "10.0.0.1");
        }
    }

    #[test]
    fn a_chain_ends_after_so_many_hops() {
        let chain: Vec<String> = (1..=MAX_HOPS + 8).rev().map(|hop| format!("10.0.1.{hop}")).collect();
        assert_client("10.0.0.1", &[&chain.join(",")], &format!("10.0.1.{MAX_HOPS}"));
    }

    #[test]
    fn only_the_header_of_the_document_counts() {
        let mut headers = lines(&X_FORWARDED_FOR, &["192.0.2.1"]);
        headers.extend(lines(&FORWARDED, &["for=192.0.2.2"]));
        let client = |from| client_address(&listener(from, &["10.0.0.0/8"]), ip("10.0.0.1"), &headers);
        assert_eq!(client(ClientAddress::Connection), ip("10.0.0.1"));
        assert_eq!(client(ClientAddress::XForwardedFor), ip("192.0.2.1"));
        assert_eq!(client(ClientAddress::Forwarded), ip("192.0.2.2"));
    }

    #[test]
    fn connections_begin_with_a_proxy_header_where_the_document_says_so() {
        let mut listener = listener(ClientAddress::Connection, &["10.0.0.0/8"]);
        let greetings =
            |listener: &Listener| ["10.0.0.1", "192.0.2.7"].map(|peer| greeting(listener, ip(peer)));
        assert_eq!(greetings(&listener), [Greeting::Request; 2]);
        listener.proxy_protocol = true;
        assert_eq!(greetings(&listener), [Greeting::ProxyHeader, Greeting::Refused]);
    }

    #[test]
    fn strangers_are_told_apart_only_where_somebody_is_trusted() {
        let trusting = listener(ClientAddress::XForwardedFor, &["10.0.0.0/8"]);
        assert!(is_stranger(&trusting, ip("192.0.2.7")));
        assert!(!is_stranger(&trusting, ip("10.0.0.1")));
        assert!(!is_stranger(&listener(ClientAddress::Connection, &[]), ip("192.0.2.7")));
    }

    proptest! {
        #[test]
        fn any_headers_give_a_client_and_a_strangers_change_nothing(
            found in prop::collection::vec("[ -~]{0,40}|(for=)?10\\.0\\.0\\.[0-9],", 0..4), peer: u32,
        ) {
            let found: Vec<&str> = found.iter().map(String::as_str).collect();
            let peer = IpAddr::from(std::net::Ipv4Addr::from_bits(peer));
            for (from, name) in [(ClientAddress::XForwardedFor, X_FORWARDED_FOR), (ClientAddress::Forwarded, FORWARDED)] {
                let listener = listener(from, &["10.0.0.0/8"]);
                let headers = lines(&name, &found);
                let _ = client_address(&listener, ip("10.0.0.1"), &headers);
                if is_stranger(&listener, peer) {
                    prop_assert_eq!(client_address(&listener, peer, &headers), peer);
                }
            }
        }
    }
}
