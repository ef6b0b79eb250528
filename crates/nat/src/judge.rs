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
use rules::compiled::{NextHop, RouterRules};

use crate::DropReason;
use crate::classify::Entry;
use crate::counters::Counters;
use crate::flow::{Flow, has_ports};
use crate::shard::Shard;
use crate::shards::Shards;
use crate::state::State;
use crate::verdict::{Change, Passage, Verdict};

/// A packet to be judged, and what the stages before have found out about it.
pub(crate) struct Case<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) parsed: &'a Parsed,
    pub(crate) entry: Entry,
    /// The flow as it was received.
    pub(crate) flow: Flow,
    /// Its ports are known: it is whole, or a fragment that has its datagram's.
    pub(crate) has_ports: bool,
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

    /// On to the next hop, untranslated.
    pub(crate) fn routed(&self, case: &Case, next_hop: NextHop) -> Result<Verdict, Verdict> {
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
    /// no longer allow it, its owner cuts it off, and where they bring its end nearer, its owner notes that.
    pub(crate) fn session(
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
        if !self.state.stands(line, rules, now_ms) {
            self.owner(shard)?.cut_off(line, rules, counters, now_ms);
            return Ok(None);
        }
        if self.state.ends_before_its_deadline(line, rules) {
            self.owner(shard)?.set_deadline(line, rules);
        }
        self.state.make_current(line, rules);
        Ok(Some(line))
    }

    /// The owner's role for a shard, or the way to who has it.
    pub(crate) fn owner(&mut self, shard: ShardIndex) -> Result<&mut Shard, Verdict> {
        self.shards.get_mut(shard).ok_or(Verdict::HandOff(self.state.worker_of(shard)))
    }

    /// Refuses a packet whose checksum a neighbour on a virtual link has left to an offload that never runs: it would
    /// arrive wrong. Asked for the first packet of each direction of a session, and for every packet without one.
    pub(crate) fn check_checksum(&self, case: &Case) -> Result<(), DropReason> {
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

/// Whether the packet may go one hop further (RFC 1812 section 5.3.1).
pub(crate) fn may_travel(parsed: &Parsed) -> Result<(), Verdict> {
    if parsed.ttl <= 1 {
        return Err(Verdict::Refuse(DropReason::TtlExpired, icmp::Error::TtlExceeded));
    }
    Ok(())
}

/// Whether ports may decide about the packet: those of a fragment are its datagram's first one's.
pub(crate) fn check_ports_are_known(case: &Case) -> Result<(), Verdict> {
    if has_ports(case.parsed.protocol) && !case.has_ports { Err(Verdict::Reassemble) } else { Ok(()) }
}

/// IPsec's authentication header.
const AUTHENTICATION_HEADER: Protocol = Protocol(51);

/// Whether translation to an address that many share covers the packet.
pub(crate) fn check_translatable(case: &Case) -> Result<(), Verdict> {
    match case.parsed.protocol {
        // What covers the addresses too breaks with them (RFC 4302 section 3.3.3).
        AUTHENTICATION_HEADER => Err(DropReason::UnknownProtocol.into()),
        // Of any protocol: all of a datagram's fragments leave with one identification.
        _ if !case.has_ports => Err(Verdict::Reassemble),
        //= rfc5508#REQ-1
        Protocol::ICMP if icmp::is_query(case.parsed.icmp_type) => Ok(()),
        //= rfc5508#REQ-11
        Protocol::ICMP => Err(DropReason::IcmpUnsupported.into()),
        _ => Ok(()),
    }
}

/// Refuses an ICMP error in fragments: what it quotes is to be translated too, and may lie in any of them. No router sends one so
/// long (RFC 1812 section 4.3.2.3).
pub(crate) fn check_error_is_whole(parsed: &Parsed) -> Result<(), DropReason> {
    let is_part = parsed.protocol == Protocol::ICMP
        && parsed.fragment == Fragment::First
        && icmp::is_error(parsed.icmp_type);
    if is_part { Err(DropReason::IcmpUnsupported) } else { Ok(()) }
}

pub(crate) fn is_echo_request(parsed: &Parsed) -> bool {
    parsed.protocol == Protocol::ICMP
        && parsed.fragment == Fragment::Whole
        && parsed.icmp_type == icmp::kind::ECHO_REQUEST
}

pub(crate) fn is_icmp_error(parsed: &Parsed) -> bool {
    parsed.protocol == Protocol::ICMP
        && parsed.fragment == Fragment::Whole
        && icmp::is_error(parsed.icmp_type)
}
