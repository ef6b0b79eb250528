//! Tells the binary which revision it was built from, and how it is linked.
//!
//! DPDK's drivers need no link argument: `dpdk-sys` links DPDK's shared libraries, and EAL loads every driver from its
//! plugin directory when it starts. Linked statically, the drivers would have to be named in this file, because the link
//! arguments of a library do not reach the binary.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=NATGATE_REVISION={}", revision().as_deref().unwrap_or("unknown"));
}

/// The commit, with `-modified` where tracked files differ from it; `None` outside a repository or without git.
fn revision() -> Option<String> {
    let directory = git(&["rev-parse", "--absolute-git-dir"])?;
    // A commit and a change of branch touch these. An edit does not, lest every one links the binary again: "modified"
    // is what was true when this last ran.
    for file in ["HEAD", "logs/HEAD"] {
        println!("cargo::rerun-if-changed={directory}/{file}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let modified = git(&["--no-optional-locks", "status", "--porcelain", "--untracked-files=no"])?;
    Some(if modified.is_empty() { commit } else { format!("{commit}-modified") })
}

/// What git prints; `None` where it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
