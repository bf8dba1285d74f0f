//! A link in user space: accepts connections in the place of a node or a backend, knows by their source address
//! who made them, and passes bytes on as the two ways' conditions say.
//!
//! What is dropped is kept and passed on when the way is open again, as TCP does it for whoever waits long
//! enough; both sides have time-outs of their own.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use socket2::SockRef;
use stickler_rt::{Clock, Moment, Seed};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::{Condition, End};

/// Bytes that are read at once.
const PIECE: usize = 32 * 1024;

/// Pieces that wait on one way of one connection; whoever sends more has to wait.
const PIECES: usize = 64;

/// How late a lost piece is: the least time after which TCP sends again.
const SENT_AGAIN: Duration = Duration::from_millis(200);

/// Pause after a connection could not be accepted, since that is mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// The source address of a node's connections.
pub(crate) fn source_of(node: u64) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 10 + u8::try_from(node).unwrap_or(0))
}

/// The links of a cluster. Dropping this ends them and every connection through them.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// What happens on them.
    pub ways: Ways,
    links: Vec<(Link, Option<JoinHandle<()>>)>,
}

impl Drop for Links {
    fn drop(&mut self) {
        for accepting in self.links.iter().filter_map(|(_, accepting)| accepting.as_ref()) {
            accepting.abort();
        }
    }
}

/// By where a way begins and where it ends.
type Conditions = HashMap<(End, End), watch::Sender<Condition>>;

/// The condition of every way. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    conditions: Arc<Mutex<Conditions>>,
    fair_weather: watch::Sender<Condition>,
}

/// The condition of one way, as a connection on it sees it.
#[derive(Clone)]
struct Way {
    own: watch::Receiver<Condition>,
    /// What holds where the way itself is open, between nodes.
    fair_weather: Option<watch::Receiver<Condition>>,
}

impl Way {
    fn now(&self) -> Condition {
        let own = *self.own.borrow();
        match &self.fair_weather {
            Some(weather) if own == Condition::Open => *weather.borrow(),
            _ => own,
        }
    }

    /// Whoever sets the conditions may be gone: then the run is over.
    async fn passable(&mut self) {
        drop(self.own.wait_for(|condition| *condition != Condition::Dropped).await);
    }

    async fn cut(&mut self) {
        drop(self.own.wait_for(|condition| *condition == Condition::Cut).await);
    }
}

impl Ways {
    pub(super) fn set(&self, from: End, to: End, condition: Condition) {
        self.with(from, to, |sender| sender.send_replace(condition));
    }

    pub(super) fn set_fair_weather(&self, condition: Condition) {
        self.fair_weather.send_replace(condition);
    }

    fn watch(&self, from: End, to: End) -> Way {
        let between_nodes = matches!((from, to), (End::Node(_), End::Node(_)));
        Way {
            own: self.with(from, to, watch::Sender::subscribe),
            fair_weather: between_nodes.then(|| self.fair_weather.subscribe()),
        }
    }

    fn with<R>(&self, from: End, to: End, look: impl FnOnce(&watch::Sender<Condition>) -> R) -> R {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        look(conditions.entry((from, to)).or_default())
    }
}

impl Links {
    /// From now on connections to `listens` reach `target`, which is the end `to`, whenever that is open.
    pub(crate) fn join(
        &mut self,
        listens: SocketAddr,
        target: SocketAddr,
        to: End,
        clock: &Clock,
        seed: &Seed,
    ) {
        let ways = self.ways.clone();
        self.links.push((Link { listens, target, to, ways, clock: clock.clone(), seed: seed.clone() }, None));
    }

    /// What stands behind this end has been started: as soon as it listens, so do the links before it.
    pub(crate) fn open(&mut self, to: End) {
        for (link, accepting) in self.links.iter_mut().filter(|(link, _)| link.to == to) {
            accepting.get_or_insert_with(|| tokio::spawn(link.clone().listen()));
        }
    }

    /// What stands behind this end is dead: the links before it refuse connections as it does.
    pub(crate) async fn shut(&mut self, to: End) {
        for (_, accepting) in self.links.iter_mut().filter(|(link, _)| link.to == to) {
            if let Some(accepting) = accepting.take() {
                accepting.abort();
                drop(accepting.await);
            }
        }
    }
}

/// How often a link looks whether its end listens.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
struct Link {
    listens: SocketAddr,
    target: SocketAddr,
    to: End,
    ways: Ways,
    clock: Clock,
    seed: Seed,
}

impl Link {
    /// A link that accepts for an end that doesn't would look like one that breaks off.
    async fn listen(self) {
        loop {
            if TcpStream::connect(self.target).await.is_ok()
                && let Ok(listener) = TcpListener::bind(self.listens).await
            {
                return self.accept(listener).await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn accept(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, source)) => {
                    let link = self.clone();
                    // An end that goes away ends the connection, nothing else.
                    connections.spawn(async move { drop(link.pass(stream, source.ip()).await) });
                }
                Err(_about_that_connection) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    async fn pass(self, near: TcpStream, source: IpAddr) -> io::Result<()> {
        let from = end_of(source);
        let forward = self.ways.watch(from, self.to);
        let backward = self.ways.watch(self.to, from);
        let (mut forward_cut, mut backward_cut) = (forward.clone(), backward.clone());
        let cut = async {
            tokio::select! {
                () = forward_cut.cut() => {}
                () = backward_cut.cut() => {}
            }
        };
        tokio::select! {
            biased;
            () = cut => {
                // Gone at once, with what waits in it.
                SockRef::from(&near).set_linger(Some(Duration::ZERO))
            }
            passed = self.pass_both(&near, source, from, forward, backward) => passed,
        }
    }

    async fn pass_both(
        &self,
        near: &TcpStream,
        source: IpAddr,
        from: End,
        forward: Way,
        backward: Way,
    ) -> io::Result<()> {
        // Nobody connects to whom he can't hear.
        let (mut there, mut back) = (forward.clone(), backward.clone());
        there.passable().await;
        back.passable().await;
        let far = self.connect(source, from).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let random = |name| self.seed.child(name).rng();
        let one = pump(near, &far, forward, &self.clock, random("forward"));
        let other = pump(&far, near, backward, &self.clock, random("backward"));
        tokio::try_join!(one, other).map(|_| ())
    }

    /// Clients keep their source address, since a node may know them by it.
    async fn connect(&self, source: IpAddr, from: End) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if from == End::Clients {
            socket.bind((source, 0).into())?;
        }
        socket.connect(self.target).await
    }
}

fn end_of(source: IpAddr) -> End {
    match source {
        IpAddr::V4(address) if address.octets()[..3] == [127, 0, 0] && address.octets()[3] > 10 => {
            End::Node(u64::from(address.octets()[3] - 10))
        }
        _ => End::Clients,
    }
}

/// A piece and when it is due.
struct Piece {
    bytes: Vec<u8>,
    due: Moment,
}

/// Passes bytes on in one direction until they end or an end breaks.
async fn pump(from: &TcpStream, to: &TcpStream, way: Way, clock: &Clock, random: StdRng) -> io::Result<()> {
    let (pieces, arriving) = mpsc::channel(PIECES);
    let (read, written) =
        tokio::join!(take(from, way.clone(), clock, random, pieces), hand_over(to, way, clock, arriving));
    read.and(written)
}

async fn take(
    from: &TcpStream,
    way: Way,
    clock: &Clock,
    mut random: StdRng,
    pieces: mpsc::Sender<Piece>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        from.readable().await?;
        let length = match from.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let late = match way.now() {
            Condition::Slow { delay, .. } => delay,
            Condition::Lossy { percent } if random.random_ratio(u32::from(percent.min(100)), 100) => {
                SENT_AGAIN
            }
            _ => Duration::ZERO,
        };
        let piece = Piece { bytes: buffer[..length].to_vec(), due: clock.now() + late };
        if pieces.send(piece).await.is_err() {
            // The other side has ended.
            return Ok(());
        }
    }
}

async fn hand_over(
    to: &TcpStream,
    mut way: Way,
    clock: &Clock,
    mut pieces: mpsc::Receiver<Piece>,
) -> io::Result<()> {
    while let Some(Piece { bytes, due }) = pieces.recv().await {
        clock.sleep_until(due).await;
        way.passable().await;
        if let Condition::Slow { rate: Some(rate), .. } = way.now() {
            clock.sleep(Duration::from_secs_f64(bytes.len() as f64 / rate.max(1) as f64)).await;
        }
        write_all(to, &bytes).await?;
    }
    // The end is passed on as bytes are.
    way.passable().await;
    SockRef::from(to).shutdown(Shutdown::Write)
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SOON: Duration = Duration::from_secs(5);
    const A_WHILE: Duration = Duration::from_millis(100);

    /// A link to an echo, and a connection through it that comes from node 1.
    async fn connection() -> (Links, TcpStream) {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = echo.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = echo.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut links = Links::default();
        links.join(free, target, End::Node(2), &Clock::start(), &Seed::from_number(1));
        links.open(End::Node(2));
        (links, connect_as_node(1, free).await)
    }

    /// Connects as soon as somebody listens there.
    async fn connect_as_node(node: u64, to: SocketAddr) -> TcpStream {
        loop {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((source_of(node), 0).into()).unwrap();
            match socket.connect(to).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    async fn answer(stream: &mut TcpStream, patience: Duration) -> Option<io::Result<usize>> {
        tokio::time::timeout(patience, stream.read(&mut [0; 64])).await.ok()
    }

    #[tokio::test]
    async fn what_is_dropped_one_way_does_not_arrive_and_arrives_when_the_way_is_open_again() {
        let (links, mut stream) = connection().await;
        stream.write_all(b"one").await.unwrap();
        assert_eq!(answer(&mut stream, SOON).await.unwrap().unwrap(), 3);
        for (from, to) in [(End::Node(1), End::Node(2)), (End::Node(2), End::Node(1))] {
            links.ways.set(from, to, Condition::Dropped);
            stream.write_all(b"two").await.unwrap();
            assert!(answer(&mut stream, A_WHILE).await.is_none());
            links.ways.set(from, to, Condition::Open);
            assert_eq!(answer(&mut stream, SOON).await.unwrap().unwrap(), 3);
        }
        links.ways.set(End::Node(3), End::Node(2), Condition::Dropped);
        stream.write_all(b"another's way").await.unwrap();
        assert_eq!(answer(&mut stream, SOON).await.unwrap().unwrap(), 13);
    }

    #[tokio::test]
    async fn no_connection_is_made_while_either_way_is_dropped() {
        let (links, stream) = connection().await;
        links.ways.set(End::Node(2), End::Node(1), Condition::Dropped);
        let mut late = connect_as_node(1, stream.peer_addr().unwrap()).await;
        late.write_all(b"hello").await.unwrap();
        assert!(answer(&mut late, A_WHILE).await.is_none());
        links.ways.set(End::Node(2), End::Node(1), Condition::Open);
        assert_eq!(answer(&mut late, SOON).await.unwrap().unwrap(), 5);
    }

    #[tokio::test]
    async fn a_cut_ends_the_connection_at_once() {
        let (links, mut stream) = connection().await;
        stream.write_all(b"one").await.unwrap();
        answer(&mut stream, SOON).await.unwrap().unwrap();
        links.ways.set(End::Node(2), End::Node(1), Condition::Cut);
        let ended = answer(&mut stream, SOON).await.expect("an end");
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }

    #[tokio::test]
    async fn a_link_refuses_connections_while_its_end_is_dead() {
        let (mut links, stream) = connection().await;
        let place = stream.peer_addr().unwrap();
        links.shut(End::Node(2)).await;
        let refused = TcpStream::connect(place).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        links.open(End::Node(2));
        connect_as_node(1, place).await;
    }

    #[tokio::test]
    async fn a_slow_way_delays_and_does_not_lose() {
        let (links, mut stream) = connection().await;
        let slow = Condition::Slow { delay: A_WHILE * 2, rate: None };
        links.ways.set(End::Node(1), End::Node(2), slow);
        stream.write_all(b"late").await.unwrap();
        assert!(answer(&mut stream, A_WHILE).await.is_none());
        assert_eq!(answer(&mut stream, SOON).await.unwrap().unwrap(), 4);
    }
}
