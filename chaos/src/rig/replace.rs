//! Backends that come later than the others, beside them or in the place of one. For rigs in which nothing stands
//! between the nodes and their backends.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::backend::Backend;
use super::carts::Shelf;
use super::document::Document;
use super::network::Network;
use super::plan::BackendPlan;
use super::{Rig, RigError, ports};

impl Rig {
    /// Starts a backend at an address of its own, beside the others. The cluster is told nothing.
    pub(crate) async fn start_another_backend(&mut self, name: &str) -> Result<SocketAddr, RigError> {
        let (backend, address) = self.start_new(name).await?;
        self.backends.push(backend);
        self.plan.backends.push(BackendPlan { name: name.to_owned(), listens: address, address });
        Ok(address)
    }

    /// Starts a backend that takes another one's place in documents, under its name there and at an address of its own;
    /// of itself it says this other name. The cluster is told nothing. The one before it, which goes on.
    pub(crate) async fn replace_backend(&mut self, index: usize, says: &str) -> Result<Backend, RigError> {
        let (backend, address) = self.start_new(says).await?;
        let place = &mut self.plan.backends[index];
        (place.listens, place.address) = (address, address);
        Ok(std::mem::replace(&mut self.backends[index], backend))
    }

    /// Gives the cluster this document with so many of the backends as they are now; those that it names no more leave,
    /// with their sessions staying for so long at the most. The log index of the change.
    pub(crate) async fn apply_removing(
        &mut self,
        document: &Document,
        in_pool: usize,
        deadline: Duration,
    ) -> Result<Option<u64>, RigError> {
        let text = self.plan.cluster_text(document, in_pool);
        Ok(self.admins[0].apply_removing(&text, Some(deadline)).await?)
    }

    /// Where nodes reach the backends, and what documents call them.
    pub(crate) fn backend_places(&self) -> Vec<(String, SocketAddr)> {
        self.plan.backends.iter().map(|place| (place.name.clone(), place.address)).collect()
    }

    /// What the backends share of what was exported.
    pub(crate) fn shelf(&self) -> &Arc<Shelf> {
        &self.shared.shelf
    }

    async fn start_new(&self, name: &str) -> Result<(Backend, SocketAddr), RigError> {
        debug_assert!(matches!(self.network, Network::Direct), "nothing would lead to it");
        let mut random = self.outside.seed.child(&format!("port of {name}")).rng();
        let port = ports::find_free(1, &mut random)?.swap_remove(0);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut backend = Backend::new(name.to_owned(), address, self.shared.clone());
        backend.start(&self.outside).await?;
        Ok((backend, address))
    }
}
