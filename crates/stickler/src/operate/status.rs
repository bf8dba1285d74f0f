//! `stickler status`: what each node says of itself.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde::Serialize;
use stickler_proto::admin::{ListMembersRequest, Member, StatusReply, StatusRequest};

use super::{Target, members};
use crate::admin_client::{NodeAddress, Nodes, Purpose};
use crate::failure::Failure;
use crate::printer::{self, Format, Table};

/// One node that was asked.
#[derive(Serialize)]
struct Asked {
    address: String,
    status: Option<StatusReply>,
    /// Why there is no status.
    error: Option<String>,
}

/// Asks every node of the target, and one of them for the members.
///
/// # Errors
/// [`Failure::Unreachable`] when no node answers; [`Failure::Refused`] when two nodes show different states
/// at one index, which must never be.
pub async fn run(target: &Target) -> Result<(), Failure> {
    let asked = join_all(target.nodes.iter().map(ask)).await;
    let members = target
        .nodes()
        .ask(Purpose::Look, async |mut node| {
            node.list_members(ListMembersRequest {}).await.map(tonic::Response::into_inner)
        })
        .await?
        .members;
    match target.output {
        Format::Json => printer::json(&serde_json::json!({ "nodes": asked, "members": members }))?,
        Format::Table => {
            nodes_table(&asked)?;
            printer::line("")?;
            members::table(&members)?;
            remark(&asked, &members);
        }
    }
    let statuses = asked.iter().filter_map(|asked| asked.status.as_ref());
    match divergence(statuses) {
        Some(message) => Err(Failure::Refused(message)),
        None => Ok(()),
    }
}

async fn ask(address: &NodeAddress) -> Asked {
    let only = Nodes(vec![address.clone()]);
    let answered = only
        .ask(Purpose::Look, async |mut node| {
            node.status(StatusRequest {}).await.map(tonic::Response::into_inner)
        })
        .await;
    let address = address.to_string();
    match answered {
        Ok(status) => Asked { address, status: Some(status), error: None },
        Err(failure) => Asked { address, status: None, error: Some(failure.to_string()) },
    }
}

fn nodes_table(asked: &[Asked]) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "NODE",
        "ADMIN ADDRESS",
        "ROLE",
        "LEADER",
        "TERM",
        "APPLIED",
        "LEASE",
        "SESSIONS",
        "DOCUMENT",
        "STATE HASH",
        "READINESS",
    ]);
    for Asked { address, status, .. } in asked {
        let Some(status) = status else {
            let blank = std::iter::repeat_n("-".to_owned(), 8);
            let cells = ["?".to_owned(), address.clone()].into_iter().chain(blank);
            table.row(cells.chain(["unreachable".to_owned()]));
            continue;
        };
        let lease = match status.footing.as_str() {
            "leased" => printer::duration(status.lease_milliseconds),
            other => other.to_owned(),
        };
        table.row([
            status.node.to_string(),
            address.clone(),
            status.role.clone(),
            if status.leader == 0 { "none".to_owned() } else { status.leader.to_string() },
            status.term.to_string(),
            status.applied_index.to_string(),
            lease,
            status.sessions.to_string(),
            status.document_revision.to_string(),
            status.state_hash.clone(),
            status.readiness.clone(),
        ]);
    }
    Ok(table.print()?)
}

/// Says on standard error what the tables leave open.
fn remark(asked: &[Asked], members: &[Member]) {
    for error in asked.iter().filter_map(|asked| asked.error.as_ref()) {
        printer::note(error);
    }
    let answered = asked.iter().filter_map(|asked| asked.status.as_ref());
    let answered: Vec<u64> = answered.map(|status| status.node).collect();
    let silent: Vec<String> = members
        .iter()
        .filter(|member| !answered.contains(&member.node))
        .map(|member| member.node.to_string())
        .collect();
    if !silent.is_empty() {
        printer::note(&format!("no status of node {}: name it with --node", silent.join(", ")));
    }
}

/// Two nodes at one index have one state (I9).
fn divergence<'s>(statuses: impl Iterator<Item = &'s StatusReply>) -> Option<String> {
    let mut seen: BTreeMap<(&str, u64), &StatusReply> = BTreeMap::new();
    for status in statuses {
        let first = seen.entry((&status.cluster, status.applied_index)).or_insert(status);
        if first.state_hash != status.state_hash {
            return Some(format!(
                "nodes {} and {} have different states at index {}: stop one of them and restore it from the \
                 other by an empty data directory, and report this",
                first.node, status.node, status.applied_index
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(node: u64, applied_index: u64, state_hash: &str) -> StatusReply {
        StatusReply { node, applied_index, state_hash: state_hash.to_owned(), ..StatusReply::default() }
    }

    #[test]
    fn nodes_at_one_index_must_have_one_state() {
        let same = [status(1, 7, "aa"), status(2, 7, "aa"), status(3, 6, "bb")];
        assert_eq!(divergence(same.iter()), None);
        let different = [status(1, 7, "aa"), status(2, 7, "bb")];
        assert!(divergence(different.iter()).is_some());
    }
}
