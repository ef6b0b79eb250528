//! What happens to a gateway in an hour: one fault, and one change of its rules. And whom each excuses.
//!
//! A fault excuses as little as it can. What survives by promise goes on through it: connections through crashes,
//! restarts, stalls and storms; everything through rules that are none of its tenant's.

use nat::DropReason;

use super::links::{Event, Weather};
use super::plan::{self, Disturbs, SERVERS};
use super::wire::{self, Kind, Link, UDP};
use super::{Failure, World};
use crate::crew::PORT_NAMES;
use crate::invariants;

/// Every tenant.
pub(crate) const ALL: u8 = 0b111;

/// How long a flood's ports are taken: the longest initial timer of UDP, and a hold-down.
const FLOOD_MS: u64 = 120_000 + 45_000 + 15_000;

/// How long after its last flow is sent a flood is under way.
const ARRIVES_WITHIN_MS: u64 = 1_000;

/// More flows than a pool has ports.
pub(crate) struct Flood {
    tenant: usize,
    comes_until_ms: u64,
    /// Flows that had been refused for want of ports when it began.
    refused_before: u64,
}

impl World {
    /// Something happens to the gateway.
    pub(crate) fn fault(&mut self) -> Result<(), Failure> {
        self.report.faults += 1;
        let workers = 1 + self.random.below(3);
        match self.random.below(8) {
            0 | 1 => {
                self.say(format_args!("a crash; {workers} workers take over"));
                self.queries.excuse_all(ALL);
                let taken_over = self.node.crash(self.now_ms, workers);
                taken_over.or_else(|what| self.fail(what))
            }
            2 => {
                self.say(format_args!("a restart with {workers} workers"));
                self.queries.excuse_all(ALL);
                let mut out = std::mem::take(&mut self.out);
                let ended = self.node.restart(self.now_ms, workers, &mut out);
                self.out = out;
                ended.or_else(|what| self.fail(what))?;
                self.hear_all()
            }
            3 => {
                let at = self.random.below(self.node.desks.len());
                let ms = 100 + self.random.below(4_000) as u64;
                self.say(format_args!("worker {at} stalls for {ms} ms"));
                self.node.desks[at].stalls_until_ms = self.now_ms + ms;
                Ok(())
            }
            4 => {
                self.say(format_args!("a storm"));
                self.storm_until_ms = self.now_ms + 60_000;
                Ok(())
            }
            5 => {
                let ms = 1_000 + self.random.below(19_000) as u64;
                self.say(format_args!("the clock leaps by {ms} ms"));
                self.node.ahead_ms += ms;
                Ok(())
            }
            6 => {
                let ms = 600_000 + self.random.below(10_000_000) as u64;
                self.say(format_args!("the clock leaps by {ms} ms"));
                self.node.ahead_ms += ms;
                // As if all had slept. Sessions end in the midst of their transfers, and a port of TCP does not rest: what
                // its last user's server still has to say would come to the next one.
                self.queue.lose_frames();
                self.node.lose_queued();
                self.hosts.iter_mut().for_each(|host| host.end_servers(|_| true));
                self.disturb(ALL, [true, true], self.now_ms);
                self.queries.excuse_all(ALL);
                Ok(())
            }
            _ => self.flood(),
        }
    }

    /// A tenant opens more flows than its pool has ports.
    fn flood(&mut self) -> Result<(), Failure> {
        let tenant = self.random.below(plan::TENANTS);
        let pool = plan::pool_of(tenant);
        let (first, last) = plan::POOL_PORTS[pool];
        let addresses = if pool == 0 { 2 } else { 1 };
        let flows = usize::from(last - first + 1) * addresses * 4 / 3;
        self.say(format_args!("tenant {tenant} opens {flows} flows"));
        // Four hosts: as they are paired, each of them has one of the addresses.
        let vlan = plan::vlan(tenant);
        for flow in 0..flows {
            let host = plan::host(31 + (flow % 8) as u8);
            let link = Link { to: plan::router_mac(tenant, false), from: plan::mac_of(vlan, host), vlan };
            let payload = wire::payload(1 << tenant, Kind::Query, self.next_flow(), 16);
            let datagram = wire::udp(10_000 + (flow / 8) as u16, 9, &payload);
            let frame = wire::ipv4(link, UDP, host, SERVERS[0], 64, &datagram);
            self.queue.push(self.now_ms + flow as u64 / 4, Event::ToGateway(super::node::INSIDE, frame));
        }
        self.disturb(plan::users_of(pool), [true, false], self.now_ms + FLOOD_MS);
        // Where the rules of its router are under way, it may be for some that are no more, or are not yet.
        let is_changing = self.node.is_adopting() && self.changed >> tenant & 1 == 1;
        self.flooded = (self.plan.is_whole(tenant) && !is_changing).then(|| Flood {
            tenant,
            comes_until_ms: self.now_ms + flows as u64 / 4 + ARRIVES_WITHIN_MS,
            refused_before: self.node.crew.dropped(DropReason::PortExhausted),
        });
        Ok(())
    }

    /// The last flood was more than the pool could bear, or it was none.
    pub(crate) fn check_flood(&mut self) -> Result<(), Failure> {
        if let Some(Flood { refused_before, .. }) = self.flooded.take()
            && self.node.crew.dropped(DropReason::PortExhausted) == refused_before
        {
            return self.fail("a flood used up no pool".to_owned());
        }
        Ok(())
    }

    /// The rules change.
    pub(crate) fn change(&mut self) -> Result<(), Failure> {
        self.report.changes += 1;
        let (what, Disturbs(tenants)) = self.plan.change(&mut self.random);
        self.say(format_args!("{what}, which may disturb {tenants:03b}"));
        self.changed = tenants;
        // What still comes of a flood may find no router, or another pool.
        let concerns =
            |flood: &mut Flood| tenants >> flood.tenant & 1 == 1 && flood.comes_until_ms >= self.now_ms;
        _ = self.flooded.take_if(concerns);
        self.excuse_change();
        let fed = self.node.feed(&self.plan, self.now_ms);
        fed.or_else(|what| self.fail(what))?;
        let same = invariants::rules(&self.node.store, &self.plan.rules(), &PORT_NAMES);
        same.or_else(|what| self.fail(what))
    }

    /// Whom the change of rules that is under way may disturb is disturbed now.
    pub(crate) fn excuse_change(&mut self) {
        self.disturb(self.changed, [true, true], self.now_ms);
        // What was asked through a forwarding that has gone is answered under another endpoint.
        self.queries.excuse_all(self.changed);
    }

    /// How links are now.
    pub(crate) fn weather_now(&mut self) -> Weather {
        if self.now_ms < self.storm_until_ms { Weather::STORM } else { self.weather }
    }
}
