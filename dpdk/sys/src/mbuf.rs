//! `rte_mbuf`, as much of it as is used.
//!
//! Written by hand because bindgen's names for the fields follow DPDK's anonymous unions, which differ from release to
//! release, while the offsets have stayed the same (22.11, 24.11 and 25.11 were compared). `shim.c` asserts every
//! offset against the installed headers, so a release that moves a field does not compile.

use core::ffi::c_void;
use core::mem::{align_of, offset_of, size_of};

use crate::rte_mempool;

/// A message buffer: two cache lines of description, then (at `buf_addr`) the bytes.
#[repr(C, align(64))]
#[allow(non_camel_case_types)]
pub struct rte_mbuf {
    /// Start of the buffer, headroom included.
    pub buf_addr: *mut c_void,
    _address: u64,
    /// Where the frame starts, in bytes from `buf_addr`.
    pub data_off: u16,
    _reference_count: u16,
    /// Segments of the frame; 1 where it is contiguous.
    pub nb_segs: u16,
    /// The port it came in by.
    pub port: u16,
    /// Offload flags.
    pub ol_flags: u64,
    _packet_type: u32,
    /// Length of the frame over all segments, in bytes.
    pub pkt_len: u32,
    /// Length of this segment, in bytes.
    pub data_len: u16,
    _vlan_tci: u16,
    _hash: [u32; 2],
    _vlan_tci_outer: u16,
    /// Length of the buffer from `buf_addr` on, in bytes.
    pub buf_len: u16,
    /// The pool it goes back to.
    pub pool: *mut rte_mempool,
    _second_line: [u64; 8],
}

const _: () = assert!(size_of::<rte_mbuf>() == 128 && align_of::<rte_mbuf>() == 64);
const _: () = assert!(offset_of!(rte_mbuf, data_off) == 16 && offset_of!(rte_mbuf, nb_segs) == 20);
const _: () = assert!(offset_of!(rte_mbuf, ol_flags) == 24 && offset_of!(rte_mbuf, pkt_len) == 36);
const _: () = assert!(offset_of!(rte_mbuf, data_len) == 40 && offset_of!(rte_mbuf, buf_len) == 54);
const _: () = assert!(offset_of!(rte_mbuf, pool) == 56 && offset_of!(rte_mbuf, port) == 22);
