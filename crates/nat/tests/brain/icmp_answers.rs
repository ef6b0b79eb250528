//! ICMP besides errors about translated packets: queries, what we refuse to say, and how much we say at once.

use std::net::Ipv4Addr;

use nat::DropReason;
use packet::testing;

use crate::world::scene::*;
use crate::world::{Host, Packet, Setup};

/// Any ICMP message of `host`'s.
fn message(host: Host, to: Ipv4Addr, icmp_type: u8, rest: u32, body: &[u8]) -> Packet {
    let (from, to) = ((host.mac, host.address), (host.via, to));
    host.says(testing::icmp(from, to, host.wire.vlan, icmp_type, 0, rest, body))
}

const TIMES: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

//= rfc5508#REQ-1
//= rfc5508#REQ-10
#[test]
fn a_timestamp_is_asked_and_answered_as_an_echo_is() {
    let mut world = scene();
    let seen = world.one(message(RED_A, SERVER.address, 13, 0x1234_0001, &TIMES));
    let (external, identifier) = seen.source();
    let rest = u32::from(identifier) << 16 | 1;
    assert_eq!(seen, message(SERVER.peer(external), SERVER.address, 13, rest, &TIMES).hop());
    let heard = world.one(message(SERVER, external, 14, rest, &TIMES));
    assert_eq!(heard, message(RED_A.peer(SERVER.address), RED_A.address, 14, 0x1234_0001, &TIMES).hop());
    // Nobody asked for this one.
    world.drops(message(SERVER, external, 14, rest ^ 1 << 16, &TIMES), DropReason::NoMapping);
    world.drops(message(RED_B, SERVER.address, 14, rest, &TIMES), DropReason::NoMapping);
    // Through a floating IP it goes as all does.
    let seen = world.one(message(RED_WEB, SERVER.address, 13, 0x1234_0001, &TIMES));
    assert_eq!(seen, message(SERVER.peer(WEB), SERVER.address, 13, 0x1234_0001, &TIMES).hop());
}

//= rfc5508#REQ-11
#[test]
fn messages_without_a_meaning_for_ports_are_counted_and_pass_floating_ips() {
    let mut world = scene();
    // Router solicitation, information, address mask, traceroute, photuris, an experiment.
    for icmp_type in [9, 10, 15, 16, 17, 18, 30, 40, 253] {
        world.drops(message(RED_A, SERVER.address, icmp_type, 1, &TIMES), DropReason::IcmpUnsupported);
        world.drops(message(SERVER, RED_POOL, icmp_type, 1, &TIMES), DropReason::IcmpUnsupported);
        let heard = world.one(message(SERVER, WEB, icmp_type, 1, &TIMES));
        let expected = message(RED_WEB.peer(SERVER.address), RED_WEB.address, icmp_type, 1, &TIMES);
        assert_eq!(heard, expected.hop());
    }
    assert_eq!(world.occupancy().sessions, 0);
}

//= rfc1812#4.3.2.8
//# A router which sends ICMP error messages MUST be able to limit the rate at which the messages can be sent
#[test]
fn our_own_errors_are_bounded_at_once_and_in_time() {
    let mut world = scene_on(Setup::of_one_worker(), &[]);
    let dying = |port| RED_A.udp(port, (SERVER.address, 53), b"").with_ttl(1);
    let said = (0..1_000).filter(|port| !world.send(dying(*port)).is_empty()).count();
    assert_eq!(said, 256);
    assert_eq!(world.count(|counters| &counters.errors_limited), 1_000 - 256);
    assert_eq!(world.dropped(DropReason::TtlExpired), 1_000, "each is dropped for its reason all the same");
    world.pass(100);
    let said = (0..1_000).filter(|port| !world.send(dying(*port)).is_empty()).count();
    assert_eq!(said, 100, "one each millisecond");
    // What is only translated is not limited.
    let seen = world.one(RED_A.udp(1, (SERVER.address, 53), b""));
    for _ in 0..500 {
        world.one(SERVER.error(RED_POOL, (3, 3, 0), &seen, 8));
    }
}

#[test]
fn a_tenant_who_is_refused_a_lot_takes_no_errors_from_another() {
    let mut world = scene_on(Setup::of_one_worker(), &[]);
    let dying = |host: Host, port| host.udp(port, (SERVER.address, 53), b"").with_ttl(1);
    let said = (0..1_000).filter(|port| !world.send(dying(RED_A, *port)).is_empty()).count();
    assert_eq!(said, 256);
    let told = world.refuses(dying(BLUE_A, 4_000), DropReason::TtlExpired);
    assert_eq!(told.icmp(), (11, 0, 0));
}

//= rfc1812#4.3.2.7
#[test]
fn a_subnets_broadcast_address_is_nobody() {
    let mut world = scene();
    for last in [0, 255] {
        let (own, other) = (Ipv4Addr::new(10, 0, 0, last), Ipv4Addr::new(10, 0, 1, last));
        // Not routed (RFC 2644), not asked for by ARP, and not answered by an error.
        for host in [RED_A, RED_WEB] {
            world.drops(host.udp(1, (other, 9), b""), DropReason::Multicast);
            world.drops(host.udp(1, (other, 9), b"").with_ttl(1), DropReason::Multicast);
            world.drops(host.udp(1, (own, 9), b""), DropReason::Multicast);
            world.drops(host.udp(1, (Ipv4Addr::new(203, 0, 113, last), 9), b""), DropReason::Multicast);
        }
        // Nor is it a source (RFC 1812 section 5.3.7).
        world.drops(RED_A.udp(1, (SERVER.address, 9), b"").with_source(own), DropReason::SpoofedSource);
    }
    assert_eq!(world.heard_arp.len(), 0);
}

//= rfc1812#4.3.2.7
#[test]
fn no_error_is_made_about_an_error() {
    let mut world = scene();
    let seen = world.one(RED_A.udp(4_000, (SERVER.address, 53), b""));
    let heard = world.one(SERVER.error(RED_POOL, (3, 3, 0), &seen, 8));
    // The tenant complains about the complaint; so does somebody outside.
    world.drops(RED_A.error(SERVER.address, (3, 3, 0), &heard, 60), DropReason::BadIcmpError);
    let about = SERVER.peer(WEB).error(SERVER.address, (11, 0, 0), &seen, 8);
    world.drops(SERVER.error(WEB, (3, 3, 0), &about, 60), DropReason::BadIcmpError);
}

/// A tenant's inner router cannot deliver the reply to a ping.
//= rfc5508#REQ-5
#[test]
fn an_error_about_a_reply_finds_the_session_of_the_question() {
    let mut world = scene();
    let external = world.one(RED_A.ping(7, SERVER.address)).source();
    let reply = SERVER.pong(external.1, external.0);
    let heard = world.one(reply.clone());
    for quoted in [8, 500] {
        let seen = world.one(RED_B.error(SERVER.address, (11, 0, 0), &heard, quoted));
        let expected = SERVER.peer(RED_POOL).error(SERVER.address, (11, 0, 0), &reply.clone().hop(), quoted);
        assert_eq!(seen, expected.hop());
    }
}

//= rfc4787#REQ-12a
#[test]
fn an_error_about_an_exempt_packet_comes_in_from_any_router_on_the_way() {
    let mut world = scene();
    let seen = world.one(RED_A.udp(4_000, (OFFICE.address, 53), b"who is it?"));
    let hop = Host { address: Ipv4Addr::new(100, 100, 0, 7), ..ISP };
    let error = hop.error(RED_A.address, (3, 4, 1_400), &seen, 8);
    let expected = RED_A.peer(hop.address).error(RED_A.address, (3, 4, 1_400), &seen, 8);
    assert_eq!(world.one(error), expected.hop());
    // Not about a packet to somewhere else, nor about one of another host's.
    let elsewhere = RED_A.udp(4_000, (SERVER.address, 53), b"");
    world.drops(hop.error(RED_A.address, (3, 4, 1_400), &elsewhere, 8), DropReason::NotForUs);
    world.drops(hop.error(RED_B.address, (3, 4, 1_400), &seen, 8), DropReason::NotForUs);
}

/// Quotes of fragments through a floating IP: the first with ports, the others without.
//= rfc5508#REQ-4
#[test]
fn errors_about_fragments_pass_a_floating_ip() {
    let mut world = scene();
    let sent = testing::fragments(&RED_WEB.udp(80, (SERVER.address, 5_000), &[7; 100]).bytes, 98, 32);
    for fragment in sent {
        let fragment = RED_WEB.says(fragment);
        let seen = world.one(fragment.clone());
        for quoted in [8, 500] {
            let heard = world.one(SERVER.error(WEB, (11, 1, 0), &seen, quoted));
            let expected = RED_WEB.peer(SERVER.address).error(
                RED_WEB.address,
                (11, 1, 0),
                &fragment.clone().hop(),
                quoted,
            );
            assert_eq!(heard, expected.hop());
        }
    }
}

//= rfc5508#REQ-9
#[test]
fn an_interface_may_keep_our_errors_back_and_no_others() {
    let mut world = scene_with(&[(
        "203.0.113.2/24], external: true}",
        "203.0.113.2/24], external: true, icmp_errors: false}",
    )]);
    let seen = world.one(RED_A.udp(1, (SERVER.address, 53), b""));
    world.drops(SERVER.udp(53, seen.source(), b"").with_ttl(1), DropReason::TtlExpired);
    assert_eq!(world.count(|counters| &counters.errors_suppressed), 1);
    // By the others they leave, and what is forwarded is none of ours.
    world.refuses(RED_A.udp(1, (SERVER.address, 53), b"").with_ttl(1), DropReason::TtlExpired);
    world.one(SERVER.error(RED_POOL, (3, 3, 0), &seen, 8));
    assert_eq!(world.one(SERVER.ping(1, RED_EXTERNAL)), SERVER.peer(RED_EXTERNAL).pong(1, SERVER.address));
    assert_eq!(world.count(|counters| &counters.errors_suppressed), 1);
}
