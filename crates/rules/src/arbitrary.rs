//! Rules by chance, for property tests: few names, few addresses, so that objects meet and often conflict.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::model::{Mac, Pool, PortProtocol, PortRange, Router, Rules, Segment};
use crate::store::Change;
use crate::{Object, ObjectKind, ObjectRef};

mod pool;
mod router;

pub(crate) use pool::pool;
pub(crate) use router::router;

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

fn protocol() -> impl Strategy<Value = PortProtocol> {
    prop_oneof![20 => Just(PortProtocol::Tcp), 20 => Just(PortProtocol::Udp), 1 => Just(PortProtocol::Sctp)]
}

/// Runs that often meet, and now and then anything, backwards too.
fn port_range() -> impl Strategy<Value = PortRange> {
    let run = (8_000..8_110_u16, 0..8_u16).prop_map(|(first, more)| (first, first + more));
    prop_oneof![30 => run, 1 => any::<(u16, u16)>()].prop_map(|(first, last)| PortRange { first, last })
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

/// Gives every object a name, a VLAN, a MAC and subnets of its own, and lets names name something; else hardly a router would
/// be valid.
fn sort_out(rules: &mut Rules) {
    for (n, segment) in (0_u16..).zip(&mut rules.segments) {
        segment.id = format!("s{n}");
        segment.vlan = Some(n + 1);
    }
    for (n, pool) in rules.pools.iter_mut().enumerate() {
        pool.id = format!("p{n}");
    }
    let segments = rules.segments.len();
    for (n, router) in (0_u8..).zip(&mut rules.routers) {
        sort_out_router(n, router, segments, &rules.pools);
    }
}

fn sort_out_router(n: u8, router: &mut Router, segments: usize, pools: &[Pool]) {
    router.id = format!("r{n}");
    let mut externals = Vec::new();
    for (m, interface) in (0_u8..).zip(&mut router.interfaces) {
        interface.id = format!("i{m}");
        interface.mac = Mac([0xfa, 0x16, 0x3e, 1, n, m]);
        interface.addresses.truncate(1);
        let subnet = if interface.external {
            // Every router's first external network is the same one, and so on.
            let k = externals.len();
            externals.push(interface.id.clone());
            interface.segment = format!("s{}", k.checked_rem(segments).unwrap_or(0));
            [203, 0, 113 + k as u8, 20 + n]
        } else {
            interface.segment = name_of_one(&interface.segment, (0..segments).collect());
            [10, 0, m, 1 + n]
        };
        interface.addresses[0] = Ipv4Net::new_assert(subnet.into(), 24);
    }
    router.gateways.truncate(externals.len());
    for (k, gateway) in router.gateways.iter_mut().enumerate() {
        gateway.interface = externals[k].clone();
        gateway.next_hop = gateway.next_hop.filter(|_| k == 0).map(|_| Ipv4Addr::new(203, 0, 113, 254));
        // A pool is on one network.
        let on_it: Vec<usize> = (k..pools.len()).step_by(2).collect();
        gateway.pool =
            gateway.pool.take().filter(|_| k < 2 && !on_it.is_empty()).map(|id| name_of_one(&id, on_it));
    }
    let legs = router.interfaces.len() as u8;
    for route in &mut router.routes {
        let [.., last] = route.next_hop.octets();
        let leg = &router.interfaces[usize::from(last % legs)];
        let [a, b, c, _] = leg.addresses[0].addr().octets();
        route.next_hop = Ipv4Addr::new(a, b, c, 250);
    }
    let internals = router.interfaces.iter().filter(|interface| !interface.external).count();
    let inside = |address: Ipv4Addr| {
        let [a, b, net, host] = address.octets();
        let net = usize::from(net).checked_rem(internals).map_or(net, |net| net as u8);
        Ipv4Addr::new(a, b, net, host.saturating_add(7))
    };
    let ways: Vec<String> = router.gateways.iter().map(|gateway| gateway.interface.clone()).collect();
    let by = |gateway: &mut Option<String>| {
        let n = gateway.as_ref().and_then(|id| id.bytes().last()).map_or(0, usize::from);
        *gateway = n.checked_rem(ways.len() + 1).and_then(|n| ways.get(n)).cloned();
    };
    router.floating_ips.truncate(if ways.is_empty() { 0 } else { 4 });
    for (m, floating) in router.floating_ips.iter_mut().enumerate() {
        floating.id = format!("f{m}");
        floating.internal = inside(floating.internal);
        by(&mut floating.gateway);
    }
    router.port_forwardings.truncate(if ways.is_empty() { 0 } else { 4 });
    for (m, forwarding) in router.port_forwardings.iter_mut().enumerate() {
        forwarding.id = format!("w{m}");
        forwarding.internal = inside(forwarding.internal);
        by(&mut forwarding.gateway);
        // Of a pool, if not one of its own.
        let by = forwarding.gateway.as_ref();
        let gateway = router.gateways.iter().find(|one| by.is_none_or(|id| one.interface == *id));
        let pool = gateway.and_then(|gateway| gateway.pool.as_ref());
        let pool = pools.iter().find(|one| Some(&one.id) == pool);
        if let Some(run) = pool.and_then(|pool| pool.addresses.first())
            && (12..70).contains(&forwarding.external.octets()[3])
        {
            forwarding.external = run.first;
        }
    }
}

/// One of these, by the last byte of a name.
fn name_of_one(id: &str, numbers: Vec<usize>) -> String {
    let n = id.bytes().last().map_or(0, usize::from);
    let number = n.checked_rem(numbers.len()).and_then(|n| numbers.get(n));
    number.map_or(id.to_owned(), |number| format!("{}{number}", &id[..1]))
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
