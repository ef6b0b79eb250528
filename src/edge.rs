//! From the configuration to running ports: the start of DPDK, in its order.

use anyhow::Context as _;
use dpdk::cores::Sharing;
use dpdk::{
    DeviceSpec, Eal, EalConfig, MemoryPolicy, MemoryUse, Mempool, MempoolConfig, Port, QueueMap, Side,
    WorkerPorts,
};

use crate::config::{HugepagesConfig, IdleConfig, NodeConfig, SideConfig};
use crate::numa::{self, Node};

/// Link header, one VLAN tag, and room to spare, in bytes.
const LINK_BYTES: u16 = 32;

/// Running ports, and what there is to know of them.
pub(crate) struct Edge {
    pub(crate) eal: Eal,
    pub(crate) ports: Vec<Port>,
    /// One for each node that workers run on.
    pub(crate) pools: Vec<Mempool>,
    /// Which worker receives from which queue.
    pub(crate) queues: QueueMap,
    /// The NUMA node of each port; of virtual devices none.
    pub(crate) port_nodes: Vec<Node>,
    /// The NUMA node of each worker's core.
    pub(crate) worker_nodes: Vec<Node>,
    /// Worth telling the operator, at the start and in `status`.
    pub(crate) warnings: Vec<String>,
}

impl Edge {
    /// Frames in all pools.
    pub(crate) fn frames(&self) -> u32 {
        self.pools.iter().map(Mempool::frames).sum()
    }

    /// Frames that are in their pools now.
    pub(crate) fn available(&self) -> u32 {
        self.pools.iter().map(Mempool::available).sum()
    }
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
    let worker_nodes: Vec<Node> = config.workers.iter().map(|core| dpdk::numa::node_of_core(*core)).collect();
    let nodes = numa::nodes(&worker_nodes);
    let eal = Eal::init(&EalConfig {
        queues: workers,
        memory: match config.hugepages {
            HugepagesConfig::Auto => MemoryPolicy::Auto,
            HugepagesConfig::Required => MemoryPolicy::Hugepages,
            HugepagesConfig::Off => MemoryPolicy::Plain,
        },
        memory_mib: config.memory_mib,
        // With a single node there is nothing to choose.
        memory_nodes: if nodes == [0] { Vec::new() } else { nodes.clone() },
        main_core: None,
        ..EalConfig::new(devices.clone())
    })?;
    let mut warnings = Vec::new();
    if let MemoryUse::PlainFor(reason) = eal.memory() {
        warnings.push(format!("packet memory is on plain pages, which costs speed: {reason}"));
    }
    // Plain pages are not DPDK's to place.
    let nodes = if *eal.memory() == MemoryUse::Hugepages { nodes } else { Vec::new() };
    let pools = make_pools(config, &eal, &nodes)?;
    let pool_of_worker = |worker: u16| {
        let node = worker_nodes[usize::from(worker)];
        nodes.iter().zip(&pools).find(|(of, _)| node == Some(**of)).map_or(&pools[0], |(_, pool)| pool)
    };
    let mut ports = Vec::new();
    let mut queues = Vec::new();
    for (port, device) in config.ports.iter().zip(&devices) {
        let side = port.side.map(|side| match side {
            SideConfig::Inside => Side::Inside,
            SideConfig::Outside => Side::Outside,
        });
        let builder = eal.port(device).map(|builder| {
            builder.queues(workers).mtu(port.mtu).side(side).interrupts(config.idle == IdleConfig::Interrupt)
        });
        // Where each worker has a queue, it is that of its own number.
        let started = builder.and_then(|builder| builder.start_from(pool_of_worker));
        let started = started.with_context(|| format!("port {} cannot be started", port.name))?;
        queues.push((started.rx, started.tx));
        if started.port.mtu() < port.mtu {
            let (name, mtu) = (&port.name, started.port.mtu());
            warnings.push(format!("port {name} takes frames of {mtu} bytes at most, not {}", port.mtu));
        }
        ports.push(started.port);
    }
    // A virtual device is wherever DPDK's main thread happened to be.
    let node = |(port, device): (&Port, &DeviceSpec)| {
        matches!(device, DeviceSpec::Pci { .. }).then(|| port.numa_node()).flatten()
    };
    let port_nodes: Vec<Node> = ports.iter().zip(&devices).map(node).collect();
    let named: Vec<_> = config.ports.iter().map(|port| &*port.name).zip(port_nodes.iter().copied()).collect();
    warnings.extend(numa::warnings(&named, &worker_nodes));
    let by_worker: Vec<_> = (0..workers).map(|worker| pool_of_worker(worker).clone()).collect();
    let (io, queues) = WorkerPorts::share_out_from(queues, &by_worker);
    Ok((Edge { eal, ports, pools, queues, port_nodes, worker_nodes, warnings }, io))
}

/// A pool on each node that workers run on, which share the frames; one anywhere where no node is known.
fn make_pools(config: &NodeConfig, eal: &Eal, nodes: &[u32]) -> anyhow::Result<Vec<Mempool>> {
    let mtu_max = config.ports.iter().map(|port| port.mtu).max().unwrap_or(1500);
    let places = if nodes.is_empty() { vec![None] } else { nodes.iter().copied().map(Some).collect() };
    let frames = config.frames / places.len() as u32;
    let pool = |numa_node: &Node| {
        eal.mempool(&MempoolConfig {
            name: numa_node.map_or("frames".into(), |node| format!("frames-{node}")),
            frames,
            frame_bytes_max: (mtu_max + LINK_BYTES).max(2048),
            numa_node: *numa_node,
        })
        .with_context(|| {
            format!(
                "{} frames do not fit in {} MiB: raise `memory_mib` or lower `frames`",
                config.frames, config.memory_mib
            )
        })
    };
    places.iter().map(pool).collect()
}
