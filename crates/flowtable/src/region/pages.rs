//! What the kernel says of the pages that memory lies in (`/proc/self/smaps`).

use std::fmt;
use std::fs;

/// The pages that a region lies in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// KiB in all.
    pub kib: u64,
    /// KiB of them in huge pages.
    pub huge_kib: u64,
    /// KiB of a huge page, or of an ordinary one where there are no others.
    pub page_kib: u64,
}

/// The huge pages of memory that the kernel pages as it likes.
const HUGE_KIB: u64 = 2048;

impl Pages {
    /// Of the mapping of this process that begins at an address.
    pub(super) fn at(address: usize) -> Option<Self> {
        Self::read(&fs::read_to_string("/proc/self/smaps").ok()?, address)
    }

    fn read(smaps: &str, address: usize) -> Option<Self> {
        let head = format!("{address:x}-");
        let mapping = smaps.lines().skip_while(|line| !line.starts_with(&head)).skip(1);
        let mut pages = Self::default();
        // `Key:   12 kB`; the next mapping's head has its colon elsewhere.
        let figures = mapping.map_while(|line| {
            let (key, value) = line.split_once(':')?;
            (!key.contains(' ')).then_some((key, value.split_whitespace().next()?.parse::<u64>().ok()))
        });
        for (key, value) in figures {
            let value = value.unwrap_or_default();
            match key {
                "Size" => pages.kib = value,
                "KernelPageSize" => pages.page_kib = value,
                "AnonHugePages" | "ShmemPmdMapped" | "FilePmdMapped" => pages.huge_kib += value,
                _ => {}
            }
        }
        if pages.page_kib >= HUGE_KIB {
            pages.huge_kib = pages.kib;
        } else if pages.huge_kib > 0 {
            pages.page_kib = HUGE_KIB;
        }
        (pages.kib > 0).then_some(pages)
    }

    /// Whether all of it is in huge pages, but for less than one at its end.
    pub fn are_huge(&self) -> bool {
        self.huge_kib > 0 && self.kib - self.huge_kib < self.page_kib
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = match self.page_kib {
            kib if kib >= 1 << 20 => format!("{} GiB", kib >> 20),
            kib if kib >= 1 << 10 => format!("{} MiB", kib >> 10),
            kib => format!("{kib} KiB"),
        };
        if self.huge_kib == 0 || self.are_huge() {
            return write!(f, "pages of {size}");
        }
        write!(
            f,
            "pages of {size} for {} % of it, ordinary ones for the rest",
            self.huge_kib * 100 / self.kib
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 writes it, some lines left out.
    const SMAPS: &str = "\
7f0000000000-7f0001000000 rw-s 00000000 00:1a 5    /dev/shm/a: b
Size:              16384 kB
KernelPageSize:        4 kB
Rss:               16384 kB
AnonHugePages:         0 kB
ShmemPmdMapped:     6144 kB
FilePmdMapped:         0 kB
THPeligible:           0
VmFlags: rd wr sh
7f0040000000-7f0080000000 rw-s 00000000 00:1b 6    /dev/hugepages/a
Size:            1048576 kB
KernelPageSize:  1048576 kB
7f0080000000-7f0080001000 rw-p 00000000 00:00 0
Size:                 13 kB
KernelPageSize:        4 kB
ShmemPmdMapped:        0 kB
";

    fn at(address: usize) -> (bool, String) {
        let pages = Pages::read(SMAPS, address).unwrap();
        (pages.are_huge(), pages.to_string())
    }

    #[test]
    fn what_the_kernel_says_of_a_mapping_is_told_in_a_few_words() {
        let partly = "pages of 2 MiB for 37 % of it, ordinary ones for the rest";
        assert_eq!(at(0x7f00_0000_0000), (false, partly.into()));
        assert_eq!(at(0x7f00_4000_0000), (true, "pages of 1 GiB".into()));
        assert_eq!(at(0x7f00_8000_0000), (false, "pages of 4 KiB".into()));
        assert_eq!(Pages::read(SMAPS, 0x7f00), None);
    }

    #[test]
    fn an_end_shorter_than_a_page_is_no_matter() {
        let pages = |huge_kib| Pages { kib: 10_000, huge_kib, page_kib: 2048 };
        assert!(pages(8192).are_huge());
        assert!(!pages(6144).are_huge());
    }
}
