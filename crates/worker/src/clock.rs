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

/// The processor's time-stamp counter, which runs at one pace whatever the core does; nanoseconds where there is none.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code, reason = "the instruction is there on every x86-64, and touches nothing")]
    // SAFETY: as above; where the kernel forbids it, the process ends.
    let ticks = unsafe { core::arch::x86_64::_rdtsc() };
    #[cfg(not(target_arch = "x86_64"))]
    let ticks = now().as_nanos() as u64;
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_from_one_process_to_the_next() {
        let since_start = || -> f64 {
            let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
            uptime.split(' ').next().unwrap().parse().unwrap()
        };
        // The kernel writes hundredths, and counts the time that a machine was suspended, too.
        let earlier = now();
        assert!(earlier.as_secs_f64() <= since_start() + 0.02);
        assert!(earlier > Duration::from_secs(1), "it began with the machine, not with this process");
        assert!(now() >= earlier && moment().ms() >= earlier.as_millis() as u64);
    }
}
