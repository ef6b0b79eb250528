//! Packets from a tenant: to a neighbour network, to us, or out, and what the external network sees of them.

use packet::{Parsed, Protocol, icmp, tcp};
use rules::compiled::{
    AddressRules, GatewayRules, IdleReset, InterfaceIndex, InterfaceRules, NextHop, PoolIndex, RouterRules,
};

use crate::flow::{Endpoint, Flow};
use crate::judge::{
    Case, Judge, check_error_is_whole, check_ports_are_known, check_translatable, is_echo_request,
    is_icmp_error, may_travel,
};
use crate::mappings::Foresight;
use crate::sessions::OUTBOUND;
use crate::shard::Terms;
use crate::tcp::is_opening;
use crate::verdict::{Change, Passage, SessionLine, Verdict};
use crate::{DropReason, forwarding};

impl Judge<'_> {
    /// From a tenant: to a neighbour network, to us, or out.
    pub(crate) fn judge_internal(
        &mut self,
        case: &Case,
        index: InterfaceIndex,
        interface: &InterfaceRules,
    ) -> Result<Verdict, Verdict> {
        let Parsed { source, destination, .. } = *case.parsed;
        let router = &self.rules.routers[interface.router.0 as usize];
        if interface.is_no_hosts(source) || !router.is_source_of(source, index) {
            return Err(DropReason::SpoofedSource.into());
        }
        if destination.is_multicast() || destination.is_broadcast() {
            return Err(DropReason::Multicast.into());
        }
        let next_hop = router
            .route(destination)
            .ok_or(Verdict::Refuse(DropReason::NoRoute, icmp::Error::NetUnreachable))?;
        let egress = &self.rules.interfaces[next_hop.interface.0 as usize];
        // A subnet's own broadcast address, and the one that was it once (RFC 2644, RFC 1812 section 5.3.5).
        if next_hop.address == destination && egress.is_edge(destination) {
            return Err(DropReason::Multicast.into());
        }
        let segment = &self.rules.segments[egress.segment.0 as usize];
        let ours = segment.addresses.get(&destination);
        if ours.is_some_and(|address| !address.forwardings.is_empty()) {
            check_ports_are_known(case)?;
        }
        if let Some(address) = ours
            && address.local
            && (is_echo_request(case.parsed)
                || (address.pool.is_none() && forwarding::inward(self.rules, address, &case.flow).is_none()))
        {
            return Ok(local(case.parsed));
        }
        may_travel(case.parsed)?;
        match router.gateway_by(next_hop.interface) {
            Some(gateway) if egress.external => self.outbound(case, interface, gateway, next_hop, ours),
            _ => self.routed(case, next_hop),
        }
    }

    /// From a tenant to the external network: translated, or allowed not to be.
    fn outbound(
        &mut self,
        case: &Case,
        interface: &InterfaceRules,
        gateway: &GatewayRules,
        next_hop: NextHop,
        ours: Option<&AddressRules>,
    ) -> Result<Verdict, Verdict> {
        let router = &self.rules.routers[interface.router.0 as usize];
        if is_icmp_error(case.parsed) {
            return self.outbound_error(case, router, gateway, next_hop, ours);
        }
        let (outside, out_by) = self.translate_out(case, interface, gateway)?;
        let Some(address) = ours else {
            let change = Change::Packet(case.flow.rewrite_to(&outside));
            return Ok(Verdict::Forward(Passage { change, next_hop, sessions: [out_by, None] }));
        };
        // Hairpinning (RFC 4787 REQ-9): to an address of ours, as the external network would see it, and in again.
        let (inside, next_hop, in_by) = self.translate_in(case, &outside, address, None, None)?;
        let change = Change::Packet(case.flow.rewrite_to(&inside));
        Ok(Verdict::Forward(Passage { change, next_hop, sessions: [out_by, in_by] }))
    }

    /// What the external network sees of a packet from inside, and the session that says so.
    fn translate_out(
        &mut self,
        case: &Case,
        interface: &InterfaceRules,
        gateway: &GatewayRules,
    ) -> Result<(Flow, Option<SessionLine>), Verdict> {
        let router = &self.rules.routers[interface.router.0 as usize];
        let flow = &case.flow;
        let Endpoint { address, port } = flow.source();
        if router.is_no_nat(flow.destination().address) {
            self.check_checksum(case)?;
            return Ok((flow.with_source(flow.source(), gateway.realm), None));
        }
        if !gateway.forwardings_by_internal.is_empty() {
            check_ports_are_known(case)?;
        }
        // A forwarding is for one port of the host, so it goes before the floating IP.
        if let Some(floating) = gateway.floating_by_internal.get(&address)
            && forwarding::outward(self.rules, gateway, flow).is_none()
        {
            check_error_is_whole(case.parsed)?;
            self.check_checksum(case)?;
            let external = self.rules.floating_ips[floating.0 as usize].external;
            return Ok((flow.with_source(Endpoint { address: external, port }, gateway.realm), None));
        }
        let pool = gateway.pool.filter(|_| interface.snat);
        if pool.is_none() && gateway.forwardings_by_internal.is_empty() {
            return Err(NO_TRANSLATION);
        }
        check_translatable(case)?;
        let shard = case.shard.unwrap_or_else(|| self.state.shard_of_host(flow.realm(), address));
        let line = match self.session(shard, flow, case.line)? {
            Some(line) if !(is_opening(case.parsed) && self.state.is_reopened_by(line, case.parsed)) => line,
            ended => {
                check_opens(case.parsed, router)?;
                self.check_checksum(case)?;
                let (rules, counters, now_ms) = (self.rules, self.counters, self.now_ms);
                let terms = Terms { rules, router, counters, now_ms };
                let by = match (forwarding::outward(rules, gateway, flow), pool) {
                    (Some(external), _) => By::Forwarding(external),
                    (None, Some(pool)) => By::Pool(pool),
                    (None, None) => return Err(NO_TRANSLATION),
                };
                let owner = self.owner(shard)?;
                if let Some(line) = ended {
                    owner.close_line(line, counters, now_ms);
                }
                let opened = match by {
                    By::Forwarding(external) => {
                        let keys = [*flow, flow.with_source(external, gateway.realm).reversed()];
                        owner.open_forwarded(keys, OUTBOUND, &terms)
                    }
                    By::Pool(pool) => owner.open_outbound(flow, pool, &Foresight::default(), &terms),
                };
                opened.map_err(refuse_without_room)?
            }
        };
        let by = SessionLine { line, router: interface.router };
        Ok((self.state.translated(line), Some(by)))
    }
}

/// By what a flow that begins is translated.
enum By {
    Forwarding(Endpoint),
    Pool(PoolIndex),
}

/// What never leaves untranslated is refused.
const NO_TRANSLATION: Verdict =
    Verdict::Refuse(DropReason::NoTranslation, icmp::Error::AdministrativelyProhibited);

/// A packet to one of our own addresses.
pub(crate) fn local(parsed: &Parsed) -> Verdict {
    if is_echo_request(parsed) { Verdict::EchoReply } else { Verdict::Drop(DropReason::LocalUnhandled) }
}

/// Whether a packet from inside may be the first of a session.
fn check_opens(parsed: &Parsed, router: &RouterRules) -> Result<(), Verdict> {
    match parsed.protocol {
        // A connection may be picked up in its middle, after a move from another gateway; a reset ends one and begins none.
        Protocol::TCP if router.tcp.loose && parsed.tcp_flags & tcp::RST == 0 => Ok(()),
        Protocol::TCP if !is_opening(parsed) => Err(not_of_a_connection(router)),
        Protocol::ICMP if !icmp::is_request(parsed.icmp_type) => Err(DropReason::NoMapping.into()),
        _ => Ok(()),
    }
}

/// What becomes of a segment that belongs to no connection and opens none: perhaps that was idle for too long.
pub(crate) fn not_of_a_connection(router: &RouterRules) -> Verdict {
    match router.tcp.idle_reset {
        IdleReset::None => Verdict::Drop(DropReason::NotSyn),
        // A connection is known to be gone by both sides, or one has not got its reset.
        IdleReset::OnNextSegment | IdleReset::BothNow => Verdict::Reset(DropReason::NotSyn),
    }
}

/// Where there is no room for its session, a packet's source is told.
fn refuse_without_room(reason: DropReason) -> Verdict {
    match reason {
        //= rfc6888#REQ-11
        DropReason::PortExhausted
        | DropReason::PortSearchCut
        | DropReason::HostPortQuota
        | DropReason::RemoteTaken
        | DropReason::TableFull
        | DropReason::ShardFull
        | DropReason::HostTableFull
        | DropReason::MappingTableFull => Verdict::Refuse(reason, icmp::Error::HostUnreachable),
        reason => Verdict::Drop(reason),
    }
}
