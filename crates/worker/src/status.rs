//! What a worker shows of itself: written by it alone, read by anyone, at any time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use nat::Occupancy;
use packet::Moment;

/// A worker's vital signs.
#[derive(Debug, Default)]
pub struct Status {
    generation: AtomicU64,
    heartbeat_ms: AtomicU64,
    turns: AtomicU64,
    busy_turns: AtomicU64,
    busy_ns: AtomicU64,
    sessions: AtomicU32,
    sessions_max: AtomicU32,
    mappings: AtomicU32,
    hosts: AtomicU32,
    permissions: AtomicU32,
    neighbours: AtomicU32,
}

impl Status {
    /// The generation of rules that the worker runs. Acquires what the worker did before it adopted them: once this
    /// shows a generation, no packet is judged by an earlier one.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// When the worker last completed a turn, on its own clock; 0 before the first.
    pub fn heartbeat(&self) -> Moment {
        Moment::from_ms(self.heartbeat_ms.load(Ordering::Relaxed))
    }

    /// Turns of the loop, and how many of them brought at least one frame.
    pub fn turns(&self) -> (u64, u64) {
        (self.turns.load(Ordering::Relaxed), self.busy_turns.load(Ordering::Relaxed))
    }

    /// Time spent in turns that brought at least one frame, since the start.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy_ns.load(Ordering::Relaxed))
    }

    /// How full the tables are.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            sessions: self.sessions.load(Ordering::Relaxed),
            sessions_max: self.sessions_max.load(Ordering::Relaxed),
            mappings: self.mappings.load(Ordering::Relaxed),
            hosts: self.hosts.load(Ordering::Relaxed),
            permissions: self.permissions.load(Ordering::Relaxed),
            neighbours: self.neighbours.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn adopted(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    pub(crate) fn worked(&self, time: Duration) {
        add(&self.busy_ns, time.as_nanos() as u64);
    }

    pub(crate) fn turned(&self, now: Moment, was_empty: bool, occupancy: Occupancy) {
        add(&self.turns, 1);
        add(&self.busy_turns, u64::from(!was_empty));
        self.heartbeat_ms.store(now.ms(), Ordering::Relaxed);
        self.sessions.store(occupancy.sessions, Ordering::Relaxed);
        self.sessions_max.store(occupancy.sessions_max, Ordering::Relaxed);
        self.mappings.store(occupancy.mappings, Ordering::Relaxed);
        self.hosts.store(occupancy.hosts, Ordering::Relaxed);
        self.permissions.store(occupancy.permissions, Ordering::Relaxed);
        self.neighbours.store(occupancy.neighbours, Ordering::Relaxed);
    }
}

/// Raises a counter of which this thread is the one writer.
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}
