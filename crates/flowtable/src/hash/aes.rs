//! The hash by AES instructions: three rounds for each 16 bytes of the key.
//!
//! ```text
//! state = round key 0
//! for each 16 bytes: state ^= bytes; three rounds with round keys 1, 2, 3
//! hash = low half ^ high half
//! ```
//!
//! After two rounds every bit of a block has reached every bit of the state. The third is for keys longer than a
//! block: to collide, the differences of two blocks must meet, and through three rounds no difference is guessed with
//! a better chance than about 2^-54, whatever the key. A 16-byte key has no full collision at all, since a round is a
//! permutation. This is no cipher; it need only stand against somebody who sees no hash and gains a crowded bucket.
//!
//! These functions are safe to call only where the processor has the instructions; [`crate::machine::Aes`] sees to
//! it.

use std::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_unpackhi_epi64, _mm_xor_si128,
};
use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;
use zerocopy::{Immutable, IntoBytes};

use super::Hash;
use crate::HashKey;

const BLOCK_BYTES: usize = 16;

/// The first state, then a key for each of the three rounds.
#[derive(Clone, Copy)]
pub(crate) struct RoundKeys([[u64; 2]; 4]);

impl RoundKeys {
    /// Eight independent words from the two of the hash key.
    pub(crate) fn derive(HashKey([k0, k1]): HashKey) -> Self {
        let word = |number: u8| {
            let mut hasher = SipHasher13::new_with_keys(k0, k1);
            hasher.write_u8(number);
            hasher.finish()
        };
        Self(std::array::from_fn(|i| [word(2 * i as u8), word(2 * i as u8 + 1)]))
    }
}

/// Hashes one key.
#[target_feature(enable = "aes")]
pub(crate) fn hash_one<K: IntoBytes + Immutable>(round_keys: &RoundKeys, key: &K) -> Hash {
    let [mut state, first, second, third] = round_keys.0.map(|words| block(words));
    let (blocks, rest) = key.as_bytes().as_chunks::<BLOCK_BYTES>();
    for bytes in blocks {
        state = absorb(state, bytes, [first, second, third]);
    }
    if !rest.is_empty() {
        // Keys of one table are all of one size, so zeros at the end make no two of them equal.
        let mut bytes = [0; BLOCK_BYTES];
        bytes[..rest.len()].copy_from_slice(rest);
        state = absorb(state, &bytes, [first, second, third]);
    }
    folded(state)
}

/// Hashes a key of one block, whose words come in registers: were they read from memory as one, where they have just been
/// written as two, the processor would have to wait until they are there.
#[target_feature(enable = "aes")]
pub(crate) fn hash_words(round_keys: &RoundKeys, first: u64, second: u64) -> Hash {
    let [state, rounds @ ..] = round_keys.0.map(|words| block(words));
    folded(mixed(_mm_xor_si128(state, block([first, second])), rounds))
}

/// Hashes the keys that are there.
#[target_feature(enable = "aes")]
pub(crate) fn hash_burst<T, K: IntoBytes + Immutable>(
    round_keys: &RoundKeys,
    all: &[T],
    key_of: impl Fn(&T) -> Option<&K>,
    hashes: &mut [Hash],
) {
    for (one, hash) in all.iter().zip(hashes) {
        if let Some(key) = key_of(one) {
            *hash = hash_one(round_keys, key);
        }
    }
}

#[inline]
#[target_feature(enable = "aes")]
fn absorb(state: __m128i, bytes: &[u8; BLOCK_BYTES], rounds: [__m128i; 3]) -> __m128i {
    let (words, _) = bytes.as_chunks::<8>();
    let words = [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])];
    mixed(_mm_xor_si128(state, block(words)), rounds)
}

#[inline]
#[target_feature(enable = "aes")]
fn mixed(state: __m128i, [first, second, third]: [__m128i; 3]) -> __m128i {
    _mm_aesenc_si128(_mm_aesenc_si128(_mm_aesenc_si128(state, first), second), third)
}

#[inline]
#[target_feature(enable = "sse2")]
fn folded(state: __m128i) -> Hash {
    Hash(_mm_cvtsi128_si64(_mm_xor_si128(state, _mm_unpackhi_epi64(state, state))) as u64)
}

#[inline]
#[target_feature(enable = "sse2")]
fn block([low, high]: [u64; 2]) -> __m128i {
    _mm_set_epi64x(high as i64, low as i64)
}
