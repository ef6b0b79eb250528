//! A preallocated, index-addressed table that many threads search at once, that finds many keys fast, and that outlives
//! its process.
//!
//! A *slot* holds `N` *lines*, each with a key of its own and a value: a session's two directions, a lone permission. Any
//! of a slot's keys finds its line, and the line's index gives the slot. A lone line may have an *alias* beside its key,
//! made of its value, that finds it too: a mapping's external endpoint. Slots belong to *shards*: one owner changes a
//! shard, everybody searches all of them, and nobody ever waits for anybody. The table knows nothing of packets, NAT or
//! the clock: time is a `u32` of milliseconds that may wrap.
//!
//! ```text
//!                      a shard's buckets                  its lines                  its slots
//!  key ── hash ──┬─ home bucket ──┐ tag, line number
//!                └─ other bucket ─┘ ────────────────> | key | value | line 2s     -> s: live bit, deadline
//!                   64 bytes each                     | key | value | line 2s + 1 -> s
//!
//!  Owner    one per shard: inserts, removes, sweeps, frees what no reader can hold any more
//!  Table    everyone: finds, reads, writes the values' atomics
//! ```
//!
//! Read on in this order: [`Table`] is what everyone does, [`Owner`] what one does for a shard; `index` says which two
//! buckets a key may be in, how readers find it while it moves, and `index/displacement` what happens when both are
//! full; `bucket` and `tags` draw the cache line that a lookup reads; `line` what it finds, and `entries` by which of its
//! keys; `slots` keeps deadlines and free slots; `quiescence` says when a slot may be used again; `region` and `carver` are the memory and how it is
//! cut; `take_over` puts it right after a crash. `owned` has the three ways to touch a word, `hash` is the keyed hash,
//! `machine` and `region` hold all `unsafe` of the crate.
//!
//! # What it promises
//!
//! - No memory is allocated, and no page touched first, after the table is made.
//! - A lookup reads two cache lines for most keys and three for the others, however full the table is, and writes
//!   none. The work of an insertion is bounded.
//! - A key that is in the table all the while a reader looks is found, whatever the owner does beside.
//! - What a reader finds stays as it is until he passes a quiescent point, though it be removed meanwhile.
//! - All slots of a shard can be used: its index has room for the keys of them all, at 87.5 % of its places.
//! - A key is found only if all its bytes are equal. Nobody makes keys collide who does not know the [`HashKey`].
//! - A process may be killed between any two instructions: every slot that was not in work then is there for the next
//!   one, after a takeover. And whatever bytes it finds, nothing panics and nothing is read out of bounds.
//!
//! # Who writes what, and how it is seen
//!
//! | words | written by | read by | how | why that is enough |
//! |---|---|---|---|---|
//! | a bucket's tags, line numbers, `strays`, `returns` | the shard's owner | all | published with release, seen with acquire (`owned`) | the order of the steps: the table in `index` |
//! | a bucket's `away` | the owner | the owner | the same | killed or not, the stores stay in order |
//! | a line's key | the owner, while no entry leads to it | all | relaxed | the entry is published after the key, and seen before it |
//! | a line's value | the owner in `fill`; then whom the caller lets | all | as the caller says | as the key, up to `fill`'s end |
//! | those of its words that an alias is made of | the owner in `fill`, nobody then | all | relaxed | as the key |
//! | live bits | the owner | all | published, seen | set before the entries and cleared after them: who finds a line sees its slot live, until it is removed |
//! | counts of live and used slots | the owner | all | published, seen | each is a figure of a moment |
//! | deadlines, and the lists threaded through them | the owner | the owner | published | stores stay in order |
//! | which roles are given out | whoever takes or drops one | the same | read-modify-write, acquire to take, release to drop | a shard's next owner sees what the last one wrote |
//! | how much of a region is cut | whoever cuts | the same | read-modify-write, relaxed | it guards no other memory: the parts are disjoint |
//! | eras and who has seen them | owners, readers | all | the table in `quiescence` | a slot is written again only after every reader's last look |
//!
//! No word of a table has two writers at a time, so none but the roles' is changed by a read-modify-write.
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
//! | 1,000 | 2.3 to 2.7 times a burst's time per key | 1.0 to 1.2 times |
//! | 64,000 | 7 to 11 | 1.7 to 2.2 |
//! | 1,000,000 | 11 to 13 | 2.7 to 3.0 |
//! | 4,000,000 | 13 to 15 | 2.9 to 3.1 |
//!
//! Three runs of `cargo bench -p flowtable`, 16 shards, the two ways and the burst taking turns; two virtual cores of a
//! Xeon of 2023 that were very busy with other work, 2 MiB pages. Where the keys are known ahead the processor runs
//! ahead by itself, as long as nothing but lookups is to be done. Only the ratios mean anything: memory answered in
//! 200 to 2,100 ns, and so did the burst, in 76 to 187 ns per key at a million. A burst costs 122 instructions per key
//! at 1,000 sessions (callgrind), 24 of them for shards and for readers beside a writer.
//!
//! # What is not here
//!
//! Growth, iteration in the order of use, eviction: a full shard says so, and who may stay is not its business.
//! Timers: there is a sweep. Which shard a key belongs to: the caller knows. Sequence numbers of lines: they are written
//! before they are published and after grace only.

#![cfg_attr(any(loom, shuttle), allow(dead_code, unused_imports, reason = "models need no real machine"))]

mod bucket;
mod carver;
mod entries;
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
pub use line::{Key, LineValue, Words};
pub use machine::prefetch_value;
pub use owner::{Owner, Vacant};
pub use quiescence::{Grace, Quiescence, READERS_MAX, Reader};
pub use region::{Cells, Region, Shared};
#[cfg(not(any(loom, shuttle)))]
pub use region::{HugePages, Pages};
pub use table::{Place, Sought, Table};
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// A key, or an alias, is there already, in this line.
    Duplicate(LineIndex),
    /// Two of the slot's own keys are equal.
    Repeated,
}
