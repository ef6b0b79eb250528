//! What the oracle is told of the world: the same that the rules say, in words of its own.

use std::net::Ipv4Addr;

/// A MAC address.
pub type Mac = [u8; 6];

/// An address and a port, or a query identifier.
pub type Endpoint = (Ipv4Addr, u16);

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Every network.
    pub segments: Vec<Segment>,
    /// Every router.
    pub routers: Vec<Router>,
    /// Every pool.
    pub pools: Vec<Pool>,
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
    /// Other ways in: prefix, its length, next hop.
    pub routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// External address, internal address.
    pub floating: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Destinations that are reached untranslated.
    pub no_nat: Vec<(Ipv4Addr, u8)>,
    /// Its timers.
    pub timeouts: Timeouts,
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
    pub address: (Ipv4Addr, u8),
    /// It leads outside.
    pub external: bool,
    /// Who comes in by it is translated.
    pub snat: bool,
}

impl Interface {
    /// Whether an address is the first or the last of its subnet, which are nobody's.
    pub(super) fn is_edge(&self, address: Ipv4Addr) -> bool {
        let (own, length) = self.address;
        let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
        let number = u32::from(address) & host;
        length < 31 && holds((own, length), address) && (number == 0 || number == host)
    }
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
    /// To which pool; else to the leg's own address.
    pub pool: Option<usize>,
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

/// Mapping and filtering of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Which flows share an external endpoint.
    pub mapping: Class,
    /// Who may come in.
    pub filtering: Class,
}

/// A pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name.
    pub id: &'static str,
    /// Its addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Its ports.
    pub ports: (u16, u16),
    /// Of TCP.
    pub tcp: Behaviour,
    /// Of UDP.
    pub udp: Behaviour,
    /// Of ICMP queries.
    pub icmp: Behaviour,
    /// How long a port rests.
    pub hold_down_ms: u64,
}

impl Pool {
    /// Mapping and filtering of a protocol.
    pub fn behaviour(&self, protocol: u8) -> Behaviour {
        match protocol {
            6 => self.tcp,
            17 => self.udp,
            _ => self.icmp,
        }
    }
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
}

/// Whether a prefix holds an address.
pub(super) fn holds((prefix, length): (Ipv4Addr, u8), address: Ipv4Addr) -> bool {
    let mask = if length == 0 { 0 } else { u32::MAX << (32 - length) };
    u32::from(prefix) & mask == u32::from(address) & mask
}

/// In this world everybody has a MAC that says where he is.
pub fn mac_of(segment: usize, address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [2, segment as u8, a, b, c, d]
}

/// What an external address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The floating IP, by number, of a router.
    Floating(usize, usize),
    /// A pool's; `true` where it is a leg's as well.
    Pool(bool),
    /// A leg's.
    Leg,
}

impl World {
    /// The leg of a router that is up with this MAC on a network: router, leg.
    pub fn leg_with(&self, segment: usize, mac: Mac) -> Option<(usize, usize)> {
        self.legs().find(|&(router, leg)| {
            let leg = &self.routers[router].interfaces[leg];
            (leg.segment, leg.mac) == (segment, mac)
        })
    }

    fn legs(&self) -> impl Iterator<Item = (usize, usize)> {
        let up = self.routers.iter().enumerate().filter(|(_, router)| router.up);
        up.flat_map(|(at, router)| (0..router.interfaces.len()).map(move |leg| (at, leg)))
    }

    /// What an address on a network is to us.
    pub fn use_of(&self, segment: usize, address: Ipv4Addr) -> Option<Use> {
        for (at, router) in self.routers.iter().enumerate().filter(|(_, router)| router.up) {
            let is_outside =
                router.gateways.iter().any(|way| router.interfaces[way.interface].segment == segment);
            let floating = router.floating.iter().position(|(external, _)| *external == address);
            if let Some(floating) = floating.filter(|_| is_outside) {
                return Some(Use::Floating(at, floating));
            }
        }
        let is_leg = self.legs().any(|(router, leg)| {
            let leg = &self.routers[router].interfaces[leg];
            leg.segment == segment && leg.address.0 == address
        });
        let is_pool = self.routers.iter().filter(|router| router.up).any(|router| {
            router.gateways.iter().any(|way| {
                let leg = &router.interfaces[way.interface];
                let own = [leg.address.0];
                let addresses = way.pool.map_or(&own[..], |pool| &self.pools[pool].addresses);
                way.snat && leg.segment == segment && addresses.contains(&address)
            })
        });
        if is_pool { Some(Use::Pool(is_leg)) } else { is_leg.then_some(Use::Leg) }
    }
}

impl Router {
    /// The way to a destination: leg and next hop; the longest prefix wins.
    pub fn route(&self, destination: Ipv4Addr) -> Option<(usize, Ipv4Addr)> {
        let mut best: Option<(u8, usize, Ipv4Addr)> = None;
        let mut offer = |length: u8, leg: usize, next_hop: Ipv4Addr| {
            if best.is_none_or(|(longest, ..)| length > longest) {
                best = Some((length, leg, next_hop));
            }
        };
        for (leg, interface) in self.interfaces.iter().enumerate() {
            if holds(interface.address, destination) {
                offer(interface.address.1, leg, destination);
            }
        }
        for &(prefix, length, next_hop) in &self.routes {
            let leg = self.interfaces.iter().position(|interface| holds(interface.address, next_hop));
            if let Some(leg) = leg.filter(|_| holds((prefix, length), destination)) {
                offer(length, leg, next_hop);
            }
        }
        for gateway in &self.gateways {
            if let Some(next_hop) = gateway.next_hop {
                offer(0, gateway.interface, next_hop);
            }
        }
        best.map(|(_, leg, next_hop)| (leg, next_hop))
    }

    /// Whether a destination is reached untranslated.
    pub fn is_no_nat(&self, address: Ipv4Addr) -> bool {
        self.no_nat.iter().any(|prefix| holds(*prefix, address))
    }
}
