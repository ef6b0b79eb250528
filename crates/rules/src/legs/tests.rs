//! What a leg says at a glance, the rule set says after a longer look; and of a usual router it says all.

use super::*;
use crate::arbitrary;
use crate::numbers::Numbers;
use crate::store::{Change, Store};
use crate::{compile, read_rules, validate};
use packet::MacAddress;
use proptest::prelude::*;

fn numbers() -> Numbers {
    Numbers::new(1_000, 10_000)
}

/// Edges of subnets and what is beside them, which chance would rarely meet.
fn interesting(set: &RuleSet) -> Vec<Ipv4Addr> {
    let nets = set.interfaces.iter().flat_map(|leg| &leg.addresses);
    let edges = nets.flat_map(|net| [net.network(), net.broadcast(), net.addr()]).map(u32::from);
    edges.flat_map(|at| [at.wrapping_sub(1), at, at.wrapping_add(1)]).map(Ipv4Addr::from).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_known_at_a_glance_is_so(
        rules in arbitrary::rules(),
        addresses in proptest::collection::vec(arbitrary::address(), 40),
    ) {
        let mut store = Store::new(&arbitrary::ports());
        store.apply(Change::Snapshot(rules));
        let set = compile(store.valid(), None, &mut numbers()).unwrap();

        for (at, interface) in set.interfaces.iter().enumerate() {
            let index = InterfaceIndex(at as u32);
            let leg = set.leg(index).unwrap();
            let router = &set.routers[interface.router.0 as usize];
            let segment = &set.segments[interface.segment.0 as usize];
            prop_assert_eq!((leg.router, leg.generation), (interface.router, router.generation));
            prop_assert_eq!(leg.realm, if interface.external { segment.realm } else { router.realm });
            prop_assert_eq!((leg.exit.realm, leg.exit.port, leg.exit.mtu), (segment.realm, segment.port, segment.mtu));
            for address in addresses.iter().copied().chain(interesting(&set)) {
                if leg.is_plainly_a_hosts(address) {
                    prop_assert!(router.is_source_of(address, index) && !interface.is_no_hosts(address), "{address}");
                }
                if leg.is_plainly_reached(address) {
                    prop_assert!(!interface.external);
                    prop_assert_eq!(router.route(address), Some(NextHop { interface: index, address }));
                }
                if let Some(next_hop) = leg.plainly_out(address) {
                    prop_assert_eq!(router.route(address), Some(next_hop));
                    prop_assert!(set.interfaces[next_hop.interface.0 as usize].external);
                    prop_assert!(router.gateway_by(next_hop.interface).is_some());
                }
                if let (Some(ip), Some(next_hop)) = (set.floating_ip_of(leg, address), leg.plainly_out(Ipv4Addr::new(1, 2, 3, 4))) {
                    let gateway = router.gateway_by(next_hop.interface).unwrap();
                    let index = gateway.floating_by_internal[&address];
                    prop_assert_eq!(set.floating_ips[index.0 as usize].external, ip);
                    prop_assert!(gateway.forwardings_by_internal.is_empty() && router.no_nat.is_empty());
                }
                let gateway = leg.plainly_out(address).and_then(|next_hop| router.gateway_by(next_hop.interface));
                if let Some(gateway) = gateway {
                    prop_assert_eq!(leg.pool(), gateway.pool.filter(|_| interface.snat));
                    let has_exceptions = !router.no_nat.is_empty() || !gateway.forwardings_by_internal.is_empty();
                    prop_assert_eq!(leg.has_exceptions(), has_exceptions);
                    for internal in gateway.floating_by_internal.keys().filter(|_| !has_exceptions && !leg.external) {
                        prop_assert!(set.floating_ip_of(leg, *internal).is_some());
                    }
                }
                prop_assert_eq!(set.is_own(&leg.exit, address), segment.addresses.contains_key(&address));
            }
            // By its MAC a frame enters by it, if its router is up, and by no other.
            let door = set.door(segment.port, segment.vlan);
            let entered = door.and_then(|door| set.enter(door, interface.mac.into())).map(|(index, _)| index);
            prop_assert_eq!(entered, segment.interfaces.get(&interface.mac).copied());
        }
        for segment in &set.segments {
            let door = set.door(segment.port, segment.vlan);
            prop_assert_eq!(door.is_none(), segment.interfaces.is_empty());
            prop_assert!(door.is_none_or(|door| set.enter(door, MacAddress([2; 6]).into()).is_none()));
            let is_external = |leg: &InterfaceIndex| set.interfaces[leg.0 as usize].external;
            let outside = segment.interfaces.values().all(is_external).then_some(segment.realm);
            prop_assert!(door.is_none_or(|door| door.outside == outside));
            for address in addresses.iter().copied().chain(interesting(&set)).chain(segment.addresses.keys().copied()) {
                let what = |own: Option<&Own>| own.map(|own| (own.mac, own.purpose));
                let by_door = door.map(|door| what(set.own_by(door, segment.realm, address)));
                prop_assert!(by_door.is_none_or(|own| own == what(set.own(segment.realm, address))), "{address}");
            }
            for (address, rules) in &segment.addresses {
                let is_plain = rules.forwardings.is_empty();
                let own = set.own(segment.realm, *address);
                let mac = set.interfaces[rules.interface.0 as usize].mac;
                prop_assert_eq!(own.map(|own| own.mac), Some(mac.into()));
                prop_assert!(segment.interfaces.contains_key(&mac));
                let purpose = own.map(|own| own.purpose);
                if let Some(Purpose::Ports(ports)) = purpose {
                    prop_assert!(is_plain && rules.ports == Some(ports) && rules.floating.is_none());
                }
                if let Some(Purpose::Floating { internal, leg }) = purpose {
                    let floating = &set.floating_ips[rules.floating.unwrap().0 as usize];
                    prop_assert!(is_plain && rules.ports.is_none() && !rules.local);
                    prop_assert_eq!(floating.internal, internal);
                    let router = &set.routers[floating.router.0 as usize];
                    prop_assert_eq!(router.route(internal), Some(NextHop { interface: leg, address: internal }));
                }
            }
        }
        for router in &set.routers {
            let inside = set.inside(router.realm);
            prop_assert!(inside.is_none() || set.router_of(router.realm) == inside.map(|inside| inside.router));
            if let Some(inside) = inside {
                let leg = &set.interfaces[inside.leg.0 as usize];
                prop_assert!(leg.router == inside.router && !leg.external);
                prop_assert_eq!(inside.generation, router.generation);
            }
        }
    }
}

/// A tenant's router as there are thousands of: nothing about it takes a longer look.
#[test]
fn of_a_usual_router_all_is_known_at_a_glance() {
    let rules = "
segments: [{id: lan, port: inside, vlan: 5}, {id: net, port: outside}]
pools: [{id: pool, addresses: [203.0.113.64/26]}]
routers:
- id: r
  interfaces:
  - {id: in, segment: lan, mac: \"02:00:00:00:00:01\", addresses: [10.0.0.1/16]}
  - {id: out, segment: net, mac: \"02:00:00:00:00:02\", addresses: [203.0.113.2/24], external: true}
  gateways: [{interface: out, next_hop: 203.0.113.1, pool: pool}]
";
    let valid = validate(&read_rules(rules).unwrap(), &arbitrary::ports()).unwrap();
    let set = compile(&valid, None, &mut numbers()).unwrap();
    let address = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    let door = set.door(PortIndex(0), VlanId::new(5)).unwrap();
    let (_, leg) = set.enter(door, MacAddress([2, 0, 0, 0, 0, 1]).into()).unwrap();
    for host in ["10.0.0.2", "10.0.0.255", "10.0.77.1", "10.0.255.254"].map(address) {
        assert!(leg.is_plainly_a_hosts(host) && leg.is_plainly_reached(host), "{host}");
    }
    for stranger in ["10.0.0.0", "10.0.0.1", "10.0.255.255", "10.1.0.0", "192.0.2.1"].map(address) {
        assert!(!leg.is_plainly_a_hosts(stranger), "{stranger}");
    }
    let out = Some(NextHop { interface: InterfaceIndex(1), address: address("203.0.113.1") });
    for remote in ["0.0.0.1", "9.255.255.255", "10.1.0.0", "198.51.100.1", "203.0.114.0"].map(address) {
        assert_eq!(leg.plainly_out(remote), out, "{remote}");
    }
    for near in ["10.0.0.9", "203.0.113.9"].map(address) {
        assert_eq!(leg.plainly_out(near), None, "{near}");
    }
    let network = set.leg(InterfaceIndex(1)).unwrap().exit.realm;
    let ports =
        |text: &str| matches!(set.own(network, address(text)), Some(Own { purpose: Purpose::Ports(_), .. }));
    assert!(ports("203.0.113.64") && ports("203.0.113.127") && !ports("203.0.113.2"));
    assert!(set.own(network, address("203.0.113.3")).is_none());
    assert_eq!((leg.pool(), leg.has_exceptions()), (Some(PoolIndex(0)), false));
}

/// Addresses that lie close together are found by counting, others by a hash.
#[test]
fn what_is_told_of_an_address_is_there_for_the_next_and_under_the_next_rules_too() {
    for far in ["203.0.113.9", "203.0.200.9"] {
        let rules = format!(
            "
segments: [{{id: lan, port: inside, vlan: 5}}, {{id: net, port: outside}}]
routers:
- id: r
  interfaces:
  - {{id: in, segment: lan, mac: \"02:00:00:00:00:01\", addresses: [10.0.0.1/16]}}
  - {{id: out, segment: net, mac: \"02:00:00:00:00:02\", addresses: [203.0.0.2/16], external: true}}
  gateways: [{{interface: out, next_hop: 203.0.0.1}}]
  floating_ips:
  - {{id: one, external: 203.0.113.8, internal: 10.0.0.8}}
  - {{id: other, external: {far}, internal: 10.0.0.9}}
"
        );
        let valid = validate(&read_rules(&rules).unwrap(), &arbitrary::ports()).unwrap();
        let mut numbers = numbers();
        let set = compile(&valid, None, &mut numbers).unwrap();
        let network = set.leg(InterfaceIndex(1)).unwrap().exit.realm;
        let door = set.door(PortIndex(1), None).unwrap();
        let addresses = ["203.0.113.8", far].map(|text| text.parse::<Ipv4Addr>().unwrap());
        for (number, address) in (1..).zip(addresses) {
            set.own_on(network, address).unwrap().host.set(number);
            assert_eq!(set.own_by(door, network, address).unwrap().host.get(), number);
        }
        assert_eq!(set.own_cell(door, addresses[1]).is_some(), far == "203.0.113.9");
        let next = compile(&valid, Some(&set), &mut numbers).unwrap();
        let told = addresses.map(|address| next.own_on(network, address).unwrap().host.get());
        assert_eq!(told, [1, 2], "{far}");
    }
}
