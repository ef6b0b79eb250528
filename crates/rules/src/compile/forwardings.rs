//! Port forwardings: one table for all, in which each external address has a run.
//!
//! A shared pool's address may have forwardings of several routers, so the table is sorted when all have been seen.

use crate::compiled::{
    ForwardingIndex, ForwardingRules, ForwardingRun, GatewayRules, InterfaceIndex, RouterIndex, RuleSet,
    SegmentIndex,
};
use crate::model::{Gateway, Router};

/// A forwarding with what it is entered at.
struct Entry {
    rules: ForwardingRules,
    /// Which of its router's gateways it is of.
    gateway: usize,
    interface: InterfaceIndex,
    segment: SegmentIndex,
    /// Its place among its router's.
    fed_at: usize,
}

/// The forwardings of all routers that are up.
#[derive(Default)]
pub(super) struct Forwardings(Vec<Entry>);

impl Forwardings {
    /// Those of one of a router's gateways.
    pub(super) fn add(
        &mut self,
        router: &Router,
        index: RouterIndex,
        gateway: &Gateway,
        (at, rules): (usize, &GatewayRules),
    ) {
        let fed = router.port_forwardings.iter().enumerate();
        let of_gateway = fed.filter(|(_, one)| router.is_by(gateway, one.gateway.as_ref()));
        self.0.extend(of_gateway.map(|(fed_at, one)| Entry {
            rules: ForwardingRules {
                id: one.id.clone(),
                router: index,
                realm: rules.realm,
                external_address: one.external,
                protocol: one.protocol.into(),
                external: one.external_ports.into(),
                internal_address: one.internal,
                internal: one.internal_ports.unwrap_or(one.external_ports).into(),
            },
            gateway: at,
            interface: rules.interface,
            segment: rules.segment,
            fed_at,
        }));
    }

    /// Writes the table into the rule set, and where in it each address and each gateway finds its own.
    pub(super) fn enter(&mut self, set: &mut RuleSet) {
        let mut entries = std::mem::take(&mut self.0);
        entries.sort_by_key(|one| {
            let ForwardingRules { realm, external_address, protocol, external, .. } = one.rules;
            (realm, external_address, protocol, external)
        });
        let mut by_gateway: Vec<(RouterIndex, usize, usize, ForwardingIndex)> =
            Vec::with_capacity(entries.len());
        for (at, entry) in (0_u32..).zip(entries) {
            let Entry { rules, gateway, interface, segment, fed_at } = entry;
            if let Some(segment) = set.segment_mut(segment) {
                let run = &mut segment.answer(rules.external_address, interface).forwardings;
                let first = if *run == ForwardingRun::default() { at } else { run.first };
                *run = ForwardingRun { first, end: at + 1 };
            }
            by_gateway.push((rules.router, gateway, fed_at, ForwardingIndex(at)));
            set.forwardings.push(rules);
        }
        let RuleSet { routers, forwardings, .. } = set;
        let key = |index: ForwardingIndex| {
            let one = usize::try_from(index.0).ok().and_then(|at| forwardings.get(at));
            one.map(|one| (one.internal_address, one.protocol))
        };
        by_gateway.sort_by_key(|(router, gateway, fed_at, index)| (router.0, *gateway, key(*index), *fed_at));
        for (router, gateway, _, index) in by_gateway {
            let router = usize::try_from(router.0).ok().and_then(|at| routers.get_mut(at));
            if let Some(gateway) = router.and_then(|router| router.gateways.get_mut(gateway)) {
                gateway.forwardings_by_internal.push(index);
            }
        }
    }
}
