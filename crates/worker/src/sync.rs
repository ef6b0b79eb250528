//! Where the rings' atomics and cells come from: the one import that differs when a scheduler tries the interleavings.
//! Compiled as shipped they are `std`'s; `--cfg loom` and `--cfg shuttle` bring those of tests/interleavings.

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// `std`'s cell with the access of loom's, which notes who reads and writes when.
#[cfg(not(loom))]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Lends the address of what the cell holds, to be written.
    #[inline]
    pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}
