//! Lines that are found by an alias too, while an owner inserts and removes others: two threads that look, one that owns.
//!
//! Some lines never leave: neither by their key nor by their alias may a look-up miss them, whatever moves around them. Of all
//! others whatever is found is whole, and stays so until the reader passes. `FLOWTABLE_LOOKUPS` says how many look-ups.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use flowtable::{
    HashKey, InsertError, LineIndex, LineValue, Owner, Quiescence, ShardIndex, SlotIndex, Table,
};
use hashbrown::HashMap;
use zerocopy::FromBytes;

const SHARD: ShardIndex = ShardIndex(0);
const SLOTS: u32 = 1 << 12;
const FILL: u32 = SLOTS / 100 * 92;

/// Keys, not all of them there at once. The first ones never leave.
const KEYS: u64 = 2 * SLOTS as u64;
const STABLE: u64 = SLOTS as u64 / 4;

const READERS: u64 = 2;

/// | alias, 8 | a word that says whose it is, 8 | what readers count up, 8 |
#[derive(FromBytes)]
#[repr(C)]
struct Named {
    alias: AtomicU64,
    word: AtomicU64,
    seen: AtomicU64,
}

impl LineValue<u64> for Named {
    const HAS_ALIAS: bool = true;

    /// Made of the key too, as a mapping's is of its protocol.
    fn alias(&self, key: &u64) -> u64 {
        self.alias.load(Ordering::Relaxed) ^ key
    }
}

type Lines = Table<u64, Named, 1>;

fn alias(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

struct Random(u64);

impl Random {
    /// xorshift: fast, and the same in every run.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}

fn insert(owner: &mut Owner<u64, Named, 1>, key: u64) -> Result<SlotIndex, InsertError> {
    owner.insert([key], 0, |[line]| {
        line.alias.store(alias(key) ^ key, Ordering::Relaxed);
        line.word.store(!key, Ordering::Relaxed);
        line.seen.store(0, Ordering::Relaxed);
    })
}

/// A line that was found for a key is that key's, whole.
fn read(table: &Lines, line: LineIndex, key: u64) {
    let value = table.value(line);
    let said = (table.key(line), value.alias(&key), value.word.load(Ordering::Relaxed));
    assert_eq!(said, (key, alias(key), !key), "torn, or another's");
    value.seen.fetch_add(1, Ordering::Relaxed);
}

/// Look-ups in turns of 32, each turn's answers read once more at its end.
fn look_up(table: &Lines, quiescence: &Arc<Quiescence>, lookups: u64, mut random: Random) -> u64 {
    let (mut reader, mut found) = (quiescence.reader(), 0);
    for _ in 0..lookups / 32 {
        let mut held = Vec::with_capacity(32);
        for _ in 0..32 {
            let most = [STABLE, KEYS][random.below(2) as usize];
            let key = random.below(most);
            let line = match random.below(2) {
                0 => table.find(SHARD, &key),
                _ => table.find_alias(SHARD, alias(key)),
            };
            assert!(line.is_some() || key >= STABLE, "a line that never leaves was not found");
            held.extend(line.map(|line| (line, key)));
        }
        held.iter().chain(&held).for_each(|(line, key)| read(table, *line, *key));
        found += held.len() as u64;
        reader.pass();
    }
    found
}

/// Inserts and removes until the readers are done. Returns how many have come.
fn churn(mut owner: Owner<u64, Named, 1>, slots: &mut HashMap<u64, SlotIndex>, is_done: &AtomicBool) -> u64 {
    let (mut random, mut come) = (Random(7), 0);
    while !is_done.load(Ordering::Relaxed) {
        let key = STABLE + random.below(KEYS - STABLE);
        if let Some(slot) = slots.remove(&key) {
            assert_eq!(owner.remove(slot), [key]);
        } else if owner.len() < FILL {
            match insert(&mut owner, key) {
                Ok(slot) => _ = slots.insert(key, slot),
                // Slots wait for their grace.
                Err(InsertError::Full | InsertError::Crowded) => thread::yield_now(),
                Err(error) => panic!("{error:?}"),
            }
            come += 1;
        }
        let (slot, table) = (slots.get(&key), owner.table());
        assert_eq!(table.find_alias(SHARD, alias(key)), slot.map(|slot| table.line_of(*slot, 0)));
        owner.reclaim();
    }
    come
}

#[test]
fn what_never_leaves_is_found_by_key_and_alias_beside_an_owner() {
    let lookups: u64 = std::env::var("FLOWTABLE_LOOKUPS").map_or(1_000_000, |count| count.parse().unwrap());
    let table = Arc::new(Lines::anonymous(1, SLOTS, HashKey([7, 11])));
    let quiescence = Quiescence::new();
    let mut owner = table.owner(SHARD, &quiescence);
    let mut slots = HashMap::new();
    for key in 0..KEYS {
        if owner.len() < FILL {
            slots.insert(key, insert(&mut owner, key).unwrap());
        }
    }
    let is_done = AtomicBool::new(false);
    let (found, come) = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let (table, quiescence) = (&*table, &quiescence);
                scope.spawn(move || look_up(table, quiescence, lookups / READERS, Random(reader + 1)))
            })
            .collect();
        let owns = scope.spawn(|| churn(owner, &mut slots, &is_done));
        let found: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        is_done.store(true, Ordering::Relaxed);
        (found, owns.join().unwrap())
    });
    assert!(found > lookups / 2 && come > lookups / 1_000, "{found} found while {come} came");
}
