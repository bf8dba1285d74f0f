//! Requests that may have begun a session with Stickler's cookie: all clients are at one address, which may begin so many
//! through each node.

use std::collections::BTreeMap;
use std::time::Duration;

use stickler_core::ids::NodeId;

/// Those of a run, by node.
#[derive(Default)]
pub struct NewSessions {
    tries: BTreeMap<NodeId, Vec<Try>>,
}

/// What came of a client's request without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// A session.
    Begun,
    /// An answer that its address has begun too many.
    Refused,
    /// Anything else, or nothing.
    Nothing,
}

/// A request that may have begun a session.
#[derive(Clone, Copy, Debug)]
struct Try {
    asked: Duration,
    /// When its answer came; later than everything while none has.
    answered: Duration,
    /// It has begun one.
    begun: bool,
    /// It may have begun one; not when it is known to have been of a session that went on.
    begins: bool,
}

impl NewSessions {
    /// Takes in that a client with Stickler's cookie asks a node; the number is for [`NewSessions::tried`], or for
    /// [`NewSessions::went_on`].
    pub fn tries(&mut self, at: Duration, node: NodeId) -> usize {
        let tries = self.tries.entry(node).or_default();
        tries.push(Try { asked: at, answered: Duration::MAX, begun: false, begins: true });
        tries.len() - 1
    }

    /// Takes in that the request was answered, and of a session that was there all the time.
    pub fn went_on(&mut self, node: NodeId, number: usize) {
        self.tries.entry(node).or_default()[number].begins = false;
    }

    /// Takes in what came of it. `up_since`: when the process of the node began that answers.
    ///
    /// # Errors
    /// When that process has begun more sessions than a client's address may begin, or has refused one though there
    /// were fewer.
    pub fn tried(
        &mut self,
        at: Duration,
        (node, up_since): (NodeId, Duration),
        number: usize,
        outcome: Tried,
        (most, period): (u64, Duration),
    ) -> Result<(), String> {
        let tries = self.tries.entry(node).or_default();
        (tries[number].answered, tries[number].begun) = (at, outcome == Tried::Begun);
        let asked = tries[number].asked;
        match outcome {
            Tried::Nothing => Ok(()),
            Tried::Refused => {
                // Clocks may differ from each other in rate by five in a hundred.
                let from = asked.saturating_sub(period * 21 / 20);
                let within = |one: &&Try| one.begins && one.answered >= from && one.asked <= at;
                let others = tries.iter().filter(within).count() as u64 - 1;
                if others >= most {
                    return Ok(());
                }
                Err(format!("the rate: node {node} refuses a new session after {others} in {period:?}"))
            }
            Tried::Begun => {
                for first in tries.iter().filter(|one| one.begun && one.asked > up_since) {
                    let within = |one: &&Try| one.begun && one.asked >= first.asked && one.answered <= at;
                    let count = tries.iter().filter(within).count() as f64;
                    let time = at.saturating_sub(first.asked).mul_f64(1.05).as_secs_f64();
                    let allowed = most as f64 * (1.0 + time / period.as_secs_f64()) + 1.0;
                    if count > allowed {
                        return Err(format!("the rate: node {node} has begun {count} sessions in {time} s"));
                    }
                }
                Ok(())
            }
        }
    }
}
