//! The Internet checksum: whole (RFC 1071) and by difference (RFC 1624).

use core::net::Ipv4Addr;
use crate::Protocol;

/// The ones' complement sum of `bytes`, folded to 16 bits and *not* complemented. An odd last byte counts as its
/// high half.
pub fn sum(bytes: &[u8]) -> u16 {
    let _ = bytes;
    todo!()
}

/// The checksum to store for a header or message whose checksum field is zero.
pub fn checksum(bytes: &[u8]) -> u16 {
    !sum(bytes)
}

/// The folded, uncomplemented sum of the IPv4 pseudo-header of a TCP or UDP segment of `length` bytes.
pub fn pseudo_header_sum(source: Ipv4Addr, destination: Ipv4Addr, protocol: Protocol, length: u16) -> u16 {
    let _ = (source, destination, protocol, length);
    todo!()
}

/// A change of checksummed fields, to be applied to any checksum that covers them (RFC 1624 equation 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference(u16);

impl Difference {
    /// No change.
    pub const NONE: Self = Self(0);

    /// And a 16-bit field changed from `old` to `new`.
    pub fn u16(self, old: u16, new: u16) -> Self {
        let _ = (old, new);
        todo!()
    }

    /// And an address changed from `old` to `new`.
    pub fn address(self, old: Ipv4Addr, new: Ipv4Addr) -> Self {
        let _ = (old, new);
        todo!()
    }

    /// The checksum after the change.
    pub fn apply(self, checksum: u16) -> u16 {
        let _ = checksum;
        todo!()
    }
}
