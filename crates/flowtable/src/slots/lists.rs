//! Lists of slots that are not in use, threaded through their deadlines, which mean nothing then.
//!
//! ```text
//! free        a ── b ── c          may be used now, the latest first
//! waiting     d ── e               may be used when their grace is over
//! gathering   f ── g               were taken out since that grace began: they wait for the next one
//! ```
//!
//! A slot goes gathering → waiting → free. One grace serves as many slots as gathered during the last one, and moving
//! a list costs the same however long it is.
//!
//! The lists are the owner's alone. A killed process leaves threads that nobody follows: whoever takes the shard makes
//! the lists anew from the live bits.

use crate::owned::Owned;
use crate::quiescence::{Grace, Quiescence};
use crate::sync::AtomicU32;

/// Ends a list. No slot has this number: there are fewer lines than 2^32.
const NONE: u32 = u32::MAX;

/// Slots of a shard, the first and the last.
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

impl List {
    const EMPTY: Self = Self { first: NONE, last: NONE };

    fn is_empty(self) -> bool {
        self.first == NONE
    }

    fn push(&mut self, links: &[AtomicU32], slot: u32) {
        links[slot as usize].publish(self.first);
        self.first = slot;
        if self.last == NONE {
            self.last = slot;
        }
    }

    fn pop(&mut self, links: &[AtomicU32]) {
        if self.first == self.last {
            *self = Self::EMPTY;
        } else {
            self.first = links[self.first as usize].own();
        }
    }

    /// Puts another list before this one.
    fn prepend(&mut self, links: &[AtomicU32], other: Self) {
        if self.is_empty() {
            *self = other;
        } else if !other.is_empty() {
            links[other.last as usize].publish(self.first);
            self.first = other.first;
        }
    }
}

/// See the file's page. `links` is always the shard's deadlines.
pub(super) struct Lists {
    free: List,
    waiting: Option<(List, Grace)>,
    gathering: List,
}

impl Lists {
    pub(super) const EMPTY: Self = Self { free: List::EMPTY, waiting: None, gathering: List::EMPTY };

    /// The next free slot.
    pub(super) fn free(&self) -> Option<u32> {
        (!self.free.is_empty()).then_some(self.free.first)
    }

    /// Takes the slot that [`Self::free`] named.
    pub(super) fn take_free(&mut self, links: &[AtomicU32]) {
        self.free.pop(links);
    }

    /// A slot was taken out of the index.
    pub(super) fn gather(&mut self, links: &[AtomicU32], slot: u32) {
        self.gathering.push(links, slot);
    }

    /// Moves on the lists whose time has come.
    pub(super) fn reclaim(&mut self, links: &[AtomicU32], quiescence: &Quiescence) {
        if self.waiting.is_none() && !self.gathering.is_empty() {
            self.waiting = Some((self.gathering, quiescence.begin_grace()));
            self.gathering = List::EMPTY;
        }
        if let Some((list, grace)) = self.waiting
            && quiescence.is_over(grace)
        {
            self.free.prepend(links, list);
            self.waiting = None;
        }
    }
}
