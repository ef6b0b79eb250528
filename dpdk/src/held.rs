//! A port number that is ours alone, and DPDK's calls on it, each checked.
//!
//! DPDK's control calls for one port must not run at the same time. Here that is held by ownership: there is one
//! [`Held`] for a number, and its changing calls take `&mut self`.

use core::mem::MaybeUninit;
use std::ffi::{CStr, CString};
use std::ptr;

use dpdk_sys::{rte_eth_conf, rte_eth_dev_info, rte_eth_stats};
use packet::MacAddress;

use crate::error::Support;
use crate::steering::{self, Functions, Hashing, TakesRules};
use crate::{DeviceSpec, Eal, Errno, Link, Mempool, PortError, PortStats, log};

/// Ours until it is dropped; a device that was configured is stopped and closed then.
pub(crate) struct Held {
    eal: Eal,
    id: u16,
    name: String,
    configured: bool,
    started: bool,
}

/// What of a device's description is used.
pub(crate) struct Limits {
    pub(crate) driver: String,
    /// The kernel's interface beneath it; 0 where there is none.
    pub(crate) interface: u32,
    pub(crate) rx_queues_max: u16,
    pub(crate) tx_queues_max: u16,
    /// The functions it can spread received frames by, as DPDK's bits; 0 where it cannot.
    pub(crate) spread_functions: u64,
    /// Bytes of the key that it hashes with; 0 where it does not tell.
    pub(crate) hash_key_bytes: u8,
}

/// Queues each way.
#[derive(Clone, Copy)]
pub(crate) struct QueueCount {
    pub(crate) rx: u16,
    pub(crate) tx: u16,
}

/// Descriptors of each queue.
#[derive(Clone, Copy)]
pub(crate) struct Descriptors {
    pub(crate) rx: u16,
    pub(crate) tx: u16,
}

// SAFETY for every block below: EAL runs (`eal`), the number is that of a port which nobody else can configure (`take_port`),
// and pointers are to locals of the type asked for, valid for the time of the call, which does not keep them.
impl Held {
    pub(crate) fn take(eal: &Eal, device: &DeviceSpec) -> Result<Self, PortError> {
        let not_found = || PortError::NotFound {
            device: device.to_string(),
            hint: device.hint().unwrap_or_default(),
            said: format!("{}{}", eal.said_at_start(), log::said()),
        };
        let name = CString::new(device.name()).map_err(|_| not_found())?;
        let mut id = 0;
        // SAFETY: see above; the name is a terminated string.
        if unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) } != 0 {
            return Err(not_found());
        }
        if !eal.take_port(id) {
            return Err(PortError::InUse(device.to_string()));
        }
        log::forget();
        Ok(Self { eal: eal.clone(), id, name: device.name().to_owned(), configured: false, started: false })
    }

    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn limits(&self) -> Result<Limits, PortError> {
        let mut info = MaybeUninit::<rte_eth_dev_info>::zeroed();
        // SAFETY: see above.
        self.check("reading its limits", unsafe {
            dpdk_sys::rte_eth_dev_info_get(self.id, info.as_mut_ptr())
        })?;
        // SAFETY: plain data, for which zero is a value, and filled in by the call.
        let info = unsafe { info.assume_init() };
        // SAFETY: the driver's name is a static, terminated string, there after a successful call.
        let driver = unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned();
        Ok(Limits {
            driver,
            interface: info.if_index,
            rx_queues_max: info.max_rx_queues,
            tx_queues_max: info.max_tx_queues,
            spread_functions: if info.reta_size > 0 { info.flow_type_rss_offloads } else { 0 },
            hash_key_bytes: info.hash_key_size,
        })
    }

    /// Configures so many queues, spread over by `hashing`, receive interrupts or not, and no offload (docs/decisions/0017).
    pub(crate) fn configure(
        &mut self,
        count: QueueCount,
        hashing: Hashing,
        hash_key_bytes: u8,
        interrupts: bool,
    ) -> Result<(), PortError> {
        // SAFETY: plain data, for which zero is a value: the defaults.
        let mut config: rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
        // Drivers read the key, and are not trusted not to write to it.
        let mut key = steering::KEY;
        if hashing.functions != 0 {
            config.rxmode.mq_mode = dpdk_sys::RTE_ETH_MQ_RX_RSS;
            config.rx_adv_conf.rss_conf.rss_hf = hashing.functions;
        }
        if hashing.of_remote && (1..=key.len()).contains(&hash_key_bytes.into()) {
            config.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
            config.rx_adv_conf.rss_conf.rss_key_len = hash_key_bytes;
        }
        config.intr_conf.set_rxq(interrupts.into());
        self.configured = true;
        // SAFETY: see above.
        let answer = unsafe { dpdk_sys::rte_eth_dev_configure(self.id, count.rx, count.tx, &config) };
        self.check("configuration", answer)
    }

    /// Sets the MTU, where the driver has a way to.
    pub(crate) fn set_mtu(&mut self, mtu: u16) -> Result<Support, PortError> {
        // SAFETY: see above.
        let answer = unsafe { dpdk_sys::rte_eth_dev_set_mtu(self.id, mtu) };
        self.check_or_unsupported("setting its MTU", answer)
    }

    /// The numbers nearest to `wanted` that the device can have.
    pub(crate) fn fit(&self, mut wanted: Descriptors) -> Result<Descriptors, PortError> {
        // SAFETY: see above.
        let answer =
            unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id, &mut wanted.rx, &mut wanted.tx) };
        self.check("choosing its descriptors", answer).map(|()| wanted)
    }

    /// Sets up receive queue `index`. `pool` must live as long as the port runs.
    pub(crate) fn set_up_receive_queue(
        &mut self,
        index: u16,
        count: Descriptors,
        pool: &Mempool,
    ) -> Result<(), PortError> {
        let (id, socket, pool) = (self.id, self.socket() as u32, pool.as_ptr());
        // SAFETY: see above; pools are never freed while EAL runs.
        let answer =
            unsafe { dpdk_sys::rte_eth_rx_queue_setup(id, index, count.rx, socket, ptr::null(), pool) };
        self.check("setting up a receive queue", answer)
    }

    /// Sets up transmit queue `index`.
    pub(crate) fn set_up_transmit_queue(&mut self, index: u16, count: Descriptors) -> Result<(), PortError> {
        let (id, socket) = (self.id, self.socket() as u32);
        // SAFETY: see above.
        let answer = unsafe { dpdk_sys::rte_eth_tx_queue_setup(id, index, count.tx, socket, ptr::null()) };
        self.check("setting up a transmit queue", answer)
    }

    pub(crate) fn start(&mut self) -> Result<(), PortError> {
        // SAFETY: see above.
        self.check("start", unsafe { dpdk_sys::rte_eth_dev_start(self.id) })?;
        self.started = true;
        Ok(())
    }

    /// Receives frames to any address, where the driver does not do so anyway.
    pub(crate) fn receive_to_any_address(&mut self) -> Result<Support, PortError> {
        // SAFETY: see above.
        let answer = unsafe { dpdk_sys::rte_eth_promiscuous_enable(self.id) };
        self.check_or_unsupported("receiving frames to any address", answer)
    }

    pub(crate) fn receives_to_any_address(&self) -> bool {
        // SAFETY: see above.
        unsafe { dpdk_sys::rte_eth_promiscuous_get(self.id) == 1 }
    }

    pub(crate) fn mac(&self) -> Result<MacAddress, PortError> {
        let mut mac = dpdk_sys::rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: see above.
        let answer = unsafe { dpdk_sys::rte_eth_macaddr_get(self.id, &mut mac) };
        self.check("reading its MAC address", answer).map(|()| MacAddress(mac.addr_bytes))
    }

    pub(crate) fn mtu(&self) -> Result<u16, PortError> {
        let mut mtu = 0;
        // SAFETY: see above.
        self.check("reading its MTU", unsafe { dpdk_sys::rte_eth_dev_get_mtu(self.id, &mut mtu) })
            .map(|()| mtu)
    }

    /// `None` where the device is bound to no NUMA node.
    pub(crate) fn numa_node(&self) -> Option<u32> {
        u32::try_from(self.socket()).ok()
    }

    pub(crate) fn link(&self) -> Result<Link, PortError> {
        let mut link = dpdk_sys::dpdk_sys_link { speed_mbps: 0, up: 0 };
        // SAFETY: see above.
        self.check("reading its link", unsafe { dpdk_sys::dpdk_sys_link_get(self.id, &mut link) })?;
        Ok(Link { up: link.up != 0, speed_mbps: (link.speed_mbps > 0).then_some(link.speed_mbps) })
    }

    pub(crate) fn stats(&self) -> Result<PortStats, PortError> {
        // SAFETY: plain data, for which zero is a value.
        let mut stats: rte_eth_stats = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: see above.
        self.check("reading its counters", unsafe { dpdk_sys::rte_eth_stats_get(self.id, &mut stats) })?;
        Ok(PortStats {
            rx_frames: stats.ipackets,
            rx_bytes: stats.ibytes,
            tx_frames: stats.opackets,
            tx_bytes: stats.obytes,
            rx_missed: stats.imissed,
            rx_errors: stats.ierrors,
            tx_errors: stats.oerrors,
            rx_no_mbuf: stats.rx_nombuf,
        })
    }

    /// The device's NUMA node; -1 (which DPDK takes for "any") where it has none.
    fn socket(&self) -> i32 {
        // SAFETY: see above.
        unsafe { dpdk_sys::rte_eth_dev_socket_id(self.id) }
    }

    fn check(&self, step: &'static str, answer: i32) -> Result<(), PortError> {
        Errno::check(answer).map_err(|errno| self.failed(step, errno))
    }

    fn check_or_unsupported(&self, step: &'static str, answer: i32) -> Result<Support, PortError> {
        Errno::check_or_unsupported(answer).map_err(|errno| self.failed(step, errno))
    }

    fn failed(&self, step: &'static str, errno: Errno) -> PortError {
        PortError::Step { device: self.name.clone(), step, errno, said: log::said() }
    }
}

impl TakesRules for Held {
    fn spread_by_remote(&mut self, functions: u64, queues: u16) -> bool {
        let key = &steering::KEY;
        // SAFETY: see above; the call copies the key, whose length it takes from the device, up to that of ours.
        let answer = unsafe {
            dpdk_sys::dpdk_sys_spread_by_rules(self.id, functions, queues, key.as_ptr(), key.len() as u32)
        };
        log::forget();
        answer == 0
    }
}

/// The hash functions that devices are asked for.
pub(crate) fn functions() -> Functions {
    // SAFETY: constants of the shim.
    unsafe {
        Functions {
            endpoints: dpdk_sys::dpdk_sys_rss_functions,
            source_only: dpdk_sys::dpdk_sys_rss_source_only,
            destination_only: dpdk_sys::dpdk_sys_rss_destination_only,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What fails here cannot be mended, and leaves a device that the end of the process frees.
        if self.started {
            // SAFETY: see above; no queue is left, as each holds the port.
            let _ = unsafe { dpdk_sys::rte_eth_dev_stop(self.id) };
        }
        if self.configured {
            // SAFETY: see above.
            let _ = unsafe { dpdk_sys::rte_eth_dev_close(self.id) };
        }
        self.eal.release_port(self.id);
    }
}
