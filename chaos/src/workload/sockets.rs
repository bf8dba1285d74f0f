//! Clients that keep a WebSocket open, send messages over it, and open another when it was closed. Beside it they
//! ask for their session in the usual way, so that a move is seen.

use std::time::Duration;

use rand::Rng;

use super::caller::{Wanted, outcome};
use super::{Caller, Scene};
use crate::history::event::{Attempt, Echo, Event, Visit};
use crate::identifier::Door;
use crate::rig::client::{Answer, Client, OpenSocket};

/// Pause between two messages, in milliseconds.
const PAUSE: std::ops::Range<u64> = 150..500;
/// How many in a hundred messages are followed by a usual request.
const LOOK: u32 = 25;

pub(super) async fn keep_open(scene: Scene, number: u32) {
    let mut random = scene.seed.child(&format!("socket {number}")).rng();
    let mut beside = Caller::new(&scene, number, None);
    let session = format!("socket-{number}");
    let mut fresh = true;
    let mut first = random.random_range(0..scene.nodes.len());
    while scene.pause(Duration::from_millis(random.random_range(PAUSE))).await {
        let Some(mut open) = open(&scene, number, &session, fresh, first).await else { continue };
        fresh = false;
        while scene.pause(Duration::from_millis(random.random_range(PAUSE))).await {
            let began = scene.recorder.now();
            let Some(backend) = open.socket.echo(scene.patience).await else { break };
            let (ended, session) = (scene.recorder.now(), session.clone());
            let Open { node, epoch, .. } = open;
            scene.recorder.write(&Event::Echo(Echo {
                client: number,
                session,
                node,
                began,
                ended,
                backend,
                epoch,
            }));
            if random.random_ratio(LOOK, 100) {
                let (door, first) = (Door::Socket, random.random_range(0..scene.nodes.len()));
                let session = format!("socket-{number}");
                let value = Some(session.as_str());
                beside.visit(Wanted { door, session: &session, value, fresh: false, first }).await;
            }
        }
        first += 1;
    }
}

/// An open WebSocket.
struct Open {
    node: u64,
    epoch: u64,
    socket: OpenSocket,
}

/// Asks one node after the other, each once, to open it.
async fn open(scene: &Scene, number: u32, session: &str, fresh: bool, first: usize) -> Option<Open> {
    let mut attempts = Vec::new();
    let mut opened = None;
    for turn in 0..scene.nodes.len() {
        let (node, address) = scene.nodes[(first + turn) % scene.nodes.len()];
        let began = scene.recorder.now();
        let mut client = Client::new(&scene.outside, address).with_patience(scene.patience);
        let (answer, socket) = client.open_socket(session).await;
        let ended = scene.recorder.now();
        attempts.push(Attempt { node, began, ended, outcome: outcome(&answer) });
        let epoch = answer.ok().as_ref().and_then(|answer: &Answer| answer.epoch).unwrap_or(0);
        opened = socket.map(|socket| Open { node, epoch, socket });
        if opened.is_some() {
            break;
        }
    }
    let (door, session) = (Door::Socket, session.to_owned());
    scene.recorder.write(&Event::Visit(Visit { client: number, door, session, fresh, attempts }));
    opened
}
