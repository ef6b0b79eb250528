//! Keyed random numbers: unpredictable to whoever does not know the key (RFC 6056 section 3), repeatable to who does.

use std::cell::Cell;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// SipHash-1-3 of a counter, two numbers from each hash: no state worth stealing but the key.
#[derive(Clone)]
pub(crate) struct Random {
    hasher: SipHasher13,
    /// Numbers drawn.
    counter: u64,
    /// The last hash, and its number: its other half is mostly what is asked for next.
    kept: Cell<(u64, u64)>,
}

impl Random {
    /// Streams of different numbers have nothing in common under the same seed.
    pub(crate) fn new(seed: [u64; 2], stream: u8) -> Self {
        let hasher = SipHasher13::new_with_keys(seed[0], seed[1]);
        let counter = u64::from(stream) << (u64::BITS - u8::BITS);
        Self { hasher, counter, kept: Cell::new((u64::MAX, 0)) }
    }

    /// A number below `bound`, which is not 0. The bias is below one in 2^32.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let number = self.ahead(0, bound);
        self.counter += 1;
        number
    }

    /// What [`Self::below`] is going to say when so many numbers have been drawn first.
    pub(crate) fn ahead(&self, drawn: u32, bound: u32) -> u32 {
        let counter = self.counter + u64::from(drawn);
        let hash = self.hash(counter / 2);
        let half = if counter.is_multiple_of(2) { hash as u32 } else { (hash >> 32) as u32 };
        ((u64::from(half) * u64::from(bound)) >> 32) as u32
    }

    /// How many numbers have been drawn of all that any stream draws: where this one is.
    pub(crate) fn position(&self) -> u64 {
        self.counter
    }

    /// What lies before this position is as good as drawn.
    pub(crate) fn skip_to(&mut self, position: u64) {
        self.counter = position;
    }

    fn hash(&self, number: u64) -> u64 {
        let (of, hash) = self.kept.get();
        if of == number {
            return hash;
        }
        let mut hasher = self.hasher;
        hasher.write_u64(number);
        let hash = hasher.finish();
        self.kept.set((number, hash));
        hash
    }
}

/// Both halves of a product, one over the other: every bit of the result hangs on every bit of both factors.
#[inline]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Tells words that were damaged. Not keyed: it guards against accidents.
pub(crate) fn checksum(words: &[u64]) -> u64 {
    let mut hasher = SipHasher13::new();
    words.iter().for_each(|word| hasher.write_u64(*word));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_at_ahead_is_what_is_drawn() {
        let mut random = Random::new([1, 2], 3);
        let ahead: Vec<_> = (0..100).map(|drawn| random.ahead(drawn, 1_000)).collect();
        let start = random.position();
        let drawn: Vec<_> = (0..100).map(|_| random.below(1_000)).collect();
        assert_eq!(ahead, drawn);
        random.skip_to(start + 37);
        assert_eq!(random.below(1_000), ahead[37]);
    }
}
