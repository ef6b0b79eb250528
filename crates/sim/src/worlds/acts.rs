//! What hosts and strangers do: how much in an hour, and with whom.

use super::links::{Act, Event};
use super::node::INSIDE;
use super::plan::{self, ECHO, OUTSIDE_CLIENT, SERVERS, TENANTS, WEB};
use super::queries::{How, Query};
use super::transfer::{End, Transfer};
use super::wire::{Endpoint, Link};
use super::{BEGUN_WITHIN_MS, Failure, World};

impl World {
    /// Begins what so many packets may come of.
    pub(super) fn begin_some(&mut self, packets: u64) {
        let mut expected = 0;
        while expected < packets {
            let (act, cost) = match self.random.below(20) {
                0..7 => (Act::Transfer, 22),
                7..17 => {
                    let times = 1 + self.random.below(6) as u8;
                    (Act::Ask(times), 2 * u64::from(times))
                }
                _ => (Act::Intrude, 1),
            };
            expected += cost;
            self.queue.push(self.now_ms + self.random.below(BEGUN_WITHIN_MS) as u64, Event::Act(act));
        }
    }

    /// Somebody does something.
    pub(super) fn act(&mut self, act: Act) -> Result<(), Failure> {
        match act {
            Act::Transfer => self.transfer(),
            Act::Ask(times) => (0..times).for_each(|_| self.ask()),
            Act::Intrude => {
                let flow = self.next_flow();
                let (tenant, frame) = self.stranger.try_something(&mut self.random, flow);
                match tenant {
                    Some(_) => self.queue.push(self.now_ms, Event::ToGateway(INSIDE, frame)),
                    None => self.send_outside(frame),
                }
            }
            Act::Forget(flow) => {
                self.hosts.iter_mut().for_each(|host| host.end_servers(|server| server.serves(flow)));
            }
            Act::Fault => self.fault()?,
            Act::Change => self.change()?,
        }
        Ok(())
    }

    /// A client begins a transfer with a server.
    fn transfer(&mut self) {
        let tenant = self.random.below(TENANTS + 1);
        let tenant = (tenant < TENANTS).then_some(tenant);
        let client = match tenant {
            Some(_) => plan::host(11 + self.random.below(2) as u8),
            None => OUTSIDE_CLIENT,
        };
        let Some(client) = self.host_at(tenant, client) else { return };
        if self.hosts[client].idle_clients() == 0 {
            return;
        }
        let (to, tenants) = self.somebody(tenant, WEB);
        let own = tenant.map_or(0, |tenant| 1 << tenant);
        let keeps_ms = self.plan.established_ms(tenants | own);
        let (pause_ms, outlives) = match self.random.below(200) {
            0..6 => (1_000 + self.random.below(60_000) as u64, false),
            6..9 => (keeps_ms * (30 + self.random.below(66) as u64) / 100, false),
            9 if tenants == 0 => (keeps_ms * 13 / 10, true),
            _ => (0, false),
        };
        let flow = self.next_flow();
        // A pause has something after it.
        let bytes = [400, 6_000].map(|most| 2 + self.random.below(most) as u32);
        let end = self.random.one_of(&End::ALL);
        self.hosts[client].begin(Transfer {
            flow,
            tenants: tenants | own,
            to,
            began_ms: self.now_ms,
            bytes,
            pause_ms,
            end,
            outlives_its_session: outlives,
        });
    }

    /// Whom a tenant's host, or somebody outside, speaks with; and the tenants that see it too, as bits.
    fn somebody(&mut self, tenant: Option<usize>, port: u16) -> (Endpoint, u8) {
        if tenant.is_some() && !self.random.one_in(3) {
            return ((self.random.one_of(&SERVERS), port), 0);
        }
        let other = match tenant {
            Some(tenant) if self.random.one_in(2) => tenant,
            _ => self.random.below(TENANTS),
        };
        (self.random.one_of(&plan::open_endpoints(other, port)), 1 << other)
    }

    /// Somebody asks something.
    fn ask(&mut self) {
        let tenant = self.random.below(TENANTS + 1);
        let tenant = (tenant < TENANTS).then_some(tenant);
        let (to, tenants) = self.somebody(tenant, ECHO);
        let from =
            tenant.map_or(OUTSIDE_CLIENT, |_| plan::host(self.random.one_of(&[11, 12, 21, 22, 23, 24])));
        let is_forwarded = to.1 != ECHO;
        let how = match self.random.below(8) {
            0..2 if !is_forwarded => How::Ping,
            2 if tenant.is_some() && tenants == 0 => How::Trace(1 + self.random.below(2) as u8),
            _ => How::Datagram,
        };
        let own = tenant.map_or(0, |tenant| 1 << tenant);
        let from = (from, 4_000 + self.random.below(24) as u16);
        let (flow, bytes) = (self.next_flow(), 5 + self.random.below(60));
        let query = Query::new(flow, how, tenants | own, [(tenant, from), (None, to)], self.now_ms, bytes);
        self.queries.add(query);
        match tenant {
            Some(tenant) => {
                let vlan = plan::vlan(tenant);
                let link =
                    Link { to: plan::router_mac(tenant, false), from: plan::mac_of(vlan, from.0), vlan };
                self.send(INSIDE, link.bytes(), query.frame(link));
            }
            None => {
                let link = Link { to: [0; 6], from: plan::mac_of(0, plan::ISP), vlan: 0 };
                self.send_outside(query.frame(link));
            }
        }
    }
}
