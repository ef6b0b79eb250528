//! Port forwardings, several gateways, and what a pool can say of ports: the fault of each, where it is.

use super::*;

/// Two routers that share a pool; the first has two gateways.
const BASE: &str = "
segments: [{id: net, port: inside}, {id: ext, port: outside}, {id: ext2, port: outside, vlan: 2}]
pools:
- {id: p, addresses: [203.0.113.10-203.0.113.19], exclude_addresses: [203.0.113.12], exclude_ports: [8000-8099]}
routers:
- id: r1
  interfaces:
  - {id: in, segment: net, mac: fa:16:3e:00:00:01, addresses: [10.0.0.1/24]}
  - {id: out, segment: ext, mac: fa:16:3e:00:00:02, addresses: [203.0.113.2/24], external: true}
  - {id: out2, segment: ext2, mac: fa:16:3e:00:00:03, addresses: [198.51.100.2/24], external: true}
  gateways: [{interface: out, next_hop: 203.0.113.1, pool: p}, {interface: out2}]
  routes: [{prefix: 192.0.2.0/24, next_hop: 198.51.100.1}]
  floating_ips: [{id: f, external: 203.0.113.12, internal: 10.0.0.5}, {id: g, external: 198.51.100.9, internal: 10.0.0.5, gateway: out2}]
  port_forwardings:
  - {id: a, external: 203.0.113.10, protocol: tcp, external_ports: 8000-8009, internal: 10.0.0.6, internal_ports: 80}
  - {id: b, external: 198.51.100.2, protocol: udp, external_ports: 5000-5009, internal: 10.0.0.6, gateway: out2}
- id: r2
  interfaces:
  - {id: in, segment: net, mac: fa:16:3e:00:00:04, addresses: [10.0.1.1/24]}
  - {id: out, segment: ext, mac: fa:16:3e:00:00:05, addresses: [203.0.113.3/24], external: true}
  gateways: [{interface: out, next_hop: 203.0.113.1, pool: p}]
  port_forwardings: [{id: a, external: 203.0.113.10, protocol: tcp, external_ports: 8010, internal: 10.0.1.6}]
";

const ROWS: &[Row] = &[
    ("{id: f,", "{id: f,", &[]),
    // Gateways.
    (
        "{interface: out2}",
        "{interface: out2, next_hop: 198.51.100.1}",
        &["router r1: gateways[1].next_hop: DUPLICATE_ROUTE: gateways[0] has the default route"],
    ),
    (
        "segment: ext2, mac",
        "segment: ext, mac",
        &["router r1: gateways[1].interface: RULE_AMBIGUOUS: gateways[0] is on segment `ext` already"],
    ),
    (
        ", {interface: out2}]",
        "]",
        &[
            "router r1: interfaces[2].external: UNSUPPORTED_FEATURE: ",
            "router r1: floating_ips[1].gateway: UNKNOWN_INTERFACE: ",
            "router r1: port_forwardings[1].gateway: UNKNOWN_INTERFACE: ",
        ],
    ),
    (
        "internal: 10.0.0.5, gateway: out2}",
        "internal: 10.0.0.5}",
        &[
            "router r1: floating_ips[1].internal: FIP_DUPLICATE_INTERNAL: 10.0.0.5 has floating_ips[0] already",
        ],
    ),
    (
        "198.51.100.9,",
        "198.51.100.1,",
        &[
            "router r1: floating_ips[1].external: EXTERNAL_IP_CONFLICT: 198.51.100.1 is a next hop of the router's",
        ],
    ),
    (
        "{interface: out2}",
        "{interface: out2, pool: p}",
        &["router r1: gateways[1].pool: UNSUPPORTED_FEATURE: pool `p` serves another external network"],
    ),
    // A port forwarding alone.
    ("- {id: b,", "- {id: a,", &["router r1: port_forwardings[1].id: DUPLICATE_ID: "]),
    (
        "internal_ports: 80}",
        "internal_ports: 80-81}",
        &["router r1: port_forwardings[0].internal_ports: PF_RANGE_MISMATCH: "],
    ),
    ("internal_ports: 80}", "internal_ports: 80-89}", &[]),
    (
        "internal_ports: 80}",
        "internal_ports: 0}",
        &["router r1: port_forwardings[0].internal_ports: OUT_OF_RANGE: "],
    ),
    ("5000-5009", "5009-5000", &["router r1: port_forwardings[1].external_ports: OUT_OF_RANGE: "]),
    (
        "internal: 10.0.1.6",
        "internal: 10.0.2.6",
        &["router r2: port_forwardings[0].internal: FIP_INTERNAL_NOT_ON_ROUTER: "],
    ),
    ("internal: 10.0.1.6", "internal: 10.0.1.1", &["router r2: port_forwardings[0].internal: BAD_ADDRESS: "]),
    // Port forwardings beside others.
    (
        "8010,",
        "8009-8010,",
        &[
            "router r2: port_forwardings[0].external_ports: PF_OVERLAP: port 8009 of 203.0.113.10 is of port_forwardings[0] already (router r1)",
        ],
    ),
    (
        "8010,",
        "8100,",
        &[
            "router r2: port_forwardings[0].external_ports: PF_PORT_IN_SNAT_RANGE: pool `p` gives ports 8100-65535 to flows: exclude 8100 from it (exclude_ports) (pool p)",
        ],
    ),
    ("8010,", "80,", &[]),
    (
        "protocol: tcp, external_ports: 8010,",
        "protocol: sctp, external_ports: 8010,",
        &["router r2: port_forwardings[0].protocol: UNSUPPORTED_FEATURE: "],
    ),
    (
        "203.0.113.10, protocol: tcp, external_ports: 8010",
        "203.0.113.12, protocol: tcp, external_ports: 8010",
        &[
            "router r2: port_forwardings[0].external: PF_ON_BOUND_FIP: 203.0.113.12 is floating_ips[0].external already (router r1)",
        ],
    ),
    (
        "203.0.113.10, protocol: tcp, external_ports: 8010",
        "203.0.113.2, protocol: tcp, external_ports: 8010",
        &[
            "router r2: port_forwardings[0].external: EXTERNAL_IP_CONFLICT: 203.0.113.2 is interfaces[1].addresses[0] already (router r1)",
        ],
    ),
    (
        "203.0.113.10, protocol: tcp, external_ports: 8010",
        "203.0.113.3, protocol: tcp, external_ports: 8110",
        &[],
    ),
    (
        "203.0.113.1, pool: p}]\n  port",
        "203.0.113.1}]\n  port",
        &[
            "router r2: port_forwardings[0].external: EXTERNAL_IP_CONFLICT: 203.0.113.10 is an address of pool `p` (pool p)",
        ],
    ),
    // The later one to blame: with its pool, the second router takes an address that the first forwards without it.
    (
        ", pool: p}, {interface: out2}]",
        "}, {interface: out2}]",
        &[
            "router r2: gateways[0].pool: EXTERNAL_IP_CONFLICT: 203.0.113.10 is an address of pool `p` (router r1)",
        ],
    ),
    // A pool's ports and addresses.
    (
        "exclude_ports: [8000-8099]",
        "exclude_ports: [8000-8099, 1-65535]",
        &["pool p: exclude_ports: POOL_EMPTY: "],
    ),
    ("[8000-8099]", "[8000-8099, 0]", &["pool p: exclude_ports[1]: OUT_OF_RANGE: "]),
    (
        "exclude_addresses: [203.0.113.12]",
        "exclude_addresses: [203.0.113.0/24]",
        &[
            "pool p: exclude_addresses: POOL_EMPTY: ",
            "router r2: port_forwardings[0].external: EXTERNAL_IP_CONFLICT: 203.0.113.10 has port forwardings of another router (router r1)",
        ],
    ),
    (
        "exclude_addresses: [203.0.113.12]",
        "exclude_addresses: [203.0.113.12, 203.0.113.9-203.0.113.8]",
        &["pool p: exclude_addresses[1]: BAD_ADDRESS: "],
    ),
    (
        "exclude_addresses: [203.0.113.12], ",
        "",
        &[
            "router r1: floating_ips[0].external: EXTERNAL_IP_CONFLICT: 203.0.113.12 is an address of pool `p` (pool p)",
        ],
    ),
    ("[8000-8099]", "[8000-8099], blocks: {ports: 48}", &["pool p: blocks.ports: BLOCK_SIZE: "]),
    ("[8000-8099]", "[8000-8099], blocks: {ports: 4}", &["pool p: blocks.ports: BLOCK_SIZE: "]),
    (
        "[8000-8099]",
        "[1024-8100, 8128-65535], blocks: {ports: 32}",
        &["pool p: blocks.ports: BLOCK_SIZE: no block"],
    ),
    (
        "[8000-8099]",
        "[8000-8099], blocks: {per_host_max: 0}",
        &["pool p: blocks.per_host_max: OUT_OF_RANGE: "],
    ),
    ("[8000-8099]", "[8000-8099], blocks: {per_host_max: 64}", &[]),
    (
        "[8000-8099]",
        "[8000-8099], blocks: {per_host_max: 65}",
        &["pool p: blocks.per_host_max: OUT_OF_RANGE: 65 is not from 1 to 64"],
    ),
    (
        "[8000-8099]",
        "[8000-8099], mapping_by_port: [{protocol: sctp, ports: 1, mapping: address_dependent}]",
        &["pool p: mapping_by_port[0].protocol: UNSUPPORTED_FEATURE: "],
    ),
    // Timers.
    (
        "- id: r2",
        "- id: r2\n  timeouts: {other_s: 0, by_port: [{protocol: udp, ports: 0-1, initial_s: 604801}, {protocol: sctp, ports: 1}]}",
        &[
            "router r2: timeouts.other_s: OUT_OF_RANGE: ",
            "router r2: timeouts.by_port[0].ports: OUT_OF_RANGE: ",
            "router r2: timeouts.by_port[0].initial_s: OUT_OF_RANGE: ",
            "router r2: timeouts.by_port[1].protocol: UNSUPPORTED_FEATURE: ",
        ],
    ),
];

#[test]
fn every_fault_of_what_is_reached_from_outside_is_found_where_it_is() {
    let mut wrong = String::new();
    for (from, to, wanted) in ROWS {
        assert!(BASE.contains(from), "{from:?} is not in the base");
        let rules = read_rules(&BASE.replacen(from, to, 1)).unwrap_or_else(|error| panic!("{to}: {error}"));
        let faults = validate(&rules, &ports()).err().unwrap_or_default();
        let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
        let same = lines.len() == wanted.len()
            && lines.iter().zip(*wanted).all(|(line, wanted)| line.starts_with(wanted));
        if !same {
            wrong += &format!("{to}\n  wanted {wanted:#?}\n  found {lines:#?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_floating_ip_that_comes_later_does_not_take_a_forwarded_address() {
    let text = BASE.replace("external: 203.0.113.10, protocol: tcp, external_ports: 8000-8009", "external: 203.0.113.30, protocol: tcp, external_ports: 8000-8009").replace(
        "  port_forwardings: [{id: a, external: 203.0.113.10,",
        "  floating_ips: [{id: f, external: 203.0.113.30, internal: 10.0.1.5}]\n  port_forwardings: [{id: a, external: 203.0.113.10,",
    );
    let faults = validate(&read_rules(&text).unwrap(), &ports()).unwrap_err();
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    let wanted = "router r2: floating_ips[0].external: FIP_HAS_PORT_FORWARDING: 203.0.113.30 has port forwardings (router r1)";
    assert_eq!(lines, [wanted]);
}
