//! A frame read once: what the packet path needs to know of it, copied out of the bytes.

use core::net::Ipv4Addr;

use crate::VlanId;

/// IP protocol numbers the path tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP
    pub const ICMP: Self = Self(1);
    /// TCP
    pub const TCP: Self = Self(6);
    /// UDP
    pub const UDP: Self = Self(17);
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
    /// Anything else.
    Other,
}

/// Why a frame could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than its headers say.
    #[error("truncated")]
    Truncated,
    /// An IPv4 header whose version, header length or total length cannot be.
    #[error("bad IPv4 header")]
    Header,
    /// The IPv4 header checksum is wrong.
    #[error("bad IPv4 header checksum")]
    HeaderChecksum,
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
    /// TCP and UDP source port; the identifier of an ICMP echo request or reply; else 0.
    pub source_port: u16,
    /// TCP and UDP destination port; the identifier of an ICMP echo request or reply; else 0.
    pub destination_port: u16,
    /// TCP flags byte (FIN 0x01, SYN 0x02, RST 0x04, ACK 0x10); else 0.
    pub tcp_flags: u8,
    /// ICMP type; else 0.
    pub icmp_type: u8,
    /// ICMP code; else 0.
    pub icmp_code: u8,
}

impl Parsed {
    /// Reads a frame.
    ///
    /// Checks the IPv4 version, lengths and header checksum, and that the transport header the protocol calls for
    /// (TCP 20 bytes, UDP 8, ICMP 8) lies within the packet, unless it is a later fragment.
    ///
    /// # Errors
    /// What is wrong with it; such a frame is dropped.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let _ = bytes;
        todo!()
    }
}
