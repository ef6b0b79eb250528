//! Pools as the workers run them: which addresses, which ports, and how each protocol is mapped.

use std::net::Ipv4Addr;

use packet::Protocol;

use crate::compiled::{
    Behaviour, BlockRules, Dependence, MappingByPort, Pairing, PoolAddress, PoolRules, PortRun, Realm,
};
use crate::model::{self, Gateway, Pool, PortProtocol, PortRange, Router, default_hold_down_s};
use crate::runs::ports_without;

/// Addresses in order, each once.
pub(super) struct PoolAddresses(pub(super) Vec<Ipv4Addr>);

/// Puts addresses in order.
pub(super) fn in_place(mut addresses: Vec<Ipv4Addr>) -> PoolAddresses {
    addresses.sort_unstable();
    addresses.dedup();
    PoolAddresses(addresses)
}

/// The addresses of a pool, without those excluded.
pub(super) fn addresses_of(pool: &Pool) -> PoolAddresses {
    in_place(pool.runs_left().flat_map(|(_, run)| run.addresses()).collect())
}

/// A pool that was fed.
pub(super) fn behaviour_of(pool: &Pool, realm: Realm, addresses: Vec<PoolAddress>) -> PoolRules {
    let exception = |one: &model::MappingByPort| MappingByPort {
        protocol: one.protocol.into(),
        ports: one.ports.into(),
        mapping: one.mapping,
    };
    PoolRules {
        id: pool.id.clone(),
        realm,
        addresses,
        ports: pool.ports_left(),
        tcp: complete(pool.tcp, TCP),
        udp: complete(pool.udp, UDP_AND_ICMP),
        icmp: complete(pool.icmp, UDP_AND_ICMP),
        mapping_by_port: pool.mapping_by_port.iter().map(exception).collect(),
        pairing: pool.pairing,
        preserve_port: pool.preserve_port,
        preserve_parity: pool.preserve_parity,
        blocks: pool
            .blocks
            .map(|blocks| BlockRules { ports: blocks.ports, per_host_max: blocks.per_host_max }),
        hold_down_ms: pool.hold_down_s.saturating_mul(1000),
        hold_down_ports_max: pool.hold_down_ports_max.unwrap_or(u32::MAX),
    }
}

/// The pool that an interface's own addresses are: with the default behaviour, and without the ports that are forwarded.
/// Nobody else uses it and nobody can exclude ports from it, so it keeps out of the forwardings' way by itself.
pub(super) fn behaviour_of_own_addresses(
    id: String,
    realm: Realm,
    addresses: Vec<PoolAddress>,
    router: &Router,
    gateway: &Gateway,
) -> PoolRules {
    let own = |address| addresses.iter().any(|one| one.address == address);
    let forwarded = router
        .port_forwardings
        .iter()
        .filter(|one| router.is_by(gateway, one.gateway.as_ref()))
        .filter(|one| own(one.external))
        .map(|one| one.external_ports);
    PoolRules {
        ports: ports_without(PortRange::default(), forwarded),
        id,
        realm,
        addresses,
        tcp: TCP,
        udp: UDP_AND_ICMP,
        icmp: UDP_AND_ICMP,
        mapping_by_port: Vec::new(),
        pairing: Pairing::default(),
        preserve_port: false,
        preserve_parity: false,
        blocks: None,
        hold_down_ms: default_hold_down_s().saturating_mul(1000),
        hold_down_ports_max: u32::MAX,
    }
}

const TCP: Behaviour = Behaviour {
    mapping: Dependence::AddressAndPortDependent,
    filtering: Dependence::AddressAndPortDependent,
};

const UDP_AND_ICMP: Behaviour =
    Behaviour { mapping: Dependence::EndpointIndependent, filtering: Dependence::AddressDependent };

fn complete(given: model::Behaviour, default: Behaviour) -> Behaviour {
    Behaviour {
        mapping: given.mapping.unwrap_or(default.mapping),
        filtering: given.filtering.unwrap_or(default.filtering),
    }
}

impl From<PortProtocol> for Protocol {
    fn from(protocol: PortProtocol) -> Self {
        match protocol {
            PortProtocol::Tcp => Self::TCP,
            PortProtocol::Udp => Self::UDP,
            PortProtocol::Sctp => Self::SCTP,
        }
    }
}

impl From<PortRange> for PortRun {
    fn from(range: PortRange) -> Self {
        Self { first: range.first, last: range.last }
    }
}
