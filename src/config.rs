//! The node's configuration: what this machine is, not what it forwards.

use std::net::SocketAddr;
use std::path::PathBuf;

use dpdk::DeviceSpec;
use serde::{Deserialize, Serialize};

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
    /// The most sessions; memory for all of them, and for their mappings, is taken at the start.
    #[serde(default = "default_sessions_max")]
    pub(crate) sessions_max: u32,
    /// What an idle worker does.
    #[serde(default)]
    pub(crate) idle: IdleConfig,
    /// Where packet memory comes from.
    #[serde(default)]
    pub(crate) hugepages: HugepagesConfig,
    /// Packet memory set aside at the start, in MiB.
    #[serde(default = "default_memory_mib")]
    pub(crate) memory_mib: u32,
    /// Frames in the packet pool.
    #[serde(default = "default_frames")]
    pub(crate) frames: u32,
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
}

/// Where packet memory comes from.
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

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.node.is_empty() {
            faults.push("node: a name is needed".to_owned());
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
        match self.workers.len() {
            1 => {}
            0 => faults.push("workers: name the core of one worker".to_owned()),
            _ => faults.push("workers: this release runs one worker; name one core".to_owned()),
        }
        if !(1..=1 << 26).contains(&self.sessions_max) {
            faults.push(format!("sessions_max: {} is not within 1 to {}", self.sessions_max, 1 << 26));
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
        let text = "node: ''\nports: [{name: a, device: net_null0}, {name: a, device: '?', mtu: 9}]\nworkers: []\nsessions_max: 0\n";
        assert_eq!(faults(text).len(), 6, "{:?}", faults(text));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = rules::read_document::<NodeConfig>("node: a\nports: []\nworkers: []\nwrokers: []\n");
        assert!(error.unwrap_err().to_string().contains("wrokers"));
    }
}
