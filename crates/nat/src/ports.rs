//! External ports: who has which, and the choice of the next one.
//!
//! Each external address has 65,536 ports for each of TCP, UDP and ICMP queries: a *space*. Each port is a word that any
//! shard's owner can take and only its holder gives back, so nothing is handed out in blocks that could strand.
//!
//! ```text
//! cell     | shard + 1 (6) | uses (10) |    0: nobody has it        65,536 of 2 bytes for a space
//! full     | a bit for each group of 64 cells: none was free |      1,024 bits for a space
//! used     | how many cells are not 0 |                             for each space
//!
//! take     0 -> (shard, 1)         compare-exchange, by whoever wants it
//! share    uses + 1, give back     store, by the holder alone
//! ```
//!
//! The start of a choice is keyed-random over the whole range (RFC 6056 section 3.3.1), never the next one. From there the
//! next free port is taken. The groups' bits keep that short however full the space is: who finds a group without a free
//! port sets its bit and looks again; who gives a port back clears the bit afterwards. One of the two sees the other.
//!
//! UDP and ICMP ports are taken whole. A TCP port may serve several flows towards different remotes (RFC 7857 section
//! 3): its uses tell when it is wholly free again. A port that must rest before its next use (RFC 6888 REQ-8) is given
//! back later; see [`crate::mappings`].
//!
//! | what | written by | ordering | why |
//! |---|---|---|---|
//! | cell | 0 -> taker; else its holder | relaxed | it leads to a shard; what is found there has an order of its own |
//! | full | anyone | release where it is cleared, acquire where set | a set that comes after a clear sees the port that was given back |
//! | used | anyone | relaxed | a count |

use std::sync::atomic::{
    AtomicU16, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use flowtable::{Carver, Cells, ShardIndex};
use packet::Protocol;
use rules::compiled::AddressIndex;

use crate::random::Random;

/// How many ports of its own a shard tries to share for one flow once every port of the address is used.
const SHARED_PROBES_MAX: usize = 64;

/// How many cells it looks at to find that many of its own.
const SHARED_CELLS_MAX: u32 = 8_192;

const PORTS: usize = 65_536;

/// Cells whose fullness one bit tells: two cache lines.
const GROUP: usize = 64;
const GROUPS: usize = PORTS / GROUP;
const WORDS: usize = GROUPS / u64::BITS as usize;

/// Spaces of an address: TCP, UDP, ICMP.
const SPACES: usize = 3;

const USES_BITS: u32 = 10;
const USES_MAX: u16 = (1 << USES_BITS) - 1;

const _: () = assert!(flowtable::SHARDS_MAX < 1 << (u16::BITS - USES_BITS), "every shard fits a cell");

/// The ports that may be chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl PortRange {
    /// Any port of the range.
    fn any(self, random: &mut Random) -> u16 {
        self.first + random.below(self.len()) as u16
    }

    fn len(self) -> u32 {
        u32::from(self.last.saturating_sub(self.first)) + 1
    }

    /// The part of a group that lies in the range.
    fn within(self, group: usize) -> Self {
        let (low, high) = ((group * GROUP) as u16, (group * GROUP + GROUP - 1) as u16);
        Self { first: self.first.max(low), last: self.last.min(high) }
    }
}

/// The ports of all external addresses.
pub(crate) struct Ports {
    cells: Cells<AtomicU16>,
    full: Cells<AtomicU64>,
    used: Cells<AtomicU32>,
}

/// The ports of one external address for one protocol.
#[derive(Clone, Copy)]
pub(crate) struct PortSpace<'a> {
    ports: &'a Ports,
    number: usize,
}

impl Ports {
    pub(crate) fn carve(carver: &mut Carver, addresses: u32) -> Self {
        let spaces = addresses as usize * SPACES;
        Self {
            cells: carver.cells(spaces * PORTS),
            full: carver.cells(spaces * WORDS),
            used: carver.cells(spaces),
        }
    }

    /// The space of an address' ports for a protocol.
    pub(crate) fn of(&self, AddressIndex(address): AddressIndex, protocol: Protocol) -> PortSpace<'_> {
        let space = match protocol {
            Protocol::TCP => 0,
            Protocol::UDP => 1,
            _ => 2,
        };
        PortSpace { ports: self, number: address as usize * SPACES + space }
    }

    /// All spaces of an address.
    pub(crate) fn spaces_of(
        &self,
        AddressIndex(address): AddressIndex,
    ) -> impl Iterator<Item = PortSpace<'_>> {
        (0..SPACES).map(move |space| PortSpace { ports: self, number: address as usize * SPACES + space })
    }

    /// The shard that has a port, if one has it.
    pub(crate) fn shard_of(
        &self,
        address: AddressIndex,
        protocol: Protocol,
        port: u16,
    ) -> Option<ShardIndex> {
        holder(self.of(address, protocol).cell(port).load(Relaxed))
    }

    /// Asks for the memory that [`Self::shard_of`] is going to read.
    pub(crate) fn prefetch(&self, address: AddressIndex, protocol: Protocol, port: u16) {
        self.cells.prefetch(self.of(address, protocol).index(port));
    }

    /// Ports in use on an address, whoever has them and in whatever range: TCP, UDP and ICMP together.
    pub(crate) fn used(&self, address: AddressIndex) -> u32 {
        self.spaces_of(address).map(|space| space.used()).sum()
    }
}

impl PortSpace<'_> {
    /// Ports in use.
    pub(crate) fn used(self) -> u32 {
        self.count().load(Relaxed)
    }

    /// Takes a port that nobody has. Says which one before it tries, for whoever has to clean up should the process end now.
    pub(crate) fn take(
        self,
        shard: ShardIndex,
        range: PortRange,
        random: &mut Random,
        mut announce: impl FnMut(u16),
    ) -> Option<u16> {
        let start = range.any(random);
        let group = usize::from(start) / GROUP;
        let rest = PortRange { first: start, ..range }.within(group);
        if let Some(port) = self.take_of(shard, rest, &mut announce) {
            return Some(port);
        }
        let (first, last) = (usize::from(range.first) / GROUP, usize::from(range.last) / GROUP);
        // The groups after the start's, round to it again for its ports before the start.
        for (mut next, end) in [(group + 1, last), (first, group)] {
            while let Some(group) = self.group_not_full(next, end) {
                if let Some(port) = self.take_of_group(shard, group, range, &mut announce) {
                    return Some(port);
                }
                next = group + 1;
            }
        }
        None
    }

    /// Takes one more use of a port that the shard has already: of at most [`SHARED_PROBES_MAX`], the first that does not
    /// `clash` with the flow.
    pub(crate) fn share(
        self,
        shard: ShardIndex,
        range: PortRange,
        random: &mut Random,
        mut announce: impl FnMut(u16),
        clash: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let start = u32::from(range.any(random) - range.first);
        let port = (start..start + range.len().min(SHARED_CELLS_MAX))
            .map(|step| range.first + (step % range.len()) as u16)
            .filter(|port| holder(self.cell(*port).load(Relaxed)) == Some(shard))
            .take(SHARED_PROBES_MAX)
            .find(|port| uses(self.cell(*port).load(Relaxed)) < USES_MAX && !clash(*port))?;
        announce(port);
        let cell = self.cell(port);
        cell.store(cell.load(Relaxed) + 1, Relaxed);
        Some(port)
    }

    /// Gives back one use of a port. Of one that the shard does not have, nothing.
    pub(crate) fn give_back(self, shard: ShardIndex, port: u16) {
        let cell = self.cell(port);
        let held = cell.load(Relaxed);
        if holder(held) != Some(shard) {
            return;
        }
        if uses(held) > 1 {
            cell.store(held - 1, Relaxed);
            return;
        }
        cell.store(0, Relaxed);
        self.count().fetch_sub(1, Relaxed);
        let group = usize::from(port) / GROUP;
        // Always, even where the bit is clear: only then does whoever sets it afterwards see that the port is free.
        self.word(group).fetch_and(!bit(group), Release);
    }

    /// The first free port of these, taken.
    fn take_of(self, shard: ShardIndex, ports: PortRange, announce: &mut impl FnMut(u16)) -> Option<u16> {
        let port = (ports.first..=ports.last).find(|port| {
            let cell = self.cell(*port);
            cell.load(Relaxed) == 0 && {
                announce(*port);
                cell.compare_exchange(0, held_by(shard, 1), Relaxed, Relaxed).is_ok()
            }
        })?;
        self.count().fetch_add(1, Relaxed);
        Some(port)
    }

    fn take_of_group(
        self,
        shard: ShardIndex,
        group: usize,
        range: PortRange,
        announce: &mut impl FnMut(u16),
    ) -> Option<u16> {
        let ports = range.within(group);
        let taken = self.take_of(shard, ports, announce);
        if taken.is_some() || ports.len() < GROUP as u32 {
            return taken;
        }
        self.word(group).fetch_or(bit(group), Acquire);
        // What was given back before the bit was set is seen now; what comes after clears it again.
        let taken = self.take_of(shard, ports, announce);
        if taken.is_some() {
            self.word(group).fetch_and(!bit(group), Release);
        }
        taken
    }

    /// The first group from `from` to `end` that may have a free port.
    fn group_not_full(self, from: usize, end: usize) -> Option<usize> {
        let mut group = from;
        while group <= end {
            let open = !self.word(group).load(Relaxed) >> (group % 64);
            if open != 0 {
                let found = group + open.trailing_zeros() as usize;
                return (found <= end).then_some(found);
            }
            group = (group / 64 + 1) * 64;
        }
        None
    }

    fn index(self, port: u16) -> usize {
        self.number * PORTS + usize::from(port)
    }
}

impl<'a> PortSpace<'a> {
    fn cell(self, port: u16) -> &'a AtomicU16 {
        self.ports.cells.get(self.index(port))
    }

    fn word(self, group: usize) -> &'a AtomicU64 {
        self.ports.full.get(self.number * WORDS + group / 64)
    }

    fn count(self) -> &'a AtomicU32 {
        self.ports.used.get(self.number)
    }
}

fn bit(group: usize) -> u64 {
    1 << (group % 64)
}

fn held_by(ShardIndex(shard): ShardIndex, uses: u16) -> u16 {
    (u16::from(shard) + 1) << USES_BITS | uses
}

fn holder(cell: u16) -> Option<ShardIndex> {
    (cell >> USES_BITS).checked_sub(1).map(|shard| ShardIndex(shard as u8))
}

fn uses(cell: u16) -> u16 {
    cell & USES_MAX
}

/// What a process that takes the ports over does to them, before anybody else uses them.
impl PortSpace<'_> {
    /// Forgets every use by anybody: its address is lost.
    pub(crate) fn clear(self) {
        (0..=u16::MAX).for_each(|port| self.cell(port).store(0, Relaxed));
        self.rebuild(0);
    }

    /// Forgets every use by the shard.
    pub(crate) fn forget(self, shard: ShardIndex) {
        for port in 0..=u16::MAX {
            self.forget_port(shard, port);
        }
    }

    /// Forgets the shard's uses of one port.
    pub(crate) fn forget_port(self, shard: ShardIndex, port: u16) {
        let cell = self.cell(port);
        if holder(cell.load(Relaxed)) == Some(shard) {
            cell.store(0, Relaxed);
        }
    }

    /// Counts one use by the shard again. False where another has the port, or nobody can have it once more.
    pub(crate) fn count_again(self, shard: ShardIndex, port: u16) -> bool {
        let cell = self.cell(port);
        let held = cell.load(Relaxed);
        if held == 0 {
            return cell.compare_exchange(0, held_by(shard, 1), Relaxed, Relaxed).is_ok();
        }
        let is_ours = holder(held) == Some(shard) && uses(held) < USES_MAX;
        if is_ours {
            cell.store(held + 1, Relaxed);
        }
        is_ours
    }

    /// Frees cells that no shard of `shards` can have, and makes the groups' bits and the count anew from the cells.
    pub(crate) fn rebuild(self, shards: u8) {
        let mut used = 0;
        for group in 0..GROUPS {
            let mut in_group = 0;
            for port in group * GROUP..(group + 1) * GROUP {
                let cell = self.cell(port as u16);
                let held = cell.load(Relaxed);
                if held != 0 && (uses(held) == 0 || holder(held).is_none_or(|shard| shard.0 >= shards)) {
                    cell.store(0, Relaxed);
                } else {
                    in_group += u32::from(held != 0);
                }
            }
            used += in_group;
            match in_group == GROUP as u32 {
                true => self.word(group).fetch_or(bit(group), Relaxed),
                false => self.word(group).fetch_and(!bit(group), Relaxed),
            };
        }
        self.count().store(used, Relaxed);
    }
}

#[cfg(test)]
mod tests;
