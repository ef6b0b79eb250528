//! Where this crate's atomics come from: the one import that differs when a scheduler tries the interleavings
//! (tests/interleavings, which compiles [`hand_off`](super::hand_off) by its path).

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, Ordering};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicU32, Ordering};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::atomic::{AtomicU32, Ordering};
