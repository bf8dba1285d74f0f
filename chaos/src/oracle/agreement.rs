//! I1: for one session and epoch there is one backend, for whoever is asked.

use std::collections::{HashMap, HashSet};

use super::observation::Observation;
use super::verdict::{Promise, Violation};
use crate::history::History;

/// Two backends of one epoch, wherever they were seen: in answers, at backends, in replicas.
pub(super) fn check(history: &History, observations: &[&Observation<'_>]) -> Vec<Violation> {
    let mut seen = Seen::default();
    for observation in observations {
        let Observation { session, backend, epoch, key, span, .. } = observation;
        seen.take((session, *epoch), session, backend, span.until);
        if let Some(key) = key {
            seen.take((key, *epoch), session, backend, span.until);
        }
    }
    for sighting in &history.sightings {
        seen.take((&sighting.key, sighting.epoch), &sighting.key, &sighting.backend, sighting.at);
    }
    for replica in &history.replicas {
        for listed in &replica.sessions {
            seen.take((&listed.key, listed.epoch), &listed.key, &listed.backend, replica.at);
        }
    }
    seen.violations
}

#[derive(Default)]
struct Seen<'a> {
    /// By session or key, and epoch: the first backend.
    backends: HashMap<(&'a str, u64), &'a str>,
    /// Session, epoch and backend of what was found, since a session is known by its name and by its key.
    found: HashSet<(String, u64, &'a str)>,
    violations: Vec<Violation>,
}

impl<'a> Seen<'a> {
    fn take(&mut self, of: (&'a str, u64), session: &str, backend: &'a str, at: u64) {
        let first = *self.backends.entry(of).or_insert(backend);
        if first != backend && self.found.insert((session.to_owned(), of.1, backend)) {
            let what = format!("epoch {} is at {first} and at {backend}", of.1);
            self.violations.push(Violation {
                promise: Promise::Agreement,
                session: session.to_owned(),
                at,
                what,
            });
        }
    }
}
