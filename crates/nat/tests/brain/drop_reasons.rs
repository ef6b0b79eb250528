//! Every reason to drop a frame is reached by a packet, and each drop counts once and for one reason.

use std::net::Ipv4Addr;

use nat::DropReason;
use packet::arp::Operation;
use packet::testing;
use packet::{BURST_FRAMES_MAX, MacAddress};

use crate::world::scene::*;
use crate::world::{Host, Packet, Setup, World};

/// Where a reason is reached, if not by one packet in the scene.
const ELSEWHERE: [(DropReason, &str); 17] = [
    (
        DropReason::ForwardingTaken,
        "port_forwarding.rs: replies_leave_by_the_port_that_was_asked_where_many_lead_to_one",
    ),
    (DropReason::PortSearchCut, "port_choice.rs: a_turn_looks_at_so_many_ports_and_refuses_the_rest"),
    (DropReason::HostPortQuota, "blocks.rs: a_host_has_so_many_blocks_and_no_more"),
    (DropReason::NoRules, "routing.rs: a_gateway_without_rules_drops_everything"),
    (
        DropReason::PartialChecksum,
        "checksums.rs: a_first_packet_with_a_partial_checksum_is_dropped_and_opens_nothing",
    ),
    (DropReason::FragmentOrphan, "fragments.rs: a_fragment_that_waits_in_vain_is_dropped_after_two_seconds"),
    (DropReason::FragmentLimit, "fragments.rs: a_datagram_in_more_pieces_than_anybody_waits_for_is_dropped"),
    (DropReason::NoBuffer, "path_mtu.rs: without_a_buffer_for_a_piece_none_leaves"),
    (DropReason::NeighbourTableFull, "here: a_scan_of_a_large_subnet_fills_the_neighbour_table_and_no_more"),
    (
        DropReason::NeighbourQueueFull,
        "neighbours.rs: waiting_packets_leave_in_order_and_no_more_than_a_few_wait",
    ),
    (DropReason::HostTableFull, "ports.rs: a_full_table_of_hosts_refuses_new_hosts_and_no_others"),
    (DropReason::ShardFull, "workers.rs: a_full_shard_refuses_its_hosts_and_no_others"),
    (
        DropReason::HandOffRingFull,
        "workers.rs: what_finds_no_room_in_a_ring_is_dropped_for_that_and_its_flow_goes_on",
    ),
    (
        DropReason::HandOffAstray,
        "workers.rs: a_frame_that_two_workers_hold_to_be_each_others_is_dropped_in_the_end",
    ),
    (DropReason::GatewayEnded, "workers.rs: what_waits_when_the_workers_end_is_dropped_for_that"),
    (DropReason::NoHeadroom, "no_room.rs: a_frame_without_headroom_for_its_tag_is_dropped_for_that"),
    (
        DropReason::TransmitRingFull,
        "the worker's tests: frames_a_port_refuses_are_counted_and_the_books_close",
    ),
];

/// One packet that is dropped, and why.
struct Row {
    reason: DropReason,
    /// What is done before: flows opened, neighbours silenced.
    before: fn(&mut World),
    packet: fn(&mut World) -> Packet,
}

const fn row(reason: DropReason, packet: fn(&mut World) -> Packet) -> Row {
    Row { reason, before: |_| {}, packet }
}

const OUT: (Ipv4Addr, u16) = (SERVER.address, 53);

const ROWS: [Row; 29] = [
    row(DropReason::Malformed, |_| RED_A.udp(1, OUT, b"").change(|bytes| bytes[..30].to_vec())),
    row(DropReason::UnknownEthertype, |_| RED_A.says(vec![0; 60])),
    row(DropReason::UnknownVlan, |_| {
        Host { wire: crate::world::Wire { port: 0, vlan: None }, ..RED_A }.udp(1, OUT, b"")
    }),
    row(DropReason::WrongMac, |_| RED_A.udp(1, OUT, b"").with_mac(BLUE_LAN)),
    row(DropReason::Multicast, |_| RED_A.udp(1, OUT, b"").with_mac(MacAddress::BROADCAST)),
    row(DropReason::ArpNotForUs, |_| RED_A.asks_for(RED_B.address)),
    row(DropReason::SpoofedSource, |_| RED_A.udp(1, OUT, b"").with_source(SERVER.address)),
    row(DropReason::LinkLocal, |_| RED_A.udp(1, (Ipv4Addr::new(169, 254, 169, 254), 80), b"")),
    row(DropReason::LocalUnhandled, |_| RED_A.udp(1, (RED_GATEWAY, 53), b"")),
    row(DropReason::TtlExpired, |_| RED_A.udp(1, OUT, b"").with_ttl(1)),
    Row {
        reason: DropReason::NoRoute,
        // A floating IP of a router that has since lost the subnet behind it cannot be; one without a gateway can.
        before: |world| {
            let gateway = "    gateways: [{interface: ext, next_hop: 203.0.113.1, pool: blue}]\n    floating_ips:\n      - {id: web, external: 203.0.113.60, internal: 10.0.0.50}\n";
            let ext = "      - {id: ext, segment: internet, mac: \"fa:16:3e:00:02:03\", addresses: [203.0.113.3/24], external: true}\n";
            world.adopt(&rules_with(&[(gateway, ""), (ext, "")]));
        },
        packet: |_| BLUE_A.udp(1, OUT, b""),
    },
    row(DropReason::NotForUs, |_| SERVER.udp(1, (Ipv4Addr::new(203, 0, 113, 200), 1), b"")),
    Row {
        reason: DropReason::NoTranslation,
        before: |world| world.adopt(&rules_with(&[("pool: red}", "snat: false}")])),
        packet: |_| RED_A.udp(1, OUT, b""),
    },
    row(DropReason::FragmentTiny, |_| {
        RED_A.says(testing::fragments(&RED_A.tcp(1, OUT, packet::tcp::SYN).bytes, 1, 8).remove(0))
    }),
    Row {
        reason: DropReason::FragmentOverlap,
        before: |world| _ = world.one(fragment(0)),
        packet: |_| fragment(0),
    },
    row(DropReason::UnknownProtocol, |_| RED_A.ipv4(51, SERVER.address, &[0; 8])),
    row(DropReason::RemoteTaken, |world| {
        world.one(RED_A.ipv4(47, SERVER.address, &[0; 8]));
        RED_B.ipv4(47, SERVER.address, &[0; 8])
    }),
    row(DropReason::NoMapping, |_| SERVER.udp(53, (RED_POOL, 4_000), b"")),
    row(DropReason::Filtered, |world| OTHER.udp(53, world.one(RED_A.udp(1, OUT, b"")).source(), b"")),
    row(DropReason::NotSyn, |_| RED_A.tcp(1, OUT, packet::tcp::ACK)),
    Row {
        reason: DropReason::PortExhausted,
        before: |world| {
            let pool = "addresses: [203.0.113.10], ports: 2000-2000";
            world.adopt(&rules_with(&[("addresses: [203.0.113.10]", pool)]));
            world.one(RED_A.udp(1, OUT, b""));
        },
        packet: |_| RED_A.udp(2, OUT, b""),
    },
    Row {
        reason: DropReason::TableFull,
        before: |world| {
            (0..SESSIONS_MAX).for_each(|port| _ = world.one(RED_A.tcp(port, OUT, packet::tcp::SYN)))
        },
        packet: |_| RED_A.tcp(SESSIONS_MAX, OUT, packet::tcp::SYN),
    },
    Row {
        reason: DropReason::MappingTableFull,
        before: |world| (0..SESSIONS_MAX).for_each(|port| _ = world.one(RED_A.udp(port, OUT, b""))),
        packet: |_| RED_A.udp(SESSIONS_MAX, OUT, b""),
    },
    row(DropReason::BadIcmpError, |world| {
        let seen = world.one(RED_A.udp(1, OUT, b""));
        SERVER.error(RED_POOL, (3, 3, 0), &seen, 7)
    }),
    row(DropReason::IcmpNoSession, |_| {
        let seen = SERVER.peer(RED_POOL).udp(4_000, OUT, b"");
        SERVER.error(RED_POOL, (3, 3, 0), &seen, 8)
    }),
    row(DropReason::IcmpUnsupported, |world| {
        let seen = world.one(RED_A.udp(1, OUT, b""));
        SERVER.error(RED_POOL, (5, 0, 0), &seen, 8)
    }),
    row(DropReason::MtuExceeded, |_| RED_A.udp(1, OUT, &[0; 1_473])),
    Row {
        reason: DropReason::NeighbourUnresolved,
        before: |world| {
            world.silence(RED_DB);
            world.send(RED_A.udp(1, (RED_DB.address, 1), b""));
            world.pass(3_100);
        },
        packet: |_| RED_A.udp(1, (RED_DB.address, 1), b""),
    },
    // An answer that is for us and teaches nothing: the sender says that it has our own address.
    row(DropReason::ArpNotForUs, |_| {
        Host { address: RED_GATEWAY, ..RED_A }.arp(RED_LAN, Operation::Reply, RED_LAN, RED_GATEWAY)
    }),
];

/// A fragment of a datagram.
fn fragment(number: usize) -> Packet {
    RED_A.says(testing::fragments(&RED_A.udp(1, OUT, &[0; 32]).bytes, 1, 16).remove(number))
}

const SESSIONS_MAX: u16 = 8;

#[test]
fn each_reason_is_counted_once_for_a_packet_that_is_dropped_for_it() {
    for Row { reason, before, packet } in ROWS {
        let mut world = scene_on(Setup::with_sessions(SESSIONS_MAX.into()), &[]);
        before(&mut world);
        let packet = packet(&mut world);
        let (drops, heard) = world.observe(|world| world.send(packet));
        assert_eq!(drops, [reason]);
        // At most its source is told.
        assert!(heard.len() <= 1 && heard.iter().all(|heard| heard.quoted().is_some()), "{heard:?}");
    }
}

#[test]
fn every_reason_there_is_has_a_packet() {
    let reached = |reason| {
        ROWS.iter().any(|row| row.reason == reason) || ELSEWHERE.iter().any(|(one, _)| *one == reason)
    };
    let unreached: Vec<_> = DropReason::ALL.into_iter().filter(|reason| !reached(*reason)).collect();
    assert_eq!(unreached, []);
}

#[test]
fn a_scan_of_a_large_subnet_fills_the_neighbour_table_and_no_more() {
    // In one shard, or each would have its own limit.
    let mut world = scene_on(Setup::with_sessions(16), &[("[10.0.1.1/24]", "[10.64.0.1/15]")]);
    let neighbours_max = world.occupancy().neighbours_max;
    let scanned = |number: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 0, 2)) + number);
    let mut reasons = std::collections::BTreeMap::<DropReason, u32>::new();
    for first in (0..neighbours_max + 96).step_by(BURST_FRAMES_MAX) {
        let burst =
            (first..first + BURST_FRAMES_MAX as u32).map(|number| RED_A.udp(1, (scanned(number), 1), b""));
        let (drops, _) = world.observe(|world| world.burst(burst));
        drops.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1);
        world.heard_arp.clear();
    }
    // A few frames wait; the rest are dropped, and asked for once each while there is room to remember it.
    assert_eq!(world.occupancy().neighbours, neighbours_max);
    let held = world.books().held as u32;
    assert_eq!(reasons[&DropReason::NeighbourQueueFull], neighbours_max - held);
    assert_eq!(reasons[&DropReason::NeighbourTableFull], 96);
    assert_eq!(reasons.len(), 2);
}
