//! The scene most tests play in: two tenants with the same subnet, on one external network.
//!
//! ```text
//! vlan 100  10.0.0.0/24  RED_A .11  RED_B .12  RED_WEB .50  RED_MAIL .51 --.
//! vlan 101  10.0.1.0/24  RED_DB .11 ---------------------------------------+- router red  --.
//!                                                                                           |  203.0.113.0/24
//! vlan 200  10.0.0.0/24  BLUE_A .11  BLUE_WEB .50 --------------------------- router blue --+-- ISP .1 -- SERVER, OTHER, OFFICE
//! ```
//!
//! Each translates to a pool of its own, has floating IPs, and reaches the office (192.0.2.0/24) untranslated.

use std::net::Ipv4Addr;

use packet::MacAddress;

use super::{Host, Setup, Wire, World, mac};
use packet::VlanId;

/// The rules of the scene.
pub(crate) const RULES: &str = r#"
segments:
  - {id: red-lan, port: in0, vlan: 100}
  - {id: red-db, port: in0, vlan: 101}
  - {id: blue-lan, port: in0, vlan: 200}
  - {id: internet, port: out0}
pools:
  - {id: red, addresses: [203.0.113.10]}
  - {id: blue, addresses: [203.0.113.20]}
routers:
  - id: red
    interfaces:
      - {id: lan, segment: red-lan, mac: "fa:16:3e:00:01:01", addresses: [10.0.0.1/24]}
      - {id: db, segment: red-db, mac: "fa:16:3e:00:01:02", addresses: [10.0.1.1/24]}
      - {id: ext, segment: internet, mac: "fa:16:3e:00:01:03", addresses: [203.0.113.2/24], external: true}
    gateways: [{interface: ext, next_hop: 203.0.113.1, pool: red}]
    floating_ips:
      - {id: web, external: 203.0.113.50, internal: 10.0.0.50}
      - {id: mail, external: 203.0.113.51, internal: 10.0.0.51}
    no_nat: [192.0.2.0/24]
  - id: blue
    interfaces:
      - {id: lan, segment: blue-lan, mac: "fa:16:3e:00:02:01", addresses: [10.0.0.1/24]}
      - {id: ext, segment: internet, mac: "fa:16:3e:00:02:03", addresses: [203.0.113.3/24], external: true}
    gateways: [{interface: ext, next_hop: 203.0.113.1, pool: blue}]
    floating_ips:
      - {id: web, external: 203.0.113.60, internal: 10.0.0.50}
"#;

pub(crate) const RED_LAN: MacAddress = MacAddress([0xfa, 0x16, 0x3e, 0, 1, 1]);
pub(crate) const RED_DB_LEG: MacAddress = MacAddress([0xfa, 0x16, 0x3e, 0, 1, 2]);
pub(crate) const RED_EXT: MacAddress = MacAddress([0xfa, 0x16, 0x3e, 0, 1, 3]);
pub(crate) const BLUE_LAN: MacAddress = MacAddress([0xfa, 0x16, 0x3e, 0, 2, 1]);
pub(crate) const BLUE_EXT: MacAddress = MacAddress([0xfa, 0x16, 0x3e, 0, 2, 3]);

pub(crate) const RED_LAN_WIRE: Wire = Wire { port: 0, vlan: VlanId::new(100) };
pub(crate) const RED_DB_WIRE: Wire = Wire { port: 0, vlan: VlanId::new(101) };
pub(crate) const BLUE_LAN_WIRE: Wire = Wire { port: 0, vlan: VlanId::new(200) };
pub(crate) const INTERNET: Wire = Wire { port: 1, vlan: None };

pub(crate) const RED_A: Host = red(11);
pub(crate) const RED_B: Host = red(12);
pub(crate) const RED_WEB: Host = red(50);
pub(crate) const RED_MAIL: Host = red(51);
pub(crate) const RED_DB: Host =
    Host { wire: RED_DB_WIRE, mac: mac(11, 11), address: Ipv4Addr::new(10, 0, 1, 11), via: RED_DB_LEG };
pub(crate) const BLUE_A: Host = blue(11);
pub(crate) const BLUE_WEB: Host = blue(50);

pub(crate) const ISP: Host =
    Host { wire: INTERNET, mac: mac(99, 1), address: Ipv4Addr::new(203, 0, 113, 1), via: RED_EXT };
pub(crate) const SERVER: Host = Host { address: Ipv4Addr::new(198, 51, 100, 1), ..ISP };
pub(crate) const OTHER: Host = Host { address: Ipv4Addr::new(198, 51, 100, 2), ..ISP };
pub(crate) const OFFICE: Host = Host { address: Ipv4Addr::new(192, 0, 2, 9), ..ISP };

pub(crate) const RED_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const RED_EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
pub(crate) const RED_POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub(crate) const BLUE_POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
pub(crate) const WEB: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);
pub(crate) const MAIL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 51);
pub(crate) const BLUE_WEB_FLOATING: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 60);

/// Everyone in the scene.
pub(crate) const HOSTS: [Host; 11] =
    [RED_A, RED_B, RED_WEB, RED_MAIL, RED_DB, BLUE_A, BLUE_WEB, ISP, SERVER, OTHER, OFFICE];

/// A host of red's first subnet.
pub(crate) const fn red(number: u8) -> Host {
    Host { wire: RED_LAN_WIRE, mac: mac(10, number), address: Ipv4Addr::new(10, 0, 0, number), via: RED_LAN }
}

/// A host of blue's subnet.
pub(crate) const fn blue(number: u8) -> Host {
    Host {
        wire: BLUE_LAN_WIRE,
        mac: mac(20, number),
        address: Ipv4Addr::new(10, 0, 0, number),
        via: BLUE_LAN,
    }
}

/// Pieces of the rules, each with what stands in its place.
pub(crate) type Changes<'a> = &'a [(&'a str, &'a str)];

/// The scene as it is.
pub(crate) fn scene() -> World {
    World::new(RULES, &HOSTS)
}

/// The scene with changed rules.
pub(crate) fn scene_with(changes: Changes) -> World {
    World::new(&rules_with(changes), &HOSTS)
}

/// The scene with another gateway and changed rules.
pub(crate) fn scene_on(setup: Setup, changes: Changes) -> World {
    World::with(setup, &rules_with(changes), &HOSTS)
}

/// The rules with pieces replaced.
pub(crate) fn rules_with(changes: Changes) -> String {
    changes.iter().fold(RULES.to_owned(), |rules, (from, to)| {
        assert!(rules.contains(from), "`{from}` is in the rules");
        rules.replacen(from, to, 1)
    })
}
