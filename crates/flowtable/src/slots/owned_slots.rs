//! The slots of one shard, as its owner has them: which is free next, and which are due.
//!
//! Slots that were in use before are used again first, the latest first: its memory is the warmest, and the slots
//! ever used stay the low ones, so that a sweep of a nearly empty table is short.
//!
//! Slots are numbered within the shard here.
//!
//! # What a sweep looks at
//! For each 64 slots, a word of the live bits, it is known before when none of them is due:
//!
//! ```text
//! slots      | 0 ... 63 | 64 ... 127 | 128 ... 191 |
//! earliest   |  90311   |   81204    |   96000     |    4 bytes each, private: at 90000 only the second is looked at
//! ```
//!
//! A deadline that is set lowers its group's word, one that is put off or taken out leaves it. So a word may be too early,
//! never too late; then the group is looked at, and its word is what its live slots say. Packets set no deadlines, so that
//! mostly one word in 64 deadlines is read. Nothing of it lies in the region: whoever takes the shard looks at all once.

use arrayvec::ArrayVec;

use super::bits::{WORD_SLOTS, ones, steps};
use super::lists::Lists;
use super::{Counts, Slots, bit, words};
use crate::owned::Owned;
use crate::quiescence::Quiescence;
use crate::sync::{AtomicU32, AtomicU64};
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
    /// For each word of live bits: none of its slots is due before.
    earliest: Box<[u32]>,
    /// When the last sweep was; there was none at first. What is earlier is told by it, as the milliseconds wrap.
    swept_ms: Option<u32>,
}

/// After so long without a sweep (12 days) it is not known any more what is earlier.
const KNOWN_MS: u32 = 1 << 30;

impl OwnedSlots {
    /// Takes a shard as its last owner, perhaps in another process, left it. What is not in use is free after a grace.
    pub(crate) fn new(slots: &Slots, shard: ShardIndex) -> Self {
        let counts = slots.counts.get(usize::from(shard.0));
        let (live_count, used) = (counts.live.seen(), counts.used.seen().min(slots.slots_per_shard));
        let earliest = vec![0; words(slots.slots_per_shard)].into();
        let (slots, lists, sweep_next, swept_ms) = (slots.clone(), Lists::EMPTY, 0, None);
        let mut owned = Self { slots, shard, live_count, used, lists, sweep_next, earliest, swept_ms };
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
        self.slots.deadlines.prefetch(self.place(slot));
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
        self.deadline_of(slot).publish(deadline_ms);
        self.note_deadline(slot, deadline_ms);
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
        slot < self.used && self.live_word(slot).own() & bit(slot) != 0
    }

    /// The deadline of a live slot.
    #[inline]
    pub(crate) fn deadline(&self, slot: u32) -> u32 {
        self.deadline_of(slot).own()
    }

    /// Sets the deadline of a live slot; a free one has none, and stays as it is.
    #[inline]
    pub(crate) fn set_deadline(&mut self, slot: u32, deadline_ms: u32) {
        if self.is_live(slot) {
            self.deadline_of(slot).publish(deadline_ms);
            self.note_deadline(slot, deadline_ms);
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
        self.note_time(now_ms);
        let used = self.used as usize;
        let mut left = slots.min(used);
        while left > 0 {
            let start = self.sweep_next;
            let count = left.min(used - start).min(WORD_SLOTS - start % WORD_SLOTS);
            if self.may_be_due(start / WORD_SLOTS, now_ms) {
                for i in ones(self.due_bits(start, count, now_ms)) {
                    if due.try_push(named((start + i) as u32)).is_err() {
                        self.sweep_next = start + i;
                        return;
                    }
                }
            }
            left -= count;
            self.sweep_next = if start + count == used { 0 } else { start + count };
        }
    }

    /// A sweep begins. Where too long a time has passed to tell what is earlier, or it went back, all is to be looked at.
    fn note_time(&mut self, now_ms: u32) {
        let is_known = self.swept_ms.is_some_and(|swept_ms| now_ms.wrapping_sub(swept_ms) < KNOWN_MS);
        if !is_known {
            self.earliest.fill(now_ms);
        }
        self.swept_ms = Some(now_ms);
    }

    /// A slot's deadline was set.
    fn note_deadline(&mut self, slot: u32, deadline_ms: u32) {
        let Some(swept_ms) = self.swept_ms else { return };
        let earliest = &mut self.earliest[slot as usize / WORD_SLOTS];
        if past_ms(deadline_ms, swept_ms) > past_ms(*earliest, swept_ms) {
            *earliest = deadline_ms;
        }
    }

    /// Whether a slot of a group may be due; where one was thought to be, the group is looked at.
    fn may_be_due(&mut self, group: usize, now_ms: u32) -> bool {
        if !is_due(self.earliest[group], now_ms) {
            return false;
        }
        let first = group * WORD_SLOTS;
        let slots = WORD_SLOTS.min(self.used as usize - first);
        let deadlines = &self.deadlines()[first..first + slots];
        let live = ones(self.live_bits(first, slots));
        let most_past_ms = live.map(|i| past_ms(deadlines[i].own(), now_ms)).max().unwrap_or(i32::MIN);
        // What is due stays so, and is to be looked at again.
        self.earliest[group] = now_ms.wrapping_sub_signed(most_past_ms.min(0));
        most_past_ms >= 0
    }

    /// Bit `i` is set where slot `start + i` is in use; all in one word of bits.
    fn live_bits(&self, start: usize, count: usize) -> u64 {
        let bits = self.slots.live_words(self.shard)[start / WORD_SLOTS].own() >> (start % WORD_SLOTS);
        bits & (u64::MAX >> (WORD_SLOTS - count))
    }

    /// Bit `i` is set where slot `start + i` is in use and due; all in one word of bits.
    fn due_bits(&self, start: usize, count: usize, now_ms: u32) -> u64 {
        let deadlines = &self.deadlines()[start..start + count];
        let live = ones(self.live_bits(start, count));
        live.filter(|&i| is_due(deadlines[i].own(), now_ms)).fold(0, |bits, i| bits | 1 << i)
    }

    fn set_live(&mut self, slot: u32, live: bool) {
        let word = self.live_word(slot);
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

    /// The word of live bits that has the slot's.
    fn live_word(&self, slot: u32) -> &AtomicU64 {
        self.slots.live.get(self.slots.word(self.shard, slot))
    }

    /// The slot's number among those of all shards.
    fn place(&self, slot: u32) -> usize {
        self.slots.first(self.shard).0.wrapping_add(slot) as usize
    }

    fn deadline_of(&self, slot: u32) -> &AtomicU32 {
        self.slots.deadlines.get(self.place(slot))
    }

    fn deadlines(&self) -> &[AtomicU32] {
        self.slots.deadlines_of(self.shard)
    }
}

/// A deadline up to 2^31 ms (24 days) ago has passed, one as far ahead has not.
#[inline]
fn is_due(deadline_ms: u32, now_ms: u32) -> bool {
    past_ms(deadline_ms, now_ms) >= 0
}

/// How long ago a deadline was, less than nothing where it is ahead.
#[inline]
fn past_ms(deadline_ms: u32, now_ms: u32) -> i32 {
    now_ms.wrapping_sub(deadline_ms) as i32
}
