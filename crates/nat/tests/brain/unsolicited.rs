//! SYNs from outside that nobody waits for: answered after six seconds where the router wants it, unless the host has opened
//! the same connection meanwhile (RFC 5382 REQ-4).

use std::net::Ipv4Addr;

use nat::DropReason;
use packet::tcp::{ACK, FIN, SYN};
use packet::testing::Segment;

use crate::world::scene::*;
use crate::world::{Endpoint, Host, Packet, Setup, World};

const WWW: Endpoint = (SERVER.address, 443);

/// Red answers.
const ANSWERS: (&str, &str) = ("pool: red}]", "pool: red}]\n    tcp: {unsolicited_syn: error_after_6s}");

fn answering() -> World {
    scene_with(&[ANSWERS])
}

/// What the sender of a SYN without data is told.
fn told(syn: &Packet, sender: Host, speaker: Ipv4Addr) -> Packet {
    sender.peer(speaker).gateway_error(sender.address, (3, 3, 0), syn)
}

//= rfc5382#REQ-4
//= rfc5382#REQ-4a
#[test]
fn rfc5382_req4_a_syn_that_nobody_waits_for_is_answered_after_six_seconds_and_not_before() {
    let mut world = answering();
    let external = crate::tcp::connect(&mut world, RED_A, 4_000, WWW);
    // To a port that nobody has; to one whose connection is with somebody else.
    for port in [external.1 ^ 1, external.1] {
        let syn = OTHER.tcp(5_000, (RED_POOL, port), SYN);
        world.drops(syn.clone(), DropReason::NoMapping);
        assert_eq!(world.pass(5_999), [], "not before");
        assert_eq!(world.pass(101), [told(&syn, OTHER, RED_EXTERNAL)]);
        assert_eq!(world.pass(30_000), [], "and once");
    }
    // No other segment than a SYN gets an answer.
    for flags in [ACK, SYN | ACK, FIN | ACK] {
        world.drops(OTHER.tcp(5_000, (RED_POOL, 22), flags), DropReason::NoMapping);
    }
    assert_eq!(world.pass(30_000), []);
}

#[test]
fn of_a_syn_with_data_its_headers_are_quoted() {
    let mut world = answering();
    let options = [1; 40];
    let long =
        Segment { flags: SYN, sequence: 7, options: &options, payload: &[9; 400], ..Segment::default() };
    let syn = OTHER.segment(5_000, (RED_POOL, 22), long);
    world.drops(syn.clone(), DropReason::NoMapping);
    let [told] = world.pass(6_100).try_into().unwrap();
    let quote = &told.transport()[8..];
    assert_eq!((told.icmp(), quote), ((3, 3, 0), &syn.bytes[14..138]));
    assert!(quote.len() >= 20 + 20 + options.len());
}

//= rfc5382#REQ-4
#[test]
fn rfc5382_req4_a_syn_that_the_filter_keeps_out_is_answered_as_well() {
    let pool =
        "addresses: [203.0.113.10], tcp: {mapping: endpoint_independent, filtering: address_dependent}";
    let mut world = scene_with(&[("addresses: [203.0.113.10]", pool), ANSWERS]);
    let external = crate::tcp::connect(&mut world, RED_A, 4_000, WWW);
    let syn = OTHER.tcp(5_000, external, SYN);
    world.drops(syn.clone(), DropReason::Filtered);
    assert_eq!(world.pass(5_999), []);
    assert_eq!(world.pass(101), [told(&syn, OTHER, RED_EXTERNAL)]);
    // Whom the filter lets in is no stranger.
    let heard = world.one(SERVER.tcp(5_000, external, SYN));
    assert_eq!(heard.destination(), (RED_A.address, 4_000));
    assert_eq!(world.pass(20_000), []);
}

//= rfc5382#REQ-4
//= rfc5382#REQ-2a
#[test]
fn rfc5382_req4_a_syn_that_crosses_the_hosts_own_is_dropped_silently() {
    // So short a timer that the session is gone again before the six seconds are over.
    for timers in ["", ", tcp_syn_s: 1"] {
        for crossing_ms in [0, 700, 2_900, 5_900] {
            let mut world = scene_with(&[
                ("addresses: [203.0.113.10]", "addresses: [203.0.113.10], ports: 2000-2000"),
                (ANSWERS.0, &format!("{}\n    timeouts: {{profile: cloud{timers}}}", ANSWERS.1)),
            ]);
            world.drops(SERVER.tcp(443, (RED_POOL, 2_000), SYN), DropReason::NoMapping);
            assert_eq!(world.pass(crossing_ms), []);
            assert_eq!(world.one(RED_A.tcp(4_000, WWW, SYN)).source(), (RED_POOL, 2_000));
            assert_eq!(world.pass(20_000), [], "{crossing_ms} {timers}");
            assert_eq!(world.sessions().is_empty(), !timers.is_empty());
        }
    }
}

#[test]
fn a_connection_to_somebody_else_is_not_the_same_connection() {
    let mut world =
        scene_with(&[("addresses: [203.0.113.10]", "addresses: [203.0.113.10], ports: 2000-2000"), ANSWERS]);
    let syn = SERVER.tcp(443, (RED_POOL, 2_000), SYN);
    world.drops(syn.clone(), DropReason::NoMapping);
    world.one(RED_A.tcp(4_000, (SERVER.address, 444), SYN));
    world.one(RED_B.tcp(4_000, (OTHER.address, 443), SYN));
    assert_eq!(world.pass(6_100), [told(&syn, SERVER, RED_EXTERNAL)]);
}

//= rfc5382#REQ-4a
#[test]
fn rfc5382_req4a_a_router_that_forbids_it_never_answers() {
    let mut world = answering();
    // Blue has not asked for it, which is the default; the gateway's own addresses and floating IPs are not concerned.
    world.drops(OTHER.through(BLUE_EXT).tcp(5_000, (BLUE_POOL, 22), SYN), DropReason::NoMapping);
    world.drops(OTHER.tcp(5_000, (RED_EXTERNAL, 22), SYN), DropReason::LocalUnhandled);
    assert_eq!(world.one(OTHER.tcp(5_000, (WEB, 22), SYN)).destination(), (RED_WEB.address, 22));
    assert_eq!(world.pass(60_000), []);
}

#[test]
fn the_rules_of_the_moment_decide_whether_an_error_is_sent() {
    let ext = "203.0.113.2/24], external: true";
    let quiet = format!("{ext}, icmp_errors: false");
    let forwarding = "floating_ips:\n      - {id: web,";
    let forwarded = format!(
        "port_forwardings:\n      - {{id: ssh, external: 203.0.113.10, protocol: tcp, external_ports: 22, internal: 10.0.0.11}}\n    {forwarding}"
    );
    let excluded = ("addresses: [203.0.113.10]", "addresses: [203.0.113.10], ports: 2000-2999");
    let later = [
        (rules_with(&[]), 0),
        (rules_with(&[ANSWERS, (ext, &quiet)]), 1),
        (rules_with(&[ANSWERS, (forwarding, &forwarded), excluded]), 0),
        (rules_with(&[("addresses: [203.0.113.10]", "addresses: [203.0.113.11]"), ANSWERS]), 0),
    ];
    for (number, (rules, suppressed)) in later.iter().enumerate() {
        let mut world = answering();
        world.drops(OTHER.tcp(5_000, (RED_POOL, 22), SYN), DropReason::NoMapping);
        world.pass(3_000);
        world.adopt(rules);
        assert_eq!(world.pass(10_000), [], "rules {number}");
        assert_eq!(world.count(|counters| &counters.errors_suppressed), *suppressed, "rules {number}");
    }
}

#[test]
fn an_interfaces_own_address_is_answered_for_while_it_is_translated_to() {
    let own = ("pool: red}]", "snat: true}]\n    tcp: {unsolicited_syn: error_after_6s}");
    let syn = OTHER.tcp(5_000, (RED_EXTERNAL, 2_000), SYN);
    let mut world = scene_with(&[own]);
    world.drops(syn.clone(), DropReason::NoMapping);
    assert_eq!(world.pass(6_100), [told(&syn, OTHER, RED_EXTERNAL)]);
    world.drops(syn, DropReason::NoMapping);
    world.adopt(&rules_with(&[("pool: red}]", "snat: false}]\n    tcp: {unsolicited_syn: error_after_6s}")]));
    assert_eq!(world.pass(10_000), []);
}

#[test]
fn a_host_of_ours_that_calls_a_port_in_vain_is_told_too() {
    let mut world = answering();
    let syn = RED_B.tcp(5_000, (RED_POOL, 22), SYN);
    world.drops(syn.clone(), DropReason::NoMapping);
    assert_eq!(world.pass(5_999), []);
    assert_eq!(world.pass(101), [told(&syn, RED_B, RED_GATEWAY)]);
}

#[test]
fn a_flood_of_syns_is_answered_as_far_as_there_is_room() {
    let mut world = scene_on(Setup::of_one_worker(), &[ANSWERS]);
    let began = world.now;
    for port in 0..5_000 {
        world.drops(OTHER.tcp(port, (RED_POOL, 22), SYN), DropReason::NoMapping);
    }
    assert_eq!(world.now, began);
    assert_eq!(world.count(|counters| &counters.errors_limited), 5_000 - 4_096);
    assert_eq!(world.pass(5_999), []);
    let told = world.pass(60_000).len() as u64;
    assert_eq!(told + world.count(|counters| &counters.errors_limited), 5_000, "each once");
    assert!(told >= 1_000, "{told}");
    // And then there is room again.
    world.drops(OTHER.tcp(1, (RED_POOL, 22), SYN), DropReason::NoMapping);
    assert_eq!(world.pass(6_100).len(), 1);
}
