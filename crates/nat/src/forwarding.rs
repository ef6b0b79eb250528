//! Port forwardings: external endpoints that the rules give to internal ones, for good (RFC 2663 section 4.1.1, static).
//!
//! ```text
//! from outside   external endpoint -> internal endpoint     one rule, one binary search    N:N and N:1
//! from inside    internal endpoint -> external endpoint     where several lead there, the first; of N ports, the first
//! ```
//!
//! A forwarded flow is a session like any other but for its external endpoint: that is the rule's, taken from no pool, so the
//! session holds nothing to give back. The reply finds it by its internal flow, whichever of N external ports it came by.
//! It belongs to its host's shard, which the rules alone tell: no port has to be looked at.

use rules::RuleSet;
use rules::compiled::{AddressRules, ForwardingRules, GatewayRules, Realm, RouterIndex};

use crate::flow::{Endpoint, Flow};

/// Where a flow to an external endpoint is forwarded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) router: RouterIndex,
    /// That router's.
    pub(crate) realm: Realm,
    pub(crate) internal: Endpoint,
}

/// Where the rules forward a flow to, which goes to one of our external addresses.
pub(crate) fn inward(rules: &RuleSet, address: &AddressRules, flow: &Flow) -> Option<Forwarded> {
    let port = flow.destination().port;
    let index = rules.forwarding_to(address, flow.protocol(), port)?;
    let forwarding = &rules.forwardings[index.0 as usize];
    let router = &rules.routers[forwarding.router.0 as usize];
    let internal = Endpoint { address: forwarding.internal_address, port: forwarding.internal_port_of(port) };
    Some(Forwarded { router: forwarding.router, realm: router.realm, internal })
}

/// The external endpoint under which the rules let an internal flow's source speak by this gateway, if forwardings lead to
/// it.
pub(crate) fn outward(rules: &RuleSet, gateway: &GatewayRules, flow: &Flow) -> Option<Endpoint> {
    let Endpoint { address, port } = flow.source();
    let index = rules.forwarding_from(gateway, address, flow.protocol(), port)?;
    let ForwardingRules { external_address, .. } = rules.forwardings[index.0 as usize];
    let external_port = rules.forwardings[index.0 as usize].external_port_of(port);
    Some(Endpoint { address: external_address, port: external_port })
}

/// Where the rules forward the answers of a session to, if they forward its external endpoint at all.
pub(crate) fn of_endpoint(rules: &RuleSet, gateway: &GatewayRules, outside: &Flow) -> Option<Forwarded> {
    let segment = &rules.segments[gateway.segment.0 as usize];
    inward(rules, segment.addresses.get(&outside.destination().address)?, outside)
}
