//! The table against a slow and obvious model, over random operations from a seed.
//!
//! The model is a hash map and a list. Every answer of the table is compared, and now and then everything it holds.
//! Phases of growth and decline fill the table to the last slot and empty it again, while the clock runs over the
//! wrap of its 32 bits. One thread plays the owners of all shards; `concurrent` has many. Lines of some tables are found
//! by an alias too, which is one of the words of their value.
//!
//! `FLOWTABLE_MODEL_OPERATIONS=100000000 cargo test -p flowtable --release --test model` does it for longer.
#![allow(clippy::unwrap_used)] // A test from end to end, helpers included.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;
use flowtable::{
    HashKey, InsertError, Key, LineIndex, LineValue, Owner, Quiescence, SWEEP_DUE_MAX, ShardIndex, SlotIndex,
    Table,
};
use hashbrown::HashMap;
use zerocopy::FromBytes;

/// What the table keeps for each line: the words of a [`Value`].
type Words = [AtomicU64; 6];

type Value = [u64; 6];

/// The same, and the first word is the line's alias.
#[derive(FromBytes)]
#[repr(transparent)]
struct Named(Words);

impl<K> LineValue<K> for Named {
    const HAS_ALIAS: bool = true;

    fn alias(&self, _key: &K) -> u64 {
        self.0[0].load(Ordering::Relaxed)
    }
}

/// What a table of the test keeps.
trait Kept<K>: LineValue<K> {
    fn words(&self) -> &Words;
}

impl<K> Kept<K> for Words {
    fn words(&self) -> &Words {
        self
    }
}

impl<K> Kept<K> for Named {
    fn words(&self) -> &Words {
        &self.0
    }
}

/// Operations of each test, unless the environment says more.
const OPERATIONS: u64 = 400_000;

fn operations() -> u64 {
    std::env::var("FLOWTABLE_MODEL_OPERATIONS").map_or(OPERATIONS, |count| count.parse().unwrap())
}

/// SplitMix64: a seed in, a random-looking sequence out.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Clone)]
struct ModelSlot<K, const N: usize> {
    keys: [K; N],
    values: [Value; N],
    deadline_ms: u32,
}

/// A shard.
struct Model<K, const N: usize> {
    first_slot: u32,
    slots: Vec<Option<ModelSlot<K, N>>>,
    lines: HashMap<K, LineIndex>,
    aliases: HashMap<u64, LineIndex>,
    live: u32,
    slots_max: u32,
    sweep_next: usize,
}

impl<K: Key + std::hash::Hash, const N: usize> Model<K, N> {
    fn new(shard: u8, slots_max: u32) -> Self {
        Self {
            first_slot: u32::from(shard) * slots_max,
            slots: Vec::new(),
            lines: HashMap::new(),
            aliases: HashMap::new(),
            live: 0,
            slots_max,
            sweep_next: 0,
        }
    }

    fn refusal(&self, keys: &[K; N], alias: Option<u64>) -> Option<InsertError> {
        for (side, key) in keys.iter().enumerate() {
            if keys[..side].contains(key) {
                return Some(InsertError::Repeated);
            }
            if let Some(line) = self.lines.get(key) {
                return Some(InsertError::Duplicate(*line));
            }
        }
        if self.live == self.slots_max {
            return Some(InsertError::Full);
        }
        alias.and_then(|alias| self.aliases.get(&alias)).map(|line| InsertError::Duplicate(*line))
    }

    fn slot(&mut self, slot: SlotIndex) -> &mut Option<ModelSlot<K, N>> {
        &mut self.slots[(slot.0 - self.first_slot) as usize]
    }

    fn insert(&mut self, slot: SlotIndex, new: ModelSlot<K, N>, alias: Option<u64>) {
        let number = (slot.0 - self.first_slot) as usize;
        assert!(number < self.slots_max as usize);
        if number == self.slots.len() {
            assert!(self.slots.iter().all(Option::is_some), "a slot that was in use before is used first");
            self.slots.push(None);
        }
        assert!(self.slots[number].is_none(), "a slot in use is given out again");
        for (side, key) in new.keys.iter().enumerate() {
            self.lines.insert(*key, LineIndex(slot.0 * N as u32 + side as u32));
        }
        if let Some(alias) = alias {
            self.aliases.insert(alias, LineIndex(slot.0));
        }
        self.slots[number] = Some(new);
        self.live += 1;
    }

    fn remove(&mut self, slot: SlotIndex) -> ModelSlot<K, N> {
        let old = self.slot(slot).take().unwrap();
        old.keys.iter().for_each(|key| _ = self.lines.remove(key));
        // Where lines have no alias, nothing is there.
        self.aliases.remove(&old.values[0][0]);
        self.live -= 1;
        old
    }

    /// A slot in use at or after a random place.
    fn any(&self, random: &mut Random) -> Option<SlotIndex> {
        let count = self.slots.len();
        let start = random.below(count.max(1) as u64) as usize;
        let slot = (0..count).map(|i| (start + i) % count).find(|slot| self.slots[*slot].is_some())?;
        Some(SlotIndex(self.first_slot + slot as u32))
    }

    fn sweep(&mut self, now_ms: u32, slots: usize) -> Vec<SlotIndex> {
        let mut due = Vec::new();
        for _ in 0..slots.min(self.slots.len()) {
            let passed = |slot: &ModelSlot<K, N>| now_ms.wrapping_sub(slot.deadline_ms) < 1 << 31;
            if self.slots[self.sweep_next].as_ref().is_some_and(passed) {
                if due.len() == SWEEP_DUE_MAX {
                    break;
                }
                due.push(SlotIndex(self.first_slot + self.sweep_next as u32));
            }
            self.sweep_next = (self.sweep_next + 1) % self.slots.len();
        }
        due
    }
}

fn read(words: &Words) -> Value {
    words.each_ref().map(|word| word.load(Ordering::Relaxed))
}

/// Everything a shard holds, against the model, and everything it does not hold.
fn compare<K: Key + std::hash::Hash, V: Kept<K>, const N: usize>(
    owner: &Owner<K, V, N>,
    model: &Model<K, N>,
    all_keys: &[K],
) {
    let table = owner.table();
    assert_eq!((owner.len(), owner.is_empty()), (model.live, model.live == 0));
    for key in all_keys {
        assert_eq!(table.find(owner.shard(), key), model.lines.get(key).copied());
    }
    for alias in 0..all_keys.len() as u64 {
        assert_eq!(table.find_alias(owner.shard(), alias), model.aliases.get(&alias).copied());
    }
    assert_eq!(owner.first_slot().0, model.first_slot);
    let mut listed = Vec::new();
    // All slots of the table, of which the shard has some.
    for from in (0..table.slots_max()).step_by(37) {
        listed.extend(owner.live(SlotIndex(from), 37));
    }
    let live = (model.first_slot..).zip(&model.slots).filter(|(_, slot)| slot.is_some());
    assert_eq!(listed, live.map(|(number, _)| SlotIndex(number)).collect::<Vec<_>>());
    for slot in listed {
        assert_eq!(table.shard_of(slot), owner.shard());
        let expected = model.slots[(slot.0 - model.first_slot) as usize].as_ref().unwrap();
        for side in 0..N {
            let line = table.line_of(slot, side);
            assert_eq!((table.slot_of(line), table.side_of(line)), (slot, side));
            assert!(table.key(line) == expected.keys[side]);
            assert!(table.holds(line, &expected.keys[side]));
            assert_eq!(read(table.value(line).words()), expected.values[side]);
        }
    }
}

fn run<K: Key + std::hash::Hash, V: Kept<K>, const N: usize>(
    seed: u64,
    shards: u8,
    slots_per_shard: u32,
    make_key: impl Fn(u64) -> K,
) {
    let random = &mut Random(seed);
    let hash_key = HashKey([random.next(), random.next()]);
    let table = Arc::new(Table::<K, V, N>::anonymous(shards, slots_per_shard, hash_key));
    let quiescence = Quiescence::new();
    let mut owners: Vec<_> = (0..shards).map(|shard| table.owner(ShardIndex(shard), &quiescence)).collect();
    let mut models: Vec<_> = (0..shards).map(|shard| Model::<K, N>::new(shard, slots_per_shard)).collect();
    // Twice as many keys as lines: an insertion often meets one that is there, and a lookup one that is not. They may
    // be in any shard, and in several.
    let all_keys: Vec<K> = (0..2 * u64::from(slots_per_shard) * N as u64).map(make_key).collect();
    let any_key = |random: &mut Random| all_keys[random.below(all_keys.len() as u64) as usize];
    let mut now_ms = 0u32.wrapping_sub(50_000);
    let mut was_full = false;

    for operation in 0..operations() {
        now_ms = now_ms.wrapping_add(random.below(3) as u32);
        let growing = operation / (u64::from(table.slots_max()) * 25) % 2 == 0;
        let shard = random.below(u64::from(shards)) as usize;
        let (owner, model) = (&mut owners[shard], &mut models[shard]);
        match random.below(100) {
            0..30 => {
                let keys = std::array::from_fn(|_| any_key(random));
                let mut values: [Value; N] = std::array::from_fn(|_| std::array::from_fn(|_| random.next()));
                // Of as many aliases as there are keys.
                values[0][0] %= all_keys.len() as u64;
                let alias = V::HAS_ALIAS.then_some(values[0][0]);
                let deadline_ms = now_ms.wrapping_add(random.below(20_000) as u32);
                let fill = |lines: [&V; N]| {
                    for (line, values) in lines.iter().zip(values) {
                        line.words()
                            .iter()
                            .zip(values)
                            .for_each(|(word, value)| word.store(value, Ordering::Relaxed));
                    }
                };
                match (owner.insert(keys, deadline_ms, fill), model.refusal(&keys, alias)) {
                    (Ok(slot), None) => model.insert(slot, ModelSlot { keys, values, deadline_ms }, alias),
                    (answer, refusal) => {
                        assert_eq!(answer.err(), refusal);
                        was_full |= refusal == Some(InsertError::Full);
                    }
                }
            }
            30..50 => {
                if (!growing || random.below(10) == 0)
                    && let Some(slot) = model.any(random)
                {
                    let keys = owner.remove(slot);
                    assert!(keys == model.remove(slot).keys);
                    assert!(!owner.is_live(slot));
                    assert!(keys.iter().all(|key| table.find(ShardIndex(shard as u8), key).is_none()));
                    assert!(!table.holds(table.line_of(slot, 0), &keys[0]));
                }
            }
            50..70 => {
                let key = any_key(random);
                assert_eq!(table.find(ShardIndex(shard as u8), &key), model.lines.get(&key).copied());
                if V::HAS_ALIAS {
                    let alias = random.below(all_keys.len() as u64);
                    let found = table.find_alias(ShardIndex(shard as u8), alias);
                    assert_eq!(found, model.aliases.get(&alias).copied());
                }
            }
            70..75 => {
                let count = random.below(80);
                let any_shard = |random: &mut Random| ShardIndex(random.below(u64::from(shards)) as u8);
                let keys: Vec<_> = (0..count)
                    .map(|_| (random.below(8) != 0).then(|| (any_shard(random), any_key(random))))
                    .collect();
                // Answers of an earlier burst must not shine through.
                let mut found = vec![Some(LineIndex(u32::MAX)); keys.len()];
                table.find_burst(&keys, &mut found);
                let expected = keys.iter().map(|key| {
                    key.and_then(|(shard, key)| models[usize::from(shard.0)].lines.get(&key).copied())
                });
                assert!(expected.eq(found));
            }
            75..85 => {
                if let Some(slot) = model.any(random) {
                    let (side, word) = (random.below(N as u64) as usize, random.next());
                    // Not the alias, which a line keeps.
                    let place = 1 + word as usize % 5;
                    table.value(table.line_of(slot, side)).words()[place].fetch_xor(word, Ordering::Relaxed);
                    model.slot(slot).as_mut().unwrap().values[side][place] ^= word;
                }
            }
            85..97 => {
                if let Some(slot) = model.any(random) {
                    let deadline_ms = now_ms.wrapping_add(random.below(40_000) as u32).wrapping_sub(10_000);
                    owner.set_deadline(slot, deadline_ms);
                    model.slot(slot).as_mut().unwrap().deadline_ms = deadline_ms;
                }
            }
            _ => {
                let slots = random.below(300) as usize;
                let mut due = ArrayVec::new();
                owner.sweep(now_ms, slots, &mut due);
                assert_eq!(due[..], model.sweep(now_ms, slots)[..]);
                for slot in due {
                    if growing || random.below(4) != 0 {
                        let deadline_ms = now_ms.wrapping_add(30_000);
                        owner.set_deadline(slot, deadline_ms);
                        model.slot(slot).as_mut().unwrap().deadline_ms = deadline_ms;
                    } else {
                        owner.remove(slot);
                        model.remove(slot);
                    }
                }
            }
        }
        // Nobody reads: what was removed is free at once.
        owners[shard].reclaim();
        if operation % 50_000 == 0 {
            owners.iter().zip(&models).for_each(|(owner, model)| compare(owner, model, &all_keys));
            assert_eq!(table.len(), models.iter().map(|model| model.live).sum::<u32>());
        }
    }
    owners.iter().zip(&models).for_each(|(owner, model)| compare(owner, model, &all_keys));
    assert!(was_full && now_ms < 1 << 31, "the test is to fill a shard and to pass the wrap of the clock");
}

/// As keys of IPv4 flows are: addresses and ports of a few hosts in one subnet.
fn key_16_bytes(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&[10, 0, 0, number as u8]);
    key[4..8].copy_from_slice(&[192, 0, 2, 1]);
    key[8..12].copy_from_slice(&((number >> 8) as u32).to_be_bytes());
    key[12] = 17;
    key
}

/// As keys of IPv6 flows are; what differs is far apart.
fn key_48_bytes(number: u64) -> [u64; 6] {
    [0x2001_0db8, number % 16, 0x2001_0db8, 1, number / 16, 6]
}

#[test]
fn one_line_per_slot_with_16_byte_keys() {
    run::<_, Words, 1>(1, 1, 3_000, key_16_bytes);
}

#[test]
fn two_lines_per_slot_with_16_byte_keys() {
    run::<_, Words, 2>(2, 3, 300, key_16_bytes);
}

#[test]
fn four_lines_per_slot_with_16_byte_keys() {
    run::<_, Words, 4>(3, 1, 300, key_16_bytes);
}

#[test]
fn one_line_per_slot_with_48_byte_keys() {
    run::<_, Words, 1>(4, 2, 777, key_48_bytes);
}

#[test]
fn two_lines_per_slot_with_48_byte_keys() {
    run::<_, Words, 2>(5, 1, 1_500, key_48_bytes);
}

#[test]
fn one_line_per_slot_with_16_byte_keys_and_an_alias() {
    run::<_, Named, 1>(6, 3, 500, key_16_bytes);
}

#[test]
fn one_line_per_slot_with_48_byte_keys_and_an_alias() {
    run::<_, Named, 1>(7, 1, 1_500, key_48_bytes);
}
