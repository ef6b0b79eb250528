//! Rules that change under traffic: what changed is judged again, what did not goes on.

use nat::DropReason;
use packet::tcp::{ACK, PSH, SYN};

use crate::tcp::connect;
use crate::world::scene::*;
use crate::world::{Endpoint, Host, World};

const DNS: Endpoint = (SERVER.address, 53);
const WWW: Endpoint = (SERVER.address, 443);

/// Flows of both tenants that a change may or may not concern.
struct Flows {
    red: [Endpoint; 3],
    blue: [Endpoint; 3],
}

impl Flows {
    fn begin(world: &mut World) -> Self {
        let mut open = |host: Host, via| {
            let datagram = world.one(host.udp(4_000, DNS, b"")).source();
            let ping = world.one(host.ping(4_000, SERVER.address)).source();
            let server = SERVER.through(via);
            let segment = world.one(host.tcp(4_000, WWW, SYN)).source();
            world.one(server.tcp(443, segment, SYN | ACK));
            world.one(host.tcp(4_000, WWW, ACK));
            [datagram, ping, segment]
        };
        Self { red: open(RED_A, RED_EXT), blue: open(BLUE_A, BLUE_EXT) }
    }

    #[track_caller]
    fn go_on(world: &mut World, host: Host, server: Host, externals: [Endpoint; 3]) {
        let [datagram, ping, segment] = externals;
        assert_eq!(world.one(host.udp(4_000, DNS, b"")).source(), datagram);
        assert_eq!(world.one(host.ping(4_000, SERVER.address)).source(), ping);
        assert_eq!(world.one(host.tcp(4_000, WWW, PSH | ACK)).source(), segment);
        for answer in
            [server.udp(53, datagram, b""), server.pong(ping.1, ping.0), server.tcp(443, segment, ACK)]
        {
            let heard = world.one(answer);
            assert_eq!((heard.wire, heard.destination()), (host.wire, (host.address, 4_000)));
        }
    }

    #[track_caller]
    fn red_goes_on(&self, world: &mut World) {
        Self::go_on(world, RED_A, SERVER, self.red);
    }

    #[track_caller]
    fn blue_goes_on(&self, world: &mut World) {
        Self::go_on(world, BLUE_A, SERVER.through(BLUE_EXT), self.blue);
    }
}

#[test]
fn a_moved_floating_ip_leads_no_packet_to_its_old_host() {
    let mut world = scene();
    let flows = Flows::begin(&mut world);
    assert_eq!(world.one(SERVER.tcp(1, (WEB, 80), SYN)).link_destination(), RED_WEB.mac);
    world.adopt(&rules_with(&[("internal: 10.0.0.50", "internal: 10.0.0.12")]));
    for packet in [SERVER.tcp(1, (WEB, 80), SYN), SERVER.udp(1, (WEB, 80), b""), SERVER.ping(1, WEB)] {
        assert_eq!(world.one(packet).link_destination(), RED_B.mac);
    }
    assert_eq!(world.one(RED_B.udp(1, DNS, b"")).source(), (WEB, 1));
    assert_eq!(world.one(RED_WEB.udp(1, DNS, b"")).source().0, RED_POOL, "its old host is behind SNAT now");
    flows.red_goes_on(&mut world);
    flows.blue_goes_on(&mut world);
    assert_eq!(world.count(|counters| &counters.sessions_closed), 0);
}

#[test]
fn a_packet_that_waited_is_judged_by_the_rules_it_leaves_under() {
    let mut world = scene();
    world.silence(RED_WEB);
    assert_eq!(world.send(SERVER.udp(1, (WEB, 80), b"")), []);
    world.adopt(&rules_with(&[("internal: 10.0.0.50", "internal: 10.0.0.12")]));
    world.unsilence(RED_WEB);
    let heard = world.pass(1_100);
    assert_eq!(heard.iter().map(|packet| packet.link_destination()).collect::<Vec<_>>(), [RED_B.mac]);
}

#[test]
fn a_host_that_gains_a_floating_ip_is_reached_by_none_of_its_sessions() {
    let mut world = scene();
    let flows = Flows::begin(&mut world);
    world.adopt(&rules_with(&[("internal: 10.0.0.50", "internal: 10.0.0.11")]));
    assert_eq!(world.one(RED_A.udp(4_000, DNS, b"")).source(), (WEB, 4_000));
    let [datagram, ping, segment] = flows.red;
    world.drops(SERVER.udp(53, datagram, b""), DropReason::NoMapping);
    world.drops(SERVER.pong(ping.1, ping.0), DropReason::NoMapping);
    world.drops(SERVER.tcp(443, segment, ACK), DropReason::NoMapping);
    // The connection's port rests.
    assert_eq!(world.count(|counters| &counters.sessions_closed), 2);
    flows.blue_goes_on(&mut world);
}

#[test]
fn a_host_that_loses_its_floating_ip_goes_behind_snat() {
    let mut world = scene();
    world.one(RED_WEB.udp(1, DNS, b""));
    world.adopt(&rules_with(&[("      - {id: web, external: 203.0.113.50, internal: 10.0.0.50}\n", "")]));
    assert_eq!(world.one(RED_WEB.udp(1, DNS, b"")).source().0, RED_POOL);
    world.drops(SERVER.udp(1, (WEB, 80), b""), DropReason::NotForUs);
}

#[test]
fn an_address_that_leaves_its_pool_takes_its_sessions_along() {
    let mut world = scene();
    let flows = Flows::begin(&mut world);
    assert_eq!(world.ports_used(RED_POOL), 3);
    world.adopt(&rules_with(&[("addresses: [203.0.113.10]", "addresses: [203.0.113.11]")]));
    let new = "203.0.113.11".parse().unwrap();
    // Each on its next packet: datagrams and queries begin anew from another address, a connection cannot.
    assert_eq!(world.one(RED_A.udp(4_000, DNS, b"")).source().0, new);
    assert_eq!(world.one(RED_A.ping(4_000, SERVER.address)).source().0, new);
    world.drops(RED_A.tcp(4_000, WWW, PSH | ACK), DropReason::NotSyn);
    // Its port rests, until its host needs no more of it.
    assert_eq!(world.ports_used(RED_POOL), 1);
    connect(&mut world, RED_A, 4_000, WWW);
    assert_eq!((world.ports_used(RED_POOL), world.ports_used(new)), (0, 3));
    // What still comes to the old address is no longer for us.
    world.drops(SERVER.udp(53, flows.red[0], b""), DropReason::NotForUs);
    flows.blue_goes_on(&mut world);
}

#[test]
fn a_host_moved_to_another_address_stays_there_whatever_becomes_of_its_old_sessions() {
    let mut world = scene();
    (0..5).for_each(|port| _ = connect(&mut world, RED_A, 5_000 + port, WWW));
    world.adopt(&rules_with(&[("addresses: [203.0.113.10]", "addresses: [203.0.113.11-203.0.113.18]")]));
    let address = world.one(RED_A.tcp(1, WWW, SYN)).source().0;
    // The old ones end one after the other, of which nothing more is heard.
    for port in 2..10 {
        world.pass(29_000);
        assert_eq!(world.one(RED_A.tcp(port, WWW, SYN)).source().0, address);
    }
    world.pass(3_600_000);
    assert_eq!(world.occupancy().hosts, 0);
}

#[test]
fn a_narrower_range_of_ports_closes_what_is_outside() {
    let mut world =
        scene_with(&[("addresses: [203.0.113.10]", "addresses: [203.0.113.10], ports: 2000-2001")]);
    let (one, two) =
        (world.one(RED_A.udp(1, DNS, b"")).source().1, world.one(RED_A.udp(2, DNS, b"")).source().1);
    assert_eq!(one.min(two), 2000);
    let (kept, lost) = if one == 2001 { (1, 2) } else { (2, 1) };
    world.adopt(&rules_with(&[("addresses: [203.0.113.10]", "addresses: [203.0.113.10], ports: 2001-2002")]));
    assert_eq!(world.one(RED_A.udp(kept, DNS, b"")).source().1, 2001);
    assert_eq!(world.one(RED_A.udp(lost, DNS, b"")).source().1, 2002);
    world.drops(SERVER.udp(53, (RED_POOL, 2000), b""), DropReason::NoMapping);
    assert_eq!(world.ports_used(RED_POOL), 2);
}

#[test]
fn a_change_elsewhere_leaves_a_routers_flows_alone() {
    let changes: [(&str, &str); 5] = [
        ("external: 203.0.113.60, internal: 10.0.0.50", "external: 203.0.113.61, internal: 10.0.0.50"),
        ("addresses: [203.0.113.20]", "addresses: [203.0.113.21]"),
        ("  - id: red\n", "  - id: red\n    name: renamed\n    revision: 7\n"),
        ("  - {id: blue-lan, port: in0, vlan: 200}", "  - {id: blue-lan, port: in0, vlan: 201}"),
        (
            "    gateways: [{interface: ext, next_hop: 203.0.113.1, pool: blue}]",
            "    admin_up: false\n    gateways: [{interface: ext, next_hop: 203.0.113.1, pool: blue}]",
        ),
    ];
    for (from, to) in changes {
        let mut world = scene();
        let flows = Flows::begin(&mut world);
        world.adopt(&rules_with(&[(from, to)]));
        flows.red_goes_on(&mut world);
        assert_eq!(world.count(|counters| &counters.sessions_created), 6, "{to}");
        assert_eq!(world.count(|counters| &counters.sessions_closed), 0, "{to}");
    }
}

#[test]
fn a_change_that_does_not_concern_a_flow_leaves_it_alone() {
    let changes: [(&str, &str); 4] = [
        ("internal: 10.0.0.51", "internal: 10.0.0.52"),
        ("addresses: [203.0.113.10]", "addresses: [203.0.113.10, 203.0.113.12]"),
        ("no_nat: [192.0.2.0/24]", "no_nat: [192.0.2.0/25]"),
        ("addresses: [10.0.1.1/24]}", "addresses: [10.0.1.1/24], snat: false}"),
    ];
    for (from, to) in changes {
        let mut world = scene();
        let flows = Flows::begin(&mut world);
        world.adopt(&rules_with(&[(from, to)]));
        flows.red_goes_on(&mut world);
        assert_eq!(world.count(|counters| &counters.sessions_closed), 0, "{to}");
    }
}

#[test]
fn what_is_now_exempt_or_no_longer_translated_ends() {
    let changes: [(&str, &str); 3] = [
        ("no_nat: [192.0.2.0/24]", "no_nat: [198.51.100.0/24]"),
        ("addresses: [10.0.0.1/24]}", "addresses: [10.0.0.1/24], snat: false}"),
        ("pool: red}", "snat: false}"),
    ];
    for (from, to) in changes {
        let mut world = scene();
        let flows = Flows::begin(&mut world);
        // The pool stays ours through the other tenant, so that what comes back comes here.
        let shared = rules_with(&[(from, to), ("pool: blue}", "pool: red}")]);
        world.adopt(&shared);
        let via = world.who_has(ISP, RED_POOL).unwrap();
        let server = SERVER.through(via);
        let [datagram, ping, segment] = flows.red;
        world.drops(server.udp(53, datagram, b""), DropReason::NoMapping);
        world.drops(server.pong(ping.1, ping.0), DropReason::NoMapping);
        world.drops(server.tcp(443, segment, ACK), DropReason::NoMapping);
        assert_eq!(world.count(|counters| &counters.sessions_closed), 2, "{to}");
        world.pass(121_000);
        world.drops(server.tcp(443, segment, ACK), DropReason::NoMapping);
        assert_eq!(world.ports_used(RED_POOL), 0, "{to}");
    }
}

#[test]
fn a_router_made_again_under_its_old_name_inherits_nothing() {
    let (before, red) = RULES.split_once("  - id: red\n    interfaces").unwrap();
    let (_, blue) = red.split_once("  - id: blue\n    interfaces").unwrap();
    let without_red = format!("{before}  - id: blue\n    interfaces{blue}");
    // The other tenant has the pool meanwhile, and the same hosts.
    let heir = without_red.replace("pool: blue}", "pool: red}");

    let mut world = scene();
    let flows = Flows::begin(&mut world);
    world.adopt(&heir);
    let server = SERVER.through(BLUE_EXT);
    world.drops(RED_A.udp(4_000, DNS, b""), DropReason::WrongMac);
    world.drops(server.udp(53, flows.red[0], b""), DropReason::NoMapping);
    // The second is not even asked while red is away.
    world.adopt(RULES);
    world.drops(SERVER.tcp(443, flows.red[2], ACK), DropReason::NoMapping);
    world.drops(SERVER.pong(flows.red[1].1, flows.red[1].0), DropReason::NoMapping);
    world.drops(RED_A.tcp(4_000, WWW, PSH | ACK), DropReason::NotSyn);
    assert_eq!(world.one(RED_A.udp(4_000, DNS, b"")).source().0, RED_POOL);
    world.pass(3_600_000 + 61_000);
    assert_eq!((world.ports_used(RED_POOL), world.ports_used(BLUE_POOL)), (0, 0));
    assert_eq!(world.occupancy().hosts, 0);
}

#[test]
fn changed_timers_count_from_the_next_packet() {
    let mut world = scene();
    let flows = Flows::begin(&mut world);
    world.one(SERVER.udp(53, flows.red[0], b""));
    let timeouts = "pool: red}]\n    timeouts: {tcp_established_s: 25, icmp_s: 15, by_port: [{protocol: udp, ports: \"53\", established_s: 20}]}";
    world.adopt(&rules_with(&[("pool: red}]", timeouts)]));
    flows.red_goes_on(&mut world);
    let red = |world: &World| world.sessions().iter().filter(|one| one.external.address == RED_POOL).count();
    for (ms, left) in [(14_999, 3), (1, 2), (4_999, 2), (1, 1), (4_999, 1), (1, 0)] {
        world.pass(ms);
        assert_eq!(red(&world), left);
    }
    // Longer ones as well.
    let mut world = scene();
    world.one(RED_A.udp(4_000, DNS, b""));
    world.adopt(&rules_with(&[(
        "pool: red}]",
        "pool: red}]\n    timeouts: {by_port: [{protocol: udp, ports: \"53\", initial_s: 100}]}",
    )]));
    world.pass(99_999);
    assert_eq!(world.sessions().len(), 1);
    world.pass(1);
    assert_eq!(world.sessions().len(), 0);
}

/// A UDP stream between red and the server, and rules by which it may stay silent for 20 s.
fn stream_and_shorter_timers() -> (World, Endpoint, String) {
    let mut world = scene();
    let external = world.one(RED_A.udp(4_000, WWW, b"")).source();
    world.one(SERVER.udp(WWW.1, external, b""));
    (world, external, rules_with(&[("pool: red}]", "pool: red}]\n    timeouts: {udp_stream_s: 20}")]))
}

#[test]
fn a_session_that_is_over_by_other_timers_lets_nothing_in() {
    let (mut world, external, rules) = stream_and_shorter_timers();
    world.pass(20_000);
    world.adopt(&rules);
    world.drops(SERVER.udp(WWW.1, external, b""), DropReason::NoMapping);
    assert_eq!(world.sessions().len(), 0);
    // For the host inside it begins anew.
    assert_eq!(world.one(RED_A.udp(4_000, WWW, b"")).source(), external);
    assert_eq!(world.session().phase.name(), "initial");
    // A millisecond before, it goes on.
    let (mut world, external, rules) = stream_and_shorter_timers();
    world.pass(19_999);
    world.adopt(&rules);
    world.one(SERVER.udp(WWW.1, external, b""));
    for (ms, left) in [(19_999, 1), (1, 0)] {
        world.pass(ms);
        assert_eq!(world.sessions().len(), left);
    }
}

/// An error reads the session of what it quotes, and is none of its packets.
#[test]
fn an_error_does_not_hide_from_other_timers() {
    let (mut world, external, rules) = stream_and_shorter_timers();
    let sent = world.one(RED_A.udp(4_000, WWW, b""));
    world.adopt(&rules);
    world.one(SERVER.error(external.0, (3, 3, 0), &sent, 8));
    world.pass(20_000);
    world.drops(SERVER.udp(WWW.1, external, b""), DropReason::NoMapping);
}

/// A mapping whose address left the pool while its session was silent is another's when the address comes back.
#[test]
fn an_address_that_comes_back_brings_no_old_owner() {
    let rules = |addresses: &str| {
        let pool = format!("addresses: [{addresses}], ports: 2000-2000");
        rules_with(&[("addresses: [203.0.113.10]", &pool), ("pool: blue}", "pool: red}")])
    };
    let mut world = World::new(&rules("203.0.113.10"), &HOSTS);
    let taken = world.one(RED_A.udp(4_000, DNS, b"")).source();
    assert_eq!(taken, (RED_POOL, 2000));
    world.adopt(&rules("203.0.113.11"));
    let new = world.one(RED_A.udp(4_000, (OTHER.address, 1), b"")).source();
    world.adopt(&rules("203.0.113.10, 203.0.113.11"));
    // Some host of blue's is paired with the address that came back.
    let heir = (100..120).map(blue).find(|heir| {
        world.add(*heir);
        let heard = world.send(heir.udp(1, (OTHER.address, 1), b""));
        heard[0].wire == INTERNET && heard[0].source() == taken
    });
    let heir = heir.expect("one of twenty hosts has it");
    let via = world.who_has(ISP, RED_POOL).unwrap();
    world.drops(SERVER.through(via).udp(53, taken, b"for red?"), DropReason::Filtered);
    assert_eq!(world.one(RED_A.udp(4_000, DNS, b"")).source(), new, "red speaks from one endpoint");
    world.one(heir.udp(1, DNS, b""));
    let heard = world.one(SERVER.through(via).udp(53, taken, b"for blue"));
    assert_eq!((heard.wire, heard.destination()), (BLUE_LAN_WIRE, (heir.address, 1)));
}

/// A flow that is refused meanwhile is no reason to leave an address that a session still has.
//= rfc4787#REQ-2
#[test]
fn an_address_that_comes_back_is_its_hosts_again() {
    for pairing in ["strict", "soft"] {
        let rules = |addresses: &str| {
            let pool = format!("addresses: [{addresses}], ports: 2000-2000, pairing: {pairing}");
            rules_with(&[("addresses: [203.0.113.10]", &pool)])
        };
        let both = rules("203.0.113.10, 203.0.113.11");
        let mut world = World::new(&both, &HOSTS);
        let (own, _) = world.one(RED_A.udp(4_000, DNS, b"")).source();
        world.add(red(100));
        let (other, _) = world.one(red(100).udp(4_000, WWW, b"")).source();
        assert_ne!(own, other);
        world.adopt(&rules(&other.to_string()));
        world.refuses(RED_A.udp(4_001, WWW, b""), DropReason::PortExhausted);
        world.adopt(&both);
        assert_eq!(world.one(RED_A.ping(4_001, SERVER.address)).source().0, own, "{pairing}");
        assert_eq!(world.one(RED_A.udp(4_000, DNS, b"")).source().0, own, "{pairing}");
    }
}
