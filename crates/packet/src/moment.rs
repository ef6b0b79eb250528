//! Time as an argument: no clock is read below the worker's loop.

use core::ops::{Add, Sub};

/// A point in time, in milliseconds of a monotonic clock.
///
/// The origin is the clock's own; only differences mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// The moment `ms` milliseconds after the clock's origin.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the clock's origin.
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`; 0 if `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Moment {
    type Output = Self;

    fn add(self, ms: u64) -> Self {
        // A timeout from a feed may be any number; "never" is the end of time.
        Self(self.0.saturating_add(ms))
    }
}

impl Sub<u64> for Moment {
    type Output = Self;

    fn sub(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_neither_wraps_nor_runs_backwards() {
        let now = Moment::from_ms(1000);
        assert_eq!((now + 5).since(now), 5);
        assert_eq!(now.since(now + 5), 0);
        assert_eq!((now - 2000).ms(), 0);
        assert_eq!((now + u64::MAX).ms(), u64::MAX);
    }
}
