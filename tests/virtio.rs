//! The whole gateway over virtio queues, as virtual machines have them: its worker runs on a thread of its own, and
//! everyone it talks to on the test's. Needs neither root nor hugepages.
//!
//! Both sides are ports of one process: the back end of vhost-user (`net_vhost`) and its front end (`net_virtio_user`).
//! The gateway is on the one in one test and on the other in the other. Nothing is lost on the way, so that all books
//! close to the frame: the gateway's, the drivers' and the far side's.

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
mod support;
#[path = "../crates/nat/tests/world/mod.rs"]
mod world;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use dpdk::{DeviceSpec, Eal, EalConfig, MemoryPolicy, Mempool, MempoolConfig, Port, WorkerPorts};
use packet::tcp::{ACK, FIN, PSH};
use packet::{Burst, Frame, PacketIo, PortIndex, testing};
use worker::Idle;

use crate::exchange::EXCHANGES;
use crate::support::far_side::FarSide;
use crate::support::{books, bytes, in_own_process, jumbo_rules, node_config, worker, write_node_config};
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

/// Ports with their queues in one worker's hands, and the pool that their frames come from.
struct Side {
    ports: Vec<Port>,
    io: WorkerPorts,
    pool: Mempool,
}

#[test]
fn the_gateway_on_vhost_ports_loses_nothing() {
    in_own_process("the_gateway_on_vhost_ports_loses_nothing", || {
        let directory = tempfile::tempdir().unwrap();
        let [back, front] = devices(directory.path());
        write_node_config(directory.path(), back, MTU);
        let (edge, io) = edge::start(&node_config(directory.path())).unwrap();
        let gateway = Side { ports: edge.ports, io: io.into_iter().next().unwrap(), pool: edge.pool };
        // The front ends connect while they are attached: the sockets are there now.
        let far = start(&edge.eal, "far", &front.map(|device| attach(&edge.eal, &device)));
        talk(&edge.eal, gateway, far);
    });
}

#[test]
fn the_gateway_on_virtio_ports_loses_nothing() {
    in_own_process("the_gateway_on_virtio_ports_loses_nothing", || {
        let directory = tempfile::tempdir().unwrap();
        let [back, front] = devices(directory.path());
        let back = back.map(|device| device.parse().unwrap());
        let eal =
            Eal::init(&EalConfig { memory: MemoryPolicy::Plain, ..EalConfig::new(back.to_vec()) }).unwrap();
        let far = start(&eal, "far", &back);
        let gateway = start(&eal, "near", &front.map(|device| attach(&eal, &device)));
        talk(&eal, gateway, far);
    });
}

/// Two back ends, and their front ends.
fn devices(directory: &Path) -> [[String; 2]; 2] {
    let socket = |port: u8| directory.join(format!("{port}.sock")).display().to_string();
    [
        [0, 1].map(|port| format!("net_vhost{port},iface={}", socket(port))),
        [0, 1].map(|port| format!("net_virtio_user{port},path={}", socket(port))),
    ]
}

fn attach(eal: &Eal, device: &str) -> DeviceSpec {
    let device = device.parse().unwrap();
    eal.attach(&device, 1).unwrap();
    device
}

fn start(eal: &Eal, name: &str, devices: &[DeviceSpec; 2]) -> Side {
    let sizes =
        MempoolConfig { name: name.into(), frames: 8_191, frame_bytes_max: MTU + 32, ..Default::default() };
    let pool = eal.mempool(&sizes).unwrap();
    let (mut ports, mut queues) = (Vec::new(), Vec::new());
    for device in devices {
        let started = eal.port(device).unwrap().mtu(MTU).start(&pool).unwrap();
        ports.push(started.port);
        queues.extend(started.rx.into_iter().zip(started.tx));
    }
    Side { ports, io: WorkerPorts::new(queues, pool.clone()), pool }
}

/// Sends a frame over each link, both ways, until it gets through: the ends agree on their queues in threads of DPDK's.
fn bring_up(near: &mut WorkerPorts, far: &mut WorkerPorts) {
    for port in [0, 1].map(PortIndex) {
        pass_one(near, far, port);
        pass_one(far, near, port);
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

/// Runs the gateway on a thread of its own, and talks to it as everyone in the scene.
fn talk(eal: &Eal, mut gateway: Side, mut far: Side) {
    bring_up(&mut gateway.io, &mut far.io);
    let counted_before = books::stats(&gateway.ports);
    let (worker, handle) = worker(gateway.io, &jumbo_rules());
    let thread = thread::spawn({
        let (eal, core) = (eal.clone(), *dpdk::cores::allowed().unwrap().last().unwrap());
        move || {
            let _lcore = eal.register_this_thread(core).unwrap();
            worker.run(Instant::now(), Idle::Sleep)
        }
    });

    let mut far_side = FarSide::new(far.io, &HOSTS);
    far_side.wait_for_announcements(ADDRESSES);
    floating_ips_lead_both_ways(&mut far_side);
    fragments_pass_in_any_order(&mut far_side);
    jumbo_frames_pass(&mut far_side);
    assert_eq!(handle.counters.sessions_created.get(), 0, "floating IPs keep no state");
    let flows = flows_from_behind_snat(&mut far_side);
    assert_eq!(far_side.drain(), [Vec::new(), Vec::new()], "nothing more comes");

    handle.stop();
    let io = thread.join().unwrap();
    // Not those there are now: on a busy machine the first have expired.
    assert_eq!(handle.counters.sessions_created.get(), flows as u64);
    assert_eq!(books::drops(&handle.counters), BTreeMap::new());
    assert_eq!(handle.counters.held.get(), 0);
    books::assert_closed(&handle.counters, &gateway.ports, &counted_before);
    let frames =
        |count: fn(&nat::PortCounters) -> u64| [0, 1].map(|port: usize| count(&handle.counters.ports[port]));
    assert_eq!(frames(|port| port.received_frames.get()), far_side.sent, "what was sent has arrived");
    assert_eq!(frames(|port| port.sent_frames.get()), far_side.received, "what it sent has arrived");
    let talked_to = [RED_A, RED_B, RED_WEB, BLUE_A, BLUE_WEB, ISP].map(|host| (host.wire, host.address));
    assert_eq!(far_side.asked_for, HashSet::from(talked_to), "it resolves whom it talks to");

    // Frames wait in rings until the ports close.
    drop((io, gateway.ports));
    assert_eq!(gateway.pool.available(), gateway.pool.frames(), "all buffers are back");
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
