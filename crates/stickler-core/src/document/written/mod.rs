//! The documents as they were written: every value with its place. A value is `None` when it was left
//! out, or when it could not be read and its problem has been added.

pub(super) mod affinity;
pub(super) mod cluster;
pub(super) mod discovery;
pub(super) mod ejection;
pub(super) mod health_check;
pub(super) mod node;

use toml::Spanned;

/// A value and its place, unless it was left out or unreadable.
pub(super) type Written<T> = Option<Spanned<T>>;
