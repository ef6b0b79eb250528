//! Counting again what sessions and mappings use, after a process ended in the middle of it.
//!
//! ```text
//! 1  set to zero   hosts, mappings, permissions, blocks, ports
//! 2  count         of each session what it holds: mapping, permission, port;   of each mapping its port
//!                  of each port taken its host and its block
//! 3  end           hosts, permissions and blocks that nobody uses; hold-down begins for mappings without sessions
//! ```
//!
//! All of it is done for what the scope covers: what an intent names, or everything of the shard. Sessions decide: what
//! they need and is not there is made. Only where another shard has a port, the session or mapping on it goes.

use flowtable::{Key, LineValue, Owner, SlotIndex};

use crate::flow::Flow;
use crate::mappings::{Holds, Taken};
use crate::ports::Purpose;
use crate::shard::Shard;
use crate::state::{Intent, State};

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

    /// A host by any of its keys: its own, or that of a block.
    fn covers_host(&self, key: &Flow) -> bool {
        match self {
            Self::Named { internal, .. } => {
                (internal.source().address, internal.realm()) == (key.source().address, key.realm())
            }
            Self::Whole => true,
        }
    }

    fn covers_mapping(&self, [key, outside]: &[Flow; 2]) -> bool {
        match self {
            Self::Named { internal, external } => {
                let is_its = (internal.source(), internal.realm()) == (key.source(), key.realm())
                    && internal.protocol() == key.protocol();
                is_its || external.destination_key() == *outside
            }
            Self::Whole => true,
        }
    }

    fn covers_permission(&self, key: &Flow) -> bool {
        match self {
            Self::Named { external, .. } => external.permission_key() == *key,
            Self::Whole => true,
        }
    }

    fn covers_port(&self, state: &State, outside: &Flow) -> bool {
        let place = |flow| state.place_of(flow).map(|(space, port)| (space.number(), port));
        match self {
            Self::Named { external, .. } => place(external) == place(outside),
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
        if scope.covers_mapping(&mappings.keys(slot)) {
            mappings.mapping(slot).end_sessions();
        }
    }
    let permissions = mappings.permissions.table();
    for line in live(&mappings.permissions).map(|slot| permissions.line_of(slot, 0)) {
        if scope.covers_permission(&permissions.key(line)) {
            permissions.value(line).sessions.set(0);
        }
    }
    for slot in live(&mappings.blocks) {
        if scope.covers_host(&mappings.block_keys(slot)[0]) {
            mappings.block(slot).uses().set(0);
        }
    }
    let parts = &shard.state.parts;
    match scope {
        Scope::Whole => {
            let spaces = parts.addresses.records().flat_map(|(address, _)| parts.ports.spaces_of(address));
            spaces.for_each(|space| space.forget(shard.index()));
            claim_blocks(shard);
        }
        Scope::Named { external, .. } => {
            if let Some((space, port)) = shard.state.place_of(external) {
                space.forget_port(shard.index(), port);
                space.keep_blocks(shard.index(), |lease| mappings.block_at(space, lease).is_some());
            }
        }
    }
}

/// Leases the shard's blocks again. One of which another has a part is given up.
fn claim_blocks(shard: &mut Shard) {
    for slot in all(&shard.mappings.blocks) {
        if !shard.mappings.blocks.is_live(slot) {
            continue;
        }
        let [_, external] = shard.mappings.block_keys(slot);
        let lease = shard.mappings.lease_at(slot);
        let claimed = shard.state.place_of(&external).is_some_and(|(space, _)| space.claim(lease));
        if !claimed {
            shard.mappings.blocks.remove(slot);
        }
    }
}

fn count_sessions(shard: &mut Shard, scope: &Scope, now_ms: u32) -> u32 {
    let mut dropped = 0;
    for slot in all(&shard.sessions) {
        if !shard.sessions.is_live(slot) {
            continue;
        }
        let ([internal, outside], taken) = (shard.state.keys(slot), shard.state.taken(slot));
        // A session whose mapping has gone is closed on its next packet.
        if let Some(mapping) = shard.state.mapping_of(shard.index(), &taken) {
            count_use_of_mapping(shard, scope, mapping, &taken, now_ms);
        }
        let has_port = taken.holds.contains(Holds::PORT);
        if has_port && !count_port(shard, scope, &internal, &outside, Purpose::Session) {
            shard.sessions.remove(slot);
            dropped += 1;
        }
    }
    dropped
}

fn count_use_of_mapping(shard: &mut Shard, scope: &Scope, mapping: SlotIndex, taken: &Taken, now_ms: u32) {
    if scope.covers_mapping(&shard.mappings.keys(mapping)) {
        let mapping = shard.mappings.mapping(mapping);
        // There is room: they were counted before.
        mapping.join(taken.spoken);
        if taken.holds.contains(Holds::GUEST) {
            mapping.set_guest(taken.outside.source().address);
        }
    }
    let has_permission = taken.spoken && taken.holds.contains(Holds::PERMISSION);
    if has_permission && scope.covers_permission(&taken.outside.permission_key()) {
        // Where there is no room its remote is not let in from other ports, nothing worse.
        _ = shard.mappings.permit(taken, now_ms);
    }
}

fn count_mappings(shard: &mut Shard, scope: &Scope) {
    for slot in all(&shard.mappings.mappings) {
        if !shard.mappings.mappings.is_live(slot) {
            continue;
        }
        let [internal, outside] = shard.mappings.keys(slot);
        if !count_port(shard, scope, &internal, &outside, Purpose::Mapping) {
            shard.mappings.mappings.remove(slot);
        }
    }
}

/// Counts a use of the port, and of the host and the block that it needs; false where it is another's.
fn count_port(shard: &mut Shard, scope: &Scope, internal: &Flow, outside: &Flow, purpose: Purpose) -> bool {
    if scope.covers_port(&shard.state, outside) {
        let counted = shard
            .state
            .place_of(outside)
            .is_some_and(|(space, port)| space.count_again(shard.index(), port, purpose));
        if !counted {
            return false;
        }
    }
    if scope.covers_host(internal) {
        count_host(shard, internal, outside);
        shard.mappings.use_block_more(internal, outside);
    }
    true
}

fn count_host(shard: &mut Shard, internal: &Flow, outside: &Flow) {
    let key = internal.host_key(outside.realm());
    let hosts = shard.mappings.hosts.table();
    match hosts.find(shard.index(), &key) {
        Some(line) => hosts.value(line).uses.increment(),
        // Where there is no room, its next session is paired anew.
        None => _ = shard.mappings.insert_host(key, outside.destination().address, 1),
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
    for slot in all(&mappings.blocks) {
        if mappings.blocks.is_live(slot)
            && scope.covers_host(&mappings.block_keys(slot)[0])
            && mappings.block(slot).uses().get() == 0
        {
            mappings.remove_block(slot);
        }
    }
    for slot in all(&mappings.mappings) {
        if mappings.mappings.is_live(slot)
            && scope.covers_mapping(&mappings.keys(slot))
            && mappings.mapping(slot).sessions() == 0
        {
            mappings.begin_rest(slot, now_ms);
        }
    }
}

/// The shard's slots in use.
fn live<K: Key, V: LineValue<K>, const N: usize>(owner: &Owner<K, V, N>) -> impl Iterator<Item = SlotIndex> {
    owner.live(owner.first_slot(), owner.table().slots_per_shard() as usize)
}

/// All of the shard's slots: to be walked over while some are taken out.
fn all<K: Key, V: LineValue<K>, const N: usize>(
    owner: &Owner<K, V, N>,
) -> impl Iterator<Item = SlotIndex> + use<K, V, N> {
    let first = owner.first_slot().0;
    (first..first + owner.table().slots_per_shard()).map(SlotIndex)
}
