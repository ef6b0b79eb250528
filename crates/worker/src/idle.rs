//! What a worker does when nothing arrives: spins a while, then sleeps, the longer the silence the longer, but never
//! long.
//!
//! A poller at 100 % is right on a core of its own and a nuisance everywhere else. A sleep is a sixteenth of the silence
//! so far, so a packet waits at most that share of the pause before it; the longest sleep bounds the wait after any
//! pause, and a ring of 1,024 frames holds what a 1 Mpps burst brings meanwhile.

use std::time::Duration;

/// Silence before the first sleep.
const SPIN: Duration = Duration::from_micros(320);
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(1);
/// A sleep is this fraction of the silence so far.
const SILENCE_SHARE: u32 = 16;

/// Whether an idle worker gives its core away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// Spin a while, then sleep for at most a millisecond at a time.
    #[default]
    Sleep,
    /// Never sleep.
    Spin,
    /// Spin a while, then sleep a millisecond at a time, woken by what comes: for whoever can be.
    Interrupt,
}

/// How a worker's thread sleeps.
pub trait Sleep {
    /// Sleeps for `time`, or less.
    fn sleep(&mut self, time: Duration);
}

/// Parks the thread.
pub(crate) struct Parked;

impl Sleep for Parked {
    fn sleep(&mut self, time: Duration) {
        std::thread::park_timeout(time);
    }
}

impl Idle {
    /// How long to sleep after `silence` without a frame, `None` to look again at once.
    pub(crate) fn sleep_after(self, silence: Duration) -> Option<Duration> {
        match self {
            _ if silence < SPIN => None,
            Self::Sleep => Some((silence / SILENCE_SHARE).min(SLEEP_MAX)),
            Self::Interrupt => Some(SLEEP_MAX),
            Self::Spin => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_grow_with_the_silence_and_stay_short() {
        let us = Duration::from_micros;
        assert_eq!(Idle::Sleep.sleep_after(us(0)), None);
        assert_eq!(Idle::Sleep.sleep_after(us(319)), None);
        assert_eq!(Idle::Sleep.sleep_after(us(320)), Some(us(20)));
        assert_eq!(Idle::Sleep.sleep_after(us(1_600)), Some(us(100)));
        assert_eq!(Idle::Sleep.sleep_after(Duration::from_secs(3600)), Some(us(1_000)));
        assert_eq!(Idle::Spin.sleep_after(Duration::from_secs(3600)), None);
        assert_eq!(Idle::Interrupt.sleep_after(us(319)), None);
        assert_eq!(Idle::Interrupt.sleep_after(us(320)), Some(us(1_000)));
    }
}
