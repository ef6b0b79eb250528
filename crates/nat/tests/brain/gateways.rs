//! Several ways out of one router, each into an external network of its own: a flow's is that of its route.
//!
//! ```text
//! red --+-- 203.0.113.0/24 -- ISP ------------- the rest of the world
//!       '-- 198.18.0.0/24 --- PARTNERS .1 ----- 100.64.0.0/10: PARTNER
//! ```

use std::net::Ipv4Addr;

use nat::DropReason;
use packet::MacAddress;
use packet::tcp::{ACK, PSH};

use crate::exchange::{EXCHANGES, play};
use crate::world::scene::*;
use crate::world::{Host, Wire, World, mac};

const PARTNER_LEG: MacAddress = MacAddress([0xfa, 0x16, 0x3e, 0, 1, 4]);
const PARTNER_WIRE: Wire = Wire { port: 2, vlan: None };
const PARTNERS: Host =
    Host { wire: PARTNER_WIRE, mac: mac(98, 1), address: Ipv4Addr::new(198, 18, 0, 1), via: PARTNER_LEG };
const PARTNER: Host = Host { address: Ipv4Addr::new(100, 64, 0, 9), ..PARTNERS };
/// On the partner network itself.
const NEAR: Host = Host { mac: mac(98, 9), address: Ipv4Addr::new(198, 18, 0, 9), ..PARTNERS };

const PARTNER_POOL: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 10);
const PARTNER_WEB: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 50);
const PARTNER_FORWARDED: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 70);

/// The scene with the second way out.
const CHANGES: [(&str, &str); 6] = [
    ("  - {id: internet, port: out0}", "  - {id: internet, port: out0}\n  - {id: partner, port: in1}"),
    (
        "  - {id: blue, addresses: [203.0.113.20]}",
        "  - {id: blue, addresses: [203.0.113.20]}\n  - {id: partner, addresses: [198.18.0.10]}",
    ),
    (
        "addresses: [203.0.113.2/24], external: true}",
        "addresses: [203.0.113.2/24], external: true}
      - {id: partner, segment: partner, mac: \"fa:16:3e:00:01:04\", addresses: [198.18.0.2/24], external: true}",
    ),
    ("next_hop: 203.0.113.1, pool: red}]", "next_hop: 203.0.113.1, pool: red}, {interface: partner, pool: partner}]"),
    (
        "      - {id: mail, external: 203.0.113.51, internal: 10.0.0.51}",
        "      - {id: mail, external: 203.0.113.51, internal: 10.0.0.51}
      - {id: pweb, external: 198.18.0.50, internal: 10.0.0.50, gateway: partner}",
    ),
    (
        "    no_nat: [192.0.2.0/24]",
        "    no_nat: [192.0.2.0/24, 100.64.7.0/24]
    routes: [{prefix: 100.64.0.0/10, next_hop: 198.18.0.1}]
    port_forwardings:
      - {id: near, external: 198.18.0.70, protocol: tcp, external_ports: 8000-8000, internal: 10.0.0.11, internal_ports: 80-80, gateway: partner}
      - {id: far, external: 203.0.113.70, protocol: tcp, external_ports: 8000-8000, internal: 10.0.0.11, internal_ports: 80-80}",
    ),
];

fn two_ways_out() -> World {
    let hosts: Vec<Host> = HOSTS.into_iter().chain([PARTNERS, NEAR]).collect();
    World::new(&rules_with(&CHANGES), &hosts)
}

#[test]
fn a_flow_leaves_by_the_network_of_its_route_under_an_address_of_that() {
    let mut world = two_ways_out();
    for exchange in &EXCHANGES {
        for (server, pool) in [(SERVER, RED_POOL), (PARTNER, PARTNER_POOL), (NEAR, PARTNER_POOL)] {
            // The same internal endpoint towards all.
            let external = play(&mut world, exchange, RED_A, server, 4_000);
            assert_eq!(external.0, pool, "{}", exchange.name);
            // The answer is known on its own network only.
            let other = if pool == RED_POOL { PARTNERS } else { ISP };
            let astray = Host { address: server.address, ..other };
            world.drops((exchange.answer)(astray, exchange.remote_port, external), DropReason::NotForUs);
        }
    }
    assert_eq!(world.sessions().len(), 9);
}

#[test]
fn a_host_has_a_floating_ip_on_each_network_or_on_one() {
    let mut world = two_ways_out();
    for exchange in &EXCHANGES {
        for (server, floating) in [(SERVER, WEB), (PARTNER, PARTNER_WEB), (NEAR, PARTNER_WEB)] {
            assert_eq!(play(&mut world, exchange, RED_WEB, server, 5_000), (floating, 5_000));
            let asked = world.one((exchange.ask)(server, 6_000, (floating, exchange.remote_port)));
            let expected =
                (exchange.ask)(RED_WEB.peer(server.address), 6_000, (RED_WEB.address, exchange.remote_port));
            assert_eq!(asked, expected.hop());
        }
        // One that has none there is translated there.
        assert_eq!(play(&mut world, exchange, RED_MAIL, SERVER, 5_000).0, MAIL);
        assert_eq!(play(&mut world, exchange, RED_MAIL, PARTNER, 5_000).0, PARTNER_POOL);
    }
    world.drops(PARTNER.udp(1, (WEB, 80), b""), DropReason::NotForUs);
    world.drops(SERVER.udp(1, (PARTNER_WEB, 80), b""), DropReason::NotForUs);
}

#[test]
fn a_forwarding_is_of_one_network() {
    let mut world = two_ways_out();
    let tcp = &EXCHANGES[1];
    for (server, forwarded) in [(SERVER, Ipv4Addr::new(203, 0, 113, 70)), (PARTNER, PARTNER_FORWARDED)] {
        let heard = world.one((tcp.ask)(server, 5_000, (forwarded, 8_000)));
        assert_eq!(heard, (tcp.ask)(RED_A.peer(server.address), 5_000, (RED_A.address, 80)).hop());
        let seen = world.one((tcp.answer)(RED_A, 80, (server.address, 5_000)));
        assert_eq!(seen, (tcp.answer)(server.peer(forwarded), 8_000, (server.address, 5_000)).hop());
    }
    // Whose answer would leave by another network than the question came by is not let in.
    let astray = Host { address: SERVER.address, ..PARTNERS };
    world.drops((tcp.ask)(astray, 5_001, (PARTNER_FORWARDED, 8_000)), DropReason::NoMapping);
}

#[test]
fn a_route_that_moves_to_another_network_takes_its_flows_along() {
    let mut world = two_ways_out();
    let datagram = world.one(RED_A.udp(4_000, (PARTNER.address, 53), b"")).source();
    let connection = crate::tcp::connect(&mut world, RED_A, 5_000, (SERVER.address, 443));
    let segment = world.one(RED_A.tcp(6_000, (PARTNER.address, 443), packet::tcp::SYN)).source();
    assert_eq!((datagram.0, segment.0, connection.0), (PARTNER_POOL, PARTNER_POOL, RED_POOL));

    let mut changes = CHANGES.to_vec();
    let without = CHANGES[5].1.replace("prefix: 100.64.0.0/10", "prefix: 100.65.0.0/16");
    changes[5].1 = &without;
    world.adopt(&rules_with(&changes));
    let moved = world.one(RED_A.udp(4_000, (PARTNER.address, 53), b""));
    assert_eq!((moved.wire, moved.source().0), (INTERNET, RED_POOL));
    world.drops(RED_A.tcp(6_000, (PARTNER.address, 443), PSH | ACK), DropReason::NotSyn);
    world.drops(PARTNER.udp(53, datagram, b""), DropReason::NoMapping);
    assert_eq!(world.one(RED_A.tcp(5_000, (SERVER.address, 443), PSH | ACK)).source(), connection);
    world.leap(8_000_000);
    world.leap(200_000);
    assert_eq!(
        (world.occupancy().sessions, world.ports_used(PARTNER_POOL), world.ports_used(RED_POOL)),
        (0, 0, 0)
    );
}

#[test]
fn nothing_goes_from_one_external_network_to_another_nor_back() {
    let mut world = two_ways_out();
    for (host, to) in [(SERVER, PARTNER), (PARTNER, SERVER), (PARTNER, NEAR), (SERVER, OTHER)] {
        world.drops(host.udp(1, (to.address, 2), b""), DropReason::NotForUs);
    }
    // Exempt sources reach hosts inside, and no further.
    let exempt = Host { address: Ipv4Addr::new(100, 64, 7, 7), ..PARTNERS };
    assert_eq!(world.one(exempt.udp(1, (RED_A.address, 2), b"")).wire, RED_LAN_WIRE);
    let answer = world.one(RED_A.udp(2, (exempt.address, 1), b""));
    assert_eq!((answer.wire, answer.source()), (PARTNER_WIRE, (RED_A.address, 2)));
    for to in [SERVER, OFFICE, NEAR] {
        world.drops(exempt.udp(1, (to.address, 2), b""), DropReason::NotForUs);
    }
}

/// What traceroute sees of us is the address of the leg it came by.
//= rfc1812#4.3.2.4
#[test]
fn each_leg_speaks_with_its_own_address() {
    let mut world = two_ways_out();
    let own = Ipv4Addr::new(198, 18, 0, 2);
    let dying = PARTNER.udp(1, (PARTNER_WEB, 80), b"").with_ttl(1);
    let error = world.refuses(dying.clone(), DropReason::TtlExpired);
    assert_eq!(error, PARTNER.peer(own).gateway_error(PARTNER.address, (11, 0, 0), &dying));
    for (host, address) in [(PARTNER, own), (SERVER, RED_EXTERNAL), (RED_A, own), (RED_A, RED_EXTERNAL)] {
        assert_eq!(world.one(host.ping(7, address)), host.peer(address).pong(7, host.address));
    }
}
