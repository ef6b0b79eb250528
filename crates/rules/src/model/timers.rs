//! Timers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PortProtocol, PortRange};

/// Timers in seconds; what is absent comes from the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Protocols without ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub other_s: Option<u32>,
    /// Other timers for flows to certain remote ports; the first that matches counts. Behind these there is one for DNS
    /// (UDP 53), of the profile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_port: Vec<PortTimeouts>,
}

/// Timers of flows to certain remote ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortTimeouts {
    /// `tcp` or `udp`.
    pub protocol: PortProtocol,
    /// Remote ports.
    pub ports: PortRange,
    /// Before both sides have spoken; absent: as for other ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub initial_s: Option<u32>,
    /// Once they have; absent: as for other ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub established_s: Option<u32>,
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
