//! A sequence of frames through a gateway, chosen by bytes.
//!
//! The bytes say who sends what to whom: mostly packets that belong together (a host speaks, its remote answers, a router on
//! the way complains), now and then one that is wrong, and between them time, other rules, and trouble of the gateway's own.

use packet::{MacAddress, arp};

use crate::bytes::Bytes;
use crate::frames::{self, ICMP, Spec, TCP, UDP, address, get, network_offset, put};
use crate::outcome::Outcome;
use crate::scene::{self, CARRIER, EXTERNALS, INSIDE, ISP, ODD, REMOTES, RULES, Wire};
use crate::world::{Origin, Setup, World};

/// Frames of one input: what one costs is bounded.
const FRAMES_MAX: usize = 16_384;

/// What an input mostly does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accent {
    None,
    Icmp,
    Fragments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// A host inside sends.
    Open,
    /// A burst of new flows.
    OpenMany,
    /// Somebody outside sends without being asked.
    Knock,
    /// Who heard something answers it.
    Answer,
    /// The two sides of a flow go on speaking.
    Talk,
    /// Something that was said is said again, or goes on.
    Again,
    /// Who heard something complains about it.
    Complain,
    Arp,
    Time,
    Rules,
    /// The gateway is in trouble, or out of it.
    Trouble,
    Raw,
    /// One worker has a turn, the others do not.
    Turn,
}

use Act::*;

const ACTS: [Act; 32] = [
    Open, Open, Open, Open, Open, OpenMany, OpenMany, Knock, Knock, Knock, Answer, Answer, Answer, Answer,
    Answer, Answer, Talk, Talk, Talk, Talk, Again, Again, Again, Complain, Complain, Complain, Arp, Time,
    Time, Rules, Trouble, Raw,
];
const ICMP_ACTS: [Act; 16] = [
    Open, Open, Open, Knock, Answer, Answer, Answer, Talk, Complain, Complain, Complain, Complain, Complain,
    Time, Rules, Turn,
];
const FRAGMENT_ACTS: [Act; 16] = [
    Open, Open, Open, Open, Knock, Answer, Answer, Answer, Answer, Again, Again, Complain, Time, Time,
    Trouble, Turn,
];

const STEPS_MS: [u64; 16] = [
    1, 10, 100, 499, 1_000, 2_001, 3_000, 6_100, 15_000, 30_001, 60_001, 121_000, 245_000, 305_000,
    3_700_000, 7_500_000,
];
const FLAGS: [u8; 12] = [0x02, 0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x00, 0x03, 0x06, 0x29];
const PAYLOADS: [usize; 16] = [8, 8, 8, 8, 16, 24, 0, 3, 15, 64, 100, 560, 1_232, 1_372, 1_472, 1_473];
const PROTOCOLS: [u8; 8] = [UDP, UDP, UDP, TCP, TCP, TCP, ICMP, 132];
const OTHERS: [u8; 6] = [132, 47, 33, 136, 50, 51];

/// Plays an input.
pub(crate) fn play(input: &[u8], accent: Accent, outcome: &mut Outcome) {
    let mut bytes = Bytes::new(input);
    let start = bytes.byte();
    let setup = Setup {
        workers: [1, 1, 2, 3][usize::from(start & 3)],
        sessions: [256, 16, 4_096, 64][usize::from(start >> 2 & 3)],
        shards: if start & 16 == 0 { 4 } else { 1 },
        checks_checksums: start & 32 != 0,
    };
    let first = bytes.below(RULES + 1);
    let mut world = World::new(&setup, outcome);
    // Without rules, now and then.
    if first < RULES {
        world.publish(first);
        (0..world.workers()).for_each(|worker| world.adopt(worker));
    }
    let mut player = Player { world, accent, is_settling: true, worker: 0, frames: Vec::new() };
    while !bytes.is_empty() && player.world.origins.len() < FRAMES_MAX {
        player.step(&mut bytes);
    }
    player.world.end();
}

struct Player<'a> {
    world: World<'a>,
    accent: Accent,
    /// After each act all workers turn until nothing is under way.
    is_settling: bool,
    /// Where frames come in.
    worker: usize,
    frames: Vec<Vec<u8>>,
}

impl Player<'_> {
    fn step(&mut self, bytes: &mut Bytes) {
        let act = match self.accent {
            Accent::None => bytes.one_of(&ACTS),
            Accent::Icmp => bytes.one_of(&ICMP_ACTS),
            Accent::Fragments => bytes.one_of(&FRAGMENT_ACTS),
        };
        self.world.act = act as u32;
        self.worker = self.worker.wrapping_add(1);
        match act {
            Open => self.open(bytes),
            OpenMany => self.open_many(bytes),
            Knock => self.knock(bytes),
            Answer => self.answer(bytes),
            Talk => self.talk(bytes),
            Again => self.again(bytes),
            Complain => self.complain(bytes),
            Arp => self.resolve(bytes),
            Time => self.pass(bytes),
            Rules => self.change_rules(bytes),
            Trouble => self.trouble(bytes),
            Raw => self.raw(bytes),
            Turn => {
                let worker = bytes.below(4);
                self.world.turn(worker);
                return;
            }
        }
        if self.is_settling {
            self.world.settle();
        }
    }

    fn open(&mut self, bytes: &mut Bytes) {
        let (spec, wire) = self.opening(bytes);
        self.send(&spec, wire, bytes);
    }

    /// What a host inside says of its own accord.
    fn opening(&mut self, bytes: &mut Bytes) -> (Spec, Wire) {
        let host = bytes.one_of(&INSIDE);
        let choice = bytes.byte();
        let mut protocol = PROTOCOLS[usize::from(choice & 7)];
        if protocol == 132 {
            protocol = OTHERS[usize::from(choice >> 3) % OTHERS.len()];
        }
        let to = bytes.byte();
        let destination = match to >> 5 {
            0..5 => REMOTES[usize::from(to & 31) % REMOTES.len()].0,
            5 | 6 => EXTERNALS[usize::from(to & 31) % EXTERNALS.len()].0,
            _ => ODD[usize::from(to & 31) % ODD.len()],
        };
        let ports = bytes.byte();
        let destination_port = match to >> 5 {
            5 | 6 => [53, 80, 2_000, 2_001, 2_002, 2_003, 5_060, 2_063][usize::from(ports >> 5)],
            _ => [53, 80, 443, 5_060, 5_061, 7, 40_000, 0][usize::from(ports >> 5)],
        };
        let shape = bytes.byte();
        let spec = Spec {
            to_mac: host.via,
            from_mac: host.mac,
            vlan: host.wire.vlan,
            source: host.address,
            destination,
            protocol,
            source_port: 4_000 + u16::from(ports & 31),
            destination_port,
            kind: match protocol {
                ICMP if choice & 8 == 0 => 8,
                ICMP => [0, 13, 17, 9][usize::from(choice >> 4 & 3)],
                _ if choice & 0x38 != 0 => 2,
                _ => FLAGS[usize::from(shape >> 4) % FLAGS.len()],
            },
            sequence: 1_000,
            acknowledgement: 0,
            segment_max: if shape & 16 == 0 { 1_460 } else { 0 },
            ttl: 64,
            dont_fragment: shape & 32 == 0,
            identification: u16::from(ports),
            options: 0,
            payload: PAYLOADS[usize::from(shape & 15)],
            serial: 0,
        };
        (spec, host.wire)
    }

    fn open_many(&mut self, bytes: &mut Bytes) {
        let (mut spec, wire) = self.opening(bytes);
        let count = u16::from(bytes.byte() & 63) + 1;
        spec.payload = spec.payload.min(64);
        for _ in 0..count {
            self.build(&spec, wire);
            spec.source_port = spec.source_port.wrapping_add(1);
        }
        self.world.enter(self.worker, wire, &mut self.frames);
    }

    fn knock(&mut self, bytes: &mut Bytes) {
        let (remote, host) = bytes.one_of(&REMOTES);
        let (external, via) = bytes.one_of(&EXTERNALS);
        let choice = bytes.byte();
        let ports = bytes.byte();
        let shape = bytes.byte();
        // The carrier's network has one address of ours behind it, the internet's the others.
        let is_wan = external.octets()[0] == 198;
        let host = if is_wan { CARRIER } else { if host.wire == ISP.wire { host } else { ISP } };
        let protocol = match PROTOCOLS[usize::from(choice & 7)] {
            132 => OTHERS[usize::from(choice >> 3) % OTHERS.len()],
            one => one,
        };
        let spec = Spec {
            to_mac: via,
            from_mac: host.mac,
            vlan: host.wire.vlan,
            source: remote,
            destination: external,
            protocol,
            source_port: [53, 80, 443, 5_060, 7, 40_000, 40_001, 1][usize::from(choice >> 5)],
            destination_port: match ports >> 6 {
                0 => [53, 80, 81, 89, 90, 22, 4_000, 8_080][usize::from(ports & 7)],
                1 => 4_000 + u16::from(ports & 31),
                _ => 2_000 + u16::from(ports & 63),
            },
            kind: match protocol {
                ICMP => [8, 0, 13, 5][usize::from(shape >> 6)],
                _ => FLAGS[usize::from(shape >> 4) % FLAGS.len()],
            },
            sequence: 5_000,
            acknowledgement: 0,
            segment_max: 1_460,
            ttl: 57,
            dont_fragment: shape & 32 == 0,
            identification: u16::from(ports),
            options: 0,
            payload: PAYLOADS[usize::from(shape & 15)],
            serial: 0,
        };
        // An echo has one identifier.
        let spec = if protocol == ICMP { Spec { source_port: spec.destination_port, ..spec } } else { spec };
        self.send(&spec, host.wire, bytes);
        // And at the next port, from where it was: that may be forwarded to the same.
        if protocol == UDP && shape >> 6 == 3 {
            let next = Spec { destination_port: spec.destination_port + 1, ..spec };
            self.send(&next, host.wire, bytes);
        }
    }

    fn answer(&mut self, bytes: &mut Bytes) {
        let which = bytes.byte();
        let Some((wire, frame)) = self.world.heard.recent(usize::from(which & 31)) else { return };
        let Some(mut spec) = reversed(wire, frame) else { return };
        let shape = bytes.byte();
        spec.payload = PAYLOADS[usize::from(shape & 15)];
        if spec.protocol == TCP {
            let choice = usize::from(shape >> 4);
            spec.kind = match choice {
                // What the other side's flags ask for.
                0..8 if spec.kind & 2 != 0 => 0x12,
                0..8 => 0x10,
                _ => FLAGS[choice % FLAGS.len()],
            };
        }
        match which >> 5 {
            5 => spec.source_port = spec.source_port.wrapping_add(1),
            6 if wire.tenant == 0 => spec.source = REMOTES[usize::from(shape) % REMOTES.len()].0,
            7 if spec.protocol == TCP => {
                // Out of the window, or just in it.
                let by = [1_u32, 64_240, 64_241, 1 << 20, u32::MAX, 1 << 31][usize::from(shape) % 6];
                spec.sequence = spec.sequence.wrapping_add(by);
            }
            _ => {}
        }
        self.send(&spec, wire, bytes);
    }

    /// The last to hear something answers, so often, from both sides.
    fn talk(&mut self, bytes: &mut Bytes) {
        let choice = bytes.byte();
        let times = usize::from(choice & 15) + 1;
        for turn in 0..times {
            let back = if choice & 0xc0 == 0 { 0 } else { usize::from(choice >> 4) };
            let Some((wire, frame)) = self.world.heard.recent(if turn == 0 { back } else { 0 }) else {
                return;
            };
            let Some(mut spec) = reversed(wire, frame) else { return };
            spec.payload = 16;
            if spec.protocol == TCP {
                spec.kind = if spec.kind & 0x12 == 2 { 0x12 } else { 0x18 };
                spec.segment_max = 0;
            }
            // A few in a row, as segments come.
            for _ in 0..=usize::from(choice >> 4 & 3) * 4 {
                self.build(&spec, wire);
                spec.sequence = spec.sequence.wrapping_add(spec.payload as u32);
            }
            self.world.enter(self.worker + turn, wire, &mut self.frames);
            self.world.settle();
        }
    }

    fn again(&mut self, bytes: &mut Bytes) {
        let which = bytes.byte();
        let Some((wire, frame)) = self.world.said.recent(usize::from(which & 31)) else { return };
        if which & 32 != 0 {
            let frame = frame.to_vec();
            let serial = frames::marked(&frame).unwrap_or(0);
            return self.send_changed(frame, serial, wire, bytes);
        }
        let Some(back) = reversed(wire, frame).and_then(|spec| reverse(&spec)) else { return };
        let shape = bytes.byte();
        let spec = Spec {
            payload: PAYLOADS[usize::from(shape & 15)],
            kind: if back.protocol == TCP { FLAGS[usize::from(shape >> 4) % FLAGS.len()] } else { back.kind },
            sequence: back.sequence.wrapping_add(u32::from(which >> 6) * 500),
            ..back
        };
        self.send(&spec, wire, bytes);
    }

    /// An ICMP error about something that was heard.
    fn complain(&mut self, bytes: &mut Bytes) {
        let which = bytes.byte();
        let Some((wire, frame)) = self.world.heard.recent(usize::from(which & 31)) else { return };
        let Some(mut spec) = reversed(wire, frame) else { return };
        let at = network_offset(frame);
        let mut about = frame[at..].to_vec();
        let choice = bytes.byte();
        let kind = match choice & 15 {
            0..3 => (3, 3, 0),
            3..5 => (3, 4, [1_400, 576, 0, 68, 1_280, 9_000][usize::from(choice >> 4) % 6]),
            5 | 6 => (3, choice >> 4, 0),
            7..9 => (11, 0, 0),
            9 => (11, 1, 0),
            10 => (12, 0, 20 << 24),
            11 => (4, 0, 0),
            12 => (5, 0, 0xcb00_7101),
            13 => (3, 13, 0),
            _ => (3, choice >> 4, 0),
        };
        let length = bytes.byte();
        let quoted = match length >> 6 {
            0 => 28,
            1 => usize::from(length & 63),
            2 => 20 + usize::from(length & 63),
            _ => 548,
        };
        let mut is_damaged = false;
        match which >> 5 {
            // A router on the way, not the receiver.
            4 if wire.tenant == 0 => spec.source = std::net::Ipv4Addr::new(100, 64, 0, 7),
            5 => {
                // What the router changed before it complained.
                about[8] = 1;
                frames::seal_packet(&mut about);
            }
            6 => {
                is_damaged = true;
                let place = usize::from(choice) % about.len();
                about[place] ^= length | 1;
            }
            7 => {
                is_damaged = true;
                put(&mut about, 6, u16::from(length & 63));
            }
            _ => {}
        }
        // What is said of it later is to be seen as damaged too.
        let quoted_serial = frames::marked(&about);
        if let Some(serial) = quoted_serial.filter(|_| is_damaged) {
            self.world.damage(serial);
        }
        let serial = self.world.serial(Origin { tenant: wire.tenant, ttl: spec.ttl, is_damaged });
        let mut frame = Vec::new();
        frames::build_error(&spec, kind, &about, quoted, &mut frame);
        self.send_changed(frame, serial, wire, bytes);
    }

    fn resolve(&mut self, bytes: &mut Bytes) {
        let choice = bytes.byte();
        let hosts = [INSIDE[0], INSIDE[1], INSIDE[4], INSIDE[5], ISP, CARRIER];
        let host = hosts[usize::from(choice & 15) % hosts.len()];
        let what = bytes.byte();
        let target = match what & 3 {
            0 => ODD[usize::from(what >> 2) % ODD.len()],
            1 => host.address,
            _ => EXTERNALS[usize::from(what >> 2) % EXTERNALS.len()].0,
        };
        let is_reply = choice & 16 != 0;
        let link = packet::ethernet::LinkHeader {
            destination: if is_reply { MacAddress(host.via) } else { MacAddress::BROADCAST },
            source: MacAddress(host.mac),
            vlan: packet::VlanId::new(host.wire.vlan),
        };
        let message = arp::Arp {
            operation: if is_reply { arp::Operation::Reply } else { arp::Operation::Request },
            sender_mac: MacAddress(host.mac),
            sender: if choice & 0xe0 == 0xe0 { target } else { host.address },
            target_mac: MacAddress(host.via),
            target,
        };
        let mut frame = Vec::new();
        if arp::write(&mut frame, link, &message).is_ok() {
            self.frames.push(frame);
            self.world.enter(self.worker, host.wire, &mut self.frames);
        }
    }

    fn pass(&mut self, bytes: &mut Bytes) {
        let choice = bytes.byte();
        let ms = STEPS_MS[usize::from(choice & 15)];
        // In one go, or in turns of a worker that runs.
        let turns = 1 + u64::from(choice >> 4 & 3) * 5;
        for _ in 0..turns {
            self.world.pass(ms.div_ceil(turns));
        }
    }

    fn change_rules(&mut self, bytes: &mut Bytes) {
        let choice = bytes.byte();
        self.world.publish(usize::from(choice & 63) % RULES);
        // All adopt at once, or one of them is late.
        let late = if choice & 64 == 0 { usize::MAX } else { usize::from(choice >> 7) };
        for worker in (0..self.world.workers()).filter(|worker| *worker != late) {
            self.world.adopt(worker);
        }
    }

    fn trouble(&mut self, bytes: &mut Bytes) {
        let choice = bytes.byte();
        let what = choice >> 4;
        match choice & 15 {
            0 | 1 => self.world.silent = (u16::from(what) << ((choice & 1) * 4)) | u16::from(choice & 1) << 8,
            2 => self.world.silent = 0,
            3 => self.world.set_out_of_buffers(what & 1 == 0),
            4 => self.world.has_headroom = what & 1 == 1,
            5 => self.world.refused = usize::from(what),
            6 => self.world.ring_frames_max = [64, 0, 1, 4][usize::from(what & 3)],
            7 => self.world.restart(1 + usize::from(what) % 3),
            8 => self.is_settling = what & 1 == 1,
            9 => (0..self.world.workers()).for_each(|worker| self.world.adopt(worker)),
            _ => self.worker = usize::from(what),
        }
    }

    fn raw(&mut self, bytes: &mut Bytes) {
        let wire = bytes.one_of(&scene::WIRES);
        let length = usize::from(bytes.byte());
        let frame = bytes.take(length).to_vec();
        self.world.serial(Origin { tenant: wire.tenant, ttl: 0, is_damaged: true });
        self.frames.push(frame);
        self.world.enter(self.worker, wire, &mut self.frames);
    }

    fn build(&mut self, spec: &Spec, wire: Wire) -> u16 {
        // An error that quotes nothing is none.
        let is_damaged = spec.protocol == ICMP && frames::is_error(spec.kind);
        let serial = self.world.serial(Origin { tenant: wire.tenant, ttl: spec.ttl, is_damaged });
        let mut frame = Vec::with_capacity(spec.payload + 96);
        frames::build(&Spec { serial, ..*spec }, &mut frame);
        if wire.tenant > 0 {
            self.world.speaks(wire.tenant, spec.protocol, spec.source, spec.source_port);
        }
        self.frames.push(frame);
        serial
    }

    fn send(&mut self, spec: &Spec, wire: Wire, bytes: &mut Bytes) {
        let serial = self.build(spec, wire);
        let Some(frame) = self.frames.pop() else { return };
        self.send_changed(frame, serial, wire, bytes);
    }

    /// Sends a frame as it is, or with something about it changed, or in fragments.
    fn send_changed(&mut self, mut frame: Vec<u8>, serial: u16, wire: Wire, bytes: &mut Bytes) {
        let choice = bytes.byte();
        // An error carries the number of what it quotes.
        let carried = frames::marked(&frame);
        let at = network_offset(&frame);
        let is_cut = match self.accent {
            Accent::Fragments => choice & 3 != 3,
            _ => choice >= 0xf0,
        };
        let is_ipv4 = frame.len() >= at + 28;
        let segment = at + usize::from(frame.get(at).map_or(5, |first| first & 15)) * 4;
        let is_whole = get(&frame, at + 6) & 0x3fff == 0;
        if is_cut && is_ipv4 && is_whole && segment < frames::packet_end(&frame) && segment > at + 19 {
            return self.send_fragments(&frame, serial, wire, bytes);
        }
        let what = if self.accent == Accent::Fragments { choice >> 2 } else { choice };
        let mut damage = true;
        match what {
            _ if !is_ipv4 => damage = false,
            1..6 => {
                frame[at + 8] = what - 1;
                damage = false;
            }
            6 | 7 => (frame[at + 6], damage) = (frame[at + 6] ^ 0x40, false),
            8 => (frame[at + 1], damage) = (0xfc, false),
            // An identification of its own; the evil bit.
            9 => (frame[at + 4], damage) = (serial as u8, false),
            10 => (frame[at + 6], damage) = (frame[at + 6] | 0x80, false),
            11 | 12 => {
                let words = what - 10;
                let place = at + 20;
                frame.splice(place..place, std::iter::repeat_n(1, usize::from(words) * 4));
                frame[at] += words;
                let total = get(&frame, at + 2) + u16::from(words) * 4;
                put(&mut frame, at + 2, total);
                damage = false;
            }
            13 => {
                frame.resize(frame.len() + 10, 0xaa);
                damage = false;
            }
            14 => frame[at + 10] ^= 1,
            15..18 => {
                if let Some(field) = frames::checksum_field(frame[at + 9]) {
                    let field = segment + field;
                    match what {
                        15 if frame[at + 9] == UDP => (damage, _) = (false, put(&mut frame, field, 0)),
                        16 => {
                            // As a virtual link's neighbour leaves it to an offload.
                            let sum = frames::partial_checksum(&frame[at..], frame.len() - segment);
                            put(&mut frame, field, sum);
                        }
                        _ => {
                            let old = get(&frame, field);
                            put(&mut frame, field, old ^ 0x0100);
                        }
                    }
                }
            }
            18 => frame.truncate(usize::from(bytes.byte()) % frame.len()),
            19 => frame[..6].copy_from_slice(&[0xff; 6]),
            20 => frame[5] ^= 0x10,
            21 => frame[0] = 0x01,
            22..32 => {
                for _ in 0..what & 3 {
                    let place = at + usize::from(bytes.byte()) % (frame.len() - at);
                    frame[place] = bytes.byte();
                }
            }
            32..34 => {
                let place = 12 + bytes.below(frame.len() - 12);
                frame[place] = bytes.byte();
            }
            34 => put(&mut frame, at + 2, u16::from(bytes.byte())),
            35 => put(&mut frame, segment + 4, u16::from(bytes.byte())),
            36 => frame[at + 12..at + 16].copy_from_slice(&bytes.one_of(&ODD).octets()),
            37 => frame[at + 12..at + 16].copy_from_slice(&bytes.one_of(&EXTERNALS).0.octets()),
            38 => frame[at + 16..at + 20].copy_from_slice(&bytes.one_of(&ODD).octets()),
            39 => {
                // A tag that is nobody's, or two.
                frame.splice(12..12, [0x81, 0, 0x0f, bytes.byte()]);
            }
            _ => damage = false,
        }
        if damage {
            self.world.damage(serial);
            carried.into_iter().for_each(|serial| self.world.damage(serial));
        }
        if what != 14 && is_ipv4 {
            frames::seal_header(&mut frame);
        }
        self.frames.push(frame);
        self.world.enter(self.worker, wire, &mut self.frames);
    }

    /// In pieces: in order or not, some missing, some twice, some over others.
    fn send_fragments(&mut self, frame: &[u8], serial: u16, wire: Wire, bytes: &mut Bytes) {
        let choice = bytes.byte();
        let carried = [Some(serial), frames::marked(frame)].into_iter().flatten();
        let mut frame = frame.to_vec();
        let at = network_offset(&frame);
        put(&mut frame, at + 4, if choice & 8 == 0 { u16::from(choice >> 6) } else { serial });
        let mut pieces = Vec::new();
        let sizes = [1, 2, 3, 8, 64, 128, 1_000, 3];
        let size = sizes[usize::from(choice & 7)];
        frames::fragments(&frame, size, |piece| pieces.push(piece));
        pieces.truncate(128);
        if choice & 0x10 != 0 {
            pieces.reverse();
        }
        match choice >> 5 {
            1 => _ = pieces.remove(0),
            2 => _ = pieces.pop(),
            3 => pieces.extend(pieces.clone()),
            4 if pieces.len() > 1 => {
                // One lies over the one before it.
                carried.into_iter().for_each(|serial| self.world.damage(serial));
                let place = get(&pieces[1], at + 6);
                put(&mut pieces[1], at + 6, place.wrapping_sub(1));
                frames::seal_header(&mut pieces[1]);
            }
            5 if pieces.len() > 1 => {
                // Not a multiple of eight.
                carried.into_iter().for_each(|serial| self.world.damage(serial));
                if let Some(first) = pieces.first_mut() {
                    let shorter = first.len() - 3;
                    first.truncate(shorter);
                    put(first, at + 2, (shorter - at) as u16);
                    frames::seal_header(first);
                }
            }
            6 => {
                let mut number = 0;
                pieces.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
            }
            _ => {}
        }
        self.frames.append(&mut pieces);
        self.world.enter(self.worker, wire, &mut self.frames);
    }
}

/// What whoever heard a frame says back.
fn reversed(wire: Wire, frame: &[u8]) -> Option<Spec> {
    let at = network_offset(frame);
    let packet = frame.get(at..).filter(|packet| packet.len() >= 28 && packet[0] >> 4 == 4)?;
    let segment = packet.get(usize::from(packet[0] & 15) * 4..).filter(|segment| segment.len() >= 8)?;
    let protocol = packet[9];
    let mut spec = Spec {
        to_mac: frame[6..12].try_into().ok()?,
        from_mac: frame[..6].try_into().ok()?,
        vlan: wire.vlan,
        source: address(packet, 16),
        destination: address(packet, 12),
        protocol,
        source_port: get(segment, 2),
        destination_port: get(segment, 0),
        kind: 0,
        sequence: 5_000,
        acknowledgement: 0,
        segment_max: 0,
        ttl: 60,
        dont_fragment: true,
        identification: get(packet, 4),
        options: 0,
        payload: 8,
        serial: 0,
    };
    if protocol == ICMP {
        let identifier = get(segment, 4);
        spec.kind = match segment[0] {
            8 => 0,
            0 => 8,
            other => other,
        };
        (spec.source_port, spec.destination_port) = (identifier, identifier);
    }
    if protocol == TCP && segment.len() >= 20 {
        let word = |at: usize| u32::from(get(segment, at)) << 16 | u32::from(get(segment, at + 2));
        let flags = segment[13];
        let header = usize::from(segment[12] >> 4) * 4;
        let length = segment.len().saturating_sub(header) as u32 + u32::from(flags & 3 != 0);
        spec.kind = flags;
        spec.acknowledgement = word(4).wrapping_add(length);
        if flags & 0x10 != 0 {
            spec.sequence = word(8);
        }
        spec.segment_max = if flags & 2 != 0 { 1_460 } else { 0 };
    }
    Some(spec)
}

/// What its speaker would say next.
fn reverse(spec: &Spec) -> Option<Spec> {
    Some(Spec {
        to_mac: spec.from_mac,
        from_mac: spec.to_mac,
        source: spec.destination,
        destination: spec.source,
        source_port: spec.destination_port,
        destination_port: spec.source_port,
        sequence: spec.acknowledgement,
        acknowledgement: spec.sequence,
        ..*spec
    })
}
