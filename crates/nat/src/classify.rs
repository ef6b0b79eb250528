//! Where a frame entered: which network, which of our interfaces, and so which router and which side.

use std::net::Ipv4Addr;

use packet::ethernet;
use packet::{Malformed, Parsed, Payload, PortIndex};
use rules::RuleSet;
use rules::compiled::{AddressIndex, InterfaceIndex, Realm, SegmentIndex};

use crate::flow::Flow;
use crate::{DropReason, forwarding};

/// Where a frame entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) segment: SegmentIndex,
    /// The interface its destination MAC names; for a broadcast, `None`.
    pub(crate) interface: Option<InterfaceIndex>,
}

/// Reads where the frame entered by its port, VLAN and destination MAC.
pub(crate) fn classify(
    rules: &RuleSet,
    port: PortIndex,
    bytes: &[u8],
    parsed: &Parsed,
) -> Result<Entry, DropReason> {
    if parsed.payload == Payload::Other {
        return Err(DropReason::UnknownEthertype);
    }
    if rules.segments.is_empty() {
        return Err(DropReason::NoRules);
    }
    let segment = rules.segment_of(port, parsed.vlan).ok_or(DropReason::UnknownVlan)?;
    let destination = ethernet::destination(bytes);
    if destination.is_multicast() {
        return match parsed.payload {
            Payload::Arp => Ok(Entry { segment, interface: None }),
            _ => Err(DropReason::Multicast),
        };
    }
    let interfaces = &rules.segments[segment.0 as usize].interfaces;
    let interface = *interfaces.get(&destination).ok_or(DropReason::WrongMac)?;
    Ok(Entry { segment, interface: Some(interface) })
}

/// The realm in which a packet's addresses are meant: its router's, or its external network's.
pub(crate) fn realm_of(rules: &RuleSet, entry: Entry) -> Realm {
    let external = rules.segments[entry.segment.0 as usize].realm;
    let Some(interface) = entry.interface else { return external };
    let interface = &rules.interfaces[interface.0 as usize];
    if interface.external { external } else { rules.routers[interface.router.0 as usize].realm }
}

/// What tells the shard of the session that may decide about a packet.
pub(crate) enum Sought {
    /// Who sent it, or whom the rules forward it to: a host in its realm.
    Host(Realm, Ipv4Addr),
    /// From outside: the port it goes to.
    Port(AddressIndex),
}

/// Where to look for the session, if one may decide about this packet.
pub(crate) fn sought(rules: &RuleSet, entry: Entry, parsed: &Parsed, flow: &Flow) -> Option<Sought> {
    let interface = &rules.interfaces[entry.interface?.0 as usize];
    if parsed.payload != Payload::Ipv4 {
        return None;
    }
    if !interface.external {
        return Some(Sought::Host(flow.realm(), parsed.source));
    }
    let address = rules.segments[entry.segment.0 as usize].addresses.get(&parsed.destination)?;
    if let Some(forwarded) = forwarding::inward(rules, address, flow) {
        return Some(Sought::Host(forwarded.realm, forwarded.internal.address));
    }
    address.floating.is_none().then_some(address.ports).flatten().map(Sought::Port)
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::TinyFragment => Self::FragmentTiny,
            Malformed::Truncated | Malformed::Header | Malformed::HeaderChecksum => Self::Malformed,
        }
    }
}
