//! The whole table under a scheduler that tries the interleavings: readers beside an owner who inserts, moves, removes
//! and uses slots again.
//!
//! What a reader is promised, and what fails here where it is not so:
//! - a key that is in the table all the while is found, wherever its entry is moved meanwhile;
//! - what is found is whole: key, value, and the slot's other line, all of one insertion;
//! - and stays what it was until the reader passes.
//!
//! Of aliases the same: see [`alias`].

mod alias;
#[cfg(shuttle)]
mod crowd;

use std::sync::{Arc, LazyLock};

use crate::hash::{Hash, Hasher};
use crate::index::{Index, Spot};
use crate::scheduler::{explore, thread};
use crate::sync::{AtomicU64, Ordering};
use crate::{
    Carver, HashKey, InsertError, LineIndex, LineValue, Owner, Quiescence, Region, ShardIndex, SlotIndex,
};

const SHARD: ShardIndex = ShardIndex(0);

/// Four: an entry may have either of two other buckets, so that there is somewhere to move to.
const BUCKETS: u32 = 4;

type Table = crate::Table<u64, Value, 2>;

/// As much as can be torn: what the owner writes, and what everybody counts up who finds it.
#[derive(Default)]
struct Value([AtomicU64; 2], AtomicU64);

impl LineValue<u64> for Value {}

impl Value {
    fn fill(&self, key: u64) {
        self.1.store(0, Ordering::Relaxed);
        self.0
            .iter()
            .zip(Self::words(key))
            .for_each(|(word, expected)| word.store(expected, Ordering::Relaxed));
    }

    fn assert_of(&self, key: u64) {
        let words = self.0.each_ref().map(|word| word.load(Ordering::Relaxed));
        assert_eq!(words, Self::words(key), "torn, or of another insertion");
    }

    fn words(key: u64) -> [u64; 2] {
        [!key, key.rotate_left(8)]
    }
}

/// Both keys of a slot.
type Keys = [u64; 2];

fn table(slots: u32) -> Arc<Table> {
    table_with(slots, BUCKETS)
}

fn table_with(slots: u32, buckets: u32) -> Arc<Table> {
    let region = Region::anonymous(0).unwrap();
    Arc::new(Table::carve_with(&mut Carver::over(&region), 1, slots, Hasher::new(KEY), buckets))
}

const KEY: HashKey = HashKey([3, 5]);

/// Keys that are as alike as can be: the first ones of all slots have the same home and the same tag, the second ones
/// are none of their neighbours.
static ALIKE: LazyLock<[Keys; 3]> = LazyLock::new(|| {
    let index = Index::carve(&mut Carver::measuring(), 1, BUCKETS);
    let hasher = Hasher::new(KEY);
    let spot = |key: &u64| index.spot(SHARD, hasher.hash_one(key));
    let mut alike = (1 << 32_u64..).filter(|key| spot(key) == spot(&(1 << 32)));
    let mut others = (1..).filter(|key| spot(key).home != spot(&(1 << 32)).home);
    std::array::from_fn(|_| [alike.next().unwrap_or_default(), others.next().unwrap_or_default()])
});

fn insert(owner: &mut Owner<u64, Value, 2>, keys: Keys) -> Result<SlotIndex, InsertError> {
    owner.insert(keys, 0, |values| values.iter().zip(keys).for_each(|(value, key)| value.fill(key)))
}

/// What a reader does with a line that it found.
fn read(table: &Table, line: LineIndex, keys: Keys) {
    let slot = table.slot_of(line);
    for (side, key) in keys.into_iter().enumerate() {
        let line = table.line_of(slot, side);
        assert_eq!(table.key(line), key, "a line of another insertion");
        table.value(line).assert_of(key);
    }
}

/// One by one, or in a burst: two ways to the same answer.
fn find(table: &Table, key: u64, in_burst: bool) -> Option<LineIndex> {
    if in_burst {
        let mut found = [None];
        table.find_burst(&[Some((SHARD, key))], &mut found);
        found[0]
    } else {
        table.find(SHARD, &key)
    }
}

/// What may happen to an entry beside a reader.
#[derive(Clone, Copy)]
enum Step {
    /// It moves from one of its buckets to the other.
    Move,
    /// Another entry, of the same tag, takes the first free place at its home.
    Link,
    /// That one leaves again.
    Unlink,
}

/// Moves the entry of a line to its other bucket, as `displacement` does for a new one.
fn move_entry(index: &Index, spot: Spot, line: LineIndex) {
    let mut index = index.writer(SHARD);
    let other = index.other(spot.home, spot.tag);
    let place_in = |bucket| index.bucket(bucket).place_of(spot.tag, line).map(|place| (bucket, place));
    let from = place_in(spot.home).or_else(|| place_in(other)).unwrap();
    let to = if from.0 == spot.home { other } else { spot.home };
    let free = index.bucket(to).free_place().unwrap();
    index.move_entry(from, (to, free));
}

/// A reader looks for a key that is there all the while.
fn stays_found(steps: &'static [Step], begins_away: bool, in_burst: bool) {
    explore(move || {
        let (table, quiescence) = (table(2), Quiescence::new());
        let mut owner = table.owner(SHARD, &quiescence);
        let slot = insert(&mut owner, ALIKE[0]).unwrap();
        let (spot, line) = (table.spot(SHARD, &ALIKE[0][0]), table.line_of(slot, 0));
        if begins_away {
            move_entry(&table.index, spot, line);
        }
        let readers_table = Arc::clone(&table);
        let reads = thread::spawn(move || {
            let found = find(&readers_table, ALIKE[0][0], in_burst);
            assert_eq!(found, Some(line), "a key that never left was not found");
        });
        // Entered without its line: it leads to one of another key.
        let stranger = LineIndex(line.0 + 2);
        for step in steps {
            match step {
                Step::Move => move_entry(&table.index, spot, line),
                Step::Link => table.index.writer(SHARD).link(&spot, stranger).unwrap(),
                Step::Unlink => assert!(table.index.writer(SHARD).unlink(spot, stranger)),
            }
        }
        reads.join().unwrap();
    });
}

#[test]
fn an_entry_that_moves_out_is_found() {
    stays_found(&[Step::Move], false, false);
    stays_found(&[Step::Move], false, true);
}

#[test]
fn an_entry_that_moves_home_is_found() {
    stays_found(&[Step::Move], true, false);
    stays_found(&[Step::Move], true, true);
}

#[test]
fn an_entry_that_moves_to_and_fro_is_found() {
    stays_found(&[Step::Move, Step::Move], false, false);
    stays_found(&[Step::Move, Step::Move], true, true);
    stays_found(&[Step::Move, Step::Move, Step::Move], false, true);
}

#[test]
fn an_entry_whose_place_is_taken_by_another_of_the_same_tag_is_found() {
    stays_found(&[Step::Move, Step::Link], false, false);
    stays_found(&[Step::Move, Step::Link], false, true);
}

#[test]
fn an_entry_that_moves_home_into_the_place_of_another_is_found() {
    stays_found(&[Step::Link, Step::Unlink, Step::Move], true, false);
    stays_found(&[Step::Link, Step::Unlink, Step::Move], true, true);
}

/// Both its keys, in any order, lead to a slot that is filled.
#[test]
fn a_slot_is_whole_from_the_moment_it_is_found() {
    explore(|| {
        let (table, quiescence) = (table(1), Quiescence::new());
        let mut owner = table.owner(SHARD, &quiescence);
        let readers_table = Arc::clone(&table);
        let reads = thread::spawn(move || {
            for key in [ALIKE[0][1], ALIKE[0][0]] {
                if let Some(line) = readers_table.find(SHARD, &key) {
                    read(&readers_table, line, ALIKE[0]);
                }
            }
        });
        insert(&mut owner, ALIKE[0]).unwrap();
        reads.join().unwrap();
    });
}

/// Who remembers a line of a key, and does not look it up, reads a word of that key or nothing, while the slot changes hands:
/// the word is emptied before the slot is given up, and filled after the next one's key is there.
#[test]
fn a_remembered_line_says_what_is_of_its_key_or_nothing() {
    explore(|| {
        let (table, quiescence) = (table(1), Quiescence::new());
        let mut owner = table.owner(SHARD, &quiescence);
        let say = |keys: Keys| move |[value, _]: [&Value; 2]| value.1.store(keys[0], Ordering::Release);
        let slot = owner.insert(ALIKE[0], 0, say(ALIKE[0])).unwrap();
        let line = table.line_of(slot, 0);
        let readers_table = Arc::clone(&table);
        let reads = thread::spawn(move || {
            let [old, _] = ALIKE[0];
            let said = readers_table.read_hinted(line, &old, |value| value.1.load(Ordering::Acquire));
            assert!(said.is_none_or(|said| said == 0 || said == old), "{said:?} is not of {old}");
        });
        table.value(line).1.store(0, Ordering::Release);
        owner.remove(slot);
        owner.reclaim();
        assert_eq!(owner.insert(ALIKE[1], 0, say(ALIKE[1])), Ok(slot));
        reads.join().unwrap();
    });
}

/// The table's only slot is used again, with a key that differs in nothing the index could see.
#[test]
fn a_slot_that_is_used_again_is_never_read_as_what_it_was() {
    explore(|| {
        let (table, quiescence) = (table(1), Quiescence::new());
        let mut owner = table.owner(SHARD, &quiescence);
        let slot = insert(&mut owner, ALIKE[0]).unwrap();
        let (readers_table, mut reader) = (Arc::clone(&table), quiescence.reader());
        let reads = thread::spawn(move || {
            for keys in [ALIKE[0], ALIKE[1]] {
                if let Some(line) = readers_table.find(SHARD, &keys[0]) {
                    read(&readers_table, line, keys);
                }
                reader.pass();
            }
        });
        assert_eq!(owner.remove(slot), ALIKE[0]);
        owner.reclaim();
        match insert(&mut owner, ALIKE[1]) {
            Ok(again) => assert_eq!(again, slot),
            Err(error) => assert_eq!(error, InsertError::Full, "it waits for the reader"),
        }
        assert_eq!(table.find(SHARD, &ALIKE[0][0]), None, "what was removed is not found");
        reads.join().unwrap();
        owner.reclaim();
        assert!(matches!(insert(&mut owner, ALIKE[1]), Ok(_) | Err(InsertError::Duplicate(_))), "in the end");
    });
}

/// What a reader writes into a line reaches the session that it found, never the next one in the slot.
#[test]
fn what_is_seen_is_not_noted_in_the_next_user_of_the_slot() {
    explore(|| {
        let (table, quiescence) = (table(1), Quiescence::new());
        let mut owner = table.owner(SHARD, &quiescence);
        let slot = insert(&mut owner, ALIKE[0]).unwrap();
        let (readers_table, mut reader) = (Arc::clone(&table), quiescence.reader());
        let reads = thread::spawn(move || {
            for _ in 0..2 {
                if let Some(line) = readers_table.find(SHARD, &ALIKE[0][0]) {
                    // A load and a store, as the packet path does it.
                    let seen = &readers_table.value(line).1;
                    seen.store(seen.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                }
                reader.pass();
            }
        });
        owner.remove(slot);
        owner.reclaim();
        let again = insert(&mut owner, ALIKE[1]);
        reads.join().unwrap();
        if let Ok(slot) = again {
            assert_eq!(
                table.value(table.line_of(slot, 0)).1.load(Ordering::Relaxed),
                0,
                "seen by nobody yet"
            );
        }
    });
}

/// A key that comes again in another slot, while its old line still holds it, is not found there.
#[test]
fn a_key_that_comes_again_is_found_where_it_is_now() {
    explore(|| {
        let (table, quiescence) = (table(2), Quiescence::new());
        let mut owner = table.owner(SHARD, &quiescence);
        let slot = insert(&mut owner, ALIKE[0]).unwrap();
        let (readers_table, mut reader) = (Arc::clone(&table), quiescence.reader());
        let reads = thread::spawn(move || {
            reader.pass();
            if let Some(line) = readers_table.find(SHARD, &ALIKE[0][0]) {
                read(&readers_table, line, ALIKE[0]);
            }
        });
        owner.remove(slot);
        owner.reclaim();
        if insert(&mut owner, ALIKE[0]) != Ok(slot) {
            // The old slot waited for the reader; perhaps it does no longer.
            _ = insert(&mut owner, ALIKE[1]);
        }
        reads.join().unwrap();
    });
}

/// A grace that began before a removal is none for it.
#[test]
fn what_is_removed_during_a_grace_waits_for_the_next_one() {
    explore(|| {
        let (table, quiescence) = (table(2), Quiescence::new());
        let mut owner = table.owner(SHARD, &quiescence);
        let [first, second] = [0, 1].map(|i| insert(&mut owner, ALIKE[i]).unwrap());
        let (readers_table, mut reader) = (Arc::clone(&table), quiescence.reader());
        let reads = thread::spawn(move || {
            reader.pass();
            if let Some(line) = readers_table.find(SHARD, &ALIKE[1][0]) {
                read(&readers_table, line, ALIKE[1]);
            }
        });
        owner.remove(first);
        owner.reclaim();
        owner.remove(second);
        owner.reclaim();
        _ = insert(&mut owner, ALIKE[2]);
        reads.join().unwrap();
    });
}

/// Its first key could be found before there was no place for the second.
#[test]
fn a_slot_that_was_refused_half_way_is_left_as_it_is_for_a_grace() {
    explore(|| {
        let (table, quiescence) = (table_with(1, 2), Quiescence::new());
        let mut owner = table.owner(SHARD, &quiescence);
        // All places but one.
        for number in 1..16 {
            table.index.writer(SHARD).link(&table.index.spot(SHARD, Hash(number)), LineIndex(99)).unwrap();
        }
        let (readers_table, mut reader) = (Arc::clone(&table), quiescence.reader());
        let reads = thread::spawn(move || {
            reader.pass();
            if let Some(line) = readers_table.find(SHARD, &ALIKE[0][0]) {
                read(&readers_table, line, ALIKE[0]);
            }
        });
        assert_eq!(insert(&mut owner, ALIKE[0]), Err(InsertError::Crowded));
        let again = insert(&mut owner, ALIKE[1]);
        assert!(matches!(again, Err(InsertError::Crowded | InsertError::Full)), "{again:?}");
        reads.join().unwrap();
    });
}

/// Not by hand: both buckets of a new entry are full, and it drives out one that is looked for.
#[test]
fn an_entry_that_is_displaced_by_a_new_one_is_found() {
    explore(|| {
        let table = table(1);
        let mut index = table.index.writer(SHARD);
        // All are at home in bucket 0. Some tags lead from there to bucket 1, the others to bucket 3.
        let spot = |tag| table.index.spot(SHARD, Hash(tag));
        let (near, far): (Vec<_>, Vec<_>) =
            (1..50).map(spot).partition(|spot| index.other(spot.home, spot.tag) == 1);
        let displaced = far[0];
        index.link(&displaced, LineIndex(0)).unwrap();
        for (spot, line) in near.iter().zip(1..16) {
            index.link(spot, LineIndex(line)).unwrap();
        }
        let readers_table = Arc::clone(&table);
        let reads = thread::spawn(move || {
            let found = readers_table.index.find(&displaced, |line| line == LineIndex(0));
            assert_eq!(found, Some(LineIndex(0)), "a key that never left was not found");
        });
        index.link(&near[15], LineIndex(16)).unwrap();
        assert!(index.bucket(3).place_of(displaced.tag, LineIndex(0)).is_some(), "it was displaced");
        reads.join().unwrap();
    });
}
