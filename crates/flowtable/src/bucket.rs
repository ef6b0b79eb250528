//! One bucket of the index: eight entries in one cache line.
//!
//! ```text
//!  0               16                              48      52     56      60      64
//!  | tags 8 x u16  | lines 8 x u32                 |strays | away |returns| spare |
//! ```
//!
//! - `tags`: 16 bits of each entry's hash, 0 for a free place.
//! - `lines`: the line each entry stands for; where lines have aliases, the entry's own number, whence that follows
//!   (`entries`).
//! - `strays`: how many entries that belong here live in their other bucket. Where it is 0 a miss is certain after
//!   one cache line.
//! - `away`: one bit for each place: the entry there is such a stray, from its other bucket.
//! - `returns`: how often such a stray came back. A reader who missed it on its way home sees it here.
//!
//! The tags decide: an entry is there from the moment its tag is written, and gone when its tag is 0. The owner of the
//! shard writes everything; of `away` readers know nothing.

use crate::LineIndex;
use crate::machine::CACHE_LINE_BYTES;
use crate::owned::Owned;
use crate::sync::AtomicU32;
use crate::tags::{Places, TAGS, Tag, Tags};

/// Entries of one bucket.
pub(crate) const PLACES: usize = TAGS;

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) tag: Tag,
    pub(crate) line: LineIndex,
    /// True in the other bucket, false at home.
    pub(crate) away: bool,
}

/// See the file's page.
#[cfg_attr(not(any(loom, shuttle)), derive(zerocopy::FromBytes))]
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct Bucket {
    tags: Tags,
    lines: [AtomicU32; PLACES],
    strays: AtomicU32,
    away: AtomicU32,
    returns: AtomicU32,
    spare: AtomicU32,
}

#[cfg(not(any(loom, shuttle)))]
const _: () = {
    assert!(size_of::<Bucket>() == CACHE_LINE_BYTES && align_of::<Bucket>() == CACHE_LINE_BYTES);
    assert!(std::mem::offset_of!(Bucket, lines) == 16);
    assert!(std::mem::offset_of!(Bucket, strays) == 48);
    assert!(std::mem::offset_of!(Bucket, away) == 52);
    assert!(std::mem::offset_of!(Bucket, returns) == 56);
};

/// For everyone.
impl Bucket {
    /// The places that hold this tag.
    #[inline]
    pub(crate) fn matching(&self, tag: Tag) -> Places {
        self.tags.equal_to(tag)
    }

    /// The line that an entry stands for. To a reader it may be that of a later entry in the same place.
    #[inline]
    pub(crate) fn line(&self, place: usize) -> LineIndex {
        LineIndex(self.lines[place].seen())
    }

    /// How many entries that belong here live in their other bucket.
    #[inline]
    pub(crate) fn strays(&self) -> u32 {
        self.strays.seen()
    }

    /// How often an entry that belongs here came back from its other bucket.
    #[inline]
    pub(crate) fn returns(&self) -> u32 {
        self.returns.seen()
    }
}

/// For the owner.
impl Bucket {
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

    /// The entry at a place, `None` where it is free.
    #[inline]
    pub(crate) fn entry(&self, place: usize) -> Option<Entry> {
        let tag = self.tags.get(place);
        let away = self.away.own() >> place & 1 == 1;
        (tag != Tag::FREE).then(|| Entry { tag, line: LineIndex(self.lines[place].own()), away })
    }

    /// Writes an entry into a free place; its tag last.
    #[inline]
    pub(crate) fn put(&self, place: usize, entry: Entry) {
        debug_assert_eq!(self.entry(place), None);
        self.lines[place].publish(entry.line.0);
        self.away.publish(self.away.own() & !(1 << place) | u32::from(entry.away) << place);
        self.tags.set(place, entry.tag);
    }

    /// Frees a place.
    #[inline]
    pub(crate) fn clear(&self, place: usize) {
        self.tags.set(place, Tag::FREE);
    }

    /// An entry that belongs here leaves for its other bucket. Said before it is put there.
    #[inline]
    pub(crate) fn stray_leaves(&self) {
        self.strays.publish(self.strays.own().wrapping_add(1));
    }

    /// An entry that belongs here has come back from its other bucket. Said before it is cleared there.
    #[inline]
    pub(crate) fn stray_is_back(&self) {
        self.returns.publish(self.returns.own().wrapping_add(1));
    }

    /// An entry that belongs here is no longer in its other bucket.
    #[inline]
    pub(crate) fn stray_is_gone(&self) {
        debug_assert_ne!(self.strays.own(), 0);
        self.strays.publish(self.strays.own().wrapping_sub(1));
    }

    /// Corrects the count of strays.
    pub(crate) fn set_strays(&self, strays: u32) {
        self.strays.publish(strays);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn entry(tag: u16, line: u32) -> Entry {
        Entry { tag: Tag::new(tag), line: LineIndex(line), away: line % 2 == 1 }
    }

    #[test]
    fn an_entry_is_read_back_until_it_is_cleared() {
        let bucket = Bucket::default();
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
}
