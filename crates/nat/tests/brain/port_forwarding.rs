//! Port forwardings: external ports of one address that lead to an internal host, N to N or N to one.

use std::net::Ipv4Addr;

use nat::DropReason;
use packet::tcp::{ACK, PSH, RST, SYN};

use crate::exchange::{EXCHANGES, Exchange};
use crate::world::scene::*;
use crate::world::{Endpoint, Host, Packet, World};

const FORWARDED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 70);

/// Red's forwardings: ten ports to as many of A's, ten to one of B's, one of the pool's own address, all of two protocols.
const FORWARDINGS: (&str, &str) = (
    "    no_nat: [192.0.2.0/24]",
    "    no_nat: [192.0.2.0/24]
    port_forwardings:
      - {id: site, external: 203.0.113.70, protocol: tcp, external_ports: 8000-8009, internal: 10.0.0.11, internal_ports: 80-89}
      - {id: site-udp, external: 203.0.113.70, protocol: udp, external_ports: 8000-8009, internal: 10.0.0.11, internal_ports: 80-89}
      - {id: many, external: 203.0.113.70, protocol: tcp, external_ports: 9000-9009, internal: 10.0.0.12, internal_ports: 22-22}
      - {id: many-udp, external: 203.0.113.70, protocol: udp, external_ports: 9000-9009, internal: 10.0.0.12, internal_ports: 22-22}
      - {id: pool, external: 203.0.113.10, protocol: tcp, external_ports: 443-443, internal: 10.0.0.12}
      - {id: web, external: 203.0.113.70, protocol: udp, external_ports: 7000-7000, internal: 10.0.0.50, internal_ports: 70-70}",
);

fn forwarding_scene() -> World {
    scene_with(&[FORWARDINGS])
}

/// A remote asks through an external port and is answered; both packets are compared whole.
fn ask(world: &mut World, exchange: &Exchange, remote: (Host, u16), external: Endpoint, host: (Host, u16)) {
    let ((server, port), (host, internal)) = (remote, host);
    let question = world.one((exchange.ask)(server, port, external));
    let expected = (exchange.ask)(host.peer(server.address), port, (host.address, internal));
    assert_eq!(question, expected.hop(), "{} to {external:?}", exchange.name);
    let answer = world.one((exchange.answer)(host, internal, (server.address, port)));
    let expected = (exchange.answer)(server.peer(external.0), external.1, (server.address, port));
    assert_eq!(answer, expected.hop(), "{} from {external:?}", exchange.name);
}

/// In the end nothing is left: what SNAT has taken has been given back, once.
fn end(world: &mut World) {
    world.leap(8_000_000);
    world.leap(200_000);
    assert_eq!((world.occupancy().sessions, world.ports_used(RED_POOL)), (0, 0));
}

#[test]
fn each_port_of_a_range_leads_to_its_own_for_anybody() {
    let mut world = forwarding_scene();
    assert_eq!(world.who_has(ISP, FORWARDED), Some(RED_EXT));
    for exchange in &EXCHANGES[..2] {
        for step in 0..10 {
            for server in [SERVER, OTHER] {
                ask(&mut world, exchange, (server, 5_000), (FORWARDED, 8_000 + step), (RED_A, 80 + step));
            }
        }
        // Not the ports beside it.
        for port in [7_999, 8_010, 80] {
            world.drops((exchange.ask)(SERVER, 5_000, (FORWARDED, port)), DropReason::LocalUnhandled);
        }
    }
    // A port of the pool's address that the pool does not give away, for the protocol that is forwarded.
    ask(&mut world, &EXCHANGES[1], (SERVER, 5_000), (RED_POOL, 443), (RED_B, 443));
    world.drops(SERVER.udp(5_000, (RED_POOL, 443), b""), DropReason::NoMapping);
    assert_eq!((world.ports_used(RED_POOL), world.ports_used(FORWARDED)), (0, 0), "nothing is leased");
    world.leap(8_000_000);
    let occupancy = world.occupancy();
    assert_eq!(
        (occupancy.sessions, occupancy.mappings, occupancy.hosts, occupancy.permissions),
        (0, 0, 0, 0)
    );
}

#[test]
fn replies_leave_by_the_port_that_was_asked_where_many_lead_to_one() {
    let mut world = forwarding_scene();
    for exchange in &EXCHANGES[..2] {
        for step in 0..10 {
            ask(&mut world, exchange, (SERVER, 5_000 + step), (FORWARDED, 9_000 + step), (RED_B, 22));
        }
        // In any order.
        for step in (0..10).rev() {
            let answer = world.one((exchange.answer)(RED_B, 22, (SERVER.address, 5_000 + step)));
            assert_eq!(answer.source(), (FORWARDED, 9_000 + step), "{}", exchange.name);
        }
        // The same remote endpoint through another port: its answers could not be told apart.
        world.drops((exchange.ask)(SERVER, 5_000, (FORWARDED, 9_001)), DropReason::ForwardingTaken);
        assert_eq!(
            world.one((exchange.answer)(RED_B, 22, (SERVER.address, 5_000))).source(),
            (FORWARDED, 9_000),
            "and the session stands"
        );
    }
    // Until the first is over.
    world.one(SERVER.tcp(5_000, (FORWARDED, 9_000), RST));
    ask(&mut world, &EXCHANGES[1], (SERVER, 5_000), (FORWARDED, 9_001), (RED_B, 22));
}

#[test]
fn a_host_speaks_from_a_forwarded_port_under_its_external_endpoint_and_else_by_snat() {
    let mut world = forwarding_scene();
    let rows: [(Host, u16, u16); 3] = [(RED_A, 80, 8_000), (RED_A, 89, 8_009), (RED_B, 22, 9_000)];
    for exchange in &EXCHANGES[..2] {
        let remote = (SERVER.address, exchange.remote_port);
        for (host, internal, external) in rows {
            let seen = world.one((exchange.ask)(host, internal, remote));
            assert_eq!(seen, (exchange.ask)(SERVER.peer(FORWARDED), external, remote).hop());
            let heard = world.one((exchange.answer)(SERVER, remote.1, (FORWARDED, external)));
            let expected = (exchange.answer)(host.peer(SERVER.address), remote.1, (host.address, internal));
            assert_eq!(heard, expected.hop());
        }
        for port in [79, 90, 8_000] {
            assert_eq!(world.one((exchange.ask)(RED_A, port, remote)).source().0, RED_POOL);
        }
    }
    assert_eq!(world.one(RED_A.ping(80, SERVER.address)).source().0, RED_POOL, "a ping has no port");
    // A segment in the middle of a connection opens nothing, from either side.
    world.drops(SERVER.tcp(6_000, (FORWARDED, 8_000), ACK), DropReason::NotSyn);
    world.drops(RED_A.tcp(80, (SERVER.address, 6_000), ACK), DropReason::NotSyn);
}

/// C9: the forwarding's endpoint goes before that of SNAT, even for the same addresses and ports.
#[test]
fn a_session_of_snat_with_the_same_endpoints_does_not_break_a_forwarding() {
    for exchange in &EXCHANGES[..2] {
        let mut world = scene();
        let snat = world.one((exchange.ask)(RED_A, 80, (SERVER.address, 5_000))).source();
        assert_eq!(snat.0, RED_POOL);
        world.adopt(&rules_with(&[FORWARDINGS]));
        ask(&mut world, exchange, (SERVER, 5_000), (FORWARDED, 8_000), (RED_A, 80));
        world.drops((exchange.answer)(SERVER, 5_000, snat), DropReason::NoMapping);
        assert_eq!(world.sessions().len(), 1);
        end(&mut world);
    }
}

/// The pool gave the very endpoint away before the rules forwarded it to somebody else.
#[test]
fn an_endpoint_that_is_forwarded_is_taken_from_whom_the_pool_gave_it() {
    for exchange in &EXCHANGES[..2] {
        let one_port = ("addresses: [203.0.113.10]", "addresses: [203.0.113.10], ports: 3000-3000");
        let mut world = scene_with(&[one_port]);
        let external = world.one((exchange.ask)(RED_A, 4_000, (SERVER.address, 5_000))).source();
        assert_eq!(external, (RED_POOL, 3_000));
        let forwarding = format!(
            "    no_nat: [192.0.2.0/24]\n    port_forwardings: [{{id: one, external: 203.0.113.10, protocol: {}, external_ports: 3000-3000, internal: 10.0.0.12}}]",
            exchange.name
        );
        let other_port = ("addresses: [203.0.113.10]", "addresses: [203.0.113.10], ports: 3001-3001");
        world.adopt(&rules_with(&[other_port, (FORWARDINGS.0, &forwarding)]));
        ask(&mut world, exchange, (SERVER, 5_000), external, (RED_B, 3_000));
        // A's next packet is translated anew, where it may be.
        let seen = world.one((exchange.ask)(RED_A, 4_000, (SERVER.address, 5_000)));
        assert_eq!(seen.source(), (RED_POOL, 3_001));
        ask(&mut world, exchange, (SERVER, 5_000), external, (RED_B, 3_000));
        end(&mut world);
    }
}

#[test]
fn the_end_of_a_forwarding_ends_its_sessions_and_no_others() {
    let mut world = forwarding_scene();
    for exchange in &EXCHANGES[..2] {
        ask(&mut world, exchange, (SERVER, 5_000), (FORWARDED, 8_000), (RED_A, 80));
        ask(&mut world, exchange, (SERVER, 5_000), (FORWARDED, 9_000), (RED_B, 22));
    }
    // Another rule changes: all stand.
    let other = rules_with(&[FORWARDINGS, ("192.0.2.0/24", "192.0.2.0/25")]);
    world.adopt(&other);
    assert_eq!(world.one(SERVER.tcp(5_000, (FORWARDED, 8_000), PSH | ACK)).destination().1, 80);
    assert_eq!(world.one(RED_A.tcp(80, (SERVER.address, 5_000), PSH | ACK)).source(), (FORWARDED, 8_000));
    // A's ports lead to others of A's.
    world.adopt(&rules_with(&[FORWARDINGS, ("8000-8009", "8100-8109")]));
    world.drops(SERVER.tcp(5_000, (FORWARDED, 8_000), PSH | ACK), DropReason::LocalUnhandled);
    world.drops(RED_A.tcp(80, (SERVER.address, 5_000), PSH | ACK), DropReason::NotSyn);
    assert_eq!(world.one(SERVER.udp(5_000, (FORWARDED, 8_000), b"")).destination().1, 80);
    assert_eq!(world.one(RED_B.tcp(22, (SERVER.address, 5_000), PSH | ACK)).source(), (FORWARDED, 9_000));
    // All gone: the address is nobody's.
    world.adopt(&rules_with(&[]));
    world.drops(SERVER.udp(5_000, (FORWARDED, 9_000), b""), DropReason::NotForUs);
    world.drops(RED_B.tcp(22, (SERVER.address, 5_000), PSH | ACK), DropReason::NotSyn);
    assert_eq!(world.one(RED_B.udp(22, (SERVER.address, 5_000), b"")).source().0, RED_POOL);
    end(&mut world);
}

#[test]
fn forwardings_work_where_snat_is_off_and_open_no_way_out() {
    let mut world = scene_with(&[
        ("pool: red}", "snat: false}"),
        (FORWARDINGS.0, &FORWARDINGS.1.replace("external: 203.0.113.10,", "external: 203.0.113.2,")),
    ]);
    for exchange in &EXCHANGES[..2] {
        ask(&mut world, exchange, (SERVER, 5_000), (FORWARDED, 8_001), (RED_A, 81));
        assert_eq!(world.one((exchange.ask)(RED_A, 82, (OTHER.address, 1))).source(), (FORWARDED, 8_002));
        let other = (exchange.ask)(RED_A, 4_000, (SERVER.address, 1));
        assert_eq!(world.refuses(other, DropReason::NoTranslation).icmp(), (3, 13, 0));
    }
    // The router's own address answers ping, and forwards one port.
    ask(&mut world, &EXCHANGES[1], (SERVER, 5_000), (RED_EXTERNAL, 443), (RED_B, 443));
    world.one(SERVER.ping(1, RED_EXTERNAL));
    world.drops(SERVER.tcp(1, (RED_EXTERNAL, 80), SYN), DropReason::LocalUnhandled);
}

#[test]
fn a_forwarding_to_a_host_with_a_floating_ip_is_for_its_port_alone() {
    let mut world = forwarding_scene();
    ask(&mut world, &EXCHANGES[0], (SERVER, 5_000), (FORWARDED, 7_000), (RED_WEB, 70));
    assert_eq!(world.one(RED_WEB.udp(71, (SERVER.address, 5_000), b"")).source(), (WEB, 71));
    assert_eq!(world.one(RED_WEB.tcp(70, (SERVER.address, 5_000), SYN)).source(), (WEB, 70));
    assert_eq!(world.one(SERVER.udp(5_000, (WEB, 71), b"")).destination(), (RED_WEB.address, 71));
}

//= rfc5508#REQ-4
//= rfc5508#REQ-5
#[test]
fn errors_pass_a_forwarding_both_ways() {
    let mut world = forwarding_scene();
    let rows = [(RED_A, 80, 8_000), (RED_B, 22, 9_003), (RED_WEB, 70, 7_000)];
    for exchange in &EXCHANGES[..2] {
        for (host, internal, external) in rows {
            if host == RED_WEB && exchange.name == "tcp" {
                continue;
            }
            let question = (exchange.ask)(SERVER, 5_000, (FORWARDED, external));
            let heard = world.one(question.clone());
            let answer = (exchange.answer)(host, internal, (SERVER.address, 5_000));
            let seen = world.one(answer.clone());
            for quoted in [8, 500] {
                let out = world.one(host.error(SERVER.address, (3, 3, 0), &heard, quoted));
                let expected =
                    SERVER.peer(FORWARDED).error(SERVER.address, (3, 3, 0), &question.clone().hop(), quoted);
                assert_eq!(out, expected.hop());
                let hop = Host { address: Ipv4Addr::new(100, 100, 0, 7), ..ISP };
                let back = world.one(hop.error(FORWARDED, (3, 4, 1_400), &seen, quoted));
                let expected =
                    host.peer(hop.address).error(host.address, (3, 4, 1_400), &answer.clone().hop(), quoted);
                assert_eq!(back, expected.hop());
            }
        }
    }
    let stranger: Packet = SERVER.peer(FORWARDED).udp(8_005, (SERVER.address, 9), b"");
    world.drops(SERVER.error(FORWARDED, (3, 3, 0), &stranger, 8), DropReason::IcmpNoSession);
}

#[test]
fn forwarded_sessions_are_taken_over_by_other_workers() {
    for workers in [1, 3] {
        let mut world = forwarding_scene();
        for exchange in &EXCHANGES[..2] {
            ask(&mut world, exchange, (SERVER, 5_000), (FORWARDED, 9_007), (RED_B, 22));
        }
        world.restart(workers);
        for exchange in &EXCHANGES[..2] {
            let answer = world.one((exchange.answer)(RED_B, 22, (SERVER.address, 5_000)));
            assert_eq!(answer.source(), (FORWARDED, 9_007));
        }
    }
}
