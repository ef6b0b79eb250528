//! Workers over one state, in memory, with rings between them: what random operations and worlds both step.
//!
//! Here is what any process does: it begins, adopts rules, carries frames and hands them on, ends, and takes over what another
//! has left. In which order workers turn, how much each takes, and when it adopts, those choose who step them, by a seed.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use nat::{
    Books, Configuration, Counters, DropReason, Gateway, Handed, HugePages, Shard, Sizes, State, Takeover,
    WORKERS_MAX, WorkerIndex,
};
use packet::{Burst, Moment, PacketIo, PortIndex, Sent};
use rules::limits::REALMS_MAX;
use rules::{Numbers, RuleSet, Valid};

/// The ports' names, as rules give them.
pub(crate) const PORT_NAMES: [&str; 2] = ["inside", "outside"];

/// What a ring holds.
const RING_FRAMES_MAX: usize = 1_024;

/// See the file's page.
pub(crate) struct Crew {
    pub(crate) state: Arc<State>,
    /// The last that were compiled.
    pub(crate) rules: Arc<RuleSet>,
    workers: Vec<(Gateway<Vec<u8>>, Ports)>,
    /// By sender, then receiver.
    rings: Vec<Vec<VecDeque<Handed<Vec<u8>>>>>,
    numbers: Numbers,
    sizes: &'static Sizes,
    path: PathBuf,
    directory: tempfile::TempDir,
    /// How many have crashed.
    pub(crate) crashes: u64,
}

/// Ports of plain memory.
#[derive(Default)]
struct Ports {
    sent: Vec<(PortIndex, Vec<u8>)>,
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

impl Crew {
    /// So many workers, without rules.
    pub(crate) fn new(sizes: &'static Sizes, keys: [u64; 4], now: Moment, workers: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("region-0");
        let (state, shards, _) = State::open(&path, sizes, keys, now, HugePages::NotAsked).unwrap();
        let mut crew = Self {
            state,
            rules: Arc::default(),
            workers: Vec::new(),
            rings: Vec::new(),
            numbers: Numbers::new(REALMS_MAX, sizes.addresses),
            sizes,
            path,
            directory,
            crashes: 0,
        };
        crew.begin(shards, workers);
        crew
    }

    fn begin(&mut self, mut shards: Vec<Shard>, workers: usize) {
        self.state.assign(workers as u8);
        self.workers = (0..workers)
            .map(|worker| {
                let is_own = |shard: &mut Shard| self.state.worker_of(shard.index()) == index(worker);
                let own = shards.extract_if(.., is_own).collect();
                let gateway = Gateway::new(&self.state, index(worker), own, Configuration::default());
                (gateway, Ports::default())
            })
            .collect();
        self.rings = (0..workers).map(|_| (0..workers).map(|_| VecDeque::new()).collect()).collect();
    }

    /// All workers end as told, with nothing under way between them, and so many begin.
    pub(crate) fn restart(&mut self, workers: usize) {
        let shards = self.workers.drain(..).flat_map(|(gateway, _)| gateway.into_shards()).collect();
        self.begin(shards, workers);
        self.adopt_everywhere();
    }

    /// The process ends between two turns; another takes over what lies in the region, and has no rules yet.
    pub(crate) fn crash(&mut self, keys: [u64; 4], now: Moment, workers: usize) -> Takeover {
        self.crashes += 1;
        // A copy: the region is locked for as long as this process lives.
        let path = self.directory.path().join(format!("region-{}", self.crashes));
        std::fs::copy(&self.path, &path).unwrap();
        std::fs::remove_file(&self.path).unwrap();
        self.workers.clear();
        let (state, shards, takeover) =
            State::open(&path, self.sizes, keys, now, HugePages::NotAsked).unwrap();
        (self.path, self.numbers, self.state, self.rules) = (path, state.numbers(), state, Arc::default());
        self.begin(shards, workers);
        takeover
    }

    /// Other rules, which no worker runs yet.
    pub(crate) fn compile(&mut self, valid: &Valid) {
        let state = &self.state;
        self.numbers.release_realms(|realm| state.is_realm_in_use(realm));
        self.numbers.release_addresses(|address| state.ports_used(address) > 0);
        let compiled = rules::compile(valid, Some(&self.rules), &mut self.numbers).unwrap();
        state.store(&self.numbers, compiled.generation);
        self.rules = Arc::new(compiled);
    }

    /// A worker runs the rules from now on.
    pub(crate) fn adopt(&mut self, at: usize) {
        self.workers[at].0.adopt(Arc::clone(&self.rules), Vec::new());
    }

    pub(crate) fn adopt_everywhere(&mut self) {
        (0..self.workers()).for_each(|at| self.adopt(at));
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    pub(crate) fn gateways(&self) -> impl Iterator<Item = &Gateway<Vec<u8>>> {
        self.workers.iter().map(|(gateway, _)| gateway)
    }

    /// A burst from a port.
    pub(crate) fn receive(&mut self, at: usize, port: u8, mut frames: Burst<Vec<u8>>, now: Moment) {
        let (gateway, ports) = &mut self.workers[at];
        gateway.process_burst(PortIndex(port), &mut frames, now, ports);
    }

    /// How many frames one worker has handed to another, who has not taken them.
    pub(crate) fn handed(&self, from: usize, at: usize) -> usize {
        self.rings[from][at].len()
    }

    /// Takes so many of them.
    pub(crate) fn take(&mut self, from: usize, at: usize, frames: usize, now: Moment) {
        let (gateway, ports) = &mut self.workers[at];
        let mut burst: Burst<_> = self.rings[from][at].drain(..frames).collect();
        gateway.process_handed(&mut burst, now, ports);
    }

    /// Does what time asks for; whether there is more of it.
    pub(crate) fn tick(&mut self, at: usize, now: Moment) -> bool {
        let (gateway, ports) = &mut self.workers[at];
        gateway.tick(now, ports)
    }

    /// A turn ends: what it sends is appended to `out`, and what is another's handed on. Returns how many frames that were.
    pub(crate) fn end_turn(&mut self, at: usize, out: &mut Vec<(PortIndex, Vec<u8>)>) -> usize {
        let Self { state, workers, rings, .. } = self;
        let (gateway, ports) = &mut workers[at];
        for (port, frame) in ports.sent.drain(..) {
            state.counters(index(at)).sent(port, 1, frame.len() as u64);
            out.push((port, frame));
        }
        let mut handed_on = 0;
        while let Some((to, handed)) = gateway.outbox().pop_front() {
            let ring = &mut rings[at][usize::from(to.0)];
            if ring.len() < RING_FRAMES_MAX {
                ring.push_back(handed);
                handed_on += 1;
            } else {
                gateway.refused(handed);
            }
        }
        gateway.end_turn();
        handed_on
    }

    /// Frames between two workers.
    pub(crate) fn in_rings(&self) -> u64 {
        self.rings.iter().flatten().map(VecDeque::len).sum::<usize>() as u64
    }

    pub(crate) fn counters(&self, at: usize) -> &Counters {
        self.state.counters(index(at))
    }

    /// Of all workers that ever were.
    fn all_counters(&self) -> impl Iterator<Item = &Counters> {
        (0..WORKERS_MAX).map(|at| self.counters(at)).chain(std::iter::once(self.state.past()))
    }

    /// The books of all workers and processes together.
    pub(crate) fn books(&self) -> Books {
        self.all_counters().map(Counters::books).sum()
    }

    /// How often a reason to drop was given, ever.
    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.all_counters().map(|counters| counters.dropped(reason)).sum()
    }

    /// How often each reason was given, ever.
    pub(crate) fn drops(&self) -> Vec<(DropReason, u64)> {
        DropReason::ALL.iter().map(|reason| (*reason, self.dropped(*reason))).collect()
    }

    /// Sessions closed, ever.
    pub(crate) fn closed(&self) -> u64 {
        self.all_counters().map(|counters| counters.sessions_closed.get()).sum()
    }
}

fn index(worker: usize) -> WorkerIndex {
    WorkerIndex(worker as u8)
}
