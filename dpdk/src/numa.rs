//! Which memory is near which core (NUMA nodes).

use std::fs;
use std::io;

/// The nodes that a mask of ours has room for; no machine has as many.
const NODES_MAX: u32 = 64;

/// From the kernel's own headers: pages from several nodes in turn.
const MPOL_INTERLEAVE: libc::c_long = 3;
/// Pages from wherever the thread runs.
const MPOL_DEFAULT: libc::c_long = 0;

/// The node that a core belongs to, as far as the kernel tells.
pub fn node_of_core(core: u16) -> Option<u32> {
    let entries = fs::read_dir(format!("/sys/devices/system/cpu/cpu{core}")).ok()?;
    let node = |name: &str| name.strip_prefix("node")?.parse().ok();
    entries.flatten().find_map(|entry| node(entry.file_name().to_str()?))
}

/// Does `work`, whose new memory comes from `nodes` in turn.
///
/// # Errors
/// If the kernel does not do so; `work` was done all the same.
pub fn on_nodes<T>(nodes: &[u32], work: impl FnOnce() -> T) -> (T, io::Result<()>) {
    let mask = nodes.iter().filter(|&&node| node < NODES_MAX).fold(0_u64, |mask, node| mask | 1 << node);
    let set = set_policy(MPOL_INTERLEAVE, &mask);
    let done = work();
    if set.is_ok() {
        _ = set_policy(MPOL_DEFAULT, &0);
    }
    (done, set)
}

/// Of the calling thread.
fn set_policy(policy: libc::c_long, nodes: &u64) -> io::Result<()> {
    // With the default policy there is no mask.
    let (mask, bits) = match *nodes {
        0 => (std::ptr::null(), 0),
        _ => (std::ptr::from_ref(nodes), libc::c_ulong::from(NODES_MAX) + 1),
    };
    // SAFETY: the mask is as long as is said, and is only read; where memory lies changes nothing that it holds.
    let answer = unsafe { libc::syscall(libc::SYS_set_mempolicy, policy, mask, bits) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_core_is_found() {
        let core = crate::cores::allowed().unwrap()[0];
        let online = fs::read_to_string("/sys/devices/system/node/online");
        assert_eq!(node_of_core(core).is_some(), online.is_ok(), "{online:?}");
        assert_eq!(node_of_core(u16::MAX), None);
    }

    #[test]
    fn work_is_done_whether_the_kernel_knows_nodes_or_not() {
        let policy = || -> i32 {
            let mut policy = -1;
            let none = std::ptr::null_mut::<u64>();
            // SAFETY: the pointer is to the number that the call fills in; the others are absent.
            unsafe { libc::syscall(libc::SYS_get_mempolicy, &mut policy, none, 0, none, 0) };
            policy
        };
        let before = policy();
        let node = node_of_core(crate::cores::allowed().unwrap()[0]).unwrap_or_default();
        let (during, set) = on_nodes(&[node], policy);
        assert!(set.is_err() || i64::from(during) == MPOL_INTERLEAVE, "{during}");
        assert_eq!(policy(), before);
        let (done, set) = on_nodes(&[NODES_MAX - 1], || 5);
        assert!(done == 5 && set.is_err(), "there is no such node");
    }
}
