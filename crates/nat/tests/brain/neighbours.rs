//! ARP on both sides: who answers for what, what waits for an answer, and what is told when addresses move.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use nat::DropReason;
use packet::arp::Operation;
use packet::{MacAddress, PortIndex};

use crate::world::scene::*;
use crate::world::{Host, Packet, Setup, Wire, World, mac};

/// How many frames wait for one neighbour.
const HELD_MAX: u16 = 16;

fn questions(world: &World, wire: Wire, address: Ipv4Addr) -> usize {
    let is_one = |operation, target| operation == Operation::Request && target == address;
    world.heard_arp.iter().filter(|(at, arp)| *at == wire && is_one(arp.operation, arp.target)).count()
}

fn ports(packets: &[Packet]) -> Vec<u16> {
    packets.iter().map(|packet| packet.source().1).collect()
}

#[test]
fn arp_is_answered_for_our_addresses_where_they_are_and_for_no_others() {
    let rows = [
        ("the gateway", RED_A, RED_GATEWAY, Some(RED_LAN)),
        ("the other tenant's gateway", BLUE_A, RED_GATEWAY, Some(BLUE_LAN)),
        ("the other subnet's gateway", RED_DB, Ipv4Addr::new(10, 0, 1, 1), Some(RED_DB_LEG)),
        ("the external leg", ISP, RED_EXTERNAL, Some(RED_EXT)),
        ("a floating IP", ISP, WEB, Some(RED_EXT)),
        ("another tenant's floating IP", ISP, BLUE_WEB_FLOATING, Some(BLUE_EXT)),
        ("a pool's address", ISP, BLUE_POOL, Some(BLUE_EXT)),
        ("a gateway of another subnet", RED_A, Ipv4Addr::new(10, 0, 1, 1), None),
        ("a floating IP, inside", RED_A, WEB, None),
        ("a private address, outside", ISP, RED_GATEWAY, None),
        ("a neighbour", RED_A, RED_B.address, None),
        ("nobody's address", ISP, Ipv4Addr::new(203, 0, 113, 77), None),
    ];
    for (name, asker, address, answer) in rows {
        let mut world = scene();
        let (drops, heard) = world.observe(|world| world.who_has(asker, address));
        assert_eq!(heard, answer, "{name}");
        let expected = if answer.is_some() { vec![] } else { vec![DropReason::ArpNotForUs] };
        assert_eq!(drops, expected, "{name}");
    }
}

#[test]
fn a_first_packet_waits_for_its_next_hop_and_is_not_lost() {
    let mut world = scene();
    world.silence(ISP);
    assert_eq!(world.send(RED_A.udp(1, (SERVER.address, 53), b"1")), []);
    assert_eq!(questions(&world, INTERNET, ISP.address), 1);
    assert_eq!(world.books().held, 1);
    world.unsilence(ISP);
    // The next question, a second later, is answered.
    let heard = world.pass(1_000);
    assert_eq!(ports(&heard).len(), 1);
    assert_eq!(heard[0].ttl(), 63);
    assert_eq!(world.books().held, 0);
    let asked = world.heard_arp.iter().find(|(_, arp)| arp.target == ISP.address).unwrap().1;
    assert_eq!((asked.sender, asked.sender_mac), (RED_EXTERNAL, RED_EXT));
}

#[test]
fn waiting_packets_leave_in_order_and_no_more_than_a_few_wait() {
    let mut world = scene();
    world.silence(RED_WEB);
    for port in 0..HELD_MAX {
        assert_eq!(world.send(SERVER.udp(port, (WEB, 80), b"")), []);
    }
    world.drops(SERVER.udp(99, (WEB, 80), b""), DropReason::NeighbourQueueFull);
    assert_eq!(questions(&world, RED_LAN_WIRE, RED_WEB.address), 1, "one question serves them all");
    // The answer, and behind it in the same burst a packet of the host's, and one to it.
    let answer = RED_WEB.arp(RED_LAN, Operation::Reply, RED_LAN, RED_GATEWAY);
    let heard = world.burst([answer, RED_A.udp(100, (WEB, 80), b"")]);
    let order = ports(&heard);
    assert_eq!(order[..HELD_MAX as usize], (0..HELD_MAX).collect::<Vec<_>>());
    assert_eq!(order.len(), HELD_MAX as usize + 1, "what came behind the answer goes behind what waited");
}

#[test]
fn where_a_neighbour_was_found_stands_beside_the_rule_that_leads_to_it() {
    let other_isp = Host { mac: mac(99, 4), address: Ipv4Addr::new(203, 0, 113, 4), ..ISP };
    let rules = rules_with(&[("next_hop: 203.0.113.1, pool: blue", "next_hop: 203.0.113.4, pool: blue")]);
    let hosts: Vec<Host> = HOSTS.into_iter().chain([other_isp]).collect();
    let mut world = World::new(&rules, &hosts);
    // The first asks for its neighbour, the next finds it.
    for _ in 0..2 {
        world.one(RED_WEB.udp(1, (SERVER.address, 53), b""));
        world.one(BLUE_WEB.udp(1, (SERVER.address, 53), b""));
        world.one(SERVER.udp(1, (WEB, 80), b""));
        world.one(SERVER.udp(1, (MAIL, 80), b""));
    }
    let rules = world.rules();
    let segment = rules.segment_of(PortIndex(INTERNET.port), INTERNET.vlan).unwrap();
    let network = &rules.segments[segment.0 as usize];
    let next_hop = |mac| rules.leg(network.interfaces[&mac]).unwrap().exit.next_hop.get();
    let host = |floating| rules.own_on(network.realm, floating).unwrap().host.get();
    // Where nothing is remembered there is 0, which is a place too: that of one neighbour at most.
    assert_ne!(next_hop(RED_EXT), next_hop(BLUE_EXT));
    assert_ne!(host(WEB), host(MAIL));
}

#[test]
fn a_silent_neighbour_is_told_of_and_left_alone_for_a_while() {
    let mut world = scene();
    world.silence(RED_WEB);
    world.silence(RED_DB);
    // Asked three times, a second apart; then the waiting packets' sources are told.
    for (packet, sender, from) in [
        (SERVER.udp(1, (WEB, 80), b""), SERVER, RED_EXTERNAL),
        (RED_A.udp(1, (RED_DB.address, 80), b""), RED_A, RED_GATEWAY),
    ] {
        let (drops, told) = world.observe(|world| {
            assert_eq!(world.send(packet.clone()), []);
            assert_eq!(world.pass(2_900), []);
            world.pass(200)
        });
        assert_eq!(drops, [DropReason::NeighbourUnresolved]);
        assert_eq!(told, [sender.peer(from).gateway_error(sender.address, (3, 1, 0), &packet)]);
    }
    assert_eq!(questions(&world, RED_LAN_WIRE, RED_WEB.address), 3);
    // For three seconds no one asks again, and packets are refused at once.
    world.heard_arp.clear();
    world.silence(RED_MAIL);
    world.send(SERVER.udp(1, (MAIL, 80), b""));
    world.pass(3_050);
    world.refuses(SERVER.udp(1, (MAIL, 80), b""), DropReason::NeighbourUnresolved);
    world.pass(2_900);
    world.refuses(SERVER.udp(1, (MAIL, 80), b""), DropReason::NeighbourUnresolved);
    assert_eq!(questions(&world, RED_LAN_WIRE, RED_MAIL.address), 3);
    world.pass(200);
    world.unsilence(RED_MAIL);
    world.one(SERVER.udp(1, (MAIL, 80), b""));
}

#[test]
fn a_neighbour_in_use_is_asked_again_before_it_expires() {
    let mut world = scene();
    world.one(SERVER.udp(1, (WEB, 80), b""));
    world.heard_arp.clear();
    for _ in 0..1_200 {
        world.pass(100);
        world.one(SERVER.udp(1, (WEB, 80), b""));
    }
    let asked = questions(&world, RED_LAN_WIRE, RED_WEB.address);
    assert!((3..=4).contains(&asked), "{asked} questions in two minutes");
}

#[test]
fn of_several_interfaces_on_a_network_always_the_same_asks_again() {
    let mut askers = HashSet::new();
    for _ in 0..10 {
        let mut world = scene();
        world.one(RED_A.udp(1, (SERVER.address, 53), b""));
        world.heard_arp.clear();
        for _ in 0..40 {
            world.pass(1_000);
            world.one(RED_A.udp(1, (SERVER.address, 53), b""));
        }
        let asked =
            world.heard_arp.iter().filter(|(wire, arp)| *wire == INTERNET && arp.target == ISP.address);
        askers.extend(asked.map(|(_, arp)| arp.sender));
    }
    assert_eq!(askers.len(), 1, "{askers:?}");
}

#[test]
fn a_neighbour_that_stops_answering_is_used_until_three_questions_went_unanswered() {
    let mut world = scene();
    world.one(SERVER.udp(1, (WEB, 80), b""));
    world.silence(RED_WEB);
    world.pass(29_000);
    world.one(SERVER.udp(1, (WEB, 80), b""));
    world.pass(3_500);
    world.one(SERVER.udp(1, (WEB, 80), b""));
    world.pass(1_000);
    assert_eq!(world.send(SERVER.udp(1, (WEB, 80), b"")), [], "now it is asked for anew");
}

#[test]
fn who_asks_us_need_not_be_asked() {
    let mut world = scene();
    world.who_has(RED_WEB, RED_GATEWAY);
    world.silence(RED_WEB);
    world.one(SERVER.udp(1, (WEB, 80), b""));
    assert_eq!(questions(&world, RED_LAN_WIRE, RED_WEB.address), 0);
}

#[test]
fn a_stranger_to_the_subnet_is_answered_but_not_remembered() {
    let mut world = scene();
    let stranger = Host { address: Ipv4Addr::new(172, 31, 0, 1), ..RED_A };
    assert_eq!(world.who_has(stranger, RED_GATEWAY), Some(RED_LAN));
    assert_eq!(world.occupancy().neighbours, 0);
    // Nor is an address probe, which has no sender (RFC 5227).
    let probe = Host { address: Ipv4Addr::UNSPECIFIED, ..RED_A };
    assert_eq!(world.who_has(probe, RED_GATEWAY), Some(RED_LAN));
    assert_eq!(world.occupancy().neighbours, 0);
}

#[test]
fn a_neighbour_that_moves_is_followed_and_none_can_take_our_address() {
    let mut world = scene();
    world.one(SERVER.udp(1, (WEB, 80), b""));
    let moved = Host { mac: mac(10, 222), ..RED_WEB };
    world.add(moved);
    world.send(moved.asks_for(moved.address));
    assert_eq!(world.one(SERVER.udp(1, (WEB, 80), b"")).link_destination(), moved.mac);
    // A gratuitous one for our own address is answered, and changes nothing.
    let thief = Host { address: RED_GATEWAY, ..RED_A };
    let before = world.occupancy().neighbours;
    assert_eq!(world.who_has(thief, RED_GATEWAY), Some(RED_LAN));
    assert_eq!(world.occupancy().neighbours, before);
    assert_eq!(world.one(RED_A.ping(1, RED_GATEWAY)).link_destination(), RED_A.mac);
}

#[test]
fn arp_that_is_not_ours_to_read_is_dropped() {
    let mut world = scene();
    // A strange operation, and a reply nobody asked for.
    let strange = RED_A.asks_for(RED_GATEWAY).change(|mut bytes| {
        bytes[18 + 7] = 9;
        bytes
    });
    world.drops(strange, DropReason::ArpNotForUs);
    world.drops(RED_A.arp(RED_LAN, Operation::Reply, RED_B.mac, RED_B.address), DropReason::ArpNotForUs);
    world.drops(RED_A.asks_for(RED_GATEWAY).with_mac(BLUE_LAN), DropReason::WrongMac);
}

/// Addresses announced since the last look, each with the MAC it was announced with.
fn announced(world: &mut World) -> HashSet<(Wire, Ipv4Addr, MacAddress)> {
    world.pass(1_000);
    let heard: Vec<_> = world.heard_arp.drain(..).filter(|(_, arp)| arp.sender == arp.target).collect();
    let unique: HashSet<_> = heard.iter().map(|(wire, arp)| (*wire, arp.sender, arp.sender_mac)).collect();
    assert_eq!(unique.len(), heard.len(), "each is announced once");
    unique
}

#[test]
fn what_is_ours_is_announced_at_start_and_what_moved_when_it_moves() {
    let mut world = World::without_rules(Setup::default());
    HOSTS.iter().for_each(|host| world.add(*host));
    world.adopt(RULES);
    let all = [
        (RED_LAN_WIRE, RED_GATEWAY, RED_LAN),
        (RED_DB_WIRE, Ipv4Addr::new(10, 0, 1, 1), RED_DB_LEG),
        (BLUE_LAN_WIRE, RED_GATEWAY, BLUE_LAN),
        (INTERNET, RED_EXTERNAL, RED_EXT),
        (INTERNET, Ipv4Addr::new(203, 0, 113, 3), BLUE_EXT),
        (INTERNET, WEB, RED_EXT),
        (INTERNET, MAIL, RED_EXT),
        (INTERNET, BLUE_WEB_FLOATING, BLUE_EXT),
        (INTERNET, RED_POOL, RED_EXT),
        (INTERNET, BLUE_POOL, BLUE_EXT),
    ];
    assert_eq!(announced(&mut world), all.into_iter().collect());

    // A floating IP goes to another router: its MAC is another.
    let moved = rules_with(&[
        ("      - {id: mail, external: 203.0.113.51, internal: 10.0.0.51}\n", ""),
        (
            "      - {id: web, external: 203.0.113.60",
            "      - {id: mail, external: 203.0.113.51, internal: 10.0.0.51}\n      - {id: web, external: 203.0.113.60",
        ),
    ]);
    world.adopt(&moved);
    assert_eq!(announced(&mut world), [(INTERNET, MAIL, BLUE_EXT)].into_iter().collect());

    // A network goes to another VLAN: all of it is told.
    world.adopt(&moved.replace("vlan: 200", "vlan: 201"));
    let there = Wire { port: 0, vlan: packet::VlanId::new(201) };
    assert_eq!(announced(&mut world), [(there, RED_GATEWAY, BLUE_LAN)].into_iter().collect());
}

#[test]
fn a_second_change_of_rules_loses_no_announcement_of_the_first() {
    let many = RULES.replace("[203.0.113.20]", "[203.0.113.100-203.0.113.199]");
    let mut world = World::without_rules(Setup { addresses_max: 110, ..Setup::default() });
    world.adopt(&many);
    world.pass(50);
    let told = world.heard_arp.len();
    assert!(told < 100, "announcements are spread over turns");
    // Networks change places in the second set, and one address is gone.
    let other = many.replace("red-db", "a-red-db").replace("113.199]", "113.198]");
    world.adopt(&other);
    world.pass(2_000);
    let addresses: HashSet<_> = world.heard_arp.iter().map(|(_, arp)| arp.sender).collect();
    for number in 100..=198 {
        assert!(addresses.contains(&Ipv4Addr::new(203, 0, 113, number)), "{number}");
    }
}

#[test]
fn without_a_buffer_for_the_question_the_packet_waits_for_the_next() {
    let mut world = scene();
    world.set_out_of_buffers(true);
    assert_eq!(world.send(SERVER.udp(1, (WEB, 80), b"")), []);
    assert_eq!(world.count(|counters| &counters.unmade), 1);
    world.set_out_of_buffers(false);
    assert_eq!(world.pass(1_100).len(), 1);
}
