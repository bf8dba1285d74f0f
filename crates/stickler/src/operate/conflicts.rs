//! `stickler session list --conflicts`: what nodes that were cut off served by epochs that had ended.

use stickler_proto::admin::{Conflict, ListConflictsRequest};

use super::Target;
use crate::admin_client::Purpose;
use crate::failure::Failure;
use crate::printer::{self, Format, Table};

/// Lists them, the newest last.
///
/// # Errors
/// [`Failure`].
pub async fn list(target: &Target) -> Result<(), Failure> {
    let reply = target
        .nodes()
        .ask(Purpose::Look, async |mut node| {
            node.list_conflicts(ListConflictsRequest {}).await.map(tonic::Response::into_inner)
        })
        .await?;
    if target.output == Format::Json {
        return Ok(printer::json(&reply)?);
    }
    let mut table = Table::new(&["AFFINITY", "KEY", "NODE", "SERVED BY", "REQUESTS", "COUNTS", "REPORTED"]);
    for conflict in &reply.conflicts {
        table.row([
            conflict.affinity.clone(),
            conflict.key.clone(),
            conflict.node.to_string(),
            binding(conflict.epoch, &conflict.backend_name),
            conflict.requests.to_string(),
            instead(conflict),
            format!("{} ago", printer::duration(conflict.age_milliseconds)),
        ]);
    }
    table.print()?;
    let listed = u64::try_from(reply.conflicts.len()).unwrap_or(u64::MAX);
    if reply.total > listed {
        printer::note(&format!("the newest {listed} of {}", reply.total));
    }
    Ok(())
}

fn binding(epoch: u64, backend: &str) -> String {
    match epoch {
        0 => format!("{backend}, by a token"),
        epoch => format!("{backend}, epoch {epoch}"),
    }
}

fn instead(conflict: &Conflict) -> String {
    match conflict.instead_epoch {
        0 => "nothing: it had ended".to_owned(),
        epoch => binding(epoch, &conflict.instead_backend_name),
    }
}
