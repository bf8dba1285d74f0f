//! `stickler affinity`: what each affinity has, and which of its keys are the heaviest.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde::Serialize;
use stickler_proto::admin::{
    Affinity, HeavyKey, ListAffinitiesReply, ListAffinitiesRequest, ListHeaviestKeysReply,
    ListHeaviestKeysRequest,
};

use super::Target;
use crate::admin_client::{Nodes, Purpose};
use crate::failure::Failure;
use crate::printer::{self, Format, Table};

/// What to do with affinities.
#[derive(Debug, clap::Subcommand)]
pub enum AffinityCommand {
    /// List the affinities: mode, sessions, and what the nodes that are named have observed
    #[command(after_help = "Example: stickler affinity list --node 127.0.0.1:7601 --node 127.0.0.1:7611\n\
                      Every node that is named is asked; what each has observed is added up.")]
    List(Target),
    /// Show the keys of an affinity with the most requests in the last one to two minutes
    #[command(after_help = "Example: stickler affinity heaviest cart --limit 5\n\
                      Every node that is named is asked, and their requests are added up.")]
    Heaviest(HeaviestOptions),
}

/// Whose keys.
#[derive(Debug, clap::Args)]
pub struct HeaviestOptions {
    /// The affinity
    affinity: String,
    /// The most keys that are shown
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    #[command(flatten)]
    target: Target,
}

/// Runs one of the commands.
///
/// # Errors
/// [`Failure`].
pub async fn run(command: &AffinityCommand) -> Result<(), Failure> {
    match command {
        AffinityCommand::List(target) => list(target).await,
        AffinityCommand::Heaviest(options) => heaviest(options).await,
    }
}

async fn list(target: &Target) -> Result<(), Failure> {
    let asked = ask_each(target, async |node: Nodes| {
        node.ask(Purpose::Look, async |mut node| {
            node.list_affinities(ListAffinitiesRequest {}).await.map(tonic::Response::into_inner)
        })
        .await
    });
    let replies: Vec<ListAffinitiesReply> = asked.await?;
    let affinities = together(&replies);
    if target.output == Format::Json {
        let nodes: Vec<u64> = replies.iter().map(|reply| reply.node).collect();
        return Ok(printer::json(&serde_json::json!({ "nodes": nodes, "affinities": affinities }))?);
    }
    let mut table = Table::new(&["AFFINITY", "MODE", "SESSIONS", "MOST", "WHEN FULL", "EVICTED", "REMARK"]);
    for affinity in &affinities {
        table.row([
            affinity.name.clone(),
            affinity.mode.clone(),
            affinity.sessions.to_string(),
            affinity.max_sessions.map_or_else(|| "-".to_owned(), |most| most.to_string()),
            affinity.when_full.clone(),
            affinity.evicted.to_string(),
            remark(affinity),
        ]);
    }
    Ok(table.print()?)
}

/// Asks every node of the target; those that do not answer are named.
async fn ask_each<T>(
    target: &Target,
    ask: impl AsyncFn(Nodes) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let asked = target.nodes.iter().map(|address| ask(Nodes(vec![address.clone()])));
    let (mut replies, mut failed) = (Vec::new(), None);
    for answered in join_all(asked).await {
        match answered {
            Ok(reply) => replies.push(reply),
            Err(failure) => {
                printer::note(&format!("without a node that was asked: {failure}"));
                failed = failed.or(Some(failure));
            }
        }
    }
    match failed {
        Some(failure) if replies.is_empty() => Err(failure),
        _ => Ok(replies),
    }
}

/// The affinities as the first node has them, with what all of them have observed.
fn together(replies: &[ListAffinitiesReply]) -> Vec<Affinity> {
    let mut affinities = replies.first().map(|reply| reply.affinities.clone()).unwrap_or_default();
    for affinity in &mut affinities {
        let others = replies[1..].iter().flat_map(|reply| &reply.affinities);
        for other in others.filter(|other| other.name == affinity.name) {
            affinity.observed_requests += other.observed_requests;
            affinity.observed_elsewhere += other.observed_elsewhere;
        }
    }
    affinities
}

fn remark(affinity: &Affinity) -> String {
    match (affinity.mode.as_str(), affinity.zero_milliseconds) {
        ("observe", _) => format!(
            "{} of {} requests would have gone to another backend",
            affinity.observed_elsewhere, affinity.observed_requests
        ),
        (_, Some(_)) if affinity.sessions == 0 => "no sessions are left".to_owned(),
        (_, Some(left)) => format!("none left in {}, if none is used any more", printer::duration(left)),
        _ => String::new(),
    }
}

/// The keys of several nodes together.
#[derive(Serialize)]
struct Heaviest {
    nodes: Vec<u64>,
    requests: u64,
    keys: Vec<HeavyKey>,
}

async fn heaviest(options: &HeaviestOptions) -> Result<(), Failure> {
    // Of each node more than is shown: a key that is heavy in total is among the first of none, perhaps.
    let request = ListHeaviestKeysRequest { affinity: options.affinity.clone(), limit: 100 };
    let asked = ask_each(&options.target, async |node: Nodes| {
        node.ask(Purpose::Look, async |mut node| {
            node.list_heaviest_keys(request.clone()).await.map(tonic::Response::into_inner)
        })
        .await
    });
    let heaviest = add_up(asked.await?, options.limit as usize);
    if options.target.output == Format::Json {
        return Ok(printer::json(&heaviest)?);
    }
    let mut table = Table::new(&["KEY", "REQUESTS", "SHARE", "BACKEND"]);
    for key in &heaviest.keys {
        let figure = match key.uncertain {
            0 => key.requests.to_string(),
            uncertain => format!("{}-{}", key.requests - uncertain, key.requests),
        };
        let share = key.requests as f64 * 100.0 / heaviest.requests.max(1) as f64;
        table.row([key.key.clone(), figure, format!("{share:.1} %"), key.backend_name.clone()]);
    }
    Ok(table.print()?)
}

fn add_up(replies: Vec<ListHeaviestKeysReply>, most: usize) -> Heaviest {
    let mut heaviest =
        Heaviest { nodes: replies.iter().map(|reply| reply.node).collect(), requests: 0, keys: Vec::new() };
    let mut keys: BTreeMap<String, HeavyKey> = BTreeMap::new();
    for reply in replies {
        heaviest.requests += reply.requests;
        for key in reply.keys {
            let sum = keys.entry(key.key.clone()).or_insert_with(|| HeavyKey {
                key: key.key.clone(),
                backend_name: key.backend_name.clone(),
                ..HeavyKey::default()
            });
            sum.requests += key.requests;
            sum.uncertain += key.uncertain;
        }
    }
    heaviest.keys = keys.into_values().collect();
    heaviest.keys.sort_by(|one, other| other.requests.cmp(&one.requests).then(one.key.cmp(&other.key)));
    heaviest.keys.truncate(most);
    heaviest
}
