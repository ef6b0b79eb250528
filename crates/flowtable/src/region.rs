//! Memory that several threads share and that may outlive the process; and arrays in it. With `region/memory` and
//! `machine`, all `unsafe` of the crate.
//!
//! ```text
//! file or anonymous memory, every page there before anybody waits for it (`memory`)
//! | cells of A, stride a | pad | cells of B, stride b | pad | ...  | never cut |
//!                          64                         64     ^ cut: only rises
//! ```
//!
//! What lies in a region is found by index, never by pointer, because another process maps it elsewhere. What one
//! process leaves behind, killed at any instruction, is any bytes: so a cell's type must take any bytes
//! ([`Shared`]), and it is for the reader of a region to say whether they make sense.
//!
//! Nobody gets `&mut` to a cell. What changes in it is atomic, and each type says who may write what.
//!
//! Why this is sound: a region hands each of its bytes out once, so no byte is seen through two types; the mapping
//! lives as long as the cells that hold the region; and cells check their bounds. What it cannot check: that nobody
//! else writes to the file, or shortens it (the process dies of a `SIGBUS`). Whoever opens the file locks it.
#![allow(unsafe_code)]

#[cfg(test)]
pub(crate) mod watched;

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::machine::{CACHE_LINE_BYTES, prefetch};
use crate::sync::{Arc, AtomicU64, Ordering};

mod memory;
mod pages;

use memory::Memory;
pub use pages::Pages;

/// Whether a new file's small pages are put together to huge ones, which takes its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HugePages {
    /// As far as the kernel has any.
    #[default]
    Wanted,
    /// Whatever pages the file comes with.
    NotAsked,
}

/// Atomics, and structs of atomics: any bytes are a value, zeros the first one.
pub trait Shared: zerocopy::FromBytes + Sync {}
impl<T: zerocopy::FromBytes + Sync> Shared for T {}

/// See the file's page.
pub struct Region {
    memory: Memory,
    /// Bytes handed out so far.
    cut: AtomicU64,
}

impl Region {
    /// Zeroed memory of this process alone, in huge pages where the kernel has them, all of it there.
    ///
    /// # Errors
    /// If there is not as much memory.
    pub fn anonymous(bytes: u64) -> io::Result<Arc<Self>> {
        Memory::anonymous(bytes).map(Self::over)
    }

    /// The first `bytes` bytes of a file, shared with whoever else maps it and kept when the process ends. All of it is there.
    ///
    /// # Errors
    /// If the file is shorter, cannot be mapped for reading and writing, or its file system is full.
    pub fn map(file: &File, bytes: u64, huge_pages: HugePages) -> io::Result<Arc<Self>> {
        if file.metadata()?.len() < bytes {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is shorter than its region"));
        }
        Memory::of_file(file, bytes, huge_pages == HugePages::Wanted).map(Self::over)
    }

    fn over(memory: Memory) -> Arc<Self> {
        Arc::new(Self { memory, cut: AtomicU64::new(0) })
    }

    /// The pages it lies in, as far as the kernel tells. Reads a file of the kernel's that may be long.
    pub fn pages(&self) -> Option<Pages> {
        self.memory.pages()
    }

    /// Hands out the next `bytes` bytes from a cache line's border on. `None` where the region ends before.
    fn cut(&self, bytes: u64) -> Option<u64> {
        let rounded = bytes.checked_next_multiple_of(CACHE_LINE_BYTES as u64)?;
        let fits = |cut: u64| cut.checked_add(rounded).filter(|&end| end <= self.memory.bytes() as u64);
        self.cut.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()
    }

    /// True as long as nothing was handed out.
    pub(crate) fn is_whole(&self) -> bool {
        self.cut.load(Ordering::Relaxed) == 0
    }
}

/// A fixed array in a region. Cloned, it is the same array.
///
/// ```text
/// base, aligned to a cache line       stride: 4 -> 4, 48 -> 64, 96 -> 128 bytes
/// | cell 0 | cell 1 | ... | cell len-1 |
/// ```
pub struct Cells<T> {
    base: NonNull<u8>,
    len: usize,
    /// Keeps the memory mapped. None of it where there are no cells.
    region: Option<Arc<Region>>,
    cell: PhantomData<T>,
}

// SAFETY: `Cells` gives out `&T` and nothing else, and keeps no `T` of its own: moving it moves a reference.
unsafe impl<T: Sync> Send for Cells<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Cells<T> {}

impl<T> Clone for Cells<T> {
    fn clone(&self) -> Self {
        Self { base: self.base, len: self.len, region: self.region.clone(), cell: PhantomData }
    }
}

impl<T: Shared> Cells<T> {
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

    /// The bytes that so many cells take in a region, up to where the next array begins.
    pub(crate) fn bytes(count: usize) -> u64 {
        (count as u64).saturating_mul(Self::STRIDE as u64).next_multiple_of(CACHE_LINE_BYTES as u64)
    }

    /// No cells.
    pub(crate) fn none() -> Self {
        Self { base: NonNull::<T>::dangling().cast(), len: 0, region: None, cell: PhantomData }
    }

    /// The next cells of a region.
    ///
    /// # Panics
    /// If the region has no room for them.
    pub(crate) fn cut_from(region: &Arc<Region>, count: usize) -> Self {
        let offset = region.cut(Self::bytes(count));
        assert!(offset.is_some(), "the region is smaller than what is cut out of it");
        let base = region.memory.start().wrapping_add(offset.unwrap_or_default() as usize);
        let Some(base) = NonNull::new(base) else { return Self::none() };
        Self { base, len: count, region: Some(Arc::clone(region)), cell: PhantomData }
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A cell.
    ///
    /// # Panics
    /// If there is no such one, as a slice does.
    #[inline]
    pub fn get(&self, index: usize) -> &T {
        assert!(index < self.len, "there is no such cell");
        #[cfg(test)]
        watched::read(self.address(index).cast());
        // SAFETY: `cut_from` had the region hand out `len * STRIDE` bytes from `base` on, to nobody else, and the
        // region is kept; so the cell is inside the mapping and no other type is laid over it. It is aligned: the
        // mapping is to a page, the cut to a cache line, and the stride is a multiple of the alignment, because the
        // size is one and neither rounding in `STRIDE` undoes it. Any bytes are a `T`: it is `FromBytes`. Other
        // threads hold only `&T` too, and `T` is `Sync`.
        unsafe { &*self.address(index) }
    }

    /// A cell, `None` where there is no such one.
    #[inline]
    pub(crate) fn try_get(&self, index: usize) -> Option<&T> {
        (index < self.len).then(|| self.get(index))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).map(|index| self.get(index))
    }

    /// All of them, where they lie side by side.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        const { assert!(Self::STRIDE == size_of::<T>(), "cells with gaps between them are no slice") };
        // SAFETY: as in `get`, for `len` cells with no gap as asserted. Without cells the base is dangling and
        // aligned, which is what an empty slice needs.
        unsafe { std::slice::from_raw_parts(self.address(0), self.len) }
    }

    /// Starts to load the cache lines of a cell. Any index is fine: of what is not there, nothing is loaded.
    #[inline]
    pub fn prefetch(&self, index: usize) {
        let address = self.address(index).cast::<u8>();
        for offset in (0..size_of::<T>()).step_by(CACHE_LINE_BYTES) {
            #[cfg(test)]
            watched::asked(address.wrapping_add(offset));
            prefetch(address.wrapping_add(offset));
        }
    }

    /// Where a cell is, or would be: `wrapping`, so that computing it promises nothing.
    #[inline]
    fn address(&self, index: usize) -> *const T {
        self.base.as_ptr().wrapping_add(index.wrapping_mul(Self::STRIDE)).cast::<T>().cast_const()
    }
}

/// What a process leaves behind, for tests that play the next one.
#[cfg(test)]
impl Region {
    /// All of it, whatever it is cut into. For one thread alone.
    pub(crate) fn bytes(&self) -> &[crate::sync::AtomicU8] {
        // SAFETY: the mapping is that long and lives as long as `self`; an `AtomicU8` is one byte, and any is one.
        unsafe { std::slice::from_raw_parts(self.memory.start().cast(), self.memory.bytes()) }
    }

    /// A region of the same bytes, of which nothing is cut yet.
    pub(crate) fn copy(&self) -> Arc<Self> {
        let copy = Self::anonymous(self.memory.bytes() as u64).unwrap();
        let bytes = self.bytes().iter().map(|byte| byte.load(Ordering::Relaxed));
        copy.bytes().iter().zip(bytes).for_each(|(to, from)| to.store(from, Ordering::Relaxed));
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Carver;
    use crate::sync::{AtomicU8, AtomicU32};

    #[test]
    fn cells_are_aligned_so_that_a_small_one_never_straddles_two_cache_lines() {
        fn check<T: Shared>(stride: usize) {
            let region = Region::anonymous(Cells::<T>::bytes(100)).unwrap();
            let cells = Cells::<T>::cut_from(&region, 100);
            assert_eq!(Cells::<T>::STRIDE, stride);
            for index in 0..100 {
                let first = cells.get(index) as *const T as usize;
                let last = first + size_of::<T>() - 1;
                let lines = last / CACHE_LINE_BYTES - first / CACHE_LINE_BYTES + 1;
                assert_eq!(lines, size_of::<T>().div_ceil(CACHE_LINE_BYTES));
                assert_eq!(first % align_of::<T>(), 0);
            }
        }
        check::<AtomicU32>(4);
        check::<[AtomicU8; 3]>(4);
        check::<[AtomicU64; 2]>(16);
        check::<[AtomicU64; 3]>(32);
        check::<[AtomicU64; 6]>(64);
        check::<[AtomicU64; 8]>(64);
        check::<[AtomicU64; 12]>(128);
    }

    #[test]
    fn cells_outlive_every_other_handle_and_are_the_same_when_cloned() {
        let region = Region::anonymous(1 << 12).unwrap();
        let cells = Carver::over(&region).cells::<AtomicU64>(3);
        drop(region);
        let same = cells.clone();
        cells.get(2).store(7, Ordering::Relaxed);
        drop(cells);
        assert_eq!(same.as_slice()[2].load(Ordering::Relaxed), 7);
        same.prefetch(usize::MAX);
        assert!(same.try_get(3).is_none());
    }

    #[test]
    #[should_panic(expected = "there is no such cell")]
    fn cells_refuse_to_read_beyond_the_end() {
        let region = Region::anonymous(1 << 12).unwrap();
        Carver::over(&region).cells::<AtomicU64>(3).get(3);
    }

    #[test]
    fn what_is_written_to_a_file_is_there_when_it_is_mapped_again() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 16).unwrap();
        let cells = || {
            Carver::over(&Region::map(&file, 1 << 16, HugePages::Wanted).unwrap()).cells::<AtomicU64>(1 << 13)
        };
        let first = cells();
        assert!(first.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        first.get(5000).store(5, Ordering::Relaxed);
        drop(first);
        assert_eq!(cells().get(5000).load(Ordering::Relaxed), 5);
    }

    #[test]
    fn a_file_that_is_too_short_is_refused_and_not_mapped() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4095).unwrap();
        let error = Region::map(&file, 4096, HugePages::Wanted).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        assert!(Region::anonymous(1 << 60).is_err());
    }

    #[test]
    fn a_new_file_on_tmpfs_is_put_into_huge_pages_and_the_next_process_finds_it_so() {
        let Ok(file) = tempfile::tempfile_in("/dev/shm") else {
            println!("skipped: no file can be made in /dev/shm");
            return;
        };
        let thp = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
        if thp.is_empty() || thp.contains("[never]") {
            println!("skipped: this kernel gives no transparent huge pages ({})", thp.trim());
            return;
        }
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let number = |part: &str| part.parse::<u32>().unwrap_or_default();
        if release.split('.').map(number).take(2).lt([6, 1]) {
            println!("skipped: Linux {} does not put pages of a tmpfs together", release.trim());
            return;
        }
        let bytes = (4 << 20) + 4096;
        file.set_len(bytes).unwrap();
        let region = Region::map(&file, bytes, HugePages::Wanted).unwrap();
        Carver::over(&region).cells::<AtomicU64>(1 << 19).get(400_000).store(5, Ordering::Relaxed);
        assert!(region.pages().unwrap().are_huge(), "{}", region.pages().unwrap());
        drop(region);
        let next = Region::map(&file, bytes, HugePages::NotAsked).unwrap();
        assert!(next.pages().unwrap().are_huge(), "{}", next.pages().unwrap());
        assert_eq!(Carver::over(&next).cells::<AtomicU64>(1 << 19).get(400_000).load(Ordering::Relaxed), 5);
    }
}
