//! A preallocated, index-addressed table that many keys find fast.
//!
//! A *slot* holds `N` *lines*, each with a key of its own and a value: a session's two directions, a mapping's two
//! endpoints, a lone permission. Any of a slot's keys finds its line, and the line's index gives the slot.
//! The table knows nothing of packets, NAT or the clock: time is a `u32` of milliseconds that may wrap.

mod bucket;
mod hash;
mod index;
mod machine;
mod slots;
mod table;
mod tags;

pub use table::Table;

/// The most slots one call of [`Table::sweep`] reports.
pub const SWEEP_DUE_MAX: usize = 64;

/// A slot: `N` lines that were inserted together and leave together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotIndex(pub u32);

/// One line of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineIndex(pub u32);

/// The key of the hash: whoever does not know it cannot choose keys that collide.
#[derive(Clone, Copy)]
pub struct HashKey(pub [u64; 2]);

/// What can be a key: plain bytes without padding, compared whole.
pub trait Key: Copy + Eq + zerocopy::IntoBytes + zerocopy::Immutable {}
impl<T: Copy + Eq + zerocopy::IntoBytes + zerocopy::Immutable> Key for T {}

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
