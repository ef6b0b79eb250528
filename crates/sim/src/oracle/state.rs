//! What the oracle remembers: mappings as RFC 4787 section 4.1 has them, and the sessions that keep them alive.
//!
//! A NAT may take a moment to notice that a time is up, so there are three answers to whether something is alive: yes,
//! no, and perhaps. Where it is perhaps, either outcome is right, and the one that was seen is remembered.

use std::net::Ipv4Addr;

use super::Oracle;
use super::bytes::{Header, ICMP, TCP, UDP};
use super::track::Track;
use super::world::{Behaviour, Class, Endpoint, Router, Timeouts};

/// How long a NAT may take to notice that a time is up, in milliseconds.
pub(super) const LATE_MS: u64 = 2_500;

/// Whether something is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Life {
    Dead,
    Perhaps,
    Alive,
}

/// An internal endpoint's external one, towards some remotes or all.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    /// The router's name: what it is in the next rules, too.
    pub(super) router: &'static str,
    pub(super) protocol: u8,
    pub(super) internal: Endpoint,
    pub(super) class: Class,
    /// The external network.
    pub(super) segment: usize,
    /// `None` while the oracle has not seen it.
    pub(super) external: Option<Endpoint>,
    pub(super) hold_down_ms: u64,
    pub(super) sessions: Vec<Session>,
    /// Rules have been in force that do not allow it: it may be gone, and its port given away.
    pub(super) doubtful: bool,
    /// It is from before such rules: its host may have been paired anew since.
    pub(super) moved: bool,
    /// By when its last session ended: at the earliest, and at the latest.
    pub(super) ended: (u64, u64),
}

/// A remote endpoint that an internal one has to do with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) remote: Endpoint,
    pub(super) track: Track,
    /// The same, if it was over and has begun again since: that was not seen.
    pub(super) again: Option<Track>,
    /// Whether there is one at all was not seen.
    pub(super) doubtful: bool,
    /// Other timers were in force meanwhile: by those it ended not before, and not after.
    pub(super) bounds: (u64, u64),
}

impl Session {
    pub(super) fn new(remote: Endpoint, now_ms: u64) -> Self {
        Self { remote, track: Track::new(now_ms), again: None, doubtful: false, bounds: (u64::MAX, 0) }
    }

    /// When it ends if nothing more passes, at the earliest and at the latest.
    pub(super) fn ends_ms(&self, protocol: u8, timeouts: &Timeouts) -> (u64, u64) {
        let one = self.track.ends_ms(protocol, timeouts);
        let other = self.again.map_or(one, |again| again.ends_ms(protocol, timeouts));
        (one.min(other), one.max(other))
    }

    /// Whether a SYN begins the next connection: for certain; perhaps.
    pub(super) fn is_reopened_by(&self, header: &Header) -> (bool, bool) {
        let one = self.track.is_reopened_by(header);
        let other = self.again.map_or(one, |again| again.is_reopened_by(header));
        (one && other, one || other)
    }

    /// Nobody saw whether it went on or began again.
    pub(super) fn fork(&mut self, now_ms: u64) {
        self.again = Some(Track::new(now_ms));
    }

    pub(super) fn note(&mut self, side: usize, header: &Header, now_ms: u64) {
        self.track.note(side, header, now_ms);
        if let Some(again) = &mut self.again {
            again.note(side, header, now_ms);
        }
    }
}

impl Mapping {
    /// Whether flows to this remote use it.
    pub(super) fn covers(&self, remote: Endpoint) -> bool {
        self.sessions.iter().any(|session| same(self.class, session.remote, remote))
            || self.class == Class::Independent
    }
}

/// Leg, and where it translates: addresses and ports.
type Way<'a> = (usize, Option<(&'a [Ipv4Addr], (u16, u16))>);

/// What a router translates to.
fn pools<'a>(world: &'a super::World, router: Option<&Router>) -> Vec<Way<'a>> {
    let ways = router.iter().flat_map(|router| &router.gateways);
    let pool = |at: usize| (world.pools[at].addresses.as_slice(), world.pools[at].ports);
    ways.map(|way| (way.interface, way.pool.filter(|_| way.snat).map(pool))).collect()
}

/// Whether two remotes are one to this class.
pub(super) fn same(class: Class, one: Endpoint, other: Endpoint) -> bool {
    match class {
        Class::Independent => true,
        Class::Address => one.0 == other.0,
        Class::AddressAndPort => one == other,
    }
}

impl Oracle {
    /// When it has been noticed at the latest that something ended.
    fn noticed(&self, end_ms: u64) -> u64 {
        let noticed = self.stalls.iter().fold(end_ms, |end_ms, (from, to)| {
            let is_noticed_behind = (*from..*to + LATE_MS).contains(&(end_ms + LATE_MS));
            if is_noticed_behind { *to } else { end_ms }
        });
        noticed + LATE_MS
    }

    /// When a session ends, at the earliest and at the latest, if nothing more passes.
    fn ends(&self, session: &Session, protocol: u8, timeouts: &Timeouts) -> (u64, u64) {
        let (first, last) = session.ends_ms(protocol, timeouts);
        let first = if session.doubtful { 0 } else { first.min(session.bounds.0) };
        (first, self.noticed(last.max(session.bounds.1)))
    }

    /// When a mapping's last session ends, at the earliest and at the latest.
    fn mapping_ends(&self, mapping: &Mapping, timeouts: Option<&Timeouts>) -> (u64, u64) {
        mapping.sessions.iter().fold(mapping.ended, |(first, last), session| {
            let ends = match timeouts {
                Some(timeouts) => self.ends(session, mapping.protocol, timeouts),
                None => (0, self.noticed(session.bounds.1)),
            };
            (first.max(ends.0), last.max(ends.1))
        })
    }

    /// Whether a mapping's external endpoint is still of its router's pool.
    fn is_at_home(&self, mapping: &Mapping) -> bool {
        let router = self.world.routers.iter().find(|router| router.id == mapping.router && router.up);
        router.is_some_and(|router| {
            router.gateways.iter().any(|way| {
                router.interfaces[way.interface].segment == mapping.segment
                    && way.snat
                    && mapping.external.is_none_or(|external| self.is_in_pool(router, way, external))
            })
        })
    }

    /// Whether the rules of today would translate this mapping's session so.
    pub(super) fn is_allowed(&self, mapping: &Mapping, remote: Endpoint) -> bool {
        let Some(router) = self.world.routers.iter().find(|router| router.id == mapping.router && router.up)
        else {
            return false;
        };
        let Some(gateway) =
            router.gateways.iter().find(|way| router.interfaces[way.interface].segment == mapping.segment)
        else {
            return false;
        };
        let source = mapping.internal.0;
        let from = router.route(source).map(|(leg, _)| &router.interfaces[leg]);
        gateway.snat
            && mapping.external.is_none_or(|external| self.is_in_pool(router, gateway, external))
            && from.is_some_and(|leg| leg.snat && !leg.external)
            && !router.floating.iter().any(|(_, internal)| *internal == source)
            && !router.is_no_nat(remote.0)
            && router.route(remote.0).is_some_and(|(leg, _)| leg == gateway.interface)
    }

    /// Whether a session that the oracle knows of is alive.
    pub(super) fn life(&self, mapping: &Mapping, session: &Session) -> Life {
        let Some(router) = self.world.routers.iter().find(|router| router.id == mapping.router) else {
            return Life::Dead;
        };
        let (first, last) = self.ends(session, mapping.protocol, &router.timeouts);
        if !self.is_allowed(mapping, session.remote) || self.now_ms >= last {
            Life::Dead
        } else if mapping.doubtful || self.now_ms >= first {
            Life::Perhaps
        } else {
            Life::Alive
        }
    }

    /// Whether a mapping's port is taken: by its sessions, or through its hold-down.
    pub(super) fn port_life(&self, mapping: &Mapping) -> Life {
        let router = self.world.routers.iter().find(|router| router.id == mapping.router);
        let (first, last) = self.mapping_ends(mapping, router.map(|router| &router.timeouts));
        if self.now_ms >= self.noticed(last + mapping.hold_down_ms) {
            Life::Dead
        } else if mapping.doubtful || self.now_ms >= first.saturating_add(mapping.hold_down_ms) {
            Life::Perhaps
        } else {
            Life::Alive
        }
    }

    /// Forgets sessions that are over, and mappings whose port is free.
    pub(super) fn forget(&mut self) {
        for at in (0..self.mappings.len()).rev() {
            let timeouts = self.world.routers.iter().find(|router| router.id == self.mappings[at].router);
            let timeouts = timeouts.map(|router| router.timeouts);
            let Some(timeouts) = timeouts else { continue };
            let mapping = &self.mappings[at];
            let ends: Vec<_> = mapping
                .sessions
                .iter()
                .map(|session| self.ends(session, mapping.protocol, &timeouts))
                .collect();
            for number in (0..ends.len()).rev().filter(|number| self.now_ms >= ends[*number].1) {
                let mapping = &mut self.mappings[at];
                mapping.sessions.swap_remove(number);
                mapping.ended = (mapping.ended.0.max(ends[number].0), mapping.ended.1.max(ends[number].1));
            }
            if self.port_life(&self.mappings[at]) == Life::Dead {
                self.mappings.swap_remove(at);
            }
        }
    }

    /// Other rules: what they do not allow may be gone from now on, and other timers may have been looked at.
    pub(super) fn doubt(&mut self, before: &super::World) {
        for at in 0..self.mappings.len() {
            let name = self.mappings[at].router;
            let old = before.routers.iter().find(|router| router.id == name);
            let new = self.world.routers.iter().find(|router| router.id == name);
            let is_elsewhere = pools(before, old) != pools(&self.world, new);
            let is_other = old.map(|old| old.timeouts) != new.map(|new| new.timeouts);
            let timeouts: Vec<Timeouts> = if is_other {
                old.into_iter().chain(new).map(|one| one.timeouts).collect()
            } else {
                Vec::new()
            };
            let remotes: Vec<Endpoint> =
                self.mappings[at].sessions.iter().map(|session| session.remote).collect();
            let allowed: Vec<bool> =
                remotes.iter().map(|remote| self.is_allowed(&self.mappings[at], *remote)).collect();
            let is_at_home = self.is_at_home(&self.mappings[at]);
            let mapping = &mut self.mappings[at];
            let protocol = mapping.protocol;
            for (session, allowed) in mapping.sessions.iter_mut().zip(&allowed) {
                session.doubtful |= !allowed;
                for timeouts in &timeouts {
                    let (first, last) = session.ends_ms(protocol, timeouts);
                    session.bounds = (session.bounds.0.min(first), session.bounds.1.max(last));
                }
                if !allowed {
                    session.bounds.1 = session.bounds.1.max(self.now_ms);
                }
            }
            // Of an endpoint that was not seen, nobody knows whether it still is of the pool.
            let is_lost = !is_at_home || (is_elsewhere && mapping.external.is_none());
            mapping.doubtful |= allowed.iter().any(|allowed| !allowed) || is_lost;
            mapping.moved |= mapping.doubtful;
        }
    }

    /// The behaviour of a protocol towards a remote, where a router translates to a pool.
    pub(super) fn behaviour(&self, pool: Option<usize>, protocol: u8) -> Behaviour {
        match pool {
            Some(pool) => self.world.pools[pool].behaviour(protocol),
            None => match protocol {
                TCP => Behaviour { mapping: Class::AddressAndPort, filtering: Class::AddressAndPort },
                UDP | ICMP => Behaviour { mapping: Class::Independent, filtering: Class::Address },
                _ => Behaviour { mapping: Class::Address, filtering: Class::Address },
            },
        }
    }
}
