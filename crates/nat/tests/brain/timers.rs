//! Timers: each phase of a session lives as long as its profile says, to the millisecond, and not longer.

use nat::DropReason;
use packet::tcp::{ACK, FIN, RST, SYN};

use crate::tcp::connect;
use crate::world::World;
use crate::world::scene::*;

/// How a session comes to a phase, and how long it may stay silent there, in seconds: cloud profile, RFC profile.
struct Row {
    phase: &'static str,
    arrive: fn(&mut World),
    cloud_s: u64,
    rfc_s: u64,
}

const ROWS: [Row; 8] = [
    Row {
        phase: "opening",
        arrive: |world| _ = world.one(RED_A.tcp(4_000, WWW, SYN)),
        cloud_s: 30,
        rfc_s: 240,
    },
    Row {
        phase: "established",
        arrive: |world| _ = connect(world, RED_A, 4_000, WWW),
        cloud_s: 3_600,
        rfc_s: 7_440,
    },
    Row {
        phase: "closing",
        arrive: |world| {
            connect(world, RED_A, 4_000, WWW);
            world.one(RED_A.tcp(4_000, WWW, FIN | ACK));
        },
        cloud_s: 120,
        rfc_s: 240,
    },
    Row {
        phase: "time_wait",
        arrive: |world| {
            let external = connect(world, RED_A, 4_000, WWW);
            world.one(RED_A.tcp(4_000, WWW, FIN | ACK));
            world.one(SERVER.tcp(443, external, FIN | ACK));
        },
        cloud_s: 30,
        rfc_s: 240,
    },
    Row {
        phase: "reset",
        arrive: |world| {
            let external = connect(world, RED_A, 4_000, WWW);
            world.one(SERVER.tcp(443, external, RST));
        },
        cloud_s: 10,
        rfc_s: 240,
    },
    Row {
        phase: "initial",
        arrive: |world| _ = world.one(RED_A.udp(4_000, WWW, b"")),
        cloud_s: 30,
        rfc_s: 120,
    },
    Row {
        phase: "stream",
        arrive: |world| {
            let external = world.one(RED_A.udp(4_000, WWW, b"")).source();
            world.one(SERVER.udp(443, external, b""));
        },
        cloud_s: 180,
        rfc_s: 300,
    },
    Row { phase: "query", arrive: |world| _ = world.one(RED_A.ping(7, WWW.0)), cloud_s: 60, rfc_s: 60 },
];

const WWW: (std::net::Ipv4Addr, u16) = (SERVER.address, 443);

/// To the second that the RFCs count by, and to the millisecond.
fn lives_exactly(mut world: World, row: &Row, seconds: u64) {
    // Not on a full turn of the clock.
    world.pass(1_234);
    (row.arrive)(&mut world);
    let session = world.session();
    assert_eq!(session.phase.name(), row.phase);
    assert_eq!(u64::from(session.expires_in_ms), seconds * 1_000, "{}", row.phase);
    for (ms, left) in [(seconds * 1_000 - 1_000, 1), (999, 1), (1, 0), (1_000, 0)] {
        world.pass(ms);
        assert_eq!(world.sessions().len(), left, "{} about {seconds} s", row.phase);
    }
}

#[test]
fn cloud_profile_times_every_phase() {
    ROWS.iter().for_each(|row| lives_exactly(scene(), row, row.cloud_s));
}

//= rfc4787#REQ-5
//= rfc4787#REQ-5c
//= rfc5382#REQ-5
//= rfc5508#REQ-2
//= rfc7857#2.2
//= rfc7857#2.3
#[test]
fn rfc_profile_times_every_phase() {
    for row in &ROWS {
        let profile = "pool: red}]\n    timeouts: {profile: rfc}";
        lives_exactly(scene_with(&[("pool: red}]", profile)]), row, row.rfc_s);
    }
}

//= rfc5382#REQ-5a
//= rfc4787#REQ-5b
//= rfc5508#REQ-2a
#[test]
fn a_router_has_timers_of_its_own() {
    let timeouts = "pool: red}]\n    timeouts: {udp_initial_s: 7, tcp_established_s: 9}";
    let world = || scene_with(&[("pool: red}]", timeouts)]);
    lives_exactly(world(), &ROWS[5], 7);
    lives_exactly(world(), &ROWS[1], 9);
    lives_exactly(world(), &ROWS[7], 60);
}

//= rfc4787#REQ-6a
//= rfc4787#REQ-6
#[test]
fn rfc4787_req6_packets_of_either_direction_keep_a_session() {
    let mut world = scene();
    let external = world.one(RED_A.udp(4_000, WWW, b"")).source();
    world.one(SERVER.udp(443, external, b""));
    for _ in 0..5 {
        world.pass(179_000);
        world.one(RED_A.udp(4_000, WWW, b""));
        world.pass(179_000);
        world.one(SERVER.udp(443, external, b""));
    }
    world.pass(180_000);
    world.drops(SERVER.udp(443, external, b""), DropReason::NoMapping);
}

#[test]
fn a_session_that_is_over_lets_nothing_in_even_before_its_slot_is_swept() {
    let mut world = scene();
    let external = world.one(RED_A.udp(4_000, WWW, b"")).source();
    world.pass(30_000);
    world.drops(SERVER.udp(443, external, b""), DropReason::NoMapping);
}

#[test]
fn one_way_udp_stays_in_its_first_phase() {
    let mut world = scene();
    world.one(RED_A.udp(4_000, WWW, b""));
    world.pass(29_000);
    world.one(RED_A.udp(4_000, WWW, b""));
    world.pass(29_999);
    assert_eq!(world.session().phase.name(), "initial");
    world.pass(1);
    assert_eq!(world.sessions().len(), 0);
}

#[test]
fn a_session_outlives_the_time_between_a_restart_and_the_first_rules() {
    let mut world = World::new(RULES, &HOSTS);
    connect(&mut world, RED_A, 4_000, WWW);
    world.leap(3_000_000);
    world.one(RED_A.tcp(4_000, WWW, ACK));
    // Its deadline of old comes while no worker has rules; by when it was last seen it has most of an hour left.
    world.team_without_rules();
    world.leap(700_000);
    assert_eq!(world.occupancy().sessions, 1);
}

//= rfc4787#REQ-5a
#[test]
fn flows_to_certain_ports_have_timers_of_their_own_in_either_profile() {
    for (profile, dns_s, udp_s) in [("cloud", 10, 30), ("rfc", 30, 120)] {
        let by_port = "{protocol: tcp, ports: 400-443, initial_s: 5, established_s: 70}";
        let timeouts = format!("pool: red}}]\n    timeouts: {{profile: {profile}, by_port: [{by_port}]}}");
        let world = || scene_with(&[("pool: red}]", &timeouts)]);
        let dns = |world: &mut World| _ = world.one(RED_A.udp(4_000, (SERVER.address, 53), b""));
        lives_exactly(world(), &Row { phase: "initial", arrive: dns, cloud_s: 0, rfc_s: 0 }, dns_s);
        lives_exactly(world(), &ROWS[0], 5);
        lives_exactly(world(), &ROWS[1], 70);
        lives_exactly(world(), &ROWS[5], udp_s);
    }
}

//= rfc4787#REQ-6
#[test]
fn rfc4787_req6_inbound_datagrams_keep_nothing_alive_where_the_router_says_so() {
    let mut world = scene_with(&[("pool: red}]", "pool: red}]\n    udp_inbound_refresh: false")]);
    let external = world.one(RED_A.udp(4_000, WWW, b"")).source();
    world.one(SERVER.udp(443, external, b""));
    world.pass(100_000);
    // From inside alone.
    world.one(RED_A.udp(4_000, WWW, b""));
    for _ in 0..179 {
        world.one(SERVER.udp(443, external, b""));
        world.pass(1_000);
    }
    assert_eq!(world.sessions().len(), 1);
    world.pass(1_000);
    world.drops(SERVER.udp(443, external, b""), DropReason::NoMapping);
}

//= rfc7857#7
#[test]
fn datagrams_that_nobody_inside_answers_keep_no_session_alive() {
    let mut world = scene();
    let external = world.one(RED_A.udp(4_000, WWW, b"")).source();
    world.pass(1_000);
    // From another port of the same remote: a session of its own.
    for _ in 0..29 {
        world.one(SERVER.udp(444, external, b""));
        world.pass(1_000);
    }
    assert_eq!(world.sessions().len(), 1, "the host's own is over");
    world.pass(1_000);
    assert_eq!(world.sessions().len(), 0);
    world.drops(SERVER.udp(444, external, b""), DropReason::NoMapping);
}
