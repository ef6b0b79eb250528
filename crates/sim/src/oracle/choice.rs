//! Whether an external endpoint may be chosen for a mapping, and whether one may be refused.

use std::net::Ipv4Addr;

use super::Oracle;
use super::state::{Life, Mapping, same};
use super::world::{Class, Endpoint, Gateway, Router};

impl Oracle {
    /// The addresses and ports that a gateway translates to.
    fn pool_of(&self, router: &Router, gateway: &Gateway) -> (Vec<Ipv4Addr>, (u16, u16)) {
        match gateway.pool {
            Some(pool) => (self.world.pools[pool].addresses.clone(), self.world.pools[pool].ports),
            None => (vec![router.interfaces[gateway.interface].address.0], (1_024, 65_535)),
        }
    }

    pub(super) fn is_in_pool(&self, router: &Router, gateway: &Gateway, (address, port): Endpoint) -> bool {
        let (addresses, (first, last)) = self.pool_of(router, gateway);
        addresses.contains(&address) && (first..=last).contains(&port)
    }

    /// Whether the mapping, which is new, may have this external endpoint.
    pub(super) fn may_choose(
        &self,
        router: &Router,
        gateway: &Gateway,
        new: &Mapping,
        remote: Endpoint,
        chosen: Endpoint,
    ) -> Result<(), String> {
        if !self.is_in_pool(router, gateway, chosen) {
            return Err(format!("{chosen:?} is not in the pool"));
        }
        //= rfc4787#REQ-3
        if let Some(other) = self.others(new).find(|other| {
            other.external == Some(chosen)
                && self.port_life(other) == Life::Alive
                && clash(new, other, remote)
        }) {
            return Err(format!("{chosen:?} is in use, or rests: {other:?}"));
        }
        //= rfc4787#REQ-2
        let paired = self.paired(router, gateway, new, Life::Alive);
        let is_its_own = self.others(new).any(|other| {
            (other.router, other.internal) == (new.router, new.internal)
                && other.external.is_none_or(|external| external == chosen)
        });
        if !is_its_own && !paired.is_empty() && !paired.contains(&chosen.0) {
            return Err(format!("the host is paired with {paired:?}, not {chosen:?}"));
        }
        Ok(())
    }

    /// Whether there may be no external endpoint left for the mapping.
    pub(super) fn may_refuse(
        &self,
        router: &Router,
        gateway: &Gateway,
        new: &Mapping,
        remote: Endpoint,
    ) -> bool {
        let (addresses, (first, last)) = self.pool_of(router, gateway);
        let is_paired = !self.paired(router, gateway, new, Life::Alive).is_empty();
        let paired = self.paired(router, gateway, new, Life::Perhaps);
        let unseen = self.others(new).filter(|other| other.external.is_none()).count();
        addresses.iter().filter(|address| !is_paired || paired.contains(address)).any(|address| {
            let free = (first..=last)
                .filter(|port| {
                    !self.others(new).any(|other| {
                        other.external == Some((*address, *port)) && self.port_life(other) != Life::Dead
                    })
                })
                .take(unseen + 1)
                .count();
            let _ = remote;
            free <= unseen
        })
    }

    /// The addresses that the host of a mapping is paired with, as far as its others live so well.
    fn paired(&self, router: &Router, gateway: &Gateway, new: &Mapping, life: Life) -> Vec<Ipv4Addr> {
        let of_host = self.mappings.iter().filter(|other| {
            (other.router, other.internal.0, other.segment) == (new.router, new.internal.0, new.segment)
                && self.port_life(other) >= life
                && !(other.moved && life == Life::Alive)
        });
        let external = of_host.filter_map(|other| other.external);
        external
            .filter(|external| self.is_in_pool(router, gateway, *external))
            .map(|external| external.0)
            .collect()
    }

    /// Mappings of the same protocol on the same network, of other internal endpoints or towards other remotes.
    fn others<'a>(&'a self, new: &'a Mapping) -> impl Iterator<Item = &'a Mapping> {
        self.mappings.iter().filter(|other| (other.protocol, other.segment) == (new.protocol, new.segment))
    }
}

/// Whether two mappings cannot have the same external endpoint: an endpoint-independent one has it for all remotes.
fn clash(new: &Mapping, other: &Mapping, remote: Endpoint) -> bool {
    if (new.router, new.internal, new.class) == (other.router, other.internal, other.class)
        && new.class == Class::Independent
    {
        return false;
    }
    let finer = |class: Class| other.sessions.iter().any(|session| same(class, session.remote, remote));
    match (new.class, other.class) {
        (Class::Independent, _) | (_, Class::Independent) => true,
        (Class::Address, _) | (_, Class::Address) => finer(Class::Address),
        _ => finer(Class::AddressAndPort),
    }
}
