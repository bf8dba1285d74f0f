//! Many people at one node who have no session: they fill queues, and budgets of retries, and could go to any shop.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use stickler_core::ids::NodeId;
use tokio::sync::mpsc;

use super::http::{REQUEST, ask};
use super::ledger::{Ledger, now};
use super::waiting_for_room::Answered;

/// What those of a crowd want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A page, which needs no session.
    Page,
    /// A session of their own, which needs no record until they come back. None does.
    Session,
}

impl Wants {
    const fn path(self) -> &'static str {
        match self {
            Self::Page => "/plain/page",
            Self::Session => "/guest/cart",
        }
    }
}

/// A crowd that comes.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// To which node.
    pub node: NodeId,
    /// How many they are; each asks once.
    pub size: u32,
    /// For what.
    pub wants: Wants,
    /// The time within which they come.
    pub within: Duration,
}

/// Lets crowds come when they are told to, for as long as clients are there.
pub async fn come(
    mut crowds: mpsc::UnboundedReceiver<Crowd>,
    ledger: Ledger,
    nodes: BTreeMap<NodeId, IpAddr>,
) {
    while let Some(Crowd { node, size, wants, within }) = crowds.recv().await {
        for place in 0..size {
            let (ledger, to) = (ledger.clone(), nodes[&node]);
            tokio::spawn(async move {
                tokio::time::sleep(within * place / size).await;
                ask_once(&ledger, (node, to), wants).await;
            });
        }
    }
}

async fn ask_once(ledger: &Ledger, (node, to): (NodeId, IpAddr), wants: Wants) {
    let number = ledger.open().evidence.asks(node);
    let headers = [(REQUEST, number.to_string())];
    let asked = now();
    ledger.open().evidence.room.comes(asked, number);
    let reply = ask(to, "GET", wants.path(), &headers).await;
    let (status, error) = reply
        .as_ref()
        .map_or((0, None), |reply| (reply.status, reply.header("stickler-error").map(ToOwned::to_owned)));
    let came = match (status, error.as_deref()) {
        (200, _) => "crowds: answered by a shop",
        (0, _) => "crowds: not answered",
        (_, None) => "crowds: a shop's error",
        (_, Some("queue-full")) => "crowds: too many waited",
        (_, Some("queue-timeout")) => "crowds: waited too long",
        (_, Some(_)) => "crowds: answered by a node",
    };
    ledger.count(came);
    if let Ok(reply) = &reply {
        let refused = reply.header("stickler-error");
        let in_time =
            ledger.open().evidence.room.is_in_time(&Answered { node, number, asked, at: now(), refused });
        in_time.unwrap_or_else(|broken| ledger.violated(broken));
    }
    ledger.note("crowd", format_args!("{number} via {node}: {status} {}", error.as_deref().unwrap_or("-")));
}
