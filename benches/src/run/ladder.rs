//! Up the ladder of RFC 9693 and CSIT: the same gateway with more and more sessions.

use std::path::PathBuf;

use benches::bench::{Bench, Plan};
use benches::machine::{Random, clock_ghz};
use benches::measure::{at, progress, sorted};
use benches::results::{Results, Row};
use benches::scene::{self, INSIDE, OUTSIDE};
use clap::Args;

/// 63 sessions for each of so many hosts.
const RUNGS: &str = "64512,258048,1032192,4128768,16515072";
/// Packets each way of a trace.
const TRACE: usize = 1 << 17;
const TRACES: usize = 5;

/// Sessions of one worker, in process, without ports: established by the first packet of each, one after another; then packets both
/// ways of all of them in random order; then nobody sends, until all have expired. The last takes a turn of the worker's loop for
/// each millisecond. Each figure is that of a quarter of all bursts, or better: the rest was interrupted, on a machine with
/// other work.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many sessions, a rung each.
    #[arg(long, value_delimiter = ',', default_value = RUNGS)]
    sessions: Vec<usize>,
    /// Where the random orders begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keeps the rows.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { sessions, seed, json } = arguments;
    let mut results = Results::begin(json.as_deref())?;
    for sessions in sessions {
        let mut bench = Bench::new(&Plan { flows: sessions, seed, ..Plan::default() })?;
        let established = bench.open(0..sessions)?;
        bench.establish(0..sessions);
        let there = bench.sessions() as usize;
        anyhow::ensure!(there == sessions, "{there} of {sessions} are there");
        let carried = carry(&mut bench, sessions, seed)?;
        let phases = [("established", established), ("carried", carried), ("torn down", bench.tear_down())];
        for (phase, spent) in phases {
            let ns = at(&sorted(spent), 4).unwrap_or(f64::NAN);
            let row =
                Row::exact("ladder", format!("{sessions} sessions {phase}"), "clocks", ns * clock_ghz());
            results.add(row.with("million a second", 1_000.0 / ns))?;
        }
    }
    Ok(())
}

/// Nanoseconds a packet, of each group of bursts.
fn carry(bench: &mut Bench, sessions: usize, seed: u64) -> anyhow::Result<Vec<f64>> {
    let (mut random, mut spent) = (Random::new(seed), Vec::new());
    for trace in 0..TRACES {
        progress(&format!("{sessions} sessions: trace {} of {TRACES}", trace + 1));
        let chosen: Vec<_> = (0..TRACE).map(|_| random.below(sessions)).collect();
        let outbound: Vec<_> = chosen.iter().map(|flow| scene::request(*flow)).collect();
        let inbound: Vec<_> = chosen.iter().map(|flow| bench.answer(*flow)).collect();
        let before = bench.sent();
        spent.extend(bench.carry(INSIDE, &outbound));
        spent.extend(bench.carry(OUTSIDE, &inbound));
        anyhow::ensure!(bench.sent() - before == 2 * TRACE as u64, "a packet was not forwarded");
    }
    progress("");
    Ok(spent)
}
