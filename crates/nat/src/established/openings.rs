//! How flows begin on the express way: where a leg says that a pool translates what leaves by it, the first packet of a flow from
//! inside opens its session in its turn and goes on as its followers will.
//!
//! An opening touches some twenty cache lines, most of them far away. They are asked for a stage at a time for all openings of
//! the burst, before the first of them begins:
//!
//! ```text
//! way       -> the rules that an opening reads
//! ask       -> the rules' lists, the host's bucket, the mapping's bucket
//! guess     -> the host's line, the mapping's line
//! foresee   a port is drawn -> its cell
//! see       which port is free there -> from outside the buckets of session, mapping and permission
//! begin     one after another, each in its turn, as far as it comes as it was foreseen
//! ```
//!
//! Only a shard's owner opens. What asks for more than the pool, and another owner's hosts, take the long way; where they are this
//! owner's, their memory is asked for here all the same.

use arrayvec::ArrayVec;
use flowtable::{LineIndex, Place, SHARDS_MAX, ShardIndex, Sought, prefetch_value};
use packet::{BURST_FRAMES_MAX, Frame, Protocol};
use rules::RuleSet;
use rules::compiled::{PoolRules, RouterRules};
use rules::legs::Leg;

use super::{Candidate, Lines, Translation, is_plainly_a_host};
use crate::flow::Flow;
use crate::forwarding;
use crate::gateway::Gateway;
use crate::mappings::{Foresight, Mappings};
use crate::shard::Terms;
use crate::tcp::opens;

/// What an opening is made of.
struct Parts<'a> {
    flow: Flow,
    /// Where its session will be.
    place: Place,
    shard: ShardIndex,
    mappings: &'a Mappings,
    router: &'a RouterRules,
    pool: &'a PoolRules,
}

type OfBurst<T> = ArrayVec<T, BURST_FRAMES_MAX>;

/// The burst's openings.
#[derive(Default)]
pub(super) struct Openings {
    foreseen: OfBurst<Foresight>,
    /// What has begun since the burst was looked up.
    begun: Begun,
}

/// Flows that have begun: a bit for each hash.
#[derive(Default)]
struct Begun([u64; 8]);

impl Begun {
    fn add(&mut self, flow: &Flow) {
        let (word, bit) = Self::bit(flow);
        self.0[word] |= bit;
    }

    /// Rarely it may have, though it has not.
    fn may_have(&self, flow: &Flow) -> bool {
        let (word, bit) = Self::bit(flow);
        self.0[word] & bit != 0
    }

    fn bit(flow: &Flow) -> (usize, u64) {
        let hash = flow.mixed() >> 55;
        ((hash >> 6) as usize, 1 << (hash % 64))
    }
}

impl<F: Frame> Gateway<F> {
    /// Which candidates open flows, and asks for the memory that it takes.
    #[inline(never)]
    pub(super) fn prepare_openings(
        &self,
        has_checksums: bool,
        candidates: &mut [Candidate],
        places: &[Place],
        lines: &Lines,
        openings: &mut Openings,
    ) {
        let mut all = OfBurst::<Parts>::new();
        for ((candidate, line), place) in candidates.iter_mut().zip(lines).zip(places) {
            let (None, Some(shard), Translation::Out(leg)) = (line, candidate.shard, candidate.translation)
            else {
                continue;
            };
            let Some(leg) = self.rules.leg(leg) else { continue };
            let Some(parts) = self.parts_of_opening(candidate.flow, *place, leg, shard) else { continue };
            if has_checksums && let Some(remembered) = self.goes_on_plainly(candidate, leg) {
                (candidate.opening, candidate.remembered) = (Some(all.len() as u8), remembered);
            }
            all.push(parts);
        }
        foresee(&all, &mut openings.foreseen);
    }

    fn parts_of_opening(&self, flow: Flow, place: Place, leg: &Leg, shard: ShardIndex) -> Option<Parts<'_>> {
        let pool = self.rules.pools.get(leg.pool()?.0 as usize)?;
        let router = self.rules.routers.get(leg.router.0 as usize)?;
        let mappings = &self.shards.get(shard)?.mappings;
        prefetch_value(pool);
        prefetch_value(&router.timeouts);
        prefetch_value(&router.timeouts_by_port);
        Some(Parts { flow, place, shard, mappings, router, pool })
    }

    /// Where its next hop was last found, if nothing about the first packet of a flow needs a longer look.
    fn goes_on_plainly(&self, candidate: &Candidate, leg: &Leg) -> Option<LineIndex> {
        let plain = &candidate.plain;
        let (source, destination) = (plain.source(), plain.destination());
        let next_hop = leg.plainly_out(destination)?;
        let exit = &self.rules.leg(next_hop.interface)?.exit;
        let is_plain = (plain.protocol == Protocol::UDP || opens(plain.tcp_flags))
            && leg.is_plainly_a_hosts(source)
            && is_plainly_a_host(source)
            && is_plainly_a_host(destination)
            && plain.total_length <= exit.mtu
            && !self.rules.is_own(exit, destination);
        is_plain.then(|| self.neighbour_by(&exit.next_hop))
    }

    /// Opens the session of a flow's first packet, by whose line the packet goes on from here. `false` where it takes the long
    /// way: there it is said why.
    #[inline(never)]
    pub(super) fn begin(
        &mut self,
        opening: u8,
        candidate: &Candidate,
        line: &mut Option<LineIndex>,
        openings: &mut Openings,
        now_ms: u32,
    ) -> bool {
        // An earlier packet of the burst may have opened it.
        let sessions = &self.state.parts.sessions;
        let is_there = openings.begun.may_have(&candidate.flow)
            && candidate.sought().is_some_and(|(shard, flow)| sessions.find(shard, flow).is_some());
        if !is_there && let Some(foresight) = openings.foreseen.get(usize::from(opening)) {
            *line = self.open_by_leg(candidate, foresight, now_ms);
            openings.begun.add(&candidate.flow);
        }
        line.is_some()
    }

    fn open_by_leg(
        &mut self,
        candidate: &Candidate,
        foresight: &Foresight,
        now_ms: u32,
    ) -> Option<LineIndex> {
        let (Translation::Out(leg), Some(shard)) = (candidate.translation, candidate.shard) else {
            return None;
        };
        let (flow, leg) = (&candidate.flow, self.rules.leg(leg)?);
        let (rules, pool) = (&self.rules, leg.pool()?);
        let router = rules.routers.get(leg.router.0 as usize)?;
        if leg.has_exceptions() && is_excepted(flow, leg, router, rules) {
            return None;
        }
        let terms = Terms { rules, router, counters: self.state.counters(self.me()), now_ms };
        let line = self.shards.get_mut(shard)?.open_outbound(flow, pool, foresight, &terms).ok()?;
        self.state.parts.sessions.value(line).remember_next_hop(candidate.remembered);
        Some(line)
    }
}

/// Whether a flow that leaves by the default route is translated by something else than the pool, or not at all.
fn is_excepted(flow: &Flow, leg: &Leg, router: &RouterRules, rules: &RuleSet) -> bool {
    let gateway = || router.gateway_by(leg.default_interface()?);
    router.is_no_nat(flow.destination().address)
        || gateway().is_none_or(|gateway| {
            gateway.floating_by_internal.contains_key(&flow.source().address)
                || forwarding::outward(rules, gateway, flow).is_some()
        })
}

/// Asks for the memory that openings are going to touch.
fn foresee(openings: &OfBurst<Parts>, all: &mut OfBurst<Foresight>) {
    for Parts { flow, place, mappings, router, pool, .. } in openings {
        router.timeouts_by_port.first().into_iter().for_each(prefetch_value);
        pool.ports.first().into_iter().for_each(prefetch_value);
        pool.addresses.first().into_iter().for_each(prefetch_value);
        all.push(mappings.ask(flow, *place, pool));
    }
    for (Parts { mappings, .. }, foresight) in openings.iter().zip(&mut *all) {
        mappings.guess(foresight);
    }
    let mut drawn = [0; SHARDS_MAX];
    for (Parts { flow, shard, mappings, pool, .. }, foresight) in openings.iter().zip(&mut *all) {
        if let Some(drawn) = drawn.get_mut(usize::from(shard.0)) {
            mappings.foresee(flow, pool, foresight, drawn);
        }
    }
    for (Parts { flow, mappings, .. }, foresight) in openings.iter().zip(&*all) {
        mappings.ask_port(flow, foresight);
    }
    for (Parts { flow, mappings, pool, .. }, foresight) in openings.iter().zip(&mut *all) {
        mappings.see(flow, pool, foresight);
    }
}
