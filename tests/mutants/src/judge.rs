//! Runs one test, and says how it ended.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::tree::Executable;

/// Seconds of a processor that a test may take beyond five times what it takes where nothing is wrong: a mutant that loops
/// for ever is one that was noticed.
const SECONDS_MORE: u64 = 10;
/// How often that it may take in all, of a processor that is not its own: so is one that waits for ever.
const WAITS_MAX: u64 = 10;
/// Bytes of its own that it may have: so is one that remembers for ever.
const BYTES_MAX: u64 = 4 << 30;

/// SIGKILL and SIGXCPU: it had no time left.
const NOT_ENDING: [i32; 2] = [9, 24];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    DidNotEnd,
}

/// What a test does where nothing is wrong.
pub(crate) struct Learnt {
    pub(crate) takes: Duration,
    /// The switches that it looks at: it cannot notice any other.
    pub(crate) asks: BTreeSet<u32>,
}

/// The names of an executable's tests that its arguments choose.
pub(crate) fn names(executable: &Executable, arguments: &[String]) -> Result<Vec<String>> {
    let output = command(executable).args(["--list", "--format", "terse"]).args(arguments).output()?;
    ensure!(output.status.success(), "{} lists no tests", executable.path.display());
    let names = String::from_utf8(output.stdout)?;
    Ok(names.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// Runs a test with no switch on, writing what it asks for to a file.
pub(crate) fn learn(executable: &Executable, name: &str, file: &Path) -> Result<Learnt> {
    File::create(file)?;
    let begun = Instant::now();
    let status = command(executable)
        .args(["--exact", name])
        .env("NATGATE_ASKED", file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !status.success() {
        bail!("without any mutant this fails: {} {name}", executable.path.display());
    }
    let takes = begun.elapsed();
    let asks = fs::read_to_string(file)?.lines().filter_map(|line| line.parse().ok()).collect();
    fs::remove_file(file)?;
    Ok(Learnt { takes, asks })
}

/// Runs a test with one number's switch on.
pub(crate) fn run(executable: &Executable, name: &str, number: u32, takes: Duration) -> Result<Outcome> {
    let seconds = SECONDS_MORE + 5 * takes.as_secs();
    let status = Command::new("timeout")
        .args(["--signal=KILL", &(WAITS_MAX * seconds).to_string()])
        .args(["prlimit", "--core=0", &format!("--cpu={seconds}"), &format!("--data={BYTES_MAX}")])
        .arg(&executable.path)
        .args(["--exact", name])
        .current_dir(&executable.package)
        .env("CARGO_MANIFEST_DIR", &executable.package)
        .env("NATGATE_PLANTED", number.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("timeout")?;
    // `timeout` may end as the test did, or say so as a shell does.
    let signal = status.signal().or_else(|| status.code()?.checked_sub(128));
    Ok(match signal {
        _ if status.success() => Outcome::Passed,
        Some(signal) if NOT_ENDING.contains(&signal) => Outcome::DidNotEnd,
        _ => Outcome::Failed,
    })
}

fn command(executable: &Executable) -> Command {
    let mut command = Command::new(&executable.path);
    command.current_dir(&executable.package).env("CARGO_MANIFEST_DIR", &executable.package);
    command
}
