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
    /// How often each is measured.
    #[arg(long, default_value_t = 15)]
    windows: usize,
    /// Where the random orders begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let Arguments { flows, windows, seed } = Arguments::parse();
    let ghz = clock_ghz();
    println!("{}, {ghz:.3} GHz, seed {seed}", processor());
    let probe = MemoryProbe::new();
    println!("     flows | out: clocks (least)  in: clocks (least) |   new | quiet windows | memory ns");
    for flows in flows {
        let mut bench = Bench::new(flows, 0, seed)?;
        let new = bench.open(0..flows)? * ghz;
        bench.establish(0..flows);
        let mut random = Random::new(seed);
        let (mut out, mut back, mut quiet, mut memory) = (Vec::new(), Vec::new(), 0, Vec::new());
        for _ in 0..windows {
            let chosen: Vec<usize> = (0..TRACE).map(|_| random.below(flows)).collect();
            let outbound: Vec<_> = chosen.iter().map(|flow| scene::request(*flow)).collect();
            let inbound: Vec<_> = chosen.iter().map(|flow| bench.answer(*flow)).collect();
            memory.push(probe.ns());
            let (before, window) = (bench.sent(), Window::begin());
            let spent = [bench.carry(INSIDE, &outbound), bench.carry(OUTSIDE, &inbound)];
            let noise = window.end();
            anyhow::ensure!(bench.sent() - before == 2 * TRACE as u64, "a packet was not forwarded");
            let [there, here] = spent.map(|spent| spent.as_nanos() as f64 * ghz / TRACE as f64);
            out.push(there);
            back.push(here);
            quiet += usize::from(noise.is_quiet());
        }
        let [out, back, memory] = [out, back, memory].map(Spread::of);
        println!(
            "{flows:>10} | {:>11.0} ({:>4.0})    {:>11.0} ({:>4.0}) | {new:>5.0} | {quiet:>3} of {windows:<3}   | {:.0}",
            out.median, out.least, back.median, back.least, memory.median
        );
    }
    Ok(())
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
