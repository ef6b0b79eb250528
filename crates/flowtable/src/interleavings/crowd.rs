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

/// A turn of a reader: a burst, each answer held against the states before and after, and read twice.
fn look_up(table: &Table, states: &States) {
    // One that never leaves, one that comes or leaves right now, any two.
    let changing = (0..IDENTITIES).find(|&identity| states.get(identity) % 2 == 1);
    let any = |from: usize, to: usize| thread_rng().gen_range(from..to);
    let wanted =
        [any(0, STABLE), changing.unwrap_or(STABLE), any(STABLE, IDENTITIES), any(STABLE, IDENTITIES)];
    let before = wanted.map(|identity| states.get(identity));
    let mut found = [None; 4];
    table.find_burst(&wanted.map(|identity| Some((SHARD, keys(identity)[identity % 2]))), &mut found);
    let after = wanted.map(|identity| states.get(identity));
    for _ in 0..2 {
        for (i, identity) in wanted.into_iter().enumerate() {
            match found[i] {
                Some(line) => read(table, line, keys(identity)),
                None => assert!(identity >= STABLE, "a key that never left was not found"),
            }
        }
    }
    for i in 0..4 {
        if before[i] == after[i] && after[i] % 2 == 0 {
            assert_eq!(found[i].is_some(), after[i] % 4 == 2, "identity {}", wanted[i]);
        }
    }
}

/// A turn of the owner: removes some, inserts some.
fn change(owner: &mut Owner<u64, Value, 2>, states: &States, slots: &mut [Option<SlotIndex>; IDENTITIES]) {
    for _ in 0..3 {
        let identity = thread_rng().gen_range(STABLE..IDENTITIES);
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
    owner.reclaim();
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
                    for _ in 0..3 {
                        look_up(&table, &states);
                        reader.pass();
                    }
                })
            })
            .collect();
        (0..4).for_each(|_| change(&mut owner, &states, &mut slots));
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}
