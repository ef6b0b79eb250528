//! How long bursts take while rules change, little or much, and while many sessions end at once.

use std::path::PathBuf;
use std::thread;

use benches::bench::{Bench, Next, Objects, Plan};
use benches::machine::{Probes, Random};
use benches::measure::{Measured, sorted, summed_up, windows};
use benches::results::Results;
use benches::scene::{self, FLOWS_PER_HOST, INSIDE, OUTSIDE, ROUTERS};
use benches::worker::wall_ns;
use clap::Args;
use packet::BURST_FRAMES_MAX;

/// Frames of a trace, each way.
const TRACE: usize = 1 << 17;
/// A trace is carried so often in a window: some 130,000 bursts, so that thirteen are beyond 99.99 %.
const TIMES: usize = 16;
/// Turns in a millisecond: so many that a window takes longer than the sweep of the whole table.
const TURNS: usize = 100;
/// How long a UDP flow lives that nobody has answered: the `cloud` profile's.
const UNANSWERED_MS: u64 = 30_000;
/// Flows that end together.
const ENDING: usize = 200_000;

/// Microseconds that a turn takes, with a burst of 32 packets of established flows and its tick: quiet; while rules are adopted by
/// which something goes, and others by which it comes back: one floating IP, an address of a pool, all floating IPs at once; while
/// many flows that nobody answered end. They take turns in each window. Beside them, the longest gap that a thread sees that does
/// nothing but read the clock.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many established flows.
    #[arg(long, default_value_t = 1_000_000)]
    flows: usize,
    /// How many floating IPs.
    #[arg(long, default_value_t = 100_000)]
    floating: usize,
    /// How often each is measured at most: until ten windows count.
    #[arg(long, default_value_t = 20)]
    windows: usize,
    /// Where the random orders begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keeps the rows.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { flows, floating, windows: most, seed, json } = arguments;
    let mut results = Results::begin(json.as_deref())?;
    let probes = Probes::new();
    // The first hosts' flows go by their floating IPs.
    let first = floating.div_ceil(ROUTERS) * ROUTERS * FLOWS_PER_HOST;
    let plan = Plan { first, flows: flows + ENDING, floating, seed, ..Plan::default() };
    let mut scene =
        Changing { bench: Bench::new(&plan)?, flows: first..first + flows, random: Random::new(seed) };
    scene.bench.open(first..first + flows)?;
    scene.bench.establish(first..first + flows);
    let all = Objects { floating, one_more: false };
    let ways = [
        (format!("one floating IP of {floating}"), Objects { floating: floating - 1, ..all }),
        ("an address of a pool".to_owned(), Objects { one_more: true, ..all }),
        (format!("{floating} floating IPs at once"), Objects { floating: 0, ..all }),
    ];
    let (mut changes, mut endings) = (ways.each_ref().map(|_| Vec::new()), Vec::new());
    windows("changes", most, || {
        let mut rules = Vec::new();
        for (_, other) in &ways {
            rules.push(vec![scene.bench.compile(*other)?, scene.bench.compile(all)?]);
        }
        scene.refresh();
        let quiet = scene.window(&probes, Vec::new())?;
        let mut measured = Vec::new();
        for rules in rules {
            measured.push(beside(&quiet, scene.window(&probes, rules)?));
        }
        scene.let_many_end()?;
        measured.push(beside(&quiet, scene.window(&probes, Vec::new())?));
        anyhow::ensure!(scene.bench.sessions() as usize == flows, "not all have ended");
        let quiet = measured.iter().fold(quiet, Measured::beside);
        endings.extend(measured.pop());
        changes.iter_mut().zip(measured).for_each(|(of, one)| of.push(one));
        Ok(quiet)
    })?;
    for ((what, _), changes) in ways.iter().zip(&changes) {
        let what = format!("{what}: p99.99 of a burst beyond the quiet one's");
        results.add(summed_up("change", what, "us", changes))?;
    }
    results.add(summed_up("change", "mass expiry: p99.99 of a burst beyond the quiet one's", "us", &endings))
}

/// The window of a change, by how much its p99.99 is beyond that of the quiet one.
fn beside(quiet: &Measured, mut change: Measured) -> Measured {
    let of = |one: &Measured| one.part("p99.99").unwrap_or(f64::NAN);
    let beyond = of(&change) - of(quiet);
    let names = [("p50", "quiet p50"), ("p99.99", "quiet p99.99"), ("most", "quiet most")];
    for (name, quietly) in names {
        change.parts.extend(quiet.part(name).map(|value| (quietly, vec![value])));
    }
    change.beside(quiet).valued(beyond)
}

struct Changing {
    bench: Bench,
    flows: std::ops::Range<usize>,
    random: Random,
}

impl Changing {
    /// All hosts and flows are heard of again.
    fn refresh(&mut self) {
        self.bench.announce();
        for first in self.flows.clone().step_by(TRACE) {
            let requests: Vec<_> = (first..self.flows.end.min(first + TRACE)).map(scene::request).collect();
            self.bench.carry(INSIDE, &requests);
        }
    }

    /// Flows that nobody answers begin, and are over when this returns, but still there.
    fn let_many_end(&mut self) -> anyhow::Result<()> {
        let before = self.bench.sessions();
        let requests: Vec<_> = (self.flows.end..self.flows.end + ENDING).map(scene::request).collect();
        self.bench.carry(INSIDE, &requests);
        let begun = (self.bench.sessions() - before) as usize;
        anyhow::ensure!(begun == ENDING, "{begun} flows began");
        self.bench.pass(UNANSWERED_MS);
        self.bench.announce();
        Ok(())
    }

    /// Carries packets, and adopts rules meanwhile, one set after another.
    fn window(&mut self, probes: &Probes, rules: Vec<Next>) -> anyhow::Result<Measured> {
        let chosen: Vec<_> =
            (0..TRACE).map(|_| self.flows.start + self.random.below(self.flows.len())).collect();
        let outbound: Vec<_> = chosen.iter().map(|flow| scene::request(*flow)).collect();
        let inbound: Vec<_> = chosen.iter().map(|flow| self.bench.answer(*flow)).collect();
        let turns = 2 * TIMES * TRACE / BURST_FRAMES_MAX;
        let every = turns / (rules.len() + 1);
        let (mut rules, mut old) = (rules.into_iter(), Vec::new());
        let measured = Measured::of(probes, || {
            let spinning = thread::spawn(longest_gap);
            let mut spent = Vec::with_capacity(turns);
            for _ in 0..TIMES {
                for (port, frames) in [(INSIDE, &outbound), (OUTSIDE, &inbound)] {
                    for burst in frames.chunks(BURST_FRAMES_MAX) {
                        if spent.len() % TURNS == 0 {
                            self.bench.pass(1);
                        }
                        let is_time = !spent.is_empty() && spent.len() % every == 0;
                        let adopted = if is_time { rules.next() } else { None };
                        let (workers, now) = self.bench.workers();
                        let ns = workers[0].turn(port, burst, now, |gateway| {
                            if let Some((rules, announcements)) = adopted {
                                old.push(gateway.adopt(rules, announcements));
                            }
                        });
                        spent.push(ns as f64 / 1e3);
                    }
                }
            }
            let spent = sorted(spent);
            let at = |share: f64| spent[((spent.len() - 1) as f64 * share) as usize];
            let gap = spinning.join().unwrap_or(f64::NAN);
            Ok(vec![
                ("p50", vec![at(0.5)]),
                ("p99.99", vec![at(0.9999)]),
                ("most", vec![at(1.0)]),
                ("most of a thread that spins", vec![gap]),
            ])
        })?;
        Ok(measured)
    }
}

/// The longest time between two looks at the clock, in microseconds, of half a second.
fn longest_gap() -> f64 {
    let (begin, mut last, mut longest) = (wall_ns(), wall_ns(), 0);
    while last - begin < 500_000_000 {
        let now = wall_ns();
        longest = longest.max(now - last);
        last = now;
    }
    longest as f64 / 1e3
}
