//! The virtio data path without a virtual machine: a vhost-user port and a virtio port of the same process.
//!
//! Between two processes the same devices are given to each EAL at its start, the vhost side first. Within one process
//! the virtio side is attached once the vhost port runs, because it connects while it is attached.

use std::fs::File;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use dpdk::{Eal, EalConfig, MempoolConfig};
use packet::{Burst, Frame, PacketIo, PortIndex};

use crate::{config, device, frame, in_own_process, pattern, pool, receive, worker};

const VHOST: PortIndex = PortIndex(0);
const VIRTIO: PortIndex = PortIndex(1);

#[test]
fn jumbo_frames_pass_between_vhost_and_virtio_unchanged() {
    in_own_process("vhost::jumbo_frames_pass_between_vhost_and_virtio_unchanged", || {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("vhost.sock");
        let back = device(&format!("net_vhost0,iface={}", socket.display()));
        let front = device(&format!("net_virtio_user0,path={}", socket.display()));

        let eal = Eal::init(&EalConfig { devices: vec![back.clone()], ..config(&[]) }).unwrap();
        let sizes = MempoolConfig { frames: 4095, frame_bytes_max: 9216, ..MempoolConfig::default() };
        let pool = eal.mempool(&sizes).unwrap();
        let back = eal.port(&back).unwrap().start(&pool).unwrap();
        eal.attach(&front, 1).unwrap();
        let front = eal.port(&front).unwrap().mtu(9000).start(&pool).unwrap();
        let (ports, mut io) = worker([back, front], &pool);
        assert_eq!((ports[0].driver(), ports[1].driver()), ("net_vhost", "net_virtio_user"));

        for (from, to) in [(VIRTIO, VHOST), (VHOST, VIRTIO)] {
            let sent: Vec<_> = [60, 1514, 9014].map(|length| pattern(length, length)).into();
            for bytes in &sent {
                let frame = frame(&mut io, bytes);
                io.send(from, frame);
            }
            assert_eq!(io.flush(from).refused, 0);
            let received = receive(&mut io, to, sent.len());
            assert!(received.iter().map(Frame::bytes).eq(sent.iter().map(|bytes| &bytes[..])), "{from:?}");
        }
        assert_eq!(ports[0].multi_segment_dropped() + ports[1].multi_segment_dropped(), 0);
    });
}

#[test]
fn a_thread_that_waits_for_frames_is_woken_by_one_and_by_an_alarm() {
    in_own_process("vhost::a_thread_that_waits_for_frames_is_woken_by_one_and_by_an_alarm", || {
        const LONG: Duration = Duration::from_secs(20);
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("vhost.sock");
        let back = device(&format!("net_vhost0,iface={}", socket.display()));
        let front = device(&format!("net_virtio_user0,path={}", socket.display()));
        let eal = Eal::init(&EalConfig { devices: vec![back.clone()], ..config(&[]) }).unwrap();
        let pool = pool(&eal);
        let back = eal.port(&back).unwrap().start(&pool).unwrap();
        eal.attach(&front, 1).unwrap();
        let front = eal.port(&front).unwrap().interrupts(true).start(&pool).unwrap();
        let ((_back, mut sender), (_front, mut receiver)) = (worker([back], &pool), worker([front], &pool));
        let mut interrupts = receiver.interrupts().unwrap();
        let alarm = interrupts.alarm().unwrap();

        let (begun, port) = (Instant::now(), PortIndex(0));
        let sending = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            let frame = frame(&mut sender, &pattern(1, 64));
            sender.send(port, frame);
            assert_eq!(sender.flush(port).refused, 0);
        });
        // Whatever else wakes it: a frame is there when it is.
        let mut frames = Burst::new();
        while frames.is_empty() {
            interrupts.sleep(LONG);
            receiver.receive(port, &mut frames);
        }
        sending.join().unwrap();
        assert!(begun.elapsed() < LONG, "woken by the frame");

        let ringing = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            File::from(alarm).write_all(&1_u64.to_ne_bytes()).unwrap();
        });
        interrupts.sleep(LONG);
        ringing.join().unwrap();
        assert!(begun.elapsed() < LONG, "woken by the alarm");

        let begun = Instant::now();
        interrupts.sleep(Duration::from_millis(30));
        assert!(begun.elapsed() >= Duration::from_millis(29), "the alarm rings once");
    });
}
