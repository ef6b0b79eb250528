//! The gateways, in memory: one state, workers stepped in an order of the seed's, and between them rings that keep their
//! order and take their time.
//!
//! What threads would do is done by choices of a seed. A packet goes in, turns are taken until nothing is on its way, and
//! what came out is returned; ARP is answered meanwhile by everybody who is asked, since in these worlds a MAC follows from
//! an address.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nat::{
    Books, Configuration, DropReason, Gateway, Handed, SessionView, Shard, Sizes, State, WORKERS_MAX,
    WorkerIndex,
};
use packet::arp::{self, Arp, Operation};
use packet::ethernet::LinkHeader;
use packet::{Burst, MacAddress, Moment, PacketIo, Parsed, Payload, PortIndex, Sent, VlanId, testing};
use rules::compiled::Realm;
use rules::limits::REALMS_MAX;
use rules::{Numbers, RuleSet};

use crate::oracle::{Flow, Frame, Told, World, mac_of};
use crate::random::Random;
use crate::{invariants, rules_text, scene};

/// The ports' names, as rules give them.
const PORT_NAMES: [&str; 2] = ["inside", "outside"];

/// Slots of a shard are enough for every session that the worlds' few endpoints can have: what is scarce here is ports.
const SIZES: Sizes = Sizes { sessions: 4_096, shards: 4, addresses: 24 };

/// Most turns until nothing is on its way.
const TURNS_MAX: usize = 64;

/// See the file's page.
pub(crate) struct Team {
    state: Arc<State>,
    gateways: Vec<Gateway<Vec<u8>>>,
    ports: Vec<Ports>,
    /// By sender, then receiver.
    rings: Vec<Vec<VecDeque<Handed<Vec<u8>>>>>,
    rules: Arc<RuleSet>,
    numbers: Numbers,
    random: Random,
    path: PathBuf,
    directory: tempfile::TempDir,
    processes: u32,
    /// The routers' realms, by their place in the world.
    realms: Vec<Realm>,
    /// The sessions that have been told of, and when each was opened.
    known: HashMap<Flow, (Told, u64)>,
    /// How many had been opened and closed then.
    counted: [u64; 2],
    pub(crate) now_ms: u64,
}

/// Sessions that were opened and closed.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) opened: Vec<Told>,
    pub(crate) closed: Vec<Told>,
}

/// Ports of plain memory.
#[derive(Default)]
pub(crate) struct Ports {
    pub(crate) sent: Vec<(PortIndex, Vec<u8>)>,
}

impl PacketIo for Ports {
    type Frame = Vec<u8>;

    fn receive(&mut self, _: PortIndex, _: &mut Burst<Vec<u8>>) {}

    fn send(&mut self, port: PortIndex, frame: Vec<u8>) {
        self.sent.push((port, frame));
    }

    fn flush(&mut self, _: PortIndex) -> Sent {
        Sent::default()
    }

    fn allocate(&mut self) -> Option<Vec<u8>> {
        Some(Vec::new())
    }
}

impl Team {
    /// So many workers, in this world.
    pub(crate) fn new(world: &World, workers: usize, seed: u64, now_ms: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("region-0");
        let (state, shards, _) =
            State::open(&path, &SIZES, [seed, 2, 3, 4], Moment::from_ms(now_ms)).unwrap();
        let mut team = Self {
            gateways: Vec::new(),
            ports: Vec::new(),
            rings: Vec::new(),
            rules: Arc::default(),
            numbers: Numbers::new(REALMS_MAX, SIZES.addresses),
            random: Random::new(seed ^ 0x7ea3),
            state,
            path,
            directory,
            processes: 0,
            realms: Vec::new(),
            known: HashMap::new(),
            counted: [0; 2],
            now_ms,
        };
        team.begin(shards, workers);
        team.adopt(world);
        team
    }

    fn begin(&mut self, mut shards: Vec<Shard>, workers: usize) {
        // Whatever was counted was counted by others.
        self.counted = [u64::MAX; 2];
        self.state.assign(workers as u8);
        self.gateways = (0..workers)
            .map(|worker| {
                let is_own = |shard: &mut Shard| self.state.worker_of(shard.index()) == index(worker);
                let own = shards.extract_if(.., is_own).collect();
                Gateway::new(&self.state, index(worker), own, Configuration::default())
            })
            .collect();
        self.ports.resize_with(workers, Ports::default);
        self.rings = (0..workers).map(|_| (0..workers).map(|_| VecDeque::new()).collect()).collect();
    }

    /// Ends all workers as a process does that is told to, and begins with so many.
    pub(crate) fn restart(&mut self, workers: usize) {
        let shards = self.gateways.drain(..).flat_map(Gateway::into_shards).collect();
        self.begin(shards, workers);
        for gateway in &mut self.gateways {
            gateway.adopt(Arc::clone(&self.rules), Vec::new());
        }
    }

    /// Ends the process between two instructions; another takes over what lies in the region.
    pub(crate) fn crash(&mut self, world: &World, workers: usize) {
        self.processes += 1;
        // A copy: the region is locked for as long as this process lives.
        let path = self.directory.path().join(format!("region-{}", self.processes));
        copy(&self.path, &path);
        std::fs::remove_file(&self.path).unwrap();
        self.gateways.clear();
        let keys = [self.now_ms, 2, u64::from(self.processes), 4];
        // As often as here no process crashes; three in a minute would start empty.
        let (state, shards, takeover) =
            State::open(&path, &SIZES, keys, Moment::from_ms(self.now_ms)).unwrap();
        assert!(takeover.fresh.is_none(), "taken over: {takeover}");
        assert_eq!(takeover.sessions_dropped, 0, "{takeover}");
        self.path = path;
        self.numbers = state.numbers();
        self.state = state;
        self.rules = Arc::default();
        self.begin(shards, workers);
        self.adopt(world);
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.gateways.len()
    }

    /// Other rules, everywhere at once.
    pub(crate) fn adopt(&mut self, world: &World) {
        let text = rules_text::rules(world);
        let state = &self.state;
        self.numbers.release_realms(|realm| state.is_realm_in_use(realm));
        self.numbers.release_addresses(|address| state.ports_used(address) > 0);
        let fed = rules::read_rules(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let valid = rules::validate(&fed, &PORT_NAMES.map(str::to_owned));
        let valid = valid.unwrap_or_else(|faults| panic!("{faults:#?}\n{text}"));
        let compiled = rules::compile(&valid, Some(&self.rules), &mut self.numbers).unwrap();
        state.store(&self.numbers, compiled.generation);
        self.rules = Arc::new(compiled);
        // All are up at first, and keep their realms.
        if self.realms.is_empty() {
            let realm =
                |id| self.rules.routers.iter().find(|router| router.id == id).map(|router| router.realm);
            self.realms = world.routers.iter().filter_map(|router| realm(router.id)).collect();
        }
        for gateway in &mut self.gateways {
            gateway.adopt(Arc::clone(&self.rules), Vec::new());
        }
    }

    /// A packet comes in, at any worker; everything but ARP that comes of it is returned.
    pub(crate) fn send(&mut self, world: &World, frame: &Frame) -> Vec<Frame> {
        let segment = &world.segments[frame.segment];
        let mut bytes = [frame.to, frame.from].concat();
        if segment.vlan != 0 {
            bytes.extend([0x81, 0]);
            bytes.extend(segment.vlan.to_be_bytes());
        }
        bytes.extend([8, 0]);
        bytes.extend(&frame.packet);
        self.enter(segment.port, bytes);
        self.settle(world)
    }

    /// Time passes, and everybody has turns; what came of it is returned.
    pub(crate) fn pass(&mut self, world: &World, ms: u64) -> Vec<Frame> {
        self.now_ms += ms;
        self.tick();
        self.settle(world)
    }

    fn tick(&mut self) {
        let now = Moment::from_ms(self.now_ms);
        for (gateway, ports) in self.gateways.iter_mut().zip(&mut self.ports) {
            gateway.tick(now, ports);
        }
    }

    fn enter(&mut self, port: u8, bytes: Vec<u8>) {
        let worker = self.random.below(self.gateways.len());
        let mut burst: Burst<_> = [bytes].into_iter().collect();
        let now = Moment::from_ms(self.now_ms);
        self.gateways[worker].process_burst(PortIndex(port), &mut burst, now, &mut self.ports[worker]);
    }

    fn settle(&mut self, world: &World) -> Vec<Frame> {
        let mut out = Vec::new();
        for _ in 0..TURNS_MAX {
            let mut is_quiet = true;
            let first = self.random.below(self.gateways.len());
            for step in 0..self.gateways.len() {
                let worker = (first + step) % self.gateways.len();
                for (port, bytes) in self.turn(worker, &mut is_quiet) {
                    match self.hear(world, port, &bytes) {
                        Heard::Packet(frame) => out.push(frame),
                        Heard::Question(answer) => {
                            self.enter(port.0, answer);
                            is_quiet = false;
                        }
                        Heard::Nothing => {}
                    }
                }
            }
            if is_quiet {
                return out;
            }
        }
        panic!("frames go round and round");
    }

    /// A worker takes what was handed to it, sends, and hands on.
    fn turn(&mut self, worker: usize, is_quiet: &mut bool) -> Vec<(PortIndex, Vec<u8>)> {
        let now = Moment::from_ms(self.now_ms);
        for from in 0..self.gateways.len() {
            let ring = &mut self.rings[from][worker];
            if ring.is_empty() {
                continue;
            }
            // Not always all of it.
            let taken = 1 + self.random.below(ring.len().min(8));
            let mut burst: Burst<_> = ring.drain(..taken).collect();
            self.gateways[worker].process_handed(&mut burst, now, &mut self.ports[worker]);
        }
        let sent = std::mem::take(&mut self.ports[worker].sent);
        for (port, frame) in &sent {
            self.state.counters(index(worker)).sent(*port, 1, frame.len() as u64);
        }
        while let Some((to, handed)) = self.gateways[worker].outbox().pop_front() {
            self.rings[worker][usize::from(to.0)].push_back(handed);
            *is_quiet = false;
        }
        *is_quiet &= self.rings.iter().all(|ring| ring[worker].is_empty());
        self.gateways[worker].end_turn();
        sent
    }

    fn hear(&self, world: &World, port: PortIndex, bytes: &[u8]) -> Heard {
        let parsed = Parsed::read(bytes).expect("what comes out can be read");
        let vlan = parsed.vlan.map_or(0, VlanId::get);
        let is_it = |segment: &crate::oracle::Segment| (segment.port, segment.vlan) == (port.0, vlan);
        let segment =
            world.segments.iter().position(is_it).expect("what comes out is on a network of the world");
        if parsed.payload == Payload::Arp {
            let asked = arp::read(bytes, &parsed).expect("ARP that comes out can be read");
            if asked.operation != Operation::Request || asked.sender == asked.target {
                return Heard::Nothing;
            }
            let mac = MacAddress(mac_of(segment, asked.target));
            let link = LinkHeader { destination: asked.sender_mac, source: mac, vlan: parsed.vlan };
            return Heard::Question(testing::arp(
                link,
                &Arp {
                    operation: Operation::Reply,
                    sender_mac: mac,
                    sender: asked.target,
                    target_mac: asked.sender_mac,
                    target: asked.sender,
                },
            ));
        }
        Heard::Packet(Frame {
            segment,
            to: packet::ethernet::destination(bytes).0,
            from: packet::ethernet::source(bytes).0,
            packet: bytes[parsed.network_range()].to_vec(),
        })
    }

    /// Every session there is.
    pub(crate) fn sessions(&self) -> Vec<SessionView> {
        invariants::sessions(self.gateways.iter(), Moment::from_ms(self.now_ms))
    }

    /// Which sessions were opened and closed since this was asked before.
    pub(crate) fn changes(&mut self) -> Changes {
        let workers = (0..self.gateways.len()).map(|worker| self.state.counters(index(worker)));
        let counted = workers.fold([0; 2], |[opened, closed], counters| {
            [opened + counters.sessions_created.get(), closed + counters.sessions_closed.get()]
        });
        let mut changes = Changes::default();
        if counted == self.counted {
            return changes;
        }
        self.counted = counted;
        let before = std::mem::take(&mut self.known);
        for session in self.sessions() {
            let end = |end: nat::Endpoint| (end.address, end.port);
            let router = self.realms.iter().position(|realm| *realm == session.realm).expect("a router's");
            let flow = (router, session.protocol.0, end(session.internal), end(session.remote));
            let external = end(session.external);
            let told = Told { flow, segment: scene::network_of(external.0), external };
            let known = (told, self.now_ms - u64::from(session.age_ms));
            if before.get(&flow) != Some(&known) {
                changes.opened.push(told);
            }
            self.known.insert(flow, known);
        }
        let is_gone = |(flow, known): &(&Flow, &(Told, u64))| self.known.get(*flow) != Some(*known);
        changes.closed.extend(before.iter().filter(is_gone).map(|(_, (told, _))| *told));
        changes.closed.sort_unstable_by_key(|told| told.flow);
        changes
    }

    /// How often each reason to drop has been given.
    pub(crate) fn drops(&self) -> Vec<(&'static str, u64)> {
        let count =
            |reason| (0..WORKERS_MAX).map(|worker| self.state.counters(index(worker)).dropped(reason)).sum();
        DropReason::ALL.into_iter().map(|reason| (reason.name(), count(reason))).collect()
    }

    /// The books of all workers together close.
    pub(crate) fn check_books(&self) -> Result<(), String> {
        let books: Books = (0..WORKERS_MAX).map(|worker| self.state.counters(index(worker)).books()).sum();
        invariants::books(&books, 0)
    }

    /// Sessions and ports agree, but for those that are forwarded in this world, as it is at first: where a forwarding has gone,
    /// sessions stay that have taken no port. How rules that have changed share ports the oracle knows.
    pub(crate) fn check_sessions(&self, world: &World) -> Result<(), String> {
        let mut sessions = self.sessions();
        invariants::endpoints(&sessions)?;
        sessions.retain(|one| {
            let external = (one.external.address, one.external.port);
            world.forwarded_to(scene::network_of(external.0), one.protocol.0, external).is_none()
        });
        invariants::ports(&self.state, &self.rules, &sessions)
    }

    /// Nothing is left of what was.
    pub(crate) fn check_empty(&self) -> Result<(), String> {
        invariants::empty(&self.state, &self.rules)
    }
}

enum Heard {
    Packet(Frame),
    /// And the answer.
    Question(Vec<u8>),
    Nothing,
}

fn index(worker: usize) -> WorkerIndex {
    WorkerIndex(worker as u8)
}

/// Copies a file that is mostly holes.
fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}
