//! The judgement of one packet: from its entry, the rules and the sessions to a [`Verdict`]. Changes no bytes.

use std::net::Ipv4Addr;

use flowtable::LineIndex;
use packet::rewrite::{TransportChecksum, judge_transport_checksum};
use packet::{Fragment, Parsed, Protocol, icmp};
use rules::RuleSet;
use rules::compiled::{AddressRules, GatewayRules, InterfaceIndex, InterfaceRules, NextHop, RouterRules};

use crate::DropReason;
use crate::classify::Entry;
use crate::counters::Counters;
use crate::flow::{Endpoint, Flow};
use crate::sessions::Sessions;
use crate::tcp;
use crate::verdict::{Change, Verdict};

/// A packet to be judged, and what the stages before have found out about it.
pub(crate) struct Case<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) parsed: &'a Parsed,
    pub(crate) entry: Entry,
    /// What the burst's look-up found.
    pub(crate) line: Option<LineIndex>,
    /// It was judged before, and has waited for a neighbour since.
    pub(crate) is_again: bool,
    /// The port's neighbours may leave checksums to an offload that never runs: judge them.
    pub(crate) checks_checksums: bool,
}

/// What a judgement draws on.
pub(crate) struct Judge<'a> {
    pub(crate) rules: &'a RuleSet,
    pub(crate) sessions: &'a mut Sessions,
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
        match router.gateway {
            Some(gateway) if egress.external => {
                self.outbound(case, router, interface, gateway, next_hop, ours)
            }
            _ => self.routed(case, next_hop),
        }
    }

    /// From a tenant to the external network: translated, or allowed not to be.
    fn outbound(
        &mut self,
        case: &Case,
        router: &RouterRules,
        interface: &InterfaceRules,
        gateway: GatewayRules,
        next_hop: NextHop,
        ours: Option<&AddressRules>,
    ) -> Result<Verdict, Verdict> {
        if is_icmp_error(case.parsed) {
            return self.outbound_error(case, router, gateway, next_hop, ours);
        }
        let flow = Flow::of(case.parsed, router.realm);
        let outside = self.translate_out(case, &flow, router, interface, gateway)?;
        let Some(address) = ours else {
            return Ok(Verdict::Forward(Change::Packet(flow.rewrite_to(&outside)), next_hop));
        };
        // Hairpinning (RFC 4787 REQ-9): to an address of ours, as the external network would see it, and in again.
        let (inside, next_hop) = self.translate_in(case, &outside, address, None)?;
        Ok(Verdict::Forward(Change::Packet(flow.rewrite_to(&inside)), next_hop))
    }

    /// What the external network sees of `flow`, which is in the router's realm.
    fn translate_out(
        &mut self,
        case: &Case,
        flow: &Flow,
        router: &RouterRules,
        interface: &InterfaceRules,
        gateway: GatewayRules,
    ) -> Result<Flow, Verdict> {
        let Endpoint { address, port } = flow.source();
        if router.is_no_nat(flow.destination().address) {
            self.check_checksum(case)?;
            return Ok(flow.with_source(flow.source(), gateway.realm));
        }
        if let Some(floating) = router.floating_by_internal.get(&address) {
            self.check_checksum(case)?;
            let external = self.rules.floating_ips[floating.0 as usize].external;
            return Ok(flow.with_source(Endpoint { address: external, port }, gateway.realm));
        }
        if !interface.snat || gateway.pool.is_none() {
            return Err(Verdict::Refuse(DropReason::NoTranslation, icmp::Error::AdministrativelyProhibited));
        }
        check_translatable(case.parsed)?;
        let line = match self.session(flow, case.line) {
            Some(line) if !(is_opening(case.parsed) && self.sessions.is_over(line)) => line,
            ended => {
                if case.parsed.protocol == Protocol::TCP && !is_opening(case.parsed) {
                    return Err(DropReason::NotSyn.into());
                }
                if case.parsed.protocol == Protocol::ICMP && !is_echo_request(case.parsed) {
                    return Err(DropReason::NoMapping.into());
                }
                self.check_checksum(case)?;
                if let Some(line) = ended {
                    self.sessions.close_line(line, self.counters, self.now_ms);
                }
                self.sessions.open_outbound(flow, router, self.rules, self.counters, self.now_ms).map_err(
                    |reason| match reason {
                        DropReason::PortExhausted | DropReason::TableFull => {
                            Verdict::Refuse(reason, icmp::Error::HostUnreachable)
                        }
                        reason => reason.into(),
                    },
                )?
            }
        };
        self.sessions.touch(line, case, &router.timeouts, self.now_ms);
        Ok(self.sessions.translated(line))
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
        let flow = Flow::of(case.parsed, segment.realm);
        let (inside, next_hop) = self.translate_in(case, &flow, address, case.line)?;
        may_travel(case.parsed)?;
        Ok(Verdict::Forward(Change::Packet(flow.rewrite_to(&inside)), next_hop))
    }

    /// What the tenant sees of `flow`, which goes to one of our external addresses, and where the tenant is.
    fn translate_in(
        &mut self,
        case: &Case,
        flow: &Flow,
        address: &AddressRules,
        found: Option<LineIndex>,
    ) -> Result<(Flow, NextHop), Verdict> {
        if let Some(index) = address.floating {
            let floating = &self.rules.floating_ips[index.0 as usize];
            let router = &self.rules.routers[floating.router.0 as usize];
            self.check_checksum(case)?;
            let internal = Endpoint { address: floating.internal, port: flow.destination().port };
            return self.inside(flow.with_destination(internal, router.realm), router);
        }
        if address.pool.is_none() {
            return Err(DropReason::LocalUnhandled.into());
        }
        check_translatable(case.parsed)?;
        let line = self.session(flow, found);
        if line.is_none_or(|line| self.sessions.is_untouched(line)) {
            self.check_checksum(case)?;
        }
        let line = match line {
            Some(line) => line,
            None => self.sessions.open_inbound(flow, self.rules, self.counters, self.now_ms)?,
        };
        let inside = self.sessions.translated(line);
        let router = self.rules.router_of(inside.realm()).ok_or(DropReason::NoMapping)?;
        let router = &self.rules.routers[router.0 as usize];
        self.sessions.touch(line, case, &router.timeouts, self.now_ms);
        self.inside(inside, router)
    }

    /// A packet from the external network to an internal address, allowed where the way back is untranslated too.
    fn routed_in(&mut self, case: &Case, interface: &InterfaceRules) -> Result<Verdict, Verdict> {
        let router = &self.rules.routers[interface.router.0 as usize];
        if !router.is_no_nat(case.parsed.source) {
            return Err(DropReason::NotForUs.into());
        }
        let flow = Flow::of(case.parsed, router.realm);
        let (_, next_hop) = self.inside(flow, router).map_err(|_| DropReason::NotForUs)?;
        may_travel(case.parsed)?;
        self.routed(case, next_hop)
    }

    /// On to the next hop, untranslated.
    fn routed(&self, case: &Case, next_hop: NextHop) -> Result<Verdict, Verdict> {
        self.check_checksum(case)?;
        Ok(Verdict::Forward(Change::Packet(Default::default()), next_hop))
    }

    /// The way to an internal destination; never back out.
    pub(crate) fn inside(&self, flow: Flow, router: &RouterRules) -> Result<(Flow, NextHop), Verdict> {
        router
            .route(flow.destination().address)
            .filter(|next_hop| !self.rules.interfaces[next_hop.interface.0 as usize].external)
            .map(|next_hop| (flow, next_hop))
            .ok_or(Verdict::Drop(DropReason::NoRoute))
    }

    /// The flow's session, unless the rules no longer allow it.
    pub(crate) fn session(&mut self, flow: &Flow, found: Option<LineIndex>) -> Option<LineIndex> {
        let line = self.sessions.line(flow, found)?;
        self.sessions.holds(line, self.rules, self.counters, self.now_ms).then_some(line)
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

fn is_opening(parsed: &Parsed) -> bool {
    parsed.protocol == Protocol::TCP && tcp::is_opening(parsed.tcp_flags)
}

fn is_echo_request(parsed: &Parsed) -> bool {
    parsed.protocol == Protocol::ICMP
        && parsed.fragment == Fragment::Whole
        && parsed.icmp_type == icmp::kind::ECHO_REQUEST
}

fn is_icmp_error(parsed: &Parsed) -> bool {
    parsed.protocol == Protocol::ICMP
        && parsed.fragment == Fragment::Whole
        && icmp::is_error(parsed.icmp_type)
}
