//! Milliseconds that wrap, and how much of a table to sweep in a turn.

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

/// Whether `deadline_ms` has come.
pub(crate) fn has_come(deadline_ms: u32, now_ms: u32) -> bool {
    now_ms.wrapping_sub(deadline_ms) as i32 >= 0
}
