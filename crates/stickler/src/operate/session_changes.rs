//! `stickler session unbind` and `move`: which session, and what is told of it.

use stickler_proto::admin::{
    MoveSessionReply, MoveSessionRequest, Session, ShowSessionRequest, UnbindSessionReply,
    UnbindSessionRequest,
};

use super::Target;
use super::backends::{backend_name, named};
use super::by_rule::{self, PaceOptions, RuleOptions};
use super::receipts::{WaitOptions, told};
use super::sessions::{backend, look_up};
use crate::admin_client::{Nodes, Purpose};
use crate::failure::Failure;
use crate::printer::{self, Format};

/// One session, where a rule may stand instead.
#[derive(Debug, clap::Args)]
struct OneSession {
    /// The affinity by which the client was recognised
    #[arg(value_name = "AFFINITY", required_unless_present = "rule", conflicts_with = "rule")]
    session_affinity: Option<String>,
    /// The session's key, as `session list` shows it
    #[arg(required_unless_present_any = ["identifier", "rule"], conflicts_with = "rule")]
    key: Option<String>,
    /// What the client sends: the value of its cookie or header, its bearer token, or its address
    #[arg(long, conflicts_with_all = ["key", "rule"], value_name = "VALUE")]
    identifier: Option<String>,
}

/// Which sessions to end, and for whom to wait.
#[derive(Debug, clap::Args)]
pub struct UnbindOptions {
    #[command(flatten)]
    session: OneSession,
    #[command(flatten)]
    rule: RuleOptions,
    #[command(flatten)]
    pace: PaceOptions,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    target: Target,
}

/// Which sessions to move, where to, and for whom to wait.
#[derive(Debug, clap::Args)]
pub struct MoveOptions {
    #[command(flatten)]
    session: OneSession,
    #[command(flatten)]
    rule: RuleOptions,
    /// The backend that gets the session
    #[arg(long, value_name = "POOL/NAME", value_parser = backend_name)]
    to: String,
    #[command(flatten)]
    pace: PaceOptions,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    target: Target,
}

impl OneSession {
    async fn look_up(&self, nodes: &Nodes) -> Result<Session, Failure> {
        let request = ShowSessionRequest {
            affinity: self.session_affinity.clone().unwrap_or_default(),
            key: self.key.clone().unwrap_or_default(),
            identifier: self.identifier.clone().unwrap_or_default(),
        };
        look_up(nodes, request).await
    }
}

/// Ends a session, or those that a rule means.
///
/// # Errors
/// [`Failure`].
pub async fn unbind(options: &UnbindOptions) -> Result<(), Failure> {
    let UnbindOptions { session, rule, pace, wait, target } = options;
    if rule.is_given() {
        return by_rule::unbind(rule, *pace, *wait, target).await;
    }
    let nodes = target.nodes();
    let found = session.look_up(&nodes).await?;
    let request = UnbindSessionRequest {
        affinity: found.affinity.clone(),
        key: found.key.clone(),
        expected_epoch: found.epoch,
    };
    let reply: UnbindSessionReply = nodes
        .ask(Purpose::Change, async |mut node| {
            node.unbind_session(request.clone()).await.map(tonic::Response::into_inner)
        })
        .await?;
    let receipt = wait.complete(&nodes, reply.receipt.clone().unwrap_or_default()).await?;
    match target.output {
        Format::Json => printer::json(&UnbindSessionReply { receipt: Some(receipt.clone()), ..reply })?,
        Format::Table => {
            let (key, from, at) = (&found.key, backend(&found), reply.index);
            printer::line(&format!("{key}: unbound from {from} at index {at}{}", told(&receipt)))?;
        }
    }
    wait.verdict(&receipt)
}

/// Moves a session, or those that a rule means.
///
/// # Errors
/// [`Failure`].
pub async fn move_session(options: &MoveOptions) -> Result<(), Failure> {
    let MoveOptions { session, rule, to, pace, wait, target } = options;
    if rule.is_given() {
        return by_rule::move_away(rule, to, *pace, *wait, target).await;
    }
    let nodes = target.nodes();
    let found = session.look_up(&nodes).await?;
    let request = MoveSessionRequest {
        affinity: found.affinity.clone(),
        key: found.key.clone(),
        expected_epoch: found.epoch,
        to: named(&nodes, to).await?.id,
    };
    let reply: MoveSessionReply = nodes
        .ask(Purpose::Change, async |mut node| {
            node.move_session(request.clone()).await.map(tonic::Response::into_inner)
        })
        .await?;
    let receipt = wait.complete(&nodes, reply.receipt.clone().unwrap_or_default()).await?;
    match target.output {
        Format::Json => printer::json(&MoveSessionReply { receipt: Some(receipt.clone()), ..reply })?,
        Format::Table => {
            let (key, from, at) = (&found.key, backend(&found), reply.index);
            printer::line(&format!("{key}: moved from {from} to {to} at index {at}{}", told(&receipt)))?;
        }
    }
    wait.verdict(&receipt)
}
