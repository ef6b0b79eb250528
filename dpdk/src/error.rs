//! What DPDK answers when it refuses.

use core::fmt;
use std::io;

/// An error number of the operating system or of DPDK, as a positive number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// The calling thread's `rte_errno`.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a thread-local integer.
        Self(unsafe { dpdk_sys::dpdk_sys_errno() })
    }

    /// What a function that answers 0 or a negative error number answered.
    pub(crate) fn check(answer: i32) -> Result<(), Self> {
        if answer < 0 { Err(Self(answer.wrapping_neg())) } else { Ok(()) }
    }

    /// As [`check`](Self::check), but "not supported" is as good as done.
    pub(crate) fn check_or_unsupported(answer: i32) -> Result<Support, Self> {
        match Self::check(answer) {
            Ok(()) => Ok(Support::Done),
            Err(Self(libc::ENOTSUP)) => Ok(Support::Missing),
            Err(errno) => Err(errno),
        }
    }
}

/// Whether a driver has what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    Done,
    Missing,
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the "(os error 17)" that std appends.
        let text = io::Error::from_raw_os_error(self.0).to_string();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}
