//! Bridges two devices: what comes in by one goes out by the other, until stdin ends.
//!
//! ```text
//! forward net_af_packet0,iface=p0 net_af_packet1,iface=p1
//! ```

use std::error::Error;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, io, thread, time::Duration};

use dpdk::{DeviceSpec, Eal, EalConfig, MemoryUse, MempoolConfig, WorkerPorts};
use packet::{Burst, PacketIo, PortIndex};

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> Result<(), Box<dyn Error>> {
    let devices = env::args().skip(1).map(|text| text.parse()).collect::<Result<Vec<DeviceSpec>, _>>()?;
    let [_, _] = &devices[..] else { return Err("usage: forward DEVICE DEVICE".into()) };

    let eal = Eal::init(&EalConfig::new(devices.clone()))?;
    if let MemoryUse::PlainFor(reason) = eal.memory() {
        eprintln!("warning: running without hugepages: {reason}");
    }
    let pool = eal.mempool(&MempoolConfig::default())?;
    let (mut ports, mut queues) = (Vec::new(), Vec::new());
    for device in &devices {
        let started = eal.port(device)?.start(&pool)?;
        println!("{} {} {}", started.port.name(), started.port.driver(), started.port.mac());
        ports.push(started.port);
        queues.push((started.rx, started.tx));
    }
    // What is sent to a peer that has not connected yet is lost; but a peer may never come.
    for port in &ports {
        for _ in 0..300 {
            if port.link()?.up {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    let (workers, _) = WorkerPorts::share_out(queues, 1, &pool);
    let worker = thread::spawn({
        let (eal, core) = (eal.clone(), dpdk::cores::allowed()?.pop().unwrap_or(0));
        move || -> Result<(), dpdk::LcoreError> {
            let _lcore = eal.register_this_thread(core)?;
            workers.into_iter().for_each(forward);
            Ok(())
        }
    });
    io::stdin().read_to_end(&mut Vec::new())?;
    STOP.store(true, Ordering::Relaxed);
    worker.join().map_err(|_| "the worker panicked")??;
    for port in &ports {
        println!("{} {:?} {:?}", port.name(), port.link()?, port.stats()?);
    }
    drop(ports);
    println!("{} of {} mbufs are back", pool.available(), pool.frames());
    Ok(())
}

fn forward(mut ports: WorkerPorts) {
    let mut frames = Burst::new();
    while !STOP.load(Ordering::Relaxed) {
        let mut idle = true;
        for (from, to) in [(PortIndex(0), PortIndex(1)), (PortIndex(1), PortIndex(0))] {
            ports.receive(from, &mut frames);
            idle &= frames.is_empty();
            for frame in frames.drain(..) {
                ports.send(to, frame);
            }
            ports.flush(to);
        }
        if idle {
            thread::sleep(Duration::from_micros(20));
        }
    }
}
