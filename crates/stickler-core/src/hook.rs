//! Where an application is told that a session is about to move, so that it can take the session's state out.

use std::net::SocketAddr;

/// Stands for the address of the session's backend.
const BACKEND: &str = "{backend}";

/// The longest address of a hook, in bytes.
const LONGEST: usize = 1024;

/// An address that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Where it is; `None`: at the session's backend.
    pub address: Option<SocketAddr>,
    /// What stands behind the address, from its slash on.
    pub path: String,
}

/// Why a text names no hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a hook is http:// with {{backend}}, or an IP address and a port, and a path: http://{{backend}}/export"
)]
pub struct BadHook;

impl Hook {
    /// Reads a hook's address.
    ///
    /// # Errors
    /// [`BadHook`]. Names are not looked up, and nothing is said over TLS.
    pub fn read(text: &str) -> Result<Self, BadHook> {
        let rest = text.strip_prefix("http://").filter(|_| text.len() <= LONGEST).ok_or(BadHook)?;
        let (host, path) = rest.split_once('/').ok_or(BadHook)?;
        let address = if host == BACKEND { None } else { Some(host.parse().map_err(|_| BadHook)?) };
        let fit = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}#\"<>".contains(&byte));
        if fit { Ok(Self { address, path: format!("/{path}") }) } else { Err(BadHook) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_at_an_address_or_at_the_backend() {
        let at = |address: Option<&str>, path: &str| {
            Ok(Hook { address: address.map(|address| address.parse().unwrap()), path: path.to_owned() })
        };
        assert_eq!(Hook::read("http://{backend}/export?a=b"), at(None, "/export?a=b"));
        assert_eq!(Hook::read("http://10.0.0.9:8080/"), at(Some("10.0.0.9:8080"), "/"));
        for bad in [
            "",
            "https://{backend}/x",
            "http://name:80/x",
            "http://{backend}",
            "http://{backend}/{x}",
            "http://10.0.0.9/x",
        ] {
            assert_eq!(Hook::read(bad), Err(BadHook), "{bad}");
        }
    }
}
