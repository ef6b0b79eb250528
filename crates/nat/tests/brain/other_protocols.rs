//! Protocols without ports through the translation: one host for each external address, remote and protocol.

use nat::DropReason;
use packet::testing;

use crate::world::scene::*;
use crate::world::{Packet, Setup};

/// GRE, ESP, SCTP, IPIP, IPv6 in IPv4, L2TP, and one that nobody uses.
const PROTOCOLS: [u8; 7] = [47, 50, 132, 4, 41, 115, 252];

const PAYLOAD: [u8; 40] = [7; 40];

//= rfc6888#REQ-1
#[test]
fn only_addresses_change_both_ways() {
    let mut world = scene();
    for protocol in PROTOCOLS {
        let out = world.one(RED_A.ipv4(protocol, SERVER.address, &PAYLOAD));
        let expected = SERVER.peer(RED_POOL).ipv4(protocol, SERVER.address, &PAYLOAD).hop();
        assert_eq!(out, expected, "{protocol}");
        let back = world.one(SERVER.ipv4(protocol, RED_POOL, &PAYLOAD));
        assert_eq!(back, RED_A.peer(SERVER.address).ipv4(protocol, RED_A.address, &PAYLOAD).hop());
        assert_eq!((out.source().0, out.destination()), (RED_POOL, (SERVER.address, 0)), "{protocol}");
    }
    assert_eq!(world.sessions().len(), PROTOCOLS.len());
    assert!(world.sessions().iter().all(|session| session.external.port == 0));
}

#[test]
fn a_remote_belongs_to_one_host_of_an_external_address() {
    let mut world = scene();
    let refused = RED_B.ipv4(47, SERVER.address, &PAYLOAD);
    world.one(RED_A.ipv4(47, SERVER.address, &PAYLOAD));
    //= rfc6888#REQ-11
    let error = world.refuses(refused.clone(), DropReason::RemoteTaken);
    assert_eq!(error, RED_B.peer(RED_GATEWAY).gateway_error(RED_B.address, (3, 1, 0), &refused));
    // Another protocol, another remote, another tenant's address: each is something else.
    world.one(RED_B.ipv4(50, SERVER.address, &PAYLOAD));
    world.one(RED_B.ipv4(47, OTHER.address, &PAYLOAD));
    let blue = world.one(BLUE_A.ipv4(47, SERVER.address, &PAYLOAD));
    assert_eq!(blue.source().0, BLUE_POOL);
    let answer = |protocol, host: crate::world::Host, to| host.ipv4(protocol, to, &PAYLOAD);
    assert_eq!(world.one(answer(47, SERVER, RED_POOL)).destination().0, RED_A.address);
    assert_eq!(world.one(answer(50, SERVER, RED_POOL)).destination().0, RED_B.address);
    assert_eq!(world.one(answer(47, OTHER, RED_POOL)).destination().0, RED_B.address);
    // When the first has fallen silent, the second may.
    world.pass(601_000);
    assert_eq!(world.one(refused).source().0, RED_POOL);
    assert_eq!(world.one(answer(47, SERVER, RED_POOL)).destination().0, RED_B.address);
}

#[test]
fn nobody_comes_in_who_was_not_spoken_to() {
    let mut world = scene();
    world.drops(SERVER.ipv4(47, RED_POOL, &PAYLOAD), DropReason::NoMapping);
    world.one(RED_A.ipv4(47, SERVER.address, &PAYLOAD));
    world.drops(OTHER.ipv4(47, RED_POOL, &PAYLOAD), DropReason::NoMapping);
    world.drops(SERVER.ipv4(50, RED_POOL, &PAYLOAD), DropReason::NoMapping);
    world.one(SERVER.ipv4(47, RED_POOL, &PAYLOAD));
}

#[test]
fn a_host_speaks_to_many_remotes_under_its_one_address() {
    let changes = [("addresses: [203.0.113.10]", "addresses: [203.0.113.10-203.0.113.13]")];
    let mut world = scene_with(&changes);
    let address = world.one(RED_A.udp(1_000, (SERVER.address, 53), b"")).source().0;
    for number in 0..200 {
        let remote = crate::world::Host { address: [198, 18, 0, number].into(), ..ISP };
        let seen = world.one(RED_A.ipv4(47, remote.address, &PAYLOAD));
        assert_eq!(seen.source().0, address, "paired pooling");
        let via = world.mac_of(address);
        let heard = world.one(remote.through(via).ipv4(47, address, &PAYLOAD));
        assert_eq!(heard.destination().0, RED_A.address);
    }
    assert_eq!(world.sessions().len(), 201);
}

#[test]
fn its_timer_is_that_of_other_protocols_and_all_is_given_back() {
    let mut world = scene();
    for protocol in PROTOCOLS {
        world.one(RED_A.ipv4(protocol, SERVER.address, &PAYLOAD));
    }
    let expires_in_ms = world.sessions()[0].expires_in_ms;
    assert_eq!(world.sessions()[0].phase.name(), "other");
    world.pass(u64::from(expires_in_ms) - 1_000);
    assert_eq!(world.sessions().len(), PROTOCOLS.len());
    world.one(SERVER.ipv4(47, RED_POOL, &PAYLOAD));
    world.pass(3_000);
    assert_eq!(world.sessions().len(), 1, "what was heard of lives on");
    world.pass(u64::from(expires_in_ms));
    assert_eq!((world.occupancy().sessions, world.occupancy().hosts, world.ports_used(RED_POOL)), (0, 0, 0));
}

/// Hosts of all shards ask for few remotes, over and over: each remote is one host's, whatever number stands for it.
#[test]
fn of_hosts_of_all_shards_one_has_a_remote() {
    let mut world = scene_on(Setup { shards: 8, sessions_max: 65_536, ..Setup::default() }, &[]);
    for number in 0..=255 {
        let remote = crate::world::Host { address: [198, 18, 1, number].into(), ..ISP };
        let mut served = Vec::new();
        for host in (100..116).map(red) {
            world.add(host);
            let (drops, heard) = world.observe(|world| world.send(host.ipv4(47, remote.address, &PAYLOAD)));
            match drops.as_slice() {
                [] => served.push(host),
                _ => assert!(drops == [DropReason::RemoteTaken] && heard.len() <= 1, "{drops:?}"),
            }
        }
        assert_eq!(served, [red(100)], "{number}");
        let heard: Packet = world.one(remote.ipv4(47, RED_POOL, &PAYLOAD));
        assert_eq!(heard.destination().0, red(100).address);
    }
}

/// The identification is the gateway's (RFC 6864), and one for all fragments of a datagram.
//= rfc7857#11
#[test]
fn the_fragments_of_a_datagram_stay_together() {
    let mut world = scene();
    let whole = RED_A.ipv4(47, SERVER.address, &[7; 64]);
    let mut identifications = std::collections::HashSet::new();
    for fragment in testing::fragments(&whole.bytes, 5, 32) {
        let out = world.one(RED_A.says(fragment.clone()));
        assert_eq!((out.source().0, out.destination().0), (RED_POOL, SERVER.address));
        assert_eq!(out.transport(), RED_A.says(fragment).transport());
        let header = usize::from(out.parsed().network_offset);
        identifications.insert([out.bytes[header + 4], out.bytes[header + 5]]);
    }
    assert_eq!(identifications.len(), 1);
}

#[test]
fn an_error_about_it_finds_its_host() {
    let mut world = scene();
    let seen = world.one(RED_A.ipv4(47, SERVER.address, &PAYLOAD));
    let error = OTHER.error(RED_POOL, (3, 4, 1_400), &seen, 8);
    let heard = world.one(error);
    assert_eq!(heard.destination().0, RED_A.address);
    assert_eq!(heard.quoted(), Some((RED_A.address, SERVER.address)));
    let heard = world.one(SERVER.ipv4(47, RED_POOL, &PAYLOAD));
    let error = world.one(RED_A.error(SERVER.address, (3, 2, 0), &heard, 8));
    assert_eq!((error.source().0, error.quoted()), (RED_POOL, Some((SERVER.address, RED_POOL))));
}
