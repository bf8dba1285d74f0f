//! What a client of a store knows from its events, and what must therefore be found after a power cut.

use std::collections::BTreeMap;

use crate::found::Found;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Index and term of every entry that was acknowledged and not taken back.
    entries: BTreeMap<u64, u64>,
    /// Which terms an index may have: those it was appended with and that are not known to be taken back.
    terms: BTreeMap<u64, Vec<u64>>,
    cluster: Option<u64>,
    vote: u64,
    purged: u64,
    incarnation: u64,
    /// How many entries the newest finished snapshot covers.
    covered: usize,
}

impl Ledger {
    /// How many entries are known to be acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Takes an event: what is about to be asked for, or what was acknowledged.
    pub fn note(&mut self, event: &str) {
        let (what, numbers) = event.split_once(' ').unwrap();
        let numbers: Vec<u64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
        match (what, &numbers[..]) {
            ("started", &[incarnation]) => self.incarnation = incarnation,
            ("joined", &[cluster]) => self.cluster = Some(cluster),
            ("appending", &[term, first, last]) => {
                (first..=last).for_each(|index| self.terms.entry(index).or_default().push(term));
            }
            ("appended", &[term, first, last]) => {
                self.entries.extend((first..=last).map(|index| (index, term)));
            }
            ("voted", &[term]) => self.vote = term,
            ("truncating", &[first]) => drop(self.entries.split_off(&first)),
            ("truncated", &[first]) => drop(self.terms.split_off(&first)),
            ("purging", &[upto]) => self.purged = upto,
            ("covered", &[entries]) => self.covered = usize::try_from(entries).unwrap(),
            _ => panic!("unknown event {event:?}"),
        }
    }

    /// Says what is lost or was never there.
    pub fn judge(&self, found: &Found) -> Result<(), String> {
        if found.incarnation <= self.incarnation {
            return Err(format!("incarnation {} comes again", found.incarnation));
        }
        if self.cluster.is_some() && found.cluster != self.cluster {
            return Err(format!("the cluster is {:?} instead of {:?}", found.cluster, self.cluster));
        }
        if found.vote < self.vote {
            return Err(format!("the vote of term {} is lost, {} is there", self.vote, found.vote));
        }
        let first = found.first;
        if first > self.purged + 1 {
            return Err(format!("purged before {first}, but only up to {} was asked for", self.purged));
        }
        let covered = found.snapshot.len();
        if covered < self.covered {
            return Err(format!("the snapshot of {} entries is lost, {covered} are covered", self.covered));
        }
        if first > covered as u64 {
            return Err(format!("nothing leads from the snapshot of {covered} entries to entry {first}"));
        }
        self.judge_entries(found)
    }

    fn judge_entries(&self, found: &Found) -> Result<(), String> {
        for (&index, &term) in &self.entries {
            let in_snapshot = found.snapshot.get(usize::try_from(index).unwrap());
            if in_snapshot.is_some_and(|found| *found != term) {
                return Err(format!("entry {index} of term {term} is another one in the snapshot"));
            }
            let in_log = found.entries.get(&index);
            if in_log.is_some_and(|found| *found != term) || (in_log.is_none() && index >= found.first) {
                return Err(format!("entry {index} of term {term} is lost, {in_log:?} is in the log"));
            }
            // Before the log's first entry there is the snapshot, which covers all of it.
        }
        for (index, term) in &found.entries {
            if !self.terms.get(index).is_some_and(|terms| terms.contains(term)) {
                return Err(format!("entry {index} of term {term} was never asked for, or taken back"));
            }
        }
        Ok(())
    }
}
