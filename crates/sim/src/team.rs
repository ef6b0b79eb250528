//! The gateways, in memory: one state, workers stepped in an order of the seed's, and between them rings that keep their
//! order and take their time.
//!
//! What threads would do is done by choices of a seed. A packet goes in, turns are taken until nothing is on its way, and
//! what came out is returned; ARP is answered meanwhile by everybody who is asked, since in these worlds a MAC follows from
//! an address.

use std::collections::HashMap;

use nat::{DropReason, SessionView, Sizes};
use packet::arp::{self, Arp, Operation};
use packet::ethernet::LinkHeader;
use packet::{MacAddress, Moment, Parsed, Payload, PortIndex, VlanId, testing};
use rules::compiled::Realm;

use crate::crew::{Crew, PORT_NAMES};
use crate::oracle::{Flow, Frame, Told, World, mac_of};
use crate::random::Random;
use crate::{invariants, rules_text, scene};

/// Slots of a shard are enough for every session that the worlds' few endpoints can have: what is scarce here is ports.
const SIZES: Sizes = Sizes::new(4_096, 4, 24);

/// So that the first that is counted is a change: whatever was counted before was counted by others.
const NOTHING_COUNTED: [u64; 2] = [u64::MAX; 2];

/// Most turns until nothing is on its way.
const TURNS_MAX: usize = 64;

/// See the file's page.
pub(crate) struct Team {
    crew: Crew,
    random: Random,
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

impl Team {
    /// So many workers, in this world.
    pub(crate) fn new(world: &World, workers: usize, seed: u64, now_ms: u64) -> Self {
        let mut team = Self {
            crew: Crew::new(&SIZES, [seed, 2, 3, 4], Moment::from_ms(now_ms), workers),
            random: Random::new(seed ^ 0x7ea3),
            realms: Vec::new(),
            known: HashMap::new(),
            counted: NOTHING_COUNTED,
            now_ms,
        };
        team.adopt(world);
        team
    }

    /// Ends all workers as a process does that is told to, and begins with so many.
    pub(crate) fn restart(&mut self, workers: usize) {
        self.counted = NOTHING_COUNTED;
        self.crew.restart(workers);
    }

    /// Ends the process between two instructions; another takes over what lies in the region.
    pub(crate) fn crash(&mut self, world: &World, workers: usize) {
        self.counted = NOTHING_COUNTED;
        // As often as here no process crashes; three in a minute would start empty.
        let keys = [self.now_ms, 2, self.crew.crashes + 1, 4];
        let takeover = self.crew.crash(keys, self.now(), workers);
        assert!(takeover.fresh.is_none(), "taken over: {takeover}");
        assert_eq!(takeover.sessions_dropped, 0, "{takeover}");
        self.adopt(world);
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.crew.workers()
    }

    fn now(&self) -> Moment {
        Moment::from_ms(self.now_ms)
    }

    /// Other rules, everywhere at once.
    pub(crate) fn adopt(&mut self, world: &World) {
        let text = rules_text::rules(world);
        let fed = rules::read_rules(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let valid = rules::validate(&fed, &PORT_NAMES.map(str::to_owned));
        self.crew.compile(&valid.unwrap_or_else(|faults| panic!("{faults:#?}\n{text}")));
        // All are up at first, and keep their realms.
        if self.realms.is_empty() {
            let routers = self.crew.rules.routers.iter();
            let realm = |id| routers.clone().find(|router| router.id == id).map(|router| router.realm);
            self.realms = world.routers.iter().filter_map(|router| realm(router.id)).collect();
        }
        self.crew.adopt_everywhere();
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
        (0..self.workers()).for_each(|at| while self.crew.tick(at, self.now()) {});
        self.settle(world)
    }

    fn enter(&mut self, port: u8, bytes: Vec<u8>) {
        let worker = self.random.below(self.workers());
        self.crew.receive(worker, port, [bytes].into_iter().collect(), self.now());
    }

    fn settle(&mut self, world: &World) -> Vec<Frame> {
        let mut out = Vec::new();
        for _ in 0..TURNS_MAX {
            let mut is_quiet = true;
            let first = self.random.below(self.workers());
            for step in 0..self.workers() {
                let worker = (first + step) % self.workers();
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
        for from in 0..self.workers() {
            let handed = self.crew.handed(from, worker);
            if handed > 0 {
                // Not always all of it.
                let taken = 1 + self.random.below(handed.min(8));
                self.crew.take(from, worker, taken, self.now());
            }
        }
        let mut sent = Vec::new();
        *is_quiet &= self.crew.end_turn(worker, &mut sent) == 0;
        *is_quiet &= (0..self.workers()).all(|from| self.crew.handed(from, worker) == 0);
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
        invariants::sessions(self.crew.gateways(), self.now())
    }

    /// Which sessions were opened and closed since this was asked before.
    pub(crate) fn changes(&mut self) -> Changes {
        let workers = (0..self.workers()).map(|at| self.crew.counters(at));
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
        DropReason::ALL.into_iter().map(|reason| (reason.name(), self.crew.dropped(reason))).collect()
    }

    /// The books of all workers together close.
    pub(crate) fn check_books(&self) -> Result<(), String> {
        invariants::books(&self.crew.books(), self.crew.in_rings())
    }

    /// Sessions and ports agree, but for those that are forwarded in this world, as it is at first: where a forwarding has gone,
    /// or leads to another, sessions stay that nobody reaches any more and that have taken no port. How rules that have changed
    /// share ports the oracle knows.
    pub(crate) fn check_sessions(&self, world: &World) -> Result<(), String> {
        let mut sessions = self.sessions();
        sessions.retain(|one| {
            let external = (one.external.address, one.external.port);
            world.forwarded_to(scene::network_of(external.0), one.protocol.0, external).is_none()
        });
        invariants::endpoints(&sessions)?;
        invariants::ports(&self.crew.state, &self.crew.rules, &sessions)
    }

    /// Nothing is left of what was.
    pub(crate) fn check_empty(&self) -> Result<(), String> {
        invariants::empty(&self.crew.state, &self.crew.rules)
    }
}

enum Heard {
    Packet(Frame),
    /// And the answer.
    Question(Vec<u8>),
    Nothing,
}
