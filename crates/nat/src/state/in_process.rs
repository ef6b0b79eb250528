//! What the gateways of one process share beside the region.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flowtable::{HashKey, Quiescence};
use rules::compiled::Realm;

use super::{Sizes, WORKERS_MAX, WorkerIndex};
use crate::hand_off::Finished;
use crate::neighbours::{self, NeighbourTable};
use crate::probes::AllProbes;

/// See the file's page.
pub(crate) struct InProcess {
    /// When what was taken out of a table is free.
    pub(crate) quiescence: Arc<Quiescence>,
    /// Who has which MAC. Soon asked for again, so not worth keeping.
    pub(crate) neighbours: Arc<NeighbourTable>,
    /// How many of the frames that were handed on are finished.
    pub(crate) finished: Finished,
    /// Of the hash by which flows keep their order.
    pub(crate) order_key: [u64; 2],
    /// Who still turns.
    pub(crate) turns: Turns,
    /// How many looks for a port each one's turn has left.
    pub(crate) probes: AllProbes,
}

/// A gateway that has not turned for so long has stopped.
const STOPPED_AFTER_MS: u32 = 1_000;

/// When each gateway last turned, to the millisecond, and whether it ever did.
///
/// # Concurrency
/// Each gateway writes its own, all read all: a figure of a moment, relaxed.
#[derive(Default)]
pub(crate) struct Turns([AtomicU64; WORKERS_MAX]);

const _: () = assert!(WORKERS_MAX <= u32::BITS as usize, "a bit for each gateway");

impl Turns {
    const EVER: u64 = 1 << 32;

    /// Notes a turn of `gateway`. True for the first one of a millisecond.
    pub(crate) fn note(&self, gateway: WorkerIndex, now_ms: u32) -> bool {
        let turn = Self::EVER | u64::from(now_ms);
        let last = &self.0[usize::from(gateway.0)];
        let is_first = last.load(Relaxed) != turn;
        if is_first {
            last.store(turn, Relaxed);
        }
        is_first
    }

    /// A bit for each gateway that has stopped.
    pub(crate) fn stopped(&self, now_ms: u32) -> u32 {
        self.0.iter().enumerate().fold(0, |stopped, (gateway, turn)| {
            let turn = turn.load(Relaxed);
            // One that has turned since the caller looked at the clock is ahead of it.
            let silent_ms = now_ms.wrapping_sub(turn as u32) as i32;
            let has_stopped = turn & Self::EVER != 0 && silent_ms > STOPPED_AFTER_MS as i32;
            stopped | u32::from(has_stopped) << gateway
        })
    }
}

impl InProcess {
    pub(crate) fn new(sizes: &Sizes, hash_key: HashKey) -> Self {
        Self {
            quiescence: Quiescence::new(),
            neighbours: neighbours::table(sizes.shards, sizes.hosts, hash_key),
            finished: Finished::new(WORKERS_MAX),
            order_key: hash_key.0,
            turns: Turns::default(),
            probes: AllProbes::default(),
        }
    }

    /// Whether anything here names the realm.
    pub(crate) fn names(&self, realm: Realm) -> bool {
        neighbours::names(&self.neighbours, realm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_has_not_turned_for_a_second_has_stopped() {
        let turns = Turns::default();
        // Across the wrap of the milliseconds.
        let at = |ms: i32| u32::MAX.wrapping_add_signed(ms);
        assert!(turns.note(WorkerIndex(1), at(0)) && !turns.note(WorkerIndex(1), at(0)));
        turns.note(WorkerIndex(4), at(900));
        assert_eq!(turns.stopped(at(1_000)), 0, "who never turned has not stopped");
        assert_eq!(turns.stopped(at(1_001)), 1 << 1);
        assert_eq!(turns.stopped(at(1_901)), 1 << 1 | 1 << 4);
        turns.note(WorkerIndex(1), at(1_901));
        assert_eq!(turns.stopped(at(1_900)), 0, "one of them is ahead of the clock");
    }
}
