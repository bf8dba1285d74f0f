//! What goes on in a cluster while it is broken: shoppers, races, addresses, WebSockets, operators, and somebody
//! who looks at the nodes. All of it goes into the history.

mod board;
mod caller;
mod observer;
mod operators;
mod racers;
mod shoppers;
mod sockets;
mod sources;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use stickler_rt::{Outside, Seed, Shutdown};
use tokio::task::JoinSet;

use crate::history::recorder::Recorder;
use crate::rig::admin::Admin;

pub(crate) use board::{Board, Held};
pub(crate) use caller::{Caller, Wanted};
pub(crate) use observer::look_at;

/// What everybody in a run needs.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// Connections and time.
    pub outside: Outside,
    /// Where everything is written.
    pub recorder: Recorder,
    /// The nodes' ids, and where clients reach them.
    pub nodes: Vec<(u64, SocketAddr)>,
    /// Sessions that nobody holds at the moment.
    pub board: Arc<Board>,
    /// Everything that is chosen follows from this.
    pub seed: Seed,
    /// Ends the workload.
    pub stop: Shutdown,
    /// Longest wait for one node's answer.
    pub patience: Duration,
}

impl Scene {
    /// Waits so long, or until the workload ends; false when it does.
    pub(crate) async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.wait() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

/// How many of each there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    /// Clients with carts: cookies and headers.
    pub shoppers: u32,
    /// Groups of clients whose first requests of one session race.
    pub racers: u32,
    /// Clients that are known by their address.
    pub sources: u32,
    /// Clients that keep WebSockets open.
    pub sockets: u32,
}

/// The workload. Dropping this ends it without asking.
#[derive(Debug)]
pub(crate) struct Workload {
    stop: Shutdown,
    tasks: JoinSet<()>,
}

impl Workload {
    /// Starts the clients. `source` gives the address of the client with some number; operators use `admins`.
    pub(crate) fn start(
        scene: &Scene,
        crowd: Crowd,
        source: fn(u8) -> Ipv4Addr,
        admins: &[Admin],
        backends: &[String],
    ) -> Self {
        let mut tasks = JoinSet::new();
        let mut number = 0;
        let mut next = || {
            number += 1;
            number
        };
        for _ in 0..crowd.shoppers {
            tasks.spawn(shoppers::shop(scene.clone(), next()));
        }
        for _ in 0..crowd.racers {
            tasks.spawn(racers::race(scene.clone(), next()));
        }
        for _ in 0..crowd.sources {
            let number = next();
            let address = source(u8::try_from(number % 250).unwrap_or(0));
            tasks.spawn(sources::come_back(scene.clone(), number, address));
        }
        for _ in 0..crowd.sockets {
            tasks.spawn(sockets::keep_open(scene.clone(), next()));
        }
        if !admins.is_empty() {
            tasks.spawn(operators::operate(scene.clone(), admins.to_vec(), backends.to_vec()));
        }
        Self { stop: scene.stop.clone(), tasks }
    }

    /// Ends it, and waits until everybody has put down what came of their last request. How many of the parts
    /// ended by a panic: none, or the verdict means nothing.
    pub(crate) async fn stop(mut self) -> usize {
        self.stop.trigger();
        let mut panicked = 0;
        while let Some(ended) = self.tasks.join_next().await {
            panicked += usize::from(ended.is_err());
        }
        panicked
    }
}
