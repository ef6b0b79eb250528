//! What a line of each of the three tables holds beside its key.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use zerocopy::FromBytes;

/// A number that only the shard's owner changes.
#[derive(Default, FromBytes)]
#[repr(transparent)]
pub(crate) struct Owned(AtomicU32);

impl Owned {
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }

    pub(crate) fn set(&self, number: u32) {
        self.0.store(number, Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.set(self.get().saturating_add(1));
    }

    /// One less; how many are left.
    pub(crate) fn decrement(&self) -> u32 {
        self.set(self.get().saturating_sub(1));
        self.get()
    }
}

/// | key 16 | external address 4 | uses 4 |
#[derive(Default, FromBytes)]
#[repr(C)]
pub(crate) struct Host {
    /// In memory its octets are in wire order.
    external: Owned,
    /// TCP sessions and mappings.
    pub(crate) uses: Owned,
}

/// | key 16 | sessions 4 | hold-down, ms 4 |, of which only the internal line's is used.
#[derive(Default, FromBytes)]
#[repr(C)]
pub(crate) struct Mapping {
    pub(crate) sessions: Owned,
    pub(super) hold_down_ms: Owned,
}

/// | key 16 | sessions 4 |
#[derive(Default, FromBytes)]
#[repr(C)]
pub(crate) struct Permission {
    pub(crate) sessions: Owned,
}

const _: () = {
    assert!(size_of::<Host>() == 8 && size_of::<Mapping>() == 8 && size_of::<Permission>() == 4);
};

impl Host {
    pub(super) fn external(&self) -> Ipv4Addr {
        self.external.get().to_ne_bytes().into()
    }

    pub(super) fn set_external(&self, address: Ipv4Addr) {
        self.external.set(u32::from_ne_bytes(address.octets()));
    }
}
