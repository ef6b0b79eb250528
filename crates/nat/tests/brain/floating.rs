//! Floating IPs: one external address for one internal address, any protocol, both ways, no state.

use nat::DropReason;
use packet::testing;

use crate::exchange::EXCHANGES;
use crate::world::scene::*;

#[test]
fn a_floating_ip_lets_any_remote_ask_its_host() {
    let mut world = scene();
    for exchange in &EXCHANGES {
        let question = world.one((exchange.ask)(SERVER, 5_000, (WEB, exchange.remote_port)));
        let expected =
            (exchange.ask)(RED_WEB.peer(SERVER.address), 5_000, (RED_WEB.address, exchange.remote_port));
        assert_eq!(question, expected.hop(), "{}", exchange.name);

        let answer = world.one((exchange.answer)(RED_WEB, exchange.remote_port, (SERVER.address, 5_000)));
        let expected = (exchange.answer)(SERVER.peer(WEB), exchange.remote_port, (SERVER.address, 5_000));
        assert_eq!(answer, expected.hop(), "{}", exchange.name);
    }
    assert_eq!(world.occupancy().sessions, 0, "no state is kept");
}

#[test]
fn a_host_with_a_floating_ip_asks_under_it() {
    let mut world = scene();
    for exchange in &EXCHANGES {
        let remote = (SERVER.address, exchange.remote_port);
        let question = world.one((exchange.ask)(RED_WEB, 5_000, remote));
        assert_eq!(question, (exchange.ask)(SERVER.peer(WEB), 5_000, remote).hop(), "{}", exchange.name);
        let answer = world.one((exchange.answer)(SERVER, exchange.remote_port, (WEB, 5_000)));
        let expected =
            (exchange.answer)(RED_WEB.peer(SERVER.address), exchange.remote_port, (RED_WEB.address, 5_000));
        assert_eq!(answer, expected.hop(), "{}", exchange.name);
    }
    assert_eq!(world.occupancy().sessions, 0, "floating IPs go before SNAT");
}

#[test]
fn a_floating_ip_carries_any_protocol_both_ways() {
    let mut world = scene();
    let payload: Vec<u8> = (0..77).collect();
    for (protocol, name) in
        [(47, "GRE"), (50, "ESP"), (51, "AH"), (132, "SCTP"), (4, "IP in IP"), (253, "test")]
    {
        let inbound = world.one(SERVER.ipv4(protocol, WEB, &payload));
        assert_eq!(
            inbound,
            RED_WEB.peer(SERVER.address).ipv4(protocol, RED_WEB.address, &payload).hop(),
            "{name}"
        );
        let outbound = world.one(RED_WEB.ipv4(protocol, SERVER.address, &payload));
        assert_eq!(outbound, SERVER.peer(WEB).ipv4(protocol, SERVER.address, &payload).hop(), "{name}");
    }
}

#[test]
fn a_floating_ip_carries_fragments_in_any_order() {
    let mut world = scene();
    let payload: Vec<u8> = (0..100).collect();
    let inbound = testing::fragments(&SERVER.udp(5_000, (WEB, 80), &payload).bytes, 99, 32);
    let heard = RED_WEB.peer(SERVER.address).udp(5_000, (RED_WEB.address, 80), &payload).hop();
    let outbound = testing::fragments(&RED_WEB.udp(80, (SERVER.address, 5_000), &payload).bytes, 98, 32);
    let seen = SERVER.peer(WEB).udp(80, (SERVER.address, 5_000), &payload).hop();
    assert_eq!(inbound.len(), 4);
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        for index in order {
            let fragment = world.one(SERVER.says(inbound[index].clone()));
            assert_eq!(fragment.bytes, testing::fragments(&heard.bytes, 99, 32)[index]);
            let fragment = world.one(RED_WEB.says(outbound[index].clone()));
            assert_eq!(fragment.bytes, testing::fragments(&seen.bytes, 98, 32)[index]);
        }
    }
}

#[test]
fn ip_options_and_ethernet_padding_survive() {
    let mut world = scene();
    let options = [7, 7, 4, 0, 0, 0, 0, 0];
    let decorate = |bytes| testing::with_options(bytes, &options);
    let packet = SERVER.udp(5_000, (WEB, 80), b"hi").change(decorate);
    let expected =
        RED_WEB.peer(SERVER.address).udp(5_000, (RED_WEB.address, 80), b"hi").change(decorate).hop();
    let padded = world.one(packet.clone().change(|bytes| testing::with_padding(bytes, 6)));
    assert_eq!(padded, expected.clone().change(|bytes| testing::with_padding(bytes, 6)));
    assert_eq!(world.one(packet), expected);
}

#[test]
fn each_tenants_floating_ip_leads_to_its_own_host() {
    let mut world = scene();
    assert_eq!(RED_WEB.address, BLUE_WEB.address);
    let red = world.one(SERVER.udp(1, (WEB, 80), b""));
    let blue = world.one(SERVER.through(BLUE_EXT).udp(1, (BLUE_WEB_FLOATING, 80), b""));
    assert_eq!((red.wire, red.link_destination()), (RED_LAN_WIRE, RED_WEB.mac));
    assert_eq!((blue.wire, blue.link_destination()), (BLUE_LAN_WIRE, BLUE_WEB.mac));
}

#[test]
fn floating_ips_work_where_snat_is_off() {
    let mut world = scene_with(&[("pool: red}", "snat: false}")]);
    assert_eq!(world.one(RED_WEB.udp(1, (SERVER.address, 53), b"")).source(), (WEB, 1));
    assert_eq!(world.one(SERVER.udp(53, (WEB, 1), b"")).destination(), (RED_WEB.address, 1));
    let error = world.refuses(RED_A.udp(1, (SERVER.address, 53), b""), DropReason::NoTranslation);
    assert_eq!(error.icmp(), (3, 13, 0));
}

#[test]
fn a_floating_ip_may_belong_to_a_host_behind_an_inner_router() {
    let route = "    routes: [{prefix: 172.16.0.0/16, next_hop: 10.0.0.12}]\n    no_nat: [192.0.2.0/24]";
    let mut world =
        scene_with(&[("    no_nat: [192.0.2.0/24]", route), ("internal: 10.0.0.51", "internal: 172.16.7.7")]);
    let heard = world.one(SERVER.udp(1, (MAIL, 25), b""));
    assert_eq!(
        (heard.link_destination(), heard.destination().0.to_string()),
        (RED_B.mac, "172.16.7.7".into())
    );
    let inner = crate::world::Host { address: heard.destination().0, ..RED_B };
    assert_eq!(world.one(inner.udp(25, (SERVER.address, 1), b"")).source(), (MAIL, 25));
}
