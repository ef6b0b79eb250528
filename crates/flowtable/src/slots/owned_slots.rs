//! The slots of one shard, as its owner has them: which is free next, and which are due.
//!
//! Slots that were in use before are used again first, the latest first: its memory is the warmest, and the slots
//! ever used stay the low ones, so that a sweep of a nearly empty table is short.
//!
//! Slots are numbered within the shard here.

use arrayvec::ArrayVec;

use super::bits::{WORD_SLOTS, ones, steps};
use super::lists::Lists;
use super::{Counts, Slots, bit};
use crate::owned::Owned;
use crate::quiescence::Quiescence;
use crate::sync::AtomicU32;
use crate::{SWEEP_DUE_MAX, ShardIndex};

/// See the file's page.
pub(crate) struct OwnedSlots {
    slots: Slots,
    shard: ShardIndex,
    live_count: u32,
    /// Slots from here on were never in use.
    used: u32,
    lists: Lists,
    sweep_next: usize,
}

impl OwnedSlots {
    /// Takes a shard as its last owner, perhaps in another process, left it. What is not in use is free after a grace.
    pub(crate) fn new(slots: &Slots, shard: ShardIndex) -> Self {
        let counts = slots.counts.get(usize::from(shard.0));
        let (live_count, used) = (counts.live.seen(), counts.used.seen().min(slots.slots_per_shard));
        let slots = slots.clone();
        let mut owned = Self { slots, shard, live_count, used, lists: Lists::EMPTY, sweep_next: 0 };
        // From the end, so that the first one is the first to be used.
        for slot in (0..used).rev() {
            if !owned.is_live(slot) {
                owned.gather(slot);
            }
        }
        owned
    }

    /// Slots in use.
    pub(crate) fn live_count(&self) -> u32 {
        self.live_count
    }

    /// The slot that [`Self::occupy`] will take, if there is one.
    pub(crate) fn free(&self) -> Option<u32> {
        self.lists.free().or((self.used < self.slots.slots_per_shard).then_some(self.used))
    }

    /// Starts to load a slot's deadline.
    #[inline]
    pub(crate) fn prefetch(&self, slot: u32) {
        self.slots.deadlines.prefetch(self.slots.first(self.shard).0.wrapping_add(slot) as usize);
    }

    /// Takes a slot into use: the one that [`Self::free`] named.
    pub(crate) fn occupy(&mut self, slot: u32, deadline_ms: u32) {
        debug_assert_eq!(self.free(), Some(slot));
        if slot == self.used {
            self.used += 1;
            self.counts().used.publish(self.used);
        } else {
            self.lists.take_free(self.slots.deadlines_of(self.shard));
        }
        self.deadlines()[slot as usize].publish(deadline_ms);
        self.set_live(slot, true);
    }

    /// Takes a live slot, which is in no index any more, out of use. It is free after a grace.
    pub(crate) fn retire(&mut self, slot: u32) {
        debug_assert!(self.is_live(slot));
        self.set_live(slot, false);
        self.gather(slot);
    }

    /// Frees the slots whose grace is over.
    pub(crate) fn reclaim(&mut self, quiescence: &Quiescence) {
        self.lists.reclaim(self.slots.deadlines_of(self.shard), quiescence);
    }

    /// True where the slot is in use.
    #[inline]
    pub(crate) fn is_live(&self, slot: u32) -> bool {
        slot < self.used && self.live_bits(slot as usize, 1) != 0
    }

    /// The deadline of a live slot.
    #[inline]
    pub(crate) fn deadline(&self, slot: u32) -> u32 {
        self.deadlines()[slot as usize].own()
    }

    /// Sets the deadline of a live slot; a free one has none, and stays as it is.
    #[inline]
    pub(crate) fn set_deadline(&mut self, slot: u32, deadline_ms: u32) {
        if self.is_live(slot) {
            self.deadlines()[slot as usize].publish(deadline_ms);
        }
    }

    /// The live slots among `slots` slots from `from` on.
    pub(crate) fn live(&self, from: u32, slots: usize) -> impl Iterator<Item = u32> + '_ {
        let used = self.used as usize;
        let from = (from as usize).min(used);
        let end = from.saturating_add(slots).min(used);
        steps(from, end)
            .flat_map(|(start, count)| ones(self.live_bits(start, count)).map(move |i| start + i))
            .map(|slot| slot as u32)
    }

    /// See [`crate::Owner::sweep`]. `named` is how the caller calls a slot.
    pub(crate) fn sweep<S>(
        &mut self,
        now_ms: u32,
        slots: usize,
        due: &mut ArrayVec<S, SWEEP_DUE_MAX>,
        named: impl Fn(u32) -> S,
    ) {
        let used = self.used as usize;
        let mut left = slots.min(used);
        while left > 0 {
            let start = self.sweep_next;
            let count = left.min(used - start).min(WORD_SLOTS - start % WORD_SLOTS);
            for i in ones(self.due_bits(start, count, now_ms)) {
                if due.try_push(named((start + i) as u32)).is_err() {
                    self.sweep_next = start + i;
                    return;
                }
            }
            left -= count;
            self.sweep_next = if start + count == used { 0 } else { start + count };
        }
    }

    /// Bit `i` is set where slot `start + i` is in use; all in one word of bits.
    fn live_bits(&self, start: usize, count: usize) -> u64 {
        let bits = self.slots.live_words(self.shard)[start / WORD_SLOTS].own() >> (start % WORD_SLOTS);
        bits & (u64::MAX >> (WORD_SLOTS - count))
    }

    /// Bit `i` is set where slot `start + i` is in use and due; all in one word of bits.
    fn due_bits(&self, start: usize, count: usize, now_ms: u32) -> u64 {
        let live = self.live_bits(start, count);
        if live == 0 {
            return 0;
        }
        let deadlines = &self.deadlines()[start..start + count];
        // Mostly none of them is, and this loop has no way out that the processor could guess wrong.
        if !deadlines.iter().fold(false, |any, deadline| any | is_due(deadline.own(), now_ms)) {
            return 0;
        }
        ones(live).filter(|&i| is_due(deadlines[i].own(), now_ms)).fold(0, |bits, i| bits | 1 << i)
    }

    fn set_live(&mut self, slot: u32, live: bool) {
        let word = &self.slots.live_words(self.shard)[slot as usize / WORD_SLOTS];
        word.publish(word.own() & !bit(slot) | if live { bit(slot) } else { 0 });
        self.live_count = if live { self.live_count + 1 } else { self.live_count.saturating_sub(1) };
        self.counts().live.publish(self.live_count);
    }

    fn gather(&mut self, slot: u32) {
        self.lists.gather(self.slots.deadlines_of(self.shard), slot);
    }

    fn counts(&self) -> &Counts {
        self.slots.counts.get(usize::from(self.shard.0))
    }

    fn deadlines(&self) -> &[AtomicU32] {
        self.slots.deadlines_of(self.shard)
    }
}

/// A deadline up to 2^31 ms (24 days) ago has passed, one as far ahead has not.
#[inline]
fn is_due(deadline_ms: u32, now_ms: u32) -> bool {
    now_ms.wrapping_sub(deadline_ms) as i32 >= 0
}
