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
