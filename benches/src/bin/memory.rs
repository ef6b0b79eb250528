//! What flow state takes of memory, all of it at start. Prints a table in Markdown.

use nat::Sizes;

fn main() {
    let bytes = |sessions, addresses| Sizes { sessions, shards: 16, addresses }.bytes();
    let session = (bytes(11_000_000, 512) - bytes(10_000_000, 512)) as f64 / 1e6;
    let address = (bytes(1_000_000, 1_512) - bytes(1_000_000, 512)) as f64 / 1e3 / 1_024.0;
    println!("A session takes {session:.0} bytes, an external address {address:.0} KiB:\n");
    println!("| sessions | external addresses | GiB |");
    println!("|---|---|---|");
    for (sessions, addresses) in [(1_000_000, 512), (10_000_000, 1_024), (50_000_000, 4_096)] {
        let gib = bytes(sessions, addresses) as f64 / f64::from(1_u32 << 30);
        println!("| {sessions} | {addresses} | {gib:.1} |");
    }
}
