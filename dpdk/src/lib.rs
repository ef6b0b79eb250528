//! DPDK, made safe: the only crate that owns network cards.
//!
//! The order of a process's life is held by types:
//!
//! ```text
//! EalConfig -> Eal::init -> eal.mempool(...) -> Mempool ------------.
//!                  |                                                 v
//!                  '------> eal.port(&device) -> PortBuilder -> start(&pool)
//!                                                                    |
//!                          Port (facts, counters, link)  <-----------+-----> Vec<RxQueue>, Vec<TxQueue>
//!                                                                                      |
//!                     every worker's queues of every port:   WorkerPorts::share_out  <-'
//! ```
//!
//! * A queue exists only of a started port, and the port stops when its [`Port`] and its last queue are gone.
//! * A queue can be moved to another thread but not shared or copied, and its methods take `&mut self`: it has one
//!   owner, and needs no lock.
//! * Everything that can make an [`Mbuf`] holds the [`Eal`], so EAL is cleaned up last; and if mbufs are still out then, it is
//!   not cleaned up at all, because their memory would go with it.
//!
//! Bursts go through DPDK's table of driver functions in Rust, as DPDK's own inline functions do, without a call into
//! C in between. DPDK's receive and transmit callbacks (packet capture by `dpdk-pdump`, latency statistics) are
//! therefore not called. There is no secondary process, no scatter, and no offload (docs/decisions/0017).

pub mod cores;
mod device;
mod eal;
mod error;
mod held;
pub mod hugepages;
mod interrupts;
mod io;
mod lcore;
pub mod log;
mod mbuf;
mod mempool;
pub mod numa;
mod packet_socket;
mod port;
mod queue;
mod share;
mod start;
mod steering;

pub use device::{DeviceSpec, DeviceSpecError};
pub use eal::{Eal, EalConfig, EalError, MemoryPolicy, MemoryUse};
pub use error::Errno;
pub use interrupts::{InterruptError, Interrupts};
pub use io::{TRANSMIT_PENDING_MAX, WorkerPorts};
pub use lcore::{Lcore, LcoreError};
pub use mbuf::Mbuf;
pub use mempool::{HEADROOM, Mempool, MempoolConfig, MempoolError};
pub use port::{Link, Port, PortError, PortStats};
pub use queue::{RxQueue, TxQueue};
pub use share::QueueMap;
pub use start::{PortBuilder, Started};
pub use steering::{Side, Steering};

/// The release of the DPDK that is in use, such as `DPDK 22.11.11`.
pub fn version() -> String {
    // SAFETY: the function takes nothing and returns a static, terminated string; it needs no initialised EAL.
    unsafe { std::ffi::CStr::from_ptr(dpdk_sys::rte_version()) }.to_string_lossy().into_owned()
}
