use proptest::collection::vec;
use proptest::prelude::*;

/// What one entry does, in small numbers that a [`super::World`] reads against its own state.
#[derive(Clone, Debug)]
pub enum Action {
    Place {
        session: u8,
        pool: u8,
        candidate: u8,
        behind: u8,
    },
    Adopt {
        session: u8,
        backend: u8,
        behind: u8,
    },
    Inherit {
        session: u8,
        from: u8,
        wrong: bool,
    },
    Rebind {
        session: u8,
        reason: u8,
        candidate: u8,
        wrong: bool,
    },
    Unbind {
        session: u8,
        wrong: bool,
    },
    Touch {
        session: u8,
        age: u16,
        wrong: bool,
    },
    /// Every record, with its right epoch.
    Expire,
    Report {
        node: u8,
        backend: u8,
        up: bool,
        older: bool,
    },
    /// A report by every voter.
    Verdict {
        backend: u8,
        up: bool,
    },
    /// A report of what an answer says, by one voter or by all.
    Answer {
        node: Option<u8>,
        backend: u8,
        drains: bool,
        life: u8,
    },
    Suspect {
        node: u8,
        backend: u8,
    },
    SetAdmin {
        backend: u8,
        admin: u8,
        wrong: bool,
    },
    Apply {
        shape: u16,
        removal: u8,
        wrong: bool,
    },
    /// What a pool's name leads to: some of a few backends.
    Discover {
        pool: u8,
        found: u8,
        wrong: bool,
    },
    /// Every backend.
    Retire,
    Voters {
        nodes: u8,
    },
    RotateKey {
        wrong: bool,
    },
    NotBefore {
        affinity: u8,
        backend: u8,
        age: u16,
    },
    StartJob {
        work: u8,
        backend: u8,
        to: u8,
        wrong: bool,
    },
    ChangeJob {
        which: u8,
        change: u8,
        wrong: bool,
    },
    /// Every session that the newest job is about.
    Announce {
        wrong: bool,
    },
    /// All that are announced.
    Withdraw,
    Quiet {
        node: u8,
    },
    /// An earlier command once more.
    Again {
        which: u16,
    },
}

/// One entry and its stamp.
#[derive(Clone, Debug)]
pub struct Step {
    pub action: Action,
    /// Milliseconds since the entry before.
    pub elapsed: u16,
    /// The stamp is of a leader that knew less: an old time and an old stable index.
    pub old_stamp: bool,
    /// How far the stable index is behind.
    pub unstable: u8,
}

/// Sequences of up to `most` steps.
pub fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (action(), 0..1500u16, proptest::bool::weighted(0.1), 0..8u8)
        .prop_map(|(action, elapsed, old_stamp, unstable)| Step { action, elapsed, old_stamp, unstable });
    vec(step, 1..=most)
}

fn action() -> impl Strategy<Value = Action> {
    let session = || 0..10u8;
    let wrong = || proptest::bool::weighted(0.15);
    let behind = || prop_oneof![6 => Just(0u8), 1 => 1..6u8];
    let shape = (any::<u16>(), any::<u16>()).prop_map(|(one, other)| one & other);
    prop_oneof![
        14 => (session(), 0..4u8, any::<u8>(), behind())
            .prop_map(|(session, pool, candidate, behind)| Action::Place { session, pool, candidate, behind }),
        8 => (session(), any::<u8>(), behind())
            .prop_map(|(session, backend, behind)| Action::Adopt { session, backend, behind }),
        8 => (session(), session(), wrong())
            .prop_map(|(session, from, wrong)| Action::Inherit { session, from, wrong }),
        12 => (session(), 0..8u8, any::<u8>(), wrong())
            .prop_map(|(session, reason, candidate, wrong)| Action::Rebind { session, reason, candidate, wrong }),
        8 => (session(), wrong()).prop_map(|(session, wrong)| Action::Unbind { session, wrong }),
        4 => (session(), any::<u16>(), wrong())
            .prop_map(|(session, age, wrong)| Action::Touch { session, age, wrong }),
        4 => Just(Action::Expire),
        4 => (1..=5u8, any::<u8>(), any::<bool>(), wrong())
            .prop_map(|(node, backend, up, older)| Action::Report { node, backend, up, older }),
        5 => (any::<u8>(), proptest::bool::weighted(0.4))
            .prop_map(|(backend, up)| Action::Verdict { backend, up }),
        5 => (proptest::option::weighted(0.4, 1..=5u8), any::<u8>(), proptest::bool::weighted(0.2), 0..3u8)
            .prop_map(|(node, backend, drains, life)| Action::Answer { node, backend, drains, life }),
        1 => (1..=5u8, any::<u8>()).prop_map(|(node, backend)| Action::Suspect { node, backend }),
        6 => (any::<u8>(), 0..5u8, wrong())
            .prop_map(|(backend, admin, wrong)| Action::SetAdmin { backend, admin, wrong }),
        3 => (shape, 0..3u8, wrong())
            .prop_map(|(shape, removal, wrong)| Action::Apply { shape, removal, wrong }),
        3 => (any::<u8>(), any::<u8>(), wrong())
            .prop_map(|(pool, found, wrong)| Action::Discover { pool, found, wrong }),
        3 => Just(Action::Retire),
        1 => (0..16u8).prop_map(|nodes| Action::Voters { nodes }),
        3 => wrong().prop_map(|wrong| Action::RotateKey { wrong }),
        1 => (any::<u8>(), any::<u8>(), any::<u16>())
            .prop_map(|(affinity, backend, age)| Action::NotBefore { affinity, backend, age }),
        4 => (0..3u8, any::<u8>(), any::<u8>(), wrong())
            .prop_map(|(work, backend, to, wrong)| Action::StartJob { work, backend, to, wrong }),
        2 => (any::<u8>(), 0..4u8, wrong())
            .prop_map(|(which, change, wrong)| Action::ChangeJob { which, change, wrong }),
        5 => wrong().prop_map(|wrong| Action::Announce { wrong }),
        1 => Just(Action::Withdraw),
        2 => (1..=3u8).prop_map(|node| Action::Quiet { node }),
        10 => any::<u16>().prop_map(|which| Action::Again { which }),
    ]
}
