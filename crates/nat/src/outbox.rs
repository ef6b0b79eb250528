//! What leaves a gateway for another, and the word that goes back when a frame is finished: see [`crate::hand_off`].

use std::collections::VecDeque;
use std::sync::Arc;

use packet::BURST_FRAMES_MAX;

use crate::DropReason;
use crate::counters::PORTS_MAX;
use crate::flow::Flow;
use crate::hand_off::{CellIndex, HOPS_MAX, HandedOn, Ticket};
use crate::lane::{Handed, Lane, Tickets};
use crate::random::fold;
use crate::state::{State, WorkerIndex};
use crate::waiting::WAITING_MAX;

/// Frames that one turn can bring: a burst from each port and one from the other workers, and all that waited.
const FRAMES_PER_TURN_MAX: usize = (PORTS_MAX + 1) * BURST_FRAMES_MAX + WAITING_MAX;

/// Tickets of the frames that one turn can finish; those from the ports have none.
const TICKETS_PER_TURN_MAX: usize = (BURST_FRAMES_MAX + WAITING_MAX) * HOPS_MAX;

/// See the file's page. Memory for a turn is taken at the start; it grows only for a worker that brings more in one.
pub(crate) struct Outbox<F> {
    state: Arc<State>,
    me: WorkerIndex,
    handed_on: HandedOn,
    order_key: [u64; 2],
    frames: VecDeque<(WorkerIndex, Handed<F>)>,
    /// Frames of this turn that went out, or will where there is room.
    handed_out: u64,
    /// Credited when the transmit queues have what this turn has sent.
    finished: Vec<Ticket>,
}

impl<F> Outbox<F> {
    pub(crate) fn new(state: &Arc<State>, me: WorkerIndex) -> Self {
        Self {
            handed_on: HandedOn::new(me, &state.in_process.finished),
            order_key: state.in_process.order_key,
            state: Arc::clone(state),
            me,
            frames: VecDeque::with_capacity(FRAMES_PER_TURN_MAX),
            handed_out: 0,
            finished: Vec::with_capacity(TICKETS_PER_TURN_MAX),
        }
    }

    /// A flow's place among the cells, and among the frames that wait.
    pub(crate) fn hash(&self, flow: &Flow) -> u64 {
        let [from, to]: [u64; 2] = zerocopy::transmute!(*flow);
        let [one, two] = self.order_key;
        fold(fold(from ^ one, to ^ two) ^ two, one | 1)
    }

    /// Whether nothing that was handed on is under way, as far as it knows.
    pub(crate) fn is_quiet(&self) -> bool {
        self.handed_on.is_quiet()
    }

    /// Notes that this gateway turns, and which others do not.
    pub(crate) fn note_turn(&mut self, now_ms: u32) {
        let turns = &self.state.in_process.turns;
        if turns.note(self.me, now_ms) {
            self.handed_on.note_stopped(turns.stopped(now_ms));
        }
    }

    /// Where a frame that keeps its order by this flow and was handed on `hops` times has to follow those that are under way,
    /// if any are.
    pub(crate) fn follows(&mut self, order: &Flow, hops: usize) -> Option<WorkerIndex> {
        if hops == HOPS_MAX {
            // None that was handed on so often is handed on again, so none is under way before this one.
            return None;
        }
        let cell = CellIndex::of(self.hash(order), hops);
        self.handed_on.follows(cell, &self.state.in_process.finished)
    }

    /// Hands a frame on to `owner`, or behind those of its flow that are under way.
    ///
    /// # Errors
    /// It has been handed on too often, or there is nobody else to hand it to.
    pub(crate) fn hand_on(&mut self, lane: Lane<F>, owner: WorkerIndex) -> Result<(), (DropReason, Tickets)> {
        if lane.tickets.is_full() || owner == self.me {
            return Err((DropReason::HandOffAstray, lane.tickets));
        }
        let cell = CellIndex::of(self.hash(&lane.order), lane.tickets.len());
        let (to, ticket) = self.handed_on.hand_on(cell, owner, &self.state.in_process.finished);
        let mut handed = lane.into_handed();
        handed.tickets.push(ticket);
        self.frames.push_back((to, handed));
        self.handed_out += 1;
        Ok(())
    }

    /// The frames that are to go out, in order.
    pub(crate) fn frames(&mut self) -> &mut VecDeque<(WorkerIndex, Handed<F>)> {
        &mut self.frames
    }

    /// A frame did not go out after all.
    pub(crate) fn take_back(&mut self) {
        self.handed_out -= 1;
    }

    /// A frame is finished: sent, answered or dropped.
    pub(crate) fn finish(&mut self, tickets: &Tickets) {
        self.finished.extend_from_slice(tickets);
    }

    /// Everything that was sent is with the transmit queues: says so to those who handed it on. Returns how many frames
    /// this turn has handed on itself.
    pub(crate) fn end_turn(&mut self) -> u64 {
        for ticket in self.finished.drain(..) {
            self.state.in_process.finished.credit(ticket);
        }
        std::mem::take(&mut self.handed_out)
    }
}
