use proptest::prelude::*;

mod inbound;

use super::*;
use crate::arbitrary;
use crate::compile::compile;
use crate::fault::Code;
use crate::file::read_rules;
use crate::limits;
use crate::model::Router;
use crate::numbers::Numbers;
use crate::store::{Change, Store};

/// Rules that are valid: each row of a table changes one thing about them.
const BASE: &str = "
segments: [{id: net, port: inside}, {id: ext, port: outside}, {id: ext2, port: outside, vlan: 2}]
pools: [{id: p1, addresses: [203.0.113.10]}, {id: p2, addresses: [203.0.113.11]}]
routers:
- id: r1
  interfaces:
  - {id: in, segment: net, mac: fa:16:3e:00:00:01, addresses: [10.0.0.1/24]}
  - {id: out, segment: ext, mac: fa:16:3e:00:00:02, addresses: [203.0.113.2/24], external: true}
  gateways: [{interface: out, next_hop: 203.0.113.1, pool: p1}]
  routes: [{prefix: 10.20.0.0/16, next_hop: 10.0.0.9}]
  floating_ips: [{id: f1, external: 203.0.113.50, internal: 10.20.0.5}]
  no_nat: [192.0.2.0/24]
- id: r2
  interfaces:
  - {id: in, segment: net, mac: fa:16:3e:00:00:03, addresses: [10.0.1.1/24]}
  - {id: out, segment: ext, mac: fa:16:3e:00:00:04, addresses: [203.0.113.3/24], external: true}
  gateways: [{interface: out, next_hop: 203.0.113.1, pool: p2}]
";

fn ports() -> Vec<String> {
    arbitrary::ports()
}

/// What is replaced in `BASE` by what, and the line that every fault has to begin with.
type Row = (&'static str, &'static str, &'static [&'static str]);

const ROWS: &[Row] = &[
    // Identity.
    (
        "id: net,",
        "id: '',",
        &[
            "segment : id: BAD_ID: ",
            "router r1: interfaces[0].segment: UNKNOWN_SEGMENT: ",
            "router r2: interfaces[0].segment: UNKNOWN_SEGMENT: ",
        ],
    ),
    ("{id: ext2, ", "{id: a/b, ", &["segment a/b: id: BAD_ID: "]),
    ("- id: r2", "- id: \"r\\n2\"", &["router r\\n2: id: BAD_ID: "]),
    (
        "- id: r2",
        "- id: 12345678901234567890123456789012345678901234567890123456789012345",
        &["router 12345678901234567890123456789012345678901234567890123456789012345: id: BAD_ID: "],
    ),
    ("- id: r2", "- id: r1", &["router r1: id: DUPLICATE_ID: another router"]),
    ("{id: ext2, ", "{id: ext, ", &["segment ext: id: DUPLICATE_ID: "]),
    (
        "{id: in, segment: net, mac: fa:16:3e:00:00:01",
        "{id: out, segment: net, mac: fa:16:3e:00:00:01",
        &[
            "router r1: interfaces[1].id: DUPLICATE_ID: ",
            "router r1: gateways[0].next_hop: NO_ROUTE_TO_NEXTHOP: ",
            "router r1: gateways[0].interface: GATEWAY_NOT_EXTERNAL: ",
        ],
    ),
    (
        "- id: r2",
        "- project: \"a\\tb\"\n  id: r2",
        &["router r2: project: OUT_OF_RANGE: a control character"],
    ),
    // Segments.
    ("port: inside}", "port: inside, vlan: 0}", &["segment net: vlan: OUT_OF_RANGE: "]),
    ("port: inside}", "port: inside, mtu: 575}", &["segment net: mtu: OUT_OF_RANGE: "]),
    ("port: inside}", "port: inside, mtu: 9217}", &["segment net: mtu: OUT_OF_RANGE: "]),
    (
        "port: inside}",
        "port: outside}",
        &[
            "segment ext: port: RULE_AMBIGUOUS: another segment has the untagged frames of port `outside` (segment net)",
        ],
    ),
    // Pools alone.
    (
        "[203.0.113.10]",
        "[203.0.113.10-203.0.113.9]",
        &["pool p1: addresses[0]: BAD_ADDRESS: 203.0.113.10-203.0.113.9 runs backwards"],
    ),
    (
        "[203.0.113.10]",
        "[203.0.113.10, 169.254.0.9]",
        &["pool p1: addresses[1]: BAD_ADDRESS: 169.254.0.9 holds an address that is link-local"],
    ),
    ("[203.0.113.10]", "[223.255.255.255-224.0.0.0]", &["pool p1: addresses[0]: BAD_ADDRESS: "]),
    (
        "[203.0.113.10]",
        "[255.255.255.255]",
        &["pool p1: addresses[0]: BAD_ADDRESS: 255.255.255.255 holds an address that is the broadcast"],
    ),
    (
        "[203.0.113.10]",
        "[203.0.113.10, 203.0.113.20-203.0.113.40, 203.0.113.21, 203.0.113.39-203.0.113.41]",
        &[
            "pool p1: addresses[2]: POOL_OVERLAP: ",
            "pool p1: addresses[3]: POOL_OVERLAP: 203.0.113.39 is in addresses[1] too",
        ],
    ),
    ("[203.0.113.10]", "[203.0.113.10], ports: 0-100", &["pool p1: ports: OUT_OF_RANGE: "]),
    ("[203.0.113.10]", "[203.0.113.10], ports: 101-100", &["pool p1: ports: OUT_OF_RANGE: "]),
    ("[203.0.113.10]", "[203.0.113.10], hold_down_s: 604801", &["pool p1: hold_down_s: OUT_OF_RANGE: "]),
    // Interfaces.
    ("mac: fa:16:3e:00:00:01", "mac: fb:16:3e:00:00:01", &["router r1: interfaces[0].mac: BAD_ADDRESS: "]),
    ("mac: fa:16:3e:00:00:01", "mac: 00:00:00:00:00:00", &["router r1: interfaces[0].mac: BAD_ADDRESS: "]),
    (
        "mac: fa:16:3e:00:00:01",
        "mac: fa:16:3e:00:00:03",
        &[
            "router r2: interfaces[0].mac: DUPLICATE_MAC: fa:16:3e:00:00:03 is on segment `net` already (router r1)",
        ],
    ),
    (
        "10.0.1.1/24",
        "10.0.1.0/24",
        &["router r2: interfaces[0].addresses[0]: BAD_ADDRESS: 10.0.1.0 is the subnet's own address"],
    ),
    (
        "10.0.1.1/24",
        "10.0.1.255/24",
        &["router r2: interfaces[0].addresses[0]: BAD_ADDRESS: 10.0.1.255 is the subnet's broadcast address"],
    ),
    (
        "10.0.1.1/24",
        "127.0.1.1/24",
        &["router r2: interfaces[0].addresses[0]: BAD_ADDRESS: 127.0.1.1 is loopback"],
    ),
    (
        "10.0.1.1/24",
        "240.0.1.1/24",
        &["router r2: interfaces[0].addresses[0]: BAD_ADDRESS: 240.0.1.1 is class E"],
    ),
    (
        "10.0.1.1/24",
        "0.0.1.1/24",
        &["router r2: interfaces[0].addresses[0]: BAD_ADDRESS: 0.0.1.1 is unspecified"],
    ),
    ("10.0.1.1/24", "10.0.1.1/24, 10.0.1.1/24", &["router r2: interfaces[0].addresses[1]: DUPLICATE_IP: "]),
    (
        "10.0.1.1/24",
        "10.0.1.1/0",
        &[
            "router r2: interfaces[0].addresses[0]: OUT_OF_RANGE: ",
            "router r2: interfaces[1].addresses[0]: INTERFACE_OVERLAP: ",
        ],
    ),
    ("10.0.1.1/24", "203.0.113.129/25", &["router r2: interfaces[1].addresses[0]: INTERFACE_OVERLAP: "]),
    ("10.0.1.1/24", "10.0.0.1/24", &["router r2: interfaces[0].addresses[0]: DUPLICATE_IP: "]),
    (
        "addresses: [203.0.113.3/24]",
        "addresses: [203.0.113.50/24]",
        &[
            "router r2: interfaces[1].addresses[0]: EXTERNAL_IP_CONFLICT: 203.0.113.50 is floating_ips[0].external already (router r1)",
        ],
    ),
    (
        "addresses: [203.0.113.3/24]",
        "addresses: [203.0.113.10/24]",
        &[
            "router r2: interfaces[1].addresses[0]: EXTERNAL_IP_CONFLICT: 203.0.113.10 is an address of pool `p1` (pool p1)",
        ],
    ),
    (
        "addresses: [203.0.113.3/24]",
        "addresses: [169.254.1.2/24]",
        &[
            "router r2: interfaces[1].addresses[0]: BAD_ADDRESS: 169.254.1.2 is link-local",
            "router r2: gateways[0].next_hop: NO_ROUTE_TO_NEXTHOP: 203.0.113.1 is on no subnet of the gateway's interface `out`",
        ],
    ),
    // Gateways.
    (
        "{interface: out, next_hop: 203.0.113.1, pool: p2}",
        "{interface: out, next_hop: 203.0.113.3, pool: p2}",
        &["router r2: gateways[0].next_hop: ROUTE_LOOP: "],
    ),
    (
        "{interface: out, next_hop: 203.0.113.1, pool: p2}",
        "{interface: out, next_hop: 203.0.113.255, pool: p2}",
        &["router r2: gateways[0].next_hop: BAD_ADDRESS: 203.0.113.255 is the subnet's broadcast address"],
    ),
    (
        "{interface: out, next_hop: 203.0.113.1, pool: p2}",
        "{interface: out, next_hop: 10.0.1.9, pool: p2}",
        &["router r2: gateways[0].next_hop: NO_ROUTE_TO_NEXTHOP: "],
    ),
    (
        "{interface: out, next_hop: 203.0.113.1, pool: p2}",
        "{interface: out, next_hop: 224.0.0.1, pool: p2}",
        &["router r2: gateways[0].next_hop: BAD_ADDRESS: "],
    ),
    (
        "{interface: out, next_hop: 203.0.113.1, pool: p2}",
        "{interface: in, next_hop: 10.0.1.9, pool: p2}",
        &[
            "router r2: gateways[0].interface: GATEWAY_NOT_EXTERNAL: ",
            "router r2: interfaces[1].external: UNSUPPORTED_FEATURE: an external interface has to be a gateway's",
        ],
    ),
    (
        "{interface: out, next_hop: 203.0.113.1, pool: p2}",
        "{interface: out, next_hop: 203.0.113.11, pool: p2}",
        &[
            "router r2: gateways[0].pool: EXTERNAL_IP_CONFLICT: 203.0.113.11 of pool `p2` is the gateway's next hop (pool p2)",
        ],
    ),
    (
        "{id: in, segment: net, mac: fa:16:3e:00:00:03, addresses: [10.0.1.1/24]}",
        "{id: in, segment: net, mac: fa:16:3e:00:00:03, addresses: [10.0.1.1/24], external: true}",
        &["router r2: interfaces[0].external: UNSUPPORTED_FEATURE: "],
    ),
    // Pools and networks.
    ("pool: p2", "pool: p3", &["router r2: gateways[0].pool: UNKNOWN_POOL: there is no pool `p3` (pool p3)"]),
    (
        "[203.0.113.11]",
        "[203.0.113.0]",
        &[
            "router r2: gateways[0].pool: BAD_ADDRESS: 203.0.113.0 of pool `p2` is the subnet's own address (pool p2)",
        ],
    ),
    (
        "[203.0.113.11]",
        "[203.0.113.255]",
        &[
            "router r2: gateways[0].pool: BAD_ADDRESS: 203.0.113.255 of pool `p2` is the subnet's broadcast address (pool p2)",
        ],
    ),
    (
        "[203.0.113.11]",
        "[203.0.113.2]",
        &[
            "router r2: gateways[0].pool: EXTERNAL_IP_CONFLICT: 203.0.113.2 of pool `p2` is an interface's address (router r1)",
        ],
    ),
    (
        "[203.0.113.11]",
        "[203.0.113.9-203.0.113.11]",
        &["router r2: gateways[0].pool: POOL_OVERLAP: 203.0.113.10 is in pool `p1` too (pool p1)"],
    ),
    (
        "segment: ext, mac: fa:16:3e:00:00:04, addresses: [203.0.113.3/24], external: true}\n  gateways: [{interface: out, next_hop: 203.0.113.1, pool: p2}]",
        "segment: ext2, mac: fa:16:3e:00:00:04, addresses: [203.0.113.3/24], external: true}\n  gateways: [{interface: out, next_hop: 203.0.113.1, pool: p1}]",
        &[
            "router r2: gateways[0].pool: UNSUPPORTED_FEATURE: pool `p1` serves another external network, and a pool serves one (router r1)",
        ],
    ),
    // Routes.
    (
        "{prefix: 10.20.0.0/16,",
        "{prefix: 10.20.0.1/16,",
        &[
            "router r1: routes[0].prefix: BAD_ADDRESS: 10.20.0.1/16 has host bits set: the prefix is 10.20.0.0/16",
        ],
    ),
    (
        "{prefix: 10.20.0.0/16,",
        "{prefix: 224.0.0.0/4,",
        &[
            "router r1: routes[0].prefix: BAD_ADDRESS: ",
            "router r1: floating_ips[0].internal: FIP_INTERNAL_NOT_ON_ROUTER: ",
        ],
    ),
    (
        "{prefix: 10.20.0.0/16,",
        "{prefix: 0.0.0.0/0,",
        &["router r1: routes[0].prefix: DUPLICATE_ROUTE: 0.0.0.0/0 is the gateway's default route already"],
    ),
    (
        "{prefix: 10.20.0.0/16, next_hop: 10.0.0.9}",
        "{prefix: 10.20.0.0/16, next_hop: 10.0.0.9}, {prefix: 10.20.0.0/16, next_hop: 10.0.0.8}",
        &["router r1: routes[1].prefix: DUPLICATE_ROUTE: "],
    ),
    ("next_hop: 10.0.0.9", "next_hop: 10.0.0.0", &["router r1: routes[0].next_hop: BAD_ADDRESS: "]),
    (
        "next_hop: 10.0.0.9",
        "next_hop: 203.0.113.9",
        &["router r1: floating_ips[0].internal: FIP_INTERNAL_NOT_ON_ROUTER: "],
    ),
    ("no_nat: [192.0.2.0/24]", "no_nat: [192.0.2.1/24]", &["router r1: no_nat[0]: BAD_ADDRESS: "]),
    // Floating IPs.
    (
        "external: 203.0.113.50",
        "external: 169.254.0.1",
        &["router r1: floating_ips[0].external: BAD_ADDRESS: 169.254.0.1 is link-local"],
    ),
    (
        "external: 203.0.113.50",
        "external: 203.0.113.255",
        &["router r1: floating_ips[0].external: BAD_ADDRESS: "],
    ),
    (
        "external: 203.0.113.50",
        "external: 203.0.113.1",
        &["router r1: floating_ips[0].external: EXTERNAL_IP_CONFLICT: 203.0.113.1 is the gateway's next hop"],
    ),
    (
        "external: 203.0.113.50",
        "external: 203.0.113.10",
        &[
            "router r1: floating_ips[0].external: EXTERNAL_IP_CONFLICT: 203.0.113.10 is an address of pool `p1` (pool p1)",
        ],
    ),
    (
        "external: 203.0.113.50",
        "external: 203.0.113.3",
        &["router r2: interfaces[1].addresses[0]: EXTERNAL_IP_CONFLICT: "],
    ),
    (
        "internal: 10.20.0.5",
        "internal: 10.0.0.1",
        &["router r1: floating_ips[0].internal: BAD_ADDRESS: 10.0.0.1 is the router's own address"],
    ),
    ("internal: 10.20.0.5", "internal: 10.0.0.255", &["router r1: floating_ips[0].internal: BAD_ADDRESS: "]),
    (
        "internal: 10.20.0.5",
        "internal: 203.0.113.9",
        &["router r1: floating_ips[0].internal: FIP_INTERNAL_NOT_ON_ROUTER: "],
    ),
    (
        "internal: 10.20.0.5}",
        "internal: 10.20.0.5}, {id: f1, external: 203.0.113.51, internal: 10.0.0.6}",
        &["router r1: floating_ips[1].id: DUPLICATE_ID: "],
    ),
    (
        "internal: 10.20.0.5}",
        "internal: 10.20.0.5}, {id: f2, external: 203.0.113.50, internal: 10.0.0.6}",
        &[
            "router r1: floating_ips[1].external: EXTERNAL_IP_CONFLICT: 203.0.113.50 is floating_ips[0].external already",
        ],
    ),
    (
        "pool: p2}]",
        "pool: p2}]\n  floating_ips: [{id: f1, external: 203.0.113.50, internal: 10.0.1.5}]",
        &[
            "router r2: floating_ips[0].external: EXTERNAL_IP_CONFLICT: 203.0.113.50 is floating_ips[0].external already (router r1)",
        ],
    ),
    (
        "  gateways: [{interface: out, next_hop: 203.0.113.1, pool: p1}]\n",
        "",
        &[
            "router r1: interfaces[1].external: UNSUPPORTED_FEATURE: ",
            "router r1: gateways: MISSING_FIELD: a floating IP needs a gateway",
        ],
    ),
    // Timers.
    (
        "no_nat: [192.0.2.0/24]",
        "timeouts: {tcp_established_s: 0, udp_stream_s: 604801}",
        &[
            "router r1: timeouts.tcp_established_s: OUT_OF_RANGE: ",
            "router r1: timeouts.udp_stream_s: OUT_OF_RANGE: ",
        ],
    ),
    // Not faults.
    ("port: inside}", "port: inside, mtu: 576, vlan: 4094}", &[]),
    ("10.0.1.1/24", "10.0.1.0/31", &[]),
    ("10.0.1.1/24", "10.0.1.1/24, 10.0.1.2/24, 10.9.0.1/32", &[]),
    ("10.0.1.1/24", "169.254.1.1/24", &[]),
    ("[203.0.113.11]", "[203.0.113.3, 203.0.113.11]", &[]),
    ("pool: p2", "pool: p1", &[]),
    ("pool: p2", "snat: false", &[]),
    ("pool: p2", "pool: p1, snat: false", &[]),
    ("[203.0.113.11]", "[203.0.113.11], ports: 1-1, hold_down_s: 0", &[]),
    ("external: 203.0.113.50", "external: 198.51.100.7", &[]),
    ("no_nat: [192.0.2.0/24]", "no_nat: [0.0.0.0/0, 10.0.0.0/8, 10.0.0.0/8]", &[]),
    ("next_hop: 10.0.0.9}", "next_hop: 10.0.0.9}, {prefix: 10.0.0.0/25, next_hop: 10.0.0.9}", &[]),
];

#[test]
fn the_base_of_the_table_is_valid() {
    validate(&read_rules(BASE).unwrap(), &ports()).unwrap();
}

#[test]
fn every_fault_is_found_where_it_is() {
    let mut wrong = String::new();
    for (from, to, wanted) in ROWS {
        assert!(BASE.contains(from), "{from:?} is not in the base");
        let text = BASE.replacen(from, to, 1);
        let rules = read_rules(&text).unwrap_or_else(|error| panic!("{to}: {error}"));
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
fn five_faults_in_five_objects_are_told_at_once() {
    let text = "
segments: [{id: net, port: inside, vlan: 5000}, {id: ext, port: upstairs}]
pools: [{id: p1, addresses: []}]
routers:
- id: r1
  interfaces: [{id: in, segment: nett, mac: fa:16:3e:00:00:01, addresses: [10.0.0.1/24]}]
- id: r2
  interfaces: [{id: in, segment: net, mac: fa:16:3e:00:00:01, addresses: [10.0.0.1/24]}]
  routes: [{prefix: 10.20.0.0/16, next_hop: 10.1.0.1}]
";
    let faults = validate(&read_rules(text).unwrap(), &ports()).unwrap_err();
    let found: Vec<_> =
        faults.iter().map(|fault| format!("{} {} {}", fault.object, fault.field, fault.code)).collect();
    assert_eq!(
        found,
        [
            "segment net vlan OUT_OF_RANGE",
            "segment ext port UNKNOWN_PORT",
            "pool p1 addresses POOL_EMPTY",
            "router r1 interfaces[0].segment UNKNOWN_SEGMENT",
            "router r2 routes[0].next_hop NO_ROUTE_TO_NEXTHOP",
        ]
    );
}

#[test]
fn codes_have_the_numbers_and_names_of_the_protocol() {
    // Those of the feed's `enum Code`.
    let known = [
        (1, "BAD_ID"),
        (6, "OUT_OF_RANGE"),
        (14, "IN_USE"),
        (19, "NO_ROUTE_TO_NEXTHOP"),
        (25, "EXTERNAL_IP_CONFLICT"),
        (37, "POOL_OVERLAP"),
        (44, "CAPACITY"),
    ];
    for (number, name) in known {
        let code = Code::ALL.iter().find(|code| code.number() == number).unwrap();
        assert_eq!(code.as_str(), name);
    }
    let mut numbers: Vec<i32> = Code::ALL.iter().map(|code| code.number()).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), Code::ALL.len());
    assert!(numbers.is_sorted());
    assert!(Code::ALL.iter().all(|code| code.retry_may_help() == (*code == Code::Capacity)));
}

/// Faults of these rules as `object field CODE`.
fn found(rules: &Rules) -> Vec<String> {
    let faults = validate(rules, &ports()).err().unwrap_or_default();
    faults.iter().map(|fault| format!("{} {} {}", fault.object, fault.field, fault.code)).collect()
}

#[test]
fn of_two_overlapping_pools_the_first_still_keeps_its_addresses() {
    let with = |p1: &str, p2: &str, external: &str| {
        let text = BASE.replace("[203.0.113.10]", p1).replace("[203.0.113.11]", p2);
        found(&read_rules(&text.replace("203.0.113.50", external)).unwrap())
    };
    let wanted = [
        "router r1 floating_ips[0].external EXTERNAL_IP_CONFLICT",
        "router r2 gateways[0].pool POOL_OVERLAP",
    ];
    assert_eq!(with("[203.0.113.10-203.0.113.12]", "[203.0.113.9-203.0.113.10]", "203.0.113.12"), wanted);
    assert_eq!(with("[203.0.113.9-203.0.113.10]", "[203.0.113.10-203.0.113.12]", "203.0.113.9"), wanted);
    assert_eq!(with("[203.0.113.9-203.0.113.12]", "[203.0.113.10-203.0.113.11]", "203.0.113.12"), wanted);
}

#[test]
fn a_router_beyond_its_limits_is_refused() {
    let base = read_rules(BASE).unwrap();
    let with = |change: &dyn Fn(&mut Router)| {
        let mut rules = base.clone();
        change(&mut rules.routers[0]);
        found(&rules)
    };
    let grow = |router: &mut Router, count: usize| {
        let one = router.floating_ips[0].clone();
        router.floating_ips = (0..count)
            .map(|n| {
                let mut one = one.clone();
                one.id = format!("f{n}");
                let offset = u32::try_from(n).unwrap();
                one.external = (0xc612_0000 + offset).into();
                one.internal = (0x0a14_0000 + offset).into();
                one
            })
            .collect();
    };
    let max = limits::ROUTER_FLOATING_IPS_MAX;
    assert_eq!(with(&|router| grow(router, max)), Vec::<String>::new());
    assert_eq!(with(&|router| grow(router, max + 1)), ["router r1 floating_ips CAPACITY"]);
    let many = |one: &str, count| vec![one.parse().unwrap(); count];
    assert_eq!(
        with(&|router| router.no_nat = many("192.0.2.0/24", limits::ROUTER_NO_NAT_MAX + 1)),
        ["router r1 no_nat CAPACITY"]
    );
    let field = with(&|router| {
        router.interfaces[0].addresses = (0..=limits::INTERFACE_ADDRESSES_MAX)
            .map(|n| format!("10.0.0.{}/24", n + 1).parse().unwrap())
            .collect();
    });
    assert_eq!(field, ["router r1 interfaces[0].addresses CAPACITY"]);
}

#[test]
fn the_object_that_goes_over_the_gateways_limit_is_to_blame_and_a_smaller_one_still_fits() {
    const POOL: u32 = limits::POOL_ADDRESSES_MAX as u32;
    let big = |n: u32| {
        let first = 0x0b00_0000 + n * POOL;
        let run = crate::model::AddressRange { first: first.into(), last: (first + POOL - 1).into() };
        crate::model::Pool::new(&format!("p{n}"), vec![run])
    };
    let fit = limits::ALL_POOL_ADDRESSES_MAX as u32 / POOL;
    let mut rules = Rules { pools: (0..fit).map(big).collect(), ..Rules::default() };
    assert_eq!(found(&rules), Vec::<String>::new());
    rules.pools.push(big(fit));
    assert_eq!(found(&rules), [format!("pool p{fit}  CAPACITY")]);
    // The one before it shrinks by an address: now a pool of one address fits behind the refused one.
    rules.pools[0].addresses[0].last = (0x0b00_0000 + POOL - 2).into();
    let mut small = big(fit + 1);
    small.addresses[0].last = small.addresses[0].first;
    rules.pools.push(small);
    assert_eq!(found(&rules), [format!("pool p{fit}  CAPACITY")]);
}

/// Runs everything that text goes through; nothing of it may panic.
fn walk(text: &str) {
    let Ok(rules) = read_rules(text) else { return };
    for fault in validate(&rules, &ports()).err().unwrap_or_default() {
        assert!(!fault.to_string().contains('\n'));
    }
    let mut store = Store::new(&ports());
    store.apply(Change::Snapshot(rules));
    compile(store.valid(), None, &mut Numbers::new(1_000, 10_000)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_mutation_of_a_text_makes_anything_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..4_u8, "[-0-9./:a-f\\[\\]{},\n ]{0,3}"), 1..6)
    ) {
        let mut text = BASE.to_owned();
        for (at, kind, piece) in edits {
            let at = at.index(text.len());
            let end = match kind {
                0 => at,
                1 => (at + piece.len()).min(text.len()),
                2 => (at + 1).min(text.len()),
                _ => (at + 40).min(text.len()),
            };
            text.replace_range(at..end, &piece);
        }
        walk(&text);
    }

    #[test]
    fn rules_by_chance_never_panic_and_faults_are_single_lines(rules in arbitrary::rules()) {
        walk(&serde_json::to_string(&rules).unwrap());
    }

    #[test]
    fn validation_is_the_same_every_time(rules in arbitrary::rules()) {
        prop_assert_eq!(validate(&rules, &ports()), validate(&rules, &ports()));
    }
}
