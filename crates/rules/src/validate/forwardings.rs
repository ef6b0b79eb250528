//! Port forwardings on external networks: whose port is whose.
//!
//! An endpoint outside leads to one place. The address of a forwarding is its router's own, for this alone or as that of
//! the gateway's interface, or it is a pool's that the gateway translates to, which routers may share. There the pool
//! must not give the port to flows: it is the operator who says so, with `exclude_ports`, since the pool is not the
//! router's. (From an interface's own addresses, where nobody else is concerned, compilation takes the ports out.)

use std::net::Ipv4Addr;

use hashbrown::HashMap;

use super::external::{Run, run_with};
use super::report::Report;
use super::together::{Claim, Names, Place};
use crate::fault::Code;
use crate::model::{PortForwarding, PortRange, Router};

/// A port forwarding, on a network.
#[derive(Clone, Copy)]
struct Forwarding<'a> {
    /// The segment's position.
    segment: usize,
    /// The router's position.
    at: usize,
    router: &'a Router,
    index: usize,
    rules: &'a PortForwarding,
}

impl Forwarding<'_> {
    fn field(&self, field: &str) -> String {
        format!("port_forwardings[{}].{field}", self.index)
    }

    /// Whether the claim is an address of the leg of this forwarding's gateway.
    fn is_by(&self, claim: &Claim<'_>) -> bool {
        let Place::Interface(leg, _) = claim.place else { return false };
        let gateway = self.router.gateway_named(self.rules.gateway.as_ref());
        let leg = self.router.interfaces.get(leg).filter(|_| claim.at == self.at);
        leg.zip(gateway).is_some_and(|(leg, gateway)| leg.id == gateway.interface)
    }
}

pub(super) fn check<'a>(names: &Names<'a>, claims: &[Claim<'a>], runs: &[Run<'a>], report: &mut Report<'a>) {
    let forwardings = forwardings(names);
    if forwardings.is_empty() {
        return;
    }
    check_claims(&forwardings, claims, report);
    check_pools(&forwardings, runs, report);
    check_owners(&forwardings, runs, report);
    check_overlaps(forwardings, report);
}

/// Every forwarding, in order.
fn forwardings<'a>(names: &Names<'a>) -> Vec<Forwarding<'a>> {
    let of_router = |(at, router): (usize, &'a Router)| {
        let fed = router.port_forwardings.iter().enumerate();
        fed.filter_map(move |(index, rules)| {
            let segment = names.network_of(router, rules.gateway.as_ref())?;
            Some(Forwarding { segment, at, router, index, rules })
        })
    };
    names.routers().flat_map(of_router).collect()
}

/// No floating IP and no other interface has the address of a forwarding.
fn check_claims<'a>(forwardings: &[Forwarding<'a>], claims: &[Claim<'a>], report: &mut Report<'a>) {
    let held: HashMap<(usize, Ipv4Addr), &Claim<'a>> =
        claims.iter().map(|claim| ((claim.segment, claim.address), claim)).collect();
    for one in forwardings {
        let address = one.rules.external;
        let Some(claim) = held.get(&(one.segment, address)).filter(|claim| !one.is_by(claim)) else {
            continue;
        };
        let floating = matches!(claim.place, Place::Floating(_));
        if claim.at <= one.at {
            let code = if floating { Code::PfOnBoundFip } else { Code::ExternalIpConflict };
            let message = format!("{address} is {} already", claim.place);
            report.of(one.at).add_conflict(code, one.field("external"), message, claim.at);
        } else {
            let code = if floating { Code::FipHasPortForwarding } else { Code::ExternalIpConflict };
            let message = format!("{address} has port forwardings");
            report.of(claim.at).add_conflict(code, claim.place, message, one.at);
        }
    }
}

/// The address of a forwarding is in no pool, or in the one that its gateway translates to, and the port is none that
/// the pool gives to flows.
fn check_pools<'a>(forwardings: &[Forwarding<'a>], runs: &[Run<'a>], report: &mut Report<'a>) {
    let mut ports: HashMap<usize, Vec<PortRange>> = HashMap::new();
    for one in forwardings {
        let address = one.rules.external;
        let Some(run) = run_with(runs, one.segment, address) else { continue };
        let pool = run.of.pool;
        let pool_at = run.of.pool_at;
        let gateway = one.router.gateway_named(one.rules.gateway.as_ref());
        let uses_it = gateway.is_some_and(|gateway| gateway.snat && gateway.pool.as_ref() == Some(&pool.id));
        let (code, field, message) = if !uses_it {
            let message = format!("{address} is an address of pool `{}`", pool.id);
            (Code::ExternalIpConflict, "external", message)
        } else {
            let ports = ports.entry(pool_at).or_insert_with(|| {
                let left = pool.ports_left().into_iter();
                left.map(|run| PortRange { first: run.first, last: run.last }).collect()
            });
            let forwarded = one.rules.external_ports;
            let after = ports.partition_point(|run| run.first <= forwarded.last);
            let taken = after.checked_sub(1).and_then(|at| ports.get(at)).filter(|run| run.meets(forwarded));
            let Some(taken) = taken else { continue };
            let message = format!(
                "pool `{}` gives ports {taken} to flows: exclude {forwarded} from it (exclude_ports)",
                pool.id
            );
            (Code::PfPortInSnatRange, "external_ports", message)
        };
        if one.at >= run.of.complete_at() {
            report.of(one.at).add_conflict(code, one.field(field), message, pool_at);
        } else {
            let field = match code {
                Code::PfPortInSnatRange if pool_at == run.of.complete_at() => "ports".to_owned(),
                _ => run.field(),
            };
            report.of(run.of.complete_at()).add_conflict(code, field, message, one.at);
        }
    }
}

/// Of addresses that are no pool's, one router has the forwardings.
fn check_owners<'a>(forwardings: &[Forwarding<'a>], runs: &[Run<'a>], report: &mut Report<'a>) {
    let mut owners: HashMap<(usize, Ipv4Addr), usize> = HashMap::new();
    for one in forwardings {
        let address = one.rules.external;
        let owner = *owners.entry((one.segment, address)).or_insert(one.at);
        if owner != one.at && run_with(runs, one.segment, address).is_none() {
            let message = format!("{address} has port forwardings of another router");
            report.of(one.at).add_conflict(Code::ExternalIpConflict, one.field("external"), message, owner);
        }
    }
}

/// No port is forwarded twice.
fn check_overlaps<'a>(mut forwardings: Vec<Forwarding<'a>>, report: &mut Report<'a>) {
    let place = |one: &Forwarding<'_>| (one.segment, one.rules.external, one.rules.protocol as u8);
    forwardings.retain(|one| one.rules.external_ports.first <= one.rules.external_ports.last);
    forwardings.sort_by_key(|one| (place(one), one.rules.external_ports.first));
    // The one that reaches farthest so far: whatever begins within it has a port of it.
    let mut farthest: Option<Forwarding<'a>> = None;
    for one in forwardings {
        if let Some(before) = farthest
            && place(&before) == place(&one)
            && one.rules.external_ports.first <= before.rules.external_ports.last
        {
            let order = |one: &Forwarding<'_>| (one.at, one.index);
            let (earlier, later) = if order(&before) < order(&one) { (before, one) } else { (one, before) };
            let message = format!(
                "port {} of {} is of port_forwardings[{}] already",
                one.rules.external_ports.first, one.rules.external, earlier.index
            );
            report.of(later.at).add_conflict(
                Code::PfOverlap,
                later.field("external_ports"),
                message,
                earlier.at,
            );
            if one.rules.external_ports.last <= before.rules.external_ports.last {
                continue;
            }
        }
        farthest = Some(one);
    }
}
