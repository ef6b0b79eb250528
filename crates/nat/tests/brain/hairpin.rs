//! Hairpinning: hosts of ours that meet under their external addresses (RFC 4787 REQ-9, 5382 REQ-8, 5508 REQ-7).

use nat::DropReason;

use crate::exchange::{EXCHANGES, Exchange};
use crate::world::scene::*;
use crate::world::{Endpoint, Host, World};

/// `asker` asks `host` under its floating IP; both hear each other under external addresses only. Returns the asker's.
fn meet(world: &mut World, exchange: &Exchange, asker: Host, host: Host, floating: Endpoint) -> Endpoint {
    let question = world.one((exchange.ask)(asker, 6_000, floating));
    let external = question.source();
    let expected = (exchange.ask)(host.peer(external.0), external.1, (host.address, floating.1));
    assert_eq!(question, expected.hop(), "{}: the question", exchange.name);
    let answer = world.one((exchange.answer)(host, floating.1, external));
    let expected = (exchange.answer)(asker.peer(floating.0), floating.1, (asker.address, 6_000));
    assert_eq!(answer, expected.hop(), "{}: the answer", exchange.name);
    external
}

#[test]
fn a_host_reaches_the_floating_ip_of_another() {
    // Asker, its external address, the host asked, its floating IP.
    let rows = [
        ("same router, behind SNAT", RED_A, RED_POOL, RED_WEB, WEB),
        ("same router, another subnet", RED_DB, RED_POOL, RED_WEB, WEB),
        ("same router, both floating", RED_MAIL, MAIL, RED_WEB, WEB),
        ("its own", RED_WEB, WEB, RED_WEB, WEB),
        ("another router's, behind SNAT", BLUE_A, BLUE_POOL, RED_WEB, WEB),
        ("another router's, both floating", BLUE_WEB, BLUE_WEB_FLOATING, RED_WEB, WEB),
        ("the same internal address at both ends", RED_WEB, WEB, BLUE_WEB, BLUE_WEB_FLOATING),
    ];
    for (name, asker, external, host, floating) in rows {
        let mut world = scene();
        for exchange in &EXCHANGES {
            let seen = meet(&mut world, exchange, asker, host, (floating, exchange.remote_port));
            assert_eq!(seen.0, external, "{name}");
        }
    }
}

#[test]
fn rfc4787_req9_hosts_behind_snat_meet_under_their_mappings() {
    let rows: [(&str, Host, Host, Changes); 3] = [
        ("one pool", RED_A, RED_B, &[]),
        ("two routers", RED_A, BLUE_A, &[]),
        ("the router's own address", RED_A, RED_B, &[(", pool: red}", "}")]),
    ];
    for (name, one, two, changes) in rows {
        let mut world = scene_with(changes);
        let first = world.one(one.udp(4_000, (SERVER.address, 53), b"")).source();
        let second = world.one(two.udp(5_000, (SERVER.address, 53), b"")).source();
        // Neither has spoken to the other: the first datagram opens the way back, and is filtered itself.
        world.drops(one.udp(4_000, second, b"1"), DropReason::Filtered);
        let heard = world.one(two.udp(5_000, first, b"2"));
        assert_eq!(heard, one.peer(second.0).udp(second.1, (one.address, 4_000), b"2").hop(), "{name}");
        let heard = world.one(one.udp(4_000, second, b"3"));
        assert_eq!(heard, two.peer(first.0).udp(first.1, (two.address, 5_000), b"3").hop(), "{name}");
    }
}

#[test]
fn rfc5508_req7_a_hairpinned_error_quotes_what_its_receiver_sent() {
    for (asker, external) in [(RED_A, RED_POOL), (RED_MAIL, MAIL), (BLUE_A, BLUE_POOL)] {
        let mut world = scene();
        for exchange in &EXCHANGES {
            let question = (exchange.ask)(asker, 6_000, (WEB, exchange.remote_port));
            let heard = world.one(question.clone());
            assert_eq!(heard.source().0, external);
            for (speaker, under) in [(RED_WEB, WEB), (RED_B, WEB)] {
                for quoted in [8, 500] {
                    let error = world.one(speaker.error(external, (3, 3, 0), &heard, quoted));
                    let expected =
                        asker.peer(under).error(asker.address, (3, 3, 0), &question.clone().hop(), quoted);
                    assert_eq!(error, expected.hop(), "{} {quoted}", exchange.name);
                }
            }
        }
    }
}

#[test]
fn a_hairpinned_packet_is_one_hop_and_can_die_there() {
    let mut world = scene();
    let error = world.refuses(RED_A.udp(1, (WEB, 80), b"").with_ttl(1), DropReason::TtlExpired);
    assert_eq!((error.source().0, error.icmp()), (RED_GATEWAY, (11, 0, 0)));
    assert_eq!(world.one(RED_A.udp(1, (WEB, 80), b"").with_ttl(2)).ttl(), 1);
}

#[test]
fn what_is_filtered_from_outside_is_filtered_from_inside() {
    let mut world = scene();
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    world.drops(BLUE_A.udp(1, external, b""), DropReason::Filtered);
    world.drops(BLUE_A.udp(1, (RED_POOL, external.1 ^ 1), b""), DropReason::NoMapping);
    world.drops(BLUE_A.tcp(1, external, 2), DropReason::NoMapping);
    world.drops(BLUE_A.ping(1, RED_POOL), DropReason::NoMapping);
}
