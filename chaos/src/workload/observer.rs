//! Looks at the nodes all the time: who leads, who holds a lease, what state they have.

use std::time::Duration;

use stickler_rt::Shutdown;

use crate::history::event::{Event, Says, Standing};
use crate::history::recorder::Recorder;
use crate::rig::admin::Admin;

/// Pause between two looks at a node.
const LOOK: Duration = Duration::from_millis(200);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_millis(1000);
/// After so many looks one is written down though nothing has changed.
const AT_LEAST: usize = 10;

/// Looks at one node until it is told to stop.
pub(crate) async fn look_at(node: u64, mut admin: Admin, recorder: Recorder, stop: Shutdown) {
    let mut last: Option<Option<Says>> = None;
    let mut unwritten = 0;
    while !stop.is_triggered() {
        // An old answer says nothing about now.
        let at = recorder.now();
        let says = look(&mut admin).await;
        unwritten += 1;
        if last.as_ref().is_none_or(|last| !is_alike(last.as_ref(), says.as_ref())) || unwritten >= AT_LEAST {
            recorder.write(&Event::Standing(Standing { at, node, says: says.clone() }));
            unwritten = 0;
            last = Some(says);
        }
        tokio::select! {
            biased;
            () = stop.wait() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn look(admin: &mut Admin) -> Option<Says> {
    let status = tokio::time::timeout(PATIENCE, admin.status()).await.ok()?.ok()?;
    Some(Says {
        role: status.role,
        term: status.term,
        leader: status.leader,
        footing: status.footing,
        applied: status.applied_index,
        hash: status.state_hash,
        sessions: status.sessions,
        readiness: status.readiness,
    })
}

/// What goes up all the time is no change.
fn is_alike(one: Option<&Says>, other: Option<&Says>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            (&one.role, one.term, one.leader, &one.footing, &one.readiness)
                == (&other.role, other.term, other.leader, &other.footing, &other.readiness)
        }
        (None, None) => true,
        _ => false,
    }
}
