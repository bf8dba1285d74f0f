//! The shop's memory: the only place where a cart exists. When the process ends, its carts are gone, which
//! is what makes it worth keeping a session on its backend.

use std::collections::{BTreeMap, HashMap};

use super::fence::Fence;

/// Carts that one shop keeps; the one that was not used for the longest time makes room for the next.
const MOST_CARTS: usize = 10_000;
/// Items of one cart.
pub(super) const MOST_ITEMS: usize = 500;
/// Characters of one item.
pub(super) const LONGEST_ITEM: usize = 64;

/// Every cart of this shop.
#[derive(Debug)]
pub(super) struct Carts {
    carts: HashMap<String, Cart>,
    /// The carts by their last use, so that the oldest is found without looking at all of them.
    by_use: BTreeMap<u64, String>,
    uses: u64,
    most: usize,
}

/// One visitor's cart.
#[derive(Debug, Default)]
pub(super) struct Cart {
    last_use: u64,
    /// Keeps requests from before a move away from this cart. It is forgotten with it.
    pub fence: Fence,
    items: BTreeMap<u64, String>,
}

/// Why an item was not added. The visitor has to change the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddError {
    /// An item has a name of a sensible length.
    #[error("an item has 1 to {LONGEST_ITEM} characters")]
    BadItem,
    /// The cart has as many items as it may have.
    #[error("the cart is full: it has {MOST_ITEMS} items")]
    FullCart,
}

impl Carts {
    pub fn new() -> Self {
        Self::with_room_for(MOST_CARTS)
    }

    fn with_room_for(most: usize) -> Self {
        Self { carts: HashMap::new(), by_use: BTreeMap::new(), uses: 0, most }
    }

    pub fn contains(&self, session: &str) -> bool {
        self.carts.contains_key(session)
    }

    /// The cart of this session; an empty one when there was none.
    pub fn open(&mut self, session: &str) -> &mut Cart {
        if !self.contains(session) && self.carts.len() >= self.most {
            self.forget_oldest();
        }
        self.uses += 1;
        let cart = self.carts.entry(session.to_owned()).or_default();
        self.by_use.remove(&cart.last_use);
        self.by_use.insert(self.uses, session.to_owned());
        cart.last_use = self.uses;
        cart
    }

    fn forget_oldest(&mut self) {
        if let Some((_, session)) = self.by_use.pop_first() {
            self.carts.remove(&session);
        }
    }
}

impl Cart {
    /// The items with their numbers, by number.
    pub fn items(&self) -> impl ExactSizeIterator<Item = (u64, &str)> {
        self.items.iter().map(|(number, item)| (*number, item.as_str()))
    }

    /// Adds an item. The number is the visitor's name for this very addition: a number that is there already
    /// changes nothing, so that a request whose answer was lost can be sent again. Without a number the item
    /// gets the next one.
    pub fn add(&mut self, number: Option<u64>, item: &str) -> Result<(), AddError> {
        if item.is_empty() || item.chars().count() > LONGEST_ITEM {
            return Err(AddError::BadItem);
        }
        let next = self.items.last_key_value().map_or(1, |(last, _)| last.saturating_add(1));
        let number = number.unwrap_or(next);
        if self.items.contains_key(&number) {
            return Ok(());
        }
        if self.items.len() >= MOST_ITEMS {
            return Err(AddError::FullCart);
        }
        self.items.insert(number, item.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(cart: &Cart) -> Vec<(u64, &str)> {
        cart.items().collect()
    }

    #[test]
    fn an_addition_that_is_sent_again_counts_once() {
        let mut carts = Carts::new();
        let cart = carts.open("a");
        cart.add(Some(7), "tea").unwrap();
        cart.add(Some(7), "tea").unwrap();
        cart.add(None, "bread").unwrap();
        assert_eq!(items(cart), [(7, "tea"), (8, "bread")]);
    }

    #[test]
    fn the_cart_that_was_not_used_for_longest_makes_room() {
        let mut carts = Carts::with_room_for(2);
        for session in ["a", "b", "a", "c"] {
            carts.open(session);
        }
        assert!(carts.contains("a") && carts.contains("c"));
        assert!(!carts.contains("b"));
        assert_eq!(carts.by_use.len(), 2);
    }

    #[test]
    fn a_cart_and_an_item_have_an_end() {
        let mut carts = Carts::new();
        let cart = carts.open("a");
        assert_eq!(cart.add(None, ""), Err(AddError::BadItem));
        assert_eq!(cart.add(None, &"x".repeat(LONGEST_ITEM + 1)), Err(AddError::BadItem));
        for _ in 0..MOST_ITEMS {
            cart.add(None, "x").unwrap();
        }
        assert_eq!(cart.add(None, "x"), Err(AddError::FullCart));
        // what is there already may be sent again, however full the cart is
        assert_eq!(cart.add(Some(1), "x"), Ok(()));
    }
}
