//! `stickler apply`: gives a cluster document to the cluster.

use std::path::PathBuf;

use similar::TextDiff;
use stickler_proto::admin::{
    ApplyDocumentReply, ApplyDocumentRequest, Removal, ShowDocumentReply, ShowDocumentRequest,
};

use super::Target;
use crate::admin_client::Purpose;
use crate::document_file::{self, Kind};
use crate::failure::Failure;
use crate::printer::{self, Format};

/// What to apply, and to which revision.
#[derive(Debug, clap::Args)]
pub struct ApplyOptions {
    /// The cluster document
    file: PathBuf,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Refuse when the cluster's document has another revision than this one (0: none was applied yet).
    /// Without it, the revision of this moment counts
    #[arg(long, value_name = "REVISION")]
    expect: Option<u64>,
    /// Backends that the document names no more are gone at once: their sessions move, or end, with their next request
    #[arg(long)]
    force_removal: bool,
    #[command(flatten)]
    target: Target,
}

/// Checks the document here, and then applies it.
///
/// # Errors
/// [`Failure`].
pub async fn run(options: &ApplyOptions) -> Result<(), Failure> {
    let text = document_file::read(&options.file)?;
    if let Some(problems) = Kind::Cluster.problems(&options.file, &text) {
        return Err(Failure::Usage(problems.to_string()));
    }
    if options.dry_run {
        return dry_run(options, &text).await;
    }
    let expected_revision = match options.expect {
        Some(revision) => revision,
        None => {
            let shown = show(options).await?;
            if shown.revision > 0 && shown.text == text {
                return print(options, &ApplyDocumentReply { revision: shown.revision, index: 0 });
            }
            shown.revision
        }
    };
    let removal = Some(Removal { force: options.force_removal, drain_milliseconds: None });
    let file_name = options.file.display().to_string();
    let request = ApplyDocumentRequest { text, file_name, expected_revision, removal };
    let nodes = options.target.nodes();
    let applying = nodes.ask(Purpose::Change, async |mut node| {
        node.apply_document(request.clone()).await.map(tonic::Response::into_inner)
    });
    print(options, &applying.await?)
}

async fn show(options: &ApplyOptions) -> Result<ShowDocumentReply, Failure> {
    let nodes = options.target.nodes();
    nodes
        .ask(Purpose::Look, async |mut node| {
            node.show_document(ShowDocumentRequest {}).await.map(tonic::Response::into_inner)
        })
        .await
}

fn print(options: &ApplyOptions, reply: &ApplyDocumentReply) -> Result<(), Failure> {
    match (options.target.output, reply.index) {
        (Format::Json, _) => printer::json(reply)?,
        (Format::Table, 0) => printer::line(&format!("unchanged: revision {} is the same", reply.revision))?,
        (Format::Table, index) => {
            printer::line(&format!("applied: revision {} at index {index}", reply.revision))?;
        }
    }
    Ok(())
}

async fn dry_run(options: &ApplyOptions, text: &str) -> Result<(), Failure> {
    let shown = show(options).await?;
    if let Some(expected) = options.expect.filter(|expected| *expected != shown.revision) {
        return Err(Failure::Refused(format!(
            "the cluster document has revision {}, not {expected}: somebody changed it",
            shown.revision
        )));
    }
    let before = format!("revision {}", shown.revision);
    let after = options.file.display().to_string();
    let difference = TextDiff::from_lines(&shown.text, text);
    let difference = difference.unified_diff().header(&before, &after).to_string();
    let changed = shown.text != text;
    match options.target.output {
        Format::Json => printer::json(&serde_json::json!({
            "revision": shown.revision,
            "changed": changed,
            "difference": difference,
        }))?,
        Format::Table if changed => printer::line(difference.trim_end())?,
        Format::Table => printer::line(&format!("no change: revision {} is the same", shown.revision))?,
    }
    Ok(())
}
