//! Frames whose buffers have no room to grow: a tag cannot be put on, and the frame is dropped for that.

use std::sync::Arc;

use nat::{Configuration, DropReason, Gateway, Sizes, State, WorkerIndex};
use packet::arp::Operation;
use packet::{Burst, Frame, Moment, NoRoom, PacketIo, PortIndex, Sent};
use rules::Numbers;

use crate::world::scene::*;

/// A frame that cannot grow.
struct Tight(Vec<u8>);

impl Frame for Tight {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn grow_front(&mut self, _: usize) -> Result<(), NoRoom> {
        Err(NoRoom)
    }

    fn shrink_front(&mut self, count: usize) {
        self.0.drain(..count);
    }

    fn resize(&mut self, _: usize) -> Result<(), NoRoom> {
        Err(NoRoom)
    }
}

/// Counts what is sent.
#[derive(Default)]
struct Sink(u64);

impl PacketIo for Sink {
    type Frame = Tight;

    fn receive(&mut self, _: PortIndex, _: &mut Burst<Tight>) {}

    fn send(&mut self, _: PortIndex, _: Tight) {
        self.0 += 1;
    }

    fn flush(&mut self, _: PortIndex) -> Sent {
        Sent::default()
    }

    fn allocate(&mut self) -> Option<Tight> {
        Some(Tight(Vec::new()))
    }
}

#[test]
fn a_frame_without_headroom_for_its_tag_is_dropped_for_that() {
    let (state, shards) = State::anonymous(&Sizes::new(16, 1, 2), [0; 4]).unwrap();
    let counters = state.counters(WorkerIndex(0));
    let mut gateway = Gateway::new(&state, WorkerIndex(0), shards, Configuration::default());
    let fed = rules::read_rules(RULES).unwrap();
    let valid = rules::validate(&fed, &["in0".into(), "out0".into()]).unwrap();
    let compiled = rules::compile(&valid, None, &mut Numbers::new(100, 2)).unwrap();
    gateway.adopt(Arc::new(compiled), Vec::new());

    let mut sink = Sink::default();
    let now = Moment::from_ms(1);
    let mut send = |packet: crate::world::Packet| {
        let mut burst: Burst<Tight> = [Tight(packet.bytes)].into_iter().collect();
        gateway.process_burst(PortIndex(packet.wire.port), &mut burst, now, &mut sink);
    };
    // The neighbours are known: by what they say, since no question can be made for want of room.
    send(RED_WEB.arp(RED_LAN, Operation::Reply, RED_LAN, RED_GATEWAY));
    send(ISP.arp(RED_EXT, Operation::Reply, RED_EXT, RED_EXTERNAL));
    // Untagged to tagged does not fit; tagged to untagged does; an answer in place needs 60 bytes, and may not have them.
    send(SERVER.udp(1, (WEB, 80), b""));
    assert_eq!(counters.dropped(DropReason::NoHeadroom), 1);
    send(RED_WEB.udp(1, (SERVER.address, 80), b""));
    send(ISP.asks_for(WEB));
    assert_eq!(counters.dropped(DropReason::NoHeadroom), 2);

    assert_eq!(sink.0, 1);
    counters.sent(PortIndex(1), 1, 60);
    assert_eq!(counters.books().balance(), 0);
    assert_eq!(counters.books().consumed, 2);
}
