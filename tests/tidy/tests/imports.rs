//! Who may import whom (docs/architecture.md), and under which licences.
//!
//! A crate exists only where the compiler must forbid an import; this is the list of what is not forbidden.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Schedulers that try the interleavings of threads: imported by the `sync.rs` of a crate under `--cfg loom` or
/// `--cfg shuttle`, and by nothing that is shipped.
const SCHEDULERS: &[&str] = &["loom", "shuttle"];

/// Crates free to all floors.
const FREE: &[&str] = &["arrayvec", "bitflags", "ipnet", "thiserror", "zerocopy"];

/// Each crate of the workspace, and what it may depend on besides [`FREE`].
const FLOORS: &[(&str, &[&str])] = &[
    ("packet", &[]),
    ("flowtable", &["libc", "siphasher"]),
    (
        "rules",
        &[
            "packet",
            "serde",
            "serde_json",
            "serde_path_to_error",
            "serde-saphyr",
            "schemars",
            "hashbrown",
            "sha2",
        ],
    ),
    ("nat", &["packet", "flowtable", "rules", "hashbrown", "siphasher"]),
    ("worker", &["nat", "packet", "rules", "crossbeam-queue", "rustix"]),
    (
        "feed",
        &[
            "rules",
            "tonic",
            "tonic-prost",
            "prost",
            "tokio",
            "tokio-stream",
            "tower",
            "hyper-util",
            "tracing",
            "sha2",
            "serde",
            "serde_json",
            "getrandom",
        ],
    ),
    (
        "control",
        &[
            "serde",
            "serde_json",
            "tokio",
            "tracing",
            "tracing-subscriber",
            "prometheus-client",
            "hyper",
            "hyper-util",
            "http-body-util",
        ],
    ),
    // Never shipped.
    (
        "benches",
        &[
            "anyhow",
            "clap",
            "flowtable",
            "hashbrown",
            "nat",
            "packet",
            "plotters",
            "rules",
            "rustix",
            "serde",
            "serde_json",
        ],
    ),
    ("bench-generator", &["anyhow", "benches", "clap", "dpdk", "hdrhistogram", "packet", "serde_json"]),
    ("sim", &["nat", "packet", "rules", "smoltcp", "tempfile"]),
    ("dpdk-sys", &[]),
    ("dpdk", &["packet", "dpdk-sys", "libc"]),
    ("fuzz", &["feed", "nat", "packet", "rules", "etherparse", "hashbrown", "prost"]),
    ("interleavings", &["flowtable"]),
    ("mutants", &["anyhow", "proc-macro2", "serde_json", "syn"]),
    ("tidy", &[]),
];

/// Licences that go with Apache-2.0, alone or as a choice.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn metadata(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn every_crate_imports_only_what_its_floor_allows() {
    let metadata = metadata(&["--no-deps"]);
    let floors: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    let mut wrong = Vec::new();
    // The root package is the one place that knows every crate.
    for package in packages(&metadata).filter(|package| text(package, "name") != "natgate") {
        let name = text(package, "name");
        let Some(allowed) = floors.get(name) else {
            wrong.push(format!("{name} is on no floor: give it one in docs/architecture.md and here"));
            continue;
        };
        let normal = |dependency: &&Value| dependency["kind"].is_null();
        for dependency in package["dependencies"].as_array().unwrap().iter().filter(normal) {
            let (dependency, target) = (text(dependency, "name"), text(dependency, "target"));
            if SCHEDULERS.contains(&dependency) {
                if target != format!("cfg({dependency})") {
                    wrong.push(format!("{name} may import {dependency} only under cfg({dependency})"));
                }
            } else if !FREE.contains(&dependency) && !allowed.contains(&dependency) {
                wrong.push(format!("{name} may not import {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(packages(&metadata).count(), FLOORS.len() + 1, "a floor without a crate");
}

#[test]
fn every_dependency_has_a_licence_that_goes_with_ours() {
    let metadata = metadata(&[]);
    for package in packages(&metadata) {
        let (name, licence) = (text(package, "name"), text(package, "license"));
        let is_free = |term: &str| LICENCES.contains(&term.trim_matches(['(', ')', ' ']));
        // A conjunction needs every part; a choice needs one.
        let is_fine = licence.split(" AND ").all(|part| part.replace('/', " OR ").split(" OR ").any(is_free));
        assert!(is_fine, "{name}: {licence:?} is not among {LICENCES:?}");
    }
}

/// What judges the brain shares no line with it.
#[test]
fn the_oracle_imports_nothing_of_what_it_judges() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/sim/src/oracle");
    let mut files = 0;
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        files += 1;
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
            let imports = line.strip_prefix("pub use ").or(line.strip_prefix("use "));
            let own = ["super::", "std::", "bytes::", "state::", "world::"];
            assert!(
                imports.is_none_or(|path| own.iter().any(|own| path.starts_with(own))),
                "{path:?}: {line}"
            );
            let paths =
                ["crate::", "packet::", "flowtable::", "rules::", "nat::", "worker::", "extern crate"];
            let named = paths.iter().find(|path| line.contains(*path));
            assert!(named.is_none(), "{path:?} names {named:?}: {line}");
        }
    }
    assert!(files > 5, "the oracle is there");
}

/// What judges the brain can be read in an hour. Counted is what judges: not the description of the world that it is told,
/// nor the reading and writing of packets.
#[test]
fn the_oracle_is_small() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/sim/src/oracle");
    let (mut judging, mut all) = (0, 0);
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
        let lines = code.count();
        all += lines;
        if !path.ends_with("world.rs") && !path.ends_with("bytes.rs") {
            judging += lines;
        }
    }
    assert!(judging <= 1_155 && all <= 1_720, "{judging} lines of the oracle judge, of {all}");
}
