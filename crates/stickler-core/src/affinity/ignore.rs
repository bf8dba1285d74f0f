//! Requests that need no session.

use crate::document::cluster::{Affinity, PathPattern};
use crate::routes::matching_form;

/// Whether the affinity ignores a request for `path`. Compared as routes are, so that nobody can dress a path up.
#[must_use]
pub fn ignores(affinity: &Affinity, path: &str) -> bool {
    if affinity.ignore.is_empty() {
        return false;
    }
    let path = matching_form(path);
    affinity.ignore.iter().any(|pattern| match pattern {
        PathPattern::Prefix(prefix) => {
            let rest = path.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        PathPattern::Suffix(suffix) => {
            let end = path.len().checked_sub(suffix.len()).and_then(|start| path.get(start..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        }
    })
}
