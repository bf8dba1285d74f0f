//! Clients that are known by their address alone.

use std::net::Ipv4Addr;
use std::time::Duration;

use rand::Rng;

use super::caller::Wanted;
use super::{Caller, Scene};
use crate::identifier::Door;

/// Pause between two requests, in milliseconds.
const PAUSE: std::ops::Range<u64> = 100..900;

pub(super) async fn come_back(scene: Scene, number: u32, source: Ipv4Addr) {
    let mut random = scene.seed.child(&format!("source {number}")).rng();
    let mut caller = Caller::new(&scene, number, Some(source));
    let session = format!("from-{source}");
    let mut fresh = true;
    while scene.pause(Duration::from_millis(random.random_range(PAUSE))).await {
        let first = random.random_range(0..scene.nodes.len());
        let wanted = Wanted { door: Door::Source, session: &session, value: None, fresh, first };
        fresh &= caller.visit(wanted).await.is_none();
        if random.random_ratio(1, 5) {
            caller.disconnect();
        }
    }
}
