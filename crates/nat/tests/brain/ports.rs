//! Ports that run out, rest, and come back (RFC 6888 REQ-8 and REQ-11).

use nat::DropReason;
use packet::tcp::SYN;

use crate::tcp::connect;
use crate::world::scene::*;
use crate::world::{Endpoint, Setup, World};

/// By another port than its own, which has timers of its own.
const DNS: Endpoint = (SERVER.address, 5_353);

fn with_ports(ports: &str) -> World {
    let pool = format!("addresses: [203.0.113.10], ports: {ports}");
    scene_with(&[("addresses: [203.0.113.10]", &pool)])
}

//= rfc6888#REQ-11
//= rfc6888#REQ-11B
//= rfc6888#REQ-11C
//= rfc5508#REQ-8
#[test]
fn rfc6888_req11_exhausted_ports_refuse_new_flows_and_end_none() {
    let mut world = with_ports("2000-2009");
    let externals: Vec<Endpoint> =
        (0..10).map(|port| world.one(RED_A.udp(4_000 + port, DNS, b"")).source()).collect();
    let connection = connect(&mut world, RED_A, 5_000, DNS);
    assert_eq!(world.ports_used(RED_POOL), 11);
    for port in 6_000..6_020 {
        let refused = RED_B.udp(port, DNS, b"may I?");
        let error = world.refuses(refused.clone(), DropReason::PortExhausted);
        assert_eq!(error, RED_B.peer(RED_GATEWAY).gateway_error(RED_B.address, (3, 1, 0), &refused));
    }
    // Each mapping still lets in and out, and a new remote needs no new port.
    for (port, external) in (4_000..).zip(externals) {
        assert_eq!(world.one(SERVER.udp(5_353, external, b"")).destination(), (RED_A.address, port));
        assert_eq!(world.one(RED_A.udp(port, (OTHER.address, 1), b"")).source(), external);
    }
    assert_eq!(world.one(SERVER.tcp(5_353, connection, SYN)).destination(), (RED_A.address, 5_000));
    // Nor do other protocols' ports run out with UDP's.
    world.one(RED_B.ping(1, SERVER.address));
}

//= rfc6888#REQ-11
#[test]
fn a_full_table_refuses_new_sessions_and_ends_none() {
    let mut world = scene_on(Setup::with_sessions(8), &[]);
    let externals: Vec<Endpoint> =
        (0..8).map(|port| world.one(RED_A.tcp(4_000 + port, DNS, SYN)).source()).collect();
    let error = world.refuses(RED_A.tcp(5_000, DNS, SYN), DropReason::TableFull);
    assert_eq!(error.icmp(), (3, 1, 0));
    assert_eq!(world.ports_used(RED_POOL), 8, "a refusal keeps no port");
    assert_eq!(world.occupancy().hosts, 1);
    for (port, external) in (4_000..).zip(externals) {
        assert_eq!(world.one(SERVER.tcp(5_353, external, SYN)).destination(), (RED_A.address, port));
    }
    world.pass(31_000);
    world.one(RED_A.tcp(5_000, DNS, SYN));
}

//= rfc6888#REQ-11
#[test]
fn a_full_table_of_hosts_refuses_new_hosts_and_no_others() {
    let mut world = scene_on(Setup { hosts_max: Some(1), ..Setup::with_sessions(64) }, &[]);
    world.one(RED_A.tcp(4_000, DNS, SYN));
    let error = world.refuses(RED_B.tcp(4_000, DNS, SYN), DropReason::HostTableFull);
    assert_eq!(error.icmp(), (3, 1, 0));
    (4_001..4_010).for_each(|port| _ = world.one(RED_A.tcp(port, DNS, SYN)));
    assert_eq!(world.occupancy().hosts, 1);
}

//= rfc6888#REQ-11
#[test]
fn a_full_table_of_mappings_refuses_new_ones_and_what_needs_none_goes_on() {
    let mut world = scene_on(Setup { mappings_max: Some(1), ..Setup::with_sessions(64) }, &[]);
    world.one(RED_A.udp(4_000, DNS, b""));
    let error = world.refuses(RED_A.udp(4_001, DNS, b""), DropReason::MappingTableFull);
    assert_eq!(error.icmp(), (3, 1, 0));
    world.one(RED_A.udp(4_000, DNS, b""));
    (4_001..4_010).for_each(|port| _ = world.one(RED_B.tcp(port, DNS, SYN)));
    assert_eq!(world.occupancy().mappings, 1);
}

#[test]
fn a_session_refused_for_want_of_room_leaves_nothing_behind() {
    let mut world = scene_on(Setup::with_sessions(1), &[]);
    world.one(RED_A.udp(4_000, DNS, b""));
    // Towards another remote the mapping serves, but there is no room for the permission.
    world.refuses(RED_A.udp(4_000, (OTHER.address, 1), b""), DropReason::MappingTableFull);
    for port in 0..3 {
        world.refuses(RED_B.udp(port, DNS, b""), DropReason::HostTableFull);
        world.refuses(RED_B.ping(port, SERVER.address), DropReason::HostTableFull);
    }
    world.pass(31_000);
    // The mapping of the refused datagram rests first, as any other does.
    world.pass(61_000);
    let occupancy = world.occupancy();
    assert_eq!(
        (occupancy.sessions, occupancy.mappings, occupancy.hosts, occupancy.permissions),
        (0, 0, 0, 0)
    );
    assert_eq!(world.ports_used(RED_POOL), 0);
}

//= rfc6888#REQ-8
#[test]
fn rfc6888_req8_a_freed_udp_port_rests_for_a_minute() {
    let mut world = with_ports("2000-2000");
    let external = world.one(RED_A.udp(4_000, DNS, b"")).source();
    world.pass(30_000);
    assert_eq!(world.sessions().len(), 0);
    assert_eq!(world.occupancy().mappings, 1, "the mapping rests");
    // While it rests nothing comes in by it, and no one else has it.
    world.drops(SERVER.udp(5_353, external, b""), DropReason::NoMapping);
    world.pass(59_999);
    world.refuses(RED_B.udp(4_000, DNS, b""), DropReason::PortExhausted);
    world.refuses(RED_A.udp(4_001, DNS, b""), DropReason::PortExhausted);
    world.pass(1);
    assert_eq!(world.ports_used(RED_POOL), 0);
    assert_eq!(world.one(RED_B.udp(4_000, DNS, b"")).source(), external);
}

#[test]
fn rfc6888_req8_the_same_endpoint_has_its_port_back_while_it_rests() {
    let mut world = with_ports("2000-2001");
    let external = world.one(RED_A.udp(4_000, DNS, b"")).source();
    for _ in 0..3 {
        world.pass(30_000 + 59_000);
        assert_eq!(world.sessions().len(), 0);
        assert_eq!(world.one(RED_A.udp(4_000, (OTHER.address, 1), b"")).source(), external);
        // The rest begins anew when this session has ended.
        world.pass(1_001);
        assert_eq!(world.occupancy().mappings, 1);
        world.one(OTHER.udp(1, external, b""));
        world.pass(150_000);
    }
}

#[test]
fn the_length_of_the_rest_is_the_pools() {
    let mut world = scene_with(&[(
        "addresses: [203.0.113.10]",
        "addresses: [203.0.113.10], ports: 2000-2000, hold_down_s: 5",
    )]);
    world.one(RED_A.udp(4_000, DNS, b""));
    world.pass(34_999);
    world.refuses(RED_B.udp(4_000, DNS, b""), DropReason::PortExhausted);
    world.pass(1);
    world.one(RED_B.udp(4_000, DNS, b""));
}

#[test]
fn a_mapping_lives_as_long_as_the_last_of_its_sessions() {
    let mut world = scene();
    let external = world.one(RED_A.udp(4_000, DNS, b"")).source();
    world.pass(20_000);
    assert_eq!(world.one(RED_A.udp(4_000, (OTHER.address, 1), b"")).source(), external);
    world.pass(20_000);
    // The first remote's session has ended, and its permission with it.
    assert_eq!(world.sessions().len(), 1);
    world.drops(SERVER.udp(5_353, external, b""), DropReason::Filtered);
    world.one(OTHER.udp(1, external, b""));
    assert_eq!(world.one(RED_A.udp(4_000, DNS, b"")).source(), external);
}

#[test]
fn everything_is_given_back_in_the_end() {
    let mut world = scene();
    for port in 0..200 {
        world.one(RED_A.udp(port, DNS, b""));
        world.one(RED_A.udp(port, (OTHER.address, 1), b""));
        world.one(RED_B.ping(port, SERVER.address));
        connect(&mut world, RED_A, port, DNS);
    }
    let occupancy = world.occupancy();
    assert_eq!((occupancy.sessions, occupancy.mappings, occupancy.hosts), (800, 400, 2));
    assert_eq!((occupancy.permissions, world.ports_used(RED_POOL)), (200, 600));
    world.pass(3_600_000 + 61_000);
    let occupancy = world.occupancy();
    assert_eq!((occupancy.sessions, occupancy.mappings, occupancy.hosts), (0, 0, 0));
    assert_eq!((occupancy.permissions, world.ports_used(RED_POOL)), (0, 0));
    assert_eq!(
        world.count(|counters| &counters.sessions_created),
        world.count(|counters| &counters.sessions_closed)
    );
}
