//! What only the machine can give: aligned memory, prefetching, SSE2 and AES instructions. The one file with
//! `unsafe`.
//!
//! Everything else in the crate is safe code over a few small promises made here:
//!
//! | promise | who relies on it | why not the safe way |
//! |---|---|---|
//! | [`Cells`]: a fixed array whose cells lie in as few cache lines as they can, all pages touched | lines, buckets, deadlines | `Vec` aligns to the element only, leaves fresh pages to the first fault, and wants a value for each cell |
//! | [`Cells::prefetch`]: start to load a cell, wait for nothing | the batched lookup | `core` has no safe prefetch |
//! | [`equal_by_sse2`]: every x86-64 processor has SSE2 | the comparison of tags | the compiler knows, and asks all the same |
//! | [`Aes`]: proof that this processor has AES instructions | the hash | looked at once, at run time; the compiler cannot see it |
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// What one access to memory brings in.
pub(crate) const CACHE_LINE_BYTES: usize = 64;

/// No machine has smaller pages.
const PAGE_BYTES: usize = 4096;

/// A fixed array of plain cells, written from the front.
///
/// ```text
/// base, aligned to a cache line                          stride: 4 -> 4, 48 -> 64, 96 -> 128 bytes
/// | cell 0 | cell 1 | ... | cell len-1 |  touched, but no `T` yet  | capacity
/// ```
///
/// Only cells below `len` can be read, so no value is needed for the others, and the bounds check of a read is at
/// once the check that there is something to read.
pub(crate) struct Cells<T> {
    base: NonNull<u8>,
    layout: Layout,
    len: usize,
    capacity: usize,
    cell: PhantomData<T>,
}

// SAFETY: `Cells` owns its memory alone, as `Vec<T>` does: it lends `&T` for `&self` and `&mut T` for `&mut self`.
unsafe impl<T: Copy + Send> Send for Cells<T> {}
// SAFETY: as above; whoever shares it can only read.
unsafe impl<T: Copy + Sync> Sync for Cells<T> {}

impl<T: Copy> Cells<T> {
    /// The bytes from one cell to the next: a power of two up to a cache line, whole cache lines above.
    pub(crate) const STRIDE: usize = {
        let bytes = size_of::<T>();
        assert!(bytes > 0, "a cell holds something");
        assert!(align_of::<T>() <= CACHE_LINE_BYTES, "cells are aligned to cache lines, not further");
        if bytes <= CACHE_LINE_BYTES {
            bytes.next_power_of_two()
        } else {
            bytes.next_multiple_of(CACHE_LINE_BYTES)
        }
    };

    /// Room for `capacity` cells, none written, every page touched. Without the memory the process ends, as with
    /// `Vec`.
    pub(crate) fn new(capacity: usize) -> Self {
        let bytes = capacity.saturating_mul(Self::STRIDE).max(CACHE_LINE_BYTES);
        let Ok(layout) = Layout::from_size_align(bytes, CACHE_LINE_BYTES) else {
            handle_alloc_error(Layout::new::<T>())
        };
        // SAFETY: the layout has at least the size of one cache line, so it is not empty.
        let Some(base) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        for offset in (0..bytes).step_by(PAGE_BYTES) {
            // SAFETY: `offset` is inside the allocation. Volatile, or the compiler may leave the page, and its fault,
            // to the first packet that needs it.
            unsafe { base.as_ptr().add(offset).write_volatile(0) };
        }
        Self { base, layout, len: 0, capacity, cell: PhantomData }
    }

    /// `capacity` cells, all written.
    pub(crate) fn filled(capacity: usize, value: T) -> Self {
        let mut cells = Self::new(capacity);
        (0..capacity).for_each(|index| cells.set(index, value));
        cells
    }

    /// The cells written so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Cells in all.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// A cell that was written.
    ///
    /// # Panics
    /// If it was not, as a slice does.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> &T {
        assert!(index < self.len, "nothing was written here yet");
        // SAFETY: `index < len <= capacity`, so the cell is inside the allocation and holds a `T` that `set` wrote.
        // It is aligned: the base is to a cache line, and the stride is a multiple of the alignment, because the size
        // is one and neither rounding in `STRIDE` undoes it. `&self` keeps writers out while the reference lives.
        unsafe { &*self.address(index) }
    }

    /// A cell that was written, to be changed.
    ///
    /// # Panics
    /// If it was not, as a slice does.
    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> &mut T {
        assert!(index < self.len, "nothing was written here yet");
        // SAFETY: as in `get`; `&mut self` keeps everybody else out while the reference lives.
        unsafe { &mut *self.address(index) }
    }

    /// Writes a cell: one that was written before, or the next one.
    ///
    /// # Panics
    /// If it is neither.
    #[inline]
    pub(crate) fn set(&mut self, index: usize, value: T) {
        assert!(index <= self.len && index < self.capacity, "cells are written from the front");
        // SAFETY: inside the allocation and aligned, as in `get`. What is written over is `Copy` and has no drop.
        unsafe { self.address(index).write(value) };
        self.len = self.len.max(index + 1);
    }

    /// All cells that were written, where they lie side by side.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        const { assert!(Self::STRIDE == size_of::<T>(), "cells with gaps between them are no slice") };
        // SAFETY: `len` cells from the base on were written, with no gap as asserted; aligned as in `get`.
        unsafe { std::slice::from_raw_parts(self.address(0), self.len) }
    }

    /// Starts to load the cache lines of a cell. Any index is fine: of what is not there, nothing is loaded.
    #[inline]
    pub(crate) fn prefetch(&self, index: usize) {
        let address = self.address(index).cast::<u8>();
        for offset in (0..size_of::<T>()).step_by(CACHE_LINE_BYTES) {
            prefetch(address.wrapping_add(offset));
        }
    }

    /// Where a cell is, or would be: `wrapping`, so that computing it promises nothing.
    #[inline]
    fn address(&self, index: usize) -> *mut T {
        self.base.as_ptr().wrapping_add(index.wrapping_mul(Self::STRIDE)).cast()
    }
}

impl<T> Drop for Cells<T> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout, and dropped once. The cells are `Copy`: nothing to drop.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch is a hint: it reads nothing into the program and faults on no address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

/// Elsewhere the batched lookup still works, only without the head start.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn prefetch(_address: *const u8) {}

/// See [`crate::tags::equal_by_sse2`].
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn equal_by_sse2(tags: [u64; 2], tag: u16) -> u8 {
    // SAFETY: the function needs the `sse2` feature, which is part of x86-64: no such processor is without it.
    unsafe { crate::tags::equal_by_sse2(tags, tag) }
}

/// Proof that this processor has AES instructions: nobody has one where it does not.
#[derive(Clone, Copy)]
pub(crate) struct Aes(());

impl Aes {
    /// Asks the processor.
    pub(crate) fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        let there = std::arch::is_x86_feature_detected!("aes");
        #[cfg(not(target_arch = "x86_64"))]
        let there = false;
        there.then_some(Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
mod aes_calls {
    use crate::Key;
    use crate::hash::Hash;
    use crate::hash::aes::{self, RoundKeys};

    impl super::Aes {
        /// See [`aes::hash_one`].
        #[inline]
        pub(crate) fn hash_one<K: Key>(self, round_keys: &RoundKeys, key: &K) -> Hash {
            // SAFETY: the function needs the `aes` feature, and whoever holds `self` has seen it detected.
            unsafe { aes::hash_one(round_keys, key) }
        }

        /// See [`aes::hash_burst`].
        #[inline]
        pub(crate) fn hash_burst<K: Key>(
            self,
            round_keys: &RoundKeys,
            keys: &[Option<K>],
            hashes: &mut [Hash],
        ) {
            // SAFETY: as above.
            unsafe { aes::hash_burst(round_keys, keys, hashes) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_aligned_so_that_a_small_one_never_straddles_two_cache_lines() {
        fn check<T: Copy>(value: T, stride: usize) {
            let cells = Cells::filled(100, value);
            assert_eq!(Cells::<T>::STRIDE, stride);
            for index in 0..100 {
                let first = cells.get(index) as *const T as usize;
                let last = first + size_of::<T>() - 1;
                let lines = last / CACHE_LINE_BYTES - first / CACHE_LINE_BYTES + 1;
                assert_eq!(lines, size_of::<T>().div_ceil(CACHE_LINE_BYTES));
                assert_eq!(first % align_of::<T>(), 0);
            }
        }
        check(0u32, 4);
        check([0u8; 3], 4);
        check([0u64; 2], 16);
        check([0u64; 3], 32);
        check([0u8; 48], 64);
        check([0u64; 8], 64);
        check([0u64; 12], 128);
    }

    #[test]
    fn cells_hold_what_was_written_and_no_more_can_be_read() {
        let mut cells = Cells::new(3);
        assert_eq!((cells.len(), cells.capacity()), (0, 3));
        cells.set(0, 7u64);
        cells.set(1, 8);
        *cells.get_mut(0) += 1;
        assert_eq!(cells.as_slice(), [8, 8]);
        cells.set(0, 5);
        assert_eq!((*cells.get(0), cells.len()), (5, 2));
        cells.prefetch(usize::MAX);
    }

    #[test]
    #[should_panic(expected = "nothing was written here yet")]
    fn cells_refuse_to_read_what_was_not_written() {
        Cells::<u64>::new(3).get(0);
    }

    #[test]
    #[should_panic(expected = "nothing was written here yet")]
    fn cells_refuse_to_change_what_was_not_written() {
        Cells::<u64>::new(3).get_mut(0);
    }

    #[test]
    #[should_panic(expected = "cells are written from the front")]
    fn cells_refuse_to_write_with_a_gap() {
        Cells::<u64>::new(3).set(1, 1);
    }

    #[test]
    #[should_panic(expected = "cells are written from the front")]
    fn cells_refuse_to_write_beyond_the_end() {
        Cells::filled(3, 1u64).set(3, 1);
    }
}
