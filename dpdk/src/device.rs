//! How the configuration names a device, and what EAL is told about it.
//!
//! A network card is named by its PCI address, a virtual device by its driver's name with a number and options, both
//! in DPDK's own spelling, so that DPDK's documentation applies.
//!
//! Some drivers' defaults do not suit a gateway. What the operator leaves out is then filled in:
//!
//! | driver | added | why |
//! |---|---|---|
//! | `net_af_packet` | `framecnt=4096,blocksz=4096` | with the default of 512 frames a busy neighbour makes it lose bursts |
//! | | `qdisc_bypass=1` | the frames are complete; the kernel has nothing to add to them |
//! | | `qpairs=N` | queues are made with the device, one pair for each worker |
//! | `net_virtio_user` | `queues=N,queue_size=1024` | as above; the default is 256 |
//! | `net_vhost` | `queues=N` | as above |
//!
//! Two traps of `net_af_packet` stay: frames longer than about 1,980 bytes are cut without a word unless `framesz`
//! (and `blocksz`) is larger, and its sockets let the kernel put fragments together before we see them.

use core::fmt;
use core::str::FromStr;
use std::ffi::CString;
use std::fs;

/// A device by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeviceSpec {
    /// A network card, such as `0000:3b:00.0` or `3b:00.0,llq_policy=1`.
    Pci {
        /// The address with its domain, in lower case; also the port's name.
        address: String,
        /// What follows the first comma.
        options: String,
    },
    /// A virtual device, such as `net_af_packet0,iface=p0`.
    Virtual {
        /// Driver and number; also the port's name.
        name: String,
        /// What follows the first comma.
        options: String,
    },
}

/// Why a text names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a PCI address (0000:3b:00.0) nor a virtual device (net_af_packet0,iface=eth1)")]
pub struct DeviceSpecError(pub String);

impl FromStr for DeviceSpec {
    type Err = DeviceSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (head, options) = text.trim().split_once(',').unwrap_or((text.trim(), ""));
        let options = options.to_owned();
        if let Some(address) = pci_address(head) {
            return Ok(Self::Pci { address, options });
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let clean = !options.contains(|c: char| c.is_control() || c.is_whitespace());
        if clean && head.len() > "net_".len() && head.starts_with("net_") && head.chars().all(word) {
            return Ok(Self::Virtual { name: head.to_owned(), options });
        }
        Err(DeviceSpecError(text.to_owned()))
    }
}

impl DeviceSpec {
    /// The name that DPDK gives the device's port.
    pub fn name(&self) -> &str {
        match self {
            Self::Pci { address, .. } => address,
            Self::Virtual { name, .. } => name,
        }
    }

    /// The value of option `key`, where the operator gave it.
    pub fn option(&self, key: &str) -> Option<&str> {
        let (Self::Pci { options, .. } | Self::Virtual { options, .. }) = self;
        options
            .split(',')
            .filter_map(|option| option.split_once('='))
            .find(|(k, _)| *k == key)
            .map(|(_, value)| value)
    }

    /// The device as EAL's command line has it, with our defaults, for `queues` pairs of queues.
    pub fn eal_argument(&self, queues: u16) -> String {
        match self {
            Self::Pci { .. } => format!("--allow={}", self.arguments(queues)),
            Self::Virtual { .. } => format!("--vdev={}", self.arguments(queues)),
        }
    }

    /// Name and options with our defaults.
    pub(crate) fn arguments(&self, queues: u16) -> String {
        let (Self::Pci { options, .. } | Self::Virtual { options, .. }) = self;
        let mut arguments = self.name().to_owned();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            arguments += ",";
            arguments += option;
        }
        for (key, value) in self.defaults(queues) {
            if self.option(key).is_none() {
                arguments += &format!(",{key}={value}");
            }
        }
        arguments
    }

    /// The kernel's interface that a virtual device is bound to.
    pub(crate) fn kernel_interface(&self) -> Option<&str> {
        match self {
            Self::Virtual { name, .. } if name.starts_with("net_af_") => self.option("iface"),
            _ => None,
        }
    }

    /// What stands in the way of the device and can be seen before EAL starts, as a sentence.
    pub(crate) fn obstacle(&self) -> Option<String> {
        match self {
            Self::Pci { address, .. } => pci_obstacle(address),
            Self::Virtual { name, .. } => {
                let interface = self.kernel_interface()?;
                (!interface_exists(interface))
                    .then(|| format!("{name}: there is no interface `{interface}` in this network namespace"))
            }
        }
    }

    /// What to look at where DPDK did not find the device, as the tail of a sentence.
    pub(crate) fn hint(&self) -> Option<String> {
        let Self::Pci { address, .. } = self else { return None };
        let driver = fs::read_link(format!("/sys/bus/pci/devices/{address}/driver")).ok();
        let driver = driver.as_deref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
        Some(match driver {
            Some(driver) => {
                format!(": it is bound to `{driver}`; most cards want `vfio-pci` (dpdk-devbind.py)")
            }
            None => ": it is bound to no driver; most cards want `vfio-pci` (dpdk-devbind.py)".to_owned(),
        })
    }

    fn defaults(&self, queues: u16) -> Vec<(&'static str, String)> {
        let Self::Virtual { name, .. } = self else { return Vec::new() };
        let queues = queues.to_string();
        if name.starts_with("net_af_packet") {
            let frames = [("framecnt", "4096"), ("blocksz", "4096"), ("qdisc_bypass", "1")];
            let frames = frames.into_iter().map(|(key, value)| (key, value.to_owned()));
            frames.chain([("qpairs", queues)]).collect()
        } else if name.starts_with("net_virtio_user") {
            vec![("queues", queues), ("queue_size", "1024".to_owned())]
        } else if name.starts_with("net_vhost") {
            vec![("queues", queues)]
        } else {
            Vec::new()
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The full, lower-case form of a PCI address, whose domain may be left out.
fn pci_address(text: &str) -> Option<String> {
    let (bus_device, function) = text.split_once('.')?;
    let mut parts: Vec<&str> = bus_device.split(':').collect();
    if parts.len() == 2 {
        parts.insert(0, "0000");
    }
    let [domain, bus, device] = parts[..] else { return None };
    let hex = |text: &str, least, most| {
        (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let fits = hex(domain, 4, 8) && hex(bus, 2, 2) && hex(device, 2, 2) && hex(function, 1, 1);
    (fits && function <= "7").then(|| format!("{domain}:{bus}:{device}.{function}").to_ascii_lowercase())
}

fn pci_obstacle(address: &str) -> Option<String> {
    let device = format!("/sys/bus/pci/devices/{address}");
    if !fs::exists(&device).unwrap_or(true) {
        return Some(format!("{address}: there is no such PCI device on this machine (lspci -D lists them)"));
    }
    None
}

fn interface_exists(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: the name is a terminated string that lives for the time of the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> DeviceSpec {
        text.parse().unwrap()
    }

    #[test]
    fn a_pci_address_is_a_network_card() {
        for text in ["0000:3b:00.0", "3B:00.0", " 3b:00.0 "] {
            assert_eq!(parse(text).name(), "0000:3b:00.0");
        }
        assert_eq!(parse("3b:00.1,llq_policy=1").eal_argument(4), "--allow=0000:3b:00.1,llq_policy=1");
    }

    #[test]
    fn a_driver_name_is_a_virtual_device() {
        let device = parse("net_memif0,role=server,socket=/tmp/m.sock");
        assert_eq!(device.name(), "net_memif0");
        assert_eq!(device.option("role"), Some("server"));
        assert_eq!(device.eal_argument(2), "--vdev=net_memif0,role=server,socket=/tmp/m.sock");
    }

    #[test]
    fn anything_else_is_refused_in_one_sentence() {
        for text in [
            "",
            "eth0",
            "net_",
            "3b:00",
            "3b:00.8",
            "3b:0g.0",
            "net_ring0,a b",
            "net_tap0\n",
            "--vdev=net_null0",
        ] {
            assert!(text.trim() == "net_tap0" || text.parse::<DeviceSpec>().is_err(), "{text:?}");
        }
        let sentence = "eth0".parse::<DeviceSpec>().unwrap_err().to_string();
        assert!(sentence.starts_with("`eth0` is neither a PCI address"), "{sentence}");
    }

    #[test]
    fn af_packet_gets_what_the_operator_left_out() {
        assert_eq!(
            parse("net_af_packet0,iface=p0").eal_argument(2),
            "--vdev=net_af_packet0,iface=p0,framecnt=4096,blocksz=4096,qdisc_bypass=1,qpairs=2"
        );
        assert_eq!(
            parse("net_af_packet0,iface=p0,framecnt=512,qpairs=1,qdisc_bypass=0").eal_argument(2),
            "--vdev=net_af_packet0,iface=p0,framecnt=512,qpairs=1,qdisc_bypass=0,blocksz=4096"
        );
    }

    #[test]
    fn an_obstacle_is_named_before_anything_starts() {
        assert_eq!(
            parse("net_af_packet0,iface=nowhere0").obstacle().unwrap(),
            "net_af_packet0: there is no interface `nowhere0` in this network namespace"
        );
        assert_eq!(parse("net_af_packet0,iface=lo").obstacle(), None);
        assert!(parse("ffff:ff:1f.7").obstacle().unwrap().contains("no such PCI device"));
        assert_eq!(parse("net_null0").obstacle(), None);
    }
}
