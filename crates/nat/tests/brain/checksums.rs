//! Neighbours on a virtual link that leave checksums to an offload which never runs: refused where a port says that
//! they might, never put right in silence.

use nat::DropReason;
use packet::checksum::pseudo_header_sum;
use packet::tcp::{ACK, PSH, SYN};

use crate::tcp::connect;
use crate::world::scene::*;
use crate::world::{Packet, Setup, World};

/// The packet as such a neighbour sends it: the checksum field holds the pseudo-header's sum.
fn partial(packet: Packet) -> Packet {
    let parsed = packet.parsed();
    let transport = parsed.transport_range();
    let length = transport.len() as u16;
    let sum = pseudo_header_sum(parsed.source, parsed.destination, parsed.protocol, length);
    let field = transport.start + if parsed.protocol == packet::Protocol::TCP { 16 } else { 6 };
    packet.change(|mut bytes| {
        bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    })
}

fn scene_that_checks() -> World {
    scene_on(Setup { checks_checksums: [true, true, false], ..Setup::default() }, &[])
}

#[test]
fn a_first_packet_with_a_partial_checksum_is_dropped_and_opens_nothing() {
    let mut world = scene_that_checks();
    let remote = (SERVER.address, 53);
    for packet in [RED_A.udp(4_000, remote, b"who is it?"), RED_A.tcp(4_000, remote, SYN)] {
        world.drops(partial(packet.clone()), DropReason::PartialChecksum);
        assert_eq!(world.sessions().len(), 0);
        world.one(packet);
        world.pass(31_000);
    }
}

#[test]
fn so_is_the_first_answer() {
    let mut world = scene_that_checks();
    let external = world.one(RED_A.tcp(4_000, (SERVER.address, 443), SYN)).source();
    world.drops(partial(SERVER.tcp(443, external, SYN | ACK)), DropReason::PartialChecksum);
    world.one(SERVER.tcp(443, external, SYN | ACK));
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    world.drops(partial(SERVER.udp(53, external, b"it is me")), DropReason::PartialChecksum);
    // And the first from another port of that remote, which opens a session of its own.
    world.drops(partial(SERVER.udp(54, external, b"it is me")), DropReason::PartialChecksum);
    assert_eq!(world.sessions().len(), 2);
    world.one(SERVER.udp(54, external, b"it is me"));
}

#[test]
fn where_no_session_remembers_every_packet_is_looked_at() {
    let mut world = scene_that_checks();
    for packet in [
        SERVER.udp(1, (WEB, 53), b"in by a floating IP"),
        RED_WEB.tcp(1, (SERVER.address, 53), PSH | ACK),
        RED_A.udp(1, (WEB, 53), b"hairpin"),
        RED_A.udp(1, (RED_DB.address, 53), b"between subnets"),
        RED_A.tcp(1, (OFFICE.address, 53), SYN),
        OFFICE.tcp(53, (RED_A.address, 1), SYN | ACK),
    ] {
        for _ in 0..2 {
            world.one(packet.clone());
            world.drops(partial(packet.clone()), DropReason::PartialChecksum);
        }
    }
}

#[test]
fn once_a_session_is_under_way_its_packets_are_not_read_through() {
    let mut world = scene_that_checks();
    world.lenient = true;
    let external = connect(&mut world, RED_A, 4_000, (SERVER.address, 443));
    world.one(partial(RED_A.tcp(4_000, (SERVER.address, 443), PSH | ACK)));
    world.one(partial(SERVER.tcp(443, external, PSH | ACK)));
}

#[test]
fn a_damaged_packet_leaves_as_damaged_as_it_came() {
    let mut world = scene_that_checks();
    let damage = |packet: Packet| {
        packet.change(|mut bytes| {
            *bytes.last_mut().unwrap() ^= 0x01;
            bytes
        })
    };
    world.lenient = true;
    let question = RED_A.udp(4_000, (SERVER.address, 53), b"who is it?");
    let (address, port) = world.one(question.clone()).source();
    let seen = world.one(damage(question));
    assert_eq!(seen, damage(SERVER.peer(address).udp(port, (SERVER.address, 53), b"who is it?").hop()));
}

#[test]
fn ports_that_need_not_check_do_not() {
    let mut world = scene();
    world.lenient = true;
    world.one(partial(RED_A.udp(4_000, (SERVER.address, 53), b"who is it?")));
    world.one(partial(SERVER.udp(1, (WEB, 53), b"hello")));
}
