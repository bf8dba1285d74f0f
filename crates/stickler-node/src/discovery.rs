//! Looks up the names that lead to backends while this node leads, each again when its answer is no longer good, and
//! proposes what has changed.
//!
//! A name that leads to nothing, or can't be looked up, changes nothing: health checks find who is not there, and a mistake
//! in a zone must not empty a pool.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use stickler_core::deliberate::{self, Fault};
use stickler_core::discovery::{Answer, DiscoveredBackend, MOST_DISCOVERED, Service, backends};
use stickler_core::document::cluster::{Discovery, DnsRecord};
use stickler_core::ids::{PoolId, Revision};
use stickler_core::state::{Catalog, Command, Discover, Discovered};
use stickler_raft::{Cluster, Persistence};
use stickler_rt::{Family, ResolveError, Resolver, ServiceRecord, Shutdown};
use tokio_util::task::AbortOnDropHandle;

use crate::leading::next_turn;

/// How often is looked at which names are to be asked for.
const TICK: Duration = Duration::from_millis(200);

/// How soon a name is asked for again at the least, whatever its records say, and at the most.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(60 * 60);

/// How soon after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Longest wait for an answer with all that belongs to it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hosts of one answer that are looked up at the same time.
const AT_ONCE: usize = 16;

/// Looks names up until `shutdown`: each in a task of its own, so that a slow one keeps no other waiting.
pub(crate) async fn run(cluster: Cluster, shutdown: Shutdown) {
    let mut asking: BTreeMap<PoolId, (Discovery, AbortOnDropHandle<()>)> = BTreeMap::new();
    while let Some(leads) = next_turn(&cluster, &shutdown, TICK).await {
        if !leads {
            asking.clear();
            continue;
        }
        let wanted = wanted(&cluster.view().catalog);
        asking.retain(|pool, (discovery, _)| wanted.get(pool) == Some(discovery));
        for (pool, discovery) in wanted {
            asking.entry(pool).or_insert_with(|| {
                let task = tokio::spawn(ask_again_and_again(cluster.clone(), pool, discovery.clone()));
                (discovery, AbortOnDropHandle::new(task))
            });
        }
    }
}

/// The names of all pools that have one.
fn wanted(catalog: &Catalog) -> BTreeMap<PoolId, Discovery> {
    let named = |pool: &PoolId| Some((*pool, catalog.pool(*pool)?.discovery.clone()?));
    catalog.pools.iter().filter_map(named).collect()
}

/// Asks for one pool's name, again each time when its answer is no longer good.
async fn ask_again_and_again(cluster: Cluster, pool: PoolId, discovery: Discovery) {
    // So that a failure that goes on is told of once.
    let mut failing = false;
    loop {
        // From before the question: what is answered to it is refused where somebody was faster.
        let known = cluster.view().catalog.discovered.get(&pool).cloned().unwrap_or_default();
        let looked_up = tokio::time::timeout(PATIENCE, look_up(&*cluster.outside().resolver, &discovery));
        let answer =
            looked_up.await.unwrap_or_else(|_| Err(ResolveError::Failed("it took too long".to_owned())));
        let soon = match answer {
            Ok((answer, ttl)) => {
                failing = false;
                match take_in(&cluster, pool, &known, backends(&discovery, &answer)).await {
                    TakenIn::AsBefore => ttl.clamp(SOONEST, LATEST),
                    // Asked again, it is as before, unless somebody was faster.
                    TakenIn::Proposed => SOONEST,
                    TakenIn::Failed => AFTER_FAILURE,
                }
            }
            Err(_) if deliberate::active(Fault::EmptyPoolByName) => {
                propose(&cluster, Discover { pool, expected: known.revision, backends: Vec::new() }).await;
                SOONEST
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    let name = &discovery.name;
                    tracing::warn!(%pool, name, %error, "a name leads nowhere; its backends stay what they were");
                }
                AFTER_FAILURE
            }
        };
        tokio::time::sleep(soon).await;
    }
}

/// What became of an answer.
enum TakenIn {
    /// It says what is known.
    AsBefore,
    /// It was proposed, and taken unless somebody was faster.
    Proposed,
    /// It was not committed.
    Failed,
}

/// Proposes what a name leads to, where that has changed.
async fn take_in(
    cluster: &Cluster,
    pool: PoolId,
    known: &Discovered,
    found: Vec<DiscoveredBackend>,
) -> TakenIn {
    if found == known.backends || found.is_empty() {
        return TakenIn::AsBefore;
    }
    let names: Vec<&str> = found.iter().map(|backend| backend.name.as_str()).collect();
    tracing::info!(%pool, ?names, "a name leads to other backends");
    propose(cluster, Discover { pool, expected: known.revision, backends: found }).await
}

async fn propose(cluster: &Cluster, discover: Discover) -> TakenIn {
    let Revision(revision) = discover.expected;
    // A second attempt is harmless: the revision is a precondition.
    let proposed = cluster.propose(Command::Discover(discover), PATIENCE, Persistence::Retry).await;
    let Err(error) = proposed else { return TakenIn::Proposed };
    tracing::warn!(revision, %error, "what a name leads to was not committed; it is looked up again soon");
    TakenIn::Failed
}

/// What a pool's name leads to, and how long that is good for.
async fn look_up(resolver: &dyn Resolver, discovery: &Discovery) -> Result<(Answer, Duration), ResolveError> {
    let family = match discovery.record {
        DnsRecord::A => Family::Ipv4,
        DnsRecord::Aaaa => Family::Ipv6,
        DnsRecord::Srv => return look_up_services(resolver, &discovery.name).await,
    };
    let found = resolver.addresses(&discovery.name, family).await?;
    Ok((Answer::Addresses(found.records), found.ttl))
}

async fn look_up_services(resolver: &dyn Resolver, name: &str) -> Result<(Answer, Duration), ResolveError> {
    let found = resolver.services(name).await?;
    // Whether the first ones' hosts have addresses or not: a mistake there must not bring the next ones in.
    let first = found.records.iter().map(|service| service.priority).min();
    let mut services = found.records;
    services.retain(|service| Some(service.priority) == first);
    services.sort_by(|one, other| (&one.target, one.port).cmp(&(&other.target, other.port)));
    services.truncate(MOST_DISCOVERED);
    let hosts = stream::iter(services).map(async |service| {
        let found = address_of(resolver, &service.target).await;
        found.map(|(address, ttl)| (service_at(service, address), ttl))
    });
    let hosts: Vec<Result<(Service, Duration), ResolveError>> = hosts.buffered(AT_ONCE).collect().await;
    let (mut services, mut ttl, mut failed) = (Vec::new(), found.ttl, None);
    for host in hosts {
        match host {
            Ok((service, good_for)) => {
                ttl = ttl.min(good_for);
                services.push(service);
            }
            // Its record is a mistake; the others are none.
            Err(ResolveError::NoRecords) => {}
            Err(error) => failed = Some(error),
        }
    }
    // A host that could not be asked for is not one that has gone.
    match failed {
        Some(error) => Err(error),
        None if services.is_empty() => Err(ResolveError::NoRecords),
        None => Ok((Answer::Services(services), ttl)),
    }
}

/// The lowest address of a host: of several the same each time, IPv4 first.
async fn address_of(resolver: &dyn Resolver, host: &str) -> Result<(IpAddr, Duration), ResolveError> {
    let found = match resolver.addresses(host, Family::Ipv4).await {
        Err(ResolveError::NoRecords) => resolver.addresses(host, Family::Ipv6).await?,
        found => found?,
    };
    let lowest = found.records.into_iter().min().ok_or(ResolveError::NoRecords)?;
    Ok((lowest, found.ttl))
}

fn service_at(record: ServiceRecord, address: IpAddr) -> Service {
    let ServiceRecord { target, port, priority, weight } = record;
    Service { target, address, port, priority, weight }
}
