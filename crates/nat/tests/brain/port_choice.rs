//! Which external port is chosen: the pool's runs, classes, parity, chance, and how many before the first refusal.

use std::collections::HashSet;

use nat::DropReason;
use packet::Protocol;
use packet::tcp::{ACK, PSH, RST, SYN};

use crate::mapping::with_pool;
use crate::tcp::connect;
use crate::world::scene::*;
use crate::world::{Endpoint, Host, Random, Setup, World};

const DNS: Endpoint = (SERVER.address, 53);
const WWW: Endpoint = (SERVER.address, 443);

/// A world with room for many sessions in eight shards, its pool with more to say.
fn large(more: &str) -> World {
    let setup = Setup { shards: 8, sessions_max: 1 << 17, ..Setup::default() };
    scene_on(setup, &[("addresses: [203.0.113.10]", &format!("addresses: [203.0.113.10], {more}"))])
}

/// Whether the packet found an external endpoint.
fn is_served(world: &mut World, packet: crate::world::Packet) -> bool {
    let (drops, heard) = world.observe(|world| world.send(packet));
    match drops.as_slice() {
        [] => true,
        [DropReason::PortExhausted] => false,
        _ => panic!("{drops:?} {heard:?}"),
    }
}

//= rfc6056#3.2
//= rfc6888#REQ-3
#[test]
fn excluded_ports_are_never_chosen_and_all_others_are() {
    let mut world = with_pool("ports: 2000-2099, exclude_ports: [2000-2009, 2050-2050, 2090-2099]");
    let mut seen = HashSet::new();
    for port in 0..79 {
        assert!(seen.insert(world.one(RED_A.udp(4_000 + port, DNS, b"")).source().1));
    }
    assert_eq!(seen, (2_010..2_090).filter(|port| *port != 2_050).collect());
    world.refuses(RED_A.udp(5_000, DNS, b""), DropReason::PortExhausted);
}

//= rfc4787#REQ-4
#[test]
fn an_even_port_stays_even_and_an_odd_one_odd() {
    let mut world =
        with_pool("ports: 2000-2099, preserve_parity: true, tcp: {mapping: endpoint_independent}");
    for port in 4_000..4_100 {
        assert_eq!(world.one(RED_A.udp(port, DNS, b"")).source().1 % 2, port % 2);
        assert_eq!(world.one(RED_A.tcp(port, DNS, SYN)).source().1 % 2, port % 2);
    }
    for port in [4_100, 4_101] {
        world.refuses(RED_A.udp(port, DNS, b""), DropReason::PortExhausted);
    }
}

//= rfc4787#REQ-3a
#[test]
fn well_known_ports_stay_among_themselves_where_the_pool_has_them() {
    let mut world = with_pool("ports: 1-65535");
    for port in (1..1_024).step_by(40) {
        assert!(world.one(RED_A.udp(port, DNS, b"")).source().1 < 1_024, "{port}");
        assert!(world.one(RED_A.tcp(port, DNS, SYN)).source().1 < 1_024, "{port}");
    }
    for port in (1_024..65_000).step_by(500) {
        assert!(world.one(RED_A.udp(port, DNS, b"")).source().1 >= 1_024, "{port}");
    }
}

#[test]
fn a_preserved_port_is_the_internal_one_unless_it_is_taken() {
    let mut world = with_pool("preserve_port: true");
    for port in (2_000..3_000).step_by(50) {
        assert_eq!(world.one(RED_A.udp(port, DNS, b"")).source().1, port);
        assert_eq!(world.one(RED_A.tcp(port, DNS, SYN)).source().1, port);
        assert_ne!(world.one(RED_B.udp(port, DNS, b"")).source().1, port);
    }
}

//= rfc6056#3.3.1
//= rfc6888#REQ-15
//= rfc7857#10
#[test]
fn a_hundred_thousand_ports_are_spread_evenly_and_none_foretells_the_next() {
    let mut world = large("hold_down_s: 0");
    let (mut bins, mut last, mut near, mut count) = ([0u32; 64], 0u16, 0, 0);
    let mut steps = [0u32; 64];
    while count < 100_000 {
        for number in 0..2_500u32 {
            let host = red(100 + (count / 2_500 % 100) as u8);
            world.add(host);
            let port = world.one(host.udp(1_024 + number as u16, DNS, b"")).source().1;
            bins[usize::from((port - 1_024) / 1_008)] += 1;
            // The step from the last, as a part of the range.
            steps[usize::from(port.wrapping_sub(last) >> 10)] += 1;
            near += u32::from(port.abs_diff(last) <= 2);
            last = port;
            count += 1;
        }
        world.pass(32_000);
    }
    // 103.4 is the 0.999 quantile for 63 degrees of freedom.
    let chi_square = |bins: &[u32], weight: &dyn Fn(usize) -> f64| -> f64 {
        let expected = |bin| f64::from(count) * weight(bin);
        bins.iter().enumerate().map(|(bin, n)| (f64::from(*n) - expected(bin)).powi(2) / expected(bin)).sum()
    };
    let spread = chi_square(&bins, &|_| 1.0 / 64.0);
    assert!(spread < 103.4, "chi-square {spread}");
    // Steps modulo 2^16 between two of 64,512 ports: all alike, but for the 1.6 % that is no port.
    let unforeseen = steps.iter().all(|n| (1_300..1_850).contains(n));
    assert!(unforeseen, "{steps:?}");
    assert!(near < 20, "{near} ports are next to the one before");
}

/// So many flows to one remote, of hosts in all shards, before the first is refused: of a mapping's ports all.
//= rfc6888#REQ-13
#[test]
fn mappings_have_every_port_before_the_first_refusal_and_after_churn() {
    let mut world = large("ports: 2000-5999, hold_down_s: 0, udp: {mapping: endpoint_independent}");
    let hosts: Vec<Host> = (100..164).map(red).collect();
    hosts.iter().for_each(|host| world.add(*host));
    let mut random = Random::new(7);
    let mut fill = |world: &mut World| {
        let mut served = 0;
        for number in 0..5_000u16 {
            let host = hosts[random.below(hosts.len())];
            if !is_served(world, host.udp(number, DNS, b"")) {
                break;
            }
            served += 1;
        }
        served
    };
    fill(&mut world);
    // Whoever came in late lives longer: the pool drains unevenly.
    world.pass(32_000);
    fill(&mut world);
    let used = world.ports_used(RED_POOL);
    assert_eq!(used, 4_000, "the last port is used before the first refusal");
}

/// Every port is used towards one remote; towards another nearly all of them are still to be had, by a lone host too.
//= rfc6888#REQ-13
//= rfc7857#3
#[test]
fn sessions_have_nearly_every_port_towards_a_remote_though_all_are_used_towards_another() {
    const PORTS: u32 = 8_000;
    let mut world = large("ports: 2000-9999");
    let hosts: Vec<Host> = (100..164).map(red).collect();
    hosts.iter().for_each(|host| world.add(*host));
    for number in 0..PORTS {
        let host = hosts[number as usize % hosts.len()];
        world.one(host.tcp(number as u16, (SERVER.address, 80), SYN));
    }
    assert_eq!(world.ports_used(RED_POOL), PORTS, "a free port is taken before one is shared");
    for (remote, crowd) in [(OTHER, hosts.as_slice()), (OFFICE_OUTSIDE, &hosts[..1])] {
        let mut served = 0;
        for number in 0..PORTS {
            let host = crowd[number as usize % crowd.len()];
            if !is_served(&mut world, host.tcp(10_000 + number as u16, (remote.address, 80), SYN)) {
                break;
            }
            served += 1;
        }
        assert!(served * 100 >= PORTS * 98, "{served} of {PORTS} with {} hosts", crowd.len());
    }
    // Unique towards each remote, and each answer finds its host, whoever shares the port.
    let sessions = world.sessions();
    let unique: HashSet<_> = sessions.iter().map(|one| (one.external, one.remote)).collect();
    assert_eq!(unique.len(), sessions.len());
    for session in sessions.iter().step_by(37) {
        let remote = Host { address: session.remote.address, ..ISP };
        let to = (session.external.address, session.external.port);
        let heard = world.one(remote.tcp(session.remote.port, to, SYN | ACK));
        assert_eq!(heard.destination(), (session.internal.address, session.internal.port));
        world.one(remote.tcp(session.remote.port, to, RST | ACK));
    }
    check_books(&world, 2_000, 9_999);
    world.pass(40_000);
    assert_eq!((world.occupancy().sessions, world.ports_used(RED_POOL)), (0, 0));
    check_books(&world, 2_000, 9_999);
}

const OFFICE_OUTSIDE: Host = Host { address: std::net::Ipv4Addr::new(198, 51, 100, 77), ..ISP };

/// Ports used + resting + free = ports, and they are those that sessions and mappings have.
fn check_books(world: &World, first: u16, last: u16) {
    let sessions = world.sessions();
    for protocol in [Protocol::TCP, Protocol::UDP, Protocol::ICMP] {
        let books = world.port_books(RED_POOL, protocol, first, last);
        assert_eq!(books.ports(), u32::from(last - first) + 1);
        let mine = sessions.iter().filter(|one| one.protocol == protocol && one.external.address == RED_POOL);
        let ports: HashSet<u16> = mine.map(|one| one.external.port).collect();
        assert_eq!(books.used as usize, ports.len(), "{protocol:?}");
    }
}

//= rfc6888#REQ-8
#[test]
fn no_more_ports_rest_than_the_pool_allows_and_the_oldest_goes_first() {
    let mut world = with_pool("ports: 2000-2009, hold_down_s: 600, hold_down_ports_max: 3");
    let mut externals = Vec::new();
    for port in 0..5 {
        externals.push(world.one(RED_A.udp(4_000 + port, DNS, b"")).source().1);
        world.pass(1_000);
    }
    world.pass(40_000);
    let books = world.port_books(RED_POOL, Protocol::UDP, 2_000, 2_009);
    assert_eq!((books.used, books.resting, books.free), (0, 3, 7));
    check_books(&world, 2_000, 2_009);
    // Those that rest have their old ports back; the first two found theirs gone.
    for port in 2..5 {
        assert_eq!(world.one(RED_A.udp(4_000 + port, DNS, b"")).source().1, externals[usize::from(port)]);
    }
    assert_eq!(world.port_books(RED_POOL, Protocol::UDP, 2_000, 2_009).resting, 0);
    for port in 10..17 {
        world.one(RED_B.udp(port, DNS, b""));
    }
    world.refuses(RED_B.udp(17, DNS, b""), DropReason::PortExhausted);
    // One of them ends, and rests alone.
    world.pass(1_000_000);
    assert_eq!(world.ports_used(RED_POOL), 0);
}

/// Many shards together hold to the limit.
#[test]
fn the_limit_to_resting_ports_is_the_address_whoever_has_them() {
    let mut world = large("ports: 2000-2999, hold_down_s: 600, hold_down_ports_max: 20");
    for number in 0..200u16 {
        let host = red(100 + (number % 50) as u8);
        world.add(host);
        world.one(host.udp(number, DNS, b""));
    }
    world.pass(40_000);
    let books = world.port_books(RED_POOL, Protocol::UDP, 2_000, 2_999);
    assert_eq!((books.used, books.resting), (0, 20));
}

/// TCP is tracked to its end: its port may be another's at once.
//= rfc6888#REQ-8
#[test]
fn a_tracked_connections_port_does_not_rest() {
    let mut world = with_pool("ports: 2000-2000, hold_down_s: 600");
    let external = world.one(RED_A.tcp(4_000, DNS, SYN)).source();
    world.one(SERVER.tcp(53, external, RST | ACK));
    world.pass(15_000);
    world.pass(30_000);
    assert_eq!(world.one(RED_B.tcp(4_000, DNS, SYN)).source(), external);
    world.one(SERVER.tcp(53, external, SYN | ACK));
    world.one(RED_B.tcp(4_000, DNS, ACK));
}

/// A connection that rules cut off was not tracked to its end: what its remote still sends must reach nobody else.
//= rfc6888#REQ-8
#[test]
fn the_port_of_a_connection_that_was_cut_off_rests() {
    for kind in ["address_and_port_dependent", "endpoint_independent"] {
        let pool = format!(
            "addresses: [203.0.113.10], ports: 2000-2000, tcp: {{mapping: {kind}, filtering: {kind}}}"
        );
        let pool = ("addresses: [203.0.113.10]", pool.as_str());
        let mut world = scene_with(&[pool]);
        let external = connect(&mut world, RED_A, 4_000, WWW);
        world.adopt(&rules_with(&[pool, ("internal: 10.0.0.50", "internal: 10.0.0.11")]));
        // Its remote knows nothing of that, and falls silent in the end.
        for _ in 0..5 {
            world.drops(SERVER.tcp(443, external, PSH | ACK), DropReason::NoMapping);
            world.pass(110_000);
            world.refuses(RED_B.tcp(4_000, WWW, SYN), DropReason::PortExhausted);
        }
        world.pass(12_000);
        assert_eq!(connect(&mut world, RED_B, 4_000, WWW), external, "{kind}");
    }
}

/// All ports are in use towards one remote, and connections to that go on beginning: each is looked for at many ports, so that
/// one to another remote comes too late in its burst, and not in the next.
#[test]
fn a_turn_looks_at_so_many_ports_and_refuses_the_rest() {
    let mut world = large("ports: 2000-2999");
    for port in 0..1_000 {
        world.one(RED_A.tcp(4_000 + port, WWW, SYN));
    }
    for _ in 0..3 {
        let burst = (0..32).map(|port| RED_A.tcp(6_000 + port, if port < 31 { WWW } else { DNS }, SYN));
        let (mut drops, _) = world.observe(|world| world.burst(burst));
        assert_eq!(drops.len(), 32, "{drops:?}");
        drops.retain(|reason| *reason != DropReason::PortSearchCut);
        // Each looks at 160 ports and 2,000 cells, the first of them twice.
        assert!(
            drops.len() < 5 && drops.iter().all(|reason| *reason == DropReason::PortExhausted),
            "{drops:?}"
        );
    }
    // Alone, a flow is told that there is no port.
    let error = world.refuses(RED_A.tcp(7_000, WWW, SYN), DropReason::PortExhausted);
    assert_eq!(error.icmp(), (3, 1, 0));
    world.one(RED_A.tcp(6_031, DNS, SYN));
    assert_eq!(world.occupancy().sessions, 1_001);
}
