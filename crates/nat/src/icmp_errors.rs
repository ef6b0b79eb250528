//! ICMP errors through the translation: the packet they quote is one that we translated, so the quote is translated
//! back (RFC 5508 section 4). They change no session and refresh none (REQ-6, RFC 4787 REQ-12), so any gateway translates
//! them where they arrive; one about a session that other rules no longer allow is about none.
//!
//! What we know is the answer to the quoted packet: the quote reversed is a flow in the direction of the error.

use flowtable::ShardIndex;
use packet::Parsed;
use packet::icmp::kind;
use packet::rewrite::{BadQuote, Quote, read_quote};
use rules::compiled::{AddressRules, GatewayRules, NextHop, RouterRules};

use crate::flow::{Endpoint, Flow};
use crate::judge::{Case, Judge, may_travel};
use crate::verdict::{Change, Passage, Verdict};
use crate::{DropReason, forwarding};

/// An ICMP error as one realm sees it: its own addresses, and the answer to the packet it quotes.
#[derive(Clone, Copy)]
struct ErrorFlow {
    outer: Flow,
    answer: Flow,
}

impl ErrorFlow {
    fn change_to(&self, other: &Self, quote: Quote) -> Change {
        Change::Error {
            outer: self.outer.rewrite_to(&other.outer),
            quote,
            quoted: self.answer.reversed().rewrite_to(&other.answer.reversed()),
        }
    }
}

impl Judge<'_> {
    /// An error from a tenant about a packet that came in.
    pub(crate) fn outbound_error(
        &self,
        case: &Case,
        router: &RouterRules,
        gateway: &GatewayRules,
        next_hop: NextHop,
        ours: Option<&AddressRules>,
    ) -> Result<Verdict, Verdict> {
        let quote = readable_quote(case)?;
        let inside = ErrorFlow {
            outer: Flow::of(case.parsed, router.realm),
            answer: Flow::of_quote(&quote, router.realm).reversed(),
        };
        let outside = self.translate_error_out(&inside, router, gateway)?;
        let Some(address) = ours else {
            return Ok(Verdict::Forward(Passage::stateless(inside.change_to(&outside, quote), next_hop)));
        };
        let (other_inside, next_hop) = self.translate_error_in(&outside, address)?;
        Ok(Verdict::Forward(Passage::stateless(inside.change_to(&other_inside, quote), next_hop)))
    }

    /// An error from the external network about a packet that went out.
    pub(crate) fn inbound_error(&self, case: &Case, address: &AddressRules) -> Result<Verdict, Verdict> {
        let quote = readable_quote(case)?;
        let realm = self.rules.segments[case.entry.segment.0 as usize].realm;
        let outside = ErrorFlow {
            outer: Flow::of(case.parsed, realm),
            answer: Flow::of_quote(&quote, realm).reversed(),
        };
        let (inside, next_hop) = self.translate_error_in(&outside, address)?;
        may_travel(case.parsed)?;
        Ok(Verdict::Forward(Passage::stateless(outside.change_to(&inside, quote), next_hop)))
    }

    fn translate_error_out(
        &self,
        inside: &ErrorFlow,
        router: &RouterRules,
        gateway: &GatewayRules,
    ) -> Result<ErrorFlow, Verdict> {
        let host = inside.answer.source();
        // An error goes to whoever sent the packet it is about. Else a tenant's choice of quote would choose how its
        // packet is translated.
        if inside.answer.destination().address != inside.outer.destination().address {
            return Err(DropReason::BadIcmpError.into());
        }
        let external = if router.is_no_nat(inside.answer.destination().address) {
            host
        } else if let Some(floating) = gateway.floating_by_internal.get(&host.address)
            && forwarding::outward(self.rules, gateway, &inside.answer).is_none()
        {
            Endpoint { address: self.rules.floating_ips[floating.0 as usize].external, ..host }
        } else {
            let shard = self.state.shard_of_host(router.realm, host.address);
            self.translated(Some(shard), &inside.answer)?.source()
        };
        // The error may come from a router of the tenant's: it goes out under its own floating IP, or under the
        // address of the host it speaks for (RFC 5508 REQ-5).
        let speaker = inside.outer.source().address;
        let speaker = match gateway.floating_by_internal.get(&speaker) {
            _ if router.is_no_nat(inside.outer.destination().address) => speaker,
            Some(floating) if speaker != host.address => {
                self.rules.floating_ips[floating.0 as usize].external
            }
            _ => external.address,
        };
        Ok(ErrorFlow {
            outer: inside.outer.with_source(Endpoint { address: speaker, port: 0 }, gateway.realm),
            answer: inside.answer.with_source(external, gateway.realm),
        })
    }

    fn translate_error_in(
        &self,
        outside: &ErrorFlow,
        address: &AddressRules,
    ) -> Result<(ErrorFlow, NextHop), Verdict> {
        let external = outside.answer.destination();
        if external.address != outside.outer.destination().address {
            return Err(DropReason::BadIcmpError.into());
        }
        let (host, realm) = if let Some(index) = address.floating {
            let floating = &self.rules.floating_ips[index.0 as usize];
            let realm = self.rules.routers[floating.router.0 as usize].realm;
            (Endpoint { address: floating.internal, ..external }, realm)
        } else {
            let shard = match forwarding::inward(self.rules, address, &outside.answer) {
                Some(to) => Some(self.state.shard_of_host(to.realm, to.internal.address)),
                None => address.ports.and_then(|ports| self.state.shard_of_port(ports, &outside.answer)),
            };
            let inside = self.translated(shard, &outside.answer)?;
            (inside.destination(), inside.realm())
        };
        let router = self.rules.router_of(realm).ok_or(DropReason::IcmpNoSession)?;
        let outer = outside.outer.with_destination(Endpoint { address: host.address, port: 0 }, realm);
        let next_hop = self.next_hop_inside(&outer, &self.rules.routers[router.0 as usize])?;
        Ok((ErrorFlow { outer, answer: outside.answer.with_destination(host, realm) }, next_hop))
    }

    /// The other side of the session that `answer` is of, in a shard.
    fn translated(&self, shard: Option<ShardIndex>, answer: &Flow) -> Result<Flow, DropReason> {
        shard
            .and_then(|shard| self.state.line(shard, answer, None))
            .filter(|line| self.state.stands(*line, self.rules, self.now_ms))
            .map(|line| self.state.translated(line))
            .ok_or(DropReason::IcmpNoSession)
    }
}

/// What the error quotes, if it is one to forward: redirects are not (RFC 5508 REQ-10, RFC 1812 5.2.7.2).
pub(crate) fn readable_quote(case: &Case) -> Result<Quote, DropReason> {
    let Parsed { icmp_type, .. } = *case.parsed;
    if icmp_type == kind::REDIRECT {
        return Err(DropReason::IcmpUnsupported);
    }
    read_quote(case.bytes, case.parsed).map_err(|_: BadQuote| DropReason::BadIcmpError)
}
