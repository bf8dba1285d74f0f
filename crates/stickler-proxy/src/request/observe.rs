//! An affinity that only observes: sessions are recognised and recorded beside the requests, and nothing that goes
//! wrong with them is felt by a client.

use stickler_core::ids::{BackendId, LogIndex};
use stickler_core::routing::{ChooseBy, Held, Mint, Step, Ticket};
use stickler_core::state::{Origin, Rebind, SessionKey, Unbind};

use super::steps::{Decided, Router, Routing};
use crate::responses::Answer;

impl Router {
    /// Chooses a backend as if there were no sessions, and notes where the session would have sent the request.
    pub(super) fn observe(
        &self,
        routing: &Routing<'_>,
        failed: Option<BackendId>,
    ) -> Result<Decided, Answer> {
        let step = self.next_step(routing, routing.recognised, None);
        let by = match step {
            Step::Unbound { mint: Mint::Recorded | Mint::Unrecorded, .. } => ChooseBy::WithoutCounts,
            step if step.counts() => ChooseBy::Algorithm,
            _ => ChooseBy::WithoutCounts,
        };
        let ticket = self.choose_unbound(routing, by, failed)?;
        match step {
            Step::Forward(Ticket { session: Some(routed), backend, .. }) => {
                if let Some(policy) = &routing.policy {
                    self.proxy.observed.count(policy.id, backend != ticket.backend);
                }
                return Ok(Decided::Observed(ticket, routed));
            }
            Step::Place { session, held, .. } => {
                let origin = match held {
                    Held::Unknown => Origin::Adopt { backend: ticket.backend },
                    Held::Named(backend) => Origin::Adopt { backend },
                    Held::Token { backend, issued } => {
                        Origin::Return { pool: routing.pools.drawn, backend, issued }
                    }
                };
                self.note(session, origin, self.proxy.cluster.view().applied);
            }
            Step::Move { located, reason } => {
                let (session, epoch) = (located.session, located.binding.epoch);
                self.proxy.binder.rebind_meanwhile(Rebind {
                    session,
                    epoch,
                    reason,
                    candidate: Some(ticket.backend),
                });
            }
            Step::End { located } => {
                let (session, epoch) = (located.session, located.binding.epoch);
                self.proxy.binder.unbind(Unbind { session, epoch });
            }
            Step::Unbound { mint: Mint::Recorded | Mint::Unrecorded, .. } => {
                return Ok(Decided::MintUnrecorded(ticket));
            }
            Step::Forward(_) | Step::Unbound { .. } | Step::Hold(_) | Step::Refuse(_) => {}
        }
        Ok(Decided::Ticket(ticket))
    }

    /// Records a session; nobody waits for it.
    pub(super) fn note(&self, session: SessionKey, origin: Origin, seen: LogIndex) {
        self.proxy.binder.bind_meanwhile(session, origin, seen);
    }
}
