//! How long a session may stay silent, and what counts as its voice.

use flowtable::SlotIndex;
use packet::Protocol;
use rules::compiled::RouterRules;

use crate::flow::Flow;
use crate::state::State;
use crate::tcp::Phase;
use crate::time;

/// The phase of a session that begins.
pub(crate) fn first_phase(protocol: Protocol) -> Phase {
    match protocol {
        Protocol::TCP => Phase::TcpOpening,
        Protocol::UDP => Phase::UdpInitial,
        Protocol::ICMP => Phase::IcmpQuery,
        _ => Phase::Other,
    }
}

/// How long a session in this phase may stay silent, by its flow as its internal realm sends it.
pub(crate) fn timeout_ms(phase: Phase, flow: &Flow, router: &RouterRules) -> u32 {
    let timeouts = &router.timeouts;
    let by_port = || {
        //= rfc4787#REQ-5a
        let (protocol, port) = (flow.protocol(), flow.destination().port);
        router.timeouts_by_port.iter().find(|one| one.protocol == protocol && one.ports.contains(port))
    };
    match phase {
        Phase::TcpOpening => by_port().map_or(timeouts.tcp_syn, |one| one.initial),
        Phase::TcpEstablished => by_port().map_or(timeouts.tcp_established, |one| one.established),
        Phase::TcpClosing => timeouts.tcp_fin,
        Phase::TcpTimeWait => timeouts.tcp_time_wait,
        Phase::TcpReset => timeouts.tcp_rst,
        Phase::UdpInitial => by_port().map_or(timeouts.udp_initial, |one| one.initial),
        Phase::UdpStream => by_port().map_or(timeouts.udp_stream, |one| one.established),
        Phase::IcmpQuery => timeouts.icmp,
        Phase::Other => timeouts.other,
    }
}

impl State {
    /// When a session was last heard, as far as that keeps it alive. What comes from outside does not where nobody inside
    /// has sent by it, nor do datagrams where the rules say so.
    //= rfc4787#REQ-6
    //= rfc7857#7
    pub(crate) fn last_heard_ms(&self, slot: SlotIndex, router: &RouterRules) -> u32 {
        let [outbound, inbound] = self.last_seen_ms(slot);
        let is_refreshed = self.phase(slot) != Phase::UdpStream || router.udp_inbound_refresh;
        let counts_inbound = is_refreshed && self.has_spoken(slot);
        if counts_inbound && time::has_come(outbound, inbound) { inbound } else { outbound }
    }

    /// When a session ends if nothing more is heard of it.
    pub(crate) fn end_ms(&self, slot: SlotIndex, router: &RouterRules) -> u32 {
        let [internal, _] = self.keys(slot);
        let timeout_ms = timeout_ms(self.phase(slot), &internal, router);
        self.last_heard_ms(slot, router).wrapping_add(timeout_ms)
    }
}
