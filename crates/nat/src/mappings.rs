//! Who has which external endpoint: hosts paired with an address, mappings with a port, permissions for remotes.
//!
//! ```text
//! host        (realm, internal address)                     -> external address      while it has a session or mapping
//! mapping     (realm, internal endpoint) <-> external endpoint                       while it has a session, then rests
//! permission  (remote address, external endpoint)           -> may come in           while a session leads there
//! ```
//!
//! UDP and ICMP queries are mapped endpoint-independently (RFC 4787 REQ-1): one mapping for all remotes, and a permission
//! for each remote address (address-dependent filtering, REQ-8). TCP takes a port per session, shared towards different
//! remotes. A mapping without sessions keeps its port through the hold-down (RFC 6888 REQ-8), its slot in the table
//! being the only note of it; meanwhile only its own internal endpoint can have it back.
//!
//! All three are their shard's owner's to write; anybody may ask whether a mapping still is somebody's.

mod records;

use std::net::Ipv4Addr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use flowtable::{LineIndex, Owner, SWEEP_DUE_MAX, ShardIndex, SlotIndex};
use packet::Protocol;
use rules::compiled::{PoolAddress, PoolRules, Realm};

use crate::flow::{Endpoint, Flow};
use crate::ports::PortRange;
use crate::random::Random;
use crate::state::{Intent, State};
use crate::{DropReason, time};

pub(crate) use records::{Host, Mapping, Permission};

/// How many keyed-random addresses of a pool a new host chooses between: the less used one is taken.
const ADDRESS_CHOICES: usize = 2;

/// Where a mapping without a hold-down deadline stands until its sessions end.
const NEVER_MS: u32 = 1 << 30;

/// One shard's owner's part. See the file's page.
pub(crate) struct Mappings {
    pub(crate) hosts: Owner<Flow, Host, 1>,
    pub(crate) mappings: Owner<Flow, Mapping, 2>,
    pub(crate) permissions: Owner<Flow, Permission, 1>,
    state: Arc<State>,
    shard: ShardIndex,
    random: Random,
    sweep: time::Sweep,
}

/// Which line of a mapping's slot: found from inside, or from outside.
const INTERNAL: usize = 0;
const EXTERNAL: usize = 1;

impl Mappings {
    pub(crate) fn new(state: &Arc<State>, shard: ShardIndex, random: Random) -> Self {
        let quiescence = &state.in_process.quiescence;
        Self {
            hosts: state.parts.hosts.owner(shard, quiescence),
            mappings: state.parts.mappings.owner(shard, quiescence),
            permissions: state.parts.permissions.owner(shard, quiescence),
            state: Arc::clone(state),
            shard,
            random,
            sweep: time::Sweep::default(),
        }
    }

    /// What the shard is at.
    pub(crate) fn intent(&self) -> &Intent {
        self.state.parts.intents.get(usize::from(self.shard.0))
    }

    /// An external endpoint for a new session of `flow`, which is in the internal realm; given back by
    /// [`release`](Self::release). `clash` tells whether a TCP endpoint is taken towards this remote. Leaves the shard's
    /// intent set: the session is to be inserted yet.
    pub(crate) fn acquire(
        &mut self,
        flow: &Flow,
        pool: &PoolRules,
        now_ms: u32,
        clash: impl Fn(Endpoint) -> bool,
    ) -> Result<Endpoint, DropReason> {
        if flow.protocol() == Protocol::TCP {
            return self.acquire_port(flow, pool, clash);
        }
        let external = self.acquire_mapping(flow, pool, now_ms)?;
        if let Err(reason) = self.permit(permission_key(flow, external, pool.realm), now_ms) {
            self.release_mapping(flow, external, pool.realm, now_ms);
            return Err(reason);
        }
        Ok(external)
    }

    /// Ends what [`acquire`](Self::acquire) began for a session of `flow`. The shard's intent is the caller's.
    pub(crate) fn release(&mut self, flow: &Flow, external: Endpoint, realm: Realm, now_ms: u32) {
        if flow.protocol() == Protocol::TCP {
            self.give_back(flow.protocol(), external, realm);
            self.unpair(flow);
            return;
        }
        self.forbid(permission_key(flow, external, realm));
        self.release_mapping(flow, external, realm, now_ms);
    }

    /// The internal endpoint, with its realm, that `flow` from outside is meant for, if there is a mapping for its
    /// destination and its host has spoken to this source.
    pub(crate) fn admit(&self, flow: &Flow) -> Result<Flow, DropReason> {
        let table = self.mappings.table();
        let line = table.find(self.shard, &flow.destination_key()).ok_or(DropReason::NoMapping)?;
        let internal = table.line_of(table.slot_of(line), INTERNAL);
        if table.value(internal).sessions.get() == 0 {
            return Err(DropReason::NoMapping);
        }
        let permissions = self.permissions.table();
        permissions.find(self.shard, &flow.permission_key()).ok_or(DropReason::Filtered)?;
        Ok(table.key(internal))
    }

    /// Ends hold-downs that are over, and frees what every worker has let go of.
    pub(crate) fn expire(&mut self, now_ms: u32) {
        let mut due = ArrayVec::<SlotIndex, SWEEP_DUE_MAX>::new();
        let slots = self.sweep.slots(now_ms, self.mappings.table().slots_per_shard());
        self.mappings.sweep(now_ms, slots, &mut due);
        for slot in due {
            if self.mapping(slot).sessions.get() > 0 {
                self.mappings.set_deadline(slot, now_ms.wrapping_add(NEVER_MS));
            } else {
                self.remove_mapping(slot);
                self.intent().clear();
            }
        }
        self.hosts.reclaim();
        self.mappings.reclaim();
        self.permissions.reclaim();
    }

    fn acquire_port(
        &mut self,
        flow: &Flow,
        pool: &PoolRules,
        clash: impl Fn(Endpoint) -> bool,
    ) -> Result<Endpoint, DropReason> {
        self.begin(flow);
        let address = self.pair(flow, pool)?;
        let Self { state, shard, random, .. } = self;
        let intent = state.parts.intents.get(usize::from(shard.0));
        let ports = state.parts.ports.of(address.ports, flow.protocol());
        let at = |port| Endpoint { address: address.address, port };
        let announce = |port| intent.aim_at(flow, at(port), pool.realm);
        let range = range(pool);
        let port = ports
            .take(*shard, range, random, announce)
            .or_else(|| ports.share(*shard, range, random, announce, |port| clash(at(port))));
        port.map(at).ok_or_else(|| {
            self.unpair(flow);
            DropReason::PortExhausted
        })
    }

    fn acquire_mapping(
        &mut self,
        flow: &Flow,
        pool: &PoolRules,
        now_ms: u32,
    ) -> Result<Endpoint, DropReason> {
        let table = self.mappings.table();
        if let Some(line) = table.find(self.shard, &flow.source_key()) {
            let slot = table.slot_of(line);
            let external_key = table.key(table.line_of(slot, EXTERNAL));
            let external = external_key.destination();
            if external_key.realm() == pool.realm && pool.holds(external) {
                self.intent().begin(flow, &flow.with_source(external, pool.realm).reversed());
                self.mapping(slot).sessions.increment();
                return Ok(external);
            }
            // The rules have moved on: its sessions are closed on their next packet, and find it gone.
            self.remove_mapping(slot);
        }
        self.begin(flow);
        let address = self.pair(flow, pool)?;
        let Self { state, shard, random, .. } = self;
        let intent = state.parts.intents.get(usize::from(shard.0));
        let at = |port| Endpoint { address: address.address, port };
        let ports = state.parts.ports.of(address.ports, flow.protocol());
        let announce = |port| intent.aim_at(flow, at(port), pool.realm);
        let Some(port) = ports.take(*shard, range(pool), random, announce) else {
            self.unpair(flow);
            return Err(DropReason::PortExhausted);
        };
        let keys = [flow.source_key(), flow.with_source(at(port), pool.realm).reversed().destination_key()];
        let inserted = self.mappings.insert(keys, now_ms.wrapping_add(NEVER_MS), |lines| {
            for mapping in lines {
                mapping.sessions.set(1);
                mapping.hold_down_ms.set(pool.hold_down_ms);
            }
        });
        if inserted.is_err() {
            ports.give_back(*shard, port);
            self.unpair(flow);
            return Err(DropReason::TableFull);
        }
        Ok(at(port))
    }

    fn release_mapping(&mut self, flow: &Flow, external: Endpoint, realm: Realm, now_ms: u32) {
        // A mapping of later rules is not this session's: its own is gone.
        let Some(line) = self.state.mapping_of(self.shard, flow, external, realm) else { return };
        let slot = self.mappings.table().slot_of(line);
        if self.mapping(slot).sessions.decrement() == 0 {
            self.rest(slot, now_ms);
        }
    }

    /// Begins the hold-down of a mapping.
    pub(crate) fn rest(&mut self, slot: SlotIndex, now_ms: u32) {
        let hold_down_ms = self.mapping(slot).hold_down_ms.get();
        self.mappings.set_deadline(slot, now_ms.wrapping_add(hold_down_ms));
    }

    pub(crate) fn mapping(&self, slot: SlotIndex) -> &Mapping {
        let table = self.mappings.table();
        table.value(table.line_of(slot, INTERNAL))
    }

    /// A mapping's keys: its internal endpoint as a source, its external one as a destination.
    pub(crate) fn keys(&self, slot: SlotIndex) -> [Flow; 2] {
        let table = self.mappings.table();
        [INTERNAL, EXTERNAL].map(|side| table.key(table.line_of(slot, side)))
    }

    /// Removes a mapping and gives its port back. Leaves the shard's intent set.
    pub(crate) fn remove_mapping(&mut self, slot: SlotIndex) {
        let [internal, external] = self.keys(slot);
        self.intent().begin(&internal, &external);
        self.mappings.remove(slot);
        self.give_back(internal.protocol(), external.destination(), external.realm());
        self.unpair(&internal);
    }

    /// Announces that something is about to be taken for a session of `flow`, its external endpoint not known yet.
    fn begin(&self, flow: &Flow) {
        self.intent().begin(flow, flow);
    }

    fn give_back(&self, protocol: Protocol, external: Endpoint, realm: Realm) {
        if let Some(address) = self.state.parts.addresses.find(realm, external.address) {
            self.state.parts.ports.of(address, protocol).give_back(self.shard, external.port);
        }
    }

    /// One more session needs the permission.
    pub(crate) fn permit(&mut self, key: Flow, now_ms: u32) -> Result<(), DropReason> {
        let table = self.permissions.table();
        if let Some(line) = table.find(self.shard, &key) {
            table.value(line).sessions.increment();
            return Ok(());
        }
        let inserted = self.permissions.insert([key], now_ms, |[permission]| permission.sessions.set(1));
        inserted.map(|_| ()).map_err(|_| DropReason::TableFull)
    }

    fn forbid(&mut self, key: Flow) {
        let table = self.permissions.table();
        if let Some(line) = table.find(self.shard, &key)
            && table.value(line).sessions.decrement() == 0
        {
            let slot = table.slot_of(line);
            self.permissions.remove(slot);
        }
    }

    /// The host's external address, and one more use of it (paired pooling, RFC 4787 REQ-2).
    fn pair(&mut self, flow: &Flow, pool: &PoolRules) -> Result<PoolAddress, DropReason> {
        let key = flow.host_key();
        let found = self.hosts.table().find(self.shard, &key);
        if let Some(line) = found {
            let host = self.hosts.table().value(line);
            let paired = pool.addresses.binary_search_by_key(&host.external(), |one| one.address);
            let address = match paired {
                Ok(index) => pool.addresses[index],
                // The pool has changed: new sessions go to an address it still has.
                Err(_) => self.choose_address(pool).ok_or(DropReason::PortExhausted)?,
            };
            let host = self.hosts.table().value(line);
            host.set_external(address.address);
            host.uses.increment();
            return Ok(address);
        }
        let address = self.choose_address(pool).ok_or(DropReason::PortExhausted)?;
        self.insert_host(key, address.address, 1).map(|()| address)
    }

    /// Pairs a host with an external address.
    pub(crate) fn insert_host(&mut self, key: Flow, address: Ipv4Addr, uses: u32) -> Result<(), DropReason> {
        let inserted = self.hosts.insert([key], 0, |[host]| {
            host.set_external(address);
            host.uses.set(uses);
        });
        inserted.map(|_| ()).map_err(|_| DropReason::TableFull)
    }

    fn unpair(&mut self, flow: &Flow) {
        let table = self.hosts.table();
        if let Some(line) = table.find(self.shard, &flow.host_key())
            && table.value(line).uses.decrement() == 0
        {
            let slot = table.slot_of(line);
            self.hosts.remove(slot);
        }
    }

    fn choose_address(&mut self, pool: &PoolRules) -> Option<PoolAddress> {
        let addresses = pool.addresses.len() as u32;
        if addresses == 0 {
            return None;
        }
        let choices: [_; ADDRESS_CHOICES] =
            std::array::from_fn(|_| pool.addresses[self.random.below(addresses) as usize]);
        choices.into_iter().min_by_key(|address| self.state.parts.ports.used(address.ports))
    }
}

/// What anybody may ask.
impl State {
    /// Whether a session of `flow` still has its external endpoint. A TCP session has its own; other sessions have their
    /// mapping's, which is given to the next who asks when the rules have taken it from under them.
    pub(crate) fn owns_endpoint(&self, flow: &Flow, external: Endpoint, realm: Realm) -> bool {
        let shard = || self.shard_of_host(flow.realm(), flow.source().address);
        flow.protocol() == Protocol::TCP || self.mapping_of(shard(), flow, external, realm).is_some()
    }

    /// The mapping of `flow`'s source endpoint, if it is to this external endpoint.
    pub(crate) fn mapping_of(
        &self,
        shard: ShardIndex,
        flow: &Flow,
        external: Endpoint,
        realm: Realm,
    ) -> Option<LineIndex> {
        let mappings = &self.parts.mappings;
        let line = mappings.find(shard, &flow.source_key())?;
        let key = mappings.key(mappings.line_of(mappings.slot_of(line), EXTERNAL));
        (key.destination() == external && key.realm() == realm).then_some(line)
    }
}

/// The key of the permission for a flow's remote to reach the flow's external endpoint.
pub(crate) fn permission_key(flow: &Flow, external: Endpoint, realm: Realm) -> Flow {
    flow.with_source(external, realm).reversed().permission_key()
}

fn range(pool: &PoolRules) -> PortRange {
    let (first, last) = (pool.ports.first(), pool.ports.last());
    PortRange { first: first.map_or(1, |run| run.first), last: last.map_or(1, |run| run.last) }
}

/// What a pool tells of an endpoint.
pub(crate) trait Holds {
    /// Whether the pool has this address and port.
    fn holds(&self, endpoint: Endpoint) -> bool;
}

impl Holds for PoolRules {
    fn holds(&self, endpoint: Endpoint) -> bool {
        self.addresses.binary_search_by_key(&endpoint.address, |one| one.address).is_ok()
            && self.has_port(endpoint.port)
    }
}
