//! A world around the brain: ports of plain memory, hosts that answer ARP, a clock that a test turns.
//!
//! A test sends packets as its hosts would and looks at what comes out. Whatever the test is about, the world checks
//! after every step that the books close, and of every frame that came out that its checksums are right, that its tag
//! and both its MACs belong where it went, and that no private source has reached an external network.
//!
//! The brain has one worker, or as many as `NATGATE_TEST_WORKERS` says: then each frame comes in at any of them, and a step is
//! over when nothing is on its way between them.

// Two test binaries share this file, and neither uses all of it.
#![allow(dead_code, unused_imports, reason = "shared between test binaries")]

mod host;
mod inspection;
mod ports;
mod random;
mod region;
pub(crate) mod scene;
mod team;

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use nat::{
    Books, Configuration, Counter, Counters, DropReason, Occupancy, PORTS_MAX, PortBooks, SessionView, Sizes,
    WORKERS_MAX,
};
use packet::arp::{Arp, Operation};
use packet::{MacAddress, Moment, PortIndex, Protocol};
use rules::compiled::{PortRun, Realm};
use rules::limits::REALMS_MAX;
use rules::{Numbers, RuleSet};

pub(crate) use host::{Endpoint, FIRST_BYTE, Host, Icmp, Packet, Wire, mac};
pub(crate) use ports::Ports;
pub(crate) use random::Random;
pub(crate) use team::{Entrance, Team, TeamSetup, index};

/// Names of the ports, as rules give them: 0, 1 and 2.
const PORT_NAMES: [&str; 3] = ["in0", "out0", "in1"];

/// The clock starts a minute before its 32 bits of milliseconds wrap, so that every long test crosses the seam.
const START_MS: u64 = u32::MAX as u64 - 60_000;

/// How often the brain gets a turn while time passes.
const TURN_MS: u64 = 50;

/// See the file's page.
pub(crate) struct World {
    pub(crate) team: Team,
    pub(crate) now: Moment,
    /// Every ARP frame that came out, until a test takes them.
    pub(crate) heard_arp: Vec<(Wire, Arp)>,
    /// Transport checksums and neighbours' MACs are not checked: for tests whose own packets have bad ones.
    pub(crate) lenient: bool,
    rules: Arc<RuleSet>,
    numbers: Numbers,
    neighbours: HashMap<(Wire, Ipv4Addr), MacAddress>,
    silent: HashSet<(Wire, Ipv4Addr)>,
    collected: Vec<Packet>,
}

/// What a world is made with.
pub(crate) struct Setup {
    pub(crate) sessions_max: u32,
    /// Where there is to be room for other numbers of them than is usual.
    pub(crate) hosts_max: Option<u32>,
    pub(crate) mappings_max: Option<u32>,
    pub(crate) shards: u8,
    pub(crate) addresses_max: u32,
    /// By port.
    pub(crate) checks_checksums: [bool; 3],
    pub(crate) team: TeamSetup,
}

impl Default for Setup {
    fn default() -> Self {
        let workers = std::env::var("NATGATE_TEST_WORKERS").map_or(1, |workers| workers.parse().unwrap());
        Self {
            sessions_max: 8_192,
            hosts_max: None,
            mappings_max: None,
            shards: 4,
            addresses_max: 16,
            checks_checksums: [false; 3],
            team: TeamSetup {
                workers,
                entrance: Entrance::Anywhere,
                delay_max: 0,
                ring_frames_max: 1_024,
                seed: 1,
            },
        }
    }
}

impl Setup {
    /// So many sessions exactly: in one shard, or each would have its own limit.
    pub(crate) fn with_sessions(sessions_max: u32) -> Self {
        Self { sessions_max, shards: 1, ..Self::default() }
    }

    /// One worker, whatever the environment says: for what is about the work of one.
    pub(crate) fn of_one_worker() -> Self {
        Self::of_workers(1)
    }

    /// So many workers, whatever the environment says.
    pub(crate) fn of_workers(workers: usize) -> Self {
        let setup = Self::default();
        Self { team: TeamSetup { workers, ..setup.team }, ..setup }
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let usual = Sizes::new(self.sessions_max, self.shards, self.addresses_max);
        let (hosts, mappings) =
            (self.hosts_max.unwrap_or(usual.hosts), self.mappings_max.unwrap_or(usual.mappings));
        Sizes { hosts, mappings, ..usual }
    }

    pub(crate) fn configuration(&self) -> Configuration {
        let mut checks_checksums = [false; PORTS_MAX];
        checks_checksums[..3].copy_from_slice(&self.checks_checksums);
        Configuration { checks_checksums }
    }
}

impl World {
    /// A world with these rules (YAML) and these hosts.
    pub(crate) fn new(rules: &str, hosts: &[Host]) -> Self {
        Self::with(Setup::default(), rules, hosts)
    }

    /// The same, with other gateways.
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

    /// Gateways that have just started.
    pub(crate) fn without_rules(setup: Setup) -> Self {
        Self {
            team: Team::new(&setup.sizes(), &setup.configuration(), setup.team),
            now: Moment::from_ms(START_MS),
            heard_arp: Vec::new(),
            lenient: false,
            rules: Arc::default(),
            numbers: Numbers::new(REALMS_MAX, setup.addresses_max),
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
        let before = self.publish(rules);
        for worker in 0..self.team.setup.workers {
            self.adopt_at(worker, &before);
        }
        self.close_books();
    }

    /// The rules in force.
    pub(crate) fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Makes rules the world's, as the control thread does before it sends them to the workers; returns the old ones.
    pub(crate) fn publish(&mut self, rules: &str) -> Arc<RuleSet> {
        let state = &self.team.state;
        self.numbers.release_realms(|realm| state.is_realm_in_use(realm));
        self.numbers.release_addresses(|address| state.ports_used(address) > 0);
        let fed = rules::read_rules(rules).unwrap_or_else(|error| panic!("{error}\n{rules}"));
        let ports = PORT_NAMES.map(str::to_owned);
        let valid = rules::validate(&fed, &ports).unwrap_or_else(|faults| panic!("{faults:#?}\n{rules}"));
        let compiled = rules::compile(&valid, Some(&self.rules), &mut self.numbers).unwrap();
        state.store(&self.numbers, compiled.generation);
        std::mem::replace(&mut self.rules, Arc::new(compiled))
    }

    /// One worker adopts the world's rules, in place of `before`. The first announces what is new.
    pub(crate) fn adopt_at(&mut self, worker: usize, before: &RuleSet) {
        let announcements = if worker == 0 { nat::new_addresses(before, &self.rules) } else { Vec::new() };
        let gateway = &mut self.team.gateways[worker];
        let (old, _) = gateway.adopt(Arc::clone(&self.rules), announcements);
        assert_eq!(old.generation, before.generation, "the old rules come back");
        assert_eq!(gateway.generation(), self.rules.generation);
    }

    /// Ends all workers, and begins with another number of them.
    pub(crate) fn restart(&mut self, workers: usize) {
        self.team.restart(workers, &Setup::default().configuration());
        for worker in 0..workers {
            self.team.gateways[worker].adopt(Arc::clone(&self.rules), Vec::new());
        }
        self.close_books();
    }

    /// Sends a packet; returns everything but ARP that comes of it, now and once ARP is answered.
    pub(crate) fn send(&mut self, packet: Packet) -> Vec<Packet> {
        self.burst([packet])
    }

    /// Sends packets of one port: in one burst, or where there are several workers one after the other, each where it
    /// comes in, since between workers there is no order.
    pub(crate) fn burst(&mut self, packets: impl IntoIterator<Item = Packet>) -> Vec<Packet> {
        let mut answers = Vec::new();
        let mut packets = packets.into_iter().peekable();
        let port = packets.peek().unwrap().wire.port;
        if self.team.setup.workers == 1 {
            let frames =
                packets.inspect(|packet| assert_eq!(packet.wire.port, port)).map(|packet| packet.bytes);
            self.team.enter(0, PortIndex(port), &mut frames.collect(), self.now);
        } else {
            for packet in packets {
                self.enter(packet);
                self.shake(&mut answers);
            }
        }
        self.settle(answers);
        self.heard()
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
        self.all_counters().map(|counters| counters.dropped(reason)).sum()
    }

    /// New workers that have no rules yet.
    pub(crate) fn team_without_rules(&mut self) {
        let workers = self.team.setup.workers;
        let configuration = Setup::default().configuration();
        self.team.restart(workers, &configuration);
    }

    /// Lets time pass; returns what came out meanwhile, ARP aside.
    pub(crate) fn pass(&mut self, ms: u64) -> Vec<Packet> {
        let end = self.now + ms;
        while self.now < end {
            let mut answers = Vec::new();
            self.tick(TURN_MS.min(end.ms() - self.now.ms()), &mut answers);
            self.settle(answers);
        }
        self.heard()
    }

    /// Lets a little time pass: every worker does what that asks for.
    pub(crate) fn tick(&mut self, ms: u64, answers: &mut Vec<Packet>) {
        self.now = self.now + ms;
        for worker in self.team.all() {
            loop {
                let Team { gateways, ports, .. } = &mut self.team;
                let has_more = gateways[worker].tick(self.now, &mut ports[worker]);
                self.turn(worker, answers);
                if !has_more {
                    break;
                }
            }
        }
    }

    /// Lets time pass all at once, as for a worker that was kept from running, and then gives the brain a few turns.
    pub(crate) fn leap(&mut self, ms: u64) {
        self.now = self.now + ms;
        self.pass(20 * TURN_MS);
    }

    /// Everything a session listing shows, in pages.
    pub(crate) fn sessions(&self) -> Vec<SessionView> {
        let mut sessions = Vec::new();
        for gateway in &self.team.gateways {
            let mut from = Some(0);
            while let Some(slot) = from {
                let before = sessions.len();
                from = gateway.list_sessions(slot, 100, self.now, |session| sessions.push(session));
                assert!(sessions.len() - before <= 100, "a page holds no more than was asked for");
            }
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

    /// The MAC that has an external address by the rules.
    pub(crate) fn mac_of(&self, address: Ipv4Addr) -> MacAddress {
        let mut addresses = self.rules.segments.iter().filter_map(|segment| segment.addresses.get(&address));
        self.rules.interfaces[addresses.next().unwrap().interface.0 as usize].mac
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
        let numbers = self.numbers.addresses().filter(|(_, (_, numbered))| *numbered == address);
        numbers.map(|(number, _)| self.team.state.ports_used(number)).sum()
    }

    /// How many of an address' ports of a protocol are used, resting and free.
    pub(crate) fn port_books(
        &self,
        address: Ipv4Addr,
        protocol: Protocol,
        first: u16,
        last: u16,
    ) -> PortBooks {
        let numbered = self.numbers.addresses().find(|(_, (_, numbered))| *numbered == address);
        self.team.state.port_books(numbered.unwrap().0, protocol, &[PortRun { first, last }])
    }

    /// Whether no buffer is left for frames of the gateway's own.
    pub(crate) fn set_out_of_buffers(&mut self, out_of_buffers: bool) {
        self.team.ports.iter_mut().for_each(|ports| ports.out_of_buffers = out_of_buffers);
    }

    /// How full the tables are.
    pub(crate) fn occupancy(&self) -> Occupancy {
        self.team.state.occupancy()
    }

    /// A counter's sum over all workers.
    pub(crate) fn count(&self, counter: impl Fn(&Counters) -> &Counter) -> u64 {
        self.all_counters().map(|counters| counter(counters).get()).sum()
    }

    /// The books of all workers together.
    pub(crate) fn books(&self) -> Books {
        self.team.books()
    }

    fn all_counters(&self) -> impl Iterator<Item = &Counters> {
        (0..WORKERS_MAX).map(|worker| self.team.state.counters(index(worker)))
    }

    /// A frame comes in at a worker; what comes of it is on its way.
    pub(crate) fn enter(&mut self, packet: Packet) {
        let worker = self.team.entrance_of(&packet.bytes);
        self.team.enter(
            worker,
            PortIndex(packet.wire.port),
            &mut [packet.bytes].into_iter().collect(),
            self.now,
        );
    }

    /// A turn of one worker: inspects what it sends.
    pub(crate) fn turn(&mut self, worker: usize, answers: &mut Vec<Packet>) {
        self.team.take(worker, self.now);
        self.send_out(worker, answers);
    }

    /// The end of a worker's turn: inspects what it sends.
    pub(crate) fn send_out(&mut self, worker: usize, answers: &mut Vec<Packet>) {
        for (port, frame) in self.team.send_out(worker) {
            self.inspect(port, frame, answers);
        }
        self.team.close_books_of(worker);
    }

    /// Turns, until nothing is on its way between workers.
    fn shake(&mut self, answers: &mut Vec<Packet>) {
        loop {
            for worker in self.team.all() {
                self.turn(worker, answers);
            }
            self.close_books();
            if self.team.in_rings() == 0 {
                return;
            }
        }
    }

    /// Lets what is on its way arrive; answers ARP until there is nothing more to answer. Returns what came out.
    pub(crate) fn settled(&mut self) -> Vec<Packet> {
        self.settle(Vec::new());
        self.heard()
    }

    /// What has come out since it was last asked.
    pub(crate) fn heard(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.collected)
    }

    fn settle(&mut self, mut answers: Vec<Packet>) {
        self.shake(&mut answers);
        for answer in answers {
            self.enter(answer);
            self.settle(Vec::new());
        }
    }

    #[track_caller]
    fn close_books(&self) {
        self.team.close_books();
    }
}
