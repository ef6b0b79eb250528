//! Whether the machine has hugepages for us.
//!
//! EAL can be started once in a process, so it cannot be tried with hugepages and then without. What it will do is
//! therefore tried beforehand: the kernel is asked what is free, and one page is mapped to see whether we may.

use std::{fs, io, ptr};

/// Where the kernel keeps one directory for each size.
const SIZES: &str = "/sys/kernel/mm/hugepages";

/// Why hugepages cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HugepageError {
    /// Fewer are free than are wanted.
    #[error("{free_mib} MiB of hugepages are free and {wanted_mib} MiB are wanted (set vm.nr_hugepages)")]
    TooFew {
        /// MiB free in pages of all sizes.
        free_mib: u64,
        /// MiB asked for.
        wanted_mib: u64,
    },
    /// Enough are free, but the process cannot map one.
    #[error("a hugepage cannot be mapped: {0}")]
    Refused(String),
}

/// Checks that `wanted_mib` MiB of hugepages are free and that this process may map them.
///
/// # Errors
/// [`HugepageError`], whose sentence is meant for the operator.
pub fn check(wanted_mib: u64) -> Result<(), HugepageError> {
    let free = free();
    let free_mib = free.iter().map(|(kib, pages)| kib * pages / 1024).sum();
    let Some(&(page_kib, _)) = free.iter().find(|_| free_mib >= wanted_mib) else {
        return Err(HugepageError::TooFew { free_mib, wanted_mib });
    };
    map_one(page_kib * 1024).map_err(|error| HugepageError::Refused(error.to_string()))
}

/// KiB in free pages of one size.
pub fn free_kib(page_kib: u64) -> u64 {
    free().into_iter().filter(|&(kib, _)| kib == page_kib).map(|(kib, pages)| kib * pages).sum()
}

/// Sizes (KiB) of which pages are free, with their number.
fn free() -> Vec<(u64, u64)> {
    let Ok(sizes) = fs::read_dir(SIZES) else { return Vec::new() };
    sizes
        .flatten()
        .filter_map(|size| {
            let kib =
                size.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let pages = fs::read_to_string(size.path().join("free_hugepages")).ok()?.trim().parse().ok()?;
            (pages > 0).then_some((kib, pages))
        })
        .collect()
}

/// Reserves one page as EAL does with `--in-memory`, and gives it back.
fn map_one(bytes: u64) -> io::Result<()> {
    let length = usize::try_from(bytes).map_err(io::Error::other)?;
    let flags = libc::MAP_PRIVATE
        | libc::MAP_ANONYMOUS
        | libc::MAP_HUGETLB
        | ((bytes.trailing_zeros() as libc::c_int) << libc::MAP_HUGE_SHIFT);
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory of ours.
    let page =
        unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: exactly the mapping made above, which nothing refers to.
    unsafe { libc::munmap(page, length) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_any_machine_has_is_refused_with_both_numbers() {
        let error = check(u64::MAX).unwrap_err();
        assert!(matches!(error, HugepageError::TooFew { wanted_mib: u64::MAX, .. }));
        assert!(error.to_string().contains("vm.nr_hugepages"));
    }
}
