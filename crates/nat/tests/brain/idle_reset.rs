//! Connections that were idle for too long, and who is told: nobody, whoever goes on all the same, or both sides at once.

use nat::{DropReason, Phase};
use packet::tcp::{ACK, FIN, PSH, RST, SYN};
use packet::testing::Segment;

use crate::tcp::connect;
use crate::world::scene::*;
use crate::world::{Endpoint, FIRST_BYTE, Host, Packet, Setup, World};

const WWW: Endpoint = (SERVER.address, 443);

/// Of an established connection, in the scene.
const IDLE_MS: u64 = 3_600_000;

/// The time in which an expiry is found for sure.
const SWEPT_MS: u64 = 1_100;

/// The scene, where red does this about idle connections.
fn scene_that(resets: &str) -> World {
    scene_with(&[("pool: red}]", &format!("pool: red}}]\n    tcp: {{idle_reset: {resets}}}"))])
}

/// A reset that a host hears, as the gateway writes it for `from`.
fn reset(hearer: Host, port: u16, from: Endpoint, sequence: u32) -> Packet {
    let said = Segment { flags: RST, sequence, window: 0, ..Segment::default() };
    hearer.peer(from.0).segment(from.1, (hearer.address, port), said)
}

/// Opens a connection and says something on it, both ways; returns its external endpoint. Red's host has sent four bytes, the
/// server twice as many; all are acknowledged.
fn talk(world: &mut World, port: u16) -> Endpoint {
    let external = connect(world, RED_A, port, WWW);
    let says = |sequence, acknowledgement, payload| Segment {
        flags: PSH | ACK,
        sequence: FIRST_BYTE + sequence,
        acknowledgement: FIRST_BYTE + acknowledgement,
        payload,
        ..Segment::default()
    };
    world.one(RED_A.segment(port, WWW, says(0, 0, b"what")));
    world.one(SERVER.segment(443, external, says(0, 4, b"whatever")));
    world.one(RED_A.segment(port, WWW, says(4, 8, b"")));
    external
}

#[test]
fn by_default_nobody_is_told() {
    let mut world = scene();
    let external = talk(&mut world, 4_000);
    assert_eq!(world.pass(IDLE_MS + SWEPT_MS), []);
    assert_eq!(world.sessions().len(), 0);
    world.drops(RED_A.tcp(4_000, WWW, PSH | ACK), DropReason::NotSyn);
    world.drops(SERVER.tcp(443, external, PSH | ACK), DropReason::NoMapping);
}

#[test]
fn who_goes_on_after_an_idle_connection_has_ended_is_reset() {
    let mut world = scene_that("on_next_segment");
    let external = talk(&mut world, 4_000);
    assert_eq!(world.pass(IDLE_MS + SWEPT_MS), []);
    assert_eq!(world.sessions().len(), 0);
    // What is expected next is said by the segment itself: what it acknowledges.
    let segment = |flags, payload| Segment {
        flags,
        sequence: FIRST_BYTE + 4,
        acknowledgement: FIRST_BYTE + 8,
        payload,
        ..Segment::default()
    };
    for flags in [ACK, PSH | ACK, FIN | ACK] {
        let told = world.refuses(RED_A.segment(4_000, WWW, segment(flags, b"on")), DropReason::NotSyn);
        assert_eq!(told, reset(RED_A, 4_000, WWW, FIRST_BYTE + 8));
    }
    let told = world.refuses(RED_A.segment(4_000, WWW, segment(FIN, b"on")), DropReason::NotSyn);
    let acknowledging =
        Segment { flags: RST | ACK, acknowledgement: FIRST_BYTE + 4 + 3, window: 0, ..Segment::default() };
    assert_eq!(told, RED_A.peer(SERVER.address).segment(443, (RED_A.address, 4_000), acknowledging));
    // Never an answer to a reset, nor to what did not arrive whole; and who is outside learns nothing.
    world.drops(RED_A.segment(4_000, WWW, segment(RST | ACK, b"")), DropReason::NotSyn);
    world.drops(SERVER.tcp(443, external, PSH | ACK), DropReason::NoMapping);
    world.lenient = true;
    let damaged = RED_A.tcp(4_000, WWW, PSH | ACK).change(|mut bytes| {
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    });
    world.drops(damaged, DropReason::NotSyn);
    world.lenient = false;
    // A new connection is welcome.
    connect(&mut world, RED_A, 4_000, WWW);
    assert_eq!(world.session().phase, Phase::TcpEstablished);
}

#[test]
fn who_goes_on_with_a_forwarded_port_is_reset_too() {
    let forwarding = "floating_ips:\n      - {id: web,";
    let forwarded = format!(
        "port_forwardings:\n      - {{id: ssh, external: 203.0.113.70, protocol: tcp, external_ports: 22, internal: 10.0.0.11}}\n    {forwarding}"
    );
    let mut world = scene_with(&[
        ("pool: red}]", "pool: red}]\n    tcp: {idle_reset: on_next_segment}"),
        (forwarding, &forwarded),
    ]);
    let ssh = ("203.0.113.70".parse().unwrap(), 22);
    let told = world.refuses(SERVER.tcp(5_000, ssh, PSH | ACK), DropReason::NotSyn);
    assert_eq!(told, reset(SERVER, 5_000, ssh, FIRST_BYTE));
    // From beside it, and of a port of the same address that is not forwarded nothing is said.
    connect(&mut world, RED_B, 4_000, ssh);
    assert_eq!(world.sessions().len(), 2);
    world.drops(SERVER.tcp(5_000, (ssh.0, 23), PSH | ACK), DropReason::LocalUnhandled);
}

#[test]
fn resets_that_answer_are_bounded_as_errors_are() {
    let mut world = scene_on(
        Setup::of_one_worker(),
        &[("pool: red}]", "pool: red}]\n    tcp: {idle_reset: on_next_segment}")],
    );
    let said = (0..1_000).filter(|port| !world.send(RED_A.tcp(*port, WWW, ACK)).is_empty()).count();
    assert_eq!((said, world.count(|counters| &counters.errors_limited)), (256, 1_000 - 256));
    assert_eq!(world.dropped(DropReason::NotSyn), 1_000);
}

#[test]
fn both_sides_of_an_idle_connection_are_reset_with_the_number_they_expect() {
    let mut world = scene_that("both_now");
    let external = talk(&mut world, 4_000);
    assert_eq!(world.pass(IDLE_MS - SWEPT_MS), []);
    let mut told = world.pass(2 * SWEPT_MS);
    told.sort_by_key(|packet| packet.wire.port);
    let expected =
        [reset(RED_A, 4_000, WWW, FIRST_BYTE + 8).hop(), reset(SERVER, 443, external, FIRST_BYTE + 4).hop()];
    assert_eq!(told, expected);
    // Whoever is not content, because something was under way, has ten seconds to say so to the other side itself.
    assert_eq!(world.session().phase, Phase::TcpReset);
    assert_eq!(world.pass(8_000), []);
    assert_eq!(world.session().phase, Phase::TcpReset);
    assert_eq!(world.pass(2_000 + SWEPT_MS), [], "once");
    assert_eq!((world.sessions().len(), world.ports_used(RED_POOL)), (0, 0));
    // A reset may be lost: then the next segment is answered.
    let told = world.refuses(RED_A.tcp(4_000, WWW, PSH | ACK), DropReason::NotSyn);
    assert_eq!(told, reset(RED_A, 4_000, WWW, FIRST_BYTE));
}

#[test]
fn a_challenge_reaches_the_other_side_and_its_answer_comes_back() {
    let mut world = scene_that("both_now");
    let external = talk(&mut world, 4_000);
    assert_eq!(world.pass(IDLE_MS + SWEPT_MS).len(), 2);
    // The server had sent more, which was lost: the reset is not where it stands.
    let challenge = Segment {
        flags: ACK,
        sequence: FIRST_BYTE + 8,
        acknowledgement: FIRST_BYTE + 5,
        ..Segment::default()
    };
    let heard = world.one(SERVER.segment(443, external, challenge));
    let whole = RED_A.peer(SERVER.address).segment(443, (RED_A.address, 4_000), challenge);
    assert_eq!(heard, whole.hop());
    let answer = Segment { flags: RST, sequence: FIRST_BYTE + 5, ..Segment::default() };
    let heard = world.one(RED_A.segment(4_000, WWW, answer));
    assert_eq!(heard, SERVER.peer(external.0).segment(external.1, WWW, answer).hop());
    assert_eq!(world.session().phase, Phase::TcpReset);
    assert_eq!(world.pass(10_000 + SWEPT_MS), []);
    assert_eq!(world.sessions().len(), 0);
}

#[test]
fn only_connections_that_neither_side_has_ended_are_reset() {
    let mut world = scene_that("both_now");
    // Never answered; ended by both; reset already; of another protocol.
    world.one(RED_A.tcp(1, WWW, SYN));
    let external = connect(&mut world, RED_A, 2, WWW);
    world.one(RED_A.tcp(2, WWW, FIN | ACK));
    world.one(SERVER.tcp(443, external, FIN | ACK));
    let external = connect(&mut world, RED_A, 3, WWW);
    world.one(SERVER.tcp(443, external, RST));
    let external = world.one(RED_A.udp(4, WWW, b"?")).source();
    world.one(SERVER.udp(443, external, b"!"));
    assert_eq!(world.pass(200_000), []);
    assert_eq!(world.sessions().len(), 0);
    // One that a side has ended waits for the other, which may never come.
    let external = connect(&mut world, RED_A, 5, WWW);
    world.one(RED_A.tcp(5, WWW, FIN | ACK));
    let acknowledged =
        Segment { flags: ACK, sequence: FIRST_BYTE, acknowledgement: FIRST_BYTE + 1, ..Segment::default() };
    world.one(SERVER.segment(443, external, acknowledged));
    let mut told = world.pass(120_000 + SWEPT_MS);
    told.sort_by_key(|packet| packet.wire.port);
    let expected =
        [reset(RED_A, 5, WWW, FIRST_BYTE).hop(), reset(SERVER, 443, external, FIRST_BYTE + 1).hop()];
    assert_eq!(told, expected);
}

#[test]
fn two_hosts_of_ours_are_reset_through_each_others_addresses() {
    let mut world = scene_that("both_now");
    // From behind the pool to a machine that has a floating IP: one session.
    let web = (WEB, 80);
    let seen = world.one(RED_A.tcp(4_000, web, SYN));
    let external = seen.source();
    world.one(RED_WEB.tcp(80, external, SYN | ACK));
    world.one(RED_A.tcp(4_000, web, ACK));
    let mut told = world.pass(IDLE_MS + SWEPT_MS);
    told.sort_by_key(Packet::destination);
    let expected =
        [reset(RED_A, 4_000, web, FIRST_BYTE).hop(), reset(RED_WEB, 80, external, FIRST_BYTE).hop()];
    assert_eq!(told, expected);
}

#[test]
fn many_that_end_at_once_are_reset_a_burst_at_a_time_and_none_is_forgotten() {
    let mut world =
        scene_on(Setup::of_one_worker(), &[("pool: red}]", "pool: red}]\n    tcp: {idle_reset: both_now}")]);
    let began = world.now;
    for port in 1..=100 {
        connect(&mut world, RED_A, port, WWW);
    }
    world.pass(IDLE_MS - 1_000);
    // Both neighbours are known, as they are where there is other traffic; else but a few of a burst could wait for them.
    let external = world.one(RED_A.udp(1, WWW, b"?")).source();
    world.one(SERVER.udp(443, external, b"!"));
    let mut told = 0;
    while world.now.ms() < began.ms() + IDLE_MS + 30_000 {
        let mut answers = Vec::new();
        world.tick(50, &mut answers);
        answers.into_iter().for_each(|answer| world.enter(answer));
        let heard = world.heard().len();
        assert!(heard <= 32, "{heard} in one turn");
        told += heard;
    }
    assert_eq!((told, world.count(|counters| &counters.sessions_closed)), (200, 100));
}

#[test]
fn without_buffers_nobody_is_told_and_the_session_ends_all_the_same() {
    let mut world = scene_that("both_now");
    talk(&mut world, 4_000);
    world.pass(IDLE_MS - 5_000);
    world.set_out_of_buffers(true);
    assert_eq!(world.pass(20_000), []);
    assert_eq!(world.count(|counters| &counters.unmade), 2);
    assert_eq!(world.sessions().len(), 0);
}

#[test]
fn a_reset_that_does_not_arrive_is_nobodys_fault() {
    let mut world = scene_that("both_now");
    let external = talk(&mut world, 4_000);
    world.silence(RED_A);
    let (drops, told) = world.observe(|world| world.pass(IDLE_MS + 10_000));
    assert_eq!(told, [reset(SERVER, 443, external, FIRST_BYTE + 4).hop()], "and no error about it");
    assert_eq!(drops, [DropReason::NeighbourUnresolved]);
}

#[test]
fn rules_that_changed_meanwhile_and_still_allow_it_keep_nobody_from_being_told() {
    let mut world = scene_that("both_now");
    talk(&mut world, 4_000);
    world.pass(IDLE_MS - 5_000);
    let tcp = ("pool: red}]", "pool: red}]\n    tcp: {idle_reset: both_now}");
    world.adopt(&rules_with(&[tcp, ("no_nat: [192.0.2.0/24]", "no_nat: []")]));
    assert_eq!(world.pass(5_000 + SWEPT_MS).len(), 2);
}

#[test]
fn a_session_that_the_rules_no_longer_allow_ends_without_a_word() {
    let mut world = scene_that("both_now");
    talk(&mut world, 4_000);
    world.pass(IDLE_MS - 5_000);
    world.adopt(&rules_with(&[("pool: red}]", "snat: false}]\n    tcp: {idle_reset: both_now}")]));
    assert_eq!(world.pass(20_000), []);
    assert_eq!(world.sessions().len(), 0);
}
