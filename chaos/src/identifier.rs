//! How a client's session is recognised in a scenario.

use std::sync::Arc;

/// The ways in which the cluster under test recognises sessions, each behind a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Door {
    /// `/`: by the application's own cookie.
    Own,
    /// `/token`: by a cookie that Stickler makes.
    Token,
    /// `/api`: by a header that the client sends.
    Header,
}

impl Door {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Own, Self::Token, Self::Header];

    /// Where its requests go.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Own => "/",
            Self::Token => "/token",
            Self::Header => "/api",
        }
    }

    /// The door that a path leads to.
    pub(crate) fn of_path(path: &str) -> Self {
        match path {
            "/token" => Self::Token,
            "/api" => Self::Header,
            _ => Self::Own,
        }
    }

    /// The cookie that carries the identifier; `None` where a header does.
    pub(crate) const fn cookie(self) -> Option<&'static str> {
        match self {
            Self::Own => Some("SHOPSESSION"),
            Self::Token => Some("STICKLER"),
            Self::Header => None,
        }
    }
}

/// The header behind [`Door::Header`].
pub(crate) const SESSION_HEADER: &str = "x-session";

/// What a client shows to be recognised.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Identifier {
    /// How it is shown.
    pub door: Door,
    /// The cookie's or header's value.
    pub value: Arc<str>,
}

impl Identifier {
    /// This value behind this door.
    pub(crate) fn new(door: Door, value: impl Into<Arc<str>>) -> Self {
        Self { door, value: value.into() }
    }
}

impl std::fmt::Display for Identifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.door, self.value)
    }
}
