//! Where operators connect: a unix socket that only this user can open, or a loopback address.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use stickler_core::document::node::AdminAddress;
use stickler_rt::{BindOptions, Listener, Network};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use super::connection::Connection;

/// Operators' connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;

/// Connections that may wait to be accepted.
const BACKLOG: u16 = 128;

/// Pause after a connection could not be accepted, since that is mostly for want of descriptors.
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(50);

/// Why the admin service can't listen. The operator frees the address or changes `admin` in the node file.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process answers on the socket.
    #[error("{}: another process serves this socket; stop it, or give this node another `admin` path", .path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has the socket's name. It is left alone.
    #[error("{}: there is a file of this name that is no socket; remove it, or change `admin`", .path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refuses the socket.
    #[error("{}: the socket can't be made: {error}; its directory must be there and writable", .path.display())]
    Unix {
        /// The socket.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The operating system refuses the address.
    #[error("{address}: operators can't be served there: {error}; free the address, or change `admin`")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        error: io::Error,
    },
}

/// A bound address of the admin service.
pub struct AdminListener(Kind);

enum Kind {
    Unix(UnixListener, SocketFile),
    Tcp(Box<dyn Listener>),
}

/// A socket's file, removed at the end if it is still the one that was made.
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the admin socket stays behind");
        }
    }
}

impl AdminListener {
    /// Binds `address`. The file that a dead process left behind is replaced; a TCP address is bound through
    /// `network`.
    ///
    /// # Errors
    /// [`BindError`]; nothing was changed.
    pub async fn bind(address: &AdminAddress, network: &dyn Network) -> Result<Self, BindError> {
        match address {
            AdminAddress::Unix(path) => {
                refuse_or_remove(path).await?;
                let failed = |error| BindError::Unix { path: path.clone(), error };
                let listener = listen(path).map_err(failed)?;
                let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
                Ok(Self(Kind::Unix(listener, SocketFile { path: path.clone(), inode })))
            }
            AdminAddress::Tcp(address) => {
                let bound = network.bind(*address, BindOptions::default()).await;
                let listener = bound.map_err(|error| BindError::Tcp { address: *address, error })?;
                Ok(Self(Kind::Tcp(listener)))
            }
        }
    }

    /// Where it listens, with the port that was chosen for port 0.
    ///
    /// # Errors
    /// As the operating system answers.
    pub fn local_address(&self) -> io::Result<AdminAddress> {
        match &self.0 {
            Kind::Unix(_, file) => Ok(AdminAddress::Unix(file.path.clone())),
            Kind::Tcp(listener) => listener.local_address().map(AdminAddress::Tcp),
        }
    }

    /// The connections, without an end.
    pub(super) fn into_connections(
        self,
    ) -> impl futures::Stream<Item = Result<Connection, io::Error>> + Send + 'static {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        futures::stream::unfold((self, places), |(listener, places)| async move {
            let connection = listener.connection(&places).await?;
            Some((Ok(connection), (listener, places)))
        })
    }

    async fn connection(&self, places: &Arc<Semaphore>) -> Option<Connection> {
        let permit = Arc::clone(places).acquire_owned().await.ok()?;
        loop {
            let error = match &self.0 {
                Kind::Unix(listener, _) => match listener.accept().await {
                    Ok((stream, _)) => return Some(Connection::unix(stream, permit)),
                    Err(error) => error,
                },
                Kind::Tcp(listener) => match listener.accept().await {
                    Ok(stream) => return Some(Connection::tcp(stream, permit)),
                    Err(error) => error,
                },
            };
            tracing::warn!(%error, "an operator's connection was not accepted");
            tokio::time::sleep(AFTER_ACCEPT_ERROR).await;
        }
    }
}

/// Makes way for a socket at `path`: only for one that nobody answers on.
async fn refuse_or_remove(path: &Path) -> Result<(), BindError> {
    let failed = |error| BindError::Unix { path: path.to_owned(), error };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match tokio::net::UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing the admin socket of a process that is gone");
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(BindError::InUse { path: path.to_owned() }),
        // Somebody is there, and too busy to answer.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(BindError::InUse { path: path.to_owned() })
        }
        Err(error) => Err(failed(error)),
    }
}

/// Nobody can connect before the file has its mode: only then the socket listens.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG.into())?;
    UnixListener::from_std(socket.into())
}
