//! Hairpinning: hosts of ours that meet under their external addresses (RFC 4787 REQ-9, 5382 REQ-8, 5508 REQ-7).

use std::net::Ipv4Addr;

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

//= rfc7857#13
//= rfc5508#REQ-7
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

//= rfc4787#REQ-9
//= rfc4787#REQ-9a
//= rfc5382#REQ-8
//= rfc5382#REQ-8a
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

//= rfc5508#REQ-7
//= rfc5508#REQ-7a
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

/// Whom a packet of the matrix is sent by, or reaches, and under which external address.
struct Party {
    name: &'static str,
    host: Host,
    /// The port it speaks from, or listens at.
    internal: u16,
    external: Ipv4Addr,
    /// The external port, where the rules say it.
    port: Option<u16>,
}

const FORWARDED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 70);
const BLUE_FORWARDED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);

/// Forwardings for both tenants; the ports are those of the exchanges.
const FORWARDINGS: [(&str, &str); 2] = [
    (
        "    no_nat: [192.0.2.0/24]",
        "    no_nat: [192.0.2.0/24]
    port_forwardings:
      - {id: tcp, external: 203.0.113.70, protocol: tcp, external_ports: 8000-8999, internal: 10.0.0.12, internal_ports: 1000-1999}
      - {id: udp, external: 203.0.113.70, protocol: udp, external_ports: 8000-8999, internal: 10.0.0.12, internal_ports: 1000-1999}",
    ),
    (
        "      - {id: web, external: 203.0.113.60, internal: 10.0.0.50}\n",
        "      - {id: web, external: 203.0.113.60, internal: 10.0.0.50}
    port_forwardings:
      - {id: tcp, external: 203.0.113.80, protocol: tcp, external_ports: 8000-8999, internal: 10.0.0.11, internal_ports: 1000-1999}
      - {id: udp, external: 203.0.113.80, protocol: udp, external_ports: 8000-8999, internal: 10.0.0.11, internal_ports: 1000-1999}
",
    ),
];

const fn party(
    name: &'static str,
    host: Host,
    internal: u16,
    external: Ipv4Addr,
    port: Option<u16>,
) -> Party {
    Party { name, host, internal, external, port }
}

/// Who asks: behind SNAT, with a floating IP, from a forwarded port; of either router, of another subnet.
const ASKERS: [Party; 7] = [
    party("SNAT", RED_A, 6_000, RED_POOL, None),
    party("SNAT, another subnet", RED_DB, 6_000, RED_POOL, None),
    party("the forwarded host's own SNAT", RED_B, 6_000, RED_POOL, None),
    party("floating", RED_WEB, 6_000, WEB, Some(6_000)),
    party("forwarded", RED_B, 1_500, FORWARDED, Some(8_500)),
    party("another router's SNAT", BLUE_A, 6_000, BLUE_POOL, None),
    party("another router's floating", BLUE_WEB, 6_000, BLUE_WEB_FLOATING, Some(6_000)),
];

/// Who is asked.
const ASKED: [Party; 4] = [
    party("floating", RED_WEB, 8_053, WEB, Some(8_053)),
    party("another router's floating", BLUE_WEB, 8_053, BLUE_WEB_FLOATING, Some(8_053)),
    party("forwarded", RED_B, 1_053, FORWARDED, Some(8_053)),
    party("another router's forwarded", BLUE_A, 1_053, BLUE_FORWARDED, Some(8_053)),
];

/// Every asker, its own address included among those asked, over TCP, UDP and, where there is one address for one, ICMP: the
/// question, the answer, an error about each, and both at their last hop.
//= rfc4787#REQ-9
//= rfc4787#REQ-9a
//= rfc5382#REQ-8
//= rfc5508#REQ-7
//= rfc5508#REQ-7a
//= rfc7857#13
#[test]
fn everybody_meets_everybody_under_external_addresses() {
    for asked in &ASKED {
        for asker in &ASKERS {
            let mut world = scene_with(&FORWARDINGS);
            for exchange in &EXCHANGES {
                let ping = exchange.name == "ping";
                if ping && (asked.internal != 8_053 || asker.port == Some(8_500)) {
                    continue;
                }
                let name = format!("{}, {} asks {}", exchange.name, asker.name, asked.name);
                meet_in_full(&mut world, exchange, asker, asked, &name);
            }
        }
    }
}

fn meet_in_full(world: &mut World, exchange: &Exchange, asker: &Party, asked: &Party, name: &str) {
    let remote = (asked.external, asked.port.unwrap());
    let question = (exchange.ask)(asker.host, asker.internal, remote);
    let heard = world.one(question.clone());
    let external = heard.source();
    assert_eq!(external.0, asker.external, "{name}");
    if let Some(port) = asker.port {
        assert_eq!(external.1, port, "{name}");
    }
    let expected =
        (exchange.ask)(asked.host.peer(external.0), external.1, (asked.host.address, asked.internal));
    assert_eq!(heard, expected.hop(), "{name}: the question");

    let answer = (exchange.answer)(asked.host, asked.internal, external);
    let returned = world.one(answer.clone());
    let expected =
        (exchange.answer)(asker.host.peer(remote.0), remote.1, (asker.host.address, asker.internal));
    assert_eq!(returned, expected.hop(), "{name}: the answer");

    for quoted in [8, 500] {
        // Whoever was asked complains about the question, and whoever asked about the answer.
        let error = world.one(asked.host.error(external.0, (3, 3, 0), &heard, quoted));
        let expected =
            asker.host.peer(remote.0).error(asker.host.address, (3, 3, 0), &question.clone().hop(), quoted);
        assert_eq!(error, expected.hop(), "{name}: an error about the question");
        let error = world.one(asker.host.error(remote.0, (11, 1, 0), &returned, quoted));
        let expected =
            asked.host.peer(external.0).error(asked.host.address, (11, 1, 0), &answer.clone().hop(), quoted);
        assert_eq!(error, expected.hop(), "{name}: an error about the answer");
    }

    // Traceroute: the hairpin is one hop, of the sender's own gateway.
    for (host, packet) in [(asker.host, question), (asked.host, answer)] {
        let dying = packet.with_ttl(1);
        let error = world.refuses(dying.clone(), DropReason::TtlExpired);
        let gateway = if host == RED_DB { Ipv4Addr::new(10, 0, 1, 1) } else { RED_GATEWAY };
        let expected = host.peer(gateway).gateway_error(host.address, (11, 0, 0), &dying);
        assert_eq!(error, expected, "{name}: at its last hop");
    }
}

/// A host behind SNAT that speaks to its own mapping, and to its own forwarding.
//= rfc4787#REQ-9
#[test]
fn a_host_meets_itself() {
    let mut world = scene_with(&FORWARDINGS);
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    // It has spoken to itself by then, so its filter lets it in.
    let heard = world.one(RED_A.udp(4_000, external, b"me?"));
    assert_eq!(heard, RED_A.peer(external.0).udp(external.1, (RED_A.address, 4_000), b"me?").hop());
    let heard = world.one(RED_B.udp(1_053, (FORWARDED, 8_053), b"me?"));
    assert_eq!(heard, RED_B.peer(FORWARDED).udp(8_053, (RED_B.address, 1_053), b"me?").hop());
}
