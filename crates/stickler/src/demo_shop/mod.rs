//! The demo shop: a backend that keeps each visitor's cart in its own memory only, as the applications do
//! for which Stickler exists. `stickler dev` starts several of them, with one till that all of them write orders
//! into. Cart and till are fenced as docs/fencing.md says.

mod answer;
mod carts;
mod fence;
mod orders;
mod page;
mod till;
mod visit;

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use stickler_rt::{BindOptions, BoxedStream, Outside, Shutdown};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use answer::Shop;
use till::Till;

/// Connections that one shop serves at the same time; more wait to be accepted.
const MOST_CONNECTIONS: usize = 1024;
/// How long a connection may stay without a whole request head. Longer than nodes keep one unused, so that
/// they are the ones who close it and never send into a connection that is being closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);
/// How long requests that are being answered may take once the shop is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// After a connection could not be accepted: what is missing (descriptors) needs a moment to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How to run a demo shop.
#[derive(Debug, clap::Args)]
pub struct ShopOptions {
    /// Where the shop listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The shop's name, which it shows on its page and in the header X-Backend
    #[arg(long)]
    name: String,
    /// A directory for orders, shared with other shops [default: the shop takes no orders]
    #[arg(long, value_name = "DIRECTORY")]
    till: Option<PathBuf>,
    /// End when standard input closes, so that the shop does not outlive the process that started it
    #[arg(long)]
    until_stdin_closes: bool,
}

/// Why a shop could not run.
#[derive(Debug, thiserror::Error)]
enum ShopError {
    /// Choose a name that can stand in a header.
    #[error("the name {0:?} can't stand in a header")]
    Name(String),
    /// Another process has the port, or the address is not this machine's: choose another one.
    #[error("can't listen at {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// Name another directory, or look at what the message says of this one.
    #[error("can't use {0} as the till: {1}")]
    Till(PathBuf, io::Error),
    /// The operating system refused something basic: see its message.
    #[error(transparent)]
    System(#[from] io::Error),
    /// There is no randomness for session identifiers.
    #[error(transparent)]
    Seed(#[from] stickler_rt::SeedError),
}

/// Serves carts until SIGTERM or SIGINT, then lets the requests that are being answered end.
pub fn run(options: ShopOptions) -> ExitCode {
    match start(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // standard error may be closed, and then there is nobody to tell
            let _ = writeln!(io::stderr(), "stickler demo-shop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: ShopOptions) -> Result<(), ShopError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(serve(options));
    // Without waiting for the thread that reads standard input, which may never return.
    runtime.shutdown_background();
    result
}

async fn serve(options: ShopOptions) -> Result<(), ShopError> {
    let name_header =
        HeaderValue::from_str(&options.name).map_err(|_| ShopError::Name(options.name.clone()))?;
    let till = options
        .till
        .as_deref()
        .map(|path| Till::open(path).map_err(|error| ShopError::Till(path.to_owned(), error)));
    let till = till.transpose()?;
    let shutdown = Shutdown::new();
    stop_on_signals(&shutdown)?;
    if options.until_stdin_closes {
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            stdin_closed().await;
            shutdown.trigger();
        });
    }
    let outside = Outside::of_process()?;
    let in_use = |error| ShopError::Listen(options.listen, error);
    let listener = outside.network.bind(options.listen, BindOptions::default()).await.map_err(in_use)?;
    let address = listener.local_address()?;
    writeln!(io::stdout(), "demo shop {} listens at http://{address}", options.name)?;

    let shop = Arc::new(Shop::new(options.name, name_header, till, outside.seed.child("sessions").rng()));
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await.expect("nobody closes the semaphore");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = shutdown.wait() => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok(stream) => {
                let connection = serve_connection(stream, Arc::clone(&shop), shutdown.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(_about_that_connection) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listener);
    // Whoever is not answered by then is cut off with the process.
    let _ =
        tokio::time::timeout(STOP_GRACE, async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

async fn serve_connection(stream: BoxedStream, shop: Arc<Shop>, shutdown: Shutdown) {
    let service = service_fn(move |request| {
        let shop = Arc::clone(&shop);
        async move { Ok::<_, Infallible>(shop.answer(request).await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
    );
    // A connection that breaks concerns its client, who sees it.
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = shutdown.wait() => connection.as_mut().graceful_shutdown(),
    }
    let _ended = connection.await;
}

fn stop_on_signals(shutdown: &Shutdown) -> io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind)?;
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            signals.recv().await;
            shutdown.trigger();
        });
    }
    Ok(())
}

/// Returns when standard input closes, which it does when the process at its other end is gone, however that
/// came about. It occupies a thread of the runtime that only ends with standard input: shut the runtime down
/// without waiting for it.
pub(crate) async fn stdin_closed() {
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 64];
    while input.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
}
