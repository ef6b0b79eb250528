//! Changing addresses, ports and TTL in place, with every checksum that covers them.

use core::net::Ipv4Addr;

use crate::Parsed;

/// A new address, and a new port (or ICMP query identifier) where the port changes too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The new address.
    pub address: Ipv4Addr,
    /// The new port or ICMP query identifier; `None` leaves it as it is.
    pub port: Option<u16>,
}

/// What changes in a packet between its two sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The new source, if it changes.
    pub source: Option<Replacement>,
    /// The new destination, if it changes.
    pub destination: Option<Replacement>,
}

/// Applies `rewrite` to an IPv4 packet and lowers its TTL by one.
///
/// The IPv4 header checksum and the TCP, UDP, UDP-Lite, DCCP or ICMP checksum follow by difference (RFC 1624); a UDP
/// checksum of zero stays zero and one that becomes zero is sent as 0xffff (RFC 768). In a later fragment only the
/// IPv4 header changes. SCTP and protocols without a pseudo-header keep their bytes.
///
/// `bytes` is the whole frame that `parsed` was read from.
pub fn apply(bytes: &mut [u8], parsed: &Parsed, rewrite: Rewrite) {
    let _ = (bytes, parsed, rewrite);
    todo!()
}

/// What an ICMP error quotes: the addresses and ports of the packet it is about, as they stand in the quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Quoted source address.
    pub source: Ipv4Addr,
    /// Quoted destination address.
    pub destination: Ipv4Addr,
    /// Quoted protocol.
    pub protocol: crate::Protocol,
    /// TCP or UDP source port, or echo identifier; 0 for other protocols and later fragments.
    pub source_port: u16,
    /// TCP or UDP destination port, or echo identifier; 0 for other protocols and later fragments.
    pub destination_port: u16,
    /// Where the quoted IPv4 header starts in the frame.
    pub network_offset: u16,
    /// Where the quoted transport header starts in the frame.
    pub transport_offset: u16,
    /// The quoted packet is a later fragment: it has no ports.
    pub later_fragment: bool,
}

/// Why an ICMP error's quote could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuote {
    /// Not an IPv4 header followed by at least 8 bytes.
    #[error("truncated quote")]
    Truncated,
    /// The ICMP checksum is wrong (RFC 5508 REQ-3).
    #[error("bad ICMP checksum")]
    IcmpChecksum,
    /// The quoted IPv4 header's checksum is wrong (RFC 5508 REQ-3a).
    #[error("bad quoted header checksum")]
    QuotedChecksum,
}

/// Reads what an ICMP error quotes, after checking the ICMP checksum and the quoted IPv4 header's.
/// Quoted IP options are skipped; the quoted transport checksum is not looked at (RFC 5508 REQ-3c).
///
/// # Errors
/// Why it cannot be used; such an error is dropped.
pub fn read_quote(bytes: &[u8], parsed: &Parsed) -> Result<Quote, BadQuote> {
    let _ = (bytes, parsed);
    todo!()
}

/// Applies `rewrite` to the packet quoted in an ICMP error: its addresses, its ports, its IPv4 header checksum, its
/// transport checksum where the quote reaches that far, and the ICMP checksum around them. The outer header is left
/// to [`apply`].
pub fn apply_to_quote(bytes: &mut [u8], parsed: &Parsed, quote: &Quote, rewrite: Rewrite) {
    let _ = (bytes, parsed, quote, rewrite);
    todo!()
}

/// The TCP or UDP checksum of a whole (unfragmented) packet, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportChecksum {
    /// Right, or a UDP checksum of zero, or not a protocol with a checksum we know.
    Good,
    /// The field holds the folded pseudo-header sum: the sender left the rest to an offload that never ran.
    Partial,
    /// Wrong.
    Bad,
}

/// Computes the TCP or UDP checksum over the whole packet and judges the field. Costs a pass over the payload.
pub fn judge_transport_checksum(bytes: &[u8], parsed: &Parsed) -> TransportChecksum {
    let _ = (bytes, parsed);
    todo!()
}
