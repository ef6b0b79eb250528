use arrayvec::ArrayVec;

use super::*;
use crate::carver::in_own_region;
use crate::{Quiescence, SWEEP_DUE_MAX};

/// The second of three shards, whose slots are numbered from 0 here.
const SHARD: ShardIndex = ShardIndex(1);

fn sweep(slots: &mut OwnedSlots, now_ms: u32, count: usize) -> Vec<u32> {
    let mut due = ArrayVec::new();
    slots.sweep(now_ms, count, &mut due, |slot| slot);
    due.into_iter().collect()
}

fn three_shards(slots_per_shard: u32) -> Slots {
    in_own_region(|carver| Slots::carve(carver, 3, slots_per_shard)).unwrap()
}

/// `count` slots in use, all due at `deadline_ms`.
fn occupied(slots_per_shard: u32, count: u32, deadline_ms: u32) -> OwnedSlots {
    let mut slots = OwnedSlots::new(&three_shards(slots_per_shard), SHARD);
    occupy(&mut slots, count, deadline_ms);
    slots
}

fn occupy(slots: &mut OwnedSlots, count: u32, deadline_ms: u32) {
    for _ in 0..count {
        let slot = slots.free().unwrap();
        slots.occupy(slot, deadline_ms);
    }
}

/// Nobody reads: what is out of use is free at once.
fn release(slots: &mut OwnedSlots, slot: u32) {
    slots.retire(slot);
    slots.reclaim(&Quiescence::new());
}

#[test]
fn a_slot_is_due_at_its_deadline_and_not_before() {
    // The last two pairs pass the wrap of the clock.
    for deadline_ms in [0, 1, 1_000, u32::MAX / 2, 1 << 31, u32::MAX - 1, u32::MAX] {
        let mut slots = occupied(1, 1, deadline_ms);
        assert_eq!(sweep(&mut slots, deadline_ms.wrapping_sub(1), 1), []);
        assert_eq!(sweep(&mut slots, deadline_ms.wrapping_sub(1 << 31), 1), []);
        assert_eq!(sweep(&mut slots, deadline_ms, 1), [0]);
        assert_eq!(sweep(&mut slots, deadline_ms.wrapping_add(i32::MAX as u32), 1), [0]);
    }
}

#[test]
fn what_is_due_stays_due_until_it_is_set_anew_or_released() {
    let mut slots = occupied(3, 3, 100);
    assert_eq!(sweep(&mut slots, 100, 3), [0, 1, 2]);
    slots.set_deadline(1, 101);
    release(&mut slots, 2);
    assert_eq!(sweep(&mut slots, 100, 3), [0]);
    assert_eq!(sweep(&mut slots, 101, 3), [0, 1]);
}

#[test]
fn a_sweep_goes_round_and_reports_no_slot_twice_in_a_call() {
    let mut slots = occupied(200, 150, 0);
    for slot in 0..150 {
        slots.set_deadline(slot, if slot % 50 == 0 { 0 } else { 1_000 });
    }
    assert_eq!(sweep(&mut slots, 5, 120), [0, 50, 100]);
    assert_eq!(sweep(&mut slots, 5, 120), [0, 50], "120 to 149, then 0 to 89");
    assert_eq!(sweep(&mut slots, 5, 1_000_000), [100, 0, 50], "90 to 149, then 0 to 89");
    assert_eq!(sweep(&mut slots, 5, 0), []);
}

#[test]
fn a_sweep_that_finds_too_many_goes_on_where_it_stopped() {
    let mut slots = occupied(200, 200, 0);
    assert_eq!(sweep(&mut slots, 0, 200), (0..64).collect::<Vec<_>>());
    assert_eq!(sweep(&mut slots, 0, 200), (64..128).collect::<Vec<_>>());
    assert_eq!(sweep(&mut slots, 0, 10), (128..138).collect::<Vec<_>>());
    let mut due: ArrayVec<u32, SWEEP_DUE_MAX> = std::iter::repeat_n(7, 63).collect();
    slots.sweep(0, 200, &mut due, |slot| slot);
    assert_eq!(due[63..], [138]);
    slots.sweep(0, 200, &mut due, |slot| slot);
    assert_eq!(sweep(&mut slots, 0, 1), [139], "a full list moves nothing on");
}

/// Slots as anybody would sweep them: one after another.
struct Plain {
    deadlines: Vec<Option<u32>>,
    next: usize,
}

impl Plain {
    fn sweep(&mut self, now_ms: u32, count: usize) -> Vec<u32> {
        let mut due = Vec::new();
        for _ in 0..count.min(self.deadlines.len()) {
            let has_passed = |deadline_ms: u32| now_ms.wrapping_sub(deadline_ms) < 1 << 31;
            if self.deadlines[self.next].is_some_and(has_passed) {
                if due.len() == SWEEP_DUE_MAX {
                    break;
                }
                due.push(self.next as u32);
            }
            self.next = (self.next + 1) % self.deadlines.len();
        }
        due
    }
}

#[test]
fn a_sweep_finds_what_one_finds_that_looks_at_every_slot() {
    const SLOTS: u32 = 300;
    for seed in 0..64u64 {
        let mut random = seed;
        let mut below = |bound: u32| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            ((random >> 33) % u64::from(bound)) as u32
        };
        // The clock's end is passed.
        let mut now_ms = u32::MAX - below(20_000);
        let mut slots = occupied(SLOTS, SLOTS, now_ms.wrapping_add(10_000));
        let deadlines = vec![Some(now_ms.wrapping_add(10_000)); SLOTS as usize];
        let mut plain = Plain { deadlines, next: 0 };
        for step in 0..3_000 {
            let slot = below(SLOTS);
            // Mostly ahead, by moments or minutes; now and then long past.
            let deadline_ms = now_ms.wrapping_add([100, 10_000, 600_000, 1 << 29][below(4) as usize]);
            let deadline_ms = deadline_ms.wrapping_add(below(200)).wrapping_sub(below(2) * below(1_000));
            match below(16) {
                0..6 if slots.is_live(slot) => {
                    slots.set_deadline(slot, deadline_ms);
                    plain.deadlines[slot as usize] = Some(deadline_ms);
                }
                6..8 if slots.is_live(slot) => {
                    release(&mut slots, slot);
                    plain.deadlines[slot as usize] = None;
                }
                8..12 if slots.free().is_some() => {
                    let slot = slots.free().unwrap();
                    slots.occupy(slot, deadline_ms);
                    plain.deadlines[slot as usize] = Some(deadline_ms);
                }
                // Mostly a little while; now and then so long that nothing is known any more.
                12 => now_ms = now_ms.wrapping_add(if below(300) == 0 { 1 << 30 } else { below(20_000) }),
                13 => now_ms = now_ms.wrapping_add(below(500)),
                _ => {
                    let count = below(2 * SLOTS) as usize;
                    assert_eq!(sweep(&mut slots, now_ms, count), plain.sweep(now_ms, count), "{seed} {step}");
                }
            }
        }
    }
}

#[test]
fn a_deadline_that_is_brought_nearer_is_met() {
    let mut slots = occupied(200, 200, 1_000_000);
    assert_eq!(sweep(&mut slots, 10, 200), []);
    slots.set_deadline(70, 500);
    release(&mut slots, 150);
    slots.occupy(150, 600);
    assert_eq!(sweep(&mut slots, 499, 200), []);
    assert_eq!(sweep(&mut slots, 500, 200), [70]);
    assert_eq!(sweep(&mut slots, 600, 200), [70, 150]);
    slots.set_deadline(70, 2_000_000);
    assert_eq!(sweep(&mut slots, 600, 200), [150]);
}

#[test]
fn a_free_slot_is_never_due_whatever_its_link_looks_like() {
    let mut slots = occupied(300, 300, 1_000_000);
    for slot in (0..300).rev().filter(|slot| slot % 7 != 0) {
        release(&mut slots, slot);
    }
    // Links are slot numbers, long past as deadlines.
    assert_eq!(sweep(&mut slots, 999_999, 300), []);
    assert_eq!(slots.live(0, 300).collect::<Vec<_>>().len(), 43);
    assert!(sweep(&mut slots, 1_000_000, 300).into_iter().eq((0..300).filter(|slot| slot % 7 == 0)));
}

#[test]
fn a_free_slot_has_no_deadline_to_set() {
    let mut slots = occupied(3, 3, 0);
    release(&mut slots, 1);
    release(&mut slots, 2);
    slots.set_deadline(2, 0);
    slots.set_deadline(3, 0);
    slots.set_deadline(u32::MAX, 0);
    for expected in [2, 1] {
        let slot = slots.free().unwrap();
        assert_eq!(slot, expected);
        slots.occupy(slot, 0);
    }
    assert_eq!(slots.free(), None);
}

#[test]
fn every_slot_is_given_out_once_and_again_after_its_release() {
    let mut slots = occupied(130, 130, 0);
    assert_eq!((slots.free(), slots.live_count()), (None, 130));
    assert!((0..130).all(|slot| slots.is_live(slot)));
    assert!(!slots.is_live(130) && !slots.is_live(u32::MAX));
    for slot in [5, 129, 64, 0] {
        release(&mut slots, slot);
        assert!(!slots.is_live(slot));
    }
    for expected in [0, 64, 129, 5] {
        let slot = slots.free().unwrap();
        assert_eq!(slot, expected);
        slots.occupy(slot, 0);
    }
    assert_eq!(slots.free(), None);
}

#[test]
fn live_slots_are_listed_in_pieces() {
    let mut slots = occupied(1_000, 200, 0);
    (60..130).for_each(|slot| release(&mut slots, slot));
    let piece = |from, count| slots.live(from, count).collect::<Vec<_>>();
    assert_eq!(piece(50, 20), (50..60).collect::<Vec<_>>());
    assert_eq!(piece(70, 60), []);
    assert_eq!(piece(127, 5), [130, 131]);
    assert_eq!(piece(190, usize::MAX), (190..200).collect::<Vec<_>>());
    assert_eq!(piece(u32::MAX, 10), []);
}

#[test]
fn a_slot_is_free_again_when_its_grace_is_over_and_not_before() {
    let mut slots = occupied(4, 4, 0);
    let quiescence = Quiescence::new();
    let mut reader = quiescence.reader();
    slots.retire(2);
    slots.reclaim(&quiescence);
    assert_eq!((slots.free(), slots.live_count()), (None, 3), "the reader may still hold it");
    reader.pass();
    slots.retire(0);
    slots.retire(1);
    slots.reclaim(&quiescence);
    assert_eq!(slots.free(), Some(2), "the grace of the others begins only now");
    slots.occupy(2, 0);
    slots.reclaim(&quiescence);
    assert_eq!(slots.free(), None);
    slots.reclaim(&quiescence);
    assert_eq!(slots.free(), None);
    reader.pass();
    slots.reclaim(&quiescence);
    occupy(&mut slots, 2, 0);
    assert_eq!((slots.free(), slots.live_count()), (None, 4));
}

#[test]
fn a_new_owner_finds_what_the_last_one_left_and_waits_for_what_it_took_out() {
    let shared = three_shards(100);
    let mut slots = OwnedSlots::new(&shared, SHARD);
    occupy(&mut slots, 90, 7);
    [3, 70, 64].into_iter().for_each(|slot| slots.retire(slot));
    drop(slots);
    let quiescence = Quiescence::new();
    let mut reader = quiescence.reader();
    let mut slots = OwnedSlots::new(&shared, SHARD);
    assert_eq!(slots.live_count(), 87);
    assert_eq!(sweep(&mut slots, 7, 100).len(), 64);
    slots.reclaim(&quiescence);
    assert_eq!(slots.free(), Some(90), "never used: nobody can hold it");
    reader.pass();
    slots.reclaim(&quiescence);
    for expected in [3, 64, 70, 90, 91] {
        assert_eq!(slots.free(), Some(expected));
        slots.occupy(expected, 0);
    }
}

#[test]
fn every_shard_has_slots_bits_and_counts_of_its_own() {
    // 70 slots: two words of bits, of which the second is mostly empty.
    let shared = three_shards(70);
    let mut shards = [0, 1, 2].map(|shard| OwnedSlots::new(&shared, ShardIndex(shard)));
    for (slots, count) in shards.iter_mut().zip([70, 1, 66]) {
        occupy(slots, count, 0);
    }
    assert_eq!(shared.live_count(), 137);
    for slot in 0..210u32 {
        let (shard, local) = (slot / 70, slot % 70);
        assert_eq!(shared.shard_of(SlotIndex(slot)), ShardIndex(shard as u8));
        assert_eq!(shared.is_live(SlotIndex(slot)), local < [70, 1, 66][shard as usize]);
    }
    assert!(!shared.is_live(SlotIndex(210)) && !shared.is_live(SlotIndex(u32::MAX)));
    assert_eq!(shards[0].free(), None);
    release(&mut shards[1], 0);
    assert_eq!((shards[0].live_count(), shards[1].live_count(), shards[2].live_count()), (70, 0, 66));
}

#[test]
fn a_recount_believes_the_bits_of_slots_that_are_there() {
    let shared = three_shards(70);
    for (bits, live, used) in
        [([u64::MAX; 2], 70, 70), ([0, 0], 0, 0), ([1 << 63, 0], 1, 64), ([0, 2], 1, 66)]
    {
        shared.live_words(SHARD).iter().zip(bits).for_each(|(word, bits)| word.publish(bits));
        shared.recount(SHARD);
        let slots = OwnedSlots::new(&shared, SHARD);
        assert_eq!((slots.live_count(), shared.live_count()), (live, live));
        assert_eq!(slots.live(0, 1_000).count() as u32, live);
        assert_eq!(slots.free(), (used < 70).then_some(used));
    }
}
