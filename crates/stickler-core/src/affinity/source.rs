//! The client's address as an identifier: the network that it is in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address cut to a prefix: every bit behind the prefix is zero. The prefix is part of it, so that a
/// changed prefix starts new sessions instead of giving one client another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaskedAddress {
    network: IpAddr,
    prefix: u8,
}

impl MaskedAddress {
    /// Cuts `source` to `ipv4_prefix` or `ipv6_prefix` bits; more bits than the address has mean all of it.
    /// An IPv4 address that a dual-stack socket shows as IPv6 (`::ffff:192.0.2.1`) counts as IPv4, or every
    /// such client would be in one IPv6 network.
    #[must_use]
    pub fn of(source: IpAddr, ipv4_prefix: u8, ipv6_prefix: u8) -> Self {
        match source.to_canonical() {
            IpAddr::V4(address) => {
                let prefix = ipv4_prefix.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Self { network: Ipv4Addr::from_bits(address.to_bits() & mask).into(), prefix }
            }
            IpAddr::V6(address) => {
                let prefix = ipv6_prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Self { network: Ipv6Addr::from_bits(address.to_bits() & mask).into(), prefix }
            }
        }
    }

    /// The lowest address of the network.
    #[must_use]
    pub const fn network(&self) -> IpAddr {
        self.network
    }

    /// How many bits of it count.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Family, prefix and address: the bytes that a key is made of.
    pub(super) fn identifier(&self) -> MaskedBytes {
        let mut bytes = [0; 18];
        bytes[1] = self.prefix;
        let length = match self.network {
            IpAddr::V4(address) => {
                bytes[0] = 4;
                bytes[2..6].copy_from_slice(&address.octets());
                6
            }
            IpAddr::V6(address) => {
                bytes[0] = 6;
                bytes[2..].copy_from_slice(&address.octets());
                18
            }
        };
        MaskedBytes { bytes, length }
    }
}

/// The bytes of a `MaskedAddress` without an allocation.
pub(super) struct MaskedBytes {
    bytes: [u8; 18],
    length: usize,
}

impl MaskedBytes {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(source: &str, ipv4_prefix: u8, ipv6_prefix: u8) -> (String, u8) {
        let masked = MaskedAddress::of(source.parse().unwrap(), ipv4_prefix, ipv6_prefix);
        (masked.network().to_string(), masked.prefix())
    }

    #[test]
    fn an_address_keeps_the_bits_of_its_familys_prefix() {
        assert_eq!(cut("192.0.2.201", 24, 64), ("192.0.2.0".into(), 24));
        assert_eq!(cut("192.0.2.201", 25, 64), ("192.0.2.128".into(), 25));
        assert_eq!(cut("192.0.2.201", 32, 64), ("192.0.2.201".into(), 32));
        assert_eq!(cut("192.0.2.201", 1, 64), ("128.0.0.0".into(), 1));
        assert_eq!(cut("2001:db8:1:2:3::4", 24, 64), ("2001:db8:1:2::".into(), 64));
        assert_eq!(cut("2001:db8:1:2:3::4", 24, 128), ("2001:db8:1:2:3::4".into(), 128));
        assert_eq!(cut("2001:db8:1:2:3::4", 24, 1), ("::".into(), 1));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_an_ipv4_address() {
        assert_eq!(cut("::ffff:192.0.2.201", 24, 64), ("192.0.2.0".into(), 24));
    }

    #[test]
    fn a_prefix_beyond_the_address_means_all_of_it_and_zero_means_none() {
        assert_eq!(cut("192.0.2.201", 255, 255), ("192.0.2.201".into(), 32));
        assert_eq!(cut("2001:db8::1", 255, 255), ("2001:db8::1".into(), 128));
        assert_eq!(cut("192.0.2.201", 0, 0), ("0.0.0.0".into(), 0));
        assert_eq!(cut("2001:db8::1", 0, 0), ("::".into(), 0));
    }

    #[test]
    fn two_prefixes_make_two_identifiers_of_one_network() {
        let address = "10.0.0.0".parse().unwrap();
        let (wide, narrow) = (MaskedAddress::of(address, 8, 64), MaskedAddress::of(address, 24, 64));
        assert_ne!(wide.identifier().as_slice(), narrow.identifier().as_slice());
    }
}
