//! The rules as the workers run them: immutable, index-linked, made for look-up.
//!
//! A `RuleSet` is built by the control thread and shared as an `Arc`; a worker adopts it at a burst boundary. Indices
//! hold only within one `RuleSet`. What outlives it (sessions) names routers and external networks by [`Realm`].

use std::net::Ipv4Addr;

use hashbrown::HashMap;
use ipnet::Ipv4Net;
use packet::{MacAddress, PortIndex, Protocol, VlanId};

use crate::compile::Basis;
use crate::legs::Legs;
pub use crate::model::{Dependence, IdleReset, Pairing, TcpRules, UnsolicitedSyn};
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
/// Index of a port forwarding in [`RuleSet::forwardings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ForwardingIndex(pub u32);

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
    /// Every port forwarding, those of one external address side by side: sorted by network, external address, protocol
    /// and ports.
    pub forwardings: Vec<ForwardingRules>,
    /// Per port its segments by VLAN.
    pub(crate) wires: Vec<Wires>,
    /// Networks by realm.
    pub(crate) segment_by_realm: HashMap<Realm, SegmentIndex>,
    /// Routers that are up, by realm.
    pub(crate) router_by_realm: HashMap<Realm, RouterIndex>,
    /// All that packets of established flows ask for.
    pub(crate) legs: Legs,
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

    /// The port forwarding of one of our addresses on a network that has this external port, if one has. A binary search.
    pub fn forwarding_to(
        &self,
        address: &AddressRules,
        protocol: Protocol,
        port: u16,
    ) -> Option<ForwardingIndex> {
        let first = usize::try_from(address.forwardings.first).ok()?;
        let end = usize::try_from(address.forwardings.end).ok()?;
        let forwardings = self.forwardings.get(first..end)?;
        let after =
            forwardings.partition_point(|one| (one.protocol.0, one.external.first) <= (protocol.0, port));
        let at = after.checked_sub(1)?;
        let found = forwardings.get(at)?;
        let index = ForwardingIndex(address.forwardings.first + u32::try_from(at).ok()?);
        (found.protocol == protocol && found.external.contains(port)).then_some(index)
    }

    /// The port forwarding by a gateway under whose external endpoint an internal one speaks: the first fed of those that lead
    /// to it. A binary search for the host, then one step for each of its forwardings.
    pub fn forwarding_from(
        &self,
        gateway: &GatewayRules,
        internal: Ipv4Addr,
        protocol: Protocol,
        port: u16,
    ) -> Option<ForwardingIndex> {
        let at = |index: &ForwardingIndex| self.forwardings.get(usize::try_from(index.0).ok()?);
        let host = |index: &ForwardingIndex| at(index).map(|one| (one.internal_address, one.protocol));
        let all = &gateway.forwardings_by_internal;
        let first = all.partition_point(|index| host(index) < Some((internal, protocol)));
        let of_host = all.get(first..)?.iter().take_while(|index| host(index) == Some((internal, protocol)));
        of_host.copied().find(|index| at(index).is_some_and(|one| one.internal.contains(port)))
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
    /// Their subnets, each with the first interface that is in it.
    pub(crate) subnets: HashMap<Ipv4Net, InterfaceIndex>,
    /// Every address we answer for on it: interfaces', and on external networks floating IPs' and pools'.
    pub addresses: HashMap<Ipv4Addr, AddressRules>,
}

impl SegmentRules {
    /// An interface in the smallest of the subnets that hold an address; always the same one. 33 look-ups at most.
    pub fn nearest_to(&self, address: Ipv4Addr) -> Option<InterfaceIndex> {
        let subnet = |length| Some(Ipv4Net::new(address, length).ok()?.trunc());
        (0..=32).rev().filter_map(subnet).find_map(|subnet| self.subnets.get(&subnet).copied())
    }
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
    /// Where its port forwardings stand in [`RuleSet::forwardings`]; see [`RuleSet::forwarding_to`].
    pub forwardings: ForwardingRun,
}

/// A run of indices into [`RuleSet::forwardings`], without its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardingRun {
    /// The first.
    pub first: u32,
    /// Behind the last.
    pub end: u32,
}

impl ForwardingRun {
    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.first == self.end
    }
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
    /// ICMP errors of our own may leave by it (RFC 5508 REQ-9).
    pub icmp_errors: bool,
}

impl InterfaceRules {
    /// Whether `address` is a subnet's broadcast address, or its first, which was that once; subnets of one or two addresses
    /// have neither.
    pub fn is_edge(&self, address: Ipv4Addr) -> bool {
        let is_edge_of =
            |own: &Ipv4Net| own.prefix_len() < 31 && (address == own.broadcast() || address == own.network());
        self.addresses.iter().any(is_edge_of)
    }

    /// Whether no host beside the interface can have `address`: it is its own, or a broadcast address.
    pub fn is_no_hosts(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|own| own.addr() == address) || self.is_edge(address)
    }
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
    /// Its ways out, each by a leg of its own.
    pub gateways: Vec<GatewayRules>,
    /// Destinations reached untranslated: sorted, and none holds another.
    pub no_nat: Vec<Ipv4Net>,
    /// Timers, complete.
    pub timeouts: TimeoutsMs,
    /// Timers of flows to certain remote ports, which go before those: the first that matches counts.
    pub timeouts_by_port: Vec<PortTimeoutsMs>,
    /// What else is to be known of TCP.
    pub tcp: TcpRules,
    /// Whether a datagram from outside keeps a UDP session alive (RFC 4787 REQ-6).
    pub udp_inbound_refresh: bool,
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

    /// The way out by this leg, if it is one.
    pub fn gateway_by(&self, interface: InterfaceIndex) -> Option<&GatewayRules> {
        self.gateways.iter().find(|gateway| gateway.interface == interface)
    }

    /// The way out into the external network of this realm.
    pub fn gateway_into(&self, realm: Realm) -> Option<&GatewayRules> {
        self.gateways.iter().find(|gateway| gateway.realm == realm)
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

/// A router's way to an external network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRules {
    /// The external leg.
    pub interface: InterfaceIndex,
    /// Its network.
    pub segment: SegmentIndex,
    /// Its network's realm, of inbound keys.
    pub realm: Realm,
    /// The pool to translate to; `None` where SNAT is off.
    pub pool: Option<PoolIndex>,
    /// Floating IPs on that network by internal address.
    pub floating_by_internal: HashMap<Ipv4Addr, FloatingIndex>,
    /// Port forwardings of addresses on that network: sorted by internal address, protocol and ports; of those for one
    /// internal port, the first fed comes first.
    pub forwardings_by_internal: Vec<ForwardingIndex>,
}

/// How a pool maps and filters one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Which flows of an internal endpoint share an external one.
    pub mapping: Dependence,
    /// Which remotes may reach a mapping: those to which the internal endpoint has spoken, as far as it depends on them.
    pub filtering: Dependence,
}

/// How many ports a host has at once, and in which units (RFC 6888 REQ-14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRules {
    /// Ports of a block: a power of two, 8 to 4,096.
    pub ports: u16,
    /// Blocks of one host for one protocol.
    pub per_host_max: u16,
}

/// A run of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRun {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl PortRun {
    /// Whether the port is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// How many they are.
    #[expect(clippy::len_without_is_empty, reason = "a run is never empty")]
    pub fn len(self) -> u32 {
        u32::from(self.last.saturating_sub(self.first)) + 1
    }
}

/// Another mapping for flows to certain remote ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingByPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Remote ports.
    pub ports: PortRun,
    /// How they are mapped.
    pub mapping: Dependence,
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
    /// External ports, without those excluded: rising, apart from each other; never empty.
    pub ports: Vec<PortRun>,
    /// Of TCP.
    pub tcp: Behaviour,
    /// Of UDP.
    pub udp: Behaviour,
    /// Of ICMP queries.
    pub icmp: Behaviour,
    /// Exceptions: the first that matches counts.
    pub mapping_by_port: Vec<MappingByPort>,
    /// Whether a host keeps its external address.
    pub pairing: Pairing,
    /// The internal port is tried first.
    pub preserve_port: bool,
    /// An even port is mapped to an even one, an odd to an odd (RFC 4787 REQ-4).
    pub preserve_parity: bool,
    /// Ports are given to hosts in blocks; else one by one.
    pub blocks: Option<BlockRules>,
    /// How long a freed port rests, in milliseconds.
    pub hold_down_ms: u32,
    /// How many ports of one address and protocol may rest at once (RFC 6888 REQ-8); the oldest goes first.
    pub hold_down_ports_max: u32,
}

impl PoolRules {
    /// How a flow of `protocol` to `remote_port` is mapped and filtered.
    pub fn behaviour(&self, protocol: Protocol, remote_port: u16) -> Behaviour {
        let behaviour = match protocol {
            Protocol::TCP => self.tcp,
            Protocol::UDP => self.udp,
            _ => self.icmp,
        };
        let exception = self
            .mapping_by_port
            .iter()
            .find(|one| one.protocol == protocol && one.ports.contains(remote_port));
        exception.map_or(behaviour, |one| Behaviour { mapping: one.mapping, ..behaviour })
    }

    /// An address of the pool's, by a look where it would be if all were in a row, as they mostly are, and else a binary search.
    pub fn find(&self, address: Ipv4Addr) -> Option<PoolAddress> {
        let first = self.addresses.first()?.address;
        let in_a_row = u32::from(address).wrapping_sub(u32::from(first)) as usize;
        let found = self.addresses.get(in_a_row).filter(|one| one.address == address);
        let search = || self.addresses.binary_search_by_key(&address, |one| one.address).ok();
        found.or_else(|| self.addresses.get(search()?)).copied()
    }

    /// Whether the port is one of the pool's.
    pub fn has_port(&self, port: u16) -> bool {
        let after = self.ports.partition_point(|run| run.first <= port);
        after.checked_sub(1).and_then(|at| self.ports.get(at)).is_some_and(|run| run.contains(port))
    }
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

/// A port forwarding: external ports of one address for ports of one internal address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardingRules {
    /// Its id as fed.
    pub id: String,
    /// Whose it is.
    pub router: RouterIndex,
    /// The external network's realm.
    pub realm: Realm,
    /// The public address.
    pub external_address: Ipv4Addr,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The public ports.
    pub external: PortRun,
    /// The private address.
    pub internal_address: Ipv4Addr,
    /// The private ports: as many as the public ones (N:N), or one (N:1).
    pub internal: PortRun,
}

impl ForwardingRules {
    /// The private port that one of the public ports leads to.
    pub fn internal_port_of(&self, external: u16) -> u16 {
        match self.internal.len() {
            1 => self.internal.first,
            _ => self.internal.first.wrapping_add(external.wrapping_sub(self.external.first)),
        }
    }

    /// The public port that leads to one of the private ports; of several the first.
    pub fn external_port_of(&self, internal: u16) -> u16 {
        match self.internal.len() {
            1 => self.external.first,
            _ => self.external.first.wrapping_add(internal.wrapping_sub(self.internal.first)),
        }
    }
}

/// Timers of flows to certain remote ports, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortTimeoutsMs {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Remote ports.
    pub ports: PortRun,
    /// Before both sides have spoken.
    pub initial: u32,
    /// Then.
    pub established: u32,
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
    /// Protocols without ports.
    pub other: u32,
}
