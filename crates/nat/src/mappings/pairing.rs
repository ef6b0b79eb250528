//! Paired pooling: a host keeps its external address while it has any session or mapping there (RFC 4787 REQ-2).
//!
//! A new host gets the less used of two keyed-random addresses of its shard's stretch of the pool, or another where that has
//! no port left. When a host's address has none left, it depends on the pool: strict pairing refuses (RFC 7857 section 4),
//! soft pairing moves the host's new flows to another address.
//!
//! ```text
//! pool      | a0      | a1      | a2      | a3      | a4      | a5      |     here of 6 addresses
//! stretches | shard 0       | shard 1       | shard 2       | shard 3   |     and 4 shards
//! ```
//!
//! Stretches are equally long and have no gaps, so that every address is as likely as any other. Fewer
//! addresses are shared than there are shards: of a pool with several times as many addresses most are one shard's alone, and
//! a packet from outside to one of them needs no look at its port's cell.
//! Without pairing every flow may have any address, whatever its shard.

use std::net::Ipv4Addr;

use flowtable::{LineIndex, ShardIndex};
use rules::compiled::{Pairing, PoolAddress, PoolRules, Realm};

use super::Mappings;
use crate::DropReason;
use crate::flow::Flow;
use crate::state::State;

/// How many keyed-random addresses of a pool a new host chooses between: the less used one is taken.
const ADDRESS_CHOICES: usize = 2;

/// How many addresses are looked at for one with free ports, and how many of those are tried.
pub(super) const ADDRESSES_LOOKED_AT_MAX: u32 = 1_024;
pub(super) const ADDRESSES_TRIED_MAX: usize = 8;

/// Places in a shard's stretch of a pool.
const STRETCH: u32 = 1 << 24;

/// Which of so many addresses is at a place of the shard's stretch of them.
fn of_stretch(shard: ShardIndex, shards: u8, addresses: u32, place: u32) -> u32 {
    let place = u64::from(shard.0) * u64::from(STRETCH) + u64::from(place);
    (place * u64::from(addresses) / (u64::from(shards) * u64::from(STRETCH))) as u32
}

impl Mappings {
    /// The host's external address, or one for it where it has none that the pool has; and the host, with one more use.
    pub(super) fn pair(
        &mut self,
        flow: &Flow,
        pool: &PoolRules,
        guessed: Option<LineIndex>,
    ) -> Result<(PoolAddress, LineIndex), DropReason> {
        //= rfc4787#REQ-2
        //= rfc6888#REQ-2
        let key = flow.host_key(pool.realm);
        let found = self.find_host(&key, guessed);
        let paired = found.and_then(|line| self.paired(line, pool));
        let Self { state, shard, random, .. } = self;
        let any = || any_address(state, *shard, pool, |bound| random.below(bound));
        let address = paired.or_else(any).ok_or(DropReason::PortExhausted)?;
        let host = match found {
            Some(line) => {
                self.hosts.table().value(line).uses.increment();
                line
            }
            None => self.insert_host(key, address.address, 1)?,
        };
        Ok((address, host))
    }

    /// Mostly where it was guessed to be.
    fn find_host(&self, key: &Flow, guessed: Option<LineIndex>) -> Option<LineIndex> {
        let guessed = guessed.filter(|line| self.hosts.holds(*line, key));
        guessed.or_else(|| self.hosts.table().find(self.shard, key))
    }

    /// The address that a host's new flows keep. Where the pool has changed, they go to one that it still has.
    pub(super) fn paired(&self, host: LineIndex, pool: &PoolRules) -> Option<PoolAddress> {
        if pool.pairing == Pairing::None {
            return None;
        }
        pool.find(self.hosts.table().value(host).external())
    }

    /// Pairs a host with an external address.
    pub(crate) fn insert_host(
        &mut self,
        key: Flow,
        address: Ipv4Addr,
        uses: u32,
    ) -> Result<LineIndex, DropReason> {
        let inserted = self.hosts.insert([key], 0, |[host]| {
            host.set_external(address);
            host.uses.set(uses);
        });
        let slot = inserted.map_err(|_| DropReason::HostTableFull)?;
        Ok(self.hosts.table().line_of(slot, 0))
    }

    /// The host's new flows go to this address from now on: one of them does.
    pub(super) fn pair_anew(&mut self, host: LineIndex, address: Ipv4Addr) {
        self.hosts.table().value(host).set_external(address);
    }

    /// Whether the host has no other session or mapping than the one it is being paired for.
    pub(super) fn is_new(&self, flow: &Flow, realm: Realm) -> bool {
        let table = self.hosts.table();
        let found = table.find(self.shard, &flow.host_key(realm));
        found.is_some_and(|line| table.value(line).uses.get() == 1)
    }

    pub(super) fn unpair(&mut self, flow: &Flow, realm: Realm) {
        let table = self.hosts.table();
        if let Some(line) = table.find(self.shard, &flow.host_key(realm))
            && table.value(line).uses.decrement() == 0
        {
            let slot = table.slot_of(line);
            self.hosts.remove(slot);
        }
    }

    /// The next of a pool's addresses, `steps` after `start` or later, but `tried`; where it is to have a free port for the
    /// flow, one that may. And how many steps there were.
    pub(super) fn next_address(
        &self,
        flow: &Flow,
        pool: &PoolRules,
        tried: PoolAddress,
        has_free: bool,
        start: u32,
        mut steps: u32,
    ) -> Option<(PoolAddress, u32)> {
        let addresses = pool.addresses.len() as u32;
        let ports: u32 = pool.ports.iter().map(|run| run.len()).sum();
        while steps < addresses.min(ADDRESSES_LOOKED_AT_MAX) {
            let address = pool.addresses[((start + steps) % addresses) as usize];
            steps += 1;
            let is_full = self.state.parts.ports.of(address.ports, flow.protocol()).used() >= ports;
            if address != tried && !(has_free && is_full) {
                return Some((address, steps));
            }
        }
        None
    }
}

/// An address for a host of the shard's that has none, by two random numbers.
pub(super) fn any_address(
    state: &State,
    shard: ShardIndex,
    pool: &PoolRules,
    mut below: impl FnMut(u32) -> u32,
) -> Option<PoolAddress> {
    let addresses = u32::try_from(pool.addresses.len()).ok().filter(|addresses| *addresses > 0)?;
    let choices: [_; ADDRESS_CHOICES] = std::array::from_fn(|_| {
        let at = match pool.pairing {
            Pairing::None => below(addresses),
            Pairing::Soft | Pairing::Strict => of_stretch(shard, state.shards(), addresses, below(STRETCH)),
        };
        pool.addresses.get(at as usize).copied()
    });
    choices.into_iter().flatten().min_by_key(|address| state.parts.ports.used(address.ports))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_as_likely_as_any_other_and_fewer_are_shared_than_there_are_shards() {
        const SAMPLES: u32 = 1 << 14;
        for (shards, addresses) in
            [(1, 7), (2, 1), (3, 2), (16, 4), (16, 16), (16, 65), (32, 100), (5, 1_000)]
        {
            let mut drawn = vec![0_u32; addresses as usize];
            let mut holders = vec![0_u32; addresses as usize];
            for shard in 0..shards {
                for sample in 0..SAMPLES {
                    let place = sample * (STRETCH / SAMPLES);
                    let at = of_stretch(ShardIndex(shard), shards, addresses, place) as usize;
                    drawn[at] += 1;
                    holders[at] |= 1 << shard;
                }
            }
            let each = u32::from(shards) * SAMPLES / addresses;
            assert!(
                drawn.iter().all(|count| count.abs_diff(each) <= 1),
                "{shards} of {addresses}: {drawn:?}"
            );
            let shared = holders.iter().filter(|holders| !holders.is_power_of_two()).count();
            assert!(shared < usize::from(shards), "{shards} of {addresses}: {shared} are shared");
        }
    }
}
