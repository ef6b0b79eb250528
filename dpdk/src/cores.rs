//! The cores that threads are pinned to.
//!
//! Workers are threads of the standard library, pinned by ourselves, rather than EAL's: the configuration then names
//! cores once and in one way, and a mistake is found before anything has started.

use core::mem;
use std::{fs, io};

use crate::Errno;

/// The cores that the kernel runs threads on.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// Why a core cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    /// Two threads would share it.
    #[error("core {0} is named twice")]
    NamedTwice(u16),
    /// The machine has no such core, or it is switched off.
    #[error("core {core} is not online (online: {online})")]
    Offline {
        /// The core asked for.
        core: u16,
        /// The cores that are, as the kernel lists them.
        online: String,
    },
    /// The process may not run there.
    #[error("core {0} is outside the process's cpuset (taskset, cgroup)")]
    Outside(u16),
    /// The kernel did not say.
    #[error("the cores cannot be determined: {0}")]
    Unknown(Errno),
}

/// Whether a core may be named twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// A worker has its core to itself: two that poll would each lose half their time, at moments not of their choosing.
    #[default]
    Refused,
    /// Several threads may share one, for machines with few.
    Allowed,
}

/// Checks that every core is named once (unless sharing is allowed), is online, and may be used by the calling thread.
///
/// # Errors
/// [`CoreError`] for the first core that fails.
pub fn check(cores: &[u16], sharing: Sharing) -> Result<(), CoreError> {
    let online = fs::read_to_string(ONLINE).map_err(|error| CoreError::Unknown(errno(&error)))?;
    check_against(cores, sharing, online.trim(), &allowed()?)
}

/// The cores the calling thread may run on, in order.
///
/// # Errors
/// [`CoreError::Unknown`] where the kernel does not say.
pub fn allowed() -> Result<Vec<u16>, CoreError> {
    let set = Affinity::of_this_thread().map_err(CoreError::Unknown)?;
    Ok((0..libc::CPU_SETSIZE as u16).filter(|&core| set.contains(core)).collect())
}

/// Pins the calling thread to `core`.
///
/// # Errors
/// [`CoreError::Outside`] where the kernel refuses.
pub fn pin_this_thread(core: u16) -> Result<(), CoreError> {
    Affinity::only(core)
        .ok_or(CoreError::Outside(core))?
        .apply_to_this_thread()
        .map_err(|_| CoreError::Outside(core))
}

fn check_against(cores: &[u16], sharing: Sharing, online: &str, allowed: &[u16]) -> Result<(), CoreError> {
    for (index, &core) in cores.iter().enumerate() {
        if sharing == Sharing::Refused && cores[..index].contains(&core) {
            return Err(CoreError::NamedTwice(core));
        }
        if !in_list(core, online) {
            return Err(CoreError::Offline { core, online: online.to_owned() });
        }
        if !allowed.contains(&core) {
            return Err(CoreError::Outside(core));
        }
    }
    Ok(())
}

/// Whether a list in the kernel's form (`0-3,8,10-11`) has `core`.
fn in_list(core: u16, list: &str) -> bool {
    list.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
            (Ok(first), Ok(last)) => (first..=last).contains(&core),
            _ => false,
        }
    })
}

fn errno(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

/// The set of cores that a thread may run on.
pub(crate) struct Affinity(libc::cpu_set_t);

impl Affinity {
    pub(crate) fn of_this_thread() -> Result<Self, Errno> {
        // SAFETY: a cpu_set_t is an array of integers, for which zero is a value.
        let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
        // SAFETY: the pointer is to a cpu_set_t of the size given; 0 is the calling thread.
        let answer = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
        if answer == 0 { Ok(Self(set)) } else { Err(errno(&io::Error::last_os_error())) }
    }

    /// `None` where the set cannot hold so high a number.
    fn only(core: u16) -> Option<Self> {
        // SAFETY: as above.
        let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
        if i32::from(core) >= libc::CPU_SETSIZE {
            return None;
        }
        // SAFETY: the number is within the set.
        unsafe { libc::CPU_SET(core.into(), &mut set) };
        Some(Self(set))
    }

    pub(crate) fn apply_to_this_thread(&self) -> Result<(), Errno> {
        // SAFETY: the pointer is to a cpu_set_t of the size given; 0 is the calling thread.
        let answer = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &self.0) };
        if answer == 0 { Ok(()) } else { Err(errno(&io::Error::last_os_error())) }
    }

    fn contains(&self, core: u16) -> bool {
        // SAFETY: callers stay below CPU_SETSIZE.
        i32::from(core) < libc::CPU_SETSIZE && unsafe { libc::CPU_ISSET(core.into(), &self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_named_twice_is_refused_unless_sharing_is_allowed() {
        let check = |sharing| check_against(&[1, 2, 1], sharing, "0-3", &[0, 1, 2, 3]);
        assert_eq!(check(Sharing::Refused), Err(CoreError::NamedTwice(1)));
        assert_eq!(check(Sharing::Allowed), Ok(()));
    }

    #[test]
    fn a_core_that_is_offline_is_refused() {
        let error = check_against(&[1, 5], Sharing::Allowed, "0-3,8", &[0, 1, 2, 3, 8]).unwrap_err();
        assert_eq!(error.to_string(), "core 5 is not online (online: 0-3,8)");
    }

    #[test]
    fn a_core_outside_the_cpuset_is_refused() {
        assert_eq!(check_against(&[1, 2], Sharing::Allowed, "0-3", &[0, 1]), Err(CoreError::Outside(2)));
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        let numbers = |list: &str| (0..16).filter(|&core| in_list(core, list)).collect::<Vec<_>>();
        assert_eq!(numbers("0"), [0]);
        assert_eq!(numbers("0-2,5,8-9"), [0, 1, 2, 5, 8, 9]);
        assert_eq!(numbers(""), []);
    }

    #[test]
    fn a_pinned_thread_may_run_on_its_core_alone() {
        let core = allowed().unwrap()[0];
        let after = std::thread::spawn(move || {
            pin_this_thread(core).unwrap();
            allowed().unwrap()
        });
        assert_eq!(after.join().unwrap(), [core]);
        assert_eq!(check(&[core], Sharing::Refused), Ok(()));
        assert!(pin_this_thread(u16::MAX).is_err());
    }
}
