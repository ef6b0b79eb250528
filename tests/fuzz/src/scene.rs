//! Who is where, and by which rules: two tenants with the same subnet, two external networks, and every feature in some
//! variant of the rules.
//!
//! ```text
//! vlan 100  10.0.0.0/24  .11 .12 .40 .50 -.
//! vlan 101  10.0.1.0/24  .11 --------------+- router red --- untagged 203.0.113.0/24 (.1: the way to 198.51.100.0/24)
//!           MTU 1280                        \-------------- vlan 300 198.18.0.0/24   (.1: the way to 192.0.2.128/25)
//! vlan 200  10.0.0.0/24  .11 .12 .50 -------- router blue -- untagged
//! ```

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rules::limits::REALMS_MAX;
use rules::{Numbers, RuleSet, Valid};

pub(crate) const PORT_NAMES: [&str; 2] = ["in0", "out0"];
/// External addresses that the state has room for.
pub(crate) const ADDRESSES_MAX: u32 = 8;
/// The smallest MTU of any variant.
pub(crate) const MTU_MIN: usize = 576;

/// A network's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) port: u8,
    pub(crate) vlan: u16,
    /// 0: outside; else whose it is.
    pub(crate) tenant: u8,
}

pub(crate) const RED_LAN: Wire = Wire { port: 0, vlan: 100, tenant: 1 };
pub(crate) const RED_DB: Wire = Wire { port: 0, vlan: 101, tenant: 1 };
pub(crate) const BLUE_LAN: Wire = Wire { port: 0, vlan: 200, tenant: 2 };
pub(crate) const INTERNET: Wire = Wire { port: 1, vlan: 0, tenant: 0 };
pub(crate) const WAN: Wire = Wire { port: 1, vlan: 300, tenant: 0 };
pub(crate) const WIRES: [Wire; 5] = [RED_LAN, RED_DB, BLUE_LAN, INTERNET, WAN];

/// A host on a wire, and the router's MAC that it speaks to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    pub(crate) wire: Wire,
    pub(crate) mac: [u8; 6],
    pub(crate) address: Ipv4Addr,
    pub(crate) via: [u8; 6],
}

const fn ours(router: u8, leg: u8) -> [u8; 6] {
    [0xfa, 0x16, 0x3e, 0, router, leg]
}

pub(crate) const RED_EXT: [u8; 6] = ours(1, 3);
pub(crate) const RED_WAN: [u8; 6] = ours(1, 4);
pub(crate) const BLUE_EXT: [u8; 6] = ours(2, 3);

const fn host(wire: Wire, group: u8, address: [u8; 4], via: [u8; 6]) -> Host {
    let [a, b, c, d] = address;
    Host { wire, mac: [2, 0, 0, 0, group, d], address: Ipv4Addr::new(a, b, c, d), via }
}

/// Those inside, then those outside.
pub(crate) const INSIDE: [Host; 8] = [
    host(RED_LAN, 10, [10, 0, 0, 11], ours(1, 1)),
    host(RED_LAN, 10, [10, 0, 0, 12], ours(1, 1)),
    host(RED_LAN, 10, [10, 0, 0, 40], ours(1, 1)),
    host(RED_LAN, 10, [10, 0, 0, 50], ours(1, 1)),
    host(RED_DB, 11, [10, 0, 1, 11], ours(1, 2)),
    host(BLUE_LAN, 20, [10, 0, 0, 11], ours(2, 1)),
    host(BLUE_LAN, 20, [10, 0, 0, 12], ours(2, 1)),
    host(BLUE_LAN, 20, [10, 0, 0, 50], ours(2, 1)),
];
pub(crate) const ISP: Host = host(INTERNET, 99, [203, 0, 113, 1], RED_EXT);
pub(crate) const CARRIER: Host = host(WAN, 98, [198, 18, 0, 1], RED_WAN);

/// Who answers ARP.
pub(crate) fn neighbours() -> impl Iterator<Item = Host> {
    INSIDE.into_iter().chain([ISP, CARRIER])
}

const fn ip(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

/// Remote addresses, and the neighbour they are behind.
pub(crate) const REMOTES: [(Ipv4Addr, Host); 6] = [
    (ip(198, 51, 100, 1), ISP),
    (ip(198, 51, 100, 2), ISP),
    (ip(192, 0, 2, 9), ISP),
    (ip(192, 0, 2, 129), CARRIER),
    (ip(203, 0, 113, 1), ISP),
    (ip(198, 18, 0, 1), CARRIER),
];

/// External addresses, and the MAC that has them.
pub(crate) const EXTERNALS: [(Ipv4Addr, [u8; 6]); 12] = [
    (ip(203, 0, 113, 10), RED_EXT),
    (ip(203, 0, 113, 11), RED_EXT),
    (ip(203, 0, 113, 20), BLUE_EXT),
    (ip(203, 0, 113, 50), RED_EXT),
    (ip(203, 0, 113, 60), BLUE_EXT),
    (ip(203, 0, 113, 70), RED_EXT),
    (ip(198, 18, 0, 10), RED_WAN),
    (ip(198, 18, 0, 50), RED_WAN),
    (ip(203, 0, 113, 2), RED_EXT),
    (ip(203, 0, 113, 3), BLUE_EXT),
    (ip(203, 0, 113, 200), RED_EXT),
    (ip(10, 0, 0, 11), RED_EXT),
];

/// Where those inside send to besides.
pub(crate) const ODD: [Ipv4Addr; 8] = [
    ip(10, 0, 0, 1),
    ip(10, 0, 0, 12),
    ip(10, 0, 1, 11),
    ip(10, 0, 0, 99),
    ip(169, 254, 169, 254),
    ip(224, 0, 0, 1),
    ip(255, 255, 255, 255),
    ip(10, 9, 9, 9),
];

/// What a host that never spoke may hear from outside, for a floating IP or a port forwarding leads to it.
pub(crate) fn is_published(address: Ipv4Addr) -> bool {
    matches!(address.octets()[3], 40 | 50)
}

/// Destinations that are reached untranslated.
pub(crate) fn is_exempt(address: Ipv4Addr) -> bool {
    address.octets()[..3] == [192, 0, 2] && address.octets()[3] < 128
}

/// What differs between variants: of red's pool, of red, of blue's pool, of blue, of blue's gateway.
type Knobs = [&'static str; 5];

const VARIANTS: [Knobs; 12] = [
    ["", "", "", "", "pool: blue"],
    [
        "udp: {mapping: address_dependent, filtering: endpoint_independent}, icmp: {filtering: endpoint_independent}",
        "tcp: {clamp_mss: true}",
        "preserve_port: true, preserve_parity: true",
        "tcp: {loose: true}",
        "pool: blue",
    ],
    [
        "udp: {mapping: address_and_port_dependent, filtering: address_and_port_dependent}, pairing: none",
        "",
        "tcp: {mapping: endpoint_independent, filtering: endpoint_independent}, pairing: soft",
        "timeouts: {profile: rfc}",
        "pool: blue",
    ],
    [
        "blocks: {ports: 8, per_host_max: 2}",
        "udp_inbound_refresh: false",
        "hold_down_s: 5, hold_down_ports_max: 4",
        "",
        "pool: blue",
    ],
    [
        "tcp: {mapping: endpoint_independent, filtering: address_dependent}, mapping_by_port: [{protocol: udp, ports: 5060-5061, mapping: address_and_port_dependent}]",
        "timeouts: {profile: rfc, other_s: 30, by_port: [{protocol: udp, ports: 53, initial_s: 2, established_s: 4}]}",
        "udp: {filtering: endpoint_independent}, blocks: {ports: 8, per_host_max: 1}, pairing: soft",
        "tcp: {loose: true, clamp_mss: true}",
        "pool: blue",
    ],
    ["hold_down_s: 0, pairing: none, preserve_port: true", "", "", "", "snat: false"],
    ["", "admin_up: false", "", "", "pool: blue"],
    ["exclude_ports: [2008-2031], preserve_parity: true", "", "", "", "next_hop: 203.0.113.1"],
    ["udp: {mapping: address_dependent}, preserve_port: true", "tcp: {loose: true}", "", "", "pool: red"],
    ["", "", "", "", "pool: blue"],
    ["", "", "", "", "pool: blue"],
    ["", "", "", "", "pool: blue"],
];

/// How many variants there are.
pub(crate) const RULES: usize = VARIANTS.len();

fn text(number: usize) -> String {
    let [red_pool, red, blue_pool, blue, way] = VARIANTS[number];
    let comma = |knobs: &str| if knobs.is_empty() { String::new() } else { format!(", {knobs}") };
    let line = |knobs: &str| if knobs.is_empty() { String::new() } else { format!("\n    {knobs}") };
    // Beside the knobs: a network that is gone, addresses that moved, legs that are not translated or silent.
    let (floating, mtu, quiet) = match number {
        9 => ("203.0.113.50, internal: 10.0.0.40", 1_500, ", icmp_errors: false"),
        10 => ("203.0.113.50, internal: 10.0.0.50", MTU_MIN, ", snat: false"),
        _ => ("203.0.113.50, internal: 10.0.0.50", 1_280, ""),
    };
    let pool_red = if number == 11 { "[203.0.113.11-203.0.113.12]" } else { "[203.0.113.10-203.0.113.11]" };
    // One variant has no way out for blue.
    let next_hop = if number == 8 || way.contains("next_hop") { "" } else { "next_hop: 203.0.113.1, " };
    format!(
        r#"
segments:
  - {{id: red-lan, port: in0, vlan: 100}}
  - {{id: red-db, port: in0, vlan: 101, mtu: {mtu}}}
  - {{id: blue-lan, port: in0, vlan: 200}}
  - {{id: internet, port: out0}}
  - {{id: wan, port: out0, vlan: 300, mtu: 1400}}
pools:
  - {{id: red, addresses: {pool_red}, ports: 2000-2063{red_pool}}}
  - {{id: blue, addresses: [203.0.113.20], ports: 2000-2015{blue_pool}}}
  - {{id: wan, addresses: [198.18.0.10], ports: 2000-2015}}
routers:
  - id: red
    interfaces:
      - {{id: lan, segment: red-lan, mac: "fa:16:3e:00:01:01", addresses: [10.0.0.1/24]{quiet}}}
      - {{id: db, segment: red-db, mac: "fa:16:3e:00:01:02", addresses: [10.0.1.1/24]}}
      - {{id: ext, segment: internet, mac: "fa:16:3e:00:01:03", addresses: [203.0.113.2/24], external: true}}
      - {{id: wan, segment: wan, mac: "fa:16:3e:00:01:04", addresses: [198.18.0.2/24], external: true}}
    gateways:
      - {{interface: ext, next_hop: 203.0.113.1, pool: red}}
      - {{interface: wan, pool: wan}}
    routes:
      - {{prefix: 192.0.2.128/25, next_hop: 198.18.0.1}}
    floating_ips:
      - {{id: web, external: {floating}}}
      - {{id: web-wan, external: 198.18.0.50, internal: 10.0.1.11, gateway: wan}}
    port_forwardings:
      - {{id: many, external: 203.0.113.70, protocol: tcp, external_ports: 80-89, internal: 10.0.0.40}}
      - {{id: onto-one, external: 203.0.113.70, protocol: udp, external_ports: 80-89, internal: 10.0.0.40, internal_ports: 8080}}
      - {{id: one, external: 203.0.113.10, protocol: udp, external_ports: 53, internal: 10.0.0.40, internal_ports: 5353}}
    no_nat: [192.0.2.0/25]{red}
  - id: blue
    interfaces:
      - {{id: lan, segment: blue-lan, mac: "fa:16:3e:00:02:01", addresses: [10.0.0.1/24]}}
      - {{id: ext, segment: internet, mac: "fa:16:3e:00:02:03", addresses: [203.0.113.3/24], external: true}}
    gateways:
      - {{interface: ext, {next_hop}{way}}}
    floating_ips:
      - {{id: web, external: 203.0.113.60, internal: 10.0.0.50}}{blue}
"#,
        red_pool = comma(red_pool),
        blue_pool = comma(blue_pool),
        red = line(red),
        blue = line(blue),
    )
}

/// Rules that are read and checked once, and compiled as the first of a gateway's life.
pub(crate) struct Prepared {
    valid: Valid,
    first: (Arc<RuleSet>, Numbers),
}

impl Prepared {
    fn new(number: usize) -> Self {
        let text = text(number);
        let fed = rules::read_rules(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let valid = validate(&fed).unwrap_or_else(|faults| panic!("{faults:#?}\n{text}"));
        let mut numbers = Numbers::new(REALMS_MAX, ADDRESSES_MAX);
        let compiled = rules::compile(&valid, None, &mut numbers).unwrap();
        Self { valid, first: (Arc::new(compiled), numbers) }
    }

    pub(crate) fn valid(&self) -> &Valid {
        &self.valid
    }

    /// The first rules of a gateway, and the numbers they gave.
    pub(crate) fn first(&self) -> (Arc<RuleSet>, Numbers) {
        self.first.clone()
    }

    /// The next ones; `None` where numbers of what is gone are not free yet.
    pub(crate) fn after(&self, previous: &RuleSet, numbers: &mut Numbers) -> Option<RuleSet> {
        rules::compile(&self.valid, Some(previous), numbers).ok()
    }
}

pub(crate) fn validate(fed: &rules::Rules) -> Result<Valid, Vec<rules::Fault>> {
    rules::validate(fed, &PORT_NAMES.map(str::to_owned))
}

/// Each variant of the rules.
pub(crate) fn with_rules<T>(number: usize, use_them: impl FnOnce(&Prepared) -> T) -> T {
    thread_local!(static PREPARED: RefCell<[Option<Prepared>; RULES]> = const { RefCell::new([const { None }; RULES]) });
    PREPARED.with_borrow_mut(|all| use_them(all[number].get_or_insert_with(|| Prepared::new(number))))
}
