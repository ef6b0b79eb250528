//! Gateways and oracle agree, packet by packet, over random operations; seeds that once showed that they did not are
//! played again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use sim::play::{Play, Report};

/// Played each time: 200,000 operations.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;
const OPERATIONS: u64 = 20_000;

fn play(seed: u64, operations: u64) -> Report {
    let mut play = Play::new(seed);
    for _ in 0..operations {
        play.step().unwrap_or_else(|disagreement| panic!("{disagreement}"));
    }
    play.report
}

#[test]
fn every_packet_is_what_the_oracle_says() {
    let mut total = Report::default();
    for seed in SEEDS {
        total.add(&play(seed, OPERATIONS));
    }
    let [dropped, sent, answered] = total.judged;
    println!("{total:?}");
    assert!(sent * 10 > total.packets * 4, "most packets are sent on: {total:?}");
    assert!(dropped > 10_000 && answered > 2_000, "{total:?}");
}

/// Each file of `seeds/` is a case: a seed and how many operations it takes, and behind `#` what it once showed.
#[test]
fn seeds_that_showed_something_are_played_again() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/seeds");
    for file in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for line in
            text.lines().filter_map(|line| line.split('#').next()).filter(|line| !line.trim().is_empty())
        {
            let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap());
            play(numbers.next().unwrap(), numbers.next().unwrap());
        }
    }
}

#[test]
fn one_seed_replays_exactly() {
    let [one, other] = [7, 7].map(|seed| {
        let mut play = Play::new(seed);
        (0..2_000).for_each(|_| play.step().unwrap_or_else(|disagreement| panic!("{disagreement}")));
        play.trace_hash()
    });
    assert_eq!(one, other);
}
