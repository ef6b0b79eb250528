//! Words that one thread writes and all read: the three ways to touch them.
//!
//! | verb | who | ordering | why |
//! |---|---|---|---|
//! | [`Owned::own`] | the owner | relaxed | it reads what itself wrote last |
//! | [`Owned::publish`] | the owner | release | whoever sees the word sees everything that the owner wrote before it. And stores stay in the order of the program, so that what a killed process leaves behind is what it had written up to one instruction |
//! | [`Owned::seen`] | readers | acquire | the other half; and what is read after it, is read after it |
//!
//! On x86-64 the three are plain moves. No word is ever changed by a read-modify-write: one writer needs none.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// See the file's page.
pub(crate) trait Owned {
    /// What the word holds.
    type Value;

    /// The word, to its owner.
    fn own(&self) -> Self::Value;

    /// Writes the word.
    fn publish(&self, value: Self::Value);

    /// The word, to anyone.
    fn seen(&self) -> Self::Value;
}

macro_rules! owned {
    ($atomic:ty, $value:ty) => {
        impl Owned for $atomic {
            type Value = $value;

            #[inline]
            fn own(&self) -> $value {
                self.load(Ordering::Relaxed)
            }

            #[inline]
            fn publish(&self, value: $value) {
                #[cfg(all(test, not(any(loom, shuttle))))]
                kill::point();
                self.store(value, Ordering::Release);
            }

            #[inline]
            fn seen(&self) -> $value {
                self.load(Ordering::Acquire)
            }
        }
    };
}

owned!(AtomicU32, u32);
owned!(AtomicU64, u64);

/// Where a process may be killed, for tests: between any two words that it publishes.
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) mod kill {
    use std::cell::RefCell;

    thread_local! {
        static WITNESS: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
    }

    /// Calls `witness` before every word that this thread publishes while `work` runs.
    pub(crate) fn at_every_point<T>(witness: impl FnMut() + 'static, work: impl FnOnce() -> T) -> T {
        WITNESS.with_borrow_mut(|slot| *slot = Some(Box::new(witness)));
        let result = work();
        WITNESS.with_borrow_mut(|slot| *slot = None);
        result
    }

    /// A word is about to be published. What the witness itself publishes does not count.
    pub(super) fn point() {
        let witness = WITNESS.with_borrow_mut(Option::take);
        if let Some(mut witness) = witness {
            witness();
            WITNESS.with_borrow_mut(|slot| *slot = Some(witness));
        }
    }
}
