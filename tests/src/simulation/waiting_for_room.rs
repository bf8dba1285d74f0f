//! What those are promised who wait for room at a shop: to wait as long as the pool says and no longer, and that whoever
//! has a session there goes before those who need none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stickler_core::ids::{KeyHash, NodeId};

use super::pool_settings::{PoolSettings, Queue};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct WaitingForRoom {
    queue: Option<Queue>,
    /// Nodes and links are well all the time.
    well: bool,
    nodes: BTreeMap<NodeId, AtNode>,
    /// When each of a crowd was sent.
    asked: BTreeMap<u64, Duration>,
    /// The requests that have left for a shop.
    left: BTreeSet<u64>,
    /// When requests that need no session first left, by node and shop.
    crowds: BTreeMap<(NodeId, &'static str), Vec<Duration>>,
    /// When a job was last seen to hold a session's requests.
    announced: BTreeMap<KeyHash, Duration>,
}

/// Requests of clients that come one by one: those of crowds are not among them.
#[derive(Clone, Debug, Default)]
struct AtNode {
    /// How many have no answer yet, or will never have one.
    open: usize,
    /// When others were answered.
    answered: Vec<Duration>,
}

/// An answer, and what it answers.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The node.
    pub node: NodeId,
    /// The request's number.
    pub number: u64,
    /// When it was sent.
    pub asked: Duration,
    /// When the answer came.
    pub at: Duration,
    /// By which word a node has refused it, if it has.
    pub refused: Option<&'a str>,
}

/// The longest way of a request or an answer where links are well.
const WAY: Duration = Duration::from_millis(20);

/// How long a request takes at most from its turn until it leaves: the pool's time-out for a connection, and some.
const LEAVES: Duration = Duration::from_millis(400);

/// How long a request may have waited for anything else.
const ELSE: Duration = Duration::from_millis(500);

/// How far a clock's rate is off, in percent.
const OFF: u32 = 3;

impl WaitingForRoom {
    /// Of a run with these settings; whether its nodes and links are well all the time.
    #[must_use]
    pub fn new(pool: &PoolSettings, well: bool) -> Self {
        Self { queue: pool.queue, well, ..Self::default() }
    }

    /// Takes in that a client asks a node.
    pub fn asks(&mut self, node: NodeId) {
        self.nodes.entry(node).or_default().open += 1;
    }

    /// Takes in that one of a crowd asks.
    pub fn comes(&mut self, at: Duration, number: u64) {
        self.asked.insert(number, at);
    }

    /// Takes in that a client has an answer.
    pub fn is_answered(&mut self, at: Duration, node: NodeId) {
        let node = self.nodes.entry(node).or_default();
        node.open = node.open.saturating_sub(1);
        node.answered.push(at);
    }

    /// Takes in that a request leaves for a shop.
    ///
    /// # Errors
    /// When it is one of a crowd, and has waited for longer than it may.
    pub fn leaves(
        &mut self,
        at: Duration,
        node: NodeId,
        shop: &'static str,
        number: u64,
    ) -> Result<(), String> {
        let is_first = self.left.insert(number);
        let Some(asked) = self.asked.get(&number).filter(|_| is_first) else { return Ok(()) };
        self.crowds.entry((node, shop)).or_default().push(at);
        match self.queue {
            Some(queue) if self.well && at - *asked > longest(queue) + LEAVES + ELSE => Err(format!(
                "the queue: node {node} sent {number} to {shop} after {:?}, and it may wait for {:?}",
                at - *asked,
                queue.timeout
            )),
            _ => Ok(()),
        }
    }

    /// Takes in that a job holds a session's requests.
    pub fn is_announced(&mut self, at: Duration, session: KeyHash) {
        self.announced.insert(session, at);
    }

    /// Whether a job may have held a session's requests since then.
    #[must_use]
    pub fn was_announced(&self, session: KeyHash, since: Duration) -> bool {
        self.announced.get(&session).is_some_and(|at| *at + WAY >= since)
    }

    /// Whether a request is one of a crowd.
    #[must_use]
    pub fn is_of_crowd(&self, number: u64) -> bool {
        self.asked.contains_key(&number)
    }

    /// The time: nobody is told before that there was no room, and no one of a crowd is told much later.
    ///
    /// # Errors
    /// When somebody was.
    pub fn is_in_time(&self, answer: &Answered<'_>) -> Result<(), String> {
        let Some(queue) = self.queue else { return Ok(()) };
        let (Answered { node, number, .. }, waited) = (answer, answer.at - answer.asked);
        if answer.refused == Some("queue-timeout") && waited < shortest(queue) {
            return Err(format!(
                "the queue: node {node} gave {number} up after {waited:?} of {:?}",
                queue.timeout
            ));
        }
        let late = waited > longest(queue) + LEAVES + ELSE;
        // Its time begins when it first waits, and it may have been sent before that.
        let waits = self.is_of_crowd(*number) && !self.left.contains(number);
        if answer.refused == Some("queue-timeout") && late && self.well && waits {
            return Err(format!(
                "the queue: node {node} gave {number} up after {waited:?}, and it may wait for {:?}",
                queue.timeout
            ));
        }
        Ok(())
    }

    /// The order: a request of a session that is bound is refused only where as many of those wait as may wait at all.
    ///
    /// # Errors
    /// When there were not as many.
    pub fn has_a_place(&self, answer: &Answered<'_>) -> Result<(), String> {
        let (Some(queue), Some("queue-full")) = (self.queue, answer.refused) else { return Ok(()) };
        let others = self.nodes.get(&answer.node).map_or(0, |at_node| {
            at_node.open + at_node.answered.iter().filter(|at| **at >= answer.asked).count()
        });
        if others > queue.longest as usize {
            return Ok(());
        }
        Err(format!(
            "the queue: node {} has no place in it for {}, which has a session, where {} may wait, and no more than \
             {others} of its kind can have been there",
            answer.node, answer.number, queue.longest
        ))
    }

    /// The order: who has a session at a shop goes before those who need none.
    ///
    /// # Errors
    /// When one of those went first while this one waited for as long as it might.
    pub fn goes_first(&self, answer: &Answered<'_>, shop: &str) -> Result<(), String> {
        let (Some(queue), Some("queue-timeout"), true) = (self.queue, answer.refused, self.well) else {
            return Ok(());
        };
        if self.left.contains(&answer.number) {
            // It has waited before that, and has not been there all the time.
            return Ok(());
        }
        let until = answer.at.saturating_sub(WAY);
        let from = answer.at.saturating_sub(shortest(queue)) + LEAVES;
        let went = self.crowds.iter().filter(|((node, to), _)| *node == answer.node && *to == shop);
        let first = went.flat_map(|(_, times)| times).find(|at| from < **at && **at < until);
        first.map_or(Ok(()), |first| {
            Err(format!(
                "the queue: node {} let {}, whose session is on {shop}, wait for {:?} until {:?}, and sent one there at \
                 {first:?} that needs none",
                answer.node, answer.number, queue.timeout, answer.at
            ))
        })
    }
}

/// The pool's time-out, by the quickest clock and by the slowest one.
fn shortest(queue: Queue) -> Duration {
    queue.timeout * (100 - OFF) / 100
}

fn longest(queue: Queue) -> Duration {
    queue.timeout * (100 + OFF) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NODE: NodeId = NodeId(1);

    fn promises(longest: u32) -> WaitingForRoom {
        let queue = Queue { max_requests: 1, timeout: SECOND, longest };
        WaitingForRoom::new(&PoolSettings { queue: Some(queue), ..PoolSettings::default() }, true)
    }

    fn refused(word: &'static str, after: Duration) -> Answered<'static> {
        Answered { node: NODE, number: 9, asked: SECOND, at: SECOND + after, refused: Some(word) }
    }

    #[test]
    fn nobody_is_given_up_early_or_kept_late() {
        let waits = promises(5);
        assert!(waits.is_in_time(&refused("queue-timeout", SECOND * 9 / 10)).is_err());
        assert_eq!(waits.is_in_time(&refused("queue-timeout", SECOND)), Ok(()));
        assert_eq!(waits.is_in_time(&refused("queue-full", SECOND / 10)), Ok(()));
        let (mut waits, after) = (waits, |tenths: u32| SECOND + SECOND * tenths / 10);
        (1..5).for_each(|number| waits.comes(SECOND, number));
        let late = Answered { number: 1, ..refused("queue-timeout", SECOND * 2) };
        assert!(waits.is_in_time(&late).is_err());
        assert_eq!(waits.is_in_time(&refused("queue-timeout", SECOND * 2)), Ok(()), "it may have been held");
        assert_eq!(waits.leaves(after(10), NODE, "web-1", 1), Ok(()));
        assert!(waits.leaves(after(20), NODE, "web-1", 2).is_err());
        assert_eq!(waits.leaves(after(20), NODE, "web-1", 1), Ok(()), "again");
        assert_eq!(waits.leaves(after(20), NODE, "web-1", 9), Ok(()), "of a session, which may be held");
    }

    #[test]
    fn a_queue_is_full_for_those_with_a_session_when_they_fill_it() {
        let mut waits = promises(2);
        (0..2).for_each(|_| waits.asks(NODE));
        waits.is_answered(SECOND * 2, NODE);
        assert!(
            waits.has_a_place(&refused("queue-full", SECOND * 3)).is_err(),
            "two, and itself is one of them"
        );
        waits.asks(NODE);
        assert_eq!(waits.has_a_place(&refused("queue-full", SECOND * 3)), Ok(()));
        assert!(
            waits.has_a_place(&Answered { asked: SECOND * 3, ..refused("queue-full", SECOND * 3) }).is_err()
        );
    }

    #[test]
    fn a_crowd_goes_after_those_with_a_session() {
        let mut waits = promises(2);
        let answer = refused("queue-timeout", SECOND);
        (3..6).for_each(|number| waits.comes(SECOND, number));
        let mut leaves = |number, tenths: u32| {
            waits
                .leaves(SECOND * tenths / 10, NODE, "web-1", number)
                .map(|()| waits.goes_first(&answer, "web-1"))
        };
        assert_eq!(leaves(3, 13), Ok(Ok(())), "its turn was before");
        assert_eq!(leaves(3, 16), Ok(Ok(())), "again");
        assert_eq!(leaves(8, 16), Ok(Ok(())), "it has a session");
        assert!(leaves(5, 16).is_ok_and(|first| first.is_err()));
        assert_eq!(waits.goes_first(&answer, "web-2"), Ok(()));
    }
}
