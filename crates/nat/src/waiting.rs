//! Frames that wait for a neighbour's MAC, as they were received: they are judged again when it answers, since the rules
//! may have changed meanwhile.
//!
//! A frame of a flow that has one waiting waits behind it, unjudged, so that it does not leave first: by what is known
//! by then, it might leave by another way. So every frame asks here; a filter of a thousand bits spares nearly all of them
//! the search, even while a scan of an empty subnet keeps the room full.

use arrayvec::ArrayVec;
use flowtable::SlotIndex;
use packet::Burst;

use crate::lane::Handed;

/// Frames that wait, in all.
pub(crate) const WAITING_MAX: usize = 256;
/// Frames that wait for one neighbour: a traceroute sends so many at once (RFC 1122 section 2.3.2.2 asks for at least one).
const WAITING_PER_NEIGHBOUR_MAX: usize = 16;

const FILTER_BITS: usize = 1_024;

struct Waiter<F> {
    handed: Handed<F>,
    /// Of its flow.
    hash: u64,
    /// The neighbour's.
    slot: SlotIndex,
}

/// See the file's page.
pub(crate) struct Waiting<F> {
    waiters: ArrayVec<Waiter<F>, WAITING_MAX>,
    /// A bit for each flow that has a frame here.
    filter: [u64; FILTER_BITS / 64],
}

impl<F> Waiting<F> {
    pub(crate) fn new() -> Self {
        Self { waiters: ArrayVec::new(), filter: [0; FILTER_BITS / 64] }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// The neighbour that the frames of a flow wait for, if any do.
    pub(crate) fn neighbour_of(&self, hash: u64) -> Option<SlotIndex> {
        let (word, bit) = filter_bit(hash);
        if self.filter[word] & bit == 0 {
            return None;
        }
        self.waiters.iter().find(|waiter| waiter.hash == hash).map(|waiter| waiter.slot)
    }

    /// Keeps a frame until its neighbour answers; gives it back where too many wait already.
    pub(crate) fn hold(&mut self, handed: Handed<F>, hash: u64, slot: SlotIndex) -> Result<(), Handed<F>> {
        let waiting = self.waiters.iter().filter(|waiter| waiter.slot == slot).count();
        if waiting >= WAITING_PER_NEIGHBOUR_MAX || self.waiters.is_full() {
            return Err(handed);
        }
        self.waiters.push(Waiter { handed, hash, slot });
        self.note(hash);
        Ok(())
    }

    /// Takes the frames that wait for a neighbour, in the order they came.
    pub(crate) fn take(&mut self, slot: SlotIndex) -> Burst<Handed<F>> {
        const { assert!(WAITING_PER_NEIGHBOUR_MAX <= packet::BURST_FRAMES_MAX) };
        let mut taken = Burst::new();
        let mut index = 0;
        while index < self.waiters.len() {
            if self.waiters[index].slot == slot {
                taken.push(self.waiters.remove(index).handed);
            } else {
                index += 1;
            }
        }
        if !taken.is_empty() {
            self.filter = [0; FILTER_BITS / 64];
            (0..self.waiters.len()).for_each(|index| self.note(self.waiters[index].hash));
        }
        taken
    }

    /// Takes all, from the last to the first.
    pub(crate) fn pop(&mut self) -> Option<Handed<F>> {
        self.waiters.pop().map(|waiter| waiter.handed)
    }

    fn note(&mut self, hash: u64) {
        let (word, bit) = filter_bit(hash);
        self.filter[word] |= bit;
    }
}

fn filter_bit(hash: u64) -> (usize, u64) {
    let at = hash as usize % FILTER_BITS;
    (at / 64, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use packet::PortIndex;

    use super::*;

    const ONE: SlotIndex = SlotIndex(1);
    const TWO: SlotIndex = SlotIndex(2);

    fn frame(number: u64) -> Handed<u64> {
        Handed::received(number, PortIndex(0))
    }

    fn take(waiting: &mut Waiting<u64>, slot: SlotIndex) -> Vec<u64> {
        waiting.take(slot).into_iter().map(|handed| handed.frame).collect()
    }

    #[test]
    fn frames_wait_in_order_and_no_more_than_a_few() {
        let mut waiting = Waiting::new();
        for number in 0..20 {
            let kept = waiting.hold(frame(number), number, ONE).is_ok();
            assert_eq!(kept, (number as usize) < WAITING_PER_NEIGHBOUR_MAX);
        }
        assert!(waiting.hold(frame(99), 99, TWO).is_ok());
        assert_eq!(take(&mut waiting, ONE), (0..WAITING_PER_NEIGHBOUR_MAX as u64).collect::<Vec<_>>());
        assert_eq!(take(&mut waiting, TWO), [99]);
    }

    #[test]
    fn a_flow_is_known_while_a_frame_of_it_waits() {
        let mut waiting = Waiting::new();
        // The second has the first's bit in the filter.
        for (hash, slot) in [(5, ONE), (5 + FILTER_BITS as u64, TWO), (6, TWO)] {
            assert_eq!(waiting.neighbour_of(hash), None);
            assert!(waiting.hold(frame(hash), hash, slot).is_ok());
            assert_eq!(waiting.neighbour_of(hash), Some(slot));
        }
        waiting.take(TWO);
        assert_eq!(
            [5, 5 + FILTER_BITS as u64, 6].map(|hash| waiting.neighbour_of(hash)),
            [Some(ONE), None, None]
        );
    }

    #[test]
    fn the_room_is_for_so_many_and_no_more() {
        let mut waiting = Waiting::new();
        let kept = (0..1_000).filter(|n| waiting.hold(frame(*n), *n, SlotIndex(*n as u32)).is_ok()).count();
        assert_eq!(kept, WAITING_MAX);
        assert!((0..WAITING_MAX as u64).all(|n| waiting.neighbour_of(n) == Some(SlotIndex(n as u32))));
        assert_eq!(std::iter::from_fn(|| waiting.pop()).count(), WAITING_MAX);
    }
}
