//! No memory is allocated for a packet, be it the first of its flow or handed to another worker: all there is was taken at
//! the start.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's way to fail")]

mod world;

use packet::tcp::{ACK, PSH, SYN};
use std::collections::VecDeque;

use nat::Handed;
use packet::{Burst, Fragment, PacketIo, PortIndex, Sent, testing};
use world::scene::*;
use world::{Packet, Setup, Team, Wire, World};

/// As many as a kind's packets, in bursts.
const PACKETS: u16 = 1_000;

/// Ports that neither take nor give memory: frames of the gateway's own come from a store, and what is sent is kept.
struct Recycler {
    sent: Vec<(PortIndex, Vec<u8>)>,
    store: Vec<Vec<u8>>,
}

impl PacketIo for Recycler {
    type Frame = Vec<u8>;

    fn receive(&mut self, _: PortIndex, _: &mut Burst<Vec<u8>>) {}

    fn send(&mut self, port: PortIndex, frame: Vec<u8>) {
        self.sent.push((port, frame));
    }

    fn flush(&mut self, _: PortIndex) -> Sent {
        Sent::default()
    }

    fn allocate(&mut self) -> Option<Vec<u8>> {
        self.store.pop()
    }
}

/// What goes from either of two workers to the other.
type Rings = [VecDeque<Handed<Vec<u8>>>; 2];

/// Both workers end their turns and take what the other handed on, until there is no more.
fn exchange(world: &mut World, rings: &mut Rings, io: &mut Recycler) {
    let Team { gateways, .. } = &mut world.team;
    loop {
        for gateway in gateways.iter_mut() {
            while let Some((to, handed)) = gateway.outbox().pop_front() {
                rings[usize::from(to.0)].push_back(handed);
            }
            gateway.end_turn();
        }
        if rings.iter().all(VecDeque::is_empty) {
            return;
        }
        for (gateway, ring) in gateways.iter_mut().zip(rings.iter_mut()) {
            let handed = ring.len().min(packet::BURST_FRAMES_MAX);
            gateway.process_handed(&mut ring.drain(..handed).collect(), world.now, io);
        }
    }
}

/// Sends packets of one port in bursts, at one worker and the other in turn, and returns what comes of them; `world` has its neighbours' MACs.
#[track_caller]
fn send(world: &mut World, name: &str, packets: Vec<Packet>) -> Vec<Packet> {
    let port = PortIndex(packets[0].wire.port);
    let mut io = Recycler {
        sent: Vec::with_capacity(4_096),
        store: (0..2_048).map(|_| Vec::with_capacity(2_048)).collect(),
    };
    // As a buffer of a network card, each has room for a tag.
    let mut frames: Vec<Vec<u8>> = packets.into_iter().map(|packet| packet.bytes).collect();
    frames.iter_mut().for_each(|frame| frame.reserve(64));
    let mut rings: Rings = [const { VecDeque::new() }; 2];
    rings.iter_mut().for_each(|ring| ring.reserve(1_024));
    let info = allocation_counter::measure(|| {
        let mut frames = frames.drain(..);
        for worker in (0..2).cycle() {
            let mut burst: Burst<_> = frames.by_ref().take(packet::BURST_FRAMES_MAX).collect();
            if burst.is_empty() {
                break;
            }
            world.team.gateways[worker].process_burst(port, &mut burst, world.now, &mut io);
            exchange(world, &mut rings, &mut io);
        }
        world.team.gateways.iter_mut().for_each(|gateway| _ = gateway.tick(world.now, &mut io));
        exchange(world, &mut rings, &mut io);
    });
    assert_eq!(info.count_total, 0, "{name}: {info:?}");
    let packet = |(port, bytes): (PortIndex, Vec<u8>)| {
        let vlan = packet::Parsed::read(&bytes).unwrap().vlan;
        Packet { wire: Wire { port: port.0, vlan }, bytes }
    };
    io.sent.into_iter().map(packet).collect()
}

fn many(packet: impl Fn(u16) -> Packet) -> Vec<Packet> {
    (0..PACKETS).map(packet).collect()
}

#[test]
fn no_packet_allocates_be_it_the_first_of_its_flow() {
    let mut world = scene_on(
        Setup { sessions_max: 64_000, ..Setup::of_workers(2) },
        &[("pool: red}]", "pool: red}]\n    tcp: {unsolicited_syn: error_after_6s}")],
    );
    // Neighbours answer ARP by themselves here only.
    world.one(RED_A.udp(1, (SERVER.address, 1), b""));
    world.one(SERVER.udp(1, (WEB, 1), b""));
    world.one(RED_A.udp(1, (RED_DB.address, 1), b""));
    world.one(RED_DB.udp(1, (RED_A.address, 1), b""));
    let remote = (SERVER.address, 53);
    let all = usize::from(PACKETS);

    let datagrams = send(&mut world, "new UDP", many(|n| RED_A.udp(2_000 + n, remote, b"who?")));
    let segments = send(&mut world, "new TCP", many(|n| RED_A.tcp(2_000 + n, remote, SYN)));
    let pings = send(&mut world, "new pings", many(|n| RED_A.ping(2_000 + n, SERVER.address)));
    assert_eq!((datagrams.len(), segments.len(), pings.len()), (all, all, all));
    assert_eq!(world.occupancy().sessions, 3 * u32::from(PACKETS) + 1);

    let answer = |packet: &Packet| SERVER.udp(53, packet.source(), b"me");
    let rows = [
        ("UDP answers", datagrams.iter().map(answer).collect()),
        (
            "UDP from new ports",
            datagrams.iter().map(|packet| SERVER.udp(54, packet.source(), b"me")).collect(),
        ),
        ("TCP answers", segments.iter().map(|packet| SERVER.tcp(53, packet.source(), SYN | ACK)).collect()),
        ("pongs", pings.iter().map(|packet| SERVER.pong(packet.source().1, packet.source().0)).collect()),
        ("errors in", datagrams.iter().map(|packet| SERVER.error(RED_POOL, (3, 3, 0), packet, 8)).collect()),
        ("established UDP", many(|n| RED_A.udp(2_000 + n, remote, b"who?"))),
        ("established TCP", many(|n| RED_A.tcp(2_000 + n, remote, PSH | ACK))),
        ("in by a floating IP", many(|n| SERVER.udp(n, (WEB, 80), b"hello"))),
        ("out by a floating IP", many(|n| RED_WEB.udp(80, (SERVER.address, n), b"hello"))),
        ("hairpin", many(|n| BLUE_A.udp(2_000 + n, (WEB, 80), b"hello"))),
        ("between subnets", many(|n| RED_A.udp(n, (RED_DB.address, 80), b"hello"))),
        ("pings of ours", many(|n| RED_A.ping(n, RED_GATEWAY))),
        ("ARP", many(|_| ISP.asks_for(WEB))),
    ];
    for (name, packets) in rows {
        assert_eq!(send(&mut world, name, packets).len(), all, "{name}");
    }

    // So many errors each of the two workers sends at once.
    let dying = many(|n| RED_A.udp(n, remote, b"").with_ttl(1));
    assert_eq!(send(&mut world, "at their last hop", dying).len(), 2 * 256);

    let heard = send(&mut world, "UDP answers", datagrams.iter().map(answer).collect());
    let errors = heard.iter().map(|packet| RED_A.error(SERVER.address, (3, 3, 0), packet, 8)).collect();
    assert_eq!(send(&mut world, "errors out", errors).len(), all);

    assert!(world.books().handed_out > 2 * u64::from(PACKETS), "{:?}", world.books());

    // Kept for six seconds, which are over when all expires.
    let unsolicited = many(|n| OTHER.tcp(n, (RED_POOL, 22), SYN));
    assert_eq!(send(&mut world, "unsolicited SYNs", unsolicited).len(), 0);

    // Unknown neighbours: asked for, waited for, given up.
    let scan = many(|n| SERVER.udp(n, (MAIL, 25), b""));
    assert_eq!(send(&mut world, "waiting", scan).len(), 1);

    world.now = world.now + 4_000_000;
    let mut rings: Rings = [const { VecDeque::new() }; 2];
    rings.iter_mut().for_each(|ring| ring.reserve(1_024));
    let info = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            world.now = world.now + 10;
            let mut io = Recycler { sent: Vec::new(), store: Vec::new() };
            world.team.gateways.iter_mut().for_each(|gateway| _ = gateway.tick(world.now, &mut io));
            exchange(&mut world, &mut rings, &mut io);
        }
    });
    assert_eq!(world.occupancy().sessions, 0);
    assert_eq!(info.count_total, 0, "expiry: {info:?}");
}

/// A packet's three fragments, in this order.
fn pieces(packet: &Packet, identification: u16, order: [usize; 3]) -> Vec<Packet> {
    let pieces = testing::fragments(&packet.bytes, identification, 40);
    assert_eq!(pieces.len(), order.len());
    order.map(|index| Packet { wire: packet.wire, bytes: pieces[index].clone() }).into()
}

#[test]
fn no_fragment_allocates_in_whatever_order_it_comes() {
    const DATAGRAMS: u16 = 200;
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let narrow = [("port: out0}", "port: out0, mtu: 600}")];
    let mut world = scene_on(Setup { sessions_max: 64_000, ..Setup::of_workers(2) }, &narrow);
    let external = world.one(RED_A.udp(1, (SERVER.address, 1), b"")).source();
    world.one(SERVER.udp(1, external, b""));
    world.one(SERVER.udp(1, (WEB, 1), b""));
    let (payload, all) = ([7; 90], usize::from(3 * DATAGRAMS));
    let remote = (SERVER.address, 53);
    for (order, round) in ORDERS.into_iter().zip(0u16..) {
        let first = 2_000 + DATAGRAMS * round;
        // The first of a flow is a fragment, too.
        let fragments = |packets: &mut dyn Iterator<Item = Packet>| -> Vec<Packet> {
            packets.zip(first..).flat_map(|(packet, number)| pieces(&packet, number, order)).collect()
        };
        let out = fragments(&mut (0..DATAGRAMS).map(|n| RED_A.udp(first + n, remote, &payload)));
        let heard = send(&mut world, "fragments out", out);
        assert_eq!(heard.len(), all, "{order:?}");
        let firsts = heard.iter().filter(|packet| packet.parsed().fragment == Fragment::First);
        let external: Vec<_> = firsts.map(Packet::source).collect();
        assert_eq!(external.len(), usize::from(DATAGRAMS));
        let back = fragments(&mut external.iter().map(|at| SERVER.udp(53, *at, &payload)));
        assert_eq!(send(&mut world, "fragments in", back).len(), all, "{order:?}");
        let hairpin = fragments(&mut (0..DATAGRAMS).map(|n| BLUE_A.udp(first + n, (WEB, 80), &payload)));
        assert_eq!(send(&mut world, "fragments between hosts of ours", hairpin).len(), all, "{order:?}");
        // An error about a fragment quotes what its sender has.
        let firsts = heard.iter().filter(|packet| packet.parsed().fragment == Fragment::First);
        let errors = firsts.map(|first| SERVER.error(RED_POOL, (11, 1, 0), first, 8)).collect();
        assert_eq!(send(&mut world, "errors about fragments", errors).len(), usize::from(DATAGRAMS));
    }
    // What never is whole: as much as is kept waits, the rest is dropped, and all of it is given up.
    let orphans = many(|n| pieces(&RED_A.udp(40_000, remote, &payload), n, [1, 2, 0]).swap_remove(0));
    assert_eq!(send(&mut world, "fragments without a first", orphans).len(), 0);
    assert!(world.books().held > 0);
    let long = many(|n| RED_A.udp(30_000, remote, &[7; 700]).may_fragment(n));
    assert_eq!(send(&mut world, "too long, and cut", long).len(), 2 * usize::from(PACKETS));
    world.now = world.now + 3_000;
    assert_eq!(
        send(&mut world, "after the wait", many(|n| RED_A.ping(n, RED_GATEWAY))).len(),
        usize::from(PACKETS)
    );
    assert_eq!(world.books().held, 0);
}
