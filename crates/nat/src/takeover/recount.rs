//! Counting again what sessions and mappings use, after a process ended in the middle of it.
//!
//! ```text
//! 1  set to zero   hosts, mappings, permissions, ports
//! 2  count         of each session its mapping and permission, or its host and port;   of each mapping its host and port
//! 3  end           hosts and permissions that nobody uses; hold-down begins for mappings without sessions
//! ```
//!
//! All of it is done for what the scope covers: what an intent names, or everything of the shard. Sessions decide: what
//! they need and is not there is made. Only where another shard has a port, the session or mapping on it goes.

use flowtable::{Key, Owner, Shared, SlotIndex};
use packet::Protocol;
use rules::compiled::Realm;

use crate::flow::{Endpoint, Flow};
use crate::mappings::permission_key;
use crate::shard::Shard;
use crate::state::Intent;

/// What is to be counted again.
pub(super) enum Scope {
    /// What an operation on these flows can have left half-done.
    Named { internal: Flow, external: Flow },
    /// Everything of the shard.
    Whole,
}

impl Scope {
    /// What the shard needs, if anything.
    pub(super) fn of(intent: &Intent, is_broken: bool) -> Option<Self> {
        // What is found again is dropped, with all that it has: more than the intent may name.
        if is_broken || intent.is_found_again() {
            return Some(Self::Whole);
        }
        intent.found().map(|[internal, external]| Self::Named { internal, external })
    }

    fn covers_host(&self, key: &Flow) -> bool {
        match self {
            Self::Named { internal, .. } => internal.host_key() == *key,
            Self::Whole => true,
        }
    }

    fn covers_mapping(&self, key: &Flow) -> bool {
        match self {
            Self::Named { internal, .. } => internal.source_key() == *key,
            Self::Whole => true,
        }
    }

    fn covers_permission(&self, key: &Flow) -> bool {
        match self {
            Self::Named { external, .. } => external.permission_key() == *key,
            Self::Whole => true,
        }
    }

    fn covers_port(&self, protocol: Protocol, endpoint: Endpoint, realm: Realm) -> bool {
        match self {
            Self::Named { external, .. } => {
                (external.protocol(), external.destination(), external.realm()) == (protocol, endpoint, realm)
            }
            Self::Whole => true,
        }
    }
}

/// Counts again what the scope covers. Returns how many sessions could not stay.
pub(super) fn recount(shard: &mut Shard, scope: &Scope, now_ms: u32) -> u32 {
    let dropped = drop_what_was_in_work_twice(shard);
    set_to_zero(shard, scope);
    let dropped = dropped + count_sessions(shard, scope, now_ms);
    count_mappings(shard, scope);
    end_unused(shard, scope, now_ms);
    dropped
}

/// A session at which two processes in a row have ended may be why.
fn drop_what_was_in_work_twice(shard: &mut Shard) -> u32 {
    let intent = shard.mappings.intent();
    let Some([internal, _]) = intent.found().filter(|_| intent.is_found_again()) else { return 0 };
    let sessions = shard.sessions.table();
    let Some(line) = sessions.find(shard.index(), &internal) else { return 0 };
    let slot = sessions.slot_of(line);
    shard.sessions.remove(slot);
    1
}

fn set_to_zero(shard: &mut Shard, scope: &Scope) {
    let mappings = &shard.mappings;
    let hosts = mappings.hosts.table();
    for line in live(&mappings.hosts).map(|slot| hosts.line_of(slot, 0)) {
        if scope.covers_host(&hosts.key(line)) {
            hosts.value(line).uses.set(0);
        }
    }
    for slot in live(&mappings.mappings) {
        if scope.covers_mapping(&mappings.keys(slot)[0]) {
            mappings.mapping(slot).sessions.set(0);
        }
    }
    let permissions = mappings.permissions.table();
    for line in live(&mappings.permissions).map(|slot| permissions.line_of(slot, 0)) {
        if scope.covers_permission(&permissions.key(line)) {
            permissions.value(line).sessions.set(0);
        }
    }
    let parts = &shard.state.parts;
    match scope {
        Scope::Whole => {
            let spaces = parts.addresses.records().flat_map(|(address, _)| parts.ports.spaces_of(address));
            spaces.for_each(|space| space.forget(shard.index()));
        }
        Scope::Named { external, .. } => {
            let endpoint = external.destination();
            if let Some(address) = parts.addresses.find(external.realm(), endpoint.address) {
                parts.ports.of(address, external.protocol()).forget_port(shard.index(), endpoint.port);
            }
        }
    }
}

fn count_sessions(shard: &mut Shard, scope: &Scope, now_ms: u32) -> u32 {
    let mut dropped = 0;
    for slot in all(&shard.sessions) {
        if !shard.sessions.is_live(slot) {
            continue;
        }
        let [internal, outside] = shard.state.keys(slot);
        let (external, realm) = (outside.destination(), outside.realm());
        if internal.protocol() != Protocol::TCP {
            count_use_of_mapping(shard, scope, &internal, external, realm, now_ms);
        } else if !count_port(shard, scope, Protocol::TCP, external, realm) {
            shard.sessions.remove(slot);
            dropped += 1;
        } else {
            count_host(shard, scope, &internal, external);
        }
    }
    dropped
}

fn count_use_of_mapping(
    shard: &mut Shard,
    scope: &Scope,
    internal: &Flow,
    external: Endpoint,
    realm: Realm,
    now_ms: u32,
) {
    if scope.covers_mapping(&internal.source_key())
        && let Some(line) = shard.state.mapping_of(shard.index(), internal, external, realm)
    {
        // A session without it is closed on its next packet: its endpoint is someone else's.
        shard.mappings.mapping(shard.mappings.mappings.table().slot_of(line)).sessions.increment();
    }
    let key = permission_key(internal, external, realm);
    if scope.covers_permission(&key) {
        // Where there is no room its remote is not let in from other ports, nothing worse.
        _ = shard.mappings.permit(key, now_ms);
    }
}

fn count_mappings(shard: &mut Shard, scope: &Scope) {
    for slot in all(&shard.mappings.mappings) {
        if !shard.mappings.mappings.is_live(slot) {
            continue;
        }
        let [internal, outside] = shard.mappings.keys(slot);
        let (external, realm) = (outside.destination(), outside.realm());
        if count_port(shard, scope, internal.protocol(), external, realm) {
            count_host(shard, scope, &internal, external);
        } else {
            shard.mappings.mappings.remove(slot);
        }
    }
}

/// Counts a use of the port; false where it is another's.
fn count_port(shard: &Shard, scope: &Scope, protocol: Protocol, external: Endpoint, realm: Realm) -> bool {
    if !scope.covers_port(protocol, external, realm) {
        return true;
    }
    let parts = &shard.state.parts;
    parts
        .addresses
        .find(realm, external.address)
        .is_some_and(|address| parts.ports.of(address, protocol).count_again(shard.index(), external.port))
}

fn count_host(shard: &mut Shard, scope: &Scope, internal: &Flow, external: Endpoint) {
    let key = internal.host_key();
    if !scope.covers_host(&key) {
        return;
    }
    let hosts = shard.mappings.hosts.table();
    match hosts.find(shard.index(), &key) {
        Some(line) => hosts.value(line).uses.increment(),
        // Where there is no room, its next session is paired anew.
        None => _ = shard.mappings.insert_host(key, external.address, 1),
    }
}

fn end_unused(shard: &mut Shard, scope: &Scope, now_ms: u32) {
    let mappings = &mut shard.mappings;
    for slot in all(&mappings.hosts) {
        let hosts = mappings.hosts.table();
        let line = hosts.line_of(slot, 0);
        if mappings.hosts.is_live(slot)
            && scope.covers_host(&hosts.key(line))
            && hosts.value(line).uses.get() == 0
        {
            mappings.hosts.remove(slot);
        }
    }
    for slot in all(&mappings.permissions) {
        let table = mappings.permissions.table();
        let line = table.line_of(slot, 0);
        if mappings.permissions.is_live(slot)
            && scope.covers_permission(&table.key(line))
            && table.value(line).sessions.get() == 0
        {
            mappings.permissions.remove(slot);
        }
    }
    for slot in all(&mappings.mappings) {
        if mappings.mappings.is_live(slot)
            && scope.covers_mapping(&mappings.keys(slot)[0])
            && mappings.mapping(slot).sessions.get() == 0
        {
            mappings.rest(slot, now_ms);
        }
    }
}

/// The shard's slots in use.
fn live<K: Key, V: Shared, const N: usize>(owner: &Owner<K, V, N>) -> impl Iterator<Item = SlotIndex> {
    owner.live(owner.first_slot(), owner.table().slots_per_shard() as usize)
}

/// All of the shard's slots: to be walked over while some are taken out.
fn all<K: Key, V: Shared, const N: usize>(
    owner: &Owner<K, V, N>,
) -> impl Iterator<Item = SlotIndex> + use<K, V, N> {
    let first = owner.first_slot().0;
    (first..first + owner.table().slots_per_shard()).map(SlotIndex)
}
