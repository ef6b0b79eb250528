//! One bucket of the index: eight entries in one cache line.
//!
//! ```text
//!  0               16                              48      52   53          64
//!  | tags 8 x u16  | lines 8 x u32                 |strays| away| spare     |
//! ```
//!
//! - `tags`: 16 bits of each entry's hash, 0 for a free place. Kept as two words, so that one comparison looks at four
//!   tags, and so that a concurrent reader will be able to load them whole.
//! - `lines`: the line each entry stands for.
//! - `away`: one bit per place: the entry would rather be in its other bucket, its *home*, which was full.
//! - `strays`: how many entries whose home is this bucket are away. Where it is 0 a miss is certain after one cache line.
//!
//! The tags decide: an entry is there from the moment its tag is written, and gone when its tag is 0.

use crate::LineIndex;
use crate::machine::CACHE_LINE_BYTES;

/// Entries of one bucket.
pub(crate) const PLACES: usize = 8;

const TAGS_PER_WORD: usize = 4;
const ONE_PER_TAG: u64 = 0x0001_0001_0001_0001;
const LOW_BITS_PER_TAG: u64 = 0x7fff_7fff_7fff_7fff;

/// 16 bits of a hash; never 0, which marks a free place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tag(u16);

impl Tag {
    /// The tag of a free place.
    const FREE: Self = Self(0);

    /// Any 16 bits; 0 becomes 1.
    #[inline]
    pub(crate) fn new(bits: u16) -> Self {
        Self(bits.max(1))
    }

    /// The tag's bits.
    #[inline]
    pub(crate) fn bits(self) -> u16 {
        self.0
    }
}

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) tag: Tag,
    pub(crate) line: LineIndex,
    /// True in the other bucket, false at home.
    pub(crate) away: bool,
}

/// See the file's page.
#[repr(C, align(64))]
#[derive(Clone, Copy, Default)]
pub(crate) struct Bucket {
    tags: [u64; PLACES / TAGS_PER_WORD],
    lines: [u32; PLACES],
    strays: u32,
    away: u8,
    spare: [u8; 11],
}

const _: () = {
    assert!(size_of::<Bucket>() == CACHE_LINE_BYTES && align_of::<Bucket>() == CACHE_LINE_BYTES);
    assert!(std::mem::offset_of!(Bucket, lines) == 16);
    assert!(std::mem::offset_of!(Bucket, strays) == 48);
    assert!(std::mem::offset_of!(Bucket, away) == 52);
};

impl Bucket {
    /// The places that hold this tag.
    #[inline]
    pub(crate) fn matching(&self, tag: Tag) -> Places {
        let [low, high] = self.tags.map(|word| lanes_equal(word, tag.0));
        // Each lane's answer is its top bit. Moved to the lane's two lowest bits, both words fit in one.
        Places(low >> 15 | high >> 14)
    }

    /// The first free place.
    #[inline]
    pub(crate) fn free_place(&self) -> Option<usize> {
        self.matching(Tag::FREE).next()
    }

    /// The place of the entry that stands for this line.
    #[inline]
    pub(crate) fn place_of(&self, tag: Tag, line: LineIndex) -> Option<usize> {
        self.matching(tag).find(|&place| self.line(place) == line)
    }

    /// The line that an entry stands for.
    #[inline]
    pub(crate) fn line(&self, place: usize) -> LineIndex {
        LineIndex(self.lines[place])
    }

    /// The entry at a place, `None` where it is free.
    #[inline]
    pub(crate) fn entry(&self, place: usize) -> Option<Entry> {
        let tag = Tag((self.tags[place / TAGS_PER_WORD] >> shift(place)) as u16);
        (tag != Tag::FREE).then(|| Entry { tag, line: self.line(place), away: self.away >> place & 1 == 1 })
    }

    /// Writes an entry into a free place; its tag last.
    #[inline]
    pub(crate) fn put(&mut self, place: usize, entry: Entry) {
        debug_assert_eq!(self.entry(place), None);
        self.lines[place] = entry.line.0;
        self.away = self.away & !(1 << place) | u8::from(entry.away) << place;
        self.tags[place / TAGS_PER_WORD] |= u64::from(entry.tag.0) << shift(place);
    }

    /// Frees a place.
    #[inline]
    pub(crate) fn clear(&mut self, place: usize) {
        self.tags[place / TAGS_PER_WORD] &= !(0xffff << shift(place));
    }

    /// How many do.
    #[cfg(test)]
    pub(crate) fn strays(&self) -> u32 {
        self.strays
    }

    /// True where an entry whose home this is lives in its other bucket.
    #[inline]
    pub(crate) fn has_strays(&self) -> bool {
        self.strays != 0
    }

    /// An entry whose home this is leaves for its other bucket.
    #[inline]
    pub(crate) fn stray_leaves(&mut self) {
        self.strays += 1;
    }

    /// An entry whose home this is comes back from its other bucket, or is gone.
    #[inline]
    pub(crate) fn stray_returns(&mut self) {
        debug_assert_ne!(self.strays, 0);
        self.strays -= 1;
    }
}

#[inline]
fn shift(place: usize) -> usize {
    place % TAGS_PER_WORD * 16
}

/// The top bit of each 16-bit lane of `word` that equals `tag`; exact, with no carry between lanes.
#[inline]
fn lanes_equal(word: u64, tag: u16) -> u64 {
    let difference = word ^ (u64::from(tag) * ONE_PER_TAG);
    // A lane's low 15 bits plus 0x7fff reach the top bit exactly when one of them is set, and never the next lane.
    let differs = ((difference & LOW_BITS_PER_TAG) + LOW_BITS_PER_TAG) | difference;
    !differs & !LOW_BITS_PER_TAG
}

/// Places of one bucket, as an iterator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places(u64);

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        // Bit 16 i is place i of the first word, bit 16 i + 1 is place i of the second.
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit / 16 + bit % 2 * TAGS_PER_WORD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tag: u16, line: u32) -> Entry {
        Entry { tag: Tag::new(tag), line: LineIndex(line), away: line % 2 == 1 }
    }

    /// Every pair of interesting tags side by side: an inexact comparison would let one lane disturb the next.
    #[test]
    fn matching_is_exact_in_every_place() {
        let tags = [1, 2, 0x00ff, 0x0100, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff];
        for wanted in tags {
            for other in tags.into_iter().filter(|other| *other != wanted) {
                for pattern in 0..=255u8 {
                    let mut bucket = Bucket::default();
                    for place in 0..PLACES {
                        let tag = if pattern >> place & 1 == 1 { wanted } else { other };
                        bucket.put(place, entry(tag, place as u32));
                    }
                    let mut found: Vec<_> = bucket.matching(Tag::new(wanted)).collect();
                    found.sort();
                    let expected: Vec<_> = (0..PLACES).filter(|place| pattern >> place & 1 == 1).collect();
                    assert_eq!(found, expected, "{wanted:x} among {other:x}");
                }
            }
        }
    }

    #[test]
    fn an_entry_is_read_back_until_it_is_cleared() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.free_place(), Some(0));
        for place in 0..PLACES {
            bucket.put(place, entry(0xfff0 + place as u16, 100 + place as u32));
        }
        assert_eq!(bucket.free_place(), None);
        for place in 0..PLACES {
            assert_eq!(bucket.entry(place), Some(entry(0xfff0 + place as u16, 100 + place as u32)));
        }
        bucket.clear(5);
        assert_eq!(bucket.entry(5), None);
        assert_eq!(bucket.free_place(), Some(5));
        assert_eq!(bucket.place_of(Tag::new(0xfff5), LineIndex(105)), None);
        assert_eq!(bucket.place_of(Tag::new(0xfff6), LineIndex(106)), Some(6));
        assert_eq!(bucket.place_of(Tag::new(0xfff6), LineIndex(107)), None);
        bucket.put(5, entry(1, 2));
        assert_eq!(bucket.entry(5), Some(entry(1, 2)), "the old entry's `away` bit is gone");
    }

    #[test]
    fn no_tag_looks_like_a_free_place() {
        assert_eq!(Tag::new(0), Tag::new(1));
        assert_ne!(Tag::new(0), Tag::FREE);
    }
}
