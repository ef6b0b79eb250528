//! No frame overtakes another of its flow through the hand-off: shipped tickets over shipped rings.
//!
//! Frames of one flow arrive at gateway 0. The first has to go to its owner, and perhaps from there to another one;
//! those that come later could be sent where they arrive, or have another owner, and have to follow as long as one
//! before them is under way.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::nat::WorkerIndex;
use crate::nat::hand_off::{CellIndex, Finished, HOPS_MAX, HandedOn, Ticket};
use crate::ring::{Consumer, Producer, ring};
use crate::scheduler::{explore, explore_bounded, thread};
use crate::slot::Slot;

/// The same cell each time it is handed on, as far as the hash goes.
const HASH: u64 = u64::MAX;

/// Where frames leave. What was sent is in memory without atomics, so that a frame sent beside another, with no order
/// between the two, is a fault in itself.
struct Wire(Vec<Slot>);

impl Wire {
    fn new(frames: usize) -> Arc<Self> {
        Arc::new(Self((0..frames).map(|_| Slot::new()).collect()))
    }

    /// A frame leaves, and none of those before it is still under way.
    fn finish(&self, frame: usize) {
        for (earlier, slot) in self.0[..frame].iter().enumerate() {
            assert_eq!(slot.read(), 1, "frame {frame} overtook frame {earlier}");
        }
        self.0[frame].write(1);
    }

    fn has_all(&self) -> bool {
        self.0.iter().all(|slot| slot.read() == 1)
    }
}

struct Frame {
    number: usize,
    /// The gateways that it still has to see before it can be sent.
    owners: VecDeque<u8>,
    tickets: Vec<Ticket>,
}

/// One gateway: what comes goes out, or on to another gateway. Its turn has the order of a worker's: judge, flush, hand
/// on, credit.
struct Gateway {
    handed_on: HandedOn,
    finished: Arc<Finished>,
    wire: Arc<Wire>,
    to_send: Vec<Frame>,
    outbox: Vec<(WorkerIndex, Frame)>,
    /// By gateway.
    outgoing: Vec<Option<Producer<Frame>>>,
    incoming: Vec<Consumer<Frame>>,
}

impl Gateway {
    /// What `nat` does with a frame, without what it does to it.
    fn judge(&mut self, mut frame: Frame) {
        let cell = CellIndex::of(HASH, frame.tickets.len());
        let owner = frame.owners.front().map(|&owner| WorkerIndex(owner));
        let Some(owner) = owner.or_else(|| self.handed_on.follows(cell, &self.finished)) else {
            return self.to_send.push(frame);
        };
        let (to, ticket) = self.handed_on.hand_on(cell, owner, &self.finished);
        frame.tickets.push(ticket);
        frame.owners.pop_front_if(|&mut owner| owner == to.0);
        self.outbox.push((to, frame));
    }

    fn end_turn(&mut self) {
        self.to_send.iter().for_each(|frame| self.wire.finish(frame.number));
        for (to, frame) in self.outbox.drain(..) {
            let ring = self.outgoing[usize::from(to.0)].as_mut();
            // As many cells as there are frames: none is refused.
            assert!(
                ring.is_some_and(|ring| ring.push(frame).is_ok()),
                "a frame is handed to another gateway"
            );
        }
        let tickets = self.to_send.drain(..).flat_map(|frame| frame.tickets);
        tickets.for_each(|ticket| self.finished.credit(ticket));
    }

    fn take(&mut self, times: usize) {
        for _ in 0..times {
            for from in 0..self.incoming.len() {
                if let Some(frame) = self.incoming[from].pop() {
                    self.judge(frame);
                }
            }
            self.end_turn();
        }
    }
}

/// Gateways with a ring from each to each.
fn gateways(count: usize, frames: usize) -> (Vec<Gateway>, Arc<Wire>) {
    let (finished, wire) = (Arc::new(Finished::new(count)), Wire::new(frames));
    let mut gateways: Vec<_> = (0..count)
        .map(|me| Gateway {
            handed_on: HandedOn::new(WorkerIndex(me as u8), &finished),
            finished: Arc::clone(&finished),
            wire: Arc::clone(&wire),
            to_send: Vec::new(),
            outbox: Vec::new(),
            outgoing: (0..count).map(|_| None).collect(),
            incoming: Vec::new(),
        })
        .collect();
    for from in 0..count {
        for to in (0..count).filter(|&to| to != from) {
            let (producer, consumer) = ring(frames);
            gateways[from].outgoing[to] = Some(producer);
            gateways[to].incoming.push(consumer);
        }
    }
    (gateways, wire)
}

/// Frames come in at gateway 0, each with its owners; all gateways run, and in the end all frames have left.
fn play(count: usize, frames: &[&[u8]], turns: usize) {
    let (mut gateways, wire) = gateways(count, frames.len());
    let others: Vec<_> = gateways
        .drain(1..)
        .map(|mut gateway| {
            thread::spawn(move || {
                gateway.take(turns);
                gateway
            })
        })
        .collect();
    for (number, owners) in frames.iter().enumerate() {
        let owners = owners.iter().copied().collect();
        gateways[0].judge(Frame { number, owners, tickets: Vec::new() });
        gateways[0].take(1);
    }
    gateways.extend(others.into_iter().map(|gateway| gateway.join().unwrap()));
    // What still is in a ring leaves now, everybody in turn.
    for _ in 0..HOPS_MAX {
        gateways.iter_mut().for_each(|gateway| gateway.take(frames.len()));
    }
    assert!(wire.has_all());
}

#[test]
fn a_frame_waits_for_the_one_before_it_at_its_owner() {
    explore_bounded(|| play(2, &[&[1], &[], &[]], 3));
}

#[test]
fn a_frame_that_is_handed_on_twice_is_followed_twice() {
    explore_bounded(|| play(3, &[&[1, 2], &[]], 2));
}

/// The owner of a next hop may be where the frame came from.
#[test]
fn a_frame_that_comes_back_is_not_overtaken_where_it_set_out() {
    explore(|| play(2, &[&[1, 0], &[]], 2));
}

#[test]
fn a_frame_with_another_owner_follows_first() {
    explore_bounded(|| play(3, &[&[1], &[2]], 2));
}

/// The other way round: the first is sent where it arrived, and only then the second goes on to its owner.
#[test]
fn a_frame_that_is_handed_on_does_not_overtake_one_that_is_not() {
    explore(|| play(2, &[&[], &[1], &[]], 2));
}

#[cfg(shuttle)]
#[test]
fn many_frames_keep_their_order_over_three_gateways() {
    explore_bounded(|| play(3, &[&[1, 2, 0], &[], &[2], &[], &[1, 0], &[], &[], &[2, 1]], 12));
}
