//! `stickler cluster`: who replicates the state, and who leads.

use stickler_proto::admin::{HandOverReply, HandOverRequest, ListMembersReply, ListMembersRequest, Member};

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

/// To whom leadership goes.
#[derive(Debug, clap::Args)]
pub struct HandOverOptions {
    /// The node that is to lead; without this, the one of the others that lacks the least
    #[arg(long, value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    #[command(flatten)]
    target: Target,
}

/// Has another member lead.
///
/// # Errors
/// [`Failure`].
pub async fn hand_over(options: &HandOverOptions) -> Result<(), Failure> {
    let request = HandOverRequest { to: options.to.unwrap_or_default() };
    let reply: HandOverReply = options
        .target
        .nodes()
        .ask(Purpose::Change, async |mut node| node.hand_over(request).await.map(tonic::Response::into_inner))
        .await?;
    match options.target.output {
        Format::Json => printer::json(&reply)?,
        Format::Table => printer::line(&format!("node {} leads", reply.leader))?,
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
