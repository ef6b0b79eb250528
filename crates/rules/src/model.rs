//! The rules as an operator writes them and as the feed carries them.
//!
//! Addresses are text (`10.0.0.1/24`, `203.0.113.10-203.0.113.20`, `fa:16:3e:00:00:01`), so that a file reads as the
//! operator thinks. The comments on the fields become the descriptions in the JSON Schema, so they speak to whoever
//! writes a file. What is not here on purpose: anything computed. Indices and look-up tables are
//! [`compiled`](crate::compiled)'s.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod pool;
mod router;
mod timers;

pub(crate) use pool::default_hold_down_s;
pub use pool::{Behaviour, Blocks, Dependence, MappingByPort, Pairing, Pool};
pub use router::{
    FloatingIp, Gateway, IdleReset, Interface, PortForwarding, Route, Router, TcpRules, UnsolicitedSyn,
};
pub use timers::{PortTimeouts, TimeoutProfile, Timeouts};

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

/// A run of addresses, both ends included. Written as `a.b.c.d`, `a.b.c.d/len` or `first-last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// Lowest address.
    pub first: Ipv4Addr,
    /// Highest address.
    pub last: Ipv4Addr,
}

/// A run of ports, both ends included. Written as `first-last`, or as the one port it is.
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

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

pub(crate) fn yes() -> bool {
    true
}

/// For fields that are not written where they say nothing.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(crate) fn is_true(value: &bool) -> bool {
    *value
}
