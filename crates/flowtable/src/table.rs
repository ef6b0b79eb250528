//! The table, to be filled in.
use std::marker::PhantomData;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::*;

/// See the crate's page.
pub struct Table<K, V, const N: usize>(PhantomData<fn() -> (K, V)>);
#[allow(missing_docs, unused_variables, clippy::unimplemented)]
impl<K: Key, V: Shared, const N: usize> Table<K, V, N> {
    pub fn carve(carver: &mut Carver, shards: u8, slots_per_shard: u32, hash_key: HashKey) -> Self { unimplemented!() }
    pub fn anonymous(shards: u8, slots_per_shard: u32, hash_key: HashKey) -> Self { unimplemented!() }
    pub fn hash_kind(&self) -> HashKind { unimplemented!() }
    pub fn find(&self, shard: ShardIndex, key: &K) -> Option<LineIndex> { unimplemented!() }
    pub fn find_burst(&self, keys: &[Option<(ShardIndex, K)>], found: &mut [Option<LineIndex>]) { unimplemented!() }
    pub fn holds(&self, line: LineIndex, key: &K) -> bool { unimplemented!() }
    pub fn key(&self, line: LineIndex) -> K { unimplemented!() }
    pub fn value(&self, line: LineIndex) -> &V { unimplemented!() }
    pub fn slot_of(&self, line: LineIndex) -> SlotIndex { unimplemented!() }
    pub fn side_of(&self, line: LineIndex) -> usize { unimplemented!() }
    pub fn line_of(&self, slot: SlotIndex, side: usize) -> LineIndex { unimplemented!() }
    pub fn shard_of(&self, slot: SlotIndex) -> ShardIndex { unimplemented!() }
    pub fn shards(&self) -> u8 { unimplemented!() }
    pub fn slots_per_shard(&self) -> u32 { unimplemented!() }
    pub fn slots_max(&self) -> u32 { unimplemented!() }
    pub fn len(&self) -> u32 { unimplemented!() }
    pub fn is_empty(&self) -> bool { unimplemented!() }
    pub fn owner(self: &Arc<Self>, shard: ShardIndex, quiescence: &Arc<Quiescence>) -> Owner<K, V, N> { unimplemented!() }
    pub fn take_over(&self, shard: ShardIndex, is_sound: impl FnMut([K; N], [&V; N]) -> bool) -> TakenOver { unimplemented!() }
}
/// What a takeover found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TakenOver { pub kept: u32, pub dropped: u32, pub repaired_entries: u32 }

/// What only one thread may do for a shard.
pub struct Owner<K, V, const N: usize>(Arc<Table<K, V, N>>);
#[allow(missing_docs, unused_variables, clippy::unimplemented)]
impl<K: Key, V: Shared, const N: usize> Owner<K, V, N> {
    pub fn table(&self) -> &Table<K, V, N> { unimplemented!() }
    pub fn shard(&self) -> ShardIndex { unimplemented!() }
    pub fn len(&self) -> u32 { unimplemented!() }
    pub fn is_empty(&self) -> bool { unimplemented!() }
    pub fn insert(&mut self, keys: [K; N], deadline_ms: u32, fill: impl FnOnce([&V; N])) -> Result<SlotIndex, InsertError> { unimplemented!() }
    pub fn remove(&mut self, slot: SlotIndex) -> [K; N] { unimplemented!() }
    pub fn reclaim(&mut self) { unimplemented!() }
    pub fn is_live(&self, slot: SlotIndex) -> bool { unimplemented!() }
    pub fn live(&self, from: SlotIndex, slots: usize) -> impl Iterator<Item = SlotIndex> + '_ { std::iter::empty() }
    pub fn first_slot(&self) -> SlotIndex { unimplemented!() }
    pub fn set_deadline(&mut self, slot: SlotIndex, deadline_ms: u32) { unimplemented!() }
    pub fn sweep(&mut self, now_ms: u32, slots: usize, due: &mut ArrayVec<SlotIndex, SWEEP_DUE_MAX>) { unimplemented!() }
}
impl<K, V, const N: usize> Drop for Owner<K, V, N> { fn drop(&mut self) {} }
