//! Where something was last found that is not the rules' to know: told by whoever has found it to whoever asks next.
//!
//! It is the one thing of a rule set that changes while it is in force, and nothing depends on it: whoever asks looks whether
//! what he wants is there.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// See the file's page.
#[derive(Debug, Default)]
pub struct Hint(AtomicU32);

impl Hint {
    /// What was told last; 0 where nothing was.
    #[inline]
    pub fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Tells it.
    pub fn set(&self, place: u32) {
        self.0.store(place, Relaxed);
    }
}

impl Clone for Hint {
    fn clone(&self) -> Self {
        Self(AtomicU32::new(self.get()))
    }
}
