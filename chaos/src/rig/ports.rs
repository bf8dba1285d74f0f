//! Free ports on loopback for processes that are killed and started again.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use rand::Rng;

/// Below it are ports that need privileges.
const LOWEST: u16 = 10_000;

/// The kernel's first port for outgoing connections, where it does not say.
const USUAL_FIRST_OUTGOING: u16 = 32_768;

/// Ports that are tried for each one that is needed.
const TRIES: usize = 200;

/// So many different ports that are free now, drawn at random from those that the kernel doesn't give to
/// outgoing connections: otherwise a client's connection could take a killed node's port before the node is
/// back.
pub(super) fn find_free(count: usize, random: &mut impl Rng) -> io::Result<Vec<u16>> {
    let range = LOWEST..first_outgoing();
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        held.push(hold_one(&range, random)?);
    }
    held.iter().map(|listener| listener.local_addr().map(|address| address.port())).collect()
}

fn hold_one(range: &Range<u16>, random: &mut impl Rng) -> io::Result<TcpListener> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, random.random_range(range.clone()))) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn first_outgoing() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let first = range.and_then(|range| range.split_whitespace().next()?.parse().ok());
    first.filter(|first| *first > LOWEST + 1000).unwrap_or(USUAL_FIRST_OUTGOING)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use stickler_rt::Seed;

    use super::*;

    #[test]
    fn no_port_comes_twice_and_none_is_for_outgoing_connections() {
        let ports = find_free(50, &mut Seed::from_number(7).rng()).unwrap();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 50);
        assert!(ports.iter().all(|port| (LOWEST..first_outgoing()).contains(port)));
    }
}
