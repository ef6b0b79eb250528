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

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use flowtable::{HashKey, LineIndex, SWEEP_DUE_MAX, SlotIndex, Table};
use hashbrown::HashMap;
use packet::Protocol;
use rules::RuleSet;
use rules::compiled::{PoolRules, Realm};

use crate::flow::{Endpoint, Flow};
use crate::ports::{PortSpace, SharedPortSpace};
use crate::random::Random;
use crate::{DropReason, time};

/// How many keyed-random addresses of a pool a new host chooses between: the less used one is taken.
const ADDRESS_CHOICES: usize = 2;

/// Where a mapping without a hold-down deadline stands until its sessions end.
const NEVER_MS: u32 = 1 << 30;

#[derive(Clone, Copy, Default)]
struct Host {
    external: [u8; 4],
    /// TCP sessions and mappings.
    uses: u32,
}

#[derive(Clone, Copy, Default)]
struct Mapping {
    sessions: u32,
    hold_down_ms: u32,
}

#[derive(Clone, Copy, Default)]
struct Permission {
    sessions: u32,
}

/// One external address's ports.
struct AddressPorts {
    tcp: SharedPortSpace,
    udp: PortSpace,
    icmp: PortSpace,
}

impl AddressPorts {
    fn new(first: u16, last: u16) -> Self {
        Self {
            tcp: SharedPortSpace::new(first, last),
            udp: PortSpace::new(first, last),
            icmp: PortSpace::new(first, last),
        }
    }

    fn set_range(&mut self, first: u16, last: u16) {
        self.tcp.set_range(first, last);
        self.udp.set_range(first, last);
        self.icmp.set_range(first, last);
    }

    fn used(&self) -> u32 {
        self.tcp.used() + self.udp.used() + self.icmp.used()
    }

    fn whole(&mut self, protocol: Protocol) -> &mut PortSpace {
        if protocol == Protocol::UDP { &mut self.udp } else { &mut self.icmp }
    }
}

/// See the module's page.
pub(crate) struct Mappings {
    hosts: Table<Flow, Host, 1>,
    mappings: Table<Flow, Mapping, 2>,
    permissions: Table<Flow, Permission, 1>,
    ports: HashMap<(Realm, Ipv4Addr), AddressPorts>,
    random: Random,
    sweep: time::Sweep,
}

/// Which line of a mapping's slot: found from inside, or from outside.
const INTERNAL: usize = 0;
const EXTERNAL: usize = 1;

impl Mappings {
    pub(crate) fn new(sessions_max: u32, hash_key: HashKey, seed: [u64; 2]) -> Self {
        Self {
            hosts: Table::new(sessions_max, hash_key),
            mappings: Table::new(sessions_max, hash_key),
            permissions: Table::new(sessions_max, hash_key),
            ports: HashMap::new(),
            random: Random::new(seed),
            sweep: time::Sweep::default(),
        }
    }

    /// Makes room for the ports of every pool's addresses, and forgets addresses that left and are no longer used.
    pub(crate) fn adopt(&mut self, rules: &RuleSet) {
        self.ports.retain(|_, ports| ports.used() > 0);
        for pool in &rules.pools {
            for address in &pool.addresses {
                self.ports
                    .entry((pool.realm, *address))
                    .and_modify(|ports| ports.set_range(pool.port_first, pool.port_last))
                    .or_insert_with(|| AddressPorts::new(pool.port_first, pool.port_last));
            }
        }
    }

    /// Mappings that exist, those in hold-down included.
    pub(crate) fn len(&self) -> u32 {
        self.mappings.len()
    }

    /// Internal hosts that are paired with an external address.
    pub(crate) fn hosts(&self) -> u32 {
        self.hosts.len()
    }

    /// Remote addresses that may come in to a mapping, counted for each mapping.
    pub(crate) fn permissions(&self) -> u32 {
        self.permissions.len()
    }

    /// External ports in use or in hold-down on an address: TCP, UDP and ICMP together.
    pub(crate) fn ports_used(&self, realm: Realm, address: Ipv4Addr) -> u32 {
        self.ports.get(&(realm, address)).map_or(0, AddressPorts::used)
    }

    /// An external endpoint for a new session of `flow`, which is in the internal realm; given back by
    /// [`release`](Self::release). `clash` tells whether a TCP endpoint is taken towards this remote.
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
        let permission = flow.with_source(external, pool.realm).reversed().permission_key();
        if let Err(reason) = self.permit(permission, now_ms) {
            self.release_mapping(flow, external, pool.realm, now_ms);
            return Err(reason);
        }
        Ok(external)
    }

    /// Ends what [`acquire`](Self::acquire) began for a session of `flow`.
    pub(crate) fn release(&mut self, flow: &Flow, external: Endpoint, realm: Realm, now_ms: u32) {
        if flow.protocol() == Protocol::TCP {
            self.release_port(flow, external, realm);
            return;
        }
        let permission = flow.with_source(external, realm).reversed().permission_key();
        self.forbid(permission);
        self.release_mapping(flow, external, realm, now_ms);
    }

    /// Whether a session of `flow` still has its external endpoint. A TCP session has its own; other sessions have their
    /// mapping's, which is given to the next who asks when the rules have taken it from under them.
    pub(crate) fn owns(&self, flow: &Flow, external: Endpoint, realm: Realm) -> bool {
        flow.protocol() == Protocol::TCP || self.mapping_of(flow, external, realm).is_some()
    }

    /// The internal endpoint, with its realm, that `flow` from outside is meant for, if there is a mapping for its
    /// destination and its host has spoken to this source.
    pub(crate) fn admit(&self, flow: &Flow) -> Result<Flow, DropReason> {
        let line = self.mappings.find(&flow.destination_key()).ok_or(DropReason::NoMapping)?;
        let slot = self.mappings.slot_of(line);
        let internal_line = self.mappings.line_of(slot, INTERNAL);
        if self.mappings.value(internal_line).sessions == 0 {
            return Err(DropReason::NoMapping);
        }
        self.permissions.find(&flow.permission_key()).ok_or(DropReason::Filtered)?;
        Ok(*self.mappings.key(internal_line))
    }

    /// Ends hold-downs that are over.
    pub(crate) fn sweep(&mut self, now_ms: u32) {
        let mut due = ArrayVec::<SlotIndex, SWEEP_DUE_MAX>::new();
        self.mappings.sweep(now_ms, self.sweep.slots(now_ms, self.mappings.slots_max()), &mut due);
        for slot in due {
            if self.mappings.value(self.mappings.line_of(slot, INTERNAL)).sessions > 0 {
                self.mappings.set_deadline(slot, now_ms.wrapping_add(NEVER_MS));
            } else {
                self.remove_mapping(slot);
            }
        }
    }

    fn acquire_port(
        &mut self,
        flow: &Flow,
        pool: &PoolRules,
        clash: impl Fn(Endpoint) -> bool,
    ) -> Result<Endpoint, DropReason> {
        let address = self.pair(flow, pool)?;
        let ports = self.ports.get_mut(&(pool.realm, address));
        let port = ports
            .and_then(|ports| ports.tcp.take(&mut self.random, |port| clash(Endpoint { address, port })));
        match port {
            Some(port) => Ok(Endpoint { address, port }),
            None => {
                self.unpair(flow);
                Err(DropReason::PortExhausted)
            }
        }
    }

    fn release_port(&mut self, flow: &Flow, external: Endpoint, realm: Realm) {
        if let Some(ports) = self.ports.get_mut(&(realm, external.address)) {
            ports.tcp.give_back(external.port);
        }
        self.unpair(flow);
    }

    fn acquire_mapping(
        &mut self,
        flow: &Flow,
        pool: &PoolRules,
        now_ms: u32,
    ) -> Result<Endpoint, DropReason> {
        if let Some(line) = self.mappings.find(&flow.source_key()) {
            let slot = self.mappings.slot_of(line);
            let external_key = *self.mappings.key(self.mappings.line_of(slot, EXTERNAL));
            let external = external_key.destination();
            if external_key.realm() == pool.realm && pool.holds(external) {
                self.mappings.value_mut(line).sessions += 1;
                return Ok(external);
            }
            // The rules have moved on: its sessions are closed on their next packet, and find it gone.
            self.remove_mapping(slot);
        }
        let address = self.pair(flow, pool)?;
        let taken = self
            .ports
            .get_mut(&(pool.realm, address))
            .and_then(|ports| ports.whole(flow.protocol()).take(&mut self.random));
        let Some(port) = taken else {
            self.unpair(flow);
            return Err(DropReason::PortExhausted);
        };
        let external = Endpoint { address, port };
        let keys = [flow.source_key(), flow.with_source(external, pool.realm).reversed().destination_key()];
        let mapping = Mapping { sessions: 1, hold_down_ms: pool.hold_down_ms };
        if self.mappings.insert(keys, [mapping; 2], now_ms.wrapping_add(NEVER_MS)).is_err() {
            self.give_back_whole(flow.protocol(), external, pool.realm);
            self.unpair(flow);
            return Err(DropReason::TableFull);
        }
        Ok(external)
    }

    fn release_mapping(&mut self, flow: &Flow, external: Endpoint, realm: Realm, now_ms: u32) {
        // A mapping of later rules is not this session's: its own is gone.
        let Some(line) = self.mapping_of(flow, external, realm) else { return };
        let mapping = self.mappings.value_mut(line);
        mapping.sessions -= 1;
        let Mapping { sessions, hold_down_ms } = *mapping;
        if sessions == 0 {
            self.mappings.set_deadline(self.mappings.slot_of(line), now_ms.wrapping_add(hold_down_ms));
        }
    }

    /// The mapping of `flow`'s source endpoint, if it is to this external endpoint.
    fn mapping_of(&self, flow: &Flow, external: Endpoint, realm: Realm) -> Option<LineIndex> {
        let line = self.mappings.find(&flow.source_key())?;
        let key = self.mappings.key(self.mappings.line_of(self.mappings.slot_of(line), EXTERNAL));
        (key.destination() == external && key.realm() == realm).then_some(line)
    }

    fn remove_mapping(&mut self, slot: SlotIndex) {
        let ([internal, external], _) = self.mappings.remove(slot);
        self.give_back_whole(internal.protocol(), external.destination(), external.realm());
        self.unpair(&internal);
    }

    fn give_back_whole(&mut self, protocol: Protocol, external: Endpoint, realm: Realm) {
        if let Some(ports) = self.ports.get_mut(&(realm, external.address)) {
            ports.whole(protocol).give_back(external.port);
        }
    }

    fn permit(&mut self, key: Flow, now_ms: u32) -> Result<(), DropReason> {
        if let Some(line) = self.permissions.find(&key) {
            self.permissions.value_mut(line).sessions += 1;
            return Ok(());
        }
        let permission = Permission { sessions: 1 };
        match self.permissions.insert([key], [permission], now_ms) {
            Ok(_) => Ok(()),
            Err(_) => Err(DropReason::TableFull),
        }
    }

    fn forbid(&mut self, key: Flow) {
        if let Some(line) = self.permissions.find(&key) {
            self.permissions.value_mut(line).sessions -= 1;
            if self.permissions.value(line).sessions == 0 {
                self.permissions.remove(self.permissions.slot_of(line));
            }
        }
    }

    /// The host's external address, and one more use of it (paired pooling, RFC 4787 REQ-2).
    fn pair(&mut self, flow: &Flow, pool: &PoolRules) -> Result<Ipv4Addr, DropReason> {
        let key = flow.host_key();
        if let Some(line) = self.hosts.find(&key) {
            let address = Ipv4Addr::from(self.hosts.value(line).external);
            if pool.addresses.binary_search(&address).is_ok() {
                self.hosts.value_mut(line).uses += 1;
                return Ok(address);
            }
            // The pool has changed: new sessions go to an address it still has.
            let address = self.choose_address(pool).ok_or(DropReason::PortExhausted)?;
            let host = self.hosts.value_mut(line);
            *host = Host { external: address.octets(), uses: host.uses + 1 };
            return Ok(address);
        }
        let address = self.choose_address(pool).ok_or(DropReason::PortExhausted)?;
        let host = Host { external: address.octets(), uses: 1 };
        self.hosts.insert([key], [host], 0).map_err(|_| DropReason::TableFull)?;
        Ok(address)
    }

    fn unpair(&mut self, flow: &Flow) {
        if let Some(line) = self.hosts.find(&flow.host_key()) {
            self.hosts.value_mut(line).uses -= 1;
            if self.hosts.value(line).uses == 0 {
                self.hosts.remove(self.hosts.slot_of(line));
            }
        }
    }

    fn choose_address(&mut self, pool: &PoolRules) -> Option<Ipv4Addr> {
        let addresses = pool.addresses.len() as u32;
        if addresses == 0 {
            return None;
        }
        let choices: [_; ADDRESS_CHOICES] =
            std::array::from_fn(|_| pool.addresses[self.random.below(addresses) as usize]);
        choices.into_iter().min_by_key(|address| self.ports_used(pool.realm, *address))
    }
}

/// What a pool tells of an endpoint.
pub(crate) trait Holds {
    /// Whether the pool has this address and port.
    fn holds(&self, endpoint: Endpoint) -> bool;
}

impl Holds for PoolRules {
    fn holds(&self, endpoint: Endpoint) -> bool {
        self.addresses.binary_search(&endpoint.address).is_ok()
            && (self.port_first..=self.port_last).contains(&endpoint.port)
    }
}
