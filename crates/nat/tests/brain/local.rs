//! What the gateway says itself: echo replies, time exceeded, fragmentation needed (RFC 1812).

use std::net::Ipv4Addr;

use nat::DropReason;
use packet::tcp::SYN;
use packet::testing;

use crate::world::scene::*;
use crate::world::{Host, Packet};

//= rfc1812#4.3.3.6
#[test]
fn ping_of_our_own_addresses_is_answered() {
    let rows = [
        ("its gateway", RED_A, RED_GATEWAY),
        ("the other tenant's gateway has the same address", BLUE_A, RED_GATEWAY),
        ("another leg of its router", RED_A, Ipv4Addr::new(10, 0, 1, 1)),
        ("the external leg from inside", RED_A, RED_EXTERNAL),
        ("the external leg from a host with a floating IP", RED_WEB, RED_EXTERNAL),
        ("another router's external leg from inside", RED_A, Ipv4Addr::new(203, 0, 113, 3)),
        ("the external leg from outside", SERVER, RED_EXTERNAL),
        ("the external leg from its own network", ISP, RED_EXTERNAL),
        ("a tenant's gateway, from where its hosts are not translated to", OFFICE, RED_GATEWAY),
    ];
    let mut world = scene();
    for (name, host, address) in rows {
        for ttl in [64, 1] {
            let reply = world.one(host.ping(77, address).with_ttl(ttl));
            assert_eq!(reply, host.peer(address).pong(77, host.address), "{name}");
        }
    }
    assert_eq!(world.occupancy().sessions, 0);
}

#[test]
fn nothing_else_at_our_own_addresses_is_answered() {
    let mut world = scene();
    let rows = [(RED_A, RED_GATEWAY), (RED_A, RED_EXTERNAL), (SERVER, RED_EXTERNAL), (OFFICE, RED_GATEWAY)];
    for (host, address) in rows {
        world.drops(host.udp(1, (address, 179), b""), DropReason::LocalUnhandled);
        world.drops(host.tcp(1, (address, 22), SYN), DropReason::LocalUnhandled);
        world.drops(host.pong(1, address), DropReason::LocalUnhandled);
        world.drops(host.ipv4(89, address, &[0; 24]), DropReason::LocalUnhandled);
    }
    assert_eq!(world.occupancy().sessions, 0, "and no session is made for it");
    // A ping whose checksum is wrong is no ping; nor are its pieces.
    let damage = |mut bytes: Vec<u8>| {
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    };
    world.drops(RED_A.ping(1, RED_GATEWAY).change(damage), DropReason::Malformed);
    for fragment in testing::fragments(&RED_A.ping(1, RED_GATEWAY).bytes, 1, 16) {
        world.drops(RED_A.says(fragment), DropReason::LocalUnhandled);
    }
}

//= rfc1812#5.3.1
//= rfc1812#4.3.2.5
//= rfc1812#4.3.2.3
/// What traceroute sees of us, from both sides (RFC 1812 section 5.3.1).
#[test]
fn a_packet_at_its_last_hop_is_answered_by_the_interface_it_came_by() {
    let mut world = scene();
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    let rows: [(&str, Host, Ipv4Addr, Packet); 7] = [
        ("out by SNAT", RED_A, RED_GATEWAY, RED_A.udp(4_000, (SERVER.address, 53), b"trace")),
        ("out by a floating IP", RED_WEB, RED_GATEWAY, RED_WEB.udp(1, (SERVER.address, 53), b"trace")),
        ("from another leg", RED_DB, Ipv4Addr::new(10, 0, 1, 1), RED_DB.ping(1, SERVER.address)),
        ("between subnets", RED_A, RED_GATEWAY, RED_A.udp(1, (RED_DB.address, 2), b"")),
        ("in by SNAT", SERVER, RED_EXTERNAL, SERVER.udp(53, external, b"trace")),
        ("in by a floating IP", SERVER, RED_EXTERNAL, SERVER.tcp(1, (WEB, 80), SYN)),
        ("from the office", OFFICE, RED_EXTERNAL, OFFICE.udp(1, (RED_A.address, 2), b"")),
    ];
    for (name, host, from, packet) in rows {
        for ttl in [0, 1] {
            let packet = packet.clone().with_ttl(ttl);
            let error = world.refuses(packet.clone(), DropReason::TtlExpired);
            assert_eq!(error, host.peer(from).gateway_error(host.address, (11, 0, 0), &packet), "{name}");
        }
        assert_eq!(world.one(packet.with_ttl(2)).ttl(), 1, "{name}");
    }
}

//= rfc1812#4.3.2.4
/// RFC 1812 section 4.3.2.4.
#[test]
fn an_error_comes_from_the_address_on_its_receivers_own_subnet() {
    let mut world = scene_with(&[("addresses: [10.0.0.1/24]", "addresses: [10.0.0.1/24, 10.0.9.1/24]")]);
    let neighbour = Host { address: Ipv4Addr::new(10, 0, 9, 11), ..RED_A };
    for (host, from) in [(RED_A, RED_GATEWAY), (neighbour, Ipv4Addr::new(10, 0, 9, 1))] {
        let packet = host.udp(1, (SERVER.address, 53), b"").with_ttl(1);
        assert_eq!(world.refuses(packet, DropReason::TtlExpired).source().0, from);
    }
}

//= rfc4787#REQ-13
#[test]
fn rfc4787_req13_a_packet_too_long_is_answered_with_the_mtu_both_ways() {
    let mut world =
        scene_with(&[("vlan: 100}", "vlan: 100, mtu: 1300}"), ("port: out0}", "port: out0, mtu: 1400}")]);
    let datagram = |length: usize| vec![0x5a; length - 28];
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    let rows: [(&str, Host, Ipv4Addr, usize, Packet); 5] = [
        ("out by SNAT", RED_A, RED_GATEWAY, 1_400, RED_A.udp(4_000, (SERVER.address, 53), &datagram(1_401))),
        (
            "out by a floating IP",
            RED_WEB,
            RED_GATEWAY,
            1_400,
            RED_WEB.udp(1, (SERVER.address, 53), &datagram(1_401)),
        ),
        ("in by SNAT", SERVER, RED_EXTERNAL, 1_300, SERVER.udp(53, external, &datagram(1_301))),
        ("in by a floating IP", SERVER, RED_EXTERNAL, 1_300, SERVER.udp(1, (WEB, 80), &datagram(1_301))),
        (
            "between subnets",
            RED_DB,
            Ipv4Addr::new(10, 0, 1, 1),
            1_300,
            RED_DB.udp(1, (RED_A.address, 2), &datagram(1_301)),
        ),
    ];
    for (name, host, from, mtu, packet) in rows {
        let whole = packet.clone().dont_fragment();
        let error = world.refuses(whole.clone(), DropReason::MtuExceeded);
        let expected = host.peer(from).gateway_error(host.address, (3, 4, mtu as u32), &whole);
        assert_eq!(error, expected, "{name}");
        // One that may be cut is not answered.
        assert_eq!(world.send(packet.may_fragment(1)).len(), 2, "{name}");
    }
    for length in [1_300, 1_299] {
        world.one(SERVER.udp(1, (WEB, 80), &datagram(length)).dont_fragment());
    }
    world.one(RED_A.udp(4_000, (SERVER.address, 53), &datagram(1_400)).dont_fragment());
}

//= rfc1812#4.3.2.7
/// RFC 1122 section 3.2.2.
#[test]
fn no_error_is_sent_about_what_must_not_be_answered() {
    let mut world = scene();
    let heard = world.one(SERVER.udp(1, (WEB, 80), b"0123456789abcdef"));
    world.drops(RED_WEB.error(SERVER.address, (3, 3, 0), &heard, 8).with_ttl(1), DropReason::TtlExpired);
    let fragments = testing::fragments(&SERVER.udp(1, (WEB, 80), &[0; 64]).bytes, 1, 32);
    world.refuses(SERVER.says(fragments[0].clone()).with_ttl(1), DropReason::TtlExpired);
    world.drops(SERVER.says(fragments[1].clone()).with_ttl(1), DropReason::TtlExpired);
}

#[test]
fn without_a_buffer_an_error_is_left_unsaid_and_counted() {
    let mut world = scene();
    world.one(RED_A.udp(1, (SERVER.address, 53), b""));
    world.set_out_of_buffers(true);
    world.drops(RED_A.udp(1, (SERVER.address, 53), b"").with_ttl(1), DropReason::TtlExpired);
    assert_eq!(world.count(|counters| &counters.unmade), 1);
}
