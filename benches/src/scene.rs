//! A cloud's gateway: 1,000 tenants' routers with the same subnet, on 64 external networks with 65 addresses each.
//!
//! ```text
//! port inside    VLAN 1...1000      10.0.0.1/16 of router r; hosts 10.0.1.0 and on
//! port outside   VLAN 1...64        198.18.n.0/24: next hop .1, routers' legs .2 to .17, the pool .64 to .128
//! remotes        203.0.113.1 to .200, port 443
//! floating IPs   100.(64 + n).0.0 and on of network n, one for each host, where there are any
//! ```
//!
//! Flow `i` is of router `i % 1000`; a host has 63 flows (RFC 9693's and CSIT's figure).

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use packet::{MacAddress, PortIndex, VlanId, testing};

/// The tenants' side.
pub const INSIDE: PortIndex = PortIndex(0);
/// The external networks' side.
pub const OUTSIDE: PortIndex = PortIndex(1);
/// Tenants' routers.
pub const ROUTERS: usize = 1_000;
/// External networks.
pub const NETWORKS: usize = 64;
/// External addresses of each network.
pub const ADDRESSES: usize = 65;
/// Flows of each host.
pub const FLOWS_PER_HOST: usize = 63;

const REMOTES: usize = 200;
/// The next hop's MAC on each external network.
pub const NEXT_HOP: MacAddress = MacAddress([2, 0, 0, 0, 0, 4]);
/// UDP data, to fill an untagged frame up to the shortest that Ethernet carries.
const DATA: [u8; 18] = [0; 18];

/// A flow's endpoint as the external network sees it.
pub type External = (Ipv4Addr, u16);

/// The pools of the external networks, and who has what of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pools {
    /// Addresses of each network.
    pub addresses: usize,
    /// Whether the first network has one more.
    pub one_more: bool,
    /// Ports of each address.
    pub ports: RangeInclusive<u16>,
    /// How hosts and addresses go together, in the word of the rules.
    pub pairing: &'static str,
    /// How long a port rests, in seconds.
    pub hold_down_s: u32,
}

impl Default for Pools {
    fn default() -> Self {
        let ports = 1_024..=65_535;
        Self { addresses: ADDRESSES, one_more: false, ports, pairing: "strict", hold_down_s: 60 }
    }
}

/// The rules, as they are fed, with so many floating IPs.
pub fn rules(floating: usize) -> String {
    rules_of(&Pools::default(), floating)
}

/// The same with other pools.
pub fn rules_of(pools: &Pools, floating: usize) -> String {
    let (first_port, last_port) = (pools.ports.start(), pools.ports.end());
    let mut text = String::from("segments:\n");
    for router in 0..ROUTERS {
        let _ = writeln!(text, "- {{id: lan{router}, port: inside, vlan: {}}}", router + 1);
    }
    for network in 0..NETWORKS {
        let _ = writeln!(text, "- {{id: net{network}, port: outside, vlan: {}}}", network + 1);
    }
    text.push_str("pools:\n");
    for network in 0..NETWORKS {
        let last = 64 + pools.addresses - 1 + usize::from(pools.one_more && network == 0);
        let _ = writeln!(
            text,
            "- {{id: pool{network}, addresses: [198.18.{network}.64-198.18.{network}.{last}], \
             ports: {first_port}-{last_port}, pairing: {}, hold_down_s: {}}}",
            pools.pairing, pools.hold_down_s
        );
    }
    text.push_str("routers:\n");
    for router in 0..ROUTERS {
        let (network, inside, outside) = (network_of(router), mac(1, router), mac(2, router));
        let leg = 2 + router / NETWORKS;
        let _ = writeln!(
            text,
            "- id: router{router}\n  interfaces:\n  \
             - {{id: in, segment: lan{router}, mac: \"{inside}\", addresses: [10.0.0.1/16]}}\n  \
             - {{id: out, segment: net{network}, mac: \"{outside}\", addresses: [198.18.{network}.{leg}/24], external: true}}\n  \
             gateways: [{{interface: out, next_hop: 198.18.{network}.1, pool: pool{network}}}]"
        );
        if router < floating {
            text.push_str("  floating_ips:\n");
        }
        for number in (router..floating).step_by(ROUTERS) {
            let (external, (_, internal)) = (floating_ip(number), host_of(flow_of(number)));
            let _ =
                writeln!(text, "  - {{id: floating{number}, external: {external}, internal: {internal}}}");
        }
    }
    text
}

/// The first flow of the host that has a floating IP of this number.
fn flow_of(number: usize) -> usize {
    number / ROUTERS * ROUTERS * FLOWS_PER_HOST + number % ROUTERS
}

/// The external address of a floating IP.
pub fn floating_ip(number: usize) -> Ipv4Addr {
    let router = number % ROUTERS;
    let in_network = number / ROUTERS * ROUTERS.div_ceil(NETWORKS) + router / NETWORKS;
    let first = Ipv4Addr::new(100, 64 + network_of(router) as u8, 0, 0);
    Ipv4Addr::from(u32::from(first) + in_network as u32)
}

/// A flow's router, and its host there.
pub fn host_of(flow: usize) -> (usize, Ipv4Addr) {
    let host = (flow / ROUTERS / FLOWS_PER_HOST) as u32;
    (flow % ROUTERS, Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 1, 0)) + host))
}

/// A router's external network.
pub fn network_of(router: usize) -> usize {
    router % NETWORKS
}

/// A flow as it is sent inside: by whom, to whom, under which tag.
pub(crate) fn endpoints(flow: usize) -> (testing::Endpoint, testing::Endpoint, Option<VlanId>) {
    let (router, host) = host_of(flow);
    let port = (20_000 + flow / ROUTERS % FLOWS_PER_HOST) as u16;
    let (from, to) = ((host_mac(router), host, port), (mac(1, router), remote(flow), 443));
    (from, to, VlanId::new(router as u16 + 1))
}

/// A frame of a flow from inside.
pub fn request(flow: usize) -> Vec<u8> {
    let (from, to, vlan) = endpoints(flow);
    testing::udp(from, to, vlan, &DATA)
}

/// The first segment of a TCP connection between the same endpoints.
pub fn syn(flow: usize) -> Vec<u8> {
    let (from, to, vlan) = endpoints(flow);
    testing::tcp(from, to, vlan, packet::tcp::SYN, flow as u32, 0, &[])
}

/// A frame of a flow from its remote, to the MAC that ARP says its external address has.
pub fn answer(flow: usize, mac: MacAddress, external: External) -> Vec<u8> {
    answer_with(flow, mac, external, &DATA)
}

pub(crate) fn answer_with(flow: usize, mac: MacAddress, (address, port): External, data: &[u8]) -> Vec<u8> {
    let (router, _) = host_of(flow);
    testing::udp((NEXT_HOP, remote(flow), 443), (mac, address, port), vlan_outside(network_of(router)), data)
}

/// The first address of a network's pool.
pub fn pool_address(network: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, network as u8, 64)
}

/// An external network's tag.
pub fn vlan_outside(network: usize) -> Option<VlanId> {
    VlanId::new(network as u16 + 1)
}

/// A frame from a host with a floating IP.
pub fn floating_request(number: usize) -> Vec<u8> {
    request(flow_of(number))
}

/// A frame to a floating IP.
pub fn floating_answer(number: usize) -> Vec<u8> {
    answer(flow_of(number), mac(2, number % ROUTERS), (floating_ip(number), 443))
}

/// The external endpoint that a frame has left by.
pub fn external_of(frame: &[u8]) -> External {
    let at = |from: usize| frame.get(from).copied().unwrap_or(0);
    let address = Ipv4Addr::new(at(30), at(31), at(32), at(33));
    (address, u16::from_be_bytes([at(38), at(39)]))
}

/// Hosts with so many flows and floating IPs: as many of each router.
pub fn hosts(flows: usize, floating: usize) -> usize {
    let of_a_router = flows.div_ceil(ROUTERS).div_ceil(FLOWS_PER_HOST).max(floating.div_ceil(ROUTERS));
    of_a_router * ROUTERS
}

/// An announcement of a host or next hop, by which its router learns its MAC: who it is, on which port it comes in.
pub fn announcements(flows: usize, floating: usize) -> impl Iterator<Item = (PortIndex, Vec<u8>)> {
    let hosts = (0..hosts(flows, floating)).map(|host| {
        let (router, address) = host_of(flow_of(host));
        let vlan = VlanId::new(router as u16 + 1);
        (INSIDE, hello(host_mac(router), address, Ipv4Addr::new(10, 0, 0, 1), vlan))
    });
    let next_hops = (0..NETWORKS).map(|network| {
        let [sender, target] = [1, 2].map(|last| Ipv4Addr::new(198, 18, network as u8, last));
        (OUTSIDE, hello(NEXT_HOP, sender, target, vlan_outside(network)))
    });
    hosts.chain(next_hops)
}

/// Asks who has `target`, and says by that who the sender is.
pub fn hello(sender_mac: MacAddress, sender: Ipv4Addr, target: Ipv4Addr, vlan: Option<VlanId>) -> Vec<u8> {
    use packet::arp::{Arp, Operation};
    use packet::ethernet::LinkHeader;
    let link = LinkHeader { destination: MacAddress::BROADCAST, source: sender_mac, vlan };
    let target_mac = MacAddress::default();
    testing::arp(link, &Arp { operation: Operation::Request, sender_mac, sender, target_mac, target })
}

/// The MAC of a router's hosts.
pub fn host_mac(router: usize) -> MacAddress {
    mac(3, router)
}

/// The remote that a flow is with.
pub fn remote(flow: usize) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, 1 + (flow % REMOTES) as u8)
}

pub(crate) fn mac(kind: u8, number: usize) -> MacAddress {
    let [high, low] = (number as u16).to_be_bytes();
    MacAddress([2, kind, 0, high, low, 0])
}
