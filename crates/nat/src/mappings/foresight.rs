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
//! All of it is a hint. Where a guess is wrong, as when an earlier flow of the burst takes more than its one number, the
//! opening waits for its memory, and is the same.

use flowtable::{LineIndex, LineValue as _, Place, SlotIndex};
use rules::compiled::{Dependence, PoolRules};

use super::choice::Choice;
use super::pairing::any_address;
use super::{Holds, Mappings, Taken, outside_of, shares};
use crate::flow::{Endpoint, Flow};
use crate::ports::{ANYWHERE, Purpose};

/// The host of a flow and the mapping that it would have, where it would have one.
pub(crate) struct Asked {
    places: (Place, Option<Place>),
    lines: (Option<LineIndex>, Option<LineIndex>),
}

/// What a flow's session and mapping are going to need from outside.
pub(crate) struct Foreseen {
    /// The flow of the answers.
    outside: Flow,
    /// The port space of which a port is taken, where the mapping is not there yet.
    space: Option<usize>,
    asks_mapping: bool,
    asks_permission: bool,
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
            Some(self.mappings.table().ask_alias(self.shard, space.alias(port)))
        };
        let of_permission = || self.permissions.table().ask(self.shard, &outside.permission_key());
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
            table.ask(self.shard, &internal);
            table.ask_alias(self.shard, self.mapping(*slot).alias(&internal));
            self.hosts.table().ask(self.shard, &internal.host_key(external.realm()));
            let (space, port) = self.port_of(*slot);
            space.prefetch_to_take(port);
        }
    }
}

/// Of what begins.
impl Mappings {
    /// Asks for the host and the mapping of a flow.
    pub(crate) fn ask(&self, flow: &Flow, pool: &PoolRules) -> Asked {
        let behaviour = pool.behaviour(flow.protocol(), flow.destination().port);
        let key = flow.mapping_key(behaviour.mapping, pool.realm);
        let mapping =
            (!shares(flow.protocol(), behaviour)).then(|| self.mappings.table().ask(self.shard, &key));
        let host = self.hosts.table().ask(self.shard, &flow.host_key(pool.realm));
        Asked { places: (host, mapping), lines: (None, None) }
    }

    /// Guesses where they are, and asks for that.
    pub(crate) fn guess(&self, asked: &mut Asked) {
        let (host, mapping) = asked.places;
        let mapping = mapping.and_then(|mapping| self.mappings.table().guess(mapping));
        asked.lines = (self.hosts.table().guess(host), mapping);
    }

    /// What the flow's session and mapping are going to need from outside, as far as it can be told. `drawn` counts the numbers
    /// that flows before this one are going to draw, and it.
    pub(crate) fn foresee(
        &self,
        flow: &Flow,
        pool: &PoolRules,
        asked: &Asked,
        drawn: &mut u32,
    ) -> Option<Foreseen> {
        let (host, mapping) = asked.lines;
        let behaviour = pool.behaviour(flow.protocol(), flow.destination().port);
        let shares = shares(flow.protocol(), behaviour);
        let found = mapping.and_then(|line| self.outside_by(line, flow, pool, behaviour.mapping));
        let purpose = if shares { Purpose::Session } else { Purpose::Mapping };
        let (outside, space) = match found {
            Some(outside) => (outside, None),
            None => self.outside_to_come(flow, pool, purpose, host, drawn)?,
        };
        let asks_mapping = !shares && found.is_none();
        // The first session of a mapping keeps it there.
        let asks_permission =
            !shares && found.is_some() && behaviour.filtering == Dependence::AddressDependent;
        Some(Foreseen { outside, space, asks_mapping, asks_permission })
    }

    /// Asks for the port's cell. Of all memory that an opening touches it lies farthest apart, so that the processor has to find
    /// its page too: many at once, with nothing between them, are found side by side.
    pub(crate) fn ask_port(&self, foreseen: &Foreseen) {
        if let Some(space) = foreseen.space {
            self.state.parts.ports.at(space).prefetch_to_take(foreseen.outside.destination().port);
        }
    }

    /// Which port it is: where the drawn one is in use, the search goes on from there.
    pub(crate) fn see_port(&self, foreseen: &mut Foreseen) {
        let Some(space) = foreseen.space else { return };
        let Endpoint { address, port } = foreseen.outside.destination();
        if let Some(port) = self.state.parts.ports.at(space).next_free(port) {
            let realm = foreseen.outside.realm();
            foreseen.outside = foreseen.outside.with_destination(Endpoint { address, port }, realm);
        }
    }

    /// Asks for all else that is foreseen.
    pub(crate) fn ask_outside(&self, foreseen: &Foreseen) {
        let outside = &foreseen.outside;
        self.state.parts.sessions.ask(self.shard, outside);
        if let Some(space) = foreseen.space.filter(|_| foreseen.asks_mapping) {
            let space = self.state.parts.ports.at(space);
            self.mappings.table().ask_alias(self.shard, space.alias(outside.destination().port));
            self.prefetch_limit(space);
        }
        if foreseen.asks_permission {
            self.permissions.table().ask(self.shard, &outside.permission_key());
        }
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

    /// By the next port that is drawn.
    fn outside_to_come(
        &self,
        flow: &Flow,
        pool: &PoolRules,
        purpose: Purpose,
        host: Option<LineIndex>,
        drawn: &mut u32,
    ) -> Option<(Flow, Option<usize>)> {
        if pool.blocks.is_some() {
            return None;
        }
        let mut below = |bound| {
            *drawn += 1;
            self.random.ahead(*drawn - 1, bound)
        };
        let is_its = |line: &LineIndex| {
            self.hosts.table().read_hinted(*line, &flow.host_key(pool.realm), |_| ()).is_some()
        };
        let paired = host.filter(is_its).and_then(|line| self.paired(line, pool));
        let address = paired.or_else(|| any_address(&self.state, self.shard, pool, &mut below))?;
        let choice = Choice { flow, pool, purpose, address };
        let same = flow.source().port;
        let port = if pool.preserve_port && pool.has_port(same) {
            same
        } else {
            choice.wanted(ANYWHERE).find_map(|wanted| wanted.drawn(&mut below))?
        };
        let space = self.state.parts.ports.of(address.ports, flow.protocol());
        Some((choice.outside(port), Some(space.number())))
    }
}

#[cfg(test)]
mod tests {
    use packet::Protocol;

    use super::*;
    use crate::{Sizes, State};

    const PORTS: [&str; 2] = ["inside", "outside"];

    fn rules(pool: &str) -> String {
        format!(
            "segments: [{{id: lan, port: inside}}, {{id: net, port: outside}}]
pools: [{{id: pool, addresses: [203.0.113.64/28], {pool}}}]
routers:
- id: r
  interfaces:
  - {{id: in, segment: lan, mac: \"02:00:00:00:00:01\", addresses: [10.0.0.1/16]}}
  - {{id: out, segment: net, mac: \"02:00:00:00:00:02\", addresses: [203.0.113.2/24], external: true}}
  gateways: [{{interface: out, next_hop: 203.0.113.1, pool: pool}}]
"
        )
    }

    #[test]
    fn what_is_foreseen_for_a_burst_is_what_comes() {
        for more in ["", "pairing: none", "preserve_port: true", "preserve_parity: true"] {
            let sizes = Sizes::new(1_000, 1, 32);
            let (state, mut shards) = State::anonymous(&sizes, [1, 2, 3, 4]).unwrap();
            let valid = rules::validate(&rules::read_rules(&rules(more)).unwrap(), &PORTS.map(str::to_owned))
                .unwrap();
            let mut numbers = state.numbers();
            let set = rules::compile(&valid, None, &mut numbers).unwrap();
            state.store(&numbers, set.generation);
            let (mappings, realm) = (&mut shards[0].mappings, set.routers[0].realm);
            let flow = |host: u8, protocol, port| {
                let source = Endpoint { address: [10, 0, 0, host].into(), port };
                let destination = Endpoint { address: [198, 51, 100, 1].into(), port: 443 };
                Flow::new(realm, protocol, source, destination)
            };
            let mut right_of_known = 0;
            for burst in 0..20 {
                // A new host, one that is known from the last burst, its mapping from there, sessions that share ports.
                let flows: Vec<_> = (0..16)
                    .map(|at| match at {
                        0 => flow(10 + burst, Protocol::UDP, 4_000),
                        1 => flow(9 + burst, Protocol::UDP, 4_000),
                        _ if at % 2 == 0 => {
                            flow(9 + burst, Protocol::UDP, 5_000 + 16 * u16::from(burst) + at)
                        }
                        _ => flow(9 + burst, Protocol::TCP, 5_000 + 16 * u16::from(burst) + at),
                    })
                    .collect();
                let pool = &set.pools[0];
                let mut drawn = 0;
                let foreseen: Vec<_> = flows
                    .iter()
                    .map(|flow| {
                        let mut asked = mappings.ask(flow, pool);
                        mappings.guess(&mut asked);
                        let mut foreseen = mappings.foresee(flow, pool, &asked, &mut drawn)?;
                        mappings.see_port(&mut foreseen);
                        Some(foreseen.outside)
                    })
                    .collect();
                let come: Vec<_> =
                    flows.iter().map(|flow| Some(mappings.acquire(flow, pool, 0).unwrap().outside)).collect();
                let right = foreseen.iter().zip(&come).filter(|(foreseen, come)| foreseen == come).count();
                // A host that is new to several flows of a burst is foreseen for the first of them alone; and of two addresses
                // that are used alike an earlier flow may tip the balance, where each flow chooses between two.
                let is_tipped = more == "pairing: none";
                assert!(
                    right >= if burst == 0 || is_tipped { 1 } else { 12 },
                    "{more}: {right} of 16 {foreseen:?} {come:?}"
                );
                right_of_known += if burst == 0 { 0 } else { right };
            }
            assert!(right_of_known >= 19 * 12, "{more}: {right_of_known} of {}", 19 * 16);
        }
    }
}
