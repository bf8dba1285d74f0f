//! Clients with carts: they begin sessions, come back to them, and change the node now and then.

use std::time::Duration;

use rand::Rng;

use super::caller::Wanted;
use super::{Caller, Held, Scene};
use crate::identifier::Door;

/// The doors behind which carts are.
const DOORS: [Door; 4] = [Door::Own, Door::Token, Door::Header, Door::Strict];
/// How many in a hundred go on with a session that somebody began before.
const RETURN: u32 = 70;
/// How many in a hundred requests go to another node than the one before.
const WANDER: u32 = 20;
/// Requests before the client goes on to another session.
const REQUESTS: std::ops::Range<u32> = 2..10;
/// Pause between two requests, in milliseconds.
const THINK: std::ops::Range<u64> = 60..500;

pub(super) async fn shop(scene: Scene, number: u32) {
    let mut random = scene.seed.child(&format!("shopper {number}")).rng();
    let mut caller = Caller::new(&scene, number, None);
    let mut at = random.random_range(0..scene.nodes.len());
    for turn in 0_u32.. {
        let returns = random.random_ratio(RETURN, 100);
        let mut held = returns.then(|| scene.board.take(&mut random)).flatten();
        let door = held.as_ref().map_or(DOORS[random.random_range(0..DOORS.len())], |held| held.door);
        let session =
            held.as_ref().map_or_else(|| format!("cart-{number}-{turn}"), |held| held.session.clone());
        for _ in 0..random.random_range(REQUESTS) {
            if !scene.pause(Duration::from_millis(random.random_range(THINK))).await {
                break;
            }
            if random.random_ratio(WANDER, 100) {
                at = random.random_range(0..scene.nodes.len());
            }
            let chosen = door.is_by_header().then_some(session.as_str());
            let value = held.as_ref().map(|held| held.value.as_str()).or(chosen);
            let wanted = Wanted { door, session: &session, value, fresh: held.is_none(), first: at };
            let Some(answer) = caller.visit(wanted).await else { continue };
            let now_held = answer.revealed.or_else(|| value.map(str::to_owned));
            held = now_held.map(|value| Held { door, session: session.clone(), value });
            if held.is_none() {
                // The identifier was held back: the client is a new one next time.
                break;
            }
        }
        caller.disconnect();
        if let Some(held) = held {
            scene.board.put(held, &mut random);
        }
        if scene.stop.is_triggered() {
            return;
        }
    }
}
