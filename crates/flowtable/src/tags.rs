//! Eight 16-bit tags, compared with a wanted one all at once.
//!
//! They are kept as two words of four, not as an array of eight: a word is loaded and stored whole by threads that
//! share it, and no thread ever sees half a tag. The two words are loaded one after the other: what moves from one to
//! the other in between is missed, and `index` knows what to do about it.
//!
//! On x86-64 the comparison is one SSE2 instruction, which every such processor has; elsewhere it is arithmetic on
//! the words. A lookup spends some 10 instructions on it, against 30 without SSE2.

use crate::owned::Owned;
use crate::sync::AtomicU64;

/// Tags in two words.
pub(crate) const TAGS: usize = 8;

const TAGS_PER_WORD: usize = 4;

/// 16 bits of a hash; never 0, which marks a free place. In a word of their own: a structure that is copied by words has each of
/// them written as one, or the processor would have to wait for the parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tag(u32);

impl Tag {
    /// The tag of a free place.
    pub(crate) const FREE: Self = Self(0);

    /// Any 16 bits; 0 becomes 1.
    #[inline]
    pub(crate) fn new(bits: u16) -> Self {
        Self(bits.max(1).into())
    }

    /// The tag's bits.
    #[inline]
    pub(crate) fn bits(self) -> u16 {
        self.0 as u16
    }
}

/// The tags of eight places. Written by the owner, read by all.
#[cfg_attr(not(any(loom, shuttle)), derive(zerocopy::FromBytes))]
#[derive(Default)]
#[repr(C)]
pub(crate) struct Tags([AtomicU64; TAGS / TAGS_PER_WORD]);

impl Tags {
    /// The tag at a place, to the owner.
    #[inline]
    pub(crate) fn get(&self, place: usize) -> Tag {
        Tag((self.0[place / TAGS_PER_WORD].own() >> shift(place)) as u32 & 0xffff)
    }

    /// Sets the tag at a place.
    #[inline]
    pub(crate) fn set(&self, place: usize, tag: Tag) {
        let word = &self.0[place / TAGS_PER_WORD];
        word.publish(word.own() & !(0xffff << shift(place)) | u64::from(tag.0) << shift(place));
    }

    /// The places that have this tag.
    #[inline]
    pub(crate) fn equal_to(&self, tag: Tag) -> Places {
        let [low, high] = &self.0;
        let words = [low.seen(), high.seen()];
        #[cfg(all(target_arch = "x86_64", not(any(loom, shuttle))))]
        return Places(crate::machine::equal_by_sse2(words, tag.bits()));
        #[cfg(not(all(target_arch = "x86_64", not(any(loom, shuttle)))))]
        return Places(equal_by_arithmetic(words, tag.bits()));
    }
}

#[inline]
fn shift(place: usize) -> usize {
    place % TAGS_PER_WORD * 16
}

/// Bit `i` is set where tag `i` is the wanted one.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn equal_by_sse2([low, high]: [u64; 2], tag: u16) -> u8 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set_epi64x, _mm_set1_epi16,
        _mm_setzero_si128,
    };
    let equal = _mm_cmpeq_epi16(_mm_set_epi64x(high as i64, low as i64), _mm_set1_epi16(tag as i16));
    _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())) as u8
}

/// Bit `i` is set where tag `i` is the wanted one.
#[cfg(any(test, loom, shuttle, not(target_arch = "x86_64")))]
#[inline]
fn equal_by_arithmetic(words: [u64; 2], tag: u16) -> u8 {
    const ONES: u64 = 0x0001_0001_0001_0001;
    const LOW_BITS: u64 = 0x7fff_7fff_7fff_7fff;
    let [low, high] = words.map(|word| {
        let difference = word ^ (u64::from(tag) * ONES);
        // A tag's low 15 bits plus 0x7fff reach its top bit where one of them is set, and never the next tag: exact.
        let differs = ((difference & LOW_BITS) + LOW_BITS) | difference;
        let equal = (!differs & !LOW_BITS) >> 15;
        // The four answers, 16 bits apart, gathered in the top four bits.
        equal.wrapping_mul(0x1000_2000_4000_8000) >> 60
    });
    (low | high << TAGS_PER_WORD) as u8
}

/// Places of one bucket, as an iterator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places(u8);

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let place = (self.0 != 0).then(|| self.0.trailing_zeros() as usize);
        self.0 &= self.0.wrapping_sub(1);
        place
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// Every pair of interesting tags side by side: an inexact comparison would let one disturb the next.
    #[test]
    fn the_comparison_is_exact_in_every_place_and_the_same_on_every_machine() {
        let all = [0, 1, 2, 0x00ff, 0x0100, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff];
        for wanted in all {
            for other in all.into_iter().filter(|other| *other != wanted) {
                for pattern in 0..=u8::MAX {
                    let tags = Tags::default();
                    for place in 0..TAGS {
                        tags.set(place, Tag(if pattern >> place & 1 == 1 { wanted } else { other }.into()));
                    }
                    assert_eq!(
                        tags.equal_to(Tag(wanted.into())),
                        Places(pattern),
                        "{wanted:x} among {other:x}"
                    );
                    assert_eq!(
                        equal_by_arithmetic([tags.0[0].own(), tags.0[1].own()], wanted),
                        pattern,
                        "{wanted:x} among {other:x}"
                    );
                }
            }
        }
    }

    #[test]
    fn places_are_listed_in_order() {
        assert_eq!(Places(0).next(), None);
        assert_eq!(Places(0b1010_0001).collect::<Vec<_>>(), [0, 5, 7]);
    }

    #[test]
    fn a_tag_is_read_back_and_leaves_its_neighbours_alone() {
        let tags = Tags::default();
        (0..TAGS).for_each(|place| tags.set(place, Tag(0xffff)));
        tags.set(4, Tag(0x1234));
        tags.set(3, Tag::FREE);
        let read: Vec<_> = (0..TAGS).map(|place| tags.get(place).bits()).collect();
        assert_eq!(read, [0xffff, 0xffff, 0xffff, 0, 0x1234, 0xffff, 0xffff, 0xffff]);
    }

    #[test]
    fn no_tag_looks_like_a_free_place() {
        assert_eq!(Tag::new(0), Tag::new(1));
        assert!((0..=u16::MAX).all(|bits| Tag::new(bits) != Tag::FREE));
    }
}
