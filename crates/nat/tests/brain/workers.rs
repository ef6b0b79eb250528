//! Several workers over one state: what each may do in place, what only the owner does, and that nobody outside can tell.

use nat::{DropReason, Phase};
use packet::tcp::{ACK, FIN, PSH, RST, SYN};

use crate::exchange::{EXCHANGES, play};
use crate::tcp::connect;
use crate::world::scene::*;
use crate::world::{Endpoint, Entrance, Packet, Random, Setup, TeamSetup, World, index};

const DNS: Endpoint = (SERVER.address, 53);
const WWW: Endpoint = (SERVER.address, 443);

/// A scene in which all frames come in at one of so many workers. The neighbours that most tests need are known.
fn scene_at(worker: usize, workers: usize) -> World {
    scene_of(TeamSetup { entrance: Entrance::At(worker), ..Setup::of_workers(workers).team }, &[])
}

fn scene_of(team: TeamSetup, changes: Changes) -> World {
    let mut world = scene_on(Setup { team, ..Setup::default() }, changes);
    world.who_has(RED_A, RED_GATEWAY);
    world.who_has(ISP, RED_EXTERNAL);
    world
}

/// What happens at each of two workers: one of them is not the owner. Says how many frames each handed on.
fn at_either(mut act: impl FnMut(&mut World) -> u64) {
    let handed = [0, 1].map(|worker| act(&mut scene_at(worker, 2)));
    assert!(handed[0] == 0 || handed[1] == 0, "one is the owner of all there is: {handed:?}");
    assert_ne!(handed[0], handed[1], "and the other is not");
}

/// How many frames were handed on meanwhile.
fn handed_by(world: &mut World, act: impl FnOnce(&mut World)) -> u64 {
    let before = world.books().handed_out;
    act(world);
    world.books().handed_out - before
}

#[test]
fn the_answers_are_the_same_whatever_the_number_of_workers() {
    let mut worlds = [1, 2, 4].map(|workers| scene_on(Setup::of_workers(workers), &[]));
    let mut random = Random::new(11);
    let mut said: Vec<Packet> = Vec::new();
    for _ in 0..4_000 {
        let number = 100 + random.below(20) as u8;
        let host = if random.below(2) == 0 { red(number) } else { blue(number) };
        let port = 4_000 + random.below(50) as u16;
        let packet = match random.below(10) {
            0..3 => host.udp(port, random.one_of(&[DNS, (WEB, 80), (OFFICE.address, 1)]), b"who?"),
            3..5 => host.tcp(port, WWW, random.one_of(&[SYN, SYN, ACK, PSH | ACK, FIN | ACK, RST])),
            5 => host.ping(port, SERVER.address),
            6 => SERVER.udp(port, (WEB, 80), b"who?"),
            _ if said.is_empty() => continue,
            7 => host.udp(port, said[random.below(said.len())].source(), b"we meet"),
            _ => {
                let asked = &said[random.below(said.len())];
                SERVER.through(worlds[0].mac_of(asked.source().0)).udp(53, asked.source(), b"me")
            }
        };
        let heard = worlds.each_mut().map(|world| {
            world.add(host);
            world.send(packet.clone())
        });
        assert_eq!(heard[0], heard[1], "two workers, {packet:?}");
        assert_eq!(heard[0], heard[2], "four workers, {packet:?}");
        let ours = |packet: &&Packet| packet.wire == INTERNET && packet.source().0.octets()[3] < 30;
        said.extend(heard[0].iter().filter(ours).cloned());
        let ms = random.one_of(&[0, 0, 0, 1, 50, 700]);
        worlds.iter_mut().for_each(|world| assert_eq!(world.pass(ms), []));
    }
    let drops = worlds.each_ref().map(|world| DropReason::ALL.map(|reason| world.dropped(reason)));
    assert_eq!(drops[0], drops[1]);
    assert_eq!(drops[0], drops[2]);
    assert_eq!(worlds[0].occupancy(), worlds[2].occupancy());
    assert!(worlds[2].books().handed_out > 1_000);
}

#[test]
fn only_its_owner_opens_and_closes_a_session() {
    let mut world = scene_on(Setup::of_workers(3), &[]);
    for port in 0..200 {
        let host = red(100 + (port % 40) as u8);
        world.add(host);
        play(&mut world, &EXCHANGES[usize::from(port) % 3], host, SERVER, port);
    }
    let mut open = [0; 3];
    for (worker, open) in open.iter_mut().enumerate() {
        // A gateway lists the sessions of its own shards.
        let mut from = Some(0);
        while let Some(slot) = from {
            from = world.team.gateways[worker].list_sessions(slot, 1_000, world.now, |_| *open += 1);
        }
        let counters = world.team.state.counters(index(worker));
        assert_eq!(counters.sessions_created.get() - counters.sessions_closed.get(), *open);
        assert!(*open > 20, "worker {worker} has some");
    }
    assert_eq!(open.iter().sum::<u64>(), 200);
    world.pass(200_000);
    for worker in 0..3 {
        let counters = world.team.state.counters(index(worker));
        assert_eq!(counters.sessions_created.get(), counters.sessions_closed.get());
    }
}

#[test]
fn an_established_flow_is_carried_where_it_comes_in() {
    at_either(|world| {
        let external = connect(world, RED_A, 4_000, WWW);
        let datagram = world.one(RED_A.udp(4_000, DNS, b"")).source();
        world.one(SERVER.udp(53, datagram, b""));
        let before = world.count(|counters| &counters.translated_for_others);
        let handed = handed_by(world, |world| {
            for _ in 0..10 {
                world.one(RED_A.tcp(4_000, WWW, PSH | ACK));
                world.one(SERVER.tcp(443, external, PSH | ACK));
                world.one(RED_A.udp(4_000, DNS, b""));
                world.one(SERVER.udp(53, datagram, b""));
                // Of an error nothing is noted: it is translated where it is.
                let seen = SERVER.peer(datagram.0).udp(datagram.1, DNS, b"");
                world.one(SERVER.error(datagram.0, (3, 3, 0), &seen, 8));
            }
        });
        assert_eq!(handed, 0);
        let session = world.sessions().into_iter().find(|one| one.protocol.0 == 6).unwrap();
        assert_eq!((session.phase, session.packets), (Phase::TcpEstablished, [12, 11]));
        world.count(|counters| &counters.translated_for_others) - before
    });
}

#[test]
fn what_ends_a_connection_shortens_its_time_wherever_it_comes_in() {
    let ends: [(&[u8], Phase, u64); 3] = [
        (&[FIN | ACK], Phase::TcpClosing, 120),
        (&[FIN | ACK, FIN | ACK], Phase::TcpTimeWait, 30),
        (&[RST], Phase::TcpReset, 10),
    ];
    for (flags, phase, seconds) in ends {
        at_either(|world| {
            let external = connect(world, RED_A, 4_000, WWW);
            let handed = handed_by(world, |world| {
                world.one(RED_A.tcp(4_000, WWW, flags[0]));
                for answer in &flags[1..] {
                    world.one(SERVER.tcp(443, external, *answer));
                }
            });
            // Said again it changes nothing, and needs nobody.
            let again = handed_by(world, |world| _ = world.one(RED_A.tcp(4_000, WWW, flags[0])));
            assert_eq!((again, world.session().phase), (0, phase));
            world.pass(seconds * 1_000 - 1);
            assert_eq!(world.sessions().len(), 1, "{phase:?}");
            world.pass(1);
            assert_eq!(world.sessions().len(), 0, "{phase:?}");
            handed
        });
    }
}

#[test]
fn a_change_of_rules_is_judged_where_the_next_packet_comes_in_and_only_an_end_is_the_owners() {
    at_either(|world| {
        let external = connect(world, RED_A, 4_000, WWW);
        world.adopt(&rules_with(&[("internal: 10.0.0.51", "internal: 10.0.0.52")]));
        let before = world.count(|counters| &counters.translated_for_others);
        let handed = handed_by(world, |world| {
            world.one(RED_A.tcp(4_000, WWW, PSH | ACK));
            world.one(SERVER.tcp(443, external, PSH | ACK));
        });
        assert_eq!((handed, world.count(|counters| &counters.sessions_closed)), (0, 0));
        world.count(|counters| &counters.translated_for_others) - before
    });
    at_either(|world| {
        connect(world, RED_A, 4_000, WWW);
        world.adopt(&rules_with(&[("internal: 10.0.0.50", "internal: 10.0.0.11")]));
        world.one(RED_A.tcp(4_000, WWW, PSH | ACK));
        assert_eq!(world.sessions().len(), 1, "it goes under its floating IP, and the session is not asked");
        world.adopt(&rules_with(&[("pool: red}", "snat: false}"), ("pool: blue}", "pool: red}")]));
        let via = world.mac_of(RED_POOL);
        let port = world.session().external.port;
        handed_by(world, |world| {
            world.drops(SERVER.through(via).tcp(443, (RED_POOL, port), ACK), DropReason::NoMapping);
            assert_eq!(world.sessions().len(), 1, "its port rests");
        })
    });
}

#[test]
fn a_mapping_lets_in_what_it_permits_wherever_that_comes_in() {
    at_either(|world| {
        let external = world.one(RED_A.udp(4_000, DNS, b"")).source();
        let connection = connect(world, RED_A, 4_000, WWW);
        handed_by(world, |world| {
            let heard = world.one(SERVER.udp(54, external, b"from another port"));
            assert_eq!(heard.destination(), (RED_A.address, 4_000));
            world.drops(OTHER.udp(54, external, b"from another host"), DropReason::Filtered);
            // Nothing opens by a port that is no mapping's, and what has no port has no owner: nobody is asked.
            let handed = handed_by(world, |world| {
                world.drops(OTHER.tcp(443, connection, SYN), DropReason::NoMapping);
                world.drops(SERVER.udp(54, (RED_POOL, external.1 ^ 1), b""), DropReason::NoMapping);
            });
            assert_eq!((handed, world.sessions().len()), (0, 3));
        })
    });
}

#[test]
fn hosts_of_different_owners_meet_at_a_worker_that_owns_neither() {
    let mut across = 0;
    for worker in 0..4 {
        let mut world = scene_at(worker, 4);
        for number in 100..110 {
            let (one, two) = (red(number), blue(number));
            world.add(one);
            world.add(two);
            let first = world.one(one.udp(4_000, DNS, b"")).source();
            let second = world.one(two.udp(5_000, DNS, b"")).source();
            world.drops(one.udp(4_000, second, b"1"), DropReason::Filtered);
            let heard = world.one(two.udp(5_000, first, b"2"));
            assert_eq!(heard, one.peer(second.0).udp(second.1, (one.address, 4_000), b"2").hop());
            let heard = world.one(one.udp(4_000, second, b"3"));
            assert_eq!(heard, two.peer(first.0).udp(first.1, (two.address, 5_000), b"3").hop());
            // From now on nobody else is needed.
            let handed = handed_by(&mut world, |world| {
                world.one(two.udp(5_000, first, b"4"));
                world.one(one.udp(4_000, second, b"5"));
            });
            assert_eq!(handed, 0);
        }
        across += world.count(|counters| &counters.hairpins_across_shards);
        for session in world.sessions() {
            // One out for each direction and remote; a frame that was filtered is not counted.
            assert!(session.packets[0] <= 3 && session.packets[1] <= 3, "{session:?}");
        }
    }
    assert!(across > 40, "{across}");
}

/// Two sessions with two owners, and a segment that shortens the time of both.
#[test]
fn a_hairpinned_connection_ends_at_both_its_owners() {
    let rules: Changes = &[
        ("addresses: [203.0.113.10]", "addresses: [203.0.113.10], ports: 2000-2000"),
        ("addresses: [203.0.113.20]", "addresses: [203.0.113.20], ports: 2000-2000"),
    ];
    for worker in 0..4 {
        for number in 100..110 {
            let team = TeamSetup { entrance: Entrance::At(worker), ..Setup::of_workers(4).team };
            let mut world = scene_of(team, rules);
            let (one, two) = (red(number), blue(number));
            world.add(one);
            world.add(two);
            let (first, second) = ((RED_POOL, 2000), (BLUE_POOL, 2000));
            // Both open at once, each to where the other will be (RFC 5382 REQ-2).
            world.drops(one.tcp(4_000, second, SYN), DropReason::NoMapping);
            world.one(two.tcp(5_000, first, SYN));
            world.one(one.tcp(4_000, second, SYN | ACK));
            world.one(two.tcp(5_000, first, ACK));
            world.one(one.tcp(4_000, second, RST));
            let phases: Vec<_> = world.sessions().iter().map(|session| session.phase).collect();
            assert_eq!(phases, [Phase::TcpReset, Phase::TcpReset]);
            for session in world.sessions() {
                assert_eq!(session.packets.iter().sum::<u64>(), 4, "each is counted once: {session:?}");
            }
            world.pass(9_999);
            assert_eq!(world.sessions().len(), 2);
            world.pass(1);
            assert_eq!(world.sessions().len(), 0);
        }
    }
}

#[test]
fn what_finds_no_room_in_a_ring_is_dropped_for_that_and_its_flow_goes_on() {
    let mut dropped = 0;
    for worker in 0..2 {
        let team = Setup::of_workers(2).team;
        let mut world =
            scene_of(TeamSetup { entrance: Entrance::At(worker), ring_frames_max: 3, ..team }, &[]);
        // The other worker is kept from its turns.
        for port in 0..40 {
            world.enter(RED_A.udp(port, DNS, b"1"));
            world.turn(worker, &mut Vec::new());
        }
        let refused = world.dropped(DropReason::HandOffRingFull);
        dropped += refused;
        world.settled();
        for port in 0..40 {
            world.one(RED_A.udp(port, DNS, b"2"));
        }
        let again = |world: &mut World| (0..40).for_each(|port| _ = world.one(RED_A.udp(port, DNS, b"3")));
        assert_eq!(handed_by(&mut world, again), 0);
        assert_eq!(world.dropped(DropReason::HandOffRingFull), refused);
    }
    assert_eq!(dropped, 37, "one of the two is not the owner");
}

/// A worker that hangs in a driver has a full ring and open cells, which other flows share.
#[test]
fn a_worker_that_has_stopped_costs_the_flows_of_others_a_second_and_no_more() {
    const FLOWS: u16 = 400;
    let team = Setup::of_workers(2).team;
    let mut world = scene_of(TeamSetup { entrance: Entrance::At(0), ring_frames_max: 1_024, ..team }, &[]);
    for port in 0..FLOWS {
        world.one(RED_A.udp(port, DNS, b""));
    }
    // From here on worker 0 turns alone.
    for number in 0..4_000 {
        let host = red(100 + (number % 100) as u8);
        world.enter(host.udp(number, DNS, b""));
        world.turn(0, &mut Vec::new());
    }
    let carried = |world: &mut World, after_ms| {
        world.now = world.now + after_ms;
        world.team.gateways[0].tick(world.now, &mut world.team.ports[0]);
        world.heard();
        for port in 0..FLOWS {
            world.enter(RED_A.udp(port, DNS, b""));
            world.turn(0, &mut Vec::new());
        }
        world.heard().len() as u16
    };
    let at_once = carried(&mut world, 1);
    assert!((FLOWS / 2..FLOWS).contains(&at_once), "{at_once} of {FLOWS}: some follow into the full ring");
    assert_eq!(carried(&mut world, 1_100), FLOWS, "nobody follows to a worker that has stopped");
}

/// While they adopt rules at different moments, workers know a host's router by different numbers, and may each hold the
/// other to be its owner.
#[test]
fn a_frame_that_two_workers_hold_to_be_each_others_is_dropped_in_the_end() {
    let mut world = scene_at(0, 2);
    let hosts: Vec<_> = (100..164).map(red).collect();
    hosts.iter().for_each(|host| world.add(*host));
    world.one(RED_A.udp(1, DNS, b""));
    let before =
        world.publish(&rules_with(&[("  - id: red\n    interfaces", "  - id: crimson\n    interfaces")]));
    world.adopt_at(0, &before);
    let mut astray = 0;
    for host in &hosts {
        let handed = world.books().handed_out;
        let (drops, heard) = world.observe(|world| world.send(host.udp(4_000, DNS, b"")));
        match drops.as_slice() {
            [] => assert_eq!(heard.len(), 1),
            [DropReason::HandOffAstray] => {
                assert_eq!(world.books().handed_out - handed, 6, "as often as it may be handed on");
                astray += 1;
            }
            drops => panic!("{drops:?}"),
        }
    }
    assert!((8..32).contains(&astray), "{astray} of 64, where a quarter is to be expected");
    world.adopt_at(1, &before);
    hosts.iter().for_each(|host| _ = world.one(host.udp(4_000, DNS, b"")));
}

#[test]
fn a_full_shard_refuses_its_hosts_and_no_others() {
    let mut world =
        scene_on(Setup { sessions_max: 16, hosts_max: Some(64), shards: 2, ..Setup::default() }, &[]);
    let hosts: Vec<_> = (100..120).map(red).collect();
    hosts.iter().for_each(|host| world.add(*host));
    (0..8).for_each(|port| _ = world.one(hosts[0].tcp(port, WWW, SYN)));
    let error = world.refuses(hosts[0].tcp(8, WWW, SYN), DropReason::ShardFull);
    assert_eq!(error.icmp(), (3, 1, 0));
    let mut others = 0;
    for host in &hosts[1..] {
        let (drops, _) = world.observe(|world| world.send(host.tcp(1, WWW, SYN)));
        match drops.as_slice() {
            [] => others += 1,
            [DropReason::ShardFull] => assert!(world.occupancy().sessions < 16),
            [DropReason::TableFull] => assert_eq!(world.occupancy().sessions, 16),
            drops => panic!("{drops:?}"),
        }
    }
    assert_eq!(others, 8);
}

#[test]
fn more_workers_than_shards_carry_what_fewer_do() {
    for workers in [5, 9, 32] {
        let mut world = scene_on(Setup::of_workers(workers), &[]);
        for port in 0..100 {
            for exchange in &EXCHANGES {
                play(&mut world, exchange, RED_A, SERVER, port);
            }
        }
        assert!(world.count(|counters| &counters.translated_for_others) > 100);
    }
}

#[test]
fn another_number_of_workers_goes_on_with_every_session() {
    let mut world = scene_on(Setup::of_workers(2), &[]);
    let externals: Vec<Endpoint> = (0..50).map(|port| connect(&mut world, RED_A, port, WWW)).collect();
    for workers in [1, 3, 2] {
        world.restart(workers);
        for (port, external) in (0..).zip(&externals) {
            let heard = world.one(SERVER.tcp(443, *external, PSH | ACK));
            assert_eq!(heard.destination(), (RED_A.address, port));
            assert_eq!(world.one(RED_A.tcp(port, WWW, PSH | ACK)).source(), *external);
        }
        assert_eq!(world.sessions().len(), 50);
        // And opens and ends new ones.
        connect(&mut world, RED_B, 4_000, WWW);
        world.one(RED_B.tcp(4_000, WWW, RST));
        world.pass(11_000);
        assert_eq!(world.sessions().len(), 50);
    }
}

#[test]
fn what_waits_when_the_workers_end_is_dropped_for_that() {
    let mut world = scene_on(Setup::of_workers(2), &[]);
    world.silence(RED_WEB);
    for port in 0..5 {
        assert_eq!(world.send(SERVER.udp(port, (WEB, 80), b"")), []);
    }
    world.restart(2);
    assert_eq!((world.dropped(DropReason::GatewayEnded), world.books().held), (5, 0));
    world.unsilence(RED_WEB);
    world.pass(1_100);
    world.one(SERVER.udp(1, (WEB, 80), b""));
}

/// Who asks, and where: a question has one answer, and one owner to remember it.
#[test]
fn a_neighbour_is_learnt_at_its_owner_wherever_it_is_heard() {
    for worker in 0..3 {
        let mut world = scene_at(worker, 3);
        for number in 100..130 {
            let host = red(number);
            world.add(host);
            world.silence(host);
            assert_eq!(world.who_has(host, RED_GATEWAY), Some(RED_LAN));
            // It answers nobody: that it is known it has from its own question.
            assert_eq!(world.one(RED_DB.udp(1, (host.address, 1), b"")).link_destination(), host.mac);
        }
        assert_eq!(world.occupancy().neighbours, 2 + 30);
    }
}
