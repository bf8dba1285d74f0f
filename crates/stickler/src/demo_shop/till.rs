//! The till: orders that all shops of one house keep together, as applications keep them in one database. It is
//! what fencing protects: a shop that was overtaken can still reach it, and must not write into it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::fence::{Claim, Fence, Overtaken};

/// Orders of one session.
pub(super) const MOST_ORDERS: usize = 100;
/// Sessions whose orders are kept; the one that was not used for the longest time makes room for the next.
const MOST_ACCOUNTS: usize = 1000;
/// The version of an account's file.
const VERSION: u32 = 1;
/// Whoever holds this file's lock may read and write accounts.
const LOCK: &str = "lock";

/// A directory with a file for each session that has ordered something. Files are replaced, never changed, so
/// that a shop that is killed while it writes leaves the one or the other.
#[derive(Clone, Debug)]
pub(super) struct Till {
    directory: PathBuf,
    most_accounts: usize,
}

/// One order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// The visitor's name for it, so that it can be sent again.
    pub number: u64,
    /// The shop that took it.
    pub backend: String,
    /// The epoch by which it came.
    pub epoch: u64,
    /// What was ordered.
    pub items: Vec<String>,
}

/// What the till knows of one session.
#[derive(Debug, Serialize, Deserialize)]
struct Account {
    version: u32,
    fence: Fence,
    orders: Vec<Order>,
}

/// Why the till did not do it. Nothing has happened.
#[derive(Debug, thiserror::Error)]
pub(super) enum TillError {
    #[error(transparent)]
    Overtaken(#[from] Overtaken),
    /// The visitor has to make do with what was ordered.
    #[error("a session has at most {MOST_ORDERS} orders")]
    Full,
    /// Look at the till's directory.
    #[error("the till can't be used: {0}")]
    Unusable(#[from] io::Error),
    /// Another program writes into the till's directory, or a newer one.
    #[error("the till holds something that is no account: {0}")]
    Unreadable(String),
}

impl Till {
    /// The till in this directory, which is made when it is not there.
    pub fn open(directory: &Path) -> io::Result<Self> {
        Self::with_room_for(directory, MOST_ACCOUNTS)
    }

    fn with_room_for(directory: &Path, most_accounts: usize) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_owned(), most_accounts })
    }

    /// The session's orders. Waits for whoever uses the till now.
    pub fn orders(&self, claim: &Claim) -> Result<Vec<Order>, TillError> {
        self.use_account(claim, |_| Ok(()))
    }

    /// Takes an order, and says what was ordered so far. A number that is there already changes nothing; without
    /// one, the order gets the next. Waits for whoever uses the till now.
    pub fn order(
        &self,
        claim: &Claim,
        number: Option<u64>,
        backend: &str,
        items: Vec<String>,
    ) -> Result<Vec<Order>, TillError> {
        self.use_account(claim, |orders| {
            let next = orders.iter().map(|order| order.number).max().map_or(1, |last| last.saturating_add(1));
            let number = number.unwrap_or(next);
            if orders.iter().any(|known| known.number == number) {
                return Ok(());
            }
            if orders.len() >= MOST_ORDERS {
                return Err(TillError::Full);
            }
            orders.push(Order { number, backend: backend.to_owned(), epoch: claim.epoch, items });
            Ok(())
        })
    }

    /// The check and what it allows are one step: nobody else is at the till from the first line to the last.
    fn use_account(
        &self,
        claim: &Claim,
        what: impl FnOnce(&mut Vec<Order>) -> Result<(), TillError>,
    ) -> Result<Vec<Order>, TillError> {
        let lock = File::create(self.directory.join(LOCK))?;
        lock.lock()?;
        let path = self.directory.join(&claim.handle);
        let mut account = self.read(&path)?;
        account.fence.pass(claim.epoch)?;
        what(&mut account.orders)?;
        let text = serde_json::to_vec(&account).map_err(io::Error::from)?;
        let new = path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(&new, &path)?;
        Ok(account.orders)
    }

    fn read(&self, path: &Path) -> Result<Account, TillError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_room()?;
                return Ok(Account { version: VERSION, fence: Fence::default(), orders: Vec::new() });
            }
            Err(error) => return Err(error.into()),
        };
        let unreadable = |why: String| TillError::Unreadable(format!("{}: {why}", path.display()));
        let account: Account =
            serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if account.version == VERSION { Ok(account) } else { Err(unreadable("another version".to_owned())) }
    }

    fn make_room(&self) -> io::Result<()> {
        let mut accounts: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name() != LOCK {
                accounts.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        accounts.sort();
        let too_many = (accounts.len() + 1).saturating_sub(self.most_accounts);
        accounts.iter().take(too_many).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(handle: u8, epoch: u64) -> Claim {
        Claim { handle: format!("{handle:032x}"), epoch }
    }

    fn order(till: &Till, claim: &Claim, number: Option<u64>) -> Result<Vec<Order>, TillError> {
        till.order(claim, number, "web-1", vec!["tea".to_owned()])
    }

    #[test]
    fn a_shop_that_was_overtaken_neither_writes_nor_reads_and_goes_on_when_the_session_is_back() {
        let directory = tempfile::tempdir().unwrap();
        let [old, new] = [0, 1].map(|_| Till::open(directory.path()).unwrap());
        order(&old, &claim(1, 3), None).unwrap();
        assert_eq!(new.orders(&claim(1, 8)).unwrap().len(), 1);
        let late = order(&old, &claim(1, 3), None);
        assert!(matches!(late, Err(TillError::Overtaken(_))), "{late:?}");
        assert!(matches!(old.orders(&claim(1, 3)), Err(TillError::Overtaken(_))));
        // Another session's epochs are no concern of this one's.
        order(&old, &claim(2, 4), None).unwrap();
        // The session moves back.
        let orders = order(&old, &claim(1, 9), None).unwrap();
        assert_eq!(
            orders.iter().map(|order| (order.number, order.epoch)).collect::<Vec<_>>(),
            [(1, 3), (2, 9)]
        );
    }

    #[test]
    fn shops_that_order_at_the_same_moment_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for shop in 0..4 {
                let till = Till::open(directory.path()).unwrap();
                scope.spawn(move || {
                    for number in 0..25 {
                        order(&till, &claim(1, 5), Some(shop * 25 + number)).unwrap();
                    }
                });
            }
        });
        let till = Till::open(directory.path()).unwrap();
        assert_eq!(till.orders(&claim(1, 5)).unwrap().len(), MOST_ORDERS);
        assert!(matches!(order(&till, &claim(1, 5), Some(100)), Err(TillError::Full)));
        assert_eq!(order(&till, &claim(1, 5), Some(7)).unwrap().len(), MOST_ORDERS, "it is there");
    }

    #[test]
    fn the_account_that_was_not_used_for_longest_makes_room() {
        let directory = tempfile::tempdir().unwrap();
        let till = Till::with_room_for(directory.path(), 2).unwrap();
        for session in [1, 2, 1, 3] {
            till.orders(&claim(session, 1)).unwrap();
            // The file system's clock ticks more slowly than this test.
            let path = directory.path().join(&claim(session, 1).handle);
            let before = fs::metadata(&path).unwrap().modified().unwrap();
            while fs::metadata(&path).unwrap().modified().unwrap() == before {
                till.orders(&claim(session, 1)).unwrap();
            }
        }
        let kept = [1, 2, 3].map(|session| directory.path().join(claim(session, 1).handle).exists());
        assert_eq!(kept, [true, false, true]);
    }

    #[test]
    fn a_file_that_is_no_account_is_named_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let till = Till::open(directory.path()).unwrap();
        let path = directory.path().join(&claim(1, 1).handle);
        fs::write(&path, "{\"version\":2,\"fence\":1,\"orders\":[]}").unwrap();
        let refused = till.orders(&claim(1, 1)).unwrap_err();
        assert!(refused.to_string().contains(path.to_str().unwrap()), "{refused}");
        assert!(fs::read_to_string(&path).unwrap().contains("\"version\":2"));
    }
}
