//! What time costs while nobody sends, and how late ends come.

use std::path::PathBuf;

use anyhow::ensure;
use benches::bench::{Bench, Plan};
use benches::machine::Probes;
use benches::measure::{Measured, progress, summed_up, windows};
use benches::results::{Results, Row};
use benches::scene::{self, INSIDE};
use benches::worker::wall_ns;
use clap::Args;

/// Turns of a busy worker in a millisecond.
const TURNS: u64 = 200;
/// Milliseconds of a window.
const WINDOW_MS: u64 = 200;
/// Flows that are heard of together.
const TOGETHER: usize = 1 << 16;
/// How long an established UDP flow lives: the `cloud` profile's.
const LIFE_MS: u64 = 180_000;
/// Hosts say where they are as often.
const ANNOUNCED_MS: u64 = 20_000;

/// The share of a core that a worker's ticks take with so many live sessions and 200 turns a millisecond: sessions, mappings,
/// neighbours and fragments together. Then all sessions end, spread over two minutes: the longest time from the last packet's
/// timeout to the end.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many sessions.
    #[arg(long, default_value_t = 10_000_000)]
    sessions: usize,
    /// How often the share is measured at most: until ten windows count.
    #[arg(long, default_value_t = 40)]
    windows: usize,
    /// Keeps the rows.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { sessions, windows: most, json } = arguments;
    let mut results = Results::begin(json.as_deref())?;
    let probes = Probes::new();
    let mut bench = Bench::new(&Plan { flows: sessions, seed: 1, ..Plan::default() })?;
    bench.open(0..sessions)?;
    bench.establish(0..sessions);
    let all = windows("expiry", most, || {
        let measured = Measured::of(&probes, || {
            let [mut first, mut rest] = [0, 0];
            for _ in 0..WINDOW_MS {
                bench.pass(1);
                let start = wall_ns();
                bench.tick();
                let moved = wall_ns();
                (1..TURNS).for_each(|_| bench.tick());
                first += moved - start;
                rest += wall_ns() - moved;
            }
            let of = |ns: u64| ns as f64 / (WINDOW_MS as f64 * 1e6) * 100.0;
            Ok(vec![("first turns of a millisecond", vec![of(first)]), ("all others", vec![of(rest)])])
        })?;
        let all: f64 = measured.parts.iter().flat_map(|(_, shares)| shares).sum();
        Ok(measured.valued(all))
    })?;
    ensure!(bench.sessions() as usize == sessions, "a session ended early");
    results.add(summed_up("expiry", format!("{sessions} sessions: share of a core"), "% of a core", &all))?;
    let latest = latest_end(&mut bench, sessions)?;
    results.add(Row::exact(
        "expiry",
        format!("{sessions} sessions: an end after its time"),
        "ms",
        latest as f64,
    ))
}

/// All flows are heard of once more, some thousands at a time; then none. Returns the latest end after its time.
fn latest_end(bench: &mut Bench, sessions: usize) -> anyhow::Result<u64> {
    let groups = sessions.div_ceil(TOGETHER);
    let apart_ms = (LIFE_MS * 2 / 3 / groups as u64).max(1);
    let (mut ends, mut announced) = (Vec::new(), 0);
    for first in (0..sessions).step_by(TOGETHER) {
        if bench.now_ms() >= announced + ANNOUNCED_MS {
            bench.announce();
            announced = bench.now_ms();
        }
        let requests: Vec<_> = (first..sessions.min(first + TOGETHER)).map(scene::request).collect();
        let before = bench.sent();
        bench.carry(INSIDE, &requests);
        ensure!(bench.sent() - before == requests.len() as u64, "a packet was not forwarded");
        ends.push((bench.now_ms() + LIFE_MS, requests.len()));
        bench.pass(apart_ms);
    }
    let (mut left, mut latest) = (sessions, 0);
    for (end_ms, count) in ends {
        progress(&format!("expiry: {left} left"));
        left -= count;
        ensure!(bench.now_ms() <= end_ms || latest > 0, "ends are apart");
        while bench.now_ms() < end_ms {
            bench.pass(1);
            bench.tick();
        }
        ensure!(bench.sessions() as usize >= left, "a session ended before its time");
        bench.tick_until(left as u32, 60_000)?;
        latest = latest.max(bench.now_ms() - end_ms);
    }
    progress("");
    Ok(latest)
}
