//! Frames for tests: built with right checksums, and judged by code that shares nothing with what it judges.
//!
//! Slow and obvious on purpose. Neither [`crate::checksum`] nor the header views are used here, so that an error there
//! cannot hide itself. A programmer's mistake in a test panics.
//!
//! ```
//! use packet::{MacAddress, testing};
//!
//! let client = (MacAddress([2, 0, 0, 0, 0, 1]), [10, 0, 0, 5].into(), 40_000);
//! let server = (MacAddress([2, 0, 0, 0, 0, 2]), [192, 0, 2, 1].into(), 53);
//! let frame = testing::with_ttl(testing::udp(client, server, None, b"who is it?"), 3);
//! testing::assert_checksums(&frame);
//! ```

use core::net::Ipv4Addr;

use crate::arp::{Arp, Operation};
use crate::ethernet::LinkHeader;
use crate::{MacAddress, Protocol, VlanId};

/// A MAC and an address.
pub type Host = (MacAddress, Ipv4Addr);
/// A MAC, an address and a port.
pub type Endpoint = (MacAddress, Ipv4Addr, u16);

/// The TTL of every frame built here.
pub const TTL: u8 = 64;

/// A UDP datagram, with its checksum.
pub fn udp(from: Endpoint, to: Endpoint, vlan: Option<VlanId>, payload: &[u8]) -> Vec<u8> {
    let mut datagram = ports(from, to);
    datagram.extend(length(8 + payload.len()).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let checksum = !(slow_sum(&pseudo_header(from.1, to.1, Protocol::UDP, &datagram), &datagram));
    store(&mut datagram, 6, if checksum == 0 { 0xffff } else { checksum });
    ipv4(host(from), host(to), vlan, Protocol::UDP, &datagram)
}

/// A TCP segment without data, with these options, whose length is a multiple of 4 and at most 40.
pub fn tcp_with_options(
    from: Endpoint,
    to: Endpoint,
    vlan: Option<VlanId>,
    flags: u8,
    options: &[u8],
) -> Vec<u8> {
    assert!(options.len().is_multiple_of(4) && options.len() <= 40, "options of {} bytes", options.len());
    let frame = tcp(from, to, vlan, flags, 1_000, 2_000, options);
    let at = network_offset(&frame) + 20;
    let mut segment = frame[at..].to_vec();
    segment[12] = (((20 + options.len()) / 4) << 4) as u8;
    store(&mut segment, 16, 0);
    let checksum = !slow_sum(&pseudo_header(from.1, to.1, Protocol::TCP, &segment), &segment);
    store(&mut segment, 16, checksum);
    ipv4(host(from), host(to), vlan, Protocol::TCP, &segment)
}

/// A TCP segment without options; `flags` are those of [`crate::tcp`].
pub fn tcp(
    from: Endpoint,
    to: Endpoint,
    vlan: Option<VlanId>,
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    payload: &[u8],
) -> Vec<u8> {
    let segment = Segment { flags, sequence, acknowledgement, payload, ..Segment::default() };
    self::segment(from, to, vlan, segment)
}

/// What a TCP segment says, its ports and checksum aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Those of [`crate::tcp`].
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// As it stands, not scaled.
    pub window: u16,
    /// Of a multiple of four bytes, 40 at most.
    pub options: &'a [u8],
    /// The data.
    pub payload: &'a [u8],
}

impl Default for Segment<'_> {
    /// Neither flags nor data, and the window of a host at rest.
    fn default() -> Self {
        Self { flags: 0, sequence: 0, acknowledgement: 0, window: 0xfaf0, options: &[], payload: &[] }
    }
}

/// Any TCP segment.
pub fn segment(from: Endpoint, to: Endpoint, vlan: Option<VlanId>, segment: Segment) -> Vec<u8> {
    let Segment { flags, sequence, acknowledgement, window, options, payload } = segment;
    assert!(options.len().is_multiple_of(4) && options.len() <= 40, "options of {} bytes", options.len());
    let mut bytes = ports(from, to);
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(acknowledgement.to_be_bytes());
    bytes.extend([(5 + options.len() as u8 / 4) << 4, flags]);
    bytes.extend(window.to_be_bytes());
    // Checksum, urgent pointer.
    bytes.extend([0; 4]);
    bytes.extend(options);
    bytes.extend(payload);
    let checksum = !slow_sum(&pseudo_header(from.1, to.1, Protocol::TCP, &bytes), &bytes);
    store(&mut bytes, 16, checksum);
    ipv4(host(from), host(to), vlan, Protocol::TCP, &bytes)
}

/// An ICMP echo; `icmp_type` is [`ECHO_REQUEST`](crate::icmp::kind::ECHO_REQUEST) or
/// [`ECHO_REPLY`](crate::icmp::kind::ECHO_REPLY).
pub fn echo(
    icmp_type: u8,
    from: Host,
    to: Host,
    vlan: Option<VlanId>,
    identifier: u16,
    sequence: u16,
    payload: &[u8],
) -> Vec<u8> {
    icmp(from, to, vlan, icmp_type, 0, u32::from(identifier) << 16 | u32::from(sequence), payload)
}

/// An ICMP error about the packet in the frame `about`, as that frame stands, quoting its IPv4 header and up to
/// `quoted` bytes behind it. `rest` is the second word of the ICMP header, such as an MTU.
pub fn icmp_error(
    from: Host,
    to: Host,
    vlan: Option<VlanId>,
    (icmp_type, code, rest): (u8, u8, u32),
    about: &[u8],
    quoted: usize,
) -> Vec<u8> {
    let packet = ipv4_packet(about);
    let quote = &packet[..packet.len().min(header_length(packet) + quoted)];
    icmp(from, to, vlan, icmp_type, code, rest, quote)
}

/// Any ICMP message: `rest` is the second word of the header, `body` all that follows.
pub fn icmp(
    from: Host,
    to: Host,
    vlan: Option<VlanId>,
    icmp_type: u8,
    code: u8,
    rest: u32,
    body: &[u8],
) -> Vec<u8> {
    let mut message = vec![icmp_type, code, 0, 0];
    message.extend(rest.to_be_bytes());
    message.extend(body);
    let checksum = !slow_sum(&[], &message);
    store(&mut message, 2, checksum);
    ipv4(from, to, vlan, Protocol::ICMP, &message)
}

/// An IPv4 packet of any protocol, atomic as nearly all are today: not to be fragmented (DF), so without an
/// identification (RFC 6864). `payload` is taken as it is, with whatever checksum it holds.
pub fn ipv4(from: Host, to: Host, vlan: Option<VlanId>, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend(length(20 + payload.len()).to_be_bytes());
    header.extend([0, 0, 0x40, 0, TTL, protocol.0, 0, 0]);
    header.extend(from.1.octets());
    header.extend(to.1.octets());
    let mut frame = ethernet(LinkHeader { destination: to.0, source: from.0, vlan }, 0x0800);
    frame.extend(header);
    frame.extend(payload);
    with_header(frame, |_| {})
}

/// An ARP packet, padded to 60 bytes.
pub fn arp(link: LinkHeader, arp: &Arp) -> Vec<u8> {
    let mut frame = ethernet(link, 0x0806);
    frame.extend([0, 1, 0x08, 0x00, 6, 4]);
    frame.extend(match arp.operation {
        Operation::Request => [0, 1],
        Operation::Reply => [0, 2],
    });
    frame.extend(arp.sender_mac.0);
    frame.extend(arp.sender.octets());
    frame.extend(arp.target_mac.0);
    frame.extend(arp.target.octets());
    frame.resize(frame.len().max(60), 0);
    frame
}

/// A bare Ethernet header, to put anything behind it.
pub fn ethernet(link: LinkHeader, ether_type: u16) -> Vec<u8> {
    let mut frame = [link.destination.0, link.source.0].concat();
    if let Some(vlan) = link.vlan {
        frame.extend([0x81, 0x00]);
        frame.extend(vlan.get().to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame
}

/// The frame with its IPv4 header changed by `edit`, and the header checksum made right again. Transport checksums
/// stay as they are.
pub fn with_header(mut frame: Vec<u8>, edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let offset = network_offset(&frame);
    let length = header_length(&frame[offset..]);
    let header = &mut frame[offset..offset + length];
    edit(header);
    store(header, 10, 0);
    let checksum = !slow_sum(&[], header);
    store(header, 10, checksum);
    frame
}

/// The frame with another TTL.
pub fn with_ttl(frame: Vec<u8>, ttl: u8) -> Vec<u8> {
    with_header(frame, |header| header[8] = ttl)
}

/// The frame with its DF bit set.
pub fn with_dont_fragment(frame: Vec<u8>) -> Vec<u8> {
    with_header(frame, |header| header[6] |= 0x40)
}

/// The frame with its DF bit clear, and an identification: it may be cut.
pub fn with_may_fragment(frame: Vec<u8>, identification: u16) -> Vec<u8> {
    with_header(frame, |header| {
        store(header, 4, identification);
        header[6] &= !0x40;
    })
}

/// The frame with IPv4 options, whose length is a multiple of 4 and at most 40.
pub fn with_options(mut frame: Vec<u8>, options: &[u8]) -> Vec<u8> {
    assert!(options.len().is_multiple_of(4) && options.len() <= 40, "options of {} bytes", options.len());
    let offset = network_offset(&frame);
    let total = length(ipv4_packet(&frame).len() + options.len());
    let end = offset + header_length(&frame[offset..]);
    frame.splice(end..end, options.iter().copied());
    frame[offset] += (options.len() / 4) as u8;
    store(&mut frame[offset..], 2, total);
    with_header(frame, |_| {})
}

/// The frame with `count` more bytes behind its packet, as Ethernet padding is.
pub fn with_padding(mut frame: Vec<u8>, count: usize) -> Vec<u8> {
    frame.resize(frame.len() + count, 0xaa);
    frame
}

/// The frame cut into IPv4 fragments of at most `payload_max` bytes behind the header, a multiple of 8, in order.
pub fn fragments(frame: &[u8], identification: u16, payload_max: usize) -> Vec<Vec<u8>> {
    assert!(payload_max > 0 && payload_max.is_multiple_of(8), "fragments of {payload_max} bytes");
    let offset = network_offset(frame);
    let packet = ipv4_packet(frame);
    let (header, payload) = packet.split_at(header_length(packet));
    let pieces = payload.chunks(payload_max);
    let last = pieces.len().saturating_sub(1);
    pieces
        .enumerate()
        .map(|(index, piece)| {
            let fragment = [&frame[..offset], header, piece].concat();
            let more = if index < last { 0x2000 } else { 0 };
            with_header(fragment, |fields| {
                store(fields, 2, length(header.len() + piece.len()));
                store(fields, 4, identification);
                store(fields, 6, length(index * payload_max / 8) | more);
            })
        })
        .collect()
}

/// Asserts that every checksum in an IPv4 frame is right: the header's; TCP's, UDP's, UDP-Lite's, DCCP's or ICMP's
/// unless it is a fragment; and within an ICMP error the quoted header's, and the quoted transport's where the whole
/// packet is quoted. A UDP checksum of zero is right.
///
/// # Panics
/// With what is wrong, and the bytes.
#[track_caller]
pub fn assert_checksums(frame: &[u8]) {
    if let Err(wrong) = judge_packet(ipv4_packet(frame)) {
        panic_with(wrong, frame);
    }
}

#[track_caller]
#[allow(clippy::panic, reason = "a test's verdict")]
fn panic_with(wrong: &str, frame: &[u8]) -> ! {
    panic!("{wrong}: {frame:02x?}")
}

/// Judges a packet, or a quote of one.
fn judge_packet(packet: &[u8]) -> Result<(), &'static str> {
    let header_length = header_length(packet);
    if slow_sum(&[], &packet[..header_length]) != 0xffff {
        return Err("the IPv4 header checksum is wrong");
    }
    let total_length = usize::from(load(packet, 2));
    let is_fragment = load(packet, 6) & 0x3fff != 0;
    if is_fragment || packet.len() < total_length {
        return Ok(());
    }
    let addresses = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let payload = &packet[header_length..total_length];
    let protocol = Protocol(packet[9]);
    // What the checksum covers, and whether zero stands for none.
    let (covered, may_be_none) = match protocol {
        Protocol::TCP => (payload, false),
        Protocol::UDP => (&payload[..usize::from(load(payload, 4))], true),
        Protocol::UDP_LITE => match usize::from(load(payload, 4)) {
            0 => (payload, false),
            coverage => (&payload[..coverage], false),
        },
        Protocol::DCCP => match usize::from(payload[5] & 0x0f) {
            0 => (payload, false),
            coverage => (&payload[..usize::from(payload[4]) * 4 + (coverage - 1) * 4], false),
        },
        Protocol::ICMP => {
            if slow_sum(&[], payload) != 0xffff {
                return Err("the ICMP checksum is wrong");
            }
            let quotes = matches!(payload[0], 3 | 4 | 5 | 11 | 12);
            return if quotes { judge_packet(&payload[8..]).map_err(within_quote) } else { Ok(()) };
        }
        _ => return Ok(()),
    };
    if may_be_none && load(payload, 6) == 0 {
        return Ok(());
    }
    // UDP counts its own length, the others what the packet holds.
    let counted = if protocol == Protocol::UDP { covered } else { payload };
    let pseudo_header = pseudo_header(addresses(12), addresses(16), protocol, counted);
    if slow_sum(&pseudo_header, covered) == 0xffff { Ok(()) } else { Err("the transport checksum is wrong") }
}

fn within_quote(wrong: &'static str) -> &'static str {
    match wrong {
        "the IPv4 header checksum is wrong" => "the quoted IPv4 header checksum is wrong",
        "the transport checksum is wrong" => "the quoted transport checksum is wrong",
        _ => "the quoted ICMP checksum is wrong",
    }
}

/// RFC 1071, byte by byte, over two pieces of which the first is even.
fn slow_sum(first: &[u8], second: &[u8]) -> u16 {
    assert!(first.len().is_multiple_of(2), "only the last piece may be odd");
    let mut sum = 0_u32;
    for (index, byte) in first.iter().chain(second).enumerate() {
        sum += if index % 2 == 0 { u32::from(*byte) << 8 } else { u32::from(*byte) };
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    sum as u16
}

fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, protocol: Protocol, segment: &[u8]) -> Vec<u8> {
    let mut bytes = [source.octets(), destination.octets()].concat();
    bytes.extend([0, protocol.0]);
    bytes.extend(length(segment.len()).to_be_bytes());
    bytes
}

/// Where the IPv4 header of a frame starts.
fn network_offset(frame: &[u8]) -> usize {
    if load(frame, 12) == 0x8100 { 18 } else { 14 }
}

/// The IPv4 packet of a frame, without padding.
fn ipv4_packet(frame: &[u8]) -> &[u8] {
    let packet = &frame[network_offset(frame)..];
    &packet[..usize::from(load(packet, 2))]
}

fn header_length(packet: &[u8]) -> usize {
    usize::from(packet[0] & 0x0f) * 4
}

fn host((mac, address, _): Endpoint) -> Host {
    (mac, address)
}

fn ports(from: Endpoint, to: Endpoint) -> Vec<u8> {
    [from.2.to_be_bytes(), to.2.to_be_bytes()].concat()
}

fn load(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn store(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[track_caller]
fn length(bytes: usize) -> u16 {
    assert!(bytes <= usize::from(u16::MAX), "{bytes} bytes are more than an IPv4 packet holds");
    bytes as u16
}
