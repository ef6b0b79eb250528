//! Ports of plain memory: a wire to each, and as many receive queues as there are workers.
//!
//! What all workers send by a port lies in one row, in the order in which it left them: the order that a host at the
//! other end of the wire would see.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use packet::{Burst, PacketIo, PortIndex, Sent};

/// More than any test has workers.
const QUEUES_MAX: usize = 8;

pub(crate) type Frame = Vec<u8>;

/// The ports of all workers, from outside.
#[derive(Clone)]
pub(crate) struct Wires(Arc<Vec<Wire>>);

#[derive(Default)]
struct Wire {
    arrived: [Mutex<VecDeque<Frame>>; QUEUES_MAX],
    sent: Mutex<Vec<Frame>>,
}

impl Wires {
    pub(crate) fn new(ports: usize) -> Self {
        Self(Arc::new((0..ports).map(|_| Wire::default()).collect()))
    }

    /// A frame comes in by a queue of a port.
    pub(crate) fn arrive(&self, port: usize, queue: usize, frame: Frame) {
        locked(&self.0[port].arrived[queue]).push_back(frame);
    }

    /// Takes back what nobody has received yet: by port, each flow's in order.
    pub(crate) fn take_arrived(&self) -> Vec<(usize, Frame)> {
        let ports = self.0.iter().enumerate();
        let queues = ports.flat_map(|(port, wire)| wire.arrived.iter().map(move |queue| (port, queue)));
        queues
            .flat_map(|(port, queue)| {
                std::mem::take(&mut *locked(queue)).into_iter().map(move |frame| (port, frame))
            })
            .collect()
    }

    /// What has left by a port since the last look.
    pub(crate) fn take_sent(&self, port: usize) -> Vec<Frame> {
        std::mem::take(&mut *locked(&self.0[port].sent))
    }

    /// What a worker has of all ports: the queue of its number.
    pub(crate) fn io(&self, queue: usize) -> Io {
        Io {
            wires: self.clone(),
            queue,
            queued: (0..self.0.len()).map(|_| Vec::new()).collect(),
            driver: Driver::default(),
        }
    }
}

/// How a worker's driver behaves, to be changed while it runs.
#[derive(Clone)]
pub(crate) struct Driver(Arc<DriverState>);

struct DriverState {
    hangs: AtomicBool,
    /// Frames a port takes per flush.
    room: AtomicUsize,
}

impl Default for Driver {
    fn default() -> Self {
        Self(Arc::new(DriverState { hangs: AtomicBool::new(false), room: AtomicUsize::new(usize::MAX) }))
    }
}

impl Driver {
    /// Its next call does not come back before this is said otherwise.
    pub(crate) fn hang(&self, hangs: bool) {
        self.0.hangs.store(hangs, SeqCst);
    }

    pub(crate) fn set_room(&self, frames: usize) {
        self.0.room.store(frames, SeqCst);
    }
}

/// One worker's way to the wires.
pub(crate) struct Io {
    wires: Wires,
    queue: usize,
    queued: Vec<Vec<Frame>>,
    pub(crate) driver: Driver,
}

impl PacketIo for Io {
    type Frame = Frame;

    fn receive(&mut self, PortIndex(port): PortIndex, frames: &mut Burst<Frame>) {
        while self.driver.0.hangs.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut arrived = locked(&self.wires.0[usize::from(port)].arrived[self.queue]);
        let count = arrived.len().min(frames.remaining_capacity());
        frames.extend(arrived.drain(..count));
    }

    fn send(&mut self, PortIndex(port): PortIndex, frame: Frame) {
        self.queued[usize::from(port)].push(frame);
    }

    fn flush(&mut self, PortIndex(port): PortIndex) -> Sent {
        let queued = &mut self.queued[usize::from(port)];
        let refused = queued.split_off(self.driver.0.room.load(SeqCst).min(queued.len())).len();
        let bytes = queued.iter().map(|frame| frame.len() as u64).sum();
        let sent = Sent { frames: queued.len() as u64, bytes, refused: refused as u64 };
        locked(&self.wires.0[usize::from(port)].sent).append(queued);
        sent
    }

    fn allocate(&mut self) -> Option<Frame> {
        Some(Frame::new())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
