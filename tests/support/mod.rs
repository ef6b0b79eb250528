//! What the tests of the whole gateway have in common.
//!
//! The gateway is started as the binary starts it, from a node's configuration, but for the worker's thread: the test
//! has that in its hands. EAL starts once in a process, so whatever starts one runs in a process of its own.

#![allow(dead_code, reason = "shared between test binaries, and neither uses all of it")]

pub(crate) mod books;
pub(crate) mod capture;
pub(crate) mod far_side;
pub(crate) mod play;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use nat::{Configuration, Sizes, State};
use packet::PacketIo;
use rules::Valid;
use serde_json::json;
use worker::{Handle, Worker};

use crate::config::NodeConfig;
use crate::world::scene::rules_with;

/// The ports' names in the scene's rules, by index.
pub(crate) const PORT_NAMES: [&str; 2] = ["in0", "out0"];

/// What a gateway under test has room for. All of a host's sessions are in one shard.
pub(crate) const SIZES: Sizes = Sizes::new(65_536, 16, 16);

/// Packet memory and frames for one worker's queues.
pub(crate) const MEMORY_MIB: u32 = 256;
pub(crate) const FRAMES: u32 = 8_191;

/// Set for a process that a test started to be something else; says what.
const ROLE: &str = "NATGATE_TEST_ROLE";

/// What this process was started to be, unless it is the test itself.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Starts this program again, asking for `test` alone, to be `role`; returns what it wrote, as text.
///
/// # Panics
/// If it fails, with what it wrote.
pub(crate) fn start_again(test: &str, role: &str) -> String {
    let program = env::current_exe().unwrap();
    let output =
        Command::new(program).args(["--exact", test, "--nocapture"]).env(ROLE, role).output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{}\n{text}", output.status);
    text
}

/// Runs `body` in a process of its own. `test` is the name of the test that calls this.
pub(crate) fn in_own_process(test: &str, body: impl FnOnce()) {
    if role().is_some() {
        return body();
    }
    let said = start_again(test, "the test itself");
    // A name that is no test's would otherwise pass, having run nothing.
    assert!(said.contains("1 passed"), "`{test}` ran no test:\n{said}");
}

/// Writes a node's configuration with these devices and so many workers to `directory`.
pub(crate) fn write_node_config(directory: &Path, devices: [String; 2], mtu: u16, workers: u16) {
    let ports = PORT_NAMES.into_iter().zip(devices);
    let ports: Vec<_> =
        ports.map(|(name, device)| json!({"name": name, "device": device, "mtu": mtu})).collect();
    let config = json!({
        "node": "under-test",
        "ports": ports,
        "workers": cores(workers),
        "cores_shared": true,
        "region": directory.join("region"),
        "sessions_max": SIZES.sessions,
        "shards": SIZES.shards,
        "external_addresses_max": SIZES.addresses,
        // Few machines that run tests have hugepages to spare.
        "hugepages": "off",
        "memory_mib": MEMORY_MIB * u32::from(workers),
        "frames": FRAMES * u32::from(workers),
    });
    fs::write(directory.join("node.json"), config.to_string()).unwrap();
}

/// Cores for so many workers; machines that run tests may have fewer.
pub(crate) fn cores(workers: u16) -> Vec<u16> {
    dpdk::cores::allowed().unwrap().into_iter().rev().cycle().take(workers.into()).collect()
}

/// The node's configuration of `directory`, read as the binary reads it.
pub(crate) fn node_config(directory: &Path) -> NodeConfig {
    NodeConfig::read(&directory.join("node.json")).unwrap()
}

/// Workers over one state, and the control thread's ends of them.
pub(crate) struct Team<I: PacketIo> {
    pub(crate) workers: Vec<Worker<I>>,
    pub(crate) handles: Vec<Handle>,
}

/// A team with a worker for each of `io`, to which rules (YAML) were sent.
pub(crate) fn team<I: PacketIo>(io: Vec<I>, rules: &str) -> Team<I>
where
    I::Frame: Send,
{
    // The brain's choices are the same each time.
    let (state, shards) = State::anonymous(&SIZES, [1, 2, 3, 4]).unwrap();
    let team = worker::team(&state, shards, io, PORT_NAMES.len() as u8, &Configuration::default());
    let (workers, mut handles): (Vec<_>, Vec<_>) = team.into_iter().unzip();
    let mut numbers = state.numbers();
    let rules = Arc::new(rules::compile(&valid(rules), None, &mut numbers).unwrap());
    state.store(&numbers, rules.generation);
    handles.iter_mut().for_each(|handle| handle.publish(&rules).unwrap());
    Team { workers, handles }
}

fn valid(rules: &str) -> Valid {
    let fed = rules::read_rules(rules).unwrap_or_else(|error| panic!("{error}\n{rules}"));
    rules::validate(&fed, &PORT_NAMES.map(str::to_owned))
        .unwrap_or_else(|faults| panic!("{faults:#?}\n{rules}"))
}

/// The scene's rules, with networks for jumbo frames: red's first one and the internet.
pub(crate) fn jumbo_rules() -> String {
    rules_with(&[
        ("port: in0, vlan: 100}", "port: in0, vlan: 100, mtu: 9000}"),
        ("{id: internet, port: out0}", "{id: internet, port: out0, mtu: 9000}"),
    ])
}

/// A payload that differs from place to place.
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|place| (place * 7 + (place >> 8)) as u8).collect()
}
