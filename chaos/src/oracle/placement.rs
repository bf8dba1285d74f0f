//! Where sessions were, by their backends alone: what can be asked of any balancer, whether it knows epochs or not.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::History;
use crate::history::event::{Outcome, Phase};

/// What was seen of the sessions from one fault on until the next one, or before the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The fault's name; empty before the first.
    pub after: String,
    /// Sessions with requests at the same moment that different backends answered.
    pub split: BTreeSet<String>,
    /// Sessions that another backend answered than before. No backend was away: each of them has lost its state.
    pub moved: BTreeSet<String>,
    /// Sessions that were asked for.
    pub asked: BTreeSet<String>,
    /// Requests that no node answered.
    pub errors: usize,
}

struct Answered<'a> {
    session: &'a str,
    began: u64,
    ended: u64,
    backend: Option<&'a str>,
}

/// Goes through a history in which nothing happens to backends.
pub(crate) fn placements(history: &History) -> Vec<Stretch> {
    let faults: Vec<(u64, &str)> = history
        .faults
        .iter()
        .filter(|fault| fault.phase == Phase::Begun)
        .map(|fault| (fault.at, fault.name.as_str()))
        .collect();
    let mut stretches = vec![Stretch::default()];
    stretches
        .extend(faults.iter().map(|(_, name)| Stretch { after: (*name).to_owned(), ..Stretch::default() }));
    let mut answers: Vec<Answered<'_>> = history
        .visits
        .iter()
        .map(|visit| Answered {
            session: &visit.session,
            began: visit.began(),
            ended: visit.ended(),
            backend: visit.attempts.last().and_then(|attempt| match &attempt.outcome {
                Outcome::Served { backend, .. } => Some(backend.as_str()),
                _ => None,
            }),
        })
        .collect();
    answers.sort_by_key(|answer| answer.ended);
    let mut last: BTreeMap<&str, Answered<'_>> = BTreeMap::new();
    for answer in answers {
        let after = |moment: u64| faults.partition_point(|(at, _)| *at <= moment);
        let Some(backend) = answer.backend else {
            // A request that was under way when the fault began failed by it.
            stretches[after(answer.ended)].errors += 1;
            continue;
        };
        let stretch = &mut stretches[after(answer.began)];
        stretch.asked.insert(answer.session.to_owned());
        if let Some(before) = last.get(answer.session).filter(|before| before.backend != Some(backend)) {
            let found = if before.ended >= answer.began { &mut stretch.split } else { &mut stretch.moved };
            found.insert(before.session.to_owned());
        }
        last.insert(answer.session, answer);
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::event::{Attempt, Event, FaultEvent, Visit};
    use crate::identifier::Door;

    fn visit(history: &mut History, session: &str, (began, ended): (u64, u64), backend: &str) {
        let outcome = Outcome::Served { backend: backend.to_owned(), epoch: None, key: None, revealed: None };
        let attempts = vec![Attempt { node: 1, began, ended, outcome }];
        let (session, door) = (session.to_owned(), Door::Header);
        history.add(Event::Visit(Visit { client: 1, door, session, fresh: false, attempts }));
    }

    #[test]
    fn a_split_is_two_backends_at_once_and_a_move_is_one_after_the_other() {
        let mut history = History::default();
        visit(&mut history, "raced", (1, 5), "web-1");
        visit(&mut history, "raced", (1, 6), "web-2");
        visit(&mut history, "kept", (1, 2), "web-1");
        let (name, detail, effects) = ("kill".to_owned(), String::new(), Vec::new());
        history.add(Event::Fault(FaultEvent {
            number: 1,
            name,
            phase: Phase::Begun,
            at: 10,
            detail,
            effects,
        }));
        visit(&mut history, "kept", (11, 12), "web-1");
        visit(&mut history, "raced", (11, 12), "web-1");
        let stretches = placements(&history);
        let raced = BTreeSet::from(["raced".to_owned()]);
        assert_eq!((&stretches[0].split, stretches[0].moved.len(), stretches[0].asked.len()), (&raced, 0, 2));
        assert_eq!((stretches[1].split.len(), &stretches[1].moved, stretches[1].asked.len()), (0, &raced, 2));
    }
}
