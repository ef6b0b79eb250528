//! From a device that EAL found to running queues.

use std::sync::Arc;

use crate::held::{self, Descriptors, Held, QueueCount};
use crate::port::Running;
use crate::steering::Plan;
use crate::{DeviceSpec, Eal, Mempool, Port, PortError, RxQueue, Side, TxQueue};

/// A device that was found and is not started yet.
pub struct PortBuilder {
    held: Held,
    queues: u16,
    descriptors: Descriptors,
    mtu: Option<u16>,
    side: Option<Side>,
    interrupts: bool,
}

/// A port that has just been started.
pub struct Started {
    /// Its facts and counters.
    pub port: Port,
    /// Its receive queues: one for each worker, or as many as the device has, one at least.
    pub rx: Vec<RxQueue>,
    /// Its transmit queues, one for each worker.
    pub tx: Vec<TxQueue>,
}

impl Eal {
    /// The port of a device that EAL was started with, or that was attached.
    ///
    /// # Errors
    /// [`PortError::NotFound`], [`PortError::InUse`].
    pub fn port(&self, device: &DeviceSpec) -> Result<PortBuilder, PortError> {
        let held = Held::take(self, device)?;
        Ok(PortBuilder {
            held,
            queues: 1,
            descriptors: Descriptors { rx: 1024, tx: 1024 },
            mtu: None,
            side: None,
            interrupts: false,
        })
    }
}

impl PortBuilder {
    /// Sets the number of queues, both ways: one for each worker. 1 where it is not set. A device may have fewer to receive
    /// from, but not to send by.
    pub fn queues(mut self, count: u16) -> Self {
        self.queues = count;
        self
    }

    /// Sets the descriptors of each queue, brought within the device's limits. 1,024 where they are not set.
    pub fn descriptors(mut self, rx: u16, tx: u16) -> Self {
        self.descriptors = Descriptors { rx, tx };
        self
    }

    /// Asks for frames with up to `mtu` bytes behind the Ethernet header. Drivers that cannot be asked are left as
    /// they are: [`Port::mtu`] says what came of it. 1,500 where it is not set.
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Says that all networks of the port are on one side of translation. Then a device that can, and has a queue for each
    /// worker, spreads by the remote endpoint alone.
    pub fn side(mut self, side: Option<Side>) -> Self {
        self.side = side;
        self
    }

    /// Has the device raise receive interrupts for whoever asks ([`WorkerPorts::interrupts`](crate::WorkerPorts::interrupts)),
    /// where it can.
    pub fn interrupts(mut self, wanted: bool) -> Self {
        self.interrupts = wanted;
        self
    }

    /// Starts the port; received frames come from `pool`.
    ///
    /// It receives frames to any MAC address, because the gateway has several. Received frames are spread over several
    /// queues as far as the device can do so itself: [`Port::steering`] says how.
    ///
    /// # Errors
    /// [`PortError`]; the device is closed then.
    pub fn start(self, pool: &Mempool) -> Result<Started, PortError> {
        self.start_from(|_| pool)
    }

    /// The same, with a pool for each receive queue.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_from<'p>(self, pool_of: impl Fn(u16) -> &'p Mempool) -> Result<Started, PortError> {
        let Self { mut held, queues, descriptors, mtu, side, interrupts } = self;
        let limits = held.limits()?;
        let least = [("receive", limits.rx_queues_max, 1), ("transmit", limits.tx_queues_max, queues)];
        for (direction, offered, least) in least {
            if offered < least {
                let device = held.name().to_owned();
                return Err(PortError::FewerQueues { device, direction, offered, wanted: queues });
            }
        }
        let count = QueueCount { rx: limits.rx_queues_max.min(queues), tx: queues };
        let plan = Plan::new(held::functions(), limits.spread_functions, count.rx, queues, side);
        held.configure(count, plan.hashing, limits.hash_key_bytes, interrupts)?;
        if let Some(mtu) = mtu {
            held.set_mtu(mtu)?;
        }
        let descriptors = held.fit(descriptors)?;
        for index in 0..count.rx {
            held.set_up_receive_queue(index, descriptors, pool_of(index))?;
        }
        for index in 0..count.tx {
            held.set_up_transmit_queue(index, descriptors)?;
        }
        held.start()?;
        held.receive_to_any_address()?;
        let steering = plan.finish(&mut held);

        let pools = (0..count.rx).map(|index| pool_of(index).clone()).collect();
        let running = Arc::new(Running::new(held, pools));
        Ok(Started {
            port: Port::new(Arc::clone(&running), limits, steering)?,
            // SAFETY: the port runs with so many queues, and each number is used once.
            rx: (0..count.rx).map(|index| unsafe { RxQueue::new(Arc::clone(&running), index) }).collect(),
            // SAFETY: as above.
            tx: (0..count.tx).map(|index| unsafe { TxQueue::new(Arc::clone(&running), index) }).collect(),
        })
    }
}
