//! The numbers that name things. Each is its own type, so that an epoch can't be passed for a log index.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// One running Stickler process, as its node file numbers it. Never 0.
    NodeId
}
number! {
    /// A backend's permanent id. Drawn from a counter of the cluster and never used again, so that a
    /// binding can't come to name another machine.
    BackendId
}
number! {
    /// A pool's permanent id, drawn like a backend's.
    PoolId
}
number! {
    /// An affinity's permanent id, drawn like a backend's.
    AffinityId
}
number! {
    /// The number of a binding's version, drawn from one counter of the cluster (I2); sent to the backend
    /// as its fencing token. 0 means "none yet": the first epoch drawn is 1.
    Epoch
}
number! {
    /// A position in the replicated log.
    LogIndex
}
number! {
    /// The number of a version of the cluster document. 0 means that none was applied yet.
    Revision
}
number! {
    /// The number of a job, counted up from 1; 0 means "none yet".
    JobId
}
number! {
    /// How often a node has started on its data directory. With the directory's identity it names one
    /// process, so that a lease or a report of an earlier process is never taken for one of this.
    Incarnation
}

/// The cluster's 128-bit name, drawn at its birth. Peers of another cluster are refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub u128);

/// The 128-bit identity of a data directory, drawn when it is made. An emptied directory is another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DirectoryId(pub u128);

/// An affinity key as it is kept: a keyed 128-bit hash of the client's identifier, never the identifier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(pub u128);

macro_rules! hex {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:032x})"), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            /// Reads what `Display` writes: 32 hexadecimal digits.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                u128::from_str_radix(text, 16).map(Self)
            }
        }
    };
}

hex!(ClusterId);
hex!(DirectoryId);
hex!(KeyHash);

impl Epoch {
    /// The epoch after this one. The counter has 64 bits; at a million binds a second it lasts
    /// 584,000 years.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
