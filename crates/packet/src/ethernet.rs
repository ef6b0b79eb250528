//! Ethernet headers, with at most one 802.1Q tag.

use core::fmt;

use crate::{Frame, NoRoom};

/// Length of an untagged Ethernet header, in bytes.
pub const HEADER_LENGTH: usize = 14;
/// Length of an Ethernet header with one 802.1Q tag, in bytes.
pub const TAGGED_HEADER_LENGTH: usize = 18;

/// A 48-bit MAC address, in wire order.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

/// An 802.1Q VLAN identifier, 1 to 4094.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(u16);

impl MacAddress {
    /// ff:ff:ff:ff:ff:ff
    pub const BROADCAST: Self = Self([0xff; 6]);
    // helper: is_multicast (group bit, incl. broadcast)
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

/// Replaces the Ethernet header of an IPv4 frame, `header_length` bytes long so far, adding or removing the tag as
/// needed.
///
/// # Errors
/// [`NoRoom`] where a tag has to be added and the headroom is used up.
pub fn replace_header(frame: &mut impl Frame, header_length: usize, header: LinkHeader) -> Result<(), NoRoom> {
    let _ = (frame, header_length, header);
    todo!()
}
