//! The way out: a packet that may go on is changed, addressed to its next hop, and sent.

use flowtable::SlotIndex;
use packet::ethernet::{self, LinkHeader};
use packet::{Frame, MacAddress, Moment, PacketIo, PortIndex, VlanId, icmp, rewrite};
use rules::compiled::{InterfaceIndex, NextHop, Realm};

use crate::DropReason;
use crate::gateway::{Gateway, Lane};
use crate::neighbours::Resolution;
use crate::verdict::Change;

/// By which port, under which tag and MAC a frame leaves, and what its network takes.
pub(crate) struct Egress {
    pub(crate) port: PortIndex,
    pub(crate) vlan: Option<VlanId>,
    pub(crate) mac: MacAddress,
    /// The network's realm, of its neighbours.
    realm: Realm,
    mtu: u16,
}

impl<F: Frame> Gateway<F> {
    /// Sends a packet on, if it fits and its next hop is known; else it is refused, or held as it came.
    pub(crate) fn forward<I: PacketIo<Frame = F>>(
        &mut self,
        change: Change,
        next_hop: NextHop,
        mut lane: Lane<F>,
        now: Moment,
        io: &mut I,
    ) {
        let egress = self.egress(next_hop.interface);
        if lane.parsed.total_length > egress.mtu {
            return self.refuse_too_long(egress.mtu, &lane, io);
        }
        let destination = match self.neighbours.resolve(egress.realm, next_hop.address, now.ms() as u32) {
            Resolution::Known(mac) => mac,
            Resolution::Asking(slot) => return self.hold(lane, slot),
            Resolution::Ask(slot) => {
                self.ask(next_hop, io);
                return self.hold(lane, slot);
            }
            Resolution::Unreachable(reason) => {
                return self.refuse(reason, icmp::Error::HostUnreachable, &lane, io);
            }
        };
        match change {
            Change::Packet(rewrite) => rewrite::apply(lane.frame.bytes_mut(), &lane.parsed, rewrite),
            Change::Error { outer, quote, quoted } => {
                rewrite::apply_to_quote(lane.frame.bytes_mut(), &lane.parsed, &quote, quoted);
                rewrite::apply(lane.frame.bytes_mut(), &lane.parsed, outer);
            }
        }
        let link = LinkHeader { destination, source: egress.mac, vlan: egress.vlan };
        self.send(egress.port, lane, link, io);
    }

    /// Puts the link header on, and sends.
    pub(crate) fn send<I: PacketIo<Frame = F>>(
        &mut self,
        port: PortIndex,
        mut lane: Lane<F>,
        link: LinkHeader,
        io: &mut I,
    ) {
        let header_length = usize::from(lane.parsed.network_offset);
        match ethernet::replace_header(&mut lane.frame, header_length, link) {
            Ok(()) => io.send(port, lane.frame),
            Err(_) => self.counters.count_drop(DropReason::NoHeadroom),
        }
    }

    /// How frames leave by an interface.
    pub(crate) fn egress(&self, interface: InterfaceIndex) -> Egress {
        let interface = &self.rules.interfaces[interface.0 as usize];
        let segment = &self.rules.segments[interface.segment.0 as usize];
        Egress {
            port: segment.port,
            vlan: segment.vlan,
            mac: interface.mac,
            realm: segment.realm,
            mtu: segment.mtu,
        }
    }

    fn refuse_too_long<I: PacketIo<Frame = F>>(&mut self, mtu: u16, lane: &Lane<F>, io: &mut I) {
        if lane.parsed.dont_fragment {
            let error = icmp::Error::FragmentationNeeded { mtu };
            self.refuse(DropReason::MtuExceeded, error, lane, io);
        } else {
            self.counters.count_drop(DropReason::MtuExceeded);
        }
    }

    fn hold(&mut self, lane: Lane<F>, slot: SlotIndex) {
        match self.neighbours.hold(lane.frame, lane.port, slot) {
            Ok(()) => self.counters.held.add(1),
            Err(_) => self.counters.count_drop(DropReason::NeighbourQueueFull),
        }
    }
}
