//! What a response reveals about its session: the pure half of learning the application's cookie. The
//! caller commits what follows from it before the response leaves (I6).

use http::HeaderMap;

use super::key::{Identifier, KeyHasher};
use super::recognise::Found;
use super::set_cookie::{Learned, find_application_cookie};
use crate::document::cluster::{Affinity, Method};
use crate::ids::{AffinityId, KeyHash};

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

/// Reads a response of a session that was recognised by `used` (`None`: by nothing). `now` is in seconds
/// since 1970.
///
/// Of several application cookies the first in order of preference counts. Those less preferred than the
/// identifier in use teach nothing, since the client is recognised without them; but when the response ends
/// the identifier in use, a less preferred one takes its place.
#[must_use]
pub fn learn(
    affinity_id: AffinityId,
    affinity: &Affinity,
    hasher: &KeyHasher,
    used: Option<&Found>,
    headers: &HeaderMap,
    now: i64,
) -> Lesson {
    let mut ended = None;
    for (method, name) in application_cookies(affinity) {
        if ended.is_none() && used.is_some_and(|used| used.method < method) {
            break;
        }
        match find_application_cookie(headers, name, now) {
            None => {}
            Some(Learned::Deleted) => {
                ended = ended.or(used.filter(|used| used.method == method).map(|used| used.key));
            }
            Some(Learned::Value(value)) => {
                return match hasher.key(affinity_id, &Identifier::ApplicationCookie { name, value }) {
                    Err(_) => Lesson::Unkeepable { method },
                    Ok(key) if used.is_some_and(|used| used.key == key) => Lesson::SameIdentifier,
                    Ok(key) => Lesson::NewIdentifier { method, key },
                };
            }
        }
    }
    ended.map_or(Lesson::Nothing, |key| Lesson::Ended { key })
}

/// The affinity's application cookies in order of preference: index of the method, and name.
pub fn application_cookies(affinity: &Affinity) -> impl Iterator<Item = (usize, &str)> {
    affinity.methods.iter().enumerate().filter_map(|(index, method)| match method {
        Method::ApplicationCookie { name } => Some((index, name.as_str())),
        Method::Cookie(_)
        | Method::Header { .. }
        | Method::SourceAddress { .. }
        | Method::Query { .. }
        | Method::JwtClaim { .. } => None,
    })
}
