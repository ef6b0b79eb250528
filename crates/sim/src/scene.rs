//! The world that random operations are played in, and its variants.
//!
//! ```text
//! vlan 100  10.0.0.0/24 --.
//! vlan 101  10.0.1.0/24 --+- router red ----.
//! vlan 200  10.0.0.0/24 ---- router blue ---+-- 203.0.113.0/24 -- 203.0.113.1 -- everybody else
//! vlan 300  10.0.0.0/24 ---- router green --'
//! ```
//!
//! The oracle's description is the one source; the gateways' rules are written from it.

use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::oracle::{Behaviour, Class, Gateway, Interface, Pool, Router, Segment, Timeouts, World};
use crate::random::Random;

/// The network that all routers lead to.
pub(crate) const INTERNET: usize = 4;

/// The router behind which everybody else is.
pub(crate) const ISP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// `profile: cloud`.
const CLOUD: Timeouts = Timeouts {
    tcp_syn: 30_000,
    tcp_established: 3_600_000,
    tcp_fin: 120_000,
    tcp_time_wait: 30_000,
    tcp_rst: 10_000,
    udp_initial: 30_000,
    udp_stream: 180_000,
    icmp: 60_000,
};

/// `profile: rfc`.
const RFC: Timeouts = Timeouts {
    tcp_syn: 240_000,
    tcp_established: 7_440_000,
    tcp_fin: 240_000,
    tcp_time_wait: 240_000,
    tcp_rst: 240_000,
    udp_initial: 120_000,
    udp_stream: 300_000,
    icmp: 60_000,
};

const BY_REMOTE: Behaviour = Behaviour { mapping: Class::AddressAndPort, filtering: Class::AddressAndPort };
const BY_HOST: Behaviour = Behaviour { mapping: Class::Independent, filtering: Class::Address };

pub(crate) fn public(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, last)
}

/// The world as it is at first.
pub(crate) fn world() -> World {
    let segment = |id, port, vlan, mtu| Segment { id, port, vlan, mtu };
    let pool = |id, addresses: &[u8], ports| Pool {
        id,
        addresses: addresses.iter().map(|last| public(*last)).collect(),
        ports,
        tcp: BY_REMOTE,
        udp: BY_HOST,
        icmp: BY_HOST,
        hold_down_ms: 30_000,
    };
    World {
        segments: vec![
            segment("red-lan", 0, 100, 1_500),
            segment("red-db", 0, 101, 1_500),
            segment("blue-lan", 0, 200, 1_500),
            segment("green-lan", 0, 300, 1_400),
            segment("internet", 1, 0, 1_500),
        ],
        pools: vec![pool("shared", &[10, 11], (2_000, 2_011)), pool("spare", &[12, 13], (3_000, 3_004))],
        routers: vec![
            router("red", 1, &[(0, 0), (1, 1)], &[(50, 50), (51, 51)], Some(0)),
            router("blue", 2, &[(2, 0)], &[(60, 50)], Some(0)),
            router("green", 3, &[(3, 0)], &[(70, 50)], Some(1)),
        ],
    }
}

/// A router with these legs (network, third octet of its subnet) and floating IPs (last octets).
fn router(
    id: &'static str,
    number: u8,
    legs: &[(usize, u8)],
    floating: &[(u8, u8)],
    pool: Option<usize>,
) -> Router {
    let mut interfaces: Vec<Interface> = legs
        .iter()
        .enumerate()
        .map(|(at, (segment, subnet))| Interface {
            id: ["lan", "db"][at],
            segment: *segment,
            mac: [0xfa, 0x16, 0x3e, 0, number, at as u8],
            address: (Ipv4Addr::new(10, 0, *subnet, 1), 24),
            external: false,
            snat: true,
        })
        .collect();
    interfaces.push(Interface {
        id: "ext",
        segment: INTERNET,
        mac: [0xfa, 0x16, 0x3e, 0, number, 9],
        address: (public(1 + number), 24),
        external: true,
        snat: true,
    });
    Router {
        id,
        up: true,
        gateways: vec![Gateway { interface: legs.len(), next_hop: Some(ISP), snat: true, pool }],
        interfaces,
        routes: vec![(Ipv4Addr::new(10, 20, 0, 0), 16, Ipv4Addr::new(10, 0, 0, 254))],
        floating: floating.iter().map(|(out, host)| (public(*out), Ipv4Addr::new(10, 0, 0, *host))).collect(),
        no_nat: vec![(Ipv4Addr::new(192, 0, 2, 0), 24)],
        timeouts: CLOUD,
    }
}

/// The world with something else about it.
pub(crate) fn variant(random: &mut Random) -> World {
    let mut world = world();
    for _ in 0..random.below(3) {
        let at = random.below(world.routers.len());
        let router = &mut world.routers[at];
        match random.below(10) {
            0 => router.up = false,
            1 => router.gateways[0].snat = false,
            2 => router.no_nat.clear(),
            3 => router.no_nat.push((Ipv4Addr::new(198, 51, 100, 2), 32)),
            4 => router.timeouts = RFC,
            5 => router.floating[0].1 = Ipv4Addr::new(10, 0, 0, 11),
            6 => router.interfaces[0].snat = false,
            7 => world.pools[0].addresses.truncate(1),
            8 => world.pools[0].ports = (2_004, 2_013),
            _ => router.gateways[0].pool = Some(1),
        }
    }
    world
}

/// The rules that say the same.
pub(crate) fn rules(world: &World) -> String {
    let mut text = String::from("segments:\n");
    for Segment { id, port, vlan, mtu } in &world.segments {
        let vlan = if *vlan == 0 { String::new() } else { format!(", vlan: {vlan}") };
        let port = ["inside", "outside"][usize::from(*port)];
        writeln!(text, "- {{id: {id}, port: {port}{vlan}, mtu: {mtu}}}").unwrap();
    }
    text.push_str("pools:\n");
    for pool in &world.pools {
        let (first, last) = pool.ports;
        let addresses: Vec<String> = pool.addresses.iter().map(Ipv4Addr::to_string).collect();
        let hold_down_s = pool.hold_down_ms / 1_000;
        writeln!(
            text,
            "- {{id: {}, addresses: [{}], ports: {first}-{last}, hold_down_s: {hold_down_s}}}",
            pool.id,
            addresses.join(", ")
        )
        .unwrap();
    }
    text.push_str("routers:\n");
    world.routers.iter().for_each(|router| write_router(&mut text, world, router));
    text
}

fn write_router(text: &mut String, world: &World, router: &Router) {
    writeln!(text, "- id: {}\n  admin_up: {}\n  interfaces:", router.id, router.up).unwrap();
    for leg in &router.interfaces {
        let mac = leg.mac.map(|byte| format!("{byte:02x}")).join(":");
        let (address, length) = leg.address;
        let kind = if leg.external { "external: true".to_owned() } else { format!("snat: {}", leg.snat) };
        let segment = world.segments[leg.segment].id;
        writeln!(
            text,
            "  - {{id: {}, segment: {segment}, mac: \"{mac}\", addresses: [{address}/{length}], {kind}}}",
            leg.id
        )
        .unwrap();
    }
    text.push_str("  gateways:\n");
    for gateway in &router.gateways {
        let leg = router.interfaces[gateway.interface].id;
        let next_hop = gateway.next_hop.map_or(String::new(), |next_hop| format!(", next_hop: {next_hop}"));
        let pool = gateway.pool.filter(|_| gateway.snat);
        let pool = pool.map_or(String::new(), |pool| format!(", pool: {}", world.pools[pool].id));
        writeln!(text, "  - {{interface: {leg}{next_hop}, snat: {}{pool}}}", gateway.snat).unwrap();
    }
    text.push_str("  routes:\n");
    for (prefix, length, next_hop) in &router.routes {
        writeln!(text, "  - {{prefix: {prefix}/{length}, next_hop: {next_hop}}}").unwrap();
    }
    text.push_str("  floating_ips:\n");
    for (external, internal) in &router.floating {
        writeln!(text, "  - {{id: f{}, external: {external}, internal: {internal}}}", external.octets()[3])
            .unwrap();
    }
    let no_nat: Vec<String> =
        router.no_nat.iter().map(|(prefix, length)| format!("{prefix}/{length}")).collect();
    writeln!(text, "  no_nat: [{}]", no_nat.join(", ")).unwrap();
    let Timeouts { tcp_syn, tcp_established, tcp_fin, tcp_time_wait, tcp_rst, udp_initial, udp_stream, icmp } =
        router.timeouts;
    let seconds = [
        ("tcp_syn_s", tcp_syn),
        ("tcp_established_s", tcp_established),
        ("tcp_fin_s", tcp_fin),
        ("tcp_time_wait_s", tcp_time_wait),
        ("tcp_rst_s", tcp_rst),
        ("udp_initial_s", udp_initial),
        ("udp_stream_s", udp_stream),
        ("icmp_s", icmp),
    ];
    let seconds: Vec<String> = seconds.iter().map(|(name, ms)| format!("{name}: {}", ms / 1_000)).collect();
    writeln!(text, "  timeouts: {{{}}}", seconds.join(", ")).unwrap();
}
