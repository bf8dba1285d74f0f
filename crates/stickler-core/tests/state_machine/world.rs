use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stickler_core::ids::{AffinityId, BackendId, ClusterId, Incarnation, KeyHash, LogIndex, NodeId};
use stickler_core::secrets::KeptSecret;
use stickler_core::state::{
    Batch, Bind, BindOutcome, Binding, Command, Finding, Found, Origin, Outcome, RebindOutcome, Record,
    Report, SessionKey, Stamp, State, UnbindOutcome, View,
};
use stickler_core::time::ClusterTime;

use crate::proposals::answer;
use crate::steps::{Action, Step};

/// The shortest `ended_memory` of all documents; every bind's deadline keeps to it.
pub const SHORTEST_MEMORY: Duration = Duration::from_secs(1);

/// What a log index holds.
#[derive(Clone, Debug)]
pub enum Entry {
    Batch(Batch),
    Voters(BTreeSet<NodeId>),
}

/// Applies one entry.
pub fn feed(state: &mut State, index: LogIndex, entry: &Entry) -> Vec<Outcome> {
    match entry {
        Entry::Batch(batch) => state.apply(index, batch),
        Entry::Voters(voters) => {
            state.advance(index);
            state.set_voters(voters.clone());
            Vec::new()
        }
    }
}

/// Applies the steps of a case one by one, and has each checked.
pub fn run(shape: u16, steps: &[Step], mut check: impl FnMut(&World, &Applied)) {
    let mut world = World::new(shape);
    for step in steps {
        if let Some(applied) = world.step(step) {
            check(&world, &applied);
        }
    }
}

/// Every record of a view.
pub fn records(view: &View) -> BTreeMap<SessionKey, Record> {
    let mut records = BTreeMap::new();
    view.table.visit(|session, record| {
        assert!(records.insert(*session, *record).is_none(), "a record was visited twice");
        true
    });
    records
}

/// The live binding of a key in its own right.
pub fn live(records: &BTreeMap<SessionKey, Record>, session: SessionKey) -> Option<Binding> {
    match records.get(&session) {
        Some(Record::Binding(binding)) => Some(*binding),
        _ => None,
    }
}

/// How many bindings a backend has by the records themselves.
pub fn count(records: &BTreeMap<SessionKey, Record>, of: impl Fn(&SessionKey, &Binding) -> bool) -> u64 {
    let counted = |(session, record): &(&SessionKey, &Record)| matches!(record, Record::Binding(binding) if of(session, binding));
    records.iter().filter(counted).count() as u64
}

/// One entry that was applied, and the state on both sides of it.
pub struct Applied {
    pub index: LogIndex,
    pub entry: Entry,
    pub outcomes: Vec<Outcome>,
    pub view_before: View,
    pub before: BTreeMap<SessionKey, Record>,
    pub view: View,
    pub after: BTreeMap<SessionKey, Record>,
    /// The command is an earlier one that had its effect already.
    pub spent: bool,
}

/// A state and its log.
pub struct World {
    pub state: State,
    pub log: Vec<(LogIndex, Entry)>,
    pub(crate) time: u64,
    pub(crate) stable: u64,
    pub(crate) sequence: u64,
    /// Every affinity and backend that ever was.
    pub(crate) affinities: Vec<AffinityId>,
    pub(crate) backends: Vec<BackendId>,
    /// Single commands, and whether they had their effect.
    commands: Vec<(Command, bool)>,
}

impl World {
    /// Three voters, a document, every backend up.
    pub fn new(shape: u16) -> Self {
        let mut world = Self {
            state: State::new(),
            log: Vec::new(),
            time: 0,
            stable: 0,
            sequence: 0,
            affinities: Vec::new(),
            backends: Vec::new(),
            commands: Vec::new(),
        };
        let found = Found {
            cluster: ClusterId(7),
            hash_key: KeptSecret::clear(&[1; 16]),
            sealing_secret: KeptSecret::clear(&[2; 32]),
        };
        world.apply(Entry::Voters((1..=3).map(NodeId).collect()));
        world.commands(vec![Command::Found(found)]);
        world.command(&Action::Apply { shape, removal: 0, wrong: false }).into_iter().for_each(|command| {
            world.commands(vec![command]);
        });
        for backend in world.backends.clone() {
            world.verdict(backend, true);
        }
        world
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        self.time += u64::try_from(time.as_millis()).expect("tests are short");
        self.stable = self.log.len() as u64;
    }

    pub fn time(&self) -> ClusterTime {
        ClusterTime(self.time)
    }

    pub fn seen(&self) -> LogIndex {
        LogIndex(self.log.len() as u64)
    }

    pub fn backend(&self, number: usize) -> BackendId {
        self.backends[number]
    }

    pub fn session(&self, key: u128) -> SessionKey {
        SessionKey {
            affinity: *self.state.view().catalog.affinities.last().expect("cart"),
            key: KeyHash(key),
        }
    }

    pub fn bind(&self, session: SessionKey, origin: Origin) -> Command {
        Command::Bind(Bind { session, origin, seen: self.seen(), deadline: self.time() + SHORTEST_MEMORY })
    }

    pub fn place(&self, session: SessionKey, candidate: Option<BackendId>) -> Command {
        self.bind(session, Origin::Place { pool: self.state.view().catalog.pools[0], candidate })
    }

    pub fn verdict(&mut self, backend: BackendId, up: bool) -> Applied {
        let voters = self.state.view().catalog.voters.clone();
        let reports = voters.into_iter().map(|node| self.report(node, backend, up)).collect();
        self.commands(reports)
    }

    pub fn report(&mut self, node: NodeId, backend: BackendId, up: bool) -> Command {
        self.find(node, backend, Finding::plain(up))
    }

    /// A node's report of more than up and down.
    pub fn find(&mut self, node: NodeId, backend: BackendId, finding: Finding) -> Command {
        self.sequence += 1;
        Command::Report(Report {
            node,
            incarnation: Incarnation(1),
            sequence: self.sequence,
            backend,
            finding,
        })
    }

    /// The same report by every voter.
    pub fn all_find(&mut self, backend: BackendId, finding: &Finding) -> Vec<Command> {
        let voters = self.state.view().catalog.voters.clone();
        voters.into_iter().map(|node| self.find(node, backend, finding.clone())).collect()
    }

    /// Applies a membership.
    pub fn voters(&mut self, voters: BTreeSet<NodeId>) -> Applied {
        self.apply(Entry::Voters(voters))
    }

    /// Applies commands as one entry, under an honest stamp.
    pub fn commands(&mut self, commands: Vec<Command>) -> Applied {
        let stamp = Stamp { time: self.time(), stable: LogIndex(self.stable), wall: 5 };
        self.apply(Entry::Batch(Batch { stamp, commands }))
    }

    /// Applies one step; `None` when there is nothing that it could mean.
    pub fn step(&mut self, step: &Step) -> Option<Applied> {
        self.time += u64::from(step.elapsed);
        self.stable = self.stable.max((self.log.len() as u64).saturating_sub(u64::from(step.unstable)));
        if let Action::Voters { nodes } = step.action {
            let voters = (1..=4).filter(|node| nodes >> (node - 1) & 1 == 1).map(NodeId).collect();
            return Some(self.apply(Entry::Voters(voters)));
        }
        let again = match step.action {
            Action::Again { .. } if self.commands.is_empty() => return None,
            Action::Again { which } => Some(usize::from(which) % self.commands.len()),
            _ => None,
        };
        let commands = match (again, &step.action) {
            (Some(which), _) => vec![self.commands[which].0.clone()],
            (None, Action::Verdict { backend, up }) => {
                let voters = self.state.view().catalog.voters.clone();
                let backend = self.pick_backend(*backend);
                voters.into_iter().map(|node| self.report(node, backend, *up)).collect()
            }
            (None, Action::Answer { node: None, backend, drains, life }) => {
                let backend = self.pick_backend(*backend);
                self.all_find(backend, &answer(*drains, *life))
            }
            (None, action) => vec![self.command(action)?],
        };
        let back = if step.old_stamp { 5000 } else { 0 };
        let stamp = Stamp {
            time: ClusterTime(self.time.saturating_sub(back)),
            stable: LogIndex(self.stable.saturating_sub(back)),
            wall: self.time,
        };
        let mut applied = self.apply(Entry::Batch(Batch { stamp, commands: commands.clone() }));
        let effect = matches!(
            applied.outcomes.first(),
            Some(
                Outcome::Bind(BindOutcome::Bound { .. })
                    | Outcome::Rebind(RebindOutcome::Moved(_))
                    | Outcome::Unbind(UnbindOutcome::Unbound)
            )
        );
        match again {
            Some(which) => {
                applied.spent = self.commands[which].1;
                self.commands[which].1 |= effect;
            }
            None if commands.len() == 1 => self.commands.push((commands[0].clone(), effect)),
            None => {}
        }
        Some(applied)
    }

    fn apply(&mut self, entry: Entry) -> Applied {
        let index = LogIndex(self.log.len() as u64 + 1);
        let view_before = self.state.view();
        let before = records(&view_before);
        let outcomes = feed(&mut self.state, index, &entry);
        let view = self.state.view();
        for id in view
            .catalog
            .affinities
            .iter()
            .filter(|id| !self.affinities.contains(id))
            .copied()
            .collect::<Vec<_>>()
        {
            self.affinities.push(id);
        }
        for id in
            view.catalog.backends.keys().filter(|id| !self.backends.contains(id)).copied().collect::<Vec<_>>()
        {
            self.backends.push(id);
        }
        self.log.push((index, entry.clone()));
        let after = records(&view);
        Applied { index, entry, outcomes, view_before, before, view, after, spent: false }
    }
}
