//! Fragments of flows that are translated by their ports: each leaves as the fragment of the translated packet that it is
//! (RFC 4787 REQ-14), whatever order they come in, and whoever floods us with others (REQ-14a).

use std::net::Ipv4Addr;

use nat::DropReason;
use packet::tcp::{ACK, PSH, SYN};
use packet::{BURST_FRAMES_MAX, fragment, testing};

use crate::world::scene::*;
use crate::world::{Endpoint, Host, Packet, Setup, World};

/// Every order of three.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Bytes of payload in a fragment, and so that a datagram has three.
const PIECE: usize = 40;
const PAYLOAD: [u8; 90] = [0x5a; 90];

/// How a host says something long, by each protocol that ports translate.
#[derive(Clone, Copy)]
struct Speech {
    name: &'static str,
    remote_port: u16,
    /// Opens a flow; then each side says something long.
    open: fn(&mut World, Host, u16, Host, Endpoint) -> Endpoint,
    out: fn(Host, u16, Endpoint) -> Packet,
    back: fn(Host, u16, Endpoint) -> Packet,
}

const SPEECHES: [Speech; 3] = [
    Speech {
        name: "udp",
        remote_port: 53,
        open: |world, host, port, _, to| world.one(host.udp(port, to, b"")).source(),
        out: |host, port, to| host.udp(port, to, &PAYLOAD),
        back: |host, port, to| host.udp(port, to, &PAYLOAD),
    },
    Speech {
        name: "tcp",
        remote_port: 80,
        open: |world, host, port, server, to| {
            let external = world.one(host.tcp(port, to, SYN)).source();
            world.one(server.tcp(to.1, external, SYN | ACK));
            world.one(host.tcp(port, to, ACK));
            external
        },
        out: segment,
        back: segment,
    },
    Speech {
        name: "ping",
        remote_port: 0,
        open: |world, host, port, _, to| world.one(host.ping(port, to.0)).source(),
        out: |host, identifier, (to, _)| long_echo(8, host, identifier, to),
        back: |host, _, (to, identifier)| long_echo(0, host, identifier, to),
    },
];

fn segment(host: Host, port: u16, (to, to_port): Endpoint) -> Packet {
    let (from, to) = ((host.mac, host.address, port), (host.via, to, to_port));
    host.says(testing::tcp(from, to, host.wire.vlan, ACK | PSH, 1_001, 2_001, &PAYLOAD))
}

fn long_echo(icmp_type: u8, host: Host, identifier: u16, to: Ipv4Addr) -> Packet {
    let (from, to) = ((host.mac, host.address), (host.via, to));
    host.says(testing::echo(icmp_type, from, to, host.wire.vlan, identifier, 7, &PAYLOAD))
}

/// A packet's fragments.
fn cut(packet: &Packet, identification: u16) -> Vec<Packet> {
    let pieces = testing::fragments(&packet.bytes, identification, PIECE);
    pieces.into_iter().map(|bytes| Packet { wire: packet.wire, bytes }).collect()
}

fn identification(packet: &Packet) -> u16 {
    fragment::part(&packet.bytes, &packet.parsed()).identification
}

/// Where a fragment begins.
fn start(packet: &Packet) -> u16 {
    fragment::part(&packet.bytes, &packet.parsed()).start
}

/// Sends a packet's fragments in an order, and asserts that they leave as those of the packet that is expected: none before
/// the first has come, all when all have.
#[track_caller]
fn passes(world: &mut World, packet: &Packet, order: [usize; 3], first_delay_ms: u64, expected: &Packet) {
    let sent = cut(packet, 77);
    let mut heard = Vec::new();
    let mut has_first = false;
    for (count, index) in order.into_iter().enumerate() {
        if index == 0 {
            heard.extend(world.pass(first_delay_ms));
            has_first = true;
        }
        heard.extend(world.send(sent[index].clone()));
        assert_eq!(heard.len(), if has_first { count + 1 } else { 0 }, "{order:?}");
        assert_eq!(world.books().held, if has_first { 0 } else { count as u64 + 1 }, "{order:?}");
    }
    heard.sort_by_key(start);
    let given = identification(&heard[0]);
    assert_eq!(heard, cut(expected, given), "{order:?} of {packet:?}");
}

//= rfc4787#REQ-14
//= rfc4787#REQ-14a
#[test]
fn rfc4787_req14_fragments_pass_in_every_order_both_ways_and_the_first_may_be_late() {
    for speech in SPEECHES {
        let mut world = scene();
        let remote = (SERVER.address, speech.remote_port);
        let external = (speech.open)(&mut world, RED_A, 4_000, SERVER, remote);
        for (order, delay_ms) in ORDERS.into_iter().flat_map(|order| [0, 1_000].map(|delay| (order, delay))) {
            let out = (speech.out)(RED_A, 4_000, remote);
            let seen = (speech.out)(SERVER.peer(external.0), external.1, remote).hop();
            passes(&mut world, &out, order, delay_ms, &seen);

            let back = (speech.back)(SERVER, speech.remote_port, external);
            let host = (RED_A.address, 4_000);
            let heard = (speech.back)(RED_A.peer(SERVER.address), speech.remote_port, host).hop();
            passes(&mut world, &back, order, delay_ms, &heard);
        }
        assert_eq!(world.sessions().len(), 1, "{}", speech.name);
    }
}

//= rfc4787#REQ-14
//= rfc4787#REQ-9
#[test]
fn rfc4787_req14_fragments_pass_between_hosts_of_ours() {
    for order in ORDERS {
        // From behind SNAT to a floating IP and back, of another router too.
        for (asker, external) in [(RED_A, RED_POOL), (BLUE_A, BLUE_POOL)] {
            for speech in SPEECHES {
                let mut world = scene();
                let remote = (WEB, speech.remote_port);
                let external = {
                    let opened = (speech.open)(&mut world, asker, 4_000, RED_WEB, remote);
                    assert_eq!(opened.0, external);
                    opened
                };
                let to_web = (RED_WEB.address, speech.remote_port);
                let heard = (speech.out)(RED_WEB.peer(external.0), external.1, to_web).hop();
                passes(&mut world, &(speech.out)(asker, 4_000, remote), order, 0, &heard);
                let heard = (speech.back)(asker.peer(WEB), speech.remote_port, (asker.address, 4_000)).hop();
                passes(&mut world, &(speech.back)(RED_WEB, speech.remote_port, external), order, 0, &heard);
            }
        }
        // Between two behind SNAT.
        let mut world = scene();
        let first = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
        let second = world.one(BLUE_A.udp(5_000, (SERVER.address, 53), b"")).source();
        world.drops(RED_A.udp(4_000, second, b""), DropReason::Filtered);
        let heard = RED_A.peer(second.0).udp(second.1, (RED_A.address, 4_000), &PAYLOAD).hop();
        passes(&mut world, &BLUE_A.udp(5_000, first, &PAYLOAD), order, 0, &heard);
    }
}

//= rfc4787#REQ-14
#[test]
fn a_first_fragment_opens_a_session_as_a_packet_does() {
    for order in ORDERS {
        let mut world = scene();
        for (port, host, external) in
            [(4_000, RED_A, RED_POOL), (4_000, RED_B, RED_POOL), (9, BLUE_A, BLUE_POOL)]
        {
            let out = cut(&host.udp(port, (SERVER.address, 53), &PAYLOAD), 1);
            let mut seen: Vec<_> =
                order.into_iter().flat_map(|index| world.send(out[index].clone())).collect();
            seen.sort_by_key(start);
            let source = seen[0].source();
            assert_eq!(source.0, external);
            let via = if host == BLUE_A { BLUE_EXT } else { RED_EXT };
            let whole =
                SERVER.through(via).peer(external).udp(source.1, (SERVER.address, 53), &PAYLOAD).hop();
            assert_eq!(seen, cut(&whole, identification(&seen[0])));
        }
        assert_eq!(world.sessions().len(), 3);
    }
    // Of a query too; but not of a segment in the middle of a connection.
    let mut world = scene();
    let ping = cut(&long_echo(8, RED_A, 9, SERVER.address), 1);
    assert_eq!(ping.into_iter().map(|fragment| world.one(fragment)).count(), 3);
    let segment = cut(&segment(RED_A, 1, (SERVER.address, 80)), 2);
    for fragment in segment {
        world.drops(fragment, DropReason::NotSyn);
    }
    assert_eq!(world.sessions().len(), 1);
}

#[test]
fn fragments_that_a_session_does_not_allow_are_dropped_as_packets_are() {
    let mut world = scene();
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    let rows = [
        (OTHER.udp(53, external, &PAYLOAD), DropReason::Filtered),
        (OTHER.udp(53, (RED_POOL, external.1 ^ 1), &PAYLOAD), DropReason::NoMapping),
        (long_echo(0, OTHER, external.1, RED_POOL), DropReason::NoMapping),
        (RED_A.ipv4(51, SERVER.address, &PAYLOAD), DropReason::UnknownProtocol),
    ];
    for (packet, reason) in rows {
        for fragment in cut(&packet, 5) {
            world.drops(fragment, reason);
        }
    }
    // At its last hop: about the first, and no other, its source is told.
    let fragments = cut(&SERVER.udp(53, external, &PAYLOAD).with_ttl(1), 6);
    let error = world.refuses(fragments[0].clone(), DropReason::TtlExpired);
    assert_eq!(error.icmp(), (11, 0, 0));
    world.drops(fragments[1].clone(), DropReason::TtlExpired);
}

#[test]
fn those_that_waited_leave_in_the_order_they_came_behind_the_first() {
    let mut world = scene();
    world.one(RED_A.udp(4_000, (SERVER.address, 53), b""));
    let payload = [7; 400];
    let fragments = cut(&RED_A.udp(4_000, (SERVER.address, 53), &payload), 3);
    let order = [4, 2, 3, 9, 1, 0, 8, 5, 6, 7, 10];
    assert_eq!(order.len(), fragments.len());
    let heard: Vec<_> = order.into_iter().flat_map(|index| world.send(fragments[index].clone())).collect();
    let starts: Vec<_> = heard.iter().map(|fragment| usize::from(start(fragment)) / PIECE).collect();
    assert_eq!(starts, [0, 4, 2, 3, 9, 1, 8, 5, 6, 7, 10]);
}

#[test]
fn a_fragment_that_waits_in_vain_is_dropped_after_two_seconds() {
    let mut world = scene();
    world.one(RED_A.udp(4_000, (SERVER.address, 53), b""));
    let fragments = cut(&RED_A.udp(4_000, (SERVER.address, 53), &PAYLOAD), 3);
    assert_eq!(world.send(fragments[1].clone()), []);
    let (drops, _) = world.observe(|world| world.pass(1_900));
    assert_eq!((drops, world.books().held), (vec![], 1));
    let (drops, heard) = world.observe(|world| world.pass(200));
    assert_eq!((drops, heard, world.books().held), (vec![DropReason::FragmentOrphan], vec![], 0));
    // The datagram is forgotten: what comes now of it is of another.
    world.pass(1_000);
    world.one(fragments[0].clone());
    world.one(fragments[1].clone());
    world.one(fragments[2].clone());
}

#[test]
fn a_datagram_is_forgotten_when_it_is_complete() {
    let mut world = scene();
    world.one(RED_A.udp(4_000, (SERVER.address, 53), b""));
    // The same identification again and again, as of a host that has few.
    for _ in 0..3 {
        for fragment in cut(&RED_A.udp(4_000, (SERVER.address, 53), &PAYLOAD), 3) {
            world.one(fragment);
        }
    }
    // One that comes again before that is dropped alone.
    let fragments = cut(&RED_A.udp(4_000, (SERVER.address, 53), &PAYLOAD), 3);
    world.one(fragments[0].clone());
    world.one(fragments[1].clone());
    world.drops(fragments[0].clone(), DropReason::FragmentOverlap);
    world.drops(fragments[1].clone(), DropReason::FragmentOverlap);
    world.one(fragments[2].clone());
}

/// A fragment of these bytes of a datagram's 200, all of them known to come from `value`.
fn fragment_of(host: Host, bytes: std::ops::Range<usize>, is_last: bool, value: u8) -> Packet {
    let whole = host.udp(4_000, (SERVER.address, 53), &[value; 192]);
    let payload = whole.transport()[bytes.clone()].to_vec();
    host.ipv4(17, SERVER.address, &payload).change(|frame| {
        testing::with_header(frame, |header| {
            let flags = (bytes.start / 8) as u16 | if is_last { 0 } else { 0x2000 };
            header[4..6].copy_from_slice(&9_u16.to_be_bytes());
            header[6..8].copy_from_slice(&flags.to_be_bytes());
        })
    })
}

//= rfc1858#4
//= rfc5722#4
#[test]
fn a_fragment_over_part_of_another_ends_its_datagram() {
    let part = |bytes, is_last| fragment_of(RED_A, bytes, is_last, 1);
    // What comes first, what lies over it, and what would have come behind.
    let rows = [
        ("over its end", vec![part(0..64, false)], part(56..80, false), part(80..200, true)),
        (
            "over all of a later one",
            vec![part(0..64, false), part(80..96, false)],
            part(64..112, false),
            part(112..200, true),
        ),
        ("teardrop, and longer", vec![part(0..64, false)], part(24..72, true), part(64..200, true)),
        (
            "behind the end",
            vec![part(0..8, false), part(64..100, true)],
            part(104..112, false),
            part(8..64, false),
        ),
        (
            "a second end",
            vec![part(0..8, false), part(64..100, true)],
            part(104..200, true),
            part(8..64, false),
        ),
    ];
    for (name, before, over, after) in rows {
        println!("{name}");
        let mut world = scene();
        world.one(RED_A.udp(4_000, (SERVER.address, 53), b""));
        before.into_iter().for_each(|fragment| _ = world.one(fragment));
        world.drops(over, DropReason::FragmentOverlap);
        world.drops(after, DropReason::FragmentOverlap);
        world.drops(part(0..64, false), DropReason::FragmentOverlap);
        // For its time, and no longer.
        world.pass(3_200);
        world.one(part(0..64, false));
    }
    // Those that waited go with it.
    let mut world = scene();
    world.one(RED_A.udp(4_000, (SERVER.address, 53), b""));
    assert_eq!(world.send(part(64..128, false)), []);
    let (drops, heard) = world.observe(|world| world.send(part(56..80, false)));
    assert_eq!((drops, heard), (vec![DropReason::FragmentOverlap; 2], vec![]));
    assert_eq!(world.books().held, 0);
    // Teardrop: within another, it is dropped alone.
    world.pass(3_200);
    world.one(part(0..64, false));
    world.drops(part(24..40, true), DropReason::FragmentOverlap);
    world.one(part(64..200, true));
}

/// What it quotes would leave as it is.
#[test]
fn an_error_in_fragments_is_translated_by_nothing() {
    let mut world = scene();
    world.one(RED_A.udp(4_000, (SERVER.address, 53), &PAYLOAD));
    let seen = world.one(SERVER.udp(53, (WEB, 53), &PAYLOAD));
    let first = |error: Packet| cut(&error, 7).swap_remove(0);
    let unreachable = (3, 3, 0);
    world.drops(first(RED_WEB.error(SERVER.address, unreachable, &seen, 100)), DropReason::IcmpUnsupported);
    let seen = world.one(RED_WEB.udp(53, (SERVER.address, 53), &PAYLOAD));
    world.drops(first(SERVER.error(WEB, unreachable, &seen, 100)), DropReason::IcmpUnsupported);
    // Where nothing is translated nothing has to be.
    let seen = world.one(RED_DB.udp(53, (RED_A.address, 53), &PAYLOAD));
    world.one(first(RED_A.error(RED_DB.address, unreachable, &seen, 100)));
}

//= rfc1858#3
//= rfc3128#1
#[test]
fn tiny_fragments_are_refused_wherever_they_go() {
    let mut world = scene();
    let segment = |host: Host, to| host.tcp(4_000, (to, 80), SYN);
    for (host, to) in
        [(RED_A, SERVER.address), (RED_WEB, SERVER.address), (SERVER, WEB), (RED_A, RED_DB.address)]
    {
        // The flags come in the second, or are written over by it.
        for fragment in testing::fragments(&segment(host, to).bytes, 5, 8).into_iter().take(2) {
            world.drops(host.says(fragment), DropReason::FragmentTiny);
        }
        for fragment in testing::fragments(&segment(host, to).bytes, 5, 16).into_iter().take(1) {
            world.drops(host.says(fragment), DropReason::FragmentTiny);
        }
    }
    assert_eq!(world.sessions().len(), 0);
}

//= rfc4787#REQ-14a
//= rfc6888#REQ-12
#[test]
fn rfc4787_req14a_a_flood_of_lone_fragments_leaves_other_packets_alone() {
    let flood_frames = 1_000_000;
    let mut world = scene();
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    let limit = DropReason::FragmentLimit;
    let attack = cut(&OTHER.udp(53, (RED_POOL, external.1), &PAYLOAD), 0).swap_remove(1);
    let mut sent = 0_u32;
    while sent < flood_frames {
        let burst: packet::Burst<_> = (sent..sent + BURST_FRAMES_MAX as u32)
            .map(|number| {
                testing::with_header(attack.bytes.clone(), |header| {
                    header[4..6].copy_from_slice(&(number as u16).to_be_bytes());
                    header[14..16].copy_from_slice(&((number >> 16) as u16).to_be_bytes());
                })
            })
            .collect();
        sent += BURST_FRAMES_MAX as u32;
        let worker = world.team.next();
        world.team.enter(worker, packet::PortIndex(1), &mut { burst }, world.now);
        world.tick(0, &mut Vec::new());
        if sent.is_multiple_of(BURST_FRAMES_MAX as u32 * 1_000) {
            assert_eq!(world.pass(50), []);
            // What is no fragment passes, every one; and fragments of who is not attacked.
            world.one(RED_A.udp(4_000, (SERVER.address, 53), b"still"));
            world.one(SERVER.udp(53, external, b"there"));
            for fragment in cut(&BLUE_A.udp(4_000, (SERVER.address, 53), &PAYLOAD), 8) {
                world.one(fragment);
            }
            assert!(world.books().held <= 64 * world.team.setup.workers as u64, "{:?}", world.books());
        }
    }
    assert_eq!(world.settled(), []);
    assert!(world.dropped(limit) > u64::from(flood_frames) * 9 / 10, "{}", world.dropped(limit));
    let dropped = world.dropped(limit) + world.dropped(DropReason::FragmentOrphan);
    assert_eq!(dropped + world.books().held, u64::from(sent), "and nothing else is dropped");
    // When it ends, fragments pass again that share the address.
    world.pass(3_200);
    assert_eq!(world.books().held, 0);
    let order = [2, 1, 0];
    let heard = RED_A.peer(SERVER.address).udp(53, (RED_A.address, 4_000), &PAYLOAD).hop();
    passes(&mut world, &SERVER.udp(53, external, &PAYLOAD), order, 0, &heard);
}

//= rfc4787#REQ-14a
#[test]
fn rfc4787_req14a_a_tenant_that_holds_all_it_may_takes_nothing_from_another() {
    let mut world = scene();
    world.one(RED_A.udp(4_000, (SERVER.address, 53), b""));
    world.one(BLUE_A.udp(4_000, (SERVER.address, 53), b""));
    let flood = |number: u16| cut(&RED_B.udp(1, (SERVER.address, 53), &PAYLOAD), number).swap_remove(1);
    let (drops, _) = world.observe(|world| (0..4_000).for_each(|number| _ = world.send(flood(number))));
    assert!(drops.iter().all(|reason| *reason == DropReason::FragmentLimit));
    assert_eq!(drops.len() as u64 + world.books().held, 4_000);
    let held = world.books().held;
    assert!(held > 0 && held <= 64 * world.team.setup.workers as u64, "{held} wait");
    let fragments = cut(&BLUE_A.udp(4_000, (SERVER.address, 53), &PAYLOAD), 3);
    assert_eq!(world.send(fragments[1].clone()), []);
    assert_eq!(world.send(fragments[0].clone()).len(), 2);
}

#[test]
fn a_datagram_in_more_pieces_than_anybody_waits_for_is_dropped() {
    // With too many gaps.
    let mut world = scene();
    world.one(RED_A.udp(4_000, (SERVER.address, 53), b""));
    let fragments = cut(&RED_A.udp(4_000, (SERVER.address, 53), &[1; 1_400]), 3);
    let (drops, heard) = world.observe(|world| {
        fragments.iter().step_by(2).flat_map(|fragment| world.send(fragment.clone())).collect::<Vec<_>>()
    });
    assert_eq!((heard.len(), drops.as_slice()), (16, [DropReason::FragmentLimit; 2].as_slice()));
    // More than wait for one account: the largest there is, of small pieces, its first one last.
    let mut world = scene();
    let fragments = cut(&RED_A.udp(4_000, (SERVER.address, 53), &[1; 70 * PIECE]), 3);
    let (drops, heard) = world.observe(|world| {
        fragments.iter().rev().flat_map(|fragment| world.send(fragment.clone())).collect::<Vec<_>>()
    });
    assert_eq!((heard, drops), (vec![], vec![DropReason::FragmentLimit; fragments.len()]));
    assert_eq!((world.books().held, world.sessions().len()), (0, 0));
}

#[test]
fn fragments_that_wait_when_the_workers_end_are_dropped_for_that() {
    let mut world = scene();
    let fragments = cut(&RED_A.udp(4_000, (SERVER.address, 53), &PAYLOAD), 3);
    world.send(fragments[1].clone());
    world.send(fragments[2].clone());
    let (drops, ()) = world.observe(|world| world.restart(2));
    assert_eq!((drops, world.books().held), (vec![DropReason::GatewayEnded; 2], 0));
}

/// RFC 792: an error quotes eight bytes of a fragment as of a packet, and a later one has no ports in them.
//= rfc5508#REQ-4
#[test]
fn an_error_about_a_first_fragment_finds_its_host_and_one_about_a_later_does_not() {
    let mut world = scene();
    let question = RED_A.udp(4_000, (SERVER.address, 53), &PAYLOAD);
    let seen: Vec<_> = cut(&question, 3).into_iter().map(|fragment| world.one(fragment)).collect();
    let reassembly_time_exceeded = (11, 1, 0);
    let heard = world.one(SERVER.error(RED_POOL, reassembly_time_exceeded, &seen[0], 8));
    // The quote is as it was sent, but for the identification that it left with.
    let sent = cut(&question.hop(), identification(&seen[0])).swap_remove(0);
    let expected = RED_A.peer(SERVER.address).error(RED_A.address, reassembly_time_exceeded, &sent, 8);
    assert_eq!(heard, expected.hop());
    world.drops(SERVER.error(RED_POOL, reassembly_time_exceeded, &seen[1], 8), DropReason::IcmpNoSession);
    // From inside, about what came in.
    let answer = SERVER.udp(53, seen[0].source(), &PAYLOAD);
    let heard: Vec<_> = cut(&answer, 3).into_iter().map(|fragment| world.one(fragment)).collect();
    let out = world.one(RED_A.error(SERVER.address, reassembly_time_exceeded, &heard[0], 8));
    let sent = cut(&answer.hop(), 3).swap_remove(0);
    assert_eq!(out, SERVER.peer(RED_POOL).error(SERVER.address, reassembly_time_exceeded, &sent, 8).hop());
    world.drops(
        RED_A.error(SERVER.address, reassembly_time_exceeded, &heard[1], 8),
        DropReason::IcmpNoSession,
    );
}

/// A fragment goes to where its datagram is known, to the owner of its session, of the other's, and of the next hop.
#[test]
fn fragments_find_their_way_between_workers() {
    for workers in [2, 4] {
        let mut world = scene_on(Setup { shards: 16, ..Setup::of_workers(workers) }, &[]);
        let mut identification = 0;
        for number in 0..40 {
            let (asker, port) = (red(100 + number), 5_000);
            world.add(asker);
            for order in [[0, 1, 2], [2, 1, 0]] {
                identification += 1;
                let fragments = cut(&asker.udp(port, (WEB, 53), &PAYLOAD), identification);
                let heard: usize =
                    order.into_iter().map(|index| world.send(fragments[index].clone()).len()).sum();
                assert_eq!(heard, 3, "{workers} {number} {order:?}");
            }
        }
        assert_eq!(world.sessions().len(), 40);
    }
}
