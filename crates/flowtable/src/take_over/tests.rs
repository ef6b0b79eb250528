//! Two ways to leave a mess: killed between any two words that are published, and bytes that changed by themselves.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::hash::Hasher;
use crate::owned::kill;
use crate::sync::{AtomicU64, Ordering};
use crate::{Carver, HashKey, InsertError, LineValue, Owner, Quiescence, Region};

const SHARDS: u8 = 2;

/// A session: two keys, by either of which it is found, whatever its lines are.
trait Session<const N: usize>: LineValue<u64> + Sized + 'static {
    fn open(owner: &mut Owner<u64, Self, N>, session: u64) -> Result<SlotIndex, InsertError>;

    fn is_sound(keys: [u64; N], values: [&Self; N]) -> bool;

    /// What is found by both keys.
    fn found(table: &Table<u64, Self, N>, shard: ShardIndex, session: u64) -> [Option<LineIndex>; 2];

    /// What is to be found.
    fn lines(table: &Table<u64, Self, N>, slot: SlotIndex) -> [LineIndex; 2];
}

/// Two lines, of which each one's value is the other one's key.
impl Session<2> for AtomicU64 {
    fn open(owner: &mut Owner<u64, Self, 2>, session: u64) -> Result<SlotIndex, InsertError> {
        let [one, two] = keys(session);
        owner.insert([one, two], 0, |[first, second]| {
            first.store(two, Ordering::Relaxed);
            second.store(one, Ordering::Relaxed);
        })
    }

    fn is_sound(keys: [u64; 2], values: [&Self; 2]) -> bool {
        values.map(|value| value.load(Ordering::Relaxed)) == [keys[1], keys[0]]
    }

    fn found(table: &Table<u64, Self, 2>, shard: ShardIndex, session: u64) -> [Option<LineIndex>; 2] {
        keys(session).map(|key| table.find(shard, &key))
    }

    fn lines(table: &Table<u64, Self, 2>, slot: SlotIndex) -> [LineIndex; 2] {
        [0, 1].map(|side| table.line_of(slot, side))
    }
}

/// One line, whose alias is the second key, made of the first and of what is written.
#[derive(zerocopy::FromBytes)]
#[repr(transparent)]
struct Named(AtomicU64);

impl LineValue<u64> for Named {
    const HAS_ALIAS: bool = true;

    fn alias(&self, key: &u64) -> u64 {
        (self.0.load(Ordering::Relaxed) ^ key).rotate_right(7)
    }
}

impl Session<1> for Named {
    fn open(owner: &mut Owner<u64, Self, 1>, session: u64) -> Result<SlotIndex, InsertError> {
        let [one, two] = keys(session);
        owner.insert([one], 0, |[line]| line.0.store(two.rotate_left(7) ^ one, Ordering::Relaxed))
    }

    fn is_sound([key]: [u64; 1], [line]: [&Self; 1]) -> bool {
        [key, line.alias(&key)] == keys(key >> 1)
    }

    fn found(table: &Table<u64, Self, 1>, shard: ShardIndex, session: u64) -> [Option<LineIndex>; 2] {
        let [one, two] = keys(session);
        [table.find(shard, &one), table.find_alias(shard, two)]
    }

    fn lines(table: &Table<u64, Self, 1>, slot: SlotIndex) -> [LineIndex; 2] {
        [table.line_of(slot, 0); 2]
    }
}

/// How a region is cut, and what for.
#[derive(Clone, Copy)]
struct Shape {
    slots_per_shard: u32,
    buckets_per_shard: u32,
}

impl Shape {
    fn carve<V: Session<N>, const N: usize>(self, carver: &mut Carver) -> Table<u64, V, N> {
        let hasher = Hasher::new(HashKey([5, 6]));
        Table::carve_with(carver, SHARDS, self.slots_per_shard, hasher, self.buckets_per_shard)
    }

    fn new_region<V: Session<N>, const N: usize>(self) -> Arc<Region> {
        let mut measuring = Carver::measuring();
        self.carve::<V, N>(&mut measuring);
        Region::anonymous(measuring.bytes()).unwrap()
    }

    fn over<V: Session<N>, const N: usize>(self, region: &Arc<Region>) -> Arc<Table<u64, V, N>> {
        Arc::new(self.carve(&mut Carver::over(region)))
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn keys(session: u64) -> [u64; 2] {
    [session << 1, session << 1 | 1]
}

fn take_all_over<V: Session<N>, const N: usize>(table: &Table<u64, V, N>) -> TakenOver {
    let mut all = TakenOver::default();
    for shard in 0..SHARDS {
        let TakenOver { kept, dropped, repaired_entries } = table.take_over(ShardIndex(shard), V::is_sound);
        all.kept += kept;
        all.dropped += dropped;
        all.repaired_entries += repaired_entries;
    }
    all
}

/// The sessions a shard holds, each of which is found by both its keys.
fn sessions<V: Session<N>, const N: usize>(owner: &Owner<u64, V, N>) -> Vec<u64> {
    let table = owner.table();
    let mut sessions: Vec<_> = owner
        .live(SlotIndex(0), usize::MAX)
        .map(|slot| {
            let session = table.key(table.line_of(slot, 0)) >> 1;
            let found = V::found(table, owner.shard(), session);
            assert_eq!(found, V::lines(table, slot).map(Some), "every kept key is found");
            session
        })
        .collect();
    assert_eq!(sessions.len() as u32, owner.len());
    sessions.sort_unstable();
    sessions
}

/// Does with a table all that can be done with it: fills every shard, and empties it to the last entry.
fn wear_out<V: Session<N>, const N: usize>(table: &Arc<Table<u64, V, N>>) {
    let quiescence = Quiescence::new();
    for shard in 0..SHARDS {
        let mut owner = table.owner(ShardIndex(shard), &quiescence);
        let crowded = (0..2 * u64::from(table.slots_per_shard()))
            .filter(|session| V::open(&mut owner, 1 << 40 | session) == Err(InsertError::Crowded))
            .count();
        assert!(crowded > 0 || owner.len() == table.slots_per_shard(), "every slot is there to be used");
        sessions(&owner);
        let live: Vec<_> = owner.live(SlotIndex(0), usize::MAX).collect();
        live.into_iter().for_each(|slot| _ = owner.remove(slot));
        assert!(owner.is_empty());
        for (_, bucket) in table.index.writer(ShardIndex(shard)).buckets() {
            assert!((0..PLACES).all(|place| bucket.entry(place).is_none()), "an entry is left behind");
            assert_eq!(bucket.strays(), 0);
        }
    }
    assert!(table.is_empty());
}

/// What is known at a moment in the life of the process that will be killed.
#[derive(Default)]
struct Known {
    /// Sessions of each shard that nobody is working on.
    stable: [Vec<u64>; SHARDS as usize],
    /// The shard and the session in work.
    in_work: (usize, u64),
    kills: u32,
    dropped: u32,
    repaired: u32,
}

/// The next process: takes a copy of the region over, finds all it must and nothing it must not.
fn survive<V: Session<N>, const N: usize>(
    shape: Shape,
    region: &Region,
    known: &mut Known,
    is_thorough: bool,
) {
    let table = shape.over::<V, N>(&region.copy());
    let taken_over = take_all_over(&table);
    for shard in 0..SHARDS {
        let mut found = sessions(&table.owner(ShardIndex(shard), &Quiescence::new()));
        let (shard_in_work, session_in_work) = known.in_work;
        if shard_in_work == usize::from(shard) {
            found.retain(|session| *session != session_in_work);
        }
        assert_eq!(found, known.stable[usize::from(shard)]);
    }
    if is_thorough {
        assert_eq!(take_all_over(&table), TakenOver { kept: taken_over.kept, ..TakenOver::default() });
        wear_out(&table);
    }
    known.kills += 1;
    known.dropped += taken_over.dropped;
    known.repaired += taken_over.repaired_entries;
}

/// Sessions come and go in an index that is nearly always full, so that entries move; and between any two words that
/// an owner publishes the process is killed.
#[test]
fn a_process_killed_at_any_point_leaves_every_session_that_was_not_in_work() {
    killed_at_any_point::<AtomicU64, 2>();
    killed_at_any_point::<Named, 1>();
}

fn killed_at_any_point<V: Session<N>, const N: usize>() {
    let shape = Shape { slots_per_shard: 60, buckets_per_shard: 14 };
    let region = shape.new_region::<V, N>();
    let table = shape.over::<V, N>(&region);
    let quiescence = Quiescence::new();
    let mut owners = [0, 1].map(|shard| table.owner(ShardIndex(shard), &quiescence));
    let known = Rc::new(RefCell::new(Known::default()));
    let (mut random, mut moved) = (Random(1), 0);
    for round in 0..1_200 {
        let shard = random.below(u64::from(SHARDS)) as usize;
        let owner = &mut owners[shard];
        let witness = {
            let (known, region) = (Rc::clone(&known), Arc::clone(&region));
            // The first rounds fill the table: there is little to see.
            move || {
                if round >= 150 {
                    let known = &mut known.borrow_mut();
                    let is_thorough = known.kills % 64 == 0;
                    survive::<V, N>(shape, &region, known, is_thorough);
                }
            }
        };
        if u64::from(owner.len()) < 50 + random.below(6) {
            let session = random.below(1 << 30);
            known.borrow_mut().in_work = (shard, session);
            let before = known.borrow().kills;
            if kill::at_every_point(witness, || V::open(owner, session)).is_ok() {
                let stable = &mut known.borrow_mut().stable[shard];
                stable.insert(stable.partition_point(|other| *other < session), session);
            }
            // A slot and its entries are at most 12 words; more are published where entries make room.
            moved += u32::from(known.borrow().kills - before > 12);
        } else {
            let stable = known.borrow().stable[shard].clone();
            let session = stable[random.below(stable.len() as u64) as usize];
            let line = table.find(ShardIndex(shard as u8), &keys(session)[0]).unwrap();
            known.borrow_mut().stable[shard].retain(|other| *other != session);
            known.borrow_mut().in_work = (shard, session);
            kill::at_every_point(witness, || owner.remove(table.slot_of(line)));
        }
        kill::at_every_point(|| (), || owner.reclaim());
        assert_eq!(sessions(owner), known.borrow().stable[shard]);
    }
    let known = known.borrow();
    let Known { kills, dropped, repaired, .. } = *known;
    println!("{kills} kills, {dropped} dropped, {repaired} repaired, {moved} insertions that moved entries");
    assert!(kills > 5_000 && dropped > 1_000 && repaired > 1_000 && moved > 100);
}

/// A table with sessions in both shards, some removed again, and the region it lies in.
fn inhabited<V: Session<N>, const N: usize>(shape: Shape) -> (Arc<Region>, [Vec<u64>; 2]) {
    let region = shape.new_region::<V, N>();
    let table = shape.over::<V, N>(&region);
    let quiescence = Quiescence::new();
    let mut owners = [0, 1].map(|shard| table.owner(ShardIndex(shard), &quiescence));
    for session in 0..u64::from(shape.slots_per_shard) * 3 / 2 {
        for owner in &mut owners {
            _ = V::open(owner, session * 977 + u64::from(owner.shard().0));
        }
        if session % 3 == 0 {
            let any = owners[1].live(SlotIndex(0), usize::MAX).next().unwrap();
            owners[1].remove(any);
        }
    }
    (Arc::clone(&region), owners.each_ref().map(sessions))
}

#[test]
fn a_process_that_ended_between_two_operations_leaves_nothing_to_repair() {
    ended_between_two_operations::<AtomicU64, 2>();
    ended_between_two_operations::<Named, 1>();
}

fn ended_between_two_operations<V: Session<N>, const N: usize>() {
    let shape = Shape { slots_per_shard: 500, buckets_per_shard: 130 };
    let (region, before) = inhabited::<V, N>(shape);
    let table = shape.over::<V, N>(&region.copy());
    let kept = before.iter().map(|sessions| sessions.len() as u32).sum();
    assert_eq!(take_all_over(&table), TakenOver { kept, dropped: 0, repaired_entries: 0 });
    assert_eq!(table.len(), kept);
    for (shard, before) in before.iter().enumerate() {
        assert_eq!(sessions(&table.owner(ShardIndex(shard as u8), &Quiescence::new())), *before);
    }
    wear_out(&table);
}

#[test]
fn a_takeover_that_was_killed_is_done_again() {
    taken_over_twice::<AtomicU64, 2>();
    taken_over_twice::<Named, 1>();
}

fn taken_over_twice<V: Session<N>, const N: usize>() {
    let shape = Shape { slots_per_shard: 60, buckets_per_shard: 18 };
    let (region, before) = inhabited::<V, N>(shape);
    let mut random = Random(2);
    for _ in 0..40 {
        let torn = region.copy();
        (0..8).for_each(|_| flip(&torn, random.below(torn.bytes().len() as u64 * 8)));
        let expected = {
            let table = shape.over::<V, N>(&torn.copy());
            take_all_over(&table);
            [0, 1].map(|shard| sessions(&table.owner(ShardIndex(shard), &Quiescence::new())))
        };
        let table = shape.over::<V, N>(&torn);
        let (killed, before) = (Arc::clone(&torn), before.clone());
        let witness = move || {
            let table = shape.over::<V, N>(&killed.copy());
            take_all_over(&table);
            for shard in 0..SHARDS {
                let kept = sessions(&table.owner(ShardIndex(shard), &Quiescence::new()));
                assert!(kept.iter().all(|session| before[usize::from(shard)].contains(session)));
                assert_eq!(kept, expected[usize::from(shard)]);
            }
        };
        assert!(kill::at_every_point(witness, || take_all_over(&table)).kept > 0);
    }
}

/// Flips one bit.
fn flip(region: &Region, bit: u64) {
    region.bytes()[bit as usize / 8].fetch_xor(1 << (bit % 8), Ordering::Relaxed);
}

/// Every bit of a small table's region, one at a time.
#[test]
fn a_flipped_bit_costs_one_session_at_most() {
    flipped::<AtomicU64, 2>();
    flipped::<Named, 1>();
}

fn flipped<V: Session<N>, const N: usize>() {
    let shape = Shape { slots_per_shard: 12, buckets_per_shard: 4 };
    let (region, before) = inhabited::<V, N>(shape);
    let mut cost = 0;
    let bits = region.bytes().len() as u64 * 8;
    for bit in 0..bits {
        let torn = region.copy();
        flip(&torn, bit);
        let table = shape.over::<V, N>(&torn);
        take_all_over(&table);
        let mut lost = 0;
        for (shard, before) in before.iter().enumerate() {
            let kept = sessions(&table.owner(ShardIndex(shard as u8), &Quiescence::new()));
            assert!(kept.iter().all(|session| before.contains(session)), "bit {bit}: nothing is made up");
            lost += before.len() - kept.len();
        }
        assert!(lost <= 1, "bit {bit}: {lost} sessions");
        cost += lost;
        if bit % 16 == 0 {
            wear_out(&table);
        }
    }
    println!("{cost} of {bits} bits cost a session");
}

/// From a few wrong bytes to nothing but noise.
#[test]
fn no_bytes_whatever_make_a_table_that_panics() {
    any_bytes::<AtomicU64, 2>();
    any_bytes::<Named, 1>();
}

fn any_bytes<V: Session<N>, const N: usize>() {
    let shape = Shape { slots_per_shard: 70, buckets_per_shard: 22 };
    let (region, _) = inhabited::<V, N>(shape);
    let mut random = Random(3);
    for round in 0..1_500 {
        let torn = region.copy();
        let bytes = torn.bytes();
        for _ in 0..1 << (round % 15) {
            let place = random.below(bytes.len() as u64) as usize;
            // All zeros and all ones are what bytes are made of when they are wrong.
            let value = [0, 0xff, random.below(256) as u8][random.below(3) as usize];
            bytes[place].store(value, Ordering::Relaxed);
        }
        let table = shape.over::<V, N>(&torn);
        take_all_over(&table);
        for shard in 0..SHARDS {
            sessions(&table.owner(ShardIndex(shard), &Quiescence::new()));
        }
        wear_out(&table);
    }
}

#[test]
fn what_is_refused_is_dropped_and_its_slot_is_free() {
    refused::<AtomicU64, 2>();
    refused::<Named, 1>();
}

fn refused<V: Session<N>, const N: usize>() {
    let shape = Shape { slots_per_shard: 60, buckets_per_shard: 22 };
    let (region, before) = inhabited::<V, N>(shape);
    let table = shape.over::<V, N>(&region.copy());
    let is_even = |keys: [u64; N], _: [&V; N]| keys[0] >> 1 & 1 == 0;
    for (shard, before) in before.iter().enumerate() {
        let shard = ShardIndex(shard as u8);
        let taken_over = table.take_over(shard, is_even);
        let even: Vec<_> = before.iter().copied().filter(|session| session % 2 == 0).collect();
        let dropped = before.len() - even.len();
        assert_eq!((taken_over.kept as usize, taken_over.dropped as usize), (even.len(), dropped));
        assert_eq!(sessions(&table.owner(shard, &Quiescence::new())), even);
    }
    wear_out(&table);
}

#[test]
#[should_panic(expected = "a shard has one owner")]
fn a_shard_in_use_is_not_taken_over() {
    let shape = Shape { slots_per_shard: 4, buckets_per_shard: 4 };
    let table = shape.over::<AtomicU64, 2>(&shape.new_region::<AtomicU64, 2>());
    let _owner = table.owner(ShardIndex(0), &Quiescence::new());
    take_all_over(&table);
}
