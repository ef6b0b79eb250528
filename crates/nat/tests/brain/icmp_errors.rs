//! ICMP errors through the translation: the host that gets one finds in it the packet that it sent (RFC 5508 section 4).

use std::net::Ipv4Addr;

use nat::DropReason;
use packet::tcp::SYN;
use packet::testing;

use crate::exchange::EXCHANGES;
use crate::tcp::connect;
use crate::world::scene::*;
use crate::world::{Host, Icmp, Packet};

const PORT_UNREACHABLE: Icmp = (3, 3, 0);

/// Every error that is forwarded, with its second word: an MTU, a pointer.
const ERRORS: [Icmp; 8] = [
    (3, 0, 0),
    (3, 1, 0),
    PORT_UNREACHABLE,
    (3, 4, 1_400),
    (3, 13, 0),
    (4, 0, 0),
    (11, 0, 0),
    (12, 0, 7 << 24),
];

/// What RFC 792 promises of a quote, and what RFC 1812 asks for.
const QUOTES: [usize; 2] = [8, 500];

/// A router between here and there.
const HOP: Host = Host { address: Ipv4Addr::new(100, 100, 0, 7), ..ISP };

//= rfc5508#REQ-4
//= rfc4787#REQ-12b
//= rfc5382#REQ-9
#[test]
fn rfc5508_req4_an_error_about_a_translated_packet_quotes_it_as_it_was_sent() {
    let mut world = scene();
    for exchange in &EXCHANGES {
        let question = (exchange.ask)(RED_A, 4_000, (SERVER.address, exchange.remote_port));
        let seen = world.one(question.clone());
        // From the server itself, and from a router on the way, whose address stays (RFC 4787 REQ-12a).
        for speaker in [SERVER, HOP] {
            for (icmp, quoted) in ERRORS.into_iter().flat_map(|icmp| QUOTES.map(|quoted| (icmp, quoted))) {
                let heard = world.one(speaker.error(RED_POOL, icmp, &seen, quoted));
                let expected =
                    RED_A.peer(speaker.address).error(RED_A.address, icmp, &question.clone().hop(), quoted);
                assert_eq!(heard, expected.hop(), "{} {icmp:?} {quoted}", exchange.name);
            }
        }
    }
}

//= rfc5508#REQ-5
//= rfc5508#REQ-5c
#[test]
fn rfc5508_req5_an_error_of_a_tenants_quotes_the_packet_as_the_remote_sent_it() {
    let mut world = scene();
    // A query's answer is no packet to send an error about; a datagram and a segment are.
    for exchange in &EXCHANGES[..2] {
        let remote = (SERVER.address, exchange.remote_port);
        let external = world.one((exchange.ask)(RED_A, 4_000, remote)).source();
        let answer = (exchange.answer)(SERVER, exchange.remote_port, external);
        let heard = world.one(answer.clone());
        // From the host itself, and from a router of the tenant's, which has no address outside: it speaks under the
        // host's.
        for speaker in [RED_A, RED_B] {
            for (icmp, quoted) in ERRORS.into_iter().flat_map(|icmp| QUOTES.map(|quoted| (icmp, quoted))) {
                let seen = world.one(speaker.error(SERVER.address, icmp, &heard, quoted));
                let expected =
                    SERVER.peer(RED_POOL).error(SERVER.address, icmp, &answer.clone().hop(), quoted);
                assert_eq!(seen, expected.hop(), "{} {icmp:?} {quoted}", exchange.name);
            }
        }
        // A router of the tenant's that has a floating IP speaks under that.
        let seen = world.one(RED_WEB.error(SERVER.address, (11, 0, 0), &heard, 8));
        let expected = SERVER.peer(WEB).error(SERVER.address, (11, 0, 0), &answer.hop(), 8);
        assert_eq!(seen, expected.hop());
    }
}

//= rfc5508#REQ-5c
#[test]
fn errors_pass_a_floating_ip_both_ways() {
    let mut world = scene();
    for exchange in &EXCHANGES {
        let to_web = (exchange.ask)(SERVER, 5_000, (WEB, exchange.remote_port));
        let heard = world.one(to_web.clone());
        let from_web = (exchange.ask)(RED_WEB, 5_000, (SERVER.address, exchange.remote_port));
        let seen = world.one(from_web.clone());
        for (icmp, quoted) in ERRORS.into_iter().flat_map(|icmp| QUOTES.map(|quoted| (icmp, quoted))) {
            let out = world.one(RED_WEB.error(SERVER.address, icmp, &heard, quoted));
            let expected = SERVER.peer(WEB).error(SERVER.address, icmp, &to_web.clone().hop(), quoted);
            assert_eq!(out, expected.hop(), "{} out {icmp:?} {quoted}", exchange.name);

            let back = world.one(HOP.error(WEB, icmp, &seen, quoted));
            let expected =
                RED_WEB.peer(HOP.address).error(RED_WEB.address, icmp, &from_web.clone().hop(), quoted);
            assert_eq!(back, expected.hop(), "{} in {icmp:?} {quoted}", exchange.name);
        }
    }
    // Of protocols without ports too.
    let heard = world.one(SERVER.ipv4(50, WEB, &[9; 64]));
    world.one(RED_WEB.error(SERVER.address, (3, 2, 0), &heard, 8));
    assert_eq!(world.occupancy().sessions, 0);
}

#[test]
fn an_error_from_a_host_without_an_address_outside_about_a_floating_ip_goes_out_under_it() {
    let mut world = scene();
    let to_web = SERVER.udp(5_000, (WEB, 80), b"");
    let heard = world.one(to_web.clone());
    let out = world.one(RED_B.error(SERVER.address, (11, 0, 0), &heard, 8));
    assert_eq!(out, SERVER.peer(WEB).error(SERVER.address, (11, 0, 0), &to_web.hop(), 8).hop());
}

//= rfc5508#REQ-3
//= rfc5508#REQ-3a
#[test]
fn rfc5508_req3_errors_with_bad_checksums_are_dropped() {
    let mut world = scene();
    let seen = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"who is it?"));
    let damage = |at: usize| {
        move |mut bytes: Vec<u8>| {
            bytes[at] ^= 0x40;
            bytes
        }
    };
    // The ICMP checksum (REQ-3), and the quoted header's within an ICMP checksum that is right (REQ-3a).
    let damaged = SERVER.error(RED_POOL, PORT_UNREACHABLE, &seen, 8).change(damage(14 + 20 + 2));
    world.drops(damaged, DropReason::BadIcmpError);
    let damaged = SERVER.error(RED_POOL, PORT_UNREACHABLE, &seen.clone().change(damage(14 + 8)), 8);
    world.drops(damaged, DropReason::BadIcmpError);
    // The quoted transport checksum is not ours to judge (REQ-3c).
    world.lenient = true;
    let damaged = SERVER.error(RED_POOL, PORT_UNREACHABLE, &seen.change(damage(14 + 20 + 6)), 500);
    world.one(damaged);
}

//= rfc5508#REQ-3b
#[test]
fn rfc5508_req3b_ip_options_in_the_quote_are_stepped_over() {
    let mut world = scene();
    let options = |packet: Packet| packet.change(|bytes| testing::with_options(bytes, &[1; 40]));
    let question = options(RED_A.udp(4_000, (SERVER.address, 53), b"who is it?"));
    let seen = world.one(question.clone());
    let heard = world.one(SERVER.error(RED_POOL, PORT_UNREACHABLE, &seen, 8));
    let expected = RED_A.peer(SERVER.address).error(RED_A.address, PORT_UNREACHABLE, &question.hop(), 8);
    assert_eq!(heard, expected.hop());
}

//= rfc5508#REQ-3d
#[test]
fn rfc5508_req3d_extensions_behind_the_quote_stay_as_they_are() {
    let mut world = scene();
    let question = RED_A.udp(4_000, (SERVER.address, 53), b"who is it?");
    let seen = world.one(question.clone());
    // RFC 4884: the quote filled up to 128 bytes, its length in words, an extension header and an MPLS object.
    let extended = |about: &Packet| {
        let mut body = about.bytes[about.parsed().network_range()].to_vec();
        body.resize(128, 0);
        body.extend([0x20, 0, 0xaa, 0xbb, 0, 8, 1, 1, 1, 2, 3, 4]);
        body
    };
    let error = |from: Host, to, about: &Packet| {
        let hosts = ((from.mac, from.address), (from.via, to));
        from.says(testing::icmp(hosts.0, hosts.1, from.wire.vlan, 11, 0, 32 << 16, &extended(about)))
    };
    let heard = world.one(error(HOP, RED_POOL, &seen));
    assert_eq!(heard, error(RED_A.peer(HOP.address), RED_A.address, &question.hop()).hop());
}

//= rfc5508#REQ-4
//= rfc5508#REQ-5
#[test]
fn an_error_about_a_flow_nobody_knows_goes_nowhere() {
    let mut world = scene();
    let stranger = SERVER.peer(RED_POOL).udp(4_000, (SERVER.address, 53), b"");
    world.drops(SERVER.error(RED_POOL, PORT_UNREACHABLE, &stranger, 8), DropReason::IcmpNoSession);
    let stranger = RED_A.peer(SERVER.address).udp(53, (RED_A.address, 4_000), b"");
    world.drops(RED_A.error(SERVER.address, PORT_UNREACHABLE, &stranger, 8), DropReason::IcmpNoSession);
    // Nor one whose quote was not sent by the address it goes to.
    let seen = world.one(RED_A.udp(4_000, (SERVER.address, 53), b""));
    world.drops(SERVER.error(WEB, PORT_UNREACHABLE, &seen, 8), DropReason::BadIcmpError);
    // Nor one that is cut within the quote's ports.
    world.drops(SERVER.error(RED_POOL, PORT_UNREACHABLE, &seen, 7), DropReason::BadIcmpError);
}

#[test]
fn a_tenant_cannot_choose_its_translation_by_what_it_quotes() {
    let mut world = scene();
    // The quote is about a packet of the office's, which is answered untranslated; the error goes to the internet.
    let quoted = RED_A.peer(OFFICE.address).udp(53, (RED_A.address, 4_000), b"");
    world.drops(RED_A.error(SERVER.address, PORT_UNREACHABLE, &quoted, 8), DropReason::BadIcmpError);
    // To the office itself it goes as everything does, and with it a router's on the way.
    let seen = world.one(RED_A.error(OFFICE.address, PORT_UNREACHABLE, &quoted, 8));
    assert_eq!(seen.source().0, RED_A.address);
}

//= rfc5508#REQ-10
#[test]
fn rfc5508_req10_redirects_are_not_forwarded() {
    let mut world = scene();
    let seen = world.one(RED_A.udp(4_000, (SERVER.address, 7_000), b""));
    world.drops(SERVER.error(RED_POOL, (5, 1, 0x0a00_0001), &seen, 8), DropReason::IcmpUnsupported);
    let heard = world.one(SERVER.udp(1, (WEB, 80), b""));
    world.drops(RED_WEB.error(SERVER.address, (5, 1, 0), &heard, 8), DropReason::IcmpUnsupported);
}

//= rfc5508#REQ-6
#[test]
fn rfc5508_req6_an_error_refreshes_no_session() {
    let mut world = scene();
    let seen = world.one(RED_A.udp(4_000, (SERVER.address, 7_000), b""));
    let echo = world.one(RED_A.ping(9, OTHER.address));
    world.pass(20_000);
    let before: Vec<_> = world.sessions().iter().map(|session| (session.packets, session.idle_ms)).collect();
    world.one(SERVER.error(RED_POOL, PORT_UNREACHABLE, &seen, 8));
    world.one(OTHER.error(RED_POOL, (11, 0, 0), &echo, 8));
    let after: Vec<_> = world.sessions().iter().map(|session| (session.packets, session.idle_ms)).collect();
    assert_eq!(before, after);
    world.pass(10_000);
    assert_eq!(world.sessions().len(), 1);
    world.pass(30_000);
    assert_eq!(world.sessions().len(), 0);
}

//= rfc4787#REQ-12
//= rfc5382#REQ-10
/// RFC 4787 REQ-12, RFC 5382 REQ-10.
#[test]
fn no_error_ends_a_mapping_or_a_connection() {
    let mut world = scene();
    let datagram = world.one(RED_A.udp(4_000, (SERVER.address, 7_000), b""));
    let external = connect(&mut world, RED_A, 5_000, (SERVER.address, 443));
    let segment = SERVER.peer(external.0).tcp(external.1, (SERVER.address, 443), SYN);
    for icmp in ERRORS {
        world.one(SERVER.error(RED_POOL, icmp, &datagram, 8));
        world.one(SERVER.error(RED_POOL, icmp, &segment, 8));
    }
    world.pass(29_999);
    assert_eq!(world.one(SERVER.udp(7_000, datagram.source(), b"")).destination(), (RED_A.address, 4_000));
    assert_eq!(world.one(SERVER.tcp(443, external, 0x10)).destination(), (RED_A.address, 5_000));
    assert_eq!(world.count(|counters| &counters.sessions_closed), 0);
}

#[test]
fn an_error_travels_as_any_packet_does() {
    let mut world = scene();
    let seen = world.one(RED_A.udp(4_000, (SERVER.address, 7_000), b""));
    // It dies at its last hop, and RFC 1122 forbids an error about it.
    world.drops(SERVER.error(RED_POOL, PORT_UNREACHABLE, &seen, 8).with_ttl(1), DropReason::TtlExpired);
    let heard = world.one(SERVER.udp(7_000, seen.source(), b""));
    world.drops(RED_A.error(SERVER.address, PORT_UNREACHABLE, &heard, 8).with_ttl(1), DropReason::TtlExpired);
}
