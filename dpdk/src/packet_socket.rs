//! Frames that the kernel dropped before `net_af_packet` saw them.
//!
//! The kernel puts the frames for a packet socket into a ring, and drops those that find it full. DPDK's driver does not
//! count them, so a gateway that is too slow for its traffic would seem to lose nothing. The kernel does count them,
//! but tells only whoever holds the socket, and starts again at 0 each time: so the driver's sockets are looked up among
//! the process's own descriptors, once, and what they tell is added up here.

use core::cell::Cell;
use core::mem::{MaybeUninit, size_of};
use std::fs;
use std::os::fd::RawFd;

/// The driver that has such sockets.
pub(crate) const DRIVER: &str = "net_af_packet";

/// The packet sockets of one running port, which must not outlive it: the driver closes them with the port.
pub(crate) struct PacketSockets {
    sockets: Vec<RawFd>,
    dropped: Cell<u64>,
}

impl PacketSockets {
    /// None.
    pub(crate) fn none() -> Self {
        Self { sockets: Vec::new(), dropped: Cell::new(0) }
    }

    /// This process's packet sockets that are bound to a kernel interface.
    pub(crate) fn of_interface(index: u32) -> Self {
        let descriptors = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let descriptors = descriptors.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self { sockets: descriptors.filter(|&fd| interface(fd) == Some(index)).collect(), ..Self::none() }
    }

    /// Frames that found the rings full, since the sockets were made. Asks the kernel.
    pub(crate) fn dropped(&self) -> u64 {
        let fresh = self.sockets.iter().filter_map(|&socket| {
            let statistics =
                option::<libc::tpacket_stats>(socket, libc::SOL_PACKET, libc::PACKET_STATISTICS)?;
            Some(u64::from(statistics.tp_drops))
        });
        self.dropped.set(self.dropped.get() + fresh.sum::<u64>());
        self.dropped.get()
    }
}

/// The interface that a packet socket is bound to; `None` for any other descriptor.
fn interface(fd: RawFd) -> Option<u32> {
    let domain: i32 = option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN)?;
    if domain != libc::AF_PACKET {
        return None;
    }
    let mut address = MaybeUninit::<libc::sockaddr_ll>::zeroed();
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to a local of that size.
    let answer = unsafe { libc::getsockname(fd, address.as_mut_ptr().cast(), &mut length) };
    // SAFETY: plain data, for which zero is a value.
    let address = unsafe { address.assume_init() };
    (answer == 0).then(|| u32::try_from(address.sll_ifindex).ok())?
}

/// An option of a socket; `None` for what is no socket, or has no such option.
fn option<T: Plain>(fd: RawFd, level: i32, name: i32) -> Option<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to a local of that size, and refuses what is no socket.
    let answer = unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &mut length) };
    // SAFETY: plain data, for which zero and whatever the kernel wrote are values.
    (answer == 0).then(|| unsafe { value.assume_init() })
}

/// Integers and structures of them.
trait Plain {}
impl Plain for i32 {}
impl Plain for libc::tpacket_stats {}
