use flowtable::Reader;

use super::*;

const REALM: Realm = Realm(7);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const MINE: ShardIndex = ShardIndex(0);
const OTHERS: ShardIndex = ShardIndex(1);

/// The neighbours of a gateway that owns the first of two shards.
struct Bench {
    neighbours: Neighbours,
    reader: Reader,
}

impl Bench {
    fn new() -> Self {
        let quiescence = Quiescence::new();
        let table = table(2, 0, HashKey([1, 2]));
        let neighbours = Neighbours::new(&table, [MINE].into_iter(), &quiescence);
        Self { neighbours, reader: quiescence.reader() }
    }

    fn resolve(&mut self, now_ms: u32) -> Resolution {
        self.neighbours.resolve(MINE, REALM, ADDRESS, now_ms)
    }

    fn learn(&mut self, now_ms: u32) -> SlotIndex {
        self.neighbours.learn(MINE, REALM, ADDRESS, MAC, now_ms).unwrap()
    }

    /// Turns every 10 ms; returns how often it asked, and how often it gave up.
    fn pass(&mut self, from_ms: u32, to_ms: u32) -> (usize, usize) {
        let (mut asked, mut silent) = (0, 0);
        for now_ms in (from_ms..to_ms).step_by(10) {
            let mut due = ArrayVec::new();
            let slots = self.neighbours.slots_due(now_ms);
            self.neighbours.look_after(MINE, slots, now_ms, &mut due);
            asked += due.iter().filter(|due| matches!(due, Due::Ask(REALM, ADDRESS))).count();
            silent += due.iter().filter(|due| matches!(due, Due::Silent(_))).count();
            self.reader.pass();
            self.neighbours.reclaim();
        }
        (asked, silent)
    }
}

#[test]
fn a_neighbour_is_asked_three_times_and_then_left_alone_for_a_while() {
    let mut bench = Bench::new();
    let Resolution::Ask(slot) = bench.resolve(0) else { panic!("first use asks") };
    assert!(matches!(bench.resolve(1), Resolution::Asking(same) if same == slot));
    assert_eq!(bench.pass(1, 5_500), (2, 1), "two more requests, then silent");
    assert!(matches!(bench.resolve(5_500), Resolution::Unreachable(DropReason::NeighbourUnresolved)));
    assert_eq!(bench.pass(5_500, 12_000), (0, 0));
    assert!(matches!(bench.resolve(12_000), Resolution::Ask(_)));
}

#[test]
fn a_used_neighbour_is_refreshed_and_never_unknown_meanwhile() {
    let mut bench = Bench::new();
    bench.resolve(0);
    bench.learn(0);
    let mut asked = 0;
    for second in 0..120 {
        let now_ms = second * 1_000;
        assert!(matches!(bench.resolve(now_ms), Resolution::Known(MAC, _)), "{second}");
        let (requests, _) = bench.pass(now_ms, now_ms + 1_000);
        if requests > 0 {
            asked += 1;
            bench.learn(now_ms + 999);
        }
    }
    assert!((3..=4).contains(&asked), "asked {asked} times in two minutes");
}

#[test]
fn an_unused_neighbour_is_forgotten() {
    let mut bench = Bench::new();
    bench.learn(0);
    assert_eq!(bench.pass(0, 60_000), (0, 0));
    assert!(!bench.neighbours.has(MINE, REALM, ADDRESS));
}

#[test]
fn a_realm_is_named_while_it_has_a_neighbour() {
    let mut bench = Bench::new();
    assert!(!names(&bench.neighbours.table, REALM));
    bench.learn(0);
    assert!(names(&bench.neighbours.table, REALM) && !names(&bench.neighbours.table, Realm(8)));
    bench.pass(0, 60_000);
    assert!(!names(&bench.neighbours.table, REALM), "it was forgotten");
}

#[test]
fn where_there_is_room_for_more_hosts_there_is_for_more_neighbours() {
    let slots = |hosts| table(2, hosts, HashKey([1, 2])).slots_max();
    assert_eq!([0, 1 << 15, 1 << 16, 1 << 18].map(slots), [65_536, 65_536, 65_536, 1 << 18]);
}

#[test]
fn anyone_reads_what_only_the_owner_asks_for() {
    let quiescence = Quiescence::new();
    let table = table(2, 0, HashKey([1, 2]));
    let mut mine = Neighbours::new(&table, [MINE].into_iter(), &quiescence);
    let mut others = Neighbours::new(&table, [OTHERS].into_iter(), &quiescence);
    let resolve_mine = |neighbours: &mut Neighbours| neighbours.resolve(MINE, REALM, ADDRESS, 0);
    assert!(matches!(resolve_mine(&mut others), Resolution::Elsewhere));
    assert!(others.learn(MINE, REALM, ADDRESS, MAC, 0).is_none());
    assert!(matches!(resolve_mine(&mut mine), Resolution::Ask(_)));
    assert!(matches!(resolve_mine(&mut others), Resolution::Elsewhere));
    mine.learn(MINE, REALM, ADDRESS, MAC, 0).unwrap();
    assert!(matches!(resolve_mine(&mut others), Resolution::Known(MAC, _)));
    // Its use elsewhere keeps it: the owner asks again before it expires.
    let mut due = ArrayVec::new();
    for now_ms in (0..FRESH_MS + 2_000).step_by(10) {
        let slots = mine.slots_due(now_ms);
        mine.look_after(MINE, slots, now_ms, &mut due);
    }
    assert!(matches!(due[0], Due::Ask(REALM, ADDRESS)));
}

#[test]
fn an_entry_is_what_was_written() {
    let neighbour = Neighbour::default();
    for standing in [Standing::Incomplete, Standing::Fresh, Standing::Refreshing, Standing::Silent] {
        neighbour.write(Entry { mac: MAC, standing, requests: 3 });
        let entry = neighbour.read();
        assert!((entry.mac, entry.requests) == (MAC, 3) && entry.standing == standing);
    }
}
