//! The node's configuration: what this machine is, not what it forwards.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use dpdk::DeviceSpec;
use nat::{Sizes, WORKERS_MAX};
use rules::limits::ALL_POOL_ADDRESSES_MAX;
use serde::{Deserialize, Serialize};

/// As many as there are ways to share flow state out.
const SHARDS_MAX: u32 = WORKERS_MAX as u32;

/// As many as rules may have.
const EXTERNAL_ADDRESSES_MAX: u32 = ALL_POOL_ADDRESSES_MAX as u32;

/// The node's configuration file, in YAML or JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeConfig {
    /// The node's name, in logs, metrics and towards the feed.
    pub(crate) node: String,
    /// The ports, in the order of their indices.
    pub(crate) ports: Vec<PortConfig>,
    /// The cores of the workers, one each.
    pub(crate) workers: Vec<u16>,
    /// A core may have several workers.
    #[serde(default)]
    pub(crate) cores_shared: bool,
    /// The unix socket that `natgate status` and its like speak to.
    #[serde(default = "default_admin")]
    pub(crate) admin: PathBuf,
    /// Where `/metrics` is served; absent: nowhere.
    #[serde(default)]
    pub(crate) metrics: Option<SocketAddr>,
    /// The directory of the last good rules.
    #[serde(default = "default_state_dir")]
    pub(crate) state_dir: PathBuf,
    /// Where the rules come from: `unix:/path` or `host:port`. `--feed` and `--rules` go before it.
    #[serde(default)]
    pub(crate) feed: Option<String>,
    /// The file that flow state lies in, and is found in by the next process. Absent: see `region.rs`.
    #[serde(default)]
    pub(crate) region: Option<PathBuf>,
    /// The most sessions; memory for all of them, and for their mappings, is taken at the start.
    #[serde(default = "default_sessions_max")]
    pub(crate) sessions_max: u32,
    /// The most external addresses that are translated to.
    #[serde(default = "default_external_addresses_max")]
    pub(crate) external_addresses_max: u32,
    /// The most internal hosts that have sessions at once. Absent: one for each 32 sessions, and 65,536 at least.
    #[serde(default)]
    pub(crate) hosts_max: Option<u32>,
    /// The most mappings. Absent: one for each session.
    #[serde(default)]
    pub(crate) mappings_max: Option<u32>,
    /// The parts that flow state is shared out to the workers by.
    #[serde(default = "default_shards")]
    pub(crate) shards: u8,
    /// What an idle worker does.
    #[serde(default)]
    pub(crate) idle: IdleConfig,
    /// Has the stages of each worker's loop clocked.
    #[serde(default)]
    pub(crate) stage_clocks: bool,
    /// Where packet memory and flow state lie.
    #[serde(default)]
    pub(crate) hugepages: HugepagesConfig,
    /// Packet memory set aside at the start, in MiB.
    #[serde(default = "default_memory_mib")]
    pub(crate) memory_mib: u32,
    /// Frames in the packet pool.
    #[serde(default = "default_frames")]
    pub(crate) frames: u32,
    /// Makes every choice of a port foreseeable. For tests only.
    #[serde(default)]
    pub(crate) seed: Option<[u64; 4]>,
}

/// One port.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortConfig {
    /// Its name in the rules.
    pub(crate) name: String,
    /// A PCI address (`0000:3b:00.0`) or a DPDK virtual device (`net_af_packet0,iface=eth1`).
    pub(crate) device: String,
    /// Bytes behind the Ethernet header, 68 to 9216.
    #[serde(default = "default_mtu")]
    pub(crate) mtu: u16,
    /// The side of translation that all of its networks are on; absent: both, or either.
    #[serde(default)]
    pub(crate) side: Option<SideConfig>,
}

/// The side of translation that all networks of a port are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SideConfig {
    /// Routers' own networks.
    Inside,
    /// External networks.
    Outside,
}

/// What an idle worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IdleConfig {
    /// Spins a while, then sleeps for at most a millisecond at a time.
    #[default]
    Sleep,
    /// Never gives its core away.
    Spin,
    /// Spins a while, then sleeps until its devices raise an interrupt, for at most a millisecond at a time.
    Interrupt,
}

/// Where packet memory and flow state lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HugepagesConfig {
    /// Huge pages where enough are free, else plain pages and a warning.
    #[default]
    Auto,
    /// Huge pages, or no start.
    Required,
    /// Plain pages.
    Off,
}

fn default_admin() -> PathBuf {
    "/run/natgate/admin.sock".into()
}

fn default_state_dir() -> PathBuf {
    "/var/lib/natgate".into()
}

fn default_sessions_max() -> u32 {
    1 << 20
}

fn default_external_addresses_max() -> u32 {
    512
}

fn default_shards() -> u8 {
    16
}

fn default_memory_mib() -> u32 {
    256
}

fn default_frames() -> u32 {
    32_767
}

fn default_mtu() -> u16 {
    1500
}

impl NodeConfig {
    /// Reads the configuration and checks what can be checked without touching a device; all that is wrong, at once.
    pub(crate) fn read(path: &std::path::Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))?;
        let config: Self =
            rules::read_document(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        let faults = config.faults();
        if faults.is_empty() {
            return Ok(config);
        }
        anyhow::bail!("{}: {}", path.display(), faults.join("; "))
    }

    /// The devices, by port.
    pub(crate) fn devices(&self) -> Result<Vec<DeviceSpec>, dpdk::DeviceSpecError> {
        self.ports.iter().map(|port| port.device.parse()).collect()
    }

    /// The ports' names, by index.
    pub(crate) fn port_names(&self) -> Vec<String> {
        self.ports.iter().map(|port| port.name.clone()).collect()
    }

    /// How much flow state there is room for.
    pub(crate) fn sizes(&self) -> Sizes {
        let usual = Sizes::new(self.sessions_max, self.shards, self.external_addresses_max);
        let (hosts, mappings) =
            (self.hosts_max.unwrap_or(usual.hosts), self.mappings_max.unwrap_or(usual.mappings));
        Sizes { hosts, mappings, ..usual }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.node.is_empty() {
            faults.push("node: a name is needed".to_owned());
        }
        if self.region.is_none() && self.node.contains('/') {
            faults.push("node: a name with a slash in it names no file: set `region`".to_owned());
        }
        if self.ports.is_empty() || self.ports.len() > nat::PORTS_MAX {
            faults.push(format!("ports: 1 to {} are possible", nat::PORTS_MAX));
        }
        for (index, port) in self.ports.iter().enumerate() {
            if self.ports[..index].iter().any(|earlier| earlier.name == port.name) {
                faults.push(format!("ports[{index}].name: `{}` is there twice", port.name));
            }
            if let Err(error) = port.device.parse::<DeviceSpec>() {
                faults.push(format!("ports[{index}].device: {error}"));
            }
            if !(68..=9216).contains(&port.mtu) {
                faults.push(format!("ports[{index}].mtu: {} is not within 68 to 9216", port.mtu));
            }
        }
        if !(1..=WORKERS_MAX).contains(&self.workers.len()) {
            faults.push(format!("workers: name the cores of 1 to {WORKERS_MAX} workers"));
        }
        let within = |key: &str, value: u32, range: RangeInclusive<u32>| {
            let (least, most) = range.clone().into_inner();
            (!range.contains(&value)).then(|| format!("{key}: {value} is not within {least} to {most}"))
        };
        faults.extend(within("sessions_max", self.sessions_max, 1..=1 << 26));
        faults.extend(self.hosts_max.and_then(|hosts| within("hosts_max", hosts, 1..=1 << 26)));
        faults.extend(self.mappings_max.and_then(|mappings| within("mappings_max", mappings, 1..=1 << 26)));
        faults.extend(within("shards", self.shards.into(), 1..=SHARDS_MAX));
        faults.extend(within(
            "external_addresses_max",
            self.external_addresses_max,
            1..=EXTERNAL_ADDRESSES_MAX,
        ));
        if self.workers.len() > self.shards.into() {
            faults.push(format!("workers: {} shards leave some without work: raise `shards`", self.shards));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        rules::read_document::<NodeConfig>(text).unwrap().faults()
    }

    #[test]
    fn the_shortest_configuration_is_enough() {
        let text = "node: a\nports: [{name: inside, device: net_null0}]\nworkers: [1]\n";
        assert_eq!(faults(text), Vec::<String>::new());
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let text = "node: ''\nports: [{name: a, device: net_null0}, {name: a, device: '?', mtu: 9}]\nworkers: []\n\
                    sessions_max: 0\nshards: 33\nexternal_addresses_max: 32769\nhosts_max: 0\nmappings_max: 0\n";
        assert_eq!(faults(text).len(), 10, "{:?}", faults(text));
    }

    #[test]
    fn a_node_whose_name_is_no_files_name_says_where_its_region_is() {
        let slash = "node: a/b\nports: [{name: inside, device: net_null0}]\nworkers: [1]\n";
        assert_eq!(faults(slash).len(), 1);
        assert_eq!(faults(&format!("{slash}region: /mnt/huge/a\n")), Vec::<String>::new());
    }

    #[test]
    fn more_workers_than_shards_are_refused() {
        let node = |shards| {
            format!(
                "node: a\nports: [{{name: a, device: net_null0}}]\nworkers: [1, 2, 3]\nshards: {shards}\n"
            )
        };
        assert_eq!(faults(&node(3)), Vec::<String>::new());
        assert_eq!(faults(&node(2)).len(), 1);
    }

    #[test]
    fn a_port_is_on_one_side_or_the_other() {
        let node =
            |side| format!("node: a\nports: [{{name: a, device: net_null0, side: {side}}}]\nworkers: [1]\n");
        assert_eq!(faults(&node("outside")), Vec::<String>::new());
        let error = rules::read_document::<NodeConfig>(&node("both")).unwrap_err().to_string();
        assert!(error.contains("inside") && error.contains("outside"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = rules::read_document::<NodeConfig>("node: a\nports: []\nworkers: []\nwrokers: []\n");
        assert!(error.unwrap_err().to_string().contains("wrokers"));
    }
}
