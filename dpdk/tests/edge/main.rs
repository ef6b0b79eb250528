//! The edge over DPDK's virtual devices. Needs libdpdk; needs neither root (but for `af_packet`), nor hugepages, nor a
//! network card.
//!
//! EAL starts once in a process, so each test runs in a process of its own: the test starts this very program again,
//! asking for itself alone.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop where a test may")]

mod af_packet;
mod devices;
mod frames;
mod life;
mod vhost;

use std::env;
use std::process::{self, Command};

use dpdk::{DeviceSpec, Eal, EalConfig, MemoryPolicy, Mempool, MempoolConfig, Port, Started, WorkerPorts};
use packet::{Burst, Frame, PacketIo, PortIndex};

/// Set for the process that is to run the body of the test of this name.
const OWN_PROCESS: &str = "NATGATE_TEST_IN_OWN_PROCESS";

/// Runs `body` in a process of its own. `name` is the test's path in this program.
fn in_own_process(name: &str, body: impl FnOnce()) {
    if env::var(OWN_PROCESS).is_ok_and(|own| own == name) {
        return body();
    }
    let program = env::current_exe().unwrap();
    let output =
        Command::new(program).args(["--exact", name, "--nocapture"]).env(OWN_PROCESS, name).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // "1 passed": a name that is no test's would otherwise pass, having run nothing.
    assert!(output.status.success() && stdout.contains("1 passed"), "{}\n{stdout}\n{stderr}", output.status);
}

fn config(devices: &[&str]) -> EalConfig {
    let devices = devices.iter().map(|device| device.parse().unwrap()).collect();
    EalConfig {
        memory: MemoryPolicy::Plain,
        memory_mib: 64,
        file_prefix: format!("natgate-test-{}", process::id()),
        ..EalConfig::new(devices)
    }
}

fn device(text: &str) -> DeviceSpec {
    text.parse().unwrap()
}

fn pool(eal: &Eal) -> Mempool {
    eal.mempool(&MempoolConfig { frames: 4095, ..MempoolConfig::default() }).unwrap()
}

/// A worker's view of ports with one queue each.
fn worker(started: impl IntoIterator<Item = Started>, pool: &Mempool) -> (Vec<Port>, WorkerPorts) {
    let (ports, queues): (Vec<_>, Vec<_>) =
        started.into_iter().map(|Started { port, rx, tx }| (port, (rx, tx))).unzip();
    let (mut workers, _) = WorkerPorts::share_out(queues, 1, pool);
    (ports, workers.remove(0))
}

/// EAL, a pool and a worker over `devices`.
fn edge(devices: &[&str]) -> (Eal, Mempool, Vec<Port>, WorkerPorts) {
    let eal = Eal::init(&config(devices)).unwrap();
    let pool = pool(&eal);
    let started: Vec<_> =
        devices.iter().map(|name| eal.port(&device(name)).unwrap().start(&pool).unwrap()).collect();
    let (ports, worker) = worker(started, &pool);
    (eal, pool, ports, worker)
}

/// Bytes that differ from frame to frame and from place to place.
fn pattern(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|place| (number * 31 + place * 7 + (place >> 8)) as u8).collect()
}

/// A frame of the worker's own with these bytes.
fn frame(io: &mut impl PacketIo<Frame = dpdk::Mbuf>, bytes: &[u8]) -> dpdk::Mbuf {
    let mut frame = io.allocate().unwrap();
    frame.resize(bytes.len()).unwrap();
    frame.bytes_mut().copy_from_slice(bytes);
    frame
}

/// Receives until `count` frames came, and gives up when none comes for long.
fn receive(io: &mut WorkerPorts, port: PortIndex, count: usize) -> Vec<dpdk::Mbuf> {
    let (mut received, mut idle) = (Vec::new(), 0);
    while received.len() < count && idle < 1000 {
        let mut burst = Burst::new();
        io.receive(port, &mut burst);
        if burst.is_empty() {
            idle += 1;
            std::thread::sleep(std::time::Duration::from_millis(1));
        } else {
            idle = 0;
        }
        received.extend(burst);
    }
    received
}
