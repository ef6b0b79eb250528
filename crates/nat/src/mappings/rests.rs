//! Hold-down: a mapping without sessions keeps its port for a while, and no more of them do than the pool allows (RFC 6888
//! REQ-8).
//!
//! Those of a shard that rest on one address for one protocol are a queue in the order in which they began, through the
//! mappings' external lines, so that the oldest is at hand when there are too many.

use flowtable::{SlotIndex, Table, prefetch_value};
use rules::compiled::{PoolAddress, PoolRules};

use super::{EXTERNAL, Mapping, Mappings};
use crate::flow::Flow;

/// No slot.
const NONE: u32 = u32::MAX;

/// The queues of one shard, by space.
pub(super) struct Rests(Vec<Queue>);

#[derive(Clone, Copy)]
struct Queue {
    oldest: u32,
    newest: u32,
    /// How many ports of the space may rest at once, whoever's.
    ports_max: u32,
}

impl Rests {
    pub(super) fn new(spaces: usize) -> Self {
        Self(vec![Queue { oldest: NONE, newest: NONE, ports_max: u32::MAX }; spaces])
    }
}

/// An external line in no queue.
pub(super) fn unqueued(line: &Mapping) {
    line.rests_before().set(NONE);
    line.rests_after().set(NONE);
}

impl Mappings {
    /// From now on so many ports of an address may rest.
    pub(super) fn limit_rests(&mut self, flow: &Flow, address: PoolAddress, pool: &PoolRules) {
        let space = self.state.parts.ports.of(address.ports, flow.protocol()).number();
        if let Some(queue) = self.rests.0.get_mut(space) {
            queue.ports_max = pool.hold_down_ports_max;
        }
    }

    /// Asks for what [`Self::limit_rests`] writes.
    pub(super) fn prefetch_limit(&self, space: usize) {
        if let Some(queue) = self.rests.0.get(space) {
            prefetch_value(queue);
        }
    }

    /// A mapping has no sessions any more: its hold-down begins, or it is removed where there is none.
    pub(super) fn rest(&mut self, slot: SlotIndex, now_ms: u32) {
        let [_, external] = self.keys(slot);
        let Some((space, _)) = self.state.place_of(&external) else { return self.remove_mapping(slot) };
        if self.mapping(slot).hold_down_ms().get() == 0 {
            return self.remove_mapping(slot);
        }
        let number = space.number();
        self.begin_rest(slot, now_ms);
        self.queue(number, slot);
        let Some(Queue { oldest, ports_max, .. }) = self.rests.0.get(number).copied() else { return };
        // The shard's own oldest; where others fill the measure, that is this one.
        if self.state.parts.ports.at(number).resting() > ports_max && oldest != NONE {
            self.remove_mapping(SlotIndex(oldest));
        }
    }

    /// The port rests, until its time is over.
    pub(crate) fn begin_rest(&mut self, slot: SlotIndex, now_ms: u32) {
        let hold_down_ms = self.mapping(slot).hold_down_ms().get();
        self.mappings.set_deadline(slot, now_ms.wrapping_add(hold_down_ms));
        let [_, external] = self.keys(slot);
        if let Some((space, port)) = self.state.place_of(&external) {
            space.rest(self.shard, port);
        }
    }

    /// A mapping that may have rested is used again. Its deadline is found when it has come.
    pub(super) fn wake(&mut self, slot: SlotIndex) {
        if self.mapping(slot).sessions().get() > 0 {
            return;
        }
        self.unqueue(slot);
        let [_, external] = self.keys(slot);
        if let Some((space, port)) = self.state.place_of(&external) {
            space.wake(self.shard, port);
        }
    }

    /// Makes the queues of the mappings that rest, after another process has left them.
    pub(crate) fn queue_all(&mut self) {
        let slots = self.mappings.table().slots_per_shard() as usize;
        let mut resting = Vec::new();
        for slot in self.mappings.live(self.mappings.first_slot(), slots) {
            unqueued(external_line(self.mappings.table(), slot.0));
            if self.mapping(slot).sessions().get() == 0 {
                resting.push((self.mappings.deadline(slot), slot));
            }
        }
        // As far as the clock's 32 bits go: all deadlines are within a week of each other.
        let first = resting.first().map_or(0, |(deadline_ms, _)| *deadline_ms);
        resting.sort_by_key(|(deadline_ms, _)| deadline_ms.wrapping_sub(first) as i32);
        for (_, slot) in resting {
            let [_, external] = self.keys(slot);
            let number = self.state.place_of(&external).map(|(space, _)| space.number());
            if let Some(number) = number {
                self.queue(number, slot);
            }
        }
    }

    fn queue(&mut self, space: usize, slot: SlotIndex) {
        let Some(queue) = self.rests.0.get_mut(space) else { return };
        let table = self.mappings.table();
        let line = external_line(table, slot.0);
        line.rests_before().set(queue.newest);
        line.rests_after().set(NONE);
        match queue.newest {
            NONE => queue.oldest = slot.0,
            newest => external_line(table, newest).rests_after().set(slot.0),
        }
        queue.newest = slot.0;
    }

    /// Takes a mapping out of the queue, if it is in one.
    pub(super) fn unqueue(&mut self, slot: SlotIndex) {
        let [_, external] = self.keys(slot);
        let Some((space, _)) = self.state.place_of(&external) else { return };
        let Some(queue) = self.rests.0.get_mut(space.number()) else { return };
        let table = self.mappings.table();
        let line = external_line(table, slot.0);
        let (before, after) = (line.rests_before().get(), line.rests_after().get());
        if before == NONE && queue.oldest != slot.0 {
            return;
        }
        match before {
            NONE => queue.oldest = after,
            before => external_line(table, before).rests_after().set(after),
        }
        match after {
            NONE => queue.newest = before,
            after => external_line(table, after).rests_before().set(before),
        }
        unqueued(line);
    }
}

fn external_line(table: &Table<Flow, Mapping, 2>, slot: u32) -> &Mapping {
    table.value(table.line_of(SlotIndex(slot), EXTERNAL))
}
