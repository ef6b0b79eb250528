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
///  0        16                20       24                28         32
///  | key    | external port 4 | number | sessions 4      | spoken 4 |     while it has sessions
///                                      | 1 | before 31   | after 4  |     while it rests
///
/// number    of all mappings', its own
/// spoken    of its sessions, those by which the host inside has sent
/// before, after   neighbours in the queue of those that rest, by slot
/// ```
///
/// One that rests has neither sessions nor any that have spoken, so the queue lies where these are counted. Only the owner
/// reads either; what others ask for, the external port and the number, stays as it is. Damage may say that one with sessions
/// rests: then they are not counted, so that no count is ever taken for a neighbour.
#[derive(Default, FromBytes)]
#[repr(C)]
pub(crate) struct Mapping {
    external: ExternalPort,
    number: Owned,
    sessions: Owned,
    spoken: Owned,
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
    /// In `sessions`: it rests, and the other bits are a slot's number, of which there are fewer than 2^31.
    const RESTS: u32 = 1 << 31;

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
        self.sessions.get() & Self::RESTS != 0
    }

    pub(crate) fn sessions(&self) -> u32 {
        if self.rests() { 0 } else { self.sessions.get() }
    }

    /// Sessions by which the host inside has sent: without one, nobody new comes in.
    pub(crate) fn spoken(&self) -> u32 {
        if self.rests() { 0 } else { self.spoken.get() }
    }

    /// One more session.
    pub(crate) fn join(&self) {
        if !self.rests() {
            self.sessions.increment();
        }
    }

    /// One session less; whether it was the last.
    pub(super) fn leave(&self) -> bool {
        !self.rests() && self.sessions.decrement() == 0
    }

    /// By one more session the host inside has sent.
    pub(crate) fn speak(&self) {
        if !self.rests() {
            self.spoken.increment();
        }
    }

    /// A session has ended by which the host inside had sent.
    pub(super) fn speak_less(&self) {
        if !self.rests() {
            self.spoken.decrement();
        }
    }

    /// It has no sessions any more, and does not rest.
    pub(crate) fn end_sessions(&self) {
        self.sessions.set(0);
        self.spoken.set(0);
    }

    /// It rests, between these two.
    pub(super) fn rest_between(&self, before: u32, after: u32) {
        self.set_after(after);
        self.set_before(before);
    }

    pub(super) fn before(&self) -> u32 {
        self.sessions.get() & !Self::RESTS
    }

    pub(super) fn set_before(&self, slot: u32) {
        self.sessions.set(Self::RESTS | slot);
    }

    pub(super) fn after(&self) -> u32 {
        self.spoken.get()
    }

    pub(super) fn set_after(&self, slot: u32) {
        self.spoken.set(slot);
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
