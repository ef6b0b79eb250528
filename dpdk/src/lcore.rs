//! A thread known to DPDK.
//!
//! A registered thread has a number of its own, and with it a cache in front of every mempool: without one each buffer
//! that is taken or given back costs an access to a ring that all cores share. Nothing is unsafe without it.

use core::cell::Cell;
use core::marker::PhantomData;

use crate::cores::{self, CoreError};
use crate::{Eal, Errno};

/// Proof that this thread is registered with DPDK; it ends with the value, which cannot leave its thread.
///
/// ```compile_fail
/// fn must_be_send<T: Send>() {}
/// must_be_send::<dpdk::Lcore>();
/// ```
pub struct Lcore {
    _eal: Eal,
    _thread_bound: PhantomData<*const ()>,
}

/// Why a thread could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum LcoreError {
    /// The core it was to be pinned to.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The thread has an [`Lcore`] already.
    #[error("the thread is registered with DPDK already")]
    Twice,
    /// DPDK has no number left.
    #[error("DPDK does not register the thread: {0}")]
    Refused(Errno),
}

thread_local! {
    // DPDK would give the thread a second number, and never take back the first.
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

impl Eal {
    /// Pins the calling thread to `core` and registers it; first in a worker's life.
    ///
    /// # Errors
    /// [`LcoreError`]: the core is not allowed, or there are more threads than DPDK was built for.
    pub fn register_this_thread(&self, core: u16) -> Result<Lcore, LcoreError> {
        if REGISTERED.get() {
            return Err(LcoreError::Twice);
        }
        cores::pin_this_thread(core)?;
        // SAFETY: EAL runs while `self` lives.
        Errno::check(unsafe { dpdk_sys::rte_thread_register() })
            .map_err(|_| LcoreError::Refused(Errno::last()))?;
        REGISTERED.set(true);
        Ok(Lcore { _eal: self.clone(), _thread_bound: PhantomData })
    }
}

impl Drop for Lcore {
    fn drop(&mut self) {
        // SAFETY: this thread registered itself (the value cannot leave it), and EAL still runs: it is held here.
        unsafe { dpdk_sys::rte_thread_unregister() };
        REGISTERED.set(false);
    }
}
