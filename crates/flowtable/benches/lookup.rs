//! What a lookup costs: `cargo bench -p flowtable`.
//!
//! Sessions of two 64-byte lines, as NAT has them; keys in fresh random order. Looked up in three ways:
//!
//! - *chained*: one by one, each key known only when the last one's value is there, as when a packet is worked on to
//!   its end before the next;
//! - *single*: one by one, but the keys do not depend on each other, so that the processor runs ahead by itself;
//! - *burst*: 32 at once.
//!
//! The three take turns within each round, so that a noisy neighbour disturbs them alike; printed are the medians of
//! the rounds, and of the rounds' ratios to the burst. The first line is the machine's memory: figures taken while it
//! is slow are worth little. With `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` the table lies in huge pages where the
//! kernel has them.

use std::hint::black_box;
use std::time::Instant;

use arrayvec::ArrayVec;
use flowtable::{HashKey, LineIndex, Table};

type FlowTable = Table<[u64; 2], [u64; 6], 2>;

const BURST: usize = 32;
const ROUNDS: usize = 15;
const LOOKUPS: usize = 1 << 20;

fn main() {
    println!("dependent reads over 64 MB: {:.0} ns each", memory_probe());
    println!("           |          ns per key of             | ratio to burst  |  ns per slot");
    println!("  sessions | chained  single   burst  not there | chained  single | insert   sweep");
    for sessions in [1_000, 64_000, 1_000_000, 4_000_000] {
        measure(sessions);
    }
}

fn measure(sessions: u32) {
    let mut table = FlowTable::new(sessions, HashKey([3, 4]));
    let insert = nanoseconds(sessions as usize, || {
        for session in 0..sessions {
            let [outbound, inbound] = [key(2 * session), key(2 * session + 1)];
            _ = black_box(table.insert([outbound, inbound], [[1; 6]; 2], 1_000_000));
        }
    });
    assert_eq!(table.len(), sessions);

    let mut random = Random(sessions);
    let rounds: [_; ROUNDS] = std::array::from_fn(|_| {
        // Keys are made outside the clock, as a parser would have made them; read in order, they cost little.
        let keys: Vec<_> = (0..LOOKUPS).map(|_| Some(key(random.below(2 * sessions)))).collect();
        let absent: Vec<_> = (0..LOOKUPS).map(|_| Some(key(2 * sessions + random.below(1 << 30)))).collect();
        let chained = nanoseconds(LOOKUPS, || chained(&table, &keys));
        let single = nanoseconds(LOOKUPS, || single(&table, &keys));
        let burst = nanoseconds(LOOKUPS, || burst(&table, &keys));
        let miss = nanoseconds(LOOKUPS, || burst_of_absent(&table, &absent));
        [chained, single, burst, miss, chained / burst, single / burst]
    });
    let sweep = nanoseconds(sessions as usize, || {
        let mut due = ArrayVec::new();
        (0..sessions.div_ceil(64)).for_each(|_| table.sweep(0, 64, &mut due));
        assert!(due.is_empty());
    });
    let [chained, single, burst, miss, chained_ratio, single_ratio] =
        std::array::from_fn(|column| median(rounds.map(|round| round[column])));
    println!(
        "{sessions:>10} | {chained:>7.1} {single:>7.1} {burst:>7.1} {miss:>10.1} \
         | {chained_ratio:>7.2} {single_ratio:>7.2} | {insert:>6.0} {sweep:>7.2}"
    );
}

fn chained(table: &FlowTable, keys: &[Option<[u64; 2]>]) {
    let mut value = 1;
    for i in 0..keys.len() {
        // Every value is 1: the sum is `i`, but the processor cannot know before it has the value.
        let key = keys[(i as u64 + value - 1) as usize];
        value = key.and_then(|key| table.find(&key)).map_or(0, |line| table.value(line)[0]);
    }
    assert_eq!(black_box(value), 1, "every key is found");
}

fn single(table: &FlowTable, keys: &[Option<[u64; 2]>]) {
    let found = keys.iter().flatten().filter_map(|key| table.find(key));
    black_box(found.map(|line| table.value(line)[0]).sum::<u64>());
}

fn burst(table: &FlowTable, keys: &[Option<[u64; 2]>]) {
    let mut found = [None; BURST];
    let mut sum = 0;
    for keys in keys.chunks(BURST) {
        table.find_burst(keys, &mut found);
        sum += found.iter().flatten().map(|&line: &LineIndex| table.value(line)[0]).sum::<u64>();
    }
    assert_eq!(black_box(sum), keys.len() as u64, "every key is found");
}

fn burst_of_absent(table: &FlowTable, keys: &[Option<[u64; 2]>]) {
    let mut found = [None; BURST];
    for keys in keys.chunks(BURST) {
        table.find_burst(keys, &mut found);
        assert!(black_box(&found).iter().all(Option::is_none));
    }
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
