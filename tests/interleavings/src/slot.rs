//! Memory without atomics: that a read of it and a write of it are in an order is what the tests are about.
#![cfg_attr(loom, allow(unsafe_code))]

/// loom's cell notes who touched it when, and fails where a read and a write have no order: even where, on this
/// machine and this time, the read came first.
#[cfg(loom)]
pub(crate) struct Slot(loom::cell::Cell<u32>);

// SAFETY: loom runs one thread at a time, and ends the test where two could have touched the cell at once.
#[cfg(loom)]
unsafe impl Sync for Slot {}
// SAFETY: it holds a number.
#[cfg(loom)]
unsafe impl Send for Slot {}

#[cfg(loom)]
impl Slot {
    pub(crate) fn new() -> Self {
        Self(loom::cell::Cell::new(0))
    }

    /// What was written, 0 at first.
    pub(crate) fn read(&self) -> u32 {
        self.0.get()
    }

    /// Writes over it.
    pub(crate) fn write(&self, value: u32) {
        self.0.set(value);
    }
}

/// Where loads are never old an atomic serves, with a switch possible before each.
#[cfg(shuttle)]
pub(crate) struct Slot(shuttle::sync::atomic::AtomicU32);

#[cfg(shuttle)]
impl Slot {
    pub(crate) fn new() -> Self {
        Self(shuttle::sync::atomic::AtomicU32::new(0))
    }

    /// What was written, 0 at first.
    pub(crate) fn read(&self) -> u32 {
        self.0.load(shuttle::sync::atomic::Ordering::Relaxed)
    }

    /// Writes over it.
    pub(crate) fn write(&self, value: u32) {
        self.0.store(value, shuttle::sync::atomic::Ordering::Relaxed);
    }
}
