//! What a packet of an established flow needs of the rules, in few cache lines, and by which pool a flow begins: the rest of a
//! [`RuleSet`] is for those who open flows, and its objects are as large as their names.
//!
//! ```text
//! door     port, VLAN -> Door                                  which network, and whether it is one of all routers' outside
//! enter    Door, MAC -> Leg                                    whose realm, which generation, which hosts, which way out
//! own      network, address -> Own                             whether an address is ours, and what it is good for
//! inside   realm -> Inside                                     a router by what a session says of it
//! leave    Leg                                                 by which port, tag and MAC, and what its network takes
//! ```
//!
//! Beside what leads to a next hop stands a [`Hint`] where that was last found.
//!
//! All of it repeats what the rule set says elsewhere, and says it only where that is simple: a leg's one run of hosts, a
//! destination that nothing but the default route leads to. What is not simple is asked of the rule set.

mod dense;
mod hint;

use std::net::Ipv4Addr;

use hashbrown::HashMap;
use packet::ethernet::LinkTail;
use packet::{MacNumber, PortIndex, VlanId};

use crate::compiled::{
    AddressIndex, AddressRules, FloatingIndex, FloatingRules, GatewayRules, InterfaceIndex, NextHop,
    PoolIndex, Realm, RouterIndex, RouterRules, RuleSet, SegmentIndex, SegmentRules,
};

use dense::{Dense, Row};
pub use hint::Hint;

/// A run of addresses: so many from the first on. Of all that there are, it has but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: u32,
    count: u32,
}

impl Span {
    const NONE: Self = Self { first: 0, count: 0 };

    /// From the first to the last.
    fn new(first: u32, last: u32) -> Self {
        Self { first, count: last.checked_sub(first).map_or(0, |last| last.saturating_add(1)) }
    }

    fn last(self) -> u32 {
        self.first.saturating_add(self.count.saturating_sub(1))
    }

    #[inline]
    fn contains(self, address: u32) -> bool {
        address.wrapping_sub(self.first) < self.count
    }

    /// The least span that holds both, of which neither is empty.
    fn and(self, other: Self) -> Self {
        Self::new(self.first.min(other.first), self.last().max(other.last()))
    }
}

/// A router's leg, as packets meet it.
///
/// ```text
///  0                                                             64
///  | whose it is, hosts, the way out and what does not go by it  |    for a packet that enters
///  | port, tag, MAC, MTU, network                                |    for one that leaves
/// ```
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Leg {
    /// Whose it is.
    pub router: RouterIndex,
    /// That router's.
    pub generation: u32,
    /// Of the flows that enter by it: the router's, or of an external leg its network's.
    pub realm: Realm,
    /// A leg into an external network.
    pub external: bool,
    /// Some of its router's hosts have floating IPs that are known at a glance.
    has_floating_ips: bool,
    has_exceptions: bool,
    hosts: Span,
    /// Our own address among the hosts'.
    own: u32,
    /// The router's default route, where it leads out: by which leg, to whom.
    default_route: Option<NextHop>,
    /// Every destination that the default route does not lead to, and others.
    elsewhere: [Span; 2],
    /// What translates its hosts' flows that leave by the default route, but for a floating IP and exceptions.
    pool: Option<PoolIndex>,
    /// Where frames leave by it. On the second cache line.
    pub exit: Exit,
}

/// How frames leave by a leg.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Exit {
    /// Its network's realm, of neighbours.
    pub realm: Realm,
    /// The addresses of ours on it, and others.
    own: Span,
    /// The largest IPv4 packet.
    pub mtu: u16,
    /// The port.
    pub port: PortIndex,
    /// The header of its frames.
    pub link: LinkTail,
    /// Where the next hop of the default route was last found.
    pub next_hop: Hint,
}

const _: () = assert!(size_of::<Leg>() == 128 && std::mem::offset_of!(Leg, exit) == 64);

impl Leg {
    /// Whether a packet with this source may enter by it: from a host of the leg's, known at a glance. `false` where it takes
    /// a longer look.
    #[inline]
    pub fn is_plainly_a_hosts(&self, source: Ipv4Addr) -> bool {
        let source = u32::from(source);
        self.hosts.contains(source) && source != self.own
    }

    /// The leg of the default route, where it leads out.
    #[inline]
    pub fn default_interface(&self) -> Option<InterfaceIndex> {
        self.default_route.map(|next_hop| next_hop.interface)
    }

    /// The next hop on the way out, of what nothing but the default route leads to. `None` where it takes a longer look.
    #[inline]
    pub fn plainly_out(&self, destination: Ipv4Addr) -> Option<NextHop> {
        let destination = u32::from(destination);
        let [one, two] = self.elsewhere;
        self.default_route.filter(|_| !one.contains(destination) && !two.contains(destination))
    }

    /// The pool that translates what leaves by the default route from a host that has no floating IP, unless an
    /// [exception](Self::has_exceptions) does.
    #[inline]
    pub fn pool(&self) -> Option<PoolIndex> {
        self.pool
    }

    /// Whether some flows that leave by the default route are translated by a forwarding, or not at all; then whether a host has
    /// a floating IP takes a longer look too.
    #[inline]
    pub fn has_exceptions(&self) -> bool {
        self.has_exceptions
    }

    /// Whether an internal address is a host's on this leg, so that it is its own next hop. `false` where it takes a longer
    /// look.
    #[inline]
    pub fn is_plainly_reached(&self, destination: Ipv4Addr) -> bool {
        self.hosts.contains(destination.into())
    }
}

/// One of our addresses on a network. None lies on two cache lines.
#[derive(Clone, Debug)]
#[repr(align(32))]
pub struct Own {
    /// The MAC that ARP says it has.
    pub mac: MacNumber,
    /// What it is good for.
    pub purpose: Purpose,
    /// Where the host of a floating IP was last found. See [`RuleSet::own_by`].
    pub host: Hint,
}

const _: () = assert!(size_of::<Option<Own>>() == 32);

/// What one of our addresses is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Translation by ports and nothing else.
    Ports(AddressIndex),
    /// A floating IP and nothing else.
    Floating {
        /// Whose it is.
        internal: Ipv4Addr,
        /// The leg that leads there.
        leg: InterfaceIndex,
    },
    /// Several things, or to be spoken to.
    Other,
}

/// A router that is up, by its realm.
#[derive(Clone, Copy, Debug)]
pub struct Inside {
    /// Which.
    pub router: RouterIndex,
    /// Its generation.
    pub generation: u32,
    /// One of its internal legs.
    pub leg: InterfaceIndex,
}

/// A network as its frames come in, by port and VLAN: one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Door {
    /// Its realm, where all its legs are external: a packet from there is meant for an address, whichever leg it enters by.
    pub outside: Option<Realm>,
    segment: SegmentIndex,
    /// Its first leg, of tenants' networks the only one.
    mac: MacNumber,
    leg: InterfaceIndex,
    /// Our addresses on it, where they lie close together in two places at most.
    own: Option<[Row; 2]>,
}

const _: () = assert!(size_of::<Door>() == 64);

/// See the file's page.
#[derive(Debug, Default)]
pub struct Legs {
    legs: Vec<Leg>,
    /// By port and VLAN.
    doors: Vec<Option<Door>>,
    /// By network and MAC.
    by_mac: HashMap<u64, InterfaceIndex>,
    own: HashMap<u64, Own>,
    own_by_door: Dense<Own>,
    /// By the router's realm and the host: the floating IP of what nothing but the default route leads to.
    floating: HashMap<u64, Ipv4Addr>,
    /// The same by router, where its hosts that have one lie close together.
    floating_rows: Vec<Option<Row>>,
    floating_by_row: Dense<Ipv4Addr>,
    /// By realm.
    inside: Vec<Option<Inside>>,
}

impl Legs {
    /// Of a rule set that is complete but for this, after another.
    pub(crate) fn of(set: &RuleSet, previous: Option<&RuleSet>) -> Self {
        let legs = set.interfaces.iter().enumerate();
        let legs: Vec<_> =
            legs.filter_map(|(at, _)| leg(set, InterfaceIndex(u32::try_from(at).ok()?))).collect();
        let own_of = |segment: &SegmentRules| {
            let own = segment.addresses.iter().filter_map(|(address, rules)| {
                let mac = set.interfaces.get(rules.interface.0 as usize)?.mac.into();
                let purpose = purpose_of(set, &legs, rules);
                let before = previous.and_then(|set| set.own_on(segment.realm, *address));
                let host = before.map(|own| own.host.clone()).unwrap_or_default();
                Some((*address, Own { mac, purpose, host }))
            });
            own.collect::<Vec<_>>()
        };
        let (mut doors, mut own_by_door) = (vec![None; set.wires.len() * VLANS], Dense::default());
        for (at, segment) in set.segments.iter().enumerate() {
            let first = segment.interfaces.iter().min_by_key(|(mac, _)| **mac);
            if let (Some((mac, leg)), Some(door)) =
                (first, doors.get_mut(door_of(segment.port, segment.vlan)))
                && let Ok(at) = u32::try_from(at)
            {
                let is_external =
                    |leg: &InterfaceIndex| legs.get(leg.0 as usize).is_some_and(|leg| leg.external);
                let outside = segment.interfaces.values().all(is_external).then_some(segment.realm);
                let own = own_of(segment).into_iter().map(|(address, own)| (u32::from(address), own));
                let own = own_by_door.lay_twice(own.collect());
                *door = Some(Door { outside, segment: SegmentIndex(at), mac: (*mac).into(), leg: *leg, own });
            }
        }
        let by_mac = set.segments.iter().enumerate().flat_map(|(at, segment)| {
            segment.interfaces.iter().map(move |(mac, leg)| (mac_key(at, (*mac).into()), *leg))
        });
        let by_mac = by_mac.collect();
        let own = set.segments.iter().flat_map(|segment| {
            own_of(segment).into_iter().map(|(address, own)| (key(segment.realm, address), own))
        });
        let own = own.collect();
        let (mut floating, mut floating_by_row) = (HashMap::new(), Dense::default());
        let floating_rows = set.routers.iter().map(|router| {
            let pairs: Vec<_> = floating_ips(set, router).collect();
            floating.extend(pairs.iter().map(|(internal, ip)| (key(router.realm, *internal), *ip)));
            floating_by_row.lay(pairs.iter().map(|(internal, ip)| (u32::from(*internal), *ip)))
        });
        let floating_rows = floating_rows.collect();
        let mut inside = Vec::new();
        for (realm, router) in &set.router_by_realm {
            let (at, router_at) = (realm.0 as usize, router.0 as usize);
            if inside.len() <= at {
                inside.resize(at + 1, None);
            }
            let rules = set.routers.get(router_at);
            if let (Some(place), Some(rules)) = (inside.get_mut(at), rules) {
                let is_internal = |leg: &&InterfaceIndex| {
                    set.interfaces.get(leg.0 as usize).is_some_and(|leg| !leg.external)
                };
                *place = rules.interfaces.iter().find(is_internal).map(|leg| Inside {
                    router: *router,
                    generation: rules.generation,
                    leg: *leg,
                });
            }
        }
        Self { legs, doors, by_mac, own, own_by_door, floating, floating_rows, floating_by_row, inside }
    }
}

impl RuleSet {
    /// The network that a frame comes in from.
    #[inline]
    pub fn door(&self, port: PortIndex, vlan: Option<VlanId>) -> Option<&Door> {
        self.legs.doors.get(door_of(port, vlan))?.as_ref()
    }

    /// The leg by which a frame enters from there, to this MAC.
    #[inline]
    pub fn enter(&self, door: &Door, mac: MacNumber) -> Option<(InterfaceIndex, &Leg)> {
        let index = match door.mac == mac {
            true => door.leg,
            false => *self.legs.by_mac.get(&mac_key(door.segment.0 as usize, mac))?,
        };
        Some((index, self.leg(index)?))
    }

    /// A leg.
    #[inline]
    pub fn leg(&self, index: InterfaceIndex) -> Option<&Leg> {
        self.legs.legs.get(index.0 as usize)
    }

    /// Whether an address is ours on the network that a leg leaves into.
    #[inline]
    pub fn is_own(&self, exit: &Exit, address: Ipv4Addr) -> bool {
        // What is far from all of them needs no look-up, and is nearly always what is asked.
        exit.own.contains(address.into()) && self.is_among_own(exit.realm, address)
    }

    #[inline(never)]
    fn is_among_own(&self, network: Realm, address: Ipv4Addr) -> bool {
        self.own(network, address).is_some()
    }

    /// An address on the network of this realm, if it is ours.
    #[inline]
    pub fn own(&self, network: Realm, address: Ipv4Addr) -> Option<&Own> {
        self.legs.own.get(&key(network, address))
    }

    /// An address on the network that a door leads in from, if it is ours.
    #[inline]
    pub fn own_by(&self, door: &Door, network: Realm, address: Ipv4Addr) -> Option<&Own> {
        match door.own {
            Some(_) => self.own_cell(door, address)?.as_ref(),
            None => self.own(network, address),
        }
    }

    /// The same of the network of this realm: its hints are those that [`Self::own_by`] finds.
    pub fn own_on(&self, network: Realm, address: Ipv4Addr) -> Option<&Own> {
        let segment = self.segments.get(self.segment_of_realm(network)?.0 as usize)?;
        self.own_by(self.door(segment.port, segment.vlan)?, network, address)
    }

    /// Where [`Self::own_by`] is going to look, mostly: memory to be asked for.
    #[inline]
    pub fn own_cell(&self, door: &Door, address: Ipv4Addr) -> Option<&Option<Own>> {
        let ([first, second], address) = (door.own?, address.into());
        let cells = &self.legs.own_by_door;
        cells.cell(first, address).or_else(|| cells.cell(second, address))
    }

    /// The floating IP under which a host's packets leave by the default route, from a leg by which they have entered. `None`
    /// where it has none, or it takes a longer look.
    #[inline]
    pub fn floating_ip_of(&self, leg: &Leg, host: Ipv4Addr) -> Option<Ipv4Addr> {
        if !leg.has_floating_ips {
            return None;
        }
        match *self.legs.floating_rows.get(leg.router.0 as usize)? {
            Some(row) => self.legs.floating_by_row.get(row, host.into()).copied(),
            None => self.legs.floating.get(&key(leg.realm, host)).copied(),
        }
    }

    /// The router whose internal realm this is, if it is up and has internal legs.
    #[inline]
    pub fn inside(&self, realm: Realm) -> Option<Inside> {
        self.legs.inside.get(realm.0 as usize).copied().flatten()
    }
}

#[inline]
fn key(network: Realm, address: Ipv4Addr) -> u64 {
    u64::from(network.0) << 32 | u64::from(u32::from(address))
}

/// Untagged frames and one for each VLAN.
const VLANS: usize = 4096;

#[inline]
fn door_of(port: PortIndex, vlan: Option<VlanId>) -> usize {
    usize::from(port.0) * VLANS + usize::from(vlan.map_or(0, VlanId::get))
}

/// A MAC has 48 bits, a network's index fewer than the rest.
#[inline]
fn mac_key(segment: usize, mac: MacNumber) -> u64 {
    (segment as u64) << 48 | mac.get()
}

/// The floating IPs of a router's hosts by internal address, where they alone say how what the default route leads to is
/// translated.
fn floating_ips<'a>(
    set: &'a RuleSet,
    router: &'a RouterRules,
) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> + 'a {
    let (next_hop, _) = default_route(set, router);
    let gateway = next_hop.and_then(|next_hop| router.gateway_by(next_hop.interface));
    let by_internal = gateway
        .filter(|gateway| is_simple(router, gateway))
        .into_iter()
        .flat_map(|gateway| &gateway.floating_by_internal);
    by_internal
        .filter_map(|(internal, index)| Some((*internal, set.floating_ips.get(index.0 as usize)?.external)))
}

/// Whether a floating IP, or else the pool, translates all that leaves by a gateway of the router's.
fn is_simple(router: &RouterRules, gateway: &GatewayRules) -> bool {
    router.no_nat.is_empty() && gateway.forwardings_by_internal.is_empty()
}

fn purpose_of(set: &RuleSet, legs: &[Leg], rules: &AddressRules) -> Purpose {
    let floating = |index: FloatingIndex| {
        let FloatingRules { router, internal, .. } = set.floating_ips.get(index.0 as usize)?;
        let leads_there = |leg: &&InterfaceIndex| {
            legs.get(leg.0 as usize).is_some_and(|leg| leg.is_plainly_reached(*internal))
        };
        let leg = set.routers.get(router.0 as usize)?.interfaces.iter().find(leads_there)?;
        Some(Purpose::Floating { internal: *internal, leg: *leg })
    };
    match *rules {
        // What is an interface's own as well is spoken to by ping alone, which is no plain packet.
        AddressRules { floating: None, ports: Some(ports), forwardings, .. } if forwardings.is_empty() => {
            Purpose::Ports(ports)
        }
        AddressRules { local: false, floating: Some(index), pool: None, forwardings, .. }
            if forwardings.is_empty() =>
        {
            floating(index).unwrap_or(Purpose::Other)
        }
        _ => Purpose::Other,
    }
}

fn leg(set: &RuleSet, index: InterfaceIndex) -> Option<Leg> {
    let interface = set.interfaces.get(index.0 as usize)?;
    let router = set.routers.get(interface.router.0 as usize)?;
    let segment = set.segments.get(interface.segment.0 as usize)?;
    let (hosts, own) = if interface.external { (Span::NONE, 0) } else { hosts(set, router, index) };
    let (default_route, elsewhere) = default_route(set, router);
    let gateway = default_route.and_then(|next_hop| router.gateway_by(next_hop.interface));
    Some(Leg {
        router: interface.router,
        generation: router.generation,
        realm: if interface.external { segment.realm } else { router.realm },
        external: interface.external,
        has_floating_ips: !interface.external && floating_ips(set, router).next().is_some(),
        hosts,
        own,
        default_route,
        elsewhere,
        pool: gateway.filter(|_| interface.snat).and_then(|gateway| gateway.pool),
        has_exceptions: gateway.is_some_and(|gateway| !is_simple(router, gateway)),
        exit: Exit {
            realm: segment.realm,
            own: span_of(segment.addresses.keys()),
            mtu: segment.mtu,
            port: segment.port,
            link: LinkTail::new(interface.mac, segment.vlan),
            next_hop: Hint::default(),
        },
    })
}

fn span_of<'a>(addresses: impl Iterator<Item = &'a Ipv4Addr>) -> Span {
    let single = |address: &Ipv4Addr| Span::new(u32::from(*address), u32::from(*address));
    addresses.map(single).reduce(Span::and).unwrap_or(Span::NONE)
}

/// The largest run of addresses that are hosts of the leg's, but for one of our own, which stands beside it.
fn hosts(set: &RuleSet, router: &RouterRules, index: InterfaceIndex) -> (Span, u32) {
    let Some(interface) = set.interfaces.get(index.0 as usize) else { return (Span::NONE, 0) };
    let largest = router.routes.connected(index).max_by_key(|(first, last)| last - first);
    let Some((mut first, mut last)) = largest else { return (Span::NONE, 0) };
    if interface.is_edge(first.into()) {
        first = first.saturating_add(1);
    }
    if interface.is_edge(last.into()) {
        last = last.saturating_sub(1);
    }
    let span = Span::new(first, last);
    let edges = |net: &ipnet::Ipv4Net| [net.addr(), net.network(), net.broadcast()];
    let mut no_hosts: Vec<u32> = interface.addresses.iter().flat_map(edges).map(u32::from).collect();
    no_hosts.retain(|address| span.contains(*address) && interface.is_no_hosts((*address).into()));
    no_hosts.sort_unstable();
    no_hosts.dedup();
    match *no_hosts {
        [] => (span, 0),
        [own] => (span, own),
        _ => (Span::NONE, 0),
    }
}

/// The route that most destinations have, where it leads out, and what others lead to.
fn default_route(set: &RuleSet, router: &RouterRules) -> (Option<NextHop>, [Span; 2]) {
    let Some((next_hop, others)) = router.routes.default_and_others() else { return (None, [Span::NONE; 2]) };
    let leads_out = set.interfaces.get(next_hop.interface.0 as usize).is_some_and(|leg| leg.external)
        && router.gateway_by(next_hop.interface).is_some();
    let mut spans: Vec<Span> = others.map(|(first, last)| Span::new(first, last)).collect();
    // The two that lie closest together become one, until two are left: they hold what lies between them too.
    while spans.len() > 2 {
        let gap = |pair: &[Span]| match *pair {
            [one, two] => two.first - one.last(),
            _ => u32::MAX,
        };
        let gaps = spans.windows(2).map(gap);
        let Some((at, _)) = gaps.enumerate().min_by_key(|(_, gap)| *gap) else { break };
        let removed = spans.remove(at + 1);
        if let Some(kept) = spans.get_mut(at) {
            *kept = kept.and(removed);
        }
    }
    let mut spans = spans.into_iter();
    let elsewhere = [(); 2].map(|()| spans.next().unwrap_or(Span::NONE));
    (leads_out.then_some(next_hop), elsewhere)
}

#[cfg(test)]
mod tests;
