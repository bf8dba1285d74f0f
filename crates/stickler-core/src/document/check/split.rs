use std::collections::BTreeMap;

use super::number;
use super::route::Names;
use crate::document::cluster::{Route, Scope, WeightedPool};
use crate::document::report::{Complaint, Place, Report, quoted};
use crate::document::written::affinity::Method;
use crate::document::written::cluster::{Route as Written, WrittenCluster};

/// Where a route leads. `None` after a problem was added.
pub(super) fn check(report: &Report<'_>, pools: &Names<'_>, route: &Written) -> Option<Vec<WeightedPool>> {
    const MAX_WEIGHT: u32 = 1000;

    match (&route.pool, &route.split[..]) {
        (Some(_), []) => Some(vec![WeightedPool { pool: pools.find(report, &route.pool)?, weight: 1 }]),
        (None, []) => {
            let complaint = Complaint::new("`pool` is missing from [[route]]");
            report.add_missing(&route.place, complaint.help("add pool = \"shop\", or a [[route.split]]"));
            None
        }
        (Some(pool), [_, ..]) => {
            let complaint = Complaint::new("a route leads to a `pool` or is split, not both");
            report.add(&pool.span(), complaint.help("leave `pool` out, and name it in a [[route.split]]"));
            None
        }
        (None, split) => {
            let read = |part: &crate::document::written::cluster::Split| {
                let weight = number(report, "weight", &part.weight, 0..=MAX_WEIGHT, 0);
                Some(WeightedPool { pool: pools.find(report, &part.pool)?, weight })
            };
            let parts: Vec<Option<WeightedPool>> = split.iter().map(read).collect();
            let parts = parts.into_iter().collect::<Option<Vec<_>>>()?;
            check_parts(report, &route.place, &parts);
            Some(parts)
        }
    }
}

fn check_parts(report: &Report<'_>, place: &Place, parts: &[WeightedPool]) {
    if parts.iter().all(|part| part.weight == 0) {
        let complaint = Complaint::new("no part of this split takes new sessions");
        report.add(place, complaint.help("give one of them a weight above 0"));
    }
    let again =
        |(index, part): (usize, &WeightedPool)| parts[..index].iter().any(|other| other.pool == part.pool);
    if parts.iter().enumerate().any(again) {
        report.add(
            place,
            Complaint::new("two parts of this split lead to one pool").help("leave one of them out"),
        );
    }
}

/// A session lives on a backend of one pool; used with other pools, an affinity would send requests of the one route to
/// backends that it does not lead to. With a scope of their own, sessions are apart.
pub(super) fn check_shared_affinities(
    report: &Report<'_>,
    document: &WrittenCluster,
    routes: &[Option<Route>],
) {
    let mut first_uses: BTreeMap<usize, Vec<(Vec<usize>, &Place)>> = BTreeMap::new();
    for (route, written) in routes.iter().zip(&document.routes) {
        let Some(Route { affinity: Some(affinity), pools, .. }) = route else { continue };
        let mut pools: Vec<usize> = pools.iter().map(|part| part.pool).collect();
        pools.sort_unstable();
        let uses = first_uses.entry(*affinity).or_default();
        let settings = &document.affinities[*affinity];
        let apart = settings.scope.as_ref().is_some_and(|scope| *scope.get_ref() == Scope::Pool);
        let shares = |one: &[usize], other: &[usize]| one.iter().any(|pool| other.contains(pool));
        let clash = uses.iter().find(|(other, _)| *other != pools && (!apart || shares(other, &pools)));
        if let Some((_, place)) = clash {
            let name = settings.name.as_ref().map_or("", |name| name.get_ref());
            let line = report.line(place);
            let complaint = Complaint::new(format!(
                "affinity {} leads to other pools here than on line {line}",
                quoted(name)
            ));
            let help = if apart {
                "with scope \"pool\", two routes have the same pools or none in common"
            } else {
                "give each pool an affinity of its own, or write scope = \"pool\" in this one"
            };
            report.add(&written.place, complaint.help(help));
        }
        uses.push((pools, &written.place));
    }
    check_scopes(report, document);
}

/// One client has one cookie of Stickler's, which names one session.
fn check_scopes(report: &Report<'_>, document: &WrittenCluster) {
    for affinity in &document.affinities {
        let Some(scope) = affinity.scope.as_ref().filter(|scope| *scope.get_ref() == Scope::Pool) else {
            continue;
        };
        if affinity.by.iter().any(|by| matches!(by.method, Some(Method::Cookie { .. }))) {
            let complaint = Complaint::new("the method \"cookie\" can't have scope \"pool\"");
            let help = "give each pool an affinity of its own, with a cookie of another name";
            report.add(&scope.span(), complaint.help(help));
        }
    }
}
