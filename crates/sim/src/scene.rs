//! The worlds that random operations are played in: what is always there, and what a seed draws.
//!
//! ```text
//! vlan 100  10.0.0.0/24 --.                  .-- 198.18.0.0/24 -- 198.18.0.1 -- 172.20.0.0/16
//! vlan 101  10.0.1.0/24 --+- router red -----+
//! vlan 200  10.0.0.0/24 ---- router blue ----+-- 203.0.113.0/24 -- 203.0.113.1 -- everybody else
//! vlan 300  10.0.0.0/24 ---- router green ---'
//! ```
//!
//! The oracle's description is the one source; the gateways' rules are written from it.

use std::net::Ipv4Addr;

use crate::oracle::{
    Class, Endpoint, Forwarding, Gateway, Interface, Pairing, Pool, Router, Segment, Timeouts, World,
};
use crate::random::Random;

/// The network that all routers lead to, and the one that red leads to besides.
pub(crate) const INTERNET: usize = 4;
pub(crate) const PARTNER: usize = 5;

/// The routers behind which everybody else is.
pub(crate) const ISP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(crate) const PARTNERS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

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
    other: 180_000,
};

/// `profile: rfc`.
pub(crate) const RFC: Timeouts = Timeouts {
    tcp_syn: 240_000,
    tcp_established: 7_440_000,
    tcp_fin: 240_000,
    tcp_time_wait: 240_000,
    tcp_rst: 240_000,
    udp_initial: 120_000,
    udp_stream: 300_000,
    icmp: 60_000,
    other: 600_000,
};

/// What a flow's answers to DNS have in the `cloud` profile.
const DNS: (u8, (u16, u16), u64, u64) = (17, (53, 53), 10_000, 10_000);

const CLASSES: [Class; 3] = [Class::Independent, Class::Address, Class::AddressAndPort];

pub(crate) fn public(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, last)
}

fn partner(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, last)
}

fn host(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

/// The network that an external address of ours is on.
pub(crate) fn network_of(external: Ipv4Addr) -> usize {
    if external.octets()[0] == 198 { PARTNER } else { INTERNET }
}

/// The world as it is at first, as a seed draws it.
pub(crate) fn world(random: &mut Random) -> World {
    let segment = |id, port, vlan, mtu| Segment { id, port, vlan, mtu };
    let mut world = World::new(
        vec![
            segment("red-lan", 0, 100, 1_500),
            segment("red-db", 0, 101, 1_500),
            segment("blue-lan", 0, 200, 1_500),
            segment("green-lan", 0, 300, 1_400),
            segment("internet", 1, 0, 1_500),
            segment("partner", 1, 7, 1_300),
        ],
        vec![
            router("red", 1, &[(0, 0), (1, 1)], 0),
            router("blue", 2, &[(2, 0)], 0),
            router("green", 3, &[(3, 0)], 1),
        ],
        vec![
            pool("shared", &[public(10), public(11)], (2_000, 2_011)),
            pool("spare", &[public(12), public(13)], (3_000, 3_004)),
            own(partner(2)),
            own(public(4)),
        ],
    );
    if !random.one_in(3) {
        draw_pool(&mut world.pools[0], random);
        draw_pool(&mut world.pools[1], random);
    }
    if random.one_in(4) {
        world.routers[2].gateways[0].pool = 3;
    }
    // A forwarding takes the last ports of a pool.
    let last = world.pools[0].ports.1;
    world.pools[0].excluded.push((last - 1, last));
    let forwarding =
        |gateway, protocol, external, internal| Forwarding { gateway, protocol, external, internal };
    let red = &mut world.routers[0];
    red.interfaces.push(leg("partner", PARTNER, 1, 8, (partner(2), 24)));
    red.gateways.push(Gateway { interface: 3, next_hop: None, snat: true, pool: 2 });
    red.routes.push(((Ipv4Addr::new(172, 20, 0, 0), 16), PARTNERS));
    red.floating = vec![(0, public(50), host(50)), (0, public(51), host(51)), (1, partner(50), host(50))];
    red.forwardings = vec![
        forwarding(0, 6, (public(80), (8_000, 8_003)), (host(12), (4_000, 4_003))),
        forwarding(0, 6, (public(80), (8_010, 8_013)), (host(12), (4_000, 4_003))),
        forwarding(0, 17, (public(80), (8_000, 8_003)), (host(13), (4_000, 4_000))),
        forwarding(0, 17, (public(10), (last - 1, last)), (host(50), (4_000, 4_001))),
        forwarding(0, 6, (public(2), (8_080, 8_080)), (host(11), (4_001, 4_001))),
        forwarding(1, 6, (partner(2), (4_443, 4_443)), (host(11), (4_000, 4_000))),
    ];
    world.routers[1].floating = vec![(0, public(60), host(50))];
    world.routers[1].forwardings = vec![
        forwarding(0, 6, (public(81), (9_000, 9_001)), (host(11), (4_002, 4_003))),
        forwarding(0, 17, (public(81), (9_000, 9_000)), (host(12), (4_001, 4_001))),
    ];
    world.routers[2].floating = vec![(0, public(70), host(50))];
    for router in &mut world.routers {
        router.loose = random.one_in(4);
        router.clamp_mss = random.one_in(2);
        router.inbound_refresh = !random.one_in(3);
        if random.one_in(2) {
            router.by_port.insert(0, (6, (81, 81), 20_000, 600_000));
            router.by_port.insert(0, (17, (80, 80), 15_000, router.timeouts.udp_stream));
        }
    }
    completed(world)
}

/// Forwarded ports of a leg's own address are not given to flows, as long as they are forwarded.
fn completed(mut world: World) -> World {
    for router in &world.routers {
        for (number, gateway) in router.gateways.iter().enumerate() {
            let pool = &mut world.pools[gateway.pool];
            if pool.id.is_empty() {
                let here =
                    |one: &&Forwarding| one.gateway == number && pool.addresses.contains(&one.external.0);
                pool.excluded = router.forwardings.iter().filter(here).map(|one| one.external.1).collect();
            }
        }
    }
    world.complete()
}

fn pool(id: &'static str, addresses: &[Ipv4Addr], ports: (u16, u16)) -> Pool {
    Pool {
        id,
        addresses: addresses.to_vec(),
        ports,
        excluded: Vec::new(),
        behaviours: [
            (Class::AddressAndPort, Class::AddressAndPort),
            (Class::Independent, Class::Address),
            (Class::Independent, Class::Address),
        ],
        by_port: Vec::new(),
        pairing: Pairing::Strict,
        preserve_port: false,
        preserve_parity: false,
        blocks: None,
        hold_down_ms: 30_000,
        rests_max: None,
    }
}

/// A leg's own address as a pool.
fn own(address: Ipv4Addr) -> Pool {
    Pool { hold_down_ms: 60_000, ..pool("", &[address], (1_024, 65_535)) }
}

/// Another pool of the same addresses.
fn draw_pool(pool: &mut Pool, random: &mut Random) {
    pool.ports = random.one_of(&[pool.ports, (2_000, 2_031), (3_998, 4_009), (1_018, 1_029)]);
    draw_behaviour(pool, random);
    pool.pairing = random.one_of(&[Pairing::Strict, Pairing::Soft, Pairing::None]);
    pool.preserve_port = random.one_in(3);
    pool.preserve_parity = random.one_in(3);
    pool.rests_max = random.one_in(4).then_some(2);
    pool.hold_down_ms = random.one_of(&[0, 30_000, 120_000]);
    if random.one_in(3) {
        pool.ports = (2_000, 2_031);
        pool.blocks = Some((8, 1 + random.below(2)));
    }
    if random.one_in(4) {
        pool.excluded.push((pool.ports.0 + 1, pool.ports.0 + 2));
    }
}

/// A filter no looser than the mapping.
fn draw_behaviour(pool: &mut Pool, random: &mut Random) {
    pool.behaviours = [0; 3].map(|_| {
        let mapping = random.below(3);
        (CLASSES[mapping], CLASSES[mapping + random.below(3 - mapping)])
    });
    pool.by_port.clear();
    if random.one_in(3) {
        pool.by_port.push((random.one_of(&[6, 17]), (81, 81), Class::Independent));
    }
}

/// A router with these legs (network, third octet of its subnet).
fn router(id: &'static str, number: u8, legs: &[(usize, u8)], pool: usize) -> Router {
    let inside = legs.iter().zip(["lan", "db"]).enumerate();
    let inside = inside.map(|(at, ((segment, subnet), id))| Interface {
        external: false,
        ..leg(id, *segment, number, at as u8, (Ipv4Addr::new(10, 0, *subnet, 1), 24))
    });
    let out = leg("ext", INTERNET, number, 9, (public(1 + number), 24));
    Router {
        id,
        up: true,
        gateways: vec![Gateway { interface: legs.len(), next_hop: Some(ISP), snat: true, pool }],
        interfaces: inside.chain([out]).collect(),
        routes: vec![((Ipv4Addr::new(10, 20, 0, 0), 16), host(254))],
        floating: Vec::new(),
        forwardings: Vec::new(),
        no_nat: vec![(Ipv4Addr::new(192, 0, 2, 0), 24)],
        timeouts: CLOUD,
        by_port: vec![DNS],
        loose: false,
        clamp_mss: false,
        inbound_refresh: true,
    }
}

fn leg(id: &'static str, segment: usize, router: u8, number: u8, address: (Ipv4Addr, u8)) -> Interface {
    let mac = [0xfa, 0x16, 0x3e, 0, router, number];
    Interface { id, segment, mac, address, external: true, snat: true, errors: true }
}

/// The world with something else about it.
pub(crate) fn variant(world: &World, random: &mut Random) -> World {
    let mut world = world.clone();
    for _ in 0..random.below(3) {
        let at = random.below(world.routers.len());
        let router = &mut world.routers[at];
        match random.below(19) {
            0 => router.up = false,
            1 => router.gateways[0].snat = false,
            2 => router.no_nat.clear(),
            3 => router.no_nat.push((Ipv4Addr::new(198, 51, 100, 2), 32)),
            4 => router.timeouts = RFC,
            5 => router.floating[0].2 = host(11),
            6 => router.interfaces[0].snat = false,
            7 => world.pools[0].addresses.truncate(1),
            8 => world.pools[0].ports.0 += 4,
            9 => router.gateways[0].pool = if at == 2 { 3 } else { 1 },
            10 => router.forwardings.clear(),
            11 => router.forwardings.iter_mut().for_each(|one| one.internal.0 = host(12)),
            12 => router.interfaces[0].errors = false,
            13 => router.loose ^= true,
            14 => router.inbound_refresh ^= true,
            15 if router.by_port.len() > 1 => _ = router.by_port.remove(0),
            16 => router.gateways[0].next_hop = None,
            17 => draw_behaviour(&mut world.pools[random.below(2)], random),
            _ => world.pools[random.below(2)].pairing = random.one_of(&[Pairing::Strict, Pairing::Soft]),
        }
    }
    for router in &mut world.routers {
        // A pool's address is only forwarded by who translates to it.
        let gateways = &router.gateways;
        router.forwardings.retain(|one| {
            let gateway = &gateways[one.gateway];
            one.external.0 != public(10) || (gateway.snat && gateway.pool == 0)
        });
    }
    completed(world)
}

/// External endpoints of which many are somebody's.
pub(crate) fn some_external(world: &World, random: &mut Random) -> Endpoint {
    let router = &world.routers[random.below(world.routers.len())];
    match random.below(8) {
        0 if !router.floating.is_empty() => (router.floating[random.below(router.floating.len())].1, 2_003),
        1 | 2 if !router.forwardings.is_empty() => {
            let (address, (first, last)) =
                router.forwardings[random.below(router.forwardings.len())].external;
            (address, first + random.below(usize::from(last - first) + 2) as u16)
        }
        3 => (router.interfaces[router.interfaces.len() - 1].address.0, 4_000),
        4 => (public(99), 2_003),
        _ => {
            let pool = &world.pools[random.below(2)];
            let (first, last) = pool.ports;
            let address = pool.addresses[random.below(pool.addresses.len())];
            (address, first + random.below(usize::from(last - first) + 2) as u16)
        }
    }
}
