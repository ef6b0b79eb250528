//! The same mutants before another judge: the simulator, whose oracle compares every packet.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::NONE;
use crate::patch::Patch;

/// Plays so many operations of each of these seeds with each mutant, and says which disagreed with the oracle first.
/// Returns how many were found, and how many were not.
pub(crate) fn simulate(
    sim: &Path,
    seeds: &str,
    operations: &str,
    patches: &BTreeMap<u32, Patch>,
) -> Result<[u32; 2]> {
    ensure!(play(sim, seeds, operations, NONE)?.is_none(), "without any mutant the simulator disagrees");
    let mut counts = [0; 2];
    for (number, patch) in patches {
        let found = play(sim, seeds, operations, *number)?;
        counts[usize::from(found.is_none())] += 1;
        println!("{:<48} {}", patch.name, found.as_deref().unwrap_or("-"));
    }
    Ok(counts)
}

/// What the first seed that disagrees says of it.
fn play(sim: &Path, seeds: &str, operations: &str, number: u32) -> Result<Option<String>> {
    let (first, last) = seeds.split_once('-').unwrap_or((seeds, seeds));
    for seed in first.parse::<u32>()?..=last.parse()? {
        let output = Command::new("timeout")
            .args(["--signal=KILL", "600"])
            .arg(sim)
            .args(["--seeds", &seed.to_string(), "--operations", operations])
            .env("NATGATE_PLANTED", number.to_string())
            .output()
            .context("timeout")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            let panicked = errors.lines().skip_while(|line| !line.contains("panicked")).nth(1);
            let said = text.lines().next().filter(|line| !line.starts_with("seeds ")).or(panicked);
            return Ok(Some(format!("seed {seed}: {}", said.unwrap_or("it does not end").trim())));
        }
    }
    Ok(None)
}
