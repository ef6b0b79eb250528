//! Every interleaving of the files that threads share without a lock.
//!
//! ```text
//! scripts/interleavings loom         all of a small model
//! scripts/interleavings shuttle      some of a larger one
//! scripts/mutants                    what happens when one of the files is broken
//! ```
//!
//! Compiled otherwise this crate is empty. What it tests are the shipped files, here by their paths, because the rest
//! of their crates has no part in it; the table's tests are in `flowtable`, where its parts can be seen. What loom
//! tries: every order of the threads' steps, and for each load every value that its ordering allows. What it cannot
//! see is in docs/architecture.md.
#![cfg(all(test, any(loom, shuttle)))]

mod graces;
mod nat;
mod order;
mod rings;
mod scheduler;
mod slot;
mod workers;

#[path = "../../../crates/worker/src/ring.rs"]
mod ring;
#[path = "../../../crates/worker/src/sync.rs"]
mod sync;
