//! What all workers share: the flow state in one region, and who may change which part of it.
//!
//! ```text
//! region   header | counters | intents | realms | addresses | ports | sessions | hosts | mappings | permissions | blocks
//!          \_______________ state/*.rs _______________/ ports.rs   sessions.rs  \__________ mappings.rs ___________/
//! process  who owns which shard, neighbours, quiescence: not worth keeping, or different in the next process
//! ```
//!
//! An internal host belongs to one of a fixed number of shards by a keyed function, and with it all state made for it.
//! A [`Shard`] is the role of that part's owner: it alone creates and ends. What any worker may do (look up, translate,
//! note a packet) is done through the [`State`]. The same code cuts the arrays out of anonymous memory and out of a file,
//! of which the next process takes them over: see `takeover`.

mod address_book;
mod header;
mod in_process;
mod intent;
mod realm_book;

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use flowtable::{
    Carver, Cells, HashKey, LineIndex, LineValue, Place, Region, SHARDS_MAX, ShardIndex, Sought, Table,
};
use packet::Protocol;
use rules::Numbers;
use rules::compiled::{AddressIndex, PortRun, Realm};
use rules::limits::REALMS_MAX;

use crate::Counters;
use crate::flow::{Flow, has_ports};
use crate::mappings::{Block, Host, Mapping, Permission};
use crate::ports::{Holder, PortBooks, Ports, SPACES};
use crate::probes::Probes;
use crate::random::fold;
use crate::sessions::Line;
use crate::shard::Shard;

use address_book::AddressBook;
pub use header::FreshReason;
pub(crate) use header::{HEADER_BYTES, Header, Identity};
pub(crate) use in_process::InProcess;
pub(crate) use intent::Intent;
use realm_book::RealmBook;

/// The most workers a gateway has.
pub const WORKERS_MAX: usize = 32;

/// Where the counters of earlier processes are, behind those of the workers.
const PAST: usize = WORKERS_MAX;

/// A worker of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerIndex(pub u8);

/// How much the state holds: all of its memory is taken at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The most sessions: each shard has an equal part of them.
    pub sessions: u32,
    /// Shards, at most [`SHARDS_MAX`]; at least as many as there will ever be workers.
    pub shards: u8,
    /// The most external addresses that are translated to, those included that left the rules and have ports in use.
    pub addresses: u32,
    /// The most internal hosts that have sessions at once, and neighbours; each shard has an equal part of them.
    pub hosts: u32,
    /// The most endpoint-independent and address-dependent mappings, those in hold-down included, and as many permissions.
    pub mappings: u32,
}

/// Hosts there is room for, however few sessions, unless those are fewer.
const HOSTS_MIN: u32 = 65_536;
/// And one for each so many sessions: RFC 9693's hosts have 63 each.
const SESSIONS_PER_HOST: u32 = 32;
/// Blocks of ports for each host: one of UDP and one of TCP.
const BLOCKS_PER_HOST: u32 = 2;

impl Sizes {
    /// With hosts as sessions usually have, and mappings for all of them.
    pub const fn new(sessions: u32, shards: u8, addresses: u32) -> Self {
        let hosts = sessions / SESSIONS_PER_HOST;
        let hosts = if hosts > HOSTS_MIN { hosts } else { HOSTS_MIN };
        let hosts = if hosts < sessions { hosts } else { sessions };
        Self { sessions, shards, addresses, hosts, mappings: sessions }
    }

    /// Bytes of the region that a state of these sizes lies in.
    ///
    /// # Panics
    /// If the sizes make no sense: no shard or more than [`SHARDS_MAX`], or more than 65,536 addresses.
    pub fn bytes(&self) -> u64 {
        State::measure(self).bytes()
    }

    /// How many of them are for permissions, of which there may be as many as mappings.
    ///
    /// # Panics
    /// As [`Self::bytes`].
    pub fn permissions_bytes(&self) -> u64 {
        let mut carver = Carver::measuring();
        let slots = self.mappings.div_ceil(u32::from(self.shards));
        Table::<Flow, Permission, 1>::carve(&mut carver, self.shards, slots, HashKey([0; 2]));
        carver.bytes()
    }
}

/// How full the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Sessions.
    pub sessions: u32,
    /// The most sessions there can be.
    pub sessions_max: u32,
    /// Endpoint-independent mappings, those in hold-down included.
    pub mappings: u32,
    /// Internal hosts that are paired with an external address.
    pub hosts: u32,
    /// The most hosts there can be.
    pub hosts_max: u32,
    /// The most mappings there can be, and the most permissions.
    pub mappings_max: u32,
    /// Remote addresses that may come in to a mapping, counted for each mapping.
    pub permissions: u32,
    /// Port blocks that are some host's.
    pub blocks: u32,
    /// Neighbours known, asked for or silent.
    pub neighbours: u32,
    /// The most neighbours there can be.
    pub neighbours_max: u32,
}

/// The arrays in the region, in the order in which they lie there.
pub(crate) struct Parts {
    pub(crate) header: Cells<Header>,
    counters: Cells<Counters>,
    pub(crate) intents: Cells<Intent>,
    pub(crate) realms: RealmBook,
    pub(crate) addresses: AddressBook,
    pub(crate) ports: Ports,
    pub(crate) sessions: Arc<Table<Flow, Line, 2>>,
    pub(crate) hosts: Arc<Table<Flow, Host, 1>>,
    pub(crate) mappings: Arc<Table<Flow, Mapping, 1>>,
    pub(crate) permissions: Arc<Table<Flow, Permission, 1>>,
    pub(crate) blocks: Arc<Table<Flow, Block, 1>>,
}

impl Parts {
    pub(crate) fn carve(carver: &mut Carver, sizes: &Sizes, hash_key: HashKey) -> Self {
        let per_shard = |slots: u32| slots.div_ceil(u32::from(sizes.shards));
        let (sessions, hosts, mappings) =
            (per_shard(sizes.sessions), per_shard(sizes.hosts), per_shard(sizes.mappings));
        Self {
            header: carver.cells(1),
            counters: carver.cells(WORKERS_MAX + 1),
            intents: carver.cells(usize::from(sizes.shards)),
            realms: RealmBook::carve(carver, REALMS_MAX),
            addresses: AddressBook::carve(carver, sizes.addresses, hash_key),
            ports: Ports::carve(carver, sizes.addresses),
            sessions: Arc::new(Table::carve(carver, sizes.shards, sessions, hash_key)),
            hosts: Arc::new(Table::carve(carver, sizes.shards, hosts, hash_key)),
            mappings: Arc::new(Table::carve(carver, sizes.shards, mappings, hash_key)),
            permissions: Arc::new(Table::carve(carver, sizes.shards, mappings, hash_key)),
            blocks: Arc::new(Table::carve(carver, sizes.shards, hosts * BLOCKS_PER_HOST, hash_key)),
        }
    }
}

/// See the file's page.
pub struct State {
    pub(crate) parts: Parts,
    pub(crate) in_process: InProcess,
    sizes: Sizes,
    shard_key: [u64; 2],
    /// The worker that owns each shard.
    workers: [AtomicU8; SHARDS_MAX],
    /// Held open because the lock on the region's file goes with it.
    _file: Option<File>,
}

impl State {
    /// State that ends with the process.
    ///
    /// # Errors
    /// Where the memory cannot be had.
    ///
    /// # Panics
    /// If the sizes make no sense: no shard or more than [`SHARDS_MAX`], or more than 65,536 addresses.
    pub fn anonymous(sizes: &Sizes, seed: [u64; 4]) -> io::Result<(Arc<Self>, Vec<Shard>)> {
        let identity = Identity::new(sizes, Self::measure(sizes).layout_hash(), [0; 2], seed);
        let region = Region::anonymous(sizes.bytes())?;
        let state = Arc::new(Self::over(&region, None, sizes, &identity));
        state.header().begin(&identity, 0);
        let shards = state.shards_of(seed);
        Ok((state, shards))
    }

    /// How the region is cut, without one.
    pub(crate) fn measure(sizes: &Sizes) -> Carver {
        assert!((1..=SHARDS_MAX).contains(&usize::from(sizes.shards)), "1 to {SHARDS_MAX} shards");
        assert!(sizes.addresses <= 1 << u16::BITS, "an address' number is two bytes");
        let mut carver = Carver::measuring();
        Parts::carve(&mut carver, sizes, HashKey([0; 2]));
        carver
    }

    /// The state in a region whose header says `identity`, or will.
    pub(crate) fn over(region: &Arc<Region>, file: Option<File>, sizes: &Sizes, identity: &Identity) -> Self {
        let hash_key = HashKey(identity.hash_key);
        let state = Self {
            parts: Parts::carve(&mut Carver::over(region), sizes, hash_key),
            in_process: InProcess::new(sizes, hash_key),
            sizes: *sizes,
            shard_key: identity.shard_key,
            workers: std::array::from_fn(|_| AtomicU8::new(0)),
            _file: file,
        };
        state.parts.addresses.index(&state.in_process.quiescence);
        state
    }

    /// All shards' roles, with port choices that nobody can foretell who does not know the seed.
    pub(crate) fn shards_of(self: &Arc<Self>, seed: [u64; 4]) -> Vec<Shard> {
        (0..self.shards()).map(|shard| Shard::new(self, ShardIndex(shard), [seed[2], seed[3]])).collect()
    }

    pub(crate) fn header(&self) -> &Header {
        self.parts.header.get(0)
    }

    /// Gives the shards to `workers` workers in turn: shard s to worker s modulo `workers`.
    ///
    /// The caller gives each worker's gateway its shards before any frame is processed.
    pub fn assign(&self, workers: u8) {
        for (shard, worker) in self.workers.iter().enumerate() {
            worker.store((shard % usize::from(workers.max(1))) as u8, Relaxed);
        }
    }

    /// Who owns a shard.
    pub fn worker_of(&self, shard: ShardIndex) -> WorkerIndex {
        WorkerIndex(self.workers.get(usize::from(shard.0)).map_or(0, |worker| worker.load(Relaxed)))
    }

    /// What the turn of a shard's owner has left for looks for ports.
    pub(crate) fn probes(&self, shard: ShardIndex) -> Probes<'_> {
        self.in_process.probes.of(self.worker_of(shard))
    }

    /// How many workers own shards.
    pub(crate) fn workers(&self) -> u8 {
        (0..self.shards()).map(|shard| self.worker_of(ShardIndex(shard)).0 + 1).max().unwrap_or(1)
    }

    /// How many shards there are.
    pub fn shards(&self) -> u8 {
        self.sizes.shards
    }

    /// A worker's books.
    ///
    /// # Panics
    /// If there can be no such worker: see [`WORKERS_MAX`].
    pub fn counters(&self, worker: WorkerIndex) -> &Counters {
        assert!(usize::from(worker.0) < WORKERS_MAX, "at most {WORKERS_MAX} workers");
        self.parts.counters.get(usize::from(worker.0))
    }

    /// The books of all earlier processes, closed.
    pub fn past(&self) -> &Counters {
        self.parts.counters.get(PAST)
    }

    /// Adds up what the workers of the process before have counted; what they had in their hands ended with it, and so did
    /// the sessions that were dropped.
    pub(crate) fn close_books_of_the_past(&self, sessions_dropped: u32) {
        let past = self.past();
        (0..WORKERS_MAX).for_each(|worker| past.absorb(self.parts.counters.get(worker)));
        past.close_books();
        past.sessions_closed.add(sessions_dropped.into());
    }

    /// The numbers of realms and external addresses that the region knows, for the control thread to go on with.
    pub fn numbers(&self) -> Numbers {
        Numbers::restore(
            REALMS_MAX,
            self.sizes.addresses,
            self.header().generation(),
            self.parts.realms.records(),
            self.parts.addresses.records(),
        )
    }

    /// Keeps the numbers that the rules of `generation` were compiled with. The control thread does it before it publishes
    /// them, so that no line ever names what the region does not know.
    pub fn store(&self, numbers: &Numbers, generation: u64) {
        self.parts.realms.store(numbers.realms());
        self.parts.addresses.store(numbers.addresses());
        self.header().raise_generation(generation);
    }

    /// Whether any flow state names the realm. Streams over all of it: for the control thread, rarely.
    ///
    /// Ask once no worker runs rules that have the realm; then it can only become false.
    pub fn is_realm_in_use(&self, realm: Realm) -> bool {
        names(&self.parts.sessions, realm)
            || names(&self.parts.mappings, realm)
            || names(&self.parts.hosts, realm)
            || names(&self.parts.permissions, realm)
            || self.uses_ports_in(realm)
            || self.in_process.names(realm)
    }

    /// Whether ports of an address in the realm are in use: a mapping names its external address by number alone.
    fn uses_ports_in(&self, realm: Realm) -> bool {
        let mut records = self.parts.addresses.records();
        records.any(|(address, (its_realm, _))| its_realm == realm && self.ports_used(address) > 0)
    }

    /// External ports in use or in hold-down on an address: TCP, UDP and ICMP together, and remotes of protocols without
    /// ports.
    pub fn ports_used(&self, address: AddressIndex) -> u32 {
        self.parts.ports.used(address)
    }

    /// How many of an address' ports in `runs`, a pool's, are used, resting and free. Reads them all: for a test, or rarely.
    pub fn port_books(&self, address: AddressIndex, protocol: Protocol, runs: &[PortRun]) -> PortBooks {
        self.parts.ports.books(address, protocol, runs)
    }

    /// How full the tables are.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            sessions: self.parts.sessions.len(),
            sessions_max: self.parts.sessions.slots_max(),
            mappings: self.parts.mappings.len(),
            hosts: self.parts.hosts.len(),
            hosts_max: self.parts.hosts.slots_max(),
            mappings_max: self.parts.mappings.slots_max(),
            permissions: self.parts.permissions.len(),
            blocks: self.parts.blocks.len(),
            neighbours: self.in_process.neighbours.len(),
            neighbours_max: self.in_process.neighbours.slots_max(),
        }
    }

    /// The shard that an internal host and everything made for it belongs to. Two multiplications, no memory.
    #[inline]
    pub(crate) fn shard_of_host(&self, realm: Realm, address: Ipv4Addr) -> ShardIndex {
        let host = u64::from(realm.0) << 32 | u64::from(u32::from(address));
        let hash = fold(fold(host ^ self.shard_key[0], self.shard_key[1] | 1) ^ self.shard_key[1], MIX);
        ShardIndex((((hash >> 32) * u64::from(self.sizes.shards)) >> 32) as u8)
    }

    /// The shard whose host has the external endpoint that `outside` goes to, if one has it. One cache line, unless hosts of
    /// several shards share the port: then it is looked for in all of them.
    #[inline]
    pub(crate) fn shard_of_port(&self, address: AddressIndex, outside: &Flow) -> Option<ShardIndex> {
        let space = self.parts.ports.of(address, outside.protocol());
        match space.get(self.number_of(outside)).holder()? {
            Holder::One(shard) => Some(shard),
            Holder::Many => self.shard_among_many(outside),
        }
    }

    /// Whether the external endpoint that `outside` goes to is a mapping's, by which more than one session may come in.
    pub(crate) fn is_mapped(&self, address: AddressIndex, outside: &Flow) -> bool {
        self.parts.ports.of(address, outside.protocol()).get(self.number_of(outside)).is_whole()
    }

    /// The shard that has all sessions of a protocol by an address of ours, as far as the address alone tells: mostly, for
    /// shards have addresses of their own (`mappings/pairing.rs`).
    #[inline]
    pub(crate) fn shard_of_address(&self, address: AddressIndex, protocol: Protocol) -> Option<ShardIndex> {
        let holder = self.parts.ports.of(address, protocol).sole_holder();
        holder.filter(|holder| holder.0 < self.sizes.shards)
    }

    /// Asks for the memory that [`Self::shard_of_port`] is going to read.
    #[inline]
    pub(crate) fn prefetch_port(&self, address: AddressIndex, outside: &Flow) {
        self.parts.ports.of(address, outside.protocol()).prefetch(self.number_of(outside));
    }

    /// The shard that has a session of `outside`, of all.
    pub(crate) fn shard_among_many(&self, outside: &Flow) -> Option<ShardIndex> {
        let mut shards = (0..self.sizes.shards).map(ShardIndex);
        shards.find(|shard| self.parts.sessions.find(*shard, outside).is_some())
    }

    /// Where among an address' ports a flow to it is kept: its port, or a keyed number of its remote and protocol where the
    /// protocol has no ports. Remotes that share a number share it as sessions share a port.
    #[inline]
    pub(crate) fn number_of(&self, outside: &Flow) -> u16 {
        if has_ports(outside.protocol()) {
            return outside.destination().port;
        }
        let remote = u64::from(outside.protocol().0) << 32 | u64::from(u32::from(outside.source().address));
        (fold(fold(remote ^ self.shard_key[1], self.shard_key[0] | 1) ^ self.shard_key[0], MIX) >> 48) as u16
    }

    /// Spaces of ports.
    pub(crate) fn spaces(&self) -> usize {
        self.sizes.addresses as usize * SPACES
    }

    /// Looks up a burst of flows at once.
    #[inline]
    pub(crate) fn find_burst<S: Sought<Flow>>(&self, sought: &[S], found: &mut [Option<LineIndex>]) {
        self.parts.sessions.find_burst(sought, found);
    }

    /// The same, and says where each was looked for.
    #[inline]
    pub(crate) fn find_burst_at<S: Sought<Flow>>(
        &self,
        sought: &[S],
        places: &mut [Place],
        found: &mut [Option<LineIndex>],
    ) {
        self.parts.sessions.find_burst_at(sought, places, found);
    }

    /// The line that is `flow`'s now. `found` is what the burst's look-up said, which an earlier packet of the same
    /// burst, or another worker, may have overtaken.
    pub(crate) fn line(&self, shard: ShardIndex, flow: &Flow, found: Option<LineIndex>) -> Option<LineIndex> {
        let sessions = &self.parts.sessions;
        found.filter(|line| sessions.holds(*line, flow)).or_else(|| sessions.find(shard, flow))
    }

    /// The shard a session's line belongs to.
    pub(crate) fn shard_of_line(&self, line: LineIndex) -> ShardIndex {
        self.parts.sessions.shard_of(self.parts.sessions.slot_of(line))
    }
}

/// A region that is closed while nothing is half-done says so.
impl Drop for State {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.header().close();
        }
    }
}

/// An odd number without a pattern: the fraction of the golden ratio.
pub(crate) const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whether a live line of the table has a key in the realm.
fn names<V: LineValue<Flow>, const N: usize>(table: &Table<Flow, V, N>, realm: Realm) -> bool {
    (0..table.slots_max() * N as u32).map(LineIndex).any(|line| {
        let key = table.key(line);
        key.realm() == realm && table.holds(line, &key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_million_sessions_behind_four_thousand_addresses_fit_in_24_gib() {
        let sizes = Sizes::new(50_000_000, 32, 4_096);
        assert!(sizes.bytes() <= 24 << 30, "{} bytes", sizes.bytes());
    }
}
