use super::*;
use crate::carver::in_own_region;
use crate::hash::Hasher;
use crate::{HashKey, LineIndex};

/// The second of two shards, so that nothing may rest on beginning with bucket 0.
const SHARD: ShardIndex = ShardIndex(1);

fn with_buckets(buckets: u32) -> Index {
    in_own_region(|carver| Index::carve(carver, 2, buckets)).unwrap()
}

fn hasher(seed: u64) -> Hasher {
    Hasher::new(HashKey([seed, !seed]))
}

/// Enters lines 0, 1, 2 ... until one is refused, and returns the spots of those entered.
fn fill(index: &Index, seed: u64) -> Vec<Spot> {
    let hasher = hasher(seed);
    let mut spots = Vec::new();
    loop {
        let line = spots.len() as u32;
        let spot = index.spot(SHARD, hasher.hash_one(&line));
        if index.writer(SHARD).link(&spot, LineIndex(line)).is_err() {
            return spots;
        }
        spots.push(spot);
    }
}

/// Every entry is in one of its two buckets and says truly which, and each bucket counts its strays.
fn assert_consistent(index: &Index, spots: &[Option<Spot>]) {
    let writer = index.writer(SHARD);
    let mut strays = vec![0; 2 * index.bucket_count as usize];
    let mut entries = 0;
    for (number, bucket) in writer.buckets() {
        for entry in (0..PLACES).filter_map(|place| bucket.entry(place)) {
            let spot = spots[entry.line.0 as usize].expect("an entry of a line that is not there");
            let home = if entry.away { writer.other(number, entry.tag) } else { number };
            assert_eq!((home, entry.tag), (spot.home, spot.tag));
            strays[home as usize] += u32::from(entry.away);
            entries += 1;
        }
    }
    assert_eq!(entries, spots.iter().flatten().count());
    for (number, bucket) in writer.buckets() {
        assert_eq!(bucket.strays(), strays[number as usize]);
    }
    let mut neighbours = index.writer(ShardIndex(0)).buckets();
    assert!(neighbours.all(|(_, bucket)| (0..PLACES).all(|place| bucket.entry(place).is_none())));
}

#[test]
fn the_other_bucket_of_the_other_bucket_is_home_and_the_two_differ() {
    for buckets in [2, 4, 6, 10, 1000, 65_536, 300_002] {
        let index = with_buckets(buckets);
        for bits in 0..=u16::MAX {
            let bucket = buckets + u32::from(bits).wrapping_mul(2_654_435_761) % buckets;
            let tag = Tag::new(bits);
            let other = index.writer(SHARD).other(bucket, tag);
            assert!((buckets..2 * buckets).contains(&other));
            assert_ne!(other, bucket);
            assert_eq!(index.writer(SHARD).other(other, tag), bucket);
        }
    }
}

#[test]
fn at_least_95_percent_of_the_places_fill_before_the_first_refusal() {
    for buckets in [1_000, 12_346, 65_536] {
        for seed in 0..100_000 / u64::from(buckets).max(16_000) {
            let index = with_buckets(buckets);
            let spots = fill(&index, seed);
            let full = spots.len() as f64 / (buckets as usize * PLACES) as f64;
            println!("seed {seed}, {buckets} buckets: {:.2} % full", full * 100.0);
            assert!(full >= 0.95, "seed {seed}, {buckets} buckets: {full}");
            for (line, spot) in spots.iter().enumerate() {
                let line = LineIndex(line as u32);
                assert_eq!(index.find(spot, |candidate| candidate == line), Some(line));
            }
            assert_consistent(&index, &spots.into_iter().map(Some).collect::<Vec<_>>());
        }
    }
}

#[test]
fn an_index_made_for_any_number_of_lines_takes_them_all() {
    // Of four buckets, what is left of luck shows only over many seeds.
    let cases = (0..150).chain([1_000, 1_024, 4_097]).map(|lines| (lines, 30)).chain([(28, 10_000)]);
    for (lines, seeds) in cases {
        for seed in 0..seeds {
            let hasher = hasher(seed << 32 | u64::from(lines));
            let index = with_buckets(Index::buckets_for(lines));
            for line in 0..lines {
                let spot = index.spot(SHARD, hasher.hash_one(&line));
                assert_eq!(
                    index.writer(SHARD).link(&spot, LineIndex(line)),
                    Ok(()),
                    "line {line} of {lines}, seed {seed}"
                );
            }
        }
    }
}

#[test]
fn a_large_index_is_85_to_90_percent_full_with_all_its_lines() {
    for lines in [1_000, 100_000, 2_097_152, 20_000_000u32] {
        let places = u64::from(Index::buckets_for(lines)) * PLACES as u64;
        let full = f64::from(lines) / places as f64;
        assert!((0.85..0.9).contains(&full), "{lines}: {full}");
    }
}

#[test]
fn a_refused_entry_leaves_every_other_entry_in_place() {
    let index = with_buckets(64);
    let spots = fill(&index, 7);
    let refused = index.spot(SHARD, hasher(7).hash_one(&(spots.len() as u32)));
    let line = LineIndex(spots.len() as u32);
    assert_eq!(index.writer(SHARD).link(&refused, line), Err(Crowded));
    assert_eq!(index.find(&refused, |candidate| candidate == line), None);
    assert_consistent(&index, &spots.into_iter().map(Some).collect::<Vec<_>>());
}

/// Near full, out with one and in with another, so that entries move and move back many times.
#[test]
fn entries_survive_long_churn_at_95_percent() {
    for seed in 0..3 {
        let index = with_buckets(500);
        let lines = 500 * PLACES as u32 * 95 / 100;
        let hasher = hasher(seed);
        let mut spots: Vec<Option<Spot>> = vec![None; lines as usize];
        let (mut refused, mut entered) = (0, 0);
        for round in 0..60_000u32 {
            let line = LineIndex(hasher.hash_one(&[round, 1]).0 as u32 % lines);
            if let Some(spot) = spots[line.0 as usize].take() {
                assert!(index.writer(SHARD).unlink(spot, line));
                assert!(!index.writer(SHARD).unlink(spot, line), "gone");
                assert_eq!(index.find(&spot, |candidate| candidate == line), None);
            }
            let spot = index.spot(SHARD, hasher.hash_one(&[round, 2]));
            match index.writer(SHARD).link(&spot, line) {
                Ok(()) => {
                    spots[line.0 as usize] = Some(spot);
                    entered += 1;
                }
                Err(Crowded) => refused += 1,
            }
            if round % 2_000 == 0 {
                assert_consistent(&index, &spots);
            }
        }
        assert_consistent(&index, &spots);
        println!("seed {seed}: {entered} entered, {refused} refused");
        assert!(refused * 100 < entered);
        for (line, spot) in spots.iter().enumerate() {
            if let Some(spot) = spot {
                assert!(index.writer(SHARD).unlink(*spot, LineIndex(line as u32)));
            }
        }
        assert_consistent(&index, &vec![None; lines as usize]);
    }
}
