//! A real network of which single links can be cut: new connections hang and open ones stall, as behind a
//! firewall that drops everything.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt;
use stickler_rt::{BindOptions, BoxFuture, BoxedStream, Listener, Network, Stream, TcpNetwork};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// One node's network. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct CuttableNetwork {
    cut: Arc<Mutex<BTreeSet<SocketAddr>>>,
    changes: Arc<watch::Sender<u64>>,
}

impl CuttableNetwork {
    /// From now on nothing comes from or goes to these addresses on connections that this node opened.
    pub fn cut(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).extend(addresses);
        self.changes.send_modify(|version| *version += 1);
    }

    /// Everything goes through again; connections that were cut are broken.
    pub fn heal(&self) {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.changes.send_modify(|version| *version += 1);
    }

    fn is_cut(&self, address: SocketAddr) -> bool {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }

    async fn until_healed(&self, address: SocketAddr) {
        let mut changes = self.changes.subscribe();
        while self.is_cut(address) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Network for CuttableNetwork {
    fn bind(
        &self,
        address: SocketAddr,
        options: BindOptions,
    ) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        async move { TcpNetwork.bind(address, options).await }.boxed()
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxedStream>> {
        Box::pin(async move {
            self.until_healed(address).await;
            let stream = TcpNetwork.connect(address).await?;
            let cuttable =
                CuttableStream { stream, network: self.clone(), address, was_cut: false, waiting: None };
            Ok(Box::new(cuttable) as BoxedStream)
        })
    }
}

/// Waits for a change of the links.
type Waiting = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

struct CuttableStream {
    stream: BoxedStream,
    network: CuttableNetwork,
    address: SocketAddr,
    was_cut: bool,
    waiting: Option<Waiting>,
}

impl CuttableStream {
    /// Ready when the link is there; a link that was cut comes back as a broken connection.
    fn poll_link(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.network.is_cut(self.address) {
            self.was_cut = true;
        }
        if !self.was_cut {
            // Wakes this task when a link is cut or healed, so that it looks again.
            let mut changes = self.network.changes.subscribe();
            let waiting: &mut Waiting = self.waiting.get_or_insert_with(|| {
                Box::pin(async move {
                    let _ = changes.changed().await;
                })
            });
            if waiting.as_mut().poll(context).is_ready() {
                self.waiting = None;
                context.waker().wake_by_ref();
            }
            return Poll::Ready(Ok(()));
        }
        let network = self.network.clone();
        let address = self.address;
        let mut healed: Waiting = Box::pin(async move { network.until_healed(address).await });
        if healed.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.waiting = Some(healed);
        Poll::Pending
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_link(context))?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_link(context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_link(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Stream for CuttableStream {
    fn peer_address(&self) -> io::Result<SocketAddr> {
        self.stream.peer_address()
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.stream.local_address()
    }
}
