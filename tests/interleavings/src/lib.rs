//! Every interleaving of the files that threads share without a lock.
//!
//! ```text
//! RUSTFLAGS="--cfg loom"    cargo test -p interleavings -p flowtable --lib interleavings     all of a small model
//! RUSTFLAGS="--cfg shuttle" cargo test -p interleavings -p flowtable --lib interleavings     some of a larger one
//! ```
//!
//! Compiled otherwise this crate is empty. What it tests are the shipped files, here by their paths, because the rest
//! of their crates has no part in it; the table's tests are in `flowtable`, where its parts can be seen. What loom
//! tries: every order of the threads' steps, and for each load every value that its ordering allows. What it cannot
//! see is in docs/architecture.md.
#![cfg(all(test, any(loom, shuttle)))]

#[path = "../../../crates/worker/src/ring.rs"]
mod ring;
#[path = "../../../crates/worker/src/sync.rs"]
mod sync;
