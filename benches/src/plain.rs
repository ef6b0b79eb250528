//! One router without VLANs, for gateways that know no tenants: the kernel, VPP.
//!
//! ```text
//! port inside    10.0.0.1/8, hosts 10.0.1.0 and on
//! port outside   198.18.0.2/24, next hop .1, the pool .64 to .127
//! remotes        203.0.113.1 to .200, port 443
//! ```
//!
//! A host has 63 flows, as in the [cloud's scene](crate::scene); so a million flows are of 15,874 hosts.

use std::net::Ipv4Addr;

use packet::{MacAddress, PortIndex, testing};

use crate::scene::{self, External, FLOWS_PER_HOST, INSIDE, NEXT_HOP, OUTSIDE};

/// The router's address inside.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The first address of the pool, of 64.
pub const POOL: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 64);
/// The next hop's address.
pub const NEXT_HOP_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// UDP data: four bytes more than a tagged frame has, so that frames are as long.
const DATA: [u8; 22] = [0; 22];

/// The rules, as they are fed.
pub fn rules() -> String {
    let (inside, outside) = (inside_mac(), outside_mac());
    format!(
        "segments: [{{id: inside, port: inside}}, {{id: outside, port: outside}}]\n\
         pools: [{{id: pool, addresses: [198.18.0.64-198.18.0.127]}}]\n\
         routers:\n\
         - id: router\n  interfaces:\n  \
         - {{id: in, segment: inside, mac: \"{inside}\", addresses: [{GATEWAY}/8]}}\n  \
         - {{id: out, segment: outside, mac: \"{outside}\", addresses: [198.18.0.2/24], external: true}}\n  \
         gateways: [{{interface: out, next_hop: {NEXT_HOP_ADDRESS}, pool: pool}}]\n"
    )
}

/// The router's MAC inside.
pub fn inside_mac() -> MacAddress {
    scene::mac(1, 0)
}

/// The router's MAC outside.
pub fn outside_mac() -> MacAddress {
    scene::mac(2, 0)
}

/// The MAC of all hosts.
pub fn host_mac() -> MacAddress {
    scene::host_mac(0)
}

/// A flow's internal endpoint.
pub fn internal(flow: usize) -> External {
    (host((flow / FLOWS_PER_HOST) as u32), (20_000 + flow % FLOWS_PER_HOST) as u16)
}

/// A frame of a flow from inside.
pub fn request(flow: usize) -> Vec<u8> {
    let (address, port) = internal(flow);
    testing::udp((host_mac(), address, port), (inside_mac(), scene::remote(flow), 443), None, &DATA)
}

/// A frame of a flow from its remote, to the MAC that ARP says its external address has.
pub fn answer(flow: usize, mac: MacAddress, (address, port): External) -> Vec<u8> {
    testing::udp((NEXT_HOP, scene::remote(flow), 443), (mac, address, port), None, &DATA)
}

/// An announcement of each host and of the next hop.
pub fn announcements(flows: usize) -> impl Iterator<Item = (PortIndex, Vec<u8>)> {
    let hosts = (0..flows.div_ceil(FLOWS_PER_HOST) as u32)
        .map(|number| (INSIDE, scene::hello(host_mac(), host(number), GATEWAY, None)));
    let next_hop = (OUTSIDE, scene::hello(NEXT_HOP, NEXT_HOP_ADDRESS, Ipv4Addr::new(198, 18, 0, 2), None));
    hosts.chain([next_hop])
}

fn host(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 1, 0)) + number)
}
