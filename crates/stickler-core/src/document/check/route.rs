use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::cluster::all;
use super::{Unique, name, split};
use crate::document::cluster::{HostMatch, Route};
use crate::document::defaults;
use crate::document::report::{Complaint, Place, Report, did_you_mean, quoted};
use crate::document::written::Written;
use crate::document::written::affinity::{By, Method};
use crate::document::written::cluster::WrittenCluster;
use crate::routes::matching_form;

/// Checks all routes of a document. `None` after a problem was added.
pub(super) fn check(report: &Report<'_>, document: &WrittenCluster) -> Option<Vec<Route>> {
    let pools = Names::new("pool", document.pools.iter().map(|pool| &pool.name));
    let affinities = Names::new("affinity", document.affinities.iter().map(|affinity| &affinity.name));
    let mut names = Unique::new("a route with the name");
    let mut matches = Unique::new("a route that matches");
    let routes: Vec<Option<Route>> = document
        .routes
        .iter()
        .map(|route| {
            names.add_name(report, &route.name);
            let name = name(report, &route.name);
            let host = check_host(report, &route.host);
            let path_prefix = check_path_prefix(report, &route.path_prefix);
            if let (Some(host), Some(path)) = (&host, &path_prefix) {
                let key = (show_host(host), path.clone());
                let shown = format!("host {} and path {}", quoted(&key.0), quoted(&key.1));
                matches.add(report, &route.place, key, &shown);
            }
            let pools = split::check(report, &pools, route);
            let affinity = affinities.find(report, &route.affinity);
            Some(Route {
                name: name?,
                host: host?,
                path_prefix: path_prefix?,
                pools: pools?,
                affinity: match route.affinity {
                    Some(_) => Some(affinity?),
                    None => None,
                },
            })
        })
        .collect();
    split::check_shared_affinities(report, document, &routes);
    check_cookies(report, document, &routes);
    super::caps::check(report, document, &routes);
    all(routes.into_iter())
}

/// The names that a route can refer to.
pub(super) struct Names<'w> {
    what: &'static str,
    known: BTreeMap<&'w str, usize>,
}

impl<'w> Names<'w> {
    fn new(what: &'static str, written: impl Iterator<Item = &'w Written<String>>) -> Self {
        let named = written.enumerate().filter_map(|(index, name)| Some((name.as_ref()?, index)));
        Self { what, known: named.map(|(name, index)| (name.get_ref().as_str(), index)).collect() }
    }

    /// The index behind a name; adds a problem when there is none.
    pub(super) fn find(&self, report: &Report<'_>, written: &Written<String>) -> Option<usize> {
        let name = written.as_ref()?;
        let found = self.known.get(name.get_ref().as_str()).copied();
        if found.is_none() {
            let what = self.what;
            let complaint = Complaint::new(format!("no {what} has the name {}", quoted(name.get_ref())));
            let help = match did_you_mean(name.get_ref(), self.known.keys().copied()) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => format!("add [[{what}]] with this name"),
            };
            report.add_missing(&name.span(), complaint.help(help));
        }
        found
    }
}

/// The host of a route. `None` after a problem was added.
fn check_host(report: &Report<'_>, written: &Written<String>) -> Option<HostMatch> {
    let Some(written) = written else { return Some(HostMatch::Any) };
    let host = written.get_ref().to_ascii_lowercase();
    let checked = match host.strip_prefix('*') {
        Some("") => Err(Complaint::new("can't be \"*\"").help("leave `host` out to match every host")),
        Some(suffix) => match suffix.strip_prefix('.') {
            Some(name) => host_name(name).map(|()| HostMatch::Suffix(suffix.to_owned())),
            None => Err(Complaint::new(format!("can't be {}", quoted(&host)))
                .help("write \"*.\" and a name: * stands for whole labels")),
        },
        None => host_name(&host).map(|()| HostMatch::Exact(host)),
    };
    checked
        .map_err(|Complaint { message, suggestion }| {
            report.add(&written.span(), Complaint { message: format!("`host` {message}"), suggestion });
        })
        .ok()
}

/// Whether `host` is a name or address as it stands in a `Host` header, in lower case and without a port.
pub(super) fn host_name(host: &str) -> Result<(), Complaint> {
    let bad = Complaint::new(format!("is not a host name: {}", quoted(host)));
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(parsed) if parsed.to_string() == address => Ok(()),
            Ok(parsed) => Err(bad.help(format!("write \"[{parsed}]\""))),
            Err(_) => Err(bad.help("write an IPv6 address in the brackets")),
        };
    }
    if !host.is_ascii() {
        return Err(bad.help("write the name in its ASCII form, whose labels start with xn--"));
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(bad.help(format!("write \"[{host}]\"")));
    }
    if let Some((name, port)) = host.split_once(':') {
        return Err(if port.bytes().all(|byte| byte.is_ascii_digit()) {
            bad.help(format!("leave out the port: \"{name}\""))
        } else {
            bad.help("write a name without scheme, port and path")
        });
    }
    if let Some(name) = host.strip_suffix('.') {
        return Err(bad.help(format!("leave out the dot at the end: \"{name}\"")));
    }
    if host.len() > 253 || !host.split('.').all(is_label) {
        return Err(bad.help("write labels of 1 to 63 letters, digits, \"-\" and \"_\", with dots between"));
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The path prefix of a route, without a slash at its end. `None` after a problem was added.
fn check_path_prefix(report: &Report<'_>, written: &Written<String>) -> Option<String> {
    const LONGEST: usize = 1024;
    let Some(written) = written else { return Some(defaults::PATH_PREFIX.to_owned()) };
    let prefix = written.get_ref();
    let complain = |why: &str, help: String| {
        let complaint = Complaint::new(format!("`path_prefix` {why}: {}", quoted(prefix)));
        report.add(&written.span(), complaint.help(help));
        None
    };
    if !prefix.starts_with('/') {
        return complain("must start with \"/\"", format!("write {}", quoted(&format!("/{prefix}"))));
    }
    if prefix.contains(['?', '#']) {
        return complain("is a path alone", "leave out the query; only the path is compared".to_owned());
    }
    if prefix.len() > LONGEST || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        let help = format!("write at most {LONGEST} characters, and percent-encode special ones");
        return complain("can't stand in a request", help);
    }
    let normal = matching_form(prefix);
    let without_slash = prefix.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(prefix);
    if normal != without_slash {
        return complain("would never match, as paths are compared", format!("write {}", quoted(&normal)));
    }
    Some(normal.into_owned())
}

/// A host as one would write it; "*" for every host.
fn show_host(host: &HostMatch) -> String {
    match host {
        HostMatch::Any => "*".to_owned(),
        HostMatch::Exact(name) => name.clone(),
        HostMatch::Suffix(suffix) => format!("*{suffix}"),
    }
}

/// Stickler's cookie of an affinity, as far as routes have to do with it.
struct OwnCookie<'w> {
    affinity: usize,
    name: &'w str,
    path: &'w str,
    domain: Option<(&'w str, Place)>,
    place: &'w Place,
}

/// Adds a problem for cookies that overwrite each other on the hosts that they share, and for cookies
/// whose domain a browser would not take from the host that sets them.
fn check_cookies(report: &Report<'_>, document: &WrittenCluster, routes: &[Option<Route>]) {
    let cookies: Vec<OwnCookie<'_>> = document
        .affinities
        .iter()
        .enumerate()
        .flat_map(|(index, affinity)| affinity.by.iter().filter_map(move |by| OwnCookie::of(index, by)))
        .collect();
    let hosts = |affinity: usize| {
        routes.iter().flatten().filter(move |route| route.affinity == Some(affinity)).map(|route| &route.host)
    };
    for (index, later) in cookies.iter().enumerate() {
        let clash = cookies[..index].iter().find(|earlier| {
            earlier.name == later.name
                && (covers_path(earlier.path, later.path) || covers_path(later.path, earlier.path))
                && hosts(earlier.affinity).any(|host| hosts(later.affinity).any(|other| overlap(host, other)))
        });
        if let Some(earlier) = clash {
            let line = report.line(earlier.place);
            let name = quoted(later.name);
            let complaint =
                Complaint::new(format!("on some host this cookie {name} overwrites that of line {line}"));
            report.add(later.place, complaint.help("give the cookies of the two affinities different names"));
        }
        if let Some((domain, place)) = &later.domain
            && let Some(host) = hosts(later.affinity).find(|host| !covers_host(domain, host))
        {
            let host = quoted(&show_host(host));
            let complaint =
                Complaint::new(format!("browsers drop a cookie of this domain that host {host} sets"));
            report.add(
                place,
                complaint.help("leave `domain` out, or name a domain above every host of the affinity"),
            );
        }
    }
}

impl<'w> OwnCookie<'w> {
    fn of(affinity: usize, by: &'w By) -> Option<Self> {
        let Some(Method::Cookie { name, path, domain, .. }) = &by.method else { return None };
        let written = |value: &'w Written<String>| value.as_ref().map(|value| value.get_ref().as_str());
        Some(Self {
            affinity,
            name: written(name).unwrap_or(defaults::COOKIE_NAME),
            path: written(path).unwrap_or(defaults::COOKIE_PATH),
            domain: domain.as_ref().map(|domain| (domain.get_ref().as_str(), domain.span())),
            place: &by.place,
        })
    }
}

fn covers_path(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a browser takes a cookie of this domain from every such host. It can't be said of "every host".
fn covers_host(domain: &str, host: &HostMatch) -> bool {
    let domain = domain.to_ascii_lowercase();
    // that these don't belong there has been said where the cookie was checked
    let domain = domain.trim_start_matches(['*', '.']);
    match host {
        HostMatch::Any => true,
        HostMatch::Exact(name) => name == domain || name.ends_with(&format!(".{domain}")),
        HostMatch::Suffix(suffix) => suffix.ends_with(&format!(".{domain}")),
    }
}

/// Whether some host matches both.
fn overlap(one: &HostMatch, other: &HostMatch) -> bool {
    match (one, other) {
        (HostMatch::Any, _) | (_, HostMatch::Any) => true,
        (HostMatch::Exact(one), HostMatch::Exact(other)) => one == other,
        (HostMatch::Exact(name), HostMatch::Suffix(suffix))
        | (HostMatch::Suffix(suffix), HostMatch::Exact(name)) => {
            name.len() > suffix.len() && name.ends_with(suffix)
        }
        (HostMatch::Suffix(one), HostMatch::Suffix(other)) => one.ends_with(other) || other.ends_with(one),
    }
}
