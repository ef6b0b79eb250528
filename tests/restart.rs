//! The binary, ended and started again: what its region keeps, what it says of it, and what it refuses.
//!
//! Its ports are rings that give back what is sent, so the gateway hears its own announcements and needs neither root nor a
//! network. That sessions of real clients go on is shown in the laboratory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop where a test may")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::{Value, json};

const RULES: &str = include_str!("lab/rules.yaml");

/// How long a start may take, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node's directory, and the daemon that runs there.
struct Node {
    directory: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Node {
    fn new() -> Self {
        let node = Self { directory: tempfile::tempdir().unwrap(), daemon: None };
        fs::write(node.path("rules.yaml"), RULES).unwrap();
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure(&self, workers: usize, sessions_max: u32) {
        self.configure_in(&self.path("region"), "off", workers, sessions_max);
    }

    fn configure_in(&self, region: &Path, hugepages: &str, workers: usize, sessions_max: u32) {
        let core = dpdk::cores::allowed().unwrap()[0];
        let config = json!({
            "node": "restarted",
            "ports": [{"name": "inside", "device": "net_ring0"}, {"name": "outside", "device": "net_ring1"}],
            "workers": vec![core; workers],
            "cores_shared": true,
            "admin": self.path("admin.sock"),
            "state_dir": self.path("state"),
            "region": region,
            "sessions_max": sessions_max,
            "external_addresses_max": 4,
            "hugepages": hugepages,
            "memory_mib": 64,
            "frames": 8191,
        });
        fs::write(self.path("node.json"), config.to_string()).unwrap();
    }

    fn run(&self, config: &str) -> Command {
        let mut run = Command::new(env!("CARGO_BIN_EXE_natgate"));
        run.arg("run").arg("--config").arg(self.path(config));
        run.arg("--rules").arg(self.path("rules.yaml"));
        run.stdout(Stdio::null()).stderr(Stdio::piped());
        run
    }

    /// Starts the daemon, and waits until its rules are in force and all of its announcements have come back. Its status
    /// then.
    fn start(&mut self) -> Value {
        let log = fs::File::create(self.path("log")).unwrap();
        self.daemon = Some(self.run("node.json").stderr(log).spawn().unwrap());
        let (begun, mut before) = (Instant::now(), Value::Null);
        loop {
            let status = self.ask("status");
            let ports_heard = status["ports"]
                .as_array()
                .is_some_and(|ports| ports.iter().all(|port| port["rx_frames"] != 0));
            if status["generation"].as_u64() > Some(0) && ports_heard && status["books"] == before {
                assert_eq!(status["books"]["balance"], 0, "{status}");
                return status;
            }
            before = status["books"].clone();
            let log = fs::read_to_string(self.path("log")).unwrap();
            assert!(begun.elapsed() < PATIENCE, "no rules in force: {status}\n{log}");
            thread::sleep(Duration::from_millis(300));
        }
    }

    fn ask(&self, what: &str) -> Value {
        let mut ask = Command::new(env!("CARGO_BIN_EXE_natgate"));
        let Output { stdout, .. } =
            ask.arg(what).arg("--admin").arg(self.path("admin.sock")).args(["-o", "json"]).output().unwrap();
        serde_json::from_slice(&stdout).unwrap_or_default()
    }

    /// Ends the daemon with a signal. Its exit code, if it had the time to have one.
    fn end(&mut self, signal: &str) -> Option<i32> {
        let mut daemon = self.daemon.take().unwrap();
        let sent = Command::new("kill").args([signal, &daemon.id().to_string()]).status().unwrap();
        assert!(sent.success());
        daemon.wait().unwrap().code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// What the status says of the region.
fn says(status: &Value) -> (bool, &str) {
    (status["region"]["taken_over"].as_bool().unwrap(), status["region"]["message"].as_str().unwrap())
}

/// The same rules, with the routers the other way round.
fn in_another_order(rules: &str) -> String {
    let (head, routers) = rules.split_once("\nrouters:\n").unwrap();
    let (first, second) = routers.split_once("\n\n  - id:").unwrap();
    format!("{head}\nrouters:\n  - id:{}\n\n{first}\n", second.trim_end())
}

#[test]
fn the_next_process_goes_on_with_what_it_finds() {
    let mut node = Node::new();
    node.configure(2, 4_096);
    let first = node.start();
    assert_eq!(says(&first), (false, "there was no flow state: starting without sessions"));
    assert_eq!(first["workers"].as_array().unwrap().len(), 2);
    assert_eq!(node.ask("pools").as_array().unwrap().len(), 1);
    let rx = |status: &Value| status["books"]["rx"].as_u64().unwrap();
    assert!(rx(&first) > 0, "it hears its announcements: {first}");

    // Killed; another number of workers, another order of routers.
    assert_eq!(node.end("-KILL"), None);
    node.configure(1, 4_096);
    fs::write(node.path("rules.yaml"), in_another_order(RULES)).unwrap();
    let second = node.start();
    let (taken_over, message) = says(&second);
    assert!(taken_over && message.contains("after a crash"), "{message}");
    assert!(second["generation"].as_u64() > first["generation"].as_u64(), "generations go on");
    assert!(rx(&second) > rx(&first), "counters go on: {} after {}", rx(&second), rx(&first));
    assert_eq!(second["workers"][0]["shards"], 16);

    // Ended in order.
    assert_eq!(node.end("-TERM"), Some(0));
    let third = node.start();
    let (taken_over, message) = says(&third);
    assert!(taken_over && message.contains("after an orderly end"), "{message}");
    assert!(third["generation"].as_u64() > second["generation"].as_u64());
    assert!(rx(&third) > rx(&second));

    // Room for more.
    assert_eq!(node.end("-TERM"), Some(0));
    node.configure(1, 8_192);
    let fourth = node.start();
    let (taken_over, message) = says(&fourth);
    assert!(!taken_over && message.contains("other sizes"), "{message}");
}

/// Why a tmpfs here has no huge pages to be put into.
fn no_huge_pages() -> Option<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let transparent = read("/sys/kernel/mm/transparent_hugepage/enabled");
    let release = read("/proc/sys/kernel/osrelease");
    let number = |part: &str| part.parse::<u32>().unwrap_or_default();
    if transparent.is_empty() || transparent.contains("[never]") {
        return Some(format!("no transparent huge pages ({})", transparent.trim()));
    }
    release.split('.').map(number).take(2).lt([6, 1]).then(|| format!("Linux {}", release.trim()))
}

#[test]
fn flow_state_stays_in_huge_pages_from_one_process_to_the_next() {
    if let Some(reason) = no_huge_pages() {
        println!("skipped: {reason}");
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let region = directory.path().join("region");
    let pages = |status: &Value| {
        let number = |key: &str| status["region"][key].as_u64().unwrap();
        assert!(number("huge_kib") > 2048 && number("kib") - number("huge_kib") < 2048, "{status}");
        assert_eq!(status["region"]["pages"], "pages of 2 MiB");
    };
    let mut node = Node::new();
    node.configure_in(&region, "auto", 1, 4_096);
    pages(&node.start());
    assert_eq!(node.end("-KILL"), None);
    let second = node.start();
    assert!(says(&second).0, "it was taken over: {second}");
    pages(&second);
}

#[test]
fn a_node_that_requires_huge_pages_does_not_start_without() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let region = directory.path().join("region");
    let mut node = Node::new();
    node.configure_in(&region, "off", 1, 4_096);
    let first = node.start();
    if first["region"]["huge_kib"] != 0 {
        println!("skipped: this kernel has huge pages in any tmpfs: {}", first["region"]);
        return;
    }
    assert_eq!(first["region"]["pages"], "pages of 4 KiB");
    assert!(!first["warnings"].to_string().contains("flow state"), "nobody wanted others: {first}");
    assert_eq!(node.end("-TERM"), Some(0));

    // Flow state stays in the pages it has.
    node.configure_in(&region, "required", 1, 4_096);
    let Output { status, stderr, .. } = node.run("node.json").output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{said}");
    let sentence = "hugepages are required, but flow state lies in pages of 4 KiB";
    assert!(said.contains(&format!("{sentence} ({})", region.display())), "{said}");
}

#[test]
fn a_region_that_a_living_process_has_is_left_alone() {
    let mut node = Node::new();
    node.configure(1, 4_096);
    let before = node.start();
    let other = fs::read_to_string(node.path("node.json")).unwrap().replace("admin.sock", "other.sock");
    fs::write(node.path("other.json"), other).unwrap();
    let Output { status, stderr, .. } = node.run("other.json").output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    let sentence = format!("{} is in use by another process", Path::new(&node.path("region")).display());
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.trim_end().ends_with(&sentence), "{said}");
    assert_eq!(node.ask("status")["generation"], before["generation"]);
}
