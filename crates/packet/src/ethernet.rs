//! Ethernet headers, with at most one 802.1Q tag.
//!
//! A gateway never edits a link header: each frame it sends gets a new one, made from where it goes ([`LinkHeader`]).
//! A tag written here carries priority 0, so a tenant's choice of priority ends at the gateway.

use core::{fmt, str::FromStr};

use zerocopy::{FromBytes, IntoBytes};

use crate::wire::{self, ether_type};
use crate::{Frame, NoRoom};

/// Length of an untagged Ethernet header, in bytes.
pub const HEADER_LENGTH: usize = 14;
/// Length of an Ethernet header with one 802.1Q tag, in bytes.
pub const TAGGED_HEADER_LENGTH: usize = 18;
/// The shortest frame an Ethernet carries, without the frame check sequence, in bytes (IEEE 802.3). Drivers pad what
/// is shorter; what we write ourselves is padded here, because not every driver does.
pub const FRAME_LENGTH_MIN: usize = 60;

/// A 48-bit MAC address, in wire order.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

/// The 48 bits of a MAC address as a number, to be compared at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MacNumber(u64);

impl MacNumber {
    /// That to which a frame is addressed that begins with these bytes.
    #[inline]
    pub(crate) const fn of_frame(first: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(first) >> 16)
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<MacAddress> for MacNumber {
    fn from(MacAddress([a, b, c, d, e, f]): MacAddress) -> Self {
        Self(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }
}

/// An 802.1Q VLAN identifier, 1 to 4094.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(u16);

impl MacAddress {
    /// ff:ff:ff:ff:ff:ff
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// True for a group address: multicast or broadcast.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        let [first, ..] = self.0;
        first & 0x01 != 0
    }
}

impl From<[u8; 6]> for MacAddress {
    fn from(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

impl From<MacAddress> for [u8; 6] {
    fn from(address: MacAddress) -> Self {
        address.0
    }
}

/// A text that is no MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseMacAddressError {
    /// Not six groups between colons.
    #[error("a MAC address has six groups of two hexadecimal digits, separated by colons")]
    Groups,
    /// A group that is not two hexadecimal digits.
    #[error("group {group} of the MAC address is not two hexadecimal digits")]
    Digits {
        /// Which group, counted from 1.
        group: u8,
    },
}

/// Reads `02:00:00:ab:cd:ef`, in either case.
impl FromStr for MacAddress {
    type Err = ParseMacAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut groups = text.split(':');
        let mut address = [0; 6];
        for (byte, group) in address.iter_mut().zip(1..) {
            let digits = groups.next().ok_or(ParseMacAddressError::Groups)?;
            // `from_str_radix` alone would take "+1" too.
            if digits.len() != 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(ParseMacAddressError::Digits { group });
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_| ParseMacAddressError::Digits { group })?;
        }
        if groups.next().is_some() { Err(ParseMacAddressError::Groups) } else { Ok(Self(address)) }
    }
}

impl VlanId {
    /// The identifier, or `None` outside 1 to 4094.
    pub const fn new(vid: u16) -> Option<Self> {
        if vid >= 1 && vid <= 4094 { Some(Self(vid)) } else { None }
    }

    /// The identifier as a number, 1 to 4094.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Source and destination, and the VLAN, of a frame that is about to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHeader {
    /// Where the frame goes.
    pub destination: MacAddress,
    /// Which of our interfaces it leaves from.
    pub source: MacAddress,
    /// The tag it carries, if any.
    pub vlan: Option<VlanId>,
}

impl LinkHeader {
    /// How long the header is on the wire, in bytes: 14 or 18.
    #[inline]
    pub const fn length(self) -> usize {
        if self.vlan.is_some() { TAGGED_HEADER_LENGTH } else { HEADER_LENGTH }
    }

    /// Writes the header to the start of `bytes`, which are at least [`length`](Self::length) long; shorter ones are
    /// left alone.
    #[inline]
    pub(crate) fn write(self, bytes: &mut [u8], carried: u16) {
        let Ok((ethernet, rest)) = wire::Ethernet::mut_from_prefix(bytes) else { return };
        ethernet.destination = self.destination.0;
        ethernet.source = self.source.0;
        match self.vlan {
            None => ethernet.ether_type.set(carried),
            Some(vlan) => {
                ethernet.ether_type.set(ether_type::VLAN);
                let tag = wire::Tag { control: vlan.get().into(), ether_type: carried.into() };
                // Cannot fail: the caller made room for the tag.
                let _ = tag.write_to_prefix(rest);
            }
        }
    }
}

/// The destination of a frame; all zero for bytes too short to be one, which [`crate::Parsed::read`] refuses.
#[inline]
pub fn destination(bytes: &[u8]) -> MacAddress {
    wire::Ethernet::ref_from_prefix(bytes)
        .map_or(MacAddress::default(), |(ethernet, _)| MacAddress(ethernet.destination))
}

/// The source of a frame; all zero for bytes too short to be one, which [`crate::Parsed::read`] refuses.
#[inline]
pub fn source(bytes: &[u8]) -> MacAddress {
    wire::Ethernet::ref_from_prefix(bytes)
        .map_or(MacAddress::default(), |(ethernet, _)| MacAddress(ethernet.source))
}

/// All of the header of an IPv4 frame but to whom it goes, as it stands: for a way that many frames leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTail {
    /// Of a tagged header; of an untagged one the last four are not written.
    bytes: [u8; TAGGED_HEADER_LENGTH - size_of::<MacAddress>()],
    length: u8,
}

impl LinkTail {
    /// Of frames from `source` under this tag.
    pub fn new(source: MacAddress, vlan: Option<VlanId>) -> Self {
        let link = LinkHeader { destination: MacAddress::default(), source, vlan };
        let mut header = [0; TAGGED_HEADER_LENGTH];
        link.write(&mut header, ether_type::IPV4);
        let [_, _, _, _, _, _, bytes @ ..] = header;
        // 14 or 18.
        Self { bytes, length: link.length() as u8 }
    }

    /// How long the header is on the wire, in bytes: 14 or 18.
    #[inline]
    pub fn length(&self) -> usize {
        usize::from(self.length)
    }

    /// Replaces the Ethernet header of an IPv4 frame, `header_length` bytes long so far, as [`replace_header`] does, and returns
    /// the frame's bytes.
    ///
    /// # Errors
    /// [`NoRoom`] where a tag has to be added and the headroom is used up; the frame is unchanged.
    #[inline]
    pub fn replace<'a>(
        &self,
        frame: &'a mut impl Frame,
        header_length: usize,
        MacAddress(destination): MacAddress,
    ) -> Result<&'a mut [u8], NoRoom> {
        if self.length() != header_length {
            resize_header(frame, header_length, self.length())?;
        }
        let bytes = frame.bytes_mut();
        if let Some((to, rest)) = bytes.split_first_chunk_mut()
            && let Some((both, rest)) = rest.split_first_chunk_mut::<8>()
        {
            *to = destination;
            let [first @ .., a, b, c, d] = self.bytes;
            *both = first;
            if self.length() == TAGGED_HEADER_LENGTH
                && let Some(tag) = rest.first_chunk_mut()
            {
                *tag = [a, b, c, d];
            }
        }
        Ok(bytes)
    }
}

/// Adds a tag's room in front, or takes it away.
fn resize_header(frame: &mut impl Frame, header_length: usize, length: usize) -> Result<(), NoRoom> {
    if length > header_length {
        frame.grow_front(length - header_length)?;
    } else if length < header_length {
        frame.shrink_front(header_length - length);
    }
    Ok(())
}

/// Replaces the Ethernet header of an IPv4 frame, `header_length` bytes long so far
/// ([`network_offset`](crate::Parsed::network_offset)), adding or removing the tag as needed.
///
/// Removing a tag may leave a frame shorter than [`FRAME_LENGTH_MIN`]; the driver pads it.
///
/// # Errors
/// [`NoRoom`] where a tag has to be added and the headroom is used up; the frame is unchanged.
#[inline]
pub fn replace_header(
    frame: &mut impl Frame,
    header_length: usize,
    header: LinkHeader,
) -> Result<(), NoRoom> {
    let length = header.length();
    debug_assert!(header_length <= frame.bytes().len(), "a header longer than its frame");
    resize_header(frame, header_length, length)?;
    header.write(frame.bytes_mut(), ether_type::IPV4);
    Ok(())
}

#[cfg(test)]
mod tests;
