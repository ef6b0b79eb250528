//! What the packet's walk costs, without a port: `cargo bench -p natgate --bench path`.
//!
//! Established UDP flows through SNAT, 64-byte frames in fresh random order, both ways, through the same
//! [`nat::Gateway::process_burst`] that the binary runs. A frame is copied into its buffer first, as a network card
//! would have done; the copy is in the figure, and the column *copy* shows it alone. *new* is the first packet of each
//! flow. The first line is the machine's memory: figures taken while it is slow are worth little.
//!
//! The first table is one gateway over its own state. The second is two over one state, each half of the flows' owner, and
//! all packets carried by the first: *out* and *in* are then what a session of another's costs where half of them are, and
//! *new* what it takes to hand half of the first packets on, on one thread.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use nat::{Configuration, Gateway, Sizes, State, WorkerIndex};
use packet::ethernet::LinkHeader;
use packet::{
    BURST_FRAMES_MAX, Burst, Frame, MacAddress, Moment, NoRoom, PacketIo, PortIndex, Sent, arp, testing,
};

const INSIDE: PortIndex = PortIndex(0);
const OUTSIDE: PortIndex = PortIndex(1);
const GATEWAY: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const UPLINK: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const HOSTS: MacAddress = MacAddress([2, 0, 0, 0, 0, 3]);
const NEXT_HOP: MacAddress = MacAddress([2, 0, 0, 0, 0, 4]);
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const PORTS_PER_HOST: usize = 63;
const ROUNDS: usize = 9;
const NOW: Moment = Moment::from_ms(1);
/// The first digits of pi.
const SEED: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

const RULES: &str = r#"
segments: [{id: lan, port: inside}, {id: net, port: outside}]
pools: [{id: pool, addresses: [203.0.113.64/26]}]
routers:
- id: router
  interfaces:
  - {id: in, segment: lan, mac: "02:00:00:00:00:01", addresses: [10.0.0.1/8]}
  - {id: out, segment: net, mac: "02:00:00:00:00:02", addresses: [203.0.113.2/24], external: true}
  gateways: [{interface: out, next_hop: 203.0.113.1, pool: pool}]
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("dependent reads over 64 MB: {:.0} ns each", memory_probe());
    for gateways in [1, 2] {
        println!("{gateways} gateway(s) |       ns per packet");
        println!("       flows |  out    in  copy |   new");
        for flows in [1_000, 64_000, 1_000_000] {
            measure(gateways, flows)?;
        }
    }
    Ok(())
}

fn measure(gateways: u8, flows: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut bench = Bench::new(gateways, flows as u32)?;
    bench.meet();

    let mut outbound: Vec<Vec<u8>> = (0..flows).map(request).collect();
    bench.io.kept = Some(Vec::with_capacity(flows));
    let new = bench.pass(INSIDE, &outbound);
    let mut inbound: Vec<Vec<u8>> =
        bench.io.kept.take().unwrap_or_default().into_iter().map(answer).collect();
    assert_eq!(inbound.len(), flows, "every first packet went out");

    let (mut out, mut back, mut copy) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        shuffle(&mut outbound, round);
        shuffle(&mut inbound, round);
        let before = bench.io.sent;
        out.push(bench.pass(INSIDE, &outbound));
        back.push(bench.pass(OUTSIDE, &inbound));
        assert_eq!(bench.io.sent - before, 2 * flows as u64, "every packet was forwarded");
        copy.push(bench.copies(&outbound));
    }
    println!("{flows:>12} | {:>4.0}  {:>4.0}  {:>4.0} | {new:>5.0}", median(out), median(back), median(copy));
    Ok(())
}

struct Bench {
    /// Over one state; the first carries what comes in.
    gateways: Vec<Gateway<Buffer>>,
    io: Memory,
}

impl Bench {
    fn new(gateways: u8, flows: u32) -> Result<Self, Box<dyn std::error::Error>> {
        // A shard has its part of them, and some have more hosts than others.
        let sizes = Sizes { sessions: flows.max(4_096) * 3 / 2, shards: 16, addresses: 64 };
        let (state, mut shards) = State::anonymous(&sizes, SEED)?;
        let ports = ["inside".to_owned(), "outside".to_owned()];
        let rules =
            rules::validate(&rules::read_rules(RULES)?, &ports).map_err(|faults| format!("{faults:?}"))?;
        let mut numbers = state.numbers();
        let rules = Arc::new(rules::compile(&rules, None, &mut numbers)?);
        state.store(&numbers, rules.generation);
        state.assign(gateways);
        let gateways = (0..gateways).map(WorkerIndex).map(|me| {
            let own = shards.extract_if(.., |shard| state.worker_of(shard.index()) == me).collect();
            let mut gateway = Gateway::new(&state, me, own, Configuration::default());
            gateway.adopt(Arc::clone(&rules), Vec::new());
            gateway
        });
        Ok(Self { gateways: gateways.collect(), io: Memory::default() })
    }

    /// The hosts' router and the next hop make themselves known.
    fn meet(&mut self) {
        for flow in 0..1_000_000_usize.div_ceil(PORTS_PER_HOST) {
            self.hear(INSIDE, HOSTS, host(flow * PORTS_PER_HOST), Ipv4Addr::new(10, 0, 0, 1));
        }
        self.hear(OUTSIDE, NEXT_HOP, Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2));
    }

    fn hear(&mut self, port: PortIndex, sender_mac: MacAddress, sender: Ipv4Addr, target: Ipv4Addr) {
        let request = arp::Arp {
            operation: arp::Operation::Request,
            sender_mac,
            sender,
            target_mac: MacAddress::default(),
            target,
        };
        let link = LinkHeader { destination: MacAddress::BROADCAST, source: sender_mac, vlan: None };
        self.pass(port, &[testing::arp(link, &request)]);
    }

    /// Carries all frames through the gateway; nanoseconds per frame.
    fn pass(&mut self, port: PortIndex, frames: &[Vec<u8>]) -> f64 {
        let start = Instant::now();
        for chunk in frames.chunks(BURST_FRAMES_MAX) {
            let mut burst: Burst<Buffer> = chunk.iter().map(|frame| self.io.filled(frame)).collect();
            self.gateways[0].process_burst(port, &mut burst, NOW, &mut self.io);
            self.end_turns();
        }
        start.elapsed().as_nanos() as f64 / frames.len() as f64
    }

    /// Carries what is handed on to where it goes, and ends the turn of each gateway.
    fn end_turns(&mut self) {
        while let Some(outbox) =
            self.gateways.iter_mut().map(Gateway::outbox).find(|outbox| !outbox.is_empty())
        {
            // All of it is the other's.
            let (to, count) = (usize::from(outbox[0].0.0), outbox.len().min(BURST_FRAMES_MAX));
            let mut handed: Burst<_> = outbox.drain(..count).map(|(_, handed)| handed).collect();
            self.gateways[to].process_handed(&mut handed, NOW, &mut self.io);
        }
        self.gateways.iter_mut().for_each(Gateway::end_turn);
    }

    /// Only what surrounds the gateway.
    fn copies(&mut self, frames: &[Vec<u8>]) -> f64 {
        let start = Instant::now();
        for chunk in frames.chunks(BURST_FRAMES_MAX) {
            let burst: Burst<Buffer> = chunk.iter().map(|frame| self.io.filled(frame)).collect();
            black_box(&burst);
            burst.into_iter().for_each(|frame| self.io.send(OUTSIDE, frame));
        }
        start.elapsed().as_nanos() as f64 / frames.len() as f64
    }
}

/// Packet buffers that go round.
#[derive(Default)]
struct Memory {
    free: Vec<Buffer>,
    sent: u64,
    /// Frames that were sent, where they are to be looked at.
    kept: Option<Vec<Vec<u8>>>,
}

struct Buffer {
    bytes: Box<[u8; 256]>,
    start: usize,
    end: usize,
}

const HEADROOM: usize = 64;

impl Memory {
    fn filled(&mut self, frame: &[u8]) -> Buffer {
        let mut buffer =
            self.free.pop().unwrap_or_else(|| Buffer { bytes: Box::new([0; 256]), start: 0, end: 0 });
        (buffer.start, buffer.end) = (HEADROOM, HEADROOM + frame.len());
        buffer.bytes_mut().copy_from_slice(frame);
        buffer
    }
}

impl PacketIo for Memory {
    type Frame = Buffer;

    fn receive(&mut self, _: PortIndex, _: &mut Burst<Buffer>) {}

    fn send(&mut self, port: PortIndex, frame: Buffer) {
        self.sent += 1;
        if let Some(kept) = self.kept.as_mut().filter(|_| port == OUTSIDE) {
            kept.push(frame.bytes().to_vec());
        }
        self.free.push(frame);
    }

    fn flush(&mut self, _: PortIndex) -> Sent {
        Sent::default()
    }

    fn allocate(&mut self) -> Option<Buffer> {
        Some(self.filled(&[]))
    }
}

impl Frame for Buffer {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    fn grow_front(&mut self, count: usize) -> Result<(), NoRoom> {
        self.start = self.start.checked_sub(count).ok_or(NoRoom)?;
        Ok(())
    }

    fn shrink_front(&mut self, count: usize) {
        assert!(count <= self.end - self.start);
        self.start += count;
    }

    fn resize(&mut self, length: usize) -> Result<(), NoRoom> {
        self.end = Some(self.start + length).filter(|end| *end <= self.bytes.len()).ok_or(NoRoom)?;
        Ok(())
    }
}

fn host(flow: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a01_0000 + (flow / PORTS_PER_HOST) as u32)
}

/// The first packet of a flow: an inside host asks the remote.
fn request(flow: usize) -> Vec<u8> {
    let port = 20_000 + (flow % PORTS_PER_HOST) as u16;
    testing::udp((HOSTS, host(flow), port), (GATEWAY, REMOTE, 443), None, &[0; 18])
}

/// The remote's answer to a frame that we sent.
fn answer(frame: Vec<u8>) -> Vec<u8> {
    let part =
        |from: usize| <[u8; 4]>::try_from(&frame[from..from + 4]).map(Ipv4Addr::from).unwrap_or(REMOTE);
    let port = |from: usize| u16::from_be_bytes([frame[from], frame[from + 1]]);
    testing::udp((NEXT_HOP, part(30), port(36)), (UPLINK, part(26), port(34)), None, &[0; 18])
}

/// Fisher and Yates's shuffle, by a linear congruence.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for index in (1..items.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(index, ((state >> 33) as usize) % (index + 1));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds of a read that depends on the one before, over 64 MB.
fn memory_probe() -> f64 {
    let mut next: Vec<u32> = (0..1 << 24).collect();
    // One cycle through all cells (Sattolo), so that no read is repeated.
    let mut state = 1_u64;
    for index in (1..next.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        next.swap(index, ((state >> 33) as usize) % index);
    }
    let (mut at, reads) = (0_u32, 1 << 20);
    let start = Instant::now();
    for _ in 0..reads {
        at = next[at as usize];
    }
    black_box(at);
    start.elapsed().as_nanos() as f64 / f64::from(reads)
}
