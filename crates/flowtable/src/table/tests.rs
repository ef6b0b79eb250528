use super::*;

const KEY: HashKey = HashKey([11, 22]);

#[test]
fn a_small_table_takes_finds_and_returns() {
    let mut table = Table::<u64, u64, 2>::new(2, KEY);
    assert!(table.is_empty());
    let a = table.insert([1, 2], [10, 20], 5).unwrap();
    let b = table.insert([3, 4], [30, 40], 6).unwrap();
    assert_eq!((table.len(), table.slots_max()), (2, 2));
    assert_eq!(table.insert([5, 6], [0, 0], 0), Err(InsertError::Full));
    assert_eq!(table.find(&2), Some(table.line_of(a, 1)));
    assert_eq!(table.find(&3), Some(table.line_of(b, 0)));
    assert_eq!(table.find(&5), None);
    *table.value_mut(table.line_of(a, 1)) += 1;
    assert_eq!(table.remove(a), ([1, 2], [10, 21]));
    assert_eq!((table.find(&1), table.find(&2)), (None, None));
    assert_eq!(table.insert([5, 6], [50, 60], 7), Ok(a));
}

#[test]
fn a_key_that_is_there_already_is_refused_whichever_side_it_is() {
    let mut table = Table::<u64, (), 2>::new(2, KEY);
    let slot = table.insert([1, 2], [(), ()], 0).unwrap();
    assert_eq!(table.insert([3, 2], [(), ()], 0), Err(InsertError::Duplicate(table.line_of(slot, 1))));
    assert_eq!(table.insert([1, 3], [(), ()], 0), Err(InsertError::Duplicate(table.line_of(slot, 0))));
    assert_eq!(table.insert([3, 3], [(), ()], 0), Err(InsertError::Repeated));
    assert_eq!(table.find(&3), None);
    table.insert([3, 4], [(), ()], 0).unwrap();
    assert_eq!(
        table.insert([5, 2], [(), ()], 0),
        Err(InsertError::Duplicate(table.line_of(slot, 1))),
        "even when full"
    );
}

/// An index too small for its slots: a refusal must leave no trace of any of the slot's keys.
#[test]
fn a_crowded_index_refuses_a_slot_whole() {
    for hasher in [Hasher::new(KEY), Hasher::portable(KEY)] {
        let mut table = Table::<u64, u64, 4>::with_index(1_000, hasher, Index::with_buckets(100));
        let mut refused = Vec::new();
        for i in 0..1_000u64 {
            let keys = [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3];
            let before = table.len();
            match table.insert(keys, keys, 0) {
                Ok(slot) => assert!(table.is_live(slot)),
                Err(error) => {
                    assert_eq!((error, table.len()), (InsertError::Crowded, before));
                    assert!(keys.iter().all(|key| table.find(key).is_none()));
                    assert_eq!(
                        table.index.entries(),
                        4 * before,
                        "no entry of a refused slot is left behind"
                    );
                    refused.push(i);
                }
            }
        }
        assert!(table.len() >= 190 && !refused.is_empty(), "{} of 200 slots", table.len());
        for key in 0..4_000 {
            assert_eq!(table.find(&key).is_some(), !refused.contains(&(key / 4)), "key {key}");
        }
        let live: Vec<_> = table.live(SlotIndex(0), usize::MAX).collect();
        live.into_iter().for_each(|slot| _ = table.remove(slot));
        assert!(table.is_empty());
        assert_eq!(table.index.entries(), 0);
    }
}

#[test]
fn a_line_found_before_a_removal_is_known_to_be_another_afterwards() {
    let mut table = Table::<u64, u64, 1>::new(4, KEY);
    let slot = table.insert([1], [1], 0).unwrap();
    let line = table.find(&1).unwrap();
    assert!(table.holds(line, &1) && !table.holds(line, &2));
    table.remove(slot);
    assert!(!table.holds(line, &1));
    table.insert([2], [2], 0).unwrap();
    assert!(!table.holds(line, &1) && table.holds(line, &2));
    assert!(!table.holds(LineIndex(u32::MAX), &1));
}

#[test]
#[should_panic(expected = "not in use cannot be removed")]
fn a_slot_is_removed_once() {
    let mut table = Table::<u64, u64, 1>::new(4, KEY);
    let slot = table.insert([1], [1], 0).unwrap();
    table.remove(slot);
    table.remove(slot);
}

#[test]
#[should_panic(expected = "as many answers as keys")]
fn a_burst_needs_room_for_its_answers() {
    Table::<u64, u64, 1>::new(4, KEY).find_burst(&[Some(1), None], &mut [None]);
}

#[test]
fn a_table_without_slots_is_full() {
    let mut table = Table::<u64, u64, 1>::new(0, KEY);
    assert_eq!(table.find(&1), None);
    assert_eq!(table.insert([1], [1], 0), Err(InsertError::Full));
    table.sweep(0, 100, &mut ArrayVec::new());
    assert_eq!(table.live(SlotIndex(0), 100).count(), 0);
}
