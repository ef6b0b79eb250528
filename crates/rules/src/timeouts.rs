//! The two tables of timers, and what a router makes of them.

use packet::Protocol;

use crate::compiled::{PortRun, PortTimeoutsMs, TimeoutsMs};
use crate::model::{PortProtocol, PortTimeouts, TimeoutProfile, Timeouts};

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
    /// Of queries to UDP port 53, before and after an answer: a query is over with its answer (RFC 4787 REQ-5a).
    dns: u32,
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
    dns: 10,
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
    dns: 30,
};

const DNS_PORT: u16 = 53;

/// Validation keeps seconds within a week, far from the end of a u32; saturating, for who calls it without.
fn milliseconds(seconds: u32) -> u32 {
    seconds.saturating_mul(1000)
}

impl Timeouts {
    fn profile(&self) -> Profile {
        match self.profile.unwrap_or_default() {
            TimeoutProfile::Cloud => CLOUD,
            TimeoutProfile::Rfc => RFC,
        }
    }

    /// The timers of certain remote ports: as given, and behind them the profile's for DNS.
    pub fn complete_by_port(&self) -> Vec<PortTimeoutsMs> {
        let other = self.complete();
        let given = self.by_port.iter().map(|one| {
            let PortTimeouts { protocol, ports, initial_s, established_s } = *one;
            let (initial, established) = match protocol {
                PortProtocol::Tcp => (other.tcp_syn, other.tcp_established),
                _ => (other.udp_initial, other.udp_stream),
            };
            PortTimeoutsMs {
                protocol: protocol.into(),
                ports: ports.into(),
                initial: initial_s.map_or(initial, milliseconds),
                established: established_s.map_or(established, milliseconds),
            }
        });
        let dns = milliseconds(self.profile().dns);
        let ports = PortRun { first: DNS_PORT, last: DNS_PORT };
        let of_profile = PortTimeoutsMs { protocol: Protocol::UDP, ports, initial: dns, established: dns };
        given.chain([of_profile]).collect()
    }

    /// Every other timer, in milliseconds: as given, or from the profile.
    pub fn complete(&self) -> TimeoutsMs {
        let profile = self.profile();
        let pick = |given: Option<u32>, default: u32| milliseconds(given.unwrap_or(default));
        TimeoutsMs {
            tcp_syn: pick(self.tcp_syn_s, profile.tcp_syn),
            tcp_established: pick(self.tcp_established_s, profile.tcp_established),
            tcp_fin: pick(self.tcp_fin_s, profile.tcp_fin),
            tcp_time_wait: pick(self.tcp_time_wait_s, profile.tcp_time_wait),
            tcp_rst: pick(self.tcp_rst_s, profile.tcp_rst),
            udp_initial: pick(self.udp_initial_s, profile.udp_initial),
            udp_stream: pick(self.udp_stream_s, profile.udp_stream),
            icmp: pick(self.icmp_s, profile.icmp),
            other: pick(self.other_s, profile.other),
        }
    }
}
