//! What every frame that leaves the gateway has to be, and where it goes.
//!
//! - Its checksums are right, unless a link damaged it before.
//! - It is one that came in, with nothing else changed than a translation changes, as often as it came in.
//! - It is on the network of a tenant who may see it, and sent to the MAC of the host that has its address.
//! - Nothing leaves with a private address.
//! - A segment reaches a client only from whom it spoke with; an answer reaches who asked, from whom was asked.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use packet::PortIndex;

use super::links::Event;
use super::node::INSIDE;
use super::plan::{self, ISP, ON_THE_WAY, OUTSIDE_CLIENT, STRANGER, mac_of};
use super::queries::How;
use super::wire::{self, ICMP, Kind, Link, Packet, TCP, UDP};
use super::{Failure, World};

/// Frames that went in, by what a gateway must leave as it is, and how often each has not come out.
#[derive(Default)]
pub(crate) struct Transit {
    inside: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    /// Damaged ones, which may come out damaged.
    pub(crate) damaged: u64,
}

/// For keys that are hashes.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = wire::hash(bytes, self.0);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

impl Transit {
    /// A frame goes in.
    pub(crate) fn enter(&mut self, frame: &[u8]) {
        match wire::read(frame) {
            Some(packet) if packet.is_right => {
                *self.inside.entry(wire::digest(frame, &packet)).or_default() += 1;
            }
            Some(_) => self.damaged += 1,
            None => {}
        }
    }

    /// A frame comes out; whether it is one that went in.
    fn leave(&mut self, digest: u64) -> bool {
        match self.inside.get_mut(&digest) {
            Some(0) | None => false,
            Some(count) => {
                *count -= 1;
                true
            }
        }
    }

    /// Nothing is inside: whatever did not come out never will.
    pub(crate) fn forget(&mut self) {
        self.inside.clear();
        self.damaged = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.inside.len()
    }
}

impl World {
    /// A frame came out of the gateway.
    pub(crate) fn hear(&mut self, PortIndex(port): PortIndex, frame: Vec<u8>) -> Result<(), Failure> {
        self.trace = wire::hash(&frame, self.trace ^ self.now_ms << 8 ^ u64::from(port));
        let (ether_type, vlan) = wire::ether_type(&frame);
        if ether_type == 0x0806 {
            if self.traces {
                self.say(format_args!("vlan {vlan} ARP {frame:02x?}"));
            }
            if let Some(asked) = wire::arp_asked(&frame) {
                let answer = wire::arp_answer(&frame, mac_of(vlan, asked));
                let after_ms = 1 + self.random.below(20) as u64;
                self.queue.push(self.now_ms + after_ms, Event::ToGateway(port, answer));
            }
            return Ok(());
        }
        let Some(packet) = wire::read(&frame) else {
            return self.fail(format!("a frame came out that cannot be read: {frame:02x?}"));
        };
        if !packet.is_right {
            if self.transit.damaged == 0 {
                return self.fail(format!("wrong checksum: {packet:?} {frame:02x?}"));
            }
            self.transit.damaged -= 1;
            return Ok(());
        }
        if !packet.is_error() && !self.transit.leave(wire::digest(&frame, &packet)) {
            return self.fail(format!("this never came in: {packet:?} {frame:02x?}"));
        }
        if port == INSIDE { self.hear_inside(&packet, frame) } else { self.hear_outside(&packet, frame) }
    }

    fn hear_inside(&mut self, packet: &Packet, frame: Vec<u8>) -> Result<(), Failure> {
        let Some(tenant) = plan::tenant_of(packet.vlan) else {
            return self.fail(format!("to nobody's network: {packet:?}"));
        };
        let (to, is_client) = (packet.destination, packet.destination.0.octets()[3] < 50);
        if to.0.octets()[..3] != [10, 0, 0] || packet.to != mac_of(packet.vlan, to.0) {
            return self.fail(format!("to nobody: {packet:?}"));
        }
        let payload = packet.payload(&frame);
        if packet.is_error() {
            return self.hear_error(tenant, packet, &frame);
        }
        match wire::tenants(payload) {
            Some(0) if is_client => {
                return self.fail(format!("a stranger's came in: {packet:?} {payload:02x?}"));
            }
            Some(tenants) if tenants != 0 && tenants >> tenant & 1 == 0 => {
                return self.fail(format!("another tenant's, at {tenant}: {packet:?} {payload:02x?}"));
            }
            _ => {}
        }
        let host = self.host_at(Some(tenant), to.0);
        if packet.protocol == TCP {
            let Some(host) = host else { return self.fail(format!("a segment to nobody: {packet:?}")) };
            if is_client && !self.hosts[host].has_asked(to.1, packet.source) {
                return self
                    .fail(format!("a segment that no connection of tenant {tenant}'s is for: {packet:?}"));
            }
            self.deliver(host, frame);
        } else if is_client {
            self.hear_answer(Some(tenant), packet, &frame)?;
        } else if let Some(host) = host {
            self.deliver(host, frame);
        }
        Ok(())
    }

    /// An ICMP error reaches an inside host: it is about something that host sent, as it sent it.
    fn hear_error(&mut self, tenant: usize, packet: &Packet, frame: &[u8]) -> Result<(), Failure> {
        let quote = packet.payload(frame);
        if quote.len() < 28 || quote[12..16] != packet.destination.0.octets() {
            return self.fail(format!("an error about another's: {packet:?} {quote:02x?}"));
        }
        let transport =
            if quote[9] == TCP { quote.get(32).map_or(20, |words| usize::from(words >> 4) * 4) } else { 8 };
        let payload = quote.get(20 + transport..).unwrap_or_default();
        if wire::tenants(payload).is_some_and(|tenants| tenants != 0 && tenants >> tenant & 1 == 0)
            && !self.may_be_damaged(quote)
        {
            return self.fail(format!("an error about another tenant's: {packet:?} {quote:02x?}"));
        }
        if packet.kind == 11
            && quote[9] == UDP
            && let Some((kind, flow)) = wire::flow(payload)
            && kind == Kind::Trace as u8
            && !self.may_be_damaged(quote)
            && let Some(query) = self.queries.get(flow)
        {
            let from = if query.how == How::Trace(1) { plan::host(1) } else { ON_THE_WAY };
            if query.tenant != Some(tenant) || packet.source.0 != from {
                let what = format!("{query:?} was complained about by {packet:?}");
                return self.fail(what);
            }
            let heard = query.hear(packet.source, quote);
            return heard.or_else(|what| self.fail(what));
        }
        Ok(())
    }

    /// Whether what an error quotes was damaged before it was quoted.
    fn may_be_damaged(&self, quote: &[u8]) -> bool {
        let mut frame = vec![0; 14];
        Link { to: [0; 6], from: [0; 6], vlan: 0 }.write(&mut frame, 0x0800);
        frame.extend_from_slice(quote);
        self.bad_weather_ms + 60_000 > self.now_ms
            && !wire::read(&frame).is_some_and(|packet| packet.is_right)
    }

    /// A datagram or an echo reaches somebody who only asks.
    fn hear_answer(&mut self, tenant: Option<usize>, packet: &Packet, frame: &[u8]) -> Result<(), Failure> {
        let asker = packet.destination;
        let Some((_, flow)) = wire::flow(packet.payload(frame)) else { return Ok(()) };
        let Some(query) = self.queries.get(flow) else { return Ok(()) };
        let is_reply = packet.protocol == UDP || packet.kind == 0;
        if (query.tenant, query.from) != (tenant, asker) || !is_reply {
            let what = format!("what came of {query:?} reached tenant {tenant:?}: {packet:?}");
            return self.fail(what);
        }
        let heard = query.hear(packet.source, packet.bytes(frame));
        heard.or_else(|what| self.fail(what))
    }

    fn hear_outside(&mut self, packet: &Packet, frame: Vec<u8>) -> Result<(), Failure> {
        let (from, to) = (packet.source.0, packet.destination.0);
        let is_near = to.octets()[..3] == [203, 0, 113];
        if from.octets()[..3] != [203, 0, 113] {
            return self.fail(format!("untranslated: {packet:?}"));
        }
        if packet.to != mac_of(0, if is_near { to } else { ISP }) {
            return self.fail(format!("to a wrong next hop: {packet:?}"));
        }
        if packet.is_error() {
            return Ok(());
        }
        let payload = packet.payload(&frame);
        if wire::tenants(payload) == Some(0) && to != STRANGER {
            return self.fail(format!("a liar's left: {packet:?}"));
        }
        if packet.protocol == UDP && frame[packet.at[0] + 8] == 1 {
            let link = Link { to: [0; 6], from: mac_of(0, ISP), vlan: 0 };
            let error = wire::icmp(11, 0, [0, 0], packet.bytes(&frame));
            self.send_outside(wire::ipv4(link, ICMP, ON_THE_WAY, from, 60, &error));
            return Ok(());
        }
        self.stranger.see(&frame);
        if to == OUTSIDE_CLIENT && packet.protocol != TCP {
            return self.hear_answer(None, packet, &frame);
        }
        let Some(host) = self.host_at(None, to) else { return Ok(()) };
        if to == OUTSIDE_CLIENT && !self.hosts[host].has_asked(packet.destination.1, packet.source) {
            return self.fail(format!("a segment that no connection is for: {packet:?}"));
        }
        self.deliver(host, frame);
        Ok(())
    }
}
