//! What the opening of a flow, and the end of a session or mapping, is going to touch, as far as it can be foreseen: memory to be
//! asked for while there is other work.
//!
//! ```text
//! asked     the host's bucket, its mapping's bucket
//! guessed   the host's line, its mapping's line
//! foreseen  the port's cell, and the buckets of all that is found from outside
//! ```
//!
//! Which port that is can be told, because what is drawn follows from a key and a count: it is looked at before it is drawn.
//! An opening whose turn comes at that count need not draw again. All of it is a hint: where an earlier opening of the burst has
//! drawn more or less, has taken the port, or paired the host with another address, the opening chooses by itself, and waits for
//! its memory. What comes is the same, foreseen or not.

use std::ops::Range;

use flowtable::{LineIndex, LineValue as _, Place, SlotIndex};
use rules::compiled::{Dependence, PoolAddress, PoolRules};

use super::choice::Choice;
use super::pairing::any_address;
use super::{Holds, Mappings, Taken, outside_of, shares};
use crate::flow::{Endpoint, Flow, has_ports};
use crate::ports::{ANYWHERE, PortSpace, Purpose};
use crate::sessions::INBOUND;

/// What is known of an opening before its turn: at first nothing.
#[derive(Default)]
pub(crate) struct Foresight {
    host: Option<Place>,
    pub(super) mapping: Option<Place>,
    /// The lines that are probably the host's and the mapping's.
    pub(super) host_line: Option<LineIndex>,
    mapping_line: Option<LineIndex>,
    /// The port to be taken, where there is no mapping yet, and the random numbers that say which of the address'.
    port: Option<(PoolAddress, u16)>,
    drawn: Range<u64>,
    /// The flow of the answers, and where the session is found by the flow and by them.
    outside: Option<Flow>,
    session: [Place; 2],
    /// Where a mapping that is to be made is found by its port.
    alias: Option<Place>,
}

/// Where the mapping and the permission are that a session gives back.
pub(crate) struct AskedBack {
    mapping: Option<Place>,
    permission: Option<Place>,
}

/// Of what ends.
impl Mappings {
    /// Asks for what a session gives back.
    pub(crate) fn ask_taken(&self, taken: &Taken) -> AskedBack {
        let outside = &taken.outside;
        if taken.holds.contains(Holds::PORT)
            && let Some((space, port)) = self.state.place_of(outside)
        {
            space.prefetch_to_take(port);
        }
        let of_mapping = || {
            let (space, port) = self.state.place_of(outside)?;
            let table = self.mappings.table();
            Some(table.ask(table.place_of_alias(self.shard, space.alias(port))))
        };
        let of_permission = || {
            let table = self.permissions.table();
            table.ask(table.place(self.shard, &outside.permission_key()))
        };
        AskedBack {
            mapping: taken.holds.contains(Holds::MAPPING).then(of_mapping).flatten(),
            permission: taken.holds.contains(Holds::PERMISSION).then(of_permission),
        }
    }

    /// Guesses where that is, and asks for it.
    pub(crate) fn guess_taken(&self, asked: &AskedBack) {
        asked.mapping.map(|place| self.mappings.table().guess(place));
        asked.permission.map(|place| self.permissions.table().guess(place));
    }

    /// Asks for what the removal of mappings touches: their lines, then where these are found, the ports and the hosts.
    pub(super) fn foresee_removals(&self, due: &[SlotIndex]) {
        let table = self.mappings.table();
        due.iter().for_each(|slot| table.prefetch_line(table.line_of(*slot, 0)));
        for slot in due {
            let [internal, external] = self.keys(*slot);
            table.ask(table.place(self.shard, &internal));
            table.ask(table.place_of_alias(self.shard, self.mapping(*slot).alias(&internal)));
            let hosts = self.hosts.table();
            hosts.ask(hosts.place(self.shard, &internal.host_key(external.realm())));
            let (space, port) = self.port_of(*slot);
            space.prefetch_to_take(port);
        }
    }
}

/// Of what begins.
impl Mappings {
    /// Asks for the host and the mapping of a flow whose session is to be here.
    pub(crate) fn ask(&self, flow: &Flow, internal: Place, pool: &PoolRules) -> Foresight {
        let behaviour = pool.behaviour(flow.protocol(), flow.destination().port);
        let key = flow.mapping_key(behaviour.mapping, pool.realm);
        let (hosts, mappings) = (self.hosts.table(), self.mappings.table());
        let has_mapping = !shares(flow.protocol(), behaviour);
        let mapping = has_mapping.then(|| mappings.ask(mappings.place(self.shard, &key)));
        let host = hosts.ask(hosts.place(self.shard, &flow.host_key(pool.realm)));
        Foresight { host: Some(host), mapping, session: [internal, Place::default()], ..Foresight::default() }
    }

    /// Guesses where they are, and asks for that.
    pub(crate) fn guess(&self, foresight: &mut Foresight) {
        let Foresight { host, mapping, .. } = *foresight;
        foresight.mapping_line = mapping.and_then(|mapping| self.mappings.table().guess(mapping));
        foresight.host_line = host.and_then(|host| self.hosts.table().guess(host));
    }

    /// Which port is drawn, where the flow has no mapping yet. `drawn` counts the numbers that flows before this one are going
    /// to draw, and it.
    pub(crate) fn foresee(&self, flow: &Flow, pool: &PoolRules, foresight: &mut Foresight, drawn: &mut u32) {
        let behaviour = pool.behaviour(flow.protocol(), flow.destination().port);
        let by_mapping =
            foresight.mapping_line.and_then(|line| self.outside_by(line, flow, pool, behaviour.mapping));
        if by_mapping.is_some() {
            foresight.outside = by_mapping;
            return;
        }
        let purpose = if foresight.mapping.is_some() { Purpose::Mapping } else { Purpose::Session };
        let Some(address) = self.address_to_come(flow, pool, foresight.host_line, drawn) else { return };
        let position = |drawn| self.random.position() + u64::from(drawn);
        let from = position(*drawn);
        let choice = Choice { flow, pool, purpose, address };
        let port = choice.preserved().or_else(|| {
            choice.wanted(ANYWHERE).find_map(|wanted| wanted.drawn(|bound| self.look_ahead(drawn, bound)))
        });
        foresight.port = port.map(|port| (address, port));
        foresight.drawn = from..position(*drawn);
    }

    /// Asks for the port's cell. Of all memory that an opening touches it lies farthest apart, so that the processor has to find
    /// its page too: many at once, with nothing between them, are found side by side.
    pub(crate) fn ask_port(&self, flow: &Flow, foresight: &Foresight) {
        if let Some((address, port)) = foresight.port {
            self.space(flow, address).prefetch_to_take(port);
        }
    }

    /// Which port it is: where the drawn one is in use, the search goes on from there. And asks for all that is found from
    /// outside.
    pub(crate) fn see(&self, flow: &Flow, pool: &PoolRules, foresight: &mut Foresight) {
        if let Some((address, drawn)) = foresight.port {
            let space = self.space(flow, address);
            // Instead of one that is to be preserved there is any, not the next.
            let may_be_another = |port| !pool.preserve_port && pool.has_port(port);
            foresight.port = space.next_free(drawn, may_be_another).map(|port| (address, port));
            let Some((_, port)) = foresight.port else { return };
            foresight.outside =
                Some(outside_of(flow, Endpoint { address: address.address, port }, pool.realm));
            if foresight.mapping.is_some() {
                let table = self.mappings.table();
                foresight.alias = Some(table.ask(table.place_of_alias(self.shard, space.alias(port))));
            }
        } else if let Some(outside) = &foresight.outside
            && pool.behaviour(flow.protocol(), flow.destination().port).filtering
                == Dependence::AddressDependent
        {
            // The first session of a mapping keeps it there.
            let permissions = self.permissions.table();
            permissions.ask(permissions.place(self.shard, &outside.permission_key()));
        }
        let sessions = &self.state.parts.sessions;
        if let Some(outside) = &foresight.outside {
            foresight.session[INBOUND] = sessions.ask(sessions.place(self.shard, outside));
        }
    }

    /// Takes the port that was foreseen, if it is what the next numbers say and nobody has it.
    pub(super) fn take_foreseen(&mut self, choice: &Choice, foresight: &Foresight) -> Option<u16> {
        let Foresight { port, drawn, .. } = foresight;
        let (_, port) =
            port.filter(|(at, _)| *at == choice.address && drawn.start == self.random.position())?;
        let is_taken = self.take_this(choice, port);
        if is_taken {
            self.random.skip_to(drawn.end);
        }
        is_taken.then_some(port)
    }

    fn space(&self, flow: &Flow, address: PoolAddress) -> PortSpace<'_> {
        self.state.parts.ports.of(address.ports, flow.protocol())
    }

    /// By a mapping that is there.
    fn outside_by(
        &self,
        line: LineIndex,
        flow: &Flow,
        pool: &PoolRules,
        dependence: Dependence,
    ) -> Option<Flow> {
        let table = self.mappings.table();
        table.read_hinted(line, &flow.mapping_key(dependence, pool.realm), |_| ())?;
        let [_, external] = self.keys(table.slot_of(line));
        Some(outside_of(flow, external.destination(), pool.realm))
    }

    /// The address that the flow is to have, if a port of it is.
    fn address_to_come(
        &self,
        flow: &Flow,
        pool: &PoolRules,
        host: Option<LineIndex>,
        drawn: &mut u32,
    ) -> Option<PoolAddress> {
        if pool.blocks.is_some() || !has_ports(flow.protocol()) {
            return None;
        }
        let is_its = |line: &LineIndex| {
            self.hosts.table().read_hinted(*line, &flow.host_key(pool.realm), |_| ()).is_some()
        };
        let paired = host.filter(is_its).and_then(|line| self.paired(line, pool));
        paired.or_else(|| any_address(&self.state, self.shard, pool, |bound| self.look_ahead(drawn, bound)))
    }

    /// What is going to be drawn after so many numbers, and one more.
    fn look_ahead(&self, drawn: &mut u32, bound: u32) -> u32 {
        *drawn += 1;
        self.random.ahead(*drawn - 1, bound)
    }
}

impl Foresight {
    /// Where a session with this flow of answers is found, if that was foreseen.
    pub(crate) fn session(&self, outside: &Flow) -> Option<&[Place; 2]> {
        self.has(outside).then_some(&self.session)
    }

    /// Where a mapping that is made for this flow of answers is found by its port, if that was foreseen.
    pub(super) fn alias(&self, outside: &Flow) -> Option<&Place> {
        self.alias.as_ref().filter(|_| self.has(outside))
    }

    fn has(&self, outside: &Flow) -> bool {
        self.outside.as_ref() == Some(outside)
    }
}

#[cfg(test)]
mod tests {
    use packet::Protocol;
    use rules::compiled::Realm;

    use super::*;
    use crate::{Sizes, State};

    const PORTS: [&str; 2] = ["inside", "outside"];

    /// A pool of sixteen addresses, and what else its rules say.
    fn with_pool(more: &str, shard: impl FnOnce(&mut Mappings, &PoolRules, Realm)) {
        let rules = format!(
            "segments: [{{id: lan, port: inside}}, {{id: net, port: outside}}]
pools: [{{id: pool, addresses: [203.0.113.64/28], {more}}}]
routers:
- id: r
  interfaces:
  - {{id: in, segment: lan, mac: \"02:00:00:00:00:01\", addresses: [10.0.0.1/16]}}
  - {{id: out, segment: net, mac: \"02:00:00:00:00:02\", addresses: [203.0.113.2/24], external: true}}
  gateways: [{{interface: out, next_hop: 203.0.113.1, pool: pool}}]
"
        );
        let (state, mut shards) = State::anonymous(&Sizes::new(1_000, 1, 32), [1, 2, 3, 4]).unwrap();
        let valid = rules::validate(&rules::read_rules(&rules).unwrap(), &PORTS.map(str::to_owned)).unwrap();
        let mut numbers = state.numbers();
        let set = rules::compile(&valid, None, &mut numbers).unwrap();
        state.store(&numbers, set.generation);
        shard(&mut shards[0].mappings, &set.pools[0], set.routers[0].realm);
    }

    fn flow(realm: Realm, host: u8, protocol: Protocol, port: u16) -> Flow {
        let source = Endpoint { address: [10, 0, 0, host].into(), port };
        let destination = Endpoint { address: [198, 51, 100, 1].into(), port: 443 };
        Flow::new(realm, protocol, source, destination)
    }

    /// What is foreseen for each of a burst's flows.
    fn foresee(mappings: &Mappings, pool: &PoolRules, flows: &[Flow]) -> Vec<Foresight> {
        let mut drawn = 0;
        let foresee = |flow| {
            let place = mappings.state.parts.sessions.place(mappings.shard, flow);
            let mut foresight = mappings.ask(flow, place, pool);
            mappings.guess(&mut foresight);
            mappings.foresee(flow, pool, &mut foresight, &mut drawn);
            mappings.see(flow, pool, &mut foresight);
            foresight
        };
        flows.iter().map(foresee).collect()
    }

    #[test]
    fn what_is_foreseen_for_a_burst_is_what_comes() {
        for more in ["", "pairing: none", "preserve_port: true", "preserve_parity: true"] {
            with_pool(more, |mappings, pool, realm| {
                let mut right_of_known = 0;
                for burst in 0..20 {
                    // A new host, one that is known from the last burst, its mapping from there, sessions that share ports.
                    let flow = |at| {
                        let port = 5_000 + 16 * u16::from(burst) + at;
                        match at {
                            0 => flow(realm, 10 + burst, Protocol::UDP, 4_000),
                            1 => flow(realm, 9 + burst, Protocol::UDP, 4_000),
                            _ if at % 2 == 0 => flow(realm, 9 + burst, Protocol::UDP, port),
                            _ => flow(realm, 9 + burst, Protocol::TCP, port),
                        }
                    };
                    let flows: Vec<_> = (0..16).map(flow).collect();
                    let foreseen = foresee(mappings, pool, &flows);
                    let is_right = |(flow, foresight): (&Flow, &Foresight)| {
                        let come = mappings.acquire(flow, pool, foresight, 0).unwrap().outside;
                        foresight.outside == Some(come)
                    };
                    let right = flows.iter().zip(&foreseen).map(is_right).filter(|right| *right).count();
                    // A host that is new to several flows of a burst is foreseen for the first of them alone; and of two
                    // addresses that are used alike an earlier flow may tip the balance, where each flow chooses between two.
                    let is_tipped = more == "pairing: none";
                    assert!(right >= if burst == 0 || is_tipped { 1 } else { 12 }, "{more}: {right} of 16");
                    right_of_known += if burst == 0 { 0 } else { right };
                }
                assert!(right_of_known >= 19 * 12, "{more}: {right_of_known} of {}", 19 * 16);
            });
        }
    }

    #[test]
    fn what_comes_is_the_same_foreseen_or_not() {
        let few = "ports: 1020-1029";
        for more in ["", "pairing: none", "pairing: soft", "preserve_port: true", "preserve_parity: true"]
            .into_iter()
            .flat_map(|more| [more.to_owned(), format!("{few}, {more}")])
            .chain(["blocks: {ports: 64}".to_owned()])
        {
            let come = |is_foreseen: bool| {
                let mut all = Vec::new();
                with_pool(&more, |mappings, pool, realm| {
                    for burst in 0..16_u8 {
                        // Several hosts that are new in one burst, each with two flows; the same internal ports for all.
                        let flow = |at: u8| {
                            let protocol = if at % 4 < 3 { Protocol::UDP } else { Protocol::TCP };
                            flow(realm, burst * 4 + at / 3, protocol, 4_000 + u16::from(at % 5))
                        };
                        let flows: Vec<_> = (0..32).map(flow).collect();
                        let foreseen = foresee(mappings, pool, &flows);
                        for (flow, foresight) in flows.iter().zip(foreseen) {
                            let foresight = if is_foreseen { foresight } else { Foresight::default() };
                            // What was found ahead needs no probe, so that more are left.
                            mappings.state.probes(mappings.shard).refill();
                            let taken = mappings.acquire(flow, pool, &foresight, 0);
                            all.push(taken.map(|taken| taken.outside));
                        }
                    }
                });
                all
            };
            assert!(come(true) == come(false), "{more}");
        }
    }
}
