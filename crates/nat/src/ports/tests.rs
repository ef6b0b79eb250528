use std::collections::HashSet;
use std::sync::Barrier;

use flowtable::Region;

use super::*;

const SHARD: ShardIndex = ShardIndex(3);
const OTHER: ShardIndex = ShardIndex(31);

fn ports() -> Ports {
    let mut measuring = Carver::measuring();
    Ports::carve(&mut measuring, 2);
    let region = Region::anonymous(measuring.bytes()).unwrap();
    Ports::carve(&mut Carver::over(&region), 2)
}

fn random() -> Random {
    Random::new([1, 2], 0)
}

fn range(first: u16, last: u16) -> PortRange {
    PortRange { first, last }
}

/// The second address' UDP ports: what is counted into a neighbouring space shows.
fn space(ports: &Ports) -> PortSpace<'_> {
    ports.of(AddressIndex(1), Protocol::UDP)
}

fn take(space: PortSpace, range: PortRange, random: &mut Random) -> Option<u16> {
    let mut announced = None;
    let port = space.take(SHARD, range, random, |port| announced = Some(port));
    assert!(port.is_none() || port == announced, "what is taken was announced");
    port
}

#[test]
fn every_port_of_the_range_is_given_once_before_the_first_refusal() {
    for (first, last) in [(1024, 65_535), (1, 65_535), (5000, 5000), (1000, 1130), (64, 127), (63, 64)] {
        let (ports, mut random, range) = (ports(), random(), range(first, last));
        let space = space(&ports);
        let taken: HashSet<u16> = std::iter::from_fn(|| take(space, range, &mut random)).collect();
        assert_eq!(taken.len() as u32, range.len(), "{first}-{last}");
        assert!(taken.iter().all(|port| (first..=last).contains(port)));
        assert_eq!(space.used() as usize, taken.len());
        for port in [first, last] {
            space.give_back(SHARD, port);
            assert_eq!(take(space, range, &mut random), Some(port));
        }
        assert_eq!(ports.used(AddressIndex(0)), 0, "another address has ports of its own");
        assert_eq!(ports.used(AddressIndex(1)) as usize, taken.len());
    }
}

#[test]
fn a_narrower_range_spares_the_ports_in_use() {
    let (ports, mut random) = (ports(), random());
    let space = space(&ports);
    let before: HashSet<u16> = (0..500).filter_map(|_| take(space, range(1000, 1999), &mut random)).collect();
    let after: HashSet<u16> = std::iter::from_fn(|| take(space, range(1500, 2499), &mut random)).collect();
    assert!(before.is_disjoint(&after));
    assert_eq!(after.len(), 1000 - before.iter().filter(|port| **port >= 1500).count());
    before.union(&after).for_each(|port| space.give_back(SHARD, *port));
    assert_eq!(space.used(), 0);
}

#[test]
fn rfc6056_ports_are_spread_over_the_whole_range() {
    // Chi-square over 64 equal bins; 103.4 is the 0.999 quantile for 63 degrees of freedom.
    let (ports, mut random) = (ports(), random());
    let space = space(&ports);
    let mut bins = [0f64; 64];
    let draws = 64_000;
    for _ in 0..draws {
        let port = take(space, range(1024, 65_535), &mut random).unwrap();
        bins[usize::from((port - 1024) / 1008)] += 1.0;
        space.give_back(SHARD, port);
    }
    let expected = f64::from(draws) / 64.0;
    let chi_square: f64 = bins.iter().map(|bin| (bin - expected).powi(2) / expected).sum();
    assert!(chi_square < 103.4, "chi-square {chi_square}");
}

#[test]
fn rfc6056_the_next_port_is_not_the_last_plus_one() {
    let (ports, mut random) = (ports(), random());
    let taken: Vec<u16> =
        (0..10_000).filter_map(|_| take(space(&ports), range(1024, 65_535), &mut random)).collect();
    let followers = taken.windows(2).filter(|pair| pair[1].abs_diff(pair[0]) <= 2).count();
    assert!(followers < 20, "{followers} of 10,000 ports are next to the one before");
}

#[test]
fn shards_with_one_seed_do_not_choose_alike() {
    let starts = |stream| {
        let mut random = Random::new([1, 2], stream);
        (0..1_000).map(|_| range(1024, 65_535).any(&mut random)).collect::<HashSet<u16>>()
    };
    let common = starts(0).intersection(&starts(1)).count();
    assert!(common < 40, "{common} of 1,000 draws are the same");
}

#[test]
fn rfc7857_section_3_a_tcp_port_is_shared_only_towards_another_remote() {
    let (ports, mut random, range) = (ports(), random(), range(2000, 2003));
    let space = space(&ports);
    while take(space, range, &mut random).is_some() {}
    let mut share = |clash: fn(u16) -> bool| space.share(SHARD, range, &mut random, |_| {}, clash);
    assert_eq!(share(|port| port != 2002), Some(2002));
    assert_eq!(share(|_| true), None);
    space.give_back(SHARD, 2002);
    assert_eq!(space.used(), 4, "one session still uses it");
    space.give_back(SHARD, 2002);
    assert_eq!(space.used(), 3);
}

#[test]
fn a_port_is_shared_only_by_the_shard_that_has_it_and_so_often() {
    let (ports, mut random, range) = (ports(), random(), range(2000, 2003));
    let space = space(&ports);
    for port in 2000..2003 {
        assert!(space.count_again(OTHER, port));
    }
    assert_eq!(take(space, range, &mut random), Some(2003));
    for _ in 1..USES_MAX {
        assert_eq!(space.share(SHARD, range, &mut random, |_| {}, |_| false), Some(2003));
    }
    assert_eq!(
        space.share(SHARD, range, &mut random, |_| {}, |_| false),
        None,
        "its uses are counted to the end"
    );
    space.give_back(SHARD, 2000);
    assert_eq!(
        ports.shard_of(AddressIndex(1), Protocol::UDP, 2000),
        Some(OTHER),
        "nobody gives another's port back"
    );
    for _ in 1..=USES_MAX {
        assert_eq!(ports.shard_of(AddressIndex(1), Protocol::UDP, 2003), Some(SHARD));
        space.give_back(SHARD, 2003);
    }
    assert_eq!(ports.shard_of(AddressIndex(1), Protocol::UDP, 2003), None);
}

#[test]
fn two_threads_never_have_one_port_and_lose_none() {
    const ROUNDS: usize = 40_000;
    let ports = ports();
    let space = space(&ports);
    // Half a group at each end, two whole ones between; always nearly full, so that the groups' bits come and go.
    let range = range(1_000, 1_190);
    let barrier = Barrier::new(2);
    let work = |shard: ShardIndex| {
        let (mut random, mut mine) = (Random::new([7, 7], shard.0), Vec::new());
        barrier.wait();
        for _ in 0..ROUNDS {
            mine.extend(space.take(shard, range, &mut random, |_| {}));
            if mine.len() > 94 {
                let port = mine.swap_remove(random.below(mine.len() as u32) as usize);
                let holder = ports.shard_of(AddressIndex(1), Protocol::UDP, port);
                assert_eq!(holder, Some(shard), "port {port} was taken from under its holder");
                space.give_back(shard, port);
            }
        }
        mine
    };
    let (left, right) = std::thread::scope(|scope| {
        let left = scope.spawn(|| work(SHARD));
        let right = scope.spawn(|| work(OTHER));
        (left.join().unwrap(), right.join().unwrap())
    });
    let both: HashSet<u16> = left.iter().chain(&right).copied().collect();
    assert_eq!(both.len(), left.len() + right.len(), "no port has two holders");
    assert_eq!(space.used() as usize, both.len());
    let mut random = random();
    let rest = std::iter::from_fn(|| take(space, range, &mut random)).count();
    assert_eq!(rest + both.len(), range.len() as usize, "every port that nobody has is found");
}

#[test]
fn what_another_process_left_is_made_consistent() {
    let (ports, mut random, all) = (ports(), random(), range(0, 65_535));
    let space = space(&ports);
    let mut taken: Vec<u16> = (0..20_000).filter_map(|_| take(space, all, &mut random)).collect();
    // Full groups whose bit is not set, an empty one whose bit is, a wrong count, a holder and a use that cannot be.
    (0..640).for_each(|port| _ = space.cell(port).compare_exchange(0, held_by(SHARD, 1), Relaxed, Relaxed));
    taken.retain(|port| *port >= 640);
    space.word(500).fetch_or(bit(500), Relaxed);
    (32_000..32_064).for_each(|port| space.cell(port).store(0, Relaxed));
    taken.retain(|port| !(32_000..32_064).contains(port));
    space.count().store(7, Relaxed);
    space.cell(40_000).store(held_by(ShardIndex(40), 1), Relaxed);
    space.cell(40_001).store(held_by(SHARD, 0), Relaxed);
    taken.retain(|port| ![40_000, 40_001].contains(port));

    space.rebuild(32);
    assert_eq!(space.used() as usize, 640 + taken.len());
    assert_eq!(space.word(0).load(Relaxed) & 0x7ff, 0x3ff, "ten groups are full, the next is not");
    let rest = std::iter::from_fn(|| take(space, all, &mut random)).count();
    assert_eq!(rest + 640 + taken.len(), 65_536);

    space.forget_port(OTHER, 5);
    space.forget_port(SHARD, 6);
    space.rebuild(32);
    assert_eq!(space.used(), 65_535);
    space.forget(SHARD);
    space.rebuild(32);
    assert_eq!(space.used(), 0);
}
