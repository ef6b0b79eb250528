//! From the configuration to running ports: the start of DPDK, in its order.

use anyhow::Context as _;
use dpdk::cores::Sharing;
use dpdk::{
    DeviceSpec, Eal, EalConfig, MemoryPolicy, MemoryUse, Mempool, MempoolConfig, Port, QueueMap, WorkerPorts,
};

use crate::config::{HugepagesConfig, NodeConfig};

/// Link header, one VLAN tag, and room to spare, in bytes.
const LINK_BYTES: u16 = 32;

/// Running ports, and what there is to know of them.
pub(crate) struct Edge {
    pub(crate) eal: Eal,
    pub(crate) ports: Vec<Port>,
    pub(crate) pool: Mempool,
    /// Which worker receives from which queue.
    pub(crate) queues: QueueMap,
    /// Worth telling the operator, at the start and in `status`.
    pub(crate) warnings: Vec<String>,
}

/// Starts DPDK and every port, with a queue to send by for each worker, and one to receive from where the device has as
/// many.
pub(crate) fn start(config: &NodeConfig) -> anyhow::Result<(Edge, Vec<WorkerPorts>)> {
    dpdk::cores::check(
        &config.workers,
        if config.cores_shared { Sharing::Allowed } else { Sharing::Refused },
    )?;
    let devices = config.devices()?;
    let workers = config.workers.len() as u16;
    let eal = Eal::init(&EalConfig {
        queues: workers,
        memory: match config.hugepages {
            HugepagesConfig::Auto => MemoryPolicy::Auto,
            HugepagesConfig::Required => MemoryPolicy::Hugepages,
            HugepagesConfig::Off => MemoryPolicy::Plain,
        },
        memory_mib: config.memory_mib,
        main_core: None,
        ..EalConfig::new(devices.clone())
    })?;
    let mut warnings = Vec::new();
    if let MemoryUse::PlainFor(reason) = eal.memory() {
        warnings.push(format!("packet memory is on plain pages, which costs speed: {reason}"));
    }
    let mtu_max = config.ports.iter().map(|port| port.mtu).max().unwrap_or(1500);
    let pool = eal.mempool(&MempoolConfig {
        frames: config.frames,
        frame_bytes_max: (mtu_max + LINK_BYTES).max(2048),
        ..MempoolConfig::default()
    });
    let pool = pool.with_context(|| {
        format!(
            "{} frames do not fit in {} MiB: raise `memory_mib` or lower `frames`",
            config.frames, config.memory_mib
        )
    })?;
    let mut ports = Vec::new();
    let mut queues = Vec::new();
    for (port, device) in config.ports.iter().zip(&devices) {
        let started = start_port(&eal, &pool, device, workers, port.mtu)
            .with_context(|| format!("port {} cannot be started", port.name))?;
        queues.push((started.rx, started.tx));
        if started.port.mtu() < port.mtu {
            let (name, mtu) = (&port.name, started.port.mtu());
            warnings.push(format!("port {name} takes frames of {mtu} bytes at most, not {}", port.mtu));
        }
        ports.push(started.port);
    }
    let (io, queues) = WorkerPorts::share_out(queues, workers, &pool);
    Ok((Edge { eal, ports, pool, queues, warnings }, io))
}

fn start_port(
    eal: &Eal,
    pool: &Mempool,
    device: &DeviceSpec,
    queues: u16,
    mtu: u16,
) -> Result<dpdk::Started, dpdk::PortError> {
    eal.port(device)?.queues(queues).mtu(mtu).start(pool)
}
