//! However a process ends, the next one has what it had.

use std::collections::BTreeMap;

use packet::Protocol;
use rules::compiled::Dependence;

use super::process::{Process, SERVER, TENANTS, emptied, rules};
use crate::flow::{Endpoint, Flow};
use crate::state::WorkerIndex;
use crate::takeover::OpenError;
use crate::{DropReason, State};

const PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::ICMP];

/// Sessions of both tenants' hosts, who have the same addresses and ports, and where each comes out.
fn busy(process: &mut Process) -> BTreeMap<String, (&'static str, Flow, Endpoint)> {
    let mut sessions = BTreeMap::new();
    for (tenant, protocol) in
        TENANTS.into_iter().flat_map(|tenant| PROTOCOLS.map(|protocol| (tenant, protocol)))
    {
        for number in 0..120 {
            let flow = process.flow(tenant, protocol, 256 + number % 17, 1_000 + number);
            let external = process.send(&flow);
            assert_eq!(process.receive(protocol, external), Some(flow));
            sessions.insert(format!("{flow:?}"), (tenant, flow, external));
        }
    }
    sessions
}

#[test]
fn a_killed_process_loses_no_session_whatever_the_order_of_its_routers() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(&directory.path().join("region"), 10_000);
    assert_eq!(process.takeover.to_string(), "there was no flow state: starting without sessions");
    let sessions = busy(&mut process);
    assert_eq!(sessions.len(), 720);
    for round in 1..4 {
        let (holdings, realms) = (process.holdings(), TENANTS.map(|tenant| process.realm(tenant)));
        process.now_ms += 10_000;
        let now_ms = process.now_ms;
        let order = if round % 2 == 1 { ["blue", "red"] } else { ["red", "blue"] };
        process = Process::start_with(&process.kill(), now_ms, &order);
        assert_eq!(process.takeover.sessions_kept, 720);
        assert_eq!((process.takeover.fresh, process.takeover.crashed), (None, true));
        assert_eq!((process.takeover.sessions_dropped, process.takeover.shards_recounted), (0, 0));
        assert_eq!(process.holdings(), holdings);
        assert_eq!(TENANTS.map(|tenant| process.realm(tenant)), realms);
        for (tenant, flow, external) in sessions.values() {
            assert_eq!(process.realm(tenant), flow.realm());
            assert_eq!(process.send(flow), *external, "{tenant} {flow:?}");
            assert_eq!(process.receive(flow.protocol(), *external), Some(*flow), "{tenant}");
        }
        assert_eq!(process.holdings(), holdings);
    }
    assert_eq!(process.state.past().sessions_created.get(), 720);
}

#[test]
fn what_was_there_can_be_ended_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(&directory.path().join("region"), 10_000);
    let sessions = busy(&mut process);
    let mut process = Process::start(&process.kill(), 20_000);
    for (_, flow, _) in sessions.values() {
        process.close(flow);
    }
    process.pass(59_000);
    let (occupancy, ports) = process.holdings();
    assert_eq!((occupancy.sessions, occupancy.permissions), (0, 0));
    // TCP ports are given back at once, the others rest for a minute.
    assert_eq!(occupancy.mappings, 480);
    assert_eq!(ports.values().map(|(used, _)| used).sum::<u32>(), 480);
    process.pass(3_000);
    let (occupancy, ports) = process.holdings();
    assert_eq!((occupancy.mappings, occupancy.hosts), (0, 0));
    assert!(ports.values().all(|used| *used == (0, 0)));
}

#[test]
fn a_port_rests_on_through_a_crash_and_only_its_own_host_has_it_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(&directory.path().join("region"), 10_000);
    let flow = process.flow("red", Protocol::UDP, 300, 5_000);
    let external = process.send(&flow);
    process.close(&flow);
    process.pass(40_000);
    let mut process = Process::start(&process.kill(), 50_100);
    assert_eq!(process.state.occupancy().mappings, 1);
    assert_eq!(process.receive(Protocol::UDP, external), None, "nobody comes in meanwhile");
    assert_eq!(process.send(&flow), external);
    process.close(&flow);
    let now_ms = process.now_ms;
    let mut process = Process::start(&process.kill(), now_ms);
    process.pass(59_000);
    assert_eq!(process.state.occupancy().mappings, 1, "the hold-down began with the last session's end");
    process.pass(3_000);
    assert_eq!(
        (process.state.occupancy().mappings, process.ports_used().values().map(|used| used.0).sum()),
        (0, 0)
    );
}

#[test]
fn a_session_expires_when_it_would_have() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(&directory.path().join("region"), 10_000);
    let flow = process.flow("red", Protocol::UDP, 300, 5_000);
    process.send(&flow);
    process.pass(20_000);
    let mut process = Process::start(&process.kill(), 30_000);
    process.pass(8_000);
    assert_eq!(process.state.occupancy().sessions, 1);
    process.pass(4_000);
    assert_eq!(process.state.occupancy().sessions, 0);
    assert_eq!(process.state.counters(WorkerIndex(1)).sessions_closed.get(), 1);
}

#[test]
fn another_tenant_under_another_name_inherits_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start_with(&directory.path().join("region"), 10_000, &["red"]);
    let flow = process.flow("red", Protocol::UDP, 300, 5_000);
    let external = process.send(&flow);
    let red = process.realm("red");
    // Red is gone in the next process, and another has its subnet.
    let mut process = Process::start_with(&process.kill(), 20_000, &["blue"]);
    assert_ne!(process.realm("blue"), red);
    let same = process.flow("blue", Protocol::UDP, 300, 5_000);
    assert!(process.line(&same).is_none());
    assert_ne!(process.send(&same).address, external.address);
    // Its number is nobody's for as long as a session names it.
    assert!(process.state.is_realm_in_use(red));
    let mut numbers = process.state.numbers();
    assert_eq!(numbers.release_realms(|realm| process.state.is_realm_in_use(realm)), 1, "red's segment");
    process.pass(200_000);
    assert!(!process.state.is_realm_in_use(red));
    assert_eq!(numbers.release_realms(|realm| process.state.is_realm_in_use(realm)), 1, "red");
}

#[test]
fn generations_of_rules_never_repeat() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(&directory.path().join("region"), 10_000);
    for _ in 0..3 {
        let generation = process.rules.generation;
        let now_ms = process.now_ms + 10_000;
        process = Process::start(&process.kill(), now_ms);
        assert!(process.rules.generation > generation);
    }
}

#[test]
fn a_session_that_the_rules_no_longer_make_is_closed_on_its_next_packet() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(&directory.path().join("region"), 10_000);
    let flow = process.flow("red", Protocol::TCP, 300, 5_000);
    let external = process.send(&flow);
    let mut process = Process::start(&process.kill(), 20_000);
    process.adopt(&rules(&TENANTS).replace("203.0.113.10, 203.0.113.11", "203.0.113.12"));
    assert_eq!(process.receive(Protocol::TCP, external), None);
    assert_ne!(process.send(&flow).address, external.address);
    assert_eq!(process.state.occupancy().sessions, 1);
    let used: u32 = process.ports_used().values().map(|used| used.0).sum();
    assert_eq!(used, 1, "its old port was given back, though its address has left the rules");
}

#[test]
fn the_books_of_all_earlier_processes_are_closed() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(&directory.path().join("region"), 10_000);
    for round in 1..=3 {
        let worker = process.state.counters(WorkerIndex(5));
        worker.received(packet::PortIndex(0), 7, 700);
        worker.sent(packet::PortIndex(1), 4, 400);
        let now_ms = process.now_ms + 10_000;
        process = Process::start(&process.kill(), now_ms);
        let past = process.state.past();
        assert_eq!(
            (past.books().received, past.books().sent, past.books().balance()),
            (7 * round, 4 * round, 0)
        );
        assert_eq!(past.dropped(DropReason::GatewayEnded), 3 * round);
        assert_eq!(process.state.counters(WorkerIndex(5)).books().received, 0);
    }
}

#[test]
fn an_orderly_end_is_told_from_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let mut process = Process::start(&path, 10_000);
    let flow = process.flow("red", Protocol::TCP, 300, 5_000);
    let external = process.send(&flow);
    for now_ms in [10_001, 10_002, 10_003, 10_004, 10_005] {
        drop(process);
        process = Process::start(&path, now_ms);
        assert_eq!((process.takeover.fresh, process.takeover.crashed), (None, false));
        assert_eq!(process.send(&flow), external);
    }
    assert!(
        process.takeover.to_string().starts_with("took over 1 sessions and 0 mappings after an orderly end")
    );
}

#[test]
fn a_region_has_one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let process = Process::start(&path, 10_000);
    let second = State::open_in(
        &path,
        &super::process::SIZES,
        [1; 4],
        packet::Moment::from_ms(1),
        flowtable::HugePages::NotAsked,
        [0, 0],
    );
    assert!(matches!(second, Err(OpenError::Busy { .. })));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it says who speaks with whom");
    drop(process);
    assert_eq!(Process::start(&path, 20_000).takeover.fresh, None);
    let nowhere = directory.path().join("missing").join("region");
    let error = State::open_in(
        &nowhere,
        &super::process::SIZES,
        [1; 4],
        packet::Moment::from_ms(1),
        flowtable::HugePages::NotAsked,
        [0, 0],
    );
    assert!(error.err().unwrap().to_string().contains("cannot open it"));
}

/// Does a part of an operation on one host's sessions, its intent set, and ends.
type Half = fn(&mut Process, &Flow);

#[test]
fn what_was_half_done_is_counted_again() {
    let halves: [(&str, Half); 5] = [
        ("opened, not inserted", |process, flow| {
            let source = Endpoint { port: 9_999, ..flow.source() };
            process.acquire("red", &Flow::new(flow.realm(), flow.protocol(), source, flow.destination()));
        }),
        ("opened towards another remote, not inserted", |process, flow| {
            let remote = Endpoint { address: [198, 51, 100, 77].into(), port: flow.destination().port };
            process.acquire("red", &Flow::new(flow.realm(), flow.protocol(), flow.source(), remote));
        }),
        ("announced, nothing taken", |process, flow| {
            let external = Endpoint { address: [203, 0, 113, 10].into(), port: 4_444 };
            let realm = process.rules.pools[0].realm;
            let intent = process.shard_of(flow).mappings.intent();
            intent.begin(flow, flow);
            intent.aim_at(flow, external, realm);
        }),
        ("closed, nothing given back", |process, flow| {
            let (line, state) = (process.line(flow).unwrap(), std::sync::Arc::clone(&process.state));
            let slot = state.parts.sessions.slot_of(line);
            let [internal, external] = state.keys(slot);
            let shard = process.shard_of(flow);
            shard.mappings.intent().begin(&internal, &external);
            shard.sessions.remove(slot);
        }),
        ("closed, given back, not cleared", |process, flow| {
            let [internal, external] =
                process.state.keys(process.state.parts.sessions.slot_of(process.line(flow).unwrap()));
            process.close(flow);
            process.shard_of(flow).mappings.intent().begin(&internal, &external);
        }),
    ];
    for (protocol, (what, half)) in PROTOCOLS.into_iter().flat_map(|one| halves.map(|half| (one, half))) {
        let directory = tempfile::tempdir().unwrap();
        let mut process = Process::start(&directory.path().join("region"), 10_000);
        let sessions = busy(&mut process);
        let flow = process.flow("red", protocol, 258, 1_002);
        let external = sessions[&format!("{flow:?}")].2;
        let untouched = process.holdings();
        half(&mut process, &flow);
        let is_closed = process.line(&flow).is_none();
        let mut process = Process::start(&process.kill(), 20_000);
        assert_eq!(process.takeover.shards_recounted, 1, "{what}");
        assert_eq!(process.takeover.sessions_dropped, 0, "{what}");
        assert_eq!(process.takeover.sessions_kept, 720 - u32::from(is_closed), "{what}");
        for (name, (_, flow, external)) in &sessions {
            if !(is_closed && *name == format!("{flow:?}") && process.line(flow).is_none()) {
                assert_eq!(process.send(flow), *external, "{what}: {name}");
            }
        }
        if is_closed && protocol == Protocol::TCP {
            // Its port is free; whoever opens it again may get another.
            let (occupancy, ports) = process.holdings();
            assert_eq!(occupancy.sessions, untouched.0.sessions - 1);
            assert_eq!(ports[&external.address].0, untouched.1[&external.address].0 - 1, "{what}");
        } else {
            assert_eq!(process.send(&flow), external, "{what}");
        }
        // However it was counted, when all sessions have ended nothing is left.
        process.pass(4_000_000);
        let (occupancy, ports) = process.holdings();
        assert_eq!(occupancy, emptied(occupancy), "{what}");
        assert!(ports.values().all(|used| *used == (0, 0)), "{what}: {ports:?}");
    }
}

/// Its line holds the one, and of the other the number of an address alone.
#[test]
fn a_mapping_that_rests_keeps_the_numbers_of_both_its_realms() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(&directory.path().join("region"), 10_000);
    let flow = process.flow("red", Protocol::UDP, 300, 5_000);
    let realms = [flow.realm(), process.rules.pools[0].realm];
    process.send(&flow);
    process.close(&flow);
    assert_eq!((process.state.occupancy().sessions, process.state.occupancy().mappings), (0, 1));
    assert!(realms.iter().all(|realm| process.state.is_realm_in_use(*realm)));
    let mut process = Process::start(&process.kill(), 20_000);
    assert!(realms.iter().all(|realm| process.state.is_realm_in_use(*realm)));
    process.pass(62_000);
    assert!(!realms.iter().any(|realm| process.state.is_realm_in_use(*realm)));
}

#[test]
fn a_mapping_half_removed_gives_its_port_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(&directory.path().join("region"), 10_000);
    let flow = process.flow("red", Protocol::UDP, 300, 5_000);
    process.send(&flow);
    process.close(&flow);
    let external = process.rules.pools[0].realm;
    let shard = process.shard_of(&flow);
    let table = shard.mappings.mappings.table();
    let slot = table.slot_of(
        table.find(shard.index(), &flow.mapping_key(Dependence::EndpointIndependent, external)).unwrap(),
    );
    let [internal, external] = shard.mappings.keys(slot);
    shard.mappings.intent().begin(&internal, &external);
    shard.mappings.mappings.remove(slot);
    assert_eq!(process.ports_used().values().map(|used| used.0).sum::<u32>(), 1);
    let process = Process::start(&process.kill(), 20_000);
    let (occupancy, ports) = process.holdings();
    assert_eq!((occupancy.mappings, occupancy.hosts), (0, 0));
    assert!(ports.values().all(|used| *used == (0, 0)));
}

#[test]
fn a_session_in_work_at_two_crashes_is_dropped_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(&directory.path().join("region"), 10_000);
    let sessions = busy(&mut process);
    let flow = process.flow("red", Protocol::TCP, 258, 1_002);
    for (now_ms, dropped) in [(20_000, 0), (30_000, 1)] {
        process.shard_of(&flow).mappings.intent().begin(&flow, &flow);
        process = Process::start(&process.kill(), now_ms);
        assert_eq!(process.takeover.sessions_dropped, dropped);
    }
    assert!(process.line(&flow).is_none());
    for (_, other, external) in sessions.values().filter(|(_, other, _)| *other != flow) {
        assert_eq!(process.send(other), *external);
    }
    process.pass(4_000_000);
    assert!(process.ports_used().values().all(|used| *used == (0, 0)));
}

#[test]
fn a_state_that_makes_processes_crash_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(&directory.path().join("region"), 10_000);
    let flow = process.flow("red", Protocol::TCP, 300, 5_000);
    process.send(&flow);
    for now_ms in [11_000, 12_000] {
        process = Process::start(&process.kill(), now_ms);
        assert_eq!((process.takeover.fresh, process.takeover.sessions_kept), (None, 1), "{now_ms}");
    }
    process = Process::start(&process.kill(), 13_000);
    assert_eq!(
        process.takeover.to_string(),
        "the last 3 processes ended within 5 s of taking the flow state over: starting without sessions"
    );
    assert!(process.line(&flow).is_none());
    assert!(process.ports_used().values().all(|used| *used == (0, 0)));
    process.send(&flow);
    process = Process::start(&process.kill(), 14_000);
    assert_eq!((process.takeover.fresh, process.takeover.sessions_kept), (None, 1));
}

#[test]
fn hosts_of_one_subnet_are_spread_over_the_shards() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(&directory.path().join("region"), 10_000);
    let mut counts = [0; 4];
    for host in 0..4_096 {
        let flow = process.flow("red", Protocol::UDP, host, 1);
        counts[usize::from(process.state.shard_of_host(flow.realm(), flow.source().address).0)] += 1;
    }
    assert!(counts.iter().all(|count| (900..1_150).contains(count)), "{counts:?}");
    let differ = (0..256)
        .filter(|host| {
            let shards = TENANTS.map(|tenant| {
                let flow = process.flow(tenant, Protocol::UDP, *host, 1);
                process.state.shard_of_host(flow.realm(), flow.source().address)
            });
            shards[0] != shards[1]
        })
        .count();
    assert!((150..230).contains(&differ), "another tenant's hosts are spread in another way: {differ}");
    assert_eq!(process.flow("red", Protocol::UDP, 0, 1).destination().address, SERVER);
}
