//! The table as every thread has it: find, read, and write the values' atomics. It puts together the lines, the index
//! that finds them, and the slots they belong to.
//!
//! ```text
//!               shard 0                    shard 1                 ...       each with one owner
//! index       | buckets                  | buckets                | ...
//! slots       | 0 ... n - 1              | n ... 2n - 1           | ...      n slots in a shard
//! lines       | 0 ... Nn - 1             | Nn ... 2Nn - 1         | ...      slot s is lines Ns to Ns + N - 1
//! ```
//!
//! Which shard a key or an alias belongs to is the caller's to know; within it the hash finds the bucket. All of it lies in one
//! region, cut by [`Table::carve`]; beside it the process keeps which owners it has given out.

use std::alloc::{Layout, handle_alloc_error};
use std::sync::Arc;

use crate::carver::in_own_region;
use crate::hash::{Hash, Hasher};
use crate::index::{Index, Peek, Spot};
use crate::line::{Line, LineValue};
use crate::slots::{Slots, ones};
use crate::sync::{AtomicU32, Ordering};
use crate::{
    Carver, Cells, HashKey, HashKind, Key, LineIndex, Owner, Quiescence, SHARDS_MAX, ShardIndex, SlotIndex,
};

/// Keys looked up together, as many as a burst of frames has. A core waits for some 16 cache lines at once, so that
/// fewer keys would leave it idle at the end of each loop; more would have to stay in its first cache for longer.
const BURST: usize = 32;

/// No entry.
const NOWHERE: LineIndex = LineIndex(u32::MAX);

/// Where the entry of a key or an alias is, or would be: see [`Table::ask`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(pub(crate) Spot);

/// What may be sought in a burst: a key in its shard, or nothing.
pub trait Sought<K> {
    /// The shard and the key.
    fn sought(&self) -> Option<(ShardIndex, &K)>;
}

impl<K> Sought<K> for Option<(ShardIndex, K)> {
    #[inline]
    fn sought(&self) -> Option<(ShardIndex, &K)> {
        self.as_ref().map(|(shard, key)| (*shard, key))
    }
}

/// See the crate's page.
pub struct Table<K: Key, V, const N: usize> {
    pub(crate) hasher: Hasher,
    pub(crate) index: Index,
    pub(crate) lines: Cells<Line<K::Words, V>>,
    pub(crate) slots: Slots,
    shards: u8,
    /// A bit for each shard: its owner's role is given out.
    roles: AtomicU32,
}

const _: () = assert!(SHARDS_MAX == u32::BITS as usize, "one bit of `roles` for each shard");

impl<K: Key, V: LineValue<K>, const N: usize> Table<K, V, N> {
    /// A table of `shards` times `slots_per_shard` slots, in the next part of a region: empty in a new one, as it was
    /// left in one that was in use. That one must be taken over, shard by shard, before it is used
    /// ([`Table::take_over`]).
    ///
    /// # Panics
    /// If the lines have 2^32 entries in the index or more, or there are more than [`SHARDS_MAX`] shards, or none.
    pub fn carve(carver: &mut Carver, shards: u8, slots_per_shard: u32, hash_key: HashKey) -> Self {
        let buckets = Index::buckets_for(Self::entries_of(slots_per_shard));
        Self::carve_with(carver, shards, slots_per_shard, Hasher::new(hash_key), buckets)
    }

    /// A table in memory of its own.
    ///
    /// # Panics
    /// As [`Table::carve`], and if there is no memory.
    pub fn anonymous(shards: u8, slots_per_shard: u32, hash_key: HashKey) -> Self {
        let carve = |carver: &mut Carver| Self::carve(carver, shards, slots_per_shard, hash_key);
        in_own_region(carve).unwrap_or_else(|_| handle_alloc_error(Layout::new::<Self>()))
    }

    pub(crate) fn carve_with(
        carver: &mut Carver,
        shards: u8,
        slots_per_shard: u32,
        hasher: Hasher,
        buckets: u32,
    ) -> Self {
        const { assert!(N == 1 || N == 2 || N == 4, "a slot has one, two or four lines") };
        const { assert!(N == 1 || !V::HAS_ALIAS, "a slot whose line has an alias has no other line") };
        assert!((1..=SHARDS_MAX).contains(&usize::from(shards)), "a table has 1 to {SHARDS_MAX} shards");
        let entries = usize::from(shards) * Self::entries_of(slots_per_shard) as usize;
        assert!(entries < u32::MAX as usize, "entries' numbers have 32 bits");
        Self {
            hasher,
            index: Index::carve(carver, shards, buckets),
            slots: Slots::carve(carver, shards, slots_per_shard),
            lines: carver.cells(entries / Self::ENTRIES_PER_LINE as usize),
            shards,
            roles: AtomicU32::new(0),
        }
    }

    fn entries_of(slots: u32) -> u32 {
        let entries = u64::from(slots) * Self::ENTRIES_PER_SLOT as u64;
        assert!(entries < u64::from(u32::MAX), "entries' numbers have 32 bits");
        entries as u32
    }

    /// Which hash places the keys: in a table that another process left, it must be the same.
    pub fn hash_kind(&self) -> HashKind {
        self.hasher.kind()
    }

    /// Finds one key. Two or three cache lines, each waited for: for many keys see [`Table::find_burst`]. Always where it is
    /// called: by itself it takes 18 instructions more.
    ///
    /// # Concurrency
    /// A key that is in the table all the while is found. What is found may be read until the caller's
    /// [`Reader`](crate::Reader) passes, even if it is taken out meanwhile.
    ///
    /// # Panics
    /// If there is no such shard.
    #[inline(always)]
    pub fn find(&self, shard: ShardIndex, key: &K) -> Option<LineIndex> {
        self.find_at(&self.spot(shard, key), key)
    }

    /// Finds one line by its alias. Where lines have none, none is found.
    ///
    /// # Concurrency
    /// As [`Table::find`].
    ///
    /// # Panics
    /// If there is no such shard.
    #[inline]
    pub fn find_alias(&self, shard: ShardIndex, alias: u64) -> Option<LineIndex> {
        self.find_alias_at(&self.spot_of_alias(shard, alias), alias)
    }

    /// Finds many keys at once, each in its shard; where none is sought, none is found. The memory of all of them is
    /// fetched before any is waited for.
    ///
    /// # Concurrency
    /// As [`Table::find`].
    ///
    /// # Panics
    /// If `found` is shorter than `sought`, or there is no such shard.
    pub fn find_burst<S: Sought<K>>(&self, sought: &[S], found: &mut [Option<LineIndex>]) {
        assert!(found.len() >= sought.len(), "as many answers as keys");
        for (sought, found) in sought.chunks(BURST).zip(found.chunks_mut(BURST)) {
            self.find_chunk(sought, &mut [Place::default(); BURST], found);
        }
    }

    /// The same, and says of each key where it was looked for: whoever inserts those that are not there need not find that out
    /// again.
    ///
    /// # Panics
    /// As [`Table::find_burst`], and if `places` is shorter than `sought`.
    pub fn find_burst_at<S: Sought<K>>(
        &self,
        sought: &[S],
        places: &mut [Place],
        found: &mut [Option<LineIndex>],
    ) {
        assert!(found.len() >= sought.len() && places.len() >= sought.len(), "as many answers as keys");
        let answers = places.chunks_mut(BURST).zip(found.chunks_mut(BURST));
        sought
            .chunks(BURST)
            .zip(answers)
            .for_each(|(sought, (places, found))| self.find_chunk(sought, places, found));
    }

    /// Each loop asks for the memory that the next one reads. Counting loops over arrays side by side, not iterators
    /// zipped: they cost a fifth less instructions, because one check of `count` serves for all.
    fn find_chunk<S: Sought<K>>(&self, sought: &[S], places: &mut [Place], found: &mut [Option<LineIndex>]) {
        let count = sought.len().min(places.len()).min(found.len()).min(BURST);
        let (sought, places, found) = (&sought[..count], &mut places[..count], &mut found[..count]);
        let mut hashes = [Hash::default(); BURST];
        self.hasher.hash_burst(sought, |one| one.sought().map(|(_, key)| key), &mut hashes);
        for i in 0..count {
            if let Some((shard, _)) = sought[i].sought() {
                places[i] = self.ask(Place(self.index.spot(shard, hashes[i])));
            }
        }
        // Bit by bit: keys that are nowhere, and those that may be in their other bucket.
        let (mut entries, mut absent, mut away) = ([NOWHERE; BURST], 0_u32, 0_u32);
        let mut returns = [0; BURST];
        for i in 0..count {
            if sought[i].sought().is_some() {
                match self.index.peek_home(places[i].0) {
                    Peek::Line(entry) => entries[i] = self.prefetched(entry),
                    Peek::Absent => absent |= 1 << i,
                    Peek::Away { returns: returned } => {
                        away |= 1 << i;
                        returns[i] = returned;
                    }
                    Peek::Unsure => {}
                }
            }
        }
        for i in ones(away.into()) {
            match self.index.peek_other(places[i].0, returns[i]) {
                Peek::Line(entry) => entries[i] = self.prefetched(entry),
                Peek::Absent => absent |= 1 << i,
                Peek::Away { .. } | Peek::Unsure => {}
            }
        }
        for i in 0..count {
            found[i] = match sought[i].sought() {
                Some((_, key)) if self.is_of_key(entries[i], key) => Some(Self::line_at(entries[i])),
                // A line of the same tag and another key, or one that moved: rare enough to begin again.
                Some((_, key)) if absent >> i & 1 == 0 => self.find_at(&places[i].0, key),
                _ => None,
            };
        }
    }

    #[inline]
    fn prefetched(&self, entry: LineIndex) -> LineIndex {
        self.lines.prefetch(Self::line_at(entry).0 as usize);
        entry
    }

    #[inline]
    fn prefetch(&self, peek: Peek) {
        if let Peek::Line(entry) = peek {
            self.lines.prefetch(Self::line_at(entry).0 as usize);
        }
    }

    /// Where a key's entry would be.
    #[inline]
    pub fn place(&self, shard: ShardIndex, key: &K) -> Place {
        Place(self.spot(shard, key))
    }

    /// Where an alias' entry would be.
    #[inline]
    pub fn place_of_alias(&self, shard: ShardIndex, alias: u64) -> Place {
        Place(self.spot_of_alias(shard, alias))
    }

    /// Starts to load what is there.
    ///
    /// # Panics
    /// If there is no such shard.
    #[inline]
    pub fn ask(&self, place: Place) -> Place {
        self.index.prefetch_home(place.0);
        place
    }

    /// The line that is probably that of the key or alias which was [asked](Self::ask) for before, and starts to load it. A
    /// guess: of some that there are it says nothing, and what it says may be another's.
    #[inline]
    pub fn guess(&self, Place(spot): Place) -> Option<LineIndex> {
        let peek = self.index.peek_home(spot);
        self.prefetch(peek);
        match peek {
            Peek::Line(entry) => Some(Self::line_at(entry)),
            _ => None,
        }
    }

    /// True where the line is in use and has this key. What a lookup found may have been removed since, and its slot
    /// used again: ask this before using a line that was found before the last quiescent point.
    pub fn holds(&self, line: LineIndex, key: &K) -> bool {
        self.slots.is_live(self.slot_of(line)) && self.has_key(line, key)
    }

    /// A line's key. Of a slot that is not in use: the last one it had.
    ///
    /// # Panics
    /// If there is no such line.
    #[inline]
    pub fn key(&self, line: LineIndex) -> K {
        self.lines.get(line.0 as usize).key()
    }

    /// Starts to load a line. Any index is fine.
    #[inline]
    pub fn prefetch_line(&self, line: LineIndex) {
        self.lines.prefetch(line.0 as usize);
    }

    /// What `read` reads of a line's value, if the line has this key; the line was found once, and may be out of use since or
    /// another key's. Any index is fine.
    ///
    /// # Concurrency
    /// The value is read first, then the key. So where `read` loads, with acquire, a word that whoever fills a line stores
    /// with release, what is returned is of this key: the key was there before the word.
    #[inline]
    pub fn read_hinted<R>(&self, line: LineIndex, key: &K, read: impl FnOnce(&V) -> R) -> Option<R> {
        let line = self.lines.try_get(line.0 as usize)?;
        let value = read(&line.value);
        line.has_key(key).then_some(value)
    }

    /// A line's value. Of a slot that is not in use: the last one it had.
    ///
    /// # Panics
    /// If there is no such line.
    #[inline]
    pub fn value(&self, line: LineIndex) -> &V {
        &self.lines.get(line.0 as usize).value
    }

    /// The slot a line belongs to.
    #[inline]
    pub fn slot_of(&self, line: LineIndex) -> SlotIndex {
        SlotIndex(line.0 / N as u32)
    }

    /// Which of its slot's lines it is: 0 to `N - 1`, in the order of insertion.
    #[inline]
    pub fn side_of(&self, line: LineIndex) -> usize {
        (line.0 % N as u32) as usize
    }

    /// A line of a slot.
    #[inline]
    pub fn line_of(&self, slot: SlotIndex, side: usize) -> LineIndex {
        LineIndex(slot.0.wrapping_mul(N as u32).wrapping_add(side as u32))
    }

    /// The shard a slot belongs to.
    #[inline]
    pub fn shard_of(&self, slot: SlotIndex) -> ShardIndex {
        self.slots.shard_of(slot)
    }

    /// When a slot in use is due next, as its owner has set it. Of a slot that is not in use: any number.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn deadline(&self, slot: SlotIndex) -> u32 {
        self.slots.deadline(slot)
    }

    /// Shards.
    pub fn shards(&self) -> u8 {
        self.shards
    }

    /// Slots of each shard.
    pub fn slots_per_shard(&self) -> u32 {
        self.slots.slots_per_shard()
    }

    /// Slots in all.
    pub fn slots_max(&self) -> u32 {
        u32::from(self.shards) * self.slots_per_shard()
    }

    /// Slots in use in all shards, a moment ago.
    pub fn len(&self) -> u32 {
        self.slots.live_count()
    }

    /// True where no slot is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The owner's role for a shard. Slots that the last owner removed are free after a grace.
    ///
    /// # Panics
    /// If the role was given out before and not dropped since, or there is no such shard.
    pub fn owner(self: &Arc<Self>, shard: ShardIndex, quiescence: &Arc<Quiescence>) -> Owner<K, V, N> {
        self.take_role(shard);
        Owner::new(self, shard, quiescence)
    }
}

impl<K: Key, V, const N: usize> Table<K, V, N> {
    /// The role of a shard's only writer. Acquire: its next holder sees what the last one wrote.
    pub(crate) fn take_role(&self, ShardIndex(shard): ShardIndex) {
        assert!(shard < self.shards, "there is no such shard");
        let taken = self.roles.fetch_or(1 << shard, Ordering::Acquire) >> shard & 1 == 1;
        assert!(!taken, "a shard has one owner");
    }

    /// Gives the role back. Release: see [`Self::take_role`].
    pub(crate) fn give_role_back(&self, ShardIndex(shard): ShardIndex) {
        self.roles.fetch_and(!(1 << shard), Ordering::Release);
    }
}

impl<K: Key, V: LineValue<K>, const N: usize> Table<K, V, N> {
    #[inline]
    pub(crate) fn spot(&self, shard: ShardIndex, key: &K) -> Spot {
        self.index.spot(shard, self.hasher.hash_one(key))
    }

    #[inline]
    pub(crate) fn find_at(&self, spot: &Spot, key: &K) -> Option<LineIndex> {
        self.index.find(spot, |entry| self.is_of_key(entry, key)).map(Self::line_at)
    }

    #[inline]
    pub(crate) fn find_alias_at(&self, spot: &Spot, alias: u64) -> Option<LineIndex> {
        self.index.find(spot, |entry| self.is_of_alias(entry, alias)).map(Self::line_at)
    }

    #[inline]
    pub(crate) fn has_key(&self, line: LineIndex, key: &K) -> bool {
        self.lines.try_get(line.0 as usize).is_some_and(|line| line.has_key(key))
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests;
