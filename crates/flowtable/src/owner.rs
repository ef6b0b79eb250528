//! What only one thread may do for a shard: it alone changes the shard's index, slots and deadlines.
//!
//! ```text
//! insert     lines written │ slot live │ entries linked, one after the other          readers find it from here on
//! remove     entries unlinked │ slot not live │ slot gathers with others              nobody finds it any more
//!            ... a grace: every reader has passed since ... │ slot free
//! ```
//!
//! A reader who found a line just before its removal may still read it, so its memory stays as it is until the grace
//! is over. Whoever takes the shard over from a killed process sees from the steps' order how far it came: a live slot
//! with an entry for each key and alias was whole, any other is dropped ([`Table::take_over`]).

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::entries::By;
use crate::index::Spot;
use crate::slots::OwnedSlots;
use crate::{
    InsertError, Key, LineIndex, LineValue, Place, Quiescence, SWEEP_DUE_MAX, ShardIndex, SlotIndex, Table,
};

/// A key that was not there when it was [looked up](Owner::look_up), and where it is to be.
#[derive(Clone, Copy, Debug)]
pub struct Vacant<K> {
    key: K,
    spot: Spot,
}

/// The owner of a shard. Dropped, it gives the role back.
pub struct Owner<K: Key, V, const N: usize> {
    table: Arc<Table<K, V, N>>,
    quiescence: Arc<Quiescence>,
    shard: ShardIndex,
    first_slot: SlotIndex,
    slots: OwnedSlots,
}

impl<K: Key, V: LineValue<K>, const N: usize> Owner<K, V, N> {
    /// By whoever has taken the role.
    pub(crate) fn new(table: &Arc<Table<K, V, N>>, shard: ShardIndex, quiescence: &Arc<Quiescence>) -> Self {
        let mut owner = Self {
            table: Arc::clone(table),
            quiescence: Arc::clone(quiescence),
            shard,
            first_slot: table.slots.first(shard),
            slots: OwnedSlots::new(&table.slots, shard),
        };
        owner.reclaim();
        owner
    }

    /// The table.
    pub fn table(&self) -> &Table<K, V, N> {
        &self.table
    }

    /// The shard.
    pub fn shard(&self) -> ShardIndex {
        self.shard
    }

    /// Slots in use in this shard. Slots that wait for their grace are not in use, but not free either.
    pub fn len(&self) -> u32 {
        self.slots.live_count()
    }

    /// True where no slot is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Inserts a slot with `N` lines, which leaves at `deadline_ms` at the earliest. `fill` writes every field of the
    /// new lines' values, which hold what was there before, before any reader can find them. Fails whole or not at
    /// all; that a key is there already is said before that there is no room, and that an alias is, which nobody knows
    /// before the value is filled, after it.
    ///
    /// # Errors
    /// [`InsertError`]; the table holds what it held. Only a [`InsertError::Crowded`] slot may have been seen by a
    /// reader for a moment, and is free again after a grace.
    #[inline]
    pub fn insert(
        &mut self,
        keys: [K; N],
        deadline_ms: u32,
        fill: impl FnOnce([&V; N]),
    ) -> Result<SlotIndex, InsertError> {
        let places = keys.each_ref().map(|key| self.table.ask(self.table.place(self.shard, key)));
        self.insert_at(&keys, &places, deadline_ms, fill)
    }

    /// The same where the keys were [asked](Table::ask) for before.
    ///
    /// # Errors
    /// As [`Owner::insert`].
    #[inline]
    pub fn insert_at(
        &mut self,
        keys: &[K; N],
        places: &[Place; N],
        deadline_ms: u32,
        fill: impl FnOnce([&V; N]),
    ) -> Result<SlotIndex, InsertError> {
        debug_assert_eq!(*places, keys.each_ref().map(|key| self.table.place(self.shard, key)));
        self.look_for(keys, places)?;
        let slot = self.fill(keys, fill)?;
        let alias = self.table.place_of_alias_of(self.shard, self.line(slot, 0));
        self.look_for_alias(slot, alias.as_ref())?;
        self.enter(slot, deadline_ms, places, alias.as_ref())
    }

    /// Refuses keys of which one is there, or two are the same.
    #[inline]
    fn look_for(&self, keys: &[K; N], places: &[Place; N]) -> Result<(), InsertError> {
        for (side, key) in keys.iter().enumerate() {
            if keys[..side].contains(key) {
                return Err(InsertError::Repeated);
            }
            if let Some(line) = self.table.find_at(&places[side].0, key) {
                return Err(InsertError::Duplicate(line));
            }
        }
        Ok(())
    }

    /// Refuses an alias that is there.
    #[inline]
    fn look_for_alias(&self, slot: u32, place: Option<&Place>) -> Result<(), InsertError> {
        let Some(Place(spot)) = place else { return Ok(()) };
        let line = self.table.lines.get(self.line(slot, 0).0 as usize);
        let found = self.table.find_alias_at(spot, line.alias::<K>());
        found.map_or(Ok(()), |line| Err(InsertError::Duplicate(line)))
    }

    /// Writes the lines of the next free slot, which nobody finds yet.
    #[inline]
    fn fill(&mut self, keys: &[K; N], fill: impl FnOnce([&V; N])) -> Result<u32, InsertError> {
        if self.slots.free().is_none() {
            self.slots.reclaim(&self.quiescence);
        }
        let slot = self.slots.free().ok_or(InsertError::Full)?;
        let lines: [_; N] =
            std::array::from_fn(|side| self.table.lines.get(self.line(slot, side).0 as usize));
        lines.iter().zip(keys).for_each(|(line, key)| line.set_key(key));
        fill(lines.map(|line| &line.value));
        Ok(slot)
    }

    /// Takes a filled slot into use, and enters its keys and its alias into the index.
    #[inline]
    fn enter(
        &mut self,
        slot: u32,
        deadline_ms: u32,
        places: &[Place; N],
        alias: Option<&Place>,
    ) -> Result<SlotIndex, InsertError> {
        self.slots.occupy(slot, deadline_ms);
        self.prefetch_free();
        let mut index = self.table.index.writer(self.shard);
        for (side, Place(spot)) in places.iter().enumerate() {
            if index.link(spot, self.entry(slot, side)).is_err() {
                return Err(self.refuse(slot, &places[..side]));
            }
        }
        if let Some(Place(spot)) = alias
            && index.link(spot, self.entry_of_alias(slot)).is_err()
        {
            return Err(self.refuse(slot, places));
        }
        Ok(self.global(slot))
    }

    /// There is no place for one of a slot's entries: those of the keys before it are taken out again.
    #[cold]
    fn refuse(&mut self, slot: u32, linked: &[Place]) -> InsertError {
        let mut index = self.table.index.writer(self.shard);
        for (side, &Place(spot)) in linked.iter().enumerate() {
            index.unlink(spot, self.entry(slot, side));
        }
        self.slots.retire(slot);
        InsertError::Crowded
    }

    /// Takes a slot out of the index, and returns its keys. Its lines stay as they are until a grace is over; its slot
    /// is free after it.
    ///
    /// # Panics
    /// If the slot is not in use, or another owner's.
    pub fn remove(&mut self, slot: SlotIndex) -> [K; N] {
        assert!(self.is_live(slot), "a slot that is not in use cannot be removed");
        let slot = self.local(slot);
        let keys: [K; N] = std::array::from_fn(|side| self.table.key(self.line(slot, side)));
        let mut index = self.table.index.writer(self.shard);
        let mut unlink = |spot, entry| {
            let unlinked = index.unlink(spot, entry);
            debug_assert!(unlinked, "every key and alias of a live slot is in the index");
        };
        for (side, key) in keys.iter().enumerate() {
            unlink(self.table.spot(self.shard, key), self.entry(slot, side));
        }
        if let Some(Place(spot)) = self.table.place_of_alias_of(self.shard, self.line(slot, 0)) {
            unlink(spot, self.entry_of_alias(slot));
        }
        self.slots.retire(slot);
        keys
    }

    /// Frees the slots whose grace is over, however many. Once a turn.
    pub fn reclaim(&mut self) {
        self.slots.reclaim(&self.quiescence);
    }

    /// True where the slot is this owner's and in use.
    pub fn is_live(&self, slot: SlotIndex) -> bool {
        self.slots.is_live(self.local(slot))
    }

    /// True where the line is this owner's, is in use and has this key.
    pub fn holds(&self, line: LineIndex, key: &K) -> bool {
        self.is_live(self.table.slot_of(line)) && self.table.has_key(line, key)
    }

    /// The slots in use among the `slots` slots from `from` on, as far as they are this owner's, in order: a long
    /// list is made in short pieces, each going on `slots` after the last.
    pub fn live(&self, from: SlotIndex, slots: usize) -> impl Iterator<Item = SlotIndex> + '_ {
        // Slots before the shard's first are none of its own: they count, but nothing is there.
        let before = self.first_slot.0.saturating_sub(from.0);
        let from = from.0.saturating_sub(self.first_slot.0);
        self.slots.live(from, slots.saturating_sub(before as usize)).map(|slot| self.global(slot))
    }

    /// The first slot of the shard; there are [`Table::slots_per_shard`].
    pub fn first_slot(&self) -> SlotIndex {
        self.first_slot
    }

    /// Sets when a slot is due next. A slot that is not in use stays as it is.
    pub fn set_deadline(&mut self, slot: SlotIndex, deadline_ms: u32) {
        debug_assert!(self.is_live(slot), "a slot in use");
        self.slots.set_deadline(self.local(slot), deadline_ms);
    }

    /// When a slot in use is due next.
    pub fn deadline(&self, slot: SlotIndex) -> u32 {
        debug_assert!(self.is_live(slot), "a slot in use");
        self.slots.deadline(self.local(slot))
    }

    /// Looks at the next `slots` deadlines of the shard, round and round, and adds to `due` the slots in use whose
    /// deadline has passed (`deadline <= now`, with wrapping). Stops early where `due` is full, and goes on from
    /// there. What is due stays due until it is removed or re-armed. No slot is looked at twice in a call; slots that
    /// were never in use count as none.
    pub fn sweep(&mut self, now_ms: u32, slots: usize, due: &mut ArrayVec<SlotIndex, SWEEP_DUE_MAX>) {
        let first = self.first_slot.0;
        self.slots.sweep(now_ms, slots, due, |slot| SlotIndex(first + slot));
    }

    /// Starts to load what the next insertion writes of its slot.
    fn prefetch_free(&self) {
        if let Some(slot) = self.slots.free() {
            self.slots.prefetch(slot);
            (0..N).for_each(|side| self.table.lines.prefetch(self.line(slot, side).0 as usize));
        }
    }

    /// The number of a slot within the shard; that of another shard's slot is none of this one's.
    #[inline]
    fn local(&self, slot: SlotIndex) -> u32 {
        slot.0.wrapping_sub(self.first_slot.0)
    }

    #[inline]
    fn global(&self, slot: u32) -> SlotIndex {
        SlotIndex(self.first_slot.0 + slot)
    }

    #[inline]
    fn line(&self, slot: u32, side: usize) -> LineIndex {
        self.table.line_of(self.global(slot), side)
    }

    /// The entry of a slot's key.
    #[inline]
    fn entry(&self, slot: u32, side: usize) -> LineIndex {
        Table::<K, V, N>::entry(self.line(slot, side), By::Key)
    }

    /// The entry of its alias.
    #[inline]
    fn entry_of_alias(&self, slot: u32) -> LineIndex {
        Table::<K, V, N>::entry(self.line(slot, 0), By::Alias)
    }
}

impl<K: Key, V: LineValue<K>> Owner<K, V, 1> {
    /// Finds a key in the shard. Always where it is called, so that what it says need not be copied.
    ///
    /// # Errors
    /// Where it is to be, if it is not there: what [`Owner::insert_vacant`] need not find out again.
    #[inline(always)]
    pub fn look_up(&self, key: K) -> Result<LineIndex, Vacant<K>> {
        self.look_up_at(key, Place(self.table.spot(self.shard, &key)))
    }

    /// The same where the key was [asked](Table::ask) for before.
    ///
    /// # Errors
    /// As [`Owner::look_up`].
    #[inline(always)]
    pub fn look_up_at(&self, key: K, Place(spot): Place) -> Result<LineIndex, Vacant<K>> {
        debug_assert_eq!(spot, self.table.spot(self.shard, &key));
        self.table.find_at(&spot, &key).ok_or(Vacant { key, spot })
    }

    /// Inserts a slot as [`Owner::insert`], of a key that was not there and has not been inserted since; nor is the alias there
    /// that its value makes, if it makes one. Neither is looked for.
    ///
    /// # Errors
    /// [`InsertError::Full`] and [`InsertError::Crowded`].
    #[inline]
    pub fn insert_vacant(
        &mut self,
        vacant: Vacant<K>,
        deadline_ms: u32,
        fill: impl FnOnce([&V; 1]),
    ) -> Result<SlotIndex, InsertError> {
        self.insert_vacant_at(vacant, None, deadline_ms, fill)
    }

    /// The same where the place of the alias may be known.
    ///
    /// # Errors
    /// As [`Owner::insert_vacant`].
    #[inline]
    pub fn insert_vacant_at(
        &mut self,
        Vacant { key, spot }: Vacant<K>,
        alias: Option<&Place>,
        deadline_ms: u32,
        fill: impl FnOnce([&V; 1]),
    ) -> Result<SlotIndex, InsertError> {
        let places = [Place(spot)];
        debug_assert_eq!(self.look_for(&[key], &places), Ok(()), "the key is not there");
        let slot = self.fill(&[key], fill)?;
        let find = || self.table.place_of_alias_of(self.shard, self.line(slot, 0));
        debug_assert!(alias.is_none() || alias == find().as_ref(), "it is the alias' place");
        debug_assert_eq!(self.look_for_alias(slot, find().as_ref()), Ok(()), "the alias is not there");
        let found = if alias.is_none() { find() } else { None };
        self.enter(slot, deadline_ms, &places, alias.or(found.as_ref()))
    }
}

impl<K: Key, V, const N: usize> Drop for Owner<K, V, N> {
    fn drop(&mut self) {
        self.table.give_role_back(self.shard);
    }
}
