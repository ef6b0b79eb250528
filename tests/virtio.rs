//! The whole gateway over virtio queues, as virtual machines have them: each worker runs on a thread of its own, with a
//! pair of queues on each port, and everyone they talk to on the test's. Needs neither root nor hugepages.
//!
//! Both sides are ports of one process: the back end of vhost-user (`net_vhost`) and its front end (`net_virtio_user`).
//! The gateway is on the one in one test and on the other in the other. Nothing is lost on the way, so that all books
//! close to the frame: the gateway's, the drivers' and the far side's. And with the seed fixed, one, two and four workers
//! give the same answers, byte for byte, whichever of them a packet comes to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may stop where a test may"
)]

#[path = "../src/config.rs"]
#[allow(dead_code, reason = "of the binary; the test reads a part of it")]
mod config;
#[path = "../src/edge.rs"]
#[allow(dead_code, reason = "of the binary; the test reads a part of it")]
mod edge;
#[path = "../crates/nat/tests/brain/exchange.rs"]
#[allow(dead_code, reason = "of the brain's tests; the exchanges are theirs, the way they are played is not")]
mod exchange;
#[path = "../src/numa.rs"]
mod numa;
mod support;
#[path = "../crates/nat/tests/world/mod.rs"]
mod world;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use dpdk::{DeviceSpec, Eal, EalConfig, MemoryPolicy, Mempool, MempoolConfig, Port, WorkerPorts};
use packet::tcp::{ACK, FIN, PSH};
use packet::{Burst, Frame, PacketIo, PortIndex, testing};
use worker::Idle;

use crate::exchange::EXCHANGES;
use crate::support::far_side::FarSide;
use crate::support::{
    FRAMES, MEMORY_MIB, Team, books, bytes, cores, jumbo_rules, node_config, role, start_again, team,
    write_node_config,
};
use crate::world::scene::*;
use crate::world::{Host, Packet};

/// The longest packet on the networks of this scene.
const MTU: u16 = 9_000;

/// Addresses of the gateway's in the scene.
const ADDRESSES: usize = 10;

/// Flows of each protocol of each host behind SNAT.
const FLOWS: u16 = 400;

/// Hosts behind SNAT, and the remote as their router's external interface sees it.
const HOSTS_BEHIND_SNAT: [(Host, Host); 3] =
    [(RED_A, SERVER), (RED_B, SERVER), (BLUE_A, Host { via: BLUE_EXT, ..SERVER })];

/// How many workers give the same answers.
const WORKERS: [u16; 3] = [1, 2, 4];

/// Ports with their queues in workers' hands, and the pool that their frames come from.
struct Side {
    ports: Vec<Port>,
    io: Vec<WorkerPorts>,
    pool: Mempool,
}

#[test]
fn the_gateway_on_vhost_ports_loses_nothing() {
    with_any_number_of_workers("the_gateway_on_vhost_ports_loses_nothing", |directory, workers| {
        let [back, front] = devices(directory);
        write_node_config(directory, back, MTU, workers);
        let (edge, io) = edge::start(&node_config(directory)).unwrap();
        let gateway = Side { ports: edge.ports, io, pool: edge.pools[0].clone() };
        // The front ends connect while they are attached: the sockets are there now.
        let front = front.map(|device| attach(&edge.eal, &device, workers));
        let far = start(&edge.eal, "far", &front, workers);
        talk(&edge.eal, gateway, far)
    });
}

#[test]
fn the_gateway_on_virtio_ports_loses_nothing() {
    with_any_number_of_workers("the_gateway_on_virtio_ports_loses_nothing", |directory, workers| {
        let [back, front] = devices(directory);
        let back = back.map(|device| device.parse().unwrap());
        let eal = Eal::init(&EalConfig {
            queues: workers,
            memory: MemoryPolicy::Plain,
            memory_mib: 2 * MEMORY_MIB * u32::from(workers),
            ..EalConfig::new(back.to_vec())
        });
        let eal = eal.unwrap();
        let far = start(&eal, "far", &back, workers);
        let front = front.map(|device| attach(&eal, &device, workers));
        let gateway = start(&eal, "near", &front, workers);
        talk(&eal, gateway, far)
    });
}

/// Runs `body` in a process of its own for each number of workers; it gives all that was heard, which must be the same.
fn with_any_number_of_workers(test: &str, body: impl FnOnce(&Path, u16) -> Vec<String>) {
    if let Some(role) = role() {
        let (directory, workers) = role.rsplit_once(' ').unwrap();
        let heard = body(Path::new(directory), workers.parse().unwrap());
        return fs::write(Path::new(directory).join("heard"), heard.join("\n")).unwrap();
    }
    let heard = WORKERS.map(|workers| {
        let directory = tempfile::tempdir().unwrap();
        let said = start_again(test, &format!("{} {workers}", directory.path().display()));
        fs::read_to_string(directory.path().join("heard"))
            .unwrap_or_else(|_| panic!("`{test}` ran no gateway:\n{said}"))
    });
    let [by_one, others @ ..] = &heard;
    assert!(by_one.lines().count() > 10_000);
    for (workers, heard) in WORKERS[1..].iter().zip(others) {
        for (one, other) in by_one.lines().zip(heard.lines()) {
            assert_eq!(one, other, "one worker and {workers} differ");
        }
        assert_eq!(by_one.len(), heard.len());
    }
}

/// Two back ends, and their front ends.
fn devices(directory: &Path) -> [[String; 2]; 2] {
    let socket = |port: u8| directory.join(format!("{port}.sock")).display().to_string();
    [
        [0, 1].map(|port| format!("net_vhost{port},iface={}", socket(port))),
        [0, 1].map(|port| format!("net_virtio_user{port},path={}", socket(port))),
    ]
}

fn attach(eal: &Eal, device: &str, queues: u16) -> DeviceSpec {
    let device = device.parse().unwrap();
    eal.attach(&device, queues).unwrap();
    device
}

fn start(eal: &Eal, name: &str, devices: &[DeviceSpec; 2], workers: u16) -> Side {
    let frames = FRAMES * u32::from(workers);
    let sizes = MempoolConfig { name: name.into(), frames, frame_bytes_max: MTU + 32, ..Default::default() };
    let pool = eal.mempool(&sizes).unwrap();
    let (mut ports, mut queues) = (Vec::new(), Vec::new());
    for device in devices {
        let started = eal.port(device).unwrap().queues(workers).mtu(MTU).start(&pool).unwrap();
        assert_eq!(started.rx.len(), usize::from(workers), "a queue for each worker");
        ports.push(started.port);
        queues.push((started.rx, started.tx));
    }
    let (io, _) = WorkerPorts::share_out(queues, workers, &pool);
    Side { ports, io, pool }
}

/// Sends a frame over each queue, both ways, until it gets through: the ends agree on their queues in threads of DPDK's.
fn bring_up(near: &mut [WorkerPorts], far: &mut [WorkerPorts]) {
    for (near, far) in near.iter_mut().zip(far) {
        for port in [0, 1].map(PortIndex) {
            pass_one(near, far, port);
            pass_one(far, near, port);
        }
    }
}

fn pass_one(from: &mut WorkerPorts, to: &mut WorkerPorts, port: PortIndex) {
    let (begun, mut taken) = (Instant::now(), 0);
    loop {
        assert!(begun.elapsed() < Duration::from_secs(20), "the link comes up");
        if taken == 0 {
            let mut frame = from.allocate().unwrap();
            frame.resize(60).unwrap();
            frame.bytes_mut().fill(0);
            from.send(port, frame);
            taken = from.flush(port).frames;
        }
        let mut frames = Burst::new();
        to.receive(port, &mut frames);
        if frames.len() == 1 {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs the gateway's workers on threads of their own, and talks to them as everyone in the scene. Gives all that was
/// heard.
fn talk(eal: &Eal, mut gateway: Side, mut far: Side) -> Vec<String> {
    bring_up(&mut gateway.io, &mut far.io);
    let counted_before = books::stats(&gateway.ports);
    let Team { workers, handles } = team(gateway.io, &jumbo_rules());
    let cores = cores(workers.len() as u16);
    let threads: Vec<_> = workers
        .into_iter()
        .zip(cores)
        .map(|(worker, core)| {
            let eal = eal.clone();
            thread::spawn(move || {
                let _lcore = eal.register_this_thread(core).unwrap();
                worker.run(Idle::Sleep)
            })
        })
        .collect();

    let mut far_side = FarSide::new(far.io, &HOSTS);
    far_side.wait_for_announcements(ADDRESSES);
    floating_ips_lead_both_ways(&mut far_side);
    fragments_pass_in_any_order(&mut far_side);
    jumbo_frames_pass(&mut far_side);
    assert_eq!(
        books::sum(&handles, |counters| counters.sessions_created.get()),
        0,
        "floating IPs keep no state"
    );
    let flows = flows_from_behind_snat(&mut far_side);
    assert_eq!(far_side.drain(), [Vec::new(), Vec::new()], "nothing more comes");

    handles.iter().for_each(worker::Handle::stop);
    let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    // Not those there are now: on a busy machine the first have expired.
    assert_eq!(books::sum(&handles, |counters| counters.sessions_created.get()), flows as u64);
    assert_eq!(books::drops(&handles), BTreeMap::new());
    assert_eq!(books::sum(&handles, |counters| counters.held.get()), 0);
    books::assert_closed(&handles, &gateway.ports, &counted_before);
    let frames = |count: fn(&nat::PortCounters) -> u64| {
        [0, 1].map(|port: usize| books::sum(&handles, |counters| count(&counters.ports[port])))
    };
    assert_eq!(frames(|port| port.received_frames.get()), far_side.sent, "what was sent has arrived");
    assert_eq!(frames(|port| port.sent_frames.get()), far_side.received, "what it sent has arrived");
    let talked_to = [RED_A, RED_B, RED_WEB, BLUE_A, BLUE_WEB, ISP].map(|host| (host.wire, host.address));
    assert_eq!(far_side.asked_for, HashSet::from(talked_to), "it resolves whom it talks to");
    if handles.len() > 1 {
        let count = |count: fn(&nat::Counters) -> u64| books::sum(&handles, count);
        assert!(count(|counters| counters.handed_out.get()) > 1_000, "sessions were asked for elsewhere");
        assert!(count(|counters| counters.translated_for_others.get()) > 1_000, "and carried anywhere");
    }

    // Frames wait in rings until the ports close.
    drop((ended, gateway.ports));
    assert_eq!(gateway.pool.available(), gateway.pool.frames(), "all buffers are back");
    far_side.transcript
}

fn floating_ips_lead_both_ways(far_side: &mut FarSide) {
    for (host, external, remote) in
        [(RED_WEB, WEB, SERVER), (BLUE_WEB, BLUE_WEB_FLOATING, SERVER.through(BLUE_EXT))]
    {
        for exchange in &EXCHANGES {
            let to = |address| (address, exchange.remote_port);
            far_side.assert_exchange(
                &[(exchange.ask)(remote, 6_000, to(external))],
                0,
                &[(exchange.ask)(host.peer(remote.address), 6_000, to(host.address)).hop()],
            );
            far_side.assert_exchange(
                &[(exchange.ask)(host, 7_000, to(remote.address))],
                1,
                &[(exchange.ask)(remote.peer(external), 7_000, to(remote.address)).hop()],
            );
        }
    }
}

fn fragments_pass_in_any_order(far_side: &mut FarSide) {
    let payload = bytes(5_000);
    let arriving = SERVER.udp(5_000, (WEB, 80), &payload);
    let heard = RED_WEB.peer(SERVER.address).udp(5_000, (RED_WEB.address, 80), &payload).hop();
    let leaving = RED_WEB.udp(80, (SERVER.address, 5_000), &payload);
    let seen = SERVER.peer(WEB).udp(80, (SERVER.address, 5_000), &payload).hop();
    for (id, order) in [(1, [0, 1, 2, 3]), (2, [3, 2, 1, 0]), (3, [2, 0, 3, 1])] {
        let pick = |packet: &Packet| {
            let fragments = testing::fragments(&packet.bytes, id, 1_480);
            order.map(|index| Packet { wire: packet.wire, bytes: fragments[index].clone() })
        };
        far_side.assert_exchange(&pick(&arriving), 0, &pick(&heard));
        far_side.assert_exchange(&pick(&leaving), 1, &pick(&seen));
    }
}

fn jumbo_frames_pass(far_side: &mut FarSide) {
    for length in [2_020, 2_048, 4_096, MTU - 28] {
        let payload = bytes(length.into());
        let heard = RED_WEB.peer(SERVER.address).udp(1, (RED_WEB.address, 80), &payload).hop();
        far_side.assert_exchange(&[SERVER.udp(1, (WEB, 80), &payload)], 0, &[heard]);
        let seen = SERVER.peer(WEB).udp(80, (SERVER.address, 1), &payload).hop();
        far_side.assert_exchange(&[RED_WEB.udp(80, (SERVER.address, 1), &payload)], 1, &[seen]);
    }
}

/// Returns how many there are.
fn flows_from_behind_snat(far_side: &mut FarSide) -> usize {
    let mut externals = HashSet::new();
    for exchange in &EXCHANGES {
        for (host, remote) in HOSTS_BEHIND_SNAT {
            let to = (remote.address, exchange.remote_port);
            // The first packet asks for the neighbours; only a few may wait behind it.
            for ports in [10_000..10_001, 10_001..10_000 + FLOWS] {
                let questions: Vec<_> = ports.clone().map(|port| (exchange.ask)(host, port, to)).collect();
                let seen = far_side.exchange(&questions, 1);
                let (mut answers, mut expected) = (Vec::new(), Vec::new());
                for (seen, port) in seen.iter().zip(ports) {
                    let external = seen.source();
                    assert_eq!(*seen, (exchange.ask)(remote.peer(external.0), external.1, to).hop());
                    assert!(externals.insert((exchange.name, external)), "{external:?} is given once");
                    answers.push((exchange.answer)(remote, exchange.remote_port, external));
                    let from = host.peer(remote.address);
                    expected.push((exchange.answer)(from, exchange.remote_port, (host.address, port)).hop());
                }
                far_side.assert_exchange(&answers, 0, &expected);
                if exchange.name == "tcp" {
                    transfer(far_side, host, remote, &answers, &expected);
                }
            }
        }
    }
    externals.len()
}

/// Data both ways on TCP connections that were just opened, and their ends; `answers` are what the remote sent.
fn transfer(far_side: &mut FarSide, host: Host, remote: Host, answers: &[Packet], heard: &[Packet]) {
    let ends = || answers.iter().map(Packet::destination).zip(heard.iter().map(Packet::destination));
    let (service, to) = (443, (remote.address, 443));
    for flags in [ACK, ACK | PSH, ACK | FIN] {
        let said: Vec<_> = ends().map(|(_, internal)| host.tcp(internal.1, to, flags)).collect();
        let seen: Vec<_> =
            ends().map(|(external, _)| remote.peer(external.0).tcp(external.1, to, flags).hop()).collect();
        far_side.assert_exchange(&said, 1, &seen);
        let answered: Vec<_> = ends().map(|(external, _)| remote.tcp(service, external, flags)).collect();
        let heard: Vec<_> = ends()
            .map(|(_, internal)| host.peer(remote.address).tcp(service, internal, flags).hop())
            .collect();
        far_side.assert_exchange(&answered, 0, &heard);
    }
}
