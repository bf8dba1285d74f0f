//! Requests of clients with Stickler's cookie, which may begin a session: one address begins so many and no more.

use stickler_core::ids::NodeId;

use super::Client;
use crate::simulation::document::NEW_SESSIONS;
use crate::simulation::http::Reply;
use crate::simulation::ledger::now;
use crate::simulation::new_sessions::Tried;
use crate::simulation::session::Kind;

/// A request of a client with Stickler's cookie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asks {
    /// Its number among those of its node.
    number: usize,
    /// It carries no cookie.
    fresh: bool,
    /// It may begin a session, as far as was known when it was sent.
    begins: bool,
}

impl Client {
    /// Notes that the next request through a node may begin a session with Stickler's cookie. It may although there is
    /// one, which may end while it is on its way.
    pub(super) fn tries(&self, node: NodeId) -> Option<Asks> {
        if self.kind != Kind::Own {
            return None;
        }
        let (fresh, record) = (!self.session.has_identifier(), &self.session.record);
        // What a token alone proves begins, for whoever counts, once it comes back and is bound.
        let begins = fresh || !record.is_recorded() || record.may_have_ended(&self.shared.ledger);
        let number = self.shared.ledger.open().evidence.new_sessions.tries(now(), node);
        Some(Asks { number, fresh, begins })
    }

    /// A client's address begins so many sessions with Stickler's cookie and no more, and who has a session goes on.
    pub(super) fn tried(&self, node: NodeId, asks: Option<Asks>, reply: &std::io::Result<Reply>) {
        let ledger = &self.shared.ledger;
        let outcome = match reply {
            Ok(reply) if reply.status == 429 => Tried::Refused,
            // Without a record it costs nothing, and is not limited.
            Ok(reply) if reply.header("stickler-affinity") == Some("begun") => Tried::Nothing,
            // A client that had one may have got another cookie of the same session.
            Ok(reply) if reply.status == 200 && asks.is_some_and(|asks| asks.fresh) => {
                if reply.cookies().next().is_some() { Tried::Begun } else { Tried::Nothing }
            }
            _ => Tried::Nothing,
        };
        let over = self.session.record.may_have_ended(ledger);
        let Some(asks) = asks.filter(|asks| asks.begins || over) else {
            if let Some(asks) = asks {
                ledger.open().evidence.new_sessions.went_on(node, asks.number);
            }
            if outcome == Tried::Refused && self.session.record.is_known() && !over {
                ledger.violated(format_args!(
                    "the rate: {} has a session, and node {node} refuses it",
                    self.name
                ));
            }
            return;
        };
        if outcome == Tried::Refused {
            ledger.count("new sessions over the rate");
        }
        let tried = {
            let evidence = &mut ledger.open().evidence;
            let process = (node, evidence.up_since(node));
            evidence.new_sessions.tried(now(), process, asks.number, outcome, NEW_SESSIONS)
        };
        if let Err(broken) = tried {
            ledger.violated(broken);
        }
    }
}
