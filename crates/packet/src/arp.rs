//! ARP for IPv4 over Ethernet (RFC 826).
//!
//! Only what two IPv4 hosts on an Ethernet say to each other. Who answers whom, and what is remembered, is decided
//! elsewhere.

use core::net::Ipv4Addr;

use zerocopy::{FromBytes, IntoBytes};

use crate::ethernet::{FRAME_LENGTH_MIN, LinkHeader};
use crate::wire::{self, ether_type};
use crate::{Frame, MacAddress, NoRoom, Parsed, Payload, VlanId};

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

/// Hardware type: Ethernet.
const ETHERNET: u16 = 1;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// Reads an ARP packet; `None` for other hardware or protocols, other operations, or a truncated one.
pub fn read(bytes: &[u8], parsed: &Parsed) -> Option<Arp> {
    if parsed.payload != Payload::Arp {
        return None;
    }
    let packet = bytes.get(usize::from(parsed.network_offset)..)?;
    let (packet, _) = wire::Arp::ref_from_prefix(packet).ok()?;
    let hardware = (packet.hardware.get(), packet.hardware_length);
    let protocol = (packet.protocol.get(), packet.protocol_length);
    if hardware != (ETHERNET, 6) || protocol != (ether_type::IPV4, 4) {
        return None;
    }
    let operation = match packet.operation.get() {
        REQUEST => Operation::Request,
        REPLY => Operation::Reply,
        _ => return None,
    };
    Some(Arp {
        operation,
        sender_mac: MacAddress(packet.sender_mac),
        sender: packet.sender.into(),
        target_mac: MacAddress(packet.target_mac),
        target: packet.target.into(),
    })
}

/// Makes `frame`, whatever it held, into an ARP packet, padded to 60 bytes.
///
/// # Errors
/// [`NoRoom`] where the frame's buffer is too small; the frame is unchanged.
pub fn write(frame: &mut impl Frame, link: LinkHeader, arp: &Arp) -> Result<(), NoRoom> {
    frame.resize(FRAME_LENGTH_MIN)?;
    let bytes = frame.bytes_mut();
    // The padding must not carry what the buffer held before: another tenant's packet.
    bytes.fill(0);
    link.write(bytes, ether_type::ARP);
    let packet = wire::Arp {
        hardware: ETHERNET.into(),
        protocol: ether_type::IPV4.into(),
        hardware_length: 6,
        protocol_length: 4,
        operation: match arp.operation {
            Operation::Request => REQUEST,
            Operation::Reply => REPLY,
        }
        .into(),
        sender_mac: arp.sender_mac.0,
        sender: arp.sender.octets(),
        target_mac: arp.target_mac.0,
        target: arp.target.octets(),
    };
    let place = bytes.get_mut(link.length()..).ok_or(NoRoom)?;
    packet.write_to_prefix(place).map_err(|_| NoRoom)
}

/// A broadcast request for `target`, from `sender_mac` and `sender`. A gratuitous announcement asks for its own address.
///
/// # Errors
/// [`NoRoom`] where the frame's buffer is too small; the frame is unchanged.
pub fn write_request(
    frame: &mut impl Frame,
    vlan: Option<VlanId>,
    sender_mac: MacAddress,
    sender: Ipv4Addr,
    target: Ipv4Addr,
) -> Result<(), NoRoom> {
    let link = LinkHeader { destination: MacAddress::BROADCAST, source: sender_mac, vlan };
    let target_mac = MacAddress::default();
    write(frame, link, &Arp { operation: Operation::Request, sender_mac, sender, target_mac, target })
}

#[cfg(test)]
mod tests;
