//! A router's routes, flattened for look-up.
//!
//! Prefixes nest, so the whole address space falls into runs that each have one best route:
//!
//! ```text
//! 0.0.0.0/0    |-------------------- gateway --------------------|
//! 10.0.0.0/8           |--------- via 10.1.0.9 ---------|
//! 10.1.0.0/16                |-- connected --|
//! runs         |gateway|  via |   connected  |   via    | gateway |
//! ```
//!
//! The runs' first addresses lie in one sorted array, so the longest match is one binary search over it: `n` prefixes
//! make at most `2n + 1` runs, which bounds a look-up to 12 steps for 1,024 routes. A trie would follow a pointer for
//! each step and is worth its size only for tables far beyond what a tenant's router may hold.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::compiled::{InterfaceIndex, NextHop};
use crate::model::Router;

#[cfg(test)]
mod tests;

/// What a prefix leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A subnet of this interface: the destination is its own next hop.
    Connected(InterfaceIndex),
    /// Another router.
    Via(NextHop),
}

/// Longest-prefix match over one router's routes.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    /// The first address of each run, rising; begins with 0 where there is any route.
    firsts: Vec<u32>,
    /// What each run leads to.
    targets: Vec<Option<Target>>,
}

impl RouteTable {
    /// Builds the table. Of two equal prefixes the first given counts.
    pub(crate) fn new(mut routes: Vec<(Ipv4Net, Target)>) -> Self {
        routes.sort_by_key(|(prefix, _)| (prefix.network(), prefix.prefix_len()));
        routes.dedup_by_key(|(prefix, _)| prefix.trunc());

        let mut table = Self { firsts: vec![0], targets: vec![None] };
        // The prefixes that hold the current position, outermost first: last address and target.
        let mut open: Vec<(u32, Target)> = Vec::new();
        for (prefix, target) in routes {
            let first = u32::from(prefix.network());
            table.close_before(first, &mut open);
            table.start_run(first, Some(target));
            open.push((u32::from(prefix.broadcast()), target));
        }
        table.close_before(u32::MAX, &mut open);
        table
    }

    /// The routes of a router whose legs have these indices: its connected subnets, its extra routes, and the default
    /// route by the gateway that has one.
    pub(crate) fn of_router(router: &Router, interfaces: &[InterfaceIndex]) -> Self {
        let legs = || router.interfaces.iter().zip(interfaces);
        let mut routes: Vec<(Ipv4Net, Target)> = legs()
            .flat_map(|(leg, index)| leg.addresses.iter().map(|subnet| (*subnet, Target::Connected(*index))))
            .collect();
        for route in &router.routes {
            let leg =
                legs().find(|(leg, _)| leg.addresses.iter().any(|subnet| subnet.contains(&route.next_hop)));
            if let Some((_, index)) = leg {
                routes.push((
                    route.prefix,
                    Target::Via(NextHop { interface: *index, address: route.next_hop }),
                ));
            }
        }
        if let Some((gateway, next_hop)) = router.default_gateway()
            && let Some((_, index)) = legs().find(|(leg, _)| leg.id == gateway.interface)
        {
            let hop = NextHop { interface: *index, address: next_hop };
            routes.push((Ipv4Net::default(), Target::Via(hop)));
        }
        Self::new(routes)
    }

    /// The best route, if there is one.
    pub(crate) fn find(&self, destination: Ipv4Addr) -> Option<NextHop> {
        let after = self.firsts.partition_point(|first| *first <= u32::from(destination));
        match *self.targets.get(after.checked_sub(1)?)? {
            None => None,
            Some(Target::Connected(interface)) => Some(NextHop { interface, address: destination }),
            Some(Target::Via(hop)) => Some(hop),
        }
    }

    /// The runs of addresses that lead to a leg's own subnets: first and last.
    pub(crate) fn connected(&self, interface: InterfaceIndex) -> impl Iterator<Item = (u32, u32)> {
        self.runs()
            .filter(move |(_, target)| *target == Some(Target::Connected(interface)))
            .map(|(run, _)| run)
    }

    /// The next hop that the last addresses of all lead to, as a default route does, and every run that leads elsewhere, or
    /// nowhere.
    pub(crate) fn default_and_others(&self) -> Option<(NextHop, impl Iterator<Item = (u32, u32)>)> {
        let Some(Some(Target::Via(next_hop))) = self.targets.last() else { return None };
        let default = Some(Target::Via(*next_hop));
        Some((*next_hop, self.runs().filter(move |(_, target)| *target != default).map(|(run, _)| run)))
    }

    fn runs(&self) -> impl Iterator<Item = ((u32, u32), Option<Target>)> {
        let ends = self.firsts.iter().skip(1).map(|next| next.wrapping_sub(1)).chain([u32::MAX]);
        self.firsts.iter().copied().zip(ends).zip(self.targets.iter().copied())
    }

    /// Ends every prefix that lies wholly before `first`: behind it the prefix around it counts again.
    fn close_before(&mut self, first: u32, open: &mut Vec<(u32, Target)>) {
        while let Some((last, _)) = open.pop_if(|(last, _)| *last < first) {
            self.start_run(last.saturating_add(1), open.last().map(|(_, target)| *target));
        }
    }

    fn start_run(&mut self, first: u32, target: Option<Target>) {
        match self.targets.last_mut() {
            Some(last) if self.firsts.last() == Some(&first) => *last = target,
            _ => {
                self.firsts.push(first);
                self.targets.push(target);
            }
        }
    }
}
