use crate::document::cluster::{RecordWhen, Route};
use crate::document::report::{Complaint, Place, Report, quoted};
use crate::document::written::affinity::{Affinity, Method};
use crate::document::written::cluster::WrittenCluster;

/// Adds a problem for affinities whose sessions are bound only when a client comes back: by then the client has its
/// cookie, and a cap that is full would take the session away from it.
pub(super) fn check(report: &Report<'_>, document: &WrittenCluster, routes: &[Option<Route>]) {
    for (index, affinity) in document.affinities.iter().enumerate() {
        let Some(place) = recorded_on_return(affinity) else { continue };
        let complain = |capped: String| {
            let complaint = Complaint::new(format!("record \"on-return\" can't keep the cap of {capped}"));
            report
                .add(&place, complaint.help("leave `max_sessions` out there, or write record = \"always\""));
        };
        if affinity.max_sessions.is_some() {
            complain("its affinity".to_owned());
        }
        let leads = routes.iter().flatten().filter(|route| route.affinity == Some(index));
        let mut pools: Vec<usize> = leads.flat_map(|route| &route.pools).map(|split| split.pool).collect();
        pools.sort_unstable();
        pools.dedup();
        for pool in pools.into_iter().map(|pool| &document.pools[pool]) {
            for backend in pool.backends.iter().filter(|backend| backend.max_sessions.is_some()) {
                let name = backend.name.as_ref().map_or("", |name| name.get_ref());
                complain(format!("backend {}", quoted(name)));
            }
            if let Some(name) = pool
                .discovery
                .as_ref()
                .filter(|dns| dns.max_sessions.is_some())
                .and_then(|dns| dns.name.as_ref())
            {
                complain(format!("the backends of {}", quoted(name.get_ref())));
            }
        }
    }
}

fn recorded_on_return(affinity: &Affinity) -> Option<Place> {
    affinity.by.iter().find_map(|by| match &by.method {
        Some(Method::Cookie { record: Some(record), .. }) if *record.get_ref() == RecordWhen::OnReturn => {
            Some(record.span())
        }
        _ => None,
    })
}
