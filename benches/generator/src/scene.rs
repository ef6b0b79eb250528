//! The two scenes behind one name: a thousand tenants' routers on VLANs, and one router without.

use std::net::Ipv4Addr;

use benches::scene::{External, FLOWS_PER_HOST, INSIDE, NETWORKS, NEXT_HOP, OUTSIDE, ROUTERS};
use benches::{plain, scene};
use clap::ValueEnum;
use packet::{MacAddress, PortIndex, VlanId};

/// Which gateway the traffic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scene {
    /// A thousand routers with the same subnet, by VLAN, on 64 external networks
    Cloud,
    /// One router, no VLAN
    Plain,
}

impl Scene {
    pub(crate) fn rules(self) -> String {
        match self {
            Self::Cloud => scene::rules(0),
            Self::Plain => plain::rules(),
        }
    }

    /// A frame of a flow from inside.
    pub(crate) fn request(self, flow: usize) -> Vec<u8> {
        match self {
            Self::Cloud => scene::request(flow),
            Self::Plain => plain::request(flow),
        }
    }

    /// A frame of a flow from its remote.
    pub(crate) fn answer(self, flow: usize, mac: MacAddress, external: External) -> Vec<u8> {
        match self {
            Self::Cloud => scene::answer(flow, mac, external),
            Self::Plain => plain::answer(flow, mac, external),
        }
    }

    /// By which the gateway learns each host's and next hop's MAC, hosts in the order of their numbers.
    pub(crate) fn announcements(self, flows: usize) -> Vec<(PortIndex, Vec<u8>)> {
        match self {
            Self::Cloud => scene::announcements(flows, 0).collect(),
            Self::Plain => plain::announcements(flows).collect(),
        }
    }

    /// The number of the host of which this is the first flow.
    pub(crate) fn host_that_begins(self, flow: usize) -> Option<usize> {
        let hosts_at_once = match self {
            Self::Cloud => ROUTERS,
            Self::Plain => 1,
        };
        let (set, place) = (flow / (hosts_at_once * FLOWS_PER_HOST), flow % (hosts_at_once * FLOWS_PER_HOST));
        (place < hosts_at_once).then_some(set * hosts_at_once + place)
    }

    /// External networks.
    pub(crate) fn networks(self) -> usize {
        match self {
            Self::Cloud => NETWORKS,
            Self::Plain => 1,
        }
    }

    /// The external network of a flow's router.
    pub(crate) fn network_of(self, flow: usize) -> usize {
        match self {
            Self::Cloud => scene::network_of(flow % ROUTERS),
            Self::Plain => 0,
        }
    }

    /// An external network's tag.
    pub(crate) fn vlan_outside(self, network: usize) -> Option<VlanId> {
        match self {
            Self::Cloud => scene::vlan_outside(network),
            Self::Plain => None,
        }
    }

    /// The first address of a network's pool.
    pub(crate) fn pool(self, network: usize) -> Ipv4Addr {
        match self {
            Self::Cloud => scene::pool_address(network),
            Self::Plain => plain::POOL,
        }
    }

    /// The next hop's question who has that.
    pub(crate) fn who_has_pool(self, network: usize) -> Vec<u8> {
        let next_hop = Ipv4Addr::new(198, 18, network as u8, 1);
        scene::hello(NEXT_HOP, next_hop, self.pool(network), self.vlan_outside(network))
    }

    /// The MAC of whoever a gateway can ask for on a port.
    pub(crate) fn neighbour(self, port: PortIndex, vlan: Option<VlanId>) -> MacAddress {
        match (port, self, vlan) {
            (OUTSIDE, ..) => NEXT_HOP,
            (INSIDE, Self::Cloud, Some(vlan)) => scene::host_mac(usize::from(vlan.get()) - 1),
            _ => plain::host_mac(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use packet::Parsed;

    use super::*;
    use crate::hosts;

    #[test]
    fn each_host_says_who_it_is_with_its_first_flow() {
        for scene in [Scene::Cloud, Scene::Plain] {
            let flows = 130_000;
            let announcements = scene.announcements(flows);
            let mut known = HashSet::new();
            for flow in 0..flows {
                let request = Parsed::read(&scene.request(flow)).unwrap();
                let host = (request.vlan, request.source);
                if let Some(number) = scene.host_that_begins(flow) {
                    assert_eq!(hosts::asks(&announcements[number].1), Some(host));
                    assert!(known.insert(host), "flow {flow} is not the first of {host:?}");
                }
                assert!(known.contains(&host), "flow {flow} is before {host:?} begins");
            }
        }
    }
}
