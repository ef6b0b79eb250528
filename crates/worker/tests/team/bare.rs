//! What a worker does without: system calls, and clock reads but one in a turn.
//!
//! Packets are carried on a thread to which the kernel allows no system calls but `read` and `write` (seccomp's strict mode):
//! with any other it ends on the spot. So frames, and all that a port keeps, are made before, and no frame's memory is given
//! back. Reading the clock is no system call, so reads are counted, at the one place where a worker is given a clock; that
//! nothing else reads one, and that nothing waits for a lock, `tests/tidy/tests/path.rs` sees in the sources.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::Read;
use std::mem::ManuallyDrop;
use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use packet::tcp::SYN;
use packet::{Burst, Frame, Moment, NoRoom, PacketIo, Parsed, PortIndex, Sent, icmp, testing};
use rustix::thread::{SecureComputingMode, gettid, set_secure_computing_mode};
use worker::{Idle, Sleep, Worker, clock};

use crate::fleet::Gateway;
use crate::turn::{EXT, ISP, LAN, OUT, RULES, SERVER, hello, host, out, to_web};
use crate::wires::Wires;

/// Packets of each kind.
const PACKETS: u16 = 100;
/// Longer than any session lives.
const LONG_MS: u64 = 4_000_000;

/// A frame whose memory is never given back.
struct Kept(ManuallyDrop<Vec<u8>>);

impl From<Vec<u8>> for Kept {
    fn from(mut bytes: Vec<u8>) -> Self {
        // As a network card's buffer, it has room for a tag.
        bytes.reserve(64);
        Self(ManuallyDrop::new(bytes))
    }
}

impl Frame for Kept {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn grow_front(&mut self, count: usize) -> Result<(), NoRoom> {
        self.0.grow_front(count)
    }

    fn shrink_front(&mut self, count: usize) {
        self.0.shrink_front(count);
    }

    fn resize(&mut self, length: usize) -> Result<(), NoRoom> {
        Frame::resize(&mut *self.0, length)
    }
}

/// Ports: what comes in, what has left, and buffers for frames of the gateway's own.
#[derive(Clone, Default)]
struct Belt(Rc<RefCell<Lying>>);

#[derive(Default)]
struct Lying {
    arrived: [VecDeque<Kept>; 3],
    sent: Vec<(usize, Kept)>,
    store: Vec<Kept>,
}

impl PacketIo for Belt {
    type Frame = Kept;

    fn receive(&mut self, PortIndex(port): PortIndex, frames: &mut Burst<Kept>) {
        let arrived = &mut self.0.borrow_mut().arrived[usize::from(port)];
        let count = arrived.len().min(frames.remaining_capacity());
        frames.extend(arrived.drain(..count));
    }

    fn send(&mut self, PortIndex(port): PortIndex, frame: Kept) {
        self.0.borrow_mut().sent.push((port.into(), frame));
    }

    fn flush(&mut self, _: PortIndex) -> Sent {
        Sent::default()
    }

    fn allocate(&mut self) -> Option<Kept> {
        self.0.borrow_mut().store.pop()
    }
}

impl Belt {
    /// As large as all that is to come and go.
    fn new() -> Self {
        let belt = Self::default();
        let mut lying = belt.0.borrow_mut();
        lying.sent.reserve(8_192);
        lying.store.extend((0..1_024).map(|_| Kept::from(Vec::with_capacity(2_048))));
        drop(lying);
        belt
    }

    fn arrive(&self, port: usize, frames: impl IntoIterator<Item = Vec<u8>>) {
        self.0.borrow_mut().arrived[port].extend(frames.into_iter().map(Kept::from));
    }

    /// What has left by a port.
    fn take_sent(&self, port: usize) -> Vec<Vec<u8>> {
        let sent = &mut self.0.borrow_mut().sent;
        sent.extract_if(.., |(by, _)| *by == port).map(|(_, frame)| frame.bytes().to_vec()).collect()
    }
}

/// One worker with rules and neighbours, and hosts that have spoken with the server.
struct Scene {
    gateway: Gateway,
    worker: Worker<Belt>,
    belt: Belt,
    now: Moment,
}

impl Scene {
    fn new() -> Self {
        let belt = Belt::new();
        let mut gateway = Gateway::new(32_768);
        let (worker, mut handle) = gateway.team(vec![belt.clone()]).remove(0);
        handle.publish(&gateway.compile(RULES)).unwrap();
        let mut scene = Self { gateway, worker, belt, now: Moment::from_ms(1) };
        scene.belt.arrive(0, [11, 50].map(|number| hello(host(number), LAN, Ipv4Addr::new(10, 0, 0, 1))));
        scene.belt.arrive(OUT, [hello(ISP, EXT, Ipv4Addr::new(203, 0, 113, 2))]);
        scene.turn_until_empty();
        scene
    }

    fn turn_until_empty(&mut self) {
        loop {
            self.now = self.now + 1;
            if self.worker.turn(self.now) {
                return;
            }
        }
    }

    /// Packets of all kinds arrive. How many frames are to leave of them.
    fn let_all_arrive(&mut self) -> usize {
        let (mac, address) = host(11);
        let many = 2_000..2_000 + PACKETS;
        self.belt.arrive(0, many.clone().map(out));
        self.turn_until_empty();
        let seen = self.belt.take_sent(OUT);
        let external = seen.iter().map(|frame| Parsed::read(frame).unwrap());
        let answer =
            |port| testing::udp((ISP.0, SERVER, 53), (EXT, Ipv4Addr::new(203, 0, 113, 2), port), None, b"me");
        let answers: Vec<_> = external.map(|packet| answer(packet.source_port)).collect();
        let remote = (LAN, SERVER, 53);
        let inside = [
            many.clone().map(out).collect(),
            many.clone().map(|port| out(port + 1_000)).collect(),
            many.clone()
                .map(|port| testing::tcp((mac, address, port), remote, None, SYN, 1, 0, b""))
                .collect(),
            many.clone()
                .map(|id| {
                    testing::echo(icmp::kind::ECHO_REQUEST, (mac, address), (LAN, SERVER), None, id, 1, b"?")
                })
                .collect(),
            many.clone()
                .map(|port| testing::udp((host(50).0, host(50).1, port), remote, None, b"hello"))
                .collect(),
            vec![hello(host(11), LAN, Ipv4Addr::new(10, 0, 0, 1)); PACKETS.into()],
            vec![testing::with_ttl(out(2_000), 1); PACKETS.into()],
            vec![vec![0; 20]; PACKETS.into()],
            many.clone()
                .flat_map(|id| {
                    testing::fragments(&testing::udp((mac, address, id), remote, None, &[7; 90]), id, 40)
                })
                .collect(),
        ];
        let expected = [100, 100, 100, 100, 100, 0, 100, 0, 300];
        self.belt.arrive(0, inside.into_iter().flatten());
        self.belt.arrive(OUT, answers.into_iter().chain(many.map(to_web)));
        self.belt.0.borrow_mut().sent.clear();
        expected.iter().sum::<usize>() + 200
    }
}

/// Has `prepare` make something to do, and does it on a thread without system calls. What that returned; `None` if it made one.
fn without_system_calls<W: FnOnce() -> u64>(prepare: impl FnOnce() -> W + Send + 'static) -> Option<u64> {
    const UNDER_WAY: u64 = u64::MAX;
    let (thread, result) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicU64::new(UNDER_WAY)));
    let (mut reader, writer) = std::io::pipe().unwrap();
    let of = (Arc::clone(&thread), Arc::clone(&result));
    std::thread::spawn(move || {
        let work = prepare();
        of.0.store(gettid().as_raw_nonzero().get(), SeqCst);
        set_secure_computing_mode(SecureComputingMode::Strict).unwrap();
        of.1.store(work(), SeqCst);
        // Nor could it end. It reads what nobody ever writes.
        _ = reader.read(&mut [0]);
    });
    std::mem::forget(writer);
    loop {
        std::thread::sleep(Duration::from_millis(1));
        let (thread, result) = (thread.load(SeqCst), result.load(SeqCst));
        if result != UNDER_WAY {
            return Some(result);
        }
        if thread != 0 && !Path::new("/proc/self/task").join(thread.to_string()).exists() {
            return None;
        }
    }
}

#[test]
fn a_system_call_is_noticed() {
    assert_eq!(without_system_calls(|| || 7), Some(7));
    assert_eq!(
        without_system_calls(|| || {
            std::thread::yield_now();
            7
        }),
        None
    );
}

#[test]
fn no_packet_makes_a_system_call_be_it_the_first_of_its_flow() {
    let sent = without_system_calls(|| {
        let mut scene = Scene::new();
        let expected = scene.let_all_arrive();
        move || {
            scene.turn_until_empty();
            let sent = scene.belt.0.borrow().sent.len();
            // What is over ends, too.
            scene.now = scene.now + LONG_MS;
            (0..3_000).for_each(|_| {
                scene.now = scene.now + 1;
                scene.worker.turn(scene.now);
            });
            let left = scene.gateway.state.occupancy().sessions;
            // Its memory is not given back, either.
            std::mem::forget(scene);
            (sent.abs_diff(expected) as u64) << 32 | u64::from(left)
        }
    });
    assert_eq!(sent, Some(0), "frames more or less than expected, and sessions that are left");
}

#[test]
fn a_worker_reads_the_clock_once_a_turn() {
    struct Never;
    impl Sleep for Never {
        fn sleep(&mut self, _: Duration) {
            unreachable!("it spins");
        }
    }
    let wires = Wires::new(3);
    let mut gateway = Gateway::new(32_768);
    let (worker, mut handle) = gateway.team(vec![wires.io(0)]).remove(0);
    handle.publish(&gateway.compile(RULES)).unwrap();
    (0..100).for_each(|port| wires.arrive(0, 0, out(port)));
    let reads = Cell::new(0);
    worker.run_by(Idle::Spin, &mut Never, || {
        reads.set(reads.get() + 1);
        if reads.get() == 1_000 {
            handle.stop();
        }
        clock::now()
    });
    let (turns, busy) = handle.status.turns();
    assert!(busy > 0, "with packets and without");
    assert_eq!(reads.get(), turns + 1, "the beginning of the first, and the end of each");
}
