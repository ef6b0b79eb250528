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

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// What the oracle reads of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the IPv4 header.
    pub length: usize,
    /// Bytes of all.
    pub total: usize,
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
}

impl Header {
    pub(super) fn is_whole(&self) -> bool {
        !self.more && self.offset == 0
    }

    pub(super) fn is_icmp_error(&self) -> bool {
        self.protocol == ICMP && self.is_whole() && matches!(self.icmp, 3 | 4 | 5 | 11 | 12)
    }

    /// Echo and timestamp (RFC 5508 section 3).
    pub(super) fn is_query(&self) -> bool {
        matches!(self.icmp, 0 | 8 | 13 | 14)
    }

    pub(super) fn is_request(&self) -> bool {
        matches!(self.icmp, 8 | 13)
    }

    pub(super) fn is_echo_request(&self) -> bool {
        self.protocol == ICMP && self.is_whole() && self.icmp == 8
    }

    pub(super) fn is_syn(&self) -> bool {
        self.protocol == TCP && self.flags & 0x17 == 2
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn address_at(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

/// Reads a packet; `None` where it is no good IPv4 packet, or its transport header is not there.
pub fn read(packet: &[u8]) -> Option<Header> {
    let header = read_header(packet)?;
    if header.total > packet.len() {
        return None;
    }
    let behind = &packet[header.length..header.total];
    // A fragment that others are to follow ends with a unit of eight bytes, and none is empty (RFC 791).
    let payload = behind.len();
    if (header.more && !payload.is_multiple_of(8)) || (!header.is_whole() && payload == 0) {
        return None;
    }
    if header.offset > 0 {
        let end = usize::from(header.offset) * 8 + header.total;
        let is_attack = end > 65_535 || (header.offset == 1 && header.protocol == TCP);
        return (!is_attack).then_some(header);
    }
    let needed = match header.protocol {
        TCP => 20,
        UDP | ICMP => 8,
        _ => 0,
    };
    if behind.len() < needed {
        return None;
    }
    let header = with_ports(header, behind);
    let data_offset = if header.protocol == TCP { usize::from(behind[12] >> 4) * 4 } else { 20 };
    (data_offset >= 20 && (header.protocol != TCP || data_offset <= behind.len())).then_some(header)
}

/// Reads what an error quotes: as much as there is of it, with ports where it has any.
pub(super) fn read_quote(quote: &[u8]) -> Option<Header> {
    let header = read_header(quote)?;
    if header.offset > 0 {
        return Some(header);
    }
    let behind = quote.get(header.length..header.total.min(quote.len()))?;
    let has_ports = matches!(header.protocol, TCP | UDP | ICMP);
    if has_ports && behind.len() < 8 {
        return None;
    }
    let header = if has_ports { with_ports(header, behind) } else { header };
    // No error is about an error.
    let is_error = header.protocol == ICMP && matches!(header.icmp, 3 | 4 | 5 | 11 | 12);
    (!is_error).then_some(header)
}

fn read_header(packet: &[u8]) -> Option<Header> {
    if packet.len() < 20 || packet[0] >> 4 != 4 {
        return None;
    }
    let length = usize::from(packet[0] & 15) * 4;
    if length < 20 || packet.len() < length || sum(&packet[..length], 0) != 0xffff {
        return None;
    }
    let flags_and_offset = u16_at(packet, 6);
    let total = usize::from(u16_at(packet, 2));
    (total >= length).then(|| Header {
        length,
        total,
        dont_fragment: flags_and_offset & 0x4000 != 0,
        more: flags_and_offset & 0x2000 != 0,
        offset: flags_and_offset & 0x1fff,
        ttl: packet[8],
        protocol: packet[9],
        source: (address_at(packet, 12), 0),
        destination: (address_at(packet, 16), 0),
        flags: 0,
        icmp: 0,
        numbers: [0; 3],
        data: 0,
    })
}

fn with_ports(mut header: Header, transport: &[u8]) -> Header {
    match header.protocol {
        TCP | UDP => {
            header.source.1 = u16_at(transport, 0);
            header.destination.1 = u16_at(transport, 2);
            if header.protocol == TCP && transport.len() >= 20 {
                let word =
                    |at: usize| u32::from(u16_at(transport, at)) << 16 | u32::from(u16_at(transport, at + 2));
                header.flags = transport[13];
                header.numbers = [word(4), word(8), u16_at(transport, 14).into()];
                header.data = transport.len().saturating_sub(usize::from(transport[12] >> 4) * 4) as u32;
            }
        }
        ICMP => {
            header.icmp = transport[0];
            // A query's identifier is that of who asks (RFC 5508 section 3).
            match header.icmp {
                8 | 13 => header.source.1 = u16_at(transport, 4),
                0 | 14 => header.destination.1 = u16_at(transport, 4),
                _ => {}
            }
        }
        _ => {}
    }
    header
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

/// Puts the header's checksum right.
pub(super) fn fix_header(packet: &mut [u8]) {
    let length = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let checksum = !sum(&packet[..length], 0);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Puts the checksum of an ICMP message right.
pub(super) fn fix_icmp(message: &mut [u8]) {
    message[2..4].fill(0);
    let checksum = !sum(message, 0);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}

/// The packet, or what is quoted of it, with other endpoints: each checksum is as right, or as wrong, as it was.
///
/// A checksum is computed over everything that is there. Where it was right it is right; where it was not (a damaged
/// packet, or a part of one), the sum is as far from right as before, so that its receiver finds out (RFC 1624).
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
    if header.offset > 0 {
        return changed;
    }
    let end = header.total.min(packet.len());
    let (before, after) = (&packet[header.length..end], &mut changed[header.length..end]);
    let place = match header.protocol {
        TCP => 16,
        UDP | 136 | 33 => 6,
        ICMP => 2,
        _ => return changed,
    };
    match header.protocol {
        TCP | UDP | 136 | 33 if after.len() >= 4 && (header.protocol == TCP || after.len() >= 8) => {
            if matches!(header.protocol, TCP | UDP) {
                after[0..2].copy_from_slice(&source.1.to_be_bytes());
                after[2..4].copy_from_slice(&destination.1.to_be_bytes());
            }
        }
        ICMP if header.is_query() => {
            let identifier = if header.is_request() { source.1 } else { destination.1 };
            after[4..6].copy_from_slice(&identifier.to_be_bytes());
        }
        _ => return changed,
    }
    if after.len() < place + 2 {
        return changed;
    }
    let is_datagram = matches!(header.protocol, UDP | 136);
    let field = u16_at(before, place);
    // ICMP's covers no addresses.
    let is_same = before == &after[..] && (header.protocol == ICMP || packet[12..20] == changed[12..20]);
    if is_same || (is_datagram && field == 0) {
        return changed;
    }
    let pseudo = |packet: &[u8]| {
        let covered = if header.protocol == ICMP { 0 } else { u32::from(sum(&packet[12..20], 0)) };
        covered
            + u32::from(header.protocol != ICMP)
                * (u32::from(header.protocol) + (header.total - header.length) as u32)
    };
    let (pseudo_before, pseudo_after) = (pseudo(packet), pseudo(&changed));
    let was = sum(before, pseudo_before);
    let after = &mut changed[header.length..end];
    after[place..place + 2].fill(0);
    let without = sum(after, pseudo_after);
    let mut checksum = if was == 0xffff { !without } else { sum(&[], u32::from(was) + u32::from(!without)) };
    if checksum == 0xffff {
        checksum = 0;
    }
    if is_datagram && checksum == 0 {
        checksum = 0xffff;
    }
    after[place..place + 2].copy_from_slice(&checksum.to_be_bytes());
    changed
}

/// One hop further.
pub(super) fn hop(mut packet: Vec<u8>) -> Vec<u8> {
    packet[8] = packet[8].saturating_sub(1);
    fix_header(&mut packet);
    packet
}
