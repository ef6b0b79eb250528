//! How many looks for a port a turn has: for all of its choices together.
//!
//! Mostly a choice looks at one cell. Where a space is full, or all of it is in use towards a popular remote, it looks at many;
//! and whoever sends into that would hold up everybody else's packets. So the choices of a turn share [`PROBES_PER_TURN`] probes, each
//! of which costs about as much as an access to memory that is far away:
//!
//! | looked at | probes |
//! |---|---|
//! | a group of 64 ports that may have a free one | 1 |
//! | whether a used port has a session with the flow's remote | 1 |
//! | [`CELLS_PER_PROBE`] cells, blocks or addresses, one after another | 1 |
//!
//! A choice for which none is left is refused for that ([`PortSearchCut`](crate::DropReason::PortSearchCut)), and not because
//! there was no port: the flow's next packet looks again, from another start. What takes no search, a flow whose first cell
//! is free, needs no probe and is served all the same.
//!
//! Absent on purpose: packets that wait for the next turn's probes. While a flood lasts, they would wait behind its packets.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::state::{WORKERS_MAX, WorkerIndex};

/// What a turn has.
pub(crate) const PROBES_PER_TURN: u32 = 1_024;

/// Looked at one after another for one probe.
pub(crate) const CELLS_PER_PROBE: u32 = 32;

/// What each gateway's turn has left.
///
/// # Concurrency
/// Each gateway's is its own: read and written by it alone, relaxed.
pub(crate) struct AllProbes([Left; WORKERS_MAX]);

#[repr(align(64))]
struct Left(AtomicU32);

impl Default for AllProbes {
    fn default() -> Self {
        Self([const { Left(AtomicU32::new(PROBES_PER_TURN)) }; WORKERS_MAX])
    }
}

impl AllProbes {
    /// A gateway's.
    #[inline]
    pub(crate) fn of(&self, gateway: WorkerIndex) -> Probes<'_> {
        Probes(&self.0[usize::from(gateway.0)].0)
    }
}

/// What one gateway's turn has left.
#[derive(Clone, Copy)]
pub(crate) struct Probes<'a>(&'a AtomicU32);

impl<'a> Probes<'a> {
    /// Takes so many. Where that is more than there are, the turn has none from then on.
    pub(crate) fn spend(self, probes: u32) -> bool {
        let left = self.0.load(Relaxed).checked_sub(probes);
        self.0.store(left.unwrap_or(0), Relaxed);
        left.is_some()
    }

    /// Takes what it costs to look at so many cells, blocks or addresses.
    pub(crate) fn spend_for(self, cells: u32) -> bool {
        self.spend(cells.div_ceil(CELLS_PER_PROBE))
    }

    /// What is looked at one after another, for as long as there are probes.
    pub(crate) fn paid<T>(self, all: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        let is_paid = move |number: u32| !number.is_multiple_of(CELLS_PER_PROBE) || self.spend(1);
        (0..).zip(all).take_while(move |(number, _)| is_paid(*number)).map(|(_, one)| one)
    }

    /// Whether the turn has none left.
    pub(crate) fn are_spent(self) -> bool {
        self.0.load(Relaxed) == 0
    }

    /// The next turn begins.
    #[inline]
    pub(crate) fn refill(self) {
        self.0.store(PROBES_PER_TURN, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_so_many_probes_and_no_more() {
        let all = AllProbes::default();
        let (mine, others) = (all.of(WorkerIndex(1)), all.of(WorkerIndex(2)));
        let looked_at = mine.paid(0..).count() as u32;
        assert_eq!(looked_at, PROBES_PER_TURN * CELLS_PER_PROBE);
        assert!(mine.are_spent() && !mine.spend(1) && !others.are_spent());
        mine.refill();
        assert!(mine.spend(PROBES_PER_TURN - 1) && !mine.are_spent());
        assert!(!mine.spend(2), "more than there are");
        assert!(!mine.spend(1), "so that nothing cheaper is looked for instead");
        mine.refill();
        assert!(mine.spend_for(PROBES_PER_TURN * CELLS_PER_PROBE) && mine.are_spent());
    }
}
