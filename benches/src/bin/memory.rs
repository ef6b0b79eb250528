//! What flow state takes of memory, all of it at start. Prints a table in Markdown.

use nat::Sizes;

/// RFC 9693's and CSIT's figure.
const SESSIONS_PER_HOST: f64 = 63.0;

fn main() {
    let usual = Sizes::new(10_000_000, 16, 1_024);
    let each = |more: fn(&mut Sizes)| {
        let mut sizes = usual;
        more(&mut sizes);
        (sizes.bytes() - usual.bytes()) as f64 / 1e6
    };
    let session = each(|sizes| sizes.sessions += 1_000_000);
    let host = each(|sizes| sizes.hosts += 1_000_000);
    let mapping = each(|sizes| sizes.mappings += 1_000_000);
    let address = each(|sizes| sizes.addresses += 1_000) * 1e3 / 1_024.0;
    let alone = session + host / SESSIONS_PER_HOST;
    println!("| each | bytes |");
    println!("|---|---|");
    println!("| session | {session:.0} |");
    println!("| host, with two blocks of ports | {host:.0} |");
    println!("| mapping that does not depend on the whole endpoint, and a permission | {mapping:.0} |");
    println!("| **session and its part of a host, of {SESSIONS_PER_HOST} sessions** | **{alone:.0}** |");
    println!("| **the same with a mapping and a permission of its own** | **{:.0}** |", alone + mapping);
    println!("\nAn external address takes {address:.0} KiB.\n");
    println!("| sessions | external addresses | GiB with a mapping for each | GiB without |");
    println!("|---|---|---|---|");
    for (sessions, addresses) in [(1_000_000, 512), (10_000_000, 1_024), (50_000_000, 4_096)] {
        let with = Sizes::new(sessions, 16, addresses);
        let gib = |sizes: Sizes| sizes.bytes() as f64 / f64::from(1_u32 << 30);
        let without = Sizes { mappings: 1, ..with };
        println!("| {sessions} | {addresses} | {:.1} | {:.1} |", gib(with), gib(without));
    }
}
