//! Port blocks: a host's ports come from its blocks, and it has so many at most (RFC 6888 REQ-4 and REQ-14).

use std::collections::{BTreeSet, HashMap, HashSet};

use nat::DropReason;
use packet::tcp::SYN;

use crate::mapping::with_pool;
use crate::world::scene::*;
use crate::world::{Endpoint, World};

const DNS: Endpoint = (SERVER.address, 53);

/// The blocks that a host's ports are in.
fn blocks(world: &World, host: crate::world::Host, size: u16) -> BTreeSet<u16> {
    let sessions = world.sessions();
    let mine = sessions.iter().filter(|one| one.internal.address == host.address);
    mine.map(|one| one.external.port / size).collect()
}

//= rfc6888#REQ-4
#[test]
fn a_host_has_so_many_blocks_and_no_more() {
    let mut world = with_pool("ports: 1024-4095, blocks: {ports: 16, per_host_max: 3}");
    for port in 0..48 {
        world.one(RED_A.udp(4_000 + port, DNS, b""));
        assert_eq!(world.occupancy().blocks, u32::from(port) / 16 + 1, "a block is full before the next");
    }
    let refused = RED_A.udp(5_000, DNS, b"");
    //= rfc6888#REQ-11
    let error = world.refuses(refused.clone(), DropReason::HostPortQuota);
    assert_eq!(error, RED_A.peer(RED_GATEWAY).gateway_error(RED_A.address, (3, 1, 0), &refused));
    // Others are unaffected, and so are the host's mappings and its other protocols.
    for port in 0..48 {
        world.one(RED_B.udp(4_000 + port, DNS, b""));
        world.one(RED_A.udp(4_000 + port, (OTHER.address, 1), b""));
        world.one(RED_A.tcp(4_000 + port, DNS, SYN));
        world.one(RED_A.ping(4_000 + port, SERVER.address));
    }
    world.refuses(RED_A.udp(5_000, DNS, b""), DropReason::HostPortQuota);
    assert_eq!(world.occupancy().blocks, 12);
}

//= rfc6888#REQ-14
#[test]
fn no_block_is_two_hosts_and_all_are_given_back() {
    let mut world = with_pool("ports: 1024-9215, blocks: {ports: 64, per_host_max: 4}");
    let hosts: Vec<_> = (100..130).map(red).collect();
    for host in &hosts {
        world.add(*host);
        for port in 0..100 {
            world.one(host.udp(1_000 + port, DNS, b""));
        }
    }
    let mut owner = HashMap::new();
    for host in &hosts {
        let mine = blocks(&world, *host, 64);
        assert_eq!(mine.len(), 2, "one hundred ports are two blocks");
        for block in mine {
            assert_eq!(owner.insert(block, host.address), None, "block {block}");
        }
    }
    assert_eq!(world.occupancy().blocks, 60);
    // So few records say who had which port: two blocks a host, whatever its sessions.
    world.pass(40_000);
    assert_eq!(world.occupancy().blocks, 60, "a port that rests is its host's, and so is its block");
    world.pass(61_000);
    assert_eq!((world.occupancy().blocks, world.ports_used(RED_POOL)), (0, 0));
    // Blocks are placed at random (RFC 6056).
    let starts: HashSet<u16> = owner.keys().map(|block| block % 8).collect();
    assert!(starts.len() > 4, "{starts:?}");
}

#[test]
fn the_pool_is_used_up_block_by_block() {
    let mut world = with_pool("ports: 1024-1151, blocks: {ports: 64, per_host_max: 4}, hold_down_s: 0");
    world.one(RED_A.udp(1, DNS, b""));
    world.one(RED_B.udp(1, DNS, b""));
    world.add(red(100));
    world.refuses(red(100).udp(1, DNS, b""), DropReason::PortExhausted);
    for port in 2..65 {
        world.one(RED_A.udp(port, DNS, b""));
    }
    world.refuses(RED_A.udp(65, DNS, b""), DropReason::PortExhausted);
    world.pass(32_000);
    world.one(red(100).udp(1, DNS, b""));
}

/// A host goes on using its block at an address that it is not paired with any more: its mappings are where their ports are.
#[test]
fn a_host_with_blocks_at_two_addresses_has_mappings_at_both() {
    let pool = "addresses: [203.0.113.10, 203.0.113.11], ports: 1024-1031, pairing: soft, hold_down_s: 5, \
                blocks: {ports: 8, per_host_max: 2}";
    let mut world = scene_with(&[("addresses: [203.0.113.10]", pool)]);
    let remote = (SERVER.address, 7_000);
    let external = |world: &mut World, port| world.one(RED_A.udp(port, remote, b"")).source();
    let all: Vec<_> = (0..16).map(|port| external(&mut world, port)).collect();
    assert_ne!(all[0].0, all[15].0, "the other address, when the first is full");
    world.pass(20_000);
    (1..16).for_each(|port| _ = external(&mut world, port));
    // The first one ends, and its port rests. The host is paired with the later address.
    world.pass(18_000);
    assert_eq!(world.occupancy().mappings, 15);
    (1..16).for_each(|port| _ = external(&mut world, port));
    assert_eq!(external(&mut world, 99), all[0]);
    let answer = world.one(SERVER.udp(remote.1, all[0], b""));
    assert_eq!(answer.destination(), (RED_A.address, 99));
    assert_eq!(world.sessions().len(), 16, "and it is listed");
    world.pass(310_000);
    assert_eq!((world.sessions().len(), world.occupancy().mappings, world.occupancy().blocks), (0, 0, 0));
}

#[test]
fn a_hosts_connections_share_the_ports_of_its_blocks_towards_other_remotes() {
    let mut world = with_pool("ports: 1024-2047, blocks: {ports: 8, per_host_max: 1}");
    let remotes = (1..=50u16).map(|port| (SERVER.address, port));
    for remote in remotes {
        for port in 0..8 {
            world.one(RED_A.tcp(4_000 + port, remote, SYN));
        }
        world.refuses(RED_A.tcp(5_000, remote, SYN), DropReason::HostPortQuota);
    }
    assert_eq!((blocks(&world, RED_A, 8).len(), world.sessions().len()), (1, 400));
    world.pass(40_000);
    assert_eq!((world.occupancy().blocks, world.ports_used(RED_POOL)), (0, 0));
}

#[test]
fn rules_may_change_from_none_to_blocks_and_to_another_size() {
    let rules = |more: &str| {
        rules_with(&[(
            "addresses: [203.0.113.10]",
            &format!("addresses: [203.0.113.10], ports: 1024-2047{more}"),
        )])
    };
    let mut world = scene();
    let mut flows = HashMap::new();
    let sizes = ["", ", blocks: {ports: 64}", ", blocks: {ports: 8}", "", ", blocks: {ports: 256}"];
    for (round, size) in (0..).zip(sizes) {
        world.adopt(&rules(size));
        for host in [RED_A, RED_B] {
            for port in (0..30).map(|port| 1_000 * (round + 1) + port) {
                let external = world.one(host.udp(port, DNS, b"")).source();
                assert!(flows.insert((host.address, port), external).is_none());
                world.one(host.tcp(port, DNS, SYN));
            }
        }
        for ((address, port), external) in &flows {
            let host = if *address == RED_A.address { RED_A } else { RED_B };
            assert_eq!(world.one(host.udp(*port, DNS, b"")).source(), *external);
        }
    }
    let unique: HashSet<_> = flows.values().collect();
    assert_eq!(unique.len(), flows.len());
    world.pass(4_000_000);
    assert_eq!((world.occupancy().blocks, world.occupancy().hosts, world.ports_used(RED_POOL)), (0, 0, 0));
}
