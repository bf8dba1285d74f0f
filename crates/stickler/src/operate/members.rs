//! `stickler cluster members`: who replicates the state.

use stickler_proto::admin::{ListMembersReply, ListMembersRequest, Member};

use super::Target;
use crate::admin_client::Purpose;
use crate::failure::Failure;
use crate::printer::{self, Format, Table};

/// Shows the members.
///
/// # Errors
/// [`Failure`].
pub async fn run(target: &Target) -> Result<(), Failure> {
    let reply: ListMembersReply = target
        .nodes()
        .ask(Purpose::Look, async |mut node| {
            node.list_members(ListMembersRequest {}).await.map(tonic::Response::into_inner)
        })
        .await?;
    match target.output {
        Format::Json => printer::json(&reply)?,
        Format::Table => table(&reply.members)?,
    }
    Ok(())
}

/// The members as a table.
pub(super) fn table(members: &[Member]) -> Result<(), Failure> {
    let mut table = Table::new(&["MEMBER", "PEER ADDRESS", "ROLE", "LEADER", "DATA DIRECTORY"]);
    for member in members {
        table.row([
            member.node.to_string(),
            member.peer_address.clone(),
            if member.voter { "voter" } else { "learner" }.to_owned(),
            if member.leader { "yes" } else { "" }.to_owned(),
            member.directory.clone(),
        ]);
    }
    Ok(table.print()?)
}
