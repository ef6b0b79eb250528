//! What is longer than the next link takes: refused with the MTU where it must not be cut, else cut (RFC 4787 REQ-13).

use nat::DropReason;
use packet::{fragment, testing};

use crate::world::scene::*;
use crate::world::{Host, Packet, World};

/// Red's hosts are behind a link of 1,300 bytes, the internet behind one of 1,400; the database has 1,500.
fn narrow() -> World {
    scene_with(&[("vlan: 100}", "vlan: 100, mtu: 1300}"), ("port: out0}", "port: out0, mtu: 1400}")])
}

/// The payload of a datagram of this length in all.
fn bytes(length: usize) -> Vec<u8> {
    (0..length - 28).map(|at| at as u8).collect()
}

fn identification(packet: &Packet) -> u16 {
    fragment::part(&packet.bytes, &packet.parsed()).identification
}

/// A way through the gateway: who sends, what length fits, and what is heard for what is sent.
struct Way {
    name: &'static str,
    mtu: usize,
    sent: Packet,
    heard: Packet,
}

/// Of datagrams of this length.
fn ways(world: &mut World, length: usize) -> Vec<Way> {
    let payload = bytes(length);
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    let to = (SERVER.address, 53);
    let from_web = |host: Host, to: (std::net::Ipv4Addr, u16)| host.udp(80, to, &payload);
    let way = |name, mtu, sent, heard: Packet| Way { name, mtu, sent, heard: heard.hop() };
    vec![
        way(
            "out by SNAT",
            1_400,
            RED_A.udp(4_000, to, &payload),
            SERVER.peer(external.0).udp(external.1, to, &payload),
        ),
        way("out by a floating IP", 1_400, from_web(RED_WEB, to), from_web(SERVER.peer(WEB), to)),
        way(
            "in by SNAT",
            1_300,
            SERVER.udp(53, external, &payload),
            RED_A.peer(SERVER.address).udp(53, (RED_A.address, 4_000), &payload),
        ),
        way(
            "in by a floating IP",
            1_300,
            SERVER.udp(53, (WEB, 80), &payload),
            RED_WEB.peer(SERVER.address).udp(53, (RED_WEB.address, 80), &payload),
        ),
        way(
            "between floating IPs",
            1_300,
            RED_MAIL.udp(25, (WEB, 80), &payload),
            RED_WEB.peer(MAIL).udp(25, (RED_WEB.address, 80), &payload),
        ),
        way(
            "between subnets",
            1_300,
            RED_DB.udp(1, (RED_A.address, 2), &payload),
            RED_A.peer(RED_DB.address).udp(1, (RED_A.address, 2), &payload),
        ),
        way(
            "from the office",
            1_300,
            OFFICE.udp(1, (RED_A.address, 2), &payload),
            RED_A.peer(OFFICE.address).udp(1, (RED_A.address, 2), &payload),
        ),
    ]
}

//= rfc4787#REQ-13
//= rfc1191#4
//= rfc1812#4.2.2.7
#[test]
fn rfc4787_req13_what_must_not_be_cut_is_refused_with_the_mtu_of_the_next_link() {
    let mut world = narrow();
    for way in ways(&mut world, 1_401) {
        let error = world.refuses(way.sent.clone(), DropReason::MtuExceeded);
        assert_eq!(error.icmp(), (3, 4, way.mtu as u32), "{}", way.name);
        assert_eq!(error.destination().0, way.sent.source().0, "{}", way.name);
        assert_eq!(error.quoted(), Some((way.sent.source().0, way.sent.destination().0)), "{}", way.name);
    }
    for length in [1_300, 1_400] {
        for way in ways(&mut world, length).into_iter().filter(|way| length <= way.mtu) {
            assert_eq!(world.one(way.sent), way.heard, "{} {length}", way.name);
        }
    }
}

//= rfc4787#REQ-13a
//= rfc791#3.2
//= rfc1812#4.2.2.7
#[test]
fn rfc4787_req13a_what_may_be_cut_is_cut_and_its_pieces_leave_in_order() {
    let mut world = narrow();
    for length in [1_401, 1_500, 2_700, 9_000] {
        for way in ways(&mut world, length) {
            let heard = world.send(way.sent.may_fragment(77));
            let given = if way.name == "out by SNAT" { identification(&heard[0]) } else { 77 };
            let expected = testing::fragments(&way.heard.bytes, given, (way.mtu - 20) & !7);
            let heard: Vec<_> = heard.into_iter().map(|packet| packet.bytes).collect();
            assert!(expected.len() > 1);
            assert_eq!(heard, expected, "{} {length}", way.name);
        }
    }
}

/// A fragment that is too long becomes several of the same datagram, and the last is followed by others if it was.
//= rfc4787#REQ-13a
#[test]
fn a_fragment_that_is_too_long_is_cut_again() {
    let mut world = narrow();
    for way in ways(&mut world, 4_000) {
        let sent = testing::fragments(&way.sent.bytes, 77, 1_480);
        let mut payload = Vec::new();
        for (number, bytes) in sent.iter().enumerate() {
            for piece in world.send(Packet { wire: way.sent.wire, bytes: bytes.clone() }) {
                let part = fragment::part(&piece.bytes, &piece.parsed());
                assert!(usize::from(piece.parsed().total_length) <= way.mtu, "{}", way.name);
                assert_eq!(usize::from(part.start), payload.len(), "{}", way.name);
                payload.extend_from_slice(piece.transport());
                assert_eq!(part.is_last, number + 1 == sent.len() && usize::from(part.end) == 3_980);
            }
        }
        assert_eq!(payload, way.heard.transport(), "{}", way.name);
    }
}

#[test]
fn the_pieces_are_counted_as_made_by_the_gateway() {
    let mut world = narrow();
    world.one(SERVER.udp(1, (WEB, 80), b""));
    let before = world.books();
    assert_eq!(world.send(SERVER.udp(1, (WEB, 80), &bytes(3_000)).may_fragment(1)).len(), 3);
    let after = world.books();
    assert_eq!((after.originated - before.originated, after.sent - before.sent), (2, 3));
}

#[test]
fn without_a_buffer_for_a_piece_none_leaves() {
    let mut world = narrow();
    world.one(SERVER.udp(1, (WEB, 80), b""));
    world.set_out_of_buffers(true);
    world.drops(SERVER.udp(1, (WEB, 80), &bytes(1_400)).may_fragment(1), DropReason::NoBuffer);
}

#[test]
fn what_would_be_too_many_pieces_is_dropped() {
    let mut world = scene_with(&[("vlan: 100}", "vlan: 100, mtu: 576}")]);
    let longest = 20 + 32 * 552;
    assert_eq!(world.send(SERVER.udp(1, (WEB, 80), &bytes(longest)).may_fragment(1)).len(), 32);
    world.drops(SERVER.udp(1, (WEB, 80), &bytes(longest + 1)).may_fragment(1), DropReason::MtuExceeded);
}
