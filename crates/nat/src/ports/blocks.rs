//! Blocks: which runs of ports are whose host's (RFC 6888 REQ-14).
//!
//! A block is an aligned run of a power of two of ports, leased to a host. It takes nothing from the ports' own words: it only
//! keeps other hosts' choices out, so it needs no care where rules change from blocks to none, or to another size.
//!
//! ```text
//! unit     | shard + 1 (8) | log2 of the block's ports (8) |     8 ports; 0: in no block
//! ```

use std::sync::atomic::{
    AtomicU16,
    Ordering::{Acquire, Relaxed, Release},
};

use flowtable::ShardIndex;
use rules::compiled::PortRun;

use super::{PORTS, PortSpace, Wanted};
use crate::probes::Probes;
use crate::random::Random;

/// Ports of a unit: the smallest block.
const BLOCK_PORTS_MIN: u16 = 8;

pub(super) const UNITS: usize = PORTS / BLOCK_PORTS_MIN as usize;

/// A block that is some host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) shard: ShardIndex,
    pub(crate) ports: PortRun,
}

impl Lease {
    /// The block of so many ports, a power of two, that a port is in.
    pub(crate) fn of(shard: ShardIndex, port: u16, ports: u16) -> Self {
        Self::new(shard, port, ports.trailing_zeros() as u16)
    }

    fn new(shard: ShardIndex, port: u16, log2: u16) -> Self {
        let rest = (1u16 << log2.min(15)) - 1;
        Self { shard, ports: PortRun { first: port & !rest, last: port | rest } }
    }

    fn word(self) -> u16 {
        (u16::from(self.shard.0) + 1) << 8 | self.ports.len().trailing_zeros() as u16
    }

    fn units(self) -> impl Iterator<Item = usize> {
        unit_of(self.ports.first)..=unit_of(self.ports.last)
    }
}

fn unit_of(port: u16) -> usize {
    usize::from(port / BLOCK_PORTS_MIN)
}

impl<'a> PortSpace<'a> {
    /// The block that a port is in, if it is in one.
    pub(crate) fn lease_of(self, port: u16) -> Option<Lease> {
        let word = self.unit(unit_of(port)).load(Relaxed);
        let shard = (word >> 8).checked_sub(1)?;
        let log2 = word & 0xff;
        (3..=15).contains(&log2).then(|| Lease::new(ShardIndex(shard as u8), port, log2))
    }

    /// Leases a block of `ports` ports, a power of two, in which there are wanted ones. Says which one before it tries. Without
    /// probes it ends as if there was none.
    pub(crate) fn lease(
        self,
        shard: ShardIndex,
        ports: u16,
        wanted: &Wanted,
        random: &mut Random,
        probes: Probes,
        mut announce: impl FnMut(Lease),
    ) -> Option<Lease> {
        let log2 = ports.trailing_zeros() as u16;
        let start = wanted.any(random)? >> log2;
        let (first, last) = wanted.bounds()?;
        let numbers = (start..=last >> log2).chain(first >> log2..start);
        for number in probes.paid(numbers) {
            let lease = Lease::new(shard, number << log2, log2);
            if self.unit(unit_of(lease.ports.first)).load(Relaxed) != 0 {
                continue;
            }
            if (Wanted { within: lease.ports, ..*wanted }).count() == 0 {
                continue;
            }
            announce(lease);
            if self.claim(lease) {
                return Some(lease);
            }
        }
        None
    }

    /// Gives a block back.
    pub(crate) fn end_lease(self, lease: Lease) {
        for unit in lease.units() {
            _ = self.unit(unit).compare_exchange(lease.word(), 0, Release, Relaxed);
        }
    }

    /// Leases this block, if nobody has any of it.
    pub(crate) fn claim(self, lease: Lease) -> bool {
        for unit in lease.units() {
            if self.unit(unit).compare_exchange(0, lease.word(), Acquire, Relaxed).is_err() {
                let claimed = lease.units().take_while(|one| *one < unit);
                claimed.for_each(|one| self.unit(one).store(0, Release));
                return false;
            }
        }
        true
    }

    /// Forgets what is leased to a shard, but what is to be kept.
    pub(crate) fn keep_blocks(self, shard: ShardIndex, is_kept: impl Fn(Lease) -> bool) {
        for unit in 0..UNITS {
            let word = self.unit(unit);
            let is_of = word.load(Relaxed) >> 8 == u16::from(shard.0) + 1;
            let lease = || self.lease_of((unit * usize::from(BLOCK_PORTS_MIN)) as u16);
            if is_of && !lease().is_some_and(&is_kept) {
                word.store(0, Relaxed);
            }
        }
    }

    pub(super) fn unit(self, unit: usize) -> &'a AtomicU16 {
        self.ports.units.get(self.number * UNITS + unit)
    }
}
