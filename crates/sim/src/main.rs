//! Plays seeds by hand: see `scripts/simulate`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a judge fails by panicking")]

use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sim::play::{Play, Report};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("worlds") {
        return sim::worlds::command(std::env::args().skip(2));
    }
    let mut seeds = 1..=10;
    let (mut operations, mut explains, mut traces) = (100_000, false, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--trace" {
            traces = true;
            continue;
        }
        if argument == "--explain" {
            explains = true;
            continue;
        }
        let value = arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--seeds" => seeds = range(&value),
            "--operations" => operations = value.parse().unwrap(),
            other => panic!("no such option: {other}"),
        }
    }
    let (begun, mut told) = (Instant::now(), Instant::now());
    let (mut total, mut failed) = (Report::default(), 0);
    for seed in seeds.clone() {
        let mut play = Play::new(seed);
        play.explains = explains;
        play.traces = traces;
        let played = (0..operations).try_for_each(|_| play.step()).and_then(|()| play.finish());
        if let Err(disagreement) = &played {
            println!("{disagreement}");
            failed += 1;
        }
        if explains && played.is_ok() {
            println!("seed {seed} after {operations} operations: {}", play.memory());
        }
        total.add(&play.report);
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("seed {seed}: {} operations in {} s", total.operations, begun.elapsed().as_secs());
        }
    }
    let Report { operations, packets, judged: [dropped, sent, answered] } = total;
    println!(
        "seeds {}-{}: {operations} operations, {packets} packets ({sent} sent on, {dropped} dropped, {answered} answered) in {} s, {failed} seeds failed",
        seeds.start(),
        seeds.end(),
        begun.elapsed().as_secs(),
    );
    ExitCode::from(u8::from(failed > 0))
}

fn range(text: &str) -> RangeInclusive<u64> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    first.parse().unwrap()..=last.parse().unwrap()
}
