//! Where a frame entered: which network, which of our interfaces, and so which router and which side.

use packet::ethernet;
use packet::{Malformed, Parsed, Payload, PortIndex};
use rules::RuleSet;
use rules::compiled::{InterfaceIndex, SegmentIndex};

use crate::DropReason;
use crate::flow::Flow;

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

/// The flow to look up among the sessions, if a session may be what decides about this packet.
pub(crate) fn session_flow(rules: &RuleSet, entry: Entry, parsed: &Parsed) -> Option<Flow> {
    let interface = &rules.interfaces[entry.interface?.0 as usize];
    if parsed.payload != Payload::Ipv4 {
        return None;
    }
    if interface.external {
        let segment = &rules.segments[entry.segment.0 as usize];
        let address = segment.addresses.get(&parsed.destination)?;
        (address.floating.is_none()).then(|| Flow::of(parsed, segment.realm))
    } else {
        Some(Flow::of(parsed, rules.routers[interface.router.0 as usize].realm))
    }
}

impl From<Malformed> for DropReason {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
