//! A recording, gone through operation by operation. After each, the power is cut in several ways, a store is
//! opened on what is left, and what it holds is compared with what had been acknowledged.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use stickler_rt::Clock;
use tempfile::TempDir;

use super::disk::{Disk, PowerCut};
use super::journal::Record;
use super::stage;
use crate::found::Found;
use crate::ledger::Ledger;

/// How many ways of tearing are tried at each prefix.
const TEARS: u64 = 2;
const THREADS: usize = 2;
/// After so many losses a thread stops.
const LOSSES: usize = 10;

/// What was gone through, and what was lost.
#[derive(Debug, Default)]
pub struct Report {
    pub prefixes: usize,
    /// States that were compared with what had been acknowledged: one for each prefix and cut.
    pub judged: usize,
    /// Stores that were opened, by cut. A state that is byte by byte the one before isn't opened again.
    pub opened: BTreeMap<&'static str, usize>,
    pub losses: Vec<String>,
    pub acknowledged: u64,
    pub seconds: u64,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { prefixes, judged, opened, acknowledged, seconds, .. } = self;
        write!(f, "{prefixes} prefixes, {judged} states judged, opened {opened:?}, ")?;
        write!(f, "up to {acknowledged} entries acknowledged, {seconds} s")
    }
}

/// How many operations a recording has, by kind.
pub fn operations(records: &[Record]) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    for record in records {
        if let Record::Operation(operation) = record {
            *kinds.entry(operation.kind()).or_default() += 1;
        }
    }
    kinds
}

/// Replays the prefixes with so many operations.
pub fn replay(records: &[Record], prefixes: Range<usize>) -> Report {
    let clock = Clock::start();
    let begin = clock.now();
    let share = prefixes.len().div_ceil(THREADS).max(1);
    let shares: Vec<_> =
        prefixes.clone().step_by(share).map(|from| from..(from + share).min(prefixes.end)).collect();
    let mut report = thread::scope(|scope| {
        let threads: Vec<_> =
            shares.into_iter().map(|share| scope.spawn(|| Replay::new(share).run(records))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(Report::default(), Report::and)
    });
    report.seconds = (clock.now().0 - begin.0).as_secs();
    report
}

impl Report {
    fn and(mut self, other: Self) -> Self {
        self.prefixes += other.prefixes;
        self.judged += other.judged;
        for (kind, count) in other.opened {
            *self.opened.entry(kind).or_default() += count;
        }
        self.losses.extend(other.losses);
        self.acknowledged = self.acknowledged.max(other.acknowledged);
        self
    }
}

/// What was opened: the version of the disk's state, and what was found in it.
type Opened = Option<(u64, Result<Found, String>)>;

/// One thread's part.
struct Replay {
    prefixes: Range<usize>,
    stage: TempDir,
    runtime: tokio::runtime::Runtime,
    disk: Disk,
    ledger: Ledger,
    written: Opened,
    durable: Opened,
    report: Report,
}

impl Replay {
    fn new(prefixes: Range<usize>) -> Self {
        Self {
            prefixes,
            stage: stage::folder(),
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            disk: Disk::new(),
            ledger: Ledger::default(),
            written: None,
            durable: None,
            report: Report::default(),
        }
    }

    fn run(mut self, records: &[Record]) -> Report {
        let mut done = 0;
        for record in records {
            // Right before the next change: whatever was acknowledged up to here counts.
            if matches!(record, Record::Operation(_) | Record::PowerCut(_)) {
                self.examine(done);
            }
            match record {
                Record::Found { path, inode } => self.disk.found(path, *inode),
                Record::Operation(operation) => {
                    self.disk.apply(operation);
                    done += 1;
                }
                Record::Mark(text) => text.lines().for_each(|event| self.ledger.note(event)),
                Record::PowerCut(cut) => self.disk = self.disk.after(*cut),
                Record::RangePushed => {}
            }
            if done >= self.prefixes.end || self.report.losses.len() >= LOSSES {
                return self.report;
            }
        }
        self.examine(done);
        self.report
    }

    /// Cuts the power in every way.
    fn examine(&mut self, done: usize) {
        if !self.prefixes.contains(&done) {
            return;
        }
        self.report.prefixes += 1;
        self.report.acknowledged = self.ledger.acknowledged();
        let (written, durable) = (self.disk.written_version, self.disk.durable_version);
        if self.written.as_ref().is_none_or(|(version, _)| *version != written) {
            self.written = Some((written, self.open(PowerCut::KeepsAll)));
        }
        if self.durable.as_ref().is_none_or(|(version, _)| *version != durable) {
            self.durable = Some((durable, self.open(PowerCut::KeepsSynced)));
        }
        for (cut, opened) in
            [(PowerCut::KeepsAll, self.written.take()), (PowerCut::KeepsSynced, self.durable.take())]
        {
            let (version, found) = opened.unwrap();
            self.judge(done, cut, &found);
            match cut {
                PowerCut::KeepsAll => self.written = Some((version, found)),
                _ => self.durable = Some((version, found)),
            }
        }
        // Where all is durable there is nothing to tear.
        for tear in 0..if self.disk.has_pending() { TEARS } else { 0 } {
            let cut = PowerCut::Tears(done as u64 * TEARS + tear);
            let found = self.open(cut);
            self.judge(done, cut, &found);
        }
    }

    fn open(&mut self, cut: PowerCut) -> Result<Found, String> {
        let kind = match cut {
            PowerCut::KeepsAll => "all written",
            PowerCut::KeepsSynced => "only synced",
            PowerCut::Tears(_) => "torn",
        };
        *self.report.opened.entry(kind).or_default() += 1;
        let folder = self.stage.path();
        stage::set(folder, &self.disk.image(cut)).unwrap();
        catch_unwind(AssertUnwindSafe(|| self.runtime.block_on(Found::open(&folder.join("data")))))
            .unwrap_or_else(|_| Err("the store panicked".to_owned()))
    }

    fn judge(&mut self, done: usize, cut: PowerCut, found: &Result<Found, String>) {
        self.report.judged += 1;
        let judged = found.as_ref().map_err(Clone::clone).and_then(|found| self.ledger.judge(found));
        if let Err(loss) = judged {
            self.report.losses.push(format!("after {done} operations, a cut that {cut:?}: {loss}"));
        }
    }
}
