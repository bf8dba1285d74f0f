//! A client's session: by what it is recognised, and what the client has of it.

use std::collections::BTreeMap;

use super::http::Reply;
use super::oracle::Record;

/// By what a client's session is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The shop's own cookie.
    Browser,
    /// Stickler's cookie.
    Own,
    /// Stickler's cookie, recorded when the client comes back.
    Guest,
    /// The header `X-Session`.
    Api,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Browser, Self::Own, Self::Guest, Self::Api];

    /// Its part of a path.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Own => "own",
            Self::Guest => "guest",
            Self::Api => "api",
        }
    }
}

/// One session, and what it is recognised by.
pub struct Session {
    kind: Kind,
    /// Which of its client's.
    pub number: u64,
    /// What the client was told to show.
    pub cookies: BTreeMap<String, String>,
    /// What the client knows of it.
    pub record: Record,
    /// Whether the client has logged in and was not told its new identifier. The one that it has may end
    /// with the grace of old names.
    pub renaming: bool,
    /// Whether an answer to such a request was lost, and the client was told no new identifier since.
    pub renamed_unheard: bool,
}

impl Session {
    /// One that no shop has answered yet.
    #[must_use]
    pub fn new(kind: Kind, number: u64) -> Self {
        let record = Record::new(kind);
        Self { kind, number, cookies: BTreeMap::new(), record, renaming: false, renamed_unheard: false }
    }

    /// Whether the client can show it.
    #[must_use]
    pub fn has_identifier(&self) -> bool {
        self.kind == Kind::Api || !self.cookies.is_empty()
    }

    /// Whether the cart in an answer goes by the name that this browser has.
    #[must_use]
    pub fn has_cart(&self, reply: &Reply) -> bool {
        let cart = reply.body.split(' ').nth(2);
        self.kind != Kind::Browser || self.cookies.get("SHOP").and_then(|name| name.split('~').next()) == cart
    }

    /// The header by which `client` shows it, once it can.
    #[must_use]
    pub fn shown_by(&self, client: &str) -> Option<(&'static str, String)> {
        match self.kind {
            Kind::Api => Some(("x-session", format!("{client}.{}", self.number))),
            Kind::Browser | Kind::Own | Kind::Guest if self.cookies.is_empty() => None,
            Kind::Browser | Kind::Own | Kind::Guest => {
                let pairs: Vec<String> =
                    self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
                Some(("cookie", pairs.join("; ")))
            }
        }
    }
}
