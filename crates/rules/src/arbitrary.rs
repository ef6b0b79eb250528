//! Rules by chance, for property tests: few names, few addresses, so that objects meet and often conflict.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::model::{
    AddressRange, Behaviour, FloatingIp, Gateway, Interface, Mac, Pairing, Pool, PortRange, Route, Router,
    Rules, Segment, TcpRules, TimeoutProfile, Timeouts,
};
use crate::store::Change;
use crate::{Object, ObjectKind, ObjectRef};

/// The ports of the gateway that the rules are for.
pub(crate) fn ports() -> Vec<String> {
    vec!["inside".to_owned(), "outside".to_owned()]
}

fn id(prefix: &'static str, count: u8) -> impl Strategy<Value = String> {
    prop_oneof![40 => (0..count).prop_map(move |n| format!("{prefix}{n}")), 1 => Just("not an id".to_owned())]
}

/// 203.0.113.0/24 outside, 10.0.0.0/22 inside, and now and then anything.
fn external() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![40 => (0..24_u8).prop_map(|n| Ipv4Addr::new(203, 0, 113, n)), 1 => any::<Ipv4Addr>()]
}

fn internal() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        40 => (0..4_u8, 0..6_u8).prop_map(|(net, host)| Ipv4Addr::new(10, 0, net, host)),
        1 => any::<Ipv4Addr>()
    ]
}

pub(crate) fn address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![3 => external(), 3 => internal(), 1 => any::<Ipv4Addr>()]
}

fn prefix(address: impl Strategy<Value = Ipv4Addr>) -> impl Strategy<Value = Ipv4Net> {
    let length = prop_oneof![8 => Just(24), 4 => Just(30), 2 => 20..32_u8, 1 => 0..=32_u8];
    (address, length).prop_map(|(address, length)| Ipv4Net::new_assert(address, length))
}

fn network() -> impl Strategy<Value = Ipv4Net> {
    prefix(address()).prop_map(|prefix| prefix.trunc())
}

pub(crate) fn segment() -> impl Strategy<Value = Segment> {
    let port = prop_oneof![20 => Just("inside"), 20 => Just("outside"), 1 => Just("nowhere")];
    let mtu = prop_oneof![60 => Just(1500), 1 => any::<u16>()];
    let vlan = option::of(prop_oneof![20 => 1..6_u16, 1 => any::<u16>()]);
    (id("s", 5), port, vlan, mtu).prop_map(|(id, port, vlan, mtu)| Segment {
        id,
        revision: 0,
        port: port.to_owned(),
        vlan,
        mtu,
    })
}

pub(crate) fn pool() -> impl Strategy<Value = Pool> {
    let run = prop_oneof![
        20 => (12..70_u8, 0..4_u8).prop_map(|(first, more)| (
            Ipv4Addr::new(203, 0, 113, first),
            Ipv4Addr::new(203, 0, 113, first + more)
        )),
        1 => any::<(Ipv4Addr, Ipv4Addr)>()
    ];
    let ports = prop_oneof![20 => Just((1024, 65535)), 1 => any::<(u16, u16)>()];
    (id("p", 4), prop_oneof![1 => Just(vec![]), 20 => vec(run, 1..3)], ports, 0..100_u32).prop_map(
        |(id, runs, (first, last), hold_down_s)| Pool {
            addresses: runs.into_iter().map(|(first, last)| AddressRange { first, last }).collect(),
            ports: PortRange { first, last },
            hold_down_s,
            ..bare_pool(&id)
        },
    )
}

/// A pool of this name without an address, that behaves as one does of which nothing else is said.
pub(crate) fn bare_pool(id: &str) -> Pool {
    Pool {
        id: id.to_owned(),
        revision: 0,
        addresses: vec![],
        exclude_addresses: vec![],
        ports: PortRange::default(),
        exclude_ports: vec![],
        tcp: Behaviour::default(),
        udp: Behaviour::default(),
        icmp: Behaviour::default(),
        mapping_by_port: vec![],
        pairing: Pairing::default(),
        preserve_port: false,
        preserve_parity: false,
        blocks: None,
        hold_down_s: 60,
        hold_down_ports_max: None,
    }
}

fn interface(external_leg: bool) -> impl Strategy<Value = Interface> {
    let address = if external_leg { prefix(external()).boxed() } else { prefix(internal()).boxed() };
    let mac = (0..8_u8).prop_map(|last| Mac([0xfa, 0x16, 0x3e, 0, 0, last]));
    (id("i", 4), id("s", 5), mac, vec(address, 1..3), any::<bool>(), 0..60_u8).prop_map(
        move |(id, segment, mac, addresses, snat, flip)| Interface {
            id,
            segment,
            mac,
            addresses,
            external: external_leg != (flip == 0),
            snat,
            icmp_errors: true,
        },
    )
}

pub(crate) fn router() -> impl Strategy<Value = Router> {
    let gateway = (id("i", 4), external(), prop::bool::weighted(0.8), option::of(id("p", 4))).prop_map(
        |(interface, next_hop, snat, pool)| Gateway { interface, next_hop: Some(next_hop), snat, pool },
    );
    let route = (network(), address()).prop_map(|(prefix, next_hop)| Route { prefix, next_hop });
    let floating = (id("f", 6), external(), internal()).prop_map(|(id, external, internal)| FloatingIp {
        id,
        external,
        internal,
        gateway: None,
    });
    let timeouts = (option::of(prop_oneof![Just(TimeoutProfile::Cloud), Just(TimeoutProfile::Rfc)]), {
        option::of(prop_oneof![20 => 1..1000_u32, 1 => any::<u32>()])
    })
        .prop_map(|(profile, tcp_syn_s)| Timeouts { profile, tcp_syn_s, ..Timeouts::default() });
    let parts = (
        (id("r", 5), "[a-z]{0,3}", "[a-zäß ]{0,3}", prop_oneof![5 => Just(true), 1 => Just(false)]),
        (interface(true), vec(interface(false), 1..4)),
        option::weighted(0.9, gateway),
        prop_oneof![3 => Just(vec![]), 1 => vec(route, 0..3)],
        vec(floating, 0..4),
        vec(network(), 0..3),
        timeouts,
    );
    parts.prop_map(
        |((id, project, name, admin_up), (external, internals), gateway, routes, fips, no_nat, timeouts)| {
            let mut interfaces = internals;
            // Mostly the gateway names the external leg; else almost no router would be valid.
            let gateway = gateway.map(|gateway| Gateway { interface: external.id.clone(), ..gateway });
            interfaces.push(external);
            Router {
                id,
                revision: 0,
                project,
                name,
                admin_up,
                interfaces,
                gateways: gateway.into_iter().collect(),
                routes,
                floating_ips: fips,
                port_forwardings: vec![],
                no_nat,
                timeouts,
                tcp: TcpRules::default(),
                udp_inbound_refresh: true,
            }
        },
    )
}

pub(crate) fn rules() -> impl Strategy<Value = Rules> {
    (vec(segment(), 0..12), vec(pool(), 0..6), vec(router(), 0..6), 0..10_u8).prop_map(
        |(segments, pools, routers, tidy)| {
            let mut rules = Rules { segments, pools, routers };
            if tidy > 0 {
                sort_out(&mut rules);
            }
            rules
        },
    )
}

/// Gives every object a name, a VLAN, a MAC and an inside subnet of its own; else hardly a router would be valid.
fn sort_out(rules: &mut Rules) {
    for (n, segment) in (0_u16..).zip(&mut rules.segments) {
        segment.id = format!("s{n}");
        segment.vlan = Some(n + 1);
    }
    for (n, pool) in rules.pools.iter_mut().enumerate() {
        pool.id = format!("p{n}");
    }
    let known = |id: &mut String, count: usize| {
        let n = id.bytes().last().map_or(0, usize::from);
        if let Some(n) = n.checked_rem(count) {
            *id = format!("{}{n}", &id[..1]);
        }
    };
    for (n, router) in (0_u8..).zip(&mut rules.routers) {
        router.id = format!("r{n}");
        if let Some(pool) = router.gateways.first_mut().and_then(|gateway| gateway.pool.as_mut()) {
            known(pool, rules.pools.len());
        }
        router.floating_ips.truncate(if router.gateways.is_empty() { 0 } else { 4 });
        let internals = router.interfaces.iter().filter(|interface| !interface.external).count();
        for (m, interface) in (0_u8..).zip(&mut router.interfaces) {
            known(&mut interface.segment, rules.segments.len());
            interface.mac = Mac([0xfa, 0x16, 0x3e, 1, n, m]);
            let subnet = match interface.external {
                true => [203, 0, 113, 20 + n],
                false => [10, 0, m, 1 + n],
            };
            // The leg that was made as the external one is the last.
            if let Some(gateway) = router.gateways.first_mut() {
                gateway.interface = format!("i{m}");
                gateway.next_hop = Some([203, 0, 113, 254].into());
            }
            interface.id = format!("i{m}");
            interface.addresses.truncate(1);
            interface.addresses[0] = Ipv4Net::new_assert(subnet.into(), 24);
        }
        for (m, floating) in router.floating_ips.iter_mut().enumerate() {
            floating.id = format!("f{m}");
            let [a, b, net, host] = floating.internal.octets();
            let net = usize::from(net).checked_rem(internals).map_or(net, |net| net as u8);
            floating.internal = [a, b, net, host.saturating_add(7)].into();
        }
    }
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        segment().prop_map(Object::from),
        pool().prop_map(Object::from),
        router().prop_map(Object::from)
    ]
}

fn name() -> impl Strategy<Value = ObjectRef> {
    prop_oneof![
        id("s", 5).prop_map(|id| ObjectRef::new(ObjectKind::Segment, id)),
        id("p", 4).prop_map(|id| ObjectRef::new(ObjectKind::Pool, id)),
        id("r", 5).prop_map(|id| ObjectRef::new(ObjectKind::Router, id)),
    ]
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => rules().prop_map(Change::Snapshot),
        3 => (vec(object(), 0..6), vec(name(), 0..3))
            .prop_map(|(upserts, deletes)| Change::Delta { upserts, deletes }),
    ]
}
