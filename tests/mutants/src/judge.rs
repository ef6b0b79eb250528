//! Runs tests until the first that fails.

use std::io::{BufRead, BufReader, pipe};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use anyhow::{Context, Result};

use crate::tree::Executable;

/// Seconds that tests may take of a processor: a mutant that loops for ever is one that was noticed.
const SECONDS_MAX: u32 = 300;
/// Seconds that they may take in all: so is one that waits for ever.
const WAIT_SECONDS_MAX: u32 = 1800;
/// Bytes of their own that they may have: so is one that remembers for ever.
const BYTES_MAX: u64 = 4 << 30;

/// As a shell says that the tests ended by a signal: they had no time left, or were killed.
const NOT_ENDING: [i32; 2] = [128 + 24, 128 + KILLED];
const KILLED: i32 = 9;

pub(crate) enum Outcome {
    /// So many tests passed.
    Passed(u32),
    /// The first that failed, or how it ended.
    Failed(String),
}

/// Runs an executable's tests with one number's switch on.
pub(crate) fn run(executable: &Executable, arguments: &[String], number: u32) -> Result<Outcome> {
    let (output, writer) = pipe()?;
    let mut child = Command::new("timeout")
        .args(["--signal=KILL", &WAIT_SECONDS_MAX.to_string()])
        .args(["prlimit", "--core=0", &format!("--cpu={SECONDS_MAX}"), &format!("--data={BYTES_MAX}")])
        .arg(&executable.path)
        .args(arguments)
        .current_dir(&executable.package)
        .env("NATGATE_PLANTED", number.to_string())
        .env("CARGO_MANIFEST_DIR", &executable.package)
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .context("timeout")?;
    let (mut passed, mut failed, mut panicked) = (0, None, None);
    let mut lines = BufReader::new(output).split(b'\n');
    while let Some(line) = lines.next() {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            failed = Some(name.to_owned());
            break;
        }
        if let Some(rest) = line.strip_prefix("test result: ok. ") {
            passed += rest.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
        }
        // One that panics while it panics is not listed, nor is one whose output is shown as it comes: then what it says counts.
        if let Some(rest) = line.strip_prefix("thread '").filter(|rest| rest.contains(" panicked at ")) {
            let says = lines.next().transpose()?.unwrap_or_default();
            panicked =
                rest.split('\'').next().map(|name| format!("{name}: {}", String::from_utf8_lossy(&says)));
        }
    }
    if failed.is_some() {
        // `timeout` hands the signal on.
        let _ = Command::new("kill").arg(child.id().to_string()).status();
    }
    let status = child.wait()?;
    Ok(match failed {
        Some(name) => Outcome::Failed(name),
        None if status.success() => Outcome::Passed(passed),
        None if status.signal() == Some(KILLED)
            || status.code().is_some_and(|code| NOT_ENDING.contains(&code)) =>
        {
            Outcome::Failed(format!("not ending in {SECONDS_MAX} s"))
        }
        None => Outcome::Failed(panicked.unwrap_or_else(|| status.to_string())),
    })
}
