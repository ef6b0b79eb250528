//! Packets from the external network: to a floating IP, to a session, to us, or routed in; and what the tenant sees of a
//! packet that goes to an external address of ours, wherever it comes from.

use flowtable::{LineIndex, ShardIndex};
use packet::{Parsed, Protocol, icmp};
use rules::compiled::{AddressRules, InterfaceRules, NextHop, RouterRules};

use crate::flow::{Endpoint, Flow};
use crate::forwarding::{self, Forwarded};
use crate::icmp_errors::readable_quote;
use crate::judge::{
    Case, Judge, check_error_is_whole, check_translatable, is_echo_request, is_icmp_error, may_travel,
};
use crate::outbound::{local, not_of_a_connection};
use crate::sessions::INBOUND;
use crate::shard::Terms;
use crate::tcp::is_opening;
use crate::verdict::{Change, Passage, SessionLine, Verdict};
use crate::{DropReason, unsolicited};

impl Judge<'_> {
    /// From the external network: to a floating IP, to a session, to us, or routed in without translation.
    pub(crate) fn judge_external(
        &mut self,
        case: &Case,
        interface: &InterfaceRules,
    ) -> Result<Verdict, Verdict> {
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
    pub(crate) fn translate_in(
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
            check_error_is_whole(case.parsed)?;
            self.check_checksum(case)?;
            let internal = Endpoint { address: floating.internal, port: flow.destination().port };
            let inside = flow.with_destination(internal, router.realm);
            return Ok((inside, self.next_hop_inside(&inside, router)?, None));
        }
        if address.ports.is_none() && address.forwardings.is_empty() {
            return Err(DropReason::LocalUnhandled.into());
        }
        check_translatable(case)?;
        if let Some(forwarded) = forwarding::inward(self.rules, address, flow) {
            return self.forward_in(case, flow, forwarded, shard, found);
        }
        let ports = address.ports.ok_or(DropReason::LocalUnhandled)?;
        let shard = shard.or_else(|| self.state.shard_of_port(ports, flow));
        let line = match shard {
            Some(shard) => self.session(shard, flow, found)?,
            None => None,
        };
        if line.is_none_or(|line| self.state.is_untouched(line)) {
            self.check_checksum(case)?;
        }
        let line = match (line, shard) {
            (Some(line), _) => Ok(line),
            (None, Some(shard)) if may_open(case.parsed) && self.state.is_mapped(ports, flow) => {
                let (rules, counters, now_ms) = (self.rules, self.counters, self.now_ms);
                self.owner(shard)?.open_inbound(flow, rules, counters, now_ms)
            }
            _ => Err(DropReason::NoMapping),
        };
        let line = line.map_err(|reason| self.keep_out(reason, case.parsed, flow, address))?;
        let inside = self.state.translated(line);
        let index = self.rules.router_of(inside.realm()).ok_or(DropReason::NoMapping)?;
        let next_hop = self.next_hop_inside(&inside, &self.rules.routers[index.0 as usize])?;
        Ok((inside, next_hop, Some(SessionLine { line, router: index })))
    }

    /// The same for a flow that the rules forward: anybody may open a session from outside.
    fn forward_in(
        &mut self,
        case: &Case,
        flow: &Flow,
        forwarded: Forwarded,
        shard: Option<ShardIndex>,
        found: Option<LineIndex>,
    ) -> Result<(Flow, NextHop, Option<SessionLine>), Verdict> {
        let router = &self.rules.routers[forwarded.router.0 as usize];
        let inside = flow.with_destination(forwarded.internal, forwarded.realm);
        let next_hop = self.next_hop_inside(&inside, router)?;
        let shard =
            shard.unwrap_or_else(|| self.state.shard_of_host(forwarded.realm, forwarded.internal.address));
        let line = match self.session(shard, flow, found)? {
            Some(line) if !(is_opening(case.parsed) && self.state.is_reopened_by(line, case.parsed)) => line,
            ended => {
                if case.parsed.protocol == Protocol::TCP && !is_opening(case.parsed) {
                    return Err(not_of_a_connection(router));
                }
                self.check_checksum(case)?;
                let (rules, counters, now_ms) = (self.rules, self.counters, self.now_ms);
                let owner = self.owner(shard)?;
                if let Some(line) = ended {
                    owner.close_line(line, counters, now_ms);
                }
                let keys = [inside.reversed(), *flow];
                owner.open_forwarded(keys, INBOUND, &Terms { rules, router, counters, now_ms })?
            }
        };
        if self.state.is_untouched(line) {
            self.check_checksum(case)?;
        }
        Ok((inside, next_hop, Some(SessionLine { line, router: forwarded.router })))
    }

    /// What becomes of a packet that no session lets in.
    fn keep_out(&self, reason: DropReason, parsed: &Parsed, flow: &Flow, address: &AddressRules) -> Verdict {
        let is_unsolicited = matches!(reason, DropReason::NoMapping | DropReason::Filtered);
        if is_unsolicited && is_opening(parsed) && unsolicited::is_answered(self.rules, address, flow) {
            return Verdict::AnswerLater(reason, *flow);
        }
        reason.into()
    }

    /// A packet from the external network to an internal address, allowed where the way back is untranslated too.
    fn routed_in(&mut self, case: &Case, interface: &InterfaceRules) -> Result<Verdict, Verdict> {
        let router = &self.rules.routers[interface.router.0 as usize];
        if !router.is_no_nat(case.parsed.source) && !quotes_exempt(case, router) {
            return Err(DropReason::NotForUs.into());
        }
        let flow = Flow::of(case.parsed, router.realm);
        let next_hop = self.next_hop_inside(&flow, router).map_err(|_| DropReason::NotForUs)?;
        let egress = &self.rules.interfaces[next_hop.interface.0 as usize];
        let segment = &self.rules.segments[egress.segment.0 as usize];
        if segment.addresses.get(&case.parsed.destination).is_some_and(|address| address.local) {
            return Ok(local(case.parsed));
        }
        may_travel(case.parsed)?;
        self.routed(case, next_hop)
    }
}

/// Whether an error from the way to an exempt destination is about a packet that went there: it comes from a router, which
/// need not be exempt itself (RFC 4787 REQ-12a).
fn quotes_exempt(case: &Case, router: &RouterRules) -> bool {
    is_icmp_error(case.parsed)
        && readable_quote(case)
            .is_ok_and(|quote| quote.source == case.parsed.destination && router.is_no_nat(quote.destination))
}

/// Whether a packet from outside may be the first of a session, where the filter lets it in: a datagram, a SYN, an answer to
/// a query.
fn may_open(parsed: &Parsed) -> bool {
    match parsed.protocol {
        Protocol::TCP => is_opening(parsed),
        Protocol::ICMP => icmp::is_reply(parsed.icmp_type),
        protocol => protocol == Protocol::UDP,
    }
}
