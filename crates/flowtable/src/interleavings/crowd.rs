//! A small table that is as good as full, two readers and an owner, in random schedules: entries are displaced along
//! paths, insertions are refused half way, slots go round.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use shuttle::rand::{Rng, thread_rng};

use super::*;

/// With two lines each they are more than the index has places for.
const SLOTS: u32 = 18;

/// The keys of twice as many slots as there are. Those of the first eight never leave.
const IDENTITIES: usize = 36;
const STABLE: usize = 8;

/// Keys looked up together.
const BURST: usize = 6;

/// Of each thread.
const TURNS: usize = 5;

fn keys(identity: usize) -> Keys {
    [identity as u64, identity as u64 | 1 << 40]
}

/// What the owner did with each identity: 0 absent, 1 comes, 2 present, 3 leaves, 4 absent, and so on. No atomics of
/// the scheduler's: reading and writing them is no step of its own.
struct States([AtomicU32; IDENTITIES]);

impl States {
    fn get(&self, identity: usize) -> u32 {
        self.0[identity].load(Ordering::Relaxed)
    }

    fn begin(&self, identity: usize) {
        self.0[identity].fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self, identity: usize, is_present: bool) {
        let state = self.get(identity);
        let next = state.next_multiple_of(4) - if is_present && state % 4 == 1 { 2 } else { 0 };
        self.0[identity].store(next, Ordering::Relaxed);
    }
}

/// A turn of a reader: some keys, each answer held against the states before and after, and read twice.
fn look_up(table: &Table, states: &States) {
    // Mostly those that never leave, for it is them that are displaced; one that comes or leaves right now; any.
    let changing = (0..IDENTITIES).find(|&identity| states.get(identity) % 2 == 1);
    let any = |from: usize, to: usize| thread_rng().gen_range(from..to);
    let wanted: [usize; BURST] = std::array::from_fn(|i| match i {
        0 => changing.unwrap_or(STABLE),
        1 => any(STABLE, IDENTITIES),
        _ => any(0, STABLE),
    });
    let wanted = wanted.map(|identity| (identity, any(0, 2)));
    let before = wanted.map(|(identity, _)| states.get(identity));
    let mut found = [None; BURST];
    let sought = wanted.map(|(identity, side)| Some((SHARD, keys(identity)[side])));
    if any(0, 4) == 0 {
        table.find_burst(&sought, &mut found);
    } else {
        // One by one there is less between the two buckets of a key, which short moments need.
        found = sought.map(|sought| sought.and_then(|(shard, key)| table.find(shard, &key)));
    }
    let after = wanted.map(|(identity, _)| states.get(identity));
    for _ in 0..2 {
        for (found, (identity, _)) in found.iter().zip(wanted) {
            match found {
                Some(line) => read(table, *line, keys(identity)),
                None => assert!(identity >= STABLE, "a key that never left was not found"),
            }
        }
    }
    for (i, (identity, _)) in wanted.into_iter().enumerate() {
        if before[i] == after[i] && after[i] % 2 == 0 {
            assert_eq!(found[i].is_some(), after[i] % 4 == 2, "identity {identity}");
        }
    }
}

/// Removes one or inserts one, as often the one as the other.
fn change(owner: &mut Owner<u64, Value, 2>, states: &States, slots: &mut [Option<SlotIndex>; IDENTITIES]) {
    let is_to_leave = thread_rng().gen_bool(0.5);
    let fits = |identity: &usize| slots[*identity].is_some() == is_to_leave;
    let from = thread_rng().gen_range(STABLE..IDENTITIES);
    let Some(identity) = (from..IDENTITIES).chain(STABLE..from).find(fits) else { return };
    states.begin(identity);
    if let Some(slot) = slots[identity].take() {
        assert_eq!(owner.remove(slot), keys(identity));
    } else {
        slots[identity] = match insert(owner, keys(identity)) {
            Ok(slot) => Some(slot),
            Err(InsertError::Full | InsertError::Crowded) => None,
            Err(error) => unreachable!("{error:?}"),
        };
    }
    states.end(identity, slots[identity].is_some());
    let found = owner.table().find(SHARD, &keys(identity)[0]);
    assert_eq!(found.is_some(), slots[identity].is_some(), "the owner's own lookup");
}

#[test]
fn two_readers_agree_with_the_owner_of_a_crowded_table() {
    explore(|| {
        let (table, quiescence) = (table(SLOTS), Quiescence::new());
        let mut owner = table.owner(SHARD, &quiescence);
        let states = Arc::new(States(std::array::from_fn(|_| AtomicU32::new(0))));
        let mut slots = [None; IDENTITIES];
        for identity in 0..SLOTS as usize {
            states.begin(identity);
            slots[identity] = insert(&mut owner, keys(identity)).ok();
            assert!(slots[identity].is_some() || identity >= STABLE);
            states.end(identity, slots[identity].is_some());
        }
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (table, states, mut reader) =
                    (Arc::clone(&table), Arc::clone(&states), quiescence.reader());
                thread::spawn(move || {
                    for _ in 0..TURNS {
                        look_up(&table, &states);
                        reader.pass();
                    }
                })
            })
            .collect();
        for _ in 0..TURNS {
            (0..4).for_each(|_| change(&mut owner, &states, &mut slots));
            owner.reclaim();
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}
