use proptest::prelude::*;
use prost::Message as _;
use rules::model::{Behaviour, Blocks, Dependence, MappingByPort, Pairing, Rules};

use super::*;
use crate::{encode, testing};

fn router_with(change: impl FnOnce(&mut wire::Router)) -> wire::Object {
    let sent = encode::object(&Object::from(testing::rules(1).routers.remove(0)), 7);
    let Some(wire::object::O::Router(mut router)) = sent.o else { panic!() };
    change(&mut router);
    wire::Object { o: Some(wire::object::O::Router(router)) }
}

fn segment_with(change: impl FnOnce(&mut wire::Segment)) -> wire::Object {
    let sent = encode::object(&Object::from(testing::rules(1).segments.remove(1)), 7);
    let Some(wire::object::O::Segment(mut segment)) = sent.o else { panic!() };
    change(&mut segment);
    wire::Object { o: Some(wire::object::O::Segment(segment)) }
}

fn pool_with(change: impl FnOnce(&mut wire::NatPool)) -> wire::Object {
    let sent = encode::object(&Object::from(testing::rules(1).pools.remove(0)), 7);
    let Some(wire::object::O::Pool(mut pool)) = sent.o else { panic!() };
    change(&mut pool);
    wire::Object { o: Some(wire::object::O::Pool(pool)) }
}

#[test]
fn every_bad_field_is_named_with_its_code() {
    use Code::*;
    let prefix = |address: &[u8], length| wire::IpPrefix { address: address.into(), length };
    for (object, code, field) in [
        (router_with(|r| r.meta = None), MissingField, "meta"),
        (router_with(|r| r.interfaces[0].mac = vec![1, 2, 3]), BadAddress, "interfaces[0].mac"),
        (router_with(|r| r.interfaces[1].admin_up = false), UnsupportedFeature, "interfaces[1].admin_up"),
        (
            router_with(|r| r.interfaces[0].addresses[0].address = vec![10, 0, 0]),
            BadAddress,
            "interfaces[0].addresses[0].address",
        ),
        (
            router_with(|r| r.interfaces[0].addresses[0].length = 33),
            OutOfRange,
            "interfaces[0].addresses[0].length",
        ),
        (
            router_with(|r| r.gateways[0].nexthops.push(vec![1, 2, 3, 4])),
            UnsupportedFeature,
            "gateways[0].nexthops[1]",
        ),
        (
            router_with(|r| r.floating_ips[0].external_ip = vec![0; 16]),
            UnsupportedFeature,
            "floating_ips[0].external_ip",
        ),
        (router_with(|r| r.floating_ips[0].internal_ip.clear()), MissingField, "floating_ips[0].internal_ip"),
        (router_with(|r| r.floating_ips[0].mode = 1), UnsupportedFeature, "floating_ips[0].mode"),
        (router_with(|r| r.floating_ips[0].mode = 9), UnknownEnum, "floating_ips[0].mode"),
        (
            router_with(|r| r.timeouts = Some(wire::Timeouts { profile: -1, ..Default::default() })),
            UnknownEnum,
            "timeouts.profile",
        ),
        (
            router_with(|r| {
                let prefix = Some(prefix(&[10, 1, 0, 0], 16));
                r.routes.push(wire::Route { prefix, target: None });
            }),
            MissingField,
            "routes[0].target",
        ),
        (
            router_with(|r| {
                let target = Some(wire::route::Target::Blackhole(true));
                r.routes.push(wire::Route { prefix: Some(prefix(&[10, 1, 0, 0], 16)), target });
            }),
            UnsupportedFeature,
            "routes[0].blackhole",
        ),
        (
            router_with(|r| {
                let target = Some(wire::route::Target::Nexthop(vec![10, 0, 0, 9]));
                r.routes.push(wire::Route { prefix: None, target });
            }),
            MissingField,
            "routes[0].prefix",
        ),
        (router_with(|r| r.no_nat.push(prefix(&[1], 8))), BadAddress, "no_nat[0].address"),
        (segment_with(|s| s.kind = None), MissingField, "kind"),
        (segment_with(|s| s.mtu = 70_000), OutOfRange, "mtu"),
        (
            segment_with(|s| {
                s.kind =
                    Some(wire::segment::Kind::Vlan(wire::segment::Vlan { port: "p0".into(), vid: 1 << 20 }));
            }),
            OutOfRange,
            "vlan.vid",
        ),
        (pool_with(|p| p.prefixes.push(prefix(&[203, 0, 113, 1], 24))), BadAddress, "prefixes[0]"),
        (pool_with(|p| p.ranges[0].last = vec![]), MissingField, "ranges[0].last"),
        (pool_with(|p| p.ports = Some(wire::PortRange { first: 1, last: 65_536 })), OutOfRange, "ports.last"),
    ] {
        let faults = super::object(&object).expect_err(field);
        let found: Vec<_> = faults.iter().map(|fault| (fault.code, fault.field.as_str())).collect();
        assert_eq!(found, [(code, field)]);
    }
}

#[test]
fn an_object_tells_all_its_faults_at_once() {
    let object = router_with(|router| {
        router.interfaces[0].mac.clear();
        router.gateways[0].nexthops[0].pop();
        router.floating_ips[0].mode = 7;
    });
    assert_eq!(super::object(&object).unwrap_err().len(), 3);
}

#[test]
fn an_object_with_a_million_faults_is_answered_with_a_few() {
    let object = router_with(|router| router.floating_ips = vec![Default::default(); 100_000]);
    assert_eq!(super::object(&object).unwrap_err().len(), FAULTS_PER_OBJECT_MAX);
}

#[test]
fn what_the_wire_leaves_out_reads_as_its_default() {
    let meta = Some(wire::Meta { id: "p".into(), ..Default::default() });
    let bare = wire::NatPool { meta: meta.clone(), ..Default::default() };
    let pool = super::pool(&bare).unwrap();
    assert_eq!((pool.ports, pool.hold_down_s), (PortRange { first: 1024, last: 65535 }, 60));
    let kind = Some(wire::segment::Kind::Flat(wire::segment::Flat { port: "p0".into() }));
    assert_eq!(super::segment(&wire::Segment { meta, kind, mtu: 0 }).unwrap().mtu, 1500);
}

/// The defaults that a file and the wire leave out are the same.
#[test]
fn the_wires_defaults_are_the_files() {
    let text = "{segments: [{id: s, port: p0}], pools: [{id: p, addresses: [203.0.113.1]}]}";
    let Rules { segments, pools, .. } = rules::read_rules(&format!("# yaml\n{text}")).unwrap();
    assert_eq!((segments[0].mtu, pools[0].hold_down_s), (MTU_DEFAULT, HOLD_DOWN_DEFAULT_S));
    assert_eq!(pools[0].ports, PortRange::default());
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn prefix() -> impl Strategy<Value = Ipv4Net> {
    (address(), 0..=32_u8).prop_map(|(address, length)| Ipv4Net::new(address, length).unwrap())
}

fn any_segment() -> impl Strategy<Value = Segment> {
    (".*", any::<u64>(), ".*", any::<Option<u16>>(), 1..u16::MAX)
        .prop_map(|(id, revision, port, vlan, mtu)| Segment { id, revision, port, vlan, mtu })
}

fn ports() -> impl Strategy<Value = PortRange> {
    any::<(u16, u16)>().prop_map(|(first, last)| PortRange { first, last })
}

fn protocol() -> impl Strategy<Value = PortProtocol> {
    prop_oneof![Just(PortProtocol::Tcp), Just(PortProtocol::Udp), Just(PortProtocol::Sctp)]
}

fn dependence() -> impl Strategy<Value = Dependence> {
    prop_oneof![
        Just(Dependence::EndpointIndependent),
        Just(Dependence::AddressDependent),
        Just(Dependence::AddressAndPortDependent),
    ]
}

fn any_pool() -> impl Strategy<Value = Pool> {
    let range = || (address(), address()).prop_map(|(first, last)| AddressRange { first, last });
    let by_port = (protocol(), ports(), dependence()).prop_map(|(protocol, ports, mapping)| MappingByPort {
        protocol,
        ports,
        mapping,
    });
    let behaviour = || {
        (prop::option::of(dependence()), prop::option::of(dependence()))
            .prop_map(|(mapping, filtering)| Behaviour { mapping, filtering })
    };
    let blocks = any::<(u16, u16)>().prop_map(|(ports, per_host_max)| Blocks { ports, per_host_max });
    let pairing = prop_oneof![Just(Pairing::Strict), Just(Pairing::Soft), Just(Pairing::None)];
    let behaviours = (
        (behaviour(), behaviour(), behaviour()),
        prop::collection::vec(by_port, 0..3),
        pairing,
        any::<(bool, bool)>(),
        prop::option::of(blocks),
        any::<Option<u32>>(),
    );
    let excluded = (prop::collection::vec(range(), 0..3), prop::collection::vec(ports(), 0..3));
    ((".*", any::<u64>(), prop::collection::vec(range(), 0..5), ports(), any::<u32>()), excluded, behaviours)
        .prop_map(
            |(
                (id, revision, addresses, ports, hold_down_s),
                (exclude_addresses, exclude_ports),
                (
                    (tcp, udp, icmp),
                    mapping_by_port,
                    pairing,
                    (preserve_port, preserve_parity),
                    blocks,
                    hold_down_ports_max,
                ),
            )| Pool {
                id,
                revision,
                addresses,
                exclude_addresses,
                ports,
                exclude_ports,
                tcp,
                udp,
                icmp,
                mapping_by_port,
                pairing,
                preserve_port,
                preserve_parity,
                blocks,
                hold_down_s,
                hold_down_ports_max,
            },
        )
}

fn any_timeouts() -> impl Strategy<Value = Timeouts> {
    // 0 is what the wire says for "absent", and no valid timer.
    let timer = || prop::option::of(1..=u32::MAX);
    let profile = prop::option::of(prop_oneof![Just(TimeoutProfile::Cloud), Just(TimeoutProfile::Rfc)]);
    let by_port =
        (protocol(), ports(), timer(), timer()).prop_map(|(protocol, ports, initial_s, established_s)| {
            PortTimeouts { protocol, ports, initial_s, established_s }
        });
    let timers = [timer(), timer(), timer(), timer(), timer(), timer(), timer(), timer(), timer()];
    (profile, timers, prop::collection::vec(by_port, 0..3)).prop_map(
        |(profile, [syn, established, fin, time_wait, rst, initial, stream, icmp, other], by_port)| {
            Timeouts {
                profile,
                tcp_syn_s: syn,
                tcp_established_s: established,
                tcp_fin_s: fin,
                tcp_time_wait_s: time_wait,
                tcp_rst_s: rst,
                udp_initial_s: initial,
                udp_stream_s: stream,
                icmp_s: icmp,
                other_s: other,
                by_port,
            }
        },
    )
}

fn any_router() -> impl Strategy<Value = Router> {
    let interface = (".*", ".*", any::<[u8; 6]>(), prop::collection::vec(prefix(), 0..3), any::<[bool; 3]>())
        .prop_map(|(id, segment, mac, addresses, [external, snat, icmp_errors])| Interface {
            id,
            segment,
            mac: Mac(mac),
            addresses,
            external,
            snat,
            icmp_errors,
        });
    let gateway = (".*", prop::option::of(address()), any::<bool>(), prop::option::of(".+"))
        .prop_map(|(interface, next_hop, snat, pool)| Gateway { interface, next_hop, snat, pool });
    let route = (prefix(), address()).prop_map(|(prefix, next_hop)| Route { prefix, next_hop });
    let by = || prop::option::of(".+");
    let floating = (".*", address(), address(), by())
        .prop_map(|(id, external, internal, gateway)| FloatingIp { id, external, internal, gateway });
    let forwarding = (".*", protocol(), (address(), ports()), (address(), prop::option::of(ports())), by())
        .prop_map(|(id, protocol, (external, external_ports), (internal, internal_ports), gateway)| {
            PortForwarding { id, external, protocol, external_ports, internal, internal_ports, gateway }
        });
    let tcp = (
        any::<(bool, bool)>(),
        prop_oneof![Just(UnsolicitedSyn::Drop), Just(UnsolicitedSyn::ErrorAfter6s)],
        prop_oneof![Just(IdleReset::None), Just(IdleReset::OnNextSegment), Just(IdleReset::BothNow)],
    )
        .prop_map(|((loose, clamp_mss), unsolicited_syn, idle_reset)| TcpRules {
            loose,
            unsolicited_syn,
            idle_reset,
            clamp_mss,
        });
    (
        (".*", any::<u64>(), ".*", ".*", any::<bool>()),
        prop::collection::vec(interface, 0..4),
        prop::collection::vec(gateway, 0..3),
        prop::collection::vec(route, 0..4),
        prop::collection::vec(floating, 0..4),
        prop::collection::vec(prefix(), 0..4),
        any_timeouts(),
        (prop::collection::vec(forwarding, 0..3), tcp, any::<bool>()),
    )
        .prop_map(
            |(
                (id, revision, project, name, admin_up),
                interfaces,
                gateways,
                routes,
                floating_ips,
                no_nat,
                timeouts,
                (port_forwardings, tcp, udp_inbound_refresh),
            )| {
                Router {
                    id,
                    revision,
                    project,
                    name,
                    admin_up,
                    interfaces,
                    gateways,
                    routes,
                    floating_ips,
                    port_forwardings,
                    no_nat,
                    timeouts,
                    tcp,
                    udp_inbound_refresh,
                }
            },
        )
}

fn any_object() -> impl Strategy<Value = Object> {
    prop_oneof![
        any_segment().prop_map(Object::from),
        any_pool().prop_map(Object::from),
        any_router().prop_map(Object::from)
    ]
}

proptest! {
    #[test]
    fn an_object_comes_out_of_the_wire_as_it_went_in(object in any_object()) {
        let bytes = encode::object(&object, object.revision()).encode_to_vec();
        let sent = wire::Object::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(super::name(&sent), Some((object.name(), object.revision())));
        prop_assert_eq!(super::object(&sent), Ok(object));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = wire::Object::decode(bytes.as_slice()) {
            let _ = super::object(&message);
        }
        if let Ok(message) = wire::Router::decode(bytes.as_slice()) {
            let _ = super::router(&message);
        }
    }

    /// Random bytes seldom get far; a sound object with bytes changed does.
    #[test]
    fn no_damaged_object_makes_the_decoder_panic(
        object in any_object(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = encode::object(&object, 1).encode_to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(message) = wire::Object::decode(bytes.as_slice()) {
            if let Err(faults) = super::object(&message) {
                prop_assert!((1..=FAULTS_PER_OBJECT_MAX).contains(&faults.len()));
            }
            let _ = super::name(&message);
        }
    }
}
