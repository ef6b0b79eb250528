//! What a line of each of the tables holds beside its key, and what a session holds.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bitflags::bitflags;
use flowtable::LineValue;
use packet::Protocol;
use rules::compiled::AddressIndex;
use zerocopy::FromBytes;

use crate::flow::Flow;
use crate::ports;

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
        /// The same in the mapping itself, which has room for one: its remote is the mapping's guest.
        const GUEST = 8;
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

/// A port of an external address, of the protocol that its line's key says. By it the line is found from outside: a table
/// knows it by its number among the ports of all addresses and protocols ([`ports::alias_of`]).
///
/// | address' number 2 | port 2 |
#[derive(Default, FromBytes)]
#[repr(transparent)]
pub(crate) struct ExternalPort(Owned);

/// ```text
///  0        16                20       24                                 28         32
///  | key    | external port 4 | number | 0 | silent 13 | sessions 18      | guest 4  |     while it has sessions
///                                      | 1 | before 31                    | after 4  |     while it rests
///
/// number    of all mappings', its own
/// silent    of its sessions, those by which the host inside has not sent yet
/// guest     the remote address that one of its sessions lets in; 0 for none
/// before, after   neighbours in the queue of those that rest, by slot: in `before` one more, 0 for none
/// ```
///
/// One that rests has no sessions, so the queue lies where these are counted. Only the owner reads either; what others ask for,
/// the external port and the number, stays as it is. Damage may say that one with sessions rests: then they are not counted, so
/// that no count is ever taken for a neighbour. Where it says that one that rests does not, a neighbour is taken for a count: none for
/// none.
#[derive(Default, FromBytes)]
#[repr(C)]
pub(crate) struct Mapping {
    external: ExternalPort,
    number: Owned,
    counts: Owned,
    guest: Owned,
}

/// | key 16 | sessions 4 | mapping's number 4 |
#[derive(Default, FromBytes)]
#[repr(C)]
pub(crate) struct Permission {
    pub(crate) sessions: Owned,
    pub(super) mapping: Owned,
}

/// ```text
///  0        16                     20       24
///  | key    | its first port 4     | ports  | uses 4 |     mappings, and sessions without one, whose port is the block's
/// ```
#[derive(Default, FromBytes)]
#[repr(C)]
pub(crate) struct Block {
    external: ExternalPort,
    ports: Owned,
    uses: Owned,
}

const _: () = {
    assert!(size_of::<Flow>() + size_of::<Mapping>() == 32, "a mapping is half a cache line");
    assert!(size_of::<Host>() == 8 && size_of::<Permission>() == 8 && size_of::<Block>() == 12);
    assert!(rules::limits::ALL_POOL_ADDRESSES_MAX <= 1 << u16::BITS, "an address' number is two bytes");
};

impl LineValue<Flow> for Host {}

impl LineValue<Flow> for Permission {}

impl LineValue<Flow> for Mapping {
    const HAS_ALIAS: bool = true;

    fn alias(&self, key: &Flow) -> u64 {
        self.external.alias(key.protocol())
    }
}

impl LineValue<Flow> for Block {
    const HAS_ALIAS: bool = true;

    fn alias(&self, key: &Flow) -> u64 {
        self.external.alias(key.protocol())
    }
}

impl ExternalPort {
    fn set(&self, AddressIndex(address): AddressIndex, port: u16) {
        self.0.set(address << u16::BITS | u32::from(port));
    }

    pub(crate) fn address(&self) -> AddressIndex {
        AddressIndex(self.0.get() >> u16::BITS)
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.get() as u16
    }

    fn alias(&self, protocol: Protocol) -> u64 {
        ports::alias_of(self.address(), protocol, self.port())
    }
}

impl Host {
    pub(super) fn external(&self) -> Ipv4Addr {
        self.external.get().to_ne_bytes().into()
    }

    pub(super) fn set_external(&self, address: Ipv4Addr) {
        self.external.set(u32::from_ne_bytes(address.octets()));
    }
}

impl Mapping {
    /// In `counts`: it rests, and the other bits tell of a slot, of which there are fewer than 2^31.
    const RESTS: u32 = 1 << 31;

    /// In `counts`: one silent session. Below it sessions are counted, above it the silent ones.
    const SILENT: u32 = 1 << 18;

    /// The most sessions that one can have, and the most of them that the host inside has not sent by yet.
    pub(crate) const SESSIONS_MAX: u32 = Self::SILENT - 1;
    pub(crate) const SILENT_MAX: u32 = (Self::RESTS - 1) / Self::SILENT;

    /// No slot, as a neighbour.
    pub(super) const NONE: u32 = Self::RESTS - 1;

    /// A mapping without sessions that does not rest.
    pub(super) fn begin(&self, address: AddressIndex, port: u16, number: u32) {
        self.external.set(address, port);
        self.number.set(number);
        self.end_sessions();
    }

    pub(crate) fn external(&self) -> &ExternalPort {
        &self.external
    }

    /// By which its sessions and their permissions know it: others have had its endpoints, and will.
    pub(crate) fn number(&self) -> u32 {
        self.number.get()
    }

    pub(super) fn rests(&self) -> bool {
        self.counts.get() & Self::RESTS != 0
    }

    /// Sessions, and those of them that are silent.
    fn counts(&self) -> (u32, u32) {
        let counts = if self.rests() { 0 } else { self.counts.get() };
        (counts % Self::SILENT, counts / Self::SILENT)
    }

    fn set_counts(&self, sessions: u32, silent: u32) {
        if !self.rests() {
            self.counts.set(silent * Self::SILENT + sessions);
        }
    }

    pub(crate) fn sessions(&self) -> u32 {
        let (sessions, _) = self.counts();
        sessions
    }

    /// Whether there is a session by which the host inside has sent: without one, nobody new comes in.
    pub(crate) fn has_spoken(&self) -> bool {
        let (sessions, silent) = self.counts();
        sessions > silent
    }

    /// One more session; `false` where it has all that it can have.
    pub(crate) fn join(&self, spoken: bool) -> bool {
        let (sessions, silent) = self.counts();
        let has_room = sessions < Self::SESSIONS_MAX && (spoken || silent < Self::SILENT_MAX);
        if has_room {
            self.set_counts(sessions + 1, silent + u32::from(!spoken));
        }
        has_room
    }

    /// One session less; whether it was the last.
    pub(super) fn leave(&self, spoken: bool) -> bool {
        let (sessions, silent) = self.counts();
        self.set_counts(sessions.saturating_sub(1), silent.saturating_sub(u32::from(!spoken)));
        !self.rests() && sessions <= 1
    }

    /// The host inside has sent by a session that was silent.
    pub(super) fn speak(&self) {
        let (sessions, silent) = self.counts();
        self.set_counts(sessions, silent.saturating_sub(1));
    }

    /// The remote address that is let in by a session that holds it, and not by a permission.
    pub(super) fn guest(&self) -> Option<Ipv4Addr> {
        let guest = if self.rests() { 0 } else { self.guest.get() };
        (guest != 0).then(|| guest.to_ne_bytes().into())
    }

    pub(crate) fn set_guest(&self, guest: Ipv4Addr) {
        if !self.rests() {
            self.guest.set(u32::from_ne_bytes(guest.octets()));
        }
    }

    /// It has no sessions any more, and does not rest.
    pub(crate) fn end_sessions(&self) {
        self.counts.set(0);
        self.guest.set(0);
    }

    /// It rests, between these two.
    pub(super) fn rest_between(&self, before: u32, after: u32) {
        self.set_after(after);
        self.set_before(before);
    }

    pub(super) fn before(&self) -> u32 {
        self.counts.get().wrapping_sub(1) & !Self::RESTS
    }

    pub(super) fn set_before(&self, slot: u32) {
        self.counts.set(Self::RESTS | (slot + 1) & !Self::RESTS);
    }

    pub(super) fn after(&self) -> u32 {
        self.guest.get()
    }

    pub(super) fn set_after(&self, slot: u32) {
        self.guest.set(slot);
    }
}

impl Block {
    pub(super) fn begin(&self, address: AddressIndex, first: u16, ports: u16) {
        self.external.set(address, first);
        self.ports.set(ports.into());
        self.uses.set(0);
    }

    /// Its first port.
    pub(crate) fn external(&self) -> &ExternalPort {
        &self.external
    }

    /// How many ports it has.
    pub(crate) fn ports(&self) -> u32 {
        self.ports.get()
    }

    pub(crate) fn uses(&self) -> &Owned {
        &self.uses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_counts_as_far_as_it_can_and_refuses_the_rest() {
        let mapping = Mapping::default();
        for _ in 0..Mapping::SILENT_MAX {
            assert!(mapping.join(false));
        }
        assert!(!mapping.join(false) && !mapping.has_spoken());
        for sessions in Mapping::SILENT_MAX..Mapping::SESSIONS_MAX {
            assert_eq!(mapping.sessions(), sessions);
            assert!(mapping.join(true));
        }
        assert!(!mapping.join(true) && mapping.has_spoken());
        mapping.speak();
        assert!(!mapping.join(false), "one less is silent, and none less is there");
        assert!(!mapping.leave(true) && mapping.join(false));
        for left in (1..Mapping::SESSIONS_MAX).rev() {
            assert!(!mapping.leave(left >= Mapping::SILENT_MAX));
            assert_eq!((mapping.sessions(), mapping.has_spoken()), (left, left > Mapping::SILENT_MAX));
        }
        assert!(mapping.leave(false));
    }

    #[test]
    fn one_that_rests_has_neighbours_and_neither_sessions_nor_a_guest() {
        let mapping = Mapping::default();
        for (before, after) in [(Mapping::NONE, 7), (0, Mapping::NONE), (Mapping::NONE - 1, 0)] {
            mapping.rest_between(before, after);
            assert!(mapping.rests() && (mapping.before(), mapping.after()) == (before, after));
            assert_eq!((mapping.sessions(), mapping.has_spoken(), mapping.guest()), (0, false, None));
            assert!(!mapping.leave(true), "nobody's last");
            mapping.end_sessions();
            assert!(!mapping.rests() && mapping.guest().is_none());
        }
    }
}
