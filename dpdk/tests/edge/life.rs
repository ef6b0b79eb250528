//! How EAL and ports begin, fail and end.

use std::fs;
use std::path::{Path, PathBuf};

use dpdk::{Eal, EalConfig, EalError, LcoreError, MemoryPolicy, MemoryUse, MempoolConfig, PortError};

use crate::{config, device, edge, in_own_process, pool};

#[test]
fn a_second_start_is_refused() {
    in_own_process("life::a_second_start_is_refused", || {
        let first = Eal::init(&config(&[])).unwrap();
        let second = Eal::init(&config(&[])).err().unwrap();
        assert!(matches!(second, EalError::AlreadyStarted));
        drop(first);
        assert!(matches!(Eal::init(&config(&[])), Err(EalError::AlreadyStarted)), "nor after a clean-up");
    });
}

#[test]
fn a_device_that_is_not_there_is_one_sentence_and_can_be_tried_again() {
    in_own_process("life::a_device_that_is_not_there_is_one_sentence_and_can_be_tried_again", || {
        for (name, sentence) in [
            (
                "net_af_packet0,iface=nowhere0",
                "net_af_packet0: there is no interface `nowhere0` in this network namespace",
            ),
            (
                "ffff:ff:1f.7",
                "ffff:ff:1f.7: there is no such PCI device on this machine (lspci -D lists them)",
            ),
        ] {
            assert_eq!(Eal::init(&config(&[name])).err().unwrap().to_string(), sentence);
        }
        Eal::init(&config(&["net_null0"])).unwrap();
    });
}

#[test]
fn what_the_driver_refused_is_told_with_its_words() {
    in_own_process("life::what_the_driver_refused_is_told_with_its_words", || {
        let name = "net_pcap0,rx_pcap=/nowhere/in.pcap";
        let eal = Eal::init(&config(&[name])).unwrap();
        let error = eal.port(&device(name)).err().unwrap();
        assert!(matches!(error, PortError::NotFound { .. }));
        let sentence = error.to_string();
        assert!(sentence.starts_with("net_pcap0: DPDK found no such device (DPDK: "), "{sentence}");
        assert!(sentence.contains("/nowhere/in.pcap"), "{sentence}");
        assert!(!sentence.contains('\n'), "{sentence}");
        let error = eal.attach(&device("net_nonsense1"), 1).unwrap_err();
        assert!(error.to_string().starts_with("net_nonsense1 was not attached: "), "{error}");
    });
}

#[test]
fn a_driver_that_does_not_exist_is_named() {
    in_own_process("life::a_driver_that_does_not_exist_is_named", || {
        let error = Eal::init(&config(&["net_nonsense0"])).err().unwrap().to_string();
        assert!(error.starts_with("DPDK did not start: No such device (DPDK: "), "{error}");
        assert!(error.contains("net_nonsense0"), "{error}");
        assert!(!directory().exists());
    });
}

#[test]
fn fewer_transmit_queues_than_workers_is_one_sentence() {
    in_own_process("life::fewer_transmit_queues_than_workers_is_one_sentence", || {
        let name = "net_pcap0,tx_pcap=/dev/null";
        let eal = Eal::init(&config(&[name])).unwrap();
        let pool = pool(&eal);
        let error = eal.port(&device(name)).unwrap().queues(2).start(&pool).err().unwrap();
        assert_eq!(error.to_string(), "net_pcap0 offers 1 transmit queue(s), too few for 2 workers");
        eal.port(&device(name)).unwrap().start(&pool).unwrap();
    });
}

#[test]
fn a_port_has_one_owner() {
    in_own_process("life::a_port_has_one_owner", || {
        let eal = Eal::init(&config(&["net_null0"])).unwrap();
        let pool = pool(&eal);
        let started = eal.port(&device("net_null0")).unwrap().start(&pool).unwrap();
        let error = eal.port(&device("net_null0")).err().unwrap();
        assert_eq!(error.to_string(), "net_null0 is in use already");
        // A queue alone keeps the port running.
        let rx = started.rx;
        drop((started.port, started.tx));
        assert!(matches!(eal.port(&device("net_null0")), Err(PortError::InUse(_))));
        drop(rx);
        assert!(matches!(eal.port(&device("net_null0")), Err(PortError::NotFound { .. })), "closed for good");
    });
}

#[test]
fn too_large_a_pool_is_refused_with_the_reason() {
    in_own_process("life::too_large_a_pool_is_refused_with_the_reason", || {
        let eal = Eal::init(&config(&[])).unwrap();
        let sizes = MempoolConfig { frames: 1 << 20, ..MempoolConfig::default() };
        let error = eal.mempool(&sizes).err().unwrap().to_string();
        assert!(
            error.starts_with("no pool of 1048576 mbufs of 2048 bytes: Cannot allocate memory"),
            "{error}"
        );
        let sizes = MempoolConfig { frame_bytes_max: u16::MAX, ..MempoolConfig::default() };
        assert!(eal.mempool(&sizes).err().unwrap().to_string().contains("Invalid argument"));
    });
}

#[test]
fn missing_hugepages_are_reported_or_refused() {
    in_own_process("life::missing_hugepages_are_reported_or_refused", || {
        // More than any machine has free, yet no more than plain memory can be promised.
        let devices = config(&[]);
        let wanting = |memory, memory_mib| EalConfig { memory, memory_mib, ..devices.clone() };
        let error = Eal::init(&wanting(MemoryPolicy::Hugepages, u32::MAX)).err().unwrap().to_string();
        assert!(error.starts_with("hugepages are required, but "), "{error}");
        assert!(error.contains("4294967295 MiB are wanted"), "{error}");
        if dpdk::hugepages::check(64).is_err() {
            let eal = Eal::init(&wanting(MemoryPolicy::Auto, 64)).unwrap();
            assert!(matches!(eal.memory(), MemoryUse::PlainFor(_)));
        }
    });
}

#[test]
fn start_leaves_the_threads_affinity_alone() {
    in_own_process("life::start_leaves_the_threads_affinity_alone", || {
        let before = dpdk::cores::allowed().unwrap();
        // EAL pins itself to a core that is named.
        let eal = Eal::init(&EalConfig { main_core: before.last().copied(), ..config(&[]) }).unwrap();
        assert_eq!(dpdk::cores::allowed().unwrap(), before);
        let error = std::thread::spawn(move || {
            let _lcore = eal.register_this_thread(before[0]).unwrap();
            assert_eq!(dpdk::cores::allowed().unwrap(), before[..1]);
            eal.register_this_thread(before[0]).err().unwrap()
        });
        assert!(matches!(error.join().unwrap(), LcoreError::Twice));
    });
}

#[test]
fn nothing_is_left_on_disk() {
    in_own_process("life::nothing_is_left_on_disk", || {
        let (eal, pool, ports, io) = edge(&["net_null0"]);
        let directory = directory();
        assert!(directory.exists(), "{}", directory.display());
        drop((eal, pool, io));
        assert!(directory.exists(), "the port still runs");
        drop(ports);
        assert!(!directory.exists(), "{}", directory.display());
    });
}

#[test]
fn an_mbuf_may_outlive_everything() {
    in_own_process("life::an_mbuf_may_outlive_everything", || {
        let eal = Eal::init(&config(&[])).unwrap();
        let pool = pool(&eal);
        let mut frame = pool.allocate().unwrap();
        drop((pool, eal));
        packet::Frame::resize(&mut frame, 100).unwrap();
        packet::Frame::bytes_mut(&mut frame).fill(7);
        drop(frame);
        assert!(!directory().exists());
    });
}

/// EAL's directory for this process, as root and otherwise.
fn directory() -> PathBuf {
    let prefix = config(&[]).file_prefix;
    let user = std::env::var("XDG_RUNTIME_DIR").unwrap_or_else(|_| "/tmp".into());
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    Path::new(if root { "/var/run" } else { &user }).join("dpdk").join(prefix)
}
