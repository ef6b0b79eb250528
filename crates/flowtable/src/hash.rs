//! The keyed hash: 64 bits of a key that nobody can steer who does not know the [`HashKey`].
//!
//! Who may send packets may choose keys. With a hash they can compute, they choose a thousand keys for one bucket,
//! and the table is full for everybody; so the hash is keyed, with a key from the operating system. Two ways to
//! compute it:
//!
//! - AES rounds ([`aes`]), a few clocks for a 16-byte key, where the processor has them;
//! - SipHash-1-3, some 20 clocks, everywhere else.
//!
//! The two give different hashes. Which one is used is settled once, when the table is made.
//!
//! Nothing rests on the hash alone: the whole key is compared before a line is said to be found.

#[cfg(target_arch = "x86_64")]
pub(crate) mod aes;

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;
use zerocopy::{Immutable, IntoBytes};

use crate::HashKey;
use crate::machine::Aes;

/// The hash of one key. Its high half chooses the bucket, its low bits the tag: see [`crate::index`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hash(pub(crate) u64);

/// One of the two ways. Who keeps hashes, or places that follow from them, for another process keeps this too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// AES rounds.
    Aes,
    /// SipHash-1-3.
    SipHash,
}

impl HashKind {
    /// The way that every table takes on this machine.
    pub fn of_this_machine() -> Self {
        if Aes::detect().is_some() { Self::Aes } else { Self::SipHash }
    }
}

/// Hashes keys, in the way that suits this machine.
pub(crate) struct Hasher {
    hash_key: HashKey,
    #[cfg(target_arch = "x86_64")]
    aes: Option<(Aes, aes::RoundKeys)>,
}

impl Hasher {
    /// The fastest way this machine has.
    pub(crate) fn new(hash_key: HashKey) -> Self {
        Self {
            hash_key,
            #[cfg(target_arch = "x86_64")]
            aes: Aes::detect().map(|aes| (aes, aes::RoundKeys::derive(hash_key))),
        }
    }

    /// The way that works everywhere.
    #[cfg(test)]
    pub(crate) fn portable(hash_key: HashKey) -> Self {
        Self {
            hash_key,
            #[cfg(target_arch = "x86_64")]
            aes: None,
        }
    }

    /// Which way it is.
    pub(crate) fn kind(&self) -> HashKind {
        #[cfg(target_arch = "x86_64")]
        if self.aes.is_some() {
            return HashKind::Aes;
        }
        HashKind::SipHash
    }

    /// Hashes one key.
    #[inline]
    pub(crate) fn hash_one<K: IntoBytes + Immutable>(&self, key: &K) -> Hash {
        #[cfg(target_arch = "x86_64")]
        if let Some((aes, round_keys)) = &self.aes {
            return aes.hash_one(round_keys, key);
        }
        self.hash_one_portably(key)
    }

    /// Hashes many keys: one after another in the processor's pipeline, which one by one would wait for each other.
    /// What stands for one without a key is undefined.
    #[inline]
    pub(crate) fn hash_burst<T, K: IntoBytes + Immutable>(
        &self,
        all: &[T],
        key_of: impl Fn(&T) -> Option<&K>,
        hashes: &mut [Hash],
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some((aes, round_keys)) = &self.aes {
            return aes.hash_burst(round_keys, all, key_of, hashes);
        }
        for (one, hash) in all.iter().zip(hashes) {
            if let Some(key) = key_of(one) {
                *hash = self.hash_one_portably(key);
            }
        }
    }

    fn hash_one_portably<K: IntoBytes + Immutable>(&self, key: &K) -> Hash {
        let HashKey([k0, k1]) = self.hash_key;
        let mut hasher = SipHasher13::new_with_keys(k0, k1);
        hasher.write(key.as_bytes());
        Hash(hasher.finish())
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const KEY: HashKey = HashKey([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);

    fn both_ways(hash_key: HashKey) -> [Hasher; 2] {
        [Hasher::new(hash_key), Hasher::portable(hash_key)]
    }

    #[test]
    fn a_burst_hashes_as_one_by_one() {
        fn check<K: IntoBytes + Immutable>(make: impl Fn(u64) -> K) {
            for hasher in both_ways(KEY) {
                let keys: Vec<_> = (0..50).map(|i| (i % 3 != 0).then(|| make(i))).collect();
                let mut hashes = vec![Hash::default(); keys.len()];
                hasher.hash_burst(&keys, Option::as_ref, &mut hashes);
                for (key, hash) in keys.iter().zip(hashes) {
                    if let Some(key) = key {
                        assert_eq!(hash, hasher.hash_one(key));
                    }
                }
            }
        }
        check(|i| i);
        check(|i| [i as u8, 1, 2]);
        check(|i| [i, 7]);
        check(|i| [i, 7, 8]);
        check(|i| [9, 8, 7, 6, 5, i]);
    }

    /// With any bit of the key flipped, each bit of the hash flips about every other time.
    #[test]
    fn every_bit_of_a_key_moves_every_bit_of_the_hash() {
        fn check<const BYTES: usize>() {
            const ROUNDS: usize = 400;
            for hasher in both_ways(KEY) {
                for bit in 0..BYTES * 8 {
                    let mut flips = [0usize; 64];
                    for round in 0..ROUNDS {
                        // Structured keys, as addresses and ports are: mostly zeros and a counter.
                        let mut key = [0u8; BYTES];
                        key[0] = round as u8;
                        key[BYTES - 1] = (round >> 8) as u8;
                        let before = hasher.hash_one(&key).0;
                        key[bit / 8] ^= 1 << (bit % 8);
                        let changed = before ^ hasher.hash_one(&key).0;
                        flips
                            .iter_mut()
                            .enumerate()
                            .for_each(|(i, count)| *count += (changed >> i & 1) as usize);
                    }
                    // Six standard deviations of 400 fair coins are 60.
                    let (least, most) = (flips.iter().min().unwrap(), flips.iter().max().unwrap());
                    assert!(
                        *least > 140 && *most < 260,
                        "{BYTES} bytes, bit {bit}: {least} to {most} of {ROUNDS}"
                    );
                }
            }
        }
        check::<4>();
        check::<16>();
        check::<48>();
    }

    #[test]
    fn another_hash_key_gives_another_hash() {
        for other in [HashKey([KEY.0[0] ^ 1, KEY.0[1]]), HashKey([KEY.0[0], KEY.0[1] ^ (1 << 63)])] {
            for (a, b) in both_ways(KEY).into_iter().zip(both_ways(other)) {
                for key in 0..1000u64 {
                    assert_ne!(a.hash_one(&key), b.hash_one(&key));
                }
            }
        }
    }

    /// A shorter last block is filled with zeros; no key of the same size may become equal by it.
    #[test]
    fn keys_of_odd_sizes_do_not_collide() {
        for hasher in both_ways(KEY) {
            let mut seen = hashbrown::HashSet::new();
            for i in 0..=255u8 {
                for place in 0..19 {
                    let mut key = [0u8; 19];
                    key[place] = i;
                    if i != 0 || place == 0 {
                        assert!(seen.insert(hasher.hash_one(&key).0), "{i} at {place}");
                    }
                }
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_two_ways_are_both_tested_here() {
        if std::arch::is_x86_feature_detected!("aes") {
            let [fast, portable] = both_ways(KEY);
            assert_ne!(fast.hash_one(&1u64), portable.hash_one(&1u64));
        }
    }
}
