//! A router alone: what is reached from outside, by floating IPs and port forwardings.

use std::net::Ipv4Addr;

use hashbrown::{HashMap, HashSet};
use ipnet::Ipv4Net;

use super::address::{why_not_a_host, why_not_on};
use super::report::Of;
use super::{check_id, check_ports};
use crate::compiled::InterfaceIndex;
use crate::fault::Code;
use crate::model::{Gateway, PortForwarding, PortProtocol, Router};
use crate::routes::RouteTable;

pub(super) fn check(router: &Router, report: &mut Of<'_, '_>) {
    if router.gateways.is_empty() {
        for (list, what) in [
            (router.floating_ips.is_empty(), "a floating IP needs a gateway"),
            (router.port_forwardings.is_empty(), "a port forwarding needs a gateway"),
        ] {
            if !list {
                report.add(Code::MissingField, "gateways", what);
            }
        }
    }
    let sides = Sides::of(router);
    check_floating_ips(router, &sides, report);
    check_port_forwardings(router, &sides, report);
}

fn check_floating_ips(router: &Router, sides: &Sides<'_>, report: &mut Of<'_, '_>) {
    let mut ids = HashSet::new();
    let mut internals = HashMap::new();
    for (index, floating) in router.floating_ips.iter().enumerate() {
        let path = format!("floating_ips[{index}]");
        check_id(&floating.id, &format!("{path}.id"), report);
        if !ids.insert(floating.id.as_str()) {
            report.add(Code::DuplicateId, format_args!("{path}.id"), "another floating IP has this id");
        }
        let gateway = sides.check_external(floating.external, floating.gateway.as_ref(), &path, report);
        let sound = sides.check_internal(floating.internal, &path, report);
        if let Some(gateway) = gateway
            && sound
            && let Some(other) = internals.insert((gateway.interface.as_str(), floating.internal), index)
        {
            let message = format!("{} has floating_ips[{other}] already", floating.internal);
            report.add(Code::FipDuplicateInternal, format_args!("{path}.internal"), message);
        }
    }
}

fn check_port_forwardings(router: &Router, sides: &Sides<'_>, report: &mut Of<'_, '_>) {
    let mut ids = HashSet::new();
    for (index, one) in router.port_forwardings.iter().enumerate() {
        let path = format!("port_forwardings[{index}]");
        check_id(&one.id, &format!("{path}.id"), report);
        if !ids.insert(one.id.as_str()) {
            report.add(Code::DuplicateId, format_args!("{path}.id"), "another port forwarding has this id");
        }
        sides.check_external(one.external, one.gateway.as_ref(), &path, report);
        sides.check_internal(one.internal, &path, report);
        check_forwarded_ports(one, &path, report);
    }
}

/// N ports lead to as many, or to one.
fn check_forwarded_ports(one: &PortForwarding, path: &str, report: &mut Of<'_, '_>) {
    if one.protocol == PortProtocol::Sctp {
        let message = "SCTP is not forwarded by port: a floating IP carries it";
        report.add(Code::UnsupportedFeature, format_args!("{path}.protocol"), message);
    }
    let sound = check_ports(one.external_ports, &format!("{path}.external_ports"), report);
    let Some(internal) = one.internal_ports else { return };
    let field = format!("{path}.internal_ports");
    if check_ports(internal, &field, report)
        && sound
        && internal.first != internal.last
        && internal.last - internal.first != one.external_ports.last - one.external_ports.first
    {
        let message = format!(
            "{} ports cannot lead to {internal}: one port is needed, or as many as there are outside",
            one.external_ports
        );
        report.add(Code::PfRangeMismatch, field, message);
    }
}

/// What a router's addresses outside and inside are checked against.
struct Sides<'a> {
    router: &'a Router,
    /// The very table that packets will be routed by.
    routes: RouteTable,
    /// Subnets of all legs.
    subnets: Vec<Ipv4Net>,
    /// Addresses that other routers have: next hops.
    next_hops: HashSet<Ipv4Addr>,
}

impl<'a> Sides<'a> {
    fn of(router: &'a Router) -> Self {
        let indices: Vec<InterfaceIndex> = (0..).map(InterfaceIndex).take(router.interfaces.len()).collect();
        let gateways = router.gateways.iter().filter_map(|gateway| gateway.next_hop);
        Self {
            router,
            routes: RouteTable::of_router(router, &indices),
            subnets: router.interfaces.iter().flat_map(|one| &one.addresses).copied().collect(),
            next_hops: gateways.chain(router.routes.iter().map(|route| route.next_hop)).collect(),
        }
    }

    /// Whether an external address can be one on its gateway's network; the gateway, if there is one.
    fn check_external(
        &self,
        external: Ipv4Addr,
        gateway: Option<&String>,
        path: &str,
        report: &mut Of<'_, '_>,
    ) -> Option<&'a Gateway> {
        let named = self.router.gateway_named(gateway);
        if let Some(id) = gateway
            && named.is_none()
        {
            let message = format!("no gateway of the router is by an interface `{}`", id.escape_debug());
            report.add(Code::UnknownInterface, format_args!("{path}.gateway"), message);
        }
        let leg = named.and_then(|gateway| self.router.interface(&gateway.interface));
        let edge = leg.and_then(|leg| leg.addresses.iter().find_map(|subnet| why_not_on(subnet, external)));
        let field = format!("{path}.external");
        if let Some(why) = why_not_a_host(external, true).or(edge) {
            report.add(Code::BadAddress, field, format!("{external} is {why}"));
        } else if self.next_hops.contains(&external) {
            let what = match named.and_then(|gateway| gateway.next_hop) {
                Some(next_hop) if next_hop == external => "the gateway's next hop",
                _ => "a next hop of the router's",
            };
            report.add(Code::ExternalIpConflict, field, format!("{external} is {what}"));
        }
        named
    }

    /// Whether a host of the router's can have an internal address.
    fn check_internal(&self, internal: Ipv4Addr, path: &str, report: &mut Of<'_, '_>) -> bool {
        let subnets = || self.subnets.iter();
        let field = format!("{path}.internal");
        if let Some(why) = why_not_a_host(internal, false)
            .or_else(|| subnets().find_map(|subnet| why_not_on(subnet, internal)))
            .or_else(|| subnets().any(|one| one.addr() == internal).then_some("the router's own address"))
        {
            report.add(Code::BadAddress, field, format!("{internal} is {why}"));
        } else if !self.is_internal(internal) {
            let message = format!("{internal} is in no internal subnet and behind no internal route");
            report.add(Code::FipInternalNotOnRouter, field, message);
        } else {
            return true;
        }
        false
    }

    /// Whether the way to `address` is by an internal leg.
    fn is_internal(&self, address: Ipv4Addr) -> bool {
        let leg = self.routes.find(address).and_then(|hop| usize::try_from(hop.interface.0).ok());
        leg.and_then(|at| self.router.interfaces.get(at)).is_some_and(|leg| !leg.external)
    }
}
