//! Pools: what is translated to, and how.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AddressRange, PortProtocol, PortRange, is_default};

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
    /// Addresses among these that are not translated to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_addresses: Vec<AddressRange>,
    /// External ports to choose from.
    #[serde(default)]
    pub ports: PortRange,
    /// Ports among these that are not chosen, as those of port forwardings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_ports: Vec<PortRange>,
    /// How TCP is mapped and filtered; absent: both `address_and_port_dependent`, so that one external port serves many
    /// flows to different destinations.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tcp: Behaviour,
    /// How UDP is mapped and filtered; absent: mapping `endpoint_independent`, filtering `address_dependent`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub udp: Behaviour,
    /// How ICMP queries are mapped and filtered; absent: mapping `endpoint_independent`, filtering `address_dependent`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub icmp: Behaviour,
    /// Other mappings for flows to certain remote ports; the first that matches counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mapping_by_port: Vec<MappingByPort>,
    /// Whether all flows of a host have one external address.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pairing: Pairing,
    /// Whether the internal port is tried first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preserve_port: bool,
    /// Whether an even port is mapped to an even one and an odd to an odd (RFC 4787 REQ-4).
    #[serde(default, skip_serializing_if = "is_default")]
    pub preserve_parity: bool,
    /// Gives ports to hosts in blocks; absent: one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Blocks>,
    /// Seconds a freed port rests before another flow gets it (RFC 6888 REQ-8).
    #[serde(default = "default_hold_down_s")]
    #[schemars(range(max = 604800))]
    pub hold_down_s: u32,
    /// How many ports of one address and protocol rest at once, at most; absent: as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_down_ports_max: Option<u32>,
}

impl Pool {
    /// A pool of these addresses, as one is of which nothing else is said.
    pub fn new(id: &str, addresses: Vec<AddressRange>) -> Self {
        Self {
            id: id.to_owned(),
            revision: 0,
            addresses,
            exclude_addresses: Vec::new(),
            ports: PortRange::default(),
            exclude_ports: Vec::new(),
            tcp: Behaviour::default(),
            udp: Behaviour::default(),
            icmp: Behaviour::default(),
            mapping_by_port: Vec::new(),
            pairing: Pairing::default(),
            preserve_port: false,
            preserve_parity: false,
            blocks: None,
            hold_down_s: default_hold_down_s(),
            hold_down_ports_max: None,
        }
    }
}

pub(crate) fn default_hold_down_s() -> u32 {
    60
}

/// How much of the remote endpoint a decision depends on (RFC 4787 sections 4.1 and 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dependence {
    /// On nothing of it.
    EndpointIndependent,
    /// On its address.
    AddressDependent,
    /// On its address and port.
    AddressAndPortDependent,
}

/// How a pool maps and filters one protocol; what is absent is the protocol's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// Which flows of an internal endpoint share an external one: all, those to one remote address, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<Dependence>,
    /// Who may come in through a mapping: anyone, addresses that the host has spoken to, or their very ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filtering: Option<Dependence>,
}

/// Another mapping for flows to certain remote ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MappingByPort {
    /// `tcp` or `udp`.
    pub protocol: PortProtocol,
    /// Remote ports.
    pub ports: PortRange,
    /// How flows to them are mapped.
    pub mapping: Dependence,
}

/// What a host of a pool is paired with, and what happens when that is used up (RFC 4787 REQ-2, RFC 7857 section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// All flows of a host have one external address; when its ports are used up, new flows are refused.
    #[default]
    Strict,
    /// All flows of a host have one external address while it has ports; then another.
    Soft,
    /// Each mapping has any address.
    None,
}

/// How many ports a host has at once, and in which units (RFC 6888 REQ-14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blocks {
    /// Ports of a block: a power of two, 8 to 4096.
    #[serde(default = "default_block_ports")]
    #[schemars(range(min = 8, max = 4096))]
    pub ports: u16,
    /// Blocks that one host has at once for one protocol, at most: 1 to 64.
    #[serde(default = "default_blocks_per_host_max")]
    #[schemars(range(min = 1, max = 64))]
    pub per_host_max: u16,
}

fn default_block_ports() -> u16 {
    64
}

fn default_blocks_per_host_max() -> u16 {
    8
}
