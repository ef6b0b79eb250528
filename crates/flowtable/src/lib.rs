//! A preallocated, index-addressed table that many keys find fast.
//!
//! A *slot* holds `N` *lines*, each with a key of its own and a value: a session's two directions, a mapping's two
//! endpoints, a lone permission. Any of a slot's keys finds its line, and the line's index gives the slot.
//! The table knows nothing of packets, NAT or the clock: time is a `u32` of milliseconds that may wrap.
//!
//! ```text
//!  key ── hash ──┬─ home bucket ──┐ tag, line number      lines                      slots
//!                └─ other bucket ─┘ ────────────────> | key | value | line 2s     -> s: live bit, deadline
//!                   64 bytes each                     | key | value | line 2s + 1 -> s
//! ```
//!
//! Read on in this order: [`Table`] puts the parts together; `index` says which two buckets a key may be in and
//! `index/displacement` what happens when both are full; `bucket` and `tags` draw the cache line that a lookup reads;
//! `slots` keeps deadlines and free slots; `hash` is the keyed hash; `machine` holds all `unsafe` of the crate.
//!
//! # What it promises
//!
//! - No memory is allocated, and no page touched first, after [`Table::new`].
//! - A lookup reads two cache lines for most keys and three for the others, however full the table is. The work of an
//!   insertion is bounded.
//! - All slots can be used: the index has room for the keys of them all, at 87.5 % of its places.
//! - A key is found only if all its bytes are equal. Nobody makes keys collide who does not know the [`HashKey`].
//! - An insertion that is refused changes nothing.
//!
//! # Why not a hash map
//!
//! At a million sessions a lookup is nothing but waiting for memory. A map answers one key at a time, and waits two
//! or three times for each; [`Table::find_burst`] asks for the memory of 32 keys before it waits for any. Beside
//! that, a map grows in one go, when the table is largest, and moves its values, so that nothing can refer to them by
//! number.
//!
//! | sessions, two lines each | one by one, each key known after the last answer | one by one, keys known ahead |
//! |---|---|---|
//! | 1,000 | 2.8 to 3.1 times a burst's time per key | 0.9 to 1.0 times |
//! | 64,000 | 12 to 15 | 1.7 to 2.1 |
//! | 1,000,000 | 11 to 15 | 1.7 to 2.2 |
//! | 4,000,000 | 12 to 15 | 1.5 to 2.0 |
//!
//! Five runs of `cargo bench -p flowtable`, the two ways and the burst taking turns; two virtual cores of a Xeon of
//! 2023 that were busy with other work, 4 KiB and 2 MiB pages. Where the keys are known ahead the processor runs
//! ahead by itself, as long as nothing but lookups is to be done. Only the ratios mean anything: memory answered in
//! 150 to 1,500 ns, and so did the burst, in 45 to 180 ns per key at a million. A burst costs 98 instructions per key
//! at 1,000 sessions (callgrind).
//!
//! # What is not here
//!
//! Growth, iteration in the order of use, eviction: a full table says so, and who may stay is not its business.
//! Timers: there is a sweep. Concurrency: so far a table belongs to one thread.

mod bucket;
mod carver;
mod hash;
mod index;
mod line;
mod machine;
mod owned;
mod owner;
mod quiescence;
#[cfg(not(any(loom, shuttle)))]
mod region;
#[cfg(any(loom, shuttle))]
#[path = "region/modelled.rs"]
mod region;
mod slots;
mod sync;
mod table;
mod tags;
mod take_over;

#[cfg(all(test, any(loom, shuttle)))]
mod interleavings;
#[cfg(all(test, any(loom, shuttle)))]
#[path = "../../../tests/interleavings/src/scheduler.rs"]
mod scheduler;

pub use carver::Carver;
pub use hash::HashKind;
pub use line::{Key, Words};
pub use owner::Owner;
pub use quiescence::{Grace, Quiescence, READERS_MAX, Reader};
pub use region::{Cells, Region, Shared};
pub use table::Table;
pub use take_over::TakenOver;

/// The most shards of a table.
pub const SHARDS_MAX: usize = 32;

/// The most slots one call of [`Owner::sweep`] reports.
pub const SWEEP_DUE_MAX: usize = 64;

/// A part of a table with one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u8);

/// A slot, numbered over all shards: `N` lines that were inserted together and leave together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotIndex(pub u32);

/// One line of a slot, numbered over all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineIndex(pub u32);

/// The key of the hash: whoever does not know it cannot choose keys that collide.
#[derive(Clone, Copy)]
pub struct HashKey(pub [u64; 2]);

/// Why an insertion was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// Every slot is taken.
    Full,
    /// No place in the index within the bounded number of displacements.
    Crowded,
    /// A key is there already, in this line.
    Duplicate(LineIndex),
    /// Two of the slot's own keys are equal.
    Repeated,
}
