//! One worker's way to its ports.

use std::sync::Arc;

use arrayvec::ArrayVec;
use packet::{Burst, Frame, PacketIo, PortIndex, Sent};

use crate::port::Running;
use crate::queue::free;
use crate::{Mbuf, Mempool, RxQueue, TxQueue};

/// Frames that wait for one port before they are handed to the driver together.
pub const TRANSMIT_PENDING_MAX: usize = 64;

/// A worker's queues of each port, in the order of the configuration: one to send by, and mostly one to receive from.
///
/// # Panics
/// Its methods, if a port's index is not below the number of ports.
pub struct WorkerPorts {
    sides: Vec<Side>,
    pool: Mempool,
}

/// A worker's share of one port.
struct Side {
    rx: Option<RxQueue>,
    tx: TxQueue,
    pending: ArrayVec<Mbuf, TRANSMIT_PENDING_MAX>,
    sent: Sent,
}

impl WorkerPorts {
    /// Over the queues of each port; [`allocate`](PacketIo::allocate) takes from `pool`.
    pub(crate) fn new(queues: impl IntoIterator<Item = (Option<RxQueue>, TxQueue)>, pool: Mempool) -> Self {
        let side = |(rx, tx)| Side { rx, tx, pending: ArrayVec::new(), sent: Sent::default() };
        Self { sides: queues.into_iter().map(side).collect(), pool }
    }
}

impl WorkerPorts {
    /// The port and number of each receive queue.
    pub(crate) fn receive_queues(&self) -> impl Iterator<Item = (Arc<Running>, u16)> {
        self.sides.iter().filter_map(|side| side.rx.as_ref()).map(RxQueue::place)
    }
}

impl PacketIo for WorkerPorts {
    type Frame = Mbuf;

    fn receive(&mut self, port: PortIndex, frames: &mut Burst<Mbuf>) {
        if let Some(rx) = &mut self.sides[usize::from(port.0)].rx {
            rx.receive(frames);
        }
    }

    fn send(&mut self, port: PortIndex, frame: Mbuf) {
        let side = &mut self.sides[usize::from(port.0)];
        if side.pending.is_full() {
            side.push_out();
        }
        side.pending.push(frame);
    }

    fn flush(&mut self, port: PortIndex) -> Sent {
        let side = &mut self.sides[usize::from(port.0)];
        side.push_out();
        core::mem::take(&mut side.sent)
    }

    fn allocate(&mut self) -> Option<Mbuf> {
        self.pool.allocate()
    }
}

impl Side {
    /// Empties `pending`. What the port refuses is freed: a frame that waits longer would only arrive out of order or
    /// late, and the sender's transport knows better than we when to send it again.
    fn push_out(&mut self) {
        // A frame's length is out of reach once the driver has it: all are counted first, the refused taken off again.
        let (frames, bytes) = count(&self.pending);
        self.tx.transmit(&mut self.pending);
        let (refused, refused_bytes) = count(&self.pending);
        free(&mut self.pending);
        self.sent.frames += frames - refused;
        self.sent.bytes += bytes - refused_bytes;
        self.sent.refused += refused;
    }
}

fn count(frames: &[Mbuf]) -> (u64, u64) {
    (frames.len() as u64, frames.iter().map(|frame| frame.bytes().len() as u64).sum())
}
