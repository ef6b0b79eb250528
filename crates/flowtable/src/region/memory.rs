//! Memory of a region, in the largest pages that the kernel gives.
//!
//! ```text
//! reserved, nothing in it    | mapped: from a large page's border on              | reserved |
//!                            2 MiB (hugetlbfs: its own size)
//! ```
//!
//! | memory | pages | how they are had |
//! |---|---|---|
//! | file on hugetlbfs | its file system's: 2 MiB or 1 GiB | they were set aside; none free is an error |
//! | file on tmpfs | 2 MiB | asked for ahead, which counts where the mount says `huge=advise`; then small ones are put together, which Linux does from 6.1 on whatever the mount says |
//! | anonymous | 2 MiB | asked for ahead |
//!
//! Small pages serve where large ones are not to be had: [`Memory::pages`] tells what it came to. A file keeps its pages, so the
//! next process finds them as they are.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use super::pages::Pages;
use crate::sync::{AtomicU8, Ordering};

/// No machine has smaller pages.
const PAGE_BYTES: usize = 4096;

/// The large page that small ones are put together to.
const LARGE_BYTES: usize = 2 << 20;

/// See the file's page.
pub(super) struct Memory {
    reserved: *mut u8,
    reserved_bytes: usize,
    start: *mut u8,
    bytes: usize,
}

// SAFETY: an address and a length, which are the same in any thread; what lies there is for the region to guard.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed memory of this process alone.
    pub(super) fn anonymous(bytes: u64) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let memory = Self::mapped(bytes, LARGE_BYTES, flags, -1)?;
        // Advice: a kernel without large pages refuses it, and small ones serve too.
        _ = memory.advise(0, memory.bytes, libc::MADV_HUGEPAGE);
        memory.populate()?;
        Ok(memory)
    }

    /// The first bytes of a file, shared. `to_large`: small pages are put together to large ones.
    pub(super) fn of_file(file: &File, bytes: u64, to_large: bool) -> io::Result<Self> {
        let border = hugetlbfs_page(file).unwrap_or(LARGE_BYTES);
        let memory = Self::mapped(bytes, border, libc::MAP_SHARED, file.as_raw_fd())?;
        if to_large {
            memory.put_together()?;
        }
        memory.populate()?;
        Ok(memory)
    }

    /// Reserves a stretch of addresses with a border in it, and maps from there.
    fn mapped(bytes: u64, border: usize, flags: i32, file: i32) -> io::Result<Self> {
        // An empty mapping is none.
        let bytes = usize::try_from(bytes.max(1)).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let reserved_bytes = bytes.checked_add(border).ok_or(io::ErrorKind::OutOfMemory)?;
        let reserve = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let reserved =
            unsafe { libc::mmap(ptr::null_mut(), reserved_bytes, libc::PROT_NONE, reserve, -1, 0) };
        if reserved == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let reserved = reserved.cast::<u8>();
        let start = reserved.wrapping_add(reserved.align_offset(border));
        // From here on dropping it gives the reservation back.
        let memory = Self { reserved, reserved_bytes, start, bytes };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: `bytes` from the border on lie in the reservation, which is ours and which nothing refers to yet.
        let mapped = unsafe { libc::mmap(start.cast(), bytes, access, flags | libc::MAP_FIXED, file, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(memory)
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pages it lies in, as far as the kernel tells.
    pub(super) fn pages(&self) -> Option<Pages> {
        Pages::at(self.start as usize)
    }

    /// Has the kernel put small pages together to large ones, as long as it has any. It passes over what has no page at all,
    /// so each large one gets its first.
    fn put_together(&self) -> io::Result<()> {
        _ = self.advise(0, self.bytes, libc::MADV_HUGEPAGE);
        let whole = self.bytes - self.bytes % LARGE_BYTES;
        for offset in (0..whole).step_by(LARGE_BYTES) {
            match self.advise(offset, PAGE_BYTES, libc::MADV_POPULATE_WRITE) {
                // A kernel that cannot be asked for pages cannot put them together either.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(()),
                populated => populated?,
            }
        }
        // Refused for a file that cannot have them, or for want of large pages: then small ones serve.
        _ = self.advise(0, whole, libc::MADV_COLLAPSE);
        Ok(())
    }

    /// Has the kernel bring in every page now, writable: not a packet is to wait for one. An error now is better
    /// than a `SIGBUS` later.
    fn populate(&self) -> io::Result<()> {
        match self.advise(0, self.bytes, libc::MADV_POPULATE_WRITE) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.touch(),
            populated => populated?,
        }
        Ok(())
    }

    /// For kernels before 5.14, which cannot be asked: a page comes when it is written to.
    fn touch(&self) {
        for offset in (0..self.bytes).step_by(PAGE_BYTES) {
            // SAFETY: inside the mapping, which is writable and has been given to nobody yet; an `AtomicU8` is one byte.
            let byte = unsafe { AtomicU8::from_ptr(self.start.wrapping_add(offset)) };
            byte.fetch_or(0, Ordering::Relaxed);
        }
    }

    fn advise(&self, offset: usize, bytes: usize, advice: i32) -> io::Result<()> {
        debug_assert!(offset + bytes <= self.bytes, "the mapping is no longer than that");
        // SAFETY: none of the advice given here changes what memory of ours holds.
        let answer = unsafe { libc::madvise(self.start.wrapping_add(offset).cast(), bytes, advice) };
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the reservation and what was mapped into it, all ours; whoever was given a part of it holds `self`.
        unsafe { libc::munmap(self.reserved.cast(), self.reserved_bytes) };
    }
}

/// The size of a page of the file system that a file is on, if that is hugetlbfs.
fn hugetlbfs_page(file: &File) -> Option<usize> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut system: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to what the call fills in.
    let answer = unsafe { libc::fstatfs(file.as_raw_fd(), &mut system) };
    (answer == 0 && system.f_type == libc::HUGETLBFS_MAGIC).then_some(system.f_bsize as usize)
}
