//! Sessions that are about to move: says to the cluster when none of their exchanges goes on here any more.
//!
//! From the moment at which a worker sees an announcement, the last look before the first byte lets no request of the
//! session pass (`core::routing::validate`). An exchange that passed before is among the open ones. So a session that is
//! not open at that moment stays quiet on this worker, and with all workers on this node.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use stickler_core::ids::{Epoch, LogIndex};
use stickler_core::state::{Command, Jobs, Quiet, SessionKey};
use stickler_raft::Cluster;
use stickler_rt::Moment;

use super::uses::OpenUses;

/// How often workers and the node look.
const LOOK: Duration = Duration::from_millis(25);

/// How long a report is worth proposing, and after which time it is made again while it is not in the state.
const PATIENCE: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(300);

/// One announcement of one epoch of a session.
type Announcement = (SessionKey, Epoch, LogIndex);

/// What the workers of a node say of announced sessions. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct QuietBoard {
    // Taken by each worker a few times a second while something is announced.
    board: Arc<Mutex<Board>>,
}

#[derive(Default)]
struct Board {
    workers: usize,
    /// How many workers have no exchange of the session.
    quiet: BTreeMap<Announcement, usize>,
}

impl QuietBoard {
    /// Starts the task that reports; it ends with the last clone.
    pub(super) fn start(cluster: Cluster) -> Self {
        let board = Self::default();
        tokio::spawn(report(Arc::downgrade(&board.board), cluster));
        board
    }

    /// Another worker takes part from here on.
    pub(super) fn join(&self) -> WorkerQuiet {
        self.open().workers += 1;
        WorkerQuiet { board: self.clone(), said: RefCell::default() }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn announcements(jobs: &Jobs) -> impl Iterator<Item = Announcement> {
    jobs.announced.iter().map(|(session, announced)| (*session, announced.epoch, announced.at))
}

/// One worker's part.
pub(super) struct WorkerQuiet {
    board: QuietBoard,
    said: RefCell<BTreeSet<Announcement>>,
}

impl WorkerQuiet {
    /// Looks again and again.
    pub(super) async fn watch(self, cluster: Cluster, open: Rc<OpenUses>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let jobs = Arc::clone(&cluster.view().jobs);
            let mut said = self.said.borrow_mut();
            if jobs.announced.is_empty() {
                said.clear();
                continue;
            }
            let now: BTreeSet<Announcement> = announcements(&jobs).collect();
            said.retain(|announcement| now.contains(announcement));
            let sessions = open.sessions();
            for announcement in now {
                if !sessions.contains(&announcement.0) && said.insert(announcement) {
                    *self.board.open().quiet.entry(announcement).or_default() += 1;
                }
            }
        }
    }
}

async fn report(board: Weak<Mutex<Board>>, cluster: Cluster) {
    let mut reported: BTreeMap<Announcement, Moment> = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(board) = board.upgrade() else { return };
        let now = cluster.outside().clock.now();
        // The view after the lock: no worker has said anything then of an announcement that is not in it.
        let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = Arc::clone(&cluster.view().jobs);
        if jobs.announced.is_empty() {
            board.quiet.clear();
            reported.clear();
            continue;
        }
        let is_announced = |(session, epoch, at): &Announcement| {
            jobs.announced.get(session).is_some_and(|it| (it.epoch, it.at) == (*epoch, *at))
        };
        board.quiet.retain(|announcement, _| is_announced(announcement));
        reported.retain(|announcement, _| is_announced(announcement));
        let node = cluster.node();
        let in_state = |session: &SessionKey| jobs.announced[session].quiet.contains(&node);
        let all = board.quiet.iter().filter(|(_, workers)| **workers >= board.workers).map(|(it, _)| *it);
        let due: Vec<Announcement> = all
            .filter(|announcement| !in_state(&announcement.0))
            .filter(|announcement| reported.get(announcement).is_none_or(|at| now.since(*at) >= AGAIN))
            .collect();
        drop(board);
        if !due.is_empty() {
            reported.extend(due.iter().map(|announcement| (*announcement, now)));
            let sessions = due.into_iter().map(|(session, epoch, _)| (session, epoch)).collect();
            cluster.submit(Command::Quiet(Quiet { node, sessions }), PATIENCE);
        }
    }
}
