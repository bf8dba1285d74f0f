//! Clients that know the cluster by a name, and go to its next address when one does not answer.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use stickler_rt::{Outside, Shutdown};
use tokio::task::JoinSet;

use super::{Scenario, ScenarioError, Stage};
use crate::identifier::{Door, Identifier};
use crate::oracle::ledger::Ledger;
use crate::report::Report;
use crate::rig::client::{Answer, Client};
use crate::rig::names::Names;
use crate::rig::plan::Layout;
use crate::rig::{NODES, Rig, Setting};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "dns",
    proves: "clients that resolve a name and try the next address see no error and no move while nodes die in turn",
    rounds: 6,
    lasts: None,
    limit: Duration::from_secs(300),
    run: |stage| Box::pin(run(stage)),
};

/// Clients at once.
const CLIENTS: u32 = 24;
/// Sessions that a client holds.
const SESSIONS: usize = 8;
/// How long clients go on before each kill, and while the node is dead.
const LOAD: Duration = Duration::from_millis(1500);
/// Pause of a client between two requests.
const THINK: Duration = Duration::from_millis(15);
/// Longest wait for one node's answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one client saw, in order.
#[derive(Default)]
struct Seen {
    answers: Vec<(Identifier, Answer)>,
    first_asked: BTreeMap<Ipv4Addr, usize>,
    next_address: usize,
    errors: Vec<String>,
}

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let setting = Setting { layout: Layout::OnePort, ..Setting::plain(3) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    let addresses: Vec<Ipv4Addr> = rig.addresses().iter().filter_map(ipv4).collect();
    let names = Arc::new(Names::start(&stage.outside, &stage.directory, &addresses).await?);
    let port = rig.addresses()[0].port();

    let stop = Shutdown::new();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (outside, names, stop) = (stage.outside.clone(), Arc::clone(&names), stop.clone());
        clients.spawn(call(outside, names, port, number, stop));
    }
    let mut random = stage.seed.child("nodes").rng();
    let mut node = random.random_range(0..NODES);
    for _ in 0..stage.rounds {
        tokio::time::sleep(LOAD).await;
        rig.kill(&[node]).await?;
        tokio::time::sleep(LOAD).await;
        rig.restart(node)?;
        rig.settle().await?;
        node = (node + random.random_range(1..NODES)) % NODES;
    }
    stop.trigger();
    let mut ledger = Ledger::default();
    let mut all = Seen::default();
    while let Some(seen) = clients.join_next().await {
        let seen = seen?;
        for (identifier, answer) in &seen.answers {
            if let Err(fault) = ledger.observe(identifier, answer) {
                report.fault(fault);
            }
        }
        all.answers.extend(seen.answers);
        all.errors.extend(seen.errors);
        all.next_address += seen.next_address;
        for (address, count) in seen.first_asked {
            *all.first_asked.entry(address).or_default() += count;
        }
    }
    report.figure("nodes killed, one after the other", stage.rounds);
    report.figure("sessions", ledger.len());
    report.figure("requests served", all.answers.len());
    let first_asked: Vec<String> = all.first_asked.values().map(ToString::to_string).collect();
    report.bar(
        "addresses that the resolver named first",
        first_asked.join(" "),
        "each of the nodes",
        first_asked.len() == NODES,
    );
    report.bar("requests that went on to the next address", all.next_address, "some", all.next_address > 0);
    report.bar("requests that no address served", all.errors.len(), "0", all.errors.is_empty());
    report.faults(all.errors.into_iter().take(5));
    super::routing::report_witness(&rig, &mut report);
    Ok(report)
}

fn ipv4(address: &SocketAddr) -> Option<Ipv4Addr> {
    match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// One client: asks the resolver before each request, and goes through the addresses in the order given.
async fn call(outside: Outside, names: Arc<Names>, port: u16, number: u32, stop: Shutdown) -> Seen {
    let mut seen = Seen::default();
    let mut clients: BTreeMap<Ipv4Addr, Client> = BTreeMap::new();
    let mut held: Vec<Identifier> = Vec::new();
    for turn in 0_usize.. {
        if stop.is_triggered() {
            return seen;
        }
        tokio::time::sleep(THINK).await;
        let addresses = match names.resolve().await {
            Ok(addresses) => addresses,
            Err(error) => {
                seen.errors.push(error.to_string());
                continue;
            }
        };
        if let Some(first) = addresses.first() {
            *seen.first_asked.entry(*first).or_default() += 1;
        }
        let known = held.get(turn % SESSIONS).cloned();
        let door = known.as_ref().map_or(Door::ALL[turn % Door::ALL.len()], |known| known.door);
        let chosen = (door == Door::Header).then(|| format!("named-{number}-{turn}"));
        let value = known.as_ref().map(|known| known.value.to_string()).or(chosen);
        let mut failures = Vec::new();
        for address in addresses {
            let client = clients
                .entry(address)
                .or_insert_with(|| Client::new(&outside, (address, port).into()).with_patience(PATIENCE));
            match client.visit_door(door, value.as_deref()).await {
                Ok(answer) if answer.is_served() => {
                    seen.next_address += usize::from(!failures.is_empty());
                    let identifier = known.clone().or_else(|| {
                        let value = answer.revealed.clone().or_else(|| value.clone())?;
                        Some(Identifier::new(door, value))
                    });
                    if let Some(identifier) = identifier {
                        if known.is_none() {
                            held.push(identifier.clone());
                        }
                        seen.answers.push((identifier, answer));
                    }
                    failures.clear();
                    break;
                }
                Ok(answer) => {
                    failures.push(format!(
                        "{address}: {} {}",
                        answer.status,
                        answer.error.unwrap_or_default()
                    ));
                }
                Err(error) => failures.push(format!("{address}: {error}")),
            }
        }
        if !failures.is_empty() {
            seen.errors.push(failures.join("; "));
        }
    }
    seen
}
