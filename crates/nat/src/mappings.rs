//! Who has which external endpoint: hosts paired with an address, mappings with a port, permissions for remotes.
//!
//! ```text
//! host        (realm, internal address, external network)     -> external address     while it has a session or mapping
//! mapping     (internal endpoint, masked remote) <-> external endpoint                while it has a session, then rests
//! permission  (remote address, external endpoint)             -> may come in          while a session leads there
//! guest       (mapping)                                       -> remote address       while its session lives: one permission
//! block       (host, protocol, ordinal) <-> (external address, ports)                 while one of its ports is used
//! ```
//!
//! All behaviours are one. A mapping's key holds as much of the remote as the mapping depends on (RFC 4787 section 4.1);
//! its external endpoint is its own, whatever the remote, and finds it too, as the alias of its line. A filter lets in whom the
//! mapping's sessions have spoken to, as far as it depends on the remote (section 5):
//!
//! ```text
//! mapping   endpoint-independent        key: internal endpoint                     one external endpoint for all remotes
//!           address-dependent           key: internal endpoint, remote address     one for each remote address
//!           address-and-port-dependent  key: internal endpoint, remote endpoint    one for each remote endpoint
//! filtering endpoint-independent        anyone comes in                            no permission is asked for
//!           address-dependent           permission: remote address
//!           address-and-port-dependent  the session itself is the permission
//! ```
//!
//! Where both depend on the whole remote endpoint, no two sessions have a mapping in common and nobody else comes in by it:
//! the session is the mapping. It *shares* a port, which may serve other sessions towards other remotes (RFC 7857 section 3).
//! Protocols without ports are mapped like that: what they share is a number made of their remote, so that each has at most
//! one host behind one external address.
//!
//! What a remote sends gives nobody more than the host inside has given: a session that came from outside opens the mapping
//! for others, and permits its remote's address, from when that host has sent by it.
//!
//! A mapping without sessions keeps its port through the hold-down (RFC 6888 REQ-8), its slot in the table being the only
//! note of it; meanwhile only its own internal endpoint can have it back.
//!
//! A mapping has a number of its own, by which its sessions and permissions know it. Rules may take an endpoint away and give
//! it back: the next mapping has the same endpoints then, and what is left of the one before is none of its.
//!
//! All are their shard's owner's to write; anybody may ask whether a mapping still is somebody's.

mod blocks;
mod choice;
mod foresight;
mod pairing;
mod records;
mod rests;

use std::net::Ipv4Addr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use flowtable::{Owner, SWEEP_DUE_MAX, ShardIndex, SlotIndex};
use packet::Protocol;
use rules::compiled::{Behaviour, Dependence, PoolRules, Realm};

use crate::flow::{Endpoint, Flow, has_ports};
use crate::ports::{PortSpace, Purpose};
use crate::random::Random;
use crate::state::{Intent, State};
use crate::{DropReason, time};

pub(crate) use foresight::Foresight;
pub(crate) use records::{Block, ExternalPort, Holds, Host, Mapping, Permission};
use rests::Rests;

/// Where a mapping without a hold-down deadline stands until its sessions end.
const NEVER_MS: u32 = 1 << 30;

/// One shard's owner's part. See the file's page.
pub(crate) struct Mappings {
    pub(crate) hosts: Owner<Flow, Host, 1>,
    pub(crate) mappings: Owner<Flow, Mapping, 1>,
    pub(crate) permissions: Owner<Flow, Permission, 1>,
    pub(crate) blocks: Owner<Flow, Block, 1>,
    state: Arc<State>,
    shard: ShardIndex,
    random: Random,
    rests: Rests,
    sweep: time::Sweep,
}

/// The external side of a session, and what it holds for that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// The flow of the answers.
    pub(crate) outside: Flow,
    pub(crate) holds: Holds,
    /// The number of the mapping, where it holds one.
    pub(crate) mapping: u32,
    /// The host inside has sent by it.
    pub(crate) spoken: bool,
}

impl Mappings {
    pub(crate) fn new(state: &Arc<State>, shard: ShardIndex, random: Random) -> Self {
        let quiescence = &state.in_process.quiescence;
        Self {
            hosts: state.parts.hosts.owner(shard, quiescence),
            mappings: state.parts.mappings.owner(shard, quiescence),
            permissions: state.parts.permissions.owner(shard, quiescence),
            blocks: state.parts.blocks.owner(shard, quiescence),
            state: Arc::clone(state),
            shard,
            random,
            rests: Rests::new(state.spaces()),
            sweep: time::Sweep::default(),
        }
    }

    /// What the shard is at.
    pub(crate) fn intent(&self) -> &Intent {
        self.state.parts.intents.get(usize::from(self.shard.0))
    }

    /// An external endpoint for a new session of `flow`, which is in the internal realm; given back by
    /// [`release`](Self::release). Leaves the shard's intent set: the session is to be inserted yet, and then
    /// [`settle`](Self::settle) is due.
    pub(crate) fn acquire(
        &mut self,
        flow: &Flow,
        pool: &PoolRules,
        foresight: &Foresight,
        now_ms: u32,
    ) -> Result<Taken, DropReason> {
        let behaviour = pool.behaviour(flow.protocol(), flow.destination().port);
        if shares(flow.protocol(), behaviour) {
            self.begin(flow);
            let (outside, _) = self.choose(flow, pool, Purpose::Session, foresight)?;
            return Ok(Taken { outside, holds: Holds::PORT, mapping: 0, spoken: true });
        }
        let (slot, outside) = self.mapping_for(flow, pool, behaviour.mapping, foresight, now_ms)?;
        let taken = self.join(slot, outside, behaviour.filtering, true)?;
        if taken.holds.contains(Holds::PERMISSION)
            && let Err(reason) = self.permit(&taken, now_ms)
        {
            self.release(flow, &taken, now_ms);
            return Err(reason);
        }
        Ok(taken)
    }

    /// The same by a mapping that [`admit`](Self::admit) has found, for a session that comes from outside.
    pub(crate) fn acquire_by(
        &mut self,
        slot: SlotIndex,
        flow: &Flow,
        pool: &PoolRules,
    ) -> Result<Taken, DropReason> {
        // What stood in the session's way may have been the mapping's last session, and the mapping have ended with it.
        if !self.mappings.is_live(slot) {
            return Err(DropReason::NoMapping);
        }
        let behaviour = pool.behaviour(flow.protocol(), flow.destination().port);
        let [_, external] = self.keys(slot);
        let outside = flow.with_source(external.destination(), external.realm()).reversed();
        self.intent().begin(flow, &outside);
        self.wake(slot);
        self.join(slot, outside, behaviour.filtering, false)
    }

    /// The host inside has sent by a session: its remote is let in, as far as the filter asks, and the mapping goes on.
    pub(crate) fn speak(&mut self, taken: &Taken, now_ms: u32) -> Result<(), DropReason> {
        let Some(slot) = self.state.mapping_of(self.shard, taken) else { return Ok(()) };
        if taken.holds.contains(Holds::PERMISSION) {
            self.permit(taken, now_ms)?;
        }
        self.mapping(slot).speak();
        Ok(())
    }

    /// The session has been inserted, or is not going to be.
    pub(crate) fn settle(&mut self, taken: &Taken) {
        if taken.holds.contains(Holds::PORT)
            && let Some((space, port)) = self.state.place_of(&taken.outside)
        {
            space.unlock(port);
        }
    }

    /// Gives back what a session of `flow` holds. The shard's intent is the caller's.
    pub(crate) fn release(&mut self, flow: &Flow, taken: &Taken, now_ms: u32) {
        if taken.spoken && taken.holds.contains(Holds::PERMISSION) {
            self.forbid(taken.outside.permission_key(), taken.mapping);
        }
        // Where it has gone, it was counted no more.
        if let Some(slot) = self.state.mapping_of(self.shard, taken) {
            if taken.holds.contains(Holds::GUEST) {
                self.mapping(slot).set_guest(Ipv4Addr::UNSPECIFIED);
            }
            if self.mapping(slot).leave(taken.spoken) {
                self.rest(slot, now_ms);
            }
        }
        if taken.holds.contains(Holds::PORT) {
            self.give_back(flow, &taken.outside);
        }
    }

    /// The mapping by which `flow` from outside may come in, and whom it is meant for: there is one for its destination,
    /// and the filter lets its source in.
    pub(crate) fn admit(
        &self,
        flow: &Flow,
        filtering: impl FnOnce(&Flow) -> Option<Dependence>,
    ) -> Result<(SlotIndex, Flow), DropReason> {
        let slot = self.state.mapping_to(self.shard, flow).ok_or(DropReason::NoMapping)?;
        //= rfc7857#7
        if !self.mapping(slot).has_spoken() {
            return Err(DropReason::NoMapping);
        }
        let [internal, _] = self.keys(slot);
        let inside = flow.with_destination(internal.source(), internal.realm()).reversed();
        //= rfc4787#REQ-8
        //= rfc5382#REQ-3
        //= rfc6888#REQ-7
        match filtering(&inside).ok_or(DropReason::NoMapping)? {
            Dependence::EndpointIndependent => Ok((slot, inside)),
            Dependence::AddressDependent if self.is_let_in(flow, slot) => Ok((slot, inside)),
            Dependence::AddressDependent => Err(DropReason::Filtered),
            Dependence::AddressAndPortDependent => Err(DropReason::Filtered),
        }
    }

    /// Ends hold-downs that are over, and frees what every worker has let go of. Returns how many were due.
    pub(crate) fn expire(&mut self, now_ms: u32) -> usize {
        let mut due = ArrayVec::<SlotIndex, SWEEP_DUE_MAX>::new();
        let slots = self.sweep.slots(now_ms, self.mappings.table().slots_per_shard());
        self.mappings.sweep(now_ms, slots, &mut due);
        self.foresee_removals(&due);
        for slot in &due {
            let slot = *slot;
            if self.mapping(slot).sessions() > 0 {
                self.mappings.set_deadline(slot, now_ms.wrapping_add(NEVER_MS));
            } else {
                self.remove_mapping(slot);
                self.intent().clear();
            }
        }
        self.hosts.reclaim();
        self.mappings.reclaim();
        self.permissions.reclaim();
        self.blocks.reclaim();
        due.len()
    }

    /// The mapping of a flow, as far as it depends on the remote, found or made.
    fn mapping_for(
        &mut self,
        flow: &Flow,
        pool: &PoolRules,
        dependence: Dependence,
        foresight: &Foresight,
        now_ms: u32,
    ) -> Result<(SlotIndex, Flow), DropReason> {
        //= rfc4787#REQ-1
        //= rfc5382#REQ-1
        //= rfc7857#5
        let key = flow.mapping_key(dependence, pool.realm);
        let mut found = match foresight.mapping {
            Some(place) => self.mappings.look_up_at(key, place),
            None => self.mappings.look_up(key),
        };
        if let Ok(line) = found {
            let slot = self.mappings.table().slot_of(line);
            let [_, external] = self.keys(slot);
            if external.realm() == pool.realm && pool.has(external.destination(), flow.protocol()) {
                let outside = flow.with_source(external.destination(), pool.realm).reversed();
                self.intent().begin(flow, &outside);
                self.wake(slot);
                return Ok((slot, outside));
            }
            // The rules have moved on: its sessions are closed on their next packet, and find it gone.
            self.remove_mapping(slot);
            found = self.mappings.look_up(key);
        }
        // Found again it would be there twice, which damage alone can make.
        let Err(vacant) = found else { return Err(DropReason::MappingTableFull) };
        self.begin(flow);
        let (outside, address) = self.choose(flow, pool, Purpose::Mapping, foresight)?;
        let number = self.intent().number();
        let inserted = self.mappings.insert_vacant_at(
            vacant,
            foresight.alias(&outside),
            now_ms.wrapping_add(NEVER_MS),
            |[mapping]| mapping.begin(address, outside.destination().port, number),
        );
        match inserted {
            Ok(slot) => Ok((slot, outside)),
            Err(_) => {
                self.give_back(flow, &outside);
                Err(DropReason::MappingTableFull)
            }
        }
    }

    /// Whether a session of the mapping lets in the remote address.
    fn is_let_in(&self, flow: &Flow, slot: SlotIndex) -> bool {
        let (mapping, permissions) = (self.mapping(slot), self.permissions.table());
        mapping.guest() == Some(flow.source().address)
            || permissions
                .find(self.shard, &flow.permission_key())
                .is_some_and(|line| permissions.value(line).mapping.get() == mapping.number())
    }

    /// One more session of a mapping that does not rest; of one by which the host inside has sent, a permission is due.
    fn join(
        &mut self,
        slot: SlotIndex,
        outside: Flow,
        filtering: Dependence,
        spoken: bool,
    ) -> Result<Taken, DropReason> {
        let mapping = self.mapping(slot);
        if !mapping.join(spoken) {
            return Err(DropReason::MappingTableFull);
        }
        let permission = match filtering {
            // Mostly a mapping's first session is its only one, and needs no permission beside it.
            Dependence::AddressDependent if spoken && mapping.guest().is_none() => {
                mapping.set_guest(outside.source().address);
                Holds::GUEST
            }
            Dependence::AddressDependent => Holds::PERMISSION,
            _ => Holds::empty(),
        };
        Ok(Taken { outside, holds: Holds::MAPPING | permission, mapping: mapping.number(), spoken })
    }

    pub(crate) fn mapping(&self, slot: SlotIndex) -> &Mapping {
        let table = self.mappings.table();
        table.value(table.line_of(slot, 0))
    }

    /// What a mapping is between: its internal endpoint as a source, which is its key, and its external one as a destination.
    pub(crate) fn keys(&self, slot: SlotIndex) -> [Flow; 2] {
        let table = self.mappings.table();
        let internal = table.key(table.line_of(slot, 0));
        [internal, self.state.flow_to(internal.protocol(), self.mapping(slot).external())]
    }

    /// A mapping's port.
    fn port_of(&self, slot: SlotIndex) -> (PortSpace<'_>, u16) {
        let table = self.mappings.table();
        let protocol = table.key(table.line_of(slot, 0)).protocol();
        let external = self.mapping(slot).external();
        (self.state.parts.ports.of(external.address(), protocol), external.port())
    }

    /// Removes a mapping and gives its port back. Leaves the shard's intent set.
    pub(crate) fn remove_mapping(&mut self, slot: SlotIndex) {
        let [internal, external] = self.keys(slot);
        self.intent().begin(&internal, &external);
        self.unqueue(slot);
        self.mappings.remove(slot);
        self.give_back(&internal, &external);
    }

    /// Announces that something is about to be taken for a session of `flow`, its external endpoint not known yet.
    fn begin(&self, flow: &Flow) {
        self.intent().begin(flow, flow);
    }

    /// Gives back a port, or a use of it, with what the host needs for it.
    fn give_back(&mut self, flow: &Flow, outside: &Flow) {
        if let Some((space, port)) = self.state.place_of(outside) {
            space.give_back(self.shard, port);
            self.use_block_less(flow, outside);
        }
        self.unpair(flow, outside.realm());
    }

    /// One more session needs its remote's permission.
    pub(crate) fn permit(&mut self, taken: &Taken, now_ms: u32) -> Result<(), DropReason> {
        let vacant = match self.permissions.look_up(taken.outside.permission_key()) {
            Ok(line) => {
                let permission = self.permissions.table().value(line);
                let before =
                    if permission.mapping.get() == taken.mapping { permission.sessions.get() } else { 0 };
                permission.mapping.set(taken.mapping);
                permission.sessions.set(before.saturating_add(1));
                return Ok(());
            }
            Err(vacant) => vacant,
        };
        let inserted = self.permissions.insert_vacant(vacant, now_ms, |[permission]| {
            permission.mapping.set(taken.mapping);
            permission.sessions.set(1);
        });
        inserted.map(|_| ()).map_err(|_| DropReason::MappingTableFull)
    }

    fn forbid(&mut self, key: Flow, mapping: u32) {
        let table = self.permissions.table();
        if let Some(line) = table.find(self.shard, &key)
            && table.value(line).mapping.get() == mapping
            && table.value(line).sessions.decrement() == 0
        {
            let slot = table.slot_of(line);
            self.permissions.remove(slot);
        }
    }
}

/// What anybody may ask.
impl State {
    /// Whether a session still has its external endpoint. One without a mapping has its own; others have their mapping's,
    /// which is given to the next who asks when the rules have taken it from under them.
    pub(crate) fn owns_endpoint(&self, session: SlotIndex) -> bool {
        let (shard, taken) = (self.parts.sessions.shard_of(session), self.taken(session));
        !taken.holds.contains(Holds::MAPPING) || self.mapping_of(shard, &taken).is_some()
    }

    /// A session's mapping, if it has one and that is still there.
    pub(crate) fn mapping_of(&self, shard: ShardIndex, taken: &Taken) -> Option<SlotIndex> {
        if !taken.holds.contains(Holds::MAPPING) {
            return None;
        }
        let (mappings, slot) = (&self.parts.mappings, self.mapping_to(shard, &taken.outside)?);
        let found = mappings.value(mappings.line_of(slot, 0)).number();
        (found == taken.mapping).then_some(slot)
    }

    /// The shard's mapping whose external endpoint `outside` goes to.
    fn mapping_to(&self, shard: ShardIndex, outside: &Flow) -> Option<SlotIndex> {
        let (space, port) = self.place_of(outside)?;
        let line = self.parts.mappings.find_alias(shard, space.alias(port))?;
        Some(self.parts.mappings.slot_of(line))
    }

    /// A flow from nowhere to a port of an external address. Of an address that has no ports: to nowhere.
    pub(crate) fn flow_to(&self, protocol: Protocol, external: &ExternalPort) -> Flow {
        let nowhere = (Realm(0), Ipv4Addr::UNSPECIFIED);
        let (realm, address) = self.parts.addresses.at(external.address()).unwrap_or(nowhere);
        let source = Endpoint { address: Ipv4Addr::UNSPECIFIED, port: 0 };
        Flow::new(realm, protocol, source, Endpoint { address, port: external.port() })
    }

    /// Where the port of an external endpoint is kept, as long as its address has ports. `outside` is a flow to it: where the
    /// protocol has no ports, its remote tells which number stands for one.
    pub(crate) fn place_of(&self, outside: &Flow) -> Option<(PortSpace<'_>, u16)> {
        let address = self.parts.addresses.find(outside.realm(), outside.destination().address)?;
        Some((self.parts.ports.of(address, outside.protocol()), self.number_of(outside)))
    }
}

/// Whether a session of such a flow is its own mapping, and shares a port.
fn shares(protocol: Protocol, behaviour: Behaviour) -> bool {
    let whole = Dependence::AddressAndPortDependent;
    !has_ports(protocol) || behaviour == Behaviour { mapping: whole, filtering: whole }
}

/// What a pool tells of an endpoint.
pub(crate) trait PoolPorts {
    /// Whether the pool has this address, and the port where the protocol has ports.
    fn has(&self, endpoint: Endpoint, protocol: Protocol) -> bool;
}

impl PoolPorts for PoolRules {
    fn has(&self, endpoint: Endpoint, protocol: Protocol) -> bool {
        self.find(endpoint.address).is_some() && (!has_ports(protocol) || self.has_port(endpoint.port))
    }
}

/// An external network's answers to `flow`, if `endpoint` stands for its source there.
fn outside_of(flow: &Flow, endpoint: Endpoint, realm: Realm) -> Flow {
    flow.with_source(endpoint, realm).reversed()
}
