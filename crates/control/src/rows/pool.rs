//! Addresses that are translated to, and how much of them is in use.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// One external address of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRow {
    /// The pool's id in the rules; `router/interface` for an interface's own addresses.
    pub pool: String,
    /// The id of the external network it is on.
    #[serde(default)]
    pub segment: String,
    /// The address.
    pub address: Ipv4Addr,
    /// TCP ports, UDP ports and ICMP query identifiers of it that are in use or in hold-down, together.
    pub ports_used: u64,
    /// How many there are of the three together.
    pub ports: u64,
}
