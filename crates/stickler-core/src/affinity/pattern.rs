//! Regular expressions that cut an identifier out of a header.

use std::collections::BTreeMap;
use std::fmt;

use regex::bytes::{Regex, RegexBuilder};
use thiserror::Error;

use crate::document::cluster::{Affinity, Method};

/// The longest pattern, in bytes.
const LONGEST: usize = 512;

/// The most memory that one compiled pattern may take, in bytes. Matching takes time in proportion to the header's
/// length, whatever the pattern (no backtracking).
const MOST_MEMORY: usize = 256 * 1024;

/// A pattern can't be used. The operator changes it in the cluster document.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnusablePattern {
    /// It is longer than 512 bytes.
    #[error("is longer than {LONGEST} bytes")]
    Long,
    /// It would take too much memory: mostly a repetition of a large class.
    #[error("takes more than {MOST_MEMORY} bytes of memory")]
    Large,
    /// It is not a regular expression.
    #[error("is not a regular expression: {0}")]
    Malformed(String),
}

/// The patterns of a cluster document, compiled once.
#[derive(Clone, Default)]
pub struct Patterns {
    compiled: BTreeMap<String, Regex>,
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.compiled.keys()).finish()
    }
}

impl Patterns {
    /// The patterns of a checked document's affinities.
    #[must_use]
    pub fn of_affinities(affinities: &[Affinity]) -> Self {
        let methods = affinities.iter().flat_map(|affinity| &affinity.methods);
        let written = methods.filter_map(|method| match method {
            Method::Header { pattern, .. } => pattern.as_ref(),
            _ => None,
        });
        // One that does not compile was applied by a build with a larger limit: it finds nothing here.
        let compiled = written.filter_map(|text| Some((text.clone(), Self::compile(text).ok()?)));
        Self { compiled: compiled.collect() }
    }

    /// Compiles one pattern.
    ///
    /// # Errors
    /// See [`UnusablePattern`].
    pub fn compile(pattern: &str) -> Result<Regex, UnusablePattern> {
        if pattern.len() > LONGEST {
            return Err(UnusablePattern::Long);
        }
        RegexBuilder::new(pattern).size_limit(MOST_MEMORY).dfa_size_limit(MOST_MEMORY).build().map_err(
            |error| {
                match error {
                    regex::Error::CompiledTooBig(_) => UnusablePattern::Large,
                    // The last line says what is wrong; those before it draw the place.
                    other => {
                        let text = other.to_string();
                        let reason = text.lines().next_back().unwrap_or_default();
                        UnusablePattern::Malformed(reason.trim_start_matches("error: ").to_owned())
                    }
                }
            },
        )
    }

    /// What `pattern` finds in `value`: its first group, or all of its match when it has none. Nothing, or nothing in
    /// the group, is `None`.
    #[must_use]
    pub fn find<'v>(&self, pattern: &str, value: &'v [u8]) -> Option<&'v [u8]> {
        let captures = self.compiled.get(pattern)?.captures(value)?;
        let found = if captures.len() > 1 { captures.get(1) } else { captures.get(0) };
        found.map(|found| found.as_bytes()).filter(|found| !found.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pattern: &str, value: &str) -> Option<String> {
        let compiled = BTreeMap::from([(pattern.to_owned(), Patterns::compile(pattern).unwrap())]);
        let found = Patterns { compiled }.find(pattern, value.as_bytes()).map(<[u8]>::to_vec);
        found.map(|found| String::from_utf8(found).unwrap())
    }

    #[test]
    fn the_first_group_is_the_identifier_or_else_the_whole_match() {
        assert_eq!(find("sid=([0-9a-f]+)", "v=1; sid=c0ffee; x"), Some("c0ffee".into()));
        assert_eq!(find("[0-9]+", "user-17-x"), Some("17".into()));
        assert_eq!(find("a(x)?b(y)", "aby"), None);
        assert_eq!(find("a(x*)", "a"), None);
        assert_eq!(find("sid=([0-9a-f]+)", "sid=XYZ"), None);
    }

    #[test]
    fn a_pattern_that_would_cost_too_much_is_refused() {
        assert_eq!(Patterns::compile(&"a".repeat(513)).unwrap_err(), UnusablePattern::Long);
        assert_eq!(Patterns::compile("(\\w{100}){100}").unwrap_err(), UnusablePattern::Large);
        assert!(matches!(Patterns::compile("(a").unwrap_err(), UnusablePattern::Malformed(_)));
    }
}
