//! Carts, as an application keeps them that also lets go of them: each backend has its own in its memory, and a shelf
//! that all of them reach holds what was exported.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a backend is told that a session is about to move.
pub(crate) const EXPORT: &str = "/export";

/// What was exported. All backends of a rig take from it what they don't have themselves.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    shelved: Mutex<Shelved>,
}

#[derive(Debug, Default)]
struct Shelved {
    /// How many things are in each cart.
    items: HashMap<String, u64>,
    /// How often an export was asked for, by its idempotency key.
    told: BTreeMap<String, u32>,
}

impl Shelf {
    /// How often an export was asked for so far, by its idempotency key.
    pub(crate) fn told(&self) -> BTreeMap<String, u32> {
        self.shelved.lock().unwrap_or_else(PoisonError::into_inner).told.clone()
    }

    fn note(&self, key: &str) {
        let mut shelved = self.shelved.lock().unwrap_or_else(PoisonError::into_inner);
        *shelved.told.entry(key.to_owned()).or_default() += 1;
    }

    fn put(&self, cart: String, items: u64) {
        self.shelved.lock().unwrap_or_else(PoisonError::into_inner).items.insert(cart, items);
    }

    fn take(&self, cart: &str) -> Option<u64> {
        self.shelved.lock().unwrap_or_else(PoisonError::into_inner).items.remove(cart)
    }
}

/// The carts that one backend has.
#[derive(Debug)]
pub(super) struct Carts {
    mine: Mutex<Mine>,
    shelf: Arc<Shelf>,
}

#[derive(Debug, Default)]
struct Mine {
    /// How many things are in each cart.
    items: HashMap<String, u64>,
    /// The cart of each session, by the session's handle.
    of_session: HashMap<String, String>,
}

impl Carts {
    pub(super) fn beside(shelf: Arc<Shelf>) -> Self {
        Self { mine: Mutex::default(), shelf }
    }

    /// Puts a thing into a cart, which may be new: how many there are now.
    pub(super) fn put(&self, cart: &str, session: Option<&str>) -> u64 {
        let mut mine = self.mine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = session {
            mine.of_session.insert(session.to_owned(), cart.to_owned());
        }
        let items =
            mine.items.entry(cart.to_owned()).or_insert_with(|| self.shelf.take(cart).unwrap_or_default());
        *items += 1;
        *items
    }

    /// Puts what a session has on the shelf. Whether the same was asked for before makes no difference: the session may
    /// have been used since.
    pub(super) fn export(&self, session: &str, key: &str) {
        self.shelf.note(key);
        let mut mine = self.mine.lock().unwrap_or_else(PoisonError::into_inner);
        let cart = mine.of_session.remove(session);
        if let Some((cart, items)) = cart.and_then(|cart| mine.items.remove_entry(&cart)) {
            self.shelf.put(cart, items);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_backend_goes_on_with_what_was_exported_and_with_nothing_else() {
        let shelf = Arc::new(Shelf::default());
        let (old, new) = (Carts::beside(Arc::clone(&shelf)), Carts::beside(Arc::clone(&shelf)));
        assert_eq!((old.put("a", Some("1")), old.put("a", Some("1"))), (1, 2));
        assert_eq!(old.put("b", Some("2")), 1);
        old.export("1", "first");
        assert_eq!((new.put("a", Some("1")), new.put("b", Some("2"))), (3, 1));
        // The old one has it no more, and what was taken from the shelf is not there twice.
        assert_eq!(old.put("a", Some("1")), 1);
    }

    #[test]
    fn who_is_told_again_exports_what_was_put_in_since() {
        let shelf = Arc::new(Shelf::default());
        let carts = Carts::beside(Arc::clone(&shelf));
        carts.put("a", Some("1"));
        carts.export("1", "same");
        assert_eq!(carts.put("a", Some("1")), 2);
        carts.export("1", "same");
        assert_eq!(Carts::beside(Arc::clone(&shelf)).put("a", Some("1")), 3);
        assert_eq!(shelf.told(), BTreeMap::from([("same".to_owned(), 2)]));
    }
}
