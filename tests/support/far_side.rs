//! The far side of the gateway's ports: everyone it talks to, on ports of our own.
//!
//! What is sent comes in portions smaller than the rings, and each is waited for, so that nobody may lose a frame. Each
//! portion goes in by another queue than the one before, whoever it is for: so most come to a worker that does not own
//! their shard, and questions and answers to different ones. What is in one portion is of one host, and so dealt with by one
//! worker or handed on to one: it comes out in order, and is compared with what was expected, one by one.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use dpdk::WorkerPorts;
use packet::arp::{Arp, Operation};
use packet::{Burst, Frame, MacAddress, PacketIo, PortIndex, testing};

use crate::support::play::{arp_of, on_port};
use crate::world::{Host, Packet, Wire};

/// Frames on their way at once.
pub(crate) const PORTION: usize = 128;

/// How long the gateway may be silent while frames are waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the file's page.
pub(crate) struct FarSide {
    /// By queue.
    io: Vec<WorkerPorts>,
    /// The queue to send by.
    queue: usize,
    /// All that was received and was not ARP, portion by portion.
    pub(crate) transcript: Vec<String>,
    hosts: HashMap<(Wire, Ipv4Addr), MacAddress>,
    /// Frames sent into each port of the gateway, and received from it.
    pub(crate) sent: [u64; 2],
    pub(crate) received: [u64; 2],
    /// Whom the gateway asked for.
    pub(crate) asked_for: HashSet<(Wire, Ipv4Addr)>,
    /// Gratuitous ARP that was heard.
    pub(crate) announcements: usize,
}

impl FarSide {
    /// The far side with these hosts, which answer ARP.
    pub(crate) fn new(io: Vec<WorkerPorts>, hosts: &[Host]) -> Self {
        Self {
            io,
            queue: 0,
            transcript: Vec::new(),
            hosts: hosts.iter().map(|host| ((host.wire, host.address), host.mac)).collect(),
            sent: [0; 2],
            received: [0; 2],
            asked_for: HashSet::new(),
            announcements: 0,
        }
    }

    /// Sends packets, portion by portion, each of which comes out of the port `to` as one packet; returns those.
    #[track_caller]
    pub(crate) fn exchange(&mut self, packets: &[Packet], to: u8) -> Vec<Packet> {
        let mut received = Vec::new();
        for portion in packets.chunks(PORTION) {
            self.queue = (self.queue + 1) % self.io.len();
            for packet in portion {
                self.send(packet);
            }
            let portion = self.wait_for(portion.len(), to);
            self.transcript.extend(portion.iter().map(|packet| format!("port {to}: {:02x?}", packet.bytes)));
            received.extend(portion);
        }
        received
    }

    /// Sends packets and asserts what comes out of the port `to` for them.
    #[track_caller]
    pub(crate) fn assert_exchange(&mut self, packets: &[Packet], to: u8, expected: &[Packet]) {
        assert_eq!(packets.len(), expected.len());
        for (received, expected) in self.exchange(packets, to).iter().zip(expected) {
            assert_eq!(received, expected);
        }
    }

    /// Waits until the gateway has announced `count` addresses.
    #[track_caller]
    pub(crate) fn wait_for_announcements(&mut self, count: usize) {
        let begun = Instant::now();
        while self.announcements < count {
            assert!(begun.elapsed() < PATIENCE, "{} of {count} announcements came", self.announcements);
            assert_eq!(self.listen(), [Vec::new(), Vec::new()]);
        }
    }

    /// Receives what is there, and for a moment more.
    pub(crate) fn drain(&mut self) -> [Vec<Packet>; 2] {
        let (begun, mut all) = (Instant::now(), [Vec::new(), Vec::new()]);
        while begun.elapsed() < Duration::from_millis(50) {
            for (all, heard) in all.iter_mut().zip(self.listen()) {
                all.extend(heard);
            }
        }
        all
    }

    fn send(&mut self, packet: &Packet) {
        let port = PortIndex(packet.wire.port);
        let io = &mut self.io[self.queue];
        let mut frame = io.allocate().expect("a buffer is free");
        frame.resize(packet.bytes.len()).unwrap();
        frame.bytes_mut().copy_from_slice(&packet.bytes);
        io.send(port, frame);
        assert_eq!(io.flush(port).frames, 1, "a portion fits into the ring");
        self.sent[usize::from(port.0)] += 1;
    }

    #[track_caller]
    fn wait_for(&mut self, count: usize, to: u8) -> Vec<Packet> {
        let (mut packets, mut last) = (Vec::new(), Instant::now());
        while packets.len() < count {
            let mut heard = self.listen();
            let there = std::mem::take(&mut heard[usize::from(to)]);
            assert_eq!(heard, [Vec::new(), Vec::new()], "nothing comes out of the other port");
            if !there.is_empty() {
                last = Instant::now();
            }
            assert!(last.elapsed() < PATIENCE, "{} of {count} packets came: {packets:?}", packets.len());
            packets.extend(there);
        }
        assert_eq!(packets.len(), count);
        packets
    }

    /// Receives a burst of each queue of each port; answers ARP, and returns the rest.
    fn listen(&mut self) -> [Vec<Packet>; 2] {
        let mut packets = [Vec::new(), Vec::new()];
        for (queue, port) in (0..self.io.len()).flat_map(|queue| [(queue, 0), (queue, 1)]) {
            let mut frames = Burst::new();
            self.io[queue].receive(PortIndex(port), &mut frames);
            self.received[usize::from(port)] += frames.len() as u64;
            for packet in frames.iter().map(|frame| on_port(port, frame.bytes().to_vec())) {
                match arp_of(&packet) {
                    Some(arp) => self.answer(packet.wire, &arp),
                    None => {
                        testing::assert_checksums(&packet.bytes);
                        packets[usize::from(port)].push(packet);
                    }
                }
            }
        }
        if packets.iter().all(Vec::is_empty) {
            // The cores are few, and the gateway's thread wants one.
            thread::sleep(Duration::from_micros(50));
        }
        packets
    }

    fn answer(&mut self, wire: Wire, arp: &Arp) {
        assert_eq!(arp.operation, Operation::Request, "nobody here asks for the gateway");
        if arp.sender == arp.target {
            self.announcements += 1;
            return;
        }
        let mac = *self.hosts.get(&(wire, arp.target)).expect("the gateway asks for who is there");
        self.asked_for.insert((wire, arp.target));
        let host = Host { wire, mac, address: arp.target, via: arp.sender_mac };
        self.send(&host.arp(arp.sender_mac, Operation::Reply, arp.sender_mac, arp.sender));
    }
}
