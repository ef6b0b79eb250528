//! Pages that must keep up with the code, and style that a machine can see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nat::DropReason;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files that git tracks, with this ending.
fn tracked(ending: &str) -> Vec<String> {
    let output = Command::new("git").args(["ls-files"]).current_dir(root()).output().unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    names
        .lines()
        .filter(|name| name.ends_with(ending) && root().join(name).exists())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_drop_reason_is_a_line_of_the_counters_page_with_its_help() {
    let page = read("docs/counters.md");
    for reason in DropReason::ALL {
        let line = format!("| `{}` | {} |", reason.name(), reason.help());
        assert!(page.contains(&line), "docs/counters.md lacks this line:\n{line}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert!(rows >= DropReason::ALL.len());
    for name in
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name))
    {
        let is_known = DropReason::ALL.iter().any(|reason| reason.name() == name)
            || name.contains(' ')
            || name.starts_with("books.");
        assert!(is_known, "docs/counters.md explains {name}, which no code has");
    }
}

#[test]
fn unsafe_code_stays_where_the_architecture_page_says() {
    let page = read("docs/architecture.md");
    let is_unsafe = |line: &str| {
        let line = line.trim_start();
        !line.starts_with("//")
            && (line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl"))
    };
    for name in
        tracked(".rs").iter().filter(|name| !name.starts_with("dpdk/") && !name.starts_with("tests/tidy"))
    {
        if read(name).lines().any(is_unsafe) {
            assert!(
                page.contains(&format!("`{name}`")),
                "{name} has unsafe code that docs/architecture.md does not list"
            );
        }
    }
}

#[test]
fn every_unsafe_block_says_why_it_is_safe() {
    for name in tracked(".rs").iter().filter(|name| !name.starts_with("tests/tidy")) {
        let text = read(name);
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            if code.starts_with("//") || !(code.contains("unsafe {") || code.contains("unsafe impl")) {
                continue;
            }
            let before = &lines[index.saturating_sub(8)..=index];
            assert!(
                before.iter().any(|line| line.contains("SAFETY:")),
                "{name}:{}: unsafe without SAFETY:",
                index + 1
            );
        }
    }
}

#[test]
fn decisions_are_numbered_and_listed() {
    let index = read("docs/decisions/README.md");
    for name in tracked(".md").iter().filter_map(|name| name.strip_prefix("docs/decisions/")) {
        assert!(name == "README.md" || index.contains(name), "docs/decisions/README.md does not list {name}");
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    for name in tracked(".md") {
        let directory = root().join(&name).parent().unwrap().to_owned();
        for link in
            read(&name).split("](").skip(1).filter_map(|rest| rest.split(')').next().map(str::to_owned))
        {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(directory.join(target).exists(), "{name} links to {target}, which is not there");
        }
    }
}

#[test]
fn the_readme_shows_the_figures_that_the_demo_wrote() {
    let (readme, figures) = (read("README.md"), read("docs/figures.json"));
    let figures: serde_json::Value = serde_json::from_str(&figures).unwrap();
    for (name, shown) in figures.as_object().unwrap().iter().filter(|(name, _)| *name != "machine") {
        let row = format!("| {} | {} |", shown["tried"].as_str().unwrap(), shown["result"].as_str().unwrap());
        assert!(readme.contains(&row), "README.md lacks the row of {name}; run scripts/figures:\n{row}");
    }
}

#[test]
fn the_readme_shows_figures_of_the_performance_page() {
    let (readme, page) = (read("README.md"), read("docs/performance.md"));
    let (_, rest) = readme.split_once("<!-- performance -->").unwrap();
    let (table, _) = rest.split_once("<!-- /performance -->").unwrap();
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let figure = row.split('|').nth(2).unwrap().trim();
        assert!(
            page.contains(&format!("| {figure} ")),
            "docs/performance.md says nothing of {row}: scripts/bench --render"
        );
    }
}
