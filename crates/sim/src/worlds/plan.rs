//! How a world looks, in the rules' words; and how it may look after a change.
//!
//! ```text
//! vlan 100  10.0.0.0/24 -- router red ---.                                  .-- 198.51.100.1, .2  servers
//! vlan 200  10.0.0.0/24 -- router blue --+-- 203.0.113.0/24 -- 203.0.113.1 -+-- 198.51.100.3      a client
//! vlan 300  10.0.0.0/24 -- router green -'                                  '-- 198.51.100.66     a stranger
//!
//! each tenant   10.0.0.11, .12   clients         10.0.0.50   a server with a floating IP
//!               10.0.0.21 - .24  ask only        10.0.0.60   a server behind a port forwarding
//! ```
//!
//! Red and blue share a pool; green's gives ports in blocks, in half of the worlds. A change says whom it may disturb:
//! everybody else has to go on as if nothing were.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::wire::Endpoint;
use crate::random::Random;

pub(crate) const TENANTS: usize = 3;
const NAMES: [&str; TENANTS] = ["red", "blue", "green"];

/// Whom nobody trusts.
pub(crate) const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);
pub(crate) const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];
pub(crate) const OUTSIDE_CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);
/// The router behind which everybody outside is.
pub(crate) const ISP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// A router on the way, which only complains.
pub(crate) const ON_THE_WAY: Ipv4Addr = Ipv4Addr::new(100, 100, 0, 7);

/// TCP ports that servers listen on, and the one they answer datagrams on.
pub(crate) const WEB: u16 = 80;
pub(crate) const ECHO: u16 = 7;
/// The same outside of a forwarding.
const FORWARDED_WEB: u16 = 8_080;
const FORWARDED_ECHO: u16 = 9_007;

/// Ports of each external address of a pool.
pub(crate) const POOL_PORTS: [(u16, u16); 2] = [(2_000, 2_399), (2_000, 2_199)];

pub(crate) fn host(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn public(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, last)
}

/// The external endpoints under which a tenant's servers are reached.
pub(crate) fn open_endpoints(tenant: usize, port: u16) -> [Endpoint; 2] {
    let forwarded = if port == WEB { FORWARDED_WEB } else { FORWARDED_ECHO };
    [(public(50 + tenant as u8), port), (public(30 + tenant as u8), forwarded)]
}

/// Where a tenant's network is: the VLAN.
pub(crate) fn vlan(tenant: usize) -> u16 {
    100 * (tenant as u16 + 1)
}

/// Whose network a VLAN is.
pub(crate) fn tenant_of(vlan: u16) -> Option<usize> {
    (0..TENANTS).find(|tenant| self::vlan(*tenant) == vlan)
}

/// Which pool a tenant's router translates to.
pub(crate) fn pool_of(tenant: usize) -> usize {
    usize::from(tenant == 2)
}

/// The tenants that use a pool, one bit each.
pub(crate) fn users_of(pool: usize) -> u8 {
    [0b011, 0b100][pool]
}

/// A host's MAC.
pub(crate) fn mac_of(segment: u16, address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [2, (segment / 100) as u8, a, b, c, d]
}

/// A router's MAC: inside, or outside.
pub(crate) fn router_mac(tenant: usize, outside: bool) -> [u8; 6] {
    [0xfa, 0x16, 0x3e, 0, tenant as u8, u8::from(outside)]
}

/// See the file's page.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) routers: [RouterPlan; TENANTS],
    /// How many addresses each pool has, of two; how long its ports rest.
    pools: [(u8, u32); 2],
    /// Of the second pool, ports are given in blocks.
    has_blocks: bool,
    revision: u64,
}

/// What may change about a router.
#[derive(Clone, Debug)]
pub(crate) struct RouterPlan {
    pub(crate) up: bool,
    snat: bool,
    floating: bool,
    forwards: bool,
    /// `rfc`, not `cloud`.
    pub(crate) is_patient: bool,
    /// A route to nowhere, which nobody uses.
    no_nat: bool,
    name: u64,
}

/// Whom a change may disturb, one bit for each tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disturbs(pub(crate) u8);

impl Plan {
    pub(crate) fn new(random: &mut Random) -> Self {
        let router = || RouterPlan {
            up: true,
            snat: true,
            floating: true,
            forwards: true,
            is_patient: false,
            no_nat: false,
            name: 0,
        };
        let mut routers = [router(), router(), router()];
        routers.iter_mut().for_each(|router| router.is_patient = random.one_in(3));
        Self { routers, pools: [(2, 30), (1, 30)], has_blocks: random.one_in(2), revision: 1 }
    }

    /// How long an established connection of these tenants may be silent.
    pub(crate) fn established_ms(&self, tenants: u8) -> u64 {
        if self.are_patient(tenants) { 7_440_000 } else { 3_600_000 }
    }

    /// Whether these tenants' timers are those of the RFCs, not the cloud's.
    pub(crate) fn are_patient(&self, tenants: u8) -> bool {
        let mut routers = (0..TENANTS).filter(|tenant| tenants >> tenant & 1 == 1);
        routers.all(|tenant| self.routers[tenant].is_patient)
    }

    /// Whether a tenant's hosts reach the outside, and are reached.
    pub(crate) fn is_whole(&self, tenant: usize) -> bool {
        let RouterPlan { up, snat, floating, forwards, .. } = self.routers[tenant];
        up && snat && floating && forwards
    }

    /// Changes something, mostly back to how it was; says what, and whom it may disturb.
    pub(crate) fn change(&mut self, random: &mut Random) -> (&'static str, Disturbs) {
        self.revision += 1;
        let broken = (0..TENANTS).find(|tenant| !self.is_whole(*tenant));
        if let Some(tenant) = broken {
            let router = &mut self.routers[tenant];
            let disturbed = if router.up { 1 << tenant } else { users_of(pool_of(tenant)) };
            (router.up, router.snat, router.floating, router.forwards) = (true, true, true, true);
            return ("a router as it was", Disturbs(disturbed));
        }
        if self.pools[0].0 == 1 {
            self.pools[0].0 = 2;
            // One worker gives it away, to another it is not for us yet.
            return ("the pool's address comes back", Disturbs(users_of(0)));
        }
        let tenant = random.below(TENANTS);
        let router = &mut self.routers[tenant];
        match random.below(9) {
            0 => {
                // Its pool is another's MAC's now: what is on its way to this one is lost.
                router.up = false;
                return ("a router goes down", Disturbs(users_of(pool_of(tenant))));
            }
            1 => router.snat = false,
            2 => router.floating = false,
            3 => router.forwards = false,
            4 => {
                self.pools[0].0 = 1;
                return ("the pool loses an address", Disturbs(users_of(0)));
            }
            5 => {
                router.is_patient ^= true;
                return ("other timers", Disturbs(1 << tenant));
            }
            6 => {
                router.no_nat ^= true;
                return ("a prefix untranslated", Disturbs(0));
            }
            7 => {
                let pool = &mut self.pools[pool_of(tenant)];
                pool.1 = 75 - pool.1;
                return ("another hold-down", Disturbs(0));
            }
            _ => {
                router.name += 1;
                return ("another name", Disturbs(0));
            }
        }
        ("a router loses something", Disturbs(1 << tenant))
    }

    /// The router's MAC to which the outside sends what is for an external address.
    pub(crate) fn mac_for(&self, external: Ipv4Addr) -> [u8; 6] {
        let last = external.octets()[3];
        let tenant = match last {
            10 | 11 => (0..2).find(|tenant| self.routers[*tenant].up).unwrap_or(0),
            12 => 2,
            2..=4 => usize::from(last - 2),
            _ => usize::from(last % 10).min(TENANTS - 1),
        };
        router_mac(tenant, true)
    }

    /// All of it, as rules.
    pub(crate) fn rules(&self) -> String {
        let mut text = String::from("segments:\n- {id: internet, port: outside}\n");
        for (tenant, name) in NAMES.iter().enumerate() {
            let vlan = vlan(tenant);
            writeln!(text, "- {{id: {name}-lan, port: inside, vlan: {vlan}}}").unwrap();
        }
        text.push_str("pools:\n");
        for (pool, (addresses, hold_down_s)) in self.pools.iter().enumerate() {
            let first = [10, 12][pool];
            let (from, to) = POOL_PORTS[pool];
            let last = first + addresses - 1;
            // Small ones: a host has several, and others again what it has given back.
            let blocks =
                if self.has_blocks && pool == 1 { ", blocks: {ports: 8, per_host_max: 8}" } else { "" };
            writeln!(
                text,
                "- {{id: pool{pool}, revision: {}, addresses: [203.0.113.{first}-203.0.113.{last}], \
                 ports: {from}-{to}, hold_down_s: {hold_down_s}{blocks}}}",
                self.revision
            )
            .unwrap();
        }
        text.push_str("routers:\n");
        (0..TENANTS).for_each(|tenant| self.write_router(&mut text, tenant));
        text
    }

    fn write_router(&self, text: &mut String, tenant: usize) {
        let router = &self.routers[tenant];
        let mac = |outside| router_mac(tenant, outside).map(|byte| format!("{byte:02x}")).join(":");
        let (name, label, revision) = (NAMES[tenant], router.name, self.revision);
        let pool = if router.snat { format!(", pool: pool{}", pool_of(tenant)) } else { String::new() };
        writeln!(
            text,
            "- id: {name}\n  name: {name} {label}\n  revision: {revision}\n  admin_up: {}\n  interfaces:\n  \
             - {{id: lan, segment: {name}-lan, mac: \"{}\", addresses: [10.0.0.1/24]}}\n  \
             - {{id: up, segment: internet, mac: \"{}\", addresses: [{}/24], external: true}}\n  \
             gateways:\n  - {{interface: up, next_hop: {ISP}, snat: {}{pool}}}",
            router.up,
            mac(false),
            mac(true),
            public(2 + tenant as u8),
            router.snat,
        )
        .unwrap();
        let [(floating, _), (forwarded, _)] = open_endpoints(tenant, WEB);
        if router.floating {
            writeln!(text, "  floating_ips:\n  - {{id: f, external: {floating}, internal: 10.0.0.50}}")
                .unwrap();
        }
        if router.forwards {
            writeln!(
                text,
                "  port_forwardings:\n  - {{id: web, external: {forwarded}, protocol: tcp, external_ports: \
                 {FORWARDED_WEB}, internal: 10.0.0.60, internal_ports: {WEB}}}\n  - {{id: echo, external: \
                 {forwarded}, protocol: udp, external_ports: {FORWARDED_ECHO}, internal: 10.0.0.60, \
                 internal_ports: {ECHO}}}"
            )
            .unwrap();
        }
        if router.no_nat {
            text.push_str("  no_nat: [192.0.2.0/24]\n");
        }
        let profile = if router.is_patient { "rfc" } else { "cloud" };
        writeln!(text, "  timeouts: {{profile: {profile}}}").unwrap();
    }
}
