//! Which ports a flow may have: runs of a pool, within bounds, of one parity where that is to be kept.
//!
//! Ports are looked at in *groups* of 64 of one parity, so that whether a group has a free one is one bit for whoever wants
//! even ports, odd ones, or any:
//!
//! ```text
//! port     | window (9) | bit (6) | parity (1) |         group = window and parity: 1,024 groups
//! ```

use rules::compiled::PortRun;

use crate::random::Random;

pub(super) const GROUP: usize = 64;
pub(super) const GROUPS: usize = 65_536 / GROUP;

/// See the file's page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Rising, apart from each other.
    pub(crate) runs: &'a [PortRun],
    /// Bounds within which the runs count.
    pub(crate) within: PortRun,
    /// The lowest bit of the ports, where it matters.
    pub(crate) parity: Option<u16>,
}

/// Every port.
pub(crate) const ANYWHERE: PortRun = PortRun { first: 0, last: u16::MAX };

impl<'a> Wanted<'a> {
    /// How many ports these are.
    pub(crate) fn count(&self) -> u32 {
        self.parts().map(|part| self.count_of(part)).sum()
    }

    /// Any of them, each as likely as any other; `None` where there is none.
    pub(crate) fn any(&self, random: &mut Random) -> Option<u16> {
        self.drawn(|count| random.below(count))
    }

    /// The one that is drawn by a number below how many there are.
    pub(crate) fn drawn(&self, below: impl FnOnce(u32) -> u32) -> Option<u16> {
        // One run of ports of either parity, as most pools have: nothing to look for.
        if let ([run], None) = (self.runs, self.parity) {
            let (first, last) = (run.first.max(self.within.first), run.last.min(self.within.last));
            return (first <= last).then(|| first + below(u32::from(last - first) + 1) as u16);
        }
        let count = self.count();
        if count == 0 { None } else { self.nth(below(count)) }
    }

    /// All of them, each once, in a random order of which there are many: no two flows walk alike, so that what one has left
    /// behind does not stand in the way of another as a row.
    pub(crate) fn scattered(self, random: &mut Random) -> impl Iterator<Item = u16> + use<'a> {
        let count = self.count().max(1);
        let (start, mut step) = (random.below(count), 1 + random.below(count));
        while common_divisor(step, count) != 1 {
            step += 1;
        }
        let at = move |number: u64| (u64::from(start) + number * u64::from(step)) % u64::from(count);
        (0..u64::from(count)).filter_map(move |number| self.nth(at(number) as u32))
    }

    /// The port that so many of them are before.
    fn nth(&self, mut number: u32) -> Option<u16> {
        for part in self.parts() {
            let here = self.count_of(part);
            if number < here {
                return Some(self.first_of(part) + (number * self.step()) as u16);
            }
            number -= here;
        }
        None
    }

    /// All of them, in order.
    pub(crate) fn ports(self) -> impl Iterator<Item = u16> + use<'a> {
        self.parts().flat_map(move |part| self.ports_of(part))
    }

    /// The group's ports that are wanted, as bits.
    pub(super) fn mask(&self, group: usize) -> u64 {
        let parity = (group % 2) as u16;
        if self.parity.is_some_and(|wanted| wanted != parity) {
            return 0;
        }
        let base = (group / 2 * 2 * GROUP) as u16;
        let window = PortRun { first: base, last: base + (2 * GROUP - 1) as u16 };
        self.parts_in(window).fold(0, |mask, part| {
            // A part that ends on the window's first port has none of the odd ones.
            let Some(high) = (part.last - base).checked_sub(parity) else { return mask };
            let (low, high) = ((part.first - base + 1 - parity) / 2, high / 2);
            if low > high {
                return mask;
            }
            mask | (u64::MAX >> (63 - (high - low))) << low
        })
    }

    /// The groups in which wanted ports may be: the first and the last.
    pub(super) fn groups(&self) -> Option<(usize, usize)> {
        self.bounds().map(|(first, last)| (group_of(first & !1), group_of(last | 1)))
    }

    /// The ports between which the wanted ones are, these two included.
    pub(super) fn bounds(&self) -> Option<(u16, u16)> {
        let first = self.runs.first()?.first.max(self.within.first);
        let last = self.runs.last()?.last.min(self.within.last);
        (first <= last).then_some((first, last))
    }

    fn parts(self) -> impl Iterator<Item = PortRun> + use<'a> {
        self.parts_in(ANYWHERE)
    }

    /// What of the runs lies in the bounds and in a window.
    fn parts_in(self, window: PortRun) -> impl Iterator<Item = PortRun> + use<'a> {
        let (low, high) = (self.within.first.max(window.first), self.within.last.min(window.last));
        let from = self.runs.partition_point(|run| run.last < low);
        self.runs
            .get(from..)
            .unwrap_or_default()
            .iter()
            .take_while(move |run| low <= high && run.first <= high)
            .map(move |run| PortRun { first: run.first.max(low), last: run.last.min(high) })
    }

    fn ports_of(self, part: PortRun) -> impl Iterator<Item = u16> {
        (u32::from(self.first_of(part))..=u32::from(part.last))
            .step_by(self.step() as usize)
            .take(self.count_of(part) as usize)
            .map(|port| port as u16)
    }

    /// The first port of a part, or the one after where that has the wrong parity.
    fn first_of(self, part: PortRun) -> u16 {
        let is_wrong = self.parity.is_some_and(|parity| part.first & 1 != parity);
        part.first.saturating_add(u16::from(is_wrong))
    }

    fn count_of(self, part: PortRun) -> u32 {
        let is_wrong = self.parity.is_some_and(|parity| part.first & 1 != parity);
        (part.len() - u32::from(is_wrong)).div_ceil(self.step())
    }

    fn step(self) -> u32 {
        if self.parity.is_some() { 2 } else { 1 }
    }
}

fn common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { common_divisor(other, one % other) }
}

pub(super) fn group_of(port: u16) -> usize {
    usize::from(port >> 7 << 1 | port & 1)
}

/// The bits of the port and of those after it in its group.
pub(super) fn bits_from(port: u16) -> u64 {
    u64::MAX << (port >> 1 & 63)
}

/// The ports of a group whose bits are set.
pub(super) fn ports_of(group: usize, mut bits: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let bit = (bits != 0).then(|| bits.trailing_zeros())?;
        bits &= bits - 1;
        Some((group / 2 * 2 * GROUP) as u16 | (bit << 1) as u16 | (group % 2) as u16)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The ports as anybody would list them.
    fn listed(wanted: &Wanted) -> BTreeSet<u16> {
        let is_wanted = |port: &u16| {
            wanted.runs.iter().any(|run| run.contains(*port))
                && wanted.within.contains(*port)
                && wanted.parity.is_none_or(|parity| port & 1 == parity)
        };
        (0..=u16::MAX).filter(is_wanted).collect()
    }

    #[test]
    fn every_way_to_ask_for_ports_means_the_same_ports() {
        let run = |first, last| PortRun { first, last };
        let rows: [&[PortRun]; 5] = [
            &[run(1024, 65_535)],
            &[run(1, 1), run(3, 3), run(127, 129), run(255, 256), run(65_535, 65_535)],
            &[run(1000, 1001), run(1003, 1100), run(1200, 1400), run(60_000, 60_003)],
            &[run(128, 128)],
            &[run(0, 65_535)],
        ];
        let mut random = Random::new([1, 2], 0);
        for runs in rows {
            for within in [ANYWHERE, run(1024, 65_535), run(0, 1023), run(1003, 1210), run(128, 191)] {
                for parity in [None, Some(0), Some(1)] {
                    let wanted = Wanted { runs, within, parity };
                    let ports = listed(&wanted);
                    let row = format!("{wanted:?}");
                    assert_eq!(wanted.count() as usize, ports.len(), "{row}");
                    let by_mask: BTreeSet<u16> =
                        (0..GROUPS).flat_map(|group| ports_of(group, wanted.mask(group))).collect();
                    assert!(by_mask == ports, "{row}");
                    let Some(start) = wanted.any(&mut random) else {
                        assert!(ports.is_empty(), "{row}");
                        continue;
                    };
                    assert!(ports.contains(&start), "{row}");
                    assert!(wanted.ports().eq(ports.iter().copied()), "{row}");
                    let scattered: Vec<u16> = wanted.scattered(&mut random).collect();
                    assert_eq!(scattered.len(), ports.len(), "{row}");
                    assert!(scattered.into_iter().collect::<BTreeSet<_>>() == ports, "{row}");
                    let (first, last) = wanted.groups().unwrap();
                    assert!(ports.iter().all(|port| (first..=last).contains(&group_of(*port))), "{row}");
                }
            }
        }
    }
}
