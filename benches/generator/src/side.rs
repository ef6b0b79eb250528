//! One of the generator's two ports: what it sends over and over, and buffers that go round.
//!
//! A frame that came in is filled again and sent, so that on the way of a packet nothing is taken from a pool, and nothing of a
//! received frame is read but its length.

use arrayvec::ArrayVec;
use dpdk::{Mbuf, Mempool, Port, RxQueue, Started, TxQueue};
use packet::{BURST_FRAMES_MAX, Burst, Frame as _};

use crate::stamp::{self, Clock, FRAME_BYTES};

/// A frame to be sent, in a cache line of its own.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Line(pub(crate) [u8; FRAME_BYTES]);

/// Buffers that wait to be filled again.
const SPARE_MAX: usize = 256;

/// See the file's page.
pub(crate) struct Side {
    /// Its link.
    pub(crate) port: Port,
    rx: RxQueue,
    tx: TxQueue,
    pool: Mempool,
    trace: Vec<Line>,
    next: usize,
    /// Filled, and not taken by the device yet.
    outgoing: Burst<Mbuf>,
    spare: ArrayVec<Mbuf, SPARE_MAX>,
}

impl Side {
    /// Of a port with one queue each way.
    pub(crate) fn new(started: Started, pool: &Mempool) -> Option<Self> {
        let Started { port, mut rx, mut tx } = started;
        Some(Self {
            port,
            rx: rx.pop()?,
            tx: tx.pop()?,
            pool: pool.clone(),
            trace: Vec::new(),
            next: 0,
            outgoing: Burst::new(),
            spare: ArrayVec::new(),
        })
    }

    /// Sets what [`send`](Self::send) sends, in this order, over and over.
    pub(crate) fn set_trace(&mut self, trace: Vec<Line>) {
        (self.trace, self.next) = (trace, 0);
        self.outgoing.clear();
    }

    /// Appends what has come in.
    #[inline]
    pub(crate) fn receive(&mut self, arrived: &mut Burst<Mbuf>) {
        self.rx.receive(arrived);
    }

    /// Takes frames that were looked at, to be filled again.
    #[inline]
    pub(crate) fn keep(&mut self, arrived: &mut Burst<Mbuf>) {
        let room = self.spare.remaining_capacity();
        self.spare.extend(arrived.drain(..room.min(arrived.len())));
        arrived.clear();
    }

    /// Offers up to a burst of the trace, `most` frames at most. Returns how many the device took.
    #[inline]
    pub(crate) fn send(&mut self, most: usize, clock: Clock) -> usize {
        while self.outgoing.len() < most.min(BURST_FRAMES_MAX) {
            let Some(mut frame) = self.spare.pop().or_else(|| self.pool.allocate()) else { break };
            let Ok(()) = frame.resize(FRAME_BYTES) else { break };
            let Some(bytes) = frame.bytes_mut().first_chunk_mut() else { break };
            *bytes = self.trace[self.next].0;
            stamp::set_sent(bytes, clock);
            self.next = if self.next + 1 == self.trace.len() { 0 } else { self.next + 1 };
            self.outgoing.push(frame);
        }
        let offered = self.outgoing.len();
        self.tx.transmit(&mut self.outgoing);
        offered - self.outgoing.len()
    }

    /// Sends one frame, whatever it is; whether the device took it.
    pub(crate) fn send_one(&mut self, bytes: &[u8]) -> bool {
        let Some(mut frame) = self.pool.allocate() else { return false };
        if frame.resize(bytes.len()).is_err() {
            return false;
        }
        frame.bytes_mut().copy_from_slice(bytes);
        let mut one = ArrayVec::<_, 1>::from([frame]);
        self.tx.transmit(&mut one);
        one.is_empty()
    }
}
