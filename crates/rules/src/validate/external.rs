//! Pools on external networks: whose address is what.
//!
//! A pool says nothing of its network; it is on the network of the routers that use it. So up to five objects have a
//! part in one conflict (two pools, a user of each, and whoever holds the address), and the conflict is there as soon as
//! the last of them is. That one is to blame, in the field by which it brings the conflict in.
//!
//! Runs of addresses are compared as runs, sorted by network and first address; a pool is never spelled out.

use std::net::Ipv4Addr;

use hashbrown::HashMap;

use super::address::why_not_on;
use super::report::Report;
use super::together::{Claim, Names, Place, Way};
use crate::fault::Code;
use crate::model::{AddressRange, Gateway, Pool};

/// A pool on a network.
#[derive(Clone, Copy)]
pub(super) struct Use<'a> {
    pub(super) pool: &'a Pool,
    /// The pool's position.
    pub(super) pool_at: usize,
    /// The position of the first router that uses it.
    user_at: usize,
    /// The gateway by which that does.
    gateway: usize,
    /// The position of the network.
    segment: usize,
}

impl Use<'_> {
    /// The position of the object with which the pool's addresses come to be on the network.
    pub(super) fn complete_at(&self) -> usize {
        self.pool_at.max(self.user_at)
    }

    /// The field with which they do.
    fn field(&self, run: usize) -> String {
        if self.pool_at > self.user_at {
            format!("addresses[{run}]")
        } else {
            format!("gateways[{}].pool", self.gateway)
        }
    }
}

/// One of a pool's runs of addresses, on a network.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) of: Use<'a>,
    index: usize,
    addresses: AddressRange,
}

impl Run<'_> {
    /// The field with which its addresses come to be on the network.
    pub(super) fn field(&self) -> String {
        self.of.field(self.index)
    }
}

/// Checks pools, and returns their runs for further questions to [`run_with`].
pub(super) fn check<'a>(names: &Names<'a>, claims: &[Claim<'a>], report: &mut Report<'a>) -> Vec<Run<'a>> {
    let uses = uses(names, report);
    let runs = disjoint_runs(&uses, report);
    check_claims(&runs, claims, report);
    check_subnets(names, &uses, &runs, report);
    runs
}

/// The gateway's pool, where it translates to one.
fn pool_of(gateway: &Gateway) -> Option<&str> {
    gateway.pool.as_deref().filter(|_| gateway.snat)
}

/// Which pool is on which network, by the pool's position. A pool is on one: its ports are counted once.
fn uses<'a>(names: &Names<'a>, report: &mut Report<'a>) -> HashMap<usize, Use<'a>> {
    let mut uses: HashMap<usize, Use<'a>> = HashMap::new();
    for Way { at, index, gateway, segment, .. } in names.ways_out() {
        let Some((pool_at, pool)) = pool_of(gateway).and_then(|id| names.pool(id)) else { continue };
        let first = Use { pool, pool_at, user_at: at, gateway: index, segment };
        let first = uses.entry(pool_at).or_insert(first);
        if first.segment != segment {
            let message =
                format!("pool `{}` serves another external network, and a pool serves one", pool.id);
            let field = format!("gateways[{index}].pool");
            report.of(at).add_conflict(Code::UnsupportedFeature, field, message, first.user_at);
        }
    }
    uses
}

/// Every run of every pool in use, sorted by network and address, none with an address of another: where two have, the
/// one that came last is faulted, and the run is not looked at further: that keeps each of the checks behind this one a
/// single search, whatever is fed.
fn disjoint_runs<'a>(uses: &HashMap<usize, Use<'a>>, report: &mut Report<'a>) -> Vec<Run<'a>> {
    let mut runs: Vec<Run<'a>> = uses
        .values()
        .flat_map(|one| {
            let left = one.pool.runs_left();
            left.map(|(index, addresses)| Run { of: *one, index, addresses })
        })
        .collect();
    runs.sort_by_key(|run| (run.of.segment, run.addresses.first, run.of.pool_at, run.index));

    let mut disjoint: Vec<Run<'a>> = Vec::with_capacity(runs.len());
    'next: for run in runs {
        while let Some(before) = disjoint.last_mut()
            && before.of.segment == run.of.segment
            && run.addresses.first <= before.addresses.last
        {
            if before.of.pool_at == run.of.pool_at {
                // A repeat within one pool was faulted with the pool; here the two count as one run.
                before.addresses.last = before.addresses.last.max(run.addresses.last);
                continue 'next;
            }
            let before_is_later = before.of.complete_at() > run.of.complete_at();
            let (to_blame, other) = if before_is_later { (*before, run) } else { (run, *before) };
            let message = format!("{} is in pool `{}` too", run.addresses.first, other.of.pool.id);
            report.of(to_blame.of.complete_at()).add_conflict(
                Code::PoolOverlap,
                to_blame.of.field(to_blame.index),
                message,
                other.of.pool_at,
            );
            if !before_is_later {
                continue 'next;
            }
            disjoint.pop();
        }
        disjoint.push(run);
    }
    disjoint
}

/// The run that an address of a network is in.
pub(super) fn run_with<'r, 'a>(
    runs: &'r [Run<'a>],
    segment: usize,
    address: Ipv4Addr,
) -> Option<&'r Run<'a>> {
    let after = runs.partition_point(|run| (run.of.segment, run.addresses.first) <= (segment, address));
    let run = runs.get(after.checked_sub(1)?)?;
    (run.of.segment == segment && run.addresses.contains(address)).then_some(run)
}

/// No pool holds a floating IP, or another router's interface address. A router's own external address may be in the
/// pool it uses.
fn check_claims<'a>(runs: &[Run<'a>], claims: &[Claim<'a>], report: &mut Report<'a>) {
    if runs.is_empty() {
        return;
    }
    for claim in claims {
        let Some(run) = run_with(runs, claim.segment, claim.address) else { continue };
        if is_own(claim, run.of.pool) {
            continue;
        }
        let pool = &run.of.pool.id;
        if claim.at >= run.of.complete_at() {
            let message = format!("{} is an address of pool `{pool}`", claim.address);
            report.of(claim.at).add_conflict(Code::ExternalIpConflict, claim.place, message, run.of.pool_at);
        } else {
            let what = match claim.place {
                Place::Interface(..) => "an interface's address",
                Place::Floating(_) => "a floating IP",
            };
            let message = format!("{} of pool `{pool}` is {what}", claim.address);
            let field = run.of.field(run.index);
            report.of(run.of.complete_at()).add_conflict(Code::ExternalIpConflict, field, message, claim.at);
        }
    }
}

/// Whether the claim is the address of the very leg by which its router translates to the pool.
fn is_own(claim: &Claim<'_>, pool: &Pool) -> bool {
    let Place::Interface(index, _) = claim.place else { return false };
    let leg = claim.router.interfaces.get(index).map(|leg| leg.id.as_str());
    let by_leg = |gateway: &&Gateway| leg == Some(gateway.interface.as_str());
    claim.router.gateways.iter().find(by_leg).and_then(pool_of) == Some(pool.id.as_str())
}

/// No pool holds an address that its users' subnets have another use for: next hop, network, broadcast.
fn check_subnets<'a>(
    names: &Names<'a>,
    uses: &HashMap<usize, Use<'a>>,
    runs: &[Run<'a>],
    report: &mut Report<'a>,
) {
    for Way { at, router, index, gateway, leg, segment } in names.ways_out() {
        let Some((pool_at, _)) = pool_of(gateway).and_then(|id| names.pool(id)) else { continue };
        let Some(first) = uses.get(&pool_at).filter(|one| one.segment == segment) else { continue };
        let edges = leg.addresses.iter().flat_map(|subnet| {
            [subnet.network(), subnet.broadcast()]
                .into_iter()
                .filter_map(|edge| Some((edge, Code::BadAddress, why_not_on(subnet, edge)?)))
        });
        let next_hop = gateway.next_hop.map(|hop| (hop, Code::ExternalIpConflict, "the gateway's next hop"));
        let routes = router.routes.iter().map(|route| route.next_hop);
        let via = routes.map(|hop| (hop, Code::ExternalIpConflict, "the next hop of a route"));
        for (address, code, why) in edges.chain(next_hop).chain(via) {
            let Some(run) = run_with(runs, first.segment, address) else { continue };
            if run.of.pool_at != pool_at {
                continue;
            }
            let message = format!("{address} of pool `{}` is {why}", run.of.pool.id);
            let own = Use { user_at: at, gateway: index, ..run.of };
            let other = pool_at.min(at);
            report.of(own.complete_at()).add_conflict(code, own.field(run.index), message, other);
        }
    }
}
