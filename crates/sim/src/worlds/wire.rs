//! Packets of the worlds: what they carry, how they are built, and how one that came out is read.
//!
//! Whoever sees a packet can tell whose it is. The first byte behind the headers, and every byte of a TCP stream, has in
//! its upper three bits the tenants that may see it, one bit each; none: a stranger's, which only a host that is open to
//! strangers may get.
//!
//! ```text
//! datagram, echo   | tenants: 3 | kind: 5 |  flow: 32, big endian  |  anything
//! stream           | tenants: 3 | of flow and offset: 5 |  at each offset
//! ```
//!
//! Written for this and nothing else, and independent of what is judged.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

/// An address and a port; of an echo, its identifier.
pub(crate) type Endpoint = (Ipv4Addr, u16);

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// What a datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To be answered with the same.
    Query = 1,
    /// To die on its way.
    Trace = 2,
    /// Nobody wants it.
    Hostile = 3,
}

/// The link's part of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) to: [u8; 6],
    pub(crate) from: [u8; 6],
    /// 0: none.
    pub(crate) vlan: u16,
}

impl Link {
    /// How long it is.
    pub(crate) fn bytes(&self) -> usize {
        if self.vlan == 0 { 14 } else { 18 }
    }

    /// Writes it into a frame's first bytes.
    pub(crate) fn write(&self, frame: &mut [u8], ether_type: u16) {
        frame[..6].copy_from_slice(&self.to);
        frame[6..12].copy_from_slice(&self.from);
        let mut at = 12;
        if self.vlan != 0 {
            frame[12..14].copy_from_slice(&[0x81, 0]);
            frame[14..16].copy_from_slice(&self.vlan.to_be_bytes());
            at = 16;
        }
        frame[at..at + 2].copy_from_slice(&ether_type.to_be_bytes());
    }
}

/// A frame of IPv4, as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) to: [u8; 6],
    pub(crate) vlan: u16,
    /// Where IPv4 begins, the transport, what it carries, and where the packet ends.
    pub(crate) at: [usize; 4],
    pub(crate) protocol: u8,
    pub(crate) source: Endpoint,
    pub(crate) destination: Endpoint,
    /// ICMP's type, TCP's flags.
    pub(crate) kind: u8,
    /// Both checksums are right.
    pub(crate) is_right: bool,
}

impl Packet {
    /// Whether it is an ICMP error.
    pub(crate) fn is_error(&self) -> bool {
        self.protocol == ICMP && matches!(self.kind, 3 | 4 | 5 | 11 | 12)
    }

    /// What it carries behind its headers.
    pub(crate) fn payload<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[self.at[2]..self.at[3]]
    }

    /// For a reader.
    pub(crate) fn line(&self, frame: &[u8]) -> String {
        let Self { vlan, protocol, source: (from, from_port), destination: (to, to_port), kind, .. } = *self;
        let bytes = self.at[3] - self.at[2];
        let numbers = frame.get(self.at[1] + 4..self.at[1] + 12).filter(|_| protocol == TCP);
        let numbers = numbers.map_or_else(Vec::new, |numbers| {
            numbers
                .chunks(4)
                .map(|word| word.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)))
                .collect()
        });
        format!(
            "vlan {vlan} {from}:{from_port} > {to}:{to_port} protocol {protocol} kind {kind:#x} {numbers:?} {bytes} bytes"
        )
    }

    /// The packet without the link's part.
    pub(crate) fn bytes<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[self.at[0]..self.at[3]]
    }
}

/// The type of what a frame carries, and its VLAN.
pub(crate) fn ether_type(frame: &[u8]) -> (u16, u16) {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    match word(12) {
        0x8100 => (word(16), word(14) & 0xfff),
        other => (other, 0),
    }
}

/// Reads a frame of IPv4.
pub(crate) fn read(frame: &[u8]) -> Option<Packet> {
    let (ether_type, vlan) = ether_type(frame);
    let start = if vlan == 0 { 14 } else { 18 };
    let packet = frame.get(start..)?;
    if ether_type != 0x0800 || packet.len() < 20 || packet[0] >> 4 != 4 {
        return None;
    }
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let header = usize::from(packet[0] & 15) * 4;
    let total = usize::from(word(2)?);
    let (protocol, transport) = (packet[9], packet.get(header..total)?);
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let (kind, ports, head, pseudo) = match protocol {
        TCP => (
            *transport.get(13)?,
            [word(header)?, word(header + 2)?],
            usize::from(*transport.get(12)? >> 4) * 4,
            true,
        ),
        UDP => (0, [word(header)?, word(header + 2)?], 8, true),
        ICMP => (*transport.first()?, [word(header + 4)?; 2], 8, false),
        _ => (0, [0; 2], 0, false),
    };
    if transport.len() < head {
        return None;
    }
    let before = if pseudo { sum(&packet[12..20], u64::from(protocol) + transport.len() as u64) } else { 0 };
    let has_checksum = matches!(protocol, TCP | UDP | ICMP);
    let is_right = fold(sum(&packet[..header], 0)) == 0xffff
        && (!has_checksum || fold(sum(transport, before)) == 0xffff);
    Some(Packet {
        to: frame[..6].try_into().ok()?,
        vlan,
        at: [start, start + header, start + header + head, start + total],
        protocol,
        source: (address(12), ports[0]),
        destination: (address(16), ports[1]),
        kind,
        is_right,
    })
}

/// Of all that a gateway must leave as it is: not addresses, ports, TTL, checksums, nor the identification.
pub(crate) fn digest(frame: &[u8], packet: &Packet) -> u64 {
    let [ip, transport, _, end] = packet.at;
    let mut hash = hash(&frame[ip + 1..ip + 4], u64::from(packet.protocol) | u64::from(frame[ip + 6]) << 8);
    hash = self::hash(&frame[ip + 20..transport], hash);
    let rest = &frame[transport..end];
    match packet.protocol {
        TCP => self::hash(&rest[18..], self::hash(&rest[4..16], hash)),
        UDP => self::hash(&rest[8..], self::hash(&rest[4..6], hash)),
        ICMP => self::hash(&rest[6..], self::hash(&rest[..2], hash)),
        _ => self::hash(rest, hash),
    }
}

/// A hash of bytes and of what was before.
pub(crate) fn hash(bytes: &[u8], before: u64) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = before ^ (bytes.len() as u64).wrapping_mul(MIX);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        hash = (hash ^ u64::from_le_bytes(word.try_into().unwrap_or_default())).wrapping_mul(MIX);
        hash ^= hash >> 29;
    }
    for byte in words.remainder() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(MIX);
    }
    hash ^ hash >> 32
}

/// A number that looks like chance.
pub(crate) fn mix(number: u64) -> u64 {
    hash(&[], number.wrapping_mul(0xd6e8_feb8_6659_fd93))
}

/// Streams' lower five bits: each stream begins somewhere in them, so that they need not be made for each anew.
static SYMBOLS: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..STREAMS + STREAM_BYTES_MAX).map(|at| (mix(at as u64) & 31) as u8).collect());

/// Different beginnings of streams, and how long one may be.
const STREAMS: usize = 1 << 15;
const STREAM_BYTES_MAX: usize = 1 << 14;

/// A stream's bytes from an offset on.
pub(crate) fn stream(tenants: u8, stream: u64, first: u32) -> impl Iterator<Item = u8> {
    let begin = mix(stream) as usize % STREAMS + first as usize;
    SYMBOLS[begin..].iter().map(move |symbol| tenants << 5 | symbol)
}

/// A datagram's payload of so many bytes, 5 at least.
pub(crate) fn payload(tenants: u8, kind: Kind, flow: u32, bytes: usize) -> Vec<u8> {
    let mut payload = vec![0; bytes];
    payload[0] = tenants << 5 | kind as u8;
    payload[1..5].copy_from_slice(&flow.to_be_bytes());
    for (at, byte) in payload[5..].iter_mut().enumerate() {
        *byte = (mix(u64::from(flow) + at as u64 / 8) >> (at % 8 * 8)) as u8;
    }
    payload
}

/// The tenants that may see a payload.
pub(crate) fn tenants(payload: &[u8]) -> Option<u8> {
    payload.first().map(|byte| byte >> 5)
}

/// The kind and flow of a datagram's payload.
pub(crate) fn flow(payload: &[u8]) -> Option<(u8, u32)> {
    Some((payload.first()? & 31, u32::from_be_bytes(payload.get(1..5)?.try_into().ok()?)))
}

/// A frame with this transport behind an IPv4 header without options that is not to be cut.
pub(crate) fn ipv4(
    link: Link,
    protocol: u8,
    from: Ipv4Addr,
    to: Ipv4Addr,
    ttl: u8,
    transport: &[u8],
) -> Vec<u8> {
    let start = link.bytes();
    let mut frame = vec![0; start + 20 + transport.len()];
    link.write(&mut frame, 0x0800);
    let packet = &mut frame[start..];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&((20 + transport.len()) as u16).to_be_bytes());
    packet[6..10].copy_from_slice(&[0x40, 0, ttl, protocol]);
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let checksum = !fold(sum(&packet[..20], 0));
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet[20..].copy_from_slice(transport);
    let at = match protocol {
        TCP => 16,
        UDP => 6,
        _ => 2,
    };
    let before =
        if protocol == ICMP { 0 } else { sum(&packet[12..20], u64::from(protocol) + transport.len() as u64) };
    let checksum = match !fold(sum(&packet[20..], before)) {
        // For UDP 0 says that there is none, and 0xffff is the same sum.
        0 if protocol == UDP => 0xffff,
        checksum => checksum,
    };
    packet[20 + at..22 + at].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// A datagram's header and payload, without checksum.
pub(crate) fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut bytes = [from, to, length, 0].map(u16::to_be_bytes).concat();
    bytes.extend_from_slice(payload);
    bytes
}

/// An ICMP message, without checksum.
pub(crate) fn icmp(kind: u8, code: u8, rest: [u16; 2], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(rest.map(u16::to_be_bytes).concat());
    bytes.extend_from_slice(body);
    bytes
}

/// A segment without data, and without checksum.
pub(crate) fn tcp(from: u16, to: u16, flags: u8, sequence: u32, acknowledged: u32) -> Vec<u8> {
    let mut bytes = [from, to].map(u16::to_be_bytes).concat();
    bytes.extend([sequence, acknowledged].map(u32::to_be_bytes).concat());
    bytes.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    bytes
}

/// An answer to a question for an address' MAC.
pub(crate) fn arp_answer(question: &[u8], mac: [u8; 6]) -> Vec<u8> {
    let (_, vlan) = ether_type(question);
    let start = if vlan == 0 { 14 } else { 18 };
    let asked = &question[start..];
    let asker: [u8; 6] = asked[8..14].try_into().unwrap_or_default();
    let link = Link { to: asker, from: mac, vlan };
    let mut frame = vec![0; start];
    link.write(&mut frame, 0x0806);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend(mac);
    frame.extend_from_slice(&asked[24..28]);
    frame.extend_from_slice(&asked[8..18]);
    frame
}

/// What an ARP frame asks for; none where it is no question, or one about its sender.
pub(crate) fn arp_asked(frame: &[u8]) -> Option<Ipv4Addr> {
    let (_, vlan) = ether_type(frame);
    let asked = frame.get(if vlan == 0 { 14 } else { 18 }..)?;
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(asked.get(at..at + 4)?).ok()?));
    (asked.get(6..8)? == [0, 1] && address(14)? != address(24)?).then(|| address(24))?
}

fn sum(bytes: &[u8], before: u64) -> u64 {
    let mut sum = before;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        sum += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let rest = words.remainder();
    let last = [0, 1, 2, 3].map(|at| rest.get(at).copied().unwrap_or(0));
    sum + u64::from(u32::from_be_bytes(last))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
