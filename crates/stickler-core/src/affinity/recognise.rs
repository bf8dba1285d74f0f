//! What a request carries: every identifier that the affinity's methods find in it.

use std::net::IpAddr;

use http::HeaderMap;

use super::bearer::{bearer_token, header_value};
use super::claim::claim;
use super::cookie_header;
use super::key::{Identifier, KeyHasher, OversizeIdentifier};
use super::path_parameter::path_parameter;
use super::pattern::Patterns;
use super::query::parameter;
use super::sealing::{KeyRing, SealingKeyId};
use super::source::MaskedAddress;
use super::token::{Opened, Token, TokenError};
use crate::document::cluster::{Affinity, Method};
use crate::ids::{AffinityId, ClusterId, KeyHash};

/// How many different values of one application cookie are looked at: one for each path or domain that
/// the cookie was set for. More than a few are made up.
pub const MAX_VALUES: usize = 4;

/// How many cookies of Stickler's name are tried until one opens. Enough that a neighbour site's few
/// stray cookies don't hide the right one, and so few that made-up ones cost next to nothing.
pub const MAX_TOKENS: usize = 16;

/// One identifier that a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Index into `Affinity::methods` of the method that found it.
    pub method: usize,
    /// Its key.
    pub key: KeyHash,
    /// What the token says, when it is Stickler's own cookie.
    pub token: Option<Token>,
    /// The key that had sealed the token.
    pub sealed_with: Option<SealingKeyId>,
}

/// Something that looked like an identifier and was passed over. Each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedOver {
    /// A cookie of Stickler's name whose seal doesn't hold.
    ForgedToken,
    /// A token sealed with a key that this node doesn't know: forged or retired, unless the node is behind.
    UnknownKey(SealingKeyId),
    /// A cookie of Stickler's name that is no token.
    MalformedToken,
    /// An identifier that is too long to be one.
    OversizeIdentifier,
    /// Cookies beyond [`MAX_VALUES`] or [`MAX_TOKENS`] were not looked at; once for each method.
    TooManyCookies,
}

impl From<TokenError> for PassedOver {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Malformed => Self::MalformedToken,
            TokenError::UnknownKey(id) => Self::UnknownKey(id),
            TokenError::Forged => Self::ForgedToken,
        }
    }
}

impl From<OversizeIdentifier> for PassedOver {
    fn from(_: OversizeIdentifier) -> Self {
        Self::OversizeIdentifier
    }
}

/// All that was found in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recognised {
    /// The identifiers, in the affinity's order of preference; several of one method in the request's order.
    pub found: Vec<Found>,
    /// The keys of identifiers that name their backend, with what they call it.
    pub routes: Vec<(KeyHash, String)>,
    /// What was passed over, at most a few for each method.
    pub passed_over: Vec<PassedOver>,
}

impl Recognised {
    /// The identifier to go by: the first whose binding is `live`, or else the first. `None` when the
    /// request carries none.
    pub fn choose(&self, mut live: impl FnMut(&Found) -> bool) -> Option<&Found> {
        self.found.iter().find(|found| live(found)).or_else(|| self.found.first())
    }

    /// The same without tokens that have no record: when they are good no more, they say nothing.
    #[must_use]
    pub fn without_unrecorded(&self) -> Self {
        let recorded = |found: &&Found| found.token.is_none_or(|token| token.recorded);
        Self { found: self.found.iter().filter(recorded).copied().collect(), ..self.clone() }
    }

    /// Whether a token was passed over for its key, which a node that is behind may have yet to learn of.
    #[must_use]
    pub fn has_unknown_key(&self) -> bool {
        self.passed_over.iter().any(|passed_over| matches!(passed_over, PassedOver::UnknownKey(_)))
    }
}

/// An affinity, and what identifiers are read with under it.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// Its id.
    pub id: AffinityId,
    /// Its settings.
    pub affinity: &'a Affinity,
    /// Makes keys of identifiers.
    pub hasher: &'a KeyHasher,
    /// The patterns of its methods, compiled.
    pub patterns: &'a Patterns,
}

/// The parts of a request in which identifiers can be.
#[derive(Clone, Copy)]
pub struct Carried<'a> {
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The path of its target.
    pub path: &'a str,
    /// What stands behind the `?` of its target.
    pub query: Option<&'a str>,
    /// The client's address, after whatever trusted proxies said about it.
    pub source: IpAddr,
}

/// Looks for identifiers in a request by each method of the affinity. Header names that can't be any are found
/// in no request.
#[must_use]
pub fn recognise(
    policy: &Policy<'_>,
    ring: &KeyRing,
    cluster: ClusterId,
    carried: Carried<'_>,
) -> Recognised {
    let Carried { headers, path, query, source } = carried;
    let mut look = Look { policy, headers, recognised: Recognised::default() };
    for (index, method) in policy.affinity.methods.iter().enumerate() {
        match method {
            Method::Cookie(attributes) => look.for_token(index, &attributes.name, ring, cluster),
            Method::ApplicationCookie { name, path_parameter, route_separator } => {
                look.for_application_cookie(index, name, path_parameter.as_deref(), *route_separator, path);
            }
            Method::Header { name, bearer, pattern, .. } => {
                let value = if *bearer { bearer_token(headers, name) } else { header_value(headers, name) };
                let value = value.and_then(|value| policy.cut(pattern.as_deref(), value));
                if let Some(value) = value {
                    look.note(index, &Policy::identifier_of_header(name, *bearer, value));
                }
            }
            Method::SourceAddress { ipv4_prefix, ipv6_prefix } => {
                let network = MaskedAddress::of(source, *ipv4_prefix, *ipv6_prefix);
                look.note(index, &Identifier::Source(network));
            }
            Method::Query { name } => {
                if let Some(value) = query.and_then(|query| parameter(query, name)) {
                    look.note(index, &Identifier::Query { name, value: value.as_bytes() });
                }
            }
            Method::JwtClaim { header, claim: name } => {
                if let Some(value) = bearer_token(headers, header).and_then(|token| claim(token, name)) {
                    look.note(index, &Identifier::Claim { name, value: &value });
                }
            }
        }
    }
    look.recognised
}

impl Policy<'_> {
    /// What of a header's value is the identifier; `None` when the method's pattern is not in it.
    #[must_use]
    pub fn cut<'v>(&self, pattern: Option<&str>, value: &'v [u8]) -> Option<&'v [u8]> {
        match pattern {
            Some(pattern) => self.patterns.find(pattern, value),
            None => Some(value),
        }
    }

    /// The identifier that a header of this name has.
    #[must_use]
    pub const fn identifier_of_header<'v>(name: &'v str, bearer: bool, value: &'v [u8]) -> Identifier<'v> {
        if bearer { Identifier::Bearer { name, token: value } } else { Identifier::Header { name, value } }
    }

    /// The key of an identifier under this affinity.
    ///
    /// # Errors
    /// When the identifier is too long to be one.
    pub fn key(&self, identifier: &Identifier<'_>) -> Result<KeyHash, OversizeIdentifier> {
        self.hasher.key(self.id, identifier)
    }
}

/// One request being looked at.
struct Look<'a> {
    policy: &'a Policy<'a>,
    headers: &'a HeaderMap,
    recognised: Recognised,
}

impl Look<'_> {
    fn note(&mut self, method: usize, identifier: &Identifier<'_>) -> Option<KeyHash> {
        match self.policy.key(identifier) {
            Ok(key) => {
                self.recognised.found.push(Found { method, key, token: None, sealed_with: None });
                Some(key)
            }
            Err(oversize) => {
                self.recognised.passed_over.push(oversize.into());
                None
            }
        }
    }

    /// The first token that opens: a client has one session here, and others under the name are leftovers.
    fn for_token(&mut self, method: usize, name: &str, ring: &KeyRing, cluster: ClusterId) {
        for (tried, text) in cookie_header::values(self.headers, name).enumerate() {
            if tried == MAX_TOKENS {
                self.recognised.passed_over.push(PassedOver::TooManyCookies);
                return;
            }
            match ring.open(cluster, self.policy.id, text) {
                Ok(Opened { token, sealed_with }) => {
                    let key = self.policy.hasher.handle_key(self.policy.id, token.handle);
                    let found = Found { method, key, token: Some(token), sealed_with: Some(sealed_with) };
                    self.recognised.found.push(found);
                    return;
                }
                Err(error) => self.recognised.passed_over.push(error.into()),
            }
        }
    }

    /// Each different value: a client that has the cookie for two paths sends both, and only the bindings can tell
    /// which of them lives. An empty value names no session. What stands in the path comes last: a client that sends
    /// cookies goes by its cookie.
    fn for_application_cookie(
        &mut self,
        method: usize,
        name: &str,
        parameter: Option<&str>,
        separator: Option<char>,
        path: &str,
    ) {
        let mut seen: [&[u8]; MAX_VALUES] = [b""; MAX_VALUES];
        let mut count = 0;
        let in_path = parameter.and_then(|name| path_parameter(path, name)).map(str::as_bytes);
        for value in cookie_header::values(self.headers, name).chain(in_path) {
            if value.is_empty() || seen[..count].contains(&value) {
                continue;
            }
            if count == MAX_VALUES {
                self.recognised.passed_over.push(PassedOver::TooManyCookies);
                return;
            }
            seen[count] = value;
            count += 1;
            let key = self.note(method, &Identifier::ApplicationCookie { name, value });
            if let (Some(key), Some(route)) =
                (key, separator.and_then(|separator| route_in(value, separator)))
            {
                self.recognised.routes.push((key, route.to_owned()));
            }
        }
    }
}

/// The name of a backend behind the last `separator` of an identifier.
fn route_in(value: &[u8], separator: char) -> Option<&str> {
    let (_, route) = std::str::from_utf8(value).ok()?.rsplit_once(separator)?;
    (!route.is_empty()).then_some(route)
}
