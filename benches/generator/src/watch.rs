//! How long threads ran, and how long they were ready to and did not: the scheduler's own account.

use std::fs;

use serde_json::{Value, json};

/// Some threads' account at one moment.
pub(crate) struct Account(Vec<(u64, u64)>);

impl Account {
    /// Of threads by their numbers.
    pub(crate) fn of(threads: &[u32]) -> Self {
        Self(threads.iter().map(|thread| read(*thread)).collect())
    }

    /// What has become of it `ns` later: the share of time that they ran, all together, and the share that one of them waited.
    pub(crate) fn since(&self, threads: &[u32], ns: f64) -> Value {
        let now = Self::of(threads).0;
        let spent = |of: fn(&(u64, u64)) -> u64| {
            let pairs = now.iter().zip(&self.0);
            pairs.map(move |(now, then)| of(now).saturating_sub(of(then)) as f64 / ns).collect::<Vec<_>>()
        };
        let (ran, waited) = (spent(|account| account.0), spent(|account| account.1));
        json!({"ran": ran.iter().sum::<f64>(), "waited": waited.iter().copied().fold(0.0, f64::max)})
    }
}

/// Nanoseconds that a thread ran, and that it waited; zeros where it is gone.
fn read(thread: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{thread}/schedstat")).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_thread_that_spins_runs_or_waits_all_the_time() {
        let me = [fs::read_link("/proc/thread-self").unwrap().file_name().unwrap().to_str().unwrap()]
            .map(|thread| thread.parse().unwrap());
        let (account, start) = (Account::of(&me), Instant::now());
        while start.elapsed() < Duration::from_millis(50) {}
        let spent = account.since(&me, start.elapsed().as_nanos() as f64);
        let (ran, waited) = (spent["ran"].as_f64().unwrap(), spent["waited"].as_f64().unwrap());
        assert!(ran > 0.0 && (0.7..1.3).contains(&(ran + waited)), "{spent}");
    }
}
