//! A gateway of one or more workers, the wires around it, and what must hold of everything that comes out.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

use hashbrown::HashSet;
use nat::{
    Configuration, Counters, DropReason, Gateway, Handed, PORTS_MAX, Shard, Sizes, State, WorkerIndex,
};
use packet::{Burst, Frame, MacAddress, Moment, NoRoom, PacketIo, PortIndex, Sent};
use rules::{Numbers, RuleSet};

use crate::frames::{self, address};
use crate::outcome::Outcome;
use crate::scene::{self, Wire};

/// Frames of the past that are remembered, to be answered or sent again.
const REMEMBERED: usize = 32;

/// A frame whose buffer may have no headroom.
pub(crate) struct Buffer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) has_headroom: bool,
}

impl Frame for Buffer {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn grow_front(&mut self, count: usize) -> Result<(), NoRoom> {
        if self.has_headroom { self.bytes.grow_front(count) } else { Err(NoRoom) }
    }

    fn shrink_front(&mut self, count: usize) {
        self.bytes.shrink_front(count);
    }

    fn resize(&mut self, length: usize) -> Result<(), NoRoom> {
        Vec::resize(&mut self.bytes, length, 0);
        Ok(())
    }
}

/// What a worker sends to.
#[derive(Default)]
pub(crate) struct Ports {
    sent: Vec<(PortIndex, Buffer)>,
    is_out_of_buffers: bool,
}

impl Ports {
    /// Shows what was sent, in order, and counts it as a worker does.
    pub(crate) fn flush_into(&mut self, counters: &Counters, mut show: impl FnMut(PortIndex, &[u8])) {
        for (port, frame) in self.sent.drain(..) {
            counters.sent(port, 1, frame.bytes.len() as u64);
            show(port, &frame.bytes);
        }
    }
}

impl PacketIo for Ports {
    type Frame = Buffer;

    fn receive(&mut self, _: PortIndex, _: &mut Burst<Buffer>) {}

    fn send(&mut self, port: PortIndex, frame: Buffer) {
        self.sent.push((port, frame));
    }

    fn flush(&mut self, _: PortIndex) -> Sent {
        Sent::default()
    }

    fn allocate(&mut self) -> Option<Buffer> {
        (!self.is_out_of_buffers).then(|| Buffer { bytes: Vec::new(), has_headroom: true })
    }
}

/// Who sent a packet, by its serial number.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) tenant: u8,
    pub(crate) ttl: u8,
    /// Its bytes were changed after its checksums were made.
    pub(crate) is_damaged: bool,
}

/// Frames that were seen, and where; the oldest is forgotten.
#[derive(Default)]
pub(crate) struct Remembered {
    frames: Vec<(usize, Vec<u8>)>,
    next: usize,
}

impl Remembered {
    fn add(&mut self, wire: usize, frame: &[u8]) {
        if self.frames.len() < REMEMBERED {
            self.frames.push((wire, frame.to_vec()));
        } else {
            let (at, bytes) = &mut self.frames[self.next];
            *at = wire;
            bytes.clear();
            bytes.extend_from_slice(frame);
            self.next = (self.next + 1) % REMEMBERED;
        }
    }

    /// The one that came `back` before the last.
    pub(crate) fn recent(&self, back: usize) -> Option<(Wire, &[u8])> {
        let count = self.frames.len();
        if count == 0 {
            return None;
        }
        // Where the next one goes; the last one is before it.
        let next = if count < REMEMBERED { count } else { self.next };
        let (wire, bytes) = self.frames.get((next + count - 1 - back % count) % count)?;
        Some((scene::WIRES[*wire], bytes))
    }
}

/// How an input begins.
pub(crate) struct Setup {
    pub(crate) workers: usize,
    pub(crate) sessions: u32,
    pub(crate) shards: u8,
    pub(crate) checks_checksums: bool,
}

/// See the file's page.
pub(crate) struct World<'a> {
    pub(crate) outcome: &'a mut Outcome,
    pub(crate) now: Moment,
    pub(crate) heard: Remembered,
    pub(crate) said: Remembered,
    pub(crate) origins: Vec<Origin>,
    /// Neighbours that answer no ARP, a bit each.
    pub(crate) silent: u16,
    /// Frames that a ring between workers holds.
    pub(crate) ring_frames_max: usize,
    /// Frames that the ports refuse from now on.
    pub(crate) refused: usize,
    pub(crate) has_headroom: bool,
    /// What the next features are told apart by.
    pub(crate) act: u32,
    state: Arc<State>,
    gateways: Vec<Gateway<Buffer>>,
    ports: Vec<Ports>,
    rings: Vec<VecDeque<Handed<Buffer>>>,
    rules: Arc<RuleSet>,
    numbers: Numbers,
    configuration: Configuration,
    drops: [u64; DropReason::ALL.len()],
    /// Internal endpoints that have sent something: tenant, protocol, address, port.
    spoken: HashSet<(u8, u8, Ipv4Addr, u16)>,
    /// Some frame had its bytes changed.
    is_damaged: bool,
    questions: Vec<(usize, Vec<u8>)>,
    /// Frames that may come out until the next check of how many did.
    allowed: usize,
    /// The length of the longest frame that came in.
    longest: usize,
}

impl<'a> World<'a> {
    pub(crate) fn new(setup: &Setup, outcome: &'a mut Outcome) -> Self {
        let sizes = Sizes::new(setup.sessions, setup.shards, scene::ADDRESSES_MAX);
        let (state, shards) = State::anonymous(&sizes, [1, 2, 3, 4]).unwrap();
        let configuration = Configuration { checks_checksums: [setup.checks_checksums; PORTS_MAX] };
        let mut world = Self {
            outcome,
            // So that long inputs cross the wrap of the milliseconds.
            now: Moment::from_ms(u64::from(u32::MAX) - 60_000),
            heard: Remembered::default(),
            said: Remembered::default(),
            origins: Vec::new(),
            silent: 0,
            ring_frames_max: 64,
            refused: 0,
            has_headroom: true,
            act: 0,
            state,
            gateways: Vec::new(),
            ports: Vec::new(),
            rings: Vec::new(),
            rules: Arc::default(),
            numbers: Numbers::new(rules::limits::REALMS_MAX, scene::ADDRESSES_MAX),
            configuration,
            drops: [0; _],
            spoken: HashSet::new(),
            is_damaged: false,
            questions: Vec::new(),
            allowed: 0,
            longest: 0,
        };
        world.staff(shards, setup.workers);
        world
    }

    pub(crate) fn workers(&self) -> usize {
        self.gateways.len()
    }

    /// Ends all workers, and begins with so many.
    pub(crate) fn restart(&mut self, workers: usize) {
        self.settle();
        let shards = self.gateways.drain(..).flat_map(Gateway::into_shards).collect();
        self.staff(shards, workers);
        for worker in 0..workers {
            self.adopt(worker);
        }
        self.settle();
    }

    fn staff(&mut self, mut shards: Vec<Shard>, workers: usize) {
        let Self { state, configuration, .. } = self;
        state.assign(workers as u8);
        self.gateways.extend((0..workers).map(|worker| {
            let worker = index(worker);
            let own = shards.extract_if(.., |shard| state.worker_of(shard.index()) == worker).collect();
            Gateway::new(state, worker, own, configuration.clone())
        }));
        self.ports.resize_with(workers, Ports::default);
        self.rings.resize_with(workers * workers, VecDeque::new);
    }

    /// Compiles a variant of the rules; workers adopt it one by one.
    pub(crate) fn publish(&mut self, number: usize) {
        let state = &self.state;
        if self.rules.generation == 0 {
            (self.rules, self.numbers) = scene::with_rules(number, scene::Prepared::first);
        } else {
            self.numbers.release_realms(|realm| state.is_realm_in_use(realm));
            self.numbers.release_addresses(|address| state.ports_used(address) > 0);
            let compiled = scene::with_rules(number, |rules| rules.after(&self.rules, &mut self.numbers));
            let Some(compiled) = compiled else { return };
            self.rules = Arc::new(compiled);
        }
        self.state.store(&self.numbers, self.rules.generation);
    }

    pub(crate) fn adopt(&mut self, worker: usize) {
        self.gateways[worker].adopt(Arc::clone(&self.rules), Vec::new());
    }

    pub(crate) fn set_out_of_buffers(&mut self, is_out_of_buffers: bool) {
        self.ports.iter_mut().for_each(|ports| ports.is_out_of_buffers = is_out_of_buffers);
    }

    /// Time passes, and every worker has a turn.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = self.now + ms;
        for (gateway, ports) in self.gateways.iter_mut().zip(&mut self.ports) {
            while gateway.tick(self.now, ports) {}
        }
        // Resets of idle connections, and questions for neighbours.
        self.allowed += 512 * self.gateways.len();
        self.settle();
    }

    /// Notes that an internal endpoint has sent something.
    pub(crate) fn speaks(&mut self, tenant: u8, protocol: u8, address: Ipv4Addr, port: u16) {
        self.spoken.insert((tenant, protocol, address, port));
    }

    /// A new packet's serial number.
    pub(crate) fn serial(&mut self, origin: Origin) -> u16 {
        self.is_damaged |= origin.is_damaged;
        self.origins.push(origin);
        (self.origins.len() - 1) as u16
    }

    pub(crate) fn damage(&mut self, serial: u16) {
        self.is_damaged = true;
        if let Some(origin) = self.origins.get_mut(usize::from(serial)) {
            origin.is_damaged = true;
        }
    }

    /// Frames come in at a worker.
    pub(crate) fn enter(&mut self, worker: usize, wire: Wire, frames: &mut Vec<Vec<u8>>) {
        let place = scene::WIRES.iter().position(|one| *one == wire).unwrap_or(0);
        let worker = worker % self.workers();
        while !frames.is_empty() {
            let count = frames.len().min(packet::BURST_FRAMES_MAX);
            let has_headroom = self.has_headroom;
            let mut allowed = 0;
            let mut burst: Burst<Buffer> = frames
                .drain(..count)
                .inspect(|frame| {
                    self.said.add(place, frame);
                    self.longest = self.longest.max(frame.len());
                    allowed += come_of(frame.len());
                })
                .map(|bytes| Buffer { bytes, has_headroom })
                .collect();
            self.outcome.packets += count as u64;
            self.allowed += allowed;
            let ports = &mut self.ports[worker];
            self.gateways[worker].process_burst(PortIndex(wire.port), &mut burst, self.now, ports);
            assert!(burst.is_empty(), "a burst is carried whole");
        }
    }

    /// One worker's turn.
    pub(crate) fn turn(&mut self, worker: usize) {
        let (workers, now) = (self.workers(), self.now);
        let worker = worker % workers;
        for from in 0..workers {
            let ring = &mut self.rings[from * workers + worker];
            let count = ring.len().min(packet::BURST_FRAMES_MAX);
            if count > 0 {
                let mut handed: Burst<Handed<Buffer>> = ring.drain(..count).collect();
                self.gateways[worker].process_handed(&mut handed, now, &mut self.ports[worker]);
            }
        }
        self.send_out(worker);
        while let Some((to, handed)) = self.gateways[worker].outbox().pop_front() {
            let ring = &mut self.rings[worker * workers + usize::from(to.0)];
            if ring.len() >= self.ring_frames_max {
                self.gateways[worker].refused(handed);
            } else {
                ring.push_back(handed);
            }
        }
        self.gateways[worker].end_turn();
        let books = self.state.counters(index(worker)).books();
        assert_eq!(books.balance(), 0, "the books of worker {worker} close: {books:?}");
    }

    fn send_out(&mut self, worker: usize) {
        let sent = std::mem::take(&mut self.ports[worker].sent);
        for (port, frame) in &sent {
            if self.refused > 0 {
                self.refused -= 1;
                self.state.counters(index(worker)).refused(1);
                continue;
            }
            self.state.counters(index(worker)).sent(*port, 1, frame.bytes.len() as u64);
            self.inspect(port.0, &frame.bytes);
        }
        // Its memory is used again.
        let mut sent = sent;
        sent.clear();
        self.ports[worker].sent = sent;
    }

    /// Turns, until nothing is on its way between workers and every question of the gateway's is answered.
    pub(crate) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 200, "frames go round for ever");
            let workers = self.workers();
            (0..workers).for_each(|worker| self.turn(worker));
            let is_quiet = self.rings.iter().all(VecDeque::is_empty);
            let mut questions = std::mem::take(&mut self.questions);
            if is_quiet && questions.is_empty() {
                break;
            }
            for (wire, answer) in questions.drain(..) {
                self.allowed += come_of(answer.len());
                let mut burst = [Buffer { bytes: answer, has_headroom: true }].into_iter().collect();
                let port = PortIndex(scene::WIRES[wire].port);
                self.gateways[0].process_burst(port, &mut burst, self.now, &mut self.ports[0]);
            }
        }
        self.note_drops();
        // What waits for a neighbour, or for the first of its fragments, goes on later.
        let counters = (0..nat::WORKERS_MAX as u8).map(|worker| self.state.counters(index(worker.into())));
        let held: u64 = counters.map(|counters| counters.held.get()).sum();
        self.allowed = held as usize * come_of(self.longest);
    }

    fn note_drops(&mut self) {
        for reason in DropReason::ALL {
            let at = reason as usize;
            let dropped: u64 = (0..4).map(|worker| self.state.counters(index(worker)).dropped(reason)).sum();
            let new = dropped - self.drops[at];
            if new > 0 {
                self.drops[at] = dropped;
                self.outcome.drops[at] += new;
                self.outcome.reach(1, self.act << 8 | at as u32);
                self.outcome.reach(2, (at as u32) << 8 | dropped.ilog2());
            }
        }
    }

    /// Whatever is sent must hold what the page says.
    fn inspect(&mut self, port: u8, frame: &[u8]) {
        assert!(self.allowed > 0, "more frames came out than may");
        self.allowed -= 1;
        let parsed = packet::Parsed::read(frame).unwrap();
        let vlan = parsed.vlan.map_or(0, packet::VlanId::get);
        let place = scene::WIRES.iter().position(|wire| (wire.port, wire.vlan) == (port, vlan));
        let place = place.expect("a frame goes to a network of the rules");
        let wire = scene::WIRES[place];
        match parsed.payload {
            packet::Payload::Arp => return self.hear_arp(place, frame, &parsed),
            packet::Payload::Other => panic!("neither IPv4 nor ARP came out: {frame:02x?}"),
            packet::Payload::Ipv4 => {}
        }
        let ip = &frame[usize::from(parsed.network_offset)..];
        let origin = frames::marked(payload_of(ip, &parsed))
            .and_then(|serial| self.origins.get(usize::from(serial)).copied());
        let is_whole = origin.map_or(!self.is_damaged, |origin| !origin.is_damaged);
        if let Err(wrong) = frames::judge(&ip[..usize::from(parsed.total_length)], is_whole) {
            panic!("{wrong}: {frame:02x?}");
        }
        let (kind, is_icmp) = (parsed.icmp_type, parsed.protocol.0 == frames::ICMP);
        let is_error = is_icmp && frames::is_error(kind);
        self.check_no_private_source(wire, &parsed, is_error.then(|| &ip[28..]));
        // Behind the first fragment of a message the mark may be that of a packet which an error quotes.
        let may_quote = is_error || is_icmp && parsed.fragment == packet::Fragment::Later;
        if let Some(origin) = origin.filter(|origin| !origin.is_damaged && !may_quote) {
            let is_answer = is_icmp && kind == 0 && origin.tenant == wire.tenant;
            assert!(is_answer || parsed.ttl < origin.ttl, "a TTL that did not fall: {frame:02x?}");
            self.check_tenants(wire, origin, &parsed, frame);
        }
        let details = if is_icmp { u32::from(kind) } else { u32::from(parsed.tcp_flags & 7) };
        self.outcome
            .reach(3, self.act << 16 | u32::from(parsed.protocol.0 & 31) << 11 | details << 3 | place as u32);
        self.outcome.forwarded += u64::from(!(is_icmp && self.is_ours(&parsed)));
        self.heard.add(place, frame);
    }

    /// Whether the gateway itself says it.
    fn is_ours(&self, parsed: &packet::Parsed) -> bool {
        let [a, _, c, d] = parsed.source.octets();
        parsed.icmp_type != 8 && (a == 10 && d == 1 || (c == 113 || c == 0) && matches!(d, 2 | 3))
    }

    fn check_no_private_source(&self, wire: Wire, parsed: &packet::Parsed, quote: Option<&[u8]>) {
        if wire.tenant != 0 || scene::is_exempt(parsed.destination) {
            return;
        }
        assert!(!parsed.source.is_private(), "a private source went out: {parsed:?}");
        if let Some(quote) = quote.filter(|quote| quote.len() >= 20 && !self.is_damaged) {
            let (from, to) = (address(quote, 12), address(quote, 16));
            assert!(!to.is_private(), "a private address went out, quoted: {from} -> {to} in {parsed:?}");
        }
    }

    /// A tenant hears from others only what went by an external address, and an endpoint that never spoke only what is
    /// meant for it by the rules.
    fn check_tenants(&self, wire: Wire, origin: Origin, parsed: &packet::Parsed, frame: &[u8]) {
        if wire.tenant == 0 || wire.tenant == origin.tenant {
            return;
        }
        assert!(origin.tenant == 0 || !parsed.source.is_private(), "tenants met: {frame:02x?}");
        let is_open = scene::is_published(parsed.destination)
            || scene::is_exempt(parsed.source)
            || parsed.destination == Ipv4Addr::new(10, 0, 1, 11);
        let has_port = matches!(parsed.protocol.0, frames::TCP | frames::UDP | frames::ICMP)
            && parsed.fragment != packet::Fragment::Later;
        let endpoint = (wire.tenant, parsed.protocol.0, parsed.destination, parsed.destination_port);
        assert!(
            is_open || !has_port || self.is_damaged || self.spoken.contains(&endpoint),
            "somebody hears what it never asked for: {frame:02x?}"
        );
    }

    fn hear_arp(&mut self, place: usize, frame: &[u8], parsed: &packet::Parsed) {
        let arp = packet::arp::read(frame, parsed).expect("its ARP is readable");
        self.outcome.reach(4, place as u32);
        let neighbour = scene::neighbours()
            .enumerate()
            .find(|(_, host)| host.wire == scene::WIRES[place] && host.address == arp.target);
        let Some((number, host)) = neighbour else { return };
        if arp.operation == packet::arp::Operation::Request && self.silent >> number & 1 == 0 {
            let link = packet::ethernet::LinkHeader {
                destination: arp.sender_mac,
                source: MacAddress(host.mac),
                vlan: packet::VlanId::new(host.wire.vlan),
            };
            let answer = packet::arp::Arp {
                operation: packet::arp::Operation::Reply,
                sender_mac: MacAddress(host.mac),
                sender: host.address,
                target_mac: arp.sender_mac,
                target: arp.sender,
            };
            let mut bytes = Vec::new();
            packet::arp::write(&mut bytes, link, &answer).unwrap();
            self.questions.push((place, bytes));
        }
    }

    /// The last turns, the books of all, and what the tables came to.
    pub(crate) fn end(&mut self) {
        self.settle();
        let workers = self.workers() as u8;
        let all = (0..nat::WORKERS_MAX as u8).map(|worker| self.state.counters(WorkerIndex(worker)));
        let books: nat::Books = all.map(nat::Counters::books).sum();
        assert_eq!((books.balance(), books.in_rings()), (0, 0), "the books close: {books:?}");
        let occupancy = self.state.occupancy();
        let full = [occupancy.sessions, occupancy.mappings, occupancy.hosts, occupancy.permissions];
        for (at, count) in (0_u32..).zip(full) {
            self.outcome.reach(5, at << 8 | count.checked_ilog2().map_or(0, |log| log + 1));
        }
        let counters = (0..workers).map(|worker| self.state.counters(WorkerIndex(worker)));
        let (mut across, mut unmade) = (0, 0);
        for counters in counters {
            across += counters.hairpins_across_shards.get();
            unmade += counters.unmade.get();
        }
        self.outcome.reach(6, across.checked_ilog2().map_or(0, |log| log + 1));
        self.outcome.reach(7, unmade.checked_ilog2().map_or(0, |log| log + 1));
    }
}

/// The most frames that come of one: it goes on, in the pieces that the smallest MTU of the rules needs where all of a header's
/// room is used; it is answered; and a neighbour is asked for.
fn come_of(length: usize) -> usize {
    let piece = (scene::MTU_MIN - 60) / 8 * 8;
    length.div_ceil(piece).min(packet::fragment::PIECES_MAX) + 2
}

fn index(worker: usize) -> WorkerIndex {
    WorkerIndex(worker as u8)
}

/// What is behind a packet's headers: what looks like a mark before it is none.
fn payload_of<'a>(ip: &'a [u8], parsed: &packet::Parsed) -> &'a [u8] {
    let header = match parsed.protocol.0 {
        _ if parsed.fragment == packet::Fragment::Later => 0,
        frames::TCP => parsed.tcp_header_length.into(),
        frames::UDP | frames::ICMP => 8,
        _ => 0,
    };
    let from = usize::from(parsed.transport_offset - parsed.network_offset) + header;
    ip.get(from..usize::from(parsed.total_length)).unwrap_or_default()
}
