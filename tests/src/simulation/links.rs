//! The links of the simulated network, each broken by one fault at a time.

use std::collections::BTreeSet;

use turmoil::Sim;

/// Two hosts, in the order of their names.
type Pair = (String, String);

/// Which links are broken now.
#[derive(Default)]
pub struct Links {
    broken: BTreeSet<Pair>,
}

/// What is done to links, and how it is undone.
#[derive(Clone, Debug)]
pub struct Broken {
    pairs: Vec<Pair>,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Cut,
    CutOneWay { reverse: bool },
    Held,
}

fn pair(one: &str, other: &str) -> Pair {
    if one < other { (one.to_owned(), other.to_owned()) } else { (other.to_owned(), one.to_owned()) }
}

impl Links {
    /// Drops everything between `host` and each of `others`.
    pub fn cut(&mut self, sim: &Sim<'_>, host: &str, others: &[String]) -> Broken {
        let pairs = self.take(host, others);
        for (one, other) in &pairs {
            sim.partition(one.as_str(), other.as_str());
        }
        Broken { pairs, how: How::Cut }
    }

    /// Drops everything from one host to another, but not the other way.
    pub fn cut_one_way(&mut self, sim: &Sim<'_>, from: &str, to: &str) -> Broken {
        let pairs = self.take(from, &[to.to_owned()]);
        if !pairs.is_empty() {
            sim.partition_oneway(from, to);
        }
        Broken { pairs, how: How::CutOneWay { reverse: from > to } }
    }

    /// Holds back everything between `host` and each of `others`, as if `host` stood still.
    pub fn hold(&mut self, sim: &Sim<'_>, host: &str, others: &[String]) -> Broken {
        let pairs = self.take(host, others);
        for (one, other) in &pairs {
            sim.hold(one.as_str(), other.as_str());
        }
        Broken { pairs, how: How::Held }
    }

    /// Undoes it. What was held back arrives, what was dropped is lost.
    pub fn mend(&mut self, sim: &Sim<'_>, broken: &Broken) {
        for (one, other) in &broken.pairs {
            self.broken.remove(&pair(one, other));
            match broken.how {
                How::Cut => sim.repair(one.as_str(), other.as_str()),
                How::CutOneWay { reverse: false } => sim.repair_oneway(one.as_str(), other.as_str()),
                How::CutOneWay { reverse: true } => sim.repair_oneway(other.as_str(), one.as_str()),
                How::Held => sim.release(one.as_str(), other.as_str()),
            }
        }
    }

    /// Those of the links that no other fault has broken.
    fn take(&mut self, host: &str, others: &[String]) -> Vec<Pair> {
        let wanted = others.iter().filter(|other| *other != host).map(|other| pair(host, other));
        wanted.filter(|link| self.broken.insert(link.clone())).collect()
    }
}
