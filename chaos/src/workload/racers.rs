//! Clients whose first requests of one session come at the same moment through all nodes.

use std::time::Duration;

use futures::future::join_all;
use rand::Rng;

use super::caller::Wanted;
use super::{Caller, Held, Scene};
use crate::identifier::Door;

/// Requests at one moment.
const AT_ONCE: u32 = 6;
/// Pause between two races, in milliseconds.
const PAUSE: std::ops::Range<u64> = 300..1500;

pub(super) async fn race(scene: Scene, number: u32) {
    let mut random = scene.seed.child(&format!("racer {number}")).rng();
    let mut callers: Vec<Caller> = (0..AT_ONCE).map(|_| Caller::new(&scene, number, None)).collect();
    for turn in 0_u32.. {
        if !scene.pause(Duration::from_millis(random.random_range(PAUSE))).await {
            return;
        }
        // An application takes up identifiers that it doesn't know; only what comes back later races.
        let door = if turn.is_multiple_of(2) { Door::Own } else { Door::Strict };
        let session = format!("race-{number}-{turn}");
        let nodes = scene.nodes.len();
        let requests = callers.iter_mut().enumerate().map(|(place, caller)| {
            caller.visit(Wanted {
                door,
                session: &session,
                value: Some(&session),
                fresh: true,
                first: place % nodes,
            })
        });
        let answers = join_all(requests).await;
        if answers.iter().any(Option::is_some) {
            scene.board.put(Held { door, value: session.clone(), session }, &mut random);
        }
    }
}
