use std::collections::HashSet;
use std::sync::Barrier;

use flowtable::Region;
use rules::compiled::PortRun;

use super::*;
use crate::probes::AllProbes;
use crate::state::WorkerIndex;

/// Whose turns these are.
const GATEWAY: WorkerIndex = WorkerIndex(0);

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

fn range(first: u16, last: u16) -> Wanted<'static> {
    let runs = Box::leak(Box::new([PortRun { first, last }]));
    Wanted { runs, within: ANYWHERE, parity: None }
}

/// The second address' UDP ports: what is counted into a neighbouring space shows.
fn space(ports: &Ports) -> PortSpace<'_> {
    ports.of(AddressIndex(1), Protocol::UDP)
}

fn take(space: PortSpace, wanted: Wanted, random: &mut Random) -> Option<u16> {
    take_for(Purpose::Mapping, space, wanted, random)
}

fn take_for(purpose: Purpose, space: PortSpace, wanted: Wanted, random: &mut Random) -> Option<u16> {
    let (mut announced, all) = (None, AllProbes::default());
    let port = space.take(SHARD, purpose, &wanted, random, all.of(GATEWAY), |port| announced = Some(port));
    assert!(port.is_none() || port == announced, "what is taken was announced");
    port
}

#[test]
fn every_port_of_the_range_is_given_once_before_the_first_refusal() {
    for (first, last) in [(1024, 65_535), (1, 65_535), (5000, 5000), (1000, 1130), (64, 127), (63, 64)] {
        let (ports, mut random, range) = (ports(), random(), range(first, last));
        let space = space(&ports);
        let taken: HashSet<u16> = std::iter::from_fn(|| take(space, range, &mut random)).collect();
        assert_eq!(taken.len() as u32, range.count(), "{first}-{last}");
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
fn the_port_that_is_foreseen_is_taken_however_many_are_in_use() {
    let (ports, mut random, all) = (ports(), random(), range(0, 65_535));
    let (space, mut foreseen) = (space(&ports), 0);
    for _ in 0..49_152 {
        let next =
            all.drawn(|bound| random.ahead(0, bound)).and_then(|start| space.next_free(start, |_| true));
        let taken = take(space, all, &mut random);
        // Where the rest of a group is in use, there is a look at others.
        assert!(next.is_none() || next == taken, "{next:?}, {taken:?}");
        foreseen += u32::from(next.is_some());
    }
    assert!(foreseen > 48_000, "{foreseen}");
}

#[test]
fn a_full_space_takes_no_port_from_its_neighbours() {
    let (ports, mut random, all) = (ports(), random(), range(0, 65_535));
    for number in [3, 2, 4] {
        let taken = std::iter::from_fn(|| take(ports.at(number), all, &mut random)).count();
        assert_eq!(taken, 65_536, "space {number}");
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
        (0..1_000).map(|_| range(1024, 65_535).any(&mut random).unwrap()).collect::<HashSet<u16>>()
    };
    let common = starts(0).intersection(&starts(1)).count();
    assert!(common < 40, "{common} of 1,000 draws are the same");
}

/// The shard that alone holds the second address' UDP port.
fn holder(ports: &Ports, port: u16) -> Option<Holder> {
    space(ports).get(port).holder()
}

#[test]
fn a_port_is_shared_once_more_while_nobody_else_is_at_it() {
    let (ports, mut random, range) = (ports(), random(), range(2000, 2003));
    let space = space(&ports);
    while take_for(Purpose::Session, space, range, &mut random).is_some() {}
    let locked = space.get(2002);
    assert!(!space.share(SHARD, 2002, locked), "its first session is not there yet");
    space.unlock(2002);
    assert!(!space.share(SHARD, 2002, locked), "it is not as it was seen");
    assert!(space.share(SHARD, 2002, space.get(2002)));
    assert!(!space.share(SHARD, 2002, space.get(2002)), "the second is not there yet");
    space.unlock(2002);
    space.give_back(SHARD, 2002);
    assert_eq!(space.used(), 4, "one session still uses it");
    space.give_back(SHARD, 2002);
    assert_eq!(space.used(), 3);
    space.give_back(SHARD, 2002);
    assert_eq!(space.used(), 3, "what is not there is not given back");
}

#[test]
fn a_port_that_two_shards_share_is_manys_until_nobody_uses_it() {
    let (ports, mut random, range) = (ports(), random(), range(2003, 2003));
    let space = space(&ports);
    assert_eq!(take_for(Purpose::Session, space, range, &mut random), Some(2003));
    space.unlock(2003);
    space.give_back(OTHER, 2003);
    assert_eq!(holder(&ports, 2003), Some(Holder::One(SHARD)), "nobody gives another's port back");
    for uses in 1..cell::SHARED_MAX {
        let shard = if uses % 2 == 0 { SHARD } else { OTHER };
        assert!(space.share(shard, 2003, space.get(2003)));
        space.unlock(2003);
        assert_eq!(holder(&ports, 2003), Some(Holder::Many));
    }
    assert!(!space.share(SHARD, 2003, space.get(2003)), "its uses are counted to the end");
    for _ in 0..cell::SHARED_MAX {
        assert_eq!(space.used(), 1);
        space.give_back(SHARD, 2003);
    }
    assert_eq!((holder(&ports, 2003), space.used()), (None, 0));
}

#[test]
fn a_mappings_port_is_nobody_elses_while_it_rests() {
    let (ports, mut random, range) = (ports(), random(), range(2000, 2000));
    let space = space(&ports);
    assert_eq!(take(space, range, &mut random), Some(2000));
    assert!(!space.share(SHARD, 2000, space.get(2000)), "it was taken whole");
    space.rest(SHARD, 2000);
    assert_eq!((space.used(), space.resting()), (1, 1));
    assert!(!space.share(SHARD, 2000, space.get(2000)));
    assert_eq!(take(space, range, &mut random), None);
    let runs = [PortRun { first: 1999, last: 2001 }];
    let books = ports.books(AddressIndex(1), Protocol::UDP, &runs);
    assert_eq!((books.used, books.resting, books.free, books.ports()), (0, 1, 2, 3));
    space.wake(SHARD, 2000);
    assert_eq!((space.used(), space.resting()), (1, 0));
    space.rest(SHARD, 2000);
    space.give_back(SHARD, 2000);
    assert_eq!((space.used(), space.resting()), (0, 0));
}

//= rfc4787#REQ-4
#[test]
fn of_one_parity_every_port_is_given_and_no_other() {
    let (ports, mut random) = (ports(), random());
    let space = space(&ports);
    for parity in [1, 0] {
        let wanted = Wanted { parity: Some(parity), ..range(1_001, 1_500) };
        let taken: HashSet<u16> = std::iter::from_fn(|| take(space, wanted, &mut random)).collect();
        assert_eq!(taken, (1_001..=1_500).filter(|port| port & 1 == parity).collect());
    }
    assert_eq!(take(space, range(1_001, 1_500), &mut random), None);
}

//= rfc6888#REQ-3
#[test]
fn runs_that_are_apart_are_used_to_the_last_port() {
    let (ports, mut random) = (ports(), random());
    let space = space(&ports);
    let runs = [(7, 7), (1_000, 1_063), (1_100, 1_200), (40_000, 40_001), (65_535, 65_535)];
    let runs = runs.map(|(first, last)| PortRun { first, last });
    let wanted = Wanted { runs: &runs, within: ANYWHERE, parity: None };
    let taken: HashSet<u16> = std::iter::from_fn(|| take(space, wanted, &mut random)).collect();
    assert_eq!(taken, runs.iter().flat_map(|run| run.first..=run.last).collect());
}

#[test]
fn a_block_is_one_shards_whatever_its_size() {
    let (ports, mut random, all) = (ports(), random(), AllProbes::default());
    let (space, probes) = (space(&ports), all.of(GATEWAY));
    let wanted = range(1_024, 2_047);
    let leases: Vec<Lease> =
        std::iter::from_fn(|| space.lease(SHARD, 64, &wanted, &mut random, probes, |_| {})).collect();
    assert_eq!(leases.len(), 16);
    let mut firsts: Vec<u16> = leases.iter().map(|lease| lease.ports.first).collect();
    assert!(!firsts.is_sorted(), "blocks are chosen at random");
    firsts.sort_unstable();
    assert_eq!(firsts, (0..16).map(|number| 1_024 + number * 64).collect::<Vec<_>>());
    for size in [8, 256, 1_024] {
        assert_eq!(space.lease(OTHER, size, &wanted, &mut random, probes, |_| {}), None, "{size}");
    }
    let (first, second) = (leases[0], leases[1]);
    space.end_lease(first);
    let small = space.lease(OTHER, 8, &wanted, &mut random, probes, |_| {}).unwrap();
    assert!(first.ports.contains(small.ports.first) && first.ports.contains(small.ports.last));
    assert_eq!(
        space.lease(SHARD, 64, &wanted, &mut random, probes, |_| {}),
        None,
        "a part of it is another's"
    );
    assert_eq!(space.lease_of(small.ports.last), Some(small));
    assert_eq!(space.lease_of(second.ports.last), Some(second));
    space.keep_blocks(SHARD, |lease| lease == second);
    assert_eq!(space.lease_of(leases[2].ports.first), None);
    assert_eq!(space.lease_of(second.ports.first), Some(second));
    assert_eq!(space.lease_of(small.ports.first), Some(small));
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
        let all = AllProbes::default();
        barrier.wait();
        for _ in 0..ROUNDS {
            let probes = all.of(GATEWAY);
            probes.refill();
            mine.extend(space.take(shard, Purpose::Mapping, &range, &mut random, probes, |_| {}));
            if mine.len() > 94 {
                let port = mine.swap_remove(random.below(mine.len() as u32) as usize);
                let holder = space.get(port).holder();
                assert_eq!(holder, Some(Holder::One(shard)), "port {port} was taken from under its holder");
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
    assert_eq!(rest + both.len(), range.count() as usize, "every port that nobody has is found");
}

#[test]
fn the_only_shard_that_has_ports_is_known_until_another_takes_one() {
    let (ports, range) = (ports(), range(1_000, 1_999));
    let space = space(&ports);
    assert_eq!(space.sole_holder(), None);
    let mut random = random();
    take_for(Purpose::Session, space, range, &mut random);
    take_for(Purpose::Session, space, range, &mut random);
    assert_eq!(space.sole_holder(), Some(SHARD));
    assert!(space.take_this(OTHER, Purpose::Mapping, 5));
    assert_eq!(space.sole_holder(), None);
    space.give_back(OTHER, 5);
    // It may be told again only when the cells have been looked at.
    assert_eq!(space.sole_holder(), None);
    space.rebuild(32);
    assert_eq!(space.sole_holder(), Some(SHARD));

    assert!(space.take_this(SHARD, Purpose::Session, 6));
    space.unlock(6);
    assert!(space.share(OTHER, 6, space.get(6)));
    assert_eq!(space.sole_holder(), None);
    space.rebuild(32);
    assert_eq!(space.sole_holder(), None, "a port of many is no shard's alone");
}

#[test]
fn what_another_process_left_is_made_consistent() {
    let (ports, mut random, all) = (ports(), random(), range(0, 65_535));
    let space = space(&ports);
    let mut taken: Vec<u16> = (0..20_000).filter_map(|_| take(space, all, &mut random)).collect();
    // Full groups whose bit is not set, an empty one whose bit is, a wrong count, and what cannot be.
    (0..640).for_each(|port| _ = space.take_this(SHARD, Purpose::Mapping, port));
    taken.retain(|port| *port >= 640);
    let emptied = group_of(32_000);
    space.word(emptied).fetch_or(bit(emptied), Relaxed);
    ports_of(emptied, u64::MAX).for_each(|port| space.cell(port).store(0, Relaxed));
    taken.retain(|port| group_of(*port) != emptied);
    space.counts().used.store(7, Relaxed);
    space.cell(40_000).store(Cell::taken(ShardIndex(40), Purpose::Mapping).0, Relaxed);
    space.cell(40_001).store(Cell::FREE.0 | 5, Relaxed);
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

/// Every group has a port that is not wanted, and so is free: no bit says that there is none for this pool.
#[test]
fn a_search_ends_with_the_turns_probes_however_full_the_space_is() {
    let runs: Vec<PortRun> =
        (0..512).map(|window| PortRun { first: window * 128 + 2, last: window * 128 + 127 }).collect();
    let (ports, mut random) = (ports(), random());
    let space = space(&ports);
    let wanted = Wanted { runs: &runs, within: ANYWHERE, parity: None };
    wanted.ports().for_each(|port| assert!(space.take_this(SHARD, Purpose::Mapping, port)));
    let all = AllProbes::default();
    let probes = all.of(GATEWAY);
    let mut take = |probes| space.take(SHARD, Purpose::Mapping, &wanted, &mut random, probes, |_| {});
    assert_eq!(take(probes), None);
    assert!(probes.are_spent(), "1,024 groups, and its own twice");
    space.give_back(SHARD, 7 * 128 + 5);
    assert_eq!(take(probes), None, "there is one, but nobody looks");
    let found = (0..100).find_map(|_| {
        probes.refill();
        take(probes)
    });
    assert_eq!(found, Some(7 * 128 + 5));
}
