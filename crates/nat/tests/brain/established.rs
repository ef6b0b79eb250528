//! Packets of established sessions, which are not judged each time: what has to be asked of each all the same.

use nat::DropReason;
use packet::tcp::{ACK, FIN, PSH, SYN};
use packet::testing::Segment;

use super::tcp::connect;
use crate::world::scene::*;
use crate::world::{Endpoint, FIRST_BYTE, Host, Packet, World};

const WWW: Endpoint = (SERVER.address, 443);
const PEER: Endpoint = (SERVER.address, 5_000);

/// Both sides have sent a datagram; the external endpoint.
fn establish(world: &mut World, host: Host, port: u16) -> Endpoint {
    let external = world.one(host.udp(port, PEER, b"")).source();
    world.one(SERVER.udp(PEER.1, external, b""));
    external
}

/// A burst passes whole, and by the express way.
fn pass_express(world: &mut World, burst: Vec<Packet>) {
    let (count, before) = (burst.len(), world.count(|counters| &counters.express));
    assert_eq!(world.burst(burst).len(), count);
    assert_eq!(world.count(|counters| &counters.express) - before, count as u64);
}

#[test]
fn bursts_of_established_flows_take_the_express_way_whole() {
    let mut world = scene();
    // Hosts of several shards behind the same few addresses.
    let hosts: Vec<_> = (100..120).map(red).collect();
    hosts.iter().for_each(|host| world.add(*host));
    let externals: Vec<_> = hosts.iter().map(|host| establish(&mut world, *host, 4_000)).collect();
    pass_express(&mut world, hosts.iter().map(|host| host.udp(4_000, PEER, b"")).collect());
    pass_express(&mut world, externals.iter().map(|external| SERVER.udp(PEER.1, *external, b"")).collect());
}

#[test]
fn no_packet_overtakes_one_of_its_flow_that_has_to_be_judged() {
    let mut world = scene();
    connect(&mut world, RED_A, 4_000, WWW);
    let say = |flags, place: u8| {
        let sequence = FIRST_BYTE + u32::from(place);
        RED_A.segment(4_000, WWW, Segment { flags, sequence, payload: &[place], ..Segment::default() })
    };
    // The second may open the next connection of these endpoints; what is around it is like what came before, or ends this one.
    let heard = world.burst([say(PSH | ACK, 1), say(SYN, 2), say(PSH | ACK, 3), say(FIN | ACK, 4)]);
    let places: Vec<_> = heard.iter().map(|packet| packet.transport()[20]).collect();
    assert_eq!(places, [1, 2, 3, 4]);
}

#[test]
fn flows_that_begin_in_one_burst_get_a_session_each_and_keep_it() {
    let mut world = scene();
    world.one(RED_A.udp(3_999, PEER, b""));
    let say = |host: Host, port| host.udp(port, PEER, b"");
    let burst =
        [(RED_A, 4_000), (RED_B, 4_000), (RED_A, 4_000), (RED_A, 4_001), (BLUE_A, 4_000), (RED_A, 4_000)];
    let heard = world.burst(burst.map(|(host, port)| say(host, port)));
    let sources: Vec<_> = heard.iter().map(|packet| packet.source()).collect();
    let [one, two, again, three, four, once_more] = sources[..] else { panic!("{sources:?}") };
    assert_eq!((again, once_more), (one, one));
    let different: std::collections::HashSet<_> = [one, two, three, four].into();
    assert_eq!((different.len(), world.sessions().len()), (4, 5));
    assert_eq!(world.count(|counters| &counters.sessions_closed), 0, "none was opened over again");
    assert_eq!(world.one(SERVER.udp(PEER.1, one, b"")).destination(), (RED_A.address, 4_000));
}

#[test]
fn what_the_rules_except_from_the_pool_begins_no_session() {
    let mut world = scene();
    world.one(RED_A.udp(3_999, PEER, b""));
    let office = (OFFICE.address, PEER.1);
    world.one(RED_A.udp(4_000, office, b""));
    assert_eq!(world.one(RED_A.udp(4_001, office, b"")).source(), (RED_A.address, 4_001));
    assert_eq!(world.one(RED_WEB.udp(4_000, PEER, b"")).source(), (WEB, 4_000));
    assert_eq!(world.sessions().len(), 1);
}

#[test]
fn a_packet_of_an_established_flow_that_enters_elsewhere_is_spoofed() {
    let mut world = scene();
    establish(&mut world, RED_A, 4_000);
    let elsewhere = Host { wire: RED_DB_WIRE, ..RED_A }.through(RED_DB_LEG);
    world.drops(elsewhere.udp(4_000, PEER, b""), DropReason::SpoofedSource);
    world.one(RED_A.udp(4_000, PEER, b""));
}

#[test]
fn an_answer_comes_in_by_any_mac_of_ours_on_its_network_and_by_no_other() {
    let mut world = scene();
    let external = establish(&mut world, RED_A, 4_000);
    let answer = || SERVER.udp(PEER.1, external, b"");
    world.one(answer().with_mac(BLUE_EXT));
    world.drops(answer().with_mac(BLUE_LAN), DropReason::WrongMac);
    world.one(answer());
}

#[test]
fn a_neighbour_that_was_forgotten_meanwhile_is_asked_for_again() {
    let mut world = scene();
    let external = establish(&mut world, RED_A, 4_000);
    for _ in 0..2 {
        world.one(RED_A.udp(4_000, PEER, b""));
        world.one(SERVER.udp(PEER.1, external, b""));
    }
    world.pass(100_000);
    world.silence(ISP);
    assert_eq!(world.send(RED_A.udp(4_000, PEER, b"")), [], "it waits for an answer");
    assert_eq!(world.books().held, 1);
    world.unsilence(ISP);
    assert_eq!(world.pass(1_000).len(), 1);
}

#[test]
fn a_session_ends_with_the_rules_that_allowed_it_at_its_next_packet() {
    let mut world = scene();
    let external = establish(&mut world, RED_A, 4_000);
    world.adopt(&rules_with(&[("no_nat: [", "no_nat: [198.51.100.0/24, ")]));
    world.drops(SERVER.udp(PEER.1, external, b""), DropReason::NoMapping);
}
