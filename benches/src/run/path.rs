//! What the packet's walk costs, in process, against the goals: see `benches/README.md`.

use std::path::PathBuf;

use anyhow::ensure;
use benches::bench::{Bench, Plan};
use benches::floor::Floor;
use benches::machine::{Probes, Random};
use benches::measure::{Measured, clocks, summed_up, windows};
use benches::results::Results;
use benches::scene::{self, FLOWS_PER_HOST, INSIDE, OUTSIDE};
use benches::traffic::{self, LONGEST, SHORTEST, Size};
use clap::Args;

/// Frames of a trace, each way: those of the shortest fill 16 MB, several times a second-level cache.
const TRACE: usize = 1 << 17;
/// Longer ones are fewer.
const TRACE_BYTES: usize = 64 << 20;
/// First packets of a window.
const OPENED: usize = 1 << 16;

/// Clocks that a packet costs on its way through the gateway, without ports: established UDP flows through SNAT in fresh random
/// order, the floor beside them; their first packets; longer packets, fragments, floating IPs, and all of it mixed.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many flows; none of 0.
    #[arg(long, value_delimiter = ',', default_value = "1000,64064,1000000,10000000")]
    flows: Vec<usize>,
    /// How many floating IPs; none of 0.
    #[arg(long, value_delimiter = ',', default_value = "1000,100000")]
    floating: Vec<usize>,
    /// How many flows longer packets and fragments are of, and what is mixed; none of 0.
    #[arg(long, default_value_t = 64_064)]
    others: usize,
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
    let Arguments { flows, floating, others, windows, seed, json } = arguments;
    let results = Results::begin(json.as_deref())?;
    let mut run = Run { probes: Probes::new(), windows, seed, results };
    for flows in flows.into_iter().filter(|flows| *flows > 0) {
        run.established(flows)?;
    }
    if others > 0 {
        run.others(others)?;
    }
    for floating in floating.into_iter().filter(|floating| *floating > 0) {
        run.floating(floating)?;
    }
    if others > 0 { run.mixed(others) } else { Ok(()) }
}

/// Frames of one way, and of the other.
type Trace = [Vec<Vec<u8>>; 2];

struct Run {
    probes: Probes,
    windows: usize,
    seed: u64,
    results: Results,
}

impl Run {
    fn bench(&self, flows: usize, floating: usize) -> anyhow::Result<Bench> {
        Bench::new(&Plan { flows, floating, seed: self.seed, ..Plan::default() })
    }

    fn established(&mut self, flows: usize) -> anyhow::Result<()> {
        let mut bench = self.bench(flows, 0)?;
        let mut opened = Vec::new();
        for first in (0..flows).step_by(OPENED) {
            opened.push(Measured::of(&self.probes, || {
                Ok(vec![("out", clocks(bench.open(first..flows.min(first + OPENED))?))])
            })?);
        }
        bench.establish(0..flows);
        let (mut random, mut floor) = (Random::new(self.seed), Floor::new(flows)?);
        let what = format!("{flows} established flows");
        let both = windows(&what, self.windows, || {
            let chosen: Vec<_> = (0..TRACE).map(|_| random.below(flows)).collect();
            let outbound: Vec<_> = chosen.iter().map(|flow| scene::request(*flow)).collect();
            let inbound: Vec<_> = chosen.iter().map(|flow| bench.answer(*flow)).collect();
            let trace = [outbound, inbound];
            Measured::of(&self.probes, || {
                let [out, back] = carried(&mut bench, &trace)?;
                let floor_of = |frames: &Vec<Vec<u8>>| clocks(floor.carry(frames));
                let floors = trace.each_ref().map(floor_of).concat();
                Ok(vec![("out", out), ("in", back), ("floor", floors)])
            })
        })?;
        let of = |one: &Measured, name| one.part(name).unwrap_or(f64::NAN);
        let path = |one: &Measured| (of(one, "out") + of(one, "in")) / 2.0;
        let clocks: Vec<_> = both
            .into_iter()
            .map(|one| {
                let value = path(&one);
                one.valued(value)
            })
            .collect();
        let row = summed_up("path", &what, "clocks", &clocks);
        self.results.add(row)?;
        let ratios = clocks.into_iter().map(|mut one| {
            let value = one.value / of(&one, "floor");
            one.parts.clear();
            one.valued(value)
        });
        let ratios: Vec<_> = ratios.collect();
        let row = summed_up("path", format!("{what}, over the floor"), "x", &ratios);
        self.results.add(row)?;
        if opened.len() > 1 {
            let row = summed_up("path", format!("a new flow, of {flows}"), "clocks", &opened);
            self.results.add(row)?;
        }
        Ok(())
    }

    /// Longer packets and fragments of so many flows.
    fn others(&mut self, flows: usize) -> anyhow::Result<()> {
        let mut bench = self.bench(flows, 0)?;
        bench.open(0..flows)?;
        bench.establish(0..flows);
        let sizes = [
            ("64 bytes", Size::Fixed(SHORTEST)),
            ("a mix of sizes", Size::Mix),
            ("1,518 bytes", Size::Fixed(LONGEST)),
        ];
        for (name, size) in sizes {
            let frames = TRACE.min(TRACE_BYTES / size.mean());
            self.both_ways(&format!("{name}, of {flows} established flows"), &mut bench, |bench, random| {
                of_pairs((0..frames).map(|_| {
                    let (flow, bytes) = (random.below(flows), size.draw(random));
                    let (mac, external) = (bench.answers_to(flow), bench.external(flow));
                    [vec![traffic::request(flow, bytes)], vec![traffic::answer(flow, mac, external, bytes)]]
                }))
            })?;
        }
        let datagrams = TRACE_BYTES / LONGEST / 2;
        self.both_ways(&format!("fragments, of {flows} established flows"), &mut bench, |bench, random| {
            of_pairs((0..datagrams).map(|datagram| fragments(bench, random.below(flows), datagram)))
        })
    }

    fn floating(&mut self, floating: usize) -> anyhow::Result<()> {
        let mut bench = self.bench(0, floating)?;
        let what = format!("{floating} floating IPs");
        let mut random = Random::new(self.seed);
        let both = windows(&what, self.windows, || {
            let trace = of_pairs((0..TRACE).map(|_| {
                let number = random.below(floating);
                [vec![scene::floating_request(number)], vec![scene::floating_answer(number)]]
            }));
            measured(&self.probes, &mut bench, &trace)
        })?;
        self.results.add(summed_up("path", &what, "clocks", &both))
    }

    /// Of a hundred datagrams each way 90 of established flows, of mixed sizes; 8 of hosts with a floating IP; one in two
    /// fragments; and outwards one that begins a flow.
    fn mixed(&mut self, flows: usize) -> anyhow::Result<()> {
        let floating = scene::ROUTERS;
        // The first hosts' flows go by their floating IPs.
        let first = floating * FLOWS_PER_HOST;
        let room = self.windows * TRACE / 100;
        let plan = Plan { first, flows: flows + room, floating, seed: self.seed, ..Plan::default() };
        let mut bench = Bench::new(&plan)?;
        bench.open(first..first + flows)?;
        bench.establish(first..first + flows);
        let mut next = first + flows;
        let frames = TRACE.min(TRACE_BYTES / Size::Mix.mean());
        self.both_ways(&format!("mixed, of {flows} established flows"), &mut bench, |bench, random| {
            of_pairs((0..frames).map(|datagram| {
                let flow = first + random.below(flows);
                let (mac, external) = (bench.answers_to(flow), bench.external(flow));
                match random.below(100) {
                    0..90 => {
                        let bytes = Size::Mix.draw(random);
                        [
                            vec![traffic::request(flow, bytes)],
                            vec![traffic::answer(flow, mac, external, bytes)],
                        ]
                    }
                    90..98 => {
                        let number = random.below(floating);
                        [vec![scene::floating_request(number)], vec![scene::floating_answer(number)]]
                    }
                    98 => fragments(bench, flow, datagram),
                    _ => {
                        next += 1;
                        [vec![scene::request(next - 1)], vec![traffic::answer(flow, mac, external, SHORTEST)]]
                    }
                }
            }))
        })
    }

    fn both_ways(
        &mut self,
        what: &str,
        bench: &mut Bench,
        mut trace: impl FnMut(&Bench, &mut Random) -> Trace,
    ) -> anyhow::Result<()> {
        let mut random = Random::new(self.seed);
        let both = windows(what, self.windows, || {
            let trace = trace(bench, &mut random);
            measured(&self.probes, bench, &trace)
        })?;
        self.results.add(summed_up("path", what, "clocks", &both))
    }
}

/// The two fragments of a datagram each way.
fn fragments(bench: &Bench, flow: usize, datagram: usize) -> [Vec<Vec<u8>>; 2] {
    let (mac, external) = (bench.answers_to(flow), bench.external(flow));
    let identification = datagram as u16;
    [
        traffic::request_in_two(flow, identification),
        traffic::answer_in_two(flow, mac, external, identification),
    ]
}

fn of_pairs(pairs: impl Iterator<Item = [Vec<Vec<u8>>; 2]>) -> Trace {
    let (outbound, inbound): (Vec<_>, Vec<_>) = pairs.map(|[out, back]| (out, back)).unzip();
    [outbound, inbound].map(|frames| frames.concat())
}

fn measured(probes: &Probes, bench: &mut Bench, trace: &Trace) -> anyhow::Result<Measured> {
    Measured::of(probes, || {
        let [out, back] = carried(bench, trace)?;
        Ok(vec![("out", out), ("in", back)])
    })
}

/// Clocks a packet, each way, of each group of bursts. Every packet has to be sent.
fn carried(bench: &mut Bench, [outbound, inbound]: &Trace) -> anyhow::Result<[Vec<f64>; 2]> {
    let before = bench.sent();
    let spent = [bench.carry(INSIDE, outbound), bench.carry(OUTSIDE, inbound)];
    let (sent, all) = (bench.sent() - before, (outbound.len() + inbound.len()) as u64);
    ensure!(sent == all, "{sent} of {all} packets were forwarded");
    Ok(spent.map(clocks))
}
