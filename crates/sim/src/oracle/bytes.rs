//! Packets as bytes: read by hand, changed by hand, and every checksum computed anew.

use std::net::Ipv4Addr;

use super::world::{Endpoint, Mac};

/// A packet on a network, from one MAC to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which network.
    pub segment: usize,
    /// To whom.
    pub to: Mac,
    /// From whom.
    pub from: Mac,
    /// The IPv4 packet.
    pub packet: Vec<u8>,
}

impl Frame {
    /// What is different about another.
    pub(super) fn difference(&self, other: &Self) -> String {
        let bytes = self.packet.iter().zip(&other.packet).enumerate();
        let bytes = bytes.filter(|(_, (one, other))| one != other);
        let bytes: Vec<_> =
            bytes.map(|(at, (one, other))| format!("{at}: {one:02x}, not {other:02x}")).collect();
        let link = |frame: &Self| (frame.segment, frame.to, frame.from, frame.packet.len());
        format!("{:x?} was to come, not {:x?}; bytes {bytes:?}", link(self), link(other))
    }
}

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const DCCP: u8 = 33;
const UDP_LITE: u8 = 136;

/// Whether a protocol has ports, or what stands for them.
pub(super) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | ICMP)
}

/// What the oracle reads of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the IPv4 header.
    pub length: usize,
    /// Bytes of all.
    pub total: usize,
    /// The identification.
    pub identification: u16,
    /// DF.
    pub dont_fragment: bool,
    /// MF.
    pub more: bool,
    /// In units of 8 bytes.
    pub offset: u16,
    /// TTL.
    pub ttl: u8,
    /// Protocol.
    pub protocol: u8,
    /// Source, with its port or query identifier, or 0.
    pub source: Endpoint,
    /// Destination, likewise.
    pub destination: Endpoint,
    /// TCP flags.
    pub flags: u8,
    /// ICMP type.
    pub icmp: u8,
    /// TCP sequence number, acknowledgement number, window.
    pub numbers: [u32; 3],
    /// Bytes of TCP data.
    pub data: u32,
    /// How far a SYN shifts its side's windows (RFC 7323).
    pub shift: u8,
}

impl Header {
    /// No fragment.
    pub fn is_whole(&self) -> bool {
        !self.more && self.offset == 0
    }

    pub(super) fn is_error(&self) -> bool {
        self.protocol == ICMP && matches!(self.icmp, 3 | 4 | 5 | 11 | 12)
    }

    pub(super) fn is_request(&self) -> bool {
        self.protocol == ICMP && matches!(self.icmp, 8 | 13)
    }

    pub(super) fn is_reply(&self) -> bool {
        self.protocol == ICMP && matches!(self.icmp, 0 | 14)
    }

    pub(super) fn is_syn(&self) -> bool {
        self.protocol == TCP && self.flags & 0x17 == 2
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) << 16 | u32::from(u16_at(bytes, at + 2))
}

/// Reads a packet; `None` where it is no good IPv4 packet, or its transport header is not there.
pub fn read(packet: &[u8]) -> Option<Header> {
    let header = read_header(packet)?;
    let behind = packet.get(header.length..header.total)?;
    // A fragment that others are to follow ends with a unit of eight bytes, none is empty or ends beyond the largest
    // datagram, and none begins within a TCP header (RFC 791, RFC 1858).
    let is_cut_badly = (header.more && !behind.len().is_multiple_of(8))
        || (!header.is_whole() && behind.is_empty())
        || usize::from(header.offset) * 8 + header.total > 65_535
        || (header.offset == 1 && header.protocol == TCP);
    if is_cut_badly {
        return None;
    }
    if header.offset > 0 {
        return Some(header);
    }
    let is_there = match header.protocol {
        TCP => behind.len() >= 20 && (20..=behind.len()).contains(&(usize::from(behind[12] >> 4) * 4)),
        UDP | ICMP => behind.len() >= 8,
        _ => true,
    };
    is_there.then(|| with_ports(header, behind))
}

/// Reads what an error quotes: as much as there is of it, with ports where it has any. No error is about an error.
pub(super) fn read_quote(quote: &[u8]) -> Option<Header> {
    let header = read_header(quote)?;
    if header.offset > 0 {
        return Some(header);
    }
    let behind = quote.get(header.length..header.total.min(quote.len()))?;
    if has_ports(header.protocol) && behind.len() < 8 {
        return None;
    }
    Some(with_ports(header, behind)).filter(|header| !header.is_error())
}

fn read_header(packet: &[u8]) -> Option<Header> {
    let length = usize::from(packet.first()? & 15) * 4;
    if packet[0] >> 4 != 4 || length < 20 || packet.len() < length || sum(&packet[..length], 0) != 0xffff {
        return None;
    }
    let flags_and_offset = u16_at(packet, 6);
    let total = usize::from(u16_at(packet, 2));
    let address = |at: usize| (Ipv4Addr::from(u32_at(packet, at)), 0);
    (total >= length).then(|| Header {
        length,
        total,
        identification: u16_at(packet, 4),
        dont_fragment: flags_and_offset & 0x4000 != 0,
        more: flags_and_offset & 0x2000 != 0,
        offset: flags_and_offset & 0x1fff,
        ttl: packet[8],
        protocol: packet[9],
        source: address(12),
        destination: address(16),
        flags: 0,
        icmp: 0,
        numbers: [0; 3],
        data: 0,
        shift: 0,
    })
}

fn with_ports(mut header: Header, transport: &[u8]) -> Header {
    match header.protocol {
        TCP | UDP => {
            header.source.1 = u16_at(transport, 0);
            header.destination.1 = u16_at(transport, 2);
            if header.protocol == TCP && transport.len() >= 20 {
                header.flags = transport[13];
                header.numbers = [u32_at(transport, 4), u32_at(transport, 8), u16_at(transport, 14).into()];
                header.data = transport.len().saturating_sub(usize::from(transport[12] >> 4) * 4) as u32;
                header.shift = option(transport, 3, 3).map_or(0, |at| transport[at].min(14));
            }
        }
        ICMP => {
            header.icmp = transport[0];
            // A query's identifier is that of who asks (RFC 5508 section 3).
            if header.is_request() {
                header.source.1 = u16_at(transport, 4);
            } else if header.is_reply() {
                header.destination.1 = u16_at(transport, 4);
            }
        }
        _ => {}
    }
    header
}

/// Where the value of a TCP option stands that has this kind and length.
fn option(transport: &[u8], kind: u8, length: u8) -> Option<usize> {
    let end = usize::from(transport[12] >> 4) * 4;
    let mut at = 20;
    while at < end.min(transport.len()) && transport[at] != 0 {
        if transport[at] == 1 {
            at += 1;
            continue;
        }
        let here = usize::from(*transport.get(at + 1)?);
        if transport[at] == kind {
            return (here == usize::from(length) && at + here <= end).then_some(at + 2);
        }
        if here < 2 {
            return None;
        }
        at += here;
    }
    None
}

/// The ones' complement sum of bytes and of what was summed before.
pub(super) fn sum(bytes: &[u8], before: u32) -> u16 {
    let mut sum = before;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Puts the header's checksum right.
fn fix_header(packet: &mut [u8]) {
    let length = usize::from(packet[0] & 15) * 4;
    put(packet, 10, 0);
    put(packet, 10, !sum(&packet[..length], 0));
}

/// Puts the checksum of an ICMP message right.
fn fix_icmp(message: &mut [u8]) {
    put(message, 2, 0);
    put(message, 2, !sum(message, 0));
}

/// One hop further.
pub(super) fn hop(mut packet: Vec<u8>) -> Vec<u8> {
    packet[8] = packet[8].saturating_sub(1);
    fix_header(&mut packet);
    packet
}

/// The packet with another identification.
pub(super) fn with_identification(packet: &[u8], identification: u16) -> Vec<u8> {
    let mut packet = packet.to_vec();
    put(&mut packet, 4, identification);
    fix_header(&mut packet);
    packet
}

/// The packet, or what is quoted of it, with other endpoints.
pub(super) fn with_endpoints(
    packet: &[u8],
    header: &Header,
    source: Endpoint,
    destination: Endpoint,
) -> Vec<u8> {
    let mut changed = packet.to_vec();
    changed[12..16].copy_from_slice(&source.0.octets());
    changed[16..20].copy_from_slice(&destination.0.octets());
    fix_header(&mut changed);
    let end = header.total.min(packet.len());
    if header.offset > 0 {
        return changed;
    }
    let transport = &mut changed[header.length..end];
    match header.protocol {
        TCP | UDP => {
            put(transport, 0, source.1);
            put(transport, 2, destination.1);
        }
        ICMP if header.is_request() => put(transport, 4, source.1),
        ICMP if header.is_reply() => put(transport, 4, destination.1),
        UDP_LITE | DCCP if transport.len() >= 8 => {}
        _ => return changed,
    }
    carry_checksum(packet, changed, header)
}

/// An ICMP error with other addresses, and other endpoints in its quote, all checksums right.
pub(super) fn with_quote(
    packet: &[u8],
    header: &Header,
    quote: &Header,
    (from, to): (Ipv4Addr, Ipv4Addr),
    (source, destination): (Endpoint, Endpoint),
) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let old = packet.split_off(header.length + 8);
    //= rfc5508#REQ-3c
    //= rfc5508#REQ-3d
    packet.extend(with_endpoints(&old, quote, source, destination));
    fix_icmp(&mut packet[header.length..]);
    hop(packet)
}

/// The answer to an echo request.
pub(super) fn echo_reply(packet: &[u8], header: &Header) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[8] = 64;
    packet[12..16].copy_from_slice(&header.destination.0.octets());
    packet[16..20].copy_from_slice(&header.source.0.octets());
    packet[20..header.length].fill(0);
    packet[header.length] = 0;
    fix_icmp(&mut packet[header.length..]);
    fix_header(&mut packet);
    packet
}

/// A SYN that asks for no larger segments than this.
pub(super) fn with_segments_of(packet: Vec<u8>, header: &Header, most: u16) -> Vec<u8> {
    let mut changed = packet.clone();
    let transport = &mut changed[header.length..header.total];
    match option(transport, 2, 4) {
        Some(at) if u16_at(transport, at) > most => put(transport, at, most),
        _ => return packet,
    }
    carry_checksum(&packet, changed, header)
}

/// The changed packet with a transport checksum that is as right, or as wrong, as it was before: where it was not right (a
/// damaged packet, or a part of one), the sum is as far from right as before, so that its receiver finds out (RFC 1624).
//= rfc1624#3
fn carry_checksum(before: &[u8], mut changed: Vec<u8>, header: &Header) -> Vec<u8> {
    let end = header.total.min(before.len());
    let (place, is_datagram) = match header.protocol {
        TCP => (16, false),
        ICMP => (2, false),
        protocol => (6, protocol != DCCP),
    };
    let place = header.length + place;
    // ICMP's covers no addresses.
    let covered = if header.protocol == ICMP { header.length..header.length } else { 12..20 };
    let whole = |packet: &[u8]| sum(&packet[header.length..end], sum(&packet[covered.clone()], 0).into());
    let is_none = end >= place + 2 && is_datagram && u16_at(before, place) == 0;
    let is_same = before[covered.clone()] == changed[covered.clone()]
        && before[header.length..end] == changed[header.length..end];
    if end < place + 2 || is_none || is_same {
        return changed;
    }
    // What the sum was, the length and the protocol in it being the same before and after.
    let was = whole(before);
    put(&mut changed, place, 0);
    let without = whole(&changed);
    let right = sum(&[], u32::from(was) + u32::from(!without));
    let right = if right == 0xffff { 0 } else { right };
    put(&mut changed, place, if is_datagram && right == 0 { 0xffff } else { right });
    changed
}

/// The packet in pieces for a network that takes no more than this (RFC 791 section 3.2); `None` where there would be too
/// many.
//= rfc1812#4.2.2.7
pub(super) fn cut(packet: &[u8], header: &Header, mtu: u16) -> Option<Vec<Vec<u8>>> {
    let payload = &packet[header.length..];
    let most = (usize::from(mtu) - header.length) & !7;
    let pieces = payload.chunks(most).enumerate().map(|(number, part)| {
        let mut piece =
            if number == 0 { packet[..header.length].to_vec() } else { copied_options(packet, header) };
        piece[0] = 0x40 | (piece.len() / 4) as u8;
        let more = if (number + 1) * most < payload.len() { 0x2000 } else { 0 };
        put(&mut piece, 6, more | (u16_at(packet, 6) + (number * most / 8) as u16));
        let length = (piece.len() + part.len()) as u16;
        put(&mut piece, 2, length);
        fix_header(&mut piece);
        piece.extend(part);
        piece
    });
    Some(pieces.collect()).filter(|pieces: &Vec<_>| pieces.len() <= 32)
}

/// The header with those options alone that every piece carries.
fn copied_options(packet: &[u8], header: &Header) -> Vec<u8> {
    let mut copied = packet[..20].to_vec();
    let mut rest = &packet[20..header.length];
    while let [kind, behind @ ..] = rest {
        let length = if *kind == 1 { 1 } else { behind.first().map_or(0, |length| usize::from(*length)) };
        if *kind == 0 || length > rest.len() || length < 1 + usize::from(*kind != 1) {
            break;
        }
        if kind & 0x80 != 0 {
            copied.extend(&rest[..length]);
        }
        rest = &rest[length..];
    }
    copied.resize(copied.len().next_multiple_of(4), 0);
    copied
}
