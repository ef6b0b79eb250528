//! The rules as an operator writes them and as the feed carries them.
//!
//! Addresses are text (`10.0.0.1/24`, `203.0.113.10-203.0.113.20`, `fa:16:3e:00:00:01`), so that a file reads as the
//! operator thinks. The comments on the fields become the descriptions in the JSON Schema, so they speak to whoever
//! writes a file. What is not here on purpose: anything computed. Indices and look-up tables are
//! [`compiled`](crate::compiled)'s.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text;

/// All rules of one gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Networks the gateway's ports lead to.
    pub segments: Vec<Segment>,
    /// External addresses to translate to.
    pub pools: Vec<Pool>,
    /// Tenants' routers.
    pub routers: Vec<Router>,
}

/// Where the frames of one network enter and leave: a port, and a VLAN on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Unique among segments: 1 to 64 of `A-Za-z0-9._:-`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._:-]{1,64}$"))]
    pub id: String,
    /// Rises with every change of this object; a lower one is ignored as stale.
    #[serde(default)]
    pub revision: u64,
    /// The port's name in the node's configuration.
    pub port: String,
    /// 802.1Q VLAN, 1 to 4094; absent for untagged frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<u16>,
    /// Largest IPv4 packet on this network, in bytes, 576 to 9216.
    #[serde(default = "default_mtu")]
    #[schemars(range(min = 576, max = 9216))]
    pub mtu: u16,
}

fn default_mtu() -> u16 {
    1500
}

/// External addresses and ports that routers translate to. May be shared by several routers on one external network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Unique among pools.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._:-]{1,64}$"))]
    pub id: String,
    /// Rises with every change of this object; a lower one is ignored as stale.
    #[serde(default)]
    pub revision: u64,
    /// Addresses: `a.b.c.d`, `a.b.c.d/len` or `first-last`. They need not be contiguous.
    pub addresses: Vec<AddressRange>,
    /// External ports to choose from.
    #[serde(default)]
    pub ports: PortRange,
    /// Seconds a freed port rests before another flow gets it (RFC 6888 REQ-8).
    #[serde(default = "default_hold_down_s")]
    #[schemars(range(max = 604800))]
    pub hold_down_s: u32,
}

pub(crate) fn default_hold_down_s() -> u32 {
    60
}

/// A run of addresses, both ends included. Written as `a.b.c.d`, `a.b.c.d/len` or `first-last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// Lowest address.
    pub first: Ipv4Addr,
    /// Highest address.
    pub last: Ipv4Addr,
}

/// A run of ports, both ends included. Written as `first-last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// Lowest port, 1 or more.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

/// A MAC address, written as `fa:16:3e:00:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

/// A tenant's router, with everything it owns: the unit that is accepted or rejected as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Unique among routers.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._:-]{1,64}$"))]
    pub id: String,
    /// Rises with every change of this object; a lower one is ignored as stale.
    #[serde(default)]
    pub revision: u64,
    /// The tenant, for metrics and logs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// False: the router forwards nothing and answers nothing.
    #[serde(default = "yes")]
    pub admin_up: bool,
    /// Its legs into networks.
    pub interfaces: Vec<Interface>,
    /// Its way out, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// Extra routes; the longest prefix wins. Connected networks and the gateway's default route are implied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// External addresses that belong to one internal address each, both ways.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floating_ips: Vec<FloatingIp>,
    /// Destinations that are reached through the gateway untranslated.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "text::prefixes")]
    pub no_nat: Vec<Ipv4Net>,
    /// Timers; what is absent comes from the profile.
    #[serde(default, skip_serializing_if = "Timeouts::is_empty")]
    pub timeouts: Timeouts,
}

fn yes() -> bool {
    true
}

/// A router's leg into a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Unique within the router.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._:-]{1,64}$"))]
    pub id: String,
    /// The network it is on.
    pub segment: String,
    /// Its MAC: unicast, unique on the segment.
    pub mac: Mac,
    /// Its addresses with their subnets' prefix lengths, as `10.0.0.1/24`. The first is the source of what it says.
    #[serde(deserialize_with = "text::prefixes")]
    pub addresses: Vec<Ipv4Net>,
    /// True for the leg into the external network.
    #[serde(default)]
    pub external: bool,
    /// Whether this leg's hosts are translated on their way out; means nothing on an external leg.
    #[serde(default = "yes")]
    pub snat: bool,
}

/// A router's way to the external network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// The external interface.
    pub interface: String,
    /// The next hop of the default route, on one of the interface's subnets.
    pub next_hop: Ipv4Addr,
    /// Whether hosts without a floating IP are translated (SNAT). False: only floating IPs and `no_nat` pass.
    #[serde(default = "yes")]
    pub snat: bool,
    /// The pool to translate to; absent: the interface's own addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// An extra route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Destinations; host bits are zero.
    #[serde(deserialize_with = "text::prefix")]
    pub prefix: Ipv4Net,
    /// Where to send them: an address on one of the router's connected subnets.
    pub next_hop: Ipv4Addr,
}

/// A floating IP: one external address for one internal address, any protocol, both ways, no state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FloatingIp {
    /// Unique within the router.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._:-]{1,64}$"))]
    pub id: String,
    /// The public address.
    pub external: Ipv4Addr,
    /// The private address, in one of the router's internal subnets or routes.
    pub internal: Ipv4Addr,
}

/// Timers in seconds; what is absent comes from the profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Which table the other values default to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<TimeoutProfile>,
    /// TCP before both sides have spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub tcp_syn_s: Option<u32>,
    /// TCP established and idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub tcp_established_s: Option<u32>,
    /// TCP after the first FIN.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub tcp_fin_s: Option<u32>,
    /// TCP after both FINs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub tcp_time_wait_s: Option<u32>,
    /// TCP after a reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub tcp_rst_s: Option<u32>,
    /// UDP before an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub udp_initial_s: Option<u32>,
    /// UDP once both sides have spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub udp_stream_s: Option<u32>,
    /// ICMP queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub icmp_s: Option<u32>,
}

impl Timeouts {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A table of timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TimeoutProfile {
    /// What clouds use: short (the default).
    #[default]
    Cloud,
    /// What RFC 4787, 5382 and 5508 ask for.
    Rfc,
}
