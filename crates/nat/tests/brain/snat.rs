//! Translation with ports: what a host says under its pool's address, and what comes back (RFC 3022, 4787, 5508).

use nat::DropReason;
use packet::tcp::SYN;
use packet::testing;

use crate::exchange::{EXCHANGES, play};
use crate::world::Packet;
use crate::world::scene::*;

//= rfc4787#REQ-10
//= rfc5508#REQ-1
//= rfc6888#REQ-1
//= rfc1812#5.3.1
#[test]
fn a_question_and_its_answer_change_nothing_but_the_translated_fields() {
    let mut world = scene();
    for (exchange, port) in EXCHANGES.iter().zip(4_000..) {
        let (address, external_port) = play(&mut world, exchange, RED_A, SERVER, port);
        assert_eq!(address, RED_POOL);
        assert!(external_port >= 1024, "{external_port}");
    }
    assert_eq!(world.sessions().len(), 3);
}

//= rfc4787#REQ-7
#[test]
fn two_tenants_with_the_same_addresses_and_ports_speak_at_once() {
    let mut world = scene();
    for exchange in &EXCHANGES {
        let remote = (SERVER.address, exchange.remote_port);
        let red = world.one((exchange.ask)(RED_A, 4_000, remote));
        let blue = world.one((exchange.ask)(BLUE_A, 4_000, remote));
        assert_eq!((red.source().0, blue.source().0), (RED_POOL, BLUE_POOL), "{}", exchange.name);

        let to_blue = (exchange.answer)(SERVER.through(BLUE_EXT), exchange.remote_port, blue.source());
        let to_red = (exchange.answer)(SERVER, exchange.remote_port, red.source());
        assert_eq!(world.one(to_blue).wire, BLUE_LAN_WIRE, "{}", exchange.name);
        assert_eq!(world.one(to_red).wire, RED_LAN_WIRE, "{}", exchange.name);
    }
}

#[test]
fn two_tenants_share_one_address_and_each_gets_its_own_answers() {
    let mut world = scene_with(&[("pool: blue}", "pool: red}")]);
    // The pool's address is answered for by one router's leg; what comes there serves both.
    let via = world.who_has(ISP, RED_POOL).unwrap();
    for exchange in &EXCHANGES {
        let remote = (SERVER.address, exchange.remote_port);
        let red = world.one((exchange.ask)(RED_A, 4_000, remote));
        let blue = world.one((exchange.ask)(BLUE_A, 4_000, remote));
        assert_eq!((red.source().0, blue.source().0), (RED_POOL, RED_POOL));
        assert_ne!(red.source().1, blue.source().1, "{}", exchange.name);
        for (packet, host) in [(red, RED_A), (blue, BLUE_A)] {
            let answer = (exchange.answer)(SERVER.through(via), exchange.remote_port, packet.source());
            let heard = world.one(answer);
            assert_eq!((heard.wire, heard.link_destination()), (host.wire, host.mac), "{}", exchange.name);
            assert_eq!(heard.destination().0, host.address);
        }
    }
}

//= rfc4787#REQ-1
#[test]
fn rfc4787_req1_one_endpoint_is_seen_as_one_endpoint_by_every_remote() {
    let mut world = scene();
    let first = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    for remote in [(SERVER.address, 54), (OTHER.address, 53), (OTHER.address, 99)] {
        assert_eq!(world.one(RED_A.udp(4_000, remote, b"")).source(), first, "{remote:?}");
    }
    assert_ne!(world.one(RED_A.udp(4_001, (SERVER.address, 53), b"")).source(), first);
    assert_ne!(world.one(RED_B.udp(4_000, (SERVER.address, 53), b"")).source(), first);
}

//= rfc5508#REQ-1a
#[test]
fn rfc5508_req1_one_query_identifier_is_seen_as_one_by_every_remote() {
    let mut world = scene();
    let first = world.one(RED_A.ping(77, SERVER.address)).source();
    assert_eq!(world.one(RED_A.ping(77, OTHER.address)).source(), first);
    assert_ne!(world.one(RED_B.ping(77, OTHER.address)).source(), first);
}

//= rfc4787#REQ-8
#[test]
fn rfc4787_req8_filtering_depends_on_the_remote_address_alone() {
    let mut world = scene();
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    // Another port of an address that was spoken to comes in, and the answer to it goes out from the same endpoint.
    let heard = world.one(SERVER.udp(9_999, external, b"hello"));
    assert_eq!(heard, RED_A.peer(SERVER.address).udp(9_999, (RED_A.address, 4_000), b"hello").hop());
    assert_eq!(world.one(RED_A.udp(4_000, (SERVER.address, 9_999), b"")).source(), external);
    // Another address does not, until it is spoken to.
    world.drops(OTHER.udp(53, external, b"hello"), DropReason::Filtered);
    world.one(RED_A.udp(4_000, (OTHER.address, 1), b""));
    world.one(OTHER.udp(53, external, b"hello"));
}

//= rfc7857#6
#[test]
fn rfc7857_section_6_a_udp_mapping_lets_nothing_else_in() {
    let mut world = scene();
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    world.drops(SERVER.tcp(53, external, SYN), DropReason::NoMapping);
    world.drops(SERVER.pong(external.1, external.0), DropReason::NoMapping);
}

//= rfc4787#REQ-2
//= rfc6888#REQ-2
#[test]
fn rfc4787_req2_a_host_keeps_to_one_address_of_its_pool() {
    let mut world = scene_with(&[("addresses: [203.0.113.10]", "addresses: [203.0.113.10-203.0.113.13]")]);
    let mut addresses = std::collections::HashSet::new();
    for number in 100..130 {
        let host = red(number);
        world.add(host);
        let first = world.one(host.udp(1_000, (SERVER.address, 53), b"")).source().0;
        addresses.insert(first);
        for port in 1_001..1_020 {
            assert_eq!(world.one(host.udp(port, (OTHER.address, port), b"")).source().0, first);
            assert_eq!(world.one(host.tcp(port, (OTHER.address, 80), SYN)).source().0, first);
            assert_eq!(world.one(host.ping(port, SERVER.address)).source().0, first);
        }
    }
    assert_eq!(addresses.len(), 4, "thirty hosts use all four addresses");
}

#[test]
fn rfc768_a_udp_checksum_of_zero_stays_zero() {
    let mut world = scene();
    let bare = |packet: Packet| {
        packet.change(|mut bytes| {
            let checksum = bytes.len() - b"who?".len() - 2;
            bytes[checksum..checksum + 2].fill(0);
            bytes
        })
    };
    let external = world.one(bare(RED_A.udp(4_000, (SERVER.address, 53), b"who?")));
    let (address, port) = external.source();
    assert_eq!(external, bare(SERVER.peer(address).udp(port, (SERVER.address, 53), b"who?")).hop());
}

//= rfc7857#5
#[test]
fn ports_are_not_shared_between_the_protocols_of_a_host() {
    let mut world = scene();
    for exchange in &EXCHANGES {
        play(&mut world, exchange, RED_A, SERVER, 5_555);
    }
    let sessions = world.sessions();
    assert_eq!(sessions.len(), 3);
    assert!(sessions.iter().all(|session| session.internal.port == 5_555));
}

#[test]
fn a_session_is_listed_with_its_endpoints_and_what_it_carried() {
    let mut world = scene();
    let out = RED_A.udp(4_000, (SERVER.address, 53), b"who is it?");
    let external = world.one(out.clone()).source();
    world.one(out);
    world.pass(3_000);
    world.one(SERVER.udp(53, external, b"it is me"));
    world.pass(2_000);
    let session = world.session();
    assert_eq!((session.internal.address, session.internal.port), (RED_A.address, 4_000));
    assert_eq!((session.external.address, session.external.port), external);
    assert_eq!((session.remote.address, session.remote.port), (SERVER.address, 53));
    assert_eq!((session.packets, session.bytes), ([2, 1], [2 * (28 + 10), 28 + 8]));
    assert_eq!((session.age_ms, session.idle_ms), (5_000, 2_000));
    assert_eq!(session.phase.name(), "stream");
}

#[test]
fn what_no_translation_can_carry_is_not_translated() {
    let mut world = scene();
    // IPsec's authentication header covers the addresses.
    for packet in [RED_A.ipv4(51, SERVER.address, &[0; 40]), SERVER.ipv4(51, RED_POOL, &[0; 40])] {
        world.drops(packet, DropReason::UnknownProtocol);
    }
    // An address mask request (RFC 950), obsolete since RFC 6918.
    let mask = testing::icmp(
        (RED_A.mac, RED_A.address),
        (RED_A.via, SERVER.address),
        RED_A.wire.vlan,
        17,
        0,
        1,
        &[0; 4],
    );
    world.drops(RED_A.says(mask), DropReason::IcmpUnsupported);
    assert_eq!(world.sessions().len(), 0);
}

#[test]
fn an_answer_to_a_question_nobody_asked_goes_nowhere() {
    let mut world = scene();
    world.drops(RED_A.pong(9, SERVER.address), DropReason::NoMapping);
    world.drops(SERVER.pong(9, RED_POOL), DropReason::NoMapping);
    world.drops(SERVER.udp(53, (RED_POOL, 4_000), b""), DropReason::NoMapping);
    assert_eq!(world.occupancy().sessions, 0);
}

#[test]
fn a_router_without_a_pool_translates_to_its_own_address() {
    let mut world = scene_with(&[(", pool: red}", "}")]);
    for exchange in &EXCHANGES {
        let (address, _) = play(&mut world, exchange, RED_A, SERVER, 4_000);
        assert_eq!(address, RED_EXTERNAL);
    }
    // It is still a router's address: it answers ping, and has nothing on other ports.
    assert_eq!(world.one(SERVER.ping(1, RED_EXTERNAL)), SERVER.peer(RED_EXTERNAL).pong(1, SERVER.address));
    world.drops(SERVER.udp(53, (RED_EXTERNAL, 179), b""), DropReason::NoMapping);
}
