//! The gateway of a world: workers over one state, stepped in an order of the seed's, with queues and rings between them.
//!
//! Each worker turns as the real one does: rules, a burst from every port, one from the other workers, what time asks
//! for, and out. One may stall; its queues fill meanwhile, and overflow as a card's do. The work of every turn is held
//! against its bounds.

use std::collections::VecDeque;

use nat::{Counters, DropReason, Sizes};
use packet::{BURST_FRAMES_MAX, Moment, PortIndex};
use rules::{Change, Store};

use super::plan::Plan;
use super::wire::mix;
use crate::crew::{Crew, PORT_NAMES};
use crate::random::Random;

pub(crate) const INSIDE: u8 = 0;
pub(crate) const OUTSIDE: u8 = 1;

/// Small, so that a sweep over all of it costs little: what is scarce in these worlds is ports.
const SIZES: Sizes = Sizes::new(4_096, 4, 16);

/// What a port's queue holds.
const QUEUE_FRAMES_MAX: usize = 1_024;

/// A worker with nothing to do does nothing for so long at most.
const IDLE_MS: u64 = 100;

/// A worker that does not stall has new rules after so long at most, and its next turn.
const ADOPTED_WITHIN_MS: usize = 200;

/// The most neighbours of a shard that one turn looks at, as `flowtable` has it.
const DUE_PER_SHARD_MAX: u64 = 64;

/// The most sessions that one turn ends because their time is up: a shard's, after fewer than as many of others'.
const DUE_PER_TURN_MAX: u64 = 2 * DUE_PER_SHARD_MAX - 1;

/// The most frames that wait for neighbours at a worker, all of which one answer may set free; announcements and
/// questions that one turn sends.
const WAITING_MAX: u64 = 256;
const ASKED_PER_TURN_MAX: u64 = 16 + 4 * DUE_PER_SHARD_MAX;

/// Drops that say that a gateway had too much at once, or changed its rules meanwhile: whoever lost a datagram then knows
/// why.
const OVERLOAD: [DropReason; 10] = [
    DropReason::NeighbourQueueFull,
    DropReason::HandOffRingFull,
    DropReason::HandOffAstray,
    DropReason::NeighbourUnresolved,
    DropReason::PortSearchCut,
    DropReason::TableFull,
    DropReason::ShardFull,
    DropReason::HostTableFull,
    DropReason::MappingTableFull,
    DropReason::GatewayEnded,
];

/// See the file's page.
pub(crate) struct Node {
    pub(crate) crew: Crew,
    /// Of each worker.
    pub(crate) desks: Vec<Desk>,
    pub(crate) store: Store,
    random: Random,
    seed: u64,
    /// Frames that were put into its queues, ever, and those that found no room.
    pub(crate) arrived: u64,
    overflowed: u64,
    /// By which the clock of the gateway's machine is ahead of the world's.
    pub(crate) ahead_ms: u64,
}

/// What a worker has before it.
#[derive(Default)]
pub(crate) struct Desk {
    arrived: [VecDeque<Vec<u8>>; PORT_NAMES.len()],
    /// It does not turn before.
    pub(crate) stalls_until_ms: u64,
    turned_ms: u64,
    /// The worker whose ring it takes from first in its next turn.
    first: usize,
    /// Its last turn has left something over that time asks for.
    has_more: bool,
    /// It has yet to adopt the rules, at the first of its turns from then on.
    adopts_at_ms: Option<u64>,
}

impl Node {
    pub(crate) fn new(plan: &Plan, workers: usize, seed: u64, now_ms: u64) -> Self {
        let crew = Crew::new(&SIZES, [seed, 2, 3, 4].map(mix), Moment::from_ms(now_ms), workers);
        let mut node = Self {
            crew,
            desks: desks(workers),
            store: Store::new(&PORT_NAMES.map(str::to_owned)),
            random: Random::new(seed ^ 0x6e6f_6465),
            seed,
            arrived: 0,
            overflowed: 0,
            ahead_ms: 0,
        };
        node.feed(plan, now_ms).unwrap();
        node.begin();
        node
    }

    /// Workers have begun.
    fn begin(&mut self) {
        self.crew.adopt_everywhere();
        self.desks = desks(self.crew.workers());
    }

    /// All workers end as told, once nothing is under way between them, and so many begin.
    pub(crate) fn restart(
        &mut self,
        now_ms: u64,
        workers: usize,
        out: &mut Vec<(PortIndex, Vec<u8>)>,
    ) -> Result<(), String> {
        while self.queued() != (0, 0) {
            for at in 0..self.desks.len() {
                self.turn(at, now_ms, out)?;
            }
        }
        self.crew.restart(workers);
        self.begin();
        Ok(())
    }

    /// The process ends between two turns; another takes over what lies in the region.
    pub(crate) fn crash(&mut self, now_ms: u64, workers: usize) -> Result<(), String> {
        self.lose_queued();
        let keys = [self.seed, self.crew.crashes + 1, 3, 4].map(mix);
        let before = self.crew.state.occupancy();
        let takeover = self.crew.crash(keys, self.now(now_ms), workers);
        self.crew.compile(self.store.valid());
        self.begin();
        if takeover.fresh.is_some()
            || takeover.sessions_dropped > 0
            || takeover.sessions_kept != before.sessions
        {
            return Err(format!("of {before:?} it took over {takeover:?}"));
        }
        Ok(())
    }

    /// What lies in the cards' queues is never received.
    pub(crate) fn lose_queued(&mut self) {
        self.arrived -= self.queued().0;
        self.desks.iter_mut().flat_map(|desk| &mut desk.arrived).for_each(VecDeque::clear);
    }

    /// The time as the gateway has it.
    pub(crate) fn now(&self, now_ms: u64) -> Moment {
        Moment::from_ms(now_ms + self.ahead_ms)
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
        self.crew.compile(self.store.valid());
        for desk in &mut self.desks {
            desk.adopts_at_ms = Some(now_ms + self.random.below(ADOPTED_WITHIN_MS) as u64);
        }
        Ok(())
    }

    /// Whether some workers run the rules, and others still those before.
    pub(crate) fn is_adopting(&self) -> bool {
        self.desks.iter().any(|desk| desk.adopts_at_ms.is_some())
    }

    /// A frame comes to a worker's queue of a port.
    pub(crate) fn arrive(&mut self, worker: usize, port: u8, frame: Vec<u8>) {
        let worker = worker % self.desks.len();
        let queue = &mut self.desks[worker].arrived[usize::from(port)];
        if queue.len() < QUEUE_FRAMES_MAX {
            queue.push_back(frame);
            self.arrived += 1;
        } else {
            self.overflowed += 1;
        }
    }

    /// When a worker has something to do that does not wait for anybody: at once, or when it no longer stalls.
    pub(crate) fn busy_at_ms(&self, now_ms: u64) -> Option<u64> {
        let busy = (0..self.desks.len()).filter(|at| self.is_busy(*at));
        busy.map(|at| self.desks[at].stalls_until_ms.max(now_ms)).min()
    }

    fn is_busy(&self, at: usize) -> bool {
        self.desks[at].has_more
            || self.desks[at].arrived.iter().any(|queue| !queue.is_empty())
            || (0..self.desks.len()).any(|from| self.crew.handed(from, at) > 0)
    }

    /// Every worker has a turn that has something to do and does not stall; others now and then. What they send is appended
    /// to `out`.
    pub(crate) fn step(&mut self, now_ms: u64, out: &mut Vec<(PortIndex, Vec<u8>)>) -> Result<(), String> {
        let first = self.random.below(self.desks.len());
        for step in 0..self.desks.len() {
            let at = (first + step) % self.desks.len();
            let Desk { stalls_until_ms, turned_ms, .. } = self.desks[at];
            let is_due = self.is_busy(at) || now_ms >= turned_ms + IDLE_MS || self.random.one_in(4);
            if stalls_until_ms <= now_ms && is_due {
                self.turn(at, now_ms, out)?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, at: usize, now_ms: u64, out: &mut Vec<(PortIndex, Vec<u8>)>) -> Result<(), String> {
        let now = self.now(now_ms);
        let Self { crew, desks, .. } = self;
        let before = Work::of(crew.counters(at));
        let desk = &mut desks[at];
        desk.turned_ms = now_ms;
        if desk.adopts_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            desk.adopts_at_ms = None;
            crew.adopt(at);
        }
        let mut frames = 0;
        for (port, queue) in desk.arrived.iter_mut().enumerate() {
            if !queue.is_empty() {
                let taken = queue.len().min(BURST_FRAMES_MAX);
                frames += taken;
                crew.receive(at, port as u8, queue.drain(..taken).collect(), now);
            }
        }
        let (workers, mut room) = (crew.workers(), BURST_FRAMES_MAX);
        for from in (0..workers).map(|step| (desk.first + step) % workers) {
            let taken = crew.handed(from, at).min(room);
            if taken > 0 {
                frames += taken;
                room -= taken;
                crew.take(from, at, taken, now);
            }
        }
        desk.first = (desk.first + 1) % workers;
        desk.has_more = crew.tick(at, now);
        crew.end_turn(at, out);
        Work::of(crew.counters(at)).check(&before, frames as u64)
    }

    /// Frames that lie in the workers' queues, and between two workers.
    pub(crate) fn queued(&self) -> (u64, u64) {
        let in_queues = self.desks.iter().flat_map(|desk| &desk.arrived).map(VecDeque::len).sum::<usize>();
        (in_queues as u64, self.crew.in_rings())
    }

    /// How many frames were dropped because there was too much at once.
    pub(crate) fn overloads(&self) -> u64 {
        let dropped =
            |counters: &Counters| OVERLOAD.map(|reason| counters.dropped(reason)).iter().sum::<u64>();
        let living: u64 = (0..self.crew.workers()).map(|at| dropped(self.crew.counters(at))).sum();
        living + dropped(self.crew.state.past()) + self.overflowed
    }
}

fn desks(workers: usize) -> Vec<Desk> {
    (0..workers).map(|_| Desk::default()).collect()
}

/// What a turn has done, as far as it is counted.
struct Work {
    opened: u64,
    closed: u64,
    originated: u64,
    handed_in: u64,
    handed_out: u64,
}

impl Work {
    fn of(counters: &Counters) -> Self {
        Self {
            opened: counters.sessions_created.get(),
            closed: counters.sessions_closed.get(),
            originated: counters.originated.get(),
            handed_in: counters.handed_in.get(),
            handed_out: counters.handed_out.get(),
        }
    }

    /// Nothing of it is more than so many frames and what time asks for may cause.
    fn check(&self, before: &Self, frames: u64) -> Result<(), String> {
        let carried = frames + WAITING_MAX;
        let bounds = [
            // A hairpin opens two.
            ("sessions opened", self.opened - before.opened, 2 * carried),
            ("sessions closed", self.closed - before.closed, DUE_PER_TURN_MAX + 4 * carried),
            ("frames originated", self.originated - before.originated, ASKED_PER_TURN_MAX + 2 * carried),
            ("frames taken from others", self.handed_in - before.handed_in, BURST_FRAMES_MAX as u64),
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
