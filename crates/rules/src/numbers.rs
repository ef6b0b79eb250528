//! Numbers for what outlives a rule set.
//!
//! Flow state lives on while rule sets come and go, and while processes do: it names a router and an external network by
//! a [`Realm`], and finds an external address' ports by an [`AddressIndex`], never by an index into a `RuleSet`. So a
//! number belongs to one object until no flow state names it any more, and only then to another:
//!
//! ```text
//!            asked for            no longer in the rules             nobody uses it
//!    free ---------------> given -----------------------> retired ------------------> free, behind all others
//!                            ^                               |
//!                            '----- an address came back ----'
//! ```
//!
//! The two kinds differ in what it means that a key comes back while its number is retired. An external address is
//! itself again: its ports that are still in use must not be given out twice. A router or segment of the same id is
//! another one, with other hosts behind it, and gets another number.
//!
//! What is given and retired is kept beside the flow state ([`Numbers::realms`], [`Numbers::addresses`]) before the rules
//! that need it are published, and [`Numbers::restore`] takes it up again in the next process. An id is kept there as a
//! digest, because a record there has one size. It is half of a SHA-256: to give a router another tenant's flows, an id
//! with the same 128 bits would have to be found, which a keyed checksum with a key that everybody knows does not rule
//! out.

mod numbering;

use std::net::Ipv4Addr;

use numbering::{Numbering, Return};
use sha2::{Digest as _, Sha256};

use crate::compiled::{AddressIndex, Realm};
use crate::object::ObjectKind;

#[cfg(test)]
mod tests;

/// Too few numbers for the rules. What is in force stays in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumbersExhausted {
    /// Of realms.
    #[error(
        "{lacking} routers and segments find no realm number: {retired} of {numbers} still belong to deleted ones, until their sessions have ended"
    )]
    Realms {
        /// How many numbers there are.
        numbers: u32,
        /// How many of them wait for the end of the last session.
        retired: u32,
        /// How many more are needed.
        lacking: u32,
    },
    /// Of external addresses.
    #[error(
        "{lacking} external addresses find no room for their ports: there is room for {numbers} (external_addresses_max), of which {retired} were taken out of the rules and still have ports in use"
    )]
    Addresses {
        /// How many numbers there are.
        numbers: u32,
        /// How many of them wait for the end of their last port's use.
        retired: u32,
        /// How many more are needed.
        lacking: u32,
    },
}

/// What is kept of a router's or segment's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealmEntry {
    /// Of its kind and id.
    pub digest: u128,
    /// It is no longer in the rules.
    pub retired: bool,
}

/// Which numbers belong to what, and how many generations of rules there were.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// Of the last rule set that was compiled, in this process or an earlier one.
    generation: u64,
    realms: Numbering<u128>,
    addresses: Numbering<(Realm, Ipv4Addr)>,
}

impl Numbers {
    /// All numbers free: realms from 1 to `realms_max` (0 is nobody's), addresses from 0 on.
    pub fn new(realms_max: u32, addresses_max: u32) -> Self {
        Self {
            generation: 0,
            realms: Numbering::new(1..=realms_max, Return::AsAnother),
            addresses: Numbering::new(0..=addresses_max.saturating_sub(1), Return::AsItself),
        }
    }

    /// Takes up what an earlier process kept. What cannot be is left out: a number out of range, one that is there twice.
    pub fn restore(
        realms_max: u32,
        addresses_max: u32,
        generation: u64,
        realms: impl Iterator<Item = (Realm, RealmEntry)>,
        addresses: impl Iterator<Item = (AddressIndex, (Realm, Ipv4Addr))>,
    ) -> Self {
        let mut numbers = Self { generation, ..Self::new(realms_max, addresses_max) };
        for (realm, entry) in realms {
            numbers.realms.restore(realm.0, entry.digest, entry.retired);
        }
        // Whether an address is still in the rules, the first compilation says.
        for (index, key) in addresses {
            numbers.addresses.restore(index.0, key, true);
        }
        numbers
    }

    /// The generation of the last rule set that was compiled with these numbers. No other ever has it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Every realm number that is not free, rising.
    pub fn realms(&self) -> impl Iterator<Item = (Realm, RealmEntry)> {
        let entry = |(number, &digest, retired)| (Realm(number), RealmEntry { digest, retired });
        self.realms.taken().map(entry)
    }

    /// Every address number that is not free, with the external network and the address, rising.
    pub fn addresses(&self) -> impl Iterator<Item = (AddressIndex, (Realm, Ipv4Addr))> {
        self.addresses.taken().map(|(number, &key, _)| (AddressIndex(number), key))
    }

    /// How many realm numbers wait to be released.
    pub fn retired_realms(&self) -> usize {
        self.realms.retired()
    }

    /// How many address numbers wait to be released.
    pub fn retired_addresses(&self) -> usize {
        self.addresses.retired()
    }

    /// Frees the retired realm numbers that nobody uses.
    ///
    /// Ask only after every worker has adopted a rule set compiled since they were retired: before that, one may make
    /// state for them yet. A network whose addresses still have numbers is in use, too. How many were freed.
    pub fn release_realms(&mut self, mut is_in_use: impl FnMut(Realm) -> bool) -> usize {
        let addresses = &self.addresses;
        let has_addresses = |realm| addresses.taken().any(|(_, (network, _), _)| *network == realm);
        self.realms.release(|number| is_in_use(Realm(number)) || has_addresses(Realm(number)))
    }

    /// Frees the retired address numbers of which no port is in use; under the same condition as [`Self::release_realms`].
    pub fn release_addresses(&mut self, mut is_in_use: impl FnMut(AddressIndex) -> bool) -> usize {
        self.addresses.release(|number| is_in_use(AddressIndex(number)))
    }

    /// Begins a rule set: everything is taken for gone until it is asked for. The generation, which is at least one above
    /// `previous`.
    pub(crate) fn begin(&mut self, previous: u64) -> u64 {
        self.realms.begin();
        self.addresses.begin();
        self.generation = self.generation.max(previous) + 1;
        self.generation
    }

    /// The number of a router or segment. Where there is none left it is 0, and [`Self::finish`] says so.
    pub(crate) fn realm(&mut self, kind: ObjectKind, id: &str) -> Realm {
        Realm(self.realms.number(digest(kind, id)).unwrap_or_default())
    }

    /// The number of an address on an external network. Where there is none left it is 0, and [`Self::finish`] says so.
    pub(crate) fn address(&mut self, network: Realm, address: Ipv4Addr) -> AddressIndex {
        AddressIndex(self.addresses.number((network, address)).unwrap_or_default())
    }

    /// Ends a rule set: what was not asked for is retired.
    ///
    /// # Errors
    /// [`NumbersExhausted`] where a number was asked for and there was none; the rule set is not to be used.
    pub(crate) fn finish(&mut self) -> Result<(), NumbersExhausted> {
        self.realms.finish().map_err(|(numbers, retired, lacking)| NumbersExhausted::Realms {
            numbers,
            retired,
            lacking,
        })?;
        self.addresses.finish().map_err(|(numbers, retired, lacking)| NumbersExhausted::Addresses {
            numbers,
            retired,
            lacking,
        })
    }
}

/// An object's name in one size.
fn digest(kind: ObjectKind, id: &str) -> u128 {
    let mut hash = Sha256::new();
    // No kind's name has the separator in it, so no two names run together.
    hash.update(kind.as_str());
    hash.update([0]);
    hash.update(id);
    hash.finalize().iter().take(16).fold(0, |digest, byte| digest << 8 | u128::from(*byte))
}
