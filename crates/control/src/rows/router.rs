//! Routers as they run, and drops by reason.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{SessionProtocol, SessionState};

/// One router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterRow {
    /// Its id in the rules.
    pub id: String,
    /// Its project.
    #[serde(default)]
    pub project: String,
    /// Its name; free text.
    #[serde(default)]
    pub name: String,
    /// The revision in force.
    pub revision: u64,
    /// The generation in which it last changed.
    pub generation: u64,
    /// Whether it forwards.
    pub state: RouterState,
    /// Its legs.
    #[serde(default)]
    pub interfaces: Vec<InterfaceRow>,
    /// Its ways out.
    #[serde(default)]
    pub gateways: Vec<GatewayRow>,
    /// Its floating IPs.
    #[serde(default)]
    pub floating_ips: Vec<FloatingIpRow>,
    /// Its port forwardings.
    #[serde(default)]
    pub port_forwardings: Vec<PortForwardingRow>,
    /// Its sessions, all of them.
    #[serde(default)]
    pub sessions: u64,
    /// The same by protocol and state, as far as the node counts them so.
    #[serde(default)]
    pub sessions_by: Vec<SessionCount>,
}

/// Whether a router forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterState {
    /// It forwards.
    Up,
    /// Its rules say `admin_up: false`: it forwards nothing and answers nothing.
    Down,
}

impl RouterState {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            RouterState::Up => "up",
            RouterState::Down => "down",
        }
    }
}

/// A router's leg into a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceRow {
    /// Its id, unique within the router.
    pub id: String,
    /// The network's id.
    pub segment: String,
    /// The port that leads there.
    pub port: String,
    /// The VLAN on it; absent for untagged frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Its MAC address.
    pub mac: String,
    /// Its addresses, as `10.0.0.1/24`.
    pub addresses: Vec<String>,
    /// Whether it leads to the external network.
    pub external: bool,
}

/// A router's way to an external network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayRow {
    /// The external interface's id.
    pub interface: String,
    /// The next hop of the default route, if it is by this gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<Ipv4Addr>,
    /// Whether hosts without a floating IP are translated.
    pub snat: bool,
    /// The pool they are translated to; absent: the interface's own addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// One floating IP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingIpRow {
    /// Its id, unique within the router.
    pub id: String,
    /// The public address.
    pub external: Ipv4Addr,
    /// The private address.
    pub internal: Ipv4Addr,
}

/// One port forwarding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortForwardingRow {
    /// Its id, unique within the router.
    pub id: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The public address.
    pub external: Ipv4Addr,
    /// The public ports, as `8000-8010`.
    pub external_ports: String,
    /// The private address.
    pub internal: Ipv4Addr,
    /// The private ports.
    pub internal_ports: String,
}

/// How many sessions of one kind there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCount {
    /// Their protocol.
    pub protocol: SessionProtocol,
    /// Their state.
    pub state: SessionState,
    /// How many.
    pub sessions: u64,
}

/// One reason for drops. Every dropped frame is counted in exactly one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRow {
    /// The reason's name, as on the counters page.
    pub reason: String,
    /// What it means and what to do about it, in a sentence.
    pub help: String,
    /// Frames dropped for it.
    pub count: u64,
}
