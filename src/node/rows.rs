//! What operators read of rules and sessions, in their words.

use std::sync::Arc;

use control::rows::{
    FloatingIpRow, GatewayRow, InterfaceRow, PoolRow, PortForwardingRow, RouterRow, RouterState,
    SessionProtocol, SessionRow, SessionState, StagesRow,
};
use nat::{Phase, SessionView};
use packet::Protocol;
use rules::compiled::{AddressIndex, PoolAddress, PoolRules, RuleSet};
use rules::model::{PortForwarding, PortProtocol, Router, Segment};
use worker::{Stage, StageTotals};

use crate::fleet::Programmed;

/// A router's row, but for what only its flows tell.
pub(super) fn router_row(router: &Router, programmed: &Programmed) -> RouterRow {
    let segment = |id: &str| -> Option<Arc<Segment>> {
        programmed.valid.segments().iter().find(|segment| segment.id == id).cloned()
    };
    let interface = |interface: &rules::model::Interface| {
        let segment = segment(&interface.segment);
        InterfaceRow {
            id: interface.id.clone(),
            segment: interface.segment.clone(),
            port: segment.as_ref().map(|segment| segment.port.clone()).unwrap_or_default(),
            vlan: segment.and_then(|segment| segment.vlan),
            mac: interface.mac.to_string(),
            addresses: interface.addresses.iter().map(ToString::to_string).collect(),
            external: interface.external,
        }
    };
    RouterRow {
        id: router.id.clone(),
        project: router.project.clone(),
        name: router.name.clone(),
        revision: router.revision,
        generation: 0,
        state: if router.admin_up { RouterState::Up } else { RouterState::Down },
        interfaces: router.interfaces.iter().map(interface).collect(),
        gateways: router
            .gateways
            .iter()
            .map(|gateway| GatewayRow {
                interface: gateway.interface.clone(),
                next_hop: gateway.next_hop,
                snat: gateway.snat,
                pool: gateway.pool.clone(),
            })
            .collect(),
        floating_ips: router
            .floating_ips
            .iter()
            .map(|one| FloatingIpRow { id: one.id.clone(), external: one.external, internal: one.internal })
            .collect(),
        port_forwardings: router.port_forwardings.iter().map(port_forwarding_row).collect(),
        sessions: 0,
        sessions_by: Vec::new(),
    }
}

fn port_forwarding_row(one: &PortForwarding) -> PortForwardingRow {
    PortForwardingRow {
        id: one.id.clone(),
        protocol: match one.protocol {
            PortProtocol::Tcp => "tcp",
            PortProtocol::Udp => "udp",
            PortProtocol::Sctp => "sctp",
        }
        .to_owned(),
        external: one.external,
        external_ports: one.external_ports.to_string(),
        internal: one.internal,
        internal_ports: one.internal_ports.unwrap_or(one.external_ports).to_string(),
    }
}

pub(super) fn session_row(view: &SessionView, worker: u16, rules: &RuleSet) -> SessionRow {
    let router = rules.routers.iter().find(|router| router.realm == view.realm);
    let [packets_out, packets_in] = view.packets;
    let [bytes_out, bytes_in] = view.bytes;
    SessionRow {
        router: router.map(|router| router.id.clone()).unwrap_or_default(),
        protocol: protocol(view.protocol),
        state: state(view.phase),
        source: view.internal.address,
        source_port: view.internal.port,
        external: view.external.address,
        external_port: view.external.port,
        destination: view.remote.address,
        destination_port: view.remote.port,
        packets_out,
        packets_in,
        bytes_out,
        bytes_in,
        age_s: u64::from(view.age_ms / 1_000),
        idle_s: u64::from(view.idle_ms / 1_000),
        expires_in_s: u64::from(view.expires_in_ms / 1_000),
        worker,
    }
}

pub(super) fn protocol(protocol: Protocol) -> SessionProtocol {
    match protocol {
        Protocol::TCP => SessionProtocol::Tcp,
        Protocol::UDP => SessionProtocol::Udp,
        Protocol::ICMP => SessionProtocol::Icmp,
        _ => SessionProtocol::Other,
    }
}

pub(super) fn state(phase: Phase) -> SessionState {
    match phase {
        Phase::TcpOpening | Phase::UdpInitial => SessionState::HalfOpen,
        Phase::TcpEstablished | Phase::UdpStream | Phase::IcmpQuery | Phase::Other => {
            SessionState::Established
        }
        Phase::TcpClosing | Phase::TcpTimeWait | Phase::TcpReset => SessionState::Closing,
    }
}

/// A row for each address that is translated to.
pub(super) fn pool_rows(rules: &RuleSet, ports_used: impl Fn(AddressIndex) -> u32) -> Vec<PoolRow> {
    let row = |pool: &PoolRules, one: &PoolAddress| {
        let segment =
            rules.segment_of_realm(pool.realm).and_then(|index| rules.segments.get(index.0 as usize));
        PoolRow {
            pool: pool.id.clone(),
            segment: segment.map(|segment| segment.id.clone()).unwrap_or_default(),
            address: one.address,
            ports_used: ports_used(one.ports).into(),
            // TCP ports, UDP ports and query identifiers.
            ports: 3 * pool.ports.iter().map(|run| u64::from(run.len())).sum::<u64>(),
        }
    };
    let rows = rules.pools.iter().flat_map(|pool| pool.addresses.iter().map(move |one| row(pool, one)));
    rows.collect()
}

/// What stages cost, as the admin socket has it.
pub(super) fn stages_row(totals: &StageTotals) -> StagesRow {
    StagesRow {
        packets: totals.packets,
        receive: totals.clocks(Stage::Receive),
        process: totals.clocks(Stage::Process),
        handed: totals.clocks(Stage::Handed),
        tick: totals.clocks(Stage::Tick),
        transmit: totals.clocks(Stage::Transmit),
    }
}
