//! Changing addresses, ports and TTL in place, with every checksum that covers them.
//!
//! A NAT changes few fields and never reads the payload: each checksum is carried from its old value to its new one by
//! the difference of what changed (RFC 1624). So a packet that arrived damaged leaves damaged, and its receiver finds
//! it out, which a NAT that computed checksums afresh would hide.
//!
//! | protocol      | checksum at      | covers the addresses | zero means           |
//! |---------------|------------------|----------------------|----------------------|
//! | TCP           | 16               | yes                  | zero                 |
//! | UDP, UDP-Lite | 6                | yes                  | none (never sent so) |
//! | DCCP          | 6                | yes                  | zero                 |
//! | ICMP          | 2                | no                   | zero                 |
//! | others        | left as they are |                      |                      |
//!
//! What an ICMP error quotes is changed the same way: [`read_quote`], [`apply_to_quote`].

use core::net::Ipv4Addr;

use zerocopy::FromBytes;

use crate::checksum::Difference;
pub use crate::quote::{BadQuote, Quote, apply_to_quote, read_quote};
use crate::{Fragment, Parsed, Protocol, checksum, icmp, wire};

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
/// IPv4 header changes. SCTP and protocols without a pseudo-header keep their bytes, and so does a UDP-Lite or DCCP
/// header whose first eight bytes are not all there.
///
/// An ICMP query has one identifier where others have two ports: the destination's new one is written, or else the
/// source's.
///
/// `bytes` is the whole frame that `parsed` was read from. A TTL of zero stays zero: whoever judges the packet has
/// dropped it before.
#[inline]
pub fn apply(bytes: &mut [u8], parsed: &Parsed, rewrite: Rewrite) {
    let Some(packet) = bytes.get_mut(parsed.network_range()) else { return };
    let Ok((header, _)) = wire::Ipv4::mut_from_prefix(packet) else { return };
    let ttl_word = header.ttl_word();
    header.ttl = header.ttl.saturating_sub(1);
    let addresses = rewrite_addresses(header, rewrite);
    let checksum = addresses.u16(ttl_word, header.ttl_word()).apply(header.checksum.get());
    header.checksum.set(checksum);
    if parsed.fragment == Fragment::Later {
        return;
    }
    let Some(transport) = bytes.get_mut(parsed.transport_range()) else { return };
    rewrite_transport(transport, parsed.protocol, addresses, rewrite);
}

/// Puts the new addresses into `header` and leaves its checksum to the caller.
#[inline]
pub(crate) fn rewrite_addresses(header: &mut wire::Ipv4, rewrite: Rewrite) -> Difference {
    let mut difference = Difference::NONE;
    if let Some(new) = rewrite.source {
        difference = difference.address(header.source(), new.address);
        header.source = new.address.octets();
    }
    if let Some(new) = rewrite.destination {
        difference = difference.address(header.destination(), new.address);
        header.destination = new.address.octets();
    }
    difference
}

/// Puts the new ports or identifier into a transport header, and carries its checksum along, where it is within
/// `transport`.
///
/// `addresses` is the change of the pseudo-header. Returns the change of the bytes themselves, which a quote's ICMP
/// checksum covers.
#[inline]
pub(crate) fn rewrite_transport(
    transport: &mut [u8],
    protocol: Protocol,
    addresses: Difference,
    rewrite: Rewrite,
) -> Difference {
    match protocol {
        Protocol::TCP => {
            // Not the whole header: a quote may hold its first eight bytes and no more (RFC 792).
            let Ok((ports, rest)) = wire::Ports::mut_from_prefix(transport) else { return Difference::NONE };
            let changed = rewrite_ports(ports, rewrite);
            let Some(field) = rest.get_mut(TCP_CHECKSUM_AFTER_PORTS..) else { return changed };
            let Some(field) = field.first_chunk_mut() else { return changed };
            let old = u16::from_be_bytes(*field);
            let new = addresses.and(changed).apply(old);
            *field = new.to_be_bytes();
            changed.u16(old, new)
        }
        Protocol::UDP | Protocol::UDP_LITE | Protocol::DCCP => {
            // DCCP's header begins with ports and has its checksum where UDP's is.
            let Ok((header, _)) = wire::Udp::mut_from_prefix(transport) else { return Difference::NONE };
            let changed = rewrite_ports(&mut header.ports, rewrite);
            let old = header.checksum.get();
            let zero_is_none = protocol != Protocol::DCCP;
            if zero_is_none && old == 0 {
                return changed;
            }
            let mut new = addresses.and(changed).apply(old);
            if zero_is_none && new == 0 {
                new = 0xffff;
            }
            header.checksum.set(new);
            changed.u16(old, new)
        }
        Protocol::ICMP => {
            let Ok((header, _)) = wire::Icmp::mut_from_prefix(transport) else { return Difference::NONE };
            rewrite_identifier(header, rewrite)
        }
        _ => Difference::NONE,
    }
}

/// Where the TCP checksum is, counted from behind the ports.
const TCP_CHECKSUM_AFTER_PORTS: usize = core::mem::offset_of!(wire::Tcp, checksum) - size_of::<wire::Ports>();

#[inline]
fn rewrite_ports(ports: &mut wire::Ports, rewrite: Rewrite) -> Difference {
    let mut difference = Difference::NONE;
    if let Some(new) = rewrite.source.and_then(|new| new.port) {
        difference = difference.u16(ports.source.get(), new);
        ports.source.set(new);
    }
    if let Some(new) = rewrite.destination.and_then(|new| new.port) {
        difference = difference.u16(ports.destination.get(), new);
        ports.destination.set(new);
    }
    difference
}

#[inline]
fn rewrite_identifier(header: &mut wire::Icmp, rewrite: Rewrite) -> Difference {
    if !icmp::is_query(header.icmp_type) {
        return Difference::NONE;
    }
    let port = |end: Option<Replacement>| end.and_then(|new| new.port);
    let Some(new) = port(rewrite.destination).or(port(rewrite.source)) else { return Difference::NONE };
    let changed = Difference::NONE.u16(header.identifier.get(), new);
    header.identifier.set(new);
    let old = header.checksum.get();
    header.checksum.set(changed.apply(old));
    changed.u16(old, header.checksum.get())
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
///
/// A fragment cannot be judged alone and counts as [`Good`](TransportChecksum::Good).
pub fn judge_transport_checksum(bytes: &[u8], parsed: &Parsed) -> TransportChecksum {
    if parsed.fragment != Fragment::Whole {
        return TransportChecksum::Good;
    }
    let Some(transport) = bytes.get(parsed.transport_range()) else { return TransportChecksum::Bad };
    let (segment, field) = match parsed.protocol {
        Protocol::TCP => {
            let Ok((header, _)) = wire::Tcp::ref_from_prefix(transport) else {
                return TransportChecksum::Bad;
            };
            (transport, header.checksum.get())
        }
        Protocol::UDP => {
            let Ok((header, _)) = wire::Udp::ref_from_prefix(transport) else {
                return TransportChecksum::Bad;
            };
            if header.checksum.get() == 0 {
                return TransportChecksum::Good;
            }
            // The datagram may end before the packet does, but not within its own header.
            let length = usize::from(header.length.get());
            let Some(datagram) = transport.get(..length).filter(|_| length >= size_of::<wire::Udp>()) else {
                return TransportChecksum::Bad;
            };
            (datagram, header.checksum.get())
        }
        _ => return TransportChecksum::Good,
    };
    // A segment is a part of a packet, whose length is 16 bits.
    let length = segment.len() as u16;
    let pseudo_header =
        checksum::pseudo_header_sum(parsed.source, parsed.destination, parsed.protocol, length);
    if checksum::with_pseudo_header(pseudo_header, segment) == 0xffff {
        TransportChecksum::Good
    } else if field == pseudo_header {
        TransportChecksum::Partial
    } else {
        TransportChecksum::Bad
    }
}

#[cfg(test)]
mod tests;
