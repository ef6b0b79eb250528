//! The judgement of one packet: from its entry, the rules and the sessions to a [`Verdict`]. Changes no bytes.
//!
//! Every gateway reads every session; what opens or closes one is asked of its shard's owner by [`Judge::owner`], whose `?`
//! ends the judgement where another gateway is that: it judges anew. So a judgement changes nothing before it has all the
//! owners it needs for a step, and what an earlier step has opened is found there.

use std::net::Ipv4Addr;

use flowtable::{LineIndex, ShardIndex};
use packet::rewrite::{TransportChecksum, judge_transport_checksum};
use packet::{Fragment, Parsed, Protocol, icmp};
use rules::RuleSet;
use rules::compiled::{AddressRules, GatewayRules, InterfaceIndex, InterfaceRules, NextHop, RouterRules};

use crate::DropReason;
use crate::classify::Entry;
use crate::counters::Counters;
use crate::flow::{Endpoint, Flow};
use crate::shard::Shard;
use crate::shards::Shards;
use crate::state::State;
use crate::tcp;
use crate::verdict::{Change, Passage, SessionLine, Verdict};

/// A packet to be judged, and what the stages before have found out about it.
pub(crate) struct Case<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) parsed: &'a Parsed,
    pub(crate) entry: Entry,
    /// The flow as it was received.
    pub(crate) flow: Flow,
    /// Where the burst's look-up has looked for its session.
    pub(crate) shard: Option<ShardIndex>,
    /// What it found there.
    pub(crate) line: Option<LineIndex>,
    /// The port's neighbours may leave checksums to an offload that never runs: judge them.
    pub(crate) checks_checksums: bool,
}

/// What a judgement draws on.
pub(crate) struct Judge<'a> {
    pub(crate) rules: &'a RuleSet,
    pub(crate) state: &'a State,
    pub(crate) shards: &'a mut Shards,
    pub(crate) counters: &'a Counters,
    pub(crate) now_ms: u32,
}

impl Judge<'_> {
    /// Judges one IPv4 packet.
    pub(crate) fn judge(&mut self, case: &Case) -> Verdict {
        let rules = self.rules;
        let Some(index) = case.entry.interface else { return Verdict::Drop(DropReason::Multicast) };
        let interface = &rules.interfaces[index.0 as usize];
        let Parsed { source, destination, .. } = *case.parsed;
        if source.is_link_local() || destination.is_link_local() {
            return Verdict::Drop(DropReason::LinkLocal);
        }
        if !is_single_host(source) {
            return Verdict::Drop(DropReason::SpoofedSource);
        }
        let verdict = if interface.external {
            self.judge_external(case, interface)
        } else {
            self.judge_internal(case, index, interface)
        };
        verdict.unwrap_or_else(|verdict| verdict)
    }

    /// From a tenant: to a neighbour network, to us, or out.
    fn judge_internal(
        &mut self,
        case: &Case,
        index: InterfaceIndex,
        interface: &InterfaceRules,
    ) -> Result<Verdict, Verdict> {
        let Parsed { source, destination, .. } = *case.parsed;
        let router = &self.rules.routers[interface.router.0 as usize];
        let is_own = interface.addresses.iter().any(|own| own.addr() == source);
        if is_own || !router.is_source_of(source, index) {
            return Err(DropReason::SpoofedSource.into());
        }
        if destination.is_multicast() || destination.is_broadcast() {
            return Err(DropReason::Multicast.into());
        }
        let next_hop = router
            .route(destination)
            .ok_or(Verdict::Refuse(DropReason::NoRoute, icmp::Error::NetUnreachable))?;
        let egress = &self.rules.interfaces[next_hop.interface.0 as usize];
        let segment = &self.rules.segments[egress.segment.0 as usize];
        let ours = segment.addresses.get(&destination);
        if let Some(address) = ours
            && address.local
            && (address.pool.is_none() || is_echo_request(case.parsed))
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
        if let Some(floating) = gateway.floating_by_internal.get(&address) {
            self.check_checksum(case)?;
            let external = self.rules.floating_ips[floating.0 as usize].external;
            return Ok((flow.with_source(Endpoint { address: external, port }, gateway.realm), None));
        }
        if !interface.snat || gateway.pool.is_none() {
            return Err(Verdict::Refuse(DropReason::NoTranslation, icmp::Error::AdministrativelyProhibited));
        }
        check_translatable(case.parsed)?;
        let shard = case.shard.unwrap_or_else(|| self.state.shard_of_host(flow.realm(), address));
        let line = match self.session(shard, flow, case.line)? {
            Some(line) if !(is_opening(case.parsed) && self.state.is_over(line)) => line,
            ended => {
                check_opens(case.parsed)?;
                self.check_checksum(case)?;
                let (rules, counters, now_ms) = (self.rules, self.counters, self.now_ms);
                let owner = self.owner(shard)?;
                if let Some(line) = ended {
                    owner.close_line(line, counters, now_ms);
                }
                owner
                    .open_outbound(flow, router, gateway, rules, counters, now_ms)
                    .map_err(refuse_without_room)?
            }
        };
        let by = SessionLine { line, router: interface.router };
        Ok((self.state.translated(line), Some(by)))
    }

    /// From the external network: to a floating IP, to a session, to us, or routed in without translation.
    fn judge_external(&mut self, case: &Case, interface: &InterfaceRules) -> Result<Verdict, Verdict> {
        let segment = &self.rules.segments[case.entry.segment.0 as usize];
        let Some(address) = segment.addresses.get(&case.parsed.destination) else {
            return self.routed_in(case, interface);
        };
        if address.local && is_echo_request(case.parsed) {
            return Ok(Verdict::EchoReply);
        }
        if is_icmp_error(case.parsed) {
            return self.inbound_error(case, address);
        }
        let (inside, next_hop, in_by) =
            self.translate_in(case, &case.flow, address, case.shard, case.line)?;
        may_travel(case.parsed)?;
        let change = Change::Packet(case.flow.rewrite_to(&inside));
        Ok(Verdict::Forward(Passage { change, next_hop, sessions: [None, in_by] }))
    }

    /// What the tenant sees of `flow`, which goes to one of our external addresses, where the tenant is, and the session
    /// that says so. `shard` and `found` are of the burst's look-up, where it was for this flow.
    fn translate_in(
        &mut self,
        case: &Case,
        flow: &Flow,
        address: &AddressRules,
        shard: Option<ShardIndex>,
        found: Option<LineIndex>,
    ) -> Result<(Flow, NextHop, Option<SessionLine>), Verdict> {
        if let Some(index) = address.floating {
            let floating = &self.rules.floating_ips[index.0 as usize];
            let router = &self.rules.routers[floating.router.0 as usize];
            self.check_checksum(case)?;
            let internal = Endpoint { address: floating.internal, port: flow.destination().port };
            let inside = flow.with_destination(internal, router.realm);
            return Ok((inside, self.next_hop_inside(&inside, router)?, None));
        }
        let ports = address.ports.ok_or(DropReason::LocalUnhandled)?;
        check_translatable(case.parsed)?;
        let shard =
            shard.or_else(|| self.state.shard_of_port(ports, flow.protocol(), flow.destination().port));
        let line = match shard {
            Some(shard) => self.session(shard, flow, found)?,
            None => None,
        };
        if line.is_none_or(|line| self.state.is_untouched(line)) {
            self.check_checksum(case)?;
        }
        let line = match (line, shard) {
            (Some(line), _) => line,
            // From outside only a datagram opens a session, where its port is a mapping's.
            (None, Some(shard)) if flow.protocol() == Protocol::UDP => {
                let (rules, counters, now_ms) = (self.rules, self.counters, self.now_ms);
                self.owner(shard)?.open_inbound(flow, rules, counters, now_ms)?
            }
            _ => return Err(DropReason::NoMapping.into()),
        };
        let inside = self.state.translated(line);
        let index = self.rules.router_of(inside.realm()).ok_or(DropReason::NoMapping)?;
        let next_hop = self.next_hop_inside(&inside, &self.rules.routers[index.0 as usize])?;
        Ok((inside, next_hop, Some(SessionLine { line, router: index })))
    }

    /// A packet from the external network to an internal address, allowed where the way back is untranslated too.
    fn routed_in(&mut self, case: &Case, interface: &InterfaceRules) -> Result<Verdict, Verdict> {
        let router = &self.rules.routers[interface.router.0 as usize];
        if !router.is_no_nat(case.parsed.source) {
            return Err(DropReason::NotForUs.into());
        }
        let flow = Flow::of(case.parsed, router.realm);
        let next_hop = self.next_hop_inside(&flow, router).map_err(|_| DropReason::NotForUs)?;
        may_travel(case.parsed)?;
        self.routed(case, next_hop)
    }

    /// On to the next hop, untranslated.
    fn routed(&self, case: &Case, next_hop: NextHop) -> Result<Verdict, Verdict> {
        self.check_checksum(case)?;
        Ok(Verdict::Forward(Passage::stateless(Change::Packet(Default::default()), next_hop)))
    }

    /// The way to an internal destination; never back out.
    pub(crate) fn next_hop_inside(&self, flow: &Flow, router: &RouterRules) -> Result<NextHop, Verdict> {
        router
            .route(flow.destination().address)
            .filter(|next_hop| !self.rules.interfaces[next_hop.interface.0 as usize].external)
            .ok_or(Verdict::Drop(DropReason::NoRoute))
    }

    /// The flow's session. Under other rules than it was last judged by it is judged again, here, whoever owns it; if they
    /// no longer allow it, its owner closes it.
    fn session(
        &mut self,
        shard: ShardIndex,
        flow: &Flow,
        found: Option<LineIndex>,
    ) -> Result<Option<LineIndex>, Verdict> {
        let Some(line) = self.state.line(shard, flow, found) else { return Ok(None) };
        if self.state.is_current(line, self.rules) {
            return Ok(Some(line));
        }
        let (rules, counters, now_ms) = (self.rules, self.counters, self.now_ms);
        if !self.state.stands(line, rules) {
            self.owner(shard)?.close_line(line, counters, now_ms);
            return Ok(None);
        }
        // Its time may have become shorter. Where that is another's to note, it is found when the longer one has come.
        let inside = [flow.realm(), self.state.translated(line).realm()];
        let router = inside.into_iter().find_map(|realm| rules.router_of(realm));
        if let (Some(router), Ok(owner)) = (router, self.owner(shard)) {
            owner.set_deadline(line, &rules.routers[router.0 as usize].timeouts, now_ms);
        }
        Ok(Some(line))
    }

    /// The owner's role for a shard, or the way to who has it.
    fn owner(&mut self, shard: ShardIndex) -> Result<&mut Shard, Verdict> {
        self.shards.get_mut(shard).ok_or(Verdict::HandOff(self.state.worker_of(shard)))
    }

    /// Refuses a packet whose checksum a neighbour on a virtual link has left to an offload that never runs: it would
    /// arrive wrong. Asked for the first packet of each direction of a session, and for every packet without one.
    fn check_checksum(&self, case: &Case) -> Result<(), DropReason> {
        if case.checks_checksums
            && case.parsed.fragment == Fragment::Whole
            && judge_transport_checksum(case.bytes, case.parsed) == TransportChecksum::Partial
        {
            return Err(DropReason::PartialChecksum);
        }
        Ok(())
    }
}

/// Whether an address can be a source: not "this network", loopback, multicast, class E or broadcast (RFC 1812 section
/// 5.3.7).
fn is_single_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}

/// A packet to one of our own addresses.
fn local(parsed: &Parsed) -> Verdict {
    if is_echo_request(parsed) { Verdict::EchoReply } else { Verdict::Drop(DropReason::LocalUnhandled) }
}

/// Whether the packet may go one hop further (RFC 1812 section 5.3.1).
pub(crate) fn may_travel(parsed: &Parsed) -> Result<(), Verdict> {
    if parsed.ttl <= 1 {
        return Err(Verdict::Refuse(DropReason::TtlExpired, icmp::Error::TtlExceeded));
    }
    Ok(())
}

/// Whether port translation covers the packet.
fn check_translatable(parsed: &Parsed) -> Result<(), DropReason> {
    match parsed.protocol {
        _ if parsed.fragment != Fragment::Whole => Err(DropReason::Fragment),
        Protocol::TCP | Protocol::UDP => Ok(()),
        Protocol::ICMP => match parsed.icmp_type {
            icmp::kind::ECHO_REQUEST | icmp::kind::ECHO_REPLY => Ok(()),
            _ => Err(DropReason::IcmpUnsupported),
        },
        _ => Err(DropReason::UnknownProtocol),
    }
}

/// Whether a packet from inside may be the first of a session.
fn check_opens(parsed: &Parsed) -> Result<(), DropReason> {
    match parsed.protocol {
        Protocol::TCP if !is_opening(parsed) => Err(DropReason::NotSyn),
        Protocol::ICMP if !is_echo_request(parsed) => Err(DropReason::NoMapping),
        _ => Ok(()),
    }
}

/// Where there is no room for its session, a packet's source is told.
fn refuse_without_room(reason: DropReason) -> Verdict {
    match reason {
        DropReason::PortExhausted | DropReason::TableFull | DropReason::ShardFull => {
            Verdict::Refuse(reason, icmp::Error::HostUnreachable)
        }
        reason => Verdict::Drop(reason),
    }
}

fn is_opening(parsed: &Parsed) -> bool {
    parsed.protocol == Protocol::TCP && tcp::is_opening(parsed.tcp_flags)
}

fn is_echo_request(parsed: &Parsed) -> bool {
    parsed.protocol == Protocol::ICMP
        && parsed.fragment == Fragment::Whole
        && parsed.icmp_type == icmp::kind::ECHO_REQUEST
}

pub(crate) fn is_icmp_error(parsed: &Parsed) -> bool {
    parsed.protocol == Protocol::ICMP
        && parsed.fragment == Fragment::Whole
        && icmp::is_error(parsed.icmp_type)
}
