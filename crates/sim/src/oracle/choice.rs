//! Whether an external endpoint may be chosen for a session, and whether one may be refused.
//!
//! One rule says both: every port of an address has a rank for a flow, the lower the better, or none. A choice has a rank,
//! and nothing better was to be had for certain; a refusal is right where nothing was.

use std::net::Ipv4Addr;

use super::Oracle;
use super::bytes::{ICMP, TCP, UDP};
use super::judge::{Way, wrong};
use super::state::{Flow, Mapping, Told, same};
use super::world::{Class, Endpoint, Pairing, Pool};

/// Who has which endpoint of a network, of one protocol: in order.
type Taken<'a> = Vec<(Endpoint, &'a Mapping)>;

/// Who stands in the way, and who has a block: for certain or perhaps, as it is favourable to the gateways or not.
struct Ports<'a> {
    against: &'a Taken<'a>,
    own: &'a Taken<'a>,
}

/// A flow that wants an endpoint.
struct Wish<'a> {
    flow: &'a Flow,
    segment: usize,
    pool: &'a Pool,
}

impl Oracle {
    /// A session from inside, opened with this external endpoint.
    pub(super) fn open(&mut self, told: Told) -> Way<()> {
        let Told { flow, segment, external } = told;
        let Some(pool) = self.pool(flow.0, segment).cloned() else { return wrong("there is no pool") };
        let class = pool.behaviour(flow.1, flow.3.1).0;
        let is_same = |mapping: &Mapping| {
            let (router, protocol, host, remote) = mapping.flow;
            (router, protocol, host, mapping.segment, mapping.class, mapping.shares)
                == (flow.0, flow.1, flow.2, segment, class, false)
                && same(class, remote, flow.3)
        };
        let own: Vec<_> = self.mappings.iter().filter(|(_, mapping)| is_same(mapping)).collect();
        //= rfc4787#REQ-1
        //= rfc5382#REQ-1
        //= rfc5508#REQ-1a
        //= rfc7857#5
        let other =
            own.iter().find(|(_, one)| self.is_kept(one) && one.sessions > 0 && one.external != external);
        if let Some((_, mapping)) = other {
            return wrong(format!("{external:?} was chosen though it has {mapping:?}"));
        }
        // One that lives, or rested and has come back.
        let again = own.iter().find(|(_, one)| one.external == external && self.is_perhaps_kept(one));
        let again = again.map(|(number, _)| **number);
        let is_certain = again.is_some_and(|number| self.is_kept(&self.mappings[&number]));
        match again.and_then(|number| self.mappings.get_mut(&number)) {
            None => self.may_choose(&Wish { flow: &flow, segment, pool: &pool }, external)?,
            Some(_) if !pool.has(flow.1, external) => {
                return wrong(format!("{external:?} is not in the pool any more"));
            }
            Some(mapping) => mapping.forbidden = false,
        }
        if again.is_some() && !is_certain {
            // Or it ended, and was chosen again: then the host may have been paired anew.
            self.hosts.remove(&(flow.0, segment, flow.2.0));
        }
        let number = again.unwrap_or_else(|| self.insert_mapping(&told, &pool));
        self.insert(told, Some(number), true);
        Ok(())
    }

    fn may_choose(&self, wish: &Wish, chosen: Endpoint) -> Way<()> {
        if !wish.pool.has(wish.flow.1, chosen) {
            return wrong(format!("{chosen:?} is not in the pool"));
        }
        let (kept, perhaps) = (self.taken(wish, true), self.taken(wish, false));
        //= rfc4787#REQ-3
        //= rfc5382#REQ-7
        let Some(rank) = rank(wish, &Ports { against: &kept, own: &perhaps }, chosen) else {
            return wrong(format!(
                "{chosen:?} is in use, rests, or is not the host's: {:?}",
                holders(&kept, chosen.0, chosen.1, chosen.1)
            ));
        };
        let ports = Ports { against: &perhaps, own: &kept };
        //= rfc6888#REQ-13
        if has_better(wish, &ports, chosen.0, rank) {
            return wrong(format!("there are better ports than {chosen:?}"));
        }
        //= rfc4787#REQ-2
        //= rfc6888#REQ-2
        //= rfc7857#4
        let paired = self.paired(wish).filter(|paired| *paired != chosen.0);
        let is_own_block = wish.pool.blocks.is_some() && wish.pool.pairing == Pairing::Soft;
        match paired {
            Some(paired) if wish.pool.pairing == Pairing::Strict => {
                wrong(format!("the host is paired with {paired}, not {}", chosen.0))
            }
            Some(paired) if !is_own_block && has_better(wish, &ports, paired, u8::MAX) => {
                wrong(format!("the host's {paired} has room"))
            }
            _ => Ok(()),
        }
    }

    /// Whether there may be no external endpoint for the flow.
    pub(super) fn may_refuse(&mut self, flow: &Flow, segment: usize) -> bool {
        let Some(pool) = self.pool(flow.0, segment).cloned() else { return false };
        let wish = Wish { flow, segment, pool: &pool };
        if self.paired(&wish).is_none() {
            // It was paired with one that had no room.
            self.hosts.remove(&(flow.0, segment, flow.2.0));
        }
        let (kept, perhaps) = (self.taken(&wish, true), self.taken(&wish, false));
        let ports = Ports { against: &perhaps, own: &kept };
        let has_none = |address: &Ipv4Addr| !has_better(&wish, &ports, *address, u8::MAX);
        let host = (flow.0, segment, flow.2.0);
        let is_perhaps_paired =
            self.mappings.values().any(|one| one.is_of_host(host) && self.is_perhaps_kept(one));
        match self.paired(&wish) {
            Some(paired) if pool.pairing == Pairing::Strict => has_none(&paired),
            None if pool.pairing == Pairing::Strict && is_perhaps_paired => {
                pool.addresses.iter().any(has_none)
            }
            _ => pool.addresses.iter().all(has_none),
        }
    }

    /// The address that the flow's host is paired with for certain, if the pool has it still.
    fn paired(&self, wish: &Wish) -> Option<Ipv4Addr> {
        let host = (wish.flow.0, wish.segment, wish.flow.2.0);
        let is_certain = self.mappings.values().any(|one| one.is_of_host(host) && self.is_kept(one));
        let paired =
            self.hosts.get(&host).filter(|paired| is_certain && wish.pool.addresses.contains(paired));
        paired.copied().filter(|_| wish.pool.pairing != Pairing::None)
    }

    /// Who has the endpoints of a network for certain, or perhaps.
    fn taken(&self, wish: &Wish, for_certain: bool) -> Taken<'_> {
        let is_kept =
            |one: &&Mapping| if for_certain { self.is_kept(one) } else { self.is_perhaps_kept(one) };
        let here =
            self.mappings.values().filter(|one| (one.segment, one.flow.1) == (wish.segment, wish.flow.1));
        let mut taken: Taken = here.filter(is_kept).map(|one| (one.external, one)).collect();
        taken.sort_unstable_by_key(|(endpoint, _)| *endpoint);
        taken
    }
}

/// Those who have ports from one to another of an address.
fn holders<'a>(taken: &'a Taken, address: Ipv4Addr, first: u16, last: u16) -> &'a [(Endpoint, &'a Mapping)] {
    let from = taken.partition_point(|(endpoint, _)| *endpoint < (address, first));
    let to = taken.partition_point(|(endpoint, _)| *endpoint <= (address, last));
    &taken[from..to]
}

/// Whether an address has a port of a better rank: but for its own, none is better than the first.
fn has_better(wish: &Wish, taken: &Ports, address: Ipv4Addr, than: u8) -> bool {
    let preserved = wish.pool.preserve_port.then_some(wish.flow.2.1);
    let ports = if matches!(wish.flow.1, TCP | UDP | ICMP) { wish.pool.ports } else { (0, 0) };
    let others = (ports.0..=ports.1).take_while(|_| than > 1);
    let mut ports = preserved.into_iter().chain(others);
    ports.any(|port| rank(wish, taken, (address, port)).is_some_and(|rank| rank < than))
}

/// How good an endpoint is for a flow: 0 its own port, 1 free, 2 free but of the other class, 3 in a new block, 4 used towards
/// other remotes; or none of these.
fn rank(wish: &Wish, taken: &Ports, endpoint: Endpoint) -> Option<u8> {
    let Wish { flow: (router, protocol, host, remote), pool, .. } = wish;
    let holding = holders(taken.against, endpoint.0, endpoint.1, endpoint.1);
    let has_class = matches!(*protocol, TCP | UDP);
    //= rfc4787#REQ-4
    let is_odd = has_class && pool.preserve_parity && (endpoint.1 ^ host.1) & 1 == 1;
    let is_preserved = pool.preserve_port && endpoint.1 == host.1 && holding.is_empty();
    if !pool.has(*protocol, endpoint) || (is_odd && !is_preserved) {
        return None;
    }
    let (class, filtering) = pool.behaviour(*protocol, remote.1);
    let shares = (class, filtering) == (Class::AddressAndPort, Class::AddressAndPort);
    //= rfc7857#3
    let is_shared = shares && holding.iter().all(|(_, one)| one.shares && one.flow.3 != *remote);
    if !holding.is_empty() && !is_shared {
        return None;
    }
    //= rfc4787#REQ-3a
    let is_other_class = has_class && (endpoint.1 < 1_024) != (host.1 < 1_024);
    let Some((ports, most)) = pool.blocks.filter(|_| matches!(*protocol, TCP | UDP | ICMP)) else {
        return Some(match holding {
            [_, ..] => 4,
            [] if is_preserved => 0,
            [] if is_other_class => 2,
            [] => 1,
        });
    };
    // Whose a block is: that of the ports that were chosen in it.
    let (first, last) = (endpoint.1 / ports * ports, endpoint.1 / ports * ports + (ports - 1));
    let is_own = |one: &Mapping| (one.flow.0, one.flow.2.0) == (*router, host.0);
    let here = |taken| holders(taken, endpoint.0, first, last).iter().filter(|(_, one)| one.block.is_some());
    if here(taken.against).any(|(_, one)| !is_own(one)) {
        return None;
    }
    if here(taken.own).any(|(_, one)| is_own(one)) {
        return Some(if holding.is_empty() { 1 } else { 4 });
    }
    //= rfc6888#REQ-4
    let own = taken.against.iter().filter(|(_, one)| one.block.is_some() && is_own(one));
    let mut own: Vec<_> = own.map(|((address, port), _)| (*address, port / ports)).collect();
    own.dedup();
    (own.len() < most && holding.is_empty()).then_some(3)
}
