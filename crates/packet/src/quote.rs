//! What an ICMP error quotes: the start of the packet it is about, with that packet's addresses and ports.
//!
//! ```text
//!  Ethernet | IPv4 | ICMP error | IPv4 (quoted) | 8 bytes or more | padding, RFC 4884 extensions
//!                    '----------------- the ICMP checksum covers all of it ------------------'
//! ```
//!
//! The host that gets the error finds its own connection by the quote, so the quote has to be translated back as
//! carefully as a packet is. The quoted packet need not be there whole: its total length says how long it was, the
//! outer one how much of it came along. What lies beyond the quoted packet is never touched.
//!
//! Not looked at: the quoted transport checksum. A sender computed it, maybe an offload was to finish it, and routers
//! quote it as it came (RFC 5508 REQ-3c).

use core::net::Ipv4Addr;

use zerocopy::FromBytes;

use crate::rewrite::{Rewrite, rewrite_addresses, rewrite_transport};
use crate::{Fragment, Parsed, Protocol, checksum, icmp, wire};

/// What an ICMP error quotes: the addresses and ports of the packet it is about, as they stand in the quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Quoted source address.
    pub source: Ipv4Addr,
    /// Quoted destination address.
    pub destination: Ipv4Addr,
    /// Quoted protocol.
    pub protocol: Protocol,
    /// TCP or UDP source port, or query identifier; 0 for other protocols and later fragments.
    pub source_port: u16,
    /// TCP or UDP destination port, or query identifier; 0 for other protocols and later fragments.
    pub destination_port: u16,
    /// ICMP type; 0 for other protocols and later fragments.
    pub icmp_type: u8,
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
    /// Not an IPv4 header, or one that calls for a TCP, UDP or ICMP header of which the first 8 bytes are not there.
    #[error("truncated quote")]
    Truncated,
    /// The ICMP checksum is wrong (RFC 5508 REQ-3).
    #[error("bad ICMP checksum")]
    IcmpChecksum,
    /// The quoted IPv4 header's checksum is wrong (RFC 5508 REQ-3a).
    #[error("bad quoted header checksum")]
    QuotedChecksum,
    /// The quoted packet is an ICMP error, about which there must be none (RFC 1122 3.2.2).
    #[error("error about an error")]
    Error,
}

/// Reads what an ICMP error quotes, after checking the ICMP checksum and the quoted IPv4 header's.
/// Quoted IP options are skipped; the quoted transport checksum is not looked at (RFC 5508 REQ-3c).
///
/// An error that came in fragments cannot be checked and is [`BadQuote::Truncated`]; so is a packet that is no ICMP
/// error. Costs a pass over the ICMP message, which is rarely more than 576 bytes.
///
/// # Errors
/// Why it cannot be used; such an error is dropped.
pub fn read_quote(bytes: &[u8], parsed: &Parsed) -> Result<Quote, BadQuote> {
    if !icmp::is_error(parsed.icmp_type) || parsed.fragment != Fragment::Whole {
        return Err(BadQuote::Truncated);
    }
    let message = bytes.get(parsed.transport_range()).ok_or(BadQuote::Truncated)?;
    //= https://www.rfc-editor.org/rfc/rfc5508#section-9
    //# if the ICMP checksum fails to validate, the NAT SHOULD silently drop the ICMP Error packet
    if checksum::sum(message) != 0xffff {
        return Err(BadQuote::IcmpChecksum);
    }
    let (_, quoted) = wire::Icmp::ref_from_prefix(message).map_err(|_| BadQuote::Truncated)?;
    let (header, _) = wire::Ipv4::ref_from_prefix(quoted).map_err(|_| BadQuote::Truncated)?;
    let header_length = header.header_length();
    if header.version() != 4 || header_length < wire::Ipv4::LENGTH_MIN {
        return Err(BadQuote::Truncated);
    }
    let header_bytes = quoted.get(..header_length).ok_or(BadQuote::Truncated)?;
    //= https://www.rfc-editor.org/rfc/rfc5508#section-9
    //# If the IP checksum of the embedded packet fails to validate, the NAT SHOULD silently drop the Error packet
    if checksum::sum(header_bytes) != 0xffff {
        return Err(BadQuote::QuotedChecksum);
    }
    //= https://www.rfc-editor.org/rfc/rfc5508#section-9
    //# If the embedded packet includes IP options, the NAT device MUST traverse past the IP options
    let transport = quoted.get(transport_range(header, quoted.len())).ok_or(BadQuote::Truncated)?;
    let later_fragment = header.fragment_offset() != 0;
    let (source_port, destination_port, icmp_type) =
        if later_fragment { (0, 0, 0) } else { read_ports(header.protocol(), transport)? };
    //= rfc1812#4.3.2.7
    //# An ICMP error message MUST NOT be sent as the result of receiving: An ICMP error message
    if icmp::is_error(icmp_type) {
        return Err(BadQuote::Error);
    }
    // At most 18 + 60 + 8 + 60.
    let network_offset = u16::from(parsed.transport_offset) + size_of::<wire::Icmp>() as u16;
    Ok(Quote {
        source: header.source(),
        destination: header.destination(),
        protocol: header.protocol(),
        source_port,
        destination_port,
        icmp_type,
        network_offset,
        transport_offset: network_offset + header_length as u16,
        later_fragment,
    })
}

/// Where the quoted transport header and payload are, from the start of a quote of `length` bytes.
///
/// The quoted packet ends where its own total length says, or where the quote was cut. What follows are padding and
/// extensions (RFC 4884).
fn transport_range(header: &wire::Ipv4, length: usize) -> core::ops::Range<usize> {
    header.header_length()..usize::from(header.total_length.get()).min(length)
}

/// Ports, or an identifier twice, and the ICMP type.
fn read_ports(protocol: Protocol, transport: &[u8]) -> Result<(u16, u16, u8), BadQuote> {
    match protocol {
        Protocol::TCP | Protocol::UDP => {
            // Eight bytes are all that RFC 792 promises; TCP's first eight begin with the ports too.
            let (header, _) = wire::Udp::ref_from_prefix(transport).map_err(|_| BadQuote::Truncated)?;
            Ok((header.ports.source.get(), header.ports.destination.get(), 0))
        }
        Protocol::ICMP => {
            let (header, _) = wire::Icmp::ref_from_prefix(transport).map_err(|_| BadQuote::Truncated)?;
            let identifier = if icmp::is_query(header.icmp_type) { header.identifier.get() } else { 0 };
            Ok((identifier, identifier, header.icmp_type))
        }
        _ => Ok((0, 0, 0)),
    }
}

/// Applies `rewrite` to the packet quoted in an ICMP error: its addresses, its ports, its IPv4 header checksum, its
/// transport checksum where the quote reaches that far, and the ICMP checksum around them. The outer header is left
/// to [`apply`](crate::rewrite::apply).
///
/// `bytes`, `parsed` and `quote` belong together. The quoted TTL stays as it is.
//= https://www.rfc-editor.org/rfc/rfc5508#section-9
//# Revert the IP and transport headers of the embedded IP packet to their original form
pub fn apply_to_quote(bytes: &mut [u8], parsed: &Parsed, quote: &Quote, rewrite: Rewrite) {
    let Some(message) = bytes.get_mut(parsed.transport_range()) else { return };
    let Ok((icmp, quoted)) = wire::Icmp::mut_from_prefix(message) else { return };
    let length = quoted.len();
    let Ok((header, _)) = wire::Ipv4::mut_from_prefix(quoted) else { return };
    let addresses = rewrite_addresses(header, rewrite);
    let old = header.checksum.get();
    header.checksum.set(addresses.apply(old));
    let mut changed = addresses.u16(old, header.checksum.get());
    if !quote.later_fragment {
        let range = transport_range(header, length);
        if let Some(transport) = quoted.get_mut(range) {
            changed = changed.and(rewrite_transport(transport, quote.protocol, addresses, rewrite));
        }
    }
    icmp.checksum.set(changed.apply(icmp.checksum.get()));
}

#[cfg(test)]
mod tests;
