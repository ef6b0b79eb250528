//! Frames: built with right checksums, and judged, by code that shares nothing with what it judges.

use std::net::Ipv4Addr;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP: u8 = 1;

/// A packet to be built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub(crate) to_mac: [u8; 6],
    pub(crate) from_mac: [u8; 6],
    pub(crate) vlan: u16,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    /// TCP's flags; or ICMP's type.
    pub(crate) kind: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    /// The TCP option that says the largest segment, where it is not 0.
    pub(crate) segment_max: u16,
    pub(crate) ttl: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) identification: u16,
    /// Words of IPv4 options.
    pub(crate) options: u8,
    pub(crate) payload: usize,
    pub(crate) serial: u16,
}

/// What the payload repeats, so that whoever sees a part of it knows which packet it is of.
pub(crate) fn mark(serial: u16) -> [u8; 8] {
    let [high, low] = serial.to_be_bytes();
    [0xf5, 0x5e, high, low, !high, !low, 0x0f, 0xae]
}

/// The serial number in the last bytes, if they are marked.
pub(crate) fn marked(bytes: &[u8]) -> Option<u16> {
    let from = bytes.len().saturating_sub(20);
    bytes[from..].windows(8).rev().find_map(|window| {
        let serial = u16::from_be_bytes([window[2], window[3]]);
        (*window == mark(serial)).then_some(serial)
    })
}

pub(crate) fn build(spec: &Spec, frame: &mut Vec<u8>) {
    let segment = ipv4(spec, frame, |frame| match spec.protocol {
        TCP => {
            frame.extend(spec.source_port.to_be_bytes());
            frame.extend(spec.destination_port.to_be_bytes());
            frame.extend(spec.sequence.to_be_bytes());
            frame.extend(spec.acknowledgement.to_be_bytes());
            let words = if spec.segment_max > 0 { 6 } else { 5 };
            frame.extend([words << 4, spec.kind, 0xfa, 0xf0, 0, 0, 0, 0]);
            if spec.segment_max > 0 {
                frame.extend([2, 4]);
                frame.extend(spec.segment_max.to_be_bytes());
            }
        }
        UDP => {
            frame.extend(spec.source_port.to_be_bytes());
            frame.extend(spec.destination_port.to_be_bytes());
            frame.extend((8 + spec.payload as u16).to_be_bytes());
            frame.extend([0, 0]);
        }
        ICMP => {
            frame.extend([spec.kind, 0, 0, 0]);
            frame.extend(spec.source_port.to_be_bytes());
            frame.extend([0, 1]);
        }
        // Ports where most protocols have them.
        _ => {
            frame.extend(spec.source_port.to_be_bytes());
            frame.extend(spec.destination_port.to_be_bytes());
            frame.extend([0; 8]);
        }
    });
    let mark = mark(spec.serial);
    let end = frame.len() + spec.payload;
    // The last bytes are a whole mark.
    let first = spec.payload % 8;
    frame.extend(&mark[8 - first..]);
    while frame.len() < end {
        frame.extend(mark);
    }
    seal(frame, segment, spec.protocol);
}

/// An ICMP error about a packet, of which it quotes so many bytes.
pub(crate) fn build_error(
    spec: &Spec,
    (kind, code, rest): (u8, u8, u32),
    about: &[u8],
    quoted: usize,
    frame: &mut Vec<u8>,
) {
    let spec = Spec { protocol: ICMP, ..*spec };
    let segment = ipv4(&spec, frame, |frame| {
        frame.extend([kind, code, 0, 0]);
        frame.extend(rest.to_be_bytes());
    });
    frame.extend(&about[..about.len().min(quoted)]);
    seal(frame, segment, ICMP);
}

/// Link and IPv4 header, and what comes behind; returns where that begins.
fn ipv4(spec: &Spec, frame: &mut Vec<u8>, transport: impl FnOnce(&mut Vec<u8>)) -> usize {
    frame.clear();
    frame.extend(spec.to_mac);
    frame.extend(spec.from_mac);
    if spec.vlan > 0 {
        frame.extend([0x81, 0]);
        frame.extend(spec.vlan.to_be_bytes());
    }
    frame.extend([0x08, 0, 0x45 + spec.options, 0, 0, 0]);
    frame.extend(spec.identification.to_be_bytes());
    frame.extend([if spec.dont_fragment { 0x40 } else { 0 }, 0, spec.ttl, spec.protocol, 0, 0]);
    frame.extend(spec.source.octets());
    frame.extend(spec.destination.octets());
    frame.extend(std::iter::repeat_n(1, usize::from(spec.options) * 4));
    let segment = frame.len();
    transport(frame);
    segment
}

/// Sets the lengths and checksums of a whole frame.
fn seal(frame: &mut [u8], segment: usize, protocol: u8) {
    let at = network_offset(frame);
    let total = frame.len() - at;
    put(frame, at + 2, total.min(65_535) as u16);
    seal_header(frame);
    let pseudo = pseudo_sum(&frame[at..], total - (segment - at));
    let Some(field) = checksum_field(protocol).map(|field| segment + field) else { return };
    put(frame, field, 0);
    let pseudo = if protocol == ICMP { 0 } else { pseudo };
    let mut checksum = !fold(pseudo + sum(&frame[segment..]));
    if protocol == UDP && checksum == 0 {
        checksum = 0xffff;
    }
    put(frame, field, checksum);
}

/// Where a protocol's checksum is in its header.
pub(crate) fn checksum_field(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(16),
        UDP => Some(6),
        ICMP => Some(2),
        _ => None,
    }
}

/// Makes the IPv4 header's checksum right.
pub(crate) fn seal_header(frame: &mut [u8]) {
    let at = network_offset(frame);
    if let Some(packet) = frame.get_mut(at..) {
        seal_packet(packet);
    }
}

/// The same, without a link header before it.
pub(crate) fn seal_packet(packet: &mut [u8]) {
    let length = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
    if length >= 20 && length <= packet.len() {
        put(packet, 10, 0);
        let checksum = !fold(sum(&packet[..length]));
        put(packet, 10, checksum);
    }
}

/// Where an IPv4 frame's packet ends: what is behind that is the link's padding.
pub(crate) fn packet_end(frame: &[u8]) -> usize {
    let at = network_offset(frame);
    frame.len().min(at + usize::from(get(frame, at + 2)))
}

/// Cuts an IPv4 frame into fragments of `size` times eight bytes, the last of what is left; its padding is left behind.
pub(crate) fn fragments(frame: &[u8], size: usize, mut each: impl FnMut(Vec<u8>)) {
    let at = network_offset(frame);
    let header = at + usize::from(frame[at] & 15) * 4;
    let before = get(frame, at + 6);
    let mut rest = frame.get(header..packet_end(frame)).unwrap_or(&[]);
    let mut offset = 0;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at((size * 8).min(rest.len()));
        let mut fragment = [&frame[..header], piece].concat();
        put(&mut fragment, at + 2, (header - at + piece.len()) as u16);
        let flags = if more.is_empty() { 0 } else { 0x2000 };
        put(&mut fragment, at + 6, before & 0x8000 | flags | (offset / 8) as u16);
        seal_header(&mut fragment);
        each(fragment);
        offset += piece.len();
        rest = more;
    }
}

/// Whether an IPv4 frame's checksums are right: the header's, that of its transport if it is whole, and within an ICMP
/// error those of what is quoted. `strict`: the transport's too.
pub(crate) fn judge(packet: &[u8], strict: bool) -> Result<(), &'static str> {
    let header = usize::from(packet[0] & 15) * 4;
    let total = usize::from(get(packet, 2));
    if packet.len() < header || fold(sum(&packet[..header])) != 0xffff {
        return Err("the IPv4 header's checksum is wrong");
    }
    if !strict || packet.len() < total || get(packet, 6) & 0x3fff != 0 {
        return Ok(());
    }
    let segment = &packet[header..total];
    let protocol = packet[9];
    let Some(field) = checksum_field(protocol) else { return Ok(()) };
    if segment.len() < field + 2 || protocol == UDP && get(segment, 6) == 0 {
        return Ok(());
    }
    if !is_transport_right(packet, segment) {
        return Err("the transport's checksum is wrong");
    }
    // Of a quote that breaks off within its header nothing can be said.
    if protocol == ICMP
        && is_error(segment[0])
        && segment.len() >= 28
        && segment.len() - 8 >= usize::from(segment[8] & 15) * 4
    {
        return judge(&segment[8..], true).map_err(|_| "a checksum in the quote is wrong");
    }
    Ok(())
}

/// Whether the checksum of a whole packet of TCP, UDP or ICMP is right.
pub(crate) fn is_transport_right(packet: &[u8], segment: &[u8]) -> bool {
    let pseudo = if packet[9] == ICMP { 0 } else { pseudo_sum(packet, segment.len()) };
    fold(pseudo + sum(segment)) == 0xffff
}

pub(crate) fn is_error(icmp_type: u8) -> bool {
    matches!(icmp_type, 3 | 4 | 5 | 11 | 12)
}

pub(crate) fn network_offset(frame: &[u8]) -> usize {
    if frame.get(12..14) == Some(&[0x81, 0]) { 18 } else { 14 }
}

pub(crate) fn get(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]))
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(two) = bytes.get_mut(at..at + 2) {
        two.copy_from_slice(&value.to_be_bytes());
    }
}

pub(crate) fn address(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

/// The checksum that an offload is left to complete: the pseudo-header's sum.
pub(crate) fn partial_checksum(packet: &[u8], length: usize) -> u16 {
    fold(pseudo_sum(packet, length))
}

fn pseudo_sum(packet: &[u8], length: usize) -> u64 {
    sum(&packet[12..20]) + u64::from(packet[9]) + length as u64
}

/// RFC 1071, not folded.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let odd = words.remainder().first().map_or(0, |last| u64::from(*last) << 8);
    words.map(|word| u64::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u64>() + odd
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
