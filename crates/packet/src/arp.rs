//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use crate::ethernet::LinkHeader;
use crate::{Frame, MacAddress, NoRoom, Parsed, VlanId};

/// What an ARP packet asks or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender address is at the sender MAC.
    Reply,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// The sender's MAC.
    pub sender_mac: MacAddress,
    /// The sender's address; 0.0.0.0 in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// The target's MAC; zero in a request.
    pub target_mac: MacAddress,
    /// The target's address; the sender's own in a gratuitous announcement.
    pub target: Ipv4Addr,
}

/// Reads an ARP packet; `None` for other hardware or protocols, other operations, or a truncated one.
pub fn read(bytes: &[u8], parsed: &Parsed) -> Option<Arp> {
    let _ = (bytes, parsed);
    todo!()
}

/// Makes `frame`, whatever it held, into an ARP packet, padded to 60 bytes.
///
/// # Errors
/// [`NoRoom`] where the frame's buffer is too small.
pub fn write(frame: &mut impl Frame, link: LinkHeader, arp: &Arp) -> Result<(), NoRoom> {
    let _ = (frame, link, arp);
    todo!()
}

/// A broadcast request for `target`, from `sender_mac` and `sender`. A gratuitous announcement asks for its own address.
///
/// # Errors
/// [`NoRoom`] where the frame's buffer is too small.
pub fn write_request(
    frame: &mut impl Frame,
    vlan: Option<VlanId>,
    sender_mac: MacAddress,
    sender: Ipv4Addr,
    target: Ipv4Addr,
) -> Result<(), NoRoom> {
    let _ = (frame, vlan, sender_mac, sender, target);
    todo!()
}
