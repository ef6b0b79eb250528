//! From the wire to the model. Total: whatever the bytes say, the answer is an object or every fault of it.
//!
//! Only what the model cannot hold is judged here: a length that is no address, a number that does not fit its field, an
//! enum nobody knows. Whether the values make sense together is for validation, which sees files and feeds alike.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use rules::model::{
    AddressRange, FloatingIp, Gateway, IdleReset, Interface, Mac, Pool, PortForwarding, PortProtocol,
    PortRange, PortTimeouts, Route, Router, Segment, TcpRules, TimeoutProfile, Timeouts, UnsolicitedSyn,
};
use rules::{Object, ObjectKind, ObjectRef};

use crate::reject::{Code, Reject};
use crate::wire;

/// A hostile object is answered with its first faults, not with a fault for each of its million parts.
const FAULTS_PER_OBJECT_MAX: usize = 256;
const MTU_DEFAULT: u16 = 1500;
const HOLD_DOWN_DEFAULT_S: u32 = 60;

/// Reads one object.
///
/// # Errors
/// All faults of the object (at most 256), each with the path of its field in the .proto's words.
pub fn object(object: &wire::Object) -> Result<Object, Vec<Reject>> {
    match &object.o {
        Some(wire::object::O::Router(router)) => self::router(router).map(Object::from),
        Some(wire::object::O::Pool(pool)) => self::pool(pool).map(Object::from),
        Some(wire::object::O::Segment(segment)) => self::segment(segment).map(Object::from),
        None => {
            let message = "an object of a kind that this gateway does not know";
            Err(vec![Reject::all(Code::UnsupportedFeature, message)])
        }
    }
}

/// Name and revision as the object claims them, however bad the rest of it is; `None` where its kind is unknown.
pub fn name(object: &wire::Object) -> Option<(ObjectRef, u64)> {
    let (kind, meta) = match object.o.as_ref()? {
        wire::object::O::Router(router) => (ObjectKind::Router, router.meta.as_ref()),
        wire::object::O::Pool(pool) => (ObjectKind::Pool, pool.meta.as_ref()),
        wire::object::O::Segment(segment) => (ObjectKind::Segment, segment.meta.as_ref()),
    };
    let (id, revision) = meta.map_or(("", 0), |meta| (meta.id.as_str(), meta.revision));
    Some((ObjectRef::new(kind, id), revision))
}

/// Reads the name of an object; `None` where its kind is unknown.
pub fn reference(reference: &wire::Ref) -> Option<ObjectRef> {
    let kind = match wire::r#ref::Kind::try_from(reference.kind).ok()? {
        wire::r#ref::Kind::Router => ObjectKind::Router,
        wire::r#ref::Kind::Pool => ObjectKind::Pool,
        wire::r#ref::Kind::Segment => ObjectKind::Segment,
    };
    Some(ObjectRef::new(kind, reference.id.as_str()))
}

/// Reads why something was refused, as far as it can be understood: it is for logs, so nothing is refused here.
pub fn reject(reject: &wire::Reject) -> Reject {
    let object = |one: &Option<wire::Ref>| one.as_ref().and_then(reference);
    Reject {
        code: reject.code(),
        object: object(&reject.object),
        offered_revision: reject.offered_revision,
        kept_revision: reject.kept_revision,
        field: reject.field.clone(),
        message: reject.message.clone(),
        conflicts_with: object(&reject.conflicts_with),
    }
}

fn segment(segment: &wire::Segment) -> Result<Segment, Vec<Reject>> {
    use wire::segment::Kind;
    let (mut reader, meta) = Reader::open(ObjectKind::Segment, segment.meta.as_ref());
    let (port, vlan) = match &segment.kind {
        Some(Kind::Vlan(vlan)) => (vlan.port.clone(), Some(reader.u16("vlan.vid", vlan.vid))),
        Some(Kind::Flat(flat)) => (flat.port.clone(), None),
        None => {
            reader.fault(
                Code::MissingField,
                "kind",
                "neither vlan nor flat: no kind that this gateway knows",
            );
            (String::new(), None)
        }
    };
    let mtu = if segment.mtu == 0 { MTU_DEFAULT } else { reader.u16("mtu", segment.mtu) };
    reader.close(Segment { id: meta.id, revision: meta.revision, port, vlan, mtu })
}

fn pool(pool: &wire::NatPool) -> Result<Pool, Vec<Reject>> {
    let (mut reader, meta) = Reader::open(ObjectKind::Pool, pool.meta.as_ref());
    let mut addresses = Vec::with_capacity(pool.prefixes.len() + pool.ranges.len());
    for (at, prefix) in pool.prefixes.iter().enumerate() {
        let field = format!("prefixes[{at}]");
        let prefix = reader.prefix(&field, Some(prefix));
        if prefix.addr() != prefix.network() {
            reader.fault(
                Code::BadAddress,
                &field,
                format!("{prefix} has host bits set: it is {}", prefix.trunc()),
            );
        }
        addresses.push(AddressRange { first: prefix.network(), last: prefix.broadcast() });
    }
    addresses.extend(reader.each("ranges", &pool.ranges, Reader::range));
    let ports = match &pool.ports {
        None => PortRange::default(),
        Some(ports) => reader.ports("ports", Some(ports)),
    };
    let hold_down_s = pool.hold_down_s.unwrap_or(HOLD_DOWN_DEFAULT_S);
    let pool = Pool {
        id: meta.id,
        revision: meta.revision,
        addresses,
        exclude_addresses: reader.each("exclude", &pool.exclude, Reader::range),
        ports,
        exclude_ports: reader
            .each("exclude_ports", &pool.exclude_ports, |reader, field, one| reader.ports(field, Some(one))),
        tcp: behaviour::of(&mut reader, "tcp", pool.tcp_mapping, pool.tcp_filtering),
        udp: behaviour::of(&mut reader, "udp", pool.udp_mapping, pool.udp_filtering),
        icmp: behaviour::of(&mut reader, "icmp", pool.icmp_mapping, pool.icmp_filtering),
        mapping_by_port: reader.each("mapping_by_port", &pool.mapping_by_port, behaviour::by_port),
        pairing: behaviour::pairing(&mut reader, pool.pairing),
        preserve_port: pool.preserve_port,
        preserve_parity: pool.preserve_parity,
        blocks: pool.port_blocks.as_ref().map(|blocks| behaviour::blocks(&mut reader, blocks)),
        hold_down_s,
        hold_down_ports_max: pool.hold_down_max,
    };
    reader.close(pool)
}

fn router(router: &wire::Router) -> Result<Router, Vec<Reject>> {
    let (mut reader, meta) = Reader::open(ObjectKind::Router, router.meta.as_ref());
    let interfaces = reader.each("interfaces", &router.interfaces, interface);
    let gateways = reader.each("gateways", &router.gateways, gateway);
    let routes = reader.each("routes", &router.routes, route);
    let floating_ips = reader.each("floating_ips", &router.floating_ips, floating_ip);
    let no_nat = reader.each("no_nat", &router.no_nat, |reader, field, one| reader.prefix(field, Some(one)));
    let port_forwardings = reader.each("port_forwardings", &router.port_forwardings, port_forwarding);
    let timeouts = router.timeouts.clone().unwrap_or_default();
    let tcp = tcp(&mut reader, &router.tcp.unwrap_or_default(), timeouts.idle_reset);
    let udp_inbound_refresh = timeouts.udp_inbound_refresh.unwrap_or(true);
    let timeouts = self::timeouts(&mut reader, &timeouts);
    reader.close(Router {
        id: meta.id,
        revision: meta.revision,
        project: meta.project_id,
        name: meta.name,
        admin_up: router.admin_up,
        interfaces,
        gateways,
        routes,
        floating_ips,
        port_forwardings,
        no_nat,
        timeouts,
        tcp,
        udp_inbound_refresh,
    })
}

fn interface(reader: &mut Reader, field: &str, one: &wire::Interface) -> Interface {
    if !one.admin_up {
        let message = "an interface that is down is not supported: leave it out";
        reader.fault(Code::UnsupportedFeature, format!("{field}.admin_up"), message);
    }
    Interface {
        id: one.id.clone(),
        segment: one.segment_id.clone(),
        mac: reader.mac(&format!("{field}.mac"), &one.mac),
        addresses: reader.each(&format!("{field}.addresses"), &one.addresses, |reader, field, one| {
            reader.prefix(field, Some(one))
        }),
        external: one.external,
        snat: one.snat_source,
        icmp_errors: !one.no_icmp_errors,
    }
}

fn gateway(reader: &mut Reader, field: &str, one: &wire::Gateway) -> Gateway {
    let next_hop = match one.nexthops.as_slice() {
        [] => None,
        [one] => Some(reader.address(&format!("{field}.nexthops[0]"), one)),
        _ => {
            let message = "more than one next hop is not supported";
            reader.fault(Code::UnsupportedFeature, format!("{field}.nexthops[1]"), message);
            None
        }
    };
    Gateway {
        interface: one.interface_id.clone(),
        next_hop,
        snat: one.enable_snat,
        pool: Some(one.pool_id.clone()).filter(|id| !id.is_empty()),
    }
}

fn route(reader: &mut Reader, field: &str, one: &wire::Route) -> Route {
    use wire::route::Target;
    let next_hop = match &one.target {
        Some(Target::Nexthop(next_hop)) => reader.address(&format!("{field}.nexthop"), next_hop),
        Some(Target::Blackhole(_)) => {
            let message = "a black hole route is not supported";
            reader.fault(Code::UnsupportedFeature, format!("{field}.blackhole"), message);
            Ipv4Addr::UNSPECIFIED
        }
        None => {
            reader.fault(Code::MissingField, format!("{field}.target"), "a route needs a next hop");
            Ipv4Addr::UNSPECIFIED
        }
    };
    Route { prefix: reader.prefix(&format!("{field}.prefix"), one.prefix.as_ref()), next_hop }
}

fn floating_ip(reader: &mut Reader, field: &str, one: &wire::FloatingIp) -> FloatingIp {
    use wire::floating_ip::Mode;
    match Mode::try_from(one.mode) {
        Ok(Mode::Stateless) => {}
        Ok(Mode::Stateful) => {
            let message = "a stateful floating IP is not supported";
            reader.fault(Code::UnsupportedFeature, format!("{field}.mode"), message);
        }
        Err(_) => reader.unknown_enum(&format!("{field}.mode"), one.mode),
    }
    FloatingIp {
        id: one.id.clone(),
        external: reader.address(&format!("{field}.external_ip"), &one.external_ip),
        internal: reader.address(&format!("{field}.internal_ip"), &one.internal_ip),
        gateway: given(&one.gateway_interface_id),
    }
}

fn port_forwarding(reader: &mut Reader, field: &str, one: &wire::PortForwarding) -> PortForwarding {
    PortForwarding {
        id: one.id.clone(),
        external: reader.address(&format!("{field}.external_ip"), &one.external_ip),
        protocol: reader.protocol(&format!("{field}.proto"), one.proto),
        external_ports: reader.ports(&format!("{field}.external_ports"), one.external_ports.as_ref()),
        internal: reader.address(&format!("{field}.internal_ip"), &one.internal_ip),
        internal_ports: one
            .internal_ports
            .as_ref()
            .map(|ports| reader.ports(&format!("{field}.internal_ports"), Some(ports))),
        gateway: given(&one.gateway_interface_id),
    }
}

/// A text that may be absent.
fn given(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn tcp(reader: &mut Reader, one: &wire::TcpRules, idle_reset: i32) -> TcpRules {
    use wire::tcp_rules::UnsolicitedSyn as Syn;
    use wire::timeouts::IdleReset as Reset;
    TcpRules {
        loose: one.loose,
        unsolicited_syn: match Syn::try_from(one.unsolicited_syn) {
            Ok(Syn::SynDrop) => UnsolicitedSyn::Drop,
            Ok(Syn::SynErrorAfter6s) => UnsolicitedSyn::ErrorAfter6s,
            Err(_) => {
                reader.unknown_enum("tcp.unsolicited_syn", one.unsolicited_syn);
                UnsolicitedSyn::default()
            }
        },
        idle_reset: match Reset::try_from(idle_reset) {
            Ok(Reset::None) => IdleReset::None,
            Ok(Reset::OnNextPacket) => IdleReset::OnNextSegment,
            Ok(Reset::BothNow) => IdleReset::BothNow,
            Err(_) => {
                reader.unknown_enum("timeouts.idle_reset", idle_reset);
                IdleReset::default()
            }
        },
        clamp_mss: one.clamp_mss,
    }
}

fn timeouts(reader: &mut Reader, one: &wire::Timeouts) -> Timeouts {
    use wire::timeouts::Profile;
    let profile = match Profile::try_from(one.profile) {
        Ok(Profile::Default) => None,
        Ok(Profile::Cloud) => Some(TimeoutProfile::Cloud),
        Ok(Profile::Rfc) => Some(TimeoutProfile::Rfc),
        Err(_) => {
            reader.unknown_enum("timeouts.profile", one.profile);
            None
        }
    };
    let given = |seconds: u32| Some(seconds).filter(|&seconds| seconds != 0);
    Timeouts {
        profile,
        tcp_syn_s: given(one.tcp_syn),
        tcp_established_s: given(one.tcp_established),
        tcp_fin_s: given(one.tcp_fin),
        tcp_time_wait_s: given(one.tcp_time_wait),
        tcp_rst_s: given(one.tcp_rst),
        udp_initial_s: given(one.udp_initial),
        udp_stream_s: given(one.udp_stream),
        icmp_s: given(one.icmp),
        other_s: given(one.generic),
        by_port: reader.each("timeouts.by_port", &one.by_port, |reader, field, one| PortTimeouts {
            protocol: reader.protocol(&format!("{field}.proto"), one.proto),
            ports: reader.ports(&format!("{field}.dst_ports"), one.dst_ports.as_ref()),
            initial_s: given(one.initial),
            established_s: given(one.established),
        }),
    }
}

/// Collects the faults of one object while it is read. A value that is at fault reads as a placeholder, so that reading
/// goes on; with a fault, no object comes out.
struct Reader {
    object: ObjectRef,
    revision: u64,
    faults: Vec<Reject>,
}

impl Reader {
    fn open(kind: ObjectKind, meta: Option<&wire::Meta>) -> (Self, wire::Meta) {
        let given = meta.cloned().unwrap_or_default();
        let object = ObjectRef::new(kind, given.id.as_str());
        let mut reader = Self { object, revision: given.revision, faults: Vec::new() };
        if meta.is_none() {
            reader.fault(Code::MissingField, "meta", "an object needs an id");
        }
        (reader, given)
    }

    fn close<T>(self, object: T) -> Result<T, Vec<Reject>> {
        if self.faults.is_empty() { Ok(object) } else { Err(self.faults) }
    }

    fn fault(&mut self, code: Code, field: impl Into<String>, message: impl Into<String>) {
        if self.faults.len() < FAULTS_PER_OBJECT_MAX {
            let reject = Reject::object(self.object.clone(), code, field, message);
            self.faults.push(Reject { offered_revision: self.revision, ..reject });
        }
    }

    fn unknown_enum(&mut self, field: &str, value: i32) {
        self.fault(Code::UnknownEnum, field, format!("{value} is no value that this gateway knows"));
    }

    fn each<W, M>(
        &mut self,
        field: &str,
        all: &[W],
        mut read: impl FnMut(&mut Self, &str, &W) -> M,
    ) -> Vec<M> {
        all.iter().enumerate().map(|(at, one)| read(self, &format!("{field}[{at}]"), one)).collect()
    }

    fn u16(&mut self, field: &str, value: u32) -> u16 {
        u16::try_from(value).unwrap_or_else(|_| {
            self.fault(Code::OutOfRange, field, format!("{value} is more than 65535"));
            0
        })
    }

    fn address(&mut self, field: &str, bytes: &[u8]) -> Ipv4Addr {
        if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
            return Ipv4Addr::from(octets);
        }
        match bytes.len() {
            0 => self.fault(Code::MissingField, field, "an address is missing"),
            16 => self.fault(Code::UnsupportedFeature, field, "IPv6 is not supported"),
            length => self.fault(Code::BadAddress, field, format!("an address has 4 bytes, not {length}")),
        }
        Ipv4Addr::UNSPECIFIED
    }

    fn range(&mut self, field: &str, range: &wire::IpRange) -> AddressRange {
        AddressRange {
            first: self.address(&format!("{field}.first"), &range.first),
            last: self.address(&format!("{field}.last"), &range.last),
        }
    }

    fn ports(&mut self, field: &str, ports: Option<&wire::PortRange>) -> PortRange {
        let Some(ports) = ports else {
            self.fault(Code::MissingField, field, "a run of ports is missing");
            return PortRange::default();
        };
        PortRange {
            first: self.u16(&format!("{field}.first"), ports.first),
            last: self.u16(&format!("{field}.last"), ports.last),
        }
    }

    fn protocol(&mut self, field: &str, protocol: i32) -> PortProtocol {
        match wire::Proto::try_from(protocol) {
            Ok(wire::Proto::Tcp) => return PortProtocol::Tcp,
            Ok(wire::Proto::Udp) => return PortProtocol::Udp,
            Ok(wire::Proto::Sctp) => return PortProtocol::Sctp,
            Ok(wire::Proto::Unspecified) => self.fault(Code::MissingField, field, "a protocol is missing"),
            Err(_) => self.unknown_enum(field, protocol),
        }
        PortProtocol::Tcp
    }

    fn prefix(&mut self, field: &str, prefix: Option<&wire::IpPrefix>) -> Ipv4Net {
        let Some(prefix) = prefix else {
            self.fault(Code::MissingField, field, "a prefix is missing");
            return Ipv4Net::default();
        };
        let address = self.address(&format!("{field}.address"), &prefix.address);
        let length = u8::try_from(prefix.length).unwrap_or(u8::MAX);
        Ipv4Net::new(address, length).unwrap_or_else(|_| {
            let message = format!("a prefix has at most 32 bits, not {}", prefix.length);
            self.fault(Code::OutOfRange, format!("{field}.length"), message);
            Ipv4Net::default()
        })
    }

    fn mac(&mut self, field: &str, bytes: &[u8]) -> Mac {
        match <[u8; 6]>::try_from(bytes) {
            Ok(octets) => Mac(octets),
            Err(_) => {
                self.fault(Code::BadAddress, field, format!("a MAC has 6 bytes, not {}", bytes.len()));
                Mac([0; 6])
            }
        }
    }
}

mod behaviour;
#[cfg(test)]
mod tests;
