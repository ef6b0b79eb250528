//! What the gateway itself answers: echo requests to its own addresses, ICMP errors about packets it refuses, and resets.

use std::net::Ipv4Addr;

use packet::ethernet::{self, LinkHeader};
use packet::reset::Reset;
use packet::rewrite::{TransportChecksum, judge_transport_checksum};
use packet::{Frame, NoRoom, PacketIo, Parsed, PortIndex, icmp};
use rules::compiled::InterfaceIndex;

use crate::DropReason;
use crate::gateway::Gateway;
use crate::lane::Lane;

impl<F: Frame> Gateway<F> {
    /// Turns an echo request into its reply and sends it back.
    pub(crate) fn reply_to_echo<I: PacketIo<Frame = F>>(&mut self, mut lane: Lane<F>, io: &mut I) {
        let link = answer_link(lane.frame.bytes(), &lane.parsed);
        if icmp::make_echo_reply(lane.frame.bytes_mut(), &lane.parsed) {
            self.send(lane.port, lane, link, io);
        } else {
            self.discard(&lane.tickets, DropReason::Malformed);
        }
    }

    /// Drops a packet and, where one may be sent, tells its source why, from the interface by which it came.
    pub(crate) fn refuse<I: PacketIo<Frame = F>>(
        &mut self,
        reason: DropReason,
        error: icmp::Error,
        lane: Lane<F>,
        io: &mut I,
    ) {
        self.discard(&lane.tickets, reason);
        let Some(interface) = lane.entry.interface else { return };
        self.tell(error, lane.port, interface, lane.frame.bytes(), &lane.parsed, io);
    }

    /// Sends an ICMP error about a packet that came by an interface, where one may be sent.
    pub(crate) fn tell<I: PacketIo<Frame = F>>(
        &mut self,
        error: icmp::Error,
        port: PortIndex,
        interface: InterfaceIndex,
        about: &[u8],
        parsed: &Parsed,
        io: &mut I,
    ) {
        let Some(source) = self.own_address(interface, parsed.source) else { return };
        let is_our_own = ethernet::source(about) == ethernet::destination(about);
        if is_our_own || !icmp::may_answer(about, parsed) {
            return;
        }
        //= rfc5508#REQ-9
        if !self.rules.interfaces[interface.0 as usize].icmp_errors {
            self.counters().errors_suppressed.add(1);
            return;
        }
        //= rfc1812#4.3.2.8
        if !self.error_budget.take(interface) {
            self.counters().errors_limited.add(1);
            return;
        }
        let link = answer_link(about, parsed);
        self.originate(port, io, |frame| icmp::write_error(frame, link, source, error, about, parsed));
    }

    /// Drops a segment of no connection and answers it by a reset, as its receiver would. One with a wrong checksum would have
    /// no answer there either.
    pub(crate) fn reset<I: PacketIo<Frame = F>>(&mut self, reason: DropReason, lane: &Lane<F>, io: &mut I) {
        self.discard(&lane.tickets, reason);
        let about = lane.frame.bytes();
        let reset = lane.entry.interface.zip(Reset::answering(&lane.parsed));
        let Some((interface, reset)) = reset else { return };
        if judge_transport_checksum(about, &lane.parsed) != TransportChecksum::Good {
            return;
        }
        if !self.error_budget.take(interface) {
            self.counters().errors_limited.add(1);
            return;
        }
        let link = answer_link(about, &lane.parsed);
        self.originate(lane.port, io, |frame| reset.write(frame, link));
    }

    /// Makes a frame of our own and sends it.
    pub(crate) fn originate<I: PacketIo<Frame = F>>(
        &mut self,
        port: PortIndex,
        io: &mut I,
        write: impl FnOnce(&mut F) -> Result<(), NoRoom>,
    ) {
        if let Some(frame) = self.make(io, write) {
            io.send(port, frame);
        }
    }

    /// Makes a frame of our own, if there is a buffer for it.
    pub(crate) fn make<I: PacketIo<Frame = F>>(
        &mut self,
        io: &mut I,
        write: impl FnOnce(&mut F) -> Result<(), NoRoom>,
    ) -> Option<F> {
        let made = io.allocate().and_then(|mut frame| write(&mut frame).is_ok().then_some(frame));
        let counters = self.counters();
        let counter = if made.is_some() { &counters.originated } else { &counters.unmade };
        counter.add(1);
        made
    }

    /// The address we speak with to `source`: of the interface by which it came, on its subnet where there is one (RFC 1812
    /// section 4.3.2.4).
    fn own_address(&self, interface: InterfaceIndex, source: Ipv4Addr) -> Option<Ipv4Addr> {
        let interface = &self.rules.interfaces[interface.0 as usize];
        let own = interface.addresses.iter().find(|own| own.contains(&source));
        own.or(interface.addresses.first()).map(|own| own.addr())
    }
}

/// Back to where a frame came from.
fn answer_link(bytes: &[u8], parsed: &Parsed) -> LinkHeader {
    LinkHeader {
        destination: ethernet::source(bytes),
        source: ethernet::destination(bytes),
        vlan: parsed.vlan,
    }
}
