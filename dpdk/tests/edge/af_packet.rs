//! Ports on the kernel's interfaces. Needs root, for a network namespace of its own; without, it says that it is skipped.

use std::process::Command;
use std::{fs, io, thread};

use dpdk::WorkerPorts;
use packet::{PacketIo, PortIndex};

use crate::{edge, frame, in_own_process, pattern, receive};

const SENDER: PortIndex = PortIndex(0);
const RECEIVER: PortIndex = PortIndex(1);

/// Frames that the receiver's ring holds.
const RING: u64 = 64;

#[test]
fn what_the_kernel_drops_for_want_of_room_is_counted_as_missed() {
    if let Err(error) = thread::spawn(enter_namespace).join().unwrap() {
        eprintln!("skipped: no network namespace of its own: {error}");
        return;
    }
    in_own_process("af_packet::what_the_kernel_drops_for_want_of_room_is_counted_as_missed", || {
        enter_namespace().unwrap();
        make_link("left0", "right0").unwrap();
        let receiver = format!("net_af_packet1,iface=right0,framecnt={RING}");
        let (_eal, _pool, ports, mut io) = edge(&["net_af_packet0,iface=left0", &receiver]);
        assert_eq!(ports[1].stats().unwrap().rx_missed, 0);

        let mut sent = 0;
        for round in 1..=3 {
            sent += send(&mut io, 300);
            assert_eq!(receive(&mut io, RECEIVER, RING as usize).len() as u64, RING);
            assert_eq!(ports[0].stats().unwrap().rx_missed, 0, "each port has its own");
            let missed = sent - round * RING;
            for _ in 0..2 {
                // The kernel forgets what it has told.
                assert_eq!(ports[1].stats().unwrap().rx_missed, missed, "round {round}");
            }
        }
        let receiver = ports[1].stats().unwrap();
        assert_eq!(receiver.rx_frames + receiver.rx_missed, sent, "no frame is unaccounted for");
    });
}

/// Returns how many frames the kernel took.
fn send(io: &mut WorkerPorts, count: usize) -> u64 {
    for number in 0..count {
        let frame = frame(io, &pattern(number, 60));
        io.send(SENDER, frame);
    }
    io.flush(SENDER).frames
}

/// Moves this thread into a network namespace of its own.
fn enter_namespace() -> io::Result<()> {
    // SAFETY: touches no memory; it changes what this thread sees, and what is started from it.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes a pair of interfaces that lead to each other.
fn make_link(one: &str, other: &str) -> io::Result<()> {
    // No frames but ours.
    fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?;
    let ip = |arguments: &[&str]| {
        let status = Command::new("ip").args(arguments).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("ip {arguments:?}: {status}"))) }
    };
    ip(&["link", "add", one, "type", "veth", "peer", "name", other])?;
    ip(&["link", "set", one, "up"])?;
    ip(&["link", "set", other, "up"])
}
