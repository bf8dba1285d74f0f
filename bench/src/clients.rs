//! Clients of gRPC services on loopback, the same for every system that is measured.

use std::net::SocketAddr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// Connections of the callers to one server, if there are as many callers.
const CONNECTIONS: usize = 4;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that is made when it is first used, and again when it breaks.
pub fn connection(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .expect("a socket address makes a valid URL")
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .connect_lazy()
}

/// One connection for each caller. Callers are spread over the servers, the first to the one numbered
/// `offset`; those of one server share four connections.
pub fn for_callers(addresses: &[SocketAddr], callers: usize, offset: usize) -> Vec<Channel> {
    let servers: Vec<Vec<Channel>> =
        addresses.iter().map(|address| (0..CONNECTIONS).map(|_| connection(*address)).collect()).collect();
    (0..callers)
        .map(|caller| {
            let server = &servers[(caller + offset) % servers.len()];
            server[(caller / servers.len()) % CONNECTIONS].clone()
        })
        .collect()
}

/// How many of the callers come to each of so many nodes, by the same rule.
pub fn shares(nodes: usize, callers: usize, offset: usize) -> Vec<usize> {
    let mut shares = vec![0; nodes];
    for caller in 0..callers {
        shares[(caller + offset) % nodes] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_spread_evenly_and_a_single_one_goes_round() {
        assert_eq!(shares(3, 1, 0), [1, 0, 0]);
        assert_eq!(shares(3, 1, 2), [0, 0, 1]);
        assert_eq!(shares(3, 16, 1), [5, 6, 5]);
        assert_eq!(shares(3, 1_024, 3).iter().sum::<usize>(), 1_024);
    }
}
