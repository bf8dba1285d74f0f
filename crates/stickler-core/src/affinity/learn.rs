//! What a response reveals about its session: the pure half of learning an identifier that the application gives out.
//! The caller commits what follows from it before the response leaves (I6).

use http::HeaderMap;

use super::bearer::{header_value, without_scheme};
use super::key::Identifier;
use super::recognise::{Found, Policy};
use super::set_cookie::{Learned, find_application_cookie, remove_set_cookie};
use crate::document::cluster::{Affinity, Method};
use crate::ids::KeyHash;

/// What a response says about the identifier of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// Nothing about it.
    Nothing,
    /// The session gets an identifier that the request was not recognised by. If the request went by a live
    /// binding, the new key inherits it; otherwise it adopts the backend that answered.
    NewIdentifier {
        /// Index into `Affinity::methods`.
        method: usize,
        /// Key of the new identifier.
        key: KeyHash,
    },
    /// The identifier that the request was recognised by is said again.
    SameIdentifier,
    /// The application ended the identifier that the request was recognised by.
    Ended {
        /// Key of the identifier.
        key: KeyHash,
    },
    /// The session gets an identifier that is too long to be kept. Counted; the response leaves without it,
    /// since nobody could honour it.
    Unkeepable {
        /// Index into `Affinity::methods`.
        method: usize,
    },
}

/// Where the application gives an identifier out.
#[derive(Clone, Copy)]
enum Teacher<'a> {
    /// In a cookie of this name.
    Cookie(&'a str),
    /// In a header of the response, for the client to send in a header of its requests.
    Header { response: &'a str, request: &'a str, bearer: bool, pattern: Option<&'a str> },
}

/// Reads a response of a session that was recognised by `used` (`None`: by nothing). `now` is in seconds
/// since 1970.
///
/// Of several identifiers the first in order of preference counts. Those less preferred than the
/// identifier in use teach nothing, since the client is recognised without them; but when the response ends
/// the identifier in use, a less preferred one takes its place.
#[must_use]
pub fn learn(policy: &Policy<'_>, used: Option<&Found>, headers: &HeaderMap, now: i64) -> Lesson {
    let mut ended = None;
    for (method, teacher) in teachers(policy.affinity) {
        if ended.is_none() && used.is_some_and(|used| used.method < method) {
            break;
        }
        let identifier = match teacher.says(policy, headers, now) {
            None => continue,
            Some(Said::Ended) => {
                ended = ended.or(used.filter(|used| used.method == method).map(|used| used.key));
                continue;
            }
            Some(Said::Identifier(identifier)) => identifier,
        };
        return match policy.key(&identifier) {
            Err(_) => Lesson::Unkeepable { method },
            Ok(key) if used.is_some_and(|used| used.key == key) => Lesson::SameIdentifier,
            Ok(key) => Lesson::NewIdentifier { method, key },
        };
    }
    ended.map_or(Lesson::Nothing, |key| Lesson::Ended { key })
}

/// Whether the application's responses give out identifiers under this affinity.
#[must_use]
pub fn learns(affinity: &Affinity) -> bool {
    teachers(affinity).next().is_some()
}

/// Takes the identifier of the method at this index out of a response, so that it leaves without it (I6).
pub fn withhold(affinity: &Affinity, method: usize, headers: &mut HeaderMap) {
    match teachers(affinity).find(|(index, _)| *index == method) {
        Some((_, Teacher::Cookie(name))) => {
            remove_set_cookie(headers, name);
        }
        Some((_, Teacher::Header { response, .. })) => {
            headers.remove(response);
        }
        None => {}
    }
}

/// Takes every identifier out of a response that must not begin or change a session.
pub fn withhold_all(affinity: &Affinity, headers: &mut HeaderMap) {
    for (method, _) in teachers(affinity) {
        withhold(affinity, method, headers);
    }
}

/// Where the affinity's identifiers are given out, in order of preference, with the index of each method.
fn teachers(affinity: &Affinity) -> impl Iterator<Item = (usize, Teacher<'_>)> {
    affinity.methods.iter().enumerate().filter_map(|(index, method)| match method {
        Method::ApplicationCookie { name, .. } => Some((index, Teacher::Cookie(name))),
        Method::Header { name, bearer, pattern, learn_from_response: Some(response) } => {
            let teacher =
                Teacher::Header { response, request: name, bearer: *bearer, pattern: pattern.as_deref() };
            Some((index, teacher))
        }
        Method::Cookie(_)
        | Method::Header { learn_from_response: None, .. }
        | Method::SourceAddress { .. }
        | Method::Query { .. }
        | Method::JwtClaim { .. } => None,
    })
}

/// What one place of a response says.
enum Said<'a> {
    Identifier(Identifier<'a>),
    Ended,
}

impl<'a> Teacher<'a> {
    fn says(self, policy: &Policy<'_>, headers: &'a HeaderMap, now: i64) -> Option<Said<'a>> {
        match self {
            Self::Cookie(name) => Some(match find_application_cookie(headers, name, now)? {
                Learned::Deleted => Said::Ended,
                Learned::Value(value) => Said::Identifier(Identifier::ApplicationCookie { name, value }),
            }),
            Self::Header { response, request, bearer, pattern } => {
                let value = header_value(headers, response)?;
                let value = policy.cut(pattern, if bearer { without_scheme(value) } else { value })?;
                Some(Said::Identifier(Policy::identifier_of_header(request, bearer, value)))
            }
        }
    }
}
