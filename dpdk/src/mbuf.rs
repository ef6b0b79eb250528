//! A frame in DPDK's memory.

use core::ptr::NonNull;
use core::slice;

use dpdk_sys::rte_mbuf;
use packet::{Frame, NoRoom};

/// An owned, contiguous frame; its buffer goes back to its pool when it is dropped.
///
/// As wide as a pointer, and never null, so that an array of these is what a driver's burst function fills and empties.
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: an mbuf has one owner and one segment, and shares its buffer with no other (drivers that attach several to one buffer
// are not asked to). Nothing of it belongs to a thread: a pool takes it back from any, registered or not, and puts
// it into the cache of whoever frees it, or into the ring that all share. What one thread wrote another sees, because
// whatever moves a value between threads orders the two.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// # Safety
    /// `mbuf` is owned by the caller alone, has one segment, and its pool outlives every use of it.
    pub(crate) unsafe fn from_raw(mbuf: NonNull<rte_mbuf>) -> Self {
        Self(mbuf)
    }

    /// Bytes in front of the frame.
    pub fn headroom(&self) -> usize {
        self.view().data_off.into()
    }

    /// Bytes behind the frame.
    pub fn tailroom(&self) -> usize {
        let view = self.view();
        usize::from(view.buf_len) - usize::from(view.data_off) - usize::from(view.data_len)
    }

    /// Whether it is a single segment, as every mbuf that leaves this crate is.
    pub(crate) fn is_contiguous(&self) -> bool {
        self.view().nb_segs == 1
    }

    fn view(&self) -> &rte_mbuf {
        // SAFETY: the mbuf is ours, and lives until it is dropped.
        unsafe { self.0.as_ref() }
    }

    fn view_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { self.0.as_mut() }
    }

    /// Moves the frame's start; its end stays.
    fn set_start(&mut self, data_off: u16, data_len: u16) {
        let view = self.view_mut();
        view.data_off = data_off;
        view.data_len = data_len;
        view.pkt_len = data_len.into();
    }
}

// All lengths stay u16 because DPDK's are: start + length <= buf_len <= 65,535 holds before and after each method.
impl Frame for Mbuf {
    fn bytes(&self) -> &[u8] {
        let view = self.view();
        // SAFETY: the buffer belongs to the mbuf, and data_off + data_len <= buf_len: the driver or the pool made it
        // so, and every method here keeps it.
        unsafe {
            slice::from_raw_parts(view.buf_addr.cast::<u8>().add(view.data_off.into()), view.data_len.into())
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let view = self.view();
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe {
            slice::from_raw_parts_mut(
                view.buf_addr.cast::<u8>().add(view.data_off.into()),
                view.data_len.into(),
            )
        }
    }

    fn grow_front(&mut self, count: usize) -> Result<(), NoRoom> {
        let view = self.view();
        let count = u16::try_from(count).map_err(|_| NoRoom)?;
        let start = view.data_off.checked_sub(count).ok_or(NoRoom)?;
        self.set_start(start, view.data_len + count);
        Ok(())
    }

    fn shrink_front(&mut self, count: usize) {
        let view = self.view();
        assert!(count <= view.data_len.into(), "a frame of {} bytes cannot lose {count}", view.data_len);
        let count = count as u16;
        self.set_start(view.data_off + count, view.data_len - count);
    }

    fn resize(&mut self, length: usize) -> Result<(), NoRoom> {
        let view = self.view();
        let start = view.data_off;
        match u16::try_from(length) {
            Ok(length) if length <= view.buf_len - start => {
                self.set_start(start, length);
                Ok(())
            }
            _ => Err(NoRoom),
        }
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: the mbuf is ours, not freed yet, and not used after.
        unsafe { dpdk_sys::dpdk_sys_mbuf_free(self.0.as_ptr()) };
    }
}
