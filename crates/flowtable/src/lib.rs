//! A preallocated, index-addressed table that many keys find fast.
//!
//! A *slot* holds `N` *lines*, each with a key of its own and a value: a session's two directions, a mapping's two
//! endpoints, a lone permission. Any of a slot's keys finds its line, and the line's index gives the slot.
//! The table knows nothing of packets, NAT or the clock: time is a `u32` of milliseconds that may wrap.

use arrayvec::ArrayVec;

/// The most slots one call of [`Table::sweep`] reports.
pub const SWEEP_DUE_MAX: usize = 64;

/// A slot: `N` lines that were inserted together and leave together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotIndex(pub u32);

/// One line of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineIndex(pub u32);

/// The key of the hash: whoever does not know it cannot choose keys that collide.
#[derive(Clone, Copy)]
pub struct HashKey(pub [u64; 2]);

/// What can be a key: plain bytes without padding, compared whole.
pub trait Key: Copy + Eq + zerocopy::IntoBytes + zerocopy::Immutable {}
impl<T: Copy + Eq + zerocopy::IntoBytes + zerocopy::Immutable> Key for T {}

/// Why an insertion was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// Every slot is taken.
    Full,
    /// No place in the index within the bounded number of displacements.
    Crowded,
    /// A key is there already, in this line.
    Duplicate(LineIndex),
}

/// See the crate's page.
pub struct Table<K, V, const N: usize> {
    _keys: Vec<[K; N]>,
    _values: Vec<[V; N]>,
}

impl<K: Key, V: Copy + Default, const N: usize> Table<K, V, N> {
    /// A table of `slots_max` slots, its memory allocated now and never again.
    pub fn new(slots_max: u32, hash_key: HashKey) -> Self {
        let _ = (slots_max, hash_key);
        todo!()
    }
    /// Slots in use.
    pub fn len(&self) -> u32 {
        todo!()
    }
    /// True where no slot is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Slots in all.
    pub fn slots_max(&self) -> u32 {
        todo!()
    }
    /// Finds one key.
    pub fn find(&self, key: &K) -> Option<LineIndex> {
        let _ = key;
        todo!()
    }
    /// Finds many keys at once; `None` keys are skipped. The memory of all of them is fetched before any is waited for.
    ///
    /// # Panics
    /// If `found` is shorter than `keys`.
    pub fn find_burst(&self, keys: &[Option<K>], found: &mut [Option<LineIndex>]) {
        let _ = (keys, found);
        todo!()
    }
    /// Inserts a slot with `N` lines, which leaves at `deadline_ms` at the earliest.
    ///
    /// # Errors
    /// [`InsertError`]; nothing is changed.
    pub fn insert(&mut self, keys: [K; N], values: [V; N], deadline_ms: u32) -> Result<SlotIndex, InsertError> {
        let _ = (keys, values, deadline_ms);
        todo!()
    }
    /// Takes a slot out and returns what it held.
    pub fn remove(&mut self, slot: SlotIndex) -> ([K; N], [V; N]) {
        let _ = slot;
        todo!()
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
    pub fn key(&self, line: LineIndex) -> &K {
        let _ = line;
        todo!()
    }
    /// A line's value.
    pub fn value(&self, line: LineIndex) -> &V {
        let _ = line;
        todo!()
    }
    /// A line's value, to be changed in place.
    pub fn value_mut(&mut self, line: LineIndex) -> &mut V {
        let _ = line;
        todo!()
    }
    /// True where the slot is in use.
    pub fn is_live(&self, slot: SlotIndex) -> bool {
        let _ = slot;
        todo!()
    }
    /// Sets when a slot is due next.
    pub fn set_deadline(&mut self, slot: SlotIndex, deadline_ms: u32) {
        let _ = (slot, deadline_ms);
        todo!()
    }
    /// Looks at the next `slots` deadlines, round and round, and reports the slots whose deadline has passed
    /// (`deadline <= now`, with wrapping). Stops early where `due` is full. What is due stays due until it is removed
    /// or re-armed.
    pub fn sweep(&mut self, now_ms: u32, slots: usize, due: &mut ArrayVec<SlotIndex, SWEEP_DUE_MAX>) {
        let _ = (now_ms, slots, due);
        todo!()
    }
}
