//! Port blocks: a host's ports come from its blocks, of which it has so many at most for each protocol (RFC 6888 REQ-4 and
//! REQ-14).
//!
//! A block is leased when the host's others are full, at a random place, and given back when none of its ports is used. The
//! record's keys say all there is to know of it: whose it is, and which ports.

use arrayvec::ArrayVec;
use flowtable::SlotIndex;
use rules::compiled::{BlockRules, Pairing, PortRun};
use rules::limits::BLOCKS_PER_HOST_MAX;

use super::choice::Choice;
use super::records::Owned;
use super::{EXTERNAL, INTERNAL, Mappings, outside_of};
use crate::DropReason;
use crate::flow::{Endpoint, Flow};
use crate::ports::{ANYWHERE, Lease, Wanted};

/// How many new blocks are tried for one flow: one that is leased may have no free port, left from earlier rules.
const LEASES_TRIED_MAX: usize = 4;

impl Mappings {
    /// An endpoint in one of the host's blocks, or in a new one.
    pub(super) fn choose_in_blocks(
        &mut self,
        choice: &Choice,
        rules: BlockRules,
    ) -> Result<Endpoint, DropReason> {
        let (blocks, unused) = self.blocks_of(choice, rules);
        for first in &blocks {
            let Some((choice, ports)) = choice.in_block(self, *first) else { continue };
            if let Some(port) = self.choose_free(&choice, ports) {
                return Ok(choice.at(port));
            }
        }
        if let Some(ordinal) = unused
            && let Some(endpoint) = self.choose_in_new_block(choice, rules, ordinal)?
        {
            return Ok(endpoint);
        }
        for first in &blocks {
            let Some((choice, ports)) = choice.in_block(self, *first) else { continue };
            if let Some(port) = self.choose_shared(&choice, ports) {
                return Ok(choice.at(port));
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
            let first = table.key(table.line_of(table.slot_of(line), EXTERNAL)).destination();
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
    ) -> Result<Option<Endpoint>, DropReason> {
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
            let outside = outside_of(flow, choice.at(lease.ports.first), pool.realm);
            let keys = [flow.block_key(pool.realm, ordinal), outside.destination_key()];
            let Ok(slot) = self.blocks.insert(keys, 0, |[host, external]| {
                host.0.set(0);
                external.0.set(rules.ports.into());
            }) else {
                space.end_lease(lease);
                return Err(DropReason::HostTableFull);
            };
            if let Some(port) = self.choose_free(choice, lease.ports) {
                return Ok(Some(choice.at(port)));
            }
            self.remove_block(slot);
        }
        Ok(None)
    }

    /// One more use of the host's block that the endpoint is in, if it is in one.
    pub(crate) fn use_block_more(&mut self, flow: &Flow, outside: &Flow) {
        if let Some(slot) = self.lease_of(outside).and_then(|lease| self.block_of(lease, flow, outside)) {
            self.block_uses(slot).increment();
        }
    }

    /// One use less; a block without uses is given back.
    pub(super) fn use_block_less(&mut self, flow: &Flow, outside: &Flow) {
        if let Some(slot) = self.lease_of(outside).and_then(|lease| self.block_of(lease, flow, outside))
            && self.block_uses(slot).decrement() == 0
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

    fn lease_of(&self, outside: &Flow) -> Option<Lease> {
        // Of another shard's block it is nothing.
        if self.blocks.is_empty() {
            return None;
        }
        let (space, port) = self.state.place_of(outside)?;
        space.lease_of(port)
    }

    /// The record of a leased block, if it is the flow's host's.
    pub(crate) fn block_of(&self, lease: Lease, flow: &Flow, outside: &Flow) -> Option<SlotIndex> {
        let slot = self.block_at(lease, outside)?;
        let [host, _] = self.block_keys(slot);
        ((host.source().address, host.realm()) == (flow.source().address, flow.realm())).then_some(slot)
    }

    /// The record of a leased block of the shard's.
    pub(crate) fn block_at(&self, lease: Lease, outside: &Flow) -> Option<SlotIndex> {
        if lease.shard != self.shard {
            return None;
        }
        let first = Endpoint { port: lease.ports.first, ..outside.destination() };
        let key = outside.with_destination(first, outside.realm()).destination_key();
        let table = self.blocks.table();
        table.find(self.shard, &key).map(|line| table.slot_of(line))
    }

    /// A block's keys: whose it is, and which ports.
    pub(crate) fn block_keys(&self, slot: SlotIndex) -> [Flow; 2] {
        let table = self.blocks.table();
        [INTERNAL, EXTERNAL].map(|side| table.key(table.line_of(slot, side)))
    }

    /// Mappings, and sessions without a mapping, whose port is the block's.
    pub(crate) fn block_uses(&self, slot: SlotIndex) -> &Owned {
        let table = self.blocks.table();
        &table.value(table.line_of(slot, INTERNAL)).0
    }

    /// What a block's record says is leased.
    pub(crate) fn lease_at(&self, slot: SlotIndex) -> Lease {
        let table = self.blocks.table();
        let line = table.line_of(slot, EXTERNAL);
        Lease::of(self.shard, table.key(line).destination().port, table.value(line).0.get() as u16)
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
