//! What stands between nodes and a shop: sees the head of every request, and can let connections wait.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Connections that wait to be accepted, as usual.
const BACKLOG: i32 = 1024;
/// A connection that is not there by then waits: on loopback it takes no time.
const AT_ONCE: Duration = Duration::from_millis(200);

/// The tap before one shop.
pub struct Tap {
    /// Where it accepts nodes.
    pub address: SocketAddr,
    shop: SocketAddr,
    listener: Arc<TcpListener>,
    accepting: JoinHandle<()>,
    heads: Arc<Mutex<Vec<Head>>>,
    fillers: Vec<TcpStream>,
}

/// The head of a request that a node has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub path: String,
    pub epoch: Option<u64>,
}

impl Tap {
    pub async fn before(shop: SocketAddr) -> Self {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let heads = Arc::default();
        let accepting = accept(Arc::clone(&listener), shop, Arc::clone(&heads));
        let address = listener.local_addr().unwrap();
        Self { address, shop, listener, accepting, heads, fillers: Vec::new() }
    }

    /// The heads of all requests of sessions so far.
    pub fn heads(&self) -> Vec<Head> {
        let heads = self.heads.lock().unwrap();
        heads.iter().filter(|head| head.path != "/health").cloned().collect()
    }

    /// From now on no connection is made: the queue of those that wait to be accepted is full, and the kernel
    /// does not answer. Connections that are there go on.
    pub async fn hold(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
        self.listen(0);
        while let Ok(filler) = tokio::time::timeout(AT_ONCE, TcpStream::connect(self.address)).await {
            self.fillers.push(filler.unwrap());
        }
    }

    /// Makes connections again, those that wait first.
    pub fn release(&mut self) {
        self.listen(BACKLOG);
        self.fillers.clear();
        self.accepting = accept(Arc::clone(&self.listener), self.shop, Arc::clone(&self.heads));
    }

    fn listen(&self, backlog: i32) {
        socket2::SockRef::from(&*self.listener).listen(backlog).unwrap();
    }

    /// How many connections this process waits for here.
    pub fn waiting(&self, pid: u32) -> usize {
        const SYN_SENT: &str = "02";
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let sockets: BTreeSet<String> = links
            .filter_map(|link| {
                Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
            })
            .collect();
        let here = format!(":{:04X}", self.address.port());
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // Remote address, state, and inode.
        fields
            .filter(|field| field[2].ends_with(&here) && field[3] == SYN_SENT && sockets.contains(field[9]))
            .count()
    }
}

fn accept(listener: Arc<TcpListener>, shop: SocketAddr, heads: Arc<Mutex<Vec<Head>>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((node, _)) = listener.accept().await {
            tokio::spawn(relay(node, shop, Arc::clone(&heads)));
        }
    })
}

/// Passes everything on, both ways, until one of them ends.
async fn relay(mut node: TcpStream, shop: SocketAddr, heads: Arc<Mutex<Vec<Head>>>) {
    let Ok(mut shop) = TcpStream::connect(shop).await else { return };
    let (mut from_node, mut to_node) = node.split();
    let (mut from_shop, mut to_shop) = shop.split();
    let requests = async {
        let mut reader = Reader::default();
        let mut piece = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from_node.read(&mut piece).await {
            // Noted before the shop can answer it.
            heads.lock().unwrap().extend(reader.read(&piece[..read]));
            if to_shop.write_all(&piece[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        _ended = tokio::io::copy(&mut from_shop, &mut to_node) => {}
    }
}

/// Finds heads in what a node sends, whose bodies all have a known length.
#[derive(Default)]
struct Reader {
    unread: Vec<u8>,
    of_body: usize,
}

impl Reader {
    fn read(&mut self, piece: &[u8]) -> Vec<Head> {
        self.unread.extend_from_slice(piece);
        let mut heads = Vec::new();
        loop {
            let body = self.of_body.min(self.unread.len());
            self.unread.drain(..body);
            self.of_body -= body;
            let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") else { return heads };
            let head = String::from_utf8(self.unread.drain(..end + 4).collect()).unwrap();
            let value = |name: &str| {
                head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse::<u64>().ok())
            };
            self.of_body = value("content-length").map_or(0, |length| usize::try_from(length).unwrap());
            let path = head.split(' ').nth(1).unwrap().to_owned();
            heads.push(Head { path, epoch: value("stickler-epoch") });
        }
    }
}
