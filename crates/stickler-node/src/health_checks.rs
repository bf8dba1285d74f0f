//! A voter's part in the cluster's verdict on backends: checks them, reports what changes until the report
//! is in the replicated state, and checks at once what anybody suspects.

use std::collections::BTreeMap;
use std::time::Duration;

use stickler_core::ids::BackendId;
use stickler_core::state::{Catalog, Command, Finding, Report};
use stickler_proxy::probe::{ProbeEvent, ProbeTarget, Prober};
use stickler_proxy::request::Proxy;
use stickler_raft::Cluster;
use stickler_rt::{Moment, Shutdown};

/// How long a report is worth proposing; after that it is proposed anew if it is still true.
const PATIENCE: Duration = Duration::from_secs(1);

/// What this node's checks have found.
struct Findings {
    /// The last finding of each backend, and when it was last reported.
    found: BTreeMap<BackendId, Found>,
    /// Suspicions that were acted on.
    suspicions: BTreeMap<BackendId, u64>,
    sequence: u64,
}

struct Found {
    finding: Finding,
    reported: Option<Moment>,
}

/// Checks until `shutdown`.
pub(crate) async fn run(cluster: Cluster, proxy: Proxy, shutdown: Shutdown) {
    let outside = cluster.outside();
    let seed = outside.seed.child("health checks");
    let (prober, mut events) = Prober::new(outside.network.clone(), seed);
    let mut findings = Findings { found: BTreeMap::new(), suspicions: BTreeMap::new(), sequence: 0 };
    let mut changes = cluster.catalog();
    let mut targets = BTreeMap::new();
    loop {
        let catalog = changes.borrow_and_update().clone();
        proxy.forget_removed(&catalog);
        let wanted = targets_of(&catalog);
        if wanted != targets {
            prober.set_targets(&wanted);
            findings.found.retain(|backend, _| wanted.contains_key(backend));
            targets = wanted;
        }
        findings.follow_suspicions(&catalog, &prober);
        findings.report(&cluster, &catalog);
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            changed = changes.changed() => if changed.is_err() { return },
            event = events.recv() => match event {
                Some(event) => findings.note(event),
                None => return,
            },
            () = tokio::time::sleep(PATIENCE) => {}
        }
    }
}

fn targets_of(catalog: &Catalog) -> BTreeMap<BackendId, ProbeTarget> {
    catalog
        .backends
        .iter()
        .filter_map(|(id, backend)| {
            let check = catalog.pool(backend.pool)?.check.clone();
            Some((*id, ProbeTarget { address: backend.address, check }))
        })
        .collect()
}

impl Findings {
    fn note(&mut self, event: ProbeEvent) {
        tracing::info!(backend = %event.backend, finding = ?event.finding, "health check changed");
        self.found.insert(event.backend, Found { finding: event.finding, reported: None });
    }

    /// Checks at once every backend that was suspected since the last look.
    fn follow_suspicions(&mut self, catalog: &Catalog, prober: &Prober) {
        for (backend, record) in &catalog.backends {
            let seen = self.suspicions.insert(*backend, record.health.suspicions);
            if seen.is_some_and(|seen| seen < record.health.suspicions) {
                prober.suspect(*backend);
            }
        }
        self.suspicions.retain(|backend, _| catalog.backends.contains_key(backend));
    }

    /// Reports what the replicated state does not have of this process yet.
    fn report(&mut self, cluster: &Cluster, catalog: &Catalog) {
        let (node, incarnation) = (cluster.node(), cluster.incarnation());
        let now = cluster.outside().clock.now();
        for (backend, found) in &mut self.found {
            let known = catalog.backends.get(backend).and_then(|record| record.health.reports.get(&node));
            let in_state =
                known.is_some_and(|known| known.incarnation == incarnation && known.finding == found.finding);
            let on_its_way = found.reported.is_some_and(|at| now.since(at) < PATIENCE);
            if in_state || on_its_way {
                continue;
            }
            found.reported = Some(now);
            self.sequence += 1;
            let (sequence, finding) = (self.sequence, found.finding.clone());
            let report = Report { node, incarnation, sequence, backend: *backend, finding };
            cluster.submit(Command::Report(report), PATIENCE);
        }
    }
}
