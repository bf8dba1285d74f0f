//! How one hop is named in a header: an address, with a port or without.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads `192.0.2.7`, `192.0.2.7:80`, `[2001:db8::7]` or `[2001:db8::7]:80`: the address, and what stands
/// behind the colon. Addresses have one spelling here: no zones, no leading zeros in IPv4.
pub(super) fn parse(text: &str) -> Option<(IpAddr, Option<&str>)> {
    let (address, rest): (IpAddr, _) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.into(), rest)
        }
        None => {
            let (address, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            (address.parse::<Ipv4Addr>().ok()?.into(), rest)
        }
    };
    if rest.is_empty() { Some((address, None)) } else { Some((address, Some(rest.strip_prefix(':')?))) }
}

/// Whether this is a port in digits.
pub(super) fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}
