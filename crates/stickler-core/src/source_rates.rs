//! How often each client's address may do something: the generic cell rate algorithm (ITU-T I.371), in a bounded
//! memory.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::affinity::source::MaskedAddress;
use crate::deliberate::{self, Fault};
use crate::document::cluster::Rate;
use crate::ids::AffinityId;

/// Addresses in one of the two generations.
const REMEMBERED: usize = 32 * 1024;

/// An IPv6 client has its network to itself.
const PREFIXES: (u8, u8) = (32, 64);

type Source = (AffinityId, u128);

/// When each source will have paid for what it did, by the clock of its node.
///
/// Sources are kept in two generations, and the older one is forgotten as a whole when the younger is full: whoever
/// comes with ever new addresses makes room by what is forgotten, and costs no more memory. A source that is
/// forgotten so has its whole rate again.
#[derive(Debug, Default)]
pub struct SourceRates {
    young: BTreeMap<Source, Duration>,
    old: BTreeMap<Source, Duration>,
}

impl SourceRates {
    /// Lets `source` do it once more at `now`, if the rate allows that.
    ///
    /// # Errors
    /// How long it has to wait.
    pub fn admit(
        &mut self,
        affinity: AffinityId,
        source: std::net::IpAddr,
        rate: Rate,
        now: Duration,
    ) -> Result<(), Duration> {
        let masked = MaskedAddress::of(source, PREFIXES.0, PREFIXES.1);
        let source = (affinity, number(&masked));
        let paid_at = self.young.get(&source).or_else(|| self.old.get(&source)).copied().unwrap_or_default();
        let paid_at = paid_at.max(now) + rate.period / rate.most.max(1);
        if paid_at > now + rate.period && !deliberate::active(Fault::CountNoNewSessions) {
            return Err(paid_at - now - rate.period);
        }
        if self.young.len() >= REMEMBERED && !self.young.contains_key(&source) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(source, paid_at);
        Ok(())
    }

    /// How many sources are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// IPv4 addresses as those of IPv6 that stand for them, so that all are of one kind.
fn number(masked: &MaskedAddress) -> u128 {
    match masked.network() {
        std::net::IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        std::net::IpAddr::V6(address) => address.to_bits(),
    }
}
