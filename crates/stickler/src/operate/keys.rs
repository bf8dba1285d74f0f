//! `stickler key`: the sealing keys of Stickler's cookie, and the key that wraps the cluster's secrets.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use stickler_core::secrets::SecretsKey;
use stickler_proto::admin::{ListKeysReply, ListKeysRequest, RotateKeyReply, RotateKeyRequest, SealingKey};
use stickler_rt::Seed;

use super::Target;
use crate::admin_client::{Nodes, Purpose};
use crate::failure::Failure;
use crate::printer::{self, Format, Table};

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum KeyCommand {
    /// Show every key: its age, and whether it seals or only opens. Secrets are never shown
    List(Target),
    /// Add a key now, as when somebody may have got hold of the present one; by age that happens by itself
    Rotate(Target),
    /// Make a file for `secrets_key_file` in the node files of a new cluster. Every node needs a copy
    #[command(after_help = "Example: stickler key new /etc/stickler/secrets.key")]
    New {
        /// The file to make; one that is there is left alone
        file: PathBuf,
    },
}

/// Runs one of the commands.
///
/// # Errors
/// [`Failure`].
pub async fn run(command: &KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::List(target) => list(target).await,
        KeyCommand::Rotate(target) => rotate(target).await,
        KeyCommand::New { file } => new(file),
    }
}

async fn list(target: &Target) -> Result<(), Failure> {
    let reply = ask(&target.nodes()).await?;
    if target.output == Format::Json {
        return Ok(printer::json(&reply)?);
    }
    let mut table = Table::new(&["KEY", "AGE", "STATE"]);
    for key in &reply.keys {
        table.row([key.id.to_string(), printer::duration(key.age_milliseconds), state(key)]);
    }
    Ok(table.print()?)
}

fn state(key: &SealingKey) -> String {
    match (key.state.as_str(), key.opens_milliseconds) {
        ("not-yet-sealing", _) => format!("not yet sealing (from index {} on)", key.added_index),
        (state, Some(left)) => format!("{state} ({} left)", printer::duration(left)),
        (state, None) => state.to_owned(),
    }
}

/// Adds a key after the newest of this moment.
async fn rotate(target: &Target) -> Result<(), Failure> {
    let nodes = target.nodes();
    let newest = ask(&nodes).await?.keys.last().map(|key| key.id);
    let expected_key = newest
        .ok_or_else(|| Failure::Refused("there is no key yet: the cluster is not founded".to_owned()))?;
    let reply: RotateKeyReply = nodes
        .ask(Purpose::Change, async |mut node| {
            node.rotate_key(RotateKeyRequest { expected_key }).await.map(tonic::Response::into_inner)
        })
        .await?;
    match target.output {
        Format::Json => printer::json(&reply)?,
        Format::Table => printer::line(&format!("key {} added at index {}", reply.key, reply.index))?,
    }
    Ok(())
}

/// Makes a file with a secrets key, for its owner alone, and has it on the disk before anybody relies on it.
fn new(file: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Refused(format!("{}: {error}", file.display()));
    let mut key = [0; 32];
    let seed = Seed::from_system().map_err(|error| Failure::Refused(error.to_string()))?;
    seed.child("secrets key").fill(&mut key);
    let mut written = File::options().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    written.write_all(SecretsKey::new(key).text().as_bytes()).map_err(failed)?;
    written.sync_all().map_err(failed)?;
    printer::line(&format!("{}: a new key; every node of the cluster needs a copy", file.display()))?;
    Ok(())
}

async fn ask(nodes: &Nodes) -> Result<ListKeysReply, Failure> {
    nodes
        .ask(Purpose::Look, async |mut node| {
            node.list_keys(ListKeysRequest {}).await.map(tonic::Response::into_inner)
        })
        .await
}
