//! Frames in and out over virtual devices that need nothing of the kernel.

use std::thread;

use dpdk::{Eal, EalConfig, MempoolConfig, Side, Started, Steering, WorkerPorts};
use packet::{Burst, Frame, PacketIo, PortIndex, Sent};

use crate::{config, device, edge, frame, in_own_process, pattern, pool, receive, worker};

const PORT: PortIndex = PortIndex(0);

#[test]
fn frames_arrive_as_they_were_sent_and_in_order() {
    in_own_process("devices::frames_arrive_as_they_were_sent_and_in_order", || {
        let (_eal, _pool, ports, mut io) = edge(&["net_ring0"]);
        // More than the worker keeps pending, so that it hands some over by itself.
        let sent: Vec<_> = (0..100).map(|number| pattern(number, 60 + number * 14)).collect();
        for bytes in &sent {
            let frame = frame(&mut io, bytes);
            io.send(PORT, frame);
        }
        let bytes = sent.iter().map(|bytes| bytes.len() as u64).sum();
        assert_eq!(io.flush(PORT), Sent { frames: 100, bytes, refused: 0 });
        assert_eq!(io.flush(PORT), Sent::default(), "a flush reports what was sent since the last");

        let received = receive(&mut io, PORT, 100);
        assert!(received.iter().map(Frame::bytes).eq(sent.iter().map(|bytes| &bytes[..])));
        let stats = ports[0].stats().unwrap();
        assert_eq!((stats.tx_frames, stats.rx_frames), (100, 100));
    });
}

#[test]
fn a_full_port_refuses_and_nothing_leaks() {
    in_own_process("devices::a_full_port_refuses_and_nothing_leaks", || {
        let (_eal, pool, _ports, mut io) = edge(&["net_ring0"]);
        let before = pool.available();
        // The ring of net_ring holds 1,023 frames.
        for number in 0..1500 {
            let frame = frame(&mut io, &pattern(number, 64));
            io.send(PORT, frame);
        }
        let sent = io.flush(PORT);
        assert_eq!(sent, Sent { frames: 1023, bytes: 1023 * 64, refused: 477 });
        assert_eq!(pool.available(), before - 1023, "the refused are back at once");

        // Were a frame that the port took given back as well, it would be overwritten now.
        let others: Vec<_> = std::iter::from_fn(|| io.allocate())
            .map(|mut other| {
                other.resize(64).unwrap();
                other.bytes_mut().fill(0xff);
                other
            })
            .collect();
        let received = receive(&mut io, PORT, 1023);
        assert_eq!(received.len(), 1023);
        for (number, frame) in received.iter().enumerate() {
            assert_eq!(frame.bytes(), pattern(number, 64), "the first come first");
        }
        drop((received, others));
        assert_eq!(pool.available(), before);
    });
}

#[test]
fn a_capture_passes_through_byte_for_byte() {
    in_own_process("devices::a_capture_passes_through_byte_for_byte", || {
        let directory = tempfile::tempdir().unwrap();
        let (input, output) = (directory.path().join("in.pcap"), directory.path().join("out.pcap"));
        let frames: Vec<_> = [60, 61, 590, 1514, 1518, 2048].map(|length| pattern(length, length)).into();
        std::fs::write(&input, capture(&frames)).unwrap();
        let spec = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());

        let (eal, _pool, ports, mut io) = edge(&[&spec]);
        for frame in receive(&mut io, PORT, frames.len()) {
            io.send(PORT, frame);
        }
        assert_eq!(io.flush(PORT).frames, frames.len() as u64);
        drop((io, ports, eal));
        assert_eq!(frames_of(&std::fs::read(&output).unwrap()), frames);
    });
}

#[test]
fn a_frame_in_several_segments_is_dropped_and_counted() {
    in_own_process("devices::a_frame_in_several_segments_is_dropped_and_counted", || {
        let directory = tempfile::tempdir().unwrap();
        let input = directory.path().join("in.pcap");
        // The driver chains mbufs for what does not fit into 2,048 bytes.
        let frames: Vec<_> = [60, 2049, 61, 5000, 62].map(|length| pattern(length, length)).into();
        std::fs::write(&input, capture(&frames)).unwrap();
        let (_eal, pool, ports, mut io) = edge(&[&format!("net_pcap0,rx_pcap={}", input.display())]);

        let received = receive(&mut io, PORT, 5);
        assert_eq!(received.iter().map(|frame| frame.bytes().len()).collect::<Vec<_>>(), [60, 61, 62]);
        assert_eq!(ports[0].multi_segment_dropped(), 2);
        assert_eq!(ports[0].stats().unwrap().rx_frames, 5);
        drop(received);
        assert_eq!(pool.available(), pool.frames(), "all segments are back");
    });
}

#[test]
fn two_workers_own_a_queue_each() {
    in_own_process("devices::two_workers_own_a_queue_each", || {
        let eal = Eal::init(&EalConfig { queues: 2, ..config(&["net_ring0"]) }).unwrap();
        let pool = pool(&eal);
        let Started { port, rx, tx } =
            eal.port(&device("net_ring0")).unwrap().queues(2).start(&pool).unwrap();
        let (workers, map) = WorkerPorts::share_out([(rx, tx)], 2, &pool);
        assert_eq!(map.workers_of(PORT), [0, 1]);
        let cores = dpdk::cores::allowed().unwrap();
        let workers: Vec<_> = workers
            .into_iter()
            .enumerate()
            .map(|(number, mut io)| {
                let (eal, core) = (eal.clone(), cores[number % cores.len()]);
                thread::spawn(move || {
                    let _lcore = eal.register_this_thread(core).unwrap();
                    // Each queue leads back to itself: a worker sees its own frames and no others.
                    let mut total = 0;
                    for round in 0..500 {
                        let bytes = pattern(1000 * number + round, 64);
                        for _ in 0..32 {
                            let frame = frame(&mut io, &bytes);
                            io.send(PORT, frame);
                        }
                        total += io.flush(PORT).frames;
                        let mut frames = Burst::new();
                        io.receive(PORT, &mut frames);
                        assert_eq!(frames.len(), 32);
                        assert!(frames.iter().all(|frame| frame.bytes() == bytes));
                    }
                    total
                })
            })
            .collect();
        let sent: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        assert_eq!(sent, [16_000, 16_000]);
        let stats = port.stats().unwrap();
        assert_eq!((stats.rx_frames, stats.tx_frames), (32_000, 32_000));
        assert_eq!(pool.available(), pool.frames());
    });
}

#[test]
fn what_one_worker_receives_another_may_send() {
    in_own_process("devices::what_one_worker_receives_another_may_send", || {
        const FRAMES: usize = 5_000;
        let directory = tempfile::tempdir().unwrap();
        let [input, first, second] = ["in", "first", "second"].map(|name| directory.path().join(name));
        let frames: Vec<_> = (0..FRAMES).map(|number| pattern(number, 60 + number % 900)).collect();
        std::fs::write(&input, capture(&frames)).unwrap();
        let [input_name, first_name, second_name] = [&input, &first, &second].map(|path| path.display());
        let spec = format!("net_pcap0,rx_pcap={input_name},tx_pcap={first_name},tx_pcap={second_name}");

        // One queue to receive from, two to send by: the other worker lives on what it is handed.
        let eal = Eal::init(&EalConfig { queues: 2, ..config(&[&spec]) }).unwrap();
        let pool = pool(&eal);
        let Started { port, rx, tx } = eal.port(&device(&spec)).unwrap().queues(2).start(&pool).unwrap();
        assert_eq!((rx.len(), tx.len()), (1, 2));
        let (mut workers, map) = WorkerPorts::share_out([(rx, tx)], 2, &pool);
        assert_eq!(map.workers_of(PORT), [0]);
        let (mut sends, mut receives) = (workers.pop().unwrap(), workers.pop().unwrap());
        let cores = dpdk::cores::allowed().unwrap();
        // So few on the way that the pool, smaller than the capture, lasts.
        let (hand_on, handed) = std::sync::mpsc::sync_channel(64);
        let receiver = thread::spawn({
            let (eal, core) = (eal.clone(), cores[0]);
            move || {
                let _lcore = eal.register_this_thread(core).unwrap();
                let mut received = 0;
                while received < FRAMES {
                    let frames = receive(&mut receives, PORT, 1);
                    assert!(!frames.is_empty(), "the capture ended after {received}");
                    received += frames.len();
                    frames.into_iter().for_each(|frame| hand_on.send(frame).unwrap());
                }
            }
        });
        let sender = thread::spawn({
            let (eal, core) = (eal.clone(), cores[cores.len() - 1]);
            move || {
                let _lcore = eal.register_this_thread(core).unwrap();
                let mut none = Burst::new();
                sends.receive(PORT, &mut none);
                assert!(none.is_empty(), "it has no queue to receive from");
                handed.into_iter().for_each(|frame| sends.send(PORT, frame));
                assert_eq!(sends.flush(PORT).frames as usize, FRAMES);
            }
        });
        receiver.join().unwrap();
        sender.join().unwrap();
        assert_eq!(pool.available(), pool.frames(), "each is back, whoever freed it");
        drop((port, pool, eal));
        assert_eq!(frames_of(&std::fs::read(&second).unwrap()), frames);
        assert_eq!(frames_of(&std::fs::read(&first).unwrap()).len(), 0);
    });
}

#[test]
fn a_burst_is_never_larger_than_its_room() {
    in_own_process("devices::a_burst_is_never_larger_than_its_room", || {
        // net_null delivers as many frames as it is asked for.
        let (_eal, pool, _ports, mut io) = edge(&["net_null0"]);
        let mut frames = Burst::new();
        frames.push(frame(&mut io, &[1, 2, 3]));
        io.receive(PORT, &mut frames);
        assert_eq!(frames.len(), frames.capacity());
        assert_eq!(frames[0].bytes(), [1, 2, 3], "what was there stays in front");
        io.receive(PORT, &mut frames);
        assert_eq!(frames.len(), frames.capacity());
        drop(frames);
        assert_eq!(pool.available(), pool.frames());
    });
}

#[test]
fn a_port_tells_what_it_is() {
    in_own_process("devices::a_port_tells_what_it_is", || {
        let (_eal, _pool, ports, _io) = edge(&["net_ring0"]);
        let port = &ports[0];
        assert_eq!((port.name(), port.driver(), port.mtu()), ("net_ring0", "net_ring", 1500));
        let link = port.link().unwrap();
        assert!(link.up && link.speed_mbps.is_some());
        assert!(port.receives_to_any_address());
        assert_eq!(port.steering(), Steering::OneWorker);
    });
}

#[test]
fn each_worker_receives_into_its_own_pool_and_takes_from_it() {
    in_own_process("devices::each_worker_receives_into_its_own_pool_and_takes_from_it", || {
        let eal = Eal::init(&EalConfig { queues: 2, ..config(&["net_null0"]) }).unwrap();
        let pool = |name: &str| {
            eal.mempool(&MempoolConfig { name: name.into(), frames: 1023, ..MempoolConfig::default() })
        };
        let pools = ["near", "far"].map(|name| pool(name).unwrap());
        let builder = eal.port(&device("net_null0")).unwrap().queues(2);
        let Started { port: _port, rx, tx } = builder.start_from(|queue| &pools[usize::from(queue)]).unwrap();
        let (mut workers, _) = WorkerPorts::share_out_from([(rx, tx)], &pools);
        let out = || pools.each_ref().map(|pool| pool.frames() - pool.available());
        let mut frames = Burst::new();
        workers[1].receive(PORT, &mut frames);
        assert_eq!(out(), [0, frames.len() as u32]);
        let _frame = workers[0].allocate().unwrap();
        assert_eq!(out(), [1, frames.len() as u32]);
    });
}

#[test]
fn a_device_without_interrupts_is_named() {
    in_own_process("devices::a_device_without_interrupts_is_named", || {
        let eal = Eal::init(&config(&["net_null0"])).unwrap();
        let pool = pool(&eal);
        let started = eal.port(&device("net_null0")).unwrap().interrupts(true).start(&pool).unwrap();
        let (_ports, io) = worker([started], &pool);
        let error = io.interrupts().err().unwrap().to_string();
        assert!(error.starts_with("net_null0 raises no receive interrupts: "), "{error}");
    });
}

#[test]
fn a_port_that_cannot_be_steered_serves_any_worker() {
    in_own_process("devices::a_port_that_cannot_be_steered_serves_any_worker", || {
        // The one knows no hash, the other all functions but the remote's alone; neither takes rules.
        let devices = ["net_ring0", "net_null0"];
        let eal = Eal::init(&EalConfig { queues: 2, ..config(&devices) }).unwrap();
        let pool = pool(&eal);
        let steering = |name: &str| {
            let port = eal.port(&device(name)).unwrap().queues(2).side(Some(Side::Outside));
            port.start(&pool).unwrap().port.steering()
        };
        assert_eq!(devices.map(steering), [Steering::AnyWorker, Steering::BothEndpoints]);
    });
}

/// A capture file of the classic form.
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend(word.to_ne_bytes());
    }
    for frame in frames {
        let length = frame.len() as u32;
        for word in [0, 0, length, length] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(frame);
    }
    file
}

/// The frames of a capture file.
fn frames_of(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[24..];
    let mut frames = Vec::new();
    while let Some((header, data)) = rest.split_at_checked(16) {
        let length = u32::from_ne_bytes(header[8..12].try_into().unwrap()) as usize;
        frames.push(data[..length].to_vec());
        rest = &data[length..];
    }
    frames
}
