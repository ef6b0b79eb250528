//! From the model to the wire: objects, names, and faults as rejects.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use rules::model::{
    AddressRange, Dependence, FloatingIp, Gateway, IdleReset, Interface, Pairing, Pool, PortForwarding,
    PortProtocol, PortRange, PortTimeouts, Route, Router, Segment, TcpRules, TimeoutProfile, Timeouts,
    UnsolicitedSyn,
};
use rules::{Object, ObjectKind, ObjectRef};

use crate::reject::{Code, Reject};
use crate::wire;

/// Writes one object; `revision` is the one to send, which is not the model's where the file gave none.
pub fn object(object: &Object, revision: u64) -> wire::Object {
    let o = match object {
        Object::Segment(segment) => wire::object::O::Segment(self::segment(segment, revision)),
        Object::Pool(pool) => wire::object::O::Pool(self::pool(pool, revision)),
        Object::Router(router) => wire::object::O::Router(self::router(router, revision)),
    };
    wire::Object { o: Some(o) }
}

/// Writes the name of an object.
pub fn reference(object: &ObjectRef, revision: u64) -> wire::Ref {
    wire::Ref { kind: kind(object.kind).into(), id: object.id.clone(), revision }
}

/// The number of a kind.
pub fn kind(kind: ObjectKind) -> wire::r#ref::Kind {
    match kind {
        ObjectKind::Router => wire::r#ref::Kind::Router,
        ObjectKind::Pool => wire::r#ref::Kind::Pool,
        ObjectKind::Segment => wire::r#ref::Kind::Segment,
    }
}

/// Writes why something was refused.
pub fn reject(reject: &Reject) -> wire::Reject {
    let object = reject.object.as_ref();
    wire::Reject {
        object: object.map(|object| reference(object, reject.offered_revision)),
        offered_revision: reject.offered_revision,
        kept_revision: reject.kept_revision,
        code: reject.code.into(),
        field: object.map_or(reject.field.clone(), |object| field_on_wire(object.kind, &reject.field)),
        message: reject.message.clone(),
        conflicts_with: reject.conflicts_with.as_ref().map(|object| reference(object, 0)),
        retry_may_help: reject.code == Code::Capacity,
    }
}

fn segment(segment: &Segment, revision: u64) -> wire::Segment {
    use wire::segment::{Flat, Kind, Vlan};
    let port = segment.port.clone();
    wire::Segment {
        meta: Some(meta(&segment.id, revision)),
        kind: Some(match segment.vlan {
            Some(vid) => Kind::Vlan(Vlan { port, vid: vid.into() }),
            None => Kind::Flat(Flat { port }),
        }),
        mtu: segment.mtu.into(),
    }
}

fn pool(pool: &Pool, revision: u64) -> wire::NatPool {
    use wire::nat_pool::{PortBlocks, PortMapping};
    let [tcp, udp, icmp] = [pool.tcp, pool.udp, pool.icmp];
    wire::NatPool {
        meta: Some(meta(&pool.id, revision)),
        prefixes: Vec::new(),
        ranges: pool.addresses.iter().map(range).collect(),
        exclude: pool.exclude_addresses.iter().map(range).collect(),
        ports: Some(ports(pool.ports)),
        exclude_ports: pool.exclude_ports.iter().copied().map(ports).collect(),
        tcp_mapping: mapping(tcp.mapping),
        udp_mapping: mapping(udp.mapping),
        icmp_mapping: mapping(icmp.mapping),
        tcp_filtering: filtering(tcp.filtering),
        udp_filtering: filtering(udp.filtering),
        icmp_filtering: filtering(icmp.filtering),
        pairing: match pool.pairing {
            Pairing::Strict => wire::nat_pool::Pairing::Strict,
            Pairing::Soft => wire::nat_pool::Pairing::Soft,
            Pairing::None => wire::nat_pool::Pairing::None,
        }
        .into(),
        port_blocks: pool.blocks.map(|blocks| PortBlocks {
            block_size: blocks.ports.into(),
            max_blocks_per_host: blocks.per_host_max.into(),
        }),
        hold_down_s: Some(pool.hold_down_s),
        hold_down_max: pool.hold_down_ports_max,
        preserve_port: pool.preserve_port,
        preserve_parity: pool.preserve_parity,
        mapping_by_port: pool
            .mapping_by_port
            .iter()
            .map(|one| PortMapping {
                proto: protocol(one.protocol),
                dst_ports: Some(ports(one.ports)),
                mapping: mapping(Some(one.mapping)),
            })
            .collect(),
    }
}

fn mapping(mapping: Option<Dependence>) -> i32 {
    use wire::nat_pool::Mapping;
    match mapping {
        None => Mapping::Default,
        Some(Dependence::EndpointIndependent) => Mapping::Eim,
        Some(Dependence::AddressDependent) => Mapping::Adm,
        Some(Dependence::AddressAndPortDependent) => Mapping::Apdm,
    }
    .into()
}

fn filtering(filtering: Option<Dependence>) -> i32 {
    use wire::nat_pool::Filtering;
    match filtering {
        None => Filtering::Default,
        Some(Dependence::EndpointIndependent) => Filtering::Eif,
        Some(Dependence::AddressDependent) => Filtering::Adf,
        Some(Dependence::AddressAndPortDependent) => Filtering::Apdf,
    }
    .into()
}

fn protocol(protocol: PortProtocol) -> i32 {
    match protocol {
        PortProtocol::Tcp => wire::Proto::Tcp,
        PortProtocol::Udp => wire::Proto::Udp,
        PortProtocol::Sctp => wire::Proto::Sctp,
    }
    .into()
}

fn router(router: &Router, revision: u64) -> wire::Router {
    let names =
        wire::Meta { project_id: router.project.clone(), name: router.name.clone(), ..Default::default() };
    wire::Router {
        meta: Some(wire::Meta { id: router.id.clone(), revision, ..names }),
        admin_up: router.admin_up,
        interfaces: router.interfaces.iter().map(interface).collect(),
        gateways: router.gateways.iter().map(gateway).collect(),
        routes: router.routes.iter().map(route).collect(),
        floating_ips: router.floating_ips.iter().map(floating_ip).collect(),
        port_forwardings: router.port_forwardings.iter().map(port_forwarding).collect(),
        no_nat: router.no_nat.iter().map(prefix).collect(),
        timeouts: timeouts(router),
        tcp: tcp(&router.tcp),
    }
}

fn interface(interface: &Interface) -> wire::Interface {
    wire::Interface {
        id: interface.id.clone(),
        segment_id: interface.segment.clone(),
        mac: interface.mac.0.to_vec(),
        addresses: interface.addresses.iter().map(prefix).collect(),
        external: interface.external,
        admin_up: true,
        snat_source: interface.snat,
        no_icmp_errors: !interface.icmp_errors,
    }
}

fn gateway(gateway: &Gateway) -> wire::Gateway {
    wire::Gateway {
        interface_id: gateway.interface.clone(),
        enable_snat: gateway.snat,
        pool_id: gateway.pool.clone().unwrap_or_default(),
        nexthops: gateway.next_hop.into_iter().map(bytes).collect(),
    }
}

fn route(route: &Route) -> wire::Route {
    wire::Route {
        prefix: Some(prefix(&route.prefix)),
        target: Some(wire::route::Target::Nexthop(bytes(route.next_hop))),
    }
}

fn floating_ip(floating: &FloatingIp) -> wire::FloatingIp {
    wire::FloatingIp {
        id: floating.id.clone(),
        external_ip: bytes(floating.external),
        internal_ip: bytes(floating.internal),
        gateway_interface_id: floating.gateway.clone().unwrap_or_default(),
        mode: wire::floating_ip::Mode::Stateless.into(),
    }
}

fn port_forwarding(one: &PortForwarding) -> wire::PortForwarding {
    wire::PortForwarding {
        id: one.id.clone(),
        external_ip: bytes(one.external),
        proto: protocol(one.protocol),
        external_ports: Some(ports(one.external_ports)),
        internal_ip: bytes(one.internal),
        internal_ports: one.internal_ports.map(ports),
        gateway_interface_id: one.gateway.clone().unwrap_or_default(),
    }
}

/// What of TCP is no timer; absent where it says nothing.
fn tcp(tcp: &TcpRules) -> Option<wire::TcpRules> {
    let unsolicited_syn = match tcp.unsolicited_syn {
        UnsolicitedSyn::Drop => wire::tcp_rules::UnsolicitedSyn::SynDrop,
        UnsolicitedSyn::ErrorAfter6s => wire::tcp_rules::UnsolicitedSyn::SynErrorAfter6s,
    };
    let written = wire::TcpRules {
        loose: tcp.loose,
        unsolicited_syn: unsolicited_syn.into(),
        clamp_mss: tcp.clamp_mss,
    };
    (written != wire::TcpRules::default()).then_some(written)
}

/// Timers, and what happens when they are up; absent where it says nothing.
fn timeouts(router: &Router) -> Option<wire::Timeouts> {
    use wire::timeouts::{IdleReset as Reset, PortTimeout, Profile};
    let timeouts: &Timeouts = &router.timeouts;
    let by_port = |one: &PortTimeouts| PortTimeout {
        proto: protocol(one.protocol),
        dst_ports: Some(ports(one.ports)),
        established: one.established_s.unwrap_or(0),
        initial: one.initial_s.unwrap_or(0),
    };
    let written = wire::Timeouts {
        tcp_syn: timeouts.tcp_syn_s.unwrap_or(0),
        tcp_established: timeouts.tcp_established_s.unwrap_or(0),
        tcp_fin: timeouts.tcp_fin_s.unwrap_or(0),
        tcp_time_wait: timeouts.tcp_time_wait_s.unwrap_or(0),
        tcp_rst: timeouts.tcp_rst_s.unwrap_or(0),
        udp_initial: timeouts.udp_initial_s.unwrap_or(0),
        udp_stream: timeouts.udp_stream_s.unwrap_or(0),
        icmp: timeouts.icmp_s.unwrap_or(0),
        generic: timeouts.other_s.unwrap_or(0),
        by_port: timeouts.by_port.iter().map(by_port).collect(),
        idle_reset: match router.tcp.idle_reset {
            IdleReset::None => Reset::None,
            IdleReset::OnNextSegment => Reset::OnNextPacket,
            IdleReset::BothNow => Reset::BothNow,
        }
        .into(),
        udp_inbound_refresh: (!router.udp_inbound_refresh).then_some(false),
        profile: match timeouts.profile {
            None => Profile::Default,
            Some(TimeoutProfile::Cloud) => Profile::Cloud,
            Some(TimeoutProfile::Rfc) => Profile::Rfc,
        }
        .into(),
    };
    (written != wire::Timeouts::default()).then_some(written)
}

fn range(range: &AddressRange) -> wire::IpRange {
    wire::IpRange { first: bytes(range.first), last: bytes(range.last) }
}

fn ports(ports: PortRange) -> wire::PortRange {
    wire::PortRange { first: ports.first.into(), last: ports.last.into() }
}

fn meta(id: &str, revision: u64) -> wire::Meta {
    wire::Meta { id: id.to_owned(), revision, ..Default::default() }
}

fn prefix(prefix: &Ipv4Net) -> wire::IpPrefix {
    wire::IpPrefix { address: bytes(prefix.addr()), length: prefix.prefix_len().into() }
}

fn bytes(address: Ipv4Addr) -> Vec<u8> {
    address.octets().to_vec()
}

/// The model's field names and the .proto's, where they differ. Validation speaks the model's, because most of its
/// readers wrote a file; a controller knows the .proto's.
const FIELD_NAMES: &[(ObjectKind, &str, &str)] = &[
    (ObjectKind::Segment, "id", "meta.id"),
    (ObjectKind::Segment, "vlan", "vlan.vid"),
    (ObjectKind::Segment, "port", "kind.port"),
    (ObjectKind::Pool, "id", "meta.id"),
    (ObjectKind::Pool, "addresses", "ranges"),
    (ObjectKind::Pool, "exclude_addresses", "exclude"),
    (ObjectKind::Pool, "blocks", "port_blocks"),
    (ObjectKind::Pool, "blocks.ports", "block_size"),
    (ObjectKind::Pool, "blocks.per_host_max", "max_blocks_per_host"),
    (ObjectKind::Pool, "mapping_by_port.protocol", "proto"),
    (ObjectKind::Pool, "mapping_by_port.ports", "dst_ports"),
    (ObjectKind::Router, "id", "meta.id"),
    (ObjectKind::Router, "project", "meta.project_id"),
    (ObjectKind::Router, "name", "meta.name"),
    (ObjectKind::Router, "interfaces.segment", "segment_id"),
    (ObjectKind::Router, "interfaces.snat", "snat_source"),
    (ObjectKind::Router, "gateways.interface", "interface_id"),
    (ObjectKind::Router, "gateways.next_hop", "nexthops[0]"),
    (ObjectKind::Router, "gateways.snat", "enable_snat"),
    (ObjectKind::Router, "gateways.pool", "pool_id"),
    (ObjectKind::Router, "routes.next_hop", "nexthop"),
    (ObjectKind::Router, "floating_ips.external", "external_ip"),
    (ObjectKind::Router, "floating_ips.internal", "internal_ip"),
    (ObjectKind::Router, "floating_ips.gateway", "gateway_interface_id"),
    (ObjectKind::Router, "port_forwardings.external", "external_ip"),
    (ObjectKind::Router, "port_forwardings.internal", "internal_ip"),
    (ObjectKind::Router, "port_forwardings.protocol", "proto"),
    (ObjectKind::Router, "port_forwardings.gateway", "gateway_interface_id"),
    (ObjectKind::Router, "timeouts.tcp_syn_s", "tcp_syn"),
    (ObjectKind::Router, "timeouts.tcp_established_s", "tcp_established"),
    (ObjectKind::Router, "timeouts.tcp_fin_s", "tcp_fin"),
    (ObjectKind::Router, "timeouts.tcp_time_wait_s", "tcp_time_wait"),
    (ObjectKind::Router, "timeouts.tcp_rst_s", "tcp_rst"),
    (ObjectKind::Router, "timeouts.udp_initial_s", "udp_initial"),
    (ObjectKind::Router, "timeouts.udp_stream_s", "udp_stream"),
    (ObjectKind::Router, "timeouts.icmp_s", "icmp"),
    (ObjectKind::Router, "timeouts.other_s", "generic"),
    (ObjectKind::Router, "timeouts.by_port.protocol", "proto"),
    (ObjectKind::Router, "timeouts.by_port.ports", "dst_ports"),
    (ObjectKind::Router, "timeouts.by_port.initial_s", "initial"),
    (ObjectKind::Router, "timeouts.by_port.established_s", "established"),
];

/// The path of a field in the .proto's words. A path that is in them already stays what it is.
fn field_on_wire(kind: ObjectKind, field: &str) -> String {
    let mut path = String::new();
    let mut parts = Vec::new();
    let mut rest = field.split('.').peekable();
    while let Some(part) = rest.next() {
        let (name, index) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        // A name that moves into another message is a leaf: `vlan` is `vlan.vid`, but `vlan.vid` is right already.
        let last = rest.peek().is_none();
        let renamed = FIELD_NAMES
            .iter()
            .find(|(of, model, wire)| *of == kind && *model == path && (last || !wire.contains('.')));
        parts.push(format!("{}{index}", renamed.map_or(name, |(_, _, wire)| wire)));
    }
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reject_names_the_field_as_the_proto_does() {
        for (kind, model, wire) in [
            (ObjectKind::Router, "floating_ips[3].external", "floating_ips[3].external_ip"),
            (ObjectKind::Router, "gateways[1].next_hop", "gateways[1].nexthops[0]"),
            (ObjectKind::Router, "interfaces[1].addresses[0]", "interfaces[1].addresses[0]"),
            (ObjectKind::Router, "timeouts.tcp_syn_s", "timeouts.tcp_syn"),
            (ObjectKind::Router, "timeouts.by_port[3].ports", "timeouts.by_port[3].dst_ports"),
            (ObjectKind::Router, "port_forwardings[1].external", "port_forwardings[1].external_ip"),
            (ObjectKind::Pool, "blocks.ports", "port_blocks.block_size"),
            (ObjectKind::Pool, "addresses[2]", "ranges[2]"),
            (ObjectKind::Segment, "id", "meta.id"),
            // Paths of the decoder are the .proto's already.
            (ObjectKind::Router, "gateways[0].nexthops[0]", "gateways[0].nexthops[0]"),
            (ObjectKind::Segment, "vlan.vid", "vlan.vid"),
        ] {
            assert_eq!(field_on_wire(kind, model), wire);
        }
    }
}
