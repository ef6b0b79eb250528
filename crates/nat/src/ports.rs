//! External ports: which are taken, and the choice of the next one.
//!
//! Each external address has 65,536 ports for each of TCP, UDP and ICMP queries. A bitmap says which are used; above it,
//! one bit per word says whether the word has a free one, so a choice reads at most 16 + 2 words however full the
//! address is. The start is keyed-random over the whole range (RFC 6056 section 3.3.1), never the next one.
//!
//! UDP and ICMP ports are taken whole. A TCP port may serve several flows towards different remotes (RFC 7857 section
//! 3): a count per port tells when it is wholly free again. A port that must rest before its next use (RFC 6888 REQ-8)
//! is given back later; see [`crate::mappings`].

use crate::random::Random;

/// How many shared TCP ports are tried for one flow once every port of the address is used.
const SHARED_PROBES_MAX: usize = 64;

const WORDS: usize = 65_536 / 64;

/// The ports of one external address for one protocol, each used by one mapping or session at most.
pub(crate) struct PortSpace {
    /// Bit set: the port is used.
    used: Box<[u64; WORDS]>,
    /// Bit set: the word has a free port within the range.
    free_words: [u64; WORDS / 64],
    first: u16,
    last: u16,
    count: u32,
}

impl PortSpace {
    pub(crate) fn new(first: u16, last: u16) -> Self {
        let mut space =
            Self { used: Box::new([0; WORDS]), free_words: [0; WORDS / 64], first, last, count: 0 };
        space.note_all_free();
        space
    }

    /// Ports in use, in the range or out of it.
    pub(crate) fn used(&self) -> u32 {
        self.count
    }

    /// Changes which ports may be chosen. Ports in use stay so.
    pub(crate) fn set_range(&mut self, first: u16, last: u16) {
        if (self.first, self.last) != (first, last) {
            (self.first, self.last) = (first, last);
            self.note_all_free();
        }
    }

    fn note_all_free(&mut self) {
        (0..WORDS).for_each(|word| self.note_free(word));
    }

    /// Takes a port that no one uses.
    pub(crate) fn take(&mut self, random: &mut Random) -> Option<u16> {
        let port = self.free_from(self.any(random))?;
        let word = usize::from(port / 64);
        self.used[word] |= 1 << (port % 64);
        self.count += 1;
        self.note_free(word);
        Some(port)
    }

    /// Gives a used port back.
    pub(crate) fn give_back(&mut self, port: u16) {
        let word = usize::from(port / 64);
        debug_assert!(self.used[word] & 1 << (port % 64) != 0, "port {port} is given back once");
        self.used[word] &= !(1 << (port % 64));
        self.count -= 1;
        self.note_free(word);
    }

    /// Any port of the range, used or not.
    fn any(&self, random: &mut Random) -> u16 {
        self.first + random.below(u32::from(self.last - self.first) + 1) as u16
    }

    /// The free ports of a word.
    fn free(&self, word: usize) -> u64 {
        let (low, high) = ((word * 64) as u16, (word * 64 + 63) as u16);
        if high < self.first || self.last < low {
            return 0;
        }
        let from = u64::MAX << self.first.saturating_sub(low);
        let to = u64::MAX >> high.saturating_sub(self.last);
        !self.used[word] & from & to
    }

    fn note_free(&mut self, word: usize) {
        let bit = 1 << (word % 64);
        match self.free(word) {
            0 => self.free_words[word / 64] &= !bit,
            _ => self.free_words[word / 64] |= bit,
        }
    }

    /// The next free port at or after `start`, round the end.
    fn free_from(&self, start: u16) -> Option<u16> {
        let word = usize::from(start / 64);
        let rest = self.free(word) & (u64::MAX << (start % 64));
        if rest != 0 {
            return Some((word * 64) as u16 + rest.trailing_zeros() as u16);
        }
        // The words after this one, round to this one again for its low bits.
        let next = (word + 1) % WORDS;
        for step in 0..=self.free_words.len() {
            let index = (next / 64 + step) % self.free_words.len();
            let mask = if step == 0 { u64::MAX << (next % 64) } else { u64::MAX };
            let words = self.free_words[index] & mask;
            if words != 0 {
                let word = index * 64 + words.trailing_zeros() as usize;
                return Some((word * 64) as u16 + self.free(word).trailing_zeros() as u16);
            }
        }
        None
    }
}

/// The ports of one external address for TCP: several sessions may share one towards different remotes.
pub(crate) struct SharedPortSpace {
    space: PortSpace,
    sessions: Box<[u16]>,
}

impl SharedPortSpace {
    pub(crate) fn new(first: u16, last: u16) -> Self {
        Self { space: PortSpace::new(first, last), sessions: vec![0; 65_536].into_boxed_slice() }
    }

    /// Ports that at least one session uses.
    pub(crate) fn used(&self) -> u32 {
        self.space.used()
    }

    /// See [`PortSpace::set_range`].
    pub(crate) fn set_range(&mut self, first: u16, last: u16) {
        self.space.set_range(first, last);
    }

    /// Takes a port for one session: one that no session uses, or, where there is none, one of at most
    /// [`SHARED_PROBES_MAX`] that does not `clash` with the flow.
    pub(crate) fn take(&mut self, random: &mut Random, clash: impl Fn(u16) -> bool) -> Option<u16> {
        if let Some(port) = self.space.take(random) {
            self.sessions[usize::from(port)] = 1;
            return Some(port);
        }
        let port = (0..SHARED_PROBES_MAX)
            .map(|_| self.space.any(random))
            .find(|port| self.sessions[usize::from(*port)] < u16::MAX && !clash(*port))?;
        self.sessions[usize::from(port)] += 1;
        Some(port)
    }

    /// Gives back one session's use of a port.
    pub(crate) fn give_back(&mut self, port: u16) {
        let sessions = &mut self.sessions[usize::from(port)];
        *sessions -= 1;
        if *sessions == 0 {
            self.space.give_back(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn random() -> Random {
        Random::new([1, 2])
    }

    #[test]
    fn every_port_of_the_range_is_given_once_before_the_first_refusal() {
        for (first, last) in [(1024, 65_535), (1, 65_535), (5000, 5000), (1000, 1130), (64, 127), (63, 64)] {
            let (mut space, mut random) = (PortSpace::new(first, last), random());
            let taken: HashSet<u16> = std::iter::from_fn(|| space.take(&mut random)).collect();
            assert_eq!(taken.len(), usize::from(last - first) + 1, "{first}-{last}");
            assert!(taken.iter().all(|port| (first..=last).contains(port)));
            assert_eq!(space.used() as usize, taken.len());
            space.give_back(first);
            assert_eq!(space.take(&mut random), Some(first));
        }
    }

    #[test]
    fn a_narrower_range_spares_the_ports_in_use() {
        let (mut space, mut random) = (PortSpace::new(1000, 1999), random());
        let before: HashSet<u16> = (0..500).filter_map(|_| space.take(&mut random)).collect();
        space.set_range(1500, 2499);
        let after: HashSet<u16> = std::iter::from_fn(|| space.take(&mut random)).collect();
        assert!(before.is_disjoint(&after));
        assert_eq!(after.len(), 1000 - before.iter().filter(|port| **port >= 1500).count());
        before.union(&after).for_each(|port| space.give_back(*port));
        assert_eq!(space.used(), 0);
    }

    #[test]
    fn rfc6056_ports_are_spread_over_the_whole_range() {
        // Chi-square over 64 equal bins; 103.4 is the 0.999 quantile for 63 degrees of freedom.
        let (mut space, mut random) = (PortSpace::new(1024, 65_535), random());
        let mut bins = [0f64; 64];
        let draws = 64_000;
        for _ in 0..draws {
            let port = space.take(&mut random).unwrap();
            bins[usize::from((port - 1024) / 1008)] += 1.0;
            space.give_back(port);
        }
        let expected = f64::from(draws) / 64.0;
        let chi_square: f64 = bins.iter().map(|bin| (bin - expected).powi(2) / expected).sum();
        assert!(chi_square < 103.4, "chi-square {chi_square}");
    }

    #[test]
    fn rfc6056_the_next_port_is_not_the_last_plus_one() {
        let (mut space, mut random) = (PortSpace::new(1024, 65_535), random());
        let ports: Vec<u16> = (0..10_000).filter_map(|_| space.take(&mut random)).collect();
        let followers = ports.windows(2).filter(|pair| pair[1].abs_diff(pair[0]) <= 2).count();
        assert!(followers < 20, "{followers} of 10,000 ports are next to the one before");
    }

    #[test]
    fn rfc7857_section_3_a_tcp_port_is_shared_only_towards_another_remote() {
        let (mut space, mut random) = (SharedPortSpace::new(2000, 2003), random());
        for _ in 0..4 {
            space.take(&mut random, |_| panic!("a wholly free port needs no check")).unwrap();
        }
        assert_eq!(space.take(&mut random, |port| port != 2002), Some(2002));
        assert_eq!(space.take(&mut random, |_| true), None);
        space.give_back(2002);
        assert_eq!(space.used(), 4, "one session still uses it");
        space.give_back(2002);
        assert_eq!(space.used(), 3);
    }
}
