//! Shoppers: each puts things into its cart through one node after the other, and looks whether all of them are there.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use stickler_rt::{Seed, Shutdown};
use tokio::task::JoinSet;

use super::connections::Connections;
use super::tally::{Session, Tally};
use crate::identifier::SESSION_HEADER;
use crate::rig::backend::{ANSWER, CART};
use crate::scenario::ScenarioError;
use crate::scenario::front::Front;

/// The answer that ends a session has it, where the affinity says so.
const LOGOUT: &str = "x-logout";

/// How shoppers go about it.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// Where they go.
    pub(super) path: &'static str,
    /// Pause of each between two requests, in milliseconds.
    pub(super) pause: Range<u64>,
    /// How long each session lasts, in milliseconds; another one begins when it is over. Without it each goes on for ever.
    pub(super) lasts: Option<Range<u64>>,
}

/// Shoppers who go on until they are told to stop. Dropping this ends them.
pub(super) struct Shoppers {
    stop: Shutdown,
    coming: JoinSet<Tally>,
}

impl Shoppers {
    /// Has so many come, each with a session at any time.
    pub(super) fn start(front: &Front, count: usize, manner: &Manner, seed: &Seed) -> Self {
        let stop = Shutdown::new();
        let connections = Arc::new(Connections::to(front.clone()));
        let mut coming = JoinSet::new();
        for number in 0..count {
            let shopper = Shopper {
                number,
                begun: 0,
                turn: number,
                manner: manner.clone(),
                front: front.clone(),
                connections: Arc::clone(&connections),
                random: seed.child(&format!("shopper {number}")).rng(),
                tally: Tally::default(),
            };
            // Spread over the longest pause: what comes all at once comes rarely.
            let first = Duration::from_millis(manner.pause.end).mul_f64(number as f64 / count as f64);
            coming.spawn(shopper.go_on(first, stop.clone()));
        }
        Self { stop, coming }
    }

    /// What they were told until they stopped.
    pub(super) async fn stop(mut self) -> Result<Tally, ScenarioError> {
        self.stop.trigger();
        let mut all = Tally::default();
        while let Some(tally) = self.coming.join_next().await {
            all.join(tally?);
        }
        Ok(all)
    }
}

struct Shopper {
    number: usize,
    /// Sessions so far.
    begun: usize,
    /// The node that is asked next, counted round.
    turn: usize,
    manner: Manner,
    front: Front,
    connections: Arc<Connections>,
    random: StdRng,
    tally: Tally,
}

impl Shopper {
    async fn go_on(mut self, first: Duration, stop: Shutdown) -> Tally {
        tokio::select! {
            biased;
            () = stop.wait() => {}
            () = tokio::time::sleep(first) => {}
        }
        // The next session begins as soon as one is over.
        while !stop.is_triggered() {
            self.have_session(&stop).await;
        }
        self.tally
    }

    async fn have_session(&mut self, stop: &Shutdown) {
        self.begun += 1;
        let mut session = Session::called(format!("shopper-{}-{}", self.number, self.begun));
        let began = self.front.now();
        let lasts = self.manner.lasts.clone().map(|lasts| self.draw(lasts));
        loop {
            let left = lasts.map(|lasts| lasts.saturating_sub(self.front.now().since(began)));
            let over = left == Some(Duration::ZERO);
            self.put(&mut session, over).await;
            if over {
                break;
            }
            let pause = self.draw(self.manner.pause.clone()).min(left.unwrap_or(Duration::MAX));
            tokio::select! {
                biased;
                () = stop.wait() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.tally.end(&session);
    }

    fn draw(&mut self, milliseconds: Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(milliseconds))
    }

    async fn put(&mut self, session: &mut Session, leaving: bool) {
        let identifier = &session.identifier;
        let mut headers = vec![(SESSION_HEADER, identifier.clone()), (CART, identifier.clone())];
        let logout = format!("{ANSWER}{LOGOUT}");
        if leaving {
            headers.push((logout.as_str(), "yes".to_owned()));
        }
        let asked = self.connections.ask(self.turn, self.manner.path, &headers).await;
        self.turn += 1;
        self.tally.take(session, asked, leaving);
    }
}
