//! What flow state takes of memory, all of it at start.

use std::path::PathBuf;

use benches::results::{Results, Row};
use clap::Args;
use nat::Sizes;

/// RFC 9693's and CSIT's figure.
const SESSIONS_PER_HOST: f64 = 63.0;

/// Bytes of a session, with its part of a host and without; and GiB of gateways of some sizes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Keeps the rows.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut results = Results::begin(arguments.json.as_deref())?;
    let usual = Sizes::new(10_000_000, 16, 1_024);
    let each = |more: fn(&mut Sizes)| {
        let mut sizes = usual;
        more(&mut sizes);
        (sizes.bytes() - usual.bytes()) as f64 / 1e6
    };
    let session = each(|sizes| sizes.sessions += 1_000_000);
    let host = each(|sizes| sizes.hosts += 1_000_000);
    let more_mappings = Sizes { mappings: usual.mappings + 1_000_000, ..usual };
    let permission = (more_mappings.permissions_bytes() - usual.permissions_bytes()) as f64 / 1e6;
    let mapping = each(|sizes| sizes.mappings += 1_000_000) - permission;
    let address = each(|sizes| sizes.addresses += 1_000) * 1e3 / 1_024.0;
    let alone = session + host / SESSIONS_PER_HOST;
    for (what, unit, figure) in [
        ("a session, endpoint-dependent", "bytes", alone),
        // Mapping and filtering endpoint-independent: anybody comes in.
        ("a session, with a mapping of its own", "bytes", alone + mapping),
        // Filtering address-dependent: every remote but the mapping's first has a permission.
        ("a session, with a mapping and a permission of its own", "bytes", alone + mapping + permission),
        ("of it the session", "bytes", session),
        ("a host, with two blocks of ports", "bytes", host),
        ("a mapping", "bytes", mapping),
        ("a permission", "bytes", permission),
        ("an external address", "KiB", address),
    ] {
        results.add(Row::exact("memory", what, unit, figure))?;
    }
    for (sessions, addresses) in [(1_000_000, 512), (10_000_000, 1_024), (50_000_000, 4_096)] {
        let with = Sizes::new(sessions, 16, addresses);
        let gib = |sizes: Sizes| sizes.bytes() as f64 / f64::from(1_u32 << 30);
        let without = gib(Sizes { mappings: 1, ..with });
        let name = format!("{sessions} sessions, {addresses} external addresses");
        results.add(Row::exact("memory", format!("{name}, a mapping each"), "GiB", gib(with)))?;
        results.add(Row::exact("memory", name, "GiB", without))?;
    }
    Ok(())
}
