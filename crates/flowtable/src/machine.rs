//! What only the machine can give: prefetching, SSE2 and AES instructions. With `region`, all `unsafe` of the crate.
//!
//! Everything else in the crate is safe code over a few small promises made here:
//!
//! | promise | who relies on it | why not the safe way |
//! |---|---|---|
//! | [`prefetch`], [`prefetch_value`]: start to load, wait for nothing | the batched lookup, whoever knows what comes | `core` has no safe prefetch |
//! | [`equal_by_sse2`]: every x86-64 processor has SSE2 | the comparison of tags | the compiler knows, and asks all the same |
//! | [`Aes`]: proof that this processor has AES instructions | the hash | looked at once, at run time; the compiler cannot see it |
#![allow(unsafe_code)]

/// What one access to memory brings in.
pub(crate) const CACHE_LINE_BYTES: usize = 64;

/// Starts to load a cache line. Any address is fine.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn prefetch(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch is a hint: it reads nothing into the program and faults on no address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

/// Elsewhere the batched lookup still works, only without the head start.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) fn prefetch(_address: *const u8) {}

/// Starts to load all of a value. A hint: nothing waits for it, and nothing depends on it.
#[inline]
pub fn prefetch_value<T>(value: &T) {
    let address = std::ptr::from_ref(value).cast::<u8>();
    (0..size_of::<T>()).step_by(CACHE_LINE_BYTES).for_each(|offset| prefetch(address.wrapping_add(offset)));
}

/// See [`crate::tags::equal_by_sse2`].
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn equal_by_sse2(tags: [u64; 2], tag: u16) -> u8 {
    // SAFETY: the function needs the `sse2` feature, which is part of x86-64: no such processor is without it.
    unsafe { crate::tags::equal_by_sse2(tags, tag) }
}

/// Proof that this processor has AES instructions: nobody has one where it does not.
#[derive(Clone, Copy)]
pub(crate) struct Aes(());

impl Aes {
    /// Asks the processor. A model of threads has none: it wants the portable way.
    pub(crate) fn detect() -> Option<Self> {
        #[cfg(all(target_arch = "x86_64", not(any(loom, shuttle))))]
        let there = std::arch::is_x86_feature_detected!("aes");
        #[cfg(not(all(target_arch = "x86_64", not(any(loom, shuttle)))))]
        let there = false;
        there.then_some(Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
mod aes_calls {
    use zerocopy::{FromBytes, Immutable, IntoBytes};

    use crate::hash::Hash;
    use crate::hash::aes::{self, RoundKeys};

    impl super::Aes {
        /// See [`aes::hash_one`].
        #[inline]
        pub(crate) fn hash_one<K: IntoBytes + Immutable>(self, round_keys: &RoundKeys, key: &K) -> Hash {
            if let Ok([first, second]) = <[u64; 2]>::read_from_bytes(key.as_bytes()) {
                // SAFETY: the function needs the `aes` feature, and whoever holds `self` has seen it detected.
                return unsafe { aes::hash_words(round_keys, first.to_le(), second.to_le()) };
            }
            // SAFETY: as above.
            unsafe { aes::hash_one(round_keys, key) }
        }

        /// See [`aes::hash_burst`].
        #[inline]
        pub(crate) fn hash_burst<T, K: IntoBytes + Immutable>(
            self,
            round_keys: &RoundKeys,
            all: &[T],
            key_of: impl Fn(&T) -> Option<&K>,
            hashes: &mut [Hash],
        ) {
            // SAFETY: as above.
            unsafe { aes::hash_burst(round_keys, all, key_of, hashes) }
        }
    }
}
