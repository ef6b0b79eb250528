//! ARP on both sides: answers for our addresses, questions about next hops, announcements of what is ours.

use std::net::Ipv4Addr;
use std::sync::Arc;

use flowtable::SlotIndex;
use packet::ethernet::LinkHeader;
use packet::{Frame, MacAddress, Moment, PacketIo, Protocol, arp};
use rules::compiled::{NextHop, Realm, SegmentIndex};

use crate::DropReason;
use crate::flow::{Endpoint, Flow};
use crate::gateway::Gateway;
use crate::lane::Lane;

impl<F: Frame> Gateway<F> {
    /// Hears an ARP packet: answers a request for an address of ours, learns from what is meant for us (RFC 826).
    /// Returns the neighbour that is known now.
    ///
    /// One that teaches something goes to the owner of what it teaches, who then answers it too.
    pub(crate) fn hear_arp<I: PacketIo<Frame = F>>(
        &mut self,
        mut lane: Lane<F>,
        now: Moment,
        io: &mut I,
    ) -> Option<SlotIndex> {
        let Some(heard) = arp::read(lane.frame.bytes(), &lane.parsed) else {
            self.discard(&lane.tickets, DropReason::ArpNotForUs);
            return None;
        };
        let rules = Arc::clone(&self.rules);
        let segment = &rules.segments[lane.entry.segment.0 as usize];
        let ours = segment.addresses.get(&heard.target);
        let is_teacher = !heard.sender.is_unspecified()
            && !heard.sender_mac.is_multicast()
            && !segment.addresses.contains_key(&heard.sender);
        // A stranger to the subnet is answered, but takes no room in the table.
        let is_near = ours.is_some_and(|ours| {
            let interface = &rules.interfaces[ours.interface.0 as usize];
            interface.addresses.iter().any(|own| own.contains(&heard.sender))
        });
        let shard = self.state.shard_of_host(segment.realm, heard.sender);
        let mut learnt = None;
        if is_teacher && (is_near || self.neighbours.has(shard, segment.realm, heard.sender)) {
            if !self.neighbours.owns(shard) {
                // What one neighbour says of itself keeps its order.
                let sender = Endpoint { address: heard.sender, port: 0 };
                lane.flow = Flow::new(segment.realm, Protocol(0), sender, sender);
                self.hand_off(lane, self.state.worker_of(shard));
                return None;
            }
            let now_ms = now.ms() as u32;
            learnt = self.neighbours.learn(shard, segment.realm, heard.sender, heard.sender_mac, now_ms);
        }
        match (heard.operation, ours) {
            (arp::Operation::Request, Some(address)) => {
                let mac = rules.interfaces[address.interface.0 as usize].mac;
                self.answer_arp(lane, &reply_to(&heard, mac), io);
            }
            _ if learnt.is_some() => {
                self.counters().consumed.add(1);
                self.outbox.finish(&lane.tickets);
            }
            _ => self.discard(&lane.tickets, DropReason::ArpNotForUs),
        }
        learnt
    }

    fn answer_arp<I: PacketIo<Frame = F>>(&mut self, mut lane: Lane<F>, reply: &arp::Arp, io: &mut I) {
        let link =
            LinkHeader { destination: reply.target_mac, source: reply.sender_mac, vlan: lane.parsed.vlan };
        match arp::write(&mut lane.frame, link, reply) {
            Ok(()) => {
                io.send(lane.port, lane.frame);
                self.outbox.finish(&lane.tickets);
            }
            Err(_) => self.discard(&lane.tickets, DropReason::NoHeadroom),
        }
    }

    /// Asks who has a next hop's address.
    pub(crate) fn ask<I: PacketIo<Frame = F>>(&mut self, next_hop: NextHop, io: &mut I) {
        let interface = &self.rules.interfaces[next_hop.interface.0 as usize];
        let own = interface.addresses.iter().find(|own| own.contains(&next_hop.address));
        let Some(own) = own.or(interface.addresses.first()).map(|own| own.addr()) else { return };
        let egress = self.egress(next_hop.interface);
        self.originate(egress.port, io, |frame| {
            arp::write_request(frame, egress.vlan, egress.mac, own, next_hop.address)
        });
    }

    /// Asks again who has an address on a network, by an interface of ours that is in its subnet, if one still is.
    pub(crate) fn ask_again<I: PacketIo<Frame = F>>(&mut self, realm: Realm, address: Ipv4Addr, io: &mut I) {
        let rules = &self.rules;
        let segment = rules.segment_of_realm(realm);
        let segment = segment.and_then(|segment| rules.segments.get(segment.0 as usize));
        if let Some(interface) = segment.and_then(|segment| segment.nearest_to(address)) {
            self.ask(NextHop { interface, address }, io);
        }
    }

    /// Tells a network where an address of ours is (gratuitous ARP, RFC 5227 section 3).
    pub(crate) fn announce<I: PacketIo<Frame = F>>(
        &mut self,
        segment: SegmentIndex,
        address: Ipv4Addr,
        io: &mut I,
    ) {
        let Some(ours) = self.rules.segments[segment.0 as usize].addresses.get(&address) else { return };
        let egress = self.egress(ours.interface);
        self.originate(egress.port, io, |frame| {
            arp::write_request(frame, egress.vlan, egress.mac, address, address)
        });
    }
}

/// The answer to a request: the address asked for is at `mac`.
fn reply_to(request: &arp::Arp, mac: MacAddress) -> arp::Arp {
    arp::Arp {
        operation: arp::Operation::Reply,
        sender_mac: mac,
        sender: request.target,
        target_mac: request.sender_mac,
        target: request.sender,
    }
}
