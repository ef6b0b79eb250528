//! What the oracle is told of the world: the same that the rules say, in words of its own.

use std::collections::HashMap;
use std::net::Ipv4Addr;

/// A MAC address.
pub type Mac = [u8; 6];

/// An address and a port, or a query identifier, or 0.
pub type Endpoint = (Ipv4Addr, u16);

/// Ports from one to another, both included.
pub type Ports = (u16, u16);

/// An address and how many of its bits count.
pub type Prefix = (Ipv4Addr, u8);

/// Everything. A router has the same place in all worlds of a play.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Every network.
    pub segments: Vec<Segment>,
    /// Every router.
    pub routers: Vec<Router>,
    /// Every pool.
    pub pools: Vec<Pool>,
    uses: HashMap<(usize, Ipv4Addr), Use>,
}

/// A network: a port, a VLAN (0: untagged), and what it takes.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its name.
    pub id: &'static str,
    /// The port's number.
    pub port: u8,
    /// The tag; 0 for none.
    pub vlan: u16,
    /// The largest packet.
    pub mtu: u16,
}

/// A router.
#[derive(Clone, Debug)]
pub struct Router {
    /// Its name.
    pub id: &'static str,
    /// Whether it does anything.
    pub up: bool,
    /// Its legs.
    pub interfaces: Vec<Interface>,
    /// Its ways out.
    pub gateways: Vec<Gateway>,
    /// Other ways: prefix, next hop.
    pub routes: Vec<(Prefix, Ipv4Addr)>,
    /// Gateway, external address, internal address.
    pub floating: Vec<(usize, Ipv4Addr, Ipv4Addr)>,
    /// External ports that lead to a host.
    pub forwardings: Vec<Forwarding>,
    /// Destinations that are reached untranslated.
    pub no_nat: Vec<Prefix>,
    /// Its timers.
    pub timeouts: Timeouts,
    /// Other timers for certain remote ports, before an answer and after; the first that matches.
    pub by_port: Vec<(u8, Ports, u64, u64)>,
    /// Connections may be picked up in their middle.
    pub loose: bool,
    /// SYNs ask for no larger segments than both links take.
    pub clamp_mss: bool,
    /// Datagrams from outside keep a session alive.
    pub inbound_refresh: bool,
}

/// A leg.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub id: &'static str,
    /// Where it is.
    pub segment: usize,
    /// Its MAC.
    pub mac: Mac,
    /// Its address, and how long its subnet's prefix is.
    pub address: Prefix,
    /// It leads outside.
    pub external: bool,
    /// Who comes in by it is translated.
    pub snat: bool,
    /// Our own errors may leave by it.
    pub errors: bool,
}

/// A way out.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Which leg.
    pub interface: usize,
    /// The default route's next hop.
    pub next_hop: Option<Ipv4Addr>,
    /// Whether it translates.
    pub snat: bool,
    /// To which pool.
    pub pool: usize,
}

/// External ports of one address for ports of one host: as many, or one.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding {
    /// Of which gateway.
    pub gateway: usize,
    /// TCP or UDP.
    pub protocol: u8,
    /// The public address and ports.
    pub external: (Ipv4Addr, Ports),
    /// The host and its ports.
    pub internal: (Ipv4Addr, Ports),
}

/// How much of the remote endpoint something depends on (RFC 4787 sections 4.1 and 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing.
    Independent,
    /// Its address.
    Address,
    /// All of it.
    AddressAndPort,
}

/// Whether a host keeps to one external address (RFC 4787 REQ-2, RFC 7857 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// It does.
    Strict,
    /// While there is room.
    Soft,
    /// It does not.
    None,
}

/// A pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name; empty for a leg's own address.
    pub id: &'static str,
    /// Its addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Its ports.
    pub ports: Ports,
    /// But these.
    pub excluded: Vec<Ports>,
    /// Mapping and filtering of TCP, UDP and ICMP queries.
    pub behaviours: [(Class, Class); 3],
    /// Other mappings for certain remote ports; the first that matches.
    pub by_port: Vec<(u8, Ports, Class)>,
    /// How hosts are paired.
    pub pairing: Pairing,
    /// The internal port is tried first.
    pub preserve_port: bool,
    /// Even ports stay even.
    pub preserve_parity: bool,
    /// Ports of a block, and how many of them a host has at most.
    pub blocks: Option<(u16, usize)>,
    /// How long a port rests.
    pub hold_down_ms: u64,
    /// How many ports of an address rest at once.
    pub rests_max: Option<usize>,
}

/// Timers, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP while it opens.
    pub tcp_syn: u64,
    /// TCP while it is open.
    pub tcp_established: u64,
    /// TCP after a FIN.
    pub tcp_fin: u64,
    /// TCP after both.
    pub tcp_time_wait: u64,
    /// TCP after a reset.
    pub tcp_rst: u64,
    /// UDP before an answer.
    pub udp_initial: u64,
    /// UDP after one.
    pub udp_stream: u64,
    /// ICMP queries.
    pub icmp: u64,
    /// Protocols without ports.
    pub other: u64,
}

/// What an address on a network is to us.
#[derive(Clone, Copy, Debug, Default)]
pub struct Use {
    /// A floating IP: its router, and the host.
    pub floating: Option<(usize, Ipv4Addr)>,
    /// A leg's.
    pub leg: bool,
    /// A pool's, translated to.
    pub pool: bool,
    /// One with forwarded ports.
    pub forwarded: bool,
}

/// Whether a prefix holds an address.
fn holds((prefix, length): Prefix, address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    u32::from(prefix) & mask == u32::from(address) & mask
}

/// Whether ports hold a port.
pub(super) fn within(ports: Ports, port: u16) -> bool {
    (ports.0..=ports.1).contains(&port)
}

/// In this world everybody has a MAC that says where he is.
pub fn mac_of(segment: usize, address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [2, segment as u8, a, b, c, d]
}

impl World {
    /// To be completed.
    pub fn new(segments: Vec<Segment>, routers: Vec<Router>, pools: Vec<Pool>) -> Self {
        Self { segments, routers, pools, uses: HashMap::new() }
    }

    /// Looks up once what every address is for; to be done when the rest is filled in.
    #[must_use]
    pub fn complete(mut self) -> Self {
        let mut uses = HashMap::<(usize, Ipv4Addr), Use>::new();
        for (at, router) in self.routers.iter().enumerate().filter(|(_, router)| router.up) {
            let network = |gateway: usize| router.interfaces[router.gateways[gateway].interface].segment;
            for leg in &router.interfaces {
                uses.entry((leg.segment, leg.address.0)).or_default().leg = true;
            }
            for (number, gateway) in router.gateways.iter().enumerate().filter(|(_, gateway)| gateway.snat) {
                for address in &self.pools[gateway.pool].addresses {
                    uses.entry((network(number), *address)).or_default().pool = true;
                }
            }
            for (gateway, external, host) in &router.floating {
                uses.entry((network(*gateway), *external)).or_default().floating = Some((at, *host));
            }
            for one in &router.forwardings {
                uses.entry((network(one.gateway), one.external.0)).or_default().forwarded = true;
            }
        }
        self.uses = uses;
        self
    }

    /// What an address on a network is to us.
    pub fn use_of(&self, segment: usize, address: Ipv4Addr) -> Option<Use> {
        self.uses.get(&(segment, address)).copied()
    }

    /// The leg of a router that is up with this MAC on a network: router, leg.
    pub fn leg_with(&self, segment: usize, mac: Mac) -> Option<(usize, usize)> {
        let up = self.routers.iter().enumerate().filter(|(_, router)| router.up);
        up.flat_map(|(at, router)| router.interfaces.iter().enumerate().map(move |(leg, one)| (at, leg, one)))
            .find(|(.., leg)| (leg.segment, leg.mac) == (segment, mac))
            .map(|(at, leg, _)| (at, leg))
    }

    /// What a router translates to on a network, if it does.
    pub fn pool_of(&self, router: usize, segment: usize) -> Option<&Pool> {
        let router = self.routers.get(router).filter(|router| router.up)?;
        let gateway = &router.gateways[router.gateway_into(segment)?];
        gateway.snat.then(|| &self.pools[gateway.pool])
    }

    /// Where an external endpoint is forwarded to: router, host's endpoint.
    pub fn forwarded_to(&self, segment: usize, protocol: u8, to: Endpoint) -> Option<(usize, Endpoint)> {
        let up = self.routers.iter().enumerate().filter(|(_, router)| router.up);
        let all = up.flat_map(|(at, router)| router.forwardings.iter().map(move |one| (at, router, one)));
        let mut matching = all.filter(|(_, router, one)| {
            let network = router.interfaces[router.gateways[one.gateway].interface].segment;
            (network, one.protocol, one.external.0) == (segment, protocol, to.0)
                && within(one.external.1, to.1)
        });
        let (at, _, Forwarding { external: (_, outer), internal: (host, inner), .. }) = matching.next()?;
        let port = if inner.0 == inner.1 { inner.0 } else { inner.0 + (to.1 - outer.0) };
        Some((at, (*host, port)))
    }
}

impl Router {
    /// The way to a destination: leg and next hop; the longest prefix wins.
    //= rfc1812#5.2.4
    pub fn route(&self, destination: Ipv4Addr) -> Option<(usize, Ipv4Addr)> {
        let leg_to = |address| self.interfaces.iter().position(|leg| holds(leg.address, address));
        let near = leg_to(destination).map(|leg| (self.interfaces[leg].address.1, leg, destination));
        let routes = self.routes.iter().filter(|(prefix, _)| holds(*prefix, destination));
        let far = routes.filter_map(|(prefix, next_hop)| Some((prefix.1, leg_to(*next_hop)?, *next_hop)));
        let out = self.gateways.iter().filter_map(|way| Some((0, way.interface, way.next_hop?)));
        let best = near.into_iter().chain(far).chain(out).max_by_key(|(length, ..)| *length)?;
        Some((best.1, best.2))
    }

    /// The same, where it leads inside.
    pub fn route_in(&self, address: Ipv4Addr) -> Option<(usize, Ipv4Addr)> {
        self.route(address).filter(|(leg, _)| !self.interfaces[*leg].external)
    }

    /// The gateway into a network, by number.
    pub fn gateway_into(&self, segment: usize) -> Option<usize> {
        self.gateways.iter().position(|way| self.interfaces[way.interface].segment == segment)
    }

    /// Whether a destination is reached untranslated.
    pub fn is_no_nat(&self, address: Ipv4Addr) -> bool {
        self.no_nat.iter().any(|prefix| holds(*prefix, address))
    }

    /// The floating IP of a host by a gateway.
    pub fn floating_of(&self, gateway: usize, host: Ipv4Addr) -> Option<Ipv4Addr> {
        let mut of_host = self.floating.iter().filter(|one| (one.0, one.2) == (gateway, host));
        of_host.next().map(|one| one.1)
    }

    /// The external endpoint that a flow has by the rules alone: its own where it is not translated, or a floating IP's, if it
    /// is not of forwarded ports.
    pub fn fixed(&self, gateway: usize, protocol: u8, host: Endpoint, remote: Endpoint) -> Option<Endpoint> {
        if self.is_no_nat(remote.0) {
            return Some(host);
        }
        let floating = self.floating_of(gateway, host.0)?;
        self.forwarded_from(gateway, protocol, host).is_none().then_some((floating, host.1))
    }

    /// The external endpoint of whose forwarding this is the host's: of several the first.
    pub fn forwarded_from(&self, gateway: usize, protocol: u8, from: Endpoint) -> Option<Endpoint> {
        let mut matching = self.forwardings.iter().filter(|one| {
            (one.gateway, one.protocol, one.internal.0) == (gateway, protocol, from.0)
                && within(one.internal.1, from.1)
        });
        let Forwarding { external: (address, outer), internal: (_, inner), .. } = matching.next()?;
        Some((*address, outer.0 + (from.1 - inner.0)))
    }

    /// The timers before and after an answer, of flows to a remote port.
    //= rfc4787#REQ-5a
    pub(super) fn timers(&self, protocol: u8, port: u16) -> (u64, u64) {
        let mut matching = self.by_port.iter().filter(|one| one.0 == protocol && within(one.1, port));
        let all = &self.timeouts;
        let others = if protocol == 6 {
            (all.tcp_syn, all.tcp_established)
        } else {
            (all.udp_initial, all.udp_stream)
        };
        matching.next().map_or(others, |one| (one.2, one.3))
    }
}

impl Interface {
    /// Whether an address is nobody's: the first or the last of its subnet.
    pub(super) fn is_edge(&self, address: Ipv4Addr) -> bool {
        let host = u32::MAX.checked_shr(self.address.1.into()).unwrap_or(0);
        let number = u32::from(address) & host;
        self.address.1 < 31 && holds(self.address, address) && (number == 0 || number == host)
    }
}

impl Pool {
    /// Whether an endpoint is the pool's; protocols without ports ask for the address alone.
    //= rfc6888#REQ-3
    pub(super) fn has(&self, protocol: u8, endpoint: Endpoint) -> bool {
        let has_port =
            within(self.ports, endpoint.1) && !self.excluded.iter().any(|run| within(*run, endpoint.1));
        self.addresses.contains(&endpoint.0) && (has_port || !matches!(protocol, 1 | 6 | 17))
    }

    /// Mapping and filtering of flows to a remote port.
    pub(super) fn behaviour(&self, protocol: u8, port: u16) -> (Class, Class) {
        let (mapping, filtering) = match protocol {
            6 => self.behaviours[0],
            17 => self.behaviours[1],
            1 => self.behaviours[2],
            _ => (Class::AddressAndPort, Class::AddressAndPort),
        };
        let mut matching = self.by_port.iter().filter(|one| one.0 == protocol && within(one.1, port));
        (matching.next().map_or(mapping, |one| one.2), filtering)
    }
}
