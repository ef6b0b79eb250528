//! Whether an external endpoint may be chosen for a session, and whether one may be refused.
//!
//! One rule says both: every port of an address has a rank for a flow, the lower the better, or none. A choice has a rank,
//! and nothing better was to be had for certain; a refusal is right where nothing was.

use std::net::Ipv4Addr;

use super::Oracle;
use super::bytes::{TCP, UDP, has_ports};
use super::judge::{Way, wrong};
use super::state::{Flow, Mapping, Told, same};
use super::world::{Class, Endpoint, Pairing, Pool};

/// Who has which endpoint of a network, of one protocol: in order.
type Taken<'a> = [(Endpoint, &'a Mapping)];

/// The rank of a port in a block that is nobody's yet.
const NEW_BLOCK: u8 = 3;

/// A flow that wants an endpoint.
struct Wish<'a> {
    flow: &'a Flow,
    pool: &'a Pool,
    /// Who stands in the way, and who has a block: for certain or perhaps, as it is favourable to the gateways or not.
    against: &'a Taken<'a>,
    own: &'a Taken<'a>,
    /// Ports of a block, and how many of them its host has at most.
    blocks: Option<(u16, usize)>,
}

impl Oracle {
    /// A session from inside, opened with this external endpoint.
    pub(super) fn open(&mut self, told: Told) -> Way<()> {
        let Told { flow, segment, external } = told;
        let Some(pool) = self.world.pool_of(flow.0, segment).cloned() else {
            return wrong("there is no pool");
        };
        let class = pool.behaviour(flow.1, flow.3.1).0;
        let is_its = |one: &Mapping| {
            let Told { flow: (router, protocol, host, remote), segment: at, .. } = one.told;
            (router, protocol, host, at, one.class) == (flow.0, flow.1, flow.2, segment, class)
                && !one.shares
                && same(class, remote, flow.3)
        };
        let own: Vec<_> = self.mappings.iter().filter(|(_, mapping)| is_its(mapping)).collect();
        //= rfc4787#REQ-1
        //= rfc5382#REQ-1
        //= rfc5508#REQ-1a
        //= rfc7857#5
        let is_other =
            |one: &Mapping| self.is_kept(one, true) && one.sessions > 0 && one.told.external != external;
        if let Some((_, mapping)) = own.iter().find(|(_, one)| is_other(one)) {
            return wrong(format!("{external:?} was chosen though it has {mapping:?}"));
        }
        // One that lives, or rested and has come back.
        let again = own.iter().find(|(_, one)| one.told.external == external && self.is_kept(one, false));
        let again = again.map(|(number, one)| (**number, self.is_kept(one, true)));
        if !pool.has(flow.1, external) {
            return wrong(format!("{external:?} is not in the pool"));
        }
        let number = match again {
            None => {
                self.choose(&flow, segment, &pool, external)?;
                self.insert_mapping(told, &pool)
            }
            Some((number, is_certain)) => {
                if !is_certain {
                    // Or it ended, and was chosen again: then the host may have been paired anew.
                    self.hosts.remove(&(flow.0, segment, flow.2.0));
                }
                self.mappings.entry(number).and_modify(|mapping| mapping.forbidden = false);
                number
            }
        };
        self.insert(told, Some(number), true);
        Ok(())
    }

    fn choose(&mut self, flow: &Flow, segment: usize, pool: &Pool, chosen: Endpoint) -> Way<()> {
        let (kept, perhaps) = (self.taken(flow, segment, true), self.taken(flow, segment, false));
        //= rfc4787#REQ-3
        //= rfc5382#REQ-7
        let Some(rank) = Wish::new(flow, pool, &kept, &perhaps).rank(chosen) else {
            let holders = holders(&kept, chosen, chosen.1);
            return wrong(format!("{chosen:?} is in use, rests, or is not the host's: {holders:?}"));
        };
        // One of the addresses that it may have been looked for at leads to it, and to nothing better.
        //= rfc4787#REQ-2
        //= rfc6888#REQ-2
        //= rfc6888#REQ-13
        //= rfc7857#4
        let wish = Wish::new(flow, pool, &perhaps, &kept);
        let paired = self.paired(flow, segment, pool);
        let stays = |at: &Ipv4Addr| pool.pairing == Pairing::Strict || wish.has_better(*at, u8::MAX);
        let from = paired.filter(stays).map_or_else(|| pool.addresses.clone(), |at| vec![at]);
        let is_right = |at: &Ipv4Addr| wish.leads(*at, chosen.0, rank) && !wish.has_better(*at, rank);
        let right: Vec<_> = from.into_iter().filter(is_right).collect();
        let host = (flow.0, segment, flow.2.0);
        match right[..] {
            [] => return wrong(format!("there are better ports than {chosen:?}; paired with {paired:?}")),
            [at] => _ = self.hosts.insert(host, at),
            _ => _ = self.hosts.remove(&host),
        }
        Ok(())
    }

    /// Whether there may be no external endpoint for the flow.
    pub(super) fn may_refuse(&self, flow: &Flow, segment: usize) -> bool {
        let Some(pool) = self.world.pool_of(flow.0, segment) else { return false };
        let (kept, perhaps) = (self.taken(flow, segment, true), self.taken(flow, segment, false));
        let wish = Wish::new(flow, pool, &perhaps, &kept);
        let has_none = |at: &Ipv4Addr| !wish.has_better(*at, u8::MAX);
        let is_strict = pool.pairing == Pairing::Strict;
        match self.paired(flow, segment, pool) {
            Some(paired) if is_strict => has_none(&paired),
            // Perhaps it is paired with one that has no room.
            None if is_strict && self.has_mapping((flow.0, segment, flow.2.0), false) => {
                pool.addresses.iter().any(has_none)
            }
            _ => pool.addresses.iter().all(has_none),
        }
    }

    /// The address that the flow's host is paired with for certain, if the pool has it still.
    fn paired(&self, flow: &Flow, segment: usize, pool: &Pool) -> Option<Ipv4Addr> {
        let host = (flow.0, segment, flow.2.0);
        let paired = self.hosts.get(&host).filter(|paired| pool.addresses.contains(paired));
        paired.copied().filter(|_| pool.pairing != Pairing::None && self.has_mapping(host, true))
    }

    fn has_mapping(&self, host: (usize, usize, Ipv4Addr), for_certain: bool) -> bool {
        let host_of = |told: &Told| (told.flow.0, told.segment, told.flow.2.0);
        self.mappings.values().any(|one| host_of(&one.told) == host && self.is_kept(one, for_certain))
    }

    /// Who has the endpoints of a network for certain, or perhaps.
    fn taken(&self, flow: &Flow, segment: usize, for_certain: bool) -> Vec<(Endpoint, &Mapping)> {
        let is_here = |one: &&Mapping| (one.told.segment, one.told.flow.1) == (segment, flow.1);
        let kept = self.mappings.values().filter(is_here).filter(|one| self.is_kept(one, for_certain));
        let mut taken: Vec<_> = kept.map(|one| (one.told.external, one)).collect();
        taken.sort_unstable_by_key(|(endpoint, _)| *endpoint);
        taken
    }
}

/// Who has an endpoint of an address, or one behind it up to the last port.
fn holders<'a>(taken: &'a Taken, first: Endpoint, last: u16) -> &'a Taken<'a> {
    let from = taken.partition_point(|(endpoint, _)| *endpoint < first);
    let to = taken.partition_point(|(endpoint, _)| *endpoint <= (first.0, last));
    &taken[from..to]
}

impl<'a> Wish<'a> {
    fn new(flow: &'a Flow, pool: &'a Pool, against: &'a Taken<'a>, own: &'a Taken<'a>) -> Self {
        Self { flow, pool, against, own, blocks: pool.blocks.filter(|_| has_ports(flow.1)) }
    }

    /// Whether who looks for a port at one address finds this one: the host's own blocks are found from everywhere, where
    /// it is not bound to its address.
    fn leads(&self, from: Ipv4Addr, to: Ipv4Addr, rank: u8) -> bool {
        from == to || (self.blocks.is_some() && self.pool.pairing != Pairing::Strict && rank != NEW_BLOCK)
    }

    /// Whether who looks at an address finds a port of a better rank: but for its own, none is better than the first.
    fn has_better(&self, from: Ipv4Addr, than: u8) -> bool {
        let preserved = self.pool.preserve_port.then_some(self.flow.2.1);
        let ports = if has_ports(self.flow.1) { self.pool.ports } else { (0, 0) };
        // Of the 60,000 ports of a whole address not each need be looked at.
        let is_of_class = |port: &u16| than > 2 || (*port < 1_024) == (self.flow.2.1 < 1_024);
        let others = (ports.0..=ports.1).take_while(|_| than > 1).filter(is_of_class);
        let is_better = |rank, at| rank < than && self.leads(from, at, rank);
        let reached: Vec<_> = self.pool.addresses.iter().filter(|at| self.leads(from, **at, 0)).collect();
        preserved.into_iter().chain(others).any(|port| {
            reached.iter().any(|at| self.rank((**at, port)).is_some_and(|rank| is_better(rank, **at)))
        })
    }

    /// How good an endpoint is: 0 its own port, 1 free, 2 free but of the other class, 3 in a new block, 4 used towards other
    /// remotes; or none of these.
    fn rank(&self, endpoint: Endpoint) -> Option<u8> {
        let Self { flow: (router, protocol, host, remote), pool, .. } = self;
        let holding = holders(self.against, endpoint, endpoint.1);
        let has_class = matches!(*protocol, TCP | UDP);
        //= rfc4787#REQ-4
        let is_odd = has_class && pool.preserve_parity && (endpoint.1 ^ host.1) & 1 == 1;
        let is_preserved = pool.preserve_port && endpoint.1 == host.1 && holding.is_empty();
        if !pool.has(*protocol, endpoint) || (is_odd && !is_preserved) {
            return None;
        }
        //= rfc7857#3
        let shares = pool.behaviour(*protocol, remote.1) == (Class::AddressAndPort, Class::AddressAndPort);
        if !holding.iter().all(|(_, one)| shares && one.shares && one.told.flow.3 != *remote) {
            return None;
        }
        //= rfc4787#REQ-3a
        let is_other_class = has_class && (endpoint.1 < 1_024) != (host.1 < 1_024);
        let Some((ports, most)) = self.blocks else {
            return Some(match holding {
                [_, ..] => 4,
                [] if is_preserved => 0,
                [] if is_other_class => 2,
                [] => 1,
            });
        };
        // Whose a block is: that of the ports that were chosen in it.
        let first = endpoint.1 / ports * ports;
        let in_blocks = |taken: &'a Taken<'a>| taken.iter().filter(|(_, one)| one.block.is_some());
        let here = |taken| in_blocks(holders(taken, (endpoint.0, first), first + (ports - 1)));
        let is_own = |one: &Mapping| (one.told.flow.0, one.told.flow.2.0) == (*router, host.0);
        if here(self.against).any(|(_, one)| !is_own(one)) {
            return None;
        }
        if here(self.own).any(|(_, one)| is_own(one)) {
            return Some(if holding.is_empty() { 1 } else { 4 });
        }
        //= rfc6888#REQ-4
        let own = in_blocks(self.against).filter(|(_, one)| is_own(one));
        let mut own: Vec<_> = own.map(|((address, port), _)| (*address, port / ports)).collect();
        own.dedup();
        (own.len() < most && holding.is_empty()).then_some(NEW_BLOCK)
    }
}
