//! What a worker shows of itself: written by it alone, read by anyone, at any time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use packet::Moment;

use crate::stages::{Shown, StageTotals};

/// A worker that has not completed a turn for so long is stuck: it sleeps a millisecond at most, and a turn's work is
/// bounded, so it hangs in a driver, or its core is not given to it.
const STUCK_AFTER_MS: u64 = 1_000;

/// A worker's vital signs.
#[derive(Debug, Default)]
pub struct Status {
    generation: AtomicU64,
    heartbeat_ms: AtomicU64,
    turns: AtomicU64,
    busy_turns: AtomicU64,
    busy_ns: AtomicU64,
    stages: OnceLock<Shown>,
}

impl Status {
    /// The generation of rules that the worker runs. Acquires what the worker did before it adopted them: once this
    /// shows a generation, no packet is judged by an earlier one.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// When the worker last completed a turn, or began its first, by its [clock](crate::clock); 0 before that.
    pub fn heartbeat(&self) -> Moment {
        Moment::from_ms(self.heartbeat_ms.load(Ordering::Relaxed))
    }

    /// Whether the worker has begun and does not turn. The heart of a worker that was stopped beats no more either.
    pub fn is_stuck(&self, now: Moment) -> bool {
        let heartbeat = self.heartbeat();
        heartbeat != Moment::default() && now.since(heartbeat) > STUCK_AFTER_MS
    }

    /// Turns of the loop, and how many of them brought at least one frame.
    pub fn turns(&self) -> (u64, u64) {
        (self.turns.load(Ordering::Relaxed), self.busy_turns.load(Ordering::Relaxed))
    }

    /// Time spent in turns that brought at least one frame, since the start.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy_ns.load(Ordering::Relaxed))
    }

    /// What the stages of its turns cost since the start; `None` unless [asked for](crate::Worker::with_stage_clocks).
    pub fn stages(&self) -> Option<StageTotals> {
        self.stages.get().map(Shown::read)
    }

    pub(crate) fn show_stages(&self) -> &Shown {
        self.stages.get_or_init(Shown::default)
    }

    pub(crate) fn adopted(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    pub(crate) fn worked(&self, time: Duration) {
        add(&self.busy_ns, time.as_nanos() as u64);
    }

    pub(crate) fn began(&self, now: Moment) {
        self.heartbeat_ms.store(now.ms(), Ordering::Relaxed);
    }

    pub(crate) fn turned(&self, now: Moment, was_empty: bool) {
        add(&self.turns, 1);
        add(&self.busy_turns, u64::from(!was_empty));
        self.heartbeat_ms.store(now.ms(), Ordering::Relaxed);
    }
}

/// Raises a counter of which this thread is the one writer.
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}
