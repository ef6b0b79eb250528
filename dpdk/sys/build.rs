//! Finds the installed DPDK, writes its bindings, compiles the shim and links the libraries.
//!
//! The pkg-config program is called directly: the crate of that name drops `-include rte_config.h` and `-march`, and
//! without them the headers do not compile. Linking is shared: EAL then loads every driver from its plugin directory
//! when it starts, so that virtual devices and network cards alike are found without being named here.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::{env, panic};

/// The oldest DPDK whose headers this crate was built with.
const DPDK_OLDEST: &str = "22.11";

/// The libraries that hold what is called; the drivers are plugins and bring what they need.
const LIBRARIES: [&str; 5] = ["rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_eal"];

const FUNCTIONS: [&str; 32] = [
    "dpdk_sys_.*",
    "rte_dev_probe",
    "rte_eal_cleanup",
    "rte_eal_get_runtime_dir",
    "rte_eal_init",
    "rte_epoll_ctl",
    "rte_epoll_wait",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_info_get",
    "rte_eth_dev_rx_intr_ctl_q",
    "rte_eth_dev_rx_intr_disable",
    "rte_eth_dev_rx_intr_enable",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_enable",
    "rte_eth_promiscuous_get",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_tx_queue_setup",
    "rte_mempool_avail_count",
    "rte_pktmbuf_free_bulk",
    "rte_pktmbuf_pool_create",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_version",
];

const VARIABLES: [&str; 5] = [
    "dpdk_sys_rss_.*",
    "rte_eth_fp_ops",
    "RTE_EPOLL_PER_THREAD",
    "RTE_INTR_EVENT_.*",
    "RTE_PKTMBUF_HEADROOM",
];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=wrapper.h");
    println!("cargo::rerun-if-changed=shim.h");
    println!("cargo::rerun-if-changed=shim.c");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            println!("cargo::error={sentence}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let flags = pkg_config(&["--cflags", &format!("libdpdk >= {DPDK_OLDEST}")])?;
    write_bindings(&flags)?;
    compile_shim(&flags)?;
    for flag in pkg_config(&["--libs-only-L", "libdpdk"])? {
        println!("cargo::rustc-link-search=native={}", flag.trim_start_matches("-L"));
    }
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    Ok(())
}

/// The words that pkg-config prints.
fn pkg_config(arguments: &[&str]) -> Result<Vec<String>, String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = Command::new(&program).args(arguments).output().map_err(|error| {
        format!("{program} does not run ({error}): on Debian, `apt-get install pkg-config`")
    })?;
    if !output.status.success() {
        return Err(format!(
            "pkg-config knows no DPDK {DPDK_OLDEST} or newer: on Debian, `apt-get install libdpdk-dev`"
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().map(String::from).collect())
}

fn write_bindings(flags: &[String]) -> Result<(), String> {
    // bindgen panics where it finds no libclang; the one sentence is of more use than its backtrace.
    panic::set_hook(Box::new(|_| ()));
    let version = panic::catch_unwind(bindgen::clang_version);
    let _ = panic::take_hook();
    version.map_err(
        |_| "libclang, which bindgen needs, was not found: on Debian, `apt-get install libclang-dev`",
    )?;

    let mut builder = bindgen::builder()
        .header("wrapper.h")
        .clang_args(flags)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .formatter(bindgen::Formatter::None)
        .generate_comments(false)
        .layout_tests(false)
        .derive_debug(false)
        .prepend_enum_name(false)
        // Reached through the hand-written view (src/mbuf.rs), whose offsets the shim checks.
        .blocklist_type("rte_mbuf")
        // Never looked into.
        .opaque_type("rte_mempool")
        .opaque_type("rte_device");
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    for variable in VARIABLES {
        builder = builder.allowlist_var(variable);
    }
    let bindings = builder.generate().map_err(|error| {
        format!("bindgen could not read DPDK's headers (on Debian, `apt-get install libclang-dev`): {error}")
    })?;
    let file = out_directory()?.join("bindings.rs");
    bindings.write_to_file(&file).map_err(|error| format!("{} cannot be written: {error}", file.display()))
}

fn compile_shim(flags: &[String]) -> Result<(), String> {
    let mut shim = cc::Build::new();
    shim.file("shim.c").warnings(true).extra_warnings(true);
    for flag in flags {
        // As system headers: DPDK's own are not clean under -Wextra.
        shim.flag(flag.replacen("-I", "-isystem", 1));
    }
    shim.try_compile("dpdk_sys_shim").map_err(|error| format!("the C shim does not compile: {error}"))
}

fn out_directory() -> Result<PathBuf, String> {
    env::var_os("OUT_DIR").map(PathBuf::from).ok_or_else(|| "cargo set no OUT_DIR".into())
}
