//! The segment size that a SYN asks for, lowered to what the links carry where a router says so.

use packet::tcp::{ACK, SYN};
use packet::testing;

use crate::world::scene::*;
use crate::world::{Endpoint, Host, Packet, World};

/// An MSS option behind an odd number of bytes, as one may be, of 1,460 or what it is lowered to.
const fn options(mss: u16) -> [u8; 8] {
    let [high, low] = mss.to_be_bytes();
    [3, 3, 7, 2, 4, high, low, 0]
}

fn segment(host: Host, port: u16, (to, to_port): Endpoint, flags: u8, options: &[u8]) -> Packet {
    let (from, to) = ((host.mac, host.address, port), (host.via, to, to_port));
    host.says(testing::tcp_with_options(from, to, host.wire.vlan, flags, options))
}

/// Red's hosts are behind a link of 1,450 bytes, the internet behind one of 1,400.
fn world(red: &str, blue: &str) -> World {
    let no_nat = "    no_nat: [192.0.2.0/24]\n";
    let blue_web = "      - {id: web, external: 203.0.113.60, internal: 10.0.0.50}\n";
    scene_with(&[
        ("vlan: 100}", "vlan: 100, mtu: 1450}"),
        ("port: out0}", "port: out0, mtu: 1400}"),
        (no_nat, &format!("{no_nat}{red}")),
        (blue_web, &format!("{blue_web}{blue}")),
    ])
}

const CLAMP: &str = "    tcp: {clamp_mss: true}\n";

#[test]
fn a_syn_and_its_answer_ask_for_no_more_than_the_links_carry() {
    for (rules, mss) in [(CLAMP, 1_360), ("", 1_460)] {
        let mut world = world(rules, rules);
        let server = (SERVER.address, 80);
        let asked = world.one(segment(RED_A, 4_000, server, SYN, &options(1_460)));
        let external = asked.source();
        assert_eq!(asked, segment(SERVER.peer(external.0), external.1, server, SYN, &options(mss)).hop());
        let answer = world.one(segment(SERVER, 80, external, SYN | ACK, &options(1_460)));
        let host = (RED_A.address, 4_000);
        assert_eq!(answer, segment(RED_A.peer(SERVER.address), 80, host, SYN | ACK, &options(mss)).hop());
        // Through a floating IP, in and out.
        let asked = world.one(segment(SERVER, 5_000, (WEB, 80), SYN, &options(1_460)));
        let web = (RED_WEB.address, 80);
        assert_eq!(asked, segment(RED_WEB.peer(SERVER.address), 5_000, web, SYN, &options(mss)).hop());
        let client = (SERVER.address, 5_000);
        let answer = world.one(segment(RED_WEB, 80, client, SYN | ACK, &options(1_460)));
        assert_eq!(answer, segment(SERVER.peer(WEB), 80, client, SYN | ACK, &options(mss)).hop());
    }
}

/// A floating IP that says all there is to say, between hosts whose MACs are known: its packets go the express way, but for
/// these.
#[test]
fn a_syn_through_a_floating_ip_is_lowered_where_no_other_packet_needs_a_judgement() {
    let mut world = scene_with(&[
        ("vlan: 100}", "vlan: 100, mtu: 1450}"),
        ("port: out0}", "port: out0, mtu: 1400}"),
        ("    no_nat: [192.0.2.0/24]\n", CLAMP),
    ]);
    let (client, web) = ((SERVER.address, 5_000), (RED_WEB.address, 80));
    world.one(SERVER.udp(5_000, (WEB, 80), b""));
    world.one(RED_WEB.udp(80, client, b""));
    for (flags, mss) in [(SYN, 1_360), (SYN | ACK, 1_360), (ACK, 1_460)] {
        let inbound = world.one(segment(SERVER, 5_000, (WEB, 80), flags, &options(1_460)));
        let heard = segment(RED_WEB.peer(SERVER.address), 5_000, web, flags, &options(mss));
        assert_eq!(inbound, heard.hop(), "in, {flags}");
        let outbound = world.one(segment(RED_WEB, 80, client, flags, &options(1_460)));
        let seen = segment(SERVER.peer(WEB), 80, client, flags, &options(mss));
        assert_eq!(outbound, seen.hop(), "out, {flags}");
    }
}

/// The same of a connection through the pool, between hosts whose MACs are known.
#[test]
fn a_syn_of_a_known_host_is_lowered_and_so_is_its_answer() {
    for (rules, mss) in [(CLAMP, 1_360), ("", 1_460)] {
        let mut world = world(rules, rules);
        let server = (SERVER.address, 80);
        let known = world.one(RED_A.udp(1, server, b"")).source();
        world.one(SERVER.udp(80, known, b""));
        let asked = world.one(segment(RED_A, 4_000, server, SYN, &options(1_460)));
        let external = asked.source();
        assert_eq!(asked, segment(SERVER.peer(external.0), external.1, server, SYN, &options(mss)).hop());
        for (flags, mss) in [(SYN | ACK, mss), (ACK, 1_460)] {
            let answer = world.one(segment(SERVER, 80, external, flags, &options(1_460)));
            let host = (RED_A.address, 4_000);
            assert_eq!(answer, segment(RED_A.peer(SERVER.address), 80, host, flags, &options(mss)).hop());
        }
    }
}

#[test]
fn what_is_small_enough_no_syn_or_unreadable_passes_as_it_is() {
    let mut world = world(CLAMP, "");
    let to = (SERVER.address, 80);
    let odd: [&[u8]; 4] = [&options(536), &[3, 0, 2, 4, 0x05, 0xb4, 0, 0], &[2, 3, 0x05, 0xb4], &[]];
    for (port, options) in (1..).zip(odd) {
        let seen = world.one(segment(RED_A, port, to, SYN, options));
        let external = seen.source();
        assert_eq!(seen, segment(SERVER.peer(external.0), external.1, to, SYN, options).hop());
    }
    let later = world.one(segment(RED_WEB, 9, to, ACK, &options(1_460)));
    assert_eq!(later, segment(SERVER.peer(WEB), 9, to, ACK, &options(1_460)).hop());
}

#[test]
fn one_router_says_so_and_not_the_other() {
    let mut world = world(CLAMP, "");
    let to = (SERVER.address, 80);
    let seen = world.one(segment(BLUE_A, 1, to, SYN, &options(1_460)));
    let server = SERVER.through(BLUE_EXT).peer(BLUE_POOL);
    assert_eq!(seen, segment(server, seen.source().1, to, SYN, &options(1_460)).hop());
    // Between two routers either may.
    let heard = world.one(segment(BLUE_A, 1, (WEB, 80), SYN, &options(1_460)));
    let web = (RED_WEB.address, 80);
    let expected = segment(RED_WEB.peer(BLUE_POOL), heard.source().1, web, SYN, &options(1_410)).hop();
    assert_eq!(heard, expected);
}
