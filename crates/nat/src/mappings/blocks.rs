//! Port blocks: a host's ports come from its blocks, of which it has so many at most for each protocol (RFC 6888 REQ-4 and
//! REQ-14).
//!
//! A block is leased when the host's others are full, at a random place, and given back when none of its ports is used. Its
//! record is found by whose it is, and by its first port, as the alias of its line.

use arrayvec::ArrayVec;
use flowtable::SlotIndex;
use rules::compiled::{BlockRules, Pairing, PortRun};
use rules::limits::BLOCKS_PER_HOST_MAX;

use super::choice::{Choice, Chosen};
use super::{Block, Mappings};
use crate::DropReason;
use crate::flow::{Endpoint, Flow};
use crate::ports::{ANYWHERE, Lease, PortSpace, Wanted};

/// How many new blocks are tried for one flow: one that is leased may have no free port, left from earlier rules.
const LEASES_TRIED_MAX: usize = 4;

impl Mappings {
    /// An endpoint in one of the host's blocks, or in a new one.
    pub(super) fn choose_in_blocks(
        &mut self,
        choice: &Choice,
        rules: BlockRules,
    ) -> Result<Chosen, DropReason> {
        let (blocks, unused) = self.blocks_of(choice, rules);
        for first in &blocks {
            let Some((choice, ports)) = choice.in_block(self, *first) else { continue };
            if let Some(port) = self.choose_free(&choice, ports) {
                return Ok(choice.chosen(port));
            }
        }
        if let Some(ordinal) = unused
            && let Some(chosen) = self.choose_in_new_block(choice, rules, ordinal)?
        {
            return Ok(chosen);
        }
        for first in &blocks {
            let Some((choice, ports)) = choice.in_block(self, *first) else { continue };
            if let Some(port) = self.choose_shared(&choice, ports) {
                return Ok(choice.chosen(port));
            }
        }
        //= rfc6888#REQ-4
        Err(if unused.is_none() { DropReason::HostPortQuota } else { DropReason::PortExhausted })
    }

    /// The first endpoints of the host's blocks where the pool lets it use them, and the lowest ordinal that it has no block for, if it may have one
    /// more.
    fn blocks_of(
        &self,
        choice: &Choice,
        rules: BlockRules,
    ) -> (ArrayVec<Endpoint, { BLOCKS_PER_HOST_MAX as usize }>, Option<u16>) {
        let Choice { flow, pool, address, .. } = choice;
        let table = self.blocks.table();
        let (mut blocks, mut unused) = (ArrayVec::new(), None);
        for ordinal in 0..rules.per_host_max.min(BLOCKS_PER_HOST_MAX) {
            let Some(line) = table.find(self.shard, &flow.block_key(pool.realm, ordinal)) else {
                unused = unused.or(Some(ordinal));
                continue;
            };
            let [_, first] = self.block_keys(table.slot_of(line));
            let first = first.destination();
            if pool.pairing != Pairing::Strict || first.address == address.address {
                blocks.push(first);
            }
        }
        (blocks, unused)
    }

    fn choose_in_new_block(
        &mut self,
        choice: &Choice,
        rules: BlockRules,
        ordinal: u16,
    ) -> Result<Option<Chosen>, DropReason> {
        let Choice { flow, pool, address, .. } = choice;
        for _ in 0..LEASES_TRIED_MAX {
            let Self { state, shard, random, .. } = self;
            let space = state.parts.ports.of(address.ports, flow.protocol());
            let intent = state.parts.intents.get(usize::from(shard.0));
            let announce = |lease: Lease| intent.aim_at(flow, choice.at(lease.ports.first), pool.realm);
            let wanted = Wanted { runs: &pool.ports, within: ANYWHERE, parity: None };
            let Some(lease) =
                space.lease(*shard, rules.ports, &wanted, random, state.probes(*shard), announce)
            else {
                break;
            };
            let key = flow.block_key(pool.realm, ordinal);
            let fill = |[block]: [&Block; 1]| block.begin(address.ports, lease.ports.first, rules.ports);
            let Ok(slot) = self.blocks.insert([key], 0, fill) else {
                space.end_lease(lease);
                return Err(DropReason::HostTableFull);
            };
            if let Some(port) = self.choose_free(choice, lease.ports) {
                return Ok(Some(choice.chosen(port)));
            }
            self.remove_block(slot);
        }
        Ok(None)
    }

    /// One more use of the host's block that the endpoint is in, if it is in one.
    pub(crate) fn use_block_more(&mut self, flow: &Flow, outside: &Flow) {
        if let Some(slot) = self.block_of(flow, outside) {
            self.block(slot).uses().increment();
        }
    }

    /// One use less; a block without uses is given back.
    pub(super) fn use_block_less(&mut self, flow: &Flow, outside: &Flow) {
        if let Some(slot) = self.block_of(flow, outside)
            && self.block(slot).uses().decrement() == 0
        {
            self.remove_block(slot);
        }
    }

    pub(crate) fn remove_block(&mut self, slot: SlotIndex) {
        let ([_, external], lease) = (self.block_keys(slot), self.lease_at(slot));
        self.blocks.remove(slot);
        if let Some((space, _)) = self.state.place_of(&external) {
            space.end_lease(lease);
        }
    }

    /// The record of the block that an external endpoint is in, if it is the flow's host's.
    #[inline]
    pub(crate) fn block_of(&self, flow: &Flow, outside: &Flow) -> Option<SlotIndex> {
        // Of another shard's block it is nothing.
        if self.blocks.is_empty() { None } else { self.find_block_of(flow, outside) }
    }

    fn find_block_of(&self, flow: &Flow, outside: &Flow) -> Option<SlotIndex> {
        let (space, port) = self.state.place_of(outside)?;
        let slot = self.block_at(space, space.lease_of(port)?)?;
        let [host, _] = self.block_keys(slot);
        ((host.source().address, host.realm()) == (flow.source().address, flow.realm())).then_some(slot)
    }

    /// The record of a leased block of the shard's.
    pub(crate) fn block_at(&self, space: PortSpace, lease: Lease) -> Option<SlotIndex> {
        if lease.shard != self.shard {
            return None;
        }
        let table = self.blocks.table();
        table.find_alias(self.shard, space.alias(lease.ports.first)).map(|line| table.slot_of(line))
    }

    /// What a block is between: whose it is, which is its key, and its first port, as a destination.
    pub(crate) fn block_keys(&self, slot: SlotIndex) -> [Flow; 2] {
        let table = self.blocks.table();
        let host = table.key(table.line_of(slot, 0));
        [host, self.state.flow_to(host.protocol(), self.block(slot).external())]
    }

    pub(crate) fn block(&self, slot: SlotIndex) -> &Block {
        let table = self.blocks.table();
        table.value(table.line_of(slot, 0))
    }

    /// What a block's record says is leased.
    pub(crate) fn lease_at(&self, slot: SlotIndex) -> Lease {
        let block = self.block(slot);
        Lease::of(self.shard, block.external().port(), block.ports() as u16)
    }
}

impl Choice<'_> {
    /// Where a host's block lets the flow choose, if its address is still the pool's.
    fn in_block(self, mappings: &Mappings, first: Endpoint) -> Option<(Self, PortRun)> {
        let address = self.pool.find(first.address)?;
        let space = mappings.state.parts.ports.of(address.ports, self.flow.protocol());
        Some((Self { address, ..self }, space.lease_of(first.port)?.ports))
    }
}
