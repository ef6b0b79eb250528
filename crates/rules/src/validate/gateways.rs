//! A router alone: its ways out, and its routes.

use std::net::Ipv4Addr;

use hashbrown::HashMap;
use ipnet::Ipv4Net;

use super::address::{host_bits, why_not_a_host, why_not_on};
use super::report::Of;
use crate::fault::Code;
use crate::model::{Gateway, Interface, Router};

pub(super) fn check(router: &Router, report: &mut Of<'_, '_>) {
    let mut segments: HashMap<&str, usize> = HashMap::new();
    let mut default_route = None;
    for (index, gateway) in router.gateways.iter().enumerate() {
        let path = format!("gateways[{index}]");
        let Some(leg) = router.interface(&gateway.interface) else {
            let message = format!("the router has no interface `{}`", gateway.interface.escape_debug());
            report.add(Code::UnknownInterface, format_args!("{path}.interface"), message);
            continue;
        };
        // What comes in on a network is of the gateway there, so there is one.
        if let Some(other) = segments.insert(&leg.segment, index) {
            let segment = leg.segment.escape_debug();
            let message = format!("gateways[{other}] is on segment `{segment}` already");
            report.add(Code::RuleAmbiguous, format_args!("{path}.interface"), message);
        }
        check_gateway(router, gateway, leg, &path, report);
        if gateway.next_hop.is_some()
            && let Some(other) = default_route.replace(index)
        {
            let message = format!(
                "gateways[{other}] has the default route: what is behind this one needs extra routes by it"
            );
            report.add(Code::DuplicateRoute, format_args!("{path}.next_hop"), message);
        }
    }
    // Any other external leg would let packets leave untranslated.
    for (index, interface) in router.interfaces.iter().enumerate() {
        if interface.external && !router.gateways.iter().any(|gateway| gateway.interface == interface.id) {
            let message = "an external interface has to be a gateway's";
            report.add(Code::UnsupportedFeature, format_args!("interfaces[{index}].external"), message);
        }
    }
    check_routes(router, report);
}

fn check_gateway(router: &Router, gateway: &Gateway, leg: &Interface, path: &str, report: &mut Of<'_, '_>) {
    if gateway.snat && gateway.pool.is_none() && leg.addresses.is_empty() {
        let message = "SNAT is on, there is no pool, and the gateway's interface has no address";
        report.add(Code::SnatWithoutPool, format_args!("{path}.pool"), message);
    }
    if let Some(next_hop) = gateway.next_hop {
        check_next_hop(router, next_hop, &[leg], &format!("{path}.next_hop"), report);
    }
    if !leg.external {
        let message = format!("interface `{}` is not external", leg.id.escape_debug());
        report.add(Code::GatewayNotExternal, format_args!("{path}.interface"), message);
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
    if router.default_gateway().is_some() {
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
