//! A router alone: its interfaces, its way out, its routes, its floating IPs.

use std::net::Ipv4Addr;

use hashbrown::{HashMap, HashSet};
use ipnet::Ipv4Net;

use super::address::{host_bits, why_not_a_host, why_not_on};
use super::check_id;
use super::report::Of;
use crate::compiled::InterfaceIndex;
use crate::fault::Code;
use crate::limits::{
    INTERFACE_ADDRESSES_MAX, ROUTER_FLOATING_IPS_MAX, ROUTER_INTERFACES_MAX, ROUTER_NO_NAT_MAX,
    ROUTER_ROUTES_MAX, TEXT_BYTES_MAX, TIMEOUT_S_MAX,
};
use crate::model::{FloatingIp, Interface, Router, Timeouts};
use crate::routes::RouteTable;

pub(super) fn check(router: &Router, report: &mut Of<'_, '_>) {
    check_id(&router.id, "id", report);
    check_text(&router.project, "project", report);
    check_text(&router.name, "name", report);
    if !fits(router, report) {
        return;
    }
    let mut ids = HashSet::new();
    for (index, interface) in router.interfaces.iter().enumerate() {
        let path = format!("interfaces[{index}]");
        check_id(&interface.id, &format!("{path}.id"), report);
        if !ids.insert(interface.id.as_str()) {
            report.add(Code::DuplicateId, format_args!("{path}.id"), "another interface has this id");
        }
        check_interface(interface, &path, report);
    }
    check_overlaps(router, report);
    check_gateway(router, report);
    check_routes(router, report);
    check_floating_ips(router, report);
    for (index, prefix) in router.no_nat.iter().enumerate() {
        if let Some(meant) = host_bits(prefix) {
            let message = format!("{prefix} has host bits set: the prefix is {meant}");
            report.add(Code::BadAddress, format_args!("no_nat[{index}]"), message);
        }
    }
    check_timeouts(&router.timeouts, report);
}

/// Project and name go into logs and metric labels.
fn check_text(text: &str, field: &str, report: &mut Of<'_, '_>) {
    if text.len() > TEXT_BYTES_MAX {
        report.add(Code::OutOfRange, field, format!("{} bytes are more than {TEXT_BYTES_MAX}", text.len()));
    } else if text.chars().any(char::is_control) {
        report.add(Code::OutOfRange, field, "a control character is in it");
    }
}

/// Whether the router is small enough to be looked at further.
fn fits(router: &Router, report: &mut Of<'_, '_>) -> bool {
    let lists = [
        ("interfaces", router.interfaces.len(), ROUTER_INTERFACES_MAX),
        ("routes", router.routes.len(), ROUTER_ROUTES_MAX),
        ("floating_ips", router.floating_ips.len(), ROUTER_FLOATING_IPS_MAX),
        ("no_nat", router.no_nat.len(), ROUTER_NO_NAT_MAX),
    ];
    let mut fits = true;
    for (field, count, max) in lists {
        if count > max {
            report.add(Code::Capacity, field, format!("{count} are more than a router may have ({max})"));
            fits = false;
        }
    }
    for (index, interface) in router.interfaces.iter().enumerate() {
        let count = interface.addresses.len();
        if count > INTERFACE_ADDRESSES_MAX {
            let message = format!("{count} are more than an interface may have ({INTERFACE_ADDRESSES_MAX})");
            report.add(Code::Capacity, format_args!("interfaces[{index}].addresses"), message);
            fits = false;
        }
    }
    fits
}

fn check_interface(interface: &Interface, path: &str, report: &mut Of<'_, '_>) {
    let mac = interface.mac;
    if mac.0 == [0; 6] || mac.0[0] & 1 == 1 {
        let message = format!("{mac} is not the address of one interface");
        report.add(Code::BadAddress, format_args!("{path}.mac"), message);
    }
    if interface.addresses.is_empty() {
        let message = "an interface needs an address, as 10.0.0.1/24";
        report.add(Code::MissingField, format_args!("{path}.addresses"), message);
    }
    for (index, subnet) in interface.addresses.iter().enumerate() {
        let field = format!("{path}.addresses[{index}]");
        let address = subnet.addr();
        if subnet.prefix_len() == 0 {
            report.add(Code::OutOfRange, field, format!("{subnet} has no subnet: the length is 1 to 32"));
        } else if let Some(why) =
            why_not_a_host(address, interface.external).or_else(|| why_not_on(subnet, address))
        {
            report.add(Code::BadAddress, field, format!("{address} is {why}"));
        }
    }
}

/// Of two interfaces with one subnet the router could not say by which a host is reached.
fn check_overlaps(router: &Router, report: &mut Of<'_, '_>) {
    for (index, interface) in router.interfaces.iter().enumerate() {
        let earlier = || router.interfaces.iter().take(index).flat_map(|one| &one.addresses);
        for (at, subnet) in interface.addresses.iter().enumerate() {
            if let Some(other) =
                earlier().find(|one| one.contains(&subnet.network()) || subnet.contains(&one.network()))
            {
                let message =
                    format!("{} overlaps {}, the subnet of another interface", subnet.trunc(), other.trunc());
                report.add(
                    Code::InterfaceOverlap,
                    format_args!("interfaces[{index}].addresses[{at}]"),
                    message,
                );
            }
        }
    }
}

fn check_gateway(router: &Router, report: &mut Of<'_, '_>) {
    let gateway = router.gateway.as_ref();
    let leg = gateway.and_then(|gateway| router.interface(&gateway.interface));
    match (gateway, leg) {
        (None, _) => {}
        (Some(gateway), None) => {
            let message = format!("the router has no interface `{}`", gateway.interface.escape_debug());
            report.add(Code::UnknownInterface, "gateway.interface", message);
            return;
        }
        (Some(gateway), Some(leg)) => {
            if gateway.snat && gateway.pool.is_none() && leg.addresses.is_empty() {
                let message = "SNAT is on, there is no pool, and the gateway's interface has no address";
                report.add(Code::SnatWithoutPool, "gateway.pool", message);
            }
            check_next_hop(router, gateway.next_hop, &[leg], "gateway.next_hop", report);
            if !leg.external {
                let message = format!("interface `{}` is not external", leg.id.escape_debug());
                report.add(Code::GatewayNotExternal, "gateway.interface", message);
                return;
            }
        }
    }
    // Beside the gateway no leg may be external: what leaves by it would leave untranslated.
    let leg_id = leg.map(|leg| leg.id.as_str());
    for (index, interface) in router.interfaces.iter().enumerate() {
        if interface.external && Some(interface.id.as_str()) != leg_id {
            let message = "an external interface has to be the gateway's, and a router has one gateway";
            report.add(Code::UnsupportedFeature, format_args!("interfaces[{index}].external"), message);
        }
    }
}

/// A next hop has to be another host on a subnet of one of `legs`.
fn check_next_hop(
    router: &Router,
    next_hop: Ipv4Addr,
    legs: &[&Interface],
    field: &str,
    report: &mut Of<'_, '_>,
) {
    let own = router.interfaces.iter().flat_map(|one| &one.addresses).any(|one| one.addr() == next_hop);
    let subnet = legs.iter().flat_map(|leg| &leg.addresses).find(|subnet| subnet.contains(&next_hop));
    if let Some(why) = why_not_a_host(next_hop, false) {
        report.add(Code::BadAddress, field, format!("{next_hop} is {why}"));
    } else if own {
        report.add(Code::RouteLoop, field, format!("{next_hop} is the router's own address"));
    } else if let Some(subnet) = subnet {
        if let Some(why) = why_not_on(subnet, next_hop) {
            report.add(Code::BadAddress, field, format!("{next_hop} is {why} ({})", subnet.trunc()));
        }
    } else {
        let message = match legs {
            [leg] => {
                format!("{next_hop} is on no subnet of the gateway's interface `{}`", leg.id.escape_debug())
            }
            _ => format!("{next_hop} is on no subnet of the router's interfaces"),
        };
        report.add(Code::NoRouteToNexthop, field, message);
    }
}

fn check_routes(router: &Router, report: &mut Of<'_, '_>) {
    let mut taken: HashMap<Ipv4Net, &str> = HashMap::new();
    for subnet in router.interfaces.iter().flat_map(|interface| &interface.addresses) {
        taken.insert(subnet.trunc(), "the subnet of an interface");
    }
    if router.gateway.is_some() {
        taken.insert(Ipv4Net::default(), "the gateway's default route");
    }
    let legs: Vec<&Interface> = router.interfaces.iter().collect();
    for (index, route) in router.routes.iter().enumerate() {
        let field = format!("routes[{index}].prefix");
        let prefix = route.prefix;
        let network = why_not_a_host(prefix.network(), false).filter(|_| prefix.prefix_len() > 0);
        if let Some(meant) = host_bits(&prefix) {
            let message = format!("{prefix} has host bits set: the prefix is {meant}");
            report.add(Code::BadAddress, field, message);
        } else if let Some(why) = network {
            report.add(Code::BadAddress, field, format!("{prefix} is {why}"));
        } else if let Some(other) = taken.insert(prefix, "another route") {
            report.add(Code::DuplicateRoute, field, format!("{prefix} is {other} already"));
        }
        check_next_hop(router, route.next_hop, &legs, &format!("routes[{index}].next_hop"), report);
    }
}

fn check_floating_ips(router: &Router, report: &mut Of<'_, '_>) {
    if router.floating_ips.is_empty() {
        return;
    }
    if router.gateway.is_none() {
        report.add(Code::MissingField, "gateway", "a floating IP needs a gateway");
    }
    let indices: Vec<InterfaceIndex> = (0..).map(InterfaceIndex).take(router.interfaces.len()).collect();
    let routes = RouteTable::of_router(router, &indices);
    let mut ids = HashSet::new();
    let mut internals = HashMap::new();
    for (index, floating) in router.floating_ips.iter().enumerate() {
        let path = format!("floating_ips[{index}]");
        check_id(&floating.id, &format!("{path}.id"), report);
        if !ids.insert(floating.id.as_str()) {
            report.add(Code::DuplicateId, format_args!("{path}.id"), "another floating IP has this id");
        }
        check_external(router, floating, &path, report);

        let internal = floating.internal;
        let field = format!("{path}.internal");
        let subnets = || router.interfaces.iter().flat_map(|interface| &interface.addresses);
        if let Some(why) = why_not_a_host(internal, false)
            .or_else(|| subnets().find_map(|subnet| why_not_on(subnet, internal)))
            .or_else(|| subnets().any(|one| one.addr() == internal).then_some("the router's own address"))
        {
            report.add(Code::BadAddress, field, format!("{internal} is {why}"));
        } else if !is_internal(router, &routes, internal) {
            let message = format!("{internal} is in no internal subnet and behind no internal route");
            report.add(Code::FipInternalNotOnRouter, field, message);
        } else if let Some(other) = internals.insert(internal, index) {
            let message = format!("{internal} has floating_ips[{other}] already");
            report.add(Code::FipDuplicateInternal, field, message);
        }
    }
}

/// Whether the way to `address` is by an internal leg: the very table that packets will be routed by says so.
fn is_internal(router: &Router, routes: &RouteTable, address: Ipv4Addr) -> bool {
    let leg = routes.find(address).and_then(|hop| usize::try_from(hop.interface.0).ok());
    leg.and_then(|at| router.interfaces.get(at)).is_some_and(|leg| !leg.external)
}

fn check_external(router: &Router, floating: &FloatingIp, path: &str, report: &mut Of<'_, '_>) {
    let external = floating.external;
    let field = format!("{path}.external");
    let gateway = router.gateway.as_ref();
    let leg = gateway.and_then(|gateway| router.interface(&gateway.interface));
    let edge = leg.and_then(|leg| leg.addresses.iter().find_map(|subnet| why_not_on(subnet, external)));
    if let Some(why) = why_not_a_host(external, true).or(edge) {
        report.add(Code::BadAddress, field, format!("{external} is {why}"));
    } else if gateway.is_some_and(|gateway| gateway.next_hop == external) {
        report.add(Code::ExternalIpConflict, field, format!("{external} is the gateway's next hop"));
    }
}

fn check_timeouts(timeouts: &Timeouts, report: &mut Of<'_, '_>) {
    let given = [
        ("tcp_syn_s", timeouts.tcp_syn_s),
        ("tcp_established_s", timeouts.tcp_established_s),
        ("tcp_fin_s", timeouts.tcp_fin_s),
        ("tcp_time_wait_s", timeouts.tcp_time_wait_s),
        ("tcp_rst_s", timeouts.tcp_rst_s),
        ("udp_initial_s", timeouts.udp_initial_s),
        ("udp_stream_s", timeouts.udp_stream_s),
        ("icmp_s", timeouts.icmp_s),
    ];
    for (field, seconds) in given {
        if let Some(seconds) = seconds
            && !(1..=TIMEOUT_S_MAX).contains(&seconds)
        {
            let message = format!("{seconds} s is not 1 s to a week ({TIMEOUT_S_MAX} s)");
            report.add(Code::OutOfRange, format_args!("timeouts.{field}"), message);
        }
    }
}

impl Router {
    /// The interface of this id; the first, where an id is given twice.
    pub(crate) fn interface(&self, id: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.id == id)
    }
}
