//! Which addresses this node's workers share. Each worker has a socket of its own at a listener's address, and
//! the kernel would let another process of the same user have one there, too: clients would then reach the one
//! or the other by chance.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use stickler_rt::{BindOptions, Listener, Network};
use tokio::sync::Mutex;

/// How many workers listen where.
#[derive(Default)]
pub(crate) struct Claims {
    workers: Mutex<BTreeMap<SocketAddr, usize>>,
}

impl Claims {
    /// A worker's socket at an address. The first one of this node is refused when anybody else listens there.
    ///
    /// # Errors
    /// What the operating system says: the address is in use, or not of this machine.
    pub(crate) async fn listen(
        &self,
        network: &dyn Network,
        address: SocketAddr,
    ) -> io::Result<Box<dyn Listener>> {
        let mut workers = self.workers.lock().await;
        if !workers.contains_key(&address) {
            // A socket that does not share can't be had where anybody listens.
            drop(network.bind(address, BindOptions::default()).await?);
        }
        let shared = BindOptions { reuse_port: true, ..BindOptions::default() };
        let listener = network.bind(address, shared).await?;
        *workers.entry(address).or_default() += 1;
        Ok(listener)
    }

    /// A worker listens there no longer.
    pub(crate) async fn release(&self, address: SocketAddr) {
        let mut workers = self.workers.lock().await;
        if let Some(count) = workers.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                workers.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stickler_rt::TcpNetwork;

    use super::*;

    fn anywhere() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    async fn address_of(node: &Claims) -> (SocketAddr, Box<dyn Listener>) {
        let free = TcpNetwork.bind(anywhere(), BindOptions::default()).await.unwrap();
        let address = free.local_address().unwrap();
        drop(free);
        (address, node.listen(&TcpNetwork, address).await.unwrap())
    }

    #[tokio::test]
    async fn workers_of_one_node_share_an_address_and_two_nodes_do_not() {
        let (one, other) = (Claims::default(), Claims::default());
        let (address, first) = address_of(&one).await;
        let second = one.listen(&TcpNetwork, address).await.unwrap();
        let refused = other.listen(&TcpNetwork, address).await.map(drop).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop((first, second));
        one.release(address).await;
        one.release(address).await;
        assert!(other.listen(&TcpNetwork, address).await.is_ok());
    }
}
