//! Routers: what tenants have.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Mac, PortProtocol, PortRange, Timeouts, is_default, is_true, yes};
use crate::text;

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
    /// Its ways out, each by an external interface of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<Gateway>,
    /// Extra routes; the longest prefix wins. Connected networks and the default route by a gateway are implied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// External addresses that belong to one internal address each, both ways.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floating_ips: Vec<FloatingIp>,
    /// External ports that lead to an internal host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port_forwardings: Vec<PortForwarding>,
    /// Destinations that are reached through the gateways untranslated.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "text::prefixes")]
    pub no_nat: Vec<Ipv4Net>,
    /// Timers; what is absent comes from the profile.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
    /// What else it does about TCP.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tcp: TcpRules,
    /// Whether a datagram from outside keeps a UDP session alive, as one from inside always does (RFC 4787 REQ-6).
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub udp_inbound_refresh: bool,
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
    /// Whether ICMP errors of the router's own may leave by it (RFC 5508 REQ-9).
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub icmp_errors: bool,
}

/// A router's way to an external network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// The external interface.
    pub interface: String,
    /// The next hop of the default route, on one of the interface's subnets. One gateway of a router has it at most;
    /// networks behind the others are reached by `routes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<Ipv4Addr>,
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
    /// The gateway on whose network the public address is, by its interface's id; absent: the router's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// A port forwarding: external ports of one address for ports of one internal address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortForwarding {
    /// Unique within the router.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._:-]{1,64}$"))]
    pub id: String,
    /// The public address: one of its own, the gateway's interface's, or of the pool that the gateway translates to.
    pub external: Ipv4Addr,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: PortProtocol,
    /// The public ports.
    pub external_ports: PortRange,
    /// The private address, in one of the router's internal subnets or routes.
    pub internal: Ipv4Addr,
    /// The private ports: as many as the public ones, or a single one for all of them; absent: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_ports: Option<PortRange>,
    /// The gateway on whose network the public address is, by its interface's id; absent: the router's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// What a router does about TCP, timers aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TcpRules {
    /// Connections may be picked up in their middle: a session opens for any segment from inside but a reset.
    pub loose: bool,
    /// What happens to a SYN from outside that no session waits for (RFC 5382 REQ-4).
    pub unsolicited_syn: UnsolicitedSyn,
    /// What happens when the time of an idle connection is up.
    pub idle_reset: IdleReset,
    /// The MSS option of a SYN is lowered to what both its links carry.
    pub clamp_mss: bool,
}

/// What happens to a SYN from outside that no session waits for (RFC 5382 REQ-4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnsolicitedSyn {
    /// It is dropped.
    #[default]
    Drop,
    /// It is kept for 6 seconds; if by then the host has not opened the same connection from inside, it is answered by an
    /// ICMP error.
    #[serde(rename = "error_after_6s")]
    ErrorAfter6s,
}

/// What happens when a TCP session's time is up without an end of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdleReset {
    /// Nothing: its next segment is dropped.
    #[default]
    None,
    /// Its next segment is answered by a reset.
    OnNextSegment,
    /// Both sides get a reset.
    BothNow,
}

impl Router {
    /// The interface of this id; the first, where an id is given twice.
    pub(crate) fn interface(&self, id: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.id == id)
    }

    /// The gateway that a floating IP or port forwarding names: by its interface's id, or the first.
    pub(crate) fn gateway_named(&self, id: Option<&String>) -> Option<&Gateway> {
        self.gateways.iter().find(|gateway| id.is_none_or(|id| *id == gateway.interface))
    }

    /// Whether that is this one.
    pub(crate) fn is_by(&self, gateway: &Gateway, id: Option<&String>) -> bool {
        self.gateway_named(id).is_some_and(|named| std::ptr::eq(named, gateway))
    }

    /// The gateway with the default route.
    pub(crate) fn default_gateway(&self) -> Option<(&Gateway, Ipv4Addr)> {
        self.gateways.iter().find_map(|gateway| Some((gateway, gateway.next_hop?)))
    }
}
