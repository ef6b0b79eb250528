//! Routers by chance.

use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{address, external, id, internal, network, port_range, prefix, protocol};
use crate::model::{
    FloatingIp, Gateway, IdleReset, Interface, Mac, PortForwarding, PortRange, PortTimeouts, Route, Router,
    TcpRules, TimeoutProfile, Timeouts, UnsolicitedSyn,
};

pub(crate) fn router() -> impl Strategy<Value = Router> {
    let route = (network(), address()).prop_map(|(prefix, next_hop)| Route { prefix, next_hop });
    let parts = (
        (id("r", 5), "[a-z]{0,3}", "[a-zäß ]{0,3}", prop_oneof![5 => Just(true), 1 => Just(false)]),
        (vec(interface(false), 1..4), ways_out()),
        prop_oneof![3 => Just(vec![]), 1 => vec(route, 0..3)],
        (vec(floating_ip(), 0..4), vec(forwarding(), 0..4)),
        vec(network(), 0..3),
        timeouts(),
        (tcp(), any::<bool>()),
    );
    parts.prop_map(
        |(
            (id, project, name, admin_up),
            (mut interfaces, (legs, gateways)),
            routes,
            (floating_ips, port_forwardings),
            no_nat,
            timeouts,
            (tcp, udp_inbound_refresh),
        )| {
            interfaces.extend(legs);
            Router {
                id,
                revision: 0,
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

fn interface(external_leg: bool) -> impl Strategy<Value = Interface> {
    let address = if external_leg { prefix(external()).boxed() } else { prefix(internal()).boxed() };
    let mac = (0..8_u8).prop_map(|last| Mac([0xfa, 0x16, 0x3e, 0, 0, last]));
    (id("i", 4), id("s", 5), mac, vec(address, 1..3), any::<(bool, bool)>(), 0..60_u8).prop_map(
        move |(id, segment, mac, addresses, (snat, icmp_errors), flip)| Interface {
            id,
            segment,
            mac,
            addresses,
            external: external_leg != (flip == 0),
            snat,
            icmp_errors,
        },
    )
}

/// External legs, and the gateways by them: now and then a leg has none. Mostly a gateway names its leg; else almost no
/// router would be valid.
fn ways_out() -> impl Strategy<Value = (Vec<Interface>, Vec<Gateway>)> {
    let gateway = || {
        let next_hop = option::weighted(0.9, external());
        (next_hop, prop::bool::weighted(0.8), option::of(id("p", 4)), prop::bool::weighted(0.97))
    };
    let count = prop_oneof![1 => Just(0_usize), 10 => Just(1), 5 => Just(2), 1 => Just(3)];
    let ways = count.prop_flat_map(move |count| vec((interface(true), gateway()), count));
    ways.prop_map(|ways| {
        let (mut legs, mut gateways) = (Vec::new(), Vec::new());
        for (leg, (next_hop, snat, pool, is_there)) in ways {
            let gateway = Gateway { interface: leg.id.clone(), next_hop, snat, pool };
            gateways.extend(is_there.then_some(gateway));
            legs.push(leg);
        }
        (legs, gateways)
    })
}

fn floating_ip() -> impl Strategy<Value = FloatingIp> {
    (id("f", 6), external(), internal(), option::weighted(0.3, id("i", 4)))
        .prop_map(|(id, external, internal, gateway)| FloatingIp { id, external, internal, gateway })
}

/// Of an address of its own, of a pool's, or of anyone's; N ports for N, for one, and now and then for others.
fn forwarding() -> impl Strategy<Value = PortForwarding> {
    let own = (200..250_u8).prop_map(|last| Ipv4Addr::new(203, 0, 113, last));
    let of_pools = (12..70_u8).prop_map(|last| Ipv4Addr::new(203, 0, 113, last));
    let address = prop_oneof![3 => own, 3 => of_pools, 1 => external()];
    let inside = prop_oneof![
        8 => Just(None),
        8 => (1..100_u16).prop_map(|port| Some((port, 0))),
        8 => (1..100_u16, Just(u16::MAX)).prop_map(Some),
        1 => any::<(u16, u16)>().prop_map(Some)
    ];
    let gateway = option::weighted(0.3, id("i", 4));
    (id("w", 4), protocol(), address, port_range(), internal(), inside, gateway).prop_map(
        |(id, protocol, external, external_ports, internal, inside, gateway)| {
            let more = external_ports.last.saturating_sub(external_ports.first);
            let internal_ports = inside.map(|(first, last)| match last {
                0 => PortRange { first, last: first },
                u16::MAX => PortRange { first, last: first.saturating_add(more) },
                last => PortRange { first, last },
            });
            PortForwarding { id, external, protocol, external_ports, internal, internal_ports, gateway }
        },
    )
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    let timer = || option::weighted(0.3, prop_oneof![200 => 1..1000_u32, 1 => any::<u32>()]);
    let by_port = (protocol(), port_range(), timer(), timer()).prop_map(
        |(protocol, ports, initial_s, established_s)| PortTimeouts {
            protocol,
            ports,
            initial_s,
            established_s,
        },
    );
    let profile = option::of(prop_oneof![Just(TimeoutProfile::Cloud), Just(TimeoutProfile::Rfc)]);
    let timers = [timer(), timer(), timer(), timer(), timer(), timer(), timer(), timer(), timer()];
    (profile, timers, vec(by_port, 0..3)).prop_map(
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

fn tcp() -> impl Strategy<Value = TcpRules> {
    let unsolicited_syn = prop_oneof![Just(UnsolicitedSyn::Drop), Just(UnsolicitedSyn::ErrorAfter6s)];
    let idle_reset =
        prop_oneof![Just(IdleReset::None), Just(IdleReset::OnNextSegment), Just(IdleReset::BothNow)];
    (any::<bool>(), unsolicited_syn, idle_reset, any::<bool>()).prop_map(
        |(loose, unsolicited_syn, idle_reset, clamp_mss)| TcpRules {
            loose,
            unsolicited_syn,
            idle_reset,
            clamp_mss,
        },
    )
}
