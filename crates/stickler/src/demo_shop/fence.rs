//! Fencing as docs/fencing.md asks for it: whoever is overtaken changes nothing any more.

use http::HeaderMap;

/// The handle of the session, as Stickler tells it to backends.
pub(super) const HANDLE: &str = "stickler-session";
/// The number of the session's binding, as Stickler tells it to backends.
pub(super) const EPOCH: &str = "stickler-epoch";
/// Characters of a handle: hexadecimal digits.
const HANDLE_LENGTH: usize = 32;

/// By what right a request comes. Only Stickler can say it: what a client sends under these names is taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The session's handle.
    pub handle: String,
    /// The epoch; 0 for a session that has none yet, which every numbered request overtakes.
    pub epoch: u64,
}

impl Claim {
    /// What a request claims; `None` when it comes by no session, or not through a node.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let handle = headers.get(HANDLE)?.to_str().ok()?;
        let epoch = headers.get(EPOCH).and_then(|epoch| epoch.to_str().ok()?.parse().ok()).unwrap_or(0);
        Some(Self { handle: handle.to_owned(), epoch })
    }

    /// Whether the handle is one of Stickler's, so that it can be a file's name.
    pub fn is_well_formed(&self) -> bool {
        self.handle.len() == HANDLE_LENGTH && self.handle.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// A request with a higher epoch was here before: nothing was done. Sent again, it goes by the new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("epoch {claimed} was overtaken by epoch {highest}; nothing was done, send the request again")]
pub(super) struct Overtaken {
    claimed: u64,
    highest: u64,
}

/// The highest epoch by which something was used. It is kept beside what it protects, under the same lock, and
/// ends with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Fence(u64);

impl Fence {
    /// Lets a request pass that no later one has overtaken, and remembers it. Reading counts, too: what a
    /// reader was told must not be changed behind its back by a request from before.
    pub fn pass(&mut self, epoch: u64) -> Result<(), Overtaken> {
        if epoch < self.0 {
            return Err(Overtaken { claimed: epoch, highest: self.0 });
        }
        self.0 = epoch;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_request_passes_until_a_higher_epoch_was_there() {
        let mut fence = Fence::default();
        for epoch in [0, 7, 7, 9] {
            assert_eq!(fence.pass(epoch), Ok(()));
        }
        for epoch in [0, 7, 8] {
            assert_eq!(fence.pass(epoch), Err(Overtaken { claimed: epoch, highest: 9 }));
        }
        assert_eq!(fence.pass(9), Ok(()), "whoever is refused changes nothing");
    }

    #[test]
    fn a_session_without_an_epoch_counts_as_zero_and_a_request_without_a_handle_claims_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(EPOCH, HeaderValue::from_static("7"));
        assert_eq!(Claim::of(&headers), None);
        headers.insert(HANDLE, HeaderValue::from_static("0123456789abcdef0123456789abcdef"));
        let claim = Claim::of(&headers).unwrap();
        assert!(claim.epoch == 7 && claim.is_well_formed(), "{claim:?}");
        headers.remove(EPOCH);
        assert_eq!(Claim::of(&headers).unwrap().epoch, 0);
        for odd in ["../../0123456789abcdef0123456789", "0123", "0123456789abcdef0123456789abcdeg"] {
            headers.insert(HANDLE, HeaderValue::from_static(odd));
            assert!(!Claim::of(&headers).unwrap().is_well_formed(), "{odd}");
        }
    }
}
