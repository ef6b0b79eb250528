//! Plays worlds by hand: see `scripts/simulate`.

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::{Failure, Report, World};

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Plays so many hours of a seed's world, and the rest in which everything ends.
///
/// # Errors
/// What in it must not be.
pub fn run(seed: u64, hours: u64, [tells, traces]: [bool; 2]) -> Result<(Report, u64), Failure> {
    let mut world = World::new(seed);
    (world.tells, world.traces) = (tells, traces);
    for _ in 0..hours {
        world.hour()?;
    }
    world.rest()?;
    Ok((world.report, world.trace()))
}

/// `worlds --seeds A-B --hours N [--threads N] [--tell | --trace]`.
pub fn command(arguments: impl Iterator<Item = String>) -> ExitCode {
    let (mut seeds, mut hours, mut threads, mut tells) = ((1, 10), 72, 1, [false; 2]);
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        if argument == "--tell" || argument == "--trace" {
            tells = [true, argument == "--trace"];
            continue;
        }
        let value = arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--seeds" => {
                let (first, last) = value.split_once('-').unwrap_or((&value, &value));
                seeds = (first.parse().unwrap(), last.parse().unwrap());
            }
            "--hours" => hours = value.parse().unwrap(),
            "--threads" => threads = value.parse().unwrap(),
            other => panic!("no such option: {other}"),
        }
    }
    let (next, begun) = (AtomicU64::new(seeds.0), Instant::now());
    let total = Mutex::new((Report::default(), 0, 0, Instant::now()));
    let play = || {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed > seeds.1 {
                break;
            }
            // What an assertion ends is one seed.
            let played = catch_unwind(|| run(seed, hours, tells));
            let mut total = total.lock().unwrap();
            let (report, clean, failed, told) = &mut *total;
            match played {
                Ok(Ok((one, trace))) => {
                    report.add(&one);
                    *clean += 1;
                    let Report { hours, packets, expiries, .. } = one;
                    println!(
                        "seed {seed} clean: {hours} hours, {packets} packets, {expiries} expiries, trace {trace:016x}"
                    );
                }
                Ok(Err(failure)) => {
                    println!("{failure}");
                    *failed += 1;
                }
                Err(_) => {
                    println!("seed {seed} ended by an assertion");
                    *failed += 1;
                }
            }
            if told.elapsed() > TOLD_EVERY {
                *told = Instant::now();
                eprintln!(
                    "{} s: {clean} seeds clean, {failed} failed, {} packets",
                    begun.elapsed().as_secs(),
                    report.packets
                );
            }
        }
    };
    thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(play)));
    let (Report { hours, packets, expiries, transfers, questions, faults, changes }, clean, failed, _) =
        *total.lock().unwrap();
    let [done, broken, outlived] = transfers;
    let [answered, unanswered] = questions;
    println!(
        "seeds {}-{}: {clean} clean, {failed} failed; {hours} virtual hours, {packets} packets, {expiries} sessions ended, \
         {done} transfers done, {broken} broken and known why, {outlived} outlived their session; {answered} questions \
         answered, {unanswered} not and known why; {faults} faults, {changes} changes of rules; {} s",
        seeds.0,
        seeds.1,
        begun.elapsed().as_secs(),
    );
    ExitCode::from(u8::from(failed > 0))
}
