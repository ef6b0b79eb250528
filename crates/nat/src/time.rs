//! Milliseconds that wrap, and how much of a table to sweep in a turn.

use flowtable::{SHARDS_MAX, ShardIndex};

/// How long one sweep over a whole table takes where the worker turns often enough.
const SWEEP_PERIOD_MS: u64 = 1_000;

/// The most slots that one turn looks at: 16 KiB of deadlines, read in sequence.
const SWEEP_SLOTS_MAX: usize = 4_096;

/// Paces a sweep by the time that has passed, so that an idle worker that turns seldom sweeps as fast as a busy one.
#[derive(Default)]
pub(crate) struct Sweep {
    last_ms: u32,
}

impl Sweep {
    /// How many slots to look at now.
    pub(crate) fn slots(&mut self, now_ms: u32, slots_max: u32) -> usize {
        let elapsed_ms = u64::from(now_ms.wrapping_sub(self.last_ms));
        if elapsed_ms == 0 {
            return 0;
        }
        self.last_ms = now_ms;
        let slots = u64::from(slots_max) * elapsed_ms / SWEEP_PERIOD_MS + 1;
        slots.min(SWEEP_SLOTS_MAX as u64) as usize
    }
}

/// The shards' turns: each is looked at once in a millisecond, in order, over as many turns of the worker as that takes.
#[derive(Default)]
pub(crate) struct Round {
    ms: Option<u32>,
    next: u8,
    left: u8,
}

const SHARDS: u8 = SHARDS_MAX as u8;

impl Round {
    /// Whether time has passed since it was last asked; then all shards are to be looked at, from where the last round was left.
    pub(crate) fn begins(&mut self, now_ms: u32) -> bool {
        let has_passed = self.ms != Some(now_ms);
        if has_passed {
            (self.ms, self.left) = (Some(now_ms), SHARDS);
        }
        has_passed
    }

    /// Whether all shards have been looked at.
    pub(crate) fn is_over(&self) -> bool {
        self.left == 0
    }
}

/// The next shard to be looked at.
impl Iterator for Round {
    type Item = ShardIndex;

    fn next(&mut self) -> Option<ShardIndex> {
        self.left = self.left.checked_sub(1)?;
        let shard = ShardIndex(self.next);
        self.next = (self.next + 1) % SHARDS;
        Some(shard)
    }
}

/// Whether `deadline_ms` has come.
pub(crate) fn has_come(deadline_ms: u32, now_ms: u32) -> bool {
    now_ms.wrapping_sub(deadline_ms) as i32 >= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_its_turn_once_in_a_millisecond_however_short_the_turns() {
        let mut round = Round::default();
        let mut turns = [0; SHARDS_MAX];
        for now_ms in 1..=SHARDS_MAX as u32 {
            assert!(round.begins(now_ms) && !round.begins(now_ms));
            // Five, and then time passes: the next round goes on from there.
            round.by_ref().take(5).for_each(|shard| turns[usize::from(shard.0)] += 1);
            assert!(!round.is_over());
        }
        assert_eq!(turns, [5; SHARDS_MAX]);
        assert_eq!(round.by_ref().count(), SHARDS_MAX - 5);
        assert!(round.is_over() && round.next().is_none());
    }

    #[test]
    fn a_turn_looks_at_a_bounded_part_of_the_table_however_long_the_worker_slept() {
        let mut sweep = Sweep::default();
        for now_ms in [1, 1_000, 3_600_000, u32::MAX, 5_000] {
            assert!((1..=SWEEP_SLOTS_MAX).contains(&sweep.slots(now_ms, u32::MAX)), "{now_ms}");
            assert_eq!(sweep.slots(now_ms, u32::MAX), 0, "not twice at one time");
        }
    }

    #[test]
    fn the_whole_table_is_looked_at_in_a_second_over_the_clocks_end_too() {
        for turn_ms in [1, 7, 250] {
            let mut sweep = Sweep::default();
            let mut now_ms = u32::MAX - 500;
            sweep.slots(now_ms, 10_000);
            let turns = (0..SWEEP_PERIOD_MS as u32).step_by(turn_ms as usize);
            let slots: usize = turns
                .map(|_| {
                    now_ms = now_ms.wrapping_add(turn_ms);
                    sweep.slots(now_ms, 10_000)
                })
                .sum();
            assert!((10_000..=12_000).contains(&slots), "{slots} in turns of {turn_ms} ms");
        }
    }
}
