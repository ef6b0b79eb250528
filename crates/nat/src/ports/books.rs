//! The books of an address' ports: every one of them is used, resting or free.

use packet::Protocol;
use rules::compiled::{AddressIndex, PortRun};

use super::{ANYWHERE, Ports, Wanted};

/// The ports of one external address for one protocol, each in one of three states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortBooks {
    /// A mapping's or sessions'.
    pub used: u32,
    /// In hold-down.
    pub resting: u32,
    /// Nobody's.
    pub free: u32,
}

impl PortBooks {
    /// All of them.
    pub fn ports(&self) -> u32 {
        self.used + self.resting + self.free
    }
}

impl Ports {
    /// Reads every port's word. What is used outside of `runs`, left from earlier rules, is not in the books.
    pub(crate) fn books(&self, address: AddressIndex, protocol: Protocol, runs: &[PortRun]) -> PortBooks {
        let space = self.of(address, protocol);
        let wanted = Wanted { runs, within: ANYWHERE, parity: None };
        let mut books = PortBooks::default();
        for port in wanted.ports() {
            let cell = space.get(port);
            let state = match () {
                () if cell.is_free() => &mut books.free,
                () if cell.is_resting() => &mut books.resting,
                () => &mut books.used,
            };
            *state += 1;
        }
        books
    }
}
