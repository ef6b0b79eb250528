//! The environment that DPDK runs in: one in a process, started once.
//!
//! EAL can be started once, and a failed start cannot be repeated in the same process. What can be known to fail (a missing
//! interface, no permission, too few hugepages, a core that is offline) is therefore found before it is started, where
//! the reason is still plain.

use std::ffi::{CStr, CString, c_char};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io, process, ptr};

use crate::cores::{self, Affinity, CoreError, Sharing};
use crate::hugepages::{self, HugepageError};
use crate::mempool::PoolPointer;
use crate::{DeviceSpec, Errno, log};

/// Where EAL's memory comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryPolicy {
    /// Hugepages where enough are free, else plain pages; [`Eal::memory`] says which.
    #[default]
    Auto,
    /// Hugepages, or no start.
    Hugepages,
    /// Plain pages: needs no privilege; several times slower, and network cards may refuse.
    Plain,
}

/// Where EAL's memory came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryUse {
    /// Hugepages.
    Hugepages,
    /// Plain pages, as asked.
    Plain,
    /// Plain pages, because hugepages cannot be had: worth a warning.
    PlainFor(HugepageError),
}

/// What EAL is started with.
#[derive(Clone, Debug)]
pub struct EalConfig {
    /// The devices to be found. No other network card is touched.
    pub devices: Vec<DeviceSpec>,
    /// Pairs of queues that virtual devices are made with: the number of workers.
    pub queues: u16,
    /// Hugepages or not.
    pub memory: MemoryPolicy,
    /// Memory to set aside at once, in MiB: mbufs, rings and the drivers' own.
    pub memory_mib: u32,
    /// The NUMA nodes that huge pages come from, in equal shares; as EAL likes where there are none.
    pub memory_nodes: Vec<u32>,
    /// Names the directory with EAL's sockets; letters, digits, `_` and `-`.
    pub file_prefix: String,
    /// The core that EAL starts on and keeps its helper threads off; every allowed one where `None`.
    pub main_core: Option<u16>,
    /// Further arguments in EAL's own spelling, for what is not foreseen here.
    pub extra_arguments: Vec<String>,
}

impl EalConfig {
    /// The usual start with `devices`: one queue each, 256 MiB, hugepages where there are any.
    pub fn new(devices: Vec<DeviceSpec>) -> Self {
        Self {
            devices,
            queues: 1,
            memory: MemoryPolicy::Auto,
            memory_mib: 256,
            memory_nodes: Vec::new(),
            file_prefix: format!("natgate-{}", process::id()),
            main_core: None,
            extra_arguments: Vec::new(),
        }
    }

    /// EAL's command line, the program's name first.
    pub fn arguments(&self, hugepages: bool, main_cores: &[u16]) -> Vec<String> {
        let mut arguments = vec![
            "natgate".to_owned(),
            // One lcore is the least EAL can have; workers register as further ones.
            format!("--lcores=0@({})", list(main_cores)),
            format!("--file-prefix={}", self.file_prefix),
            "--log-level=warning".to_owned(),
            // It warns at each start that something of old was not asked for.
            "--log-level=lib.telemetry:error".to_owned(),
        ];
        match self.memory_by_node() {
            Some(shares) if hugepages => arguments.push(format!("--socket-mem={shares}")),
            _ => arguments.extend(["-m".to_owned(), self.memory_mib.to_string()]),
        }
        if hugepages {
            // No mount and no files; few large segments are what vhost-user peers can map.
            arguments.extend(["--in-memory", "--single-file-segments"].map(String::from));
        } else {
            // EAL refuses --in-memory together with --no-huge.
            arguments.extend(["--no-huge", "--no-shconf"].map(String::from));
        }
        if !self.devices.iter().any(|device| matches!(device, DeviceSpec::Pci { .. })) {
            // Without it EAL would take every network card that is bound to a driver of its kind.
            arguments.push("--no-pci".to_owned());
        }
        arguments.extend(self.devices.iter().map(|device| device.eal_argument(self.queues)));
        arguments.extend(self.extra_arguments.iter().cloned());
        arguments
    }
}

impl EalConfig {
    /// MiB of each node, from the first on, as EAL wants them.
    fn memory_by_node(&self) -> Option<String> {
        let share = self.memory_mib.div_ceil(self.memory_nodes.len().max(1) as u32);
        let last = self.memory_nodes.iter().max()?;
        let of = |node| if self.memory_nodes.contains(&node) { share } else { 0 };
        Some((0..=*last).map(|node| of(node).to_string()).collect::<Vec<_>>().join(","))
    }
}

/// Why EAL did not start.
#[derive(Debug, thiserror::Error)]
pub enum EalError {
    /// It runs, or ran, in this process.
    #[error("DPDK can be started only once in a process")]
    AlreadyStarted,
    /// Hugepages were required.
    #[error("hugepages are required, but {0}")]
    NoHugepages(HugepageError),
    /// The process lacks a privilege.
    #[error("{device}: permission denied: run as root or grant {capability}")]
    NoPermission {
        /// The device that needs it.
        device: String,
        /// The capability, as `capabilities(7)` has it.
        capability: &'static str,
    },
    /// A device that is plainly not there; the sentence names it.
    #[error("{0}")]
    Device(String),
    /// A core of the configuration.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// A prefix that is no file name, or an argument with a zero byte.
    #[error("`{0}` cannot be given to DPDK")]
    Argument(String),
    /// EAL refused.
    #[error("DPDK did not start: {errno}{said}")]
    Start {
        /// The reason in brief.
        errno: Errno,
        /// The last lines of DPDK's log.
        said: String,
    },
}

/// The running environment; a handle that can be cloned and sent to other threads.
///
/// Cleaned up when the last handle, pool, port and queue is gone, provided that every mbuf is back in its pool.
#[derive(Clone)]
pub struct Eal(Arc<Inner>);

struct Inner {
    memory: MemoryUse,
    /// Every pool ever made; pools are not freed while the process lives.
    pools: Mutex<Vec<PoolPointer>>,
    /// Ports that are being built or run.
    ports: Mutex<Vec<u16>>,
    directory: Option<PathBuf>,
    /// What DPDK said meanwhile: a start goes on without the devices whose drivers refused.
    said_at_start: String,
}

/// Set by the first start, never cleared: DPDK does not promise that it can be started again after a clean-up.
static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts EAL and finds the devices.
    ///
    /// The calling thread keeps its affinity. DPDK's log is taken over ([`log`](crate::log)).
    ///
    /// # Errors
    /// [`EalError`], one sentence for the operator. After [`EalError::Start`] the process cannot try again.
    pub fn init(config: &EalConfig) -> Result<Self, EalError> {
        let prefix_char = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if config.file_prefix.is_empty() || !config.file_prefix.chars().all(prefix_char) {
            return Err(EalError::Argument(config.file_prefix.clone()));
        }
        for device in &config.devices {
            check_device(device)?;
        }
        let main_cores = match config.main_core {
            Some(core) => vec![core],
            None => cores::allowed()?,
        };
        cores::check(&main_cores, Sharing::Refused)?;
        let memory = decide_memory(config)?;
        let arguments = config.arguments(memory == MemoryUse::Hugepages, &main_cores);
        let arguments = arguments
            .into_iter()
            .map(|argument| CString::new(argument.clone()).map_err(|_| EalError::Argument(argument)))
            .collect::<Result<Vec<_>, _>>()?;

        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyStarted);
        }
        let answer = start(arguments);
        let directory = runtime_directory(&config.file_prefix);
        if let Err(error) = answer {
            directory.iter().for_each(remove_runtime_directory);
            return Err(error);
        }
        Ok(Self(Arc::new(Inner {
            memory,
            pools: Mutex::default(),
            ports: Mutex::default(),
            directory,
            said_at_start: log::said(),
        })))
    }

    /// Where the memory came from. [`MemoryUse::PlainFor`] deserves a warning.
    pub fn memory(&self) -> &MemoryUse {
        &self.0.memory
    }

    /// Adds a virtual device while EAL runs, with `queues` pairs of queues.
    ///
    /// # Errors
    /// [`EalError::Device`] where the driver refused, with what DPDK said.
    pub fn attach(&self, device: &DeviceSpec, queues: u16) -> Result<(), EalError> {
        check_device(device)?;
        let arguments = device.arguments(queues);
        let arguments = CString::new(arguments.clone()).map_err(|_| EalError::Argument(arguments))?;
        log::forget();
        // SAFETY: EAL runs while `self` lives, and the string outlives the call, which copies it.
        Errno::check(unsafe { dpdk_sys::rte_dev_probe(arguments.as_ptr()) })
            .map_err(|errno| EalError::Device(format!("{device} was not attached: {errno}{}", log::said())))
    }

    pub(crate) fn said_at_start(&self) -> &str {
        &self.0.said_at_start
    }

    pub(crate) fn remember_pool(&self, pool: PoolPointer) {
        lock(&self.0.pools).push(pool);
    }

    /// Takes port `id` for one builder; false where it is taken.
    pub(crate) fn take_port(&self, id: u16) -> bool {
        let mut ports = lock(&self.0.ports);
        if ports.contains(&id) {
            return false;
        }
        ports.push(id);
        true
    }

    pub(crate) fn release_port(&self, id: u16) {
        lock(&self.0.ports).retain(|&taken| taken != id);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody can make an mbuf any more, since all who can hold an `Eal`; but some may still be held, and freeing
        // one writes to its pool. Their memory then stays until the process ends, rather than vanish under them.
        let all_home = lock(&self.pools).iter().all(PoolPointer::is_full);
        if all_home {
            // SAFETY: EAL runs, no handle to it is left, and no mbuf is out. Called once: there is one `Inner`.
            // A failure leaves the process as it is, about to end.
            let _ = unsafe { dpdk_sys::rte_eal_cleanup() };
        }
        if let Some(directory) = &self.directory {
            remove_runtime_directory(directory);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn list(cores: &[u16]) -> String {
    cores.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

fn decide_memory(config: &EalConfig) -> Result<MemoryUse, EalError> {
    let hugepages = || hugepages::check(config.memory_mib.into());
    match config.memory {
        MemoryPolicy::Plain => Ok(MemoryUse::Plain),
        MemoryPolicy::Hugepages => hugepages().map(|()| MemoryUse::Hugepages).map_err(EalError::NoHugepages),
        MemoryPolicy::Auto => Ok(hugepages().map_or_else(MemoryUse::PlainFor, |()| MemoryUse::Hugepages)),
    }
}

fn check_device(device: &DeviceSpec) -> Result<(), EalError> {
    if let Some(obstacle) = device.obstacle() {
        return Err(EalError::Device(obstacle));
    }
    if device.kernel_interface().is_some() && !may_open_packet_socket() {
        return Err(EalError::NoPermission { device: device.to_string(), capability: "CAP_NET_RAW" });
    }
    Ok(())
}

/// Whether this process may open a packet socket; other failures are left to the driver.
fn may_open_packet_socket() -> bool {
    // SAFETY: makes a descriptor or fails; touches no memory.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return io::Error::last_os_error().kind() != io::ErrorKind::PermissionDenied;
    }
    // SAFETY: the descriptor was made above and is ours alone.
    unsafe { libc::close(socket) };
    true
}

/// Calls `rte_eal_init`, which pins the calling thread; its affinity is put back.
fn start(arguments: Vec<CString>) -> Result<(), EalError> {
    let affinity = Affinity::of_this_thread().map_err(CoreError::Unknown)?;
    log::open();
    let answer = {
        // EAL keeps pointers into its arguments for good, and shuffles the vector.
        let mut pointers: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
        let count = pointers.len() as i32;
        pointers.push(ptr::null_mut());
        // SAFETY: `count` terminated strings and a null, none of which is freed. `STARTED` lets one thread in, once.
        unsafe { dpdk_sys::rte_eal_init(count, pointers.leak().as_mut_ptr()) }
    };
    let errno = Errno::last();
    let restored = affinity.apply_to_this_thread();
    if answer < 0 {
        return Err(EalError::Start { errno, said: log::said() });
    }
    restored.map_err(|errno| CoreError::Unknown(errno).into())
}

/// EAL's directory, if it is what we asked for and so ours to remove.
fn runtime_directory(prefix: &str) -> Option<PathBuf> {
    // SAFETY: a terminated string in static memory, empty where EAL did not come so far.
    let directory = unsafe { CStr::from_ptr(dpdk_sys::rte_eal_get_runtime_dir()) };
    let directory = PathBuf::from(directory.to_str().ok()?);
    (directory.file_name()? == prefix).then_some(directory)
}

/// Removes EAL's sockets and files, which it leaves behind. It is a matter of tidiness: failures are ignored.
fn remove_runtime_directory(directory: &PathBuf) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
    let _ = fs::remove_dir(directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(devices: &[&str]) -> EalConfig {
        let devices = devices.iter().map(|device| device.parse().unwrap()).collect();
        EalConfig { file_prefix: "test".into(), ..EalConfig::new(devices) }
    }

    #[test]
    fn with_hugepages_no_file_is_left_anywhere() {
        assert_eq!(
            config(&["net_null0"]).arguments(true, &[0, 2]).join(" "),
            "natgate --lcores=0@(0,2) --file-prefix=test --log-level=warning \
             --log-level=lib.telemetry:error -m 256 --in-memory --single-file-segments \
             --no-pci --vdev=net_null0"
        );
    }

    #[test]
    fn without_hugepages_in_memory_is_not_asked_for() {
        let line = config(&["net_null0"]).arguments(false, &[0]).join(" ");
        assert!(line.contains("-m 256 --no-huge --no-shconf"), "{line}");
        assert!(!line.contains("--in-memory"), "{line}");
    }

    #[test]
    fn memory_comes_from_the_nodes_that_are_named() {
        let line = |hugepages| {
            let config = EalConfig { memory_nodes: vec![3, 1], memory_mib: 301, ..config(&["net_null0"]) };
            config.arguments(hugepages, &[0]).join(" ")
        };
        assert!(line(true).contains("--socket-mem=0,151,0,151 ") && !line(true).contains("-m "));
        assert!(line(false).contains("-m 301 --no-huge"), "plain pages are not EAL's to place");
    }

    #[test]
    fn only_the_named_network_cards_are_touched() {
        let line = config(&["3b:00.0", "net_null0"]).arguments(true, &[0]).join(" ");
        assert!(line.contains("--allow=0000:3b:00.0") && !line.contains("--no-pci"), "{line}");
    }
}
