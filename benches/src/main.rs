//! The benches, one program so that the gateway is compiled once for all of them: see `benches/README.md`.

use clap::Parser;

mod run {
    pub(crate) mod change;
    pub(crate) mod expiry;
    pub(crate) mod ladder;
    pub(crate) mod memory;
    pub(crate) mod path;
    pub(crate) mod ports;
    pub(crate) mod report;
    pub(crate) mod table;
    pub(crate) mod walk;
    pub(crate) mod workers;
}

use run::{change, expiry, ladder, memory, path, ports, report, table, walk, workers};

/// Measures what natgate costs, in process.
#[derive(Parser)]
enum Bench {
    Path(path::Arguments),
    Ladder(ladder::Arguments),
    Ports(ports::Arguments),
    Workers(workers::Arguments),
    Expiry(expiry::Arguments),
    Change(change::Arguments),
    Table(table::Arguments),
    Memory(memory::Arguments),
    Walk(walk::Arguments),
    Report(report::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Bench::parse() {
        Bench::Path(arguments) => path::run(arguments),
        Bench::Ladder(arguments) => ladder::run(arguments),
        Bench::Ports(arguments) => ports::run(arguments),
        Bench::Workers(arguments) => workers::run(arguments),
        Bench::Expiry(arguments) => expiry::run(arguments),
        Bench::Change(arguments) => change::run(arguments),
        Bench::Table(arguments) => table::run(arguments),
        Bench::Memory(arguments) => memory::run(arguments),
        Bench::Walk(arguments) => walk::run(arguments),
        Bench::Report(arguments) => report::run(arguments),
    }
}
