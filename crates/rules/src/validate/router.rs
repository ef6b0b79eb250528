//! A router alone: its interfaces and timers. Its ways out and what is reached from outside have files of their own.

use hashbrown::HashSet;

use super::address::{host_bits, why_not_a_host, why_not_on};
use super::report::Of;
use super::{check_id, check_ports, gateways, inbound};
use crate::fault::Code;
use crate::limits::{
    INTERFACE_ADDRESSES_MAX, ROUTER_FLOATING_IPS_MAX, ROUTER_GATEWAYS_MAX, ROUTER_INTERFACES_MAX,
    ROUTER_NO_NAT_MAX, ROUTER_PORT_FORWARDINGS_MAX, ROUTER_ROUTES_MAX, TEXT_BYTES_MAX, TIMEOUT_S_MAX,
    TIMEOUTS_BY_PORT_MAX,
};
use crate::model::{Interface, PortProtocol, Router, Timeouts};

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
    gateways::check(router, report);
    inbound::check(router, report);
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
        ("gateways", router.gateways.len(), ROUTER_GATEWAYS_MAX),
        ("routes", router.routes.len(), ROUTER_ROUTES_MAX),
        ("floating_ips", router.floating_ips.len(), ROUTER_FLOATING_IPS_MAX),
        ("port_forwardings", router.port_forwardings.len(), ROUTER_PORT_FORWARDINGS_MAX),
        ("no_nat", router.no_nat.len(), ROUTER_NO_NAT_MAX),
        ("timeouts.by_port", router.timeouts.by_port.len(), TIMEOUTS_BY_PORT_MAX),
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
        ("other_s", timeouts.other_s),
    ];
    for (field, seconds) in given {
        check_seconds(seconds, &format!("timeouts.{field}"), report);
    }
    for (index, one) in timeouts.by_port.iter().enumerate() {
        let path = format!("timeouts.by_port[{index}]");
        if one.protocol == PortProtocol::Sctp {
            let message =
                "SCTP has no timers of its own: flows of other protocols than TCP and UDP have `other_s`";
            report.add(Code::UnsupportedFeature, format_args!("{path}.protocol"), message);
        }
        check_ports(one.ports, &format!("{path}.ports"), report);
        check_seconds(one.initial_s, &format!("{path}.initial_s"), report);
        check_seconds(one.established_s, &format!("{path}.established_s"), report);
    }
}

fn check_seconds(seconds: Option<u32>, field: &str, report: &mut Of<'_, '_>) {
    if let Some(seconds) = seconds
        && !(1..=TIMEOUT_S_MAX).contains(&seconds)
    {
        let message = format!("{seconds} s is not 1 s to a week ({TIMEOUT_S_MAX} s)");
        report.add(Code::OutOfRange, field, message);
    }
}
