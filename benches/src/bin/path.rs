//! What the packet's walk costs, in process, against the goals: see `benches/README.md`.

use std::fmt;

use benches::bench::Bench;
use benches::machine::{MemoryProbe, Random, Window, clock_ghz, processor};
use benches::scene::{self, INSIDE, OUTSIDE};
use clap::Parser;

/// Packets of a trace: their frames fill 16 MB, several times a second-level cache.
const TRACE: usize = 1 << 17;
/// First packets of a window.
const OPENED: usize = 1 << 16;
/// So many windows have to count, or a figure is none.
const WINDOWS_MIN: usize = 10;

/// Clocks that a packet costs on its way through the gateway, without ports: established UDP flows through SNAT in fresh random
/// order, and their first packets; floating IPs. Prints a table in Markdown.
#[derive(Parser)]
struct Arguments {
    /// How many flows, two table rows each.
    #[arg(long, value_delimiter = ',', default_value = "1000,64064,1000000")]
    flows: Vec<usize>,
    /// How many floating IPs, one table row each.
    #[arg(long, value_delimiter = ',', default_value = "1000,50000")]
    floating: Vec<usize>,
    /// How often each is measured.
    #[arg(long, default_value_t = 15)]
    windows: usize,
    /// Where the random orders begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let Arguments { flows, floating, windows, seed } = Arguments::parse();
    println!("{} at {:.3} GHz, seed {seed}:\n", processor(), clock_ghz());
    println!(
        "| clocks a packet | goal | out | in | both: median (least to most) | windows that count | | all bursts, out | in |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let probe = MemoryProbe::new();
    for flows in flows {
        let mut bench = Bench::new(flows, 0, seed)?;
        let opened = open(&mut bench, &probe, flows)?;
        bench.establish(0..flows);
        let carried = measure(&mut bench, &probe, windows, seed, flows, |bench, flow| {
            [scene::request(flow), bench.answer(flow)]
        })?;
        println!(
            "{}",
            Row { what: format!("{flows} established flows"), goal: goal_of(flows), windows: carried }
        );
        if flows >= WINDOWS_MIN * OPENED {
            println!("{}", Row { what: format!("a new flow, of {flows}"), goal: Some(700), windows: opened });
        }
    }
    for floating in floating {
        let mut bench = Bench::new(0, floating, seed)?;
        let carried = measure(&mut bench, &probe, windows, seed, floating, |_, number| {
            [scene::floating_request(number), scene::floating_answer(number)]
        })?;
        println!("{}", Row { what: format!("{floating} floating IPs"), goal: Some(65), windows: carried });
    }
    Ok(())
}

/// What VPP's fastest NAT takes for so many flows, less a quarter to two thirds.
fn goal_of(flows: usize) -> Option<u32> {
    match flows {
        0..=1_000 => Some(80),
        1_001..=64_064 => Some(115),
        64_065..=1_000_000 => Some(190),
        1_000_001..=10_000_000 => Some(240),
        _ => None,
    }
}

/// What was measured in one go.
struct Measured {
    /// Clocks a packet, of each group of bursts.
    out: Vec<f64>,
    /// The same from outside, where any came from there.
    back: Option<Vec<f64>>,
    /// Nobody else was at work.
    counts: bool,
}

impl Measured {
    fn out(&self) -> f64 {
        mean(&self.out)
    }

    fn back(&self) -> Option<f64> {
        self.back.as_deref().map(mean)
    }

    fn both(&self) -> f64 {
        self.back().map_or(self.out(), |back| (self.out() + back) / 2.0)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn clocks(nanoseconds: Vec<f64>) -> Vec<f64> {
    nanoseconds.into_iter().map(|one| one * clock_ghz()).collect()
}

/// Opens flows, a window at a time.
fn open(bench: &mut Bench, probe: &MemoryProbe, flows: usize) -> anyhow::Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for first in (0..flows).step_by(OPENED) {
        let is_calm = probe.is_calm();
        let window = Window::begin();
        let out = clocks(bench.open(first..flows.min(first + OPENED))?);
        measured.push(Measured { out, back: None, counts: is_calm && window.end().is_quiet() });
    }
    Ok(measured)
}

/// Measures packets out and in, of so many kinds: `frames` makes one of each way.
fn measure(
    bench: &mut Bench,
    probe: &MemoryProbe,
    windows: usize,
    seed: u64,
    kinds: usize,
    frames: impl Fn(&Bench, usize) -> [Vec<u8>; 2],
) -> anyhow::Result<Vec<Measured>> {
    let mut random = Random::new(seed);
    let mut measured = Vec::new();
    for _ in 0..windows {
        let chosen = (0..TRACE).map(|_| frames(bench, random.below(kinds)));
        let (outbound, inbound): (Vec<_>, Vec<_>) = chosen.map(|[there, here]| (there, here)).unzip();
        let is_calm = probe.is_calm();
        let (before, window) = (bench.sent(), Window::begin());
        let spent = [bench.carry(INSIDE, &outbound), bench.carry(OUTSIDE, &inbound)];
        let counts = is_calm && window.end().is_quiet();
        anyhow::ensure!(bench.sent() - before == 2 * TRACE as u64, "a packet was not forwarded");
        let [out, back] = spent.map(clocks);
        measured.push(Measured { out, back: Some(back), counts });
    }
    Ok(measured)
}

/// A row of the table.
struct Row {
    what: String,
    goal: Option<u32>,
    windows: Vec<Measured>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, goal, windows } = self;
        let counting: Vec<_> = windows.iter().filter(|window| window.counts).collect();
        let count = counting.len();
        let goal_shown = goal.map_or("-".to_owned(), |goal| goal.to_string());
        write!(f, "| {what} | {goal_shown} | ")?;
        if count < WINDOWS_MIN {
            write!(f, "- | - | - | {count} of {} | not measured |", windows.len())?;
        } else {
            let of = |part: fn(&Measured) -> Option<f64>| {
                sorted(counting.iter().filter_map(|one| part(one)).collect())
            };
            let (out, back, both) =
                (of(|one| Some(one.out())), of(Measured::back), of(|one| Some(one.both())));
            let (least, most) = (both.first().unwrap_or(&0.0), both.last().unwrap_or(&0.0));
            let is_met = goal.is_none_or(|goal| at(&both, 2).is_some_and(|both| both <= f64::from(goal)));
            write!(
                f,
                "{} | {} | {} ({least:.0} to {most:.0}) | {count} of {} | {} |",
                shown(at(&out, 2)),
                shown(at(&back, 2)),
                shown(at(&both, 2)),
                windows.len(),
                if is_met { "met" } else { "not met" },
            )?;
        }
        let out = sorted(windows.iter().flat_map(|window| window.out.iter().copied()).collect());
        let back = windows.iter().filter_map(|window| window.back.as_deref());
        for bursts in [out, sorted(back.flatten().copied().collect())] {
            write!(f, " {} / {} |", shown(at(&bursts, 4)), shown(at(&bursts, 2)))?;
        }
        Ok(())
    }
}

/// The value below which one of so many is: of two, the median.
fn at(sorted: &[f64], one_of: usize) -> Option<f64> {
    sorted.get(sorted.len() / one_of).copied()
}

fn shown(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.0}"))
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}
