//! The headers as they lie on the wire (RFC 791, 768, 792, 9293), as views over a frame's bytes.
//!
//! Views, because a field then has a name instead of an offset, and one bounds check serves a whole header. The
//! multi-byte fields are big-endian types, so no field can be read or written in the wrong byte order. Nothing here
//! judges a value.

use core::net::Ipv4Addr;

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Protocol;

/// EtherTypes the path tells apart.
pub(crate) mod ether_type {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const VLAN: u16 = 0x8100;
}

/// An Ethernet header without its tag. A tag, if any, follows the type.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Ethernet {
    pub(crate) destination: [u8; 6],
    pub(crate) source: [u8; 6],
    pub(crate) ether_type: U16,
}

/// What follows the type 0x8100: the tag's contents, and the type of what is carried.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Tag {
    /// Priority (3 bits), drop eligible (1 bit), VLAN identifier (12 bits).
    pub(crate) control: U16,
    pub(crate) ether_type: U16,
}

impl Tag {
    /// The VLAN identifier, 0 to 4095.
    #[inline]
    pub(crate) fn vlan(&self) -> u16 {
        self.control.get() & 0x0fff
    }
}

/// Length of an Ethernet header without its tag, in bytes.
pub(crate) const ETHERNET_LENGTH: u8 = size_of::<Ethernet>() as u8;
/// Length of a tag, in bytes.
pub(crate) const TAG_LENGTH: u8 = size_of::<Tag>() as u8;

/// An IPv4 header without its options.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Ipv4 {
    pub(crate) version_and_length: u8,
    pub(crate) type_of_service: u8,
    pub(crate) total_length: U16,
    pub(crate) identification: U16,
    pub(crate) flags_and_offset: U16,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) checksum: U16,
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
}

impl Ipv4 {
    /// The length of a header without options, in bytes.
    pub(crate) const LENGTH_MIN: usize = size_of::<Self>();
    pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
    pub(crate) const MORE_FRAGMENTS: u16 = 0x2000;
    /// The fragment offset, in units of eight bytes.
    pub(crate) const OFFSET_MASK: u16 = 0x1fff;

    #[inline]
    pub(crate) fn version(&self) -> u8 {
        self.version_and_length >> 4
    }

    /// The length the header claims, with options, in bytes: 0 to 60.
    #[inline]
    pub(crate) fn header_length(&self) -> usize {
        usize::from(self.version_and_length & 0x0f) * 4
    }

    #[inline]
    pub(crate) fn fragment_offset(&self) -> u16 {
        self.flags_and_offset.get() & Self::OFFSET_MASK
    }

    /// True for a first and for a later fragment: one test on the way of the packets that are neither.
    #[inline]
    pub(crate) fn is_fragment(&self) -> bool {
        self.flags_and_offset.get() & (Self::MORE_FRAGMENTS | Self::OFFSET_MASK) != 0
    }

    /// Whether other fragments of the datagram lie behind this one.
    #[inline]
    pub(crate) fn more_fragments(&self) -> bool {
        self.flags_and_offset.get() & Self::MORE_FRAGMENTS != 0
    }

    #[inline]
    pub(crate) fn dont_fragment(&self) -> bool {
        self.flags_and_offset.get() & Self::DONT_FRAGMENT != 0
    }

    #[inline]
    pub(crate) fn protocol(&self) -> Protocol {
        Protocol(self.protocol)
    }

    #[inline]
    pub(crate) fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.source)
    }

    #[inline]
    pub(crate) fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.destination)
    }

    /// The 16-bit word the checksum sees the TTL in.
    #[inline]
    pub(crate) fn ttl_word(&self) -> u16 {
        u16::from_be_bytes([self.ttl, self.protocol])
    }
}

/// The ports, where TCP, UDP, UDP-Lite and DCCP all have them: first.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Ports {
    pub(crate) source: U16,
    pub(crate) destination: U16,
}

/// A TCP header without its options.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Tcp {
    pub(crate) ports: Ports,
    pub(crate) sequence: [u8; 4],
    pub(crate) acknowledgement: [u8; 4],
    /// The header's length in 32-bit words, in the high half.
    pub(crate) data_offset: u8,
    pub(crate) flags: u8,
    pub(crate) window: U16,
    pub(crate) checksum: U16,
    pub(crate) urgent: U16,
}

impl Tcp {
    /// The length of a header without options, in bytes.
    pub(crate) const LENGTH_MIN: usize = size_of::<Self>();

    /// The length the header claims, with options, in bytes: 0 to 60.
    #[inline]
    pub(crate) fn header_length(&self) -> usize {
        usize::from(self.data_offset >> 4) * 4
    }
}

/// A UDP header.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Udp {
    pub(crate) ports: Ports,
    pub(crate) length: U16,
    pub(crate) checksum: U16,
}

/// An ICMP header. The last four bytes mean what the type says.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Icmp {
    pub(crate) icmp_type: u8,
    pub(crate) code: u8,
    pub(crate) checksum: U16,
    /// The identifier of an echo; the unused half, or RFC 4884's length, of an error.
    pub(crate) identifier: U16,
    /// The sequence number of an echo; the MTU of "fragmentation needed".
    pub(crate) sequence: U16,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Arp {
    pub(crate) hardware: U16,
    pub(crate) protocol: U16,
    pub(crate) hardware_length: u8,
    pub(crate) protocol_length: u8,
    pub(crate) operation: U16,
    pub(crate) sender_mac: [u8; 6],
    pub(crate) sender: [u8; 4],
    pub(crate) target_mac: [u8; 6],
    pub(crate) target: [u8; 4],
}

const _: () = assert!(size_of::<Ethernet>() == 14);
const _: () = assert!(size_of::<Tag>() == 4);
const _: () = assert!(size_of::<Ipv4>() == 20);
const _: () = assert!(size_of::<Tcp>() == 20);
const _: () = assert!(size_of::<Udp>() == 8);
const _: () = assert!(size_of::<Icmp>() == 8);
const _: () = assert!(size_of::<Arp>() == 28);
