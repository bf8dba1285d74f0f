//! Which route a request takes. The most specific match wins: an exact host before a suffix, a longer
//! suffix before a shorter one, any suffix before "every host"; among routes of equal host the longest
//! path prefix. A route whose host matches but whose path does not is no match, so that the next best
//! host is tried.
//!
//! Paths are compared in their matching form ([`matching_form`]), so that `/x/../admin` or `/%61dmin`
//! can't slip past the route of `/admin`. The request itself is forwarded as it came.

mod path;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use path::matching_form;

use crate::document::cluster::{ClusterDocument, HostMatch};

/// An index into [`ClusterDocument::routes`] of the document that the table was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteIndex(pub usize);

/// The routes of one cluster document, arranged for finding.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    exact: BTreeMap<String, PathPrefixes>,
    /// Keyed by the suffix with its leading dot.
    suffix: BTreeMap<String, PathPrefixes>,
    any: PathPrefixes,
}

impl RouteTable {
    /// Arranges the routes of a checked document.
    #[must_use]
    pub fn new(document: &ClusterDocument) -> Self {
        let mut table = Self::default();
        for (index, route) in document.routes.iter().enumerate() {
            let prefixes = match &route.host {
                HostMatch::Any => &mut table.any,
                HostMatch::Exact(name) => table.exact.entry(name.clone()).or_default(),
                HostMatch::Suffix(suffix) => table.suffix.entry(suffix.clone()).or_default(),
            };
            prefixes.insert(&route.path_prefix, RouteIndex(index));
        }
        table
    }

    /// The route of a request. `host` is the `Host` header's value, a port included or not, empty when
    /// there is none; `path` is the request's path as sent, a query included or not.
    ///
    /// Allocates nothing when `host` is in lower case and `path` already in its matching form.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<RouteIndex> {
        let host = matching_host(host);
        let path = matching_form(path);
        let by_suffix = || {
            // from the left, so that the longest suffix comes first
            host.match_indices('.')
                .filter(|(dot, _)| *dot > 0)
                .find_map(|(dot, _)| self.suffix.get(&host[dot..])?.longest(&path))
        };
        self.exact
            .get(&*host)
            .and_then(|prefixes| prefixes.longest(&path))
            .or_else(by_suffix)
            .or_else(|| self.any.longest(&path))
    }
}

/// `host` without its port and the dot that may end a full name, in lower case: the form in which it is
/// compared with the hosts of routes.
#[must_use]
pub fn matching_host(host: &str) -> Cow<'_, str> {
    let name = match host.find(']') {
        // an IPv6 address in brackets, whose colons are its own
        Some(end) => &host[..=end],
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// The path prefixes of one host.
#[derive(Clone, Debug, Default)]
struct PathPrefixes {
    /// Sorted by prefix. The prefix `/` is the empty string here, since every path starts with it.
    sorted: Vec<(String, RouteIndex)>,
    /// The most segments of any prefix: no longer beginning of a path is worth looking for.
    deepest: usize,
}

impl PathPrefixes {
    fn insert(&mut self, prefix: &str, route: RouteIndex) {
        let prefix = prefix.trim_end_matches('/');
        self.deepest = self.deepest.max(prefix.matches('/').count());
        // the first one wins should a document hold the same prefix twice, which checking refuses
        if let Err(place) = self.position(prefix) {
            self.sorted.insert(place, (prefix.to_owned(), route));
        }
    }

    fn position(&self, prefix: &str) -> Result<usize, usize> {
        self.sorted.binary_search_by(|(known, _)| known.as_str().cmp(prefix))
    }

    /// The route with the longest prefix of whole segments of `path`, which is in its matching form.
    fn longest(&self, path: &str) -> Option<RouteIndex> {
        let mut beginning = match path.match_indices('/').nth(self.deepest) {
            Some((end, _)) => &path[..end],
            None => path.trim_end_matches('/'),
        };
        loop {
            if let Ok(place) = self.position(beginning) {
                return Some(self.sorted[place].1);
            }
            let (shorter, _) = beginning.rsplit_once('/')?;
            beginning = shorter;
        }
    }
}
