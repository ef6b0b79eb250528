//! A region for models of threads (`--cfg loom`, `--cfg shuttle`): their atomics are no plain bytes, so every array is
//! allocated on its own, and the region is nothing.

use std::io;

use crate::sync::Arc;

/// Atomics, and structs of atomics, which begin as zeros.
pub trait Shared: Default + Send + Sync {}
impl<T: Default + Send + Sync> Shared for T {}

/// Nothing: the arrays are memory of their own.
pub struct Region;

impl Region {
    /// Never fails.
    ///
    /// # Errors
    /// None.
    pub fn anonymous(_bytes: u64) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self))
    }

    pub(crate) fn is_whole(&self) -> bool {
        true
    }
}

/// A fixed array. Cloned, it is the same array.
pub struct Cells<T>(Arc<[T]>);

impl<T> Clone for Cells<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Shared> Cells<T> {
    pub(crate) fn bytes(count: usize) -> u64 {
        (count * size_of::<T>()) as u64
    }

    pub(crate) fn none() -> Self {
        Self([].into())
    }

    pub(crate) fn cut_from(_region: &Arc<Region>, count: usize) -> Self {
        Self((0..count).map(|_| T::default()).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A cell.
    ///
    /// # Panics
    /// If there is no such one, as a slice does.
    pub fn get(&self, index: usize) -> &T {
        &self.0[index]
    }

    pub(crate) fn try_get(&self, index: usize) -> Option<&T> {
        self.0.get(index)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// Does nothing.
    pub fn prefetch(&self, _index: usize) {}
}
