//! Gateways over one state, and between them rings that keep their order and take their time.
//!
//! What threads would do is done by choices of a seed: whose turn it is, and for how many turns a frame is on its way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use nat::{Books, Configuration, Gateway, Handed, Shard, Sizes, State, WORKERS_MAX, WorkerIndex};
use packet::{Burst, Moment, PortIndex};

use super::{Ports, Random};

/// Where frames come in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entrance {
    /// Each at a worker of its own.
    Anywhere,
    /// All of a flow, in one direction, at one worker: what a card's hash or a packet socket's fanout does.
    ByFlow,
    /// All at one worker: one queue that is fed by all.
    At(usize),
}

/// What a team is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TeamSetup {
    pub(crate) workers: usize,
    pub(crate) entrance: Entrance,
    /// The most turns that a frame is on its way from one worker to another.
    pub(crate) delay_max: usize,
    /// Frames that a ring holds.
    pub(crate) ring_frames_max: usize,
    pub(crate) seed: u64,
}

type Ring = VecDeque<(usize, Handed<Vec<u8>>)>;

/// See the file's page.
pub(crate) struct Team {
    pub(crate) state: Arc<State>,
    pub(crate) gateways: Vec<Gateway<Vec<u8>>>,
    pub(crate) setup: TeamSetup,
    /// Each worker's queues of all ports.
    pub(crate) ports: Vec<Ports>,
    /// By sender and receiver; with each frame the turn from which on it can be taken.
    rings: HashMap<(usize, usize), Ring>,
    random: Random,
    turns: usize,
}

impl Team {
    /// # Panics
    /// Where there is no memory for the state.
    pub(crate) fn new(sizes: &Sizes, configuration: &Configuration, setup: TeamSetup) -> Self {
        let (state, shards) = State::anonymous(sizes, [1, 2, 3, 4]).unwrap();
        let gateways = gateways(&state, shards, configuration, setup.workers);
        Self {
            state,
            gateways,
            setup,
            ports: (0..setup.workers).map(|_| Ports::default()).collect(),
            rings: HashMap::new(),
            random: Random::new(setup.seed),
            turns: 0,
        }
    }

    /// The worker at which a frame comes in.
    pub(crate) fn entrance_of(&mut self, frame: &[u8]) -> usize {
        match self.setup.entrance {
            Entrance::Anywhere => self.random.below(self.setup.workers),
            Entrance::ByFlow => flow_hash(frame) as usize % self.setup.workers,
            Entrance::At(worker) => worker,
        }
    }

    /// Frames come in at a worker; what comes of them is on its way, not out.
    pub(crate) fn enter(&mut self, worker: usize, port: PortIndex, frames: &mut Burst<Vec<u8>>, now: Moment) {
        self.gateways[worker].process_burst(port, frames, now, &mut self.ports[worker]);
        assert!(frames.is_empty(), "a burst is carried whole");
    }

    /// The first half of a turn: a worker takes what has arrived from the others.
    pub(crate) fn take(&mut self, worker: usize, now: Moment) {
        self.turns += 1;
        for from in 0..self.setup.workers {
            let Some(ring) = self.rings.get_mut(&(from, worker)) else { continue };
            let mut handed = Burst::new();
            while !handed.is_full() && ring.front().is_some_and(|(ripe, _)| *ripe <= self.turns) {
                handed.extend(ring.pop_front().map(|(_, handed)| handed));
            }
            self.gateways[worker].process_handed(&mut handed, now, &mut self.ports[worker]);
        }
    }

    /// The second half: it sends what it has to send.
    pub(crate) fn send_out(&mut self, worker: usize) -> Vec<(PortIndex, Vec<u8>)> {
        let sent = self.ports[worker].flush_into(self.state.counters(index(worker)));
        self.empty_outbox(worker);
        self.gateways[worker].end_turn();
        sent
    }

    fn empty_outbox(&mut self, from: usize) {
        while let Some((to, handed)) = self.gateways[from].outbox().pop_front() {
            assert_ne!(usize::from(to.0), from, "nobody hands anything to itself");
            let ring = self.rings.entry((from, to.0.into())).or_default();
            if ring.len() == self.setup.ring_frames_max {
                self.gateways[from].refused(handed);
                continue;
            }
            let ripe = self.turns + 1 + self.random.below(self.setup.delay_max + 1);
            ring.push_back((ripe, handed));
        }
    }

    /// Whose turn it is.
    pub(crate) fn next(&mut self) -> usize {
        self.random.below(self.setup.workers)
    }

    /// Every worker once, in an order of the seed's.
    pub(crate) fn all(&mut self) -> Vec<usize> {
        let mut workers: Vec<_> = (0..self.setup.workers).collect();
        for at in (1..workers.len()).rev() {
            workers.swap(at, self.random.below(at + 1));
        }
        workers
    }

    /// Frames on their way from one worker to another.
    pub(crate) fn in_rings(&self) -> usize {
        self.rings.values().map(VecDeque::len).sum()
    }

    /// The books of all workers together, those included that have ended.
    pub(crate) fn books(&self) -> Books {
        (0..WORKERS_MAX).map(|worker| self.state.counters(index(worker)).books()).sum()
    }

    /// A worker's books close when it has ended its turn.
    #[track_caller]
    pub(crate) fn close_books_of(&self, worker: usize) {
        let books = self.state.counters(index(worker)).books();
        assert_eq!(books.balance(), 0, "the books of worker {worker} close: {books:?}");
    }

    /// And so do those of all together, when all have.
    #[track_caller]
    pub(crate) fn close_books(&self) {
        let books = self.books();
        assert_eq!(books.balance(), 0, "the books close: {books:?}");
        assert_eq!(books.in_rings(), self.in_rings() as u64, "{books:?}");
    }

    /// Ends all workers, and begins with another number of them.
    pub(crate) fn restart(&mut self, workers: usize, configuration: &Configuration) {
        assert_eq!(self.in_rings(), 0, "workers end when nothing is on its way");
        let shards = self.gateways.drain(..).flat_map(Gateway::into_shards).collect();
        self.setup.workers = workers;
        self.ports.resize_with(workers, Ports::default);
        self.gateways = gateways(&self.state, shards, configuration, workers);
    }
}

pub(crate) fn index(worker: usize) -> WorkerIndex {
    WorkerIndex(worker as u8)
}

fn gateways(
    state: &Arc<State>,
    mut shards: Vec<Shard>,
    configuration: &Configuration,
    workers: usize,
) -> Vec<Gateway<Vec<u8>>> {
    state.assign(workers as u8);
    let gateway = |worker| {
        let own = shards.extract_if(.., |shard| state.worker_of(shard.index()) == index(worker)).collect();
        Gateway::new(state, index(worker), own, configuration.clone())
    };
    (0..workers).map(gateway).collect()
}

/// Of addresses and ports as they are in the frame.
fn flow_hash(frame: &[u8]) -> u32 {
    let Ok(parsed) = packet::Parsed::read(frame) else { return 0 };
    let addresses = parsed.source.octets().into_iter().chain(parsed.destination.octets());
    let ports = [parsed.source_port.to_be_bytes(), parsed.destination_port.to_be_bytes()].concat();
    addresses
        .chain(ports)
        .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
        >> 8
}
