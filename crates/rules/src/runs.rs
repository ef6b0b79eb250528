//! Runs of addresses and ports, and what is left of them where others are excluded.

use std::net::Ipv4Addr;

use crate::compiled::PortRun;
use crate::model::{AddressRange, Pool, PortRange};

/// A run of numbers, both ends included.
type Run = (u32, u32);

/// Runs of numbers in order, those that meet made one; without runs that run backwards.
fn merge(mut runs: Vec<Run>) -> Vec<Run> {
    runs.retain(|(first, last)| first <= last);
    runs.sort_unstable();
    runs.dedup_by(|next, before| {
        let meets = next.0 <= before.1.saturating_add(1);
        if meets {
            before.1 = before.1.max(next.1);
        }
        meets
    });
    runs
}

/// What is left of a run without those `excluded`, which are in order and apart.
fn without(run: Run, excluded: &[Run]) -> impl Iterator<Item = Run> + use<> {
    let (mut first, last) = (u64::from(run.0), u64::from(run.1));
    let mut left = Vec::new();
    let begin = excluded.partition_point(|(_, end)| u64::from(*end) < first);
    for (from, to) in excluded.iter().skip(begin).take_while(|(from, _)| u64::from(*from) <= last) {
        if let Some(before) = u64::from(*from).checked_sub(1).filter(|before| first <= *before) {
            left.push((first, before));
        }
        first = u64::from(*to) + 1;
    }
    if first <= last {
        left.push((first, last));
    }
    let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
    left.into_iter().map(move |(first, last)| (number(first), number(last)))
}

/// Ports without those excluded: rising, apart from each other.
pub(crate) fn ports_without(ports: PortRange, excluded: impl Iterator<Item = PortRange>) -> Vec<PortRun> {
    let numbers = |run: PortRange| (u32::from(run.first), u32::from(run.last));
    let port = |number| u16::try_from(number).unwrap_or(u16::MAX);
    let left = without(numbers(ports), &merge(excluded.map(numbers).collect()));
    left.map(|(first, last)| PortRun { first: port(first), last: port(last) }).collect()
}

impl Pool {
    /// The runs of addresses that are left without those excluded, each with the index of the run it is of.
    pub(crate) fn runs_left(&self) -> impl Iterator<Item = (usize, AddressRange)> + '_ {
        let numbers = |run: &AddressRange| (u32::from(run.first), u32::from(run.last));
        let address = Ipv4Addr::from;
        let excluded = merge(self.exclude_addresses.iter().map(numbers).collect());
        self.addresses.iter().enumerate().flat_map(move |(index, run)| {
            without(numbers(run), &excluded).map(move |(first, last)| {
                (index, AddressRange { first: address(first), last: address(last) })
            })
        })
    }

    /// The ports that are left without those excluded: rising, apart from each other.
    pub(crate) fn ports_left(&self) -> Vec<PortRun> {
        ports_without(self.ports, self.exclude_ports.iter().copied())
    }
}

impl PortRange {
    /// Whether the two have a port in common.
    pub(crate) fn meets(&self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl AddressRange {
    /// Every address, rising; none where the range runs backwards.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (u32::from(self.first)..=u32::from(self.last)).map(Ipv4Addr::from)
    }

    /// How many addresses it has; none where it runs backwards.
    pub(crate) fn count(&self) -> u64 {
        (u64::from(u32::from(self.last)) + 1).saturating_sub(u64::from(u32::from(self.first)))
    }

    /// Whether the address is in it.
    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }
}
