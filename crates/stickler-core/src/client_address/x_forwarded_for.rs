//! `X-Forwarded-For`: a list of addresses, to which each proxy adds who is connected to it. No standard says
//! more, so ports and brackets come as well.

use std::net::IpAddr;

use super::node_name;

/// The hops of one header line, beginning with the last; `None` stands for what is no address, such as
/// `unknown`. Empty places of the list are nothing (RFC 9110, section 5.6.1).
pub fn hops_from_the_end(line: &[u8]) -> impl Iterator<Item = Option<IpAddr>> {
    line.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()).map(address)
}

fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    // IPv6 without brackets is what most proxies write, and can't have a port.
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, port) = node_name::parse(text)?;
    port.is_none_or(node_name::is_port).then_some(address)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hops(line: &str) -> Vec<Option<IpAddr>> {
        hops_from_the_end(line.as_bytes()).collect()
    }

    #[test]
    fn hops_come_from_the_end_with_ports_and_brackets_taken_off() {
        let line = "192.0.2.1, 192.0.2.2:4711 ,2001:db8::3,\t[2001:db8::4],[2001:db8::5]:80";
        let expected = ["2001:db8::5", "2001:db8::4", "2001:db8::3", "192.0.2.2", "192.0.2.1"];
        assert_eq!(hops(line), expected.map(|hop| Some(hop.parse().unwrap())));
        assert_eq!(hops(" , ,"), []);
    }

    #[test]
    fn what_is_no_address_is_none() {
        for hop in [
            "unknown",
            "_hidden",
            "-",
            "192.0.2",
            "192.0.2.1:",
            "192.0.2.1:x",
            "192.0.2.1:65536",
            "192.0.2.1:+1",
            "192.0.2.01",
            "[192.0.2.1]",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]80",
            "[2001:db8::1]:",
            "fe80::1%eth0",
            "[fe80::1%1]:80",
            "\"192.0.2.1\"",
            "for=192.0.2.1",
            "192.0.2.1 192.0.2.2",
            "\u{e4}",
        ] {
            assert_eq!(hops(hop), [None], "{hop}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_hops_or_not(line: Vec<u8>) {
            prop_assert!(hops_from_the_end(&line).count() <= line.len());
        }

        #[test]
        fn what_a_stranger_wrote_before_changes_nothing_of_what_was_added(before in "[^,]{0,40}(,[^,]{0,9}){0,3}", address: u32) {
            let added = std::net::Ipv4Addr::from_bits(address);
            let line = format!("{before}, {added}");
            prop_assert_eq!(hops(&line)[0], Some(added.into()));
        }
    }
}
