//! What a line of each of the tables holds beside its key, and what a session holds.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bitflags::bitflags;
use zerocopy::FromBytes;

bitflags! {
    /// What a session uses, and gives back when it ends. One that is translated by a rule alone holds nothing.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Holds: u8 {
        /// A use of a shared port, and of its host's pairing.
        const PORT = 1;
        /// A mapping, which has the port and the pairing.
        const MAPPING = 2;
        /// A permission for its remote's address, once the host inside has sent by it.
        const PERMISSION = 4;
    }
}

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
    /// Mappings, and sessions without a mapping.
    pub(crate) uses: Owned,
}

/// ```text
/// internal line   | key 16 | sessions 4 | hold-down, ms 4 | number 4 | spoken 4 |
/// external line   | key 16 | rests before 4 | after 4     |                   8 |
///
/// number    of all mappings', its own            rests     neighbours in the queue of those that rest, by slot
/// spoken    of its sessions, those by which the host inside has sent
/// ```
#[derive(Default, FromBytes)]
#[repr(C)]
pub(crate) struct Mapping {
    first: Owned,
    second: Owned,
    third: Owned,
    fourth: Owned,
}

/// | key 16 | sessions 4 | mapping's number 4 |
#[derive(Default, FromBytes)]
#[repr(C)]
pub(crate) struct Permission {
    pub(crate) sessions: Owned,
    pub(super) mapping: Owned,
}

/// ```text
/// host's line     | key 16 | uses 4  |     mappings, and sessions without a mapping, whose port is the block's
/// external line   | key 16 | ports 4 |
/// ```
#[derive(Default, FromBytes)]
#[repr(C)]
pub(crate) struct Block(pub(super) Owned);

const _: () = {
    assert!(size_of::<Host>() == 8 && size_of::<Mapping>() == 16);
    assert!(size_of::<Permission>() == 8 && size_of::<Block>() == 4);
};

impl Host {
    pub(super) fn external(&self) -> Ipv4Addr {
        self.external.get().to_ne_bytes().into()
    }

    pub(super) fn set_external(&self, address: Ipv4Addr) {
        self.external.set(u32::from_ne_bytes(address.octets()));
    }
}

/// On the internal line.
impl Mapping {
    pub(crate) fn sessions(&self) -> &Owned {
        &self.first
    }

    pub(super) fn hold_down_ms(&self) -> &Owned {
        &self.second
    }

    /// By which its sessions and their permissions know it: others have had its endpoints, and will.
    pub(crate) fn number(&self) -> &Owned {
        &self.third
    }

    /// Sessions by which the host inside has sent: without one, nobody new comes in.
    pub(crate) fn spoken(&self) -> &Owned {
        &self.fourth
    }
}

/// On the external line.
impl Mapping {
    pub(super) fn rests_before(&self) -> &Owned {
        &self.first
    }

    pub(super) fn rests_after(&self) -> &Owned {
        &self.second
    }
}

impl Block {
    /// On the external line: how many ports it has.
    pub(crate) fn ports(&self) -> u32 {
        self.0.get()
    }
}
