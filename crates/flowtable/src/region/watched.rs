//! For a test: which cache lines of a region a thread asks for ahead, and which it reads, in order. Time says little about a missing
//! prefetch on a machine with other work; this says all of it, everywhere.

use std::cell::RefCell;

use crate::machine::CACHE_LINE_BYTES;

/// What was done with a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// It was asked for.
    Asked(usize),
    /// Something in it was read, or may have been.
    Read(usize),
}

thread_local! {
    static TOUCHED: RefCell<Option<Vec<Touch>>> = const { RefCell::new(None) };
}

/// What this thread does with cache lines while it is at `work`.
pub(crate) fn watch(work: impl FnOnce()) -> Vec<Touch> {
    TOUCHED.set(Some(Vec::new()));
    work();
    TOUCHED.take().unwrap_or_default()
}

pub(crate) fn asked(address: *const u8) {
    note(Touch::Asked(address.addr() / CACHE_LINE_BYTES));
}

pub(crate) fn read(address: *const u8) {
    note(Touch::Read(address.addr() / CACHE_LINE_BYTES));
}

fn note(touch: Touch) {
    TOUCHED.with_borrow_mut(|touched| touched.iter_mut().for_each(|touched| touched.push(touch)));
}
