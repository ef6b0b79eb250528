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
//! foresee   -> the port's cell, and from outside the buckets of session, mapping and permission
//! begin     one after another, each in its turn
//! ```
//!
//! Only a shard's owner opens. What asks for more than the pool, another owner's hosts and first segments of connections take
//! the long way; where they are this owner's, their memory is asked for here all the same.

use flowtable::{LineIndex, SHARDS_MAX, ShardIndex, prefetch_value};
use packet::{BURST_FRAMES_MAX, Frame, PortIndex, Protocol};
use rules::RuleSet;
use rules::compiled::{NextHop, PoolRules, RouterRules};
use rules::legs::Leg;

use super::{Candidate, Lookups, OfBurst, Translation, Way, find_neighbour, is_plainly_a_host, pair_bit};
use crate::flow::Flow;
use crate::forwarding;
use crate::gateway::Gateway;
use crate::mappings::{Asked, Mappings};

/// The first packet of a flow, perhaps, and how it goes on.
pub(super) struct Opening {
    /// Which candidate.
    pub(super) of: u8,
    next_hop: NextHop,
    /// Where the next hop was last found.
    remembered: LineIndex,
}

/// What an opening is made of.
struct Parts<'a> {
    flow: &'a Flow,
    shard: ShardIndex,
    mappings: &'a Mappings,
    router: &'a RouterRules,
    pool: &'a PoolRules,
}

/// What has begun since the burst was looked up: a bit for each pair of addresses.
#[derive(Default)]
pub(super) struct Begun(u64);

impl<F: Frame> Gateway<F> {
    /// Which candidates open flows, and asks for the memory that it takes.
    #[inline(never)]
    pub(super) fn find_openings(
        &self,
        port: PortIndex,
        candidates: &OfBurst<Candidate>,
        lookups: &Lookups,
        lines: &[Option<LineIndex>; BURST_FRAMES_MAX],
        openings: &mut OfBurst<Opening>,
    ) {
        let has_checksums = !self.checks_checksums(port);
        let mut all = OfBurst::<Parts>::new();
        for (of, ((candidate, lookup), line)) in candidates.iter().zip(lookups).zip(lines).enumerate() {
            let (None, Some((shard, flow))) = (line, lookup) else { continue };
            let Some(leg) = self.rules.leg(candidate.leg) else { continue };
            let Some(parts) = self.parts_of_opening(candidate, leg, *shard, flow) else { continue };
            all.push(parts);
            if has_checksums && let Some((next_hop, remembered)) = self.opening_way(candidate, leg) {
                self.neighbours.prefetch(remembered);
                openings.push(Opening { of: of as u8, next_hop, remembered });
            }
        }
        foresee(&all);
    }

    fn parts_of_opening<'a>(
        &'a self,
        candidate: &Candidate,
        leg: &Leg,
        shard: ShardIndex,
        flow: &'a Flow,
    ) -> Option<Parts<'a>> {
        if candidate.translation != Translation::Out {
            return None;
        }
        let pool = self.rules.pools.get(leg.pool()?.0 as usize)?;
        let router = self.rules.routers.get(leg.router.0 as usize)?;
        let mappings = &self.shards.get(shard)?.mappings;
        prefetch_value(pool);
        prefetch_value(&router.timeouts);
        prefetch_value(&router.timeouts_by_port);
        Some(Parts { flow, shard, mappings, router, pool })
    }

    /// How the first packet of a flow goes on, if nothing needs a longer look; and where its next hop was last found.
    fn opening_way(&self, candidate: &Candidate, leg: &Leg) -> Option<(NextHop, LineIndex)> {
        let plain = &candidate.plain;
        let (source, destination) = (plain.source(), plain.destination());
        let next_hop = leg.plainly_out(destination)?;
        let exit = &self.rules.leg(next_hop.interface)?.exit;
        let agrees = plain.protocol == Protocol::UDP
            && leg.is_plainly_a_hosts(source)
            && is_plainly_a_host(source)
            && is_plainly_a_host(destination)
            && plain.total_length <= exit.mtu
            && !self.rules.is_own(exit, destination);
        agrees.then(|| (next_hop, self.neighbours.remembered(exit.realm, next_hop.address)))
    }

    /// Opens the session of a flow's first packet, by which the packet goes on from here. `None` where it takes the long way:
    /// there it is said why.
    #[inline(never)]
    pub(super) fn begin(
        &mut self,
        candidate: &Candidate,
        opening: &Opening,
        begun: &mut Begun,
        now_ms: u32,
    ) -> Option<Way> {
        let Opening { of, next_hop, remembered } = *opening;
        let leg = self.rules.leg(candidate.leg)?;
        let flow = Flow::of_plain(&candidate.plain, leg.realm);
        let shard = self.state.shard_of_host(leg.realm, candidate.plain.source());
        let mut way = Way { of, session: None, next_hop, remembered };
        // An earlier packet of the burst may have opened it.
        if begun.may_have(candidate) && self.state.parts.sessions.find(shard, &flow).is_some() {
            return None;
        }
        let Leg { exit, .. } = self.rules.leg(next_hop.interface)?;
        if self.neighbours.recall(remembered, exit.realm, next_hop.address).is_none() {
            find_neighbour(&self.state, &mut self.neighbours, &way, exit.realm)?;
            way.remembered = self.neighbours.remembered(exit.realm, next_hop.address);
        }
        let (rules, pool) = (&self.rules, leg.pool()?);
        let router = rules.routers.get(leg.router.0 as usize)?;
        if leg.has_exceptions() && is_excepted(&flow, next_hop, router, rules) {
            return None;
        }
        let counters = self.state.counters(self.me());
        let owner = self.shards.get_mut(shard)?;
        let line = owner.open_outbound(&flow, router, pool, rules, counters, now_ms).ok()?;
        self.state.parts.sessions.value(line).remember_next_hop(way.remembered);
        begun.note(candidate);
        way.session = Some((shard, line));
        Some(way)
    }
}

/// Whether a flow that leaves by the default route is translated by something else than the pool, or not at all.
fn is_excepted(flow: &Flow, next_hop: NextHop, router: &RouterRules, rules: &RuleSet) -> bool {
    router.is_no_nat(flow.destination().address)
        || router.gateway_by(next_hop.interface).is_none_or(|gateway| {
            gateway.floating_by_internal.contains_key(&flow.source().address)
                || forwarding::outward(rules, gateway, flow).is_some()
        })
}

/// Asks for the memory that openings are going to touch.
fn foresee(openings: &OfBurst<Parts>) {
    let mut asked = OfBurst::<Asked>::new();
    for Parts { flow, mappings, router, pool, .. } in openings {
        router.timeouts_by_port.first().into_iter().for_each(prefetch_value);
        pool.ports.first().into_iter().for_each(prefetch_value);
        pool.addresses.first().into_iter().for_each(prefetch_value);
        asked.push(mappings.ask(flow, pool));
    }
    for (Parts { mappings, .. }, asked) in openings.iter().zip(&mut asked) {
        mappings.guess(asked);
    }
    let mut drawn = [0; SHARDS_MAX];
    for (Parts { flow, shard, mappings, pool, .. }, asked) in openings.iter().zip(&asked) {
        if let Some(drawn) = drawn.get_mut(usize::from(shard.0)) {
            _ = mappings.foresee(flow, pool, asked, drawn);
        }
    }
}

impl Begun {
    fn may_have(&self, candidate: &Candidate) -> bool {
        self.0 & pair_bit(candidate.plain.addresses) != 0
    }

    fn note(&mut self, candidate: &Candidate) {
        self.0 |= pair_bit(candidate.plain.addresses);
    }
}
