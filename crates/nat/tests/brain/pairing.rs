//! Which external address a host has, and what happens when its ports are used up (RFC 4787 REQ-2, RFC 7857 section 4).

use std::collections::HashSet;

use nat::DropReason;
use packet::tcp::SYN;

use crate::world::scene::*;
use crate::world::{Setup, World};

const FOUR: &str = "addresses: [203.0.113.10, 203.0.113.12, 203.0.113.14-203.0.113.15]";

fn with_four(more: &str) -> World {
    let setup = Setup { sessions_max: 32_768, ..Setup::default() };
    scene_on(setup, &[("addresses: [203.0.113.10]", &format!("{FOUR}, {more}"))])
}

//= rfc4787#REQ-2
//= rfc6888#REQ-2
#[test]
fn two_thousand_flows_of_a_host_have_one_address() {
    for pairing in ["strict", "soft"] {
        // Several addresses for each shard, so that none has only one to draw.
        let setup = Setup { sessions_max: 32_768, addresses_max: 64, ..Setup::default() };
        let pool = format!("addresses: [203.0.113.128/27], pairing: {pairing}");
        let mut world = scene_on(setup, &[("addresses: [203.0.113.10]", &pool)]);
        let mut seen = HashSet::new();
        for port in 1_000..3_000 {
            let remote = (if port % 2 == 0 { SERVER } else { OTHER }.address, port);
            let packet =
                if port % 3 == 0 { RED_A.tcp(port, remote, SYN) } else { RED_A.udp(port, remote, b"") };
            seen.insert(world.one(packet).source().0);
        }
        assert_eq!(seen.len(), 1, "{pairing}");
    }
}

//= rfc7857#4
#[test]
fn a_strictly_paired_host_is_refused_when_its_address_is_used_up() {
    let mut world = with_four("ports: 2000-2009, pairing: strict");
    let first = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source().0;
    for port in 4_001..4_010 {
        assert_eq!(world.one(RED_A.udp(port, (SERVER.address, 53), b"")).source().0, first);
    }
    world.refuses(RED_A.udp(4_010, (SERVER.address, 53), b""), DropReason::PortExhausted);
    assert_eq!(world.ports_used(first), 10);
}

//= rfc7857#4
#[test]
fn a_softly_paired_host_gets_every_port_of_the_pool() {
    let mut world = with_four("ports: 2000-2009, pairing: soft");
    let mut addresses = Vec::new();
    for port in 4_000..4_040 {
        addresses.push(world.one(RED_A.udp(port, (SERVER.address, 53), b"")).source().0);
    }
    addresses.dedup();
    assert_eq!(addresses.len(), 4, "one after the other: {addresses:?}");
    world.refuses(RED_A.udp(4_040, (SERVER.address, 53), b""), DropReason::PortExhausted);
    // What it has, it keeps.
    let again = world.one(RED_A.udp(4_000, (OTHER.address, 53), b""));
    assert_eq!(again.source().0, addresses[0]);
}

#[test]
fn without_pairing_each_mapping_has_any_address() {
    let mut world = with_four("pairing: none");
    let seen: HashSet<_> =
        (4_000..4_040).map(|port| world.one(RED_A.udp(port, (SERVER.address, 53), b"")).source().0).collect();
    assert_eq!(seen.len(), 4);
    // A mapping keeps its own (RFC 4787 REQ-1).
    let first = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    for port in 1..40 {
        assert_eq!(world.one(RED_A.udp(4_000, (OTHER.address, port), b"")).source(), first);
    }
}

//= rfc6888#REQ-13
#[test]
fn a_host_that_has_no_address_yet_gets_one_with_room() {
    let mut world = with_four("ports: 2000-2000, pairing: strict");
    let mut addresses = HashSet::new();
    for number in 100..104 {
        world.add(red(number));
        addresses.insert(world.one(red(number).udp(4_000, (SERVER.address, 53), b"")).source().0);
    }
    assert_eq!(addresses.len(), 4);
    world.add(red(104));
    world.refuses(red(104).udp(4_000, (SERVER.address, 53), b""), DropReason::PortExhausted);
}

#[test]
fn a_remote_that_is_taken_is_had_by_another_address_where_pairing_allows() {
    let gre = |world: &mut World, host: crate::world::Host| {
        world.observe(|world| world.send(host.ipv4(47, SERVER.address, &[0; 20])))
    };
    for pairing in ["strict", "soft", "none"] {
        let mut world = with_four(&format!("pairing: {pairing}"));
        let mut seen = HashSet::new();
        for number in 100..110 {
            world.add(red(number));
            let (drops, heard) = gre(&mut world, red(number));
            match drops.as_slice() {
                [] => assert!(seen.insert(heard[0].source().0), "{pairing}: one host for each address"),
                _ => assert_eq!(drops, [DropReason::RemoteTaken], "{pairing}"),
            }
        }
        assert_eq!(seen.len(), 4, "{pairing}");
    }
}

//= rfc6888#REQ-3
#[test]
fn addresses_that_are_apart_and_some_excluded_are_a_pool_like_any_other() {
    let pool = "addresses: [203.0.113.10, 203.0.113.100-203.0.113.109], exclude_addresses: [203.0.113.103-203.0.113.105]";
    let mut world = scene_with(&[("addresses: [203.0.113.10]", pool)]);
    let mut seen = HashSet::new();
    for number in 100..250 {
        world.add(red(number));
        seen.insert(world.one(red(number).udp(1_000, (SERVER.address, 53), b"")).source().0.octets()[3]);
    }
    assert_eq!(seen, HashSet::from([10, 100, 101, 102, 106, 107, 108, 109]));
}
