//! What the table costs: look-ups in bursts and one by one, insertion and removal; beside it hashbrown with the same keys.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use benches::machine::{Probes, Random};
use benches::measure::{Measured, clocks, summed_up, windows};
use benches::results::Results;
use clap::Args;
use flowtable::{HashKey, LineIndex, Owner, Quiescence, ShardIndex, Table};
use hashbrown::HashMap;
use packet::BURST_FRAMES_MAX;

/// Two lines a session, as the gateway has them.
type Sessions = Table<[u64; 2], Value, 2>;
type Value = [AtomicU64; 6];
/// A key, and the shard it is in.
type Placed = Option<(ShardIndex, [u64; 2])>;

/// As many as the gateway has.
const SHARDS: u8 = 16;
/// Keys of a trace.
const LOOKUPS: usize = 1 << 18;
/// The ratio is that of the best of so many rounds.
const ROUNDS: usize = 9;

/// Clocks a key of full tables, two keys a session, in fresh random order. The ways take turns within each window.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many sessions.
    #[arg(long, value_delimiter = ',', default_value = "1000,64000,1000000,10000000")]
    sessions: Vec<u32>,
    /// In pages of 4 KiB, not of 2 MiB.
    #[arg(long)]
    small_pages: bool,
    /// How often each is measured at most: until ten windows count.
    #[arg(long, default_value_t = 40)]
    windows: usize,
    /// Only this: how often faster a key is found in a burst than alone, each at its best; fails below so much.
    #[arg(long)]
    ratio_min: Option<f64>,
    /// Keeps the rows.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { sessions, small_pages, windows: most, ratio_min, json } = arguments;
    if small_pages {
        rustix::thread::disable_transparent_huge_pages(true)?;
    }
    if let Some(least) = ratio_min {
        return sessions.into_iter().try_for_each(|sessions| ratio(sessions, least));
    }
    let mut results = Results::begin(json.as_deref())?;
    let probes = Probes::new();
    let pages = if small_pages { ", small pages" } else { "" };
    for sessions in sessions {
        let name = format!("{sessions} sessions{pages}");
        let (table, owners, inserted) = filled(sessions)?;
        let map: HashMap<_, _> = (0..2 * sessions).map(|number| (key(number), [1_u64; 6])).collect();
        let mut random = Random::new(u64::from(sessions));
        let all = windows(&name, most, || {
            let keys = keys(&mut random, 0, 2 * sessions);
            let absent = keys_absent(&mut random, sessions);
            Measured::of(&probes, || {
                let timed = [
                    ("in bursts", timed(|| in_bursts(&table, &keys, true))),
                    ("one by one", timed(|| one_by_one(&table, &keys))),
                    ("one after another", timed(|| one_after_another(&table, &keys))),
                    ("absent, in bursts", timed(|| in_bursts(&table, &absent, false))),
                    ("hashbrown", timed(|| in_map(&map, &keys))),
                ];
                Ok(timed.map(|(way, ns)| (way, clocks(vec![ns]))).into())
            })
        })?;
        let burst = |mut one: Measured| {
            let value = one.part("in bursts").unwrap_or(f64::NAN);
            one.parts.retain(|(way, _)| *way != "in bursts");
            one.valued(value)
        };
        let all: Vec<_> = all.into_iter().map(burst).collect();
        drop(map);
        let removed = emptied(&table, owners, sessions);
        let [inserted, removed] = [inserted, removed].map(|ns| clocks(vec![ns])[0]);
        let row = summed_up("table", format!("{name}: a key found in a burst"), "clocks", &all);
        results.add(row.with("inserted, a session", inserted).with("removed, a session", removed))?;
    }
    Ok(())
}

/// How often faster bursts are, each way at its best, so that whoever else is at work does not matter much.
fn ratio(sessions: u32, least: f64) -> anyhow::Result<()> {
    let (table, _owners, _) = filled(sessions)?;
    let mut random = Random::new(1);
    let mut best: BTreeMap<_, f64> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let keys = keys(&mut random, 0, 2 * sessions);
        let mut note = |way, ns| {
            let of = best.entry(way).or_insert(f64::MAX);
            *of = of.min(ns);
        };
        note("burst", timed(|| in_bursts(&table, &keys, true)));
        note("after", timed(|| one_after_another(&table, &keys)));
        note("alone", timed(|| one_by_one(&table, &keys)));
    }
    let of = |way| best.get(way).copied().unwrap_or(f64::NAN);
    let (after, alone) = (of("after") / of("burst"), of("alone") / of("burst"));
    println!(
        "{sessions} sessions: {:.1} ns a key in bursts; one by one {alone:.2} times that, one after another {after:.2} times",
        of("burst")
    );
    ensure!(
        after >= least,
        "a burst is {after:.2} times as fast as one key after another, not {least} times"
    );
    Ok(())
}

type Owners = Vec<Owner<[u64; 2], Value, 2>>;

/// A table that is full but for what luck leaves free in each shard, and how long a session took to insert.
fn filled(sessions: u32) -> anyhow::Result<(Arc<Sessions>, Owners, f64)> {
    let table = Arc::new(Sessions::anonymous(SHARDS, sessions.div_ceil(SHARDS.into()), HashKey([3, 4])));
    let quiescence = Quiescence::new();
    let mut owners: Vec<_> = (0..SHARDS).map(|shard| table.owner(ShardIndex(shard), &quiescence)).collect();
    let start = Instant::now();
    for session in 0..sessions {
        let keys = [key(2 * session), key(2 * session + 1)];
        let owner = &mut owners[session as usize % usize::from(SHARDS)];
        let inserted =
            owner.insert(keys, 1_000_000, |lines| lines.iter().for_each(|line| line[0].store(1, Relaxed)));
        inserted.ok().context("a session was refused")?;
    }
    let ns = start.elapsed().as_nanos() as f64 / f64::from(sessions);
    ensure!(table.len() == sessions, "{} of {sessions} sessions are there", table.len());
    Ok((table, owners, ns))
}

/// Takes all sessions out, in random order, and returns how long one took.
fn emptied(table: &Sessions, mut owners: Owners, sessions: u32) -> f64 {
    let mut order: Vec<_> = (0..sessions).collect();
    let mut random = Random::new(1);
    (1..order.len()).rev().for_each(|index| order.swap(index, random.below(index + 1)));
    timed_for(order.len(), || {
        for session in order {
            let (shard, key) = (session % u32::from(SHARDS), key(2 * session));
            if let Some(line) = table.find(ShardIndex(shard as u8), &key) {
                owners[shard as usize].remove(table.slot_of(line));
            }
        }
    })
}

fn in_bursts(table: &Sessions, keys: &[Placed], are_there: bool) {
    let mut found = [None; BURST_FRAMES_MAX];
    let mut sum = 0;
    for keys in keys.chunks(BURST_FRAMES_MAX) {
        table.find_burst(keys, &mut found);
        sum += found[..keys.len()].iter().flatten().map(|line| read(table, *line)).sum::<u64>();
    }
    assert_eq!(black_box(sum), if are_there { keys.len() as u64 } else { 0 });
}

/// Keys do not depend on each other: the processor runs ahead by itself.
fn one_by_one(table: &Sessions, keys: &[Placed]) {
    let found = keys.iter().flatten().filter_map(|(shard, key)| table.find(*shard, key));
    assert_eq!(black_box(found.map(|line| read(table, line)).sum::<u64>()), keys.len() as u64);
}

/// Each key is known when the last one's value is there, as where a packet is worked on to its end before the next.
fn one_after_another(table: &Sessions, keys: &[Placed]) {
    let mut value = 1;
    for at in 0..keys.len() {
        // Every value is 1, but the processor cannot know before it has the value.
        let key = keys[(at as u64 + value - 1) as usize];
        value = key.and_then(|(shard, key)| table.find(shard, &key)).map_or(0, |line| read(table, line));
    }
    assert_eq!(black_box(value), 1);
}

fn in_map(map: &HashMap<[u64; 2], [u64; 6]>, keys: &[Placed]) {
    let found = keys.iter().flatten().filter_map(|(_, key)| map.get(key));
    assert_eq!(black_box(found.map(|value| value[0]).sum::<u64>()), keys.len() as u64);
}

fn read(table: &Sessions, line: LineIndex) -> u64 {
    table.value(line)[0].load(Relaxed)
}

fn keys(random: &mut Random, from: u32, count: u32) -> Vec<Placed> {
    (0..LOOKUPS).map(|_| Some(placed(from + random.below(count as usize) as u32))).collect()
}

fn keys_absent(random: &mut Random, sessions: u32) -> Vec<Placed> {
    keys(random, 2 * sessions, 1 << 30)
}

fn placed(number: u32) -> (ShardIndex, [u64; 2]) {
    (ShardIndex((number / 2 % u32::from(SHARDS)) as u8), key(number))
}

/// Structured like an IPv4 flow: an address of a small subnet, a port, one remote endpoint, a protocol.
fn key(number: u32) -> [u64; 2] {
    [0x0a00_0000_c000_0201 + (u64::from(number >> 10) << 32), u64::from(number & 1023) << 32 | 0x0035_0011]
}

/// Nanoseconds a key.
fn timed(work: impl FnOnce()) -> f64 {
    timed_for(LOOKUPS, work)
}

fn timed_for(operations: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / operations as f64
}
