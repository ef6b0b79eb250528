//! What no packet waits for: locks, and words that many processors write at once. And who reads a clock.
//!
//! The sources of the crates that carry packets are searched for the words that such a thing is written with. Each file that
//! has one stands here with the reason; one that is not here, or no longer has one, fails. Tests are left out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The crates that packets go through.
const CRATES: [&str; 5] = ["packet", "flowtable", "rules", "nat", "worker"];

/// A file of `crates/`, and why it may have the word.
type Exceptions = &'static [(&'static str, &'static str)];

/// The files that have one of the words in their code are those, and no others.
#[track_caller]
fn check(words: &[&str], exceptions: Exceptions) {
    let has_word =
        |path: &PathBuf| code(path).lines().any(|line| words.iter().any(|word| line.contains(word)));
    let found: BTreeSet<String> = sources().filter(has_word).map(|path| name(&path)).collect();
    let expected: BTreeSet<String> = exceptions.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        found, expected,
        "files with one of {words:?}, and those that are known and why: {exceptions:#?}"
    );
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates")
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

fn sources() -> impl Iterator<Item = PathBuf> {
    CRATES.iter().flat_map(|name| rust_files(&root().join(name).join("src")))
}

/// All but tests and what stands in for the machine in models of threads.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        let is_left_out = path.file_stem().is_some_and(|stem| stem == "tests" || stem == "interleavings");
        if is_left_out {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}

/// A file without comments, imports and its tests, which come last.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let (code, _tests) = text.split_once("\nmod tests {").unwrap_or((&text, ""));
    let is_code =
        |line: &&str| !line.trim_start().starts_with("//") && !line.trim_start().starts_with("use ");
    code.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

#[test]
fn locks_are_where_no_packet_comes_by() {
    const WORDS: [&str; 9] =
        ["Mutex", "RwLock", "Condvar", "Barrier", "OnceLock", "LazyLock", "mpsc", ".lock()", "park"];
    check(
        &WORDS,
        &[
            ("nat/src/state/address_book.rs", "whoever compiles rules writes; packets only read its tables"),
            (
                "worker/src/exchange.rs",
                "how to wake a worker is set before it runs, and read; one that sleeps is woken",
            ),
            ("worker/src/idle.rs", "a worker to which nothing comes sleeps"),
            ("worker/src/status.rs", "where stages are shown is set before the worker runs, and read"),
        ],
    );
}

#[test]
fn read_modify_writes_are_where_sessions_begin_change_and_end() {
    const WORDS: [&str; 4] = [".fetch_", ".compare_exchange", ".swap(", "fence("];
    check(
        &WORDS,
        &[
            (
                "flowtable/src/quiescence.rs",
                "a grace begins: once for all that ended in a turn; a reader joins",
            ),
            ("flowtable/src/region.rs", "memory is cut at the start"),
            ("flowtable/src/region/memory.rs", "pages are touched at the start"),
            ("flowtable/src/table.rs", "a shard gets its owner at the start"),
            ("nat/src/hand_off.rs", "a frame that was handed on is finished: one for each hop"),
            ("nat/src/ports.rs", "a port is taken or given back: where a session begins or ends"),
            ("nat/src/ports/blocks.rs", "a block is leased or given back"),
            ("nat/src/ports/recount.rs", "ports are counted at the start"),
            (
                "nat/src/sessions/noting.rs",
                "a connection gains or loses a flag: SYN, FIN, RST and what answers them",
            ),
            ("nat/src/state/header.rs", "rules are stored"),
            (
                "nat/src/state/intent.rs",
                "a session begins: a release fence, which on x86-64 is no instruction",
            ),
            ("nat/src/takeover.rs", "threads share the work of a takeover"),
            ("worker/src/exchange.rs", "a turn has handed something on, or the worker goes to sleep"),
        ],
    );
}

#[test]
fn clocks_are_read_by_the_workers_loop_alone() {
    const WORDS: [&str; 6] =
        ["clock_gettime(", "Instant::now", "SystemTime::now", "_rdtsc", "clock::now", "clock::ticks()"];
    check(
        &WORDS,
        &[
            ("nat/src/takeover.rs", "how long a takeover took, before any packet"),
            ("worker/src/clock.rs", "the clock"),
            ("worker/src/stages.rs", "where stages are to be timed: off unless asked for"),
            (
                "worker/src/worker.rs",
                "handed to the loop, which reads it once a turn: crates/worker/tests/team/bare.rs",
            ),
        ],
    );
}
