//! Sleeping until a frame comes: the receive interrupts of one worker's queues.
//!
//! ```text
//! WorkerPorts::interrupts, on the worker's thread -> Interrupts::sleep: enable each queue's | wait | disable
//! ```
//!
//! Between the last poll and the enabling a frame may have come for which the device raises no interrupt: a sleep is to be
//! short.

use core::marker::PhantomData;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use dpdk_sys::rte_epoll_event;

use crate::port::Running;
use crate::{Errno, WorkerPorts};

/// DPDK's name for the calling thread's own set of events.
const OF_THIS_THREAD: i32 = dpdk_sys::RTE_EPOLL_PER_THREAD;

/// Why a worker cannot sleep until a frame comes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterruptError {
    /// A device whose driver has no receive interrupts, or whose port was not started with them.
    #[error("{device} raises no receive interrupts: {errno}")]
    Device {
        /// The device.
        device: String,
        /// What its driver said.
        errno: Errno,
    },
    /// DPDK does not wait for the worker's alarm.
    #[error("DPDK cannot wait for other workers: {0}")]
    Alarm(Errno),
}

/// The receive interrupts of the calling thread's queues, and an alarm by which others wake it.
pub struct Interrupts {
    queues: Vec<(Arc<Running>, u16)>,
    alarm: OwnedFd,
    /// DPDK keeps its address.
    alarm_event: Box<rte_epoll_event>,
    /// What woke it is of no use.
    events: Vec<rte_epoll_event>,
    /// What is waited for is a set of the thread's.
    _thread_bound: PhantomData<*const ()>,
}

impl WorkerPorts {
    /// The receive interrupts of these queues, to be waited for by the calling thread alone.
    ///
    /// # Errors
    /// [`InterruptError`], for the first queue without.
    pub fn interrupts(&self) -> Result<Interrupts, InterruptError> {
        // SAFETY: makes a descriptor or fails; touches no memory.
        let alarm = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if alarm < 0 {
            let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
            return Err(InterruptError::Alarm(Errno(errno)));
        }
        // SAFETY: made above, and nobody else's.
        let alarm = unsafe { OwnedFd::from_raw_fd(alarm) };
        // SAFETY: plain data, for which zero is a value.
        let event = || unsafe { core::mem::zeroed::<rte_epoll_event>() };
        let mut alarm_event = Box::new(event());
        alarm_event.epdata.event = libc::EPOLLIN as u32;
        let mut interrupts = Interrupts {
            queues: Vec::new(),
            alarm,
            alarm_event,
            events: Vec::new(),
            _thread_bound: PhantomData,
        };
        interrupts.watch_alarm(libc::EPOLL_CTL_ADD).map_err(InterruptError::Alarm)?;
        for (port, index) in self.receive_queues() {
            let failed = |errno| InterruptError::Device { device: port.name().to_owned(), errno };
            register(&port, index, dpdk_sys::RTE_INTR_EVENT_ADD as i32).map_err(failed)?;
            // From here on dropping it takes the queue out again.
            interrupts.queues.push((Arc::clone(&port), index));
            let enabled = enable(&port, index);
            disable(&port, index);
            enabled.map_err(failed)?;
        }
        interrupts.events.resize_with(interrupts.queues.len() + 1, event);
        Ok(interrupts)
    }
}

impl Interrupts {
    /// Sleeps for so many whole milliseconds, one at least, or until a frame or the alarm comes.
    pub fn sleep(&mut self, time: Duration) {
        let milliseconds = i32::try_from(time.as_millis().max(1)).unwrap_or(i32::MAX);
        for (port, index) in &self.queues {
            // One that cannot be enabled any more has its frames wait for the end of the time, as without interrupts.
            _ = enable(port, *index);
        }
        let (events, count) = (self.events.as_mut_ptr(), self.events.len() as i32);
        // SAFETY: there is room for so many events, and what is waited for is registered for this thread.
        let woken = unsafe { dpdk_sys::rte_epoll_wait(OF_THIS_THREAD, events, count, milliseconds) };
        self.queues.iter().for_each(|(port, index)| disable(port, *index));
        if woken > 0 {
            let mut rings = [0_u8; 8];
            // SAFETY: reads at most 8 bytes into as many; the descriptor is ours.
            unsafe { libc::read(self.alarm.as_raw_fd(), rings.as_mut_ptr().cast(), rings.len()) };
        }
    }

    /// An eventfd that wakes the sleeper when it is written to.
    ///
    /// # Errors
    /// If the process has too many descriptors.
    pub fn alarm(&self) -> io::Result<OwnedFd> {
        self.alarm.try_clone()
    }

    fn watch_alarm(&mut self, operation: i32) -> Result<(), Errno> {
        let event = &raw mut *self.alarm_event;
        // SAFETY: the event lives as long as it is registered: it is taken out before it is dropped.
        Errno::check(unsafe {
            dpdk_sys::rte_epoll_ctl(OF_THIS_THREAD, operation, self.alarm.as_raw_fd(), event)
        })
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        // What fails here was registered by nobody.
        for (port, index) in &self.queues {
            _ = register(port, *index, dpdk_sys::RTE_INTR_EVENT_DEL as i32);
        }
        _ = self.watch_alarm(libc::EPOLL_CTL_DEL);
    }
}

/// Puts a queue's interrupt into the calling thread's set of events, or takes it out.
fn register(port: &Running, queue: u16, operation: i32) -> Result<(), Errno> {
    let data = core::ptr::null_mut();
    // SAFETY: the port runs, and the queue is the calling thread's; no data are kept.
    Errno::check(unsafe {
        dpdk_sys::rte_eth_dev_rx_intr_ctl_q(port.id(), queue, OF_THIS_THREAD, operation, data)
    })
}

fn enable(port: &Running, queue: u16) -> Result<(), Errno> {
    // SAFETY: the port runs, and the queue is the calling thread's.
    Errno::check(unsafe { dpdk_sys::rte_eth_dev_rx_intr_enable(port.id(), queue) })
}

fn disable(port: &Running, queue: u16) {
    // SAFETY: as above. A driver without interrupts refuses, which is as good.
    _ = unsafe { dpdk_sys::rte_eth_dev_rx_intr_disable(port.id(), queue) };
}
