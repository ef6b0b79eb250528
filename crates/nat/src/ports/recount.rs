//! What a process that takes the ports over does to them, before anybody else uses them.

use std::sync::atomic::Ordering::Relaxed;

use flowtable::ShardIndex;

use super::cell::Cell;
use super::wanted::{GROUP, GROUPS, ports_of};
use super::{Holder, PortSpace, Purpose, bit, blocks};

impl PortSpace<'_> {
    /// Forgets every use by anybody: its address is lost.
    pub(crate) fn clear(self) {
        (0..=u16::MAX).for_each(|port| self.set(port, Cell::FREE));
        (0..blocks::UNITS).for_each(|unit| self.unit(unit).store(0, Relaxed));
        self.rebuild(0);
    }

    /// Forgets every use by the shard alone, and its blocks.
    pub(crate) fn forget(self, shard: ShardIndex) {
        for port in 0..=u16::MAX {
            self.forget_port(shard, port);
        }
        self.keep_blocks(shard, |_| false);
    }

    /// Forgets the shard's uses of one port.
    pub(crate) fn forget_port(self, shard: ShardIndex, port: u16) {
        if self.get(port).is_of(shard) {
            self.set(port, Cell::FREE);
        }
    }

    /// Counts one use by the shard again. False where another has the port, or nobody can have it once more.
    ///
    /// A port of many is counted at the end, for all shards at once.
    pub(crate) fn count_again(self, shard: ShardIndex, port: u16, purpose: Purpose) -> bool {
        let held = self.get(port);
        if held.is_free() {
            let used = match purpose {
                Purpose::Mapping => Cell::taken(shard, purpose),
                Purpose::Session => Cell::used_once(shard),
            };
            return self.exchange(port, held, used);
        }
        if held.holder() == Some(Holder::Many) {
            return purpose == Purpose::Session;
        }
        let more = held.used_once_more().filter(|_| purpose == Purpose::Session && held.is_of(shard));
        if let Some(more) = more {
            self.set(port, more);
        }
        more.is_some()
    }

    /// Begins to count the ports of many anew; whether there are any.
    pub(crate) fn begin_many(self) -> bool {
        let many = (0..=u16::MAX).filter(|port| self.get(*port).holder() == Some(Holder::Many));
        many.inspect(|port| self.set(*port, self.get(*port).without_uses())).count() > 0
    }

    /// Counts a session's use of a port, if it is many's. Sessions of several shards may be counted at once.
    pub(crate) fn count_many(self, port: u16) {
        loop {
            let held = self.get(port);
            let more = held.used_once_more().filter(|_| held.holder() == Some(Holder::Many));
            if more.is_none_or(|more| self.exchange(port, held, more)) {
                return;
            }
        }
    }

    /// Frees cells that no shard of `shards` can have, unlocks the others, and makes the groups' bits, the counts and the
    /// holders anew from them.
    pub(crate) fn rebuild(self, shards: u8) {
        let (mut used, mut resting, mut holders) = (0, 0, 0);
        for group in 0..GROUPS {
            let mut in_group = 0;
            for port in ports_of(group, u64::MAX) {
                let held = self.get(port).unlocked();
                let kept = if held.is_possible(shards) { held } else { Cell::FREE };
                self.set(port, kept);
                in_group += u32::from(!kept.is_free());
                resting += u32::from(kept.is_resting());
                holders |= match kept.holder() {
                    Some(Holder::One(shard)) => 1 << shard.0,
                    Some(Holder::Many) => u32::MAX,
                    None => 0,
                };
            }
            used += in_group;
            match in_group == GROUP as u32 {
                true => self.word(group).fetch_or(bit(group), Relaxed),
                false => self.word(group).fetch_and(!bit(group), Relaxed),
            };
        }
        self.counts().used.store(used, Relaxed);
        self.counts().resting.store(resting, Relaxed);
        self.customs().holders.store(holders, Relaxed);
    }

    fn set(self, port: u16, cell: Cell) {
        if self.get(port) != cell {
            self.cell(port).store(cell.0, Relaxed);
        }
    }
}
