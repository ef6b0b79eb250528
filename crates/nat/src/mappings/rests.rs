//! Hold-down: a mapping without sessions keeps its port for a while, and no more of them do than the pool allows (RFC 6888
//! REQ-8).
//!
//! Those of a shard that rest on one address for one protocol are a queue in the order in which they began, through the
//! mappings' lines, so that the oldest is at hand when there are too many. How long they rest, and how many, is said for an
//! address and protocol, by the rules under which a port of it was last chosen for a mapping.

use flowtable::SlotIndex;
use packet::Protocol;
use rules::compiled::{AddressIndex, PoolRules};

use super::{Mapping, Mappings};
use crate::flow::Flow;

/// No slot.
const NONE: u32 = Mapping::NONE;

/// The queues of one shard, by space.
pub(super) struct Rests(Vec<Queue>);

#[derive(Clone, Copy)]
struct Queue {
    oldest: u32,
    newest: u32,
}

impl Rests {
    pub(super) fn new(spaces: usize) -> Self {
        Self(vec![Queue { oldest: NONE, newest: NONE }; spaces])
    }
}

impl Mappings {
    /// From now on so many ports of an address may rest, and each for so long.
    pub(super) fn limit_rests(&self, flow: &Flow, address: AddressIndex, pool: &PoolRules) {
        let space = self.state.parts.ports.of(address, flow.protocol());
        //= rfc6888#REQ-8
        // TCP connections are tracked to their end: what comes late for one is told apart (exception A).
        let hold_down_ms = if flow.protocol() == Protocol::TCP { 0 } else { pool.hold_down_ms };
        space.limit_rests(hold_down_ms, pool.hold_down_ports_max);
    }

    /// A mapping has no sessions any more: its hold-down begins, or it is removed where there is none.
    pub(super) fn rest(&mut self, slot: SlotIndex, now_ms: u32) {
        let (space, _) = self.port_of(slot);
        if space.hold_down_ms() == 0 {
            return self.remove_mapping(slot);
        }
        let number = space.number();
        self.begin_rest(slot, now_ms);
        self.queue(number, slot);
        let Some(Queue { oldest, .. }) = self.rests.0.get(number).copied() else { return };
        let space = self.state.parts.ports.at(number);
        // The shard's own oldest; where others fill the measure, that is this one.
        if space.resting() > space.resting_max() && oldest != NONE {
            self.remove_mapping(SlotIndex(oldest));
        }
    }

    /// The port rests, until its time is over.
    pub(crate) fn begin_rest(&mut self, slot: SlotIndex, now_ms: u32) {
        let hold_down_ms = self.port_of(slot).0.hold_down_ms();
        self.mappings.set_deadline(slot, now_ms.wrapping_add(hold_down_ms));
        let (space, port) = self.port_of(slot);
        space.rest(self.shard, port);
    }

    /// A mapping that may have rested is used again. Its deadline is found when it has come.
    pub(super) fn wake(&mut self, slot: SlotIndex) {
        if self.mapping(slot).sessions() > 0 {
            return;
        }
        self.unqueue(slot);
        let (space, port) = self.port_of(slot);
        space.wake(self.shard, port);
    }

    /// Makes the queues of the mappings that rest, after another process has left them.
    pub(crate) fn queue_all(&mut self) {
        let slots = self.mappings.table().slots_per_shard() as usize;
        let mut resting = Vec::new();
        for slot in self.mappings.live(self.mappings.first_slot(), slots) {
            if self.mapping(slot).sessions() == 0 {
                resting.push((self.mappings.deadline(slot), slot));
            }
        }
        // As far as the clock's 32 bits go: all deadlines are within a week of each other.
        let first = resting.first().map_or(0, |(deadline_ms, _)| *deadline_ms);
        resting.sort_by_key(|(deadline_ms, _)| deadline_ms.wrapping_sub(first) as i32);
        for (_, slot) in resting {
            self.queue(self.port_of(slot).0.number(), slot);
        }
    }

    fn queue(&mut self, space: usize, slot: SlotIndex) {
        let Some(Queue { oldest, newest, .. }) = self.rests.0.get(space).copied() else { return };
        self.mapping(slot).rest_between(newest, NONE);
        if newest == NONE {
            return self.set_ends(space, slot.0, slot.0);
        }
        self.mapping(SlotIndex(newest)).set_after(slot.0);
        self.set_ends(space, oldest, slot.0);
    }

    /// Takes a mapping out of the queue, if it is in one: it does not rest any more.
    pub(super) fn unqueue(&mut self, slot: SlotIndex) {
        let mapping = self.mapping(slot);
        if !mapping.rests() {
            return;
        }
        let (before, after) = (mapping.before(), mapping.after());
        let space = self.port_of(slot).0.number();
        let Some(Queue { mut oldest, mut newest, .. }) = self.rests.0.get(space).copied() else { return };
        match before {
            NONE => oldest = after,
            before => self.mapping(SlotIndex(before)).set_after(after),
        }
        match after {
            NONE => newest = before,
            after => self.mapping(SlotIndex(after)).set_before(before),
        }
        self.mapping(slot).end_sessions();
        self.set_ends(space, oldest, newest);
    }

    fn set_ends(&mut self, space: usize, oldest: u32, newest: u32) {
        if let Some(queue) = self.rests.0.get_mut(space) {
            (queue.oldest, queue.newest) = (oldest, newest);
        }
    }
}
