//! The state hash (I9): two nodes at the same applied index have the same one.
//!
//! The hash over all records is a sum, so that it is kept incrementally and owes nothing to the order in
//! which a hash table yields them. Numbers are fed in little-endian order whatever the machine.

use std::hash::{Hash, Hasher};

use siphasher::sip128::{Hasher128, SipHasher24};

/// Wrapping sum of the hashes of all items that were added and not removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashSum(u128);

impl HashSum {
    /// Counts `item` in.
    pub fn add<T: Hash>(&mut self, item: &T) {
        self.0 = self.0.wrapping_add(digest(item));
    }

    /// Counts `item` out; it must have been added before.
    pub fn remove<T: Hash>(&mut self, item: &T) {
        self.0 = self.0.wrapping_sub(digest(item));
    }

    /// The sum as a number.
    #[must_use]
    pub const fn value(self) -> u128 {
        self.0
    }
}

/// A 128-bit hash of one item, the same on every machine and in every build.
pub fn digest<T: Hash>(item: &T) -> u128 {
    let mut hasher = PortableHasher(SipHasher24::new_with_keys(0x7374_6963_6b6c_6572, 0x7374_6174_6520_6831));
    item.hash(&mut hasher);
    hasher.0.finish128().as_u128()
}

/// SipHash fed in little-endian order; `std`'s default feeds numbers in the machine's own.
struct PortableHasher(SipHasher24);

macro_rules! little_endian {
    ($($write:ident: $number:ty),*) => {
        $(fn $write(&mut self, number: $number) {
            self.0.write(&number.to_le_bytes());
        })*
    };
}

impl Hasher for PortableHasher {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    little_endian!(write_u8: u8, write_u16: u16, write_u32: u32, write_u64: u64, write_u128: u128);
    little_endian!(write_i8: i8, write_i16: i16, write_i32: i32, write_i64: i64, write_i128: i128);

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_i64(number as i64);
    }
}
