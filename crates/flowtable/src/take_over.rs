//! Taking a shard over from a process that was killed, at whatever instruction.
//!
//! What it left is what it had written up to that instruction, or, after worse, any bytes. Nothing is believed but
//! what two witnesses agree on: an entry and the key, or the alias, of the line that it stands for. The rest follows from them.
//!
//! ```text
//! 1  entries   bucket after bucket      line in the shard, slot live, first of its number?  ->  noted, else cleared
//! 2  slots     line after line          live, every line's entries where the hashes of key and alias say,
//!                                       `is_sound`?  -> kept, else its entries are cleared and it is free
//! 3  strays    bucket after bucket      counted anew
//! 4  counts    live bits                counted anew
//! ```
//!
//! All of it in streams, as memory likes it: an entry's place is noted in an array beside (8 bytes an entry, for the
//! time of the takeover), and nothing is looked up but where something is wrong.
//!
//! | killed while | what is there | after it |
//! |---|---|---|
//! | inserting | a live slot without entries for all its keys and its alias | dropped |
//! | removing | the same, or a slot without entries and not live | dropped, or nothing to do |
//! | moving an entry | the entry in both buckets, strays counted too many | one is cleared, strays are counted |
//! | taking a slot from a list, or putting it there | links that lead nowhere | nobody follows them: the next owner makes new lists |
//!
//! No row needs to know what was in work, so nothing is written to say so.

use crate::bucket::{Bucket, PLACES};
use crate::entries::By;
use crate::hash::Hash;
use crate::index::{Spot, Writer};
use crate::owned::Owned;
use crate::slots::{WORD_SLOTS, ones};
use crate::tags::Tag;
use crate::{Key, LineIndex, LineValue, ShardIndex, SlotIndex, Table};

/// What a takeover found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Slots that go on.
    pub kept: u32,
    /// Slots that were in work, torn, or refused.
    pub dropped: u32,
    /// Entries and counts of the index that were put right.
    pub repaired_entries: u32,
}

impl<K: Key, V: LineValue<K>, const N: usize> Table<K, V, N> {
    /// Takes over a shard that another process left behind, before anyone else uses it: see the module's page.
    /// `is_sound` judges a slot's lines, of which it knows that the index agrees with keys and alias. Whatever the bytes
    /// are, it does not panic, and neither does the table after it. Deadlines are left as they are: any of them may
    /// be wrong. Shards may be taken over by several threads at once.
    ///
    /// Cost: three streams over the shard, and a hash for each key. A million sessions of two 64-byte lines took 44 ms of
    /// a processor, ten million 0.7 to 0.9 s, or 0.43 s of each of two, on a busy machine (`cargo bench -p flowtable`).
    /// Allocates 8 bytes an entry meanwhile.
    ///
    /// # Panics
    /// If the shard has an owner, or there is no such one.
    pub fn take_over(&self, shard: ShardIndex, is_sound: impl FnMut([K; N], [&V; N]) -> bool) -> TakenOver {
        self.take_role(shard);
        let taken_over = TakeOver::new(self, shard).run(is_sound);
        self.give_role_back(shard);
        taken_over
    }
}

/// Where an entry is: nowhere (0), or its bucket, its tag, and whether it says that it is away.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Noted(u64);

impl Noted {
    const SOMEWHERE: u64 = 1 << 63;
    const AWAY: u64 = 1 << 62;

    fn new(bucket: u32, tag: Tag, away: bool) -> Self {
        let away = if away { Self::AWAY } else { 0 };
        Self(Self::SOMEWHERE | away | u64::from(tag.bits()) << 32 | u64::from(bucket))
    }

    fn bucket(self) -> Option<u32> {
        (self.0 & Self::SOMEWHERE != 0).then_some(self.0 as u32)
    }

    fn tag(self) -> Tag {
        Tag::new((self.0 >> 32) as u16)
    }
}

struct TakeOver<'a, K: Key, V, const N: usize> {
    table: &'a Table<K, V, N>,
    shard: ShardIndex,
    index: Writer<'a>,
    first_entry: u32,
    /// Of each entry that the shard's lines should have.
    noted: Vec<Noted>,
    found: TakenOver,
}

impl<'a, K: Key, V: LineValue<K>, const N: usize> TakeOver<'a, K, V, N> {
    const ENTRIES_PER_SLOT: usize = Table::<K, V, N>::ENTRIES_PER_SLOT;

    fn new(table: &'a Table<K, V, N>, shard: ShardIndex) -> Self {
        let first_line = table.line_of(table.slots.first(shard), 0);
        Self {
            table,
            shard,
            index: table.index.writer(shard),
            first_entry: Table::<K, V, N>::entry(first_line, By::Key).0,
            noted: vec![Noted::default(); table.slots_per_shard() as usize * Self::ENTRIES_PER_SLOT],
            found: TakenOver::default(),
        }
    }

    fn run(mut self, is_sound: impl FnMut([K; N], [&V; N]) -> bool) -> TakenOver {
        self.note_entries();
        self.judge_slots(is_sound);
        self.count_strays();
        self.table.slots.recount(self.shard);
        self.found
    }

    /// Step 1.
    fn note_entries(&mut self) {
        let (table, shard) = (self.table, self.shard);
        let live = table.slots.live_words(shard);
        for (number, bucket) in self.index.buckets() {
            for place in 0..PLACES {
                let Some(entry) = bucket.entry(place) else { continue };
                let local = entry.line.0.wrapping_sub(self.first_entry) as usize;
                let slot = local / Self::ENTRIES_PER_SLOT;
                let is_live =
                    local < self.noted.len() && live[slot / WORD_SLOTS].own() >> (slot % WORD_SLOTS) & 1 == 1;
                let this = Noted::new(number, entry.tag, entry.away);
                if is_live && self.noted[local].bucket().is_none() {
                    self.noted[local] = this;
                } else if is_live && self.is_right(this, self.hash(entry.line)) {
                    // The second one of this number, and right: the first one is as right, or it is not.
                    self.clear(entry.line);
                    self.noted[local] = this;
                    self.found.repaired_entries += 1;
                } else {
                    bucket.clear(place);
                    self.found.repaired_entries += 1;
                }
            }
        }
    }

    /// Step 2.
    fn judge_slots(&mut self, mut is_sound: impl FnMut([K; N], [&V; N]) -> bool) {
        let table = self.table;
        let first_slot = table.slots.first(self.shard).0;
        let line = |slot: usize, side| table.line_of(SlotIndex(first_slot + slot as u32), side);
        let slots_per_shard = table.slots_per_shard() as usize;
        for (number, word) in table.slots.live_words(self.shard).iter().enumerate() {
            let first = number * WORD_SLOTS;
            // Beyond the last slot is nothing: `recount` clears the bits.
            let live = || ones(word.own()).take_while(|bit| first + bit < slots_per_shard);
            // The keys of 64 slots are hashed at once, which one by one would wait for each other.
            let mut keys = [[None; WORD_SLOTS]; N];
            let mut hashes = [[Hash::default(); WORD_SLOTS]; N];
            for side in 0..N {
                live().for_each(|bit| keys[side][bit] = Some(table.key(line(first + bit, side))));
                table.hasher.hash_burst(&keys[side], Option::as_ref, &mut hashes[side]);
            }
            for bit in live() {
                let lines: [_; N] = std::array::from_fn(|side| line(first + bit, side));
                let is_whole = (0..N).all(|side| self.is_key_right(lines[side], hashes[side][bit]))
                    && self.is_alias_right(lines[0]);
                if is_whole
                    && is_sound(lines.map(|line| table.key(line)), lines.map(|line| table.value(line)))
                {
                    self.found.kept += 1;
                } else {
                    self.drop_slot(first + bit);
                }
            }
        }
    }

    /// True where the entry of a line's key, which has this hash, is right.
    #[inline]
    fn is_key_right(&self, line: LineIndex, hash: Hash) -> bool {
        let entry = Table::<K, V, N>::entry(line, By::Key);
        self.is_right(self.noted[self.local(entry)], hash)
    }

    /// True where the entry of a line's alias is right, or it has none.
    #[inline]
    fn is_alias_right(&self, line: LineIndex) -> bool {
        if !V::HAS_ALIAS {
            return true;
        }
        let entry = Table::<K, V, N>::entry(line, By::Alias);
        self.is_right(self.noted[self.local(entry)], self.hash(entry))
    }

    /// Clears a slot's entries, and frees it.
    fn drop_slot(&mut self, slot: usize) {
        let first = self.first_entry + (slot * Self::ENTRIES_PER_SLOT) as u32;
        (first..first + Self::ENTRIES_PER_SLOT as u32).for_each(|entry| self.clear(LineIndex(entry)));
        self.table.slots.drop_slot(self.shard, slot as u32);
        self.found.dropped += 1;
    }

    /// True where an entry is in one of the two places of the key with this hash, and says so itself.
    #[inline]
    fn is_right(&self, noted: Noted, hash: Hash) -> bool {
        let Spot { home, tag, .. } = self.table.index.spot(self.shard, hash);
        noted == Noted::new(home, tag, false) || noted == Noted::new(self.index.other(home, tag), tag, true)
    }

    /// The hash of what an entry's line is found by.
    fn hash(&self, entry: LineIndex) -> Hash {
        let (table, line) = (self.table, Table::<K, V, N>::line_at(entry));
        if Table::<K, V, N>::is_alias(entry) {
            return table.hasher.hash_one(&table.lines.get(line.0 as usize).alias::<K>());
        }
        table.hasher.hash_one(&table.key(line))
    }

    /// Clears an entry where it was noted.
    fn clear(&mut self, entry: LineIndex) {
        if let Some((bucket, place)) = self.place_of(entry) {
            bucket.clear(place);
        }
        let local = self.local(entry);
        self.noted[local] = Noted::default();
    }

    /// The place where an entry was noted.
    fn place_of(&self, entry: LineIndex) -> Option<(&'a Bucket, usize)> {
        let noted = self.noted[self.local(entry)];
        let bucket = self.index.bucket(noted.bucket()?);
        Some((bucket, bucket.place_of(noted.tag(), entry)?))
    }

    /// Step 3.
    fn count_strays(&mut self) {
        let first = self.index.buckets().next().map_or(0, |(number, _)| number);
        let mut strays = vec![0; self.index.buckets().count()];
        for (number, bucket) in self.index.buckets() {
            for entry in (0..PLACES).filter_map(|place| bucket.entry(place)).filter(|entry| entry.away) {
                strays[(self.index.other(number, entry.tag) - first) as usize] += 1;
            }
        }
        for ((_, bucket), strays) in self.index.buckets().zip(strays) {
            if bucket.strays() != strays {
                bucket.set_strays(strays);
                self.found.repaired_entries += 1;
            }
        }
    }

    #[inline]
    fn local(&self, entry: LineIndex) -> usize {
        (entry.0 - self.first_entry) as usize
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests;
