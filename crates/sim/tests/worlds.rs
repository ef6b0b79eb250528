//! Worlds of some seeds, and those of seeds that once showed something.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use sim::worlds::{Report, run};

/// Each of them so many hours.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=4;
const HOURS: u64 = 2;

fn clean(seed: u64, hours: u64) -> (Report, u64) {
    run(seed, hours, [false; 2]).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn what_hosts_send_arrives_whole_and_at_nobody_else() {
    let mut total = Report::default();
    for seed in SEEDS {
        total.add(&clean(seed, HOURS).0);
    }
    println!("{total:?}");
    let [done, broken, _] = total.transfers;
    let [answered, unanswered] = total.questions;
    assert!(done > 2_000 && broken * 20 < done, "few transfers have an excuse: {total:?}");
    assert!(answered > 10_000 && unanswered * 4 < answered, "few questions have an excuse: {total:?}");
}

#[test]
fn a_world_replays_exactly() {
    assert_eq!(clean(7, 1), clean(7, 1));
}

/// Each line of `worlds.seeds` is a case: a seed and its hours, and behind `#` what it once showed.
#[test]
fn worlds_that_showed_something_are_played_again() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/worlds.seeds")).unwrap();
    for line in text.lines().filter_map(|line| line.split('#').next()).filter(|line| !line.trim().is_empty())
    {
        let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap());
        clean(numbers.next().unwrap(), numbers.next().unwrap());
    }
}
