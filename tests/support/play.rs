//! A play: capture files in, the gateway, capture files out.
//!
//! The input of each port is written before the gateway starts, so what an answer is to carry must be known by then: a
//! test plays the questions first, reads from the output which external ports were chosen, and plays again, with
//! answers. The seed and the clock are fixed, so the second gateway does what the first one did.
//!
//! The driver hands over as many frames as are asked for, and the worker asks for a burst from each port in turn. A turn of
//! a play is filled up with frames that the gateway drops, so that the next turn's frames come with the next turn.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use packet::arp::{self, Arp, Operation};
use packet::ethernet::LinkHeader;
use packet::{BURST_FRAMES_MAX, MacAddress, Moment, Parsed, Payload, VlanId, testing};
use serde::{Deserialize, Serialize};

use crate::edge;
use crate::support::{
    PORT_NAMES, Team, books, capture, node_config, role, start_again, team, write_node_config,
};
use crate::world::scene::*;
use crate::world::{Host, Packet, Wire};

/// Who speaks to the gateway first, and to which of its addresses: all of the scene that it has for neighbours.
const GREETINGS: [(Host, Ipv4Addr); 8] = [
    (RED_A, RED_GATEWAY),
    (RED_B, RED_GATEWAY),
    (RED_WEB, RED_GATEWAY),
    (RED_MAIL, RED_GATEWAY),
    (RED_DB, Ipv4Addr::new(10, 0, 1, 1)),
    (BLUE_A, RED_GATEWAY),
    (BLUE_WEB, RED_GATEWAY),
    (ISP, RED_EXTERNAL),
];

/// The worker's clock: it stands still during a turn.
const TURN_MS: u64 = 10;

/// What goes into the gateway, turn by turn.
pub(crate) struct Play {
    test: &'static str,
    rules: String,
    mtu: u16,
    turns: Vec<Vec<Packet>>,
    greets: bool,
}

/// What came out of it.
pub(crate) struct Seen {
    /// What left by each port, in order, but for announcements and the answers to greetings.
    pub(crate) frames: [Vec<Packet>; 2],
    /// Gratuitous ARP, in any order.
    pub(crate) announced: Vec<Packet>,
    /// Drops by reason, but for those of frames that fill up.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Frames that a driver delivered in several segments.
    pub(crate) multi_segment: [u64; 2],
}

/// What the gateway's process leaves beside the captures.
#[derive(Serialize, Deserialize)]
struct Report {
    dropped: BTreeMap<String, u64>,
    multi_segment: [u64; 2],
}

impl Play {
    /// An empty play in the scene. `test` is the name of the test that runs it.
    pub(crate) fn new(test: &'static str) -> Self {
        Self { test, rules: RULES.into(), mtu: 1500, turns: Vec::new(), greets: true }
    }

    /// The play with other rules.
    pub(crate) fn rules(self, rules: String) -> Self {
        Self { rules, ..self }
    }

    /// The play with ports for longer packets.
    pub(crate) fn mtu(self, mtu: u16) -> Self {
        Self { mtu, ..self }
    }

    /// The play among strangers: nobody has spoken to the gateway before.
    pub(crate) fn without_greetings(self) -> Self {
        Self { greets: false, ..self }
    }

    /// The play with a further turn: what arrives at the ports at one time, at most a burst for each.
    pub(crate) fn turn(mut self, packets: impl IntoIterator<Item = Packet>) -> Self {
        self.turns.push(packets.into_iter().collect());
        self
    }

    /// The play with so many packets as further turns as it takes.
    pub(crate) fn turns(self, packets: &[Packet]) -> Self {
        packets.chunks(BURST_FRAMES_MAX).fold(self, |play, packets| play.turn(packets.to_vec()))
    }

    /// Runs the play on a gateway of its own, which checks its books, its ports' and its pool.
    pub(crate) fn run(&self) -> Seen {
        if let Some(directory) = role() {
            // A process that a test started to be its gateway comes by here first, and does not come back.
            be_the_gateway(Path::new(&directory));
            std::process::exit(0);
        }
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let greetings = GREETINGS.map(|(host, address)| host.asks_for(address)).to_vec();
        let turns: Vec<_> = self.greets.then_some(&greetings).into_iter().chain(&self.turns).collect();
        for port in 0..2 {
            let frames = turns.iter().flat_map(|packets| filled_up(packets, port)).collect::<Vec<_>>();
            capture::write(&input(directory, port), frames.iter().map(Vec::as_slice));
        }
        let devices = [0, 1].map(|port| {
            let (input, output) = (input(directory, port), output(directory, port));
            format!("net_pcap{port},rx_pcap={},tx_pcap={}", input.display(), output.display())
        });
        write_node_config(directory, devices, self.mtu, 1);
        fs::write(directory.join("rules.yaml"), &self.rules).unwrap();

        let said = start_again(self.test, directory.to_str().unwrap());
        let report = fs::read(report_file(directory));
        let report = report.unwrap_or_else(|_| panic!("`{}` started no gateway:\n{said}", self.test));
        let mut report: Report = serde_json::from_slice(&report).unwrap();
        let fillers =
            (turns.len() * 2 * BURST_FRAMES_MAX - turns.iter().map(|turn| turn.len()).sum::<usize>()) as u64;
        let unknown = report.dropped.remove("unknown_ethertype").unwrap_or(0);
        assert_eq!(unknown, fillers, "what fills up is dropped");

        let mut seen = Seen {
            frames: Default::default(),
            announced: Vec::new(),
            dropped: report.dropped,
            multi_segment: report.multi_segment,
        };
        let mut answers = Vec::new();
        for port in 0..2 {
            for packet in
                capture::read(&output(directory, port)).into_iter().map(|bytes| on_port(port, bytes))
            {
                match arp_of(&packet) {
                    Some(arp) if arp.sender == arp.target => seen.announced.push(packet),
                    Some(arp) if self.greets && arp.operation == Operation::Reply => answers.push(packet),
                    _ => seen.frames[usize::from(port)].push(packet),
                }
            }
        }
        if self.greets {
            assert_eq!(answers, GREETINGS.map(|(host, address)| answer_to(host, address)));
        }
        seen
    }
}

impl Seen {
    /// What left by the inside port.
    pub(crate) fn inside(&self) -> &[Packet] {
        &self.frames[0]
    }

    /// What left by the outside port.
    pub(crate) fn outside(&self) -> &[Packet] {
        &self.frames[1]
    }

    /// Asserts which frames were dropped, and that these were all.
    #[track_caller]
    pub(crate) fn assert_dropped(&self, expected: &[(&str, u64)]) {
        let dropped: Vec<_> = self.dropped.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        assert_eq!(dropped, expected);
    }
}

/// The gateway's answer to a host that asks which MAC has one of its addresses.
fn answer_to(host: Host, address: Ipv4Addr) -> Packet {
    host.peer(address).arp(host.mac, Operation::Reply, host.mac, host.address)
}

/// An ARP packet's contents.
pub(crate) fn arp_of(packet: &Packet) -> Option<Arp> {
    let parsed = Parsed::read(&packet.bytes).ok()?;
    (parsed.payload == Payload::Arp).then(|| arp::read(&packet.bytes, &parsed))?
}

/// Runs the gateway over the captures in `directory` until they are drained.
fn be_the_gateway(directory: &Path) {
    let config = node_config(directory);
    let rules = fs::read_to_string(directory.join("rules.yaml")).unwrap();

    let (edge, io) = edge::start(&config).unwrap();
    let (before, counted_before) = (edge.available(), books::stats(&edge.ports));
    let Team { mut workers, mut handles } = team(io, &rules);
    let mut now = Moment::from_ms(1_000);
    while !workers[0].turn(now) {
        now = now + TURN_MS;
    }
    handles[0].reclaim();
    assert_eq!(handles[0].status.generation(), 1, "the rules were adopted");

    books::assert_closed(&handles, &edge.ports, &counted_before);
    let held = books::sum(&handles, |counters| counters.held.get()) as u32;
    assert_eq!(edge.available() + held, before, "all buffers but those held are back");
    drop(workers);
    assert_eq!(edge.available(), before, "all buffers are back");
    let report = Report {
        dropped: books::drops(&handles).into_iter().map(|(reason, count)| (reason.into(), count)).collect(),
        multi_segment: [0, 1].map(|port: usize| edge.ports[port].multi_segment_dropped()),
    };
    // The ports close here, and their captures with them.
    drop(edge);
    fs::write(report_file(directory), serde_json::to_vec(&report).unwrap()).unwrap();
}

/// One port's frames of a turn, and as many behind them as make a burst.
fn filled_up(packets: &[Packet], port: u8) -> Vec<Vec<u8>> {
    let mut frames: Vec<_> =
        packets.iter().filter(|packet| packet.wire.port == port).map(|packet| packet.bytes.clone()).collect();
    assert!(frames.len() <= BURST_FRAMES_MAX, "{} frames are more than a turn takes", frames.len());
    // Link-layer discovery, as any switch sends it.
    let link = LinkHeader {
        destination: MacAddress([0x01, 0x80, 0xc2, 0, 0, 0x0e]),
        source: MacAddress([2, 0, 0, 0, 0xff, port]),
        vlan: None,
    };
    frames.resize(BURST_FRAMES_MAX, testing::with_padding(testing::ethernet(link, 0x88cc), 46));
    frames
}

pub(crate) fn on_port(port: u8, bytes: Vec<u8>) -> Packet {
    let tagged = bytes.get(12..14) == Some(&[0x81, 0x00]);
    let vlan = tagged.then(|| VlanId::new(u16::from_be_bytes([bytes[14], bytes[15]]))).flatten();
    Packet { wire: Wire { port, vlan }, bytes }
}

fn input(directory: &Path, port: u8) -> PathBuf {
    directory.join(format!("{}-received.pcap", PORT_NAMES[usize::from(port)]))
}

fn output(directory: &Path, port: u8) -> PathBuf {
    directory.join(format!("{}-sent.pcap", PORT_NAMES[usize::from(port)]))
}

fn report_file(directory: &Path) -> PathBuf {
    directory.join("report.json")
}
