use proptest::prelude::*;
use stickler_proto::admin::Session;

use super::*;
use crate::identifier::Door;

fn answer(backend: &str, epoch: u64) -> Answer {
    Answer { status: 200, backend: backend.to_owned(), epoch: Some(epoch), ..Answer::default() }
}

fn someone() -> Identifier {
    Identifier::new(Door::Own, "someone")
}

fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.observe(&someone(), &answer("web-1", 5)), Ok(Observed::New));
    ledger
}

#[test]
fn a_split_is_found() {
    let fault = ledger().observe(&someone(), &answer("web-2", 5));
    assert!(matches!(fault, Err(Fault::Split { epoch: 5, .. })));
}

#[test]
fn an_epoch_that_goes_back_is_found() {
    let fault = ledger().observe(&someone(), &answer("web-1", 4));
    assert!(matches!(fault, Err(Fault::EpochWentBack { before: 5, now: 4, .. })));
}

#[test]
fn a_binding_that_was_lost_and_made_again_at_the_same_backend_is_found() {
    let fault = ledger().observe(&someone(), &answer("web-1", 9));
    assert!(matches!(fault, Err(Fault::LostOrMoved { .. })));
}

#[test]
fn a_session_moves_only_from_where_it_may() {
    let mut ledger = ledger();
    ledger.may_leave("web-3");
    assert!(matches!(ledger.observe(&someone(), &answer("web-2", 9)), Err(Fault::LostOrMoved { .. })));
    ledger.may_leave("web-1");
    assert_eq!(ledger.observe(&someone(), &answer("web-2", 9)), Ok(Observed::Moved));
    assert_eq!(ledger.observe(&someone(), &answer("web-2", 9)), Ok(Observed::Stayed));
    ledger.may_leave_none();
    assert!(matches!(ledger.observe(&someone(), &answer("web-1", 12)), Err(Fault::LostOrMoved { .. })));
}

#[test]
fn an_answer_that_does_not_say_its_epoch_or_backend_is_found() {
    let without_epoch = Answer { epoch: None, ..answer("web-1", 5) };
    for incomplete in [without_epoch, answer("", 5)] {
        assert!(matches!(ledger().observe(&someone(), &incomplete), Err(Fault::Incomplete { .. })));
    }
}

#[test]
fn a_binding_that_a_replica_lacks_or_has_otherwise_is_found() {
    let ledger = ledger();
    let listed = |backend_name: &str, epoch| {
        let session = Session { backend_name: backend_name.to_owned(), epoch, ..Session::default() };
        Listed::from([("key".to_owned(), session)])
    };
    assert_eq!(ledger.compare(&someone(), "key", 1, &listed("web/web-1", 5)), Ok(()));
    for other in [listed("web/web-2", 5), listed("web/web-1", 6), Listed::new()] {
        assert!(matches!(ledger.compare(&someone(), "key", 1, &other), Err(Fault::Replica { node: 1, .. })));
    }
}

/// A true history of some sessions: who asked, and the answer. Each move leaves web-0, and takes a new epoch.
fn history() -> impl Strategy<Value = Vec<(u8, u8, u64)>> {
    prop::collection::vec((0_u8..5, any::<bool>()), 2..60).prop_map(|steps| {
        let mut places: HashMap<u8, (u8, u64)> = HashMap::new();
        let mut counter = 0;
        let mut told = Vec::new();
        for (client, moves) in steps {
            let place = places.entry(client).or_insert_with(|| {
                counter += 1;
                (client % 2, counter)
            });
            if moves && place.0 == 0 {
                counter += 1;
                *place = (1, counter);
            }
            told.push((client, place.0, place.1));
        }
        told
    })
}

fn faults(history: &[(u8, u8, u64)]) -> usize {
    let mut ledger = Ledger::default();
    ledger.may_leave("web-0");
    let judge = |(client, backend, epoch): &(u8, u8, u64)| {
        let identifier = Identifier::new(Door::Header, client.to_string());
        ledger.observe(&identifier, &answer(&format!("web-{backend}"), *epoch)).is_err()
    };
    history.iter().map(judge).filter(|is_fault| *is_fault).count()
}

proptest! {
    #[test]
    fn a_true_history_has_no_fault_and_one_wrong_later_answer_is_found(
        history in history(),
        wrong in any::<prop::sample::Index>(),
        epoch_too in any::<bool>(),
    ) {
        prop_assert_eq!(faults(&history), 0);

        // Somebody who was answered before is sent to a backend where nobody is.
        let mut wrong_history = history.clone();
        let (client, _, epoch) = wrong_history[wrong.index(history.len())];
        wrong_history.push((client, 7, if epoch_too { 0 } else { epoch }));
        prop_assert!(faults(&wrong_history) > 0);
    }
}
