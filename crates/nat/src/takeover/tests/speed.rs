//! How long a takeover takes: `NATGATE_TAKEOVER_SESSIONS=10000000 cargo test --release -p nat takeover::tests::speed --
//! --nocapture` prints it for so many sessions; without it there are a million.

use std::time::Instant;

use packet::Protocol;

use super::process::{Process, rules};
use crate::state::Sizes;

/// Processor time of this process so far, of all its threads: what a busy machine does not falsify as it does the clock.
fn processor_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // After the name, which may hold anything; user and system time are fields 14 and 15, in hundredths.
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// Of one address and protocol, as many as are taken here.
const PORTS: u32 = 60_000;

#[test]
fn a_million_sessions_are_taken_over_in_a_stream() {
    let sessions =
        std::env::var("NATGATE_TAKEOVER_SESSIONS").map_or(1_000_000, |count| count.parse().unwrap());
    // Half of them TCP, half UDP, each with a port of its own; some shards have more of them than others.
    let addresses = u32::div_ceil(sessions / 2, PORTS);
    let sizes = Sizes::new(sessions / 10 * 13, 16, addresses);
    let pool = (0..addresses).map(|number| format!("203.0.{}.{}", 114 + number / 250, number % 250 + 1));
    let rules = rules(&["red"])
        .replace("203.0.113.10, 203.0.113.11", &pool.collect::<Vec<_>>().join(", "))
        .replace("203.0.113.2/24", "203.0.113.2/16");
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = directory.path().join("region");
    let mut process = Process::start_sized(&path, &sizes, 10_000, &rules);
    let begun = Instant::now();
    for number in 0..sessions {
        let protocol = if number % 2 == 0 { Protocol::TCP } else { Protocol::UDP };
        let flow = process.flow(
            "red",
            protocol,
            (number / 256 % 60_000) as u16,
            (1_024 + number % 256 + number / 15_360_000 * 256) as u16,
        );
        process.send(&flow);
    }
    println!("{sessions} sessions opened in {:.1} s", begun.elapsed().as_secs_f64());
    // The region's own file is locked by this process until it ends: here, in an orderly way.
    drop(process);
    let (begun, processor_before_s) = (Instant::now(), processor_s());
    let process = Process::start_sized(&path, &sizes, 20_000, &rules);
    println!(
        "opened in {:.3} s, {:.2} s of processors: {}",
        begun.elapsed().as_secs_f64(),
        processor_s() - processor_before_s,
        process.takeover
    );
    assert_eq!((process.takeover.sessions_kept, process.takeover.mappings_kept), (sessions, sessions / 2));
    let used = process
        .state
        .parts
        .addresses
        .records()
        .map(|(number, _)| process.state.ports_used(number))
        .sum::<u32>();
    assert_eq!(used, sessions);
}
