//! Who may import whom (docs/architecture.md), and under which licences.
//!
//! A crate exists only where the compiler must forbid an import; this is the list of what is not forbidden.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Crates free to all floors.
const FREE: &[&str] = &["arrayvec", "bitflags", "ipnet", "thiserror", "zerocopy"];

/// Each crate of the workspace, and what it may depend on besides [`FREE`].
const FLOORS: &[(&str, &[&str])] = &[
    ("packet", &["etherparse"]),
    ("flowtable", &["crossbeam-utils", "siphasher"]),
    ("rules", &["packet", "serde", "serde_json", "serde-saphyr", "schemars", "hashbrown"]),
    ("nat", &["packet", "flowtable", "rules", "hashbrown", "siphasher"]),
    ("worker", &["nat", "packet", "rules", "crossbeam-queue", "crossbeam-utils"]),
    (
        "feed",
        &[
            "rules", "tonic", "tonic-prost", "prost", "tokio", "tokio-stream", "tower", "tracing", "sha2", "hyper-util",
            "http", "serde", "serde_json", "rustix", "getrandom",
        ],
    ),
    (
        "control",
        &[
            "serde", "serde_json", "tokio", "tracing", "tracing-subscriber", "prometheus-client", "hyper", "hyper-util",
            "http-body-util", "bytes", "rustix",
        ],
    ),
    ("dpdk-sys", &[]),
    ("dpdk", &["packet", "dpdk-sys", "libc", "rustix"]),
    ("tidy", &[]),
];

/// Licences that go with Apache-2.0, alone or as a choice.
const LICENCES: &[&str] = &[
    "0BSD", "Apache-2.0", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT",
    "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
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

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn every_crate_imports_only_what_its_floor_allows() {
    let metadata = metadata(&["--no-deps"]);
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = text(package, "name");
        if name == "natgate" {
            continue; // The one place that knows every crate.
        }
        let (_, allowed) = FLOORS
            .iter()
            .find(|(floor, _)| *floor == name)
            .unwrap_or_else(|| panic!("{name} is on no floor: give it one in docs/architecture.md and here"));
        seen.insert(name);
        let normal = |dependency: &&Value| dependency["kind"].is_null();
        for dependency in package["dependencies"].as_array().unwrap().iter().filter(normal) {
            let dependency = text(dependency, "name");
            assert!(
                FREE.contains(&dependency) || allowed.contains(&dependency),
                "{name} may not import {dependency}"
            );
        }
    }
    assert_eq!(seen.len(), FLOORS.len(), "a floor without a crate");
}

#[test]
fn every_dependency_has_a_licence_that_goes_with_ours() {
    let metadata = metadata(&[]);
    for package in metadata["packages"].as_array().unwrap() {
        let (name, licence) = (text(package, "name"), text(package, "license"));
        let is_free = |term: &str| LICENCES.contains(&term.trim_matches(['(', ')', ' ']));
        // A conjunction needs every part; a choice needs one.
        let is_fine = licence.split(" AND ").all(|part| part.replace('/', " OR ").split(" OR ").any(is_free));
        assert!(is_fine, "{name}: {licence:?} is not among {LICENCES:?}");
    }
}
