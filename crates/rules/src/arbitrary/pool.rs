//! Pools by chance.

use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{external, id, port_range, protocol};
use crate::model::{AddressRange, Behaviour, Blocks, Dependence, MappingByPort, Pairing, Pool, PortRange};

pub(crate) fn pool() -> impl Strategy<Value = Pool> {
    let run = prop_oneof![
        20 => (12..70_u8, 0..4_u8).prop_map(|(first, more)| (
            Ipv4Addr::new(203, 0, 113, first),
            Ipv4Addr::new(203, 0, 113, first + more)
        )),
        1 => any::<(Ipv4Addr, Ipv4Addr)>()
    ];
    let run = run.prop_map(|(first, last)| AddressRange { first, last });
    let ports = prop_oneof![20 => Just((1024, 65535)), 4 => Just((8000, 8127)), 1 => any::<(u16, u16)>()];
    let places =
        (prop_oneof![1 => Just(vec![]), 20 => vec(run, 1..3)], vec(hole(), 0..2), ports, excluded_ports());
    (id("p", 4), places, behaviours(), choices(), hold_down()).prop_map(
        |(
            id,
            (addresses, exclude_addresses, (first, last), exclude_ports),
            ([tcp, udp, icmp], mapping_by_port),
            (pairing, preserve_port, preserve_parity, blocks),
            (hold_down_s, hold_down_ports_max),
        )| Pool {
            exclude_addresses,
            ports: PortRange { first, last },
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
            ..Pool::new(&id, addresses)
        },
    )
}

/// An address, and perhaps those behind it.
fn hole() -> impl Strategy<Value = AddressRange> {
    (external(), 0..3_u32).prop_map(|(first, more)| {
        let last = u32::from(first).saturating_add(more).into();
        AddressRange { first, last }
    })
}

/// Mostly those that port forwardings are made of.
fn excluded_ports() -> impl Strategy<Value = Vec<PortRange>> {
    let forwarded = PortRange { first: 8_000, last: 8_127 };
    prop_oneof![3 => Just(vec![forwarded]), 2 => Just(vec![]), 1 => vec(port_range(), 1..3)]
}

fn dependence() -> impl Strategy<Value = Dependence> {
    prop_oneof![
        Just(Dependence::EndpointIndependent),
        Just(Dependence::AddressDependent),
        Just(Dependence::AddressAndPortDependent)
    ]
}

fn behaviours() -> impl Strategy<Value = ([Behaviour; 3], Vec<MappingByPort>)> {
    let behaviour = || {
        (option::of(dependence()), option::of(dependence()))
            .prop_map(|(mapping, filtering)| Behaviour { mapping, filtering })
    };
    let by_port = (protocol(), port_range(), dependence())
        .prop_map(|(protocol, ports, mapping)| MappingByPort { protocol, ports, mapping });
    ([behaviour(), behaviour(), behaviour()], vec(by_port, 0..3))
}

fn choices() -> impl Strategy<Value = (Pairing, bool, bool, Option<Blocks>)> {
    let pairing = prop_oneof![Just(Pairing::Strict), Just(Pairing::Soft), Just(Pairing::None)];
    let ports = prop_oneof![20 => (3..13_u32).prop_map(|bits| 1 << bits), 1 => any::<u16>()];
    let blocks = (ports, 0..40_u16).prop_map(|(ports, per_host_max)| Blocks { ports, per_host_max });
    (pairing, any::<bool>(), any::<bool>(), option::weighted(0.3, blocks))
}

fn hold_down() -> impl Strategy<Value = (u32, Option<u32>)> {
    (prop_oneof![30 => 0..100_u32, 1 => any::<u32>()], any::<Option<u32>>())
}
