//! The gateways are killed, and others go on with what they left: the same connections, by the same external endpoints, for
//! the same tenants.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's way to fail")]

mod world;

use std::path::{Path, PathBuf};

use nat::{Counters, DropReason, Phase};
use packet::Moment;
use packet::tcp::{ACK, PSH, SYN};
use world::scene::*;
use world::{Endpoint, Host, Setup, World};

const WWW: Endpoint = (SERVER.address, 443);

/// Both tenants' hosts of the same address use the same ports.
const TENANTS: [Host; 2] = [RED_A, BLUE_A];

/// The rules of the scene with its routers the other way round.
fn in_another_order() -> String {
    let (head, routers) = RULES.split_once("routers:\n").unwrap();
    let (red, blue) = routers.split_once("  - id: blue\n").unwrap();
    format!("{head}routers:\n  - id: blue\n{blue}{red}")
}

/// A world of so many workers over the region that another has left, if any.
fn open(path: &Path, now_ms: u64, workers: usize, rules: &str) -> World {
    let (world, takeover) =
        World::open(path, Moment::from_ms(now_ms), Setup::of_workers(workers), rules, &HOSTS);
    assert_eq!(takeover.fresh.is_none(), now_ms > 10_000, "{takeover}");
    assert_eq!((takeover.sessions_dropped, takeover.shards_recounted), (0, 0), "{takeover}");
    world
}

/// Where a host's TCP connection and its UDP flow come out.
struct Flows {
    host: Host,
    port: u16,
    tcp: Endpoint,
    udp: Endpoint,
}

fn begin(world: &mut World, host: Host, port: u16) -> Flows {
    let tcp = world.one(host.tcp(port, WWW, SYN)).source();
    world.one(SERVER.tcp(WWW.1, tcp, SYN | ACK));
    world.one(host.tcp(port, WWW, ACK));
    let udp = world.one(host.udp(port, WWW, b"hello")).source();
    world.one(SERVER.udp(WWW.1, udp, b"hello"));
    Flows { host, port, tcp, udp }
}

/// Both go on in both directions, as if nothing had happened.
fn go_on(world: &mut World, flows: &Flows) {
    let Flows { host, port, tcp, udp } = *flows;
    let inside = (host.address, port);
    // The side that was away may be the first to speak.
    let arrived = world.one(SERVER.tcp(WWW.1, tcp, PSH | ACK));
    assert_eq!((arrived.destination(), arrived.wire), (inside, host.wire));
    assert_eq!(world.one(host.tcp(port, WWW, PSH | ACK)).source(), tcp);
    assert_eq!(world.one(host.udp(port, WWW, b"more")).source(), udp);
    let arrived = world.one(SERVER.udp(WWW.1, udp, b"more"));
    assert_eq!((arrived.destination(), arrived.wire), (inside, host.wire));
}

#[test]
fn connections_go_on_whatever_the_order_of_routers_and_the_number_of_workers() {
    let directory = tempfile::tempdir().unwrap();
    let mut path = directory.path().join("region");
    let mut world = open(&path, 10_000, 2, RULES);
    let flows: Vec<Flows> = TENANTS
        .into_iter()
        .flat_map(|host| (5_000..5_020).map(move |port| (host, port)))
        .map(|(host, port)| begin(&mut world, host, port))
        .collect();
    let reversed = in_another_order();
    for (now_ms, workers, rules) in [(20_000, 1, &*reversed), (30_000, 4, RULES), (40_000, 2, &*reversed)] {
        let used = [RED_POOL, BLUE_POOL].map(|address| world.ports_used(address));
        assert_eq!(used, [40, 40]);
        path = world.kill(&path);
        world = open(&path, now_ms, workers, rules);
        assert_eq!([RED_POOL, BLUE_POOL].map(|address| world.ports_used(address)), used);
        for flows in &flows {
            go_on(&mut world, flows);
        }
        assert_eq!(world.count(|counters: &Counters| &counters.sessions_created), 0, "none was opened anew");
        let phases = world.sessions().iter().filter(|one| one.phase == Phase::TcpEstablished).count();
        assert_eq!((world.sessions().len(), phases), (80, 40));
    }
    let past = world.team.state.past();
    assert_eq!((past.sessions_created.get(), past.books().balance()), (80, 0));
}

#[test]
fn who_was_not_let_in_before_is_not_let_in_after() {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("region");
    let mut world = open(&path, 10_000, 1, RULES);
    let flows = begin(&mut world, RED_A, 5_000);
    let mut world = open(&world.kill(&path), 20_000, 2, RULES);
    world.drops(OTHER.udp(WWW.1, flows.udp, b"knock"), DropReason::Filtered);
    world.drops(OTHER.tcp(WWW.1, flows.tcp, SYN), DropReason::NoMapping);
    world.drops(SERVER.udp(WWW.1, (BLUE_POOL, flows.udp.1), b"knock"), DropReason::NoMapping);
    // The server may come from another port, by a mapping and a permission that were taken over.
    let arrived = world.one(SERVER.udp(1_234, flows.udp, b"hello"));
    assert_eq!(arrived.destination(), (RED_A.address, 5_000));
}

#[test]
fn two_tenants_who_talk_through_their_external_addresses_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let mut world = open(&path, 10_000, 2, RULES);
    let red = begin(&mut world, RED_A, 5_000);
    // Blue speaks to red's mapping once red has spoken to blue's external address.
    let blue = begin(&mut world, BLUE_A, 6_000);
    world.send(RED_A.udp(5_000, blue.udp, b"knock"));
    let arrived = world.one(BLUE_A.udp(6_000, red.udp, b"through"));
    let mut world = open(&world.kill(&path), 20_000, 4, &in_another_order());
    assert_eq!(world.one(BLUE_A.udp(6_000, red.udp, b"through")), arrived);
    assert_eq!((arrived.source(), arrived.destination()), (blue.udp, (RED_A.address, 5_000)));
}

#[test]
fn an_orderly_end_leaves_nothing_to_account_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let mut world = open(&path, 10_000, 2, RULES);
    let flows = begin(&mut world, RED_A, 5_000);
    drop(world);
    let mut world = open(&path, 10_500, 1, RULES);
    go_on(&mut world, &flows);
    assert_eq!(world.team.state.past().dropped(DropReason::GatewayEnded), 0);
}

/// The scene's red pool with more to say, and forwardings of an address of red's.
fn with(pool: &str) -> String {
    let forwarding = "port_forwardings:
      - {id: site, external: 203.0.113.70, protocol: tcp, external_ports: 8000-8009, internal: 10.0.0.11, internal_ports: 80-89}
      - {id: site-udp, external: 203.0.113.70, protocol: udp, external_ports: 8000-8009, internal: 10.0.0.11, internal_ports: 80-89}
    no_nat: [192.0.2.0/24]";
    rules_with(&[
        ("addresses: [203.0.113.10]", &format!("addresses: [203.0.113.10]{pool}")),
        ("no_nat: [192.0.2.0/24]", forwarding),
    ])
}

#[test]
fn forwarded_sessions_go_on_whoever_opened_them() {
    let directory = tempfile::tempdir().unwrap();
    let (path, rules) = (directory.path().join("region"), with(""));
    let (site, inside) = (("203.0.113.70".parse().unwrap(), 8_003), (RED_A.address, 83));
    let mut world = open(&path, 10_000, 1, &rules);
    assert_eq!(world.one(SERVER.tcp(5_000, site, SYN)).destination(), inside);
    world.one(RED_A.tcp(83, (SERVER.address, 5_000), SYN | ACK));
    world.one(SERVER.tcp(5_000, site, ACK));
    assert_eq!(world.one(RED_A.udp(83, (SERVER.address, 6_000), b"")).source(), site);
    world.one(SERVER.udp(6_000, site, b""));
    // Not answered yet.
    world.one(SERVER.udp(7_000, site, b""));
    let mut world = open(&world.kill(&path), 20_000, 3, &rules);
    assert_eq!(world.sessions().len(), 3);
    assert_eq!(world.one(RED_A.tcp(83, (SERVER.address, 5_000), PSH | ACK)).source(), site);
    assert_eq!(world.one(SERVER.tcp(5_000, site, PSH | ACK)).destination(), inside);
    assert_eq!(world.one(SERVER.udp(6_000, site, b"")).destination(), inside);
    assert_eq!(world.one(RED_A.udp(83, (SERVER.address, 7_000), b"")).source(), site);
    assert_eq!(world.count(|counters: &Counters| &counters.sessions_created), 0);
    // As before, only a SYN opens one; and what the rules forward no longer ends.
    world.drops(SERVER.tcp(5_001, site, PSH | ACK), DropReason::NotSyn);
    world.adopt(
        &rules.replace("external_ports: 8000-8009", "external_ports: 8000-8002").replace("80-89", "80-82"),
    );
    world.drops(SERVER.tcp(5_000, site, PSH | ACK), DropReason::LocalUnhandled);
    assert_eq!(world.ports_used(RED_POOL), 0);
}

#[test]
fn a_host_has_no_more_blocks_than_before() {
    let directory = tempfile::tempdir().unwrap();
    let (path, rules) = (directory.path().join("region"), with(", blocks: {ports: 16, per_host_max: 1}"));
    let mut world = open(&path, 10_000, 2, &rules);
    let mut ports: Vec<u16> =
        (0..16).map(|port| world.one(RED_A.udp(4_000 + port, WWW, b"")).source().1).collect();
    ports.sort_unstable();
    assert_eq!((ports[0] % 16, ports[15]), (0, ports[0] + 15), "all of one block");
    let mut world = open(&world.kill(&path), 20_000, 1, &rules);
    world.refuses(RED_A.udp(5_000, WWW, b""), DropReason::HostPortQuota);
    assert_eq!(world.occupancy().blocks, 1);
    for port in 0..16 {
        assert!(ports.contains(&world.one(RED_A.udp(4_000 + port, WWW, b"")).source().1));
        assert!(!ports.contains(&world.one(RED_B.udp(4_000 + port, WWW, b"")).source().1));
    }
}

#[test]
fn a_port_that_hosts_of_several_shards_share_is_still_one_hosts_towards_each_remote() {
    let directory = tempfile::tempdir().unwrap();
    let (path, rules) = (directory.path().join("region"), with(", ports: 2000-2000"));
    let hosts: Vec<Host> = (100..116).map(red).collect();
    let mut world = open(&path, 10_000, 2, &rules);
    for (host, port) in hosts.iter().zip(1..) {
        world.add(*host);
        assert_eq!(world.one(host.tcp(4_000, (SERVER.address, port), SYN)).source(), (RED_POOL, 2_000));
    }
    let mut world = open(&world.kill(&path), 20_000, 3, &rules);
    assert_eq!(world.ports_used(RED_POOL), 1);
    for (host, port) in hosts.iter().zip(1..) {
        world.add(*host);
        let answer = world.one(SERVER.tcp(port, (RED_POOL, 2_000), SYN | ACK));
        assert_eq!(answer.destination(), (host.address, 4_000));
        world.refuses(RED_B.tcp(4_000, (SERVER.address, port), SYN), DropReason::PortExhausted);
    }
    assert_eq!(world.one(RED_B.tcp(4_000, (SERVER.address, 80), SYN)).source(), (RED_POOL, 2_000));
    world.pass(40_000);
    assert_eq!((world.sessions().len(), world.ports_used(RED_POOL)), (0, 0), "{:?}", world.sessions());
}

#[test]
fn a_port_that_rests_is_nobody_elses_until_its_time_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let (path, rules) = (directory.path().join("region"), with(", ports: 2000-2000, hold_down_s: 60"));
    let mut world = open(&path, 10_000, 1, &rules);
    let external = world.one(RED_A.udp(1, WWW, b"")).source();
    world.pass(40_000);
    assert_eq!((world.sessions().len(), world.ports_used(RED_POOL)), (0, 1));
    let mut world = open(&world.kill(&path), 60_000, 2, &rules);
    world.refuses(RED_B.udp(3, WWW, b""), DropReason::PortExhausted);
    world.drops(SERVER.udp(WWW.1, external, b""), DropReason::NoMapping);
    world.drops(SERVER.udp(WWW.1 + 1, external, b""), DropReason::NoMapping);
    assert_eq!(world.one(RED_A.udp(1, (OTHER.address, 443), b"")).source(), external, "its own host's again");
    // And it rests anew, for its whole time.
    world.pass(31_500);
    assert_eq!(world.sessions().len(), 0);
    world.pass(58_000);
    world.refuses(RED_B.udp(3, WWW, b""), DropReason::PortExhausted);
    world.pass(3_000);
    world.one(RED_B.udp(3, WWW, b""));
}
