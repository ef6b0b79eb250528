//! The whole gateway over capture files: the DPDK edge, the worker, the brain. Needs neither root nor hugepages.
//!
//! A test writes what arrives at both ports, and compares every byte of what leaves them. What must hold always is
//! checked after every play: the books close and are the drivers' own, and every buffer is back in its pool.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may stop where a test may"
)]

#[path = "../src/config.rs"]
#[allow(dead_code, reason = "of the binary; the test reads a part of it")]
mod config;
#[path = "../src/edge.rs"]
#[allow(dead_code, reason = "of the binary; the test reads a part of it")]
mod edge;
#[path = "../crates/nat/tests/brain/exchange.rs"]
#[allow(dead_code, reason = "of the brain's tests; the exchanges are theirs, the way they are played is not")]
mod exchange;
#[path = "../src/numa.rs"]
mod numa;
mod support;
#[path = "../crates/nat/tests/world/mod.rs"]
mod world;

use std::collections::HashSet;
use std::net::Ipv4Addr;

use packet::arp::Operation;
use packet::{MacAddress, testing};

use crate::exchange::{EXCHANGES, Exchange};
use crate::support::play::{Play, Seen};
use crate::support::{bytes, jumbo_rules};
use crate::world::scene::*;
use crate::world::{Endpoint, Host, Packet};

/// A flow from behind SNAT: who asks, how, and the address it is seen under. Tenants' hosts have the same address.
const SNAT_FLOWS: [(Host, Ipv4Addr, Host); 2] =
    [(RED_A, RED_POOL, SERVER), (BLUE_A, BLUE_POOL, Host { via: BLUE_EXT, ..SERVER })];

/// A packet too long for all but jumbo frames: 9,000 bytes with its headers.
const JUMBO_PAYLOAD: usize = 9_000 - 28;

/// Every exchange of each flow: exchange, host, the remote as the gateway's external interface sees it.
fn snat_exchanges() -> impl Iterator<Item = (&'static Exchange, Host, Ipv4Addr, Host)> {
    SNAT_FLOWS
        .into_iter()
        .flat_map(|(host, pool, remote)| EXCHANGES.iter().map(move |exchange| (exchange, host, pool, remote)))
}

#[test]
fn questions_leave_under_the_pool_and_answers_come_back_tagged() {
    let play =
        Play::new("questions_leave_under_the_pool_and_answers_come_back_tagged").turn(snat_exchanges().map(
            |(exchange, host, _, remote)| (exchange.ask)(host, 5_000, (remote.address, exchange.remote_port)),
        ));
    let asked = play.run();
    let (mut answers, mut expected) = (Vec::new(), Vec::new());
    assert_eq!(asked.outside().len(), 2 * EXCHANGES.len());
    for (question, (exchange, host, pool, remote)) in asked.outside().iter().zip(snat_exchanges()) {
        let external = question.source();
        let to = (remote.address, exchange.remote_port);
        assert_eq!(external.0, pool, "{}", exchange.name);
        assert_eq!(*question, (exchange.ask)(remote.peer(pool), external.1, to).hop(), "{}", exchange.name);
        answers.push((exchange.answer)(remote, exchange.remote_port, external));
        let from = host.peer(remote.address);
        expected.push((exchange.answer)(from, exchange.remote_port, (host.address, 5_000)).hop());
    }
    assert_eq!(asked.inside(), []);

    let answered = play.turn(answers).run();
    assert_eq!(answered.outside(), asked.outside(), "the same seed makes the same choices");
    assert_eq!(by_flow(answered.inside()), by_flow(&expected));
    answered.assert_dropped(&[]);
}

/// Flow by flow, each in its order: between flows there is none to keep.
fn by_flow(packets: &[Packet]) -> Vec<Packet> {
    let mut packets = packets.to_vec();
    packets.sort_by_key(|packet| (packet.source(), packet.destination(), packet.parsed().protocol));
    packets
}

#[test]
fn floating_ips_lead_both_ways_and_each_to_its_own_tenant() {
    let floating = [
        (RED_WEB, WEB, SERVER),
        (RED_MAIL, MAIL, SERVER),
        (BLUE_WEB, BLUE_WEB_FLOATING, SERVER.through(BLUE_EXT)),
    ];
    let mut turn = Vec::new();
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for (host, external, remote) in floating {
        for exchange in &EXCHANGES {
            let to = |address| (address, exchange.remote_port);
            turn.push((exchange.ask)(remote, 6_000, to(external)));
            inside.push((exchange.ask)(host.peer(remote.address), 6_000, to(host.address)).hop());
            turn.push((exchange.ask)(host, 7_000, to(remote.address)));
            outside.push((exchange.ask)(remote.peer(external), 7_000, to(remote.address)).hop());
        }
        turn.push(remote.ipv4(47, external, &bytes(99)));
        inside.push(host.peer(remote.address).ipv4(47, host.address, &bytes(99)).hop());
        turn.push(host.ipv4(47, remote.address, &bytes(99)));
        outside.push(remote.peer(external).ipv4(47, remote.address, &bytes(99)).hop());
    }
    let seen = Play::new("floating_ips_lead_both_ways_and_each_to_its_own_tenant").turn(turn).run();
    assert_eq!(by_flow(seen.inside()), by_flow(&inside));
    assert_eq!(by_flow(seen.outside()), by_flow(&outside));
    seen.assert_dropped(&[]);
}

#[test]
fn errors_about_a_translated_flow_reach_its_host() {
    let play = Play::new("errors_about_a_translated_flow_reach_its_host");
    let to = (SERVER.address, 53);
    let snat = RED_A.udp(5_000, to, b"who is it?");
    let floating = RED_WEB.udp(5_000, to, b"who is it?");
    let play = play.turn([snat.clone(), floating.clone()]);
    let asked = play.run();
    let [seen_snat, seen_floating] = asked.outside() else { panic!("{:?}", asked.outside()) };

    // From the server itself, and from a router on the way.
    let unreachable = SERVER.error(RED_POOL, (3, 3, 0), seen_snat, 8);
    let too_long = OTHER.error(WEB, (3, 4, 1_400), seen_floating, 500);
    let answered = play.turn([unreachable, too_long]).run();
    assert_eq!(
        answered.inside(),
        [
            RED_A.peer(SERVER.address).error(RED_A.address, (3, 3, 0), &snat.hop(), 8).hop(),
            RED_WEB.peer(OTHER.address).error(RED_WEB.address, (3, 4, 1_400), &floating.hop(), 500).hop(),
        ]
    );
    answered.assert_dropped(&[]);
}

#[test]
fn a_packet_that_cannot_go_on_is_answered() {
    let expired = RED_A.udp(5_000, (SERVER.address, 53), b"trace").with_ttl(1);
    let too_long = BLUE_A.udp(5_000, (SERVER.address, 53), &bytes(1_600)).dont_fragment();
    let prohibited = SERVER.udp(53, (RED_POOL, 5_000), b"who are you?");
    let seen = Play::new("a_packet_that_cannot_go_on_is_answered")
        .mtu(9_000)
        .turn([expired.clone(), too_long.clone(), prohibited])
        .turn([RED_A.ping(1, RED_GATEWAY), ISP.ping(1, RED_EXTERNAL)])
        .run();
    assert_eq!(
        seen.inside(),
        [
            RED_A.peer(RED_GATEWAY).gateway_error(RED_A.address, (11, 0, 0), &expired),
            BLUE_A.peer(RED_GATEWAY).gateway_error(BLUE_A.address, (3, 4, 1_500), &too_long),
            RED_A.peer(RED_GATEWAY).pong(1, RED_A.address),
        ]
    );
    assert_eq!(seen.outside(), [ISP.peer(RED_EXTERNAL).pong(1, ISP.address)]);
    seen.assert_dropped(&[("mtu_exceeded", 1), ("no_mapping", 1), ("ttl_expired", 1)]);
}

#[test]
fn hosts_meet_under_their_floating_ips() {
    let askers: [(Host, Ipv4Addr); 4] =
        [(RED_A, RED_POOL), (RED_DB, RED_POOL), (RED_MAIL, MAIL), (BLUE_A, BLUE_POOL)];
    let play = Play::new("hosts_meet_under_their_floating_ips")
        .turn(askers.map(|(asker, _)| asker.udp(6_000, (WEB, 80), b"are you there?")));
    let asked = play.run();
    let externals: Vec<Endpoint> = asked.inside().iter().map(Packet::source).collect();
    assert!(externals.iter().map(|external| external.0).eq(askers.map(|(_, external)| external)));
    let question = |external: Endpoint| {
        RED_WEB.peer(external.0).udp(external.1, (RED_WEB.address, 80), b"are you there?").hop()
    };
    let questions: Vec<_> = externals.iter().copied().map(question).collect();
    assert_eq!(asked.inside(), questions);

    let play = play.turn(externals.into_iter().map(|external| RED_WEB.udp(80, external, b"I am")));
    let answered = play.run();
    let answers = askers.map(|(asker, _)| asker.peer(WEB).udp(80, (asker.address, 6_000), b"I am").hop());
    assert_eq!(answered.inside(), [questions, answers.to_vec()].concat());
    assert_eq!(answered.outside(), []);
    answered.assert_dropped(&[]);
}

#[test]
fn fragments_pass_in_any_order() {
    let cut = |packet: &Packet, id| testing::fragments(&packet.bytes, id, 32);
    let pick = |packet: &Packet, id: u16, order: [usize; 4]| {
        let fragments = cut(packet, id);
        order.map(|index| Packet { wire: packet.wire, bytes: fragments[index].clone() })
    };
    let (to, from) = ((WEB, 80), (SERVER.address, 5_000));
    let arriving = SERVER.udp(5_000, to, &bytes(100));
    let heard = RED_WEB.peer(from.0).udp(5_000, (RED_WEB.address, 80), &bytes(100)).hop();
    let leaving = RED_WEB.udp(80, from, &bytes(100));
    let seen_outside = SERVER.peer(WEB).udp(80, from, &bytes(100)).hop();

    let mut play = Play::new("fragments_pass_in_any_order");
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for (id, order) in [(1, [0, 1, 2, 3]), (2, [3, 2, 1, 0]), (3, [2, 0, 3, 1])] {
        play = play.turn([pick(&arriving, id, order), pick(&leaving, id, order)].concat());
        inside.extend(pick(&heard, id, order));
        outside.extend(pick(&seen_outside, id, order));
    }
    // Behind SNAT those that come before the first wait for its ports.
    let seen = play.turn(pick(&RED_A.udp(1, from, &bytes(100)), 4, [3, 2, 1, 0])).run();
    assert_eq!(seen.inside(), inside);
    let (through_floating_ips, through_snat) = seen.outside().split_at(outside.len());
    assert_eq!(through_floating_ips, outside);
    let [first, ..] = through_snat else { panic!("{through_snat:?}") };
    let given = packet::fragment::part(&first.bytes, &first.parsed()).identification;
    let translated = SERVER.peer(RED_POOL).udp(first.source().1, from, &bytes(100)).hop();
    assert_eq!(through_snat, pick(&translated, given, [0, 3, 2, 1]));
    seen.assert_dropped(&[]);
}

#[test]
fn jumbo_frames_pass_where_the_networks_take_them() {
    let to = (SERVER.address, 53);
    let payload = bytes(JUMBO_PAYLOAD);
    let play = Play::new("jumbo_frames_pass_where_the_networks_take_them")
        .rules(jumbo_rules())
        .mtu(9_000)
        .turn([RED_A.udp(5_000, to, &payload), RED_WEB.udp(5_000, to, &payload)]);
    let asked = play.run();
    let external = asked.outside()[0].source();
    assert_eq!(asked.outside()[0].bytes.len(), 9_014);
    assert_eq!(
        asked.outside(),
        [
            SERVER.peer(RED_POOL).udp(external.1, to, &payload).hop(),
            SERVER.peer(WEB).udp(5_000, to, &payload).hop(),
        ]
    );
    let for_blue = SERVER.through(BLUE_EXT).udp(53, (BLUE_WEB_FLOATING, 80), &payload);
    let answered =
        play.turn([SERVER.udp(53, external, &payload), SERVER.udp(53, (WEB, 80), &payload), for_blue]).run();
    let from = |host: Host| host.peer(SERVER.address);
    assert_eq!(
        by_flow(answered.inside()),
        by_flow(&[
            from(RED_A).udp(53, (RED_A.address, 5_000), &payload).hop(),
            from(RED_WEB).udp(53, (RED_WEB.address, 80), &payload).hop(),
        ])
    );
    answered.assert_dropped(&[("mtu_exceeded", 1)]);
    assert_eq!(answered.multi_segment, [0, 0]);
}

#[test]
fn a_frame_longer_than_the_ports_take_is_counted_and_hurts_nothing() {
    let to = (SERVER.address, 53);
    let seen = Play::new("a_frame_longer_than_the_ports_take_is_counted_and_hurts_nothing")
        .turn([
            RED_WEB.udp(1, to, b"before"),
            RED_WEB.udp(1, to, &bytes(3_000)),
            RED_WEB.udp(1, to, b"behind"),
        ])
        .run();
    let expected = [b"before", b"behind"].map(|payload| SERVER.peer(WEB).udp(1, to, payload).hop());
    assert_eq!(seen.outside(), expected);
    assert_eq!(seen.multi_segment, [1, 0]);
    seen.assert_dropped(&[]);
}

#[test]
fn a_first_frame_waits_until_its_next_hop_answers() {
    let question = RED_WEB.udp(1, (SERVER.address, 53), b"who is it?");
    let request = SERVER.udp(2, (WEB, 80), b"are you there?");
    let answer_of = |host: Host, asker: Ipv4Addr| host.arp(host.via, Operation::Reply, host.via, asker);
    let seen = Play::new("a_first_frame_waits_until_its_next_hop_answers")
        .without_greetings()
        .turn([question.clone(), request])
        .turn([])
        .turn([answer_of(RED_WEB, RED_GATEWAY), answer_of(ISP, RED_EXTERNAL)])
        .run();
    let asks = |host: Host, asker: Ipv4Addr| Packet {
        wire: host.wire,
        ..host.peer(asker).arp(MacAddress::BROADCAST, Operation::Request, MacAddress::default(), host.address)
    };
    let heard = RED_WEB.peer(SERVER.address).udp(2, (RED_WEB.address, 80), b"are you there?").hop();
    assert_eq!(seen.inside(), [asks(RED_WEB, RED_GATEWAY), heard]);
    let translated = SERVER.peer(WEB).udp(1, (SERVER.address, 53), b"who is it?").hop();
    assert_eq!(seen.outside(), [asks(ISP, RED_EXTERNAL), translated]);
    seen.assert_dropped(&[]);
}

#[test]
fn all_of_the_gateways_addresses_are_announced_where_they_are() {
    let Seen { announced, .. } =
        Play::new("all_of_the_gateways_addresses_are_announced_where_they_are").run();
    let announcement = |neighbour: Host, address: Ipv4Addr| {
        neighbour.peer(address).arp(MacAddress::BROADCAST, Operation::Request, MacAddress::default(), address)
    };
    let blue = ISP.through(BLUE_EXT);
    let expected = [
        announcement(RED_A, RED_GATEWAY),
        announcement(RED_DB, Ipv4Addr::new(10, 0, 1, 1)),
        announcement(BLUE_A, RED_GATEWAY),
        announcement(ISP, RED_EXTERNAL),
        announcement(ISP, RED_POOL),
        announcement(ISP, WEB),
        announcement(ISP, MAIL),
        announcement(blue, Ipv4Addr::new(203, 0, 113, 3)),
        announcement(blue, BLUE_POOL),
        announcement(blue, BLUE_WEB_FLOATING),
    ];
    let as_set =
        |packets: &[Packet]| packets.iter().map(|packet| (packet.wire, packet.bytes.clone())).collect();
    let (announced_set, expected_set): (HashSet<_>, HashSet<_>) = (as_set(&announced), as_set(&expected));
    assert_eq!(announced_set, expected_set);
    assert_eq!(announced.len(), expected.len(), "each once");
}

#[test]
fn many_bursts_stay_in_order() {
    let number = |index: u16| index.to_be_bytes();
    let arriving: Vec<_> = (0..1_000).map(|index| SERVER.udp(1, (WEB, 80), &number(index))).collect();
    let leaving: Vec<_> =
        (0..1_000).map(|index| RED_WEB.udp(1, (SERVER.address, 80), &number(index))).collect();
    let both: Vec<_> =
        arriving.chunks(32).zip(leaving.chunks(32)).map(|(one, other)| [one, other].concat()).collect();
    let play = both.into_iter().fold(Play::new("many_bursts_stay_in_order"), Play::turn);
    let seen = play.run();
    let heard = |index| RED_WEB.peer(SERVER.address).udp(1, (RED_WEB.address, 80), &number(index)).hop();
    let seen_outside = |index| SERVER.peer(WEB).udp(1, (SERVER.address, 80), &number(index)).hop();
    assert_eq!(seen.inside(), (0..1_000).map(heard).collect::<Vec<_>>());
    assert_eq!(seen.outside(), (0..1_000).map(seen_outside).collect::<Vec<_>>());
    seen.assert_dropped(&[]);
}

#[test]
fn frames_cut_anywhere_are_dropped_and_counted() {
    let whole = RED_A.tcp(5_000, (SERVER.address, 443), packet::tcp::SYN);
    let cut = |length: usize| whole.clone().change(|bytes| bytes[..length].to_vec());
    let runts: Vec<_> = (1..whole.bytes.len()).map(cut).collect();
    let seen = Play::new("frames_cut_anywhere_are_dropped_and_counted")
        .turns(&runts)
        .turn([RED_WEB.udp(1, (SERVER.address, 53), b"and on")])
        .run();
    assert_eq!(seen.inside(), []);
    assert_eq!(seen.outside(), [SERVER.peer(WEB).udp(1, (SERVER.address, 53), b"and on").hop()]);
    seen.assert_dropped(&[("malformed", runts.len() as u64)]);
}
