//! The index: from the hash of a key to the lines that may hold it.
//!
//! An entry, a 16-bit tag and a line number, lives in one of two buckets, its *home* or the other one. Where both are
//! full an entry moves to *its* other bucket ([`displacement`]). So a key is found, or known to be absent, after two
//! cache lines at most, at any load, and the index fills to more than 95 %.
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

mod displacement;
#[cfg(test)]
mod tests;

use crate::LineIndex;
use crate::bucket::{Bucket, Entry, PLACES};
use crate::hash::Hash;
use crate::machine::Cells;
use crate::tags::Tag;

/// Entries for each bucket that the index is made for: 7 of 8 is 87.5 % full.
const ENTRIES_PER_BUCKET: u64 = PLACES as u64 - 1;

/// Added to every index. Without them one of 3,000 indices of four buckets refuses an entry before it has all its
/// lines; with them none of 200,000 of any size does. Large ones do not need them.
const BUCKETS_EXTRA: u64 = 2;

/// No place was found for an entry within the bounded number of displacements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

/// What the index wants to know of a key: where its entry may be, and by which tag to know it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spot {
    home: u32,
    tag: Tag,
}

/// See the file's page.
pub(crate) struct Index {
    buckets: Cells<Bucket>,
}

impl Index {
    /// An index that holds `lines` entries at 87.5 % of its places.
    pub(crate) fn for_lines(lines: u32) -> Self {
        Self::with_buckets(Self::buckets_for(lines))
    }

    fn buckets_for(lines: u32) -> u32 {
        (u64::from(lines).div_ceil(ENTRIES_PER_BUCKET).next_multiple_of(2) + BUCKETS_EXTRA) as u32
    }

    /// An index of a number of buckets, which is even.
    pub(crate) fn with_buckets(buckets: u32) -> Self {
        assert!(buckets >= 2 && buckets.is_multiple_of(2) && buckets < 1 << 31, "an even number of buckets");
        Self { buckets: Cells::filled(buckets as usize, Bucket::default()) }
    }

    /// Where the key with this hash belongs.
    #[inline]
    pub(crate) fn spot(&self, Hash(hash): Hash) -> Spot {
        Spot { home: reduce((hash >> 32) as u32, self.bucket_count()), tag: Tag::new(hash as u16) }
    }

    /// The line that holds the key, of those whose entries match: `is_it` looks at the line.
    #[inline]
    pub(crate) fn find(&self, spot: Spot, mut is_it: impl FnMut(LineIndex) -> bool) -> Option<LineIndex> {
        let home = self.bucket(spot.home);
        for place in home.matching(spot.tag) {
            let line = home.line(place);
            if is_it(line) {
                return Some(line);
            }
        }
        if home.strays() == 0 {
            return None;
        }
        let other = self.bucket(self.other(spot.home, spot.tag));
        other.matching(spot.tag).map(|place| other.line(place)).find(|&line| is_it(line))
    }

    /// Starts to load the home bucket.
    #[inline]
    pub(crate) fn prefetch_home(&self, spot: Spot) {
        self.buckets.prefetch(spot.home as usize);
    }

    /// Starts to load both buckets: an insertion mostly needs the other one too, to see that the key is not there.
    #[inline]
    pub(crate) fn prefetch_both(&self, spot: Spot) {
        self.prefetch_home(spot);
        self.buckets.prefetch(self.other(spot.home, spot.tag) as usize);
    }

    /// A first look at the home bucket. Where the entry may be away, starts to load the other bucket.
    #[inline]
    pub(crate) fn peek_home(&self, spot: Spot) -> Peek {
        let home = self.bucket(spot.home);
        match home.matching(spot.tag).next() {
            Some(place) => Peek::Line(home.line(place)),
            None if home.strays() > 0 => {
                let other = self.other(spot.home, spot.tag);
                self.buckets.prefetch(other as usize);
                Peek::Away(other)
            }
            None => Peek::Absent,
        }
    }

    /// A look at the other bucket, after one at home that found nothing.
    #[inline]
    pub(crate) fn peek_other(&self, spot: Spot, other: u32) -> Peek {
        let other = self.bucket(other);
        other.matching(spot.tag).next().map_or(Peek::Absent, |place| Peek::Line(other.line(place)))
    }

    /// Enters a line. The same key's entry must not be there yet.
    pub(crate) fn link(&mut self, spot: Spot, line: LineIndex) -> Result<(), Crowded> {
        let other = self.other(spot.home, spot.tag);
        let (bucket, place) = if let Some(place) = self.bucket(spot.home).free_place() {
            (spot.home, place)
        } else if let Some(place) = self.bucket(other).free_place() {
            (other, place)
        } else {
            self.make_room([spot.home, other])?
        };
        let away = bucket != spot.home;
        if away {
            self.bucket_mut(spot.home).stray_leaves();
        }
        self.bucket_mut(bucket).put(place, Entry { tag: spot.tag, line, away });
        Ok(())
    }

    /// Takes out the entry of a line. False where there is none.
    pub(crate) fn unlink(&mut self, spot: Spot, line: LineIndex) -> bool {
        if let Some(place) = self.bucket(spot.home).place_of(spot.tag, line) {
            self.bucket_mut(spot.home).clear(place);
            return true;
        }
        let other = self.other(spot.home, spot.tag);
        let Some(place) = self.bucket(other).place_of(spot.tag, line) else { return false };
        self.bucket_mut(other).clear(place);
        self.bucket_mut(spot.home).stray_returns();
        true
    }

    /// Entries in all buckets, counted one by one.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> u32 {
        let places = |bucket| (0..PLACES).filter(move |&place| self.bucket(bucket).entry(place).is_some());
        (0..self.bucket_count()).flat_map(places).count() as u32
    }

    /// The other bucket of an entry that is, or could be, in this one.
    #[inline]
    fn other(&self, bucket: u32, tag: Tag) -> u32 {
        let buckets = self.bucket_count();
        let odd = 2 * reduce(u32::from(tag.bits()).wrapping_mul(0x9e37_79b1), buckets / 2) + 1;
        if odd >= bucket { odd - bucket } else { odd + buckets - bucket }
    }

    #[inline]
    fn bucket_count(&self) -> u32 {
        self.buckets.len() as u32
    }

    #[inline]
    fn bucket(&self, bucket: u32) -> &Bucket {
        self.buckets.get(bucket as usize)
    }

    #[inline]
    fn bucket_mut(&mut self, bucket: u32) -> &mut Bucket {
        self.buckets.get_mut(bucket as usize)
    }
}

/// What a look at one bucket says of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peek {
    /// The first line whose tag matches; but for one in some ten thousand it is the key's.
    Line(LineIndex),
    /// Not at home, but perhaps in this other bucket.
    Away(u32),
    /// In neither.
    Absent,
}

/// Spreads 32 evenly distributed bits evenly over `0..count`.
#[inline]
fn reduce(bits: u32, count: u32) -> u32 {
    ((u64::from(bits) * u64::from(count)) >> 32) as u32
}
