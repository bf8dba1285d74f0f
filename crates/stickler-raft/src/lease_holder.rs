//! The node's end of leases: asks whoever leads, again and again, and publishes on what footing the node
//! stands. Also the first to notice that the leader is gone, since its stream breaks.

use std::sync::Arc;
use std::time::Duration;

use stickler_core::deliberate::{self, Fault};
use stickler_core::ids::{Incarnation, LogIndex, NodeId};
use stickler_core::lease::{Denial, LEASE, LeaseAnswer, LeaseRequest};
use stickler_rt::{Clock, Moment, Shutdown, watch};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::office::{LeaseCall, OfficeHandle};
use crate::peers::{Lane, LeaseMessage, LeaseNews, Links, Target, body, value};
use crate::published::{Applied, Published, TimesHeard};
use crate::store::codec::Kind;

/// How often a lease is renewed: four times in its length, so that one lost answer costs nothing.
const RENEWAL: Duration = LEASE.checked_div(5).expect("5 is not 0");

/// How soon after a denial the node asks again.
const AFTER_DENIAL: Duration = Duration::from_millis(25);

/// Longest wait for an answer before the attempt counts as failed, where answers usually come soon.
const PATIENCE: Duration = Duration::from_millis(200);

/// Longest wait for an answer before the leader is asked anew. One that comes later is still worth something: a
/// lease counts from the request.
const LONGEST_WAIT: Duration = LEASE.checked_div(2).expect("2 is not 0");

/// Failed attempts in a row after which the node knows that it can't reach a leader.
const FAILURES: u32 = 3;

/// Pause after a failed attempt.
const AFTER_FAILURE: Duration = Duration::from_millis(40);

/// The task looks at its clock more often than this. When it did not, the process stood still: it was stopped, or
/// its machine was.
const STANDSTILL: Duration = PATIENCE.saturating_mul(2);

/// For how long after that no attempt counts as failed. A leader that has been replaced meanwhile finds no quorum
/// at once, and hears of its successor a moment later: what it knows until then is nothing to route by.
const AFTER_STANDSTILL: Duration = PATIENCE.saturating_mul(3);

/// Whom to ask for a lease.
type News = mpsc::Receiver<LeaseNews>;

/// The one task that holds the node's lease.
pub(crate) struct LeaseHolder {
    pub(crate) own: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) clock: Clock,
    pub(crate) published: Arc<Published>,
    pub(crate) leader: watch::Receiver<Option<NodeId>>,
    pub(crate) office: OfficeHandle,
    pub(crate) links: Arc<Links>,
    /// Told the leader whose connection broke, or who does not answer.
    pub(crate) lost_leader: mpsc::Sender<NodeId>,
}

/// How long to wait for a leader that is far away, by how long its last answer took.
fn patience(last: Duration) -> Duration {
    (last * 2).clamp(PATIENCE, LONGEST_WAIT)
}

/// How a conversation with a leader ended.
enum Ended {
    /// There is another leader, or none.
    LeaderChanged,
    /// The connection broke, or the leader did not answer.
    Lost,
}

/// One try to get an answer from a leader.
#[derive(Clone, Copy)]
struct Attempt {
    began: Moment,
    /// How often a leader had been heard by then.
    heard: TimesHeard,
}

/// How the attempts of late went, and whether they say anything.
struct Tries {
    /// In a row.
    failures: u32,
    /// When the task last looked at its clock.
    ran: Moment,
    /// When it went on after the process had stood still.
    resumed: Option<Moment>,
}

impl Tries {
    fn new(now: Moment) -> Self {
        Self { failures: 0, ran: now, resumed: None }
    }

    /// The task runs at this moment.
    fn run(&mut self, now: Moment) {
        if now.since(self.ran) > STANDSTILL {
            *self = Self { failures: 0, ran: now, resumed: Some(now) };
        }
        self.ran = now;
    }

    /// Whether an attempt that fails now says something about the leader.
    fn count(&self, now: Moment) -> bool {
        self.resumed.is_none_or(|resumed| now.since(resumed) >= AFTER_STANDSTILL)
    }
}

/// One side of a conversation with a leader, remote or not.
struct Conversation {
    outgoing: mpsc::Sender<LeaseMessage>,
    news: News,
}

impl LeaseHolder {
    /// Runs until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        tokio::select! {
            biased;
            () = shutdown.wait() => {}
            () = self.hold() => {}
        }
    }

    async fn hold(&mut self) {
        let mut tries = Tries::new(self.clock.now());
        loop {
            tries.run(self.clock.now());
            let leader = *self.leader.borrow_and_update();
            let attempt = self.attempt();
            let Some(leader) = leader else {
                let _ = tokio::time::timeout(PATIENCE, self.leader.changed()).await;
                self.failed(&mut tries, attempt);
                continue;
            };
            let Some(conversation) = self.converse(leader) else {
                tokio::time::sleep(AFTER_FAILURE).await;
                self.failed(&mut tries, attempt);
                continue;
            };
            match self.follow(leader, conversation, &mut tries).await {
                Ended::LeaderChanged => {}
                Ended::Lost => {
                    self.say_lost(leader);
                    tokio::time::sleep(AFTER_FAILURE).await;
                    self.failed(&mut tries, attempt);
                }
            }
        }
    }

    fn say_lost(&self, leader: NodeId) {
        if leader != self.own {
            let _ = self.lost_leader.try_send(leader);
        }
    }

    fn attempt(&self) -> Attempt {
        Attempt { began: self.clock.now(), heard: self.published.times_heard() }
    }

    /// Counts an attempt that failed. One that took far longer than it may says nothing about the leader:
    /// this process was not running. Nor does one during which a leader was heard.
    fn failed(&self, tries: &mut Tries, attempt: Attempt) {
        let now = self.clock.now();
        tries.run(now);
        if !tries.count(now) || now.since(attempt.began) > PATIENCE * 3 && tries.failures == 0 {
            return;
        }
        if self.published.times_heard() != attempt.heard {
            tries.failures = 0;
            return;
        }
        tries.failures += 1;
        if tries.failures >= FAILURES && self.published.lease_left(now.0).is_zero() {
            self.published.no_leader(attempt.heard);
        }
    }

    /// Opens a conversation with the leader, which may be this node.
    fn converse(&self, leader: NodeId) -> Option<Conversation> {
        let (outgoing, messages) = mpsc::channel(16);
        let (incoming, news) = mpsc::channel(64);
        if leader == self.own {
            tokio::spawn(relay_to_office(self.office.clone(), messages, incoming));
        } else {
            let target = self.links.target(leader)?;
            tokio::spawn(relay_to_peer(Arc::clone(&self.links), target, messages, incoming));
        }
        Some(Conversation { outgoing, news })
    }

    /// Renews the lease with one leader until that ends.
    async fn follow(&mut self, leader: NodeId, mut conversation: Conversation, tries: &mut Tries) -> Ended {
        let mut applied = self.published.applied();
        let mut reported = LogIndex(0);
        let mut ask_at = self.clock.now();
        let mut unanswered: Option<Attempt> = None;
        let mut patience = PATIENCE;
        let mut warned = false;
        loop {
            let now = self.clock.now();
            tries.run(now);
            if let Some(asked) = unanswered {
                let waited = now.since(asked.began);
                if waited >= LONGEST_WAIT {
                    return Ended::Lost;
                }
                if waited >= patience && !warned {
                    // Whoever knows better will refuse the election. The answer may only be late.
                    self.say_lost(leader);
                    self.failed(tries, asked);
                    warned = true;
                }
            }
            let progress = *applied.borrow_and_update();
            if unanswered.is_none() && ask_at <= now {
                if conversation.outgoing.try_send(self.request(progress, now)).is_err() {
                    return Ended::Lost;
                }
                reported = progress.index;
                unanswered = Some(self.attempt());
                warned = false;
            } else if progress.ended_epoch > reported {
                // Somebody waits for the stable index to come this far.
                let _ = conversation.outgoing.try_send(self.report(progress));
                reported = progress.index;
            }
            let wait = if warned { LONGEST_WAIT } else { patience };
            // Never later than after its patience, or it would take itself for one that stood still.
            let wake_at = unanswered.map_or(ask_at, |asked| asked.began + wait).min(now + PATIENCE);
            tokio::select! {
                biased;
                changed = self.leader.changed() => {
                    if changed.is_err() || unanswered.is_none() || self.leader.borrow().is_some() {
                        return Ended::LeaderChanged;
                    }
                }
                news = conversation.news.recv() => match news {
                    Some(LeaseNews::Answer(answer)) => {
                        if answer.granted == Err(Denial::NoQuorum) {
                            // A leader that reaches no quorum is none: whoever hears only of it is cut off.
                            self.failed(tries, unanswered.unwrap_or_else(|| self.attempt()));
                        } else if answer.granted != Err(Denial::NotLeading) {
                            tries.failures = 0;
                        }
                        if let Some(asked) = unanswered.take() {
                            patience = self::patience(self.clock.now().since(asked.began));
                        }
                        ask_at = self.clock.now() + self.take(&answer);
                    }
                    Some(LeaseNews::Stable(stable)) => self.published.announce_stable(stable),
                    None => return Ended::Lost,
                },
                _ = applied.changed() => {}
                () = self.clock.sleep_until(wake_at) => {}
            }
        }
    }

    fn request(&self, progress: Applied, now: Moment) -> LeaseMessage {
        LeaseMessage::Request(LeaseRequest {
            node: self.own,
            incarnation: self.incarnation,
            reading: now.0,
            applied: progress.index,
        })
    }

    fn report(&self, progress: Applied) -> LeaseMessage {
        LeaseMessage::Applied { node: self.own, incarnation: self.incarnation, applied: progress.index }
    }

    /// Takes an answer in; returns how soon to ask again.
    fn take(&self, answer: &LeaseAnswer) -> Duration {
        if answer.incarnation != self.incarnation {
            return Duration::ZERO;
        }
        self.published.announce_stable(answer.stable);
        if let Some(time) = answer.time {
            self.published.cluster_time(time, answer.reading);
        }
        match answer.granted {
            Ok(length) => {
                if let Some(time) = answer.time {
                    self.published.granted_at(time, self.clock.now().0, answer.reading + length);
                }
                let late = deliberate::active(Fault::LeaseFromReceipt);
                self.published.lease(if late { self.clock.now().0 } else { answer.reading } + length);
                RENEWAL
            }
            Err(denial) => {
                tracing::debug!(%denial, commit = %answer.commit, "lease denied");
                if denial == Denial::Behind {
                    self.published.heard_leader();
                }
                AFTER_DENIAL
            }
        }
    }
}

async fn relay_to_office(
    office: OfficeHandle,
    mut messages: mpsc::Receiver<LeaseMessage>,
    news: mpsc::Sender<LeaseNews>,
) {
    office.call(LeaseCall::Joined { news: news.clone() });
    while let Some(message) = messages.recv().await {
        office.call(LeaseCall::Message { message, news: news.clone() });
    }
}

/// Carries one conversation over a stream; ends, and with it the conversation, when the stream breaks.
async fn relay_to_peer(
    links: Arc<Links>,
    target: Target,
    mut messages: mpsc::Receiver<LeaseMessage>,
    news: mpsc::Sender<LeaseNews>,
) {
    let (encoded, outgoing) = mpsc::channel(16);
    let Ok(request) = links.request(&target, ReceiverStream::new(outgoing)) else { return };
    let mut client = links.client(&target, Lane::Consensus);
    let sending = async {
        while let Some(message) = messages.recv().await {
            let Ok(message) = body(Kind::PeerRequest, &message) else { return };
            if encoded.send(message).await.is_err() {
                return;
            }
        }
    };
    let receiving = async {
        let mut answers = match client.lease(request).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return tracing::debug!(leader = %target.node, %status, "no lease stream"),
        };
        while let Ok(Some(answer)) = answers.message().await {
            let Ok(answer) = value::<LeaseNews>(Kind::PeerAnswer, &answer) else { return };
            if news.send(answer).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = sending => {}
        () = receiving => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_stood_still_counts_no_failure_until_it_can_have_heard_of_a_leader() {
        let at = |milliseconds| Moment(Duration::from_millis(milliseconds));
        let mut tries = Tries::new(at(0));
        for moment in (0..2000).step_by(200) {
            tries.run(at(moment));
            assert!(tries.count(at(moment)), "at {moment} ms");
        }
        tries.failures = 2;
        // Stopped for two seconds.
        for moment in (3800..4400).step_by(25) {
            tries.run(at(moment));
            assert!(!tries.count(at(moment)) && tries.failures == 0, "at {moment} ms");
        }
        tries.run(at(4400));
        assert!(tries.count(at(4400)), "by then it is cut off");
    }
}
