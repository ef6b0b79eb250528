//! The workers' clock: the time since the machine started, the same for every process.
//!
//! Deadlines lie in memory that outlives the process, so their clock must too: CLOCK_MONOTONIC does, and
//! [`std::time::Instant`], which hides its zero, cannot say so. Reading it is no system call (vDSO), some 25 ns.

use std::time::Duration;

use packet::Moment;
use rustix::time::{ClockId, clock_gettime};

/// The time since the machine started.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    // Neither is ever negative: the clock starts at 0, and a second has 10^9 nanoseconds.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The same for the brain, in milliseconds.
pub fn moment() -> Moment {
    Moment::from_ms(now().as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_reads_the_same_time() {
        let since_start = || -> f64 {
            let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
            uptime.split(' ').next().unwrap().parse().unwrap()
        };
        // The kernel writes hundredths. (On a machine that was asleep its uptime is longer: it counts that too.)
        let (before, time, after) = (since_start(), now().as_secs_f64(), since_start());
        assert!(time <= after + 0.02, "{time} is later than {after}");
        assert!(time > 0.0 && now().as_secs_f64() >= time);
        if std::fs::read_to_string("/proc/self/timens_offsets").is_ok_and(|offsets| offsets.contains(" 0 ")) {
            assert!(before - time < 3_600.0 * 24.0);
        }
    }
}
