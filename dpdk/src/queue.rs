//! One hardware queue, with one owner.
//!
//! A burst reads DPDK's table of driver functions and calls the driver straight away: what `rte_eth_rx_burst` does
//! inline in C. The table's entry is found once, when the port starts; through an `Arc` in each call it costs 17 %.

use core::ptr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk_sys::{rte_eth_fp_ops, rte_mbuf};

use crate::Mbuf;
use crate::port::Running;

/// The receiving side of one queue.
///
/// ```
/// fn must_be_send<T: Send>() {}
/// must_be_send::<dpdk::RxQueue>();
/// ```
/// ```compile_fail
/// fn must_be_sync<T: Sync>() {}
/// must_be_sync::<dpdk::RxQueue>();
/// ```
/// ```compile_fail
/// fn must_be_clone<T: Clone>() {}
/// must_be_clone::<dpdk::RxQueue>();
/// ```
pub struct RxQueue(Queue);

/// The transmitting side of one queue.
///
/// ```compile_fail
/// fn must_be_sync<T: Sync>() {}
/// must_be_sync::<dpdk::TxQueue>();
/// ```
/// A frame that was sent is gone:
///
/// ```
/// fn sent(mut queue: dpdk::TxQueue, frame: dpdk::Mbuf) {
///     let mut frames = arrayvec::ArrayVec::<_, 1>::from([frame]);
///     queue.transmit(&mut frames);
/// }
/// ```
/// ```compile_fail
/// use packet::Frame;
/// fn sent(mut queue: dpdk::TxQueue, frame: dpdk::Mbuf) {
///     let mut frames = arrayvec::ArrayVec::<_, 1>::from([frame]);
///     queue.transmit(&mut frames);
///     frame.bytes();
/// }
/// ```
pub struct TxQueue(Queue);

struct Queue {
    operations: *const rte_eth_fp_ops,
    index: u16,
    /// Keeps the port running.
    port: Arc<Running>,
}

// SAFETY: a queue may be used by any one thread at a time; `&mut self` sees to the "one". The table's entry is static,
// and does not change while the port runs, which `port` ensures.
unsafe impl Send for Queue {}

impl RxQueue {
    /// # Safety
    /// The port runs, and has a receive queue `index` for which no other `RxQueue` was made.
    pub(crate) unsafe fn new(port: Arc<Running>, index: u16) -> Self {
        Self(Queue { operations: operations(&port), index, port })
    }

    /// Appends what has arrived to `frames`, up to its capacity. Never waits.
    ///
    /// Some drivers deliver nothing into room for fewer than 4 frames; call it with room for a burst. A frame in
    /// several segments is dropped and counted ([`Port::multi_segment_dropped`](crate::Port::multi_segment_dropped)).
    pub fn receive<const N: usize>(&mut self, frames: &mut ArrayVec<Mbuf, N>) {
        let before = frames.len();
        let room = u16::try_from(frames.remaining_capacity()).unwrap_or(u16::MAX);
        // SAFETY: the driver writes at most `room` pointers into the vector's spare capacity, whose elements have a
        // pointer's layout; those it wrote are owned mbufs. The queue exists, and is ours alone.
        unsafe {
            let Some(burst) = (*self.0.operations).rx_pkt_burst else { return };
            let queue = *(*self.0.operations).rxq.data.add(self.0.index.into());
            let spare = frames.as_mut_ptr().add(before).cast::<*mut rte_mbuf>();
            let received = burst(queue, spare, room);
            frames.set_len(before + usize::from(received.min(room)));
        }
        if frames[before..].iter().any(|frame| !frame.is_contiguous()) {
            self.drop_segmented(frames);
        }
    }

    /// Its port and its number there.
    pub(crate) fn place(&self) -> (Arc<Running>, u16) {
        (Arc::clone(&self.0.port), self.0.index)
    }

    #[cold]
    fn drop_segmented<const N: usize>(&mut self, frames: &mut ArrayVec<Mbuf, N>) {
        let before = frames.len();
        frames.retain(|frame| frame.is_contiguous());
        let dropped = (before - frames.len()) as u64;
        self.0.port.count_multi_segment(dropped);
    }
}

impl TxQueue {
    /// # Safety
    /// The port runs, and has a transmit queue `index` for which no other `TxQueue` was made.
    pub(crate) unsafe fn new(port: Arc<Running>, index: u16) -> Self {
        Self(Queue { operations: operations(&port), index, port })
    }

    /// Hands frames to the driver, from the front on; those it has no room for stay in `frames`.
    ///
    /// Drivers may take a part at a time; they are asked again as long as they take any.
    pub fn transmit<const N: usize>(&mut self, frames: &mut ArrayVec<Mbuf, N>) {
        while !frames.is_empty() && self.burst(frames) > 0 {}
    }

    fn burst<const N: usize>(&mut self, frames: &mut ArrayVec<Mbuf, N>) -> usize {
        let length = frames.len();
        let offered = u16::try_from(length).unwrap_or(u16::MAX);
        // SAFETY: the elements have a pointer's layout, and the first `taken` of them belong to the driver afterwards:
        // the length is 0 meanwhile, so that nothing frees them twice, and the rest moves to the front. The queue
        // exists, and is ours alone.
        unsafe {
            let Some(burst) = (*self.0.operations).tx_pkt_burst else { return 0 };
            let queue = *(*self.0.operations).txq.data.add(self.0.index.into());
            frames.set_len(0);
            let first = frames.as_mut_ptr();
            let taken = usize::from(burst(queue, first.cast::<*mut rte_mbuf>(), offered).min(offered));
            ptr::copy(first.add(taken), first, length - taken);
            frames.set_len(length - taken);
            taken
        }
    }
}

/// Frees frames together, which is cheaper than one by one.
pub(crate) fn free<const N: usize>(frames: &mut ArrayVec<Mbuf, N>) {
    let count = frames.len();
    // SAFETY: the elements have a pointer's layout and are owned; the vector forgets them first.
    unsafe {
        frames.set_len(0);
        dpdk_sys::rte_pktmbuf_free_bulk(frames.as_mut_ptr().cast::<*mut rte_mbuf>(), count as u32);
    }
}

fn operations(port: &Running) -> *const rte_eth_fp_ops {
    let table = (&raw const dpdk_sys::rte_eth_fp_ops).cast::<rte_eth_fp_ops>();
    // SAFETY: DPDK gave out the number, so it is below the table's length.
    unsafe { table.add(port.id().into()) }
}
