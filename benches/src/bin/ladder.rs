//! Up the ladder of RFC 9693 and CSIT: the same gateway with more and more sessions. Prints a table in Markdown.

use benches::bench::Bench;
use benches::machine::{Random, clock_ghz, processor};
use benches::scene::{self, INSIDE, OUTSIDE};
use clap::Parser;

/// 63 sessions for each of so many hosts.
const RUNGS: &str = "64512,258048,1032192,4128768,16515072";
/// Packets each way of a trace.
const TRACE: usize = 1 << 17;
const TRACES: usize = 5;

/// Sessions of one worker, in process, without ports: established by the first packet of each, one after another; then packets both
/// ways of all of them in random order; then nobody sends, until all have expired. The last takes a turn of the worker's loop for
/// each millisecond. Each figure is that of a quarter of all bursts, or better: the rest was interrupted, on a machine with
/// other work.
#[derive(Parser)]
struct Arguments {
    /// How many sessions, a rung each.
    #[arg(long, value_delimiter = ',', default_value = RUNGS)]
    sessions: Vec<usize>,
    /// Where the random orders begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let Arguments { sessions, seed } = Arguments::parse();
    println!("{} at {:.3} GHz, seed {seed}:\n", processor(), clock_ghz());
    println!(
        "| sessions | established a second | clocks each | packets a second, both ways | clocks each | torn down a second | clocks each |"
    );
    println!("|---|---|---|---|---|---|---|");
    for sessions in sessions {
        let mut bench = Bench::new(sessions, 0, seed)?;
        let established = lower_quartile(bench.open(0..sessions)?);
        bench.establish(0..sessions);
        anyhow::ensure!(
            bench.sessions() as usize == sessions,
            "{} of {sessions} are there",
            bench.sessions()
        );
        let carried = lower_quartile(carry(&mut bench, sessions, seed)?);
        let torn_down = lower_quartile(bench.tear_down());
        let figures = [established, carried, torn_down];
        let cells = figures.map(|ns| format!("{:.2} million | {:.0}", 1_000.0 / ns, ns * clock_ghz()));
        println!("| {sessions} | {} |", cells.join(" | "));
    }
    Ok(())
}

/// Nanoseconds a packet, of each group of bursts.
fn carry(bench: &mut Bench, sessions: usize, seed: u64) -> anyhow::Result<Vec<f64>> {
    let (mut random, mut spent) = (Random::new(seed), Vec::new());
    for _ in 0..TRACES {
        let chosen: Vec<_> = (0..TRACE).map(|_| random.below(sessions)).collect();
        let outbound: Vec<_> = chosen.iter().map(|flow| scene::request(*flow)).collect();
        let inbound: Vec<_> = chosen.iter().map(|flow| bench.answer(*flow)).collect();
        let before = bench.sent();
        spent.extend(bench.carry(INSIDE, &outbound));
        spent.extend(bench.carry(OUTSIDE, &inbound));
        anyhow::ensure!(bench.sent() - before == 2 * TRACE as u64, "a packet was not forwarded");
    }
    Ok(spent)
}

fn lower_quartile(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 4).copied().unwrap_or(f64::NAN)
}
