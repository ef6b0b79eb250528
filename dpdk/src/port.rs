//! What can be asked of a running port.

use core::cell::Cell;
use core::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use packet::MacAddress;

use crate::held::{Held, Limits};
use crate::packet_socket::{self, PacketSockets};
use crate::{Errno, Mempool, Steering};

/// Why a port does not run, or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// EAL found no such device: its driver refused it, or there is none for it.
    #[error("{device}: DPDK found no such device{hint}{said}")]
    NotFound {
        /// The device.
        device: String,
        /// What to look at.
        hint: String,
        /// The last lines of DPDK's log.
        said: String,
    },
    /// Another builder or port has it.
    #[error("{0} is in use already")]
    InUse(String),
    /// Every worker needs a transmit queue of its own on every port, and somebody a receive queue.
    #[error("{device} offers {offered} {direction} queue(s), too few for {wanted} workers")]
    FewerQueues {
        /// The device.
        device: String,
        /// `receive` or `transmit`.
        direction: &'static str,
        /// Queues the device can have.
        offered: u16,
        /// Queues asked for.
        wanted: u16,
    },
    /// A call was refused.
    #[error("{device}: {step} failed: {errno}{said}")]
    Step {
        /// The device.
        device: String,
        /// What was being done.
        step: &'static str,
        /// The reason in brief.
        errno: Errno,
        /// The last lines of DPDK's log.
        said: String,
    },
}

/// A running port, without its queues. It can be moved to the thread that watches it, but not shared.
///
/// ```compile_fail
/// fn must_be_sync<T: Sync>() {}
/// must_be_sync::<dpdk::Port>();
/// ```
pub struct Port {
    running: Arc<Running>,
    mac: MacAddress,
    mtu: u16,
    driver: String,
    steering: Steering,
    packet_sockets: PacketSockets,
    /// DPDK's control calls for one port must not run in two threads at once.
    _not_shared: PhantomData<Cell<()>>,
}

/// A port's counters since its start, as the driver counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames handed to the wire.
    pub tx_frames: u64,
    /// Bytes handed to the wire.
    pub tx_bytes: u64,
    /// Frames the device dropped because its queues were full. For `net_af_packet`, which does not count them, it is the
    /// kernel's count, from before the start on.
    pub rx_missed: u64,
    /// Frames received with an error.
    pub rx_errors: u64,
    /// Frames that could not be transmitted.
    pub tx_errors: u64,
    /// Receptions that failed for want of an mbuf.
    pub rx_no_mbuf: u64,
}

/// A port's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether frames can pass.
    pub up: bool,
    /// Speed in Mbit/s, where the device knows it.
    pub speed_mbps: Option<u32>,
}

impl Port {
    pub(crate) fn new(running: Arc<Running>, limits: Limits, steering: Steering) -> Result<Self, PortError> {
        let (mac, mtu) = (running.held.mac()?, running.held.mtu()?);
        let Limits { driver, interface, .. } = limits;
        let packet_sockets = match driver.as_str() {
            packet_socket::DRIVER => PacketSockets::of_interface(interface),
            _ => PacketSockets::none(),
        };
        Ok(Self { running, mac, mtu, driver, steering, packet_sockets, _not_shared: PhantomData })
    }

    /// The device's name, as the configuration has it.
    pub fn name(&self) -> &str {
        self.running.held.name()
    }

    /// The driver's name, such as `net_af_packet`.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The address the device came with. It receives frames to others as well.
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// The longest frame without its Ethernet header, in bytes, as the driver sees it.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// The NUMA node the device is bound to, if any.
    pub fn numa_node(&self) -> Option<u32> {
        self.running.held.numa_node()
    }

    /// How received frames are spread over the queues.
    pub fn steering(&self) -> Steering {
        self.steering
    }

    /// Whether the device delivers frames to any MAC address. A driver that cannot be asked to may do so all the same.
    pub fn receives_to_any_address(&self) -> bool {
        self.running.held.receives_to_any_address()
    }

    /// The link as it is now. Never waits.
    ///
    /// # Errors
    /// [`PortError::Step`] where the device does not answer: it may have been removed.
    pub fn link(&self) -> Result<Link, PortError> {
        self.running.held.link()
    }

    /// The counters as they are now.
    ///
    /// # Errors
    /// [`PortError::Step`] where the device does not answer: it may have been removed.
    pub fn stats(&self) -> Result<PortStats, PortError> {
        let stats = self.running.held.stats()?;
        Ok(PortStats { rx_missed: stats.rx_missed + self.packet_sockets.dropped(), ..stats })
    }

    /// Frames that came in several segments, on all queues. They were dropped, and [`stats`](Self::stats) counts them
    /// as received: use a pool whose mbufs hold the longest frame.
    pub fn multi_segment_dropped(&self) -> u64 {
        self.running.multi_segment_dropped.load(Ordering::Relaxed)
    }
}

/// A started device: stopped and closed when the last queue and the [`Port`] are gone.
///
/// The queues touch only `id` and the counter; DPDK's control calls on `held` are made by the one [`Port`], which is not
/// shared between threads, and by whoever drops last, when nobody else is left.
pub(crate) struct Running {
    held: Held,
    /// The receive queues refill themselves from these.
    _pools: Vec<Mempool>,
    multi_segment_dropped: AtomicU64,
}

impl Running {
    pub(crate) fn new(held: Held, pools: Vec<Mempool>) -> Self {
        Self { held, _pools: pools, multi_segment_dropped: AtomicU64::new(0) }
    }

    pub(crate) fn id(&self) -> u16 {
        self.held.id()
    }

    pub(crate) fn name(&self) -> &str {
        self.held.name()
    }

    pub(crate) fn count_multi_segment(&self, frames: u64) {
        self.multi_segment_dropped.fetch_add(frames, Ordering::Relaxed);
    }
}
