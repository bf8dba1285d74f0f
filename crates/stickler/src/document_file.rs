//! The files that a user names: read whole, told apart, and checked.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use stickler_core::document::problem::Problems;
use stickler_core::document::{check_cluster, check_node};

use crate::failure::Failure;

/// More than any document may have: what is longer is refused by the check, and not read to its end.
const LONGEST: u64 = 2 * 1024 * 1024;

/// Which of the two documents a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What all nodes agree on.
    Cluster,
    /// Who one node is.
    Node,
}

impl Kind {
    /// What messages call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster document",
            Self::Node => "node file",
        }
    }

    /// By what the text holds, even when it is no TOML at all; by the file's name where that says nothing.
    #[must_use]
    pub fn of(path: &Path, text: &str) -> Self {
        const NODE: [&str; 7] = [
            "data_directory",
            "peer_address",
            "status_address",
            "admin",
            "insecure_peers",
            "[[member",
            "[listener_addresses",
        ];
        const CLUSTER: [&str; 6] = ["[[listener]]", "[[pool", "[pool", "[[affinity", "[[route", "[limits"];
        let count = |beginnings: &[&str]| {
            let found =
                |line: &&str| beginnings.iter().any(|beginning| line.trim_start().starts_with(beginning));
            text.lines().filter(found).count()
        };
        let (node, cluster) = (count(&NODE), count(&CLUSTER));
        let named_node = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("node"));
        if node > cluster || (node == cluster && named_node) { Self::Node } else { Self::Cluster }
    }

    /// Every problem of a text.
    #[must_use]
    pub fn problems(self, path: &Path, text: &str) -> Option<Problems> {
        let name = path.display().to_string();
        match self {
            Self::Cluster => check_cluster(&name, text).err(),
            Self::Node => check_node(&name, text).err(),
        }
    }
}

/// Reads a file that should be one of the documents.
///
/// # Errors
/// [`Failure::Usage`], which names the file.
pub fn read(path: &Path) -> Result<String, Failure> {
    let failed = |reason: &dyn std::fmt::Display| Failure::Usage(format!("{}: {reason}", path.display()));
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        Failure::Usage(format!("{}:{line}: not UTF-8", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(path: &str, text: &str) -> Kind {
        Kind::of(Path::new(path), text)
    }

    #[test]
    fn a_document_is_told_by_what_it_holds_before_its_name() {
        assert_eq!(kind("x.toml", "version = 1\nid = 1\npeer_address = \"127.0.0.1:1\""), Kind::Node);
        assert_eq!(kind("node.toml", "[[pool]]\nname = \"shop\"\n[[route]]"), Kind::Cluster);
        assert_eq!(kind("node-1.toml", "id = "), Kind::Node);
        assert_eq!(kind("x.toml", ""), Kind::Cluster);
    }
}
