//! Several gateways, port forwardings and what pools say of ports, as the workers find them.

use packet::Protocol;

use super::*;
use crate::compiled::{ForwardingIndex, PortRun};

const TEXT: &str = "
segments: [{id: net, port: inside}, {id: ext, port: outside}, {id: ext2, port: outside, vlan: 2}]
pools:
- id: p
  addresses: [203.0.113.10-203.0.113.13]
  exclude_addresses: [203.0.113.11-203.0.113.12]
  exclude_ports: [1024-2000, 8000-8099, 65535]
routers:
- id: r1
  interfaces:
  - {id: in, segment: net, mac: fa:16:3e:00:00:01, addresses: [10.0.0.1/24]}
  - {id: out, segment: ext, mac: fa:16:3e:00:00:02, addresses: [203.0.113.2/24], external: true}
  - {id: out2, segment: ext2, mac: fa:16:3e:00:00:03, addresses: [198.51.100.2/24], external: true}
  gateways: [{interface: out2}, {interface: out, next_hop: 203.0.113.1, pool: p}]
  routes: [{prefix: 192.0.2.0/24, next_hop: 198.51.100.1}]
  floating_ips: [{id: f, external: 203.0.113.12, internal: 10.0.0.5, gateway: out}, {id: g, external: 198.51.100.9, internal: 10.0.0.5}]
  port_forwardings:
  - {id: b, external: 203.0.113.10, protocol: udp, external_ports: 8010, internal: 10.0.0.6, gateway: out}
  - {id: a, external: 203.0.113.10, protocol: tcp, external_ports: 8000-8009, internal: 10.0.0.6, internal_ports: 80, gateway: out}
  - {id: own, external: 198.51.100.2, protocol: udp, external_ports: 5000-5009, internal: 10.0.0.6}
  - {id: only, external: 203.0.113.40, protocol: tcp, external_ports: 7, internal: 10.0.0.7, gateway: out}
- id: r2
  interfaces:
  - {id: in, segment: net, mac: fa:16:3e:00:00:04, addresses: [10.0.1.1/24]}
  - {id: out, segment: ext, mac: fa:16:3e:00:00:05, addresses: [203.0.113.3/24], external: true}
  gateways: [{interface: out, next_hop: 203.0.113.1, pool: p}]
  port_forwardings: [{id: c, external: 203.0.113.10, protocol: tcp, external_ports: 8010, internal: 10.0.1.6}]
";

fn compile_text(text: &str) -> RuleSet {
    compile(&valid(&read_rules(text).unwrap()), None, &mut numbers()).unwrap()
}

fn run(first: u16, last: u16) -> PortRun {
    PortRun { first, last }
}

fn pool<'a>(set: &'a RuleSet, id: &str) -> &'a PoolRules {
    set.pools.iter().find(|pool| pool.id == id).unwrap()
}

fn answer<'a>(set: &'a RuleSet, segment: &str, address: &str) -> Option<&'a AddressRules> {
    set.segments
        .iter()
        .find(|one| one.id == segment)
        .unwrap()
        .addresses
        .get(&address.parse::<Ipv4Addr>().unwrap())
}

/// The id of the forwarding behind a port of an address.
fn to(set: &RuleSet, segment: &str, address: &str, protocol: Protocol, port: u16) -> Option<String> {
    let index: ForwardingIndex = set.forwarding_to(answer(set, segment, address)?, protocol, port)?;
    Some(set.forwardings[index.0 as usize].id.clone())
}

#[test]
fn a_pool_is_left_without_what_is_excluded() {
    let set = compile_text(TEXT);
    let pool = pool(&set, "p");
    let addresses: Vec<String> = pool.addresses.iter().map(|one| one.address.to_string()).collect();
    assert_eq!(addresses, ["203.0.113.10", "203.0.113.13"]);
    assert_eq!(pool.ports, [run(2001, 7999), run(8100, 65534)]);
    assert_eq!(answer(&set, "ext", "203.0.113.11"), None);
}

#[test]
fn an_external_port_leads_to_one_forwarding_of_whichever_router() {
    let set = compile_text(TEXT);
    let at = |protocol, port| to(&set, "ext", "203.0.113.10", protocol, port);
    assert_eq!(at(Protocol::TCP, 8000).as_deref(), Some("a"));
    assert_eq!(at(Protocol::TCP, 8009).as_deref(), Some("a"));
    assert_eq!(at(Protocol::TCP, 8010).as_deref(), Some("c"));
    assert_eq!(at(Protocol::UDP, 8010).as_deref(), Some("b"));
    assert_eq!(at(Protocol::UDP, 8009), None);
    assert_eq!(at(Protocol::TCP, 7999), None);
    assert_eq!(to(&set, "ext2", "198.51.100.2", Protocol::UDP, 5009).as_deref(), Some("own"));
    assert_eq!(to(&set, "ext", "203.0.113.13", Protocol::TCP, 8000), None);
    // Of no pool and no interface: its network answers for it all the same.
    assert_eq!(to(&set, "ext", "203.0.113.40", Protocol::TCP, 7).as_deref(), Some("only"));
    let interface = &set.interfaces[answer(&set, "ext", "203.0.113.40").unwrap().interface.0 as usize];
    assert_eq!(interface.id, "out");
}

#[test]
fn each_gateway_has_its_own_floating_ips_forwardings_and_pool() {
    let set = compile_text(TEXT);
    let rules = router(&set, "r1");
    let [second, first] = rules.gateways.as_slice() else { panic!() };
    let internal: Ipv4Addr = "10.0.0.5".parse().unwrap();
    let floating = |gateway: &GatewayRules| {
        set.floating_ips[gateway.floating_by_internal[&internal].0 as usize].id.clone()
    };
    assert_eq!((floating(first), floating(second)), ("f".to_owned(), "g".to_owned()));
    let ids = |gateway: &GatewayRules| -> Vec<String> {
        let of = |index: &ForwardingIndex| set.forwardings[index.0 as usize].id.clone();
        gateway.forwardings_by_internal.iter().map(of).collect()
    };
    // By internal address, protocol and ports.
    assert_eq!(ids(first), ["a", "b", "only"]);
    assert_eq!(ids(second), ["own"]);
    assert_eq!(set.pools[second.pool.unwrap().0 as usize].id, "r1/out2");
    // From an interface's own addresses forwarded ports are not given to flows.
    assert_eq!(pool(&set, "r1/out2").ports, [run(1024, 4999), run(5010, 65535)]);
    let hop = |address: &str| rules.route(address.parse().unwrap()).map(|hop| hop.interface);
    assert_eq!(hop("192.0.2.9"), Some(second.interface));
    assert_eq!(hop("8.8.8.8"), Some(first.interface));
}

#[test]
fn a_router_that_is_down_forwards_no_port_of_a_shared_address() {
    let set = compile_text(&TEXT.replace("- id: r2\n", "- id: r2\n  admin_up: false\n"));
    assert_eq!(to(&set, "ext", "203.0.113.10", Protocol::TCP, 8010), None);
    assert_eq!(to(&set, "ext", "203.0.113.10", Protocol::TCP, 8000).as_deref(), Some("a"));
}

#[test]
fn a_change_of_any_gateways_pool_has_flows_judged_again() {
    let more = TEXT.replace("gateways: [{interface: out2}", "gateways: [{interface: out2, pool: q}");
    let with = |pool: &str| more.replace("pools:\n", &format!("pools:\n- {pool}\n"));
    let before =
        valid(&read_rules(&with("{id: q, addresses: [198.51.100.20], exclude_ports: [5000-5009]}")).unwrap());
    let after =
        valid(&read_rules(&with("{id: q, addresses: [198.51.100.21], exclude_ports: [5000-5009]}")).unwrap());
    let mut numbers = numbers();
    let first = compile(&before, None, &mut numbers).unwrap();
    let same = compile(&before, Some(&first), &mut numbers).unwrap();
    assert_eq!(router(&same, "r1").generation, router(&first, "r1").generation);
    let changed = compile(&after, Some(&same), &mut numbers).unwrap();
    assert!(router(&changed, "r1").generation > router(&first, "r1").generation);
    assert_eq!(router(&changed, "r2").generation, router(&first, "r2").generation);
}

#[test]
fn timers_of_certain_ports_go_before_those_of_dns() {
    let timers = |text: &str| {
        let set = compile_text(&TEXT.replace("- id: r2\n", &format!("- id: r2\n  timeouts: {text}\n")));
        let of = &router(&set, "r2").timeouts_by_port;
        let row = |one: &crate::compiled::PortTimeoutsMs| {
            (one.protocol.0, one.ports.first, one.initial, one.established)
        };
        of.iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(timers("{}"), [(17, 53, 10_000, 10_000)]);
    assert_eq!(timers("{profile: rfc}"), [(17, 53, 30_000, 30_000)]);
    assert_eq!(
        timers(
            "{tcp_syn_s: 9, by_port: [{protocol: udp, ports: 53, initial_s: 7}, {protocol: tcp, ports: 5432, established_s: 8}]}"
        ),
        [(17, 53, 7_000, 180_000), (6, 5432, 9_000, 8_000), (17, 53, 10_000, 10_000)]
    );
}
