//! The rules as the workers run them: immutable, index-linked, made for look-up.
//!
//! A `RuleSet` is built by the control thread and shared as an `Arc`; a worker adopts it at a burst boundary. Indices
//! hold only within one `RuleSet`. What outlives it (sessions) names routers and external networks by [`Realm`].

use std::net::Ipv4Addr;

use hashbrown::HashMap;
use ipnet::Ipv4Net;
use packet::{MacAddress, PortIndex, VlanId};

use crate::compile::Basis;
use crate::routes::RouteTable;

/// A router's internal realm, or an external network: 24 bits, given to another object only when no flow state names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Realm(pub u32);

/// Where the port use of an external address is kept beside the flow state, over all rule sets: see [`Numbers`].
///
/// [`Numbers`]: crate::Numbers
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressIndex(pub u32);

/// Index of a segment in [`RuleSet::segments`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentIndex(pub u32);
/// Index of an interface in [`RuleSet::interfaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceIndex(pub u32);
/// Index of a router in [`RuleSet::routers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouterIndex(pub u32);
/// Index of a pool in [`RuleSet::pools`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolIndex(pub u32);
/// Index of a floating IP in [`RuleSet::floating_ips`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FloatingIndex(pub u32);

/// One generation of rules.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// Rises with every compilation, over restarts too; what "programmed" speaks of. 0: no rules yet.
    pub generation: u64,
    /// Every network.
    pub segments: Vec<SegmentRules>,
    /// Every router's every leg.
    pub interfaces: Vec<InterfaceRules>,
    /// Every router.
    pub routers: Vec<RouterRules>,
    /// Every pool.
    pub pools: Vec<PoolRules>,
    /// Every floating IP.
    pub floating_ips: Vec<FloatingRules>,
    /// Per port its segments by VLAN.
    pub(crate) wires: Vec<Wires>,
    /// Networks by realm.
    pub(crate) segment_by_realm: HashMap<Realm, SegmentIndex>,
    /// Routers that are up, by realm.
    pub(crate) router_by_realm: HashMap<Realm, RouterIndex>,
}

impl RuleSet {
    /// The network a frame of `port` and `vlan` came from. Two array reads.
    pub fn segment_of(&self, port: PortIndex, vlan: Option<VlanId>) -> Option<SegmentIndex> {
        self.wires.get(usize::from(port.0))?.get(vlan)
    }

    /// The network whose realm this is, if it still exists.
    pub fn segment_of_realm(&self, realm: Realm) -> Option<SegmentIndex> {
        self.segment_by_realm.get(&realm).copied()
    }

    /// The router whose internal realm this is, if it still exists and is up.
    pub fn router_of(&self, realm: Realm) -> Option<RouterIndex> {
        self.router_by_realm.get(&realm).copied()
    }
}

/// The segments of one port: cell 0 for untagged frames (0 is no VLAN), then one per VLAN.
///
/// 16 KiB for a port with segments, of which only the cells of VLANs in use ever reach a cache; nothing for a port
/// without.
#[derive(Debug, Default)]
pub(crate) struct Wires(Vec<u32>);

impl Wires {
    const CELLS: usize = 4096;
    const NONE: u32 = u32::MAX;

    pub(crate) fn get(&self, vlan: Option<VlanId>) -> Option<SegmentIndex> {
        let segment = *self.0.get(Self::cell(vlan))?;
        (segment != Self::NONE).then_some(SegmentIndex(segment))
    }

    pub(crate) fn set(&mut self, vlan: Option<VlanId>, segment: SegmentIndex) {
        self.0.resize(Self::CELLS, Self::NONE);
        if let Some(cell) = self.0.get_mut(Self::cell(vlan)) {
            *cell = segment.0;
        }
    }

    fn cell(vlan: Option<VlanId>) -> usize {
        usize::from(vlan.map_or(0, VlanId::get))
    }
}

/// A network.
#[derive(Debug)]
pub struct SegmentRules {
    /// Its id as fed.
    pub id: String,
    /// Its realm: of inbound keys where it is external, of neighbours always.
    pub realm: Realm,
    /// The port it is on.
    pub port: PortIndex,
    /// The tag its frames carry.
    pub vlan: Option<VlanId>,
    /// Largest IPv4 packet, in bytes.
    pub mtu: u16,
    /// The interfaces on it, by MAC. Interfaces of routers that are down are not in it.
    pub interfaces: HashMap<MacAddress, InterfaceIndex>,
    /// Every address we answer for on it: interfaces', and on external networks floating IPs' and pools'.
    pub addresses: HashMap<Ipv4Addr, AddressRules>,
}

/// An address we answer for on a network. One address can be an interface's and a pool's at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRules {
    /// The MAC that ARP answers with: the interface's, or that of the first router (by id) that uses the pool.
    pub interface: InterfaceIndex,
    /// It is this interface's own address: ping is answered.
    pub local: bool,
    /// It is a floating IP.
    pub floating: Option<FloatingIndex>,
    /// It belongs to a pool that is translated to on this network.
    pub pool: Option<PoolIndex>,
    /// Its ports, where it belongs to such a pool.
    pub ports: Option<AddressIndex>,
}

/// A router's leg.
#[derive(Debug)]
pub struct InterfaceRules {
    /// Its id as fed.
    pub id: String,
    /// Whose it is.
    pub router: RouterIndex,
    /// Where it is.
    pub segment: SegmentIndex,
    /// Its MAC.
    pub mac: MacAddress,
    /// Its addresses with their prefix lengths; never empty.
    pub addresses: Vec<Ipv4Net>,
    /// A leg into an external network.
    pub external: bool,
    /// Its hosts are translated on their way out.
    pub snat: bool,
}

/// A router.
#[derive(Debug)]
pub struct RouterRules {
    /// Its id as fed.
    pub id: String,
    /// The tenant.
    pub project: String,
    /// Its revision as fed.
    pub revision: u64,
    /// The realm of its internal keys.
    pub realm: Realm,
    /// That of the last rule set in which anything changed that a flow of this router may depend on: its low 32 bits.
    pub generation: u32,
    /// Its legs.
    pub interfaces: Vec<InterfaceIndex>,
    /// Its way out.
    pub gateway: Option<GatewayRules>,
    /// Floating IPs by internal address.
    pub floating_by_internal: HashMap<Ipv4Addr, FloatingIndex>,
    /// Destinations reached untranslated: sorted, and none holds another.
    pub no_nat: Vec<Ipv4Net>,
    /// Timers, complete.
    pub timeouts: TimeoutsMs,
    pub(crate) routes: RouteTable,
    /// What the router was compiled from: the next compilation compares, and raises `generation` where it differs.
    pub(crate) basis: Basis,
}

/// Where a router sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The leg it leaves by.
    pub interface: InterfaceIndex,
    /// Whose MAC it needs: the destination itself on a connected subnet, or a router there.
    pub address: Ipv4Addr,
}

impl RouterRules {
    /// The longest match among connected subnets, extra routes and the gateway's default route. A binary search: at
    /// most 12 steps for 1,024 routes.
    pub fn route(&self, destination: Ipv4Addr) -> Option<NextHop> {
        self.routes.find(destination)
    }

    /// Whether `source` may be the source of a packet that enters by `interface`: the route back to it leaves by that
    /// interface (strict reverse path, RFC 3704 2.2).
    pub fn is_source_of(&self, source: Ipv4Addr, interface: InterfaceIndex) -> bool {
        self.route(source).is_some_and(|hop| hop.interface == interface)
    }

    /// Whether `destination` is reached untranslated.
    pub fn is_no_nat(&self, destination: Ipv4Addr) -> bool {
        // None holds another, so only the last that begins at or before the destination can hold it.
        let after = self.no_nat.partition_point(|prefix| prefix.network() <= destination);
        after
            .checked_sub(1)
            .and_then(|last| self.no_nat.get(last))
            .is_some_and(|prefix| prefix.contains(&destination))
    }
}

/// A router's way to the external network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayRules {
    /// The external leg.
    pub interface: InterfaceIndex,
    /// Its network.
    pub segment: SegmentIndex,
    /// Its network's realm, of inbound keys.
    pub realm: Realm,
    /// The pool to translate to; `None` where SNAT is off.
    pub pool: Option<PoolIndex>,
}

/// Addresses and ports to translate to.
#[derive(Debug, PartialEq, Eq)]
pub struct PoolRules {
    /// Its id as fed; `router/interface` for an interface's own addresses.
    pub id: String,
    /// The external network's realm.
    pub realm: Realm,
    /// Every address, sorted.
    pub addresses: Vec<PoolAddress>,
    /// Lowest external port.
    pub port_first: u16,
    /// Highest external port.
    pub port_last: u16,
    /// How long a freed port rests, in milliseconds.
    pub hold_down_ms: u32,
}

/// An address to translate to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Its ports.
    pub ports: AddressIndex,
}

/// A floating IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloatingRules {
    /// Its id as fed.
    pub id: String,
    /// Whose it is.
    pub router: RouterIndex,
    /// The public address.
    pub external: Ipv4Addr,
    /// The private address.
    pub internal: Ipv4Addr,
}

/// Timers in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutsMs {
    /// TCP before both sides have spoken.
    pub tcp_syn: u32,
    /// TCP established and idle.
    pub tcp_established: u32,
    /// TCP after the first FIN.
    pub tcp_fin: u32,
    /// TCP after both FINs.
    pub tcp_time_wait: u32,
    /// TCP after a reset.
    pub tcp_rst: u32,
    /// UDP before an answer.
    pub udp_initial: u32,
    /// UDP once both sides have spoken.
    pub udp_stream: u32,
    /// ICMP queries.
    pub icmp: u32,
}
