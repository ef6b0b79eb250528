//! How far a pool's ports can be used towards one destination, and what a new flow costs while they are.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use benches::bench::{Bench, Plan};
use benches::machine::{Probes, Random};
use benches::measure::{Measured, at, clocks, progress, sorted, summed_up};
use benches::results::{Results, Row};
use benches::scene::{self, External, FLOWS_PER_HOST, INSIDE, NETWORKS, Pools, ROUTERS};
use benches::traffic::{self, Kind};
use clap::Args;

/// New flows that are timed together.
const GROUP: usize = 128;
/// New flows of a window.
const WINDOW: usize = 1 << 16;
/// Hosts of as many routers of each network: of no network more than of another.
const ROUTERS_USED: usize = ROUTERS / NETWORKS * NETWORKS;
/// Which parts of the pool's ports are told apart.
const DECILES: usize = 10;

/// Hosts of all networks open flows to one destination until one is refused; then every other flow ends, and they go on until one is
/// refused again. The pools have 64 addresses with many ports, or 4,160 with few: as many ports in all.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many ports the pools have together: a multiple of 4,160.
    #[arg(long, default_value_t = 4_160 * 504)]
    ports: usize,
    /// UDP has endpoint-independent mappings, TCP shares ports.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "udp,tcp")]
    kinds: Vec<Kind>,
    /// Where the random orders begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keeps the rows.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut results = Results::begin(arguments.json.as_deref())?;
    let probes = Probes::new();
    for kind in &arguments.kinds {
        for addresses in [1, 65] {
            fill_and_churn(&arguments, *kind, addresses, "strict", &probes, &mut results)?;
        }
        fill_and_churn(&arguments, *kind, 65, "soft", &probes, &mut results)?;
    }
    Ok(())
}

/// Fills the ports twice. What a flow costs is told where the whole pool gets full, how full it gets where hosts have a choice.
fn fill_and_churn(
    arguments: &Arguments,
    kind: Kind,
    addresses: usize,
    pairing: &'static str,
    probes: &Probes,
    results: &mut Results,
) -> anyhow::Result<()> {
    let mut filling = Filling::new(arguments, kind, addresses, pairing)?;
    for when in ["", ", after churn"] {
        let (windows, refused) = filling.fill(probes)?;
        // With strict pairing and few ports an address, the pool as a whole does not get full.
        if (pairing == "soft" || addresses == 1) && when.is_empty() {
            filling.costs(&windows).into_iter().try_for_each(|row| results.add(row))?;
        }
        if addresses == 1 {
            return Ok(());
        }
        let of_pool = filling.fill_of_pool(refused);
        let (what, used) = match pairing {
            "strict" => ("the refused host's address", filling.fill_of_address(refused).unwrap_or(of_pool)),
            _ => ("the pool", of_pool),
        };
        let row = Row::exact("ports", format!("{kind}, {pairing} pairing{when}: of {what}"), "%", used);
        results.add(row.with("of the pool", of_pool))?;
        if when.is_empty() {
            filling.churn()?;
        }
    }
    Ok(())
}

/// The n-th flow, in the order in which they are opened.
fn flow(number: usize) -> usize {
    number / ROUTERS_USED * ROUTERS + number % ROUTERS_USED
}

/// A gateway whose ports run out.
struct Filling {
    bench: Bench,
    kind: Kind,
    ports: usize,
    ports_of_address: usize,
    addresses: usize,
    seed: u64,
    /// By which external endpoint each flow leaves, while it is open.
    open: Vec<Option<External>>,
}

impl Filling {
    fn new(
        arguments: &Arguments,
        kind: Kind,
        addresses: usize,
        pairing: &'static str,
    ) -> anyhow::Result<Self> {
        let Arguments { ports, seed, .. } = *arguments;
        let ports_of_address = ports / NETWORKS / addresses;
        let last = u16::try_from(1_023 + ports_of_address).context("ports of an address")?;
        let pools = Pools { addresses, ports: 1_024..=last, pairing, hold_down_s: 0, ..Pools::default() };
        // All of the ports, and as many again as end; the numbers of flows have gaps.
        let plan = Plan { flows: flow(ports * 8 / 5), pools, seed, ..Plan::default() };
        let bench = Bench::new(&plan)?;
        Ok(Self { bench, kind, ports, ports_of_address, addresses, seed, open: Vec::new() })
    }

    fn in_use(&self) -> usize {
        self.bench.sessions() as usize
    }

    /// Opens flows until one is refused, and returns which.
    fn fill(&mut self, probes: &Probes) -> anyhow::Result<(Vec<Window>, usize)> {
        let (mut windows, mut refused) = (Vec::new(), None);
        while refused.is_none() {
            ensure!(self.open.len() < self.ports * 8 / 5, "there were more ports than there are");
            progress(&format!(
                "{}, {} addresses: {:.0} % in use",
                self.kind,
                self.addresses * NETWORKS,
                self.used()
            ));
            let before = self.used();
            let measured = Measured::of(probes, || {
                let mut spent = Vec::new();
                for _ in 0..WINDOW / GROUP {
                    let (some, full) = self.group();
                    spent.extend(clocks(some));
                    if full.is_some() {
                        refused = full;
                        break;
                    }
                }
                Ok(vec![("out", spent)])
            })?;
            windows.push(Window { measured, before, after: self.used() });
        }
        progress("");
        Ok((windows, refused.unwrap_or_default()))
    }

    /// Opens a few flows; the first that was refused is returned.
    fn group(&mut self) -> (Vec<f64>, Option<usize>) {
        let numbers = self.open.len()..self.open.len() + GROUP;
        let before = self.in_use();
        let frames: Vec<_> = numbers.clone().map(|number| self.frame(number)).collect();
        let (spent, sent) = self.bench.carry_kept(INSIDE, &frames);
        if self.in_use() - before == GROUP {
            self.open.extend(sent.into_iter().map(Some));
            return (spent, None);
        }
        // Who is refused is refused again; whose flow is open, opens none.
        let mut refused = None;
        for number in numbers {
            let (_, sent) = self.bench.carry_kept(INSIDE, &[self.frame(number)]);
            let is_own = |external: &&External| external.0.octets()[..2] == [198, 18];
            let external = sent.iter().find(is_own).copied();
            self.open.push(external);
            refused = refused.or(external.is_none().then_some(number));
        }
        (spent, refused)
    }

    fn frame(&self, number: usize) -> Vec<u8> {
        traffic::towards_one(flow(number), self.kind)
    }

    /// Of all ports, in %.
    fn used(&self) -> f64 {
        self.in_use() as f64 * 100.0 / self.ports as f64
    }

    /// Every other flow, at random, is heard of again and lives; the others end.
    fn churn(&mut self) -> anyhow::Result<()> {
        let mut random = Random::new(self.seed);
        self.bench.pass(15_000);
        self.bench.announce();
        for one in &mut self.open {
            *one = one.filter(|_| random.below(2) == 0);
        }
        let kept: Vec<_> = (0..self.open.len()).filter(|number| self.open[*number].is_some()).collect();
        for numbers in kept.chunks(WINDOW) {
            let frames: Vec<_> = numbers.iter().map(|number| self.frame(*number)).collect();
            self.bench.carry(INSIDE, &frames);
        }
        self.bench.tick_until(kept.len() as u32, 29_000)?;
        self.bench.announce();
        ensure!(self.in_use() == kept.len(), "{} of {} flows live on", self.in_use(), kept.len());
        Ok(())
    }

    /// Of the ports of the address that a refused flow's host has, in %, if it has one.
    fn fill_of_address(&self, refused: usize) -> Option<f64> {
        let host = |number: usize| (flow(number) % ROUTERS, flow(number) / ROUTERS / FLOWS_PER_HOST);
        let others = (0..refused).rev().take(FLOWS_PER_HOST * ROUTERS_USED);
        let mut addresses =
            others.filter(|other| host(*other) == host(refused)).filter_map(|other| self.open[other]);
        let (address, _) = addresses.next()?;
        let used = self.open.iter().flatten().filter(|(of, _)| *of == address).count();
        Some(used as f64 * 100.0 / self.ports_of_address as f64)
    }

    /// Of the ports of the pool that a refused flow goes by, in %.
    fn fill_of_pool(&self, refused: usize) -> f64 {
        let network = scene::network_of(flow(refused) % ROUTERS) as u8;
        let used = self.open.iter().flatten().filter(|(of, _)| of.octets()[2] == network).count();
        used as f64 * 100.0 / (self.ports_of_address * self.addresses) as f64
    }

    /// What a new flow costs up to half, and in each tenth.
    fn costs(&self, windows: &[Window]) -> Vec<Row> {
        let name = format!("{}, {} addresses", self.kind, self.addresses * NETWORKS);
        let first_half = windows.iter().filter(|window| window.after <= 50.0).map(|window| &window.measured);
        let row = summed_up("ports", format!("{name}: a new flow, up to half full"), "clocks", first_half);
        let curve = (0..DECILES).filter_map(|decile| {
            let (from, to) = (decile as f64 * 10.0, (decile + 1) as f64 * 10.0);
            let of =
                windows.iter().filter(|window| (from..to).contains(&((window.before + window.after) / 2.0)));
            let all =
                sorted(of.flat_map(|window| {
                    window.measured.parts.iter().flat_map(|(_, all)| all.iter().copied())
                }));
            at(&all, 4).map(|clocks| (from + 5.0, clocks.round()))
        });
        let curve: Vec<_> = curve.collect();
        let last = windows.iter().rev().take(2).flat_map(|window| &window.measured.parts);
        let all = sorted(last.flat_map(|(_, all)| all.iter().copied()));
        let nearly_full = Row::exact(
            "ports",
            format!("{name}: a new flow, of the last 131,072 before one is refused"),
            "clocks, lower quartile of bursts",
            at(&all, 4).unwrap_or(f64::NAN),
        );
        let mut row = row;
        row.extra.insert("curve".into(), serde_json::json!(curve));
        vec![row, nearly_full]
    }
}

/// What was measured while the pools filled from some % to some.
struct Window {
    measured: Measured,
    before: f64,
    after: f64,
}
