//! What a lookup costs: `cargo bench -p flowtable`.
//!
//! Sessions of two 64-byte lines, as NAT has them; keys in fresh random order. Looked up in three ways:
//!
//! - *chained*: one by one, each key known only when the last one's value is there, as when a packet is worked on to
//!   its end before the next;
//! - *single*: one by one, but the keys do not depend on each other, so that the processor runs ahead by itself;
//! - *burst*: 32 at once;
//!
//! and beside them in a hashbrown map of the same keys, one by one as in *single*: what one would take who wants no table of
//! his own. It is one thread's, and stands still where it grows.
//!
//! Then what it costs to take a table over from a process that was killed, by one thread and by two.
//!
//! The ways take turns within each round, so that a noisy neighbour disturbs them alike; printed are the medians of
//! the rounds, and of the rounds' ratios to the burst. The first line is the machine's memory: figures taken while it
//! is slow are worth little. The table lies in huge pages where the kernel has them.
//! `FLOWTABLE_BENCH=takeover` does only the second part, and up to ten million sessions, which takes 2 GB.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arrayvec::ArrayVec;
use flowtable::{HashKey, LineIndex, Owner, Quiescence, ShardIndex, Table};
use hashbrown::HashMap;

type Value = [AtomicU64; 6];
type FlowTable = Table<[u64; 2], Value, 2>;

/// As many as the gateway has.
const SHARDS: u8 = 16;

const BURST: usize = 32;
const ROUNDS: usize = 15;
const LOOKUPS: usize = 1 << 20;

fn main() {
    let takeover_only = std::env::var("FLOWTABLE_BENCH").is_ok_and(|part| part == "takeover");
    println!("dependent reads over 64 MB: {:.0} ns each", memory_probe());
    if !takeover_only {
        println!(
            "           |               ns per key of                |      ratio to burst      |  ns per slot"
        );
        println!(
            "  sessions | chained  single   burst  not there hashbrown | chained  single hashbrown | insert   sweep"
        );
        for sessions in [1_000, 64_000, 1_000_000, 4_000_000] {
            measure(sessions);
        }
    }
    println!("           | taken over by one thread, by two");
    println!("  sessions | wall ms   processor | wall ms  each one's");
    for sessions in [1_000_000, 10_000_000].into_iter().take(if takeover_only { 2 } else { 1 }) {
        measure_takeover(sessions);
    }
}

/// A table that is full but for what luck leaves free in each shard.
fn filled(table: &Arc<FlowTable>, sessions: u32) -> Vec<Owner<[u64; 2], Value, 2>> {
    let quiescence = Quiescence::new();
    let mut owners: Vec<_> = (0..SHARDS).map(|shard| table.owner(ShardIndex(shard), &quiescence)).collect();
    for session in 0..sessions {
        let keys = [key(2 * session), key(2 * session + 1)];
        let owner = &mut owners[session as usize % usize::from(SHARDS)];
        let filled = owner.insert(keys, 1_000_000, |lines| {
            lines.iter().for_each(|line| line[0].store(1, Ordering::Relaxed));
        });
        _ = black_box(filled);
    }
    assert_eq!(table.len(), sessions);
    owners
}

fn measure(sessions: u32) {
    let table = Arc::new(FlowTable::anonymous(SHARDS, sessions.div_ceil(SHARDS.into()), HashKey([3, 4])));
    let mut owners = Vec::new();
    let insert = nanoseconds(sessions as usize, || owners = filled(&table, sessions));

    let map: HashMap<_, _> = (0..2 * sessions).map(|number| (key(number), [1_u64; 6])).collect();

    let mut random = Random(sessions);
    let rounds: [_; ROUNDS] = std::array::from_fn(|_| {
        // Keys are made outside the clock, as a parser would have made them; read in order, they cost little.
        let there: Vec<_> = (0..LOOKUPS).map(|_| Some(placed(random.below(2 * sessions)))).collect();
        let absent: Vec<_> =
            (0..LOOKUPS).map(|_| Some(placed(2 * sessions + random.below(1 << 30)))).collect();
        let chained = nanoseconds(LOOKUPS, || chained(&table, &there));
        let single = nanoseconds(LOOKUPS, || single(&table, &there));
        let burst = nanoseconds(LOOKUPS, || burst(&table, &there));
        let miss = nanoseconds(LOOKUPS, || burst_of_absent(&table, &absent));
        let hashbrown = nanoseconds(LOOKUPS, || in_map(&map, &there));
        [chained, single, burst, miss, hashbrown, chained / burst, single / burst, hashbrown / burst]
    });
    let sweep = nanoseconds(sessions as usize, || {
        let mut due = ArrayVec::new();
        for owner in &mut owners {
            (0..owner.len().div_ceil(64)).for_each(|_| owner.sweep(0, 64, &mut due));
        }
        assert!(due.is_empty());
    });
    let [chained, single, burst, miss, hashbrown, chained_ratio, single_ratio, hashbrown_ratio] =
        std::array::from_fn(|column| median(rounds.map(|round| round[column])));
    println!(
        "{sessions:>10} | {chained:>7.1} {single:>7.1} {burst:>7.1} {miss:>10.1} {hashbrown:>9.1} \
         | {chained_ratio:>7.2} {single_ratio:>7.2} {hashbrown_ratio:>9.2} | {insert:>6.0} {sweep:>7.2}"
    );
}

/// A session's lines are both read, as the gateway does to see whether they belong together.
fn measure_takeover(sessions: u32) {
    let table = Arc::new(FlowTable::anonymous(SHARDS, sessions.div_ceil(SHARDS.into()), HashKey([3, 4])));
    drop(filled(&table, sessions));
    let is_sound = |_, values: [&Value; 2]| values.iter().all(|value| value[0].load(Ordering::Relaxed) == 1);
    // The sessions kept, and the processor's time.
    let take_over = |shards: std::ops::Range<u8>| {
        let before = processor_ms();
        let kept: u32 = shards.map(|shard| table.take_over(ShardIndex(shard), is_sound).kept).sum();
        (kept, processor_ms() - before)
    };
    let columns = [1, 2].map(|threads| {
        let part = SHARDS / threads;
        let rounds: [_; ROUNDS] = std::array::from_fn(|_| {
            let mut parts = Vec::new();
            let wall = nanoseconds(1_000_000, || {
                parts = std::thread::scope(|scope| {
                    let work = |thread| scope.spawn(move || take_over(thread * part..(thread + 1) * part));
                    let threads: Vec<_> = (0..threads).map(work).collect();
                    threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
                });
            });
            assert_eq!(parts.iter().map(|(kept, _)| kept).sum::<u32>(), sessions);
            [wall, parts.iter().map(|(_, processor)| *processor).fold(0.0, f64::max)]
        });
        [0, 1].map(|column| median(rounds.map(|round| round[column])))
    });
    let [[wall, processor], [wall_of_two, processor_of_two]] = columns;
    println!("{sessions:>10} | {wall:>7.0} {processor:>11.0} | {wall_of_two:>7.0} {processor_of_two:>11.0}");
}

/// How long this thread has run. On a busy machine it says more than a clock.
fn processor_ms() -> f64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    statistics.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e6
}

fn chained(table: &FlowTable, keys: &[Option<Placed>]) {
    let mut value = 1;
    for i in 0..keys.len() {
        // Every value is 1: the sum is `i`, but the processor cannot know before it has the value.
        let key = keys[(i as u64 + value - 1) as usize];
        value = key.and_then(|(shard, key)| table.find(shard, &key)).map_or(0, |line| read(table, line));
    }
    assert_eq!(black_box(value), 1, "every key is found");
}

fn single(table: &FlowTable, keys: &[Option<Placed>]) {
    let found = keys.iter().flatten().filter_map(|(shard, key)| table.find(*shard, key));
    black_box(found.map(|line| read(table, line)).sum::<u64>());
}

fn burst(table: &FlowTable, keys: &[Option<Placed>]) {
    let mut found = [None; BURST];
    let mut sum = 0;
    for keys in keys.chunks(BURST) {
        table.find_burst(keys, &mut found);
        sum += found.iter().flatten().map(|&line: &LineIndex| read(table, line)).sum::<u64>();
    }
    assert_eq!(black_box(sum), keys.len() as u64, "every key is found");
}

fn burst_of_absent(table: &FlowTable, keys: &[Option<Placed>]) {
    let mut found = [None; BURST];
    for keys in keys.chunks(BURST) {
        table.find_burst(keys, &mut found);
        assert!(black_box(&found).iter().all(Option::is_none));
    }
}

fn in_map(map: &HashMap<[u64; 2], [u64; 6]>, keys: &[Option<Placed>]) {
    let found = keys.iter().flatten().filter_map(|(_, key)| map.get(key));
    assert_eq!(black_box(found.map(|value| value[0]).sum::<u64>()), keys.len() as u64, "every key is found");
}

fn read(table: &FlowTable, line: LineIndex) -> u64 {
    table.value(line)[0].load(Ordering::Relaxed)
}

/// A key and the shard it is in.
type Placed = (ShardIndex, [u64; 2]);

fn placed(number: u32) -> Placed {
    (ShardIndex((number / 2 % u32::from(SHARDS)) as u8), key(number))
}

/// Structured like an IPv4 flow: an address of a small subnet, a port, one remote endpoint, a protocol.
fn key(number: u32) -> [u64; 2] {
    [0x0a00_0000_c000_0201 + (u64::from(number >> 10) << 32), u64::from(number & 1023) << 32 | 0x0035_0011]
}

fn memory_probe() -> f64 {
    const WORDS: usize = (64 << 20) / size_of::<u32>();
    // One cycle through all words, in an order no prefetcher guesses (Sattolo's shuffle).
    let mut next: Vec<u32> = (0..WORDS as u32).collect();
    let mut random = Random(1);
    for i in (1..WORDS).rev() {
        next.swap(i, random.below(i as u32) as usize);
    }
    let mut at = 0;
    nanoseconds(1 << 20, || {
        (0..1 << 20).for_each(|_| at = next[at as usize]);
        black_box(at);
    })
}

fn nanoseconds(operations: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / operations as f64
}

fn median(mut values: [f64; ROUNDS]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[ROUNDS / 2]
}

/// A linear congruential generator is random enough for an order of access.
struct Random(u32);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        let word = ((self.0 >> ((self.0 >> 28) + 4)) ^ self.0).wrapping_mul(277_803_737);
        ((u64::from(word ^ (word >> 22)) * u64::from(bound)) >> 32) as u32
    }
}
