//! A mapping is itself, not its endpoints: what was made by one counts for no other that has the same endpoints later.

use nat::DropReason;

use crate::world::scene::*;
use crate::world::{Endpoint, World};

const WWW: Endpoint = (SERVER.address, 443);
const ELSEWHERE: Endpoint = (OTHER.address, 443);

/// Red's pool is one port of one address.
fn one_port_of(address: &str) -> String {
    let pool = format!("addresses: [{address}], ports: 2000-2000, hold_down_s: 60");
    rules_with(&[("addresses: [203.0.113.10]", &pool)])
}

/// A mapping has lost its port to other rules while its session stayed, silent, and the rules give the port back.
fn with_a_session_left_over() -> (World, Endpoint) {
    let mut world = World::new(&one_port_of("203.0.113.10"), &HOSTS);
    let external = world.one(RED_A.udp(4_000, WWW, b"")).source();
    assert_eq!(external, (RED_POOL, 2_000));
    world.adopt(&one_port_of("203.0.113.11"));
    world.one(RED_A.udp(4_000, ELSEWHERE, b""));
    world.adopt(&one_port_of("203.0.113.10"));
    (world, external)
}

#[test]
fn the_end_of_a_session_of_an_earlier_mapping_ends_no_later_one() {
    let (mut world, external) = with_a_session_left_over();
    assert_eq!(world.one(RED_A.udp(4_000, ELSEWHERE, b"")).source(), external);
    world.one(OTHER.udp(443, external, b""));
    // The left-over session ends, and both hold-downs would be over.
    for _ in 0..10 {
        world.pass(20_000);
        world.one(RED_A.udp(4_000, ELSEWHERE, b""));
    }
    assert_eq!((world.sessions().len(), world.occupancy().mappings), (1, 1));
    // The endpoint is the host's towards everybody, and open to whom it speaks with.
    world.one(OTHER.udp(444, external, b""));
    assert_eq!(world.one(RED_A.udp(4_000, WWW, b"")).source(), external);
    world.pass(300_000);
    assert_eq!((world.ports_used(RED_POOL), world.occupancy().hosts), (0, 0));
}

#[test]
fn a_session_of_an_earlier_mapping_keeps_no_later_one() {
    let (mut world, external) = with_a_session_left_over();
    world.one(RED_A.udp(4_000, ELSEWHERE, b""));
    // The first is silent, so it does not stand, and what it was is no longer an answer.
    world.drops(SERVER.udp(443, external, b""), DropReason::Filtered);
    assert_eq!(world.sessions().len(), 1);
}

/// Whom the earlier mapping's host has spoken with may come in to that, and to nobody else.
#[test]
fn a_permission_of_an_earlier_mapping_lets_nobody_in_to_a_later_one() {
    let (mut world, external) = with_a_session_left_over();
    assert_eq!(world.one(RED_A.udp(5_000, ELSEWHERE, b"")).source(), external);
    world.drops(SERVER.udp(444, external, b""), DropReason::Filtered);
    // Nor is the later one's taken away with the earlier's.
    world.one(RED_A.udp(5_000, (SERVER.address, 445), b""));
    world.one(SERVER.udp(444, external, b""));
    world.pass(20_000);
    world.one(RED_A.udp(5_000, (SERVER.address, 445), b""));
    world.pass(11_000);
    assert_eq!(world.one(SERVER.udp(446, external, b"")).destination(), (RED_A.address, 5_000));
}
