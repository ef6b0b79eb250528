//! What the oracle remembers: sessions, and the mappings of RFC 4787 section 4.1 that they keep alive.
//!
//! It is told which sessions were opened, with the external endpoint that was chosen, and which were closed; so nothing is
//! guessed, and each opening and closing is judged: whether it was allowed, and whether it comes too early or too late.

use std::rc::Rc;

use super::Oracle;
use super::bytes::{Header, TCP, has_ports};
use super::tcp::Track;
use super::world::{Class, Endpoint, Pool, World};

/// How long a gateway that is awake may take to notice that a time is up, in milliseconds.
pub(super) const LATE_MS: u64 = 2_500;

/// A session's packets as its host sends them: router, protocol, the host's endpoint, the remote one.
//= rfc4787#REQ-7
pub type Flow = (usize, u8, Endpoint, Endpoint);

/// A session that a gateway says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whose.
    pub flow: Flow,
    /// The network it leads to.
    pub segment: usize,
    /// What was chosen.
    pub external: Endpoint,
}

/// A remote endpoint that an internal one has to do with.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) told: Told,
    /// None where the external endpoint is the rules'.
    pub(super) mapping: Option<u64>,
    /// What filtering depended on when it was opened.
    pub(super) filtering: Class,
    pub(super) track: Track,
    /// By longer timers that were in force before, it ends not after this.
    late_ms: u64,
    /// Rules have been in force that do not allow it.
    forbidden: bool,
}

impl Session {
    /// Both sides are one, and each packet is of both: in which order they hear it is nobody's concern, nor then how long it
    /// lives.
    fn is_with_itself(&self) -> bool {
        self.told.external == self.told.flow.3
    }

    fn ends_ms(&self, world: &World) -> u64 {
        let (router, protocol, _, remote) = self.told.flow;
        self.track.ends_ms(protocol, remote.1, &world.routers[router])
    }
}

/// An internal endpoint's external one, towards some remotes or all.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    /// Of the first session: a remote endpoint counts as far as the class says.
    pub(super) told: Told,
    pub(super) class: Class,
    /// It serves one session alone, and leaves the port to others towards other remotes (RFC 7857 section 3).
    pub(super) shares: bool,
    /// Its port was chosen in a block of so many.
    pub(super) block: Option<u16>,
    pub(super) sessions: usize,
    hold_down_ms: u64,
    /// Without sessions: until when its port rests.
    rests_until_ms: u64,
    /// Rules have been in force, or more ports rested than may, so that it may be gone and its port be another's.
    pub(super) forbidden: bool,
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
    /// Whether a mapping has its port, for certain or perhaps: that its rest is over may not have been noticed.
    pub(super) fn is_kept(&self, mapping: &Mapping, for_certain: bool) -> bool {
        let since_ms = if for_certain { self.now_ms } else { self.noticed_ms() };
        let is_kept = mapping.sessions > 0 || since_ms < mapping.rests_until_ms;
        is_kept && !(for_certain && mapping.forbidden)
    }

    /// Whatever ended before this has been noticed.
    fn noticed_ms(&self) -> u64 {
        self.awake.front().map_or(0, |(_, now_ms)| *now_ms)
    }

    /// Time has passed, of which gateways were awake for a part.
    pub fn wait(&mut self, now_ms: u64, awake_ms: u64) {
        self.now_ms = now_ms;
        let awake_ms = self.awake.back().map_or(0, |(before, _)| *before) + awake_ms;
        self.awake.push_back((awake_ms, now_ms));
        while self.awake.get(1).is_some_and(|(then, _)| then + LATE_MS <= awake_ms) {
            self.awake.pop_front();
        }
    }

    /// The session of what comes from outside: its network, protocol, external endpoint and remote one. Where rules have taken
    /// the endpoint from one and given it to another there may be two, of which one is allowed.
    pub(super) fn outside(&self, outside: (usize, u8, Endpoint, Endpoint)) -> Option<&Session> {
        let is_it = |told: &Told| (told.segment, told.flow.1, told.external, told.flow.3) == outside;
        self.sessions.values().filter(|one| is_it(&one.told)).max_by_key(|one| self.is_allowed(one))
    }

    /// Whether the rules are for a session.
    pub(super) fn is_allowed(&self, session: &Session) -> bool {
        self.world.allows(&session.told, session.mapping.is_some())
    }

    /// Whether a session may end: its time is up, or rules were against it.
    pub(super) fn is_due(&self, session: &Session) -> bool {
        session.forbidden || session.is_with_itself() || self.now_ms >= session.ends_ms(&self.world)
    }

    /// A session that begins.
    pub(super) fn insert(&mut self, told: Told, mapping: Option<u64>, from_inside: bool) {
        let (router, protocol, _, remote) = told.flow;
        let pool = self.world.pool_of(router, told.segment);
        let filtering = pool.map_or(Class::AddressAndPort, |pool| pool.behaviour(protocol, remote.1).1);
        if let Some(mapping) = mapping.and_then(|number| self.mappings.get_mut(&number)) {
            mapping.sessions += 1;
        }
        let track = Track::new(self.now_ms, from_inside);
        let session = Session { told, mapping, filtering, track, late_ms: 0, forbidden: false };
        self.sessions.insert(told.flow, session);
    }

    /// A mapping that begins, for a session that is to be inserted.
    pub(super) fn insert_mapping(&mut self, told: Told, pool: &Pool) -> u64 {
        let protocol = told.flow.1;
        let (class, filtering) = pool.behaviour(protocol, told.flow.3.1);
        let shares = (class, filtering) == (Class::AddressAndPort, Class::AddressAndPort);
        //= rfc6888#REQ-8
        let hold_down_ms = if shares || protocol == TCP { 0 } else { pool.hold_down_ms };
        let block = pool.blocks.map(|(ports, _)| ports).filter(|_| has_ports(protocol));
        let (sessions, rests_until_ms, forbidden) = (0, 0, false);
        let mapping =
            Mapping { told, class, shares, block, sessions, hold_down_ms, rests_until_ms, forbidden };
        self.number += 1;
        self.mappings.insert(self.number, mapping);
        self.number
    }

    /// A session has been closed: what it was, and whether its time was up or the rules were against it.
    pub(super) fn close(&mut self, flow: &Flow) -> Option<(Session, bool)> {
        let session = self.sessions.remove(flow)?;
        if let Some(mapping) = session.mapping.and_then(|number| self.mappings.get_mut(&number)) {
            mapping.sessions -= 1;
            if mapping.sessions == 0 && mapping.hold_down_ms > 0 {
                mapping.rests_until_ms = self.now_ms + mapping.hold_down_ms;
                let told = mapping.told;
                self.end_rests(&told);
            }
        }
        let is_due = self.is_due(&session);
        Some((session, is_due))
    }

    /// Of the ports that rest on an address, whoever's, where they are too many nobody knows which has ended.
    //= rfc6888#REQ-8
    fn end_rests(&mut self, told: &Told) {
        let place = |told: &Told| (told.segment, told.flow.1, told.external.0);
        let pool = self.world.pools.iter().find(|pool| pool.addresses.contains(&told.external.0));
        let (most, noticed_ms) = (pool.and_then(|pool| pool.rests_max), self.noticed_ms());
        let is_resting = |one: &Mapping| one.sessions == 0 && one.rests_until_ms > noticed_ms;
        let here =
            self.mappings.values_mut().filter(|one| place(&one.told) == place(told) && is_resting(one));
        let here: Vec<_> = here.collect();
        if most.is_some_and(|most| here.len() > most) {
            here.into_iter().for_each(|mapping| mapping.forbidden = true);
        }
    }

    /// Other rules: what they do not allow may be gone from now on, and who had longer may not be looked at before.
    pub(super) fn doubt(&mut self, before: &World) {
        let world = Rc::clone(&self.world);
        for session in self.sessions.values_mut() {
            session.forbidden |= !world.allows(&session.told, session.mapping.is_some());
            session.late_ms = session.late_ms.max(session.ends_ms(before));
        }
        for mapping in self.mappings.values_mut() {
            let Told { flow: (router, protocol, ..), segment, external } = mapping.told;
            let pool = world.pool_of(router, segment);
            mapping.forbidden |= !pool.is_some_and(|pool| pool.has(protocol, external));
        }
        if !before.pools.iter().map(|pool| pool.pairing).eq(world.pools.iter().map(|pool| pool.pairing)) {
            // Who was not paired, or less strictly, is so from now on.
            self.hosts.clear();
        }
    }

    /// A packet of a session has passed.
    pub(super) fn note(&mut self, side: usize, flow: &Flow, header: &Header) {
        if let Some(session) = self.sessions.get_mut(flow) {
            session.track.note(side, header, self.now_ms);
        }
    }

    /// Sessions that should have been closed; mappings whose port is nobody's any more are forgotten.
    ///
    /// # Errors
    /// One that is there still.
    pub fn check(&mut self) -> Result<(), String> {
        let noticed_ms = self.noticed_ms();
        self.mappings.retain(|_, mapping| mapping.sessions > 0 || noticed_ms < mapping.rests_until_ms);
        let is_late = |session: &&Session| {
            let ends_ms = session.ends_ms(&self.world).max(session.late_ms);
            ends_ms < noticed_ms && !session.is_with_itself()
        };
        match self.sessions.values().find(is_late) {
            Some(session) => Err(format!("it should have ended: {session:?}")),
            None => Ok(()),
        }
    }
}

impl World {
    /// Whether the rules would translate a flow to this external endpoint, which is a mapping's or else a forwarding's.
    pub(super) fn allows(&self, told: &Told, is_mapping: bool) -> bool {
        let Told { flow: (at, protocol, host, remote), segment, external } = *told;
        let router = &self.routers[at];
        let Some(number) = router.gateway_into(segment).filter(|_| router.up) else { return false };
        let leaves_here = !router.is_no_nat(remote.0)
            && router.route(remote.0).is_some_and(|(leg, _)| leg == router.gateways[number].interface);
        let is_translated_so = match self.forwarded_to(segment, protocol, external) {
            Some(to) => to == (at, host),
            None => {
                is_mapping
                    && self.pool_of(at, segment).is_some_and(|pool| pool.has(protocol, external))
                    && router.route_in(host.0).is_some_and(|(leg, _)| router.interfaces[leg].snat)
                    && router.floating_of(number, host.0).is_none()
                    && router.forwarded_from(number, protocol, host).is_none()
            }
        };
        leaves_here && is_translated_so
    }
}
