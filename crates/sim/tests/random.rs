//! Gateways and oracle agree, packet by packet, over random operations; seeds that once showed that they did not are
//! played again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use sim::play::{Play, Report};

/// Operations of each seed.
const OPERATIONS: u64 = 20_000;

fn play(seed: u64, operations: u64) -> Report {
    let mut play = Play::new(seed);
    let played = (0..operations).try_for_each(|_| play.step()).and_then(|()| play.finish());
    played.unwrap_or_else(|disagreement| panic!("{disagreement}"));
    play.report
}

/// Half a million operations; with the other half, a million each time.
#[test]
fn every_packet_is_what_the_oracle_says() {
    play_all(1..=25);
}

#[test]
fn every_packet_of_other_seeds_is_too() {
    play_all(26..=50);
}

fn play_all(seeds: std::ops::RangeInclusive<u64>) {
    let mut total = Report::default();
    seeds.for_each(|seed| total.add(&play(seed, OPERATIONS)));
    let Report { packets, judged: [dropped, sent, answered], .. } = total;
    assert!(sent * 10 > packets * 4, "most packets are sent on: {total:?}");
    assert!(dropped * 20 > packets && answered * 100 > packets, "{total:?}");
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
