//! What came of the races of one method.

use std::collections::BTreeSet;
use std::fmt;

use crate::statistics::{Durations, milliseconds};

/// What came of one client's race.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Raced {
    /// The client's identifier, as far as it came by one.
    pub identifier: String,
    /// The backend of the answer that gave it its identifier.
    pub began: Option<String>,
    /// Backends and epochs, of all answers since.
    pub places: BTreeSet<(String, u64)>,
    /// Things that its requests have put into its cart.
    pub put: u64,
    /// The fewest that were in the cart afterwards, through any node.
    pub found: u64,
    /// Requests that were not served, and how they ended.
    pub failures: Vec<String>,
}

/// All races of one method.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub keys: usize,
    pub splits: usize,
    pub lost_carts: usize,
    pub unserved: usize,
    /// Backends that got any of its sessions.
    pub backends: BTreeSet<String>,
    /// How long raced requests took through the delayed node, and through the others.
    pub delayed: Durations,
    pub prompt: Durations,
    /// What went wrong, for people.
    pub faults: Vec<String>,
}

impl Tally {
    /// Takes in one client's race.
    pub(super) fn add(&mut self, raced: Raced) {
        let Raced { identifier, began, places, put, found, failures } = raced;
        self.keys += 1;
        self.unserved += failures.len();
        let backends: BTreeSet<&String> = places.iter().map(|(backend, _)| backend).chain(&began).collect();
        if backends.len() > 1 || places.len() > 1 {
            self.splits += 1;
            self.faults.push(format!("{identifier} was split: began at {began:?}, then {places:?}"));
        } else if found < put {
            self.lost_carts += 1;
            self.faults.push(format!("{identifier}: a cart with {found} of {put} things"));
        }
        self.backends.extend(backends.into_iter().cloned());
        self.faults.extend(failures.into_iter().map(|failure| format!("{identifier}: {failure}")));
    }

    /// Takes in another's races of the same method.
    pub(super) fn join(&mut self, other: Self) {
        self.keys += other.keys;
        self.splits += other.splits;
        self.lost_carts += other.lost_carts;
        self.unserved += other.unserved;
        self.backends.extend(other.backends);
        self.delayed.extend(other.delayed);
        self.prompt.extend(other.prompt);
        self.faults.extend(other.faults);
    }

    /// Whether every client has one backend, one epoch and its cart.
    pub(super) fn held(&self, keys: usize) -> bool {
        (self.keys, self.splits, self.lost_carts, self.unserved) == (keys, 0, 0, 0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, splits, lost_carts, unserved, prompt, delayed, .. } = self;
        let (prompt, delayed) = (milliseconds(prompt.median()), milliseconds(delayed.median()));
        write!(
            f,
            "{keys} keys, {splits} splits, {lost_carts} lost carts, {unserved} unserved, {prompt} / {delayed}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raced(places: &[(&str, u64)], put: u64, found: u64) -> Raced {
        let places = places.iter().map(|(backend, epoch)| ((*backend).to_owned(), *epoch)).collect();
        Raced { identifier: "a".to_owned(), places, put, found, ..Raced::default() }
    }

    #[test]
    fn two_backends_and_two_epochs_are_a_split_and_a_thing_less_is_a_lost_cart() {
        for (raced, splits, lost_carts) in [
            (raced(&[("web-1", 7)], 13, 13), 0, 0),
            (raced(&[("web-1", 7), ("web-2", 7)], 13, 6), 1, 0),
            (raced(&[("web-1", 7), ("web-1", 8)], 13, 13), 1, 0),
            (raced(&[("web-1", 7)], 13, 12), 0, 1),
        ] {
            let mut tally = Tally::default();
            tally.add(raced);
            assert_eq!((tally.splits, tally.lost_carts), (splits, lost_carts));
            assert_eq!(tally.held(1), (splits, lost_carts) == (0, 0));
            assert_eq!(tally.faults.is_empty(), tally.held(1));
        }
    }

    #[test]
    fn a_session_that_leaves_the_backend_that_began_it_is_split() {
        let mut tally = Tally::default();
        tally.add(Raced { began: Some("web-2".to_owned()), ..raced(&[("web-1", 7)], 13, 13) });
        assert_eq!(tally.splits, 1);
    }

    #[test]
    fn a_request_that_was_not_served_is_no_success() {
        let mut tally = Tally::default();
        tally.add(Raced { failures: vec!["503".to_owned()], ..raced(&[("web-1", 7)], 13, 13) });
        assert!(!tally.held(1) && tally.faults.len() == 1);
    }
}
