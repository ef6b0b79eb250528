//! How long to wait before the feed is dialled again: from 0.2 s, doubling, to 30 s, each time anything from half of it
//! to all of it, so that a thousand gateways do not come back in step.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LAST: Duration = Duration::from_secs(30);

/// Waits that grow until something works.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait. `chance` is random.
    pub(crate) fn next(&mut self, chance: u32) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(16)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        full / 2 + (full / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }

    /// Something worked: the next wait is the shortest again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_a_fifth_of_a_second_to_thirty() {
        let mut backoff = Backoff::default();
        let full: Vec<_> = (0..10).map(|_| backoff.next(u32::MAX).as_millis()).collect();
        assert_eq!(full, [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert_eq!(backoff.next(0), LAST / 2);
        backoff.reset();
        assert_eq!(backoff.next(0), FIRST / 2);
        for _ in 0..100 {
            assert!(backoff.next(7) <= LAST);
        }
    }
}
