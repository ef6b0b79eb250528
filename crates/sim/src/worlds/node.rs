//! The gateway of a world: workers over one state, stepped in an order of the seed's, with queues and rings between them.
//!
//! Each worker turns as the real one does: rules, a burst from every port, one from every other worker, what time asks
//! for, and out. One may stall; its queues fill meanwhile, and overflow as a card's do. The work of every turn is held
//! against its bounds.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use nat::{
    Books, Configuration, Counters, DropReason, Gateway, Handed, Shard, Sizes, State, WORKERS_MAX,
    WorkerIndex,
};
use packet::{BURST_FRAMES_MAX, Burst, Moment, PortIndex};
use rules::limits::REALMS_MAX;
use rules::{Change, Numbers, RuleSet, Store};

use super::plan::Plan;
use crate::random::Random;
use crate::team::Ports;

/// The ports' names, as rules give them.
pub(crate) const PORT_NAMES: [&str; 2] = ["inside", "outside"];
pub(crate) const INSIDE: u8 = 0;
pub(crate) const OUTSIDE: u8 = 1;

/// Small, so that a sweep over all of it costs little: what is scarce in these worlds is ports.
pub(crate) const SIZES: Sizes = Sizes { sessions: 4_096, shards: 4, addresses: 16 };

/// What a port's queue and a ring hold.
const QUEUE_FRAMES_MAX: usize = 1_024;

/// A worker with nothing to do does nothing for so long at most.
const IDLE_MS: u64 = 100;

/// A worker that does not stall has new rules after so long at most, and its next turn.
const ADOPTED_WITHIN_MS: usize = 200;

/// The most sessions of a shard that one turn ends because their time is up, as `flowtable` has it.
const DUE_PER_SHARD_MAX: u64 = 64;

/// The most frames that wait for neighbours at a worker, all of which one answer may set free; announcements and
/// questions that one turn sends.
const WAITING_MAX: u64 = 256;
const ASKED_PER_TURN_MAX: u64 = 16 + 4 * DUE_PER_SHARD_MAX;

/// Drops that say that a gateway had too much at once, or changed its rules meanwhile: whoever lost a datagram then knows
/// why.
const OVERLOAD: [DropReason; 7] = [
    DropReason::NeighbourQueueFull,
    DropReason::HandOffRingFull,
    DropReason::HandOffAstray,
    DropReason::NeighbourUnresolved,
    DropReason::TableFull,
    DropReason::ShardFull,
    DropReason::GatewayEnded,
];

/// See the file's page.
pub(crate) struct Node {
    pub(crate) state: Arc<State>,
    pub(crate) workers: Vec<Worker>,
    /// By sender, then receiver.
    rings: Vec<Vec<VecDeque<Handed<Vec<u8>>>>>,
    pub(crate) rules: Arc<RuleSet>,
    numbers: Numbers,
    pub(crate) store: Store,
    random: Random,
    seed: u64,
    path: PathBuf,
    directory: tempfile::TempDir,
    processes: u32,
    /// Frames that were put into its queues, ever, and those that found no room.
    pub(crate) arrived: u64,
    pub(crate) overflowed: u64,
    /// By which the clock of the gateway's machine is ahead of the world's.
    pub(crate) ahead_ms: u64,
}

/// A worker and its ways in and out.
pub(crate) struct Worker {
    pub(crate) gateway: Gateway<Vec<u8>>,
    ports: Ports,
    arrived: [VecDeque<Vec<u8>>; PORT_NAMES.len()],
    /// It does not turn before.
    pub(crate) stalls_until_ms: u64,
    turned_ms: u64,
    /// It has yet to adopt the rules, at the first of its turns from then on.
    adopts_at_ms: Option<u64>,
}

impl Node {
    pub(crate) fn new(plan: &Plan, workers: usize, seed: u64, now_ms: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("region-0");
        let keys = [seed, 2, 3, 4].map(super::wire::mix);
        let (state, shards, _) = State::open(&path, &SIZES, keys, Moment::from_ms(now_ms)).unwrap();
        let mut node = Self {
            state,
            workers: Vec::new(),
            rings: Vec::new(),
            rules: Arc::default(),
            numbers: Numbers::new(REALMS_MAX, SIZES.addresses),
            store: Store::new(&PORT_NAMES.map(str::to_owned)),
            random: Random::new(seed ^ 0x6e6f_6465),
            seed,
            path,
            directory,
            processes: 0,
            arrived: 0,
            overflowed: 0,
            ahead_ms: 0,
        };
        node.begin(shards, workers);
        node.feed(plan, now_ms).unwrap();
        node.adopt();
        node
    }

    fn begin(&mut self, mut shards: Vec<Shard>, workers: usize) {
        self.state.assign(workers as u8);
        self.workers = (0..workers)
            .map(|worker| {
                let is_own = |shard: &mut Shard| self.state.worker_of(shard.index()) == index(worker);
                let own = shards.extract_if(.., is_own).collect();
                let gateway = Gateway::new(&self.state, index(worker), own, Configuration::default());
                Worker {
                    gateway,
                    ports: Ports::default(),
                    arrived: Default::default(),
                    stalls_until_ms: 0,
                    turned_ms: 0,
                    adopts_at_ms: None,
                }
            })
            .collect();
        self.rings = (0..workers).map(|_| (0..workers).map(|_| VecDeque::new()).collect()).collect();
    }

    /// All workers end as told, once nothing is under way between them, and so many begin.
    pub(crate) fn restart(
        &mut self,
        now_ms: u64,
        workers: usize,
        out: &mut Vec<(PortIndex, Vec<u8>)>,
    ) -> Result<(), String> {
        while self.queued() != (0, 0) {
            for at in 0..self.workers.len() {
                self.turn(at, now_ms, out)?;
            }
        }
        let shards = self.workers.drain(..).flat_map(|worker| worker.gateway.into_shards()).collect();
        self.begin(shards, workers);
        self.adopt();
        Ok(())
    }

    /// The process ends between two turns; another takes over what lies in the region.
    pub(crate) fn crash(&mut self, now_ms: u64, workers: usize) -> Result<(), String> {
        self.processes += 1;
        // A copy: the region is locked for as long as this process lives.
        let path = self.directory.path().join(format!("region-{}", self.processes));
        std::fs::copy(&self.path, &path).unwrap();
        std::fs::remove_file(&self.path).unwrap();
        // What lies in the cards' queues was never received.
        self.arrived -= self.queued().0;
        self.workers.clear();
        let keys = [self.seed, u64::from(self.processes), 3, 4].map(super::wire::mix);
        let now = Moment::from_ms(now_ms + self.ahead_ms);
        let before = self.state.occupancy();
        let (state, shards, takeover) = State::open(&path, &SIZES, keys, now).unwrap();
        (self.path, self.numbers, self.state, self.rules) = (path, state.numbers(), state, Arc::default());
        self.begin(shards, workers);
        self.compile();
        self.adopt();
        if takeover.fresh.is_some()
            || takeover.sessions_dropped > 0
            || takeover.sessions_kept != before.sessions
        {
            return Err(format!("of {before:?} it took over {takeover:?}"));
        }
        Ok(())
    }

    /// Other rules: as a snapshot, or what changed by itself. Each worker adopts them when it comes to it. Returns what was
    /// refused, which is nothing.
    pub(crate) fn feed(&mut self, plan: &Plan, now_ms: u64) -> Result<(), String> {
        let text = plan.rules();
        let rules = rules::read_rules(&text).map_err(|error| format!("{error}\n{text}"))?;
        let change = if self.random.one_in(2) {
            Change::Snapshot(rules)
        } else {
            let segments = rules.segments.into_iter().map(|segment| segment.into());
            let pools = rules.pools.into_iter().map(|pool| pool.into());
            let routers = rules.routers.into_iter().map(|router| router.into());
            Change::Delta { upserts: segments.chain(pools).chain(routers).collect(), deletes: Vec::new() }
        };
        let outcome = self.store.apply(change);
        if !outcome.faults.is_empty() || !outcome.stale.is_empty() {
            return Err(format!("rules were refused: {outcome:?}"));
        }
        self.compile();
        for worker in &mut self.workers {
            worker.adopts_at_ms = Some(now_ms + self.random.below(ADOPTED_WITHIN_MS) as u64);
        }
        Ok(())
    }

    /// Whether some workers run the rules, and others still those before.
    pub(crate) fn is_adopting(&self) -> bool {
        self.workers.iter().any(|worker| worker.adopts_at_ms.is_some())
    }

    fn compile(&mut self) {
        let state = &self.state;
        self.numbers.release_realms(|realm| state.is_realm_in_use(realm));
        self.numbers.release_addresses(|address| state.ports_used(address) > 0);
        let compiled = rules::compile(self.store.valid(), Some(&self.rules), &mut self.numbers).unwrap();
        state.store(&self.numbers, compiled.generation);
        self.rules = Arc::new(compiled);
    }

    fn adopt(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.adopt(&self.rules));
    }

    /// A frame comes to a worker's queue of a port.
    pub(crate) fn arrive(&mut self, worker: usize, port: u8, frame: Vec<u8>) {
        let worker = worker % self.workers.len();
        let queue = &mut self.workers[worker].arrived[usize::from(port)];
        if queue.len() < QUEUE_FRAMES_MAX {
            queue.push_back(frame);
            self.arrived += 1;
        } else {
            self.overflowed += 1;
        }
    }

    /// When a worker has something to do that does not wait for anybody: at once, or when it no longer stalls.
    pub(crate) fn busy_at_ms(&self, now_ms: u64) -> Option<u64> {
        let busy = (0..self.workers.len()).filter(|at| self.is_busy(*at));
        busy.map(|at| self.workers[at].stalls_until_ms.max(now_ms)).min()
    }

    fn is_busy(&self, at: usize) -> bool {
        self.workers[at].arrived.iter().any(|queue| !queue.is_empty())
            || self.rings.iter().any(|ring| !ring[at].is_empty())
    }

    /// Every worker has a turn that has something to do and does not stall; others now and then. What they send is appended
    /// to `out`.
    pub(crate) fn step(&mut self, now_ms: u64, out: &mut Vec<(PortIndex, Vec<u8>)>) -> Result<(), String> {
        let first = self.random.below(self.workers.len());
        for step in 0..self.workers.len() {
            let at = (first + step) % self.workers.len();
            let Worker { stalls_until_ms, turned_ms, .. } = self.workers[at];
            let is_due = self.is_busy(at) || now_ms >= turned_ms + IDLE_MS || self.random.one_in(4);
            if stalls_until_ms <= now_ms && is_due {
                self.turn(at, now_ms, out)?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, at: usize, now_ms: u64, out: &mut Vec<(PortIndex, Vec<u8>)>) -> Result<(), String> {
        let now = Moment::from_ms(now_ms + self.ahead_ms);
        let Self { state, workers, rings, rules, .. } = self;
        let counters = state.counters(index(at));
        let before = Work::of(counters);
        let worker = &mut workers[at];
        worker.turned_ms = now_ms;
        if worker.adopts_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            worker.adopt(rules);
        }
        let mut frames = 0;
        for (port, queue) in worker.arrived.iter_mut().enumerate() {
            if !queue.is_empty() {
                let taken = queue.len().min(BURST_FRAMES_MAX);
                let mut burst: Burst<_> = queue.drain(..taken).collect();
                frames += taken;
                worker.gateway.process_burst(PortIndex(port as u8), &mut burst, now, &mut worker.ports);
            }
        }
        for ring in rings.iter_mut() {
            let ring = &mut ring[at];
            if !ring.is_empty() {
                let taken = ring.len().min(BURST_FRAMES_MAX);
                let mut burst: Burst<_> = ring.drain(..taken).collect();
                frames += taken;
                worker.gateway.process_handed(&mut burst, now, &mut worker.ports);
            }
        }
        worker.gateway.tick(now, &mut worker.ports);
        for (port, frame) in worker.ports.sent.drain(..) {
            counters.sent(port, 1, frame.len() as u64);
            out.push((port, frame));
        }
        while let Some((to, handed)) = worker.gateway.outbox().pop_front() {
            let ring = &mut rings[at][usize::from(to.0)];
            if ring.len() < QUEUE_FRAMES_MAX {
                ring.push_back(handed);
            } else {
                worker.gateway.refused(handed);
            }
        }
        worker.gateway.end_turn();
        Work::of(counters).check(&before, frames as u64)
    }

    /// Frames that lie in the workers' queues; between two workers; and that could not be taken.
    pub(crate) fn queued(&self) -> (u64, u64) {
        let in_queues =
            self.workers.iter().flat_map(|worker| &worker.arrived).map(VecDeque::len).sum::<usize>();
        let in_rings = self.rings.iter().flatten().map(VecDeque::len).sum::<usize>();
        (in_queues as u64, in_rings as u64)
    }

    /// The books of all workers and processes together.
    pub(crate) fn books(&self) -> Books {
        self.all_counters().map(Counters::books).sum()
    }

    fn all_counters(&self) -> impl Iterator<Item = &Counters> {
        let workers = (0..WORKERS_MAX).map(|worker| self.state.counters(index(worker)));
        workers.chain(std::iter::once(self.state.past()))
    }

    /// How often a reason to drop was given, ever.
    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.all_counters().map(|counters| counters.dropped(reason)).sum()
    }

    /// How many frames were dropped because there was too much at once.
    pub(crate) fn overloads(&self) -> u64 {
        let living = (0..self.workers.len()).map(|worker| self.state.counters(index(worker)));
        let counters = living.chain(std::iter::once(self.state.past()));
        let drops: u64 = counters.flat_map(|counters| OVERLOAD.map(|reason| counters.dropped(reason))).sum();
        drops + self.overflowed
    }

    /// Sessions closed, ever.
    pub(crate) fn closed(&self) -> u64 {
        self.all_counters().map(|counters| counters.sessions_closed.get()).sum()
    }
}

impl Worker {
    fn adopt(&mut self, rules: &Arc<RuleSet>) {
        self.adopts_at_ms = None;
        self.gateway.adopt(Arc::clone(rules), Vec::new());
    }
}

/// What a turn has done, as far as it is counted.
struct Work {
    opened: u64,
    closed: u64,
    originated: u64,
    handed_out: u64,
}

impl Work {
    fn of(counters: &Counters) -> Self {
        Self {
            opened: counters.sessions_created.get(),
            closed: counters.sessions_closed.get(),
            originated: counters.originated.get(),
            handed_out: counters.handed_out.get(),
        }
    }

    /// Nothing of it is more than so many frames and what time asks for may cause.
    fn check(&self, before: &Self, frames: u64) -> Result<(), String> {
        let carried = frames + WAITING_MAX;
        let due = DUE_PER_SHARD_MAX * u64::from(SIZES.shards);
        let bounds = [
            // A hairpin opens two.
            ("sessions opened", self.opened - before.opened, 2 * carried),
            ("sessions closed", self.closed - before.closed, due + 4 * carried),
            ("frames originated", self.originated - before.originated, ASKED_PER_TURN_MAX + 2 * carried),
            ("frames handed on", self.handed_out - before.handed_out, carried),
        ];
        match bounds.iter().find(|(_, done, most)| done > most) {
            None => Ok(()),
            Some((what, done, most)) => {
                Err(format!("{done} {what} in one turn of {frames} frames: {most} at most"))
            }
        }
    }
}

pub(crate) fn index(worker: usize) -> WorkerIndex {
    WorkerIndex(worker as u8)
}
