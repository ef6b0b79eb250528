//! DPDK's own log.
//!
//! DPDK explains a failure in its log and answers with a bare number. The last lines are therefore kept, so that an
//! error's sentence can carry them, and each line is handed to one function of the caller's choice.

use std::collections::VecDeque;
use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many lines are kept.
const LINES_KEPT: usize = 6;
/// A line longer than this is cut into several.
const LINE_BYTES_MAX: usize = 1024;

struct Log {
    line: Vec<u8>,
    kept: VecDeque<String>,
    sink: fn(&str),
}

static LOG: Mutex<Log> = Mutex::new(Log { line: Vec::new(), kept: VecDeque::new(), sink: to_stderr });

/// Sends DPDK's log lines to `sink`, without their line ends. They go to stderr where this was never called.
///
/// # Concurrency
/// `sink` is called by whichever thread makes DPDK speak, one line at a time; it must not call DPDK.
pub fn send_to(sink: fn(&str)) {
    lock().sink = sink;
}

/// Takes over DPDK's log; before `rte_eal_init`.
pub(crate) fn open() {
    // SAFETY: `write` is a function for good, and EAL is not running yet, so nobody writes to the old stream.
    // Without the memory for a stream the log stays on stderr, which is no reason to fail.
    let _ = unsafe { dpdk_sys::dpdk_sys_log_to(Some(write)) };
}

/// What DPDK said last, as the tail of a sentence; empty where it said nothing.
pub(crate) fn said() -> String {
    let kept = &mut lock().kept;
    let lines: Vec<String> = kept.drain(..).collect();
    if lines.is_empty() { String::new() } else { format!(" (DPDK: {})", lines.join("; ")) }
}

/// Forgets what was kept, so that the next [`said`] speaks of what comes now.
pub(crate) fn forget() {
    lock().kept.clear();
}

fn lock() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_stderr(line: &str) {
    eprintln!("{line}");
}

/// DPDK writes a line in pieces; they are joined until the line ends.
unsafe extern "C" fn write(text: *const c_char, length: usize) {
    // SAFETY: the C library hands over `length` bytes that are valid for the time of the call.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    lock().take(text);
}

impl Log {
    fn take(&mut self, text: &[u8]) {
        for &byte in text {
            if byte != b'\n' {
                self.line.push(byte);
            }
            if byte == b'\n' || self.line.len() == LINE_BYTES_MAX {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim().to_owned();
        self.line.clear();
        if line.is_empty() {
            return;
        }
        (self.sink)(&line);
        if self.kept.len() == LINES_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_to_lines_and_the_last_are_kept() {
        let mut log = Log { line: Vec::new(), kept: VecDeque::new(), sink: |_| () };
        for piece in ["EAL: one", " and a half\nEAL: two\n", "\n", "3\n4\n5\n6\n7\nunfinished"] {
            log.take(piece.as_bytes());
        }
        assert_eq!(log.kept, ["EAL: two", "3", "4", "5", "6", "7"]);
        log.take(b"\n");
        assert_eq!(log.kept.back().unwrap(), "unfinished");
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let mut log = Log { line: Vec::new(), kept: VecDeque::new(), sink: |_| () };
        log.take(&[b'x'; 10 * LINE_BYTES_MAX]);
        assert!(log.line.len() < LINE_BYTES_MAX && log.kept.len() == LINES_KEPT);
    }
}
