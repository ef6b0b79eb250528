//! Which slots are in use, which is free next, and which are due.
//!
//! ```text
//! deadlines   | 81204 | 90311 |   7   | 81777 | NONE  |          one u32 per slot ever used: milliseconds in a live slot,
//! live        |   1   |   1   |   0   |   1   |   0   |          the number of the next free one in a free slot
//!                                 └───────────────^
//! ```
//!
//! A timer per session, or a list kept in order of last use, writes memory for each packet. Here a packet writes
//! nothing: the sweep reads a dense array, sixteen deadlines in a cache line, and only for a slot that seems due does
//! the owner look at the lines, which know when the last packet came.
//!
//! Slots that were in use before are used again first, the latest first: its memory is the warmest, and the slots
//! ever used stay the low ones, so that a sweep of a nearly empty table is short.

use arrayvec::ArrayVec;

use crate::machine::Cells;
use crate::{SWEEP_DUE_MAX, SlotIndex};

/// Ends the list of free slots.
const NONE: u32 = u32::MAX;

/// Live bits in a word, and deadlines looked at in one step.
const WORD_SLOTS: usize = u64::BITS as usize;

/// See the file's page.
pub(crate) struct Slots {
    /// As long as the slots ever used.
    deadlines: Cells<u32>,
    live: Cells<u64>,
    live_count: u32,
    free_first: u32,
    sweep_next: usize,
}

impl Slots {
    pub(crate) fn new(slots_max: u32) -> Self {
        Self {
            deadlines: Cells::new(slots_max as usize),
            live: Cells::filled((slots_max as usize).div_ceil(WORD_SLOTS), 0),
            live_count: 0,
            free_first: NONE,
            sweep_next: 0,
        }
    }

    /// Slots in use.
    pub(crate) fn live_count(&self) -> u32 {
        self.live_count
    }

    /// Slots in all.
    pub(crate) fn slots_max(&self) -> u32 {
        self.deadlines.capacity() as u32
    }

    /// The slot that [`Self::occupy`] will take, if there is one.
    pub(crate) fn free(&self) -> Option<SlotIndex> {
        let used = self.deadlines.len();
        match self.free_first {
            NONE => (used < self.deadlines.capacity()).then_some(SlotIndex(used as u32)),
            slot => Some(SlotIndex(slot)),
        }
    }

    /// Takes a slot into use: the one that [`Self::free`] named.
    pub(crate) fn occupy(&mut self, SlotIndex(slot): SlotIndex, deadline_ms: u32) {
        debug_assert_eq!(self.free(), Some(SlotIndex(slot)));
        if self.free_first == slot {
            self.free_first = *self.deadlines.get(slot as usize);
        }
        self.deadlines.set(slot as usize, deadline_ms);
        *self.live.get_mut(slot as usize / WORD_SLOTS) |= live_bit(slot);
        self.live_count += 1;
    }

    /// Gives a live slot back.
    pub(crate) fn release(&mut self, SlotIndex(slot): SlotIndex) {
        debug_assert!(self.is_live(SlotIndex(slot)));
        *self.live.get_mut(slot as usize / WORD_SLOTS) &= !live_bit(slot);
        self.live_count -= 1;
        *self.deadlines.get_mut(slot as usize) = self.free_first;
        self.free_first = slot;
    }

    /// True where the slot is in use.
    #[inline]
    pub(crate) fn is_live(&self, SlotIndex(slot): SlotIndex) -> bool {
        (slot as usize) < self.deadlines.len()
            && self.live.get(slot as usize / WORD_SLOTS) & live_bit(slot) != 0
    }

    /// Sets the deadline of a live slot; a free one has none, and stays as it is.
    #[inline]
    pub(crate) fn set_deadline(&mut self, slot: SlotIndex, deadline_ms: u32) {
        if self.is_live(slot) {
            *self.deadlines.get_mut(slot.0 as usize) = deadline_ms;
        }
    }

    /// The live slots among `slots` slots from `from` on.
    pub(crate) fn live(&self, from: SlotIndex, slots: usize) -> impl Iterator<Item = SlotIndex> + '_ {
        let from = (from.0 as usize).min(self.deadlines.len());
        let end = from.saturating_add(slots).min(self.deadlines.len());
        steps(from, end)
            .flat_map(|(start, count)| ones(self.live_bits(start, count)).map(move |i| start + i))
            .map(|slot| SlotIndex(slot as u32))
    }

    /// See [`crate::Table::sweep`].
    pub(crate) fn sweep(&mut self, now_ms: u32, slots: usize, due: &mut ArrayVec<SlotIndex, SWEEP_DUE_MAX>) {
        let used = self.deadlines.len();
        let mut left = slots.min(used);
        while left > 0 {
            let start = self.sweep_next;
            let count = left.min(used - start).min(WORD_SLOTS - start % WORD_SLOTS);
            for i in ones(self.due_bits(start, count, now_ms)) {
                if due.try_push(SlotIndex((start + i) as u32)).is_err() {
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
        let bits = self.live.get(start / WORD_SLOTS) >> (start % WORD_SLOTS);
        bits & (u64::MAX >> (WORD_SLOTS - count))
    }

    /// Bit `i` is set where slot `start + i` is in use and due; all in one word of bits.
    fn due_bits(&self, start: usize, count: usize, now_ms: u32) -> u64 {
        let live = self.live_bits(start, count);
        if live == 0 {
            return 0;
        }
        let deadlines = &self.deadlines.as_slice()[start..start + count];
        // Mostly none of them is, and this loop without a way out is done four or more at a time.
        if !deadlines.iter().fold(false, |any, &deadline| any | is_due(deadline, now_ms)) {
            return 0;
        }
        ones(live).filter(|&i| is_due(deadlines[i], now_ms)).fold(0, |bits, i| bits | 1 << i)
    }
}

/// A deadline up to 2^31 ms (24 days) ago has passed, one as far ahead has not.
#[inline]
fn is_due(deadline_ms: u32, now_ms: u32) -> bool {
    now_ms.wrapping_sub(deadline_ms) as i32 >= 0
}

#[inline]
fn live_bit(slot: u32) -> u64 {
    1 << (slot as usize % WORD_SLOTS)
}

/// Cuts a run of slots at the borders of the words of live bits: where each piece starts and how long it is.
fn steps(from: usize, end: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut start = from;
    std::iter::from_fn(move || {
        let count = (end - start).min(WORD_SLOTS - start % WORD_SLOTS);
        let step = (count > 0).then_some((start, count));
        start += count;
        step
    })
}

/// The bits that are set, the lowest first.
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        lowest
    })
}

#[cfg(test)]
mod tests;
