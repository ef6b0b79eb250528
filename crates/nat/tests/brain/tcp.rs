//! TCP: what opens a session, what a port is shared between, and what survives (RFC 5382, 7857).

use nat::{DropReason, Phase};
use packet::tcp::{ACK, FIN, PSH, RST, SYN};

use crate::world::scene::*;
use crate::world::{Endpoint, FIRST_BYTE, Host, World};
use packet::testing::Segment;

const WWW: Endpoint = (SERVER.address, 443);

/// Opens a connection of `host`'s to the server; returns its external endpoint.
pub(crate) fn connect(world: &mut World, host: Host, port: u16, to: Endpoint) -> Endpoint {
    let external = world.one(host.tcp(port, to, SYN)).source();
    let server = Host { address: to.0, ..SERVER };
    world.one(server.tcp(to.1, external, SYN | ACK));
    world.one(host.tcp(port, to, ACK));
    external
}

#[test]
fn only_a_syn_opens_a_session() {
    let mut world = scene();
    for flags in [ACK, SYN | ACK, FIN | ACK, RST, RST | ACK, PSH | ACK, 0, SYN | FIN, SYN | RST] {
        world.drops(RED_A.tcp(4_000, WWW, flags), DropReason::NotSyn);
    }
    assert_eq!(world.sessions().len(), 0);
    world.one(RED_A.tcp(4_000, WWW, SYN));
    assert_eq!(world.session().phase, Phase::TcpOpening);
}

//= rfc5382#REQ-4
#[test]
fn rfc5382_req4_an_unsolicited_syn_is_dropped_without_a_word() {
    let mut world = scene();
    let external = connect(&mut world, RED_A, 4_000, WWW);
    for port in [external.1, external.1 ^ 1, 22] {
        world.drops(OTHER.tcp(5_000, (RED_POOL, port), SYN), DropReason::NoMapping);
    }
    // Nor from another port of the very server: TCP mappings depend on both.
    world.drops(SERVER.tcp(80, external, SYN), DropReason::NoMapping);
    assert_eq!(world.pass(60_000), []);
}

//= rfc5382#REQ-2a
//= rfc5382#REQ-2
#[test]
fn rfc5382_req2_simultaneous_open_is_let_through() {
    let mut world = scene();
    let external = world.one(RED_A.tcp(4_000, WWW, SYN)).source();
    let crossing = world.one(SERVER.tcp(443, external, SYN));
    assert_eq!(crossing, RED_A.peer(SERVER.address).tcp(443, (RED_A.address, 4_000), SYN).hop());
    assert_eq!(world.one(RED_A.tcp(4_000, WWW, SYN | ACK)).source(), external);
    world.one(SERVER.tcp(443, external, SYN | ACK));
    world.one(RED_A.tcp(4_000, WWW, PSH | ACK));
    assert_eq!(world.session().phase, Phase::TcpEstablished);
}

#[test]
fn a_connection_is_established_by_both_sides_or_not_at_all() {
    let mut world = scene();
    let external = world.one(RED_A.tcp(4_000, WWW, SYN)).source();
    world.one(RED_A.tcp(4_000, WWW, ACK));
    assert_eq!(world.session().phase, Phase::TcpOpening, "a scanner's own acknowledgement proves nothing");
    world.one(SERVER.tcp(443, external, SYN | ACK));
    assert_eq!(world.session().phase, Phase::TcpOpening, "nor an answer that nobody has acknowledged");
    world.one(RED_A.tcp(4_000, WWW, ACK));
    assert_eq!(world.session().phase, Phase::TcpEstablished);
}

#[test]
fn retransmissions_of_a_syn_keep_the_port() {
    let mut world = scene();
    let external = world.one(RED_A.tcp(4_000, WWW, SYN)).source();
    for _ in 0..3 {
        world.pass(1_000);
        assert_eq!(world.one(RED_A.tcp(4_000, WWW, SYN)).source(), external);
    }
}

//= rfc7857#2.1
#[test]
fn a_connection_closes_as_rfc7857_section_2_says() {
    let mut world = scene();
    let external = connect(&mut world, RED_A, 4_000, WWW);
    assert_eq!(world.session().phase, Phase::TcpEstablished);
    world.one(SERVER.tcp(443, external, FIN | ACK));
    assert_eq!(world.session().phase, Phase::TcpClosing);
    // Half closed: the other side may go on for long.
    world.one(RED_A.tcp(4_000, WWW, PSH | ACK));
    world.one(RED_A.tcp(4_000, WWW, FIN | ACK));
    assert_eq!(world.session().phase, Phase::TcpTimeWait);
    // The last acknowledgement, and a retransmission of it, still pass.
    world.one(SERVER.tcp(443, external, ACK));
    world.one(SERVER.tcp(443, external, ACK));
}

/// A segment with other numbers than those in sequence.
fn off(flags: u8, sequence: u32) -> Segment<'static> {
    Segment { flags, sequence, acknowledgement: FIRST_BYTE, ..Segment::default() }
}

//= rfc7857#2.3
#[test]
fn rfc7857_section_2_3_a_reset_is_translated_and_the_session_lingers() {
    let mut world = scene();
    let external = connect(&mut world, RED_A, 4_000, WWW);
    let reset = world.one(SERVER.tcp(443, external, RST));
    assert_eq!(reset, RED_A.peer(SERVER.address).tcp(443, (RED_A.address, 4_000), RST).hop());
    assert_eq!(world.session().phase, Phase::TcpReset);
    // Had it been forged, the connection would go on, as long as it likes.
    assert_eq!(world.one(RED_A.tcp(4_000, WWW, PSH | ACK)).source(), external);
    assert_eq!(world.session().phase, Phase::TcpEstablished);
    world.pass(3_599_000);
    assert_eq!(world.sessions().len(), 1);
}

//= rfc7857#2.3
#[test]
fn a_reset_out_of_its_window_is_forwarded_and_changes_nothing() {
    let mut world = scene();
    let external = connect(&mut world, RED_A, 4_000, WWW);
    let edge = FIRST_BYTE + 0xfaf0;
    for flags in [RST, RST | ACK, FIN | ACK] {
        for sequence in [FIRST_BYTE - 1, edge + 1, 0, u32::MAX] {
            let heard = world.one(SERVER.segment(443, external, off(flags, sequence)));
            let whole = RED_A.peer(SERVER.address).segment(443, (RED_A.address, 4_000), off(flags, sequence));
            assert_eq!(heard, whole.hop(), "the endpoint decides, and challenges it where it likes");
            world.one(RED_A.segment(4_000, WWW, off(flags, sequence)));
            assert_eq!(world.session().phase, Phase::TcpEstablished, "{flags:#x} {sequence}");
        }
    }
    // The challenge, and the answer to that of a server which has really lost the connection.
    world.one(RED_A.tcp(4_000, WWW, ACK));
    world.one(SERVER.tcp(443, external, RST));
    assert_eq!(world.session().phase, Phase::TcpReset);
}

#[test]
fn a_refused_connection_is_over_by_a_reset_that_acknowledges_its_syn_and_by_no_other() {
    let mut world = scene();
    let external = world.one(RED_A.tcp(4_000, WWW, SYN)).source();
    world.one(SERVER.tcp(443, external, RST));
    let wrong = Segment { acknowledgement: FIRST_BYTE + 1, ..off(RST | ACK, 0) };
    world.one(SERVER.segment(443, external, wrong));
    assert_eq!(world.session().phase, Phase::TcpOpening);
    world.one(SERVER.segment(443, external, off(RST | ACK, 0)));
    assert_eq!(world.session().phase, Phase::TcpReset);
}

#[test]
fn windows_are_scaled_as_their_side_said() {
    let mut world = scene();
    let syn = |flags, scale| Segment { options: scale, ..off(flags, FIRST_BYTE - 1) };
    let external = world.one(RED_A.segment(4_000, WWW, syn(SYN, &[1, 3, 3, 7]))).source();
    world.one(SERVER.segment(443, external, syn(SYN | ACK, &[1, 3, 3, 2])));
    world.one(RED_A.tcp(4_000, WWW, ACK));
    world.one(SERVER.tcp(443, external, ACK));
    let phase_after = |world: &mut World, host: Host, port, to, sequence| {
        world.one(host.segment(port, to, off(FIN | ACK, sequence)));
        world.session().phase
    };
    let (inner, outer) = (FIRST_BYTE + (0xfaf0 << 7), FIRST_BYTE + (0xfaf0 << 2));
    assert_eq!(phase_after(&mut world, SERVER, 443, external, inner + 1), Phase::TcpEstablished);
    assert_eq!(phase_after(&mut world, RED_A, 4_000, WWW, outer + 1), Phase::TcpEstablished);
    assert_eq!(phase_after(&mut world, SERVER, 443, external, inner), Phase::TcpClosing);
    assert_eq!(phase_after(&mut world, RED_A, 4_000, WWW, outer), Phase::TcpTimeWait);
}

//= rfc7857#8
#[test]
fn resets_that_change_nothing_keep_nothing_alive() {
    let mut world = scene();
    let external = connect(&mut world, RED_A, 4_000, WWW);
    for _ in 0..71 {
        world.pass(50_000);
        // Out of their windows.
        world.one(RED_A.segment(4_000, WWW, off(RST, 7)));
        world.one(SERVER.segment(443, external, off(RST, 7)));
    }
    world.pass(49_000);
    assert_eq!(world.sessions().len(), 1);
    world.pass(1_000);
    assert_eq!(world.sessions().len(), 0, "after the hour of its last acknowledgement");
}

//= rfc7857#2.1
#[test]
fn rfc6191_a_syn_reopens_a_connection_that_is_over() {
    for end in [[FIN | ACK, FIN | ACK], [RST, RST]] {
        let mut world = scene();
        let external = connect(&mut world, RED_A, 4_000, WWW);
        world.one(RED_A.tcp(4_000, WWW, end[0]));
        world.one(SERVER.tcp(443, external, end[1]));
        let syn = |sequence| RED_A.segment(4_000, WWW, off(SYN, sequence));
        if end[0] != RST {
            world.one(SERVER.segment(443, external, off(ACK, FIRST_BYTE + 1)));
            // Its own once more, late, begins nothing.
            assert_eq!(world.one(syn(FIRST_BYTE - 1)).source(), external);
            assert_eq!(world.session().phase, Phase::TcpTimeWait);
        }
        let again = world.one(syn(FIRST_BYTE + 5)).source();
        let session = world.session();
        assert_eq!(session.phase, Phase::TcpOpening, "a session of its own, and one only");
        let answer = Segment { acknowledgement: FIRST_BYTE + 6, ..off(SYN | ACK, 77) };
        world.one(SERVER.segment(443, again, answer));
        let third = Segment { acknowledgement: 78, ..off(ACK, FIRST_BYTE + 6) };
        world.one(RED_A.segment(4_000, WWW, third));
        assert_eq!(world.session().phase, Phase::TcpEstablished);
        assert_eq!(world.count(|counters| &counters.sessions_created), 2);
        assert_eq!(world.count(|counters| &counters.sessions_closed), 1);
    }
}

/// Its endpoint leads to `RED_A`'s port 22.
fn with_forwarding(others: &[(&str, &str)]) -> (World, Endpoint) {
    let before = "floating_ips:\n      - {id: web,";
    let after = format!(
        "port_forwardings:\n      - {{id: ssh, external: 203.0.113.70, protocol: tcp, external_ports: 22, internal: 10.0.0.11}}\n    {before}"
    );
    let changes = [&[(before, after.as_str())][..], others].concat();
    (scene_with(&changes), ("203.0.113.70".parse().unwrap(), 22))
}

/// Behind a gateway out there another host has the endpoint next. What its numbers have to do with the last one's is chance,
/// and a server may have forgotten that long before four minutes are over.
//= rfc7857#2.1
#[test]
fn a_forwarded_connection_is_reopened_by_a_syn_with_numbers_before_the_last_ones() {
    for sequence in [FIRST_BYTE.wrapping_sub(1 << 30), FIRST_BYTE.wrapping_sub(1 << 31), FIRST_BYTE + 2] {
        let (mut world, ssh) = with_forwarding(&[]);
        let remote = (SERVER.address, 5_000);
        let open = |world: &mut World, sequence: u32| {
            world.one(SERVER.segment(5_000, ssh, off(SYN, sequence)));
            let answer =
                Segment { acknowledgement: sequence.wrapping_add(1), ..off(SYN | ACK, FIRST_BYTE - 1) };
            world.one(RED_A.segment(22, remote, answer));
            world.one(SERVER.segment(5_000, ssh, off(ACK, sequence.wrapping_add(1))));
            assert_eq!(world.session().phase, Phase::TcpEstablished);
        };
        open(&mut world, FIRST_BYTE - 1);
        world.one(SERVER.segment(5_000, ssh, off(FIN | ACK, FIRST_BYTE)));
        let end = Segment { acknowledgement: FIRST_BYTE + 1, ..off(FIN | ACK, FIRST_BYTE) };
        world.one(RED_A.segment(22, remote, end));
        assert_eq!(world.session().phase, Phase::TcpTimeWait);
        world.pass(20_000);
        open(&mut world, sequence);
        // It may be silent for as long as any.
        world.pass(3_500_000);
        world.one(RED_A.segment(22, remote, off(PSH | ACK, FIRST_BYTE)));
    }
}

/// A SYN that waits for a neighbour has opened a session. If it waits in vain, nothing has been sent on by that, and whoever
/// guesses its port has all of half a minute.
//= rfc7857#2.1
//= rfc5382#REQ-2
#[test]
fn a_forged_segment_that_comes_before_the_syn_has_left_does_not_spoil_the_handshake() {
    for flags in [FIN | ACK, ACK, PSH | ACK, SYN | ACK, FIN, 0] {
        let mut world = scene();
        world.silence(ISP);
        assert_eq!(world.send(RED_A.tcp(4_000, WWW, SYN)), []);
        let (drops, _) = world.observe(|world| world.pass(3_100));
        assert_eq!(drops, [DropReason::NeighbourUnresolved]);
        let external = world.session().external;
        let external = (external.address, external.port);
        let forged = Segment { acknowledgement: FIRST_BYTE.wrapping_add(1 << 31), ..off(flags, 77) };
        world.one(SERVER.segment(443, external, forged));
        world.unsilence(ISP);
        world.pass(3_100);
        assert_eq!(connect(&mut world, RED_A, 4_000, WWW), external);
        assert_eq!(world.session().phase, Phase::TcpEstablished, "{flags:#x}");
    }
}

/// The same the other way round: who knocks at a forwarded port waits for the host behind it.
//= rfc7857#2.1
#[test]
fn an_old_segment_that_comes_before_a_forwarded_syn_has_left_does_not_spoil_the_handshake() {
    for flags in [FIN | ACK, ACK, PSH | ACK, SYN | ACK] {
        let (mut world, ssh) = with_forwarding(&[]);
        let remote = (SERVER.address, 5_000);
        world.silence(RED_A);
        assert_eq!(world.send(SERVER.tcp(5_000, ssh, SYN)), []);
        world.pass(3_100);
        world.unsilence(RED_A);
        world.pass(3_100);
        world.send(RED_A.asks_for(RED_GATEWAY));
        let old = Segment { acknowledgement: FIRST_BYTE.wrapping_add(1 << 31), ..off(flags, 77) };
        world.one(SERVER.segment(5_000, ssh, old));
        world.one(SERVER.tcp(5_000, ssh, SYN));
        world.one(RED_A.tcp(22, remote, SYN | ACK));
        world.one(SERVER.tcp(5_000, ssh, ACK));
        assert_eq!(world.session().phase, Phase::TcpEstablished, "{flags:#x}");
    }
}

#[test]
fn a_syn_within_a_connection_leaves_it_alone() {
    let mut world = scene();
    let external = connect(&mut world, RED_A, 4_000, WWW);
    assert_eq!(world.one(RED_A.tcp(4_000, WWW, SYN)).source(), external);
    assert_eq!(world.count(|counters| &counters.sessions_created), 1);
    assert_eq!(world.session().phase, Phase::TcpEstablished);
}

//= rfc7857#3
#[test]
fn rfc7857_section_3_a_port_serves_many_remotes_when_ports_run_out() {
    let mut world =
        scene_with(&[("addresses: [203.0.113.10]", "addresses: [203.0.113.10], ports: 2000-2003")]);
    let mut ports = Vec::new();
    for port in 0..4 {
        ports.push(connect(&mut world, RED_A, 4_000 + port, WWW).1);
    }
    ports.sort_unstable();
    assert_eq!(ports, [2000, 2001, 2002, 2003], "each port is used before one is used twice");
    // Another destination, be it only another port, has the same ports again.
    let mut shared = Vec::new();
    for (port, to) in
        [(5_000, (SERVER.address, 444)), (5_001, (OTHER.address, 443)), (5_002, (OTHER.address, 443))]
    {
        let external = connect(&mut world, RED_B, port, to);
        assert!(ports.contains(&external.1));
        shared.push((external, to));
        // And what comes back from there comes to the right one.
        let server = Host { address: to.0, ..SERVER };
        let heard = world.one(server.tcp(to.1, external, PSH | ACK));
        assert_eq!(heard.destination(), (RED_B.address, port));
    }
    assert_ne!(shared[1], shared[2], "never twice towards one remote");
    // The first destination has none left.
    let error = world.refuses(RED_B.tcp(5_003, WWW, SYN), DropReason::PortExhausted);
    assert_eq!(error.icmp(), (3, 1, 0));
    assert_eq!(world.ports_used(RED_POOL), 4);
}

const LOOSE: (&str, &str) = ("pool: red}]", "pool: red}]\n    tcp: {loose: true}");

#[test]
fn a_loose_router_picks_connections_up_in_their_middle_and_from_inside_only() {
    let mut world = scene_with(&[LOOSE]);
    world.drops(RED_A.tcp(4_000, WWW, RST), DropReason::NotSyn);
    world.drops(SERVER.tcp(443, (RED_POOL, 4_000), ACK), DropReason::NoMapping);
    let external = world.one(RED_A.tcp(4_000, WWW, PSH | ACK)).source();
    assert_eq!(world.session().phase, Phase::TcpOpening);
    world.one(SERVER.tcp(443, external, ACK));
    assert_eq!(world.session().phase, Phase::TcpEstablished);
    world.one(SERVER.tcp(443, external, FIN | ACK));
    world.one(RED_A.tcp(4_000, WWW, FIN | ACK));
    assert_eq!(world.session().phase, Phase::TcpTimeWait);
}

#[test]
fn a_loose_router_picks_a_forwarded_connection_up_with_its_hosts_next_segment() {
    let (mut world, ssh) = with_forwarding(&[LOOSE]);
    world.drops(SERVER.tcp(5_000, ssh, PSH | ACK), DropReason::NotSyn);
    assert_eq!(world.one(RED_A.tcp(22, (SERVER.address, 5_000), PSH | ACK)).source(), ssh);
    world.one(SERVER.tcp(5_000, ssh, ACK));
    assert_eq!(world.session().phase, Phase::TcpEstablished);
}
