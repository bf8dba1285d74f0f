//! The links of the simulated network, each broken by one fault at a time.

use std::collections::BTreeMap;

use turmoil::Sim;

/// Two hosts, in the order of their names.
type Pair = (String, String);

/// Which links are broken now, and how.
#[derive(Default)]
pub struct Links {
    broken: BTreeMap<Pair, How>,
}

/// Links that a fault has broken.
#[derive(Clone, Debug, Default)]
pub struct Broken(Vec<Pair>);

#[derive(Clone, Copy, Debug)]
enum How {
    Cut,
    CutOneWay { reverse: bool },
    Held,
}

fn pair(one: &str, other: &str) -> Pair {
    if one < other { (one.to_owned(), other.to_owned()) } else { (other.to_owned(), one.to_owned()) }
}

impl Broken {
    /// Takes those of another one in.
    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

impl Links {
    /// Drops everything between `host` and each of `others`.
    pub fn cut(&mut self, sim: &Sim<'_>, host: &str, others: &[String]) -> Broken {
        let broken = self.take(host, others, How::Cut);
        for (one, other) in &broken.0 {
            sim.partition(one.as_str(), other.as_str());
        }
        broken
    }

    /// Drops everything from one host to another, but not the other way.
    pub fn cut_one_way(&mut self, sim: &Sim<'_>, from: &str, to: &str) -> Broken {
        let broken = self.take(from, &[to.to_owned()], How::CutOneWay { reverse: from > to });
        if !broken.0.is_empty() {
            sim.partition_oneway(from, to);
        }
        broken
    }

    /// Holds back everything between `host` and each of `others`, as if `host` stood still.
    pub fn hold(&mut self, sim: &Sim<'_>, host: &str, others: &[String]) -> Broken {
        let broken = self.take(host, others, How::Held);
        for (one, other) in &broken.0 {
            sim.hold(one.as_str(), other.as_str());
        }
        broken
    }

    /// Undoes it. What was held back arrives, what was dropped is lost.
    pub fn mend(&mut self, sim: &Sim<'_>, broken: &Broken) {
        for (one, other) in &broken.0 {
            match self.broken.remove(&pair(one, other)) {
                Some(How::Cut) => sim.repair(one.as_str(), other.as_str()),
                Some(How::CutOneWay { reverse: false }) => sim.repair_oneway(one.as_str(), other.as_str()),
                Some(How::CutOneWay { reverse: true }) => sim.repair_oneway(other.as_str(), one.as_str()),
                Some(How::Held) => sim.release(one.as_str(), other.as_str()),
                None => {}
            }
        }
    }

    /// Undoes everything.
    pub fn mend_all(&mut self, sim: &Sim<'_>) {
        let all = Broken(self.broken.keys().cloned().collect());
        self.mend(sim, &all);
    }

    /// Those of the links that no other fault has broken.
    fn take(&mut self, host: &str, others: &[String], how: How) -> Broken {
        let mut broken = Broken::default();
        for link in others.iter().filter(|other| *other != host).map(|other| pair(host, other)) {
            if !self.broken.contains_key(&link) {
                self.broken.insert(link.clone(), how);
                broken.0.push(link);
            }
        }
        broken
    }
}
