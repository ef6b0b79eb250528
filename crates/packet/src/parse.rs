//! A frame read once: what the packet path needs to know of it, copied out of the bytes.
//!
//! Everything that later stages decide on is here, so that they neither read the bytes again nor check a bound again,
//! and so that no two of them can disagree about what a packet is. [`Parsed`] is a plain copy and borrows nothing: the
//! stages of a burst hold 32 of them beside the frames they change.
//!
//! Absent on purpose: a second tag, LLC, IPv6 (all [`Payload::Other`]), IP options and TCP options, and any
//! reassembly.

use core::net::Ipv4Addr;
use core::ops::Range;

use zerocopy::FromBytes;

use crate::wire::{self, ether_type};
use crate::{VlanId, checksum, icmp};

/// IP protocol numbers the path tells apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP
    pub const ICMP: Self = Self(1);
    /// TCP
    pub const TCP: Self = Self(6);
    /// UDP
    pub const UDP: Self = Self(17);
    /// DCCP
    pub const DCCP: Self = Self(33);
    /// SCTP
    pub const SCTP: Self = Self(132);
    /// UDP-Lite
    pub const UDP_LITE: Self = Self(136);
}

/// Where a packet stands in the datagram it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// The whole datagram.
    Whole,
    /// The first fragment: it carries the transport header.
    First,
    /// A later fragment: no transport header, ports read as 0.
    Later,
}

/// What an Ethernet frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// An IPv4 packet: the rest of [`Parsed`] describes it.
    Ipv4,
    /// An ARP packet, not looked into yet.
    Arp,
    /// Anything else: other EtherTypes, a second tag, LLC, and the reserved VLAN identifier 4095.
    Other,
}

/// Why a frame could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than its headers say.
    #[error("truncated")]
    Truncated,
    /// A header whose fields cannot be: IPv4 version, header length, total length or fragment offset; TCP data
    /// offset; a fragment that others are to follow and that ends within a unit of eight bytes, or has none.
    #[error("bad header")]
    Header,
    /// The IPv4 header checksum is wrong.
    #[error("bad IPv4 header checksum")]
    HeaderChecksum,
    /// A fragment that serves to hide a transport header or to write over one that has passed: a first one that ends
    /// before its transport header does (RFC 1858 section 3), or one of TCP that starts eight bytes in (RFC 3128).
    #[error("tiny fragment")]
    TinyFragment,
}

/// What the path needs to know of a frame: offsets, and the fields that decisions read.
///
/// For a [`Payload`] other than IPv4 the IPv4 fields are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// What the frame carries.
    pub payload: Payload,
    /// The 802.1Q tag; `None` for an untagged frame and for a priority tag (VLAN 0).
    pub vlan: Option<VlanId>,
    /// Where the IPv4 (or ARP) header starts: 14 or 18.
    pub network_offset: u8,
    /// Where the transport header starts.
    pub transport_offset: u8,
    /// The IPv4 total length in bytes; Ethernet padding lies beyond it.
    pub total_length: u16,
    /// IPv4 source.
    pub source: Ipv4Addr,
    /// IPv4 destination.
    pub destination: Ipv4Addr,
    /// IPv4 protocol.
    pub protocol: Protocol,
    /// IPv4 time to live.
    pub ttl: u8,
    /// Whole, first or later fragment.
    pub fragment: Fragment,
    /// The DF bit.
    pub dont_fragment: bool,
    /// TCP and UDP source port; the identifier of an ICMP query; else 0.
    pub source_port: u16,
    /// TCP and UDP destination port; the identifier of an ICMP query; else 0.
    pub destination_port: u16,
    /// TCP flags byte (FIN 0x01, SYN 0x02, RST 0x04, ACK 0x10); else 0.
    pub tcp_flags: u8,
    /// The length of the TCP header with its options, in bytes; else 0.
    pub tcp_header_length: u8,
    /// The TCP window as it stands, not scaled; else 0.
    pub tcp_window: u16,
    /// TCP sequence number; else 0.
    pub tcp_sequence: u32,
    /// TCP acknowledgement number, which counts where the flags have ACK; else 0.
    pub tcp_acknowledgement: u32,
    /// ICMP type; else 0.
    pub icmp_type: u8,
    /// ICMP code; else 0.
    pub icmp_code: u8,
}

impl Parsed {
    /// Reads a frame.
    ///
    /// Checks the IPv4 version, lengths and header checksum, and that the transport header the protocol calls for
    /// (TCP 20 bytes and its options, UDP 8, ICMP 8) lies within the packet, unless it is a later fragment. Bytes
    /// beyond the IPv4 total length are Ethernet padding and count for nothing.
    ///
    /// # Errors
    /// What is wrong with it; such a frame is dropped.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let (ethernet, rest) = view::<wire::Ethernet>(bytes)?;
        let ether_type = ethernet.ether_type.get();
        if ether_type != ether_type::VLAN {
            return Self::read_payload(rest, ether_type, wire::ETHERNET_LENGTH, None);
        }
        let (tag, rest) = view::<wire::Tag>(rest)?;
        let network_offset = wire::ETHERNET_LENGTH + wire::TAG_LENGTH;
        if tag.vlan() == RESERVED_VLAN {
            return Ok(Self::of_payload(Payload::Other, network_offset, None));
        }
        Self::read_payload(rest, tag.ether_type.get(), network_offset, VlanId::new(tag.vlan()))
    }

    /// Where the IPv4 packet is in the frame, without the padding behind it.
    #[inline]
    pub fn network_range(&self) -> Range<usize> {
        let start = usize::from(self.network_offset);
        start..start + usize::from(self.total_length)
    }

    /// Where the transport header and its payload are in the frame, without the padding behind them.
    #[inline]
    pub fn transport_range(&self) -> Range<usize> {
        usize::from(self.transport_offset)..self.network_range().end
    }

    /// How many bytes of data a TCP segment carries; of a first fragment, those that it has itself. Else 0.
    #[inline]
    pub fn tcp_payload_length(&self) -> u16 {
        if self.tcp_header_length == 0 {
            return 0;
        }
        let headers =
            u16::from(self.transport_offset - self.network_offset) + u16::from(self.tcp_header_length);
        self.total_length.saturating_sub(headers)
    }

    #[inline]
    fn read_payload(
        bytes: &[u8],
        ether_type: u16,
        network_offset: u8,
        vlan: Option<VlanId>,
    ) -> Result<Self, Malformed> {
        match ether_type {
            ether_type::IPV4 => Self::read_ipv4(bytes, network_offset, vlan),
            ether_type::ARP => Ok(Self::of_payload(Payload::Arp, network_offset, vlan)),
            _ => Ok(Self::of_payload(Payload::Other, network_offset, vlan)),
        }
    }

    /// A frame of which no more is read than what it carries.
    #[inline]
    const fn of_payload(payload: Payload, network_offset: u8, vlan: Option<VlanId>) -> Self {
        Self {
            payload,
            vlan,
            network_offset,
            transport_offset: 0,
            total_length: 0,
            source: Ipv4Addr::UNSPECIFIED,
            destination: Ipv4Addr::UNSPECIFIED,
            protocol: Protocol(0),
            ttl: 0,
            fragment: Fragment::Whole,
            dont_fragment: false,
            source_port: 0,
            destination_port: 0,
            tcp_flags: 0,
            tcp_header_length: 0,
            tcp_window: 0,
            tcp_sequence: 0,
            tcp_acknowledgement: 0,
            icmp_type: 0,
            icmp_code: 0,
        }
    }

    #[inline]
    fn read_ipv4(bytes: &[u8], network_offset: u8, vlan: Option<VlanId>) -> Result<Self, Malformed> {
        let (header, _) = view::<wire::Ipv4>(bytes)?;
        let header_length = header.header_length();
        if header.version() != 4 || header_length < wire::Ipv4::LENGTH_MIN {
            return Err(Malformed::Header);
        }
        let total_length = header.total_length.get();
        let packet = bytes.get(..usize::from(total_length)).ok_or(Malformed::Truncated)?;
        // Fails only where the total length is smaller than the header.
        let (header_bytes, behind) = packet.split_at_checked(header_length).ok_or(Malformed::Header)?;
        if checksum::header_sum(header_bytes) != 0xffff {
            return Err(Malformed::HeaderChecksum);
        }
        let fragment = if header.is_fragment() { read_fragment(header, behind)? } else { Fragment::Whole };
        let transport = match fragment {
            Fragment::Whole => Transport::read(header.protocol(), behind)?,
            Fragment::First => Transport::read(header.protocol(), behind).map_err(as_tiny)?,
            Fragment::Later => Transport::default(),
        };
        Ok(Self {
            payload: Payload::Ipv4,
            vlan,
            network_offset,
            // At most 18 + 60.
            transport_offset: network_offset + header_length as u8,
            total_length,
            source: header.source(),
            destination: header.destination(),
            protocol: header.protocol(),
            ttl: header.ttl,
            fragment,
            dont_fragment: header.dont_fragment(),
            source_port: transport.source_port,
            destination_port: transport.destination_port,
            tcp_flags: transport.tcp_flags,
            tcp_header_length: transport.tcp_header_length,
            tcp_window: transport.tcp_window,
            tcp_sequence: transport.tcp_sequence,
            tcp_acknowledgement: transport.tcp_acknowledgement,
            icmp_type: transport.icmp_type,
            icmp_code: transport.icmp_code,
        })
    }
}

/// The fields of [`Parsed`] that the transport header has.
///
/// Put together at the end, not written into a [`Parsed`] one by one: that was copied around with wide loads of fields
/// just stored, and cost as much as everything else.
#[derive(Default)]
struct Transport {
    source_port: u16,
    destination_port: u16,
    tcp_flags: u8,
    tcp_header_length: u8,
    tcp_window: u16,
    tcp_sequence: u32,
    tcp_acknowledgement: u32,
    icmp_type: u8,
    icmp_code: u8,
}

impl Transport {
    #[inline]
    fn read(protocol: Protocol, bytes: &[u8]) -> Result<Self, Malformed> {
        match protocol {
            Protocol::TCP => {
                let (header, _) = view::<wire::Tcp>(bytes)?;
                let header_length = header.header_length();
                if header_length < wire::Tcp::LENGTH_MIN {
                    return Err(Malformed::Header);
                }
                if header_length > bytes.len() {
                    return Err(Malformed::Truncated);
                }
                Ok(Self {
                    tcp_flags: header.flags,
                    // At most 60.
                    tcp_header_length: header_length as u8,
                    tcp_window: header.window.get(),
                    tcp_sequence: u32::from_be_bytes(header.sequence),
                    tcp_acknowledgement: u32::from_be_bytes(header.acknowledgement),
                    ..Self::of_ports(&header.ports)
                })
            }
            Protocol::UDP => {
                let (header, _) = view::<wire::Udp>(bytes)?;
                Ok(Self::of_ports(&header.ports))
            }
            Protocol::ICMP => {
                let (header, _) = view::<wire::Icmp>(bytes)?;
                let identifier = if icmp::is_query(header.icmp_type) { header.identifier.get() } else { 0 };
                Ok(Self {
                    source_port: identifier,
                    destination_port: identifier,
                    icmp_type: header.icmp_type,
                    icmp_code: header.code,
                    ..Self::default()
                })
            }
            _ => Ok(Self::default()),
        }
    }

    #[inline]
    fn of_ports(ports: &wire::Ports) -> Self {
        Self { source_port: ports.source.get(), destination_port: ports.destination.get(), ..Self::default() }
    }
}

/// The VLAN identifier that IEEE 802.1Q reserves: it names no VLAN.
const RESERVED_VLAN: u16 = 0x0fff;

/// Where a fragment stands.
///
/// Refused are those that no sender makes: one that would end beyond the largest datagram, one without a byte, and one
/// that others are to follow and that does not end with a unit of eight bytes (RFC 791 section 3.2).
#[cold]
fn read_fragment(header: &wire::Ipv4, payload: &[u8]) -> Result<Fragment, Malformed> {
    let offset = header.fragment_offset();
    let end = usize::from(offset) * 8 + payload.len() + header.header_length();
    if payload.is_empty() || end > usize::from(u16::MAX) {
        return Err(Malformed::Header);
    }
    if header.more_fragments() && !payload.len().is_multiple_of(8) {
        return Err(Malformed::Header);
    }
    //= rfc1858#4
    //= rfc3128#1
    match offset {
        0 => Ok(Fragment::First),
        1 if header.protocol() == Protocol::TCP => Err(Malformed::TinyFragment),
        _ => Ok(Fragment::Later),
    }
}

/// What a transport header that is cut off means in a first fragment.
//= rfc1858#3
#[cold]
fn as_tiny(malformed: Malformed) -> Malformed {
    match malformed {
        Malformed::Truncated => Malformed::TinyFragment,
        other => other,
    }
}

/// The header at the start of `bytes`, and what follows it.
#[inline]
fn view<T>(bytes: &[u8]) -> Result<(&T, &[u8]), Malformed>
where
    T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    T::ref_from_prefix(bytes).map_err(|_| Malformed::Truncated)
}

#[cfg(test)]
mod tests;
