//! What a second worker costs: clocks a packet that both have for themselves, over one state, against one's alone.

use std::path::PathBuf;
use std::sync::Barrier;

use anyhow::Context as _;
use benches::bench::{Bench, Plan};
use benches::machine::{Noise, Probes, Random, Window};
use benches::measure::{Measured, clocks, mean, summed_up, windows};
use benches::results::{Results, Row};
use benches::scene::{self, INSIDE, OUTSIDE};
use benches::worker::Worker;
use clap::Args;
use packet::Moment;

/// Frames of a worker's trace, each way.
const TRACE: usize = 1 << 16;

/// On-CPU clocks of a packet of established UDP flows, out and in: one worker alone; two, each with all packets of its flows; two,
/// with half of the answers at the other one. The three take turns in each window.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many flows.
    #[arg(long, default_value_t = 1_000_000)]
    flows: usize,
    /// How often each is measured at most: until ten windows count.
    #[arg(long, default_value_t = 40)]
    windows: usize,
    /// Where the random orders begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keeps the rows.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { flows, windows: most, seed, json } = arguments;
    let mut results = Results::begin(json.as_deref())?;
    let what = "half of the returns at the other of two workers";
    let cores = cores()?;
    let [first, second] = cores[..] else {
        let note = "there are no two cores".to_owned();
        return results.add(Row { value: None, note, ..Row::exact("workers", what, "x", 0.0) });
    };
    let probes = Probes::new();
    let mut bench = Bench::new(&Plan { flows, more_workers: 1, seed, ..Plan::default() })?;
    bench.open_unordered(0..flows)?;
    bench.establish(0..flows);
    let mut random = Random::new(seed);
    let all = windows("two workers", most, || {
        let chosen = [(); 2].map(|()| (0..TRACE).map(|_| random.below(flows)).collect::<Vec<_>>());
        let outbound =
            chosen.each_ref().map(|flows| flows.iter().map(|flow| scene::request(*flow)).collect::<Vec<_>>());
        let own =
            chosen.each_ref().map(|flows| flows.iter().map(|flow| bench.answer(*flow)).collect::<Vec<_>>());
        // Every second answer comes to the other.
        let swapped =
            [0, 1].map(|me| (0..TRACE).map(|at| own[(me + at % 2) % 2][at].clone()).collect::<Vec<_>>());
        let mut noise = Vec::new();
        let measured = Measured::of(&probes, || {
            let (workers, now) = bench.workers();
            let [one, other] = workers else { anyhow::bail!("there are two workers") };
            let mut run = |workers: Vec<(&mut Worker, usize)>, answers: &[Vec<Vec<u8>>; 2]| {
                let (spent, waited) = together(workers, &outbound, answers, now)?;
                noise.extend(waited);
                anyhow::Ok(clocks(spent))
            };
            let alone = run(vec![(&mut *one, first)], &own)?;
            let apart = run(vec![(&mut *one, first), (&mut *other, second)], &own)?;
            let across = run(vec![(one, first), (other, second)], &swapped)?;
            Ok(vec![
                ("one alone", alone),
                ("two, each its own", apart),
                ("two, half of the returns at the other", across),
            ])
        })?;
        let of = |name| measured.part(name).unwrap_or(f64::NAN);
        let ratio = of("two, half of the returns at the other") / of("one alone");
        Ok(noise.into_iter().fold(measured.valued(ratio), Measured::also))
    })?;
    results.add(summed_up("workers", what, "x", &all))
}

/// Each worker on its core carries its packets out and in. Returns nanoseconds a packet, and how each thread fared.
fn together(
    workers: Vec<(&mut Worker, usize)>,
    outbound: &[Vec<Vec<u8>>; 2],
    inbound: &[Vec<Vec<u8>>; 2],
    now: Moment,
) -> anyhow::Result<(Vec<f64>, Vec<Noise>)> {
    let start = &Barrier::new(workers.len());
    std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .zip(outbound.iter().zip(inbound))
            .map(|((worker, core), (outbound, inbound))| {
                scope.spawn(move || {
                    pin(core);
                    start.wait();
                    let window = Window::begin();
                    let out = worker.carry_on_cpu(INSIDE, outbound, now);
                    let back = worker.carry_on_cpu(OUTSIDE, inbound, now);
                    ([mean(&out), mean(&back)], window.end())
                })
            })
            .collect();
        let mut both = (Vec::new(), Vec::new());
        for thread in threads {
            let (spent, noise) = thread.join().ok().context("a worker's thread panicked")?;
            both.0.extend(spent);
            both.1.push(noise);
        }
        Ok(both)
    })
}

/// Two cores that this process may use, if it may use two.
fn cores() -> anyhow::Result<Vec<usize>> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).take(2).collect())
}

/// Without it figures are worse, not wrong.
fn pin(core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    _ = rustix::thread::sched_setaffinity(None, &cores);
}
