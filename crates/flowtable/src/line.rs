//! One line of memory: a key and its value, side by side, so that the cache line fetched to verify the key brings the
//! value along.
//!
//! ```text
//! K = 16 bytes        V = 48 bytes
//! | key, 2 words      | value, the caller's atomics          |  64 bytes, one cache line
//! ```
//!
//! A small line shares a cache line with its neighbours and never straddles two; a larger one starts a cache line.
//!
//! A line is found by its key, and, where its value knows one, by an *alias* of eight bytes too: a second key that is
//! not written beside the first, because the value holds what it is made of. Such a line has two entries in the index.
//!
//! A key is kept in words that are loaded and stored whole, because a reader may look at a line while its owner
//! writes it: one that has passed no quiescent point never does, but a line that was found before the last may be
//! asked whether it still has its key ([`crate::Table::holds`]). He then compares words of two keys, finds them
//! different from his, and nothing else happens.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::region::Shared;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

const WORD_BYTES: usize = size_of::<u64>();

/// What can be a key: plain bytes without padding, a multiple of eight, compared whole.
pub trait Key: Copy + Eq + IntoBytes + FromBytes + Immutable {
    /// The same bytes in shared memory: `Words<2>` for a key of 16.
    type Words: Shared + AsRef<[AtomicU64]>;
}

impl Key for u64 {
    type Words = Words<1>;
}

impl Key for [u8; 16] {
    type Words = Words<2>;
}

impl<const COUNT: usize> Key for [u64; COUNT] {
    type Words = Words<COUNT>;
}

/// What can be the value of a line with a key `K`: atomics in shared memory, which may know an alias of their line.
pub trait LineValue<K>: Shared {
    /// Whether lines are found by an alias beside their key. Slots of such a table have one line each.
    const HAS_ALIAS: bool = false;

    /// The alias of the line that holds this value beside this key, made of nothing else, and of words that are written
    /// when the line is filled and never while it is in use.
    ///
    /// # Concurrency
    /// Anyone may ask, of any line that he found, until he passes a quiescent point: so it loads atomics, relaxed, and
    /// makes a number of whatever they are. A takeover asks it of damaged ones.
    fn alias(&self, _key: &K) -> u64 {
        0
    }
}

impl<K> LineValue<K> for AtomicU32 {}

impl<K> LineValue<K> for AtomicU64 {}

impl<K, T, const COUNT: usize> LineValue<K> for [T; COUNT] where [T; COUNT]: Shared {}

/// A key of `COUNT` times eight bytes as shared memory holds it.
#[cfg_attr(not(any(loom, shuttle)), derive(FromBytes))]
#[repr(transparent)]
pub struct Words<const COUNT: usize>([AtomicU64; COUNT]);

impl<const COUNT: usize> AsRef<[AtomicU64]> for Words<COUNT> {
    #[inline]
    fn as_ref(&self) -> &[AtomicU64] {
        &self.0
    }
}

#[cfg(any(loom, shuttle))]
impl<const COUNT: usize> Default for Words<COUNT> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// See the file's page.
#[cfg_attr(not(any(loom, shuttle)), derive(FromBytes))]
#[cfg_attr(any(loom, shuttle), derive(Default))]
#[repr(C)]
pub(crate) struct Line<W, V> {
    key: W,
    pub(crate) value: V,
}

#[cfg(not(any(loom, shuttle)))]
const _: () = {
    use crate::region::Cells;
    assert!(size_of::<Line<Words<2>, [AtomicU64; 6]>>() == 64, "a session's line is one cache line");
    assert!(Cells::<Line<Words<2>, [AtomicU64; 6]>>::STRIDE == 64);
    assert!(Cells::<Line<Words<1>, AtomicU64>>::STRIDE == 16, "small lines share a cache line");
    assert!(Cells::<Line<Words<6>, [AtomicU64; 6]>>::STRIDE == 128);
};

impl<W: AsRef<[AtomicU64]>, V> Line<W, V> {
    /// The key. Relaxed: whoever found the line has seen its entry, published after the key.
    #[inline]
    pub(crate) fn key<K: Key<Words = W>>(&self) -> K {
        let mut key = K::new_zeroed();
        for (bytes, word) in key.as_mut_bytes().chunks_exact_mut(WORD_BYTES).zip(self.key.as_ref()) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        key
    }

    /// True where the line has this key, all of it. Relaxed, as above.
    #[inline]
    pub(crate) fn has_key<K: Key<Words = W>>(&self, key: &K) -> bool {
        let (words, _) = key.as_bytes().as_chunks::<WORD_BYTES>();
        let same = |(word, bytes): (&AtomicU64, &[u8; WORD_BYTES])| {
            word.load(Ordering::Relaxed) == u64::from_ne_bytes(*bytes)
        };
        self.key.as_ref().iter().zip(words).all(same)
    }

    /// The alias, where the value knows one.
    #[inline]
    pub(crate) fn alias<K: Key<Words = W>>(&self) -> u64
    where
        V: LineValue<K>,
    {
        self.value.alias(&self.key())
    }

    /// Writes the key. By the owner, while no entry leads here; Relaxed, because the entry is published after it.
    pub(crate) fn set_key<K: Key<Words = W>>(&self, key: &K) {
        const { assert!(size_of::<K>().is_multiple_of(WORD_BYTES), "a key is whole words") };
        let (words, _) = key.as_bytes().as_chunks::<WORD_BYTES>();
        debug_assert_eq!(words.len(), self.key.as_ref().len(), "a key's words are as many as it has");
        for (word, bytes) in self.key.as_ref().iter().zip(words) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
    }
}
