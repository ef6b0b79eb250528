//! Packets made from nothing, their checksums right.

use crate::oracle::{Endpoint, Header};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// A packet without options, to be sent on with TTL 64.
pub(crate) fn ipv4(protocol: u8, source: Endpoint, destination: Endpoint, transport: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
    packet.extend(source.0.octets());
    packet.extend(destination.0.octets());
    packet.extend(transport);
    finish(packet)
}

/// The packet with its length and its header's checksum put right.
pub(crate) fn finish(mut packet: Vec<u8>) -> Vec<u8> {
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    fix(packet)
}

/// The packet with its header's checksum put right.
pub(crate) fn fix(mut packet: Vec<u8>) -> Vec<u8> {
    let header = (usize::from(packet[0] & 15) * 4).clamp(20, packet.len());
    packet[10..12].fill(0);
    let checksum = !sum(&packet[..header], 0);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// A datagram; without a checksum if that is asked for.
pub(crate) fn udp(source: Endpoint, destination: Endpoint, payload: &[u8], checked: bool) -> Vec<u8> {
    let mut segment = datagram(source, destination, payload);
    if checked {
        let checksum = match transport_checksum(UDP, source, destination, &segment) {
            0 => 0xffff,
            checksum => checksum,
        };
        segment[6..8].copy_from_slice(&checksum.to_be_bytes());
    }
    ipv4(UDP, source, destination, &segment)
}

fn datagram(source: Endpoint, destination: Endpoint, payload: &[u8]) -> Vec<u8> {
    let ports = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
    let length = ((8 + payload.len()) as u16).to_be_bytes();
    [&ports, &length[..], &[0, 0], payload].concat()
}

/// The payload with a word more, with which the checksum of its datagram between these endpoints would be zero.
pub(crate) fn summing_to_zero(source: Endpoint, destination: Endpoint, mut payload: Vec<u8>) -> Vec<u8> {
    payload.resize(payload.len().next_multiple_of(2) + 2, 0);
    let word = transport_checksum(UDP, source, destination, &datagram(source, destination, &payload));
    let end = payload.len();
    payload[end - 2..].copy_from_slice(&word.to_be_bytes());
    payload
}

/// A segment; its options fill whole words.
pub(crate) fn tcp(
    source: Endpoint,
    destination: Endpoint,
    flags: u8,
    [sequence, acknowledged]: [u32; 2],
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut segment = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    segment.extend([0x50 + (options.len() as u8 / 4) * 0x10, flags, 0x20, 0, 0, 0, 0, 0]);
    segment.extend(options);
    segment.extend(payload);
    let checksum = transport_checksum(TCP, source, destination, &segment);
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    ipv4(TCP, source, destination, &segment)
}

/// An ICMP message; its second word is given.
pub(crate) fn icmp(
    source: Endpoint,
    destination: Endpoint,
    kind: u8,
    code: u8,
    word: [u8; 4],
    behind: &[u8],
) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(word);
    message.extend(behind);
    let checksum = !sum(&message, 0);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    ipv4(ICMP, source, destination, &message)
}

/// A packet's pieces, each of so many bytes and the last of what is left.
pub(crate) fn pieces(packet: &[u8], header: &Header, lengths: &[usize]) -> Vec<Vec<u8>> {
    let (head, mut rest) = packet[..header.total].split_at(header.length);
    let (mut pieces, mut start) = (Vec::new(), 0);
    for length in lengths.iter().copied().chain([usize::MAX]) {
        let (part, behind) = rest.split_at(length.min(rest.len()));
        let more = if behind.is_empty() { 0 } else { 0x2000 };
        let mut piece = [head, part].concat();
        piece[6..8].copy_from_slice(&(more | (start / 8) as u16).to_be_bytes());
        pieces.push(finish(piece));
        if behind.is_empty() {
            break;
        }
        (start, rest) = (start + part.len(), behind);
    }
    pieces
}

/// Sequence and acknowledgement number, and how far the segment reaches.
pub(crate) fn sequences(packet: &[u8], header: &Header) -> [u32; 3] {
    let word = |at: usize| {
        u32::from_be_bytes(packet[header.length + at..header.length + at + 4].try_into().unwrap())
    };
    let data = usize::from(packet[header.length + 12] >> 4) * 4;
    let flags = header.flags;
    let length = header.total - header.length - data;
    let behind = word(4)
        .wrapping_add(length as u32)
        .wrapping_add(u32::from(flags & 1))
        .wrapping_add(u32::from(flags >> 1 & 1));
    [word(4), word(8), behind]
}

fn transport_checksum(protocol: u8, source: Endpoint, destination: Endpoint, segment: &[u8]) -> u16 {
    let addresses = [source.0.octets(), destination.0.octets()].concat();
    let pseudo = u32::from(sum(&addresses, 0)) + u32::from(protocol) + segment.len() as u32;
    !sum(segment, pseudo)
}

fn sum(bytes: &[u8], before: u32) -> u16 {
    let mut sum = before;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
