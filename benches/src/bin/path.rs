//! What the packet's walk costs, in process: see `benches/README.md`.

use benches::bench::Bench;
use benches::machine::{MemoryProbe, Random, Window, clock_ghz, processor};
use benches::scene::{self, INSIDE, OUTSIDE};
use clap::Parser;

/// Packets of a trace: their frames fill 16 MB, several times a second-level cache.
const TRACE: usize = 1 << 17;

/// Clocks that a packet costs on its way through the gateway, without ports: established UDP flows through SNAT in fresh random
/// order, and their first packets.
#[derive(Parser)]
struct Arguments {
    /// How many flows, one table row each.
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
    println!("{}, {:.3} GHz, seed {seed}", processor(), clock_ghz());
    let probe = MemoryProbe::new();
    println!("               | out: clocks (least)  in: clocks (least) |   new | quiet windows | memory ns");
    for flows in flows {
        let mut bench = Bench::new(flows, 0, seed)?;
        let new = bench.open(0..flows)? * clock_ghz();
        bench.establish(0..flows);
        let row = measure(&mut bench, &probe, windows, seed, flows, |bench, flow| {
            [scene::request(flow), bench.answer(flow)]
        })?;
        println!("{flows:>8} flows | {row} {new:>5.0} {}", row.noise);
    }
    for floating in floating {
        let mut bench = Bench::new(0, floating, seed)?;
        let row = measure(&mut bench, &probe, windows, seed, floating, |_, number| {
            [scene::floating_request(number), scene::floating_answer(number)]
        })?;
        println!("{floating:>6} floating | {row}       {}", row.noise);
    }
    Ok(())
}

/// Measures packets out and in, of so many kinds: `frames` makes one of each way.
fn measure(
    bench: &mut Bench,
    probe: &MemoryProbe,
    windows: usize,
    seed: u64,
    kinds: usize,
    frames: impl Fn(&Bench, usize) -> [Vec<u8>; 2],
) -> anyhow::Result<Row> {
    let mut random = Random::new(seed);
    let (mut out, mut back, mut quiet, mut memory) = (Vec::new(), Vec::new(), 0, Vec::new());
    for _ in 0..windows {
        let chosen = (0..TRACE).map(|_| frames(bench, random.below(kinds)));
        let (outbound, inbound): (Vec<_>, Vec<_>) = chosen.map(|[there, here]| (there, here)).unzip();
        memory.push(probe.ns());
        let (before, window) = (bench.sent(), Window::begin());
        let spent = [bench.carry(INSIDE, &outbound), bench.carry(OUTSIDE, &inbound)];
        let noise = window.end();
        anyhow::ensure!(bench.sent() - before == 2 * TRACE as u64, "a packet was not forwarded");
        let [there, here] = spent.map(|spent| spent.as_nanos() as f64 * clock_ghz() / TRACE as f64);
        out.push(there);
        back.push(here);
        quiet += usize::from(noise.is_quiet());
    }
    let memory = Spread::of(memory).median;
    let noise = format!("| {quiet:>3} of {windows:<3}   | {memory:.0}");
    Ok(Row { out: Spread::of(out), back: Spread::of(back), noise })
}

struct Row {
    out: Spread,
    back: Spread,
    noise: String,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { out, back, .. } = self;
        write!(
            f,
            "{:>11.0} ({:>4.0})    {:>11.0} ({:>4.0}) |",
            out.median, out.least, back.median, back.least
        )
    }
}

struct Spread {
    least: f64,
    median: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { least: values[0], median: values[values.len() / 2] }
    }
}
