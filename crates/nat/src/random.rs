//! Keyed random numbers: unpredictable to whoever does not know the key (RFC 6056 section 3), repeatable to who does.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// SipHash-1-3 of a counter: no state worth stealing but the key.
#[derive(Clone)]
pub(crate) struct Random {
    hasher: SipHasher13,
    counter: u64,
}

impl Random {
    pub(crate) fn new(seed: [u64; 2]) -> Self {
        Self { hasher: SipHasher13::new_with_keys(seed[0], seed[1]), counter: 0 }
    }

    /// A number below `bound`, which is not 0. The bias is below one in 2^32.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.counter += 1;
        let mut hasher = self.hasher;
        hasher.write_u64(self.counter);
        let high = (hasher.finish() >> 32) as u32;
        ((u64::from(high) * u64::from(bound)) >> 32) as u32
    }
}
