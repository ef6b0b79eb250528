//! Identifications for what leaves under an address that several hosts share (RFC 6864, RFC 7857 section 11).
//!
//! A sender sees to it that no two of its datagrams to one destination have the same identification while fragments of
//! either may be under way. Behind one address are many senders, each of which does so for itself. So what may be, or has
//! been, cut is given one of the gateway's own; an atomic datagram, of which the identification means nothing, keeps its.
//!
//! ```text
//! identification = permutation( count << log2(workers) | worker )     the permutation, and whose count: by hash of
//!                                                                     destination and protocol
//! ```
//!
//! Each worker has a part of the 65,536 to itself, so that none has to ask another, and goes through all of it before it gives
//! one twice to the same destination. The source is not in the hash: fragments are given theirs before it is known by which
//! external address they leave.
//!
//! **Limits.** A destination that is sent more than 65,536 / workers datagrams that may be cut within the lifetime of a
//! fragment sees one twice, as it would from a single host; sooner, where it shares its count with others (there are
//! [`COUNTS`]). An ICMP error quotes the one we gave. Errors of a tenant's own, and what comes in, keep theirs.

use std::net::Ipv4Addr;

use packet::Protocol;

use crate::random::fold;

/// Counts of a gateway: few destinations share one.
const COUNTS: usize = 4_096;

/// See the file's page.
pub(crate) struct Identifications {
    counts: Box<[u16]>,
    key: u64,
    /// This worker's number, and how many bits of it there are.
    me: u16,
    worker_bits: u32,
}

impl Identifications {
    /// Of worker `me` of `workers`.
    pub(crate) fn new(key: u64, me: u8, workers: u8) -> Self {
        let worker_bits = u32::from(workers.max(1)).next_power_of_two().trailing_zeros();
        Self { counts: vec![0; COUNTS].into(), key, me: me.into(), worker_bits }
    }

    /// The next for a datagram to this destination.
    //= rfc6864#5.3.1
    //= rfc7857#11
    #[inline]
    pub(crate) fn draw(&mut self, destination: Ipv4Addr, protocol: Protocol) -> u16 {
        let whither = u64::from(u32::from(destination)) << 8 | u64::from(protocol.0);
        let hash = fold(whither ^ self.key, self.key | 1);
        let count = &mut self.counts[hash as usize % COUNTS];
        *count = count.wrapping_add(1);
        permute(*count << self.worker_bits | self.me, hash)
    }
}

/// One to one on 16 bits: each step can be undone.
fn permute(mut value: u16, key: u64) -> u16 {
    for round in 0..3 {
        value = value.wrapping_mul((key >> (16 * round + 12)) as u16 | 1);
        value ^= value >> 7;
        value = value.wrapping_add((key >> (8 * round)) as u16);
    }
    value
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    #[test]
    fn a_destination_sees_none_twice_from_any_worker() {
        for (workers, each) in [(1, 65_536), (3, 16_384), (8, 8_192), (32, 2_048)] {
            let mut seen = HashSet::new();
            for me in 0..workers {
                let mut identifications = Identifications::new(0x0123_4567_89ab_cdef, me, workers);
                for _ in 0..each {
                    assert!(seen.insert(identifications.draw(HERE, Protocol::UDP)));
                }
            }
            assert_eq!(seen.len(), each * usize::from(workers));
        }
    }

    #[test]
    fn every_bit_of_a_destination_and_of_a_protocol_tells() {
        let first = |destination: u32, protocol| {
            Identifications::new(0x0123_4567_89ab_cdef, 0, 1).draw(destination.into(), Protocol(protocol))
        };
        let all = (0..32).map(|bit| first(u32::from(HERE) ^ 1 << bit, 17));
        let all: HashSet<_> = all.chain((0..8).map(|bit| first(HERE.into(), 17 ^ 1 << bit))).collect();
        assert!(!all.contains(&first(HERE.into(), 17)) && all.len() == 40, "{}", all.len());
    }

    #[test]
    fn they_do_not_follow_each_other_in_a_way_that_can_be_foretold_without_the_key() {
        let mut identifications = Identifications::new(0x0123_4567_89ab_cdef, 0, 1);
        let drawn: Vec<_> = (0..1_000).map(|_| identifications.draw(HERE, Protocol::UDP)).collect();
        let steps: HashSet<_> = drawn.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert!(steps.len() > 20, "{} steps", steps.len());
    }
}
