//! The Internet checksum: whole (RFC 1071) and by difference (RFC 1624).
//!
//! The packet path never sums a packet: it knows which fields it changed, collects the change as a [`Difference`], and
//! applies that to every checksum that covers those fields. The whole sum serves IPv4 headers as they arrive, ICMP
//! errors, and what the gateway writes itself.
//!
//! In ones' complement 0x0000 and 0xffff are the same number, and a difference of equation 3 keeps the form a full
//! computation would have given. Equation 4, and RFC 1141 before it, turn 0x0000 into 0xffff here and there, which
//! receivers have dropped.

use core::net::Ipv4Addr;

use crate::Protocol;

/// Adds in ones' complement: the carry comes back in at the bottom.
///
/// The sum is 0x0000 only where both terms are.
#[inline]
const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    // Cannot overflow: after a carry the sum is at most 0xfffe.
    sum + carry as u16
}

/// Folds a sum of 32-bit words to 16 bits, carries included.
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The ones' complement sum of `bytes`, folded to 16 bits and *not* complemented. An odd last byte counts as its
/// high half.
///
/// A header or message whose checksum field is right sums to 0xffff.
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    // Words are added in the machine's own byte order and the result is swapped once (RFC 1071 section 2 B). A u64
    // holds the carries of 2^32 words.
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum = 0_u64;
    for word in words {
        sum += u64::from(u32::from_ne_bytes(*word));
    }
    sum += match *rest {
        [a, b, c] => u64::from(u32::from_ne_bytes([a, b, c, 0])),
        [a, b] => u64::from(u16::from_ne_bytes([a, b])),
        [a] => u64::from(u16::from_ne_bytes([a, 0])),
        _ => 0,
    };
    u16::from_be(fold(sum))
}

/// The [`sum`] of an IPv4 header. Nearly all are 20 bytes long, and a loop of known length is unrolled.
#[inline]
pub(crate) fn header_sum(header: &[u8]) -> u16 {
    match header.split_first_chunk::<20>() {
        Some((fixed, [])) => sum(fixed),
        _ => sum(header),
    }
}

/// The checksum to store for a header or message whose checksum field is zero.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    !sum(bytes)
}

/// The folded, uncomplemented sum of the IPv4 pseudo-header of a TCP or UDP segment of `length` bytes.
pub fn pseudo_header_sum(source: Ipv4Addr, destination: Ipv4Addr, protocol: Protocol, length: u16) -> u16 {
    let mut sum = add(u16::from(protocol.0), length);
    for address in [source, destination] {
        let [high, low] = halves(address);
        sum = add(add(sum, high), low);
    }
    sum
}

/// The checksum to store for a message in two parts, the first of even length, whose checksum field is zero.
pub(crate) fn checksum_of_parts(first: &[u8], second: &[u8]) -> u16 {
    debug_assert!(first.len().is_multiple_of(2), "the second part would be summed at the wrong parity");
    !add(sum(first), sum(second))
}

/// The sum of a segment and its pseudo-header, which is 0xffff where the checksum in the segment is right.
pub(crate) fn with_pseudo_header(pseudo_header_sum: u16, segment: &[u8]) -> u16 {
    add(pseudo_header_sum, sum(segment))
}

#[inline]
fn halves(address: Ipv4Addr) -> [u16; 2] {
    let [a, b, c, d] = address.octets();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

/// A change of checksummed fields, to be applied to any checksum that covers them (RFC 1624 equation 3).
///
/// Holds the folded sum of `!old + new` of every 16-bit word that changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference(u16);

impl Difference {
    /// No change.
    pub const NONE: Self = Self(0);

    /// And a 16-bit field changed from `old` to `new`.
    ///
    /// The field has to lie at an even offset from where its checksum starts counting, as every field of these
    /// headers does.
    #[inline]
    pub fn u16(self, old: u16, new: u16) -> Self {
        Self(add(self.0, add(!old, new)))
    }

    /// And an address changed from `old` to `new`.
    #[inline]
    pub fn address(self, old: Ipv4Addr, new: Ipv4Addr) -> Self {
        let ([old_high, old_low], [new_high, new_low]) = (halves(old), halves(new));
        self.u16(old_high, new_high).u16(old_low, new_low)
    }

    /// Both changes.
    #[inline]
    pub fn and(self, other: Self) -> Self {
        Self(add(self.0, other.0))
    }

    /// The checksum after the change.
    ///
    /// For data that are not all zero, as no header is, the result has the same form that a full computation gives:
    /// 0x0000, never 0xffff. UDP's rule that 0x0000 is sent as 0xffff is the caller's.
    //= https://www.rfc-editor.org/rfc/rfc1624#section-3
    //# = ~(~HC + ~m + m')
    #[inline]
    pub fn apply(self, checksum: u16) -> u16 {
        !add(!checksum, self.0)
    }
}

#[cfg(test)]
mod tests;
