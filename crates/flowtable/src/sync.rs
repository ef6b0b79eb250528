//! Where this crate's atomics come from: the one import that differs when a scheduler tries the interleavings.
//!
//! | compiled | atomics of | what runs them |
//! |---|---|---|
//! | as shipped | `std` | the machine |
//! | `--cfg loom` | `loom` | every interleaving of a small model, and every value that a weakly ordered load may return |
//! | `--cfg shuttle` | `shuttle` | thousands of random schedules of a larger one, each load the latest value |
//!
//! All other files import atomics from here, and so are the shipped ones in every test. `Arc` is `std`'s everywhere:
//! how it counts is not ours to prove, and no other can be a method's `self`.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

pub(crate) use std::sync::Arc;
