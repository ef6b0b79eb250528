//! What an entry of the index stands for: a line found by its key, or by its alias.
//!
//! ```text
//! lines without aliases   entry l        line l by its key
//! lines with aliases      entry 2l       line l by its key
//!                         entry 2l + 1   line l by its alias
//! ```
//!
//! Both entries lead to the same memory. They have numbers of their own because a takeover counts one of each, and so that an
//! entry that cannot be the right one is told without a look at its line. Without aliases the two numbers are the same, and
//! what is here costs nothing: that there are none is known when the table's code is made.
//!
//! The index itself does not know of it. What it calls lines are entries' numbers.

use crate::index::Spot;
use crate::{Key, LineIndex, LineValue, Place, ShardIndex, Table};

/// By what an entry's line is found.
#[derive(Clone, Copy)]
pub(crate) enum By {
    Key,
    Alias,
}

impl<K: Key, V: LineValue<K>, const N: usize> Table<K, V, N> {
    /// Entries of a line.
    pub(crate) const ENTRIES_PER_LINE: u32 = if V::HAS_ALIAS { 2 } else { 1 };

    /// Entries of a slot.
    pub(crate) const ENTRIES_PER_SLOT: usize = N * Self::ENTRIES_PER_LINE as usize;

    /// The entry of a line.
    #[inline]
    pub(crate) fn entry(line: LineIndex, by: By) -> LineIndex {
        LineIndex(line.0.wrapping_mul(Self::ENTRIES_PER_LINE).wrapping_add(by as u32))
    }

    /// The line of an entry.
    #[inline]
    pub(crate) fn line_at(entry: LineIndex) -> LineIndex {
        LineIndex(entry.0 / Self::ENTRIES_PER_LINE)
    }

    /// Whether the entry is that of a line's alias.
    #[inline]
    pub(crate) fn is_alias(entry: LineIndex) -> bool {
        V::HAS_ALIAS && entry.0 % Self::ENTRIES_PER_LINE == By::Alias as u32
    }

    /// Where the alias of a line belongs in the index, if it has one.
    #[inline]
    pub(crate) fn place_of_alias_of(&self, shard: ShardIndex, line: LineIndex) -> Option<Place> {
        V::HAS_ALIAS.then(|| self.place_of_alias(shard, self.lines.get(line.0 as usize).alias::<K>()))
    }

    #[inline]
    pub(crate) fn spot_of_alias(&self, shard: ShardIndex, alias: u64) -> Spot {
        self.index.spot(shard, self.hasher.hash_one(&alias))
    }

    /// True where the entry is that of the line with this key.
    #[inline]
    pub(crate) fn is_of_key(&self, entry: LineIndex, key: &K) -> bool {
        !Self::is_alias(entry) && self.has_key(Self::line_at(entry), key)
    }

    /// True where the entry is that of the line with this alias.
    #[inline]
    pub(crate) fn is_of_alias(&self, entry: LineIndex, alias: u64) -> bool {
        let line = || self.lines.try_get(Self::line_at(entry).0 as usize);
        Self::is_alias(entry) && line().is_some_and(|line| line.alias::<K>() == alias)
    }
}
