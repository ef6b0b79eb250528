//! What a worker does when nothing arrives: spins a while, then sleeps for ever longer, but never long.
//!
//! A poller at 100 % is right on a core of its own and a nuisance everywhere else. The longest sleep bounds the delay
//! of the first packet after a pause; a ring of 512 frames holds what a 1 Mpps burst brings meanwhile.

use std::time::Duration;

/// Empty turns before the first sleep.
const SPINS: u32 = 2_000;
/// The first sleep; each empty turn after it doubles it.
const SLEEP_MIN: Duration = Duration::from_micros(20);
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_micros(320);

/// Whether an idle worker gives its core away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// Spin a while, then sleep for at most 320 microseconds at a time.
    #[default]
    Sleep,
    /// Never sleep.
    Spin,
}

/// Counts empty turns.
#[derive(Debug)]
pub(crate) struct Backoff {
    idle: Idle,
    empty_turns: u32,
}

impl Backoff {
    pub(crate) fn new(idle: Idle) -> Self {
        Self { idle, empty_turns: 0 }
    }

    /// Rests as long as this turn's take suggests.
    pub(crate) fn rest(&mut self, was_empty: bool) {
        if !was_empty {
            self.empty_turns = 0;
            return;
        }
        match self.sleep() {
            Some(time) => std::thread::sleep(time),
            None => std::hint::spin_loop(),
        }
        self.empty_turns = self.empty_turns.saturating_add(1);
    }

    fn sleep(&self) -> Option<Duration> {
        let past_spins = self.empty_turns.checked_sub(SPINS)?;
        (self.idle == Idle::Sleep).then(|| SLEEP_MIN.saturating_mul(1 << past_spins.min(10)).min(SLEEP_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(idle: Idle, empty_turns: u32) -> Option<Duration> {
        Backoff { idle, empty_turns }.sleep()
    }

    #[test]
    fn sleeps_grow_and_stay_short() {
        assert_eq!(after(Idle::Sleep, 0), None);
        assert_eq!(after(Idle::Sleep, SPINS - 1), None);
        assert_eq!(after(Idle::Sleep, SPINS), Some(SLEEP_MIN));
        assert_eq!(after(Idle::Sleep, SPINS + 1), Some(SLEEP_MIN * 2));
        assert_eq!(after(Idle::Sleep, u32::MAX), Some(SLEEP_MAX));
        assert_eq!(after(Idle::Spin, u32::MAX), None);
    }

    #[test]
    fn a_frame_ends_the_rest() {
        let mut backoff = Backoff { idle: Idle::Sleep, empty_turns: SPINS + 9 };
        backoff.rest(false);
        assert_eq!(backoff.sleep(), None);
    }
}
