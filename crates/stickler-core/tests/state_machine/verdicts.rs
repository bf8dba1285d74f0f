//! Health is one verdict of the majority of all voters.

use proptest::collection::vec;
use proptest::prelude::*;
use stickler_core::ids::{BackendId, NodeId};
use stickler_core::state::{ApplyDocument, Catalog, Command, Removal, Verdict, View};

use crate::config;
use crate::documents::document;
use crate::steps::steps;
use crate::world::{Entry, World, count, run};

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn a_verdict_changes_only_with_a_majority_of_all_voters(shape in any::<u16>(), steps in steps(60)) {
        run(shape, &steps, |_, applied| {
            let voters = &applied.view.catalog.voters;
            for (id, backend) in &applied.view.catalog.backends {
                let health = &backend.health;
                assert!(health.reports.keys().all(|node| voters.contains(node)), "a report of a node without a vote");
                let Some(before) = applied.view_before.catalog.backends.get(id) else {
                    assert_eq!(health.verdict, Verdict::Unknown, "a new backend has not been checked");
                    continue;
                };
                let say = |up: bool| health.reports.values().filter(|report| report.finding.up == up).count() * 2 > voters.len();
                match (say(true), say(false)) {
                    (true, false) => assert_eq!(health.verdict, Verdict::Up),
                    (false, true) => assert_eq!(health.verdict, Verdict::Down),
                    _ => assert_eq!(health.verdict, before.health.verdict, "silence leaves the verdict as it is"),
                }
                let majority = voters.len() / 2 + 1;
                let answers = || health.reports.values().map(|report| &report.finding).filter(|finding| finding.up);
                let drains = answers().filter(|finding| finding.drains).count();
                if drains >= majority || answers().count() - drains >= majority {
                    assert_eq!(health.drains, drains >= majority);
                } else {
                    assert_eq!(health.drains, before.health.drains, "silence leaves it as it is");
                }
                if health.instance == before.health.instance {
                    assert_eq!(health.forgotten, before.health.forgotten);
                } else {
                    let same = answers().filter(|finding| finding.instance == health.instance).count();
                    assert!(same >= majority, "another life on the word of {same}");
                    let forgotten = if before.health.instance.is_some() { applied.view.epoch } else { before.health.forgotten };
                    assert_eq!(health.forgotten, forgotten, "what an earlier life held is lost, and a first life loses nothing");
                    let bound = count(&applied.before, |_, binding| binding.backend == *id);
                    let lost = if before.health.instance.is_some() { bound } else { 0 };
                    assert_eq!(health.lost, before.health.lost + lost);
                }
                assert_eq!(health.verdict != before.health.verdict, health.since != before.health.since
                    || (health.verdict != before.health.verdict && health.since == applied.view.time));
            }
        });
    }

    #[test]
    fn a_report_without_a_vote_or_an_older_one_changes_nothing(shape in any::<u16>(), steps in steps(60)) {
        run(shape, &steps, |_, applied| {
            let Entry::Batch(batch) = &applied.entry else { return };
            let [Command::Report(report)] = &batch.commands[..] else { return };
            let known = applied.view_before.catalog.backends.get(&report.backend).and_then(|backend| backend.health.reports.get(&report.node));
            let older = known.is_some_and(|known| (known.incarnation, known.sequence) >= (report.incarnation, report.sequence));
            if older || !applied.view.catalog.voters.contains(&report.node) {
                // Time goes on with the entry, and takes old sealing keys with it.
                let ring = applied.view_before.catalog.ring.clone();
                let after = Catalog { ring, ..Catalog::clone(&applied.view.catalog) };
                assert_eq!(after, *applied.view_before.catalog);
            } else if let Some(backend) = applied.view.catalog.backends.get(&report.backend) {
                assert_eq!(backend.health.reports[&report.node].finding, report.finding);
            }
        });
    }

    #[test]
    fn one_node_of_three_changes_no_verdict(reports in vec((0..6usize, any::<bool>()), 1..40)) {
        let mut world = World::new(0);
        let expected = world.state.view().catalog.revision;
        let apply = ApplyDocument { document: document(1 << 2), expected, removal: Removal::Now };
        world.commands(vec![Command::ApplyDocument(Box::new(apply))]);
        let down = world.backend(1);
        world.verdict(down, false);
        let verdicts = |view: &View| -> Vec<Verdict> {
            view.catalog.backends.values().map(|backend| backend.health.verdict).collect()
        };
        let before = verdicts(&world.state.view());
        for verdict in [Verdict::Unknown, Verdict::Up, Verdict::Down] {
            prop_assert!(before.contains(&verdict));
        }
        let backends: Vec<BackendId> = world.state.view().catalog.backends.keys().copied().collect();
        // The others fall silent: what they said about each backend goes with their votes.
        for voters in [vec![2], vec![2, 4, 5]] {
            world.voters(voters.into_iter().map(NodeId).collect());
        }
        let silent = verdicts(&world.state.view());
        for (backend, up) in reports {
            let report = world.report(NodeId(2), backends[backend], up);
            let applied = world.commands(vec![report]);
            prop_assert_eq!(&verdicts(&applied.view), &silent);
        }
        prop_assert_eq!(silent, before);
    }
}
