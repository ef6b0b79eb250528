//! Which slots are in use, and when each is due.
//!
//! ```text
//! deadlines   | 81204 | 90311 |   7   | 81777 | ...     one u32 per slot: milliseconds in a live slot,
//! live        |   1   |   1   |   0   |   1   | ...     the number of the next one in its list in a free slot
//!                                 └───────────────^
//! counts      | live, used |                            per shard, a cache line of its own
//! ```
//!
//! The slots of all shards lie side by side; the bits of a shard begin a word of their own, so that every word has one
//! writer, the shard's owner ([`OwnedSlots`]). Readers look at `live`, and where they have a slot that is, at its deadline.
//!
//! A timer per session, or a list kept in order of last use, writes memory for each packet. Here a packet writes
//! nothing: the sweep knows of each 64 slots when the first may be due, reads their deadlines when that has come, and
//! only for a slot that seems due does the owner look at the lines, which know when the last packet came.

mod bits;
mod lists;
mod owned_slots;

pub(crate) use bits::{WORD_SLOTS, ones};
pub(crate) use owned_slots::OwnedSlots;

use crate::owned::Owned;
use crate::sync::{AtomicU32, AtomicU64};
use crate::{Carver, Cells, ShardIndex, SlotIndex};

/// What a shard counts. Written by its owner.
#[cfg_attr(not(any(loom, shuttle)), derive(zerocopy::FromBytes))]
#[derive(Default)]
#[repr(C, align(64))]
struct Counts {
    /// Slots in use.
    live: AtomicU32,
    /// Slots from here on were never in use.
    used: AtomicU32,
    spare: [AtomicU32; 14],
}

/// See the file's page.
#[derive(Clone)]
pub(crate) struct Slots {
    counts: Cells<Counts>,
    live: Cells<AtomicU64>,
    deadlines: Cells<AtomicU32>,
    slots_per_shard: u32,
}

impl Slots {
    /// The slots of `shards` shards.
    pub(crate) fn carve(carver: &mut Carver, shards: u8, slots_per_shard: u32) -> Self {
        let shards = usize::from(shards);
        Self {
            counts: carver.cells(shards),
            live: carver.cells(shards * words(slots_per_shard)),
            deadlines: carver.cells(shards * slots_per_shard as usize),
            slots_per_shard,
        }
    }

    /// Slots of each shard.
    #[inline]
    pub(crate) fn slots_per_shard(&self) -> u32 {
        self.slots_per_shard
    }

    /// The shard of a slot.
    #[inline]
    pub(crate) fn shard_of(&self, SlotIndex(slot): SlotIndex) -> ShardIndex {
        ShardIndex((slot / self.slots_per_shard.max(1)) as u8)
    }

    /// The first slot of a shard.
    pub(crate) fn first(&self, ShardIndex(shard): ShardIndex) -> SlotIndex {
        SlotIndex(u32::from(shard) * self.slots_per_shard)
    }

    /// Slots in use in all shards.
    pub(crate) fn live_count(&self) -> u32 {
        self.counts.iter().fold(0, |sum, counts| sum.wrapping_add(counts.live.seen()))
    }

    /// True where the slot is in use.
    #[inline]
    pub(crate) fn is_live(&self, slot: SlotIndex) -> bool {
        let shard = self.shard_of(slot);
        let local = slot.0.wrapping_sub(u32::from(shard.0).wrapping_mul(self.slots_per_shard));
        local < self.slots_per_shard
            && self.live.try_get(self.word(shard, local)).is_some_and(|word| word.seen() & bit(local) != 0)
    }

    /// The deadline of a slot that is in use, to anyone.
    pub(crate) fn deadline(&self, slot: SlotIndex) -> u32 {
        self.deadlines.get(slot.0 as usize).seen()
    }

    /// The live bits of a shard's slots, 64 in a word.
    pub(crate) fn live_words(&self, ShardIndex(shard): ShardIndex) -> &[AtomicU64] {
        let words = words(self.slots_per_shard);
        &self.live.as_slice()[usize::from(shard) * words..][..words]
    }

    /// The deadlines of a shard's slots.
    fn deadlines_of(&self, ShardIndex(shard): ShardIndex) -> &[AtomicU32] {
        let slots = self.slots_per_shard as usize;
        &self.deadlines.as_slice()[usize::from(shard) * slots..][..slots]
    }

    /// Takes the counts of a shard from its live bits, which may be any bits. For a takeover.
    pub(crate) fn recount(&self, shard: ShardIndex) {
        let (mut live, mut used) = (0, 0);
        for (number, word) in self.live_words(shard).iter().enumerate() {
            let first = (number * WORD_SLOTS) as u32;
            let there = self.slots_per_shard - first;
            let beyond = if there < WORD_SLOTS as u32 { u64::MAX << there } else { 0 };
            if word.own() & beyond != 0 {
                word.publish(word.own() & !beyond);
            }
            live += word.own().count_ones();
            if word.own() != 0 {
                used = first + u64::BITS - word.own().leading_zeros();
            }
        }
        let counts = self.counts.get(usize::from(shard.0));
        counts.used.publish(used);
        counts.live.publish(live);
    }

    /// Marks a slot as not in use. For a takeover: no list is kept.
    pub(crate) fn drop_slot(&self, shard: ShardIndex, local: u32) {
        let word = self.live.get(self.word(shard, local));
        word.publish(word.own() & !bit(local));
    }

    #[inline]
    fn word(&self, ShardIndex(shard): ShardIndex, local: u32) -> usize {
        usize::from(shard) * words(self.slots_per_shard) + local as usize / WORD_SLOTS
    }
}

/// Words of live bits for so many slots.
#[inline]
fn words(slots: u32) -> usize {
    (slots as usize).div_ceil(WORD_SLOTS)
}

#[inline]
fn bit(local: u32) -> u64 {
    1 << (local as usize % WORD_SLOTS)
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests;
