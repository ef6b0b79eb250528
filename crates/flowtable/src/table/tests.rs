use std::collections::HashSet;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::*;
use crate::region::watched::{Touch, watch};
use crate::sync::AtomicU64;
use crate::{InsertError, Quiescence};

const KEY: HashKey = HashKey([11, 22]);
const SHARD: ShardIndex = ShardIndex(0);

/// A table of one shard, its owner, and nobody who reads.
fn owned<const N: usize>(slots: u32) -> (Arc<Table<u64, AtomicU64, N>>, Owner<u64, AtomicU64, N>) {
    let table = Arc::new(Table::anonymous(1, slots, KEY));
    let owner = table.owner(SHARD, &Quiescence::new());
    (table, owner)
}

/// Writes values for new lines.
fn values<const N: usize>(values: [u64; N]) -> impl FnOnce([&AtomicU64; N]) {
    move |lines| lines.iter().zip(values).for_each(|(line, value)| line.store(value, Ordering::Relaxed))
}

#[test]
fn a_small_table_takes_finds_and_returns() {
    let (table, mut owner) = owned(2);
    assert!(table.is_empty() && owner.is_empty());
    let a = owner.insert([1, 2], 5, values([10, 20])).unwrap();
    let b = owner.insert([3, 4], 6, values([30, 40])).unwrap();
    assert_eq!((table.len(), owner.len(), table.slots_max()), (2, 2, 2));
    assert_eq!(owner.insert([5, 6], 0, values([0, 0])), Err(InsertError::Full));
    assert_eq!(table.find(SHARD, &2), Some(table.line_of(a, 1)));
    assert_eq!(table.find(SHARD, &3), Some(table.line_of(b, 0)));
    assert_eq!(table.find(SHARD, &5), None);
    assert_eq!(table.value(table.line_of(a, 1)).load(Ordering::Relaxed), 20);
    assert_eq!(owner.remove(a), [1, 2]);
    assert_eq!((table.find(SHARD, &1), table.find(SHARD, &2)), (None, None));
    assert_eq!(
        owner.insert([5, 6], 7, values([50, 60])),
        Ok(a),
        "nobody reads: free without being asked for"
    );
}

#[test]
fn a_key_that_was_looked_up_in_vain_is_inserted_where_it_is_found() {
    let (table, mut owner) = owned(2);
    let vacant = owner.look_up(1).unwrap_err();
    let other = owner.look_up(2).unwrap_err();
    let slot = owner.insert_vacant(vacant, 5, values([10])).unwrap();
    let line = table.line_of(slot, 0);
    assert_eq!(
        (table.find(SHARD, &1), owner.look_up(1).ok(), owner.deadline(slot)),
        (Some(line), Some(line), 5)
    );
    assert_eq!(table.value(line).load(Ordering::Relaxed), 10);
    owner.insert_vacant(other, 6, values([20])).unwrap();
    let third = owner.look_up(3).unwrap_err();
    assert_eq!(owner.insert_vacant(third, 7, values([30])), Err(InsertError::Full));
    assert_eq!(owner.remove(slot), [1]);
    assert!(owner.look_up(1).is_err());
}

#[test]
fn a_key_that_is_there_already_is_refused_whichever_side_it_is() {
    let (table, mut owner) = owned(2);
    let slot = owner.insert([1, 2], 0, |_| ()).unwrap();
    let duplicate = |side| Err(InsertError::Duplicate(table.line_of(slot, side)));
    assert_eq!(owner.insert([3, 2], 0, |_| unreachable!()), duplicate(1));
    assert_eq!(owner.insert([1, 3], 0, |_| unreachable!()), duplicate(0));
    assert_eq!(owner.insert([3, 3], 0, |_| unreachable!()), Err(InsertError::Repeated));
    assert_eq!(table.find(SHARD, &3), None);
    owner.insert([3, 4], 0, |_| ()).unwrap();
    assert_eq!(owner.insert([5, 2], 0, |_| unreachable!()), duplicate(1), "even when full");
}

/// An index too small for its slots: a refusal must leave no trace of any of the slot's keys.
#[test]
fn a_crowded_index_refuses_a_slot_whole() {
    for portable in [false, true] {
        let carve = |carver: &mut Carver| {
            let hasher = if portable { Hasher::portable(KEY) } else { Hasher::new(KEY) };
            Table::<u64, AtomicU64, 4>::carve_with(carver, 1, 1_000, hasher, 100)
        };
        let table = Arc::new(in_own_region(carve).unwrap());
        let mut owner = table.owner(SHARD, &Quiescence::new());
        let entries = || {
            let writer = table.index.writer(SHARD);
            let entries = |bucket: &crate::bucket::Bucket| (0..8).filter_map(|i| bucket.entry(i)).count();
            writer.buckets().map(|(_, bucket)| entries(bucket) as u32).sum::<u32>()
        };
        let mut refused = Vec::new();
        for i in 0..1_000u64 {
            let keys = [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3];
            let before = table.len();
            match owner.insert(keys, 0, values(keys)) {
                Ok(slot) => assert!(owner.is_live(slot)),
                Err(error) => {
                    assert_eq!((error, table.len()), (InsertError::Crowded, before));
                    assert!(keys.iter().all(|key| table.find(SHARD, key).is_none()));
                    assert_eq!(entries(), 4 * before, "no entry of a refused slot is left behind");
                    refused.push(i);
                }
            }
        }
        assert!(table.len() >= 190 && !refused.is_empty(), "{} of 200 slots", table.len());
        for key in 0..4_000 {
            assert_eq!(table.find(SHARD, &key).is_some(), !refused.contains(&(key / 4)), "key {key}");
        }
        let live: Vec<_> = owner.live(SlotIndex(0), usize::MAX).collect();
        live.into_iter().for_each(|slot| _ = owner.remove(slot));
        assert!(table.is_empty());
        assert_eq!(entries(), 0);
    }
}

/// A value that is its line's alias.
#[derive(zerocopy::FromBytes)]
#[repr(transparent)]
struct Named(AtomicU64);

impl LineValue<u64> for Named {
    const HAS_ALIAS: bool = true;

    fn alias(&self, _key: &u64) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn aliased(slots: u32) -> (Arc<Table<u64, Named, 1>>, Owner<u64, Named, 1>) {
    let table = Arc::new(Table::anonymous(1, slots, KEY));
    let owner = table.owner(SHARD, &Quiescence::new());
    (table, owner)
}

fn named(alias: u64) -> impl FnOnce([&Named; 1]) {
    move |[line]| line.0.store(alias, Ordering::Relaxed)
}

#[test]
fn a_line_is_found_by_its_key_and_by_its_alias() {
    let (table, mut owner) = aliased(3);
    let slots: Vec<_> =
        [(1, 10), (2, 1), (10, 2)].map(|(key, alias)| owner.insert([key], 0, named(alias)).unwrap()).into();
    let line = |slot: usize| Some(table.line_of(slots[slot], 0));
    assert_eq!([1, 2, 10].map(|key| table.find(SHARD, &key)), [line(0), line(1), line(2)]);
    assert_eq!([10, 1, 2].map(|alias| table.find_alias(SHARD, alias)), [line(0), line(1), line(2)]);
    assert_eq!((table.find(SHARD, &11), table.find_alias(SHARD, 11)), (None, None));
    let mut found = [None; 2];
    table.find_burst(&[Some((SHARD, 2)), Some((SHARD, 11))], &mut found);
    assert_eq!(found, [line(1), None]);
    assert_eq!(owner.remove(slots[0]), [1]);
    assert_eq!((table.find(SHARD, &1), table.find_alias(SHARD, 10)), (None, None));
    assert_eq!((table.find(SHARD, &10), table.find_alias(SHARD, 1)), (line(2), line(1)), "others are there");
}

#[test]
fn an_alias_that_is_there_already_is_refused_and_leaves_no_trace() {
    let (table, mut owner) = aliased(2);
    let slot = owner.insert([1], 0, named(10)).unwrap();
    let duplicate = Err(InsertError::Duplicate(table.line_of(slot, 0)));
    assert_eq!(owner.insert([2], 0, named(10)), duplicate);
    assert_eq!((table.find(SHARD, &2), table.len()), (None, 1));
    assert_eq!(owner.insert([1], 0, |_| unreachable!()), duplicate, "of a key it is known before");
    let other = owner.insert([2], 0, named(11)).unwrap();
    assert_eq!(owner.insert([3], 0, |_| unreachable!()), Err(InsertError::Full), "nothing is filled");
    owner.remove(slot);
    assert_eq!(owner.insert([3], 0, named(10)), Ok(slot));
    assert_eq!(table.find_alias(SHARD, 11), Some(table.line_of(other, 0)));
}

#[test]
fn without_aliases_none_is_found() {
    let (table, mut owner) = owned::<1>(100);
    (0..100).for_each(|key| _ = owner.insert([key], 0, values([key])).unwrap());
    assert!((0..100).all(|alias| table.find_alias(SHARD, alias).is_none()));
}

/// Half as many places as are needed: a key whose alias finds none goes again.
#[test]
fn a_crowded_index_refuses_a_line_with_its_alias_whole() {
    let carve =
        |carver: &mut Carver| Table::<u64, Named, 1>::carve_with(carver, 1, 800, Hasher::new(KEY), 100);
    let table = Arc::new(in_own_region(carve).unwrap());
    let mut owner = table.owner(SHARD, &Quiescence::new());
    for key in 0..800 {
        match owner.insert([key], 0, named(!key)) {
            Ok(_) => assert!(table.find(SHARD, &key).is_some() && table.find_alias(SHARD, !key).is_some()),
            Err(error) => {
                assert_eq!(error, InsertError::Crowded);
                assert_eq!((table.find(SHARD, &key), table.find_alias(SHARD, !key)), (None, None));
            }
        }
    }
    assert!((380..=400).contains(&table.len()), "{} of 400", table.len());
    let live: Vec<_> = owner.live(SlotIndex(0), usize::MAX).collect();
    live.into_iter().for_each(|slot| _ = owner.remove(slot));
    let writer = table.index.writer(SHARD);
    let is_empty = |bucket: &crate::bucket::Bucket| (0..8).all(|place| bucket.entry(place).is_none());
    assert!(writer.buckets().all(|(_, bucket)| is_empty(bucket)), "no entry is left behind");
}

#[test]
fn of_what_is_at_home_the_guess_by_an_alias_is_right() {
    let (table, mut owner) = aliased(100);
    let slots: Vec<_> = (0..100).map(|key| owner.insert([key], 0, named(!key)).unwrap()).collect();
    let guessed = |key: u64| table.guess(table.place_of_alias(SHARD, !key));
    let right = (0..100).zip(&slots).filter(|(key, slot)| guessed(*key) == Some(table.line_of(**slot, 0)));
    let right = right.count();
    assert!(right > 80, "{right} of 100");
}

#[test]
fn a_line_found_before_a_removal_is_known_to_be_another_afterwards() {
    let quiescence = Quiescence::new();
    let table = Arc::new(Table::<u64, AtomicU64, 1>::anonymous(2, 4, KEY));
    let [mut owner, other] = [SHARD, ShardIndex(1)].map(|shard| table.owner(shard, &quiescence));
    let slot = owner.insert([1], 0, |_| ()).unwrap();
    let line = table.find(SHARD, &1).unwrap();
    let held = |owner: &Owner<_, _, 1>, line, key| [table.holds(line, &key), owner.holds(line, &key)];
    assert_eq!((held(&owner, line, 1), held(&owner, line, 2)), ([true; 2], [false; 2]));
    assert!(!other.holds(line, &1), "it is another owner's");
    owner.remove(slot);
    assert_eq!(held(&owner, line, 1), [false; 2]);
    owner.reclaim();
    owner.insert([2], 0, |_| ()).unwrap();
    assert_eq!((held(&owner, line, 1), held(&owner, line, 2)), ([false; 2], [true; 2]));
    assert_eq!(held(&owner, LineIndex(u32::MAX), 1), [false; 2]);
}

#[test]
fn a_removed_line_stays_readable_until_its_reader_passes() {
    let quiescence = Quiescence::new();
    let table = Arc::new(Table::<u64, AtomicU64, 1>::anonymous(1, 1, KEY));
    let mut owner = table.owner(SHARD, &quiescence);
    let mut reader = quiescence.reader();
    let slot = owner.insert([1], 0, values([10])).unwrap();
    let line = table.find(SHARD, &1).unwrap();
    owner.remove(slot);
    for _ in 0..3 {
        assert_eq!(owner.insert([2], 0, |_| unreachable!()), Err(InsertError::Full));
        owner.reclaim();
    }
    assert_eq!((table.key(line), table.value(line).load(Ordering::Relaxed)), (1, 10));
    assert_eq!((owner.len(), owner.is_live(slot)), (0, false));
    reader.pass();
    assert_eq!(owner.insert([2], 0, values([20])), Ok(slot));
    assert_eq!((table.key(line), table.value(line).load(Ordering::Relaxed)), (2, 20));
}

#[test]
fn a_key_belongs_to_one_shard_and_each_shard_is_full_alone() {
    let quiescence = Quiescence::new();
    let table = Arc::new(Table::<u64, AtomicU64, 1>::anonymous(32, 2, KEY));
    let mut owners: Vec<_> = (0..32).map(|shard| table.owner(ShardIndex(shard), &quiescence)).collect();
    for owner in &mut owners {
        for key in [1, 2] {
            owner.insert([key], 0, values([u64::from(owner.shard().0)])).unwrap();
        }
        assert_eq!(owner.insert([3], 0, |_| ()), Err(InsertError::Full));
    }
    let keys: Vec<_> = (0..32).map(|shard| Some((ShardIndex(shard), 1 + u64::from(shard) % 3))).collect();
    let mut found = [None; 32];
    table.find_burst(&keys, &mut found);
    for (shard, found) in found.into_iter().enumerate() {
        let value = found.map(|line| table.value(line).load(Ordering::Relaxed));
        assert_eq!(value, (shard % 3 != 2).then_some(shard as u64));
    }
}

#[test]
#[should_panic(expected = "a shard has one owner")]
fn a_role_is_given_once() {
    let (table, _owner) = owned::<1>(4);
    table.owner(SHARD, &Quiescence::new());
}

#[test]
fn a_role_that_was_given_back_is_given_again() {
    let (table, mut owner) = owned::<1>(4);
    owner.insert([1], 0, |_| ()).unwrap();
    drop(owner);
    let mut owner = table.owner(SHARD, &Quiescence::new());
    assert_eq!(owner.len(), 1);
    owner.remove(SlotIndex(0));
    assert!(table.is_empty());
}

#[test]
#[should_panic(expected = "not in use cannot be removed")]
fn a_slot_is_removed_once() {
    let (_, mut owner) = owned::<1>(4);
    let slot = owner.insert([1], 0, |_| ()).unwrap();
    owner.remove(slot);
    owner.remove(slot);
}

#[test]
#[should_panic(expected = "not in use cannot be removed")]
fn another_owners_slot_is_not_removed() {
    let quiescence = Quiescence::new();
    let table = Arc::new(Table::<u64, AtomicU64, 1>::anonymous(2, 4, KEY));
    let slot = table.owner(ShardIndex(1), &quiescence).insert([1], 0, |_| ()).unwrap();
    table.owner(ShardIndex(0), &quiescence).remove(slot);
}

#[test]
#[should_panic(expected = "as many answers as keys")]
fn a_burst_needs_room_for_its_answers() {
    owned::<1>(4).0.find_burst(&[Some((SHARD, 1)), None], &mut [None]);
}

#[test]
fn a_table_without_slots_is_full() {
    let (table, mut owner) = owned::<1>(0);
    assert_eq!(table.find(SHARD, &1), None);
    assert_eq!(owner.insert([1], 0, |_| ()), Err(InsertError::Full));
    owner.sweep(0, 100, &mut ArrayVec::new());
    assert_eq!(owner.live(SlotIndex(0), 100).count(), 0);
}

#[test]
fn of_what_is_at_home_the_guess_is_right() {
    let (table, mut owner) = owned::<1>(100);
    let slots: Vec<_> = (0..100).map(|key| owner.insert([key], 0, |_| ()).unwrap()).collect();
    let guessed = |key: &u64| table.guess(table.place(SHARD, key));
    let right =
        (0..100).zip(&slots).filter(|(key, slot)| guessed(key) == Some(table.line_of(**slot, 0))).count();
    assert!(right > 80, "{right} of 100");
}

/// Of a burst, no cache line is waited for alone: each is asked for, and all that a stage reads before it reads the first.
#[test]
fn a_burst_asks_for_every_line_before_it_reads_the_first() {
    const SLOTS: u32 = 4_096;
    let (table, mut owner) = owned::<1>(SLOTS);
    for key in 0..u64::from(SLOTS) {
        owner.insert([key], 0, values([key])).unwrap();
    }
    let (mut away, mut unasked, mut found) = (0, 0, [None; BURST]);
    for first in (0..u64::from(SLOTS)).step_by(BURST) {
        let sought: Vec<_> = (first..first + BURST as u64).map(|key| Some((SHARD, key))).collect();
        let touched = watch(|| table.find_burst(&sought, &mut found));
        assert!(found.iter().all(Option::is_some));
        let (mut asked, mut reads) = (Vec::new(), HashSet::new());
        // How many asks each first reading had behind it, in order: they rise from stage to stage.
        let mut behind = Vec::new();
        for touch in touched {
            match touch {
                Touch::Asked(line) => asked.push(line),
                Touch::Read(line) if reads.insert(line) => match asked.iter().position(|one| *one == line) {
                    Some(at) => behind.push(asked.len() - at),
                    None => unasked += 1,
                },
                Touch::Read(_) => {}
            }
        }
        away += asked.len().saturating_sub(2 * BURST);
        // The first bucket and the first line are read when all buckets, and all lines, have been asked for.
        let distant = behind.iter().filter(|asks| **asks >= BURST / 2).count();
        assert!(distant >= BURST, "{distant} of {} lines were asked for in time: {behind:?}", behind.len());
    }
    assert!(away > 100, "some entries are in their other bucket, and are asked for there");
    // One key in some ten thousand has the tag of another, whose line is read in vain, and then its own.
    assert!(unasked < 16, "{unasked} lines were read that nobody had asked for");
}
