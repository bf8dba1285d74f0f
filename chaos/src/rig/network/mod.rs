//! What lies between the nodes, their backends and their clients, and how it is broken.

pub(crate) mod link;
pub(crate) mod namespaces;

use std::time::Duration;

use link::Links;
use namespaces::{NamespaceError, Namespaces};

/// One end of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum End {
    /// The node with this id.
    Node(u64),
    /// The backend at this place.
    Backend(usize),
    /// All clients.
    Clients,
}

/// What happens to what is sent from one end to another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Condition {
    /// It arrives.
    #[default]
    Open,
    /// It does not arrive, and nobody is told.
    Dropped,
    /// It does not arrive, and the sender is told: connections end.
    Cut,
    /// It arrives late.
    Slow {
        /// Each piece by so much.
        delay: Duration,
        /// Not more than so many bytes in a second; `None` is no limit.
        rate: Option<u64>,
    },
    /// Some pieces arrive as late as a lost segment that is sent again.
    Lossy {
        /// How many of a hundred.
        percent: u8,
    },
}

/// How the user wants the ends to be connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NetworkKind {
    /// Links in user space on loopback addresses: no privileges, and they can also delay and slow down
    #[default]
    Links,
    /// A network namespace for each node, joined by a router: needs root; packets themselves are dropped
    Namespaces,
}

impl NetworkKind {
    /// What histories call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Namespaces => "namespaces",
        }
    }
}

/// What connects the ends of a cluster under test.
#[derive(Debug)]
pub(crate) enum Network {
    /// Nothing is in between, and nothing can be broken.
    Direct,
    /// Links in user space.
    Links(Links),
    /// A namespace for each node.
    Namespaces(Namespaces),
}

impl Network {
    /// From now on this happens to what is sent from the one end to the other; not the other way.
    ///
    /// Fails where the way can't be broken like this.
    pub(crate) fn set(&mut self, from: End, to: End, condition: Condition) -> Result<(), NamespaceError> {
        match self {
            Self::Direct => Err(NamespaceError::NotPossible("without links")),
            Self::Links(links) => {
                links.ways.set(from, to, condition);
                Ok(())
            }
            Self::Namespaces(namespaces) => namespaces.set(from, to, condition),
        }
    }

    /// The same for both ways.
    pub(crate) fn set_both(
        &mut self,
        one: End,
        other: End,
        condition: Condition,
    ) -> Result<(), NamespaceError> {
        self.set(one, other, condition)?;
        self.set(other, one, condition)
    }

    /// From now on this happens to what nodes send to each other where nothing else does.
    pub(crate) fn set_fair_weather(&self, condition: Condition) -> Result<(), NamespaceError> {
        match self {
            Self::Links(links) => {
                links.ways.set_fair_weather(condition);
                Ok(())
            }
            Self::Direct | Self::Namespaces(_) => Err(NamespaceError::NotPossible("without links")),
        }
    }

    /// What stands behind this end has been started.
    pub(crate) fn open(&mut self, end: End) {
        if let Self::Links(links) = self {
            links.open(end);
        }
    }

    /// What stands behind this end is dead.
    pub(crate) async fn shut(&mut self, end: End) {
        if let Self::Links(links) = self {
            links.shut(end).await;
        }
    }

    /// Whether ways can be slow or lossy.
    pub(crate) const fn can_be_slow(&self) -> bool {
        matches!(self, Self::Links(_))
    }
}
