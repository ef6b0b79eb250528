//! Of lines that are found by an alias too: what is promised of keys is promised of aliases, and a line that is found by
//! either is the same.

use super::*;
use crate::entries::By;

type Aliased = crate::Table<u64, Named, 1>;

/// The alias, and as much as can be torn.
#[derive(Default)]
struct Named(AtomicU64, Value);

impl LineValue<u64> for Named {
    const HAS_ALIAS: bool = true;

    fn alias(&self, _key: &u64) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn aliased(slots: u32, buckets: u32) -> Arc<Aliased> {
    let region = Region::anonymous(0).unwrap();
    Arc::new(Aliased::carve_with(&mut Carver::over(&region), 1, slots, Hasher::new(KEY), buckets))
}

/// Of [`ALIKE`] the alias comes first: aliases of all lines have the same home and the same tag.
fn insert([alias, key]: Keys, owner: &mut Owner<u64, Named, 1>) -> Result<SlotIndex, InsertError> {
    owner.insert([key], 0, |[value]| {
        value.0.store(alias, Ordering::Relaxed);
        value.1.fill(key);
    })
}

/// What a reader does with a line that it found by its alias or its key.
fn read(table: &Aliased, line: LineIndex, [alias, key]: Keys) {
    assert_eq!((table.value(line).alias(&key), table.key(line)), (alias, key), "a line of another insertion");
    table.value(line).1.assert_of(key);
}

#[test]
fn a_line_is_whole_from_the_moment_it_is_found_by_either() {
    explore(|| {
        let (table, quiescence) = (aliased(1, BUCKETS), Quiescence::new());
        let mut owner = table.owner(SHARD, &quiescence);
        let readers_table = Arc::clone(&table);
        let reads = thread::spawn(move || {
            let [alias, key] = ALIKE[0];
            for found in [readers_table.find_alias(SHARD, alias), readers_table.find(SHARD, &key)] {
                if let Some(line) = found {
                    read(&readers_table, line, ALIKE[0]);
                }
            }
        });
        insert(ALIKE[0], &mut owner).unwrap();
        reads.join().unwrap();
    });
}

#[test]
fn an_alias_that_never_leaves_is_found_while_its_entry_moves() {
    for begins_away in [false, true] {
        explore(move || {
            let (table, quiescence) = (aliased(2, BUCKETS), Quiescence::new());
            let mut owner = table.owner(SHARD, &quiescence);
            let slot = insert(ALIKE[0], &mut owner).unwrap();
            let ([alias, _], line) = (ALIKE[0], table.line_of(slot, 0));
            let (spot, entry) = (table.spot_of_alias(SHARD, alias), Aliased::entry(line, By::Alias));
            if begins_away {
                move_entry(&table.index, spot, entry);
            }
            let readers_table = Arc::clone(&table);
            let reads = thread::spawn(move || {
                let found = readers_table.find_alias(SHARD, alias);
                assert_eq!(found, Some(line), "an alias that never left was not found");
            });
            (0..2).for_each(|_| move_entry(&table.index, spot, entry));
            reads.join().unwrap();
        });
    }
}

/// The table's only slot is used again, with an alias that differs in nothing the index could see.
#[test]
fn a_slot_that_is_used_again_is_never_read_as_what_it_was_by_its_alias() {
    explore(|| {
        let (table, quiescence) = (aliased(1, BUCKETS), Quiescence::new());
        let mut owner = table.owner(SHARD, &quiescence);
        let slot = insert(ALIKE[0], &mut owner).unwrap();
        let (readers_table, mut reader) = (Arc::clone(&table), quiescence.reader());
        let reads = thread::spawn(move || {
            for keys in [ALIKE[0], ALIKE[1]] {
                if let Some(line) = readers_table.find_alias(SHARD, keys[0]) {
                    read(&readers_table, line, keys);
                }
                reader.pass();
            }
        });
        owner.remove(slot);
        owner.reclaim();
        match insert(ALIKE[1], &mut owner) {
            Ok(again) => assert_eq!(again, slot),
            Err(error) => assert_eq!(error, InsertError::Full, "it waits for the reader"),
        }
        assert_eq!(table.find_alias(SHARD, ALIKE[0][0]), None, "what was removed is not found");
        reads.join().unwrap();
    });
}

/// An alias goes from one line to another: whoever looks finds one of the two, whole, or none.
#[test]
fn an_alias_that_changes_hands_leads_to_one_of_the_two() {
    explore(|| {
        let (table, quiescence) = (aliased(2, BUCKETS), Quiescence::new());
        let mut owner = table.owner(SHARD, &quiescence);
        let [[alias, before], [_, after], _] = *ALIKE;
        let slot = insert([alias, before], &mut owner).unwrap();
        let (readers_table, mut reader) = (Arc::clone(&table), quiescence.reader());
        let reads = thread::spawn(move || {
            reader.pass();
            if let Some(line) = readers_table.find_alias(SHARD, alias) {
                read(&readers_table, line, [alias, readers_table.key(line)]);
            }
        });
        owner.remove(slot);
        owner.reclaim();
        insert([alias, after], &mut owner).unwrap();
        assert!(table.find_alias(SHARD, alias).is_some_and(|line| table.key(line) == after));
        reads.join().unwrap();
    });
}

/// By its key it could be found before there was no place for its alias.
#[test]
fn a_line_whose_alias_was_refused_is_left_as_it_is_for_a_grace() {
    explore(|| {
        let (table, quiescence) = (aliased(1, 2), Quiescence::new());
        let mut owner = table.owner(SHARD, &quiescence);
        // All places but one.
        for number in 1..16 {
            table.index.writer(SHARD).link(&table.index.spot(SHARD, Hash(number)), LineIndex(99)).unwrap();
        }
        let (readers_table, mut reader) = (Arc::clone(&table), quiescence.reader());
        let reads = thread::spawn(move || {
            reader.pass();
            if let Some(line) = readers_table.find(SHARD, &ALIKE[0][1]) {
                read(&readers_table, line, ALIKE[0]);
            }
        });
        assert_eq!(insert(ALIKE[0], &mut owner), Err(InsertError::Crowded));
        let again = insert(ALIKE[1], &mut owner);
        assert!(matches!(again, Err(InsertError::Crowded | InsertError::Full)), "{again:?}");
        reads.join().unwrap();
    });
}
