//! The two tables of timers, and what a router makes of them.

use crate::compiled::TimeoutsMs;
use crate::model::{TimeoutProfile, Timeouts};

/// Seconds of each timer, in the order of [`TimeoutsMs`].
struct Profile {
    tcp_syn: u32,
    tcp_established: u32,
    tcp_fin: u32,
    tcp_time_wait: u32,
    tcp_rst: u32,
    udp_initial: u32,
    udp_stream: u32,
    icmp: u32,
    other: u32,
}

/// What clouds use: short enough that a port scan does not fill the table.
const CLOUD: Profile = Profile {
    tcp_syn: 30,
    tcp_established: 3600,
    tcp_fin: 120,
    tcp_time_wait: 30,
    tcp_rst: 10,
    udp_initial: 30,
    udp_stream: 180,
    icmp: 60,
    other: 180,
};

/// What the RFCs ask for: 2 h 4 min and 4 min for TCP (RFC 5382 REQ-5), 2 and 5 min for UDP (RFC 4787 REQ-5), 60 s for
/// ICMP queries (RFC 5508 REQ-2).
const RFC: Profile = Profile {
    tcp_syn: 240,
    tcp_established: 7440,
    tcp_fin: 240,
    tcp_time_wait: 240,
    tcp_rst: 240,
    udp_initial: 120,
    udp_stream: 300,
    icmp: 60,
    other: 600,
};

impl Timeouts {
    /// Every timer, in milliseconds: as given, or from the profile.
    pub fn complete(&self) -> TimeoutsMs {
        let profile = match self.profile.unwrap_or_default() {
            TimeoutProfile::Cloud => CLOUD,
            TimeoutProfile::Rfc => RFC,
        };
        // Validation keeps seconds within a week, far from the end of a u32; saturating, for who calls it without.
        let pick = |given: Option<u32>, default: u32| given.unwrap_or(default).saturating_mul(1000);
        TimeoutsMs {
            tcp_syn: pick(self.tcp_syn_s, profile.tcp_syn),
            tcp_established: pick(self.tcp_established_s, profile.tcp_established),
            tcp_fin: pick(self.tcp_fin_s, profile.tcp_fin),
            tcp_time_wait: pick(self.tcp_time_wait_s, profile.tcp_time_wait),
            tcp_rst: pick(self.tcp_rst_s, profile.tcp_rst),
            udp_initial: pick(self.udp_initial_s, profile.udp_initial),
            udp_stream: pick(self.udp_stream_s, profile.udp_stream),
            icmp: pick(self.icmp_s, profile.icmp),
            other: pick(None, profile.other),
        }
    }
}
