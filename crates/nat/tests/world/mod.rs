//! A world around the brain: ports of plain memory, hosts that answer ARP, a clock that a test turns.
//!
//! A test sends packets as its hosts would and looks at what comes out. Whatever the test is about, the world checks
//! after every step that the books close, and of every frame that came out that its checksums are right, that its tag
//! and both its MACs belong where it went, and that no private source has reached an external network.

// Two test binaries share this file, and neither uses all of it.
#![allow(dead_code, unused_imports, reason = "shared between test binaries")]

mod host;
mod ports;
pub(crate) mod scene;

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use nat::{Configuration, Counters, DropReason, Gateway, PORTS_MAX, SessionView};
use packet::arp::{self, Arp, Operation};
use packet::ethernet::LinkHeader;
use packet::{Burst, MacAddress, Moment, Parsed, Payload, PortIndex, testing};
use rules::compiled::Realm;
use rules::{Realms, RuleSet};

pub(crate) use host::{Endpoint, Host, Icmp, Packet, Wire, mac};
pub(crate) use ports::Ports;

/// Names of the ports, as rules give them: 0, 1 and 2.
const PORT_NAMES: [&str; 3] = ["in0", "out0", "in1"];

/// The clock starts a minute before its 32 bits of milliseconds wrap, so that every long test crosses the seam.
const START_MS: u64 = u32::MAX as u64 - 60_000;

/// How often the brain gets a turn while time passes.
const TURN_MS: u64 = 50;

/// See the file's page.
pub(crate) struct World {
    pub(crate) gateway: Gateway<Vec<u8>>,
    pub(crate) ports: Ports,
    pub(crate) now: Moment,
    /// Every ARP frame that came out, until a test takes them.
    pub(crate) heard_arp: Vec<(Wire, Arp)>,
    /// Transport checksums and neighbours' MACs are not checked: for tests whose own packets have bad ones.
    pub(crate) lenient: bool,
    counters: Arc<Counters>,
    rules: Arc<RuleSet>,
    realms: Realms,
    neighbours: HashMap<(Wire, Ipv4Addr), MacAddress>,
    silent: HashSet<(Wire, Ipv4Addr)>,
    collected: Vec<Packet>,
}

/// What a world is made with.
pub(crate) struct Setup {
    pub(crate) sessions_max: u32,
    /// By port.
    pub(crate) checks_checksums: [bool; 3],
}

impl Default for Setup {
    fn default() -> Self {
        Self { sessions_max: 4_096, checks_checksums: [false; 3] }
    }
}

impl World {
    /// A world with these rules (YAML) and these hosts.
    pub(crate) fn new(rules: &str, hosts: &[Host]) -> Self {
        Self::with(Setup::default(), rules, hosts)
    }

    /// The same, with another gateway.
    pub(crate) fn with(setup: Setup, rules: &str, hosts: &[Host]) -> Self {
        let mut world = Self::without_rules(setup);
        for host in hosts {
            world.add(*host);
        }
        world.adopt(rules);
        world.pass(100);
        world.heard_arp.clear();
        world
    }

    /// A gateway that has just started.
    pub(crate) fn without_rules(setup: Setup) -> Self {
        let counters = Arc::<Counters>::default();
        let mut checks_checksums = [false; PORTS_MAX];
        checks_checksums[..3].copy_from_slice(&setup.checks_checksums);
        let configuration =
            Configuration { sessions_max: setup.sessions_max, seed: [1, 2, 3, 4], checks_checksums };
        Self {
            gateway: Gateway::new(configuration, Arc::clone(&counters)),
            ports: Ports::default(),
            now: Moment::from_ms(START_MS),
            heard_arp: Vec::new(),
            lenient: false,
            counters,
            rules: Arc::default(),
            realms: Realms::default(),
            neighbours: HashMap::new(),
            silent: HashSet::new(),
            collected: Vec::new(),
        }
    }

    /// Puts a host on its wire: it answers ARP from now on.
    pub(crate) fn add(&mut self, host: Host) {
        self.neighbours.insert((host.wire, host.address), host.mac);
    }

    /// From now on the host answers no ARP.
    pub(crate) fn silence(&mut self, host: Host) {
        self.silent.insert((host.wire, host.address));
    }

    /// From now on the host answers ARP again.
    pub(crate) fn unsilence(&mut self, host: Host) {
        self.silent.remove(&(host.wire, host.address));
    }

    /// Reads, validates, compiles and adopts rules; announcements follow with the next turns.
    pub(crate) fn adopt(&mut self, rules: &str) {
        let fed = rules::read_rules(rules).unwrap_or_else(|error| panic!("{error}\n{rules}"));
        let ports = PORT_NAMES.map(str::to_owned);
        let valid = rules::validate(&fed, &ports).unwrap_or_else(|faults| panic!("{faults:#?}\n{rules}"));
        let compiled = rules::compile(&valid, Some(&self.rules), &mut self.realms).unwrap();
        let compiled = Arc::new(compiled);
        let announcements = nat::new_addresses(&self.rules, &compiled);
        let (old, _) = self.gateway.adopt(Arc::clone(&compiled), announcements);
        assert_eq!(old.generation, self.rules.generation, "the old rules come back");
        assert_eq!(self.gateway.generation(), compiled.generation);
        self.rules = compiled;
        self.close_books();
    }

    /// Sends a packet; returns everything but ARP that comes of it, now and once ARP is answered.
    pub(crate) fn send(&mut self, packet: Packet) -> Vec<Packet> {
        self.burst([packet])
    }

    /// Sends packets of one port in one burst.
    pub(crate) fn burst(&mut self, packets: impl IntoIterator<Item = Packet>) -> Vec<Packet> {
        let mut frames = Burst::new();
        let mut port = None;
        for packet in packets {
            assert_eq!(*port.get_or_insert(packet.wire.port), packet.wire.port, "a burst is of one port");
            frames.push(packet.bytes);
        }
        self.receive(PortIndex(port.unwrap()), frames);
        std::mem::take(&mut self.collected)
    }

    /// Sends a packet of which exactly one packet comes.
    #[track_caller]
    pub(crate) fn one(&mut self, packet: Packet) -> Packet {
        let sent = packet.clone();
        let (drops, mut packets) = self.observe(|world| world.send(packet));
        assert_eq!((packets.len(), drops.as_slice()), (1, [].as_slice()), "of {sent:?} came {packets:?}");
        packets.remove(0)
    }

    /// Sends a packet that is dropped without a word, for exactly this reason.
    #[track_caller]
    pub(crate) fn drops(&mut self, packet: Packet, reason: DropReason) {
        let sent = packet.clone();
        let (drops, packets) = self.observe(|world| world.send(packet));
        assert_eq!((drops.as_slice(), packets), ([reason].as_slice(), vec![]), "of {sent:?}");
    }

    /// Sends a packet that is dropped for exactly this reason, and returns what its source is told.
    #[track_caller]
    pub(crate) fn refuses(&mut self, packet: Packet, reason: DropReason) -> Packet {
        let sent = packet.clone();
        let (drops, mut packets) = self.observe(|world| world.send(packet));
        assert_eq!((drops.as_slice(), packets.len()), ([reason].as_slice(), 1), "of {sent:?}: {packets:?}");
        packets.remove(0)
    }

    /// Does something, and tells also which drops it caused.
    pub(crate) fn observe<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> (Vec<DropReason>, T) {
        let before = DropReason::ALL.map(|reason| self.dropped(reason));
        let result = act(self);
        let mut drops = Vec::new();
        for (reason, before) in DropReason::ALL.into_iter().zip(before) {
            drops.extend((before..self.dropped(reason)).map(|_| reason));
        }
        (drops, result)
    }

    /// How many frames were dropped for `reason`.
    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.dropped(reason)
    }

    /// Lets time pass; returns what came out meanwhile, ARP aside.
    pub(crate) fn pass(&mut self, ms: u64) -> Vec<Packet> {
        let end = self.now + ms;
        while self.now < end {
            self.now = (self.now + TURN_MS).min(end);
            self.gateway.tick(self.now, &mut self.ports);
            self.settle();
        }
        std::mem::take(&mut self.collected)
    }

    /// Lets time pass all at once, as for a worker that was kept from running, and then gives the brain a few turns.
    pub(crate) fn leap(&mut self, ms: u64) {
        self.now = self.now + ms;
        self.pass(20 * TURN_MS);
    }

    /// Everything a session listing shows, in pages.
    pub(crate) fn sessions(&self) -> Vec<SessionView> {
        let mut sessions = Vec::new();
        let mut from = Some(0);
        while let Some(slot) = from {
            let before = sessions.len();
            from = self.gateway.list_sessions(slot, 100, self.now, |session| sessions.push(session));
            assert!(sessions.len() - before <= 100, "a page holds no more than was asked for");
        }
        sessions
    }

    /// The one session there is.
    #[track_caller]
    pub(crate) fn session(&self) -> SessionView {
        let sessions = self.sessions();
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        sessions[0]
    }

    /// The MAC that answers a host that asks who has an address, if any does.
    pub(crate) fn who_has(&mut self, asker: Host, address: Ipv4Addr) -> Option<MacAddress> {
        let asked = self.heard_arp.len();
        let collected = self.burst([asker.asks_for(address)]);
        assert_eq!(collected, []);
        let answers: Vec<_> = self.heard_arp.drain(asked..).collect();
        let answer = answers.iter().find(|(_, arp)| arp.operation == Operation::Reply);
        answer.map(|(wire, arp)| {
            assert_eq!((*wire, arp.sender), (asker.wire, address), "the answer names the address");
            assert_eq!((arp.target, arp.target_mac), (asker.address, asker.mac), "and goes to the asker");
            arp.sender_mac
        })
    }

    /// The internal realm of the router that a host speaks to, while there is one.
    pub(crate) fn realm_of(&self, host: Host) -> Option<Realm> {
        let segment = self.rules.segment_of(PortIndex(host.wire.port), host.wire.vlan)?;
        let interface = self.rules.segments[segment.0 as usize].interfaces.get(&host.via)?;
        let router = self.rules.interfaces[interface.0 as usize].router;
        Some(self.rules.routers[router.0 as usize].realm)
    }

    /// External ports in use or in hold-down on an address, on whatever external network.
    pub(crate) fn ports_used(&self, address: Ipv4Addr) -> u32 {
        self.rules.segments.iter().map(|segment| self.gateway.ports_used(segment.realm, address)).sum()
    }

    /// The counters, and the books of them.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    fn receive(&mut self, port: PortIndex, mut frames: Burst<Vec<u8>>) {
        self.gateway.process_burst(port, &mut frames, self.now, &mut self.ports);
        assert!(frames.is_empty(), "a burst is carried whole");
        self.settle();
    }

    /// Collects what has come out, as a worker's flush does; answers ARP until there is nothing more to answer.
    fn settle(&mut self) {
        let mut answers = Vec::new();
        for (port, frame) in self.ports.flush_into(&self.counters) {
            self.inspect(port, frame, &mut answers);
        }
        self.close_books();
        for answer in answers {
            self.receive(PortIndex(answer.wire.port), [answer.bytes].into_iter().collect());
        }
    }

    fn inspect(&mut self, port: PortIndex, frame: Vec<u8>, answers: &mut Vec<Packet>) {
        let parsed = Parsed::read(&frame).unwrap();
        let wire = Wire { port: port.0, vlan: parsed.vlan };
        self.check_link(&frame, wire);
        if parsed.payload == Payload::Arp {
            let arp = arp::read(&frame, &parsed).unwrap();
            answers.extend(self.answer(wire, &arp));
            self.heard_arp.push((wire, arp));
            return;
        }
        if !self.lenient {
            testing::assert_checksums(&frame);
        }
        let packet = Packet { wire, bytes: frame };
        self.check_no_private_source(&packet);
        self.collected.push(packet);
    }

    fn answer(&self, wire: Wire, asked: &Arp) -> Option<Packet> {
        let place = (wire, asked.target);
        let mac = *self.neighbours.get(&place).filter(|_| !self.silent.contains(&place))?;
        let is_question = asked.operation == Operation::Request && asked.sender != asked.target;
        is_question.then(|| Packet {
            wire,
            bytes: testing::arp(
                LinkHeader { destination: asked.sender_mac, source: mac, vlan: wire.vlan },
                &Arp {
                    operation: Operation::Reply,
                    sender_mac: mac,
                    sender: asked.target,
                    target_mac: asked.sender_mac,
                    target: asked.sender,
                },
            ),
        })
    }

    /// The frame is from an interface of ours on the network it went to, and to a neighbour there or to all.
    fn check_link(&self, frame: &[u8], wire: Wire) {
        let (destination, source) = (packet::ethernet::destination(frame), packet::ethernet::source(frame));
        let segment = self.rules.segment_of(PortIndex(wire.port), wire.vlan);
        let segment =
            &self.rules.segments[segment.expect("a frame goes to a network of the rules").0 as usize];
        assert!(segment.interfaces.contains_key(&source), "{source} is ours on {}", segment.id);
        let is_there = self.neighbours.iter().any(|((at, _), mac)| *at == wire && *mac == destination);
        assert!(
            self.lenient || destination == MacAddress::BROADCAST || is_there,
            "{destination} is on {}",
            segment.id
        );
    }

    /// From a router that translates, no private address is seen outside but towards destinations that are exempt.
    fn check_no_private_source(&self, packet: &Packet) {
        let segment = self.rules.segment_of(PortIndex(packet.wire.port), packet.wire.vlan).unwrap();
        let interfaces = &self.rules.segments[segment.0 as usize].interfaces;
        let interface = interfaces[&packet::ethernet::source(&packet.bytes)];
        let interface = &self.rules.interfaces[interface.0 as usize];
        let router = &self.rules.routers[interface.router.0 as usize];
        if !interface.external || router.is_no_nat(packet.destination().0) {
            return;
        }
        assert!(!packet.source().0.is_private(), "a private source went out: {packet:?}");
        // What an error of ours quotes came from there; what a tenant's error quotes has been translated.
        if let Some((_, destination)) = packet.quoted() {
            assert!(!destination.is_private(), "a private address went out, quoted: {packet:?}");
        }
    }

    #[track_caller]
    fn close_books(&self) {
        let books = self.counters.books();
        assert_eq!(books.balance(), 0, "the books close: {books:?}");
    }
}
