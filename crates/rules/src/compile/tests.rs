mod chance;
mod inbound;

use std::collections::BTreeSet;

use super::*;
use crate::arbitrary;
use crate::compiled::TimeoutsMs;
use crate::file::read_rules;
use crate::model::{AddressRange, Rules};
use crate::validate::validate;

const BASE: &str = "
segments: [{id: ext, port: outside, vlan: 7, mtu: 1400}, {id: a, port: inside, vlan: 1}, {id: b, port: inside}]
pools: [{id: p, addresses: [203.0.113.10-203.0.113.11, 203.0.113.2], ports: 2000-2999, hold_down_s: 5}]
routers:
- id: r1
  project: blue
  revision: 4
  interfaces:
  - {id: in, segment: a, mac: fa:16:3e:00:00:01, addresses: [10.0.0.1/24]}
  - {id: out, segment: ext, mac: fa:16:3e:00:00:02, addresses: [203.0.113.2/24], external: true}
  gateways: [{interface: out, next_hop: 203.0.113.1, pool: p}]
  routes: [{prefix: 10.0.0.0/8, next_hop: 10.0.0.9}, {prefix: 198.51.100.0/24, next_hop: 203.0.113.9}]
  floating_ips: [{id: f, external: 203.0.113.50, internal: 10.7.0.5}]
  no_nat: [192.0.2.128/25, 192.0.2.0/25, 10.9.0.0/16]
- id: r2
  interfaces:
  - {id: in, segment: b, mac: fa:16:3e:00:00:01, addresses: [10.0.0.1/24], snat: false}
  - {id: out, segment: ext, mac: fa:16:3e:00:00:03, addresses: [203.0.113.3/24, 203.0.113.4/24], external: true}
  gateways: [{interface: out, next_hop: 203.0.113.1}]
  timeouts: {profile: rfc, icmp_s: 7}
";

fn rules() -> Rules {
    read_rules(BASE).unwrap()
}

fn valid(rules: &Rules) -> Valid {
    validate(rules, &arbitrary::ports()).unwrap()
}

fn numbers() -> Numbers {
    Numbers::new(1_000, 10_000)
}

fn compiled() -> RuleSet {
    compile(&valid(&rules()), None, &mut numbers()).unwrap()
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn router<'a>(set: &'a RuleSet, id: &str) -> &'a RouterRules {
    set.routers.iter().find(|router| router.id == id).unwrap()
}

fn interface(set: &RuleSet, index: InterfaceIndex) -> (&str, &str) {
    let rules = &set.interfaces[index.0 as usize];
    (&set.routers[rules.router.0 as usize].id, &rules.id)
}

#[test]
fn a_frame_finds_its_segment_by_port_and_vlan() {
    let set = compiled();
    let segment = |port, vlan: Option<u16>| {
        let index = set.segment_of(PortIndex(port), vlan.and_then(VlanId::new))?;
        Some(set.segments[index.0 as usize].id.as_str())
    };
    assert_eq!(segment(0, Some(1)), Some("a"));
    assert_eq!(segment(0, None), Some("b"));
    assert_eq!(segment(1, Some(7)), Some("ext"));
    assert_eq!(segment(1, None), None);
    assert_eq!(segment(0, Some(7)), None);
    assert_eq!(segment(2, None), None);
    assert_eq!(segment(255, Some(4094)), None);
}

#[test]
fn the_longest_prefix_wins() {
    let set = compiled();
    let r1 = router(&set, "r1");
    let hop = |destination: &str| {
        let hop = r1.route(ip(destination)).unwrap();
        (interface(&set, hop.interface).1.to_owned(), hop.address.to_string())
    };
    let is = |interface: &str, address: &str| (interface.to_owned(), address.to_owned());
    assert_eq!(hop("10.0.0.77"), is("in", "10.0.0.77"));
    assert_eq!(hop("10.0.1.0"), is("in", "10.0.0.9"));
    assert_eq!(hop("10.255.255.255"), is("in", "10.0.0.9"));
    assert_eq!(hop("203.0.113.77"), is("out", "203.0.113.77"));
    assert_eq!(hop("198.51.100.1"), is("out", "203.0.113.9"));
    assert_eq!(hop("11.0.0.0"), is("out", "203.0.113.1"));
    assert_eq!(hop("0.0.0.0"), is("out", "203.0.113.1"));
    assert_eq!(hop("255.255.255.255"), is("out", "203.0.113.1"));
    assert!(r1.is_source_of(ip("10.3.4.5"), r1.interfaces[0]));
    assert!(!r1.is_source_of(ip("11.3.4.5"), r1.interfaces[0]));
}

#[test]
fn no_nat_destinations_are_found_at_their_edges() {
    let set = compiled();
    let r1 = router(&set, "r1");
    for inside in ["192.0.2.0", "192.0.2.127", "192.0.2.128", "192.0.2.255", "10.9.0.0", "10.9.255.255"] {
        assert!(r1.is_no_nat(ip(inside)), "{inside}");
    }
    for outside in ["192.0.1.255", "192.0.3.0", "10.8.255.255", "10.10.0.0", "0.0.0.0", "255.255.255.255"] {
        assert!(!r1.is_no_nat(ip(outside)), "{outside}");
    }
    assert!(!router(&set, "r2").is_no_nat(ip("192.0.2.1")));
}

#[test]
fn the_external_network_answers_for_interfaces_pools_and_floating_ips() {
    let set = compiled();
    let ext = set.segments.iter().find(|segment| segment.id == "ext").unwrap();
    let mut answers: Vec<_> = ext
        .addresses
        .iter()
        .map(|(address, rules)| {
            let pool = rules.pool.map(|pool| set.pools[pool.0 as usize].id.as_str());
            let floating = rules.floating.map(|floating| set.floating_ips[floating.0 as usize].id.as_str());
            (address.octets()[3], interface(&set, rules.interface).0, rules.local, floating, pool)
        })
        .collect();
    answers.sort();
    assert_eq!(
        answers,
        [
            (2, "r1", true, None, Some("p")),
            (3, "r2", true, None, Some("r2/out")),
            (4, "r2", true, None, Some("r2/out")),
            (10, "r1", false, None, Some("p")),
            (11, "r1", false, None, Some("p")),
            (50, "r1", false, Some("f"), None),
        ]
    );
}

#[test]
fn without_a_pool_the_gateways_own_addresses_are_translated_to() {
    let set = compiled();
    let ext = set.segments.iter().find(|segment| segment.id == "ext").unwrap();
    let fed = |id: &str| set.pools.iter().find(|pool| pool.id == id).unwrap();
    let pool = fed("r2/out");
    let addresses = |pool: &PoolRules| -> Vec<_> { pool.addresses.iter().map(|one| one.address).collect() };
    assert_eq!(addresses(pool), [ip("203.0.113.3"), ip("203.0.113.4")]);
    assert_eq!((pool.ports[0].first, pool.ports[0].last, pool.hold_down_ms), (1024, 65535, 60_000));
    assert_eq!(pool.realm, ext.realm);
    let pool = fed("p");
    assert_eq!(addresses(pool), [ip("203.0.113.2"), ip("203.0.113.10"), ip("203.0.113.11")]);
    assert_eq!((pool.ports[0].first, pool.ports[0].last, pool.hold_down_ms), (2000, 2999, 5_000));
}

#[test]
fn absent_timers_come_from_the_profile() {
    let set = compiled();
    let cloud = TimeoutsMs {
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
    assert_eq!(router(&set, "r1").timeouts, cloud);
    // RFC 5382 REQ-5, RFC 4787 REQ-5; the last was given.
    let rfc = TimeoutsMs {
        tcp_syn: 240_000,
        tcp_established: 7_440_000,
        tcp_fin: 240_000,
        tcp_time_wait: 240_000,
        tcp_rst: 240_000,
        udp_initial: 120_000,
        udp_stream: 300_000,
        icmp: 7_000,
        other: 600_000,
    };
    assert_eq!(router(&set, "r2").timeouts, rfc);
}

#[test]
fn a_router_that_is_down_is_on_no_network() {
    let mut rules = rules();
    rules.routers[0].admin_up = false;
    let set = compile(&valid(&rules), None, &mut numbers()).unwrap();
    let down = router(&set, "r1");
    assert_eq!(set.router_of(down.realm), None);
    let index = set.routers.iter().position(|router| router.id == "r1").unwrap();
    for segment in &set.segments {
        let answering =
            segment.interfaces.values().chain(segment.addresses.values().map(|one| &one.interface));
        for answering in answering {
            assert_ne!(set.interfaces[answering.0 as usize].router.0 as usize, index);
        }
    }
}

#[test]
fn only_routers_whose_flows_may_be_affected_get_a_new_generation() {
    /// Generations of r1 and r2 after a change of `BASE`, which is generation 1.
    fn after(change: impl FnOnce(&mut Rules)) -> (u32, u32) {
        let mut numbers = numbers();
        let mut rules = rules();
        let before = compile(&valid(&rules), None, &mut numbers).unwrap();
        change(&mut rules);
        let set = compile(&valid(&rules), Some(&before), &mut numbers).unwrap();
        assert_eq!(set.generation, before.generation + 1);
        (router(&set, "r1").generation, router(&set, "r2").generation)
    }
    assert_eq!(after(|_| {}), (1, 1));
    assert_eq!(after(|rules| rules.routers[0].name = "new".into()), (1, 1));
    assert_eq!(after(|rules| rules.routers[0].project = "red".into()), (1, 1));
    assert_eq!(after(|rules| rules.routers[0].revision = 9), (1, 1));
    assert_eq!(after(|rules| rules.pools[0].revision = 9), (1, 1));
    assert_eq!(after(|rules| rules.segments[0].revision = 9), (1, 1));
    assert_eq!(after(|rules| rules.routers.reverse()), (1, 1));
    assert_eq!(after(|rules| rules.routers[0].admin_up = false), (2, 1));
    assert_eq!(after(|rules| rules.routers[0].floating_ips.clear()), (2, 1));
    assert_eq!(after(|rules| rules.routers[0].routes.truncate(1)), (2, 1));
    assert_eq!(after(|rules| rules.routers[0].no_nat.clear()), (2, 1));
    assert_eq!(after(|rules| rules.routers[1].timeouts.icmp_s = None), (1, 2));
    assert_eq!(after(|rules| rules.routers[1].interfaces[0].snat = true), (1, 2));
    assert_eq!(after(|rules| rules.pools[0].addresses.truncate(1)), (2, 1));
    assert_eq!(after(|rules| rules.segments[0].mtu = 1300), (2, 2));
    assert_eq!(after(|rules| rules.segments[1].vlan = Some(5)), (2, 1));
}

#[test]
fn a_router_made_anew_under_an_old_id_gets_a_new_realm() {
    let mut numbers = numbers();
    let whole = valid(&rules());
    let mut fewer = rules();
    fewer.routers.remove(0);
    let first = compile(&whole, None, &mut numbers).unwrap();
    let second = compile(&valid(&fewer), Some(&first), &mut numbers).unwrap();
    let third = compile(&whole, Some(&second), &mut numbers).unwrap();
    assert_eq!(second.router_of(router(&first, "r1").realm), None);
    let given: Vec<Realm> =
        first.routers.iter().map(|one| one.realm).chain(first.segments.iter().map(|one| one.realm)).collect();
    assert!(!given.contains(&router(&third, "r1").realm));
    assert_eq!(router(&third, "r1").generation, 3);
    assert_eq!(router(&third, "r2").realm, router(&first, "r2").realm);
    assert!(third.router_of(router(&third, "r2").realm).is_some());
}

#[test]
fn a_routers_generation_is_that_of_the_rules_that_changed_it() {
    let mut numbers = numbers();
    let mut rules = rules();
    let mut set = compile(&valid(&rules), None, &mut numbers).unwrap();
    for _ in 0..3 {
        set = compile(&valid(&rules), Some(&set), &mut numbers).unwrap();
    }
    rules.routers[1].timeouts.icmp_s = None;
    let changed = compile(&valid(&rules), Some(&set), &mut numbers).unwrap();
    assert_eq!((router(&changed, "r1").generation, router(&changed, "r2").generation), (1, 5));
    // The first rules of a process judge what an earlier one left behind.
    let restarted = compile(&valid(&rules), None, &mut numbers).unwrap();
    assert_eq!(restarted.generation, 6);
    assert_eq!((router(&restarted, "r1").generation, router(&restarted, "r2").generation), (6, 6));
}

#[test]
fn what_is_answered_for_has_the_ports_that_are_translated_to() {
    let set = compiled();
    let ext = set.segments.iter().find(|segment| segment.id == "ext").unwrap();
    let mut given = BTreeSet::new();
    for one in set.pools.iter().flat_map(|pool| &pool.addresses) {
        assert_eq!(ext.addresses[&one.address].ports, Some(one.ports));
        assert!(given.insert(one.ports), "{} has the ports of another address", one.address);
    }
    assert_eq!(given.len(), 5);
    assert_eq!(ext.addresses[&ip("203.0.113.50")].ports, None, "a floating IP has none");
}

#[test]
fn rules_with_too_many_addresses_change_nothing() {
    let mut numbers = Numbers::new(1_000, 5);
    let mut rules = rules();
    let before = compile(&valid(&rules), None, &mut numbers).unwrap();
    rules.pools[0].addresses.push(AddressRange { first: ip("203.0.113.30"), last: ip("203.0.113.30") });
    rules.routers.reverse();
    let kept: Vec<_> = numbers.realms().collect();
    let error = compile(&valid(&rules), Some(&before), &mut numbers).unwrap_err();
    assert_eq!(error, NumbersExhausted::Addresses { numbers: 5, retired: 0, lacking: 1 });
    assert_eq!((numbers.realms().collect::<Vec<_>>(), numbers.generation()), (kept, 1));
}

#[test]
fn no_two_objects_share_a_realm() {
    let set = compiled();
    let segments = set.segments.iter().map(|one| one.realm);
    let realms: BTreeSet<Realm> = set.routers.iter().map(|one| one.realm).chain(segments).collect();
    assert_eq!(realms.len(), set.routers.len() + set.segments.len());
    assert!(!realms.contains(&Realm(0)));
}

#[test]
fn a_pools_addresses_are_found_in_a_row_and_scattered() {
    for (addresses, count) in
        [("203.0.113.64/26", 64), ("203.0.113.9, 203.0.113.64-203.0.113.70, 203.0.113.77", 9)]
    {
        let text = format!(
            "segments: [{{id: lan, port: inside, vlan: 5}}, {{id: net, port: outside}}]
pools: [{{id: pool, addresses: [{addresses}]}}]
routers:
- id: r
  interfaces:
  - {{id: in, segment: lan, mac: \"02:00:00:00:00:01\", addresses: [10.0.0.1/16]}}
  - {{id: out, segment: net, mac: \"02:00:00:00:00:02\", addresses: [203.0.113.2/24], external: true}}
  gateways: [{{interface: out, next_hop: 203.0.113.1, pool: pool}}]
"
        );
        let set = compile(&valid(&read_rules(&text).unwrap()), None, &mut numbers()).unwrap();
        let all = &set.pools[0].addresses;
        let found = (0..=u8::MAX).filter_map(|last| set.pools[0].find(Ipv4Addr::new(203, 0, 113, last)));
        assert!(all.len() == count && found.eq(all.iter().copied()), "{addresses}");
    }
}
