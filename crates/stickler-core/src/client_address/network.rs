//! Networks of trusted proxies: how they are written, and who is in them.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// Why a text is not a network. Each but the first knows what was probably meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotANetwork {
    /// Neither an address nor an address with a prefix.
    Malformed,
    /// Bits behind the prefix are set.
    WithinNetwork {
        /// The network that the address is in.
        network: IpNet,
        /// The address.
        address: IpAddr,
    },
    /// IPv4 as IPv6 sockets show it (`::ffff:10.0.0.0/104`). Such addresses count as IPv4, so that nobody
    /// would ever be in this network; the other one is meant.
    MappedIpv4(IpNet),
}

/// Reads a network (`10.0.0.0/8`, `2001:db8::/32`), or an address, which is the network of that address
/// alone.
///
/// # Errors
/// [`NotANetwork`].
pub fn parse_network(text: &str) -> Result<IpNet, NotANetwork> {
    let (address, prefix) =
        text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().map_err(|_| NotANetwork::Malformed)?;
    let widest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Some(widest), prefix_length).ok_or(NotANetwork::Malformed)?;
    let network = IpNet::new(address, prefix).map_err(|_| NotANetwork::Malformed)?;
    if network.network() != address {
        return Err(NotANetwork::WithinNetwork { network: network.trunc(), address });
    }
    match mapped(&network) {
        Some(plain) => Err(NotANetwork::MappedIpv4(plain)),
        None => Ok(network),
    }
}

/// Whether an address is in one of these networks. IPv4 in the clothes of IPv6 counts as IPv4: which of the
/// two a socket shows depends on how it was opened.
#[must_use]
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// One way to write each number.
fn prefix_length(digits: &str) -> Option<u8> {
    let plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    plain.then(|| digits.parse().ok()).flatten()
}

/// The IPv4 network that a network of mapped addresses stands for.
fn mapped(network: &IpNet) -> Option<IpNet> {
    const BEFORE_IPV4: u8 = Ipv6Addr::BITS as u8 - 32;
    let IpNet::V6(network) = network else { return None };
    let address = network.addr().to_ipv4_mapped()?;
    IpNet::new(address.into(), network.prefix_len().checked_sub(BEFORE_IPV4)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        parse_network(text).unwrap()
    }

    #[test]
    fn networks_and_single_addresses_are_read() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("2001:DB8:0::7", "2001:db8::7/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(net(text).to_string(), shown);
        }
    }

    #[test]
    fn a_network_that_is_none_is_refused_with_what_was_meant() {
        for text in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.0/255.0.0.0",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0:80",
            " 10.0.0.0/8",
            "proxy.example",
            "2001:db8::/129",
            "[2001:db8::]/32",
            "fe80::1%1",
        ] {
            assert_eq!(parse_network(text), Err(NotANetwork::Malformed), "{text}");
        }
        let within = |network: &str, address: &str| {
            Err(NotANetwork::WithinNetwork { network: net(network), address: address.parse().unwrap() })
        };
        assert_eq!(parse_network("10.1.2.3/8"), within("10.0.0.0/8", "10.1.2.3"));
        assert_eq!(parse_network("2001:db8::1/32"), within("2001:db8::/32", "2001:db8::1"));
        assert_eq!(parse_network("::ffff:10.0.0.0/104"), Err(NotANetwork::MappedIpv4(net("10.0.0.0/8"))));
        assert_eq!(parse_network("::ffff:10.0.0.1"), Err(NotANetwork::MappedIpv4(net("10.0.0.1"))));
        assert!(parse_network("::/8").is_ok(), "wider than what is mapped");
    }

    #[test]
    fn an_address_is_in_a_network_whichever_way_its_socket_shows_it() {
        let networks = [net("10.0.0.0/8"), net("2001:db8::/32")];
        for (address, inside) in [
            ("10.255.0.1", true),
            ("::ffff:10.255.0.1", true),
            ("11.0.0.1", false),
            ("::ffff:11.0.0.1", false),
            ("2001:db8:ffff::", true),
            ("2001:db9::", false),
        ] {
            assert_eq!(contains(&networks, address.parse().unwrap()), inside, "{address}");
        }
        assert!(!contains(&[], "10.0.0.1".parse().unwrap()));
        assert!(!contains(&[net("::/0")], "::ffff:10.0.0.1".parse().unwrap()), "it is IPv4");
    }

    proptest! {
        #[test]
        fn any_text_is_a_network_or_not(text in "\\PC{0,60}|[0-9a-f:./]{0,60}") {
            match parse_network(&text) {
                Ok(network) => prop_assert_eq!(parse_network(&network.to_string()), Ok(network)),
                Err(NotANetwork::Malformed) => {}
                Err(NotANetwork::WithinNetwork { network, .. } | NotANetwork::MappedIpv4(network)) => {
                    let meant = parse_network(&network.to_string());
                    let is_better = matches!(meant, Ok(_) | Err(NotANetwork::MappedIpv4(_)));
                    prop_assert!(is_better, "{:?}", meant);
                }
            }
        }

        #[test]
        fn a_network_has_the_addresses_that_share_its_first_bits(base: u32, other: u32, prefix in 0_u8..=32) {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            let network = IpNet::new(std::net::Ipv4Addr::from_bits(base & mask).into(), prefix).unwrap();
            let inside = contains(&[network], std::net::Ipv4Addr::from_bits(other).into());
            prop_assert_eq!(inside, other & mask == base & mask);
        }
    }
}
