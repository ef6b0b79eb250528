//! Quiescence: when nobody can still hold what he found in a table before it was taken out.
//!
//! A reader finds a line and reads it a moment later, without a lock. Whoever takes the line's slot out must not give
//! it to somebody else in that moment. So he asks for a *grace*, goes on with his work, and asks now and then whether
//! it is over: it is once every reader has *passed*, that is, has said at the end of a turn that he holds nothing he
//! found before. Nobody waits for anybody.
//!
//! ```text
//! era               1                     2 = grace
//! owner    ──── unlink ── begin_grace ────┼───── is_over? no ──────────────── is_over? yes ── slot free
//! reader A ── find · read ─────────────── │ ─ pass: seen 2 ── find ──────────────────────────────
//! reader B ───────────── find · read ──── │ ──────────── read ── pass: seen 2 ───────────────────
//!
//! memory    | era, places_used |   one cache line, written once per grace
//!           | seen |               a cache line for each reader, written by him alone, and only in a new era;
//!           | seen |               0: nobody is in this place
//! ```
//!
//! Why not hazard pointers or epochs entered and left per lookup: each lookup would pay a fence. Here one line is read
//! per turn, and where nothing was taken out none is written. The price: a reader that stands still keeps every slot
//! taken out since from being used again. He does no harm else, and `Full` is the worst that comes of it.
//!
//! # Why it is enough
//!
//! | what | happens before what | by |
//! |---|---|---|
//! | an unlink | every lookup after a pass that saw its era | `begin_grace` adds with release, `pass` loads with acquire |
//! | every read before a pass | the reuse of the slot | `pass` stores with release, `is_over` loads with acquire |
//! | an unlink | every lookup of a reader that joins unseen | the two sequentially consistent fences: either `is_over` sees him in his place, or his lookups see the unlink |
//!
//! A later era read in place of an earlier one serves as well: the additions of all owners are one release sequence.

use crate::sync::{Arc, AtomicU32, AtomicU64, Ordering, fence};

/// Readers at one time.
pub const READERS_MAX: usize = 64;

/// Nobody is in this place. No era: they begin with [`FIRST`].
const NOBODY: u64 = 0;

/// The era before the first grace.
const FIRST: u64 = 1;

/// Two lines, because processors fetch them in pairs.
#[repr(align(128))]
struct Padded<T>(T);

/// See the file's page.
///
/// # Concurrency
/// Any number of owners ask for graces, on any thread.
pub struct Quiescence {
    common: Padded<Common>,
    /// The era that the reader in each place has seen at his last pass, or [`NOBODY`].
    seen: [Padded<AtomicU64>; READERS_MAX],
}

struct Common {
    /// Raised by every grace that begins.
    era: AtomicU64,
    /// Places from here on were never taken. Only rises, and saves looking at all of them.
    places_used: AtomicU32,
}

/// A grace that has begun: see [`Quiescence::is_over`]. Of two, the greater one began later and is over later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grace(u64);

/// The right to look into tables. Dropped, it is given back, and with it all that was found.
pub struct Reader {
    quiescence: Arc<Quiescence>,
    place: usize,
    /// What is in this reader's place of [`Quiescence::seen`].
    seen: u64,
}

impl Quiescence {
    /// Without readers.
    #[allow(clippy::new_ret_no_self, reason = "readers hold it by `Arc`")]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            common: Padded(Common { era: AtomicU64::new(FIRST), places_used: AtomicU32::new(0) }),
            seen: std::array::from_fn(|_| Padded(AtomicU64::new(NOBODY))),
        })
    }

    /// A reader joins: from now on graces wait for him.
    ///
    /// # Panics
    /// If there are [`READERS_MAX`] already.
    pub fn reader(self: &Arc<Self>) -> Reader {
        // An era that is old by the time it is stored only makes graces wait for the first pass.
        let era = self.common.0.era.load(Ordering::Acquire);
        let is_free = |seen: &Padded<AtomicU64>| {
            seen.0.compare_exchange(NOBODY, era, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let place = self.seen.iter().position(is_free);
        assert!(place.is_some(), "more than {READERS_MAX} readers");
        let place = place.unwrap_or_default();
        self.common.0.places_used.fetch_max(place as u32 + 1, Ordering::Relaxed);
        // Either an owner that looks for readers from now on finds this one, or its unlink is seen by his lookups.
        fence(Ordering::SeqCst);
        Reader { quiescence: Arc::clone(self), place, seen: era }
    }

    /// A grace for what the caller has taken out of a table before. Costs a write to a line that all readers read:
    /// take out what is to be taken out in a turn, then ask once.
    pub fn begin_grace(&self) -> Grace {
        let era = self.common.0.era.fetch_add(1, Ordering::AcqRel);
        // The other half of the fence in `reader`.
        fence(Ordering::SeqCst);
        Grace(era + 1)
    }

    /// True once every reader has passed since the grace began, or left. Looks at one cache line for each.
    pub fn is_over(&self, Grace(era): Grace) -> bool {
        let used = self.common.0.places_used.load(Ordering::Acquire) as usize;
        self.seen.iter().take(used).all(|seen| {
            let seen = seen.0.load(Ordering::Acquire);
            seen == NOBODY || seen >= era
        })
    }
}

impl Reader {
    /// The reader holds nothing that he found before. Mostly one load of a line that nobody writes.
    #[inline]
    pub fn pass(&mut self) {
        let era = self.quiescence.common.0.era.load(Ordering::Acquire);
        // In the same era no grace has begun that could wait for this pass.
        if era != self.seen {
            self.seen = era;
            self.quiescence.seen[self.place].0.store(era, Ordering::Release);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.quiescence.seen[self.place].0.store(NOBODY, Ordering::Release);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn without_readers_a_grace_is_over_at_once() {
        let quiescence = Quiescence::new();
        assert!(quiescence.is_over(quiescence.begin_grace()));
    }

    #[test]
    fn a_grace_is_over_when_every_reader_has_passed_or_left() {
        let quiescence = Quiescence::new();
        let (mut first, second) = (quiescence.reader(), quiescence.reader());
        first.pass();
        let grace = quiescence.begin_grace();
        assert!(!quiescence.is_over(grace), "a pass before it does not count");
        first.pass();
        assert!(!quiescence.is_over(grace), "the second reader stands still");
        drop(second);
        assert!(quiescence.is_over(grace));
        let later = quiescence.begin_grace();
        assert!(quiescence.is_over(grace) && !quiescence.is_over(later) && later > grace);
    }

    #[test]
    fn a_reader_that_joins_after_a_grace_began_does_not_hold_it_up() {
        let quiescence = Quiescence::new();
        let grace = quiescence.begin_grace();
        let _late = quiescence.reader();
        assert!(quiescence.is_over(grace));
        assert!(!quiescence.is_over(quiescence.begin_grace()));
    }

    #[test]
    fn places_are_used_again_and_all_of_them_count() {
        let quiescence = Quiescence::new();
        for _ in 0..3 {
            let mut readers: Vec<_> = (0..READERS_MAX).map(|_| quiescence.reader()).collect();
            let grace = quiescence.begin_grace();
            while let Some(reader) = readers.pop() {
                assert!(!quiescence.is_over(grace), "{} readers stand still", readers.len() + 1);
                drop(reader);
            }
            assert!(quiescence.is_over(grace));
        }
    }

    #[test]
    #[should_panic(expected = "more than 64 readers")]
    fn one_reader_too_many_is_refused() {
        let quiescence = Quiescence::new();
        let _readers: Vec<_> = (0..=READERS_MAX).map(|_| quiescence.reader()).collect();
    }
}
