//! Compiled rules against a look at every rule as it was fed, for rules by chance.

use proptest::prelude::*;

use super::*;
use crate::compiled::Pairing;
use crate::model::{FloatingIp, PortForwarding, PortRange, TcpRules};
use crate::store::{Change, Store};
use packet::Protocol;

/// What a router does with a destination, told by looking at every route.
fn naive_route(router: &Router, destination: Ipv4Addr) -> Option<(String, Ipv4Addr)> {
    let mut best: Option<(u8, String, Ipv4Addr)> = None;
    let mut offer = |length: u8, interface: &str, hop| {
        if best.as_ref().is_none_or(|(held, ..)| length > *held) {
            best = Some((length, interface.to_owned(), hop));
        }
    };
    for interface in &router.interfaces {
        for subnet in interface.addresses.iter().filter(|subnet| subnet.contains(&destination)) {
            offer(subnet.prefix_len(), &interface.id, destination);
        }
    }
    for route in router.routes.iter().filter(|route| route.prefix.contains(&destination)) {
        let on = |interface: &&crate::model::Interface| {
            interface.addresses.iter().any(|subnet| subnet.contains(&route.next_hop))
        };
        offer(route.prefix.prefix_len(), &router.interfaces.iter().find(on).unwrap().id, route.next_hop);
    }
    for gateway in &router.gateways {
        if let Some(next_hop) = gateway.next_hop {
            offer(0, &gateway.interface, next_hop);
        }
    }
    best.map(|(_, interface, hop)| (interface, hop))
}

/// Who answers for an address on a segment: the router, whether it is its own, the floating IP, and the pool.
type Answer = (String, bool, Option<String>, Option<String>);

fn naive_answer(valid: &Valid, segment: &str, address: Ipv4Addr) -> Option<Answer> {
    let up = || valid.routers().iter().filter(|router| router.admin_up);
    let local = up().find(|router| {
        let on = router.interfaces.iter().filter(|interface| interface.segment == segment);
        on.flat_map(|interface| &interface.addresses).any(|own| own.addr() == address)
    });
    let floating = up().find_map(|router| {
        let is_it = |one: &&FloatingIp| {
            one.external == address && naive_network(router, one.gateway.as_ref()) == Some(segment)
        };
        Some((router.id.clone(), router.floating_ips.iter().find(is_it)?.id.clone()))
    });
    let pool = up().find_map(|router| {
        let here = |gateway: &&Gateway| {
            gateway.snat && naive_network(router, Some(&gateway.interface)) == Some(segment)
        };
        router.gateways.iter().filter(here).find_map(|gateway| {
            let name = match &gateway.pool {
                None => {
                    let leg = router.interfaces.iter().find(|leg| leg.id == gateway.interface)?;
                    let holds = leg.addresses.iter().any(|own| own.addr() == address);
                    holds.then(|| format!("{}/{}", router.id, leg.id))?
                }
                Some(id) => {
                    let pool = valid.pools().iter().find(|pool| pool.id == *id)?;
                    let holds = |runs: &[AddressRange]| {
                        runs.iter().any(|run| run.first <= address && address <= run.last)
                    };
                    (holds(&pool.addresses) && !holds(&pool.exclude_addresses)).then(|| id.clone())?
                }
            };
            Some((router.id.clone(), name))
        })
    });
    let forwarding = up().find(|router| {
        let is_it = |one: &PortForwarding| {
            one.external == address && naive_network(router, one.gateway.as_ref()) == Some(segment)
        };
        router.port_forwardings.iter().any(is_it)
    });
    let owner = local.map(|router| router.id.clone());
    let owner = owner.or(floating.clone().map(|one| one.0)).or(pool.clone().map(|one| one.0));
    let owner = owner.or(forwarding.map(|router| router.id.clone()))?;
    Some((owner, local.is_some(), floating.map(|one| one.1), pool.map(|one| one.1)))
}

/// Some ports of an address: those that forwardings are made of.
fn ports_of(address: Ipv4Addr) -> impl Iterator<Item = (Ipv4Addr, Protocol, u16)> {
    let ports = || (1..110).chain(7_999..8_120);
    [Protocol::TCP, Protocol::UDP]
        .into_iter()
        .flat_map(move |protocol| ports().map(move |port| (address, protocol, port)))
}

/// The network that a gateway is on, named by its interface or the first.
fn naive_network<'a>(router: &'a Router, gateway: Option<&String>) -> Option<&'a str> {
    let gateway = router.gateways.iter().find(|one| gateway.is_none_or(|id| one.interface == *id))?;
    let leg = router.interfaces.iter().find(|leg| leg.id == gateway.interface)?;
    Some(&leg.segment)
}

/// Where a port of an external address is forwarded to, told by looking at every forwarding.
fn naive_inward(
    valid: &Valid,
    segment: &str,
    (address, protocol, port): (Ipv4Addr, Protocol, u16),
) -> Option<(String, Ipv4Addr, u16)> {
    valid.routers().iter().filter(|router| router.admin_up).find_map(|router| {
        let one = router.port_forwardings.iter().find(|one| {
            one.external == address
                && naive_network(router, one.gateway.as_ref()) == Some(segment)
                && Protocol::from(one.protocol) == protocol
                && (one.external_ports.first..=one.external_ports.last).contains(&port)
        })?;
        let inside = one.internal_ports.unwrap_or(one.external_ports);
        let port = if inside.first == inside.last {
            inside.first
        } else {
            inside.first + (port - one.external_ports.first)
        };
        Some((router.id.clone(), one.internal, port))
    })
}

/// Under which external endpoint a host's port speaks by a gateway because of a forwarding.
fn naive_outward(
    router: &Router,
    gateway: &Gateway,
    (address, protocol, port): (Ipv4Addr, Protocol, u16),
) -> Option<(Ipv4Addr, u16)> {
    let network = naive_network(router, Some(&gateway.interface));
    let one = router.port_forwardings.iter().find(|one| {
        let inside = one.internal_ports.unwrap_or(one.external_ports);
        one.internal == address
            && naive_network(router, one.gateway.as_ref()) == network
            && Protocol::from(one.protocol) == protocol
            && (inside.first..=inside.last).contains(&port)
    })?;
    let (inside, outside) = (one.internal_ports.unwrap_or(one.external_ports), one.external_ports);
    let is_one = inside.first == inside.last;
    Some((one.external, if is_one { outside.first } else { outside.first + (port - inside.first) }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn look_ups_agree_with_a_look_at_every_rule(
        rules in arbitrary::rules(),
        addresses in proptest::collection::vec(arbitrary::address(), 40),
    ) {
        let mut store = Store::new(&arbitrary::ports());
        store.apply(Change::Snapshot(rules));
        let valid = store.valid();
        let set = compile(valid, None, &mut numbers()).unwrap();

        for (port, name) in arbitrary::ports().iter().enumerate() {
            for vlan in std::iter::once(None).chain((1..=14).chain([4093, 4094]).map(Some)) {
                let found = set.segment_of(PortIndex(port as u8), vlan.and_then(VlanId::new));
                let found = found.map(|index| set.segments[index.0 as usize].id.as_str());
                let naive = valid.segments().iter().find(|one| one.port == *name && one.vlan == vlan);
                prop_assert_eq!(found, naive.map(|segment| segment.id.as_str()));
            }
        }
        for (rules, fed) in set.routers.iter().zip(valid.routers()) {
            prop_assert_eq!(&rules.id, &fed.id);
            prop_assert_eq!(set.router_of(rules.realm).is_some(), fed.admin_up);
            for address in &addresses {
                let found = rules.route(*address);
                let named = found.map(|hop| (interface(&set, hop.interface).1.to_owned(), hop.address));
                prop_assert_eq!(&named, &naive_route(fed, *address));
                for leg in &rules.interfaces {
                    let same = named.as_ref().is_some_and(|(id, _)| id == interface(&set, *leg).1);
                    prop_assert_eq!(rules.is_source_of(*address, *leg), same);
                }
                let naive = fed.no_nat.iter().any(|prefix| prefix.contains(address));
                prop_assert_eq!(rules.is_no_nat(*address), naive);
            }
            for floating in &fed.floating_ips {
                let by = floating.gateway.as_ref();
                let at = fed.gateways.iter().position(|one| by.is_none_or(|id| one.interface == *id)).unwrap();
                let index = rules.gateways[at].floating_by_internal[&floating.internal];
                prop_assert_eq!(set.floating_ips[index.0 as usize].external, floating.external);
            }
            let inside = fed.port_forwardings.iter().map(|one| one.internal);
            for (address, protocol, port) in inside.flat_map(ports_of) {
                for (gateway, as_fed) in rules.gateways.iter().zip(&fed.gateways) {
                    let found = set.forwarding_from(gateway, address, protocol, port).map(|index| {
                        let one = &set.forwardings[index.0 as usize];
                        (one.external_address, one.external_port_of(port))
                    });
                    let naive = naive_outward(fed, as_fed, (address, protocol, port)).filter(|_| fed.admin_up);
                    prop_assert_eq!(found, naive, "{} {:?} {}", address, protocol, port);
                }
            }
        }
        for pool in set.pools.iter().filter(|pool| !pool.id.contains('/')) {
            let fed = valid.pools().iter().find(|fed| fed.id == pool.id).unwrap();
            let holds = |run: &PortRange, port| run.first <= port && port <= run.last;
            for port in (0..2_000).chain(7_990..8_130).chain(65_530..=65_535) {
                let naive = holds(&fed.ports, port) && !fed.exclude_ports.iter().any(|run| holds(run, port));
                prop_assert_eq!(pool.has_port(port), naive, "{} {}", pool.id, port);
                for (protocol, given, default) in [(Protocol::TCP, fed.tcp, pool.tcp), (Protocol::UDP, fed.udp, pool.udp)] {
                    let of_protocol = fed.mapping_by_port.iter().filter(|one| Protocol::from(one.protocol) == protocol);
                    let exception = of_protocol.into_iter().find(|one| holds(&one.ports, port));
                    let mapping = exception.map(|one| one.mapping).or(given.mapping).unwrap_or(default.mapping);
                    prop_assert_eq!(pool.behaviour(protocol, port).mapping, mapping);
                }
            }
        }
        let mut every = addresses;
        every.extend((0..=255).map(|last| Ipv4Addr::new(203, 0, 113, last)));
        for segment in &set.segments {
            for address in &every {
                let found = segment.addresses.get(address).map(|rules| (
                    interface(&set, rules.interface).0.to_owned(),
                    rules.local,
                    rules.floating.map(|index| set.floating_ips[index.0 as usize].id.clone()),
                    rules.pool.map(|index| set.pools[index.0 as usize].id.clone()),
                ));
                prop_assert_eq!(found, naive_answer(valid, &segment.id, *address), "{} {}", segment.id, address);
                let Some(rules) = segment.addresses.get(address) else { continue };
                for (address, protocol, port) in ports_of(*address) {
                    let found = set.forwarding_to(rules, protocol, port).map(|index| {
                        let one = &set.forwardings[index.0 as usize];
                        (set.routers[one.router.0 as usize].id.clone(), one.internal_address, one.internal_port_of(port))
                    });
                    let naive = naive_inward(valid, &segment.id, (address, protocol, port));
                    prop_assert_eq!(found, naive, "{} {} {:?} {}", segment.id, address, protocol, port);
                }
            }
            for router in valid.routers() {
                for leg in router.interfaces.iter().filter(|leg| leg.segment == segment.id) {
                    let found = segment.interfaces.get(&MacAddress(leg.mac.0)).map(|index| interface(&set, *index));
                    prop_assert_eq!(found, router.admin_up.then_some((router.id.as_str(), leg.id.as_str())));
                }
            }
        }
    }
}

#[test]
fn chance_makes_rules_that_are_worth_a_look() {
    // The property tests would pass on empty rules too.
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts = [0_usize; 12];
    for _ in 0..600 {
        let mut store = Store::new(&arbitrary::ports());
        store.apply(Change::Snapshot(arbitrary::rules().new_tree(&mut runner).unwrap().current()));
        let set = compile(store.valid(), None, &mut numbers()).unwrap();
        let routers = |is: fn(&RouterRules) -> bool| set.routers.iter().filter(|router| is(router)).count();
        let fed = || set.pools.iter().filter(|pool| !pool.id.contains('/'));
        let pools = |is: fn(&&PoolRules) -> bool| fed().filter(is).count();
        let of_pools = set.forwardings.iter().filter(|one| {
            fed().any(|pool| pool.addresses.iter().any(|own| own.address == one.external_address))
        });
        let seen = [
            set.routers.len(),
            usize::from(set.routers.len() > 1),
            set.floating_ips.len(),
            set.forwardings.len(),
            of_pools.count(),
            routers(|router| router.gateways.len() > 1),
            routers(|router| router.gateways.iter().any(|one| !one.forwardings_by_internal.is_empty())),
            routers(|router| router.timeouts_by_port.len() > 1 && router.tcp != TcpRules::default()),
            pools(|_| true),
            pools(|pool| pool.blocks.is_some()),
            pools(|pool| pool.ports.len() > 1 && !pool.mapping_by_port.is_empty()),
            pools(|pool| pool.pairing != Pairing::Strict && pool.tcp.mapping != pool.udp.mapping),
        ];
        counts.iter_mut().zip(seen).for_each(|(count, seen)| *count += seen);
    }
    assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
    assert!(counts[..4].iter().all(|count| *count > 40), "{counts:?}");
}
