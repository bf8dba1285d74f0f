//! What backends have seen of sessions, together: the epochs by which requests came.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::history::event::{Event, Sighting};
use crate::history::recorder::Recorder;

/// Splits that are kept; more are counted only.
const KEPT_SPLITS: usize = 100;

/// One epoch of one session was routed to two backends: agreement (I1) is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("epoch {epoch} of session {key} was routed to {} and to {}", backends.0, backends.1)]
pub(crate) struct EpochSplit {
    /// The session's key.
    pub key: String,
    /// The epoch.
    pub epoch: u64,
    /// Both backends.
    pub backends: (String, String),
}

/// All backends report here.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    seen: Mutex<Seen>,
    /// Requests with a body whose heads have come.
    begun: watch::Sender<usize>,
    recorder: Option<Recorder>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The highest epoch of each session, and the backend that it came to.
    highest: HashMap<String, (u64, String)>,
    splits: Vec<EpochSplit>,
    overtaken: u64,
}

impl Witness {
    /// A witness whose first sightings go into a history, too.
    pub(crate) fn recording(recorder: Recorder) -> Self {
        Self { recorder: Some(recorder), ..Self::default() }
    }

    /// The head of a request with a body came to a backend.
    pub(crate) fn began(&self) {
        self.begun.send_modify(|begun| *begun += 1);
    }

    /// How many of these there were.
    pub(crate) fn begun(&self) -> watch::Receiver<usize> {
        self.begun.subscribe()
    }

    /// A request of this session came to this backend by this epoch. Whether it was overtaken by another one.
    pub(crate) fn saw(&self, key: &str, epoch: u64, backend: &str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((highest, at)) = seen.highest.get_mut(key) else {
            seen.highest.insert(key.to_owned(), (epoch, backend.to_owned()));
            drop(seen);
            self.record(key, epoch, backend);
            return false;
        };
        let overtaken = epoch < *highest;
        if epoch > *highest {
            (*highest, *at) = (epoch, backend.to_owned());
            drop(seen);
            self.record(key, epoch, backend);
        } else if overtaken {
            // It was on its way when the session moved: what fencing is for.
            seen.overtaken += 1;
        } else if at != backend {
            let backends = (at.clone(), backend.to_owned());
            if seen.splits.len() < KEPT_SPLITS {
                seen.splits.push(EpochSplit { key: key.to_owned(), epoch, backends });
            }
            drop(seen);
            self.record(key, epoch, backend);
        }
        overtaken
    }

    fn record(&self, key: &str, epoch: u64, backend: &str) {
        if let Some(recorder) = &self.recorder {
            let (key, backend) = (key.to_owned(), backend.to_owned());
            recorder.write(&Event::Sighting(Sighting { at: recorder.now(), backend, key, epoch }));
        }
    }

    /// Epochs that came to two backends.
    pub(crate) fn splits(&self) -> Vec<EpochSplit> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).splits.clone()
    }

    /// Requests that came by an older epoch than one before.
    pub(crate) fn overtaken(&self) -> u64 {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).overtaken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_epoch_at_two_backends_is_a_split_and_an_older_one_is_overtaken() {
        let witness = Witness::default();
        witness.saw("a", 1, "web-1");
        witness.saw("a", 1, "web-1");
        witness.saw("a", 2, "web-2");
        witness.saw("b", 1, "web-2");
        assert_eq!(witness.splits(), []);
        assert!(witness.saw("a", 1, "web-1"));
        assert_eq!((witness.splits().len(), witness.overtaken()), (0, 1));
        witness.saw("a", 2, "web-1");
        let backends = ("web-2".to_owned(), "web-1".to_owned());
        assert_eq!(witness.splits(), [EpochSplit { key: "a".to_owned(), epoch: 2, backends }]);
    }
}
