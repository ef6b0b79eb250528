//! Objects together: names, wires, MACs, interface addresses, and how many there are.
//!
//! Objects are gone through in order, each against what those before it hold; so the later one is to blame, and all of
//! it is one pass over hash maps.

use std::fmt;
use std::net::Ipv4Addr;

use hashbrown::{HashMap, HashSet};

use super::report::Report;
use super::{external, forwardings};
use crate::fault::Code;
use crate::limits::{
    ALL_POOL_ADDRESSES_MAX, FLOATING_IPS_MAX, INTERFACES_MAX, POOLS_MAX, PORT_FORWARDINGS_MAX, ROUTERS_MAX,
    ROUTES_MAX, SEGMENTS_MAX,
};
use crate::model::{AddressRange, Gateway, Interface, Mac, Pool, Router, Segment};
use crate::object::{Object, ObjectKind, ObjectRef};

/// The objects by name. Where a name is given twice the first has it, and the second is left out of everything else: a
/// copy of an object would else be faulted for every address it has.
pub(super) struct Names<'a> {
    /// Position by id.
    segments: HashMap<&'a str, usize>,
    pools: HashMap<&'a str, (usize, &'a Pool)>,
    routers: Vec<(usize, &'a Router)>,
}

/// Where in a router an address stands, for the field's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Of an interface, one of its addresses.
    Interface(usize, usize),
    /// A floating IP's external address.
    Floating(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(interface, address) => write!(f, "interfaces[{interface}].addresses[{address}]"),
            Self::Floating(index) => write!(f, "floating_ips[{index}].external"),
        }
    }
}

/// An address that a router holds on a network.
#[derive(Clone, Copy)]
pub(super) struct Claim<'a> {
    /// The segment's position.
    pub(super) segment: usize,
    pub(super) address: Ipv4Addr,
    /// The router's position.
    pub(super) at: usize,
    pub(super) router: &'a Router,
    pub(super) place: Place,
}

/// A router's way out, on a network.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    /// The router's position.
    pub(super) at: usize,
    pub(super) router: &'a Router,
    /// The gateway's index in the router.
    pub(super) index: usize,
    pub(super) gateway: &'a Gateway,
    /// Its interface.
    pub(super) leg: &'a Interface,
    /// The segment's position.
    pub(super) segment: usize,
}

pub(super) fn check<'a>(objects: &'a [Object], report: &mut Report<'a>) {
    check_room(objects, report);
    let names = Names::new(objects, report);
    check_wires(objects, &names, report);
    check_macs(&names, report);
    check_references(&names, report);
    let claims = names.claims();
    check_claims(&claims, report);
    let runs = external::check(&names, &claims, report);
    forwardings::check(&names, &claims, &runs, report);
}

impl<'a> Names<'a> {
    fn new(objects: &'a [Object], report: &mut Report<'a>) -> Self {
        let mut names = Self { segments: HashMap::new(), pools: HashMap::new(), routers: Vec::new() };
        let mut routers = HashSet::new();
        for (at, object) in objects.iter().enumerate() {
            let fresh = match object {
                Object::Segment(segment) => names.segments.try_insert(&segment.id, at).is_ok(),
                Object::Pool(pool) => names.pools.try_insert(&pool.id, (at, &**pool)).is_ok(),
                Object::Router(router) => {
                    names.routers.push((at, router));
                    routers.insert(router.id.as_str())
                }
            };
            if !fresh {
                if object.kind() == ObjectKind::Router {
                    names.routers.pop();
                }
                let message = format!("another {} has this id", object.kind());
                report.of(at).add(Code::DuplicateId, "id", message);
            }
        }
        names
    }

    pub(super) fn segment(&self, id: &str) -> Option<usize> {
        self.segments.get(id).copied()
    }

    pub(super) fn pool(&self, id: &str) -> Option<(usize, &'a Pool)> {
        self.pools.get(id).copied()
    }

    /// Every router with its position.
    pub(super) fn routers(&self) -> impl Iterator<Item = (usize, &'a Router)> + '_ {
        self.routers.iter().copied()
    }

    /// Every address that routers hold on their networks, in order.
    fn claims(&self) -> Vec<Claim<'a>> {
        let mut claims = Vec::new();
        for (at, router) in self.routers() {
            for (index, interface) in router.interfaces.iter().enumerate() {
                let Some(segment) = self.segment(&interface.segment) else { continue };
                claims.extend(interface.addresses.iter().enumerate().map(|(which, subnet)| Claim {
                    segment,
                    address: subnet.addr(),
                    at,
                    router,
                    place: Place::Interface(index, which),
                }));
            }
            let external = router.floating_ips.iter().enumerate().filter_map(|(index, floating)| {
                let segment = self.network_of(router, floating.gateway.as_ref())?;
                Some(Claim { segment, address: floating.external, at, router, place: Place::Floating(index) })
            });
            claims.extend(external);
        }
        claims
    }

    /// Every gateway that leads somewhere, in order.
    pub(super) fn ways_out(&self) -> impl Iterator<Item = Way<'a>> + '_ {
        self.routers().flat_map(move |(at, router)| {
            router.gateways.iter().enumerate().filter_map(move |(index, gateway)| {
                let leg = router.interface(&gateway.interface)?;
                let segment = self.segment(&leg.segment)?;
                Some(Way { at, router, index, gateway, leg, segment })
            })
        })
    }

    /// The network of the gateway that a floating IP or port forwarding names.
    pub(super) fn network_of(&self, router: &Router, gateway: Option<&String>) -> Option<usize> {
        let leg = router.interface(&router.gateway_named(gateway)?.interface)?;
        self.segment(&leg.segment)
    }
}

/// Counts in order: the object that goes over a bound is to blame, not those before it.
fn check_room(objects: &[Object], report: &mut Report<'_>) {
    let mut rooms: [(usize, usize, &str); 8] = [
        (0, SEGMENTS_MAX, "segments"),
        (0, POOLS_MAX, "pools"),
        (0, ALL_POOL_ADDRESSES_MAX, "pool addresses"),
        (0, ROUTERS_MAX, "routers"),
        (0, INTERFACES_MAX, "interfaces"),
        (0, FLOATING_IPS_MAX, "floating IPs"),
        (0, PORT_FORWARDINGS_MAX, "port forwardings"),
        (0, ROUTES_MAX, "routes and no_nat prefixes"),
    ];
    for (at, object) in objects.iter().enumerate() {
        let wanted = match object {
            Object::Segment(_) => [1, 0, 0, 0, 0, 0, 0, 0],
            Object::Pool(pool) => {
                let addresses: u64 = pool.addresses.iter().map(AddressRange::count).sum();
                [0, 1, usize::try_from(addresses).unwrap_or(usize::MAX), 0, 0, 0, 0, 0]
            }
            Object::Router(router) => {
                let routes = router.routes.len() + router.no_nat.len();
                [
                    0,
                    0,
                    0,
                    1,
                    router.interfaces.len(),
                    router.floating_ips.len(),
                    router.port_forwardings.len(),
                    routes,
                ]
            }
        };
        let over =
            rooms.iter().zip(wanted).find(|((held, max, _), wanted)| held.saturating_add(*wanted) > *max);
        if let Some(((_, max, what), _)) = over {
            report.of(at).add(
                Code::Capacity,
                "",
                format!("the gateway holds {max} {what}, and has no room left"),
            );
        } else {
            // What is refused takes no room, so that a smaller object behind it still fits.
            rooms.iter_mut().zip(wanted).for_each(|((held, _, _), wanted)| *held += wanted);
        }
    }
}

/// Two segments with the same port and VLAN: nothing could tell which one a frame came from.
fn check_wires<'a>(objects: &'a [Object], names: &Names<'a>, report: &mut Report<'a>) {
    let mut wires = HashMap::new();
    for (at, object) in objects.iter().enumerate() {
        let Object::Segment(segment) = object else { continue };
        let Segment { port, vlan, .. } = &**segment;
        if names.segment(&segment.id) != Some(at) {
            continue;
        }
        if let Err(taken) = wires.try_insert((port, vlan), at) {
            let message = match vlan {
                Some(vlan) => format!("another segment has VLAN {vlan} of port `{}`", port.escape_debug()),
                None => format!("another segment has the untagged frames of port `{}`", port.escape_debug()),
            };
            let field = if vlan.is_some() { "vlan" } else { "port" };
            report.of(at).add_conflict(Code::RuleAmbiguous, field, message, *taken.entry.get());
        }
    }
}

fn check_macs<'a>(names: &Names<'a>, report: &mut Report<'a>) {
    let mut macs: HashMap<(usize, Mac), usize> = HashMap::new();
    for (at, router) in names.routers() {
        for (index, interface) in router.interfaces.iter().enumerate() {
            let Some(segment) = names.segment(&interface.segment) else { continue };
            if let Err(taken) = macs.try_insert((segment, interface.mac), at) {
                let message = format!("{} is on segment `{}` already", interface.mac, interface.segment);
                let field = format!("interfaces[{index}].mac");
                report.of(at).add_conflict(Code::DuplicateMac, field, message, *taken.entry.get());
            }
        }
    }
}

fn check_references<'a>(names: &Names<'a>, report: &mut Report<'a>) {
    for (at, router) in names.routers() {
        for (index, interface) in router.interfaces.iter().enumerate() {
            if names.segment(&interface.segment).is_none() {
                let message = format!("there is no segment `{}`", interface.segment.escape_debug());
                let missing = ObjectRef::new(ObjectKind::Segment, interface.segment.as_str());
                let field = format!("interfaces[{index}].segment");
                report.of(at).add_missing(Code::UnknownSegment, field, message, missing);
            }
        }
        for (index, gateway) in router.gateways.iter().enumerate() {
            if let Some(pool) = &gateway.pool
                && names.pool(pool).is_none()
            {
                let message = format!("there is no pool `{}`", pool.escape_debug());
                let missing = ObjectRef::new(ObjectKind::Pool, pool.as_str());
                let field = format!("gateways[{index}].pool");
                report.of(at).add_missing(Code::UnknownPool, field, message, missing);
            }
        }
    }
}

/// No address twice on one network.
fn check_claims<'a>(claims: &[Claim<'a>], report: &mut Report<'a>) {
    let mut held: HashMap<(usize, Ipv4Addr), &Claim<'a>> = HashMap::with_capacity(claims.len());
    for claim in claims {
        let Err(taken) = held.try_insert((claim.segment, claim.address), claim) else { continue };
        let before = *taken.entry.get();
        let code = match (before.place, claim.place) {
            (Place::Interface(..), Place::Interface(..)) => Code::DuplicateIp,
            _ => Code::ExternalIpConflict,
        };
        let message = format!("{} is {} already", claim.address, before.place);
        report.of(claim.at).add_conflict(code, claim.place, message, before.at);
    }
}
