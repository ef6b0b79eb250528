//! Packets of one kind on the gateway's path and nothing else, for a profiler that counts instructions: see `scripts/gate`.

use std::sync::atomic::Ordering::Relaxed;

use benches::bench::{Bench, Plan};
use benches::machine::Random;
use benches::scene::{self, INSIDE, OUTSIDE};
use benches::worker::PLANTED;
use clap::{Args, ValueEnum};
use packet::BURST_FRAMES_MAX;

/// Of one that does nothing.
const INSTRUCTIONS_OF_A_LOOP: u32 = 2;

/// Carries packets of one kind.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Of which kind.
    kind: Kind,
    /// How many, beside those that open the flows.
    packets: usize,
    /// Of how many flows.
    #[arg(long, default_value_t = 1_000)]
    flows: usize,
    /// Instructions that each packet takes more, in vain.
    #[arg(long, default_value_t = 0)]
    planted: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Of established flows, from inside.
    Out,
    /// Of established flows, from outside.
    In,
    /// The first of each flow.
    New,
    /// The first of each TCP connection.
    NewTcp,
    /// From hosts with a floating IP.
    FloatingOut,
    /// To floating IPs.
    FloatingIn,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { kind, packets, flows, planted } = arguments;
    PLANTED.store(planted * BURST_FRAMES_MAX as u32 / INSTRUCTIONS_OF_A_LOOP, Relaxed);
    let floating = matches!(kind, Kind::FloatingOut | Kind::FloatingIn).then_some(flows);
    let plan =
        Plan { flows: flows.max(packets), floating: floating.unwrap_or(0), seed: 1, ..Plan::default() };
    let mut bench = Bench::new(&plan)?;
    let mut random = Random::new(1);
    match kind {
        Kind::New => drop(bench.open(0..packets)?),
        Kind::NewTcp => {
            let frames: Vec<_> = (0..packets).map(scene::syn).collect();
            bench.carry(INSIDE, &frames);
            anyhow::ensure!(bench.sessions() as usize == packets, "not all were opened");
        }
        Kind::FloatingOut => {
            let frames: Vec<_> = (0..packets).map(|_| scene::floating_request(random.below(flows))).collect();
            bench.carry(INSIDE, &frames);
        }
        Kind::FloatingIn => {
            let frames: Vec<_> = (0..packets).map(|_| scene::floating_answer(random.below(flows))).collect();
            bench.carry(OUTSIDE, &frames);
        }
        Kind::Out | Kind::In => {
            bench.open(0..flows)?;
            bench.establish(0..flows);
            let (port, frames): (_, Vec<_>) = match kind {
                Kind::Out => (INSIDE, (0..packets).map(|_| scene::request(random.below(flows))).collect()),
                _ => (OUTSIDE, (0..packets).map(|_| bench.answer(random.below(flows))).collect()),
            };
            bench.carry(port, &frames);
        }
    }
    Ok(())
}
