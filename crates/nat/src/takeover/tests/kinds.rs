//! What only some rules make is there after a kill, too, wherever that came: blocks, ports of many, the order of those that
//! rest, mappings whose endpoints others had before.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use packet::Protocol;
use zerocopy::IntoBytes;

use super::process::{Process, SIZES, TENANTS, emptied, rules};
use crate::DropReason;
use crate::flow::{Endpoint, Flow};
use crate::ports::Holder;

/// What it is called, whether something is counted again after it, and what does it to a flow's session.
type Half = (&'static str, bool, fn(&mut Process, &Flow));

/// Opens the region at a path under rules whose pools say this.
fn start(path: &Path, now_ms: u64, pools: &str) -> Process {
    Process::start_sized(path, &SIZES, now_ms, &with_pools(pools))
}

fn with_pools(pools: &str) -> String {
    let (before, after) = ("ports: 1024-65535, hold_down_s: 60}", format!("{pools}}}"));
    let rules = rules(&TENANTS);
    assert!(rules.contains(before));
    rules.replace(before, &after)
}

/// Red's flow to a remote of its own.
fn flow_to(process: &Process, protocol: Protocol, host: u16, port: u16, remote: u8) -> Flow {
    let flow = process.flow("red", protocol, host, port);
    let destination = Endpoint { address: [198, 51, 100, remote].into(), ..flow.destination() };
    Flow::new(flow.realm(), protocol, flow.source(), destination)
}

/// Ends the process in the middle of something, and begins the next one.
fn end_in(mut process: Process, pools: &str, middle: impl FnOnce(&mut Process)) -> Process {
    middle(&mut process);
    let now_ms = process.now_ms + 10_000;
    let process = start(&process.kill(), now_ms, pools);
    assert_eq!((process.takeover.fresh, process.takeover.sessions_dropped), (None, 0));
    process
}

/// All sessions go on where they are; when they have ended, nothing is left, not even of a block.
fn all_go_on_and_end(mut process: Process, sessions: &BTreeMap<String, (Flow, Endpoint)>, what: &str) {
    for (flow, external) in sessions.values() {
        assert_eq!(process.send(flow), *external, "{what}: {flow:?}");
    }
    process.pass(4_000_000);
    let (occupancy, ports) = process.holdings();
    assert_eq!(occupancy, emptied(occupancy), "{what}");
    assert!(ports.values().all(|used| *used == (0, 0)), "{what}: {ports:?}");
    for (address, _) in process.state.parts.addresses.records() {
        for space in process.state.parts.ports.spaces_of(address) {
            assert!((0..=u16::MAX).all(|port| space.lease_of(port).is_none()), "{what}");
        }
    }
}

/// Removes a flow's session, and gives nothing back.
fn remove(process: &mut Process, flow: &Flow) -> [Flow; 2] {
    let (line, state) = (process.line(flow).unwrap(), Arc::clone(&process.state));
    let slot = state.parts.sessions.slot_of(line);
    let keys = state.keys(slot);
    let shard = process.shard_of(flow);
    shard.mappings.intent().begin(&keys[0], &keys[1]);
    shard.sessions.remove(slot);
    keys
}

#[test]
fn blocks_stay_their_hosts_and_what_was_half_leased_is_free() {
    const POOLS: &str = "ports: 1024-3071, hold_down_s: 60, blocks: {ports: 16, per_host_max: 2}";
    let halves: [Half; 5] = [
        ("nothing", false, |_, _| ()),
        ("leased for an opening that was not inserted", true, |process, flow| {
            let flow = process.flow("red", flow.protocol(), 400, 9_999);
            process.acquire("red", &flow);
        }),
        ("the last session removed, the block kept", true, |process, flow| _ = remove(process, flow)),
        ("the port given back, the block kept", true, |process, flow| {
            let [_, outside] = remove(process, flow);
            let (shard, state) = (process.shard_of(flow).index(), Arc::clone(&process.state));
            let (space, port) = state.place_of(&outside).unwrap();
            space.give_back(shard, port);
        }),
        ("the block's record removed, its lease kept", true, |process, flow| {
            let [_, outside] = remove(process, flow);
            let state = Arc::clone(&process.state);
            let (space, port) = state.place_of(&outside).unwrap();
            let shard = process.shard_of(flow);
            space.give_back(shard.index(), port);
            let slot = shard.mappings.block_of(flow, &outside).unwrap();
            shard.mappings.blocks.remove(slot);
        }),
    ];
    for (protocol, (what, recounts, half)) in
        [Protocol::TCP, Protocol::UDP].into_iter().flat_map(|one| halves.map(|half| (one, half)))
    {
        if protocol == Protocol::UDP && what.starts_with("the") {
            // A mapping has the port, and keeps it.
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let mut process = start(&directory.path().join("region"), 10_000, POOLS);
        let mut sessions = BTreeMap::new();
        // Each host's second block has one port used.
        for (host, port) in (300..308).flat_map(|host| (0..17).map(move |port| (host, 1_000 + port))) {
            let flow = process.flow("red", protocol, host, port);
            sessions.insert(format!("{flow:?}"), (flow, process.send(&flow)));
        }
        assert_eq!(process.state.occupancy().blocks, 16);
        // The host's block that holds one port only.
        let mine: Vec<_> =
            sessions.values().filter(|(flow, _)| flow.source().address.octets()[3] == 44).collect();
        let alone = mine.iter().find(|(_, at)| {
            mine.iter()
                .filter(|(_, other)| (other.port / 16, other.address) == (at.port / 16, at.address))
                .count()
                == 1
        });
        let flow = alone.unwrap().0;
        let process = end_in(process, POOLS, |process| half(process, &flow));
        assert_eq!(process.takeover.shards_recounted, u32::from(recounts), "{what}");
        // A mapping without a session rests, with its port and so with its block.
        let rests = protocol == Protocol::UDP && recounts;
        let is_there = process.line(&flow).is_some();
        let blocks = 16 + u32::from(rests) - u32::from(!is_there);
        assert_eq!(
            (process.state.occupancy().blocks, process.state.occupancy().hosts),
            (blocks, 8 + u32::from(rests)),
            "{what}"
        );
        if !is_there {
            sessions.remove(&format!("{flow:?}"));
        }
        all_go_on_and_end(process, &sessions, what);
    }
}

#[test]
fn a_block_that_is_damaged_is_known_again_by_its_sessions() {
    const POOLS: &str = "ports: 1024-3071, hold_down_s: 60, blocks: {ports: 16, per_host_max: 2}";
    let directory = tempfile::tempdir().unwrap();
    let mut process = start(&directory.path().join("region"), 10_000, POOLS);
    let mut sessions = BTreeMap::new();
    for port in 1_000..1_004 {
        let flow = process.flow("red", Protocol::TCP, 300, port);
        sessions.insert(format!("{flow:?}"), (flow, process.send(&flow)));
    }
    let (flow, _) = sessions.values().next().unwrap();
    let key = flow.block_key(process.rules.pools[0].realm, 0);
    let left = process.kill();
    let bytes = fs::read(&left).unwrap();
    let places: Vec<_> =
        (0..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(key.as_bytes())).collect();
    let [line] = places[..] else { panic!("{key:?} is in one place: {places:?}") };
    // Its first port, and how many it has, behind the key: with any bit flipped the one is not where it is found, the other no
    // block's number.
    for bit in 0..64 {
        let mut damaged = bytes.clone();
        damaged[line + 16 + bit / 8] ^= 1 << (bit % 8);
        let path = left.with_extension(format!("damaged-{bit}"));
        fs::write(&path, damaged).unwrap();
        let process = start(&path, 20_000, POOLS);
        let what = format!("bit {bit}: {}", process.takeover);
        assert_eq!((process.takeover.sessions_dropped, process.takeover.shards_recounted), (0, 1), "{what}");
        all_go_on_and_end(process, &sessions, &what);
    }
}

#[test]
fn ports_of_many_are_counted_for_all_their_sessions() {
    const POOLS: &str = "ports: 2000-2003, hold_down_s: 60";
    let halves: [Half; 4] = [
        ("nothing", false, |_, _| ()),
        ("shared for an opening that was not inserted", true, |process, flow| {
            let flow = flow_to(process, flow.protocol(), 300, 7_000, 200);
            process.acquire("red", &flow);
        }),
        ("a session removed, its use kept", true, |process, flow| _ = remove(process, flow)),
        ("a session removed, its use given back", true, |process, flow| {
            let [_, outside] = remove(process, flow);
            let (shard, state) = (process.shard_of(flow).index(), Arc::clone(&process.state));
            let (space, port) = state.place_of(&outside).unwrap();
            space.give_back(shard, port);
        }),
    ];
    for (what, recounts, half) in halves {
        let directory = tempfile::tempdir().unwrap();
        let mut process = start(&directory.path().join("region"), 10_000, POOLS);
        let mut sessions = BTreeMap::new();
        for number in 0..48 {
            let flow = flow_to(&process, Protocol::TCP, 256 + number, 6_000, 1 + number as u8);
            sessions.insert(format!("{flow:?}"), (flow, process.send(&flow)));
        }
        let cell = |process: &Process, (flow, external): &(Flow, Endpoint)| {
            let outside = flow.with_source(*external, process.rules.pools[0].realm).reversed();
            let (space, port) = process.state.place_of(&outside).unwrap();
            space.get(port)
        };
        let (flow, external) = *sessions
            .values()
            .find(|session| cell(&process, session).holder() == Some(Holder::Many))
            .expect("hosts of several shards share a port");
        let uses = cell(&process, &(flow, external)).uses();
        let process = end_in(process, POOLS, |process| half(process, &flow));
        assert_eq!(process.takeover.shards_recounted, u32::from(recounts), "{what}");
        let is_there = process.line(&flow).is_some();
        if !is_there {
            sessions.remove(&format!("{flow:?}"));
        }
        let after = cell(&process, &(flow, external));
        assert_eq!((after.uses(), after.is_shareable()), (uses - u16::from(!is_there), true), "{what}");
        all_go_on_and_end(process, &sessions, what);
    }
}

#[test]
fn the_oldest_that_rests_goes_first_after_a_kill_too() {
    const POOLS: &str = "ports: 1024-65535, hold_down_s: 600, hold_down_ports_max: 3";
    let directory = tempfile::tempdir().unwrap();
    let mut process = start(&directory.path().join("region"), 10_000, POOLS);
    let rests = |process: &Process, flow: &Flow| {
        let key =
            flow.mapping_key(rules::compiled::Dependence::EndpointIndependent, process.rules.pools[0].realm);
        let shard = process.state.shard_of_host(flow.realm(), flow.source().address);
        process.state.parts.mappings.find(shard, &key).is_some()
    };
    // Begun in one order, ended in another.
    let flows: Vec<Flow> = (0..5).map(|port| process.flow("red", Protocol::UDP, 300, 5_000 + port)).collect();
    flows.iter().for_each(|flow| _ = process.send(flow));
    for ended in [2, 0, 3] {
        process.close(&flows[ended]);
        process.pass(1_000);
    }
    let mut process = end_in(process, POOLS, |_| ());
    assert_eq!(process.takeover.shards_recounted, 0);
    // The bound is the pool's: it is known again with the next choice of a port.
    let other = process.flow("red", Protocol::UDP, 300, 6_000);
    process.send(&other);
    for (ended, left) in [(4, [2, 0, 3].as_slice()), (1, &[0, 3])] {
        let was: Vec<bool> = left.iter().map(|flow| rests(&process, &flows[*flow])).collect();
        assert!(was.iter().all(|rests| *rests), "before {ended}: {was:?}");
        process.close(&flows[ended]);
        process.pass(1_000);
        assert!(!rests(&process, &flows[left[0]]), "the oldest is gone");
        assert!(left[1..].iter().chain([&ended]).all(|flow| rests(&process, &flows[*flow])));
    }
    process.close(&other);
    process.pass(602_000);
    assert_eq!(process.state.occupancy().mappings, 0);
}

/// What comes from outside opens the mapping for nobody, before a kill, after it, or where it is counted again.
#[test]
fn a_mapping_is_open_to_whom_it_was_open_before() {
    const POOLS: &str = "ports: 1024-65535, hold_down_s: 60";
    for recounts in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let mut process = start(&directory.path().join("region"), 10_000, POOLS);
        let flow = process.flow("red", Protocol::UDP, 300, 5_000);
        let external = process.send(&flow);
        let server = |port| Endpoint { port, ..flow.destination() };
        let stranger = Endpoint { address: [198, 51, 100, 77].into(), port: 80 };
        let outside = flow.with_source(external, process.rules.pools[0].realm).reversed();
        let in_work = |process: &mut Process| {
            if recounts {
                process.shard_of(&flow).mappings.intent().begin(&flow, &outside);
            }
        };
        assert_eq!(process.comes_in(Protocol::UDP, server(81), external), None);
        let mut process = end_in(process, POOLS, in_work);
        assert_eq!(process.comes_in(Protocol::UDP, server(82), external), None);
        assert_eq!(process.comes_in(Protocol::UDP, stranger, external), Some(DropReason::Filtered));
        process.close(&flow);
        assert_eq!(process.comes_in(Protocol::UDP, server(83), external), Some(DropReason::NoMapping));
        let mut process = end_in(process, POOLS, in_work);
        assert_eq!(process.takeover.shards_recounted, u32::from(recounts));
        assert_eq!(process.comes_in(Protocol::UDP, server(84), external), Some(DropReason::NoMapping));
        assert_eq!((process.state.occupancy().sessions, process.state.occupancy().permissions), (2, 0));
        all_go_on_and_end(process, &BTreeMap::new(), "open");
    }
}

/// A port that the rules take and give back has a second mapping; what is left of the first is none of its.
#[test]
fn a_later_mapping_is_not_an_earlier_ones_heir_after_a_kill_either() {
    const POOLS: &str = "ports: 2000-2000, hold_down_s: 60";
    for (what, recounts) in
        [("between the two", false), ("after both", false), ("in the midst of both", true)]
    {
        let directory = tempfile::tempdir().unwrap();
        let mut process = start(&directory.path().join("region"), 10_000, POOLS);
        let first = process.flow("blue", Protocol::UDP, 300, 5_000);
        let remote = Endpoint { address: [198, 51, 100, 77].into(), port: 80 };
        let second = Flow::new(first.realm(), first.protocol(), first.source(), remote);
        let external = process.send(&first);
        process.adopt(&with_pools(POOLS).replace("203.0.113.20", "203.0.113.21"));
        assert_ne!(process.send(&second), external);
        if what == "between the two" {
            process = end_in(process, POOLS, |_| ());
        }
        process.adopt(&with_pools(POOLS));
        assert_eq!(process.send(&second), external, "{what}");
        if what != "between the two" {
            process = end_in(process, POOLS, |process| {
                if recounts {
                    let outside = second.with_source(external, process.rules.pools[0].realm).reversed();
                    process.shard_of(&second).mappings.intent().begin(&second, &outside);
                }
            });
        }
        assert_eq!(process.takeover.shards_recounted, u32::from(recounts), "{what}");
        process.close(&first);
        process.pass(1_000);
        let whole = |process: &Process| {
            let outside = second.with_source(external, process.rules.pools[0].realm).reversed();
            let (space, port) = process.state.place_of(&outside).unwrap();
            space.get(port).is_whole()
        };
        assert!(whole(&process), "{what}: the later one is in use");
        process.close(&second);
        assert!(!whole(&process), "{what}: nothing but its own session counted for it");
        process.pass(62_000);
        assert_eq!((process.state.occupancy().mappings, process.state.occupancy().hosts), (0, 0), "{what}");
    }
}
