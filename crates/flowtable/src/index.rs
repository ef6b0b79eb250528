//! The index: from the hash of a key to the lines that may hold it.
//!
//! An entry, a 16-bit tag and a line number, lives in one of two buckets, its *home* or the other one. Where both are
//! full an entry moves to *its* other bucket ([`displacement`]). So a key is found, or known to be absent, after two
//! cache lines at most, at any load, and the index fills to more than 95 %. Where lines have aliases, what is called a
//! line here is one of its two entries ([`entries`](crate::entries)).
//!
//! ```text
//! hash, 64 bits   | chooses the home bucket, 32 | unused, 16 | tag, 16 |
//!
//! other bucket    (odd(tag) - bucket) mod buckets       odd(tag): odd, below `buckets`, which is even
//! ```
//!
//! The other bucket follows from the bucket and the tag alone, so an entry is moved without looking at its key: no
//! line is fetched for it. Seen from the other bucket the formula leads back home. One of the two is even and one is
//! odd, so they are never the same. The usual `bucket ^ hash(tag)` does as much only for powers of two, and would
//! take up to twice the memory.
//!
//! New entries go home while there is room, and each bucket counts those that could not (`strays`). So most lookups,
//! found or not, end in the first bucket, which the even spread of "the emptier of the two" would not give:
//!
//! | full | entries in their other bucket | buckets with strays: a miss looks at the other one too |
//! |---|---|---|
//! | 50 % | 1 % | 2 % |
//! | 75 % | 6 % | 18 % |
//! | 87 % | 11 % | 36 % |
//! | 95 % | 17 % | 53 % |
//!
//! # One writer, many readers
//!
//! Every shard has buckets of its own, and one owner who writes them ([`Writer`]). Readers take no lock and write
//! nothing. What a reader is promised: **an entry that is in the index all the while he looks is found**, also while
//! it moves. All words are published and seen as `owned` says; what makes the promise is the order of the steps:
//!
//! ```text
//! owner, moving an entry out:     strays(home) + 1 │ put(other)       │ clear(home)
//! owner, moving an entry home:    put(home)        │ returns(home) +1 │ clear(other) │ strays(home) - 1
//! owner, put:                     line │ tag
//!
//! reader:   r = returns(home) │ home's tags, lines │ strays(home) │ other's tags, lines │ returns(home) = r, or again
//! ```
//!
//! | a reader who | has seen | so |
//! |---|---|---|
//! | misses at home an entry that left | its clearing, or a later entry's line in its place | he sees a stray and looks into the other bucket, where it was put before |
//! | misses it there because it went home, or sees no strays | its clearing there, or `strays` after it | he sees that `returns` was raised before, and begins again |
//! | misses at home an entry that came back, between the tags' two words | `returns` raised before he began: then it was at home already, and its place is seen. Raised later: | he sees that at the end, and begins again |
//! | finds a tag and another key's line behind it | the line of an entry that took the place | he goes on: one of the above |
//!
//! He begins again only because the owner has brought an entry back to this very bucket, which it does while it makes
//! room in a crowded neighbourhood: the owner has got on, so nobody waits for anybody.
//!
//! An entry that appears or leaves while he looks may be found or not. What he finds he may read until he passes a
//! quiescent point, though it be taken out of the index at the same moment.

mod displacement;
#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests;

use crate::bucket::{Bucket, Entry, PLACES};
use crate::hash::Hash;
use crate::tags::Tag;
use crate::{Carver, Cells, LineIndex, ShardIndex};

/// Entries for each bucket that the index is made for: 7 of 8 is 87.5 % full.
const ENTRIES_PER_BUCKET: u64 = PLACES as u64 - 1;

/// Added to every index. Without them one of 3,000 indices of four buckets refuses an entry before it has all its
/// lines; with them none of 200,000 of any size does. Large ones do not need them.
const BUCKETS_EXTRA: u64 = 2;

/// No place was found for an entry within the bounded number of displacements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

/// What the index wants to know of a key or an alias: where its entry may be, and by which tag to know it. Not copied on the way
/// of an insertion: the processor waits where it reads words as one that it has just written as two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The shard's first bucket.
    first: u32,
    pub(crate) home: u32,
    pub(crate) tag: Tag,
}

/// The buckets of all shards, one shard's after another's. See the file's page.
pub(crate) struct Index {
    buckets: Cells<Bucket>,
    /// Of each shard.
    bucket_count: u32,
}

impl Index {
    /// The buckets for shards that hold `lines` entries each at 87.5 % of their places.
    pub(crate) fn buckets_for(lines: u32) -> u32 {
        (u64::from(lines).div_ceil(ENTRIES_PER_BUCKET).next_multiple_of(2) + BUCKETS_EXTRA) as u32
    }

    /// An index of `buckets` buckets, an even number, for each shard.
    pub(crate) fn carve(carver: &mut Carver, shards: u8, buckets: u32) -> Self {
        assert!(buckets >= 2 && buckets.is_multiple_of(2), "an even number of buckets");
        assert!(u64::from(shards) * u64::from(buckets) < 1 << 32, "bucket numbers have 32 bits");
        Self { buckets: carver.cells(usize::from(shards) * buckets as usize), bucket_count: buckets }
    }

    /// Where the key with this hash belongs.
    #[inline]
    pub(crate) fn spot(&self, ShardIndex(shard): ShardIndex, Hash(hash): Hash) -> Spot {
        let first = u32::from(shard).wrapping_mul(self.bucket_count);
        let home = first.wrapping_add(reduce((hash >> 32) as u32, self.bucket_count));
        Spot { first, home, tag: Tag::new(hash as u16) }
    }

    /// The line that holds the key, of those whose entries match: `is_it` looks at the line.
    #[inline]
    pub(crate) fn find(&self, spot: &Spot, mut is_it: impl FnMut(LineIndex) -> bool) -> Option<LineIndex> {
        let home = self.bucket(spot.home);
        loop {
            let returns = home.returns();
            let mut lines = home.matching(spot.tag).map(|place| home.line(place));
            if let Some(line) = lines.find(|&line| is_it(line)) {
                return Some(line);
            }
            if home.strays() > 0
                && let Some(line) = self.find_away(spot, &mut is_it)
            {
                return Some(line);
            }
            if home.returns() == returns {
                return None;
            }
        }
    }

    /// The same in the other bucket. On its own: else what says which that is would be computed for every key, away or not.
    #[inline(never)]
    fn find_away(&self, spot: &Spot, is_it: &mut impl FnMut(LineIndex) -> bool) -> Option<LineIndex> {
        let other = self.bucket(self.other(*spot));
        other.matching(spot.tag).map(|place| other.line(place)).find(|&line| is_it(line))
    }

    /// Starts to load the home bucket.
    #[inline]
    pub(crate) fn prefetch_home(&self, spot: Spot) {
        self.buckets.prefetch(spot.home as usize);
    }

    /// A first look at the home bucket. Where the entry may be away, starts to load the other bucket.
    #[inline]
    pub(crate) fn peek_home(&self, spot: Spot) -> Peek {
        let home = self.bucket(spot.home);
        let returns = home.returns();
        if let Some(place) = home.matching(spot.tag).next() {
            return Peek::Line(home.line(place));
        }
        if home.strays() > 0 {
            self.buckets.prefetch(self.other(spot) as usize);
            return Peek::Away { returns };
        }
        if home.returns() == returns { Peek::Absent } else { Peek::Unsure }
    }

    /// A look at the other bucket, after one at home that found nothing.
    #[inline]
    pub(crate) fn peek_other(&self, spot: Spot, returns: u32) -> Peek {
        let other = self.bucket(self.other(spot));
        if let Some(place) = other.matching(spot.tag).next() {
            return Peek::Line(other.line(place));
        }
        if self.bucket(spot.home).returns() == returns { Peek::Absent } else { Peek::Unsure }
    }

    /// The owner's hand on a shard's buckets. Whoever takes it is the shard's only writer.
    pub(crate) fn writer(&self, ShardIndex(shard): ShardIndex) -> Writer<'_> {
        let first = u32::from(shard).wrapping_mul(self.bucket_count);
        Writer { index: self, first, count: self.bucket_count }
    }

    /// The other bucket of a key.
    #[inline]
    fn other(&self, spot: Spot) -> u32 {
        other(spot.first, self.bucket_count, spot.home, spot.tag)
    }

    #[inline]
    fn bucket(&self, bucket: u32) -> &Bucket {
        self.buckets.get(bucket as usize)
    }
}

/// What a look at one bucket says of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peek {
    /// The first line whose tag matches; but for one in some ten thousand it is the key's.
    Line(LineIndex),
    /// Not at home, where so many entries had come back, but perhaps in the other bucket.
    Away { returns: u32 },
    /// In neither.
    Absent,
    /// Entries moved meanwhile: look again from the beginning.
    Unsure,
}

/// What only the owner of a shard does.
pub(crate) struct Writer<'a> {
    index: &'a Index,
    first: u32,
    count: u32,
}

impl<'a> Writer<'a> {
    /// Enters a line. The same key's entry must not be there yet.
    #[inline]
    pub(crate) fn link(&mut self, spot: &Spot, line: LineIndex) -> Result<(), Crowded> {
        let home = self.bucket(spot.home);
        let Some(place) = home.free_place() else { return self.link_away(spot, line) };
        home.put(place, Entry { tag: spot.tag, line, away: false });
        Ok(())
    }

    /// The same where there is no place at home. On its own: else the usual way would keep registers free for it.
    #[inline(never)]
    fn link_away(&mut self, spot: &Spot, line: LineIndex) -> Result<(), Crowded> {
        let other = self.other(spot.home, spot.tag);
        let (bucket, place) = match self.bucket(other).free_place() {
            Some(place) => (other, place),
            None => self.make_room([spot.home, other])?,
        };
        let away = bucket != spot.home;
        if away {
            self.bucket(spot.home).stray_leaves();
        }
        self.bucket(bucket).put(place, Entry { tag: spot.tag, line, away });
        Ok(())
    }

    /// Takes out the entry of a line. False where there is none.
    pub(crate) fn unlink(&mut self, spot: Spot, line: LineIndex) -> bool {
        let home = self.bucket(spot.home);
        if let Some(place) = home.place_of(spot.tag, line) {
            home.clear(place);
            return true;
        }
        let other = self.bucket(self.other(spot.home, spot.tag));
        let Some(place) = other.place_of(spot.tag, line) else { return false };
        other.clear(place);
        home.stray_is_gone();
        true
    }

    /// All buckets of the shard, with their numbers.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u32, &'a Bucket)> + use<'a> {
        let index = self.index;
        (self.first..self.first + self.count).map(|bucket| (bucket, index.bucket(bucket)))
    }

    /// The other bucket of an entry that is, or could be, in this one.
    #[inline]
    pub(crate) fn other(&self, bucket: u32, tag: Tag) -> u32 {
        other(self.first, self.count, bucket, tag)
    }

    /// A bucket of the shard.
    #[inline]
    pub(crate) fn bucket(&self, bucket: u32) -> &'a Bucket {
        self.index.bucket(bucket)
    }
}

/// The other one of an entry's two buckets, of the `count` from `first` on.
#[inline]
fn other(first: u32, count: u32, bucket: u32, tag: Tag) -> u32 {
    let bucket = bucket - first;
    let odd = 2 * reduce(u32::from(tag.bits()).wrapping_mul(0x9e37_79b1), count / 2) + 1;
    first + if odd >= bucket { odd - bucket } else { odd + count - bucket }
}

/// Spreads 32 evenly distributed bits evenly over `0..count`.
#[inline]
fn reduce(bits: u32, count: u32) -> u32 {
    ((u64::from(bits) * u64::from(count)) >> 32) as u32
}
