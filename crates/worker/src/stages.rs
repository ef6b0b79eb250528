//! What the stages of a turn cost: off unless it is asked for, and then one clock read more for each.
//!
//! ```text
//! turn:  command | each port: receive | process | rings: take and process | tick | transmit and hand on
//!        not counted        Receive     Process            Handed            Tick    Transmit
//! ```
//!
//! Only turns that brought a frame count: what a worker spends on looking in vain is not the packets' cost.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock;

/// A stage of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The drivers bring frames.
    Receive,
    /// The brain deals with them.
    Process,
    /// It deals with what other workers handed on.
    Handed,
    /// What time asks for.
    Tick,
    /// The drivers take frames, the rings what is handed on.
    Transmit,
}

/// How many there are.
const STAGES: usize = 5;

/// What stages cost since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTotals {
    /// Frames that came in, by ports and from other workers.
    pub packets: u64,
    clocks: [u64; STAGES],
}

impl StageTotals {
    /// [Ticks](clock::ticks) that a stage took.
    pub fn clocks(&self, stage: Stage) -> u64 {
        self.clocks[stage as usize]
    }

    /// What was added since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let mut clocks = self.clocks;
        clocks.iter_mut().zip(before.clocks).for_each(|(now, before)| *now -= before);
        Self { packets: self.packets - before.packets, clocks }
    }
}

/// The totals as a worker shows them.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    packets: AtomicU64,
    clocks: [AtomicU64; STAGES],
}

impl Shown {
    pub(crate) fn read(&self) -> StageTotals {
        let clocks = self.clocks.each_ref().map(|clocks| clocks.load(Ordering::Relaxed));
        StageTotals { packets: self.packets.load(Ordering::Relaxed), clocks }
    }

    fn write(&self, totals: &StageTotals) {
        self.packets.store(totals.packets, Ordering::Relaxed);
        self.clocks.iter().zip(totals.clocks).for_each(|(to, from)| to.store(from, Ordering::Relaxed));
    }
}

/// A worker's stopwatch.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    pub(crate) runs: bool,
    last: u64,
    turn: StageTotals,
    all: StageTotals,
}

impl Stopwatch {
    /// The first stage begins.
    #[inline]
    pub(crate) fn begin(&mut self) {
        if self.runs {
            self.turn = StageTotals::default();
            self.last = clock::ticks();
        }
    }

    /// So many frames came.
    #[inline]
    pub(crate) fn count(&mut self, frames: usize) {
        self.turn.packets += frames as u64;
    }

    /// A stage ends, or a part of it, and the next begins.
    #[inline]
    pub(crate) fn end(&mut self, stage: Stage) {
        if self.runs {
            let now = clock::ticks();
            self.turn.clocks[stage as usize] += now.saturating_sub(self.last);
            self.last = now;
        }
    }

    /// The last stage has ended.
    #[inline]
    pub(crate) fn settle(&mut self, shown: &Shown) {
        if self.runs && self.turn.packets > 0 {
            self.all.packets += self.turn.packets;
            self.all.clocks.iter_mut().zip(self.turn.clocks).for_each(|(all, turn)| *all += turn);
            shown.write(&self.all);
        }
    }
}
