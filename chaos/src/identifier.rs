//! How a client's session is recognised in a scenario.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The ways in which the cluster under test recognises sessions, each behind a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Door {
    /// `/`: by the application's own cookie.
    Own,
    /// `/token`: by a cookie that Stickler makes.
    Token,
    /// `/api`: by a header that the client sends.
    Header,
    /// `/strict`: by a header, and an isolated node refuses.
    Strict,
    /// `/from`: by the client's address, and an isolated node refuses.
    Source,
    /// `/socket`: a WebSocket, by a header, and an isolated node refuses.
    Socket,
}

impl Door {
    /// Those whose requests are all alike, and of whose sessions a client can hold any number.
    pub(crate) const ALL: [Self; 3] = [Self::Own, Self::Token, Self::Header];

    /// Where its requests go.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Own => "/",
            Self::Token => "/token",
            Self::Header => "/api",
            Self::Strict => "/strict",
            Self::Source => "/from",
            Self::Socket => "/socket",
        }
    }

    /// The door that a path leads to.
    pub(crate) fn of_path(path: &str) -> Self {
        match path {
            "/token" => Self::Token,
            "/api" => Self::Header,
            "/strict" => Self::Strict,
            "/from" => Self::Source,
            "/socket" => Self::Socket,
            _ => Self::Own,
        }
    }

    /// The cookie that carries the identifier; `None` where something else does.
    pub(crate) const fn cookie(self) -> Option<&'static str> {
        match self {
            Self::Own => Some("SHOPSESSION"),
            Self::Token => Some("STICKLER"),
            Self::Header | Self::Strict | Self::Source | Self::Socket => None,
        }
    }

    /// Whether a header that the client sends carries the identifier.
    pub(crate) const fn is_by_header(self) -> bool {
        matches!(self, Self::Header | Self::Strict | Self::Socket)
    }

    /// Whether a node that can't reach the cluster refuses its sessions.
    pub(crate) const fn is_refused_in_isolation(self) -> bool {
        matches!(self, Self::Strict | Self::Source | Self::Socket)
    }

    /// What tables call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Own => "application cookie",
            Self::Token => "Stickler's cookie",
            Self::Header => "header",
            Self::Strict => "header, strict",
            Self::Source => "source address",
            Self::Socket => "WebSocket",
        }
    }
}

/// The header behind the doors by header.
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
