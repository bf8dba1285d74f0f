//! Step 4: how many sessions each client's address may begin.

use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use stickler_core::source_rates::SourceRates;

use super::node::ProxyCounters;
use super::steps::{Router, Routing};
use crate::responses::Answer;

/// The rates of a node. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Admissions {
    // Only requests that begin a session under a limit come here.
    rates: Arc<Mutex<SourceRates>>,
}

impl Router {
    /// Lets a request begin a session, once however often it is tried, or answers it with 429.
    pub(super) fn admit(&self, routing: &Routing<'_>) -> Result<(), Answer> {
        let Some(policy) = routing.policy else { return Ok(()) };
        let Some(rate) = policy.affinity.new_sessions_per_source else { return Ok(()) };
        if routing.admitted.get() {
            return Ok(());
        }
        let now = self.proxy.cluster.outside().clock.now().0;
        let mut rates = self.proxy.admissions.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = rates.admit(policy.id, routing.source, rate, now);
        drop(rates);
        match admitted {
            Ok(()) => {
                routing.admitted.set(true);
                Ok(())
            }
            Err(wait) => {
                ProxyCounters::count(&self.proxy.counters.over_rate);
                let text = "too many new sessions from this address";
                let answer = Answer::new(StatusCode::TOO_MANY_REQUESTS, "too-many-new-sessions", text);
                Err(answer.retry_after(wait))
            }
        }
    }
}
