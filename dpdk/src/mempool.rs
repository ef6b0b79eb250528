//! Where mbufs come from and go back to.

use core::ptr::NonNull;
use std::ffi::CString;

use crate::{Eal, Errno, Mbuf, log};

/// Bytes in front of a fresh or received frame, for headers that are added later.
pub const HEADROOM: u16 = dpdk_sys::RTE_PKTMBUF_HEADROOM as u16;

const _: () = assert!(HEADROOM >= 128, "room for a VLAN tag and more in front of each frame");

/// Mbufs that a registered thread keeps to itself, at most.
const CACHE_FRAMES: u32 = 256;

/// The size of a pool.
#[derive(Clone, Debug)]
pub struct MempoolConfig {
    /// The pool's name, unique in the process, up to 25 bytes.
    pub name: String,
    /// Mbufs in it. One less than a power of two uses the memory best.
    pub frames: u32,
    /// The longest frame an mbuf can hold, in bytes, headroom not counted.
    pub frame_bytes_max: u16,
    /// The NUMA node its memory is on; any where `None`.
    pub numa_node: Option<u32>,
}

impl Default for MempoolConfig {
    fn default() -> Self {
        Self { name: "frames".into(), frames: 16_383, frame_bytes_max: 2048, numa_node: None }
    }
}

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MempoolError {
    /// Too large for EAL's memory, most often.
    #[error("no pool of {frames} mbufs of {frame_bytes_max} bytes: {errno}{said}")]
    Refused {
        /// Mbufs asked for.
        frames: u32,
        /// Bytes of each.
        frame_bytes_max: u16,
        /// The reason in brief.
        errno: Errno,
        /// The last lines of DPDK's log.
        said: String,
    },
    /// A name with a zero byte.
    #[error("`{0}` is no name for a pool")]
    Name(String),
}

/// A pool of mbufs. A handle: clones share the pool, which lives as long as the process.
///
/// # Concurrency
/// Any thread may allocate and free, and free what another allocated; registered threads ([`Lcore`](crate::Lcore)) do it
/// cheaply. A thread that only frees fills its cache and gives the rest to the others through the shared ring.
#[derive(Clone)]
pub struct Mempool {
    pool: PoolPointer,
    frames: u32,
    _eal: Eal,
}

impl Eal {
    /// Makes a pool.
    ///
    /// # Errors
    /// [`MempoolError`]: raise `memory_mib` or ask for fewer mbufs.
    pub fn mempool(&self, config: &MempoolConfig) -> Result<Mempool, MempoolError> {
        let name = CString::new(config.name.clone()).map_err(|_| MempoolError::Name(config.name.clone()))?;
        let refused = |errno| MempoolError::Refused {
            frames: config.frames,
            frame_bytes_max: config.frame_bytes_max,
            errno,
            said: log::said(),
        };
        let room =
            config.frame_bytes_max.checked_add(HEADROOM).ok_or_else(|| refused(Errno(libc::EINVAL)))?;
        // DPDK wants the cache well below the pool's size.
        let cache = CACHE_FRAMES.min(config.frames / 2);
        let socket = config.numa_node.map_or(-1, |node| node as i32);
        log::forget();
        // SAFETY: EAL runs while `self` lives; the name is copied.
        let pool = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(name.as_ptr(), config.frames, cache, 0, room, socket)
        };
        let pool = PoolPointer(NonNull::new(pool).ok_or_else(|| refused(Errno::last()))?, config.frames);
        self.remember_pool(pool);
        Ok(Mempool { pool, frames: config.frames, _eal: self.clone() })
    }
}

impl Mempool {
    /// An empty frame with [`HEADROOM`]; `None` where every mbuf is out.
    pub fn allocate(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives as long as the process, and is safe to take from by any thread.
        let mbuf = NonNull::new(unsafe { dpdk_sys::dpdk_sys_mbuf_allocate(self.as_ptr()) })?;
        // SAFETY: a fresh mbuf, contiguous and empty, that nobody else has.
        Some(unsafe { Mbuf::from_raw(mbuf) })
    }

    /// Mbufs that are in the pool now, those in threads' caches included.
    ///
    /// Walks the caches: for metrics and tests, not for a packet's path. Exact only while nobody allocates or frees.
    pub fn available(&self) -> u32 {
        self.pool.available()
    }

    /// Mbufs in all.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    pub(crate) fn as_ptr(&self) -> *mut dpdk_sys::rte_mempool {
        self.pool.0.as_ptr()
    }
}

/// A pool that is never freed, with its number of mbufs.
#[derive(Clone, Copy)]
pub(crate) struct PoolPointer(NonNull<dpdk_sys::rte_mempool>, u32);

// SAFETY: DPDK's pools are made for use by many threads at once (multi-producer, multi-consumer), and are never freed.
unsafe impl Send for PoolPointer {}
// SAFETY: as above.
unsafe impl Sync for PoolPointer {}

impl PoolPointer {
    fn available(&self) -> u32 {
        // SAFETY: the pool lives as long as EAL; it is read only.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.0.as_ptr()) }
    }

    /// Whether every mbuf is back.
    pub(crate) fn is_full(&self) -> bool {
        self.available() == self.1
    }
}
