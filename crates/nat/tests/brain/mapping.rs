//! Which flows of an internal endpoint share an external one: all three behaviours, of every protocol (RFC 4787 section 4).

use nat::DropReason;
use packet::tcp::{ACK, PSH, SYN};

use crate::world::scene::*;
use crate::world::{Endpoint, Host, World};

/// The behaviours, as rules name them, with what they depend on: the remote's address, its port.
const MAPPINGS: [(&str, bool, bool); 3] = [
    ("endpoint_independent", false, false),
    ("address_dependent", true, false),
    ("address_and_port_dependent", true, true),
];

/// The scene, its red pool with more to say.
pub(crate) fn with_pool(more: &str) -> World {
    scene_with(&[("addresses: [203.0.113.10]", &format!("addresses: [203.0.113.10], {more}"))])
}

fn udp(world: &mut World, host: Host, port: u16, remote: Endpoint) -> Endpoint {
    world.one(host.udp(port, remote, b"")).source()
}

fn tcp(world: &mut World, host: Host, port: u16, remote: Endpoint) -> Endpoint {
    world.one(host.tcp(port, remote, SYN)).source()
}

/// Whether the endpoint is seen as another by another port of the remote, and by another remote: as a black box would
/// find out (RFC 5780 section 4.3).
fn class(world: &mut World, say: fn(&mut World, Host, u16, Endpoint) -> Endpoint, port: u16) -> (bool, bool) {
    let first = say(world, RED_A, port, (SERVER.address, 7_000));
    let by_port = say(world, RED_A, port, (SERVER.address, 7_001)) != first;
    let by_address = say(world, RED_A, port, (OTHER.address, 7_000)) != first;
    // And it stays so.
    assert_eq!(say(world, RED_A, port, (SERVER.address, 7_000)), first);
    (by_address, by_port)
}

//= rfc4787#REQ-1
//= rfc5382#REQ-1
#[test]
fn a_mapping_depends_on_as_much_of_the_remote_as_the_pool_says() {
    for (mapping, by_address, by_port) in MAPPINGS {
        for filtering in MAPPINGS.map(|(name, ..)| name) {
            let behaviour = format!("{{mapping: {mapping}, filtering: {filtering}}}");
            let mut world = with_pool(&format!("udp: {behaviour}, tcp: {behaviour}"));
            for port in 4_000..4_020 {
                let row = format!("{behaviour} {port}");
                assert_eq!(class(&mut world, udp, port), (by_address, by_port), "udp {row}");
                assert_eq!(class(&mut world, tcp, port), (by_address, by_port), "tcp {row}");
            }
        }
    }
}

//= rfc7857#5
#[test]
fn tcp_and_udp_of_one_endpoint_are_mapped_apart() {
    let independent = "{mapping: endpoint_independent, filtering: endpoint_independent}";
    let mut world = with_pool(&format!("udp: {independent}, tcp: {independent}"));
    let mapped = (4_000..4_050).filter(|port| {
        let remote = (SERVER.address, 7_000);
        udp(&mut world, RED_A, *port, remote) == tcp(&mut world, RED_A, *port, remote)
    });
    assert!(mapped.count() < 3);
}

#[test]
fn flows_to_certain_ports_are_mapped_in_another_way() {
    let mut world = with_pool(
        "mapping_by_port: [{protocol: udp, ports: 5060-5061, mapping: address_and_port_dependent}, {protocol: tcp, ports: 8000-8000, mapping: endpoint_independent}]",
    );
    let first = udp(&mut world, RED_A, 4_000, (SERVER.address, 53));
    assert_eq!(udp(&mut world, RED_A, 4_000, (OTHER.address, 5_059)), first);
    let call = udp(&mut world, RED_A, 4_000, (SERVER.address, 5_060));
    assert_ne!(call, first);
    assert_ne!(udp(&mut world, RED_A, 4_000, (OTHER.address, 5_060)), call);
    let web = tcp(&mut world, RED_A, 4_000, (SERVER.address, 8_000));
    assert_eq!(tcp(&mut world, RED_A, 4_000, (OTHER.address, 8_000)), web);
    assert_ne!(tcp(&mut world, RED_A, 4_000, (OTHER.address, 8_001)), web);
    // Each comes back to the same endpoint.
    for (remote, port, external) in [(SERVER, 53, first), (SERVER, 5_060, call)] {
        assert_eq!(world.one(remote.udp(port, external, b"")).destination(), (RED_A.address, 4_000));
    }
}

/// Two remotes are spoken to by all of many hosts' endpoints: never have two sessions one external and remote endpoint.
//= rfc4787#REQ-3
//= rfc5382#REQ-7
#[test]
fn no_two_endpoints_have_one_external_endpoint_towards_one_remote() {
    for (mapping, ..) in MAPPINGS {
        let behaviour = format!("{{mapping: {mapping}, filtering: {mapping}}}");
        let mut world = with_pool(&format!("ports: 2000-2199, udp: {behaviour}, tcp: {behaviour}"));
        let (mut refused, mut shared) = (0, false);
        for number in 0..300u16 {
            let host = red(100 + (number % 20) as u8);
            world.add(host);
            for remote in [(SERVER.address, 53), (OTHER.address, 53)] {
                for packet in [host.udp(4_000 + number, remote, b""), host.tcp(4_000 + number, remote, SYN)] {
                    refused += world.observe(|world| world.send(packet)).0.len();
                }
            }
        }
        assert!(refused > 0);
        let sessions = world.sessions();
        let mut seen = std::collections::HashMap::new();
        for session in &sessions {
            let towards = (session.protocol, session.external, session.remote);
            assert_eq!(seen.insert(towards, session.internal), None, "{mapping}: {towards:?}");
        }
        // A port is shared by internal endpoints only where the session is the mapping (RFC 7857 section 3).
        let mut users = std::collections::HashMap::new();
        for session in &sessions {
            let user = *users.entry((session.protocol, session.external)).or_insert(session.internal);
            shared |= user != session.internal;
        }
        assert_eq!(shared, mapping == "address_and_port_dependent", "{mapping}");
    }
}

/// The classifier's answer before the ports are used up, while they are, and after.
//= rfc4787#REQ-11
#[test]
fn behaviour_is_the_same_however_full_the_pool_is() {
    for (mapping, by_address, by_port) in MAPPINGS {
        let behaviour = format!("{{mapping: {mapping}, filtering: address_dependent}}");
        let mut world =
            with_pool(&format!("ports: 2000-2099, hold_down_s: 0, udp: {behaviour}, tcp: {behaviour}"));
        let expected = (by_address, by_port);
        for say in [udp, tcp] {
            assert_eq!(class(&mut world, say, 4_000), expected, "{mapping}, empty");
        }
        let mut refused = 0;
        for (ports, asked_from) in [(5_000..5_060, Some(4_002)), (5_060..5_120, None)] {
            for port in ports {
                for packet in
                    [RED_B.udp(port, (SERVER.address, 9), b""), RED_B.tcp(port, (SERVER.address, 9), SYN)]
                {
                    let (drops, _) = world.observe(|world| world.send(packet));
                    refused += drops.iter().filter(|reason| **reason == DropReason::PortExhausted).count();
                }
            }
            if let Some(port) = asked_from {
                assert_eq!(refused, 0, "{mapping}");
                for say in [udp, tcp] {
                    assert_eq!(class(&mut world, say, port), expected, "{mapping}, half full");
                }
            }
        }
        assert!(refused >= 40, "{mapping}: {refused}");
        for say in [udp, tcp] {
            assert_eq!(class(&mut world, say, 4_000), expected, "{mapping}, full");
        }
        world.pass(3_000_000);
        for say in [udp, tcp] {
            assert_eq!(class(&mut world, say, 4_001), expected, "{mapping}, empty again");
        }
    }
}

/// A connection by a mapping, from the first segment to the last; then nothing is left, and no port of TCP rests.
//= rfc6888#REQ-8
#[test]
fn a_tcp_mapping_ends_with_its_last_session() {
    let mut world = with_pool("ports: 2000-2000, tcp: {mapping: endpoint_independent}");
    let external = tcp(&mut world, RED_A, 4_000, (SERVER.address, 80));
    assert_eq!(tcp(&mut world, RED_A, 4_000, (OTHER.address, 80)), external);
    world.one(SERVER.tcp(80, external, SYN | ACK));
    world.one(RED_A.tcp(4_000, (SERVER.address, 80), ACK));
    world.pass(100_000);
    assert_eq!((world.sessions().len(), world.occupancy().mappings), (1, 1));
    world.one(RED_A.tcp(4_000, (SERVER.address, 80), PSH | ACK));
    world.refuses(RED_B.tcp(4_000, (SERVER.address, 80), SYN), DropReason::PortExhausted);
    world.pass(3_700_000);
    assert_eq!((world.occupancy().mappings, world.ports_used(RED_POOL)), (0, 0));
    assert_eq!(tcp(&mut world, RED_B, 4_000, (SERVER.address, 80)), external);
}

#[test]
fn a_change_of_behaviour_ends_no_session_and_leaks_no_port() {
    let rules = |more: &str| {
        rules_with(&[("addresses: [203.0.113.10]", &format!("addresses: [203.0.113.10], {more}"))])
    };
    let mut world = scene();
    let kinds = MAPPINGS.map(|(name, ..)| name);
    let mut flows = Vec::new();
    for (round, (mapping, filtering)) in
        kinds.into_iter().flat_map(|one| kinds.map(|other| (one, other))).enumerate()
    {
        let behaviour = format!("{{mapping: {mapping}, filtering: {filtering}}}");
        world.adopt(&rules(&format!("udp: {behaviour}, tcp: {behaviour}")));
        for port in (4_000..4_010).map(|port| port + 10 * (round % 4) as u16) {
            for remote in [(SERVER.address, 53), (OTHER.address, 53)] {
                flows.push((port, remote, udp(&mut world, RED_A, port, remote)));
                tcp(&mut world, RED_A, port, remote);
            }
        }
        for (port, remote, external) in &flows {
            assert_eq!(udp(&mut world, RED_A, *port, *remote), *external, "{behaviour}");
        }
    }
    world.pass(4_000_000);
    let occupancy = world.occupancy();
    assert_eq!((occupancy.sessions, occupancy.mappings, occupancy.permissions), (0, 0, 0));
    assert_eq!((occupancy.hosts, world.ports_used(RED_POOL)), (0, 0));
}
