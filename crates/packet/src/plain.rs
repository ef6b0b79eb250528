//! A plain packet, as nearly all are: read at a few fixed places, and changed there.
//!
//! Plain is: at most one tag; an IPv4 header without options, that is right; no fragment; a TTL to spend; TCP or UDP, with the
//! whole header there. [`Plain::read`] says of such a packet what [`Parsed`] would; of any other it says nothing, and does
//! not look why. [`Plain::replace`] does what [`rewrite::apply`] would.
//!
//! One check of the length serves for all places that are read after it: that is what makes it fast.
//!
//! [`Parsed`]: crate::Parsed
//! [`rewrite::apply`]: crate::rewrite::apply

use core::mem::offset_of;
use core::net::Ipv4Addr;

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::wire::{self, ether_type};
use crate::{MacNumber, Protocol, VlanId};

const LINK: usize = wire::ETHERNET_LENGTH as usize;
const TAGGED_LINK: usize = LINK + wire::TAG_LENGTH as usize;

/// The start of a frame: what follows the addresses is a tag or the packet already.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Link {
    destination: [u8; 6],
    source: [u8; 6],
    ether_type: U16,
    tag: U16,
    tagged_ether_type: U16,
}

/// An IPv4 header without options and the first eight bytes behind it: all of UDP's header, TCP's up to its sequence number.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    version_and_length: u8,
    service: u8,
    total_length: U16,
    identification: [u8; 2],
    flags_and_offset: U16,
    ttl: u8,
    protocol: u8,
    checksum: [u8; 2],
    source: [u8; 4],
    destination: [u8; 4],
    source_port: [u8; 2],
    destination_port: [u8; 2],
    udp_length: [u8; 2],
    udp_checksum: [u8; 2],
}

/// The same, and the rest of a TCP header without options.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TcpHead {
    head: Head,
    acknowledgement: [u8; 4],
    data_offset: u8,
    flags: u8,
    window: U16,
    checksum: [u8; 2],
    urgent: [u8; 2],
}

const _: () = {
    assert!(size_of::<Link>() == TAGGED_LINK && size_of::<Head>() == 28 && size_of::<TcpHead>() == 40);
    assert!(offset_of!(Head, source) == 12 && offset_of!(TcpHead, checksum) == 36);
};

/// What the path needs to know of a plain packet. See the file's page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plain {
    /// IPv4 source and destination: their bytes as they stand.
    pub addresses: u64,
    /// Source and destination port: their bytes as they stand.
    pub ports: u32,
    /// TCP acknowledgement number; else 0.
    pub tcp_acknowledgement: u32,
    /// The TCP window as it stands; else 0.
    pub tcp_window: u16,
    /// The IPv4 total length in bytes.
    pub total_length: u16,
    /// TCP flags byte; else 0.
    pub tcp_flags: u8,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The DF bit.
    pub dont_fragment: bool,
    /// Where the IPv4 header starts: 14 or 18.
    pub network_offset: u8,
}

/// How a plain packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// To whom the frame is addressed.
    pub mac: MacNumber,
    /// The 802.1Q tag; `None` for an untagged frame and for a priority tag (VLAN 0).
    pub vlan: Option<VlanId>,
}

/// What replaces the source, or the destination, of a plain packet: an address and a port, their bytes as they are to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEndpoint {
    /// The address.
    pub address: u32,
    /// The port.
    pub port: u16,
}

impl Plain {
    /// Reads a frame, if it is a plain packet.
    #[inline(always)]
    pub fn read(bytes: &[u8]) -> Option<(Self, Arrival)> {
        let mut plain = Self::default();
        let arrival = plain.read_here(bytes)?;
        Some((plain, arrival))
    }

    /// Reads a frame into this place, if it is a plain packet: what is read need not be moved. What is here of another frame is
    /// undefined. Always where it is called: the compiler knows more of the frame there.
    #[inline(always)]
    pub fn read_here(&mut self, bytes: &[u8]) -> Option<Arrival> {
        let (link, _) = Link::ref_from_prefix(bytes).ok()?;
        let is_tagged = link.ether_type.get() == ether_type::VLAN;
        let (network_offset, ether_type, tag) = match is_tagged {
            true => (TAGGED_LINK, link.tagged_ether_type.get(), link.tag.get() & 0x0fff),
            false => (LINK, link.ether_type.get(), 0),
        };
        let packet = bytes.get(network_offset..)?;
        let (head, _) = Head::ref_from_prefix(packet).ok()?;
        let (total_length, flags_and_offset) = (head.total_length.get(), head.flags_and_offset.get());
        // 4095 names no VLAN.
        let is_plain = ether_type == ether_type::IPV4
            && tag != 0x0fff
            && head.version_and_length == 0x45
            && flags_and_offset & (wire::Ipv4::MORE_FRAGMENTS | wire::Ipv4::OFFSET_MASK) == 0
            && head.ttl > 1
            && usize::from(total_length) <= packet.len()
            && usize::from(total_length) >= size_of::<Head>()
            && head.is_right();
        if !is_plain {
            return None;
        }
        *self = Self {
            addresses: zerocopy::transmute!([head.source, head.destination]),
            ports: zerocopy::transmute!([head.source_port, head.destination_port]),
            tcp_acknowledgement: 0,
            tcp_window: 0,
            total_length,
            tcp_flags: 0,
            protocol: Protocol(head.protocol),
            dont_fragment: flags_and_offset & wire::Ipv4::DONT_FRAGMENT != 0,
            network_offset: network_offset as u8,
        };
        let first = *link.as_bytes().first_chunk()?;
        let arrival = Arrival { mac: MacNumber::of_frame(first), vlan: VlanId::new(tag) };
        match Protocol(head.protocol) {
            Protocol::UDP => Some(arrival),
            Protocol::TCP => {
                let (tcp, _) = TcpHead::ref_from_prefix(packet).ok()?;
                let header_length = usize::from(tcp.data_offset >> 4) * 4;
                let is_there = header_length >= 20 && usize::from(total_length) >= 20 + header_length;
                self.tcp_flags = tcp.flags;
                self.tcp_window = tcp.window.get();
                self.tcp_acknowledgement = u32::from_be_bytes(tcp.acknowledgement);
                is_there.then_some(arrival)
            }
            _ => None,
        }
    }

    /// IPv4 source.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        let [a, b, c, d, ..] = self.addresses.to_ne_bytes();
        Ipv4Addr::new(a, b, c, d)
    }

    /// IPv4 destination.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        let [.., a, b, c, d] = self.addresses.to_ne_bytes();
        Ipv4Addr::new(a, b, c, d)
    }

    /// The source's port at another address.
    #[inline]
    pub fn source_at(&self, address: Ipv4Addr) -> NewEndpoint {
        let [port, _] = halves(self.ports);
        NewEndpoint { address: u32::from_ne_bytes(address.octets()), port }
    }

    /// The destination's port at another address.
    #[inline]
    pub fn destination_at(&self, address: Ipv4Addr) -> NewEndpoint {
        let [_, port] = halves(self.ports);
        NewEndpoint { address: u32::from_ne_bytes(address.octets()), port }
    }

    /// Gives the packet in `frame`, whose IPv4 header starts at `network_offset`, another source and, where there is one to
    /// give, another identification, and lowers its TTL by one; its checksums follow by difference.
    #[inline]
    pub fn replace_source(
        &self,
        frame: &mut [u8],
        network_offset: usize,
        new: NewEndpoint,
        identification: Option<u16>,
    ) {
        self.replace(frame, network_offset, |head| {
            let mut changed = Changed::of(head.source, head.source_port, new);
            head.source = new.address.to_ne_bytes();
            head.source_port = new.port.to_ne_bytes();
            if let Some(identification) = identification {
                let identification = identification.to_be();
                changed.header += change(u16::from_ne_bytes(head.identification), identification);
                head.identification = identification.to_ne_bytes();
            }
            changed
        });
    }

    /// Gives the packet in `frame`, whose IPv4 header starts at `network_offset`, another destination, and lowers its TTL by
    /// one; its checksums follow by difference.
    #[inline]
    pub fn replace_destination(&self, frame: &mut [u8], network_offset: usize, new: NewEndpoint) {
        self.replace(frame, network_offset, |head| {
            let changed = Changed::of(head.destination, head.destination_port, new);
            head.destination = new.address.to_ne_bytes();
            head.destination_port = new.port.to_ne_bytes();
            changed
        });
    }

    /// The sums are of the machine's own words, whichever way round those are (RFC 1071 section 2 B).
    #[inline]
    fn replace(&self, frame: &mut [u8], network_offset: usize, edit: impl FnOnce(&mut Head) -> Changed) {
        let Some(packet) = frame.get_mut(network_offset..) else { return };
        let Ok((head, _)) = Head::mut_from_prefix(packet) else { return };
        let changed = edit(head);
        head.ttl = head.ttl.wrapping_sub(1);
        head.checksum = after(u16::from_ne_bytes(head.checksum), changed.header + TTL_LOWERED).to_ne_bytes();
        if self.protocol == Protocol::UDP {
            let old = u16::from_ne_bytes(head.udp_checksum);
            // Zero says that there is no checksum, and none that comes out so is sent so (RFC 768).
            if old != 0 {
                let new = after(old, changed.transport);
                head.udp_checksum = if new == 0 { [0xff; 2] } else { new.to_ne_bytes() };
            }
        } else if let Ok((tcp, _)) = TcpHead::mut_from_prefix(packet) {
            tcp.checksum = after(u16::from_ne_bytes(tcp.checksum), changed.transport).to_ne_bytes();
        }
    }
}

/// What the checksums cover of a change: the sum of the words that were, inverted, and of those that are.
struct Changed {
    header: u32,
    transport: u32,
}

impl Changed {
    #[inline]
    fn of(address: [u8; 4], port: [u8; 2], new: NewEndpoint) -> Self {
        // Halves of the sum are sums of halves, with what the lower one carries.
        let both = u64::from(!u32::from_ne_bytes(address)) + u64::from(new.address);
        let header = (both & 0xffff) as u32 + (both >> 16) as u32;
        Self { header, transport: header + change(u16::from_ne_bytes(port), new.port) }
    }
}

/// The change of the word that begins with the TTL, one lower: of any word, because none borrows.
const TTL_LOWERED: u32 = 0xffff - u16::from_ne_bytes([1, 0]) as u32;

impl Head {
    /// Whether the header's checksum is.
    #[inline]
    fn is_right(&self) -> bool {
        let (words, _) = self.as_bytes().as_chunks::<8>();
        let &[first, second, ..] = words else { return false };
        let (first, second) = (u64::from_ne_bytes(first), u64::from_ne_bytes(second));
        let (sum, carry) = first.overflowing_add(second);
        // What is carried out of a word of any length goes back in (RFC 1071 section 2 C).
        let last = u64::from(u32::from_ne_bytes(self.destination)) + u64::from(carry);
        let (sum, carry) = sum.overflowing_add(last);
        // To fold it is to divide by this, and no header is all zero.
        (sum + u64::from(carry)).is_multiple_of(0xffff)
    }
}

#[inline]
fn change(old: u16, new: u16) -> u32 {
    u32::from(!old) + u32::from(new)
}

/// The checksum after a change (RFC 1624 equation 3).
//= https://www.rfc-editor.org/rfc/rfc1624#section-3
//# = ~(~HC + ~m + m')
#[inline]
fn after(checksum: u16, change: u32) -> u16 {
    let sum = u32::from(!checksum) + change;
    // Each half is added to the other, with what that carries: the upper one is the sum (RFC 1071 section 2).
    !(sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// What stands first and second in memory.
#[inline]
fn halves(both: u32) -> [u16; 2] {
    zerocopy::transmute!(both)
}

/// The source and destination, their bytes as they stand, of any IPv4 packet with one tag at most, right or wrong.
pub fn addresses(frame: &[u8]) -> Option<u64> {
    let (link, _) = Link::ref_from_prefix(frame).ok()?;
    let is_tagged = link.ether_type.get() == ether_type::VLAN;
    let packet = frame.get(if is_tagged { TAGGED_LINK } else { LINK }..)?;
    let header = packet.first_chunk::<20>().filter(|header| header[0] >> 4 == 4)?;
    header.last_chunk().map(|addresses| u64::from_ne_bytes(*addresses))
}

#[cfg(test)]
mod tests;
