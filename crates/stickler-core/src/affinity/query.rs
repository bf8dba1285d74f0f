//! Identifiers in the query of a request's target.

use std::borrow::Cow;

/// The first value of the parameter `name` that isn't empty, decoded as forms are (percent signs, and `+` for a
/// space), so that one client's two ways of writing it are one session. Names are compared with regard to case.
#[must_use]
pub fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(found, value)| found == name && !value.is_empty())
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_that_is_not_empty_is_found_and_decoded() {
        let found = |query| parameter(query, "room");
        assert_eq!(found("room=a"), Some("a".into()));
        assert_eq!(found("x=1&room=&room=b&room=c"), Some("b".into()));
        assert_eq!(found("r%6Fom=a%20b%2Bc+d"), Some("a b+c d".into()));
        assert_eq!(found("room=a=b"), Some("a=b".into()));
    }

    #[test]
    fn nothing_else_is() {
        for query in ["", "room", "room=", "Room=a", "xroom=a", "a=room=b", "&&=&"] {
            assert_eq!(parameter(query, "room"), None, "{query}");
        }
    }
}
