//! Who may come in through a mapping: all three behaviours, of every protocol (RFC 4787 section 5, RFC 5382 section 4.3).

use std::net::Ipv4Addr;

use nat::DropReason;
use packet::tcp::{ACK, PSH, RST, SYN};

use crate::mapping::with_pool;
use crate::world::scene::*;
use crate::world::{Endpoint, Packet, Setup, World};

/// The filterings with whom they let in beside the very endpoint that was spoken to: another port of it, another address.
const FILTERINGS: [(&str, bool, bool); 3] = [
    ("endpoint_independent", true, true),
    ("address_dependent", true, false),
    ("address_and_port_dependent", false, false),
];
const MAPPINGS: [&str; 3] = ["endpoint_independent", "address_dependent", "address_and_port_dependent"];

#[track_caller]
fn comes_in(world: &mut World, packet: Packet, lets_in: bool, row: &str) {
    let (drops, heard) = world.observe(|world| world.send(packet));
    if lets_in {
        assert_eq!((drops.len(), heard.len()), (0, 1), "{row}: {drops:?}");
        assert_eq!(heard[0].destination(), (RED_A.address, 4_000), "{row}");
    } else {
        assert_eq!((drops.len(), heard), (1, vec![]), "{row}");
        assert!(matches!(drops[0], DropReason::Filtered | DropReason::NoMapping), "{row}: {drops:?}");
    }
}

//= rfc5382#REQ-3a
//= rfc4787#REQ-8
//= rfc5382#REQ-3
//= rfc6888#REQ-7
#[test]
fn a_filter_depends_on_as_much_of_the_remote_as_the_pool_says() {
    for (filtering, by_port, by_address) in FILTERINGS {
        for mapping in MAPPINGS {
            let row = format!("{{mapping: {mapping}, filtering: {filtering}}}");
            let mut world = with_pool(&format!("udp: {row}, tcp: {row}"));
            let to = (SERVER.address, 53);
            let udp = world.one(RED_A.udp(4_000, to, b"")).source();
            let tcp = world.one(RED_A.tcp(4_000, to, SYN)).source();
            comes_in(&mut world, SERVER.udp(53, udp, b""), true, &row);
            comes_in(&mut world, SERVER.udp(54, udp, b""), by_port, &row);
            comes_in(&mut world, OTHER.udp(53, udp, b""), by_address, &row);
            comes_in(&mut world, SERVER.tcp(54, tcp, SYN), by_port, &row);
            comes_in(&mut world, OTHER.tcp(53, tcp, SYN), by_address, &row);
            // Only a SYN opens, whoever is let in.
            comes_in(&mut world, OTHER.tcp(55, tcp, PSH | ACK), false, &row);
            // Who came in is answered from where it came in.
            if by_address {
                assert_eq!(world.one(RED_A.udp(4_000, (OTHER.address, 53), b"")).source(), udp, "{row}");
                let answer = world.one(RED_A.tcp(4_000, (OTHER.address, 53), SYN | ACK));
                assert_eq!(answer.source(), tcp, "{row}");
            }
        }
    }
}

/// A filter of one protocol says nothing of another's.
//= rfc7857#6
#[test]
fn a_mapping_of_one_protocol_lets_in_no_other() {
    let independent = "{mapping: endpoint_independent, filtering: endpoint_independent}";
    let mut world = with_pool(&format!("udp: {independent}, tcp: {independent}, icmp: {independent}"));
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    world.drops(SERVER.tcp(53, external, SYN), DropReason::NoMapping);
    world.drops(SERVER.pong(external.1, external.0), DropReason::NoMapping);
    let external = world.one(RED_A.tcp(4_000, (SERVER.address, 53), SYN)).source();
    world.drops(OTHER.udp(53, external, b""), DropReason::NoMapping);
}

#[test]
fn an_answer_to_a_query_comes_from_whom_the_filter_lets_in() {
    for (filtering, _, by_address) in FILTERINGS {
        let mut world = with_pool(&format!("icmp: {{filtering: {filtering}}}"));
        let (address, identifier) = world.one(RED_A.ping(4_000, SERVER.address)).source();
        comes_in(&mut world, SERVER.pong(identifier, address), true, filtering);
        comes_in(&mut world, OTHER.pong(identifier, address), by_address, filtering);
    }
}

/// A connection from outside, through a mapping that was made from inside, is a connection like any other.
//= rfc5382#REQ-3
#[test]
fn a_connection_opened_from_outside_goes_both_ways() {
    let mut world = with_pool("tcp: {mapping: endpoint_independent, filtering: endpoint_independent}");
    let external = world.one(RED_A.tcp(4_000, (SERVER.address, 80), SYN)).source();
    let client: Endpoint = (OTHER.address, 33_000);
    let inside = (RED_A.address, 4_000);
    assert_eq!(world.one(OTHER.tcp(33_000, external, SYN)).destination(), inside);
    assert_eq!(world.one(RED_A.tcp(4_000, client, SYN | ACK)).source(), external);
    assert_eq!(world.one(OTHER.tcp(33_000, external, ACK)).destination(), inside);
    assert_eq!(world.one(RED_A.tcp(4_000, client, PSH | ACK)).source(), external);
    // It keeps the mapping when the first has ended.
    world.pass(600_000);
    assert_eq!(world.sessions().len(), 1);
    assert_eq!(world.one(RED_A.tcp(4_000, client, PSH | ACK)).source(), external);
    assert_eq!(world.one(RED_A.tcp(4_000, (SERVER.address, 80), SYN)).source(), external);
}

#[test]
fn nobody_comes_in_by_a_mapping_that_rests() {
    let mut world =
        with_pool("udp: {mapping: endpoint_independent, filtering: endpoint_independent}, hold_down_s: 60");
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    world.one(OTHER.udp(1, external, b""));
    world.pass(200_000);
    assert_eq!(world.sessions().len(), 0);
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    world.pass(31_500);
    assert_eq!((world.sessions().len(), world.occupancy().mappings), (0, 1));
    world.drops(SERVER.udp(53, external, b""), DropReason::NoMapping);
    world.drops(OTHER.udp(1, external, b""), DropReason::NoMapping);
}

/// A remote that has a new port for each packet has nothing more of it than its own unanswered sessions.
//= rfc7857#7
#[test]
fn no_remote_keeps_a_mapping_that_the_host_inside_uses_no_more() {
    for filtering in ["endpoint_independent", "address_dependent"] {
        let mut world = with_pool(&format!("udp: {{filtering: {filtering}}}, hold_down_s: 60"));
        let external = world.one(RED_A.udp(4_000, (SERVER.address, 80), b"")).source();
        for second in 0..30 {
            world.one(SERVER.udp(5_000 + second, external, b""));
            world.pass(1_000);
        }
        world.pass(10);
        assert_eq!(world.sessions().len(), 29, "the host's own is over, those from outside are not");
        world.drops(SERVER.udp(6_000, external, b""), DropReason::NoMapping);
        // A session that is there is not taken away, but ends as it would have.
        world.one(SERVER.udp(5_029, external, b""));
        world.pass(29_000);
        assert_eq!((world.sessions().len(), world.occupancy().permissions), (0, 0), "{filtering}");
        // The hold-down began with the last of them.
        assert_eq!(world.occupancy().mappings, 1);
        world.pass(60_000);
        assert_eq!((world.occupancy().mappings, world.ports_used(RED_POOL)), (0, 0), "{filtering}");
    }
}

#[test]
fn a_session_from_outside_opens_the_mapping_for_others_from_when_it_is_answered() {
    let mut world = with_pool("udp: {filtering: endpoint_independent}");
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 80), b"")).source();
    world.one(OTHER.udp(1, external, b""));
    world.pass(29_000);
    assert_eq!(world.one(RED_A.udp(4_000, (OTHER.address, 1), b"")).source(), external);
    world.pass(100_000);
    assert_eq!(world.sessions().len(), 1, "the host's first is over, its answer counts");
    world.one(OTHER.udp(2, external, b""));
    world.one(SERVER.udp(2, external, b""));
    world.pass(100_000);
    assert_eq!((world.sessions().len(), world.occupancy().mappings), (0, 1));
}

//= rfc4787#REQ-8
#[test]
fn no_remote_renews_its_own_permission() {
    let mut world = with_pool("udp: {filtering: address_dependent}");
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 80), b"")).source();
    for second in 0..31 {
        world.one(RED_A.udp(4_000, (OTHER.address, 80), b""));
        if second < 30 {
            world.one(SERVER.udp(5_000 + second, external, b""));
        }
        world.pass(1_000);
    }
    world.drops(SERVER.udp(6_000, external, b""), DropReason::Filtered);
    // An answer to one of its sessions is the host's word again.
    assert_eq!(world.one(RED_A.udp(4_000, (SERVER.address, 5_029), b"")).source(), external);
    world.one(SERVER.udp(6_000, external, b""));
}

//= rfc7857#7
//= rfc7857#8
#[test]
fn neither_syns_from_outside_nor_resets_that_answer_them_keep_a_mapping() {
    for is_refused in [false, true] {
        let mut world = with_pool("tcp: {mapping: endpoint_independent, filtering: endpoint_independent}");
        let external = world.one(RED_A.tcp(4_000, (SERVER.address, 80), SYN)).source();
        for port in 33_000..33_003 {
            world.pass(9_000);
            world.one(OTHER.tcp(33_000, external, SYN));
            world.one(OTHER.tcp(port, external, SYN));
            if is_refused {
                world.one(RED_A.tcp(4_000, (OTHER.address, port), RST | ACK));
            }
        }
        world.pass(4_000);
        assert!(!world.sessions().is_empty(), "those from outside are not over");
        world.drops(OTHER.tcp(34_000, external, SYN), DropReason::NoMapping);
        world.pass(30_000);
        assert_eq!((world.sessions().len(), world.ports_used(RED_POOL)), (0, 0));
    }
}

#[test]
fn permissions_are_given_back_with_their_sessions_whatever_the_filter_was() {
    for is_guest in [true, false] {
        permissions_are_given_back(is_guest);
    }
}

/// The remote of a mapping's first session is its guest, and others' have permissions.
fn permissions_are_given_back(is_guest: bool) {
    let mut world = with_pool("udp: {filtering: address_dependent}");
    if !is_guest {
        world.one(RED_A.udp(4_000, (Ipv4Addr::new(198, 51, 100, 99), 1), b""));
    }
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    world.one(SERVER.udp(54, external, b""));
    let permissions = u32::from(!is_guest);
    assert_eq!(world.occupancy().permissions, permissions);
    let rules = |filtering: &str| {
        let pool = format!("addresses: [203.0.113.10], udp: {{filtering: {filtering}}}");
        rules_with(&[("addresses: [203.0.113.10]", &pool)])
    };
    world.adopt(&rules("endpoint_independent"));
    world.one(OTHER.udp(53, external, b""));
    assert_eq!(world.occupancy().permissions, permissions, "who needs no permission has none");
    world.adopt(&rules("address_dependent"));
    world.drops(OTHER.udp(54, external, b""), DropReason::Filtered);
    world.one(SERVER.udp(55, external, b""));
    world.pass(400_000);
    assert_eq!((world.occupancy().permissions, world.occupancy().mappings), (0, 0));
}

/// What lets a remote in is each of the sessions that lead there, be it kept in the mapping or beside it.
//= rfc4787#REQ-8
#[test]
fn a_remote_is_let_in_as_long_as_any_session_leads_there() {
    let mut world = with_pool("udp: {filtering: address_dependent}");
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 1), b"")).source();
    world.pass(20_000);
    world.one(RED_A.udp(4_000, (SERVER.address, 2), b""));
    assert_eq!(world.occupancy().permissions, 1, "the second one's");
    world.pass(20_000);
    assert_eq!(world.sessions().len(), 1, "the first has ended");
    world.one(RED_A.udp(4_000, (OTHER.address, 1), b""));
    assert_eq!(world.occupancy().permissions, 1, "what the first had, the third has");
    for remote in [SERVER, OTHER] {
        world.one(remote.udp(3, external, b""));
    }
    world.pass(20_000);
    assert_eq!(world.occupancy().permissions, 0, "the second has ended");
    world.drops(SERVER.udp(4, external, b""), DropReason::Filtered);
    world.one(OTHER.udp(4, external, b""));
}

/// Who has not been answered may be many, but not so many that a mapping cannot count them.
#[test]
fn a_mapping_takes_so_many_sessions_from_outside_that_its_host_does_not_answer() {
    let open = "addresses: [203.0.113.10], udp: {filtering: endpoint_independent}";
    let mut world = scene_on(Setup::with_sessions(16_384), &[("addresses: [203.0.113.10]", open)]);
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    for port in 1..=8_191 {
        world.one(OTHER.udp(port, external, b""));
    }
    world.drops(OTHER.udp(9_000, external, b""), DropReason::MappingTableFull);
    // From inside there is room, and there is where an answer makes it.
    world.one(RED_A.udp(4_000, (OTHER.address, 9_999), b""));
    world.one(RED_A.udp(4_000, (OTHER.address, 1), b""));
    world.one(OTHER.udp(9_000, external, b""));
    world.drops(OTHER.udp(9_001, external, b""), DropReason::MappingTableFull);
    world.pass(400_000);
    assert_eq!((world.sessions().len(), world.occupancy().mappings), (0, 0));
}

#[test]
fn a_remote_moves_no_session_from_one_mapping_to_another() {
    let rules = |mapping: &str| {
        let udp = format!("udp: {{mapping: {mapping}, filtering: address_dependent}}");
        rules_with(&[("addresses: [203.0.113.10]", &format!("addresses: [203.0.113.10], {udp}"))])
    };
    let mut world = scene();
    world.adopt(&rules("endpoint_independent"));
    let first = world.one(RED_A.udp(4_000, (SERVER.address, 60), b"")).source();
    // The host's next flows are mapped anew, the mapping before goes on.
    world.adopt(&rules("address_dependent"));
    let second = world.one(RED_A.udp(4_000, (SERVER.address, 61), b"")).source();
    assert_ne!(first, second);
    world.drops(SERVER.udp(61, first, b""), DropReason::Filtered);
    assert_eq!(world.one(SERVER.udp(61, second, b"")).destination(), (RED_A.address, 4_000));
    assert_eq!(world.one(SERVER.udp(60, first, b"")).destination(), (RED_A.address, 4_000));
    assert_eq!(world.one(RED_A.udp(4_000, (SERVER.address, 61), b"")).source(), second);
    assert_eq!(world.sessions().len(), 2);
}
