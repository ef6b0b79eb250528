//! The table itself: lines, the index that finds them, and the slots they belong to, put together.
//!
//! ```text
//!             K = 16 bytes   V = 48 bytes                 N = 2: slot s is lines 2s and 2s + 1
//! line 2s     | key          | value                      |  64 bytes, one cache line
//! line 2s + 1 | key          | value                      |
//! ```
//!
//! A line's key and value lie side by side, so that the cache line fetched to verify the key brings the value along.
//! A small line shares a cache line with its neighbours and never straddles two; a larger one starts a cache line.

use arrayvec::ArrayVec;

use crate::hash::{Hash, Hasher};
use crate::index::{Index, Peek, Spot};
use crate::machine::Cells;
use crate::slots::Slots;
use crate::{HashKey, InsertError, Key, LineIndex, SWEEP_DUE_MAX, SlotIndex};

/// Keys looked up together, as many as a burst of frames has. A core waits for some 16 cache lines at once, so that
/// fewer keys would leave it idle at the end of each loop; more would have to stay in its first cache for longer.
const BURST: usize = 32;

#[derive(Clone, Copy)]
#[repr(C)]
struct Line<K, V> {
    key: K,
    value: V,
}

const _: () = {
    assert!(
        size_of::<Line<[u8; 16], [u64; 6]>>() == 64,
        "key and value of a session's line share a cache line"
    );
    assert!(Cells::<Line<[u8; 16], [u64; 6]>>::STRIDE == 64);
    assert!(Cells::<Line<u64, u64>>::STRIDE == 16, "small lines share a cache line");
    assert!(Cells::<Line<[u8; 48], [u64; 6]>>::STRIDE == 128);
};

/// See the crate's page.
pub struct Table<K, V, const N: usize> {
    hasher: Hasher,
    index: Index,
    lines: Cells<Line<K, V>>,
    slots: Slots,
}

impl<K: Key, V: Copy + Default, const N: usize> Table<K, V, N> {
    /// A table of `slots_max` slots, its memory allocated and touched now and never again.
    ///
    /// # Panics
    /// If there are 2^32 lines or more.
    pub fn new(slots_max: u32, hash_key: HashKey) -> Self {
        Self::with_index(slots_max, Hasher::new(hash_key), Index::for_lines(Self::lines_max(slots_max)))
    }

    fn with_index(slots_max: u32, hasher: Hasher, index: Index) -> Self {
        const { assert!(N == 1 || N == 2 || N == 4, "a slot has one, two or four lines") };
        let lines = Cells::new(Self::lines_max(slots_max) as usize);
        Self { hasher, index, lines, slots: Slots::new(slots_max) }
    }

    fn lines_max(slots_max: u32) -> u32 {
        let lines = u64::from(slots_max) * N as u64;
        assert!(lines < u64::from(u32::MAX), "line numbers have 32 bits");
        lines as u32
    }

    /// Slots in use.
    pub fn len(&self) -> u32 {
        self.slots.live_count()
    }

    /// True where no slot is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slots in all.
    pub fn slots_max(&self) -> u32 {
        self.slots.slots_max()
    }

    /// Finds one key. Two or three cache lines, each waited for: for many keys see [`Table::find_burst`].
    pub fn find(&self, key: &K) -> Option<LineIndex> {
        self.find_at(self.index.spot(self.hasher.hash_one(key)), key)
    }

    /// Finds many keys at once; `None` keys are skipped. The memory of all of them is fetched before any is waited
    /// for.
    ///
    /// # Panics
    /// If `found` is shorter than `keys`.
    pub fn find_burst(&self, keys: &[Option<K>], found: &mut [Option<LineIndex>]) {
        assert!(found.len() >= keys.len(), "as many answers as keys");
        for (keys, found) in keys.chunks(BURST).zip(found.chunks_mut(BURST)) {
            self.find_chunk(keys, found);
        }
    }

    /// Each loop asks for the memory that the next one reads. Counting loops over arrays side by side, not iterators
    /// zipped: they cost a fifth less instructions, because one check of `count` serves for all.
    fn find_chunk(&self, keys: &[Option<K>], found: &mut [Option<LineIndex>]) {
        let count = keys.len().min(found.len()).min(BURST);
        let (keys, found) = (&keys[..count], &mut found[..count]);
        let mut hashes = [Hash::default(); BURST];
        self.hasher.hash_burst(keys, &mut hashes);
        let mut spots = [Spot::default(); BURST];
        for i in 0..count {
            spots[i] = self.index.spot(hashes[i]);
            self.index.prefetch_home(spots[i]);
        }
        let mut peeks = [Peek::Absent; BURST];
        for i in 0..count {
            if keys[i].is_some() {
                peeks[i] = self.index.peek_home(spots[i]);
                self.prefetch(peeks[i]);
            }
        }
        for i in 0..count {
            if let Peek::Away(other) = peeks[i] {
                peeks[i] = self.index.peek_other(spots[i], other);
                self.prefetch(peeks[i]);
            }
        }
        for i in 0..count {
            found[i] = match (&keys[i], peeks[i]) {
                (Some(key), Peek::Line(line)) if self.has_key(line, key) => Some(line),
                // A line of the same tag and another key: rare enough to begin again.
                (Some(key), Peek::Line(_)) => self.find_at(spots[i], key),
                _ => None,
            };
        }
    }

    #[inline]
    fn prefetch(&self, peek: Peek) {
        if let Peek::Line(line) = peek {
            self.lines.prefetch(line.0 as usize);
        }
    }

    /// Inserts a slot with `N` lines, which leaves at `deadline_ms` at the earliest. Fails whole or not at all; that
    /// a key is there already is said before that there is no room.
    ///
    /// # Errors
    /// [`InsertError`]; nothing is changed.
    pub fn insert(
        &mut self,
        keys: [K; N],
        values: [V; N],
        deadline_ms: u32,
    ) -> Result<SlotIndex, InsertError> {
        let spots = keys.map(|key| self.index.spot(self.hasher.hash_one(&key)));
        spots.iter().for_each(|&spot| self.index.prefetch_both(spot));
        let slot = self.slots.free();
        if let Some(slot) = slot {
            (0..N).for_each(|side| self.lines.prefetch(self.line_of(slot, side).0 as usize));
        }
        for (side, key) in keys.iter().enumerate() {
            if keys[..side].iter().any(|earlier| same(earlier, key)) {
                return Err(InsertError::Repeated);
            }
            if let Some(line) = self.find_at(spots[side], key) {
                return Err(InsertError::Duplicate(line));
            }
        }
        let slot = slot.ok_or(InsertError::Full)?;
        for (side, (key, value)) in keys.into_iter().zip(values).enumerate() {
            self.lines.set(self.line_of(slot, side).0 as usize, Line { key, value });
        }
        for (side, &spot) in spots.iter().enumerate() {
            if self.index.link(spot, self.line_of(slot, side)).is_err() {
                for (side, &spot) in spots[..side].iter().enumerate() {
                    self.index.unlink(spot, self.line_of(slot, side));
                }
                return Err(InsertError::Crowded);
            }
        }
        self.slots.occupy(slot, deadline_ms);
        Ok(slot)
    }

    /// Takes a slot out and returns what it held.
    ///
    /// # Panics
    /// If the slot is not in use.
    pub fn remove(&mut self, slot: SlotIndex) -> ([K; N], [V; N]) {
        assert!(self.is_live(slot), "a slot that is not in use cannot be removed");
        let lines: [_; N] = std::array::from_fn(|side| *self.line(self.line_of(slot, side)));
        for (side, line) in lines.iter().enumerate() {
            let spot = self.index.spot(self.hasher.hash_one(&line.key));
            let unlinked = self.index.unlink(spot, self.line_of(slot, side));
            debug_assert!(unlinked, "every line of a live slot is in the index");
        }
        self.slots.release(slot);
        (lines.map(|line| line.key), lines.map(|line| line.value))
    }

    /// The slot a line belongs to.
    pub fn slot_of(&self, line: LineIndex) -> SlotIndex {
        SlotIndex(line.0 / N as u32)
    }

    /// Which of its slot's lines it is: 0 to `N - 1`, in the order of insertion.
    pub fn side_of(&self, line: LineIndex) -> usize {
        (line.0 % N as u32) as usize
    }

    /// A line of a slot.
    pub fn line_of(&self, slot: SlotIndex, side: usize) -> LineIndex {
        LineIndex(slot.0 * N as u32 + side as u32)
    }

    /// A line's key.
    ///
    /// # Panics
    /// If the slot was never in use; with debug assertions, also if it is not in use now.
    pub fn key(&self, line: LineIndex) -> &K {
        debug_assert!(self.is_live(self.slot_of(line)), "a line of a slot in use");
        &self.line(line).key
    }

    /// A line's value.
    ///
    /// # Panics
    /// As [`Table::key`].
    pub fn value(&self, line: LineIndex) -> &V {
        debug_assert!(self.is_live(self.slot_of(line)), "a line of a slot in use");
        &self.line(line).value
    }

    /// A line's value, to be changed in place.
    ///
    /// # Panics
    /// As [`Table::key`].
    pub fn value_mut(&mut self, line: LineIndex) -> &mut V {
        debug_assert!(self.is_live(self.slot_of(line)), "a line of a slot in use");
        &mut self.lines.get_mut(line.0 as usize).value
    }

    /// True where the line is in use and has this key. What a lookup found may have been removed since, and its slot
    /// used again: ask this before using a line that was found before the last removal.
    pub fn holds(&self, line: LineIndex, key: &K) -> bool {
        self.is_live(self.slot_of(line)) && self.has_key(line, key)
    }

    /// True where the slot is in use.
    pub fn is_live(&self, slot: SlotIndex) -> bool {
        self.slots.is_live(slot)
    }

    /// The slots in use among the `slots` slots from `from` on, in order: a long list is made in short pieces, each
    /// going on `slots` after the last, until [`Table::slots_max`].
    pub fn live(&self, from: SlotIndex, slots: usize) -> impl Iterator<Item = SlotIndex> + '_ {
        self.slots.live(from, slots)
    }

    /// Sets when a slot is due next. A slot that is not in use stays as it is.
    pub fn set_deadline(&mut self, slot: SlotIndex, deadline_ms: u32) {
        debug_assert!(self.is_live(slot), "a slot in use");
        self.slots.set_deadline(slot, deadline_ms);
    }

    /// Looks at the next `slots` deadlines, round and round, and adds to `due` the slots in use whose deadline has
    /// passed (`deadline <= now`, with wrapping). Stops early where `due` is full, and goes on from there. What is
    /// due stays due until it is removed or re-armed. No slot is looked at twice in a call; slots that were never in
    /// use count as none.
    pub fn sweep(&mut self, now_ms: u32, slots: usize, due: &mut ArrayVec<SlotIndex, SWEEP_DUE_MAX>) {
        self.slots.sweep(now_ms, slots, due);
    }

    fn find_at(&self, spot: Spot, key: &K) -> Option<LineIndex> {
        self.index.find(spot, |line| self.has_key(line, key))
    }

    #[inline]
    fn has_key(&self, line: LineIndex, key: &K) -> bool {
        same(&self.line(line).key, key)
    }

    #[inline]
    fn line(&self, line: LineIndex) -> &Line<K, V> {
        self.lines.get(line.0 as usize)
    }
}

/// Compares keys as the hash sees them: byte by byte.
#[inline]
fn same<K: Key>(a: &K, b: &K) -> bool {
    a.as_bytes() == b.as_bytes()
}

#[cfg(test)]
mod tests;
