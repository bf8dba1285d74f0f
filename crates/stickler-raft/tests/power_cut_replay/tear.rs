//! Which part of what was pending a power cut leaves.
//!
//! The disk may write pending bytes in any order, a sector at a time. Two pending writes to one sector meet in
//! the page cache, though: the later one can't be overwritten by the earlier. So every order comes down to
//! this: of each write some sectors arrive, and they are laid down in the order of the program.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{Change, NameChange};

/// What a disk writes whole.
const SECTOR: usize = 512;

/// See the module.
pub struct Tear {
    random: StdRng,
    /// The disk kept the order, and stopped in the middle.
    in_order: bool,
    /// How likely a change arrived, if the disk didn't keep the order.
    kept: f64,
}

/// What arrived of a write.
enum Arrived {
    All,
    Sectors,
    Nothing,
}

impl Tear {
    pub fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let in_order = random.random_bool(0.25);
        let kept = [0.15, 0.5, 0.85][random.random_range(0..3)];
        Self { random, in_order, kept }
    }

    /// A directory's names.
    pub fn names(
        &mut self,
        durable: &BTreeMap<String, usize>,
        pending: &[NameChange],
    ) -> BTreeMap<String, usize> {
        let mut names = durable.clone();
        let stop = self.random.random_range(0..=pending.len());
        for (place, change) in pending.iter().enumerate() {
            if if self.in_order { place < stop } else { self.random.random_bool(self.kept) } {
                change.apply(&mut names);
            }
        }
        names
    }

    /// A file's content.
    pub fn content(&mut self, durable: &[u8], written: &[u8], pending: &[Change]) -> Vec<u8> {
        let mut content = durable.to_vec();
        let stop = self.random.random_range(0..=pending.len());
        for (place, change) in pending.iter().enumerate() {
            match self.arrived(place, stop) {
                Arrived::All => change.apply(&mut content),
                Arrived::Sectors => self.apply_sectors(change, &mut content),
                Arrived::Nothing => {}
            }
        }
        // The size may be there before the bytes are.
        if content.len() < written.len() && self.random.random_bool(0.25) {
            content.resize(written.len(), 0);
        }
        content
    }

    fn arrived(&mut self, place: usize, stop: usize) -> Arrived {
        if self.in_order {
            return match place.cmp(&stop) {
                std::cmp::Ordering::Less => Arrived::All,
                std::cmp::Ordering::Equal => Arrived::Sectors,
                std::cmp::Ordering::Greater => Arrived::Nothing,
            };
        }
        match (self.random.random_bool(self.kept), self.random.random_bool(0.3)) {
            (_, true) => Arrived::Sectors,
            (true, false) => Arrived::All,
            (false, false) => Arrived::Nothing,
        }
    }

    /// The first sectors of a write, the last ones, or any.
    fn apply_sectors(&mut self, change: &Change, content: &mut Vec<u8>) {
        let Change::Write { offset, bytes } = change else { return };
        let sectors: Vec<Range<usize>> = sectors(*offset, bytes.len()).collect();
        let cut = self.random.random_range(0..=sectors.len());
        let shape = self.random.random_range(0..3);
        for (place, sector) in sectors.into_iter().enumerate() {
            let arrived = match shape {
                0 => place < cut,
                1 => place >= cut,
                _ => self.random.random_bool(0.5),
            };
            if arrived {
                let bytes = bytes[sector.start - offset..sector.end - offset].into();
                Change::Write { offset: sector.start, bytes }.apply(content);
            }
        }
    }
}

/// A range of a file, cut at the borders of sectors.
fn sectors(offset: usize, length: usize) -> impl Iterator<Item = Range<usize>> {
    let end = offset + length;
    (offset / SECTOR..end.div_ceil(SECTOR))
        .map(move |sector| (sector * SECTOR).max(offset)..((sector + 1) * SECTOR).min(end))
}
