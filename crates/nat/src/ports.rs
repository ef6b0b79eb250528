//! External ports: who has which, and the choice of the next one.
//!
//! Each external address has 65,536 ports for each of TCP, UDP and ICMP queries, and as many numbers for the protocols
//! without ports: a *space*. Each port is a word that any shard's owner can take, so nothing is handed out that could
//! strand.
//!
//! ```text
//! cell     | holder | locked | uses |    cell.rs; 0: nobody has it       65,536 of 2 bytes for a space
//! full     | a bit for each group of 64 cells: none was free |            1,024 bits for a space
//! unit     | shard + 1 | size |          8 ports of some host's block     8,192 of 2 bytes for a space: blocks.rs
//! counts   | cells that are not 0 | of these, at rest |                   for each space: written with every port
//! customs  | holders: a bit for each shard that has had a port |          for each space: mostly read
//!          | how long ports rest, ms | how many at once |
//!
//! take     free -> whole, for a mapping, or used once, for a session      compare-exchange, by whoever wants it
//! share    used -> used once more, towards another remote                 compare-exchange
//! ```
//!
//! The start of a choice is keyed-random over all that is wanted (RFC 6056 section 3.3.1), never the next one. From there
//! the next free port is taken. The groups' bits keep that short however full the space is: who finds a group without a
//! free port sets its bit and looks again; who gives a port back clears the bit afterwards. One of the two sees the other.
//!
//! A mapping has its port whole. A session without a mapping shares one towards its remote (RFC 7857 section 3): the uses
//! tell when it is wholly free again. A shard whose own ports are all taken towards a remote shares another's: then the
//! port is *many's*, and a packet from outside is looked for in every shard. A port that must rest before its next use (RFC
//! 6888 REQ-8) stays its mapping's; see [`crate::mappings`].
//!
//! | what | written by | ordering | why |
//! |---|---|---|---|
//! | cell | anyone, by compare-exchange | acquire to lock, release to unlock | who has locked a shared port sees every session on it |
//! | full | anyone | release where it is cleared, acquire where set | a set that comes after a clear sees the port that was given back |
//! | counts | anyone | relaxed | counts |
//! | how ports rest | whoever chooses a port for a mapping | relaxed | all write what their rules say |
//! | holders | anyone | relaxed | a hint: who looks in the wrong shard finds nothing, and asks the cell |

mod blocks;
mod books;
mod cell;
mod recount;
mod wanted;

use std::sync::atomic::{
    AtomicU16, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use flowtable::{Carver, Cells, ShardIndex};
use packet::Protocol;
use rules::compiled::AddressIndex;
use zerocopy::FromBytes;

use crate::probes::Probes;
use crate::random::Random;

pub(crate) use blocks::Lease;
pub use books::PortBooks;
pub(crate) use cell::{Cell, Holder, Purpose};
pub(crate) use wanted::{ANYWHERE, Wanted};
use wanted::{GROUPS, bits_from, group_of, ports_of};

const PORTS: usize = 65_536;
const WORDS: usize = GROUPS / u64::BITS as usize;

/// Spaces of an address: TCP, UDP, ICMP, and the protocols without ports.
pub(crate) const SPACES: usize = 4;

/// The ports of all external addresses.
pub(crate) struct Ports {
    cells: Cells<AtomicU16>,
    full: Cells<AtomicU64>,
    units: Cells<AtomicU16>,
    counts: Cells<Counts>,
    customs: Cells<Customs>,
}

/// How many ports of a space are in use, and at rest.
#[derive(FromBytes)]
#[repr(C)]
struct Counts {
    used: AtomicU32,
    resting: AtomicU32,
}

/// What hardly changes of a space: apart from its counts, so that it stays in every cache.
#[derive(FromBytes)]
#[repr(C)]
struct Customs {
    holders: AtomicU32,
    hold_down_ms: AtomicU32,
    resting_max: AtomicU32,
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
            units: carver.cells(spaces * blocks::UNITS),
            counts: carver.cells(spaces),
            customs: carver.cells(spaces),
        }
    }

    /// The space of an address' ports for a protocol.
    #[inline]
    pub(crate) fn of(&self, address: AddressIndex, protocol: Protocol) -> PortSpace<'_> {
        PortSpace { ports: self, number: space_of(address, protocol) }
    }

    /// A space by its number.
    pub(crate) fn at(&self, number: usize) -> PortSpace<'_> {
        PortSpace { ports: self, number }
    }

    /// All spaces of an address.
    pub(crate) fn spaces_of(
        &self,
        AddressIndex(address): AddressIndex,
    ) -> impl Iterator<Item = PortSpace<'_>> {
        (0..SPACES).map(move |space| PortSpace { ports: self, number: address as usize * SPACES + space })
    }

    /// Ports in use on an address, whoever has them and in whatever range: all protocols together.
    pub(crate) fn used(&self, address: AddressIndex) -> u32 {
        self.spaces_of(address).map(|space| space.used()).sum()
    }
}

/// The number among all spaces of an address' for a protocol.
#[inline]
fn space_of(AddressIndex(address): AddressIndex, protocol: Protocol) -> usize {
    let space = match protocol {
        Protocol::TCP => 0,
        Protocol::UDP => 1,
        Protocol::ICMP => 2,
        _ => 3,
    };
    address as usize * SPACES + space
}

/// By what the tables of mappings and of blocks know a port: its number among those of all spaces.
#[inline]
pub(crate) fn alias_of(address: AddressIndex, protocol: Protocol, port: u16) -> u64 {
    index(space_of(address, protocol), port) as u64
}

/// Where a port's cell is.
#[inline]
fn index(space: usize, port: u16) -> usize {
    space * PORTS + usize::from(port)
}

impl<'a> PortSpace<'a> {
    /// Its number among all spaces.
    pub(crate) fn number(self) -> usize {
        self.number
    }

    /// Ports in use, those that rest included.
    pub(crate) fn used(self) -> u32 {
        self.counts().used.load(Relaxed)
    }

    /// Ports that rest.
    pub(crate) fn resting(self) -> u32 {
        self.counts().resting.load(Relaxed)
    }

    /// See [`alias_of`].
    #[inline]
    pub(crate) fn alias(self, port: u16) -> u64 {
        index(self.number, port) as u64
    }

    /// How long a mapping's port rests; 0: not at all.
    pub(crate) fn hold_down_ms(self) -> u32 {
        self.customs().hold_down_ms.load(Relaxed)
    }

    /// How many mappings' ports may rest at once.
    pub(crate) fn resting_max(self) -> u32 {
        self.customs().resting_max.load(Relaxed)
    }

    /// From now on so long, and so many.
    pub(crate) fn limit_rests(self, hold_down_ms: u32, resting_max: u32) {
        let customs = self.customs();
        for (word, now) in [(&customs.hold_down_ms, hold_down_ms), (&customs.resting_max, resting_max)] {
            // Looked at first: a line that is only read stays in every cache.
            if word.load(Relaxed) != now {
                word.store(now, Relaxed);
            }
        }
    }

    /// What a port's word says.
    #[inline]
    pub(crate) fn get(self, port: u16) -> Cell {
        Cell(self.cell(port).load(Relaxed))
    }

    /// The shard that has all the ports in use, if no other has had any. While another takes its first, this may still be said.
    #[inline]
    pub(crate) fn sole_holder(self) -> Option<ShardIndex> {
        let holders = self.customs().holders.load(Relaxed);
        holders.is_power_of_two().then(|| ShardIndex(holders.trailing_zeros() as u8))
    }

    /// Asks for the memory that [`Self::get`] is going to read.
    #[inline]
    pub(crate) fn prefetch(self, port: u16) {
        self.ports.cells.prefetch(index(self.number, port));
    }

    /// Asks for the memory that taking a port touches, and giving it back.
    pub(crate) fn prefetch_to_take(self, port: u16) {
        self.prefetch(port);
        self.ports.counts.prefetch(self.number);
        self.ports.customs.prefetch(self.number);
    }

    /// Takes a port that nobody has, for a mapping or a session. Says which one before it tries, for whoever has to clean up
    /// should the process end now. Without probes it ends as if there was none.
    pub(crate) fn take(
        self,
        shard: ShardIndex,
        purpose: Purpose,
        wanted: &Wanted,
        random: &mut Random,
        probes: Probes,
        mut announce: impl FnMut(u16),
    ) -> Option<u16> {
        let start = wanted.any(random)?;
        let mut take = |port| {
            announce(port);
            self.take_this(shard, purpose, port)
        };
        // Mostly that one is free, and nothing else need be known.
        if self.get(start).is_free() && take(start) {
            return Some(start);
        }
        // Then from the start's bit on; then the groups after, round to it again for its bits before.
        let home = group_of(start);
        let later = wanted.mask(home) & bits_from(start);
        if !probes.spend(1) {
            return None;
        }
        if let Some(port) = ports_of(home, later).find(|port| self.get(*port).is_free() && take(*port)) {
            return Some(port);
        }
        let (first, last) = wanted.groups()?;
        for (mut next, end) in [(home + 1, last), (first, home)] {
            while let Some(group) = self.group_not_full(next, end, wanted.parity) {
                if !probes.spend(1) {
                    return None;
                }
                if let Some(port) = self.take_of_group(group, wanted.mask(group), &mut take) {
                    return Some(port);
                }
                next = group + 1;
            }
        }
        None
    }

    /// The first free port of those that are wanted from this start on, if there is one in its group.
    pub(crate) fn next_free(self, start: u16, is_wanted: impl Fn(u16) -> bool) -> Option<u16> {
        if self.get(start).is_free() {
            return Some(start);
        }
        let mut later = ports_of(group_of(start), bits_from(start));
        later.find(|port| self.get(*port).is_free() && is_wanted(*port))
    }

    /// Takes this port, if nobody has it.
    pub(crate) fn take_this(self, shard: ShardIndex, purpose: Purpose, port: u16) -> bool {
        let taken = Cell::taken(shard, purpose);
        let is_taken = self.exchange(port, Cell::FREE, taken);
        if is_taken {
            self.counts().used.fetch_add(1, Relaxed);
            self.note_holder(shard);
        }
        is_taken
    }

    /// Takes one more use of a port that sessions use, if it still is as it was `seen`. It is locked: whoever has it so sees
    /// every session on it, and is to [`unlock`](Self::unlock) it once its own session is there, or is not to be.
    pub(crate) fn share(self, shard: ShardIndex, port: u16, seen: Cell) -> bool {
        let is_shared = seen.is_shareable() && self.exchange(port, seen, seen.shared_by(shard));
        if is_shared {
            self.note_holder(shard);
        }
        is_shared
    }

    /// The session for which the port was taken or shared has been inserted, or is not going to be.
    pub(crate) fn unlock(self, port: u16) {
        self.cell(port).fetch_and(cell::UNLOCK, Release);
    }

    /// Gives back one use of a port, or all of it where it was taken whole. Of one that the shard does not have, nothing.
    pub(crate) fn give_back(self, shard: ShardIndex, port: u16) {
        let mut held = self.get(port);
        loop {
            if held.is_free() || !(held.is_of(shard) || held.holder() == Some(Holder::Many)) {
                return;
            }
            match self.cell(port).compare_exchange(held.0, held.given_back().0, AcqRel, Relaxed) {
                Ok(_) => break,
                Err(now) => held = Cell(now),
            }
        }
        if held.is_resting() {
            self.counts().resting.fetch_sub(1, Relaxed);
        }
        if held.given_back().is_free() {
            self.counts().used.fetch_sub(1, Relaxed);
            // Always, even where the bit is clear: only then does whoever sets it afterwards see that the port is free.
            let group = group_of(port);
            self.word(group).fetch_and(!bit(group), Release);
        }
    }

    /// A mapping's port begins to rest.
    pub(crate) fn rest(self, shard: ShardIndex, port: u16) {
        if self.exchange(port, Cell::taken(shard, Purpose::Mapping), Cell::resting(shard)) {
            self.counts().resting.fetch_add(1, Relaxed);
        }
    }

    /// A mapping that rests has its port back.
    pub(crate) fn wake(self, shard: ShardIndex, port: u16) {
        if self.exchange(port, Cell::resting(shard), Cell::taken(shard, Purpose::Mapping)) {
            self.counts().resting.fetch_sub(1, Relaxed);
        }
    }

    fn take_of_group(self, group: usize, wanted: u64, take: &mut impl FnMut(u16) -> bool) -> Option<u16> {
        let mut search = || ports_of(group, wanted).find(|port| self.get(*port).is_free() && take(*port));
        let taken = search();
        if taken.is_some() || wanted != u64::MAX {
            return taken;
        }
        self.word(group).fetch_or(bit(group), Acquire);
        // What was given back before the bit was set is seen now; what comes after clears it again.
        let taken = search();
        if taken.is_some() {
            self.word(group).fetch_and(!bit(group), Release);
        }
        taken
    }

    /// The first group from `from` to `end` that may have a free port of the parity.
    fn group_not_full(self, from: usize, end: usize, parity: Option<u16>) -> Option<usize> {
        let of_parity = parity.map_or(u64::MAX, |parity| 0x5555_5555_5555_5555 << parity);
        let mut group = from;
        while group <= end {
            let open = (!self.word(group).load(Relaxed) & of_parity) >> (group % 64);
            if open != 0 {
                let found = group + open.trailing_zeros() as usize;
                return (found <= end).then_some(found);
            }
            group = (group / 64 + 1) * 64;
        }
        None
    }

    fn note_holder(self, shard: ShardIndex) {
        // Looked at first: a line that is only read stays in every cache.
        let holders = &self.customs().holders;
        if holders.load(Relaxed) & 1 << shard.0 == 0 {
            holders.fetch_or(1 << shard.0, Relaxed);
        }
    }

    fn exchange(self, port: u16, from: Cell, to: Cell) -> bool {
        self.cell(port).compare_exchange(from.0, to.0, Acquire, Relaxed).is_ok()
    }

    fn cell(self, port: u16) -> &'a AtomicU16 {
        self.ports.cells.get(index(self.number, port))
    }

    fn word(self, group: usize) -> &'a AtomicU64 {
        self.ports.full.get(self.number * WORDS + group / 64)
    }

    fn counts(self) -> &'a Counts {
        self.ports.counts.get(self.number)
    }

    fn customs(self) -> &'a Customs {
        self.ports.customs.get(self.number)
    }
}

/// A group's bit in its word.
fn bit(group: usize) -> u64 {
    1 << (group % 64)
}

#[cfg(test)]
mod tests;
