use super::*;

fn sweep(slots: &mut Slots, now_ms: u32, count: usize) -> Vec<u32> {
    let mut due = ArrayVec::new();
    slots.sweep(now_ms, count, &mut due);
    due.into_iter().map(|SlotIndex(slot)| slot).collect()
}

/// `count` slots in use, all due at `deadline_ms`.
fn occupied(slots_max: u32, count: u32, deadline_ms: u32) -> Slots {
    let mut slots = Slots::new(slots_max);
    for _ in 0..count {
        let slot = slots.free().unwrap();
        slots.occupy(slot, deadline_ms);
    }
    slots
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
    slots.set_deadline(SlotIndex(1), 101);
    slots.release(SlotIndex(2));
    assert_eq!(sweep(&mut slots, 100, 3), [0]);
    assert_eq!(sweep(&mut slots, 101, 3), [0, 1]);
}

#[test]
fn a_sweep_goes_round_and_reports_no_slot_twice_in_a_call() {
    let mut slots = occupied(200, 150, 0);
    for slot in 0..150 {
        slots.set_deadline(SlotIndex(slot), if slot % 50 == 0 { 0 } else { 1_000 });
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
    let mut due: ArrayVec<_, SWEEP_DUE_MAX> = std::iter::repeat_n(SlotIndex(7), 63).collect();
    slots.sweep(0, 200, &mut due);
    assert_eq!(due[63..], [SlotIndex(138)]);
    slots.sweep(0, 200, &mut due);
    assert_eq!(sweep(&mut slots, 0, 1), [139], "a full list moves nothing on");
}

#[test]
fn a_free_slot_is_never_due_whatever_its_link_looks_like() {
    let mut slots = occupied(300, 300, 1_000_000);
    for slot in (0..300).rev().filter(|slot| slot % 7 != 0) {
        slots.release(SlotIndex(slot));
    }
    // Links are slot numbers, long past as deadlines.
    assert_eq!(sweep(&mut slots, 999_999, 300), []);
    assert_eq!(slots.live(SlotIndex(0), 300).map(|slot| slot.0).collect::<Vec<_>>().len(), 43);
    assert!(sweep(&mut slots, 1_000_000, 300).into_iter().eq((0..300).filter(|slot| slot % 7 == 0)));
}

#[test]
fn a_free_slot_has_no_deadline_to_set() {
    let mut slots = occupied(3, 3, 0);
    slots.release(SlotIndex(1));
    slots.release(SlotIndex(2));
    slots.set_deadline(SlotIndex(2), 0);
    slots.set_deadline(SlotIndex(3), 0);
    slots.set_deadline(SlotIndex(u32::MAX), 0);
    for expected in [2, 1] {
        let slot = slots.free().unwrap();
        assert_eq!(slot, SlotIndex(expected));
        slots.occupy(slot, 0);
    }
    assert_eq!(slots.free(), None);
}

#[test]
fn every_slot_is_given_out_once_and_again_after_its_release() {
    let mut slots = occupied(130, 130, 0);
    assert_eq!((slots.free(), slots.live_count()), (None, 130));
    assert!((0..130).all(|slot| slots.is_live(SlotIndex(slot))));
    assert!(!slots.is_live(SlotIndex(130)) && !slots.is_live(SlotIndex(u32::MAX)));
    for slot in [5, 129, 64, 0] {
        slots.release(SlotIndex(slot));
        assert!(!slots.is_live(SlotIndex(slot)));
    }
    for expected in [0, 64, 129, 5] {
        let slot = slots.free().unwrap();
        assert_eq!(slot, SlotIndex(expected));
        slots.occupy(slot, 0);
    }
    assert_eq!(slots.free(), None);
}

#[test]
fn live_slots_are_listed_in_pieces() {
    let mut slots = occupied(1_000, 200, 0);
    (60..130).for_each(|slot| slots.release(SlotIndex(slot)));
    let piece = |from, count| slots.live(SlotIndex(from), count).map(|slot| slot.0).collect::<Vec<_>>();
    assert_eq!(piece(50, 20), (50..60).collect::<Vec<_>>());
    assert_eq!(piece(70, 60), []);
    assert_eq!(piece(127, 5), [130, 131]);
    assert_eq!(piece(190, usize::MAX), (190..200).collect::<Vec<_>>());
    assert_eq!(piece(u32::MAX, 10), []);
}
