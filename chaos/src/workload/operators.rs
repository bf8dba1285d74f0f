//! Operators at work: they look, they drain, they put backends in maint and take them back, they end and move
//! sessions.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use stickler_proto::admin::Session;

use super::Scene;
use crate::history::event::{Event, Operation, OperationResult, Wish};
use crate::rig::admin::{Admin, AdminError};

/// Pause between two wishes, in milliseconds.
const PAUSE: std::ops::Range<u64> = 700..2500;
/// How long a backend is kept out, in milliseconds.
const OUT: std::ops::Range<u64> = 1500..6000;
/// Pause before a wish that was not granted is repeated.
const AGAIN: Duration = Duration::from_millis(500);
/// Sessions that are listed at once.
const LISTED: u64 = 40;
/// Sessions that are ended by rule in a second.
const RATE: u32 = 200;
/// How long the last backend is tried to be made ready again when the run ends.
const LAST_TRIES: usize = 60;

struct Operator {
    scene: Scene,
    admins: Vec<Admin>,
    random: StdRng,
}

pub(super) async fn operate(scene: Scene, admins: Vec<Admin>, backends: Vec<String>) {
    let random = scene.seed.child("operators").rng();
    let mut operator = Operator { scene: scene.clone(), admins, random };
    loop {
        let pause = Duration::from_millis(operator.random.random_range(PAUSE));
        if !scene.pause(pause).await {
            return;
        }
        let backend = backends[operator.random.random_range(0..backends.len())].clone();
        match operator.random.random_range(0..20) {
            0..=6 => operator.look().await,
            7..=10 => operator.end_some_session().await,
            11..=13 => operator.move_some_session(&backend).await,
            14 => operator.end_by_rule(&backend).await,
            15..=17 => operator.keep_out(&backend, "drain").await,
            _ => operator.keep_out(&backend, "maint").await,
        }
    }
}

impl Operator {
    /// Carries out a wish through some node, and writes down what came of it.
    async fn ask<T>(
        &mut self,
        wish: Wish,
        ask: impl AsyncFnOnce(&mut Admin) -> Result<T, AdminError>,
    ) -> Option<T> {
        let place = self.random.random_range(0..self.admins.len());
        let node = self.scene.nodes[place].0;
        let began = self.scene.recorder.now();
        let asked = ask(&mut self.admins[place]).await;
        let ended = self.scene.recorder.now();
        let (result, said) = match &asked {
            Ok(_) => (OperationResult::Done, String::new()),
            Err(error) if error.is_refusal() => (OperationResult::Refused, error.to_string()),
            Err(error) => (OperationResult::Unknown, error.to_string()),
        };
        self.scene.recorder.write(&Event::Operation(Operation { node, began, ended, wish, result, said }));
        asked.ok()
    }

    async fn look(&mut self) {
        let wish = Wish::Look { what: "backends and sessions".to_owned() };
        let listed = self.ask(wish, async |admin| {
            admin.backends().await?;
            admin.some_sessions(LISTED).await
        });
        let Some(session) = listed.await.unwrap_or_default().pop() else { return };
        let wish = Wish::Look { what: format!("session {}", session.key) };
        self.ask(wish, async |admin| admin.show_session(&session.affinity, &session.key).await).await;
    }

    async fn some_session(&mut self) -> Option<Session> {
        let wish = Wish::Look { what: "sessions".to_owned() };
        let listed =
            self.ask(wish, async |admin| admin.some_sessions(LISTED).await).await.unwrap_or_default();
        (!listed.is_empty()).then(|| listed[self.random.random_range(0..listed.len())].clone())
    }

    async fn end_some_session(&mut self) {
        let Some(session) = self.some_session().await else { return };
        let wish = Wish::Unbind { key: session.key.clone(), epoch: session.epoch };
        self.ask(wish, async |admin| admin.unbind(&session.affinity, &session.key, session.epoch).await)
            .await;
    }

    async fn move_some_session(&mut self, to: &str) {
        let Some(session) = self.some_session().await else { return };
        let Session { affinity, key, epoch, .. } = session;
        let wish = Wish::Move { key: key.clone(), epoch, to: to.to_owned() };
        self.ask(wish, async |admin| admin.move_session((&affinity, &key, epoch), to).await).await;
    }

    /// All that are what some session is, on one backend.
    async fn end_by_rule(&mut self, backend: &str) {
        let Some(Session { affinity, .. }) = self.some_session().await else { return };
        let wish = Wish::UnbindByRule { affinity: affinity.clone(), backend: backend.to_owned() };
        self.ask(wish, async |admin| admin.unbind_by_rule(&affinity, backend, RATE).await).await;
    }

    async fn keep_out(&mut self, backend: &str, admin_state: &str) {
        self.set(backend, admin_state).await;
        let out = Duration::from_millis(self.random.random_range(OUT));
        self.scene.pause(out).await;
        let mut tries = 0;
        while self.set(backend, "ready").await.is_none() {
            tries += 1;
            if self.scene.stop.is_triggered() && tries > LAST_TRIES {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn set(&mut self, backend: &str, admin_state: &str) -> Option<u64> {
        let wish = Wish::SetBackend { backend: backend.to_owned(), admin: admin_state.to_owned() };
        self.ask(wish, async |admin| admin.set_backend(backend, admin_state).await).await
    }
}
