//! Where packets may come from and go to: networks, subnets, routes, and what is kept apart.

use std::net::Ipv4Addr;

use nat::DropReason;
use packet::MacAddress;
use packet::tcp::SYN;

use crate::exchange::{EXCHANGES, play};
use crate::world::scene::*;
use crate::world::{Host, Wire};

#[test]
fn subnets_of_a_router_reach_each_other_untranslated() {
    let mut world = scene();
    for exchange in &EXCHANGES {
        let question = world.one((exchange.ask)(RED_A, 4_000, (RED_DB.address, exchange.remote_port)));
        let expected =
            (exchange.ask)(RED_DB.peer(RED_A.address), 4_000, (RED_DB.address, exchange.remote_port));
        assert_eq!(question, expected.hop());
        let answer = world.one((exchange.answer)(RED_DB, exchange.remote_port, (RED_A.address, 4_000)));
        let expected =
            (exchange.answer)(RED_A.peer(RED_DB.address), exchange.remote_port, (RED_A.address, 4_000));
        assert_eq!(answer, expected.hop());
    }
    assert_eq!(world.occupancy().sessions, 0);
}

//= rfc1812#5.2.4
#[test]
fn hosts_behind_an_extra_route_are_reached_and_translated() {
    let route = "    routes: [{prefix: 172.16.0.0/16, next_hop: 10.0.0.12}]\n    no_nat: [192.0.2.0/24]";
    let mut world = scene_with(&[("    no_nat: [192.0.2.0/24]", route)]);
    let inner = Host { address: Ipv4Addr::new(172, 16, 9, 9), ..RED_B };
    let heard = world.one(RED_DB.udp(1, (inner.address, 2), b""));
    assert_eq!(heard, inner.peer(RED_DB.address).udp(1, (inner.address, 2), b"").hop());
    for exchange in &EXCHANGES {
        assert_eq!(play(&mut world, exchange, inner, SERVER, 4_000).0, RED_POOL);
    }
    // The longest match wins: the rest of 172.16/12 goes out.
    assert_eq!(world.one(RED_DB.udp(1, (Ipv4Addr::new(172, 17, 0, 1), 2), b"")).wire, INTERNET);
}

//= rfc6888#REQ-6
#[test]
fn a_packet_goes_untranslated_to_destinations_that_are_exempt_and_back() {
    let mut world = scene();
    for exchange in &EXCHANGES {
        let remote = (OFFICE.address, exchange.remote_port);
        let out = world.one((exchange.ask)(RED_A, 4_000, remote));
        assert_eq!(out, (exchange.ask)(OFFICE.peer(RED_A.address), 4_000, remote).hop());
        let back = world.one((exchange.answer)(OFFICE, exchange.remote_port, (RED_A.address, 4_000)));
        let expected =
            (exchange.answer)(RED_A.peer(OFFICE.address), exchange.remote_port, (RED_A.address, 4_000));
        assert_eq!(back, expected.hop());
    }
    // Hosts with a floating IP go there untranslated too.
    assert_eq!(world.one(RED_WEB.udp(1, (OFFICE.address, 2), b"")).source().0, RED_WEB.address);
    // No one else comes in that way, and not out again.
    world.drops(SERVER.udp(1, (RED_A.address, 2), b""), DropReason::NotForUs);
    world.drops(OFFICE.udp(1, (SERVER.address, 2), b""), DropReason::NotForUs);
    world.drops(OFFICE.through(BLUE_EXT).udp(1, (BLUE_A.address, 2), b""), DropReason::NotForUs);
    assert_eq!(world.occupancy().sessions, 0);
}

#[test]
fn a_host_without_translation_is_told_so_and_nothing_leaves() {
    let rows = [
        (
            "SNAT off at the router",
            "gateways: [{interface: ext, next_hop: 203.0.113.1, pool: red}]",
            "gateways: [{interface: ext, next_hop: 203.0.113.1, snat: false}]",
        ),
        ("SNAT off at its interface", "addresses: [10.0.0.1/24]}", "addresses: [10.0.0.1/24], snat: false}"),
    ];
    for (name, from, to) in rows {
        let mut world = scene_with(&[(from, to)]);
        for packet in [
            RED_A.udp(1, (SERVER.address, 53), b""),
            RED_A.tcp(1, (SERVER.address, 53), SYN),
            RED_A.ping(1, SERVER.address),
            RED_A.ipv4(47, SERVER.address, &[0; 20]),
        ] {
            let error = world.refuses(packet.clone(), DropReason::NoTranslation);
            let expected = RED_A.peer(RED_GATEWAY).gateway_error(RED_A.address, (3, 13, 0), &packet);
            assert_eq!(error, expected, "{name}");
        }
        world.one(RED_A.udp(1, (OFFICE.address, 53), b""));
        world.one(RED_A.udp(1, (RED_DB.address, 53), b""));
    }
}

//= rfc1812#4.3.3.1
#[test]
fn a_router_without_a_way_out_says_so() {
    let ext = r#"
      - {id: ext, segment: internet, mac: "fa:16:3e:00:02:03", addresses: [203.0.113.3/24], external: true}
    gateways: [{interface: ext, next_hop: 203.0.113.1, pool: blue}]
    floating_ips:
      - {id: web, external: 203.0.113.60, internal: 10.0.0.50}"#;
    let mut world = scene_with(&[(ext, "")]);
    let packet = BLUE_A.udp(1, (SERVER.address, 53), b"");
    let error = world.refuses(packet.clone(), DropReason::NoRoute);
    assert_eq!(error, BLUE_A.peer(RED_GATEWAY).gateway_error(BLUE_A.address, (3, 0, 0), &packet));
}

//= rfc1812#5.3.7
//= rfc1812#5.3.8
#[test]
fn sources_that_cannot_be_there_are_dropped() {
    let rows = [
        ("the internet's", [198, 51, 100, 1]),
        ("another subnet of the router's", [10, 0, 1, 11]),
        ("a floating IP", [203, 0, 113, 50]),
        ("the gateway's own address", [10, 0, 0, 1]),
        ("the office's", [192, 0, 2, 9]),
        ("none", [0, 0, 0, 0]),
        ("loopback", [127, 0, 0, 1]),
        ("multicast", [224, 0, 0, 1]),
        ("broadcast", [255, 255, 255, 255]),
    ];
    let mut world = scene();
    for (name, source) in rows {
        let packet = RED_A.udp(1, (SERVER.address, 53), b"").with_source(source.into());
        let (drops, heard) = world.observe(|world| world.send(packet));
        assert_eq!((drops, heard), (vec![DropReason::SpoofedSource], vec![]), "{name}");
    }
    for (name, source) in &rows[5..] {
        let packet = SERVER.udp(1, (WEB, 53), b"").with_source((*source).into());
        let (drops, heard) = world.observe(|world| world.send(packet));
        assert_eq!((drops, heard), (vec![DropReason::SpoofedSource], vec![]), "{name} from outside");
    }
}

/// RFC 3927 section 2.7.
#[test]
fn link_local_addresses_never_leave_their_link() {
    let metadata = Ipv4Addr::new(169, 254, 169, 254);
    let mut world = scene();
    for packet in [
        RED_A.tcp(1, (metadata, 80), SYN),
        RED_WEB.tcp(1, (metadata, 80), SYN),
        RED_A.udp(1, (SERVER.address, 1), b"").with_source(metadata),
        RED_A.udp(1, (RED_DB.address, 1), b"").with_source(metadata),
        SERVER.udp(1, (WEB, 1), b"").with_source(metadata),
        SERVER.udp(1, (metadata, 1), b""),
    ] {
        world.drops(packet, DropReason::LinkLocal);
    }
}

#[test]
fn multicast_and_broadcast_are_not_routed() {
    let group = Ipv4Addr::new(224, 0, 0, 251);
    let group_mac = MacAddress([0x01, 0x00, 0x5e, 0, 0, 251]);
    let mut world = scene();
    for host in [RED_A, SERVER] {
        world.drops(host.udp(1, (group, 5353), b"").with_mac(group_mac), DropReason::Multicast);
        world.drops(
            host.udp(1, (Ipv4Addr::BROADCAST, 67), b"").with_mac(MacAddress::BROADCAST),
            DropReason::Multicast,
        );
        world.drops(
            host.udp(1, (SERVER.address, 9), b"").with_mac(MacAddress::BROADCAST),
            DropReason::Multicast,
        );
    }
    // Nor where they come to our own MAC.
    world.drops(RED_A.udp(1, (group, 5353), b""), DropReason::Multicast);
    world.drops(RED_A.udp(1, (Ipv4Addr::BROADCAST, 67), b""), DropReason::Multicast);
    world.drops(SERVER.udp(1, (group, 5353), b""), DropReason::NotForUs);
}

#[test]
fn a_frame_belongs_to_the_network_of_its_port_and_tag() {
    let mut world = scene();
    let question = RED_A.udp(1, (SERVER.address, 53), b"");
    let elsewhere = |port, vlan: Option<u16>| Host {
        wire: Wire { port, vlan: vlan.map(|vlan| packet::VlanId::new(vlan).unwrap()) },
        ..RED_A
    };
    for (port, vlan) in [(0, Some(300)), (0, None), (1, Some(100)), (2, None), (2, Some(100))] {
        let packet = elsewhere(port, vlan).udp(1, (SERVER.address, 53), b"");
        world.drops(packet, DropReason::UnknownVlan);
    }
    // Red's gateway MAC is not known where blue is, nor the other way round.
    world.drops(elsewhere(0, Some(200)).udp(1, (SERVER.address, 53), b""), DropReason::WrongMac);
    world.drops(question.clone().with_mac(BLUE_LAN), DropReason::WrongMac);
    world.drops(question.clone().with_mac(RED_EXT), DropReason::WrongMac);
    world.drops(SERVER.udp(1, (WEB, 1), b"").with_mac(RED_LAN), DropReason::WrongMac);
    world.one(question);
}

#[test]
fn frames_that_are_not_ipv4_are_dropped_and_so_are_broken_ones() {
    let mut world = scene();
    let ether = |ether_type: u16| {
        RED_A.ping(1, SERVER.address).change(|mut bytes| {
            bytes[16..18].copy_from_slice(&ether_type.to_be_bytes());
            bytes
        })
    };
    for ether_type in [0x86dd, 0x88cc, 0x8100, 0x0026] {
        world.drops(ether(ether_type), DropReason::UnknownEthertype);
    }
    for length in [0, 13, 17, 30, 40] {
        let cut = RED_A.ping(1, SERVER.address).change(|bytes| bytes[..length].to_vec());
        world.drops(cut, DropReason::Malformed);
    }
    let damaged = RED_A.ping(1, SERVER.address).change(|mut bytes| {
        bytes[18 + 10] ^= 1;
        bytes
    });
    world.drops(damaged, DropReason::Malformed);
}

#[test]
fn a_router_that_is_down_forwards_nothing_and_answers_nothing() {
    let mut world =
        scene_with(&[("  - id: red\n    interfaces", "  - id: red\n    admin_up: false\n    interfaces")]);
    world.drops(RED_A.udp(1, (SERVER.address, 53), b""), DropReason::WrongMac);
    world.drops(RED_A.ping(1, RED_GATEWAY), DropReason::WrongMac);
    world.drops(SERVER.udp(1, (WEB, 80), b""), DropReason::WrongMac);
    assert_eq!(world.who_has(RED_A, RED_GATEWAY), None);
    assert_eq!(world.who_has(ISP, WEB), None);
    world.one(BLUE_A.udp(1, (SERVER.address, 53), b""));
}

#[test]
fn a_gateway_without_rules_drops_everything() {
    let mut world = crate::world::World::without_rules(Default::default());
    world.drops(RED_A.udp(1, (SERVER.address, 53), b""), DropReason::NoRules);
    world.drops(RED_A.asks_for(RED_GATEWAY), DropReason::NoRules);
}
