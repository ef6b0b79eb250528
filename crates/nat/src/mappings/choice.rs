//! The choice of an external endpoint for a mapping, or for a session that shares a port.
//!
//! ```text
//! address   the host's; where it has no room and the pool allows, another                    pairing.rs
//! port      the internal one, where the pool preserves ports and it is free
//!           else a free one at random, of the same parity where the pool preserves that
//!           for a session: else one in use towards other remotes: the shard's own, then anyone's
//! ```
//!
//! How a flow is mapped never depends on how full the pool is (RFC 4787 REQ-11): when the ports are used up, it is refused.
//! And so it is when the turn has looked at too many for others before it; then for that ([`crate::probes`]).

use arrayvec::ArrayVec;
use flowtable::{LineIndex, ShardIndex};
use packet::Protocol;
use rules::compiled::{AddressIndex, Pairing, PoolAddress, PoolRules, PortRun};

use super::pairing::{ADDRESSES_LOOKED_AT_MAX, ADDRESSES_TRIED_MAX};
use super::{Foresight, Mappings, outside_of};
use crate::DropReason;
use crate::flow::{Endpoint, Flow, has_ports};
use crate::ports::{ANYWHERE, Cell, Holder, PortSpace, Purpose, Wanted};
use crate::probes::{CELLS_PER_PROBE, PROBES_PER_TURN};

/// How many used ports are tried for one flow once every port of the address is used: of the shard's own, and of anyone's. A
/// flow that is refused is looked for twice, the second time to say why: both have to fit in a turn's probes.
const SHARED_PROBES_MAX: usize = 160;

/// How many cells are looked at to find that many.
const SHARED_CELLS_MAX: usize = 2_048;

const _: () = assert!(
    4 * (SHARED_PROBES_MAX + SHARED_CELLS_MAX / CELLS_PER_PROBE as usize) < PROBES_PER_TURN as usize,
    "twice the shard's own, and anyone's"
);

/// How many of them are looked up at once; at first fewer, since mostly the first of them will do.
const SHARED_BATCH: usize = 32;
const SHARED_BATCH_FIRST: usize = 4;

/// Ports that are for servers of the system (RFC 4787 REQ-3a).
const WELL_KNOWN: PortRun = PortRun { first: 0, last: 1_023 };
const OTHERS: PortRun = PortRun { first: 1_024, last: u16::MAX };

/// Where a port is chosen, and for what.
#[derive(Clone, Copy)]
pub(super) struct Choice<'a> {
    pub(super) flow: &'a Flow,
    pub(super) pool: &'a PoolRules,
    pub(super) purpose: Purpose,
    pub(super) address: PoolAddress,
}

/// An external endpoint that is taken, and the number of its address: not always the address that it was looked for at, because
/// a host may have a block of ports at another.
#[derive(Clone, Copy)]
pub(super) struct Chosen {
    endpoint: Endpoint,
    address: AddressIndex,
}

impl Choice<'_> {
    /// This port is taken.
    pub(super) fn chosen(&self, port: u16) -> Chosen {
        Chosen { endpoint: self.at(port), address: self.address.ports }
    }

    /// The flow's answers, if it gets this port.
    pub(super) fn outside(&self, port: u16) -> Flow {
        outside_of(self.flow, self.at(port), self.pool.realm)
    }

    pub(super) fn at(&self, port: u16) -> Endpoint {
        Endpoint { address: self.address.address, port }
    }

    /// The internal port, where the pool preserves ports.
    pub(super) fn preserved(&self) -> Option<u16> {
        let same = self.flow.source().port;
        (self.pool.preserve_port && self.pool.has_port(same)).then_some(same)
    }

    fn has_parity(&self) -> bool {
        matches!(self.flow.protocol(), Protocol::TCP | Protocol::UDP)
    }

    /// The pool's ports within bounds: those that are preferred first, then the rest.
    pub(super) fn wanted(&self, bounds: PortRun) -> impl Iterator<Item = Wanted<'_>> + Clone {
        let source = self.flow.source().port;
        let has_classes = self.has_parity();
        //= rfc4787#REQ-4
        let parity = (self.pool.preserve_parity && has_classes).then_some(source & 1);
        //= rfc4787#REQ-3a
        let classes: &[PortRun] = match has_classes {
            false => &[ANYWHERE],
            true if WELL_KNOWN.contains(source) => &[WELL_KNOWN, OTHERS],
            true => &[OTHERS, WELL_KNOWN],
        };
        let within = classes.iter().map(move |class| PortRun {
            first: class.first.max(bounds.first),
            last: class.last.min(bounds.last),
        });
        let within = within.filter(|within| within.first <= within.last);
        within.map(move |within| Wanted { runs: &self.pool.ports, within, parity })
    }
}

impl Mappings {
    /// Pairs the flow's host and chooses its external endpoint: the flow of the answers, and the number of the address.
    pub(super) fn choose(
        &mut self,
        flow: &Flow,
        pool: &PoolRules,
        purpose: Purpose,
        foresight: &Foresight,
    ) -> Result<(Flow, AddressIndex), DropReason> {
        let (address, host) = self.pair(flow, pool, foresight.host_line)?;
        let choice = Choice { flow, pool, purpose, address };
        let chosen = match self.take_foreseen(&choice, foresight) {
            Some(port) => Ok(choice.chosen(port)),
            None => self.choose_at(&choice),
        };
        let chosen = chosen.map(|chosen| (address, chosen));
        match chosen.or_else(|reason| self.choose_elsewhere(&choice, reason)) {
            Ok((paired, Chosen { endpoint, address })) => {
                // A flow that is refused leaves its host where it was: the address may have left the pool for a while only.
                self.pair_anew(host, paired.address);
                let outside = outside_of(flow, endpoint, pool.realm);
                self.use_block_more(flow, &outside);
                if purpose == Purpose::Mapping {
                    self.limit_rests(flow, address, pool);
                }
                Ok((outside, address))
            }
            Err(reason) => {
                self.unpair(flow, pool.realm);
                let is_cut = matches!(reason, DropReason::PortExhausted | DropReason::HostPortQuota)
                    && self.state.probes(self.shard).are_spent();
                Err(if is_cut { DropReason::PortSearchCut } else { reason })
            }
        }
    }

    /// At another address than the host's, which has no room, where the pool allows; a host that had none yet is not bound.
    fn choose_elsewhere(
        &mut self,
        choice: &Choice,
        reason: DropReason,
    ) -> Result<(PoolAddress, Chosen), DropReason> {
        let Choice { flow, pool, address, .. } = *choice;
        let has_no_room = matches!(reason, DropReason::PortExhausted | DropReason::RemoteTaken);
        //= rfc7857#4
        let keeps = pool.pairing == Pairing::Strict && !self.is_new(flow, pool.realm);
        if keeps || !has_no_room || pool.addresses.len() < 2 {
            return Err(reason);
        }
        let looks_max = ADDRESSES_LOOKED_AT_MAX.min(pool.addresses.len() as u32);
        // First where a port is free.
        for has_free in [true, false] {
            let (start, mut steps) = (self.random.below(pool.addresses.len() as u32), 0);
            for _ in 0..ADDRESSES_TRIED_MAX {
                let next = self.next_address(flow, pool, address, has_free, start, steps);
                let looks = next.map_or(looks_max, |(_, after)| after) - steps;
                if !self.state.probes(self.shard).spend_for(looks) {
                    return Err(reason);
                }
                let Some((address, after)) = next else { break };
                steps = after;
                if let Ok(chosen) = self.choose_at(&Choice { address, ..*choice }) {
                    return Ok((address, chosen));
                }
            }
        }
        Err(reason)
    }

    fn choose_at(&mut self, choice: &Choice) -> Result<Chosen, DropReason> {
        if !has_ports(choice.flow.protocol()) {
            return self.choose_number(choice);
        }
        if let Some(blocks) = choice.pool.blocks {
            return self.choose_in_blocks(choice, blocks);
        }
        let port = self.choose_free(choice, ANYWHERE).or_else(|| self.choose_shared(choice, ANYWHERE));
        port.map(|port| choice.chosen(port)).ok_or(DropReason::PortExhausted)
    }

    /// Takes this port, if nobody has it.
    pub(super) fn take_this(&self, choice: &Choice, port: u16) -> bool {
        let space = self.state.parts.ports.of(choice.address.ports, choice.flow.protocol());
        self.intent().aim_at(choice.flow, choice.at(port), choice.pool.realm);
        space.take_this(self.shard, choice.purpose, port)
    }

    /// A port that nobody has, within bounds.
    pub(super) fn choose_free(&mut self, choice: &Choice, bounds: PortRun) -> Option<u16> {
        let same = choice.preserved().filter(|same| bounds.contains(*same));
        if let Some(same) = same.filter(|same| self.take_this(choice, *same)) {
            return Some(same);
        }
        let Self { state, shard, random, .. } = self;
        let (shard, purpose) = (*shard, choice.purpose);
        let space = state.parts.ports.of(choice.address.ports, choice.flow.protocol());
        let (intent, probes) = (state.parts.intents.get(usize::from(shard.0)), state.probes(shard));
        let announce = |port| intent.aim_at(choice.flow, choice.at(port), choice.pool.realm);
        choice.wanted(bounds).find_map(|wanted| space.take(shard, purpose, &wanted, random, probes, announce))
    }

    /// For a session: a port in use, within bounds, towards another remote. One of the shard's own, so that it is found by one
    /// look; or else one of another shard's.
    pub(super) fn choose_shared(&mut self, choice: &Choice, bounds: PortRun) -> Option<u16> {
        if choice.purpose == Purpose::Mapping {
            return None;
        }
        //= rfc7857#3
        //= rfc4787#REQ-3
        //= rfc5382#REQ-7
        let wanted = choice.wanted(bounds);
        let ways = [true, false].into_iter().flat_map(|is_own| wanted.clone().map(move |one| (is_own, one)));
        for (is_own, wanted) in ways {
            let scattered = wanted.scattered(&mut self.random);
            let space = self.state.parts.ports.of(choice.address.ports, choice.flow.protocol());
            let probes = self.state.probes(self.shard);
            let scattered = probes.paid(scattered.take(SHARED_CELLS_MAX));
            let ports = scattered.map(|port| (port, space.get(port)));
            let mut used = ports
                .filter(|(_, cell)| cell.is_shareable() && cell.is_of(self.shard) == is_own)
                .take(SHARED_PROBES_MAX);
            for size in std::iter::once(SHARED_BATCH_FIRST).chain(std::iter::repeat(SHARED_BATCH)) {
                let batch: ArrayVec<_, SHARED_BATCH> = used.by_ref().take(size).collect();
                if batch.is_empty() || !probes.spend(batch.len() as u32) {
                    break;
                }
                let port = self.share_one_of(choice, space, &batch);
                if port.is_some() {
                    return port;
                }
            }
        }
        None
    }

    fn share_one_of(&self, choice: &Choice, space: PortSpace, batch: &[(u16, Cell)]) -> Option<u16> {
        let keys: ArrayVec<Option<(ShardIndex, Flow)>, SHARED_BATCH> = batch
            .iter()
            .map(|(port, cell)| match cell.holder()? {
                Holder::One(shard) => Some((shard, choice.outside(*port))),
                Holder::Many => None,
            })
            .collect();
        let mut found: [Option<LineIndex>; SHARED_BATCH] = [None; SHARED_BATCH];
        let found = found.get_mut(..keys.len())?;
        self.state.find_burst(&keys, found);
        let mut unused = batch.iter().zip(found).filter(|(_, found)| found.is_none()).map(|(one, _)| *one);
        unused.find(|(port, seen)| self.share_this(choice, space, *port, *seen)).map(|(port, _)| port)
    }

    /// One more use of a port, if no session has it towards the flow's remote.
    fn share_this(&self, choice: &Choice, space: PortSpace, port: u16, seen: Cell) -> bool {
        let outside = choice.outside(if has_ports(choice.flow.protocol()) { port } else { 0 });
        if self.is_taken(seen, &outside) {
            return false;
        }
        self.intent().aim_at(choice.flow, outside.destination(), choice.pool.realm);
        if !space.share(self.shard, port, seen) {
            return false;
        }
        // Locked: now every session on the port is seen.
        if self.is_taken(seen, &outside) {
            space.unlock(port);
            space.give_back(self.shard, port);
            return false;
        }
        true
    }

    /// Whether a session has the external side already.
    fn is_taken(&self, cell: Cell, outside: &Flow) -> bool {
        let sessions = &self.state.parts.sessions;
        match cell.holder() {
            None => false,
            Some(Holder::One(shard)) => sessions.find(shard, outside).is_some(),
            Some(Holder::Many) => self.state.shard_among_many(outside).is_some(),
        }
    }

    /// For a session of a protocol without ports: its remote, by the number that stands for it.
    fn choose_number(&mut self, choice: &Choice) -> Result<Chosen, DropReason> {
        let outside = choice.outside(0);
        let number = self.state.number_of(&outside);
        let space = self.state.parts.ports.of(choice.address.ports, choice.flow.protocol());
        self.intent().aim_at(choice.flow, outside.destination(), choice.pool.realm);
        let is_chosen = space.take_this(self.shard, Purpose::Session, number)
            || self.share_this(choice, space, number, space.get(number));
        is_chosen.then(|| choice.chosen(0)).ok_or(DropReason::RemoteTaken)
    }
}
