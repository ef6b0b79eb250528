//! Next hops' MAC addresses, learnt by ARP.
//!
//! An entry is asked for when a frame first needs it, refreshed before it expires while it is used, and remembered as
//! silent for a while where nobody answers, so that a scan of an empty subnet costs one request per address.
//!
//! All gateways read one table. An entry belongs to the shard of its realm and address, and is written by the owner of that
//! shard alone: it asks, it learns, it gives up, and frames wait with it ([`crate::waiting`]). It is one word, so that
//! nobody reads half of a MAC:
//!
//! ```text
//!  63       56      48                              0
//!  | requests | state |            MAC              |      written by the owner
//!  | used                                           |      set by whoever looks it up, cleared by the owner
//! ```

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use arrayvec::ArrayVec;
use flowtable::{
    HashKey, LineIndex, LineValue, Owner, Quiescence, SHARDS_MAX, SWEEP_DUE_MAX, ShardIndex, SlotIndex,
    Table, Words,
};
use packet::MacAddress;
use rules::compiled::Realm;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{DropReason, time};

/// Neighbours that are known, asked for or silent at once: so many there may be, however few hosts.
const NEIGHBOURS_MIN: u32 = 65_536;
/// How long a request waits for its answer.
const ANSWER_MS: u32 = 1_000;
/// Requests before a neighbour counts as silent.
const REQUESTS_MAX: u8 = 3;
/// How long an answer is good for before it is asked for again.
const FRESH_MS: u32 = 30_000;
/// How long a silent neighbour is not asked for again.
const SILENT_MS: u32 = 3_000;

/// A network's realm and an address on it.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Key {
    realm: [u8; 4],
    address: [u8; 4],
}

impl flowtable::Key for Key {
    type Words = Words<1>;
}

/// What is known of a neighbour. See the file's page.
#[derive(Default, FromBytes)]
#[repr(C)]
pub(crate) struct Neighbour {
    entry: AtomicU64,
    used: AtomicU64,
}

const _: () = assert!(size_of::<Neighbour>() == 16);

impl LineValue<Key> for Neighbour {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Asked for, no answer yet.
    Incomplete,
    /// Answered.
    Fresh,
    /// Answered once, and asked for again; still used.
    Refreshing,
    /// Asked for in vain.
    Silent,
}

/// The entry's word, taken apart.
#[derive(Clone, Copy)]
struct Entry {
    mac: MacAddress,
    standing: Standing,
    /// Since the last answer.
    requests: u8,
}

impl Neighbour {
    fn read(&self) -> Entry {
        let [requests, standing, mac @ ..] = self.entry.load(Acquire).to_be_bytes();
        let standing = match standing {
            0 => Standing::Incomplete,
            1 => Standing::Fresh,
            2 => Standing::Refreshing,
            _ => Standing::Silent,
        };
        Entry { mac: MacAddress(mac), standing, requests }
    }

    fn write(&self, Entry { mac: MacAddress([a, b, c, d, e, f]), standing, requests }: Entry) {
        let word = u64::from_be_bytes([requests, standing as u8, a, b, c, d, e, f]);
        self.entry.store(word, Release);
    }

    /// Its MAC, where it is to be used.
    #[inline]
    fn known(&self) -> Option<MacAddress> {
        self.note_use();
        let [_, standing, mac @ ..] = self.entry.load(Acquire).to_be_bytes();
        let is_known = standing == Standing::Fresh as u8 || standing == Standing::Refreshing as u8;
        is_known.then_some(MacAddress(mac))
    }

    #[inline]
    fn note_use(&self) {
        // Looked at first: a line that is only read stays in every cache.
        if self.used.load(Relaxed) == 0 {
            self.used.store(1, Relaxed);
        }
    }
}

/// The table that all gateways read.
pub(crate) type NeighbourTable = Table<Key, Neighbour, 1>;

/// A table for so many hosts.
pub(crate) fn table(shards: u8, hosts: u32, hash_key: HashKey) -> Arc<NeighbourTable> {
    let slots = hosts.max(NEIGHBOURS_MIN);
    Arc::new(Table::anonymous(shards, slots.div_ceil(u32::from(shards)), hash_key))
}

/// Whether a neighbour on the network `realm` is in the table.
pub(crate) fn names(table: &NeighbourTable, realm: Realm) -> bool {
    (0..table.slots_max()).map(LineIndex).any(|line| {
        let key = table.key(line);
        key.realm == realm.0.to_be_bytes() && table.holds(line, &key)
    })
}

/// What the table says of a next hop.
pub(crate) enum Resolution {
    /// Its MAC, and where it is in the table: to be remembered.
    Known(MacAddress, LineIndex),
    /// Being asked for: the frame may wait.
    Asking(SlotIndex),
    /// It was not in the table: ask for it; the frame may wait.
    Ask(SlotIndex),
    /// It does not answer, or the table is full.
    Unreachable(DropReason),
    /// Not known, and another's to ask for.
    Elsewhere,
}

/// What has to be done about a neighbour whose time has come.
pub(crate) enum Due {
    /// Ask again who has the address.
    Ask(Realm, Ipv4Addr),
    /// It is silent: the frames that wait for it are to be refused.
    Silent(SlotIndex),
}

/// What one gateway does about neighbours: it reads all, and looks after those of its own shards.
pub(crate) struct Neighbours {
    table: Arc<NeighbourTable>,
    owned: [Option<Owner<Key, Neighbour, 1>>; SHARDS_MAX],
    sweep: time::Sweep,
}

impl Neighbours {
    /// Of the owner of `shards`.
    pub(crate) fn new(
        table: &Arc<NeighbourTable>,
        shards: impl Iterator<Item = ShardIndex>,
        quiescence: &Arc<Quiescence>,
    ) -> Self {
        let mut owned = [const { None }; SHARDS_MAX];
        for shard in shards {
            owned[usize::from(shard.0)] = Some(table.owner(shard, quiescence));
        }
        Self { table: Arc::clone(table), owned, sweep: time::Sweep::default() }
    }

    /// Whether this gateway is the one that asks and learns for a shard.
    pub(crate) fn owns(&self, shard: ShardIndex) -> bool {
        matches!(self.owned.get(usize::from(shard.0)), Some(Some(_)))
    }

    /// The MAC of `address` on the network `realm`, or what to do about it.
    pub(crate) fn resolve(
        &mut self,
        shard: ShardIndex,
        realm: Realm,
        address: Ipv4Addr,
        now_ms: u32,
    ) -> Resolution {
        let key = key(realm, address);
        let owner = self.owned.get_mut(usize::from(shard.0)).and_then(Option::as_mut);
        let Some(line) = self.table.find(shard, &key) else {
            let Some(owner) = owner else { return Resolution::Elsewhere };
            let asked = Entry { mac: MacAddress::default(), standing: Standing::Incomplete, requests: 1 };
            return match insert(owner, key, asked, now_ms.wrapping_add(ANSWER_MS)) {
                Some(slot) => Resolution::Ask(slot),
                None => Resolution::Unreachable(DropReason::NeighbourTableFull),
            };
        };
        let neighbour = self.table.value(line);
        neighbour.note_use();
        let entry = neighbour.read();
        match entry.standing {
            Standing::Fresh | Standing::Refreshing => Resolution::Known(entry.mac, line),
            Standing::Incomplete if owner.is_none() => Resolution::Elsewhere,
            Standing::Incomplete => Resolution::Asking(self.table.slot_of(line)),
            Standing::Silent => Resolution::Unreachable(DropReason::NeighbourUnresolved),
        }
    }

    /// Starts to load a neighbour where it was last found.
    #[inline]
    pub(crate) fn prefetch(&self, remembered: LineIndex) {
        self.table.prefetch_line(remembered);
    }

    /// The MAC of `address` on the network `realm`, where it is known and was last found at `remembered`.
    #[inline]
    pub(crate) fn recall(
        &self,
        remembered: LineIndex,
        realm: Realm,
        address: Ipv4Addr,
    ) -> Option<MacAddress> {
        self.table.read_hinted(remembered, &key(realm, address), Neighbour::known)?
    }

    /// Where `address` on the network `realm` is, if it is in the table: to be remembered.
    pub(crate) fn locate(&self, shard: ShardIndex, realm: Realm, address: Ipv4Addr) -> Option<LineIndex> {
        self.table.find(shard, &key(realm, address))
    }

    /// Whether an address is in the table.
    pub(crate) fn has(&self, shard: ShardIndex, realm: Realm, address: Ipv4Addr) -> bool {
        self.table.find(shard, &key(realm, address)).is_some()
    }

    /// Learns that `address`, of a shard of its own, is at `mac`. Returns the neighbour's slot, `None` where the table is
    /// full.
    pub(crate) fn learn(
        &mut self,
        shard: ShardIndex,
        realm: Realm,
        address: Ipv4Addr,
        mac: MacAddress,
        now_ms: u32,
    ) -> Option<SlotIndex> {
        let owner = self.owned.get_mut(usize::from(shard.0))?.as_mut()?;
        let key = key(realm, address);
        let fresh = Entry { mac, standing: Standing::Fresh, requests: 0 };
        let deadline_ms = now_ms.wrapping_add(FRESH_MS);
        let Some(line) = self.table.find(shard, &key) else {
            return insert(owner, key, fresh, deadline_ms);
        };
        let neighbour = self.table.value(line);
        neighbour.write(fresh);
        neighbour.used.store(0, Relaxed);
        let slot = self.table.slot_of(line);
        owner.set_deadline(slot, deadline_ms);
        Some(slot)
    }

    /// How many slots of each shard to look after now.
    pub(crate) fn slots_due(&mut self, now_ms: u32) -> usize {
        self.sweep.slots(now_ms, self.table.slots_per_shard())
    }

    /// Looks after so many neighbours of a shard, if it is its own, and reports what is to be done about them.
    pub(crate) fn look_after(
        &mut self,
        shard: ShardIndex,
        slots: usize,
        now_ms: u32,
        due: &mut ArrayVec<Due, SWEEP_DUE_MAX>,
    ) {
        let Some(Some(owner)) = self.owned.get_mut(usize::from(shard.0)) else { return };
        let mut swept = ArrayVec::<SlotIndex, SWEEP_DUE_MAX>::new();
        owner.sweep(now_ms, slots, &mut swept);
        for slot in swept {
            let line = self.table.line_of(slot, 0);
            let neighbour = self.table.value(line);
            let entry = neighbour.read();
            let ask = match entry.standing {
                Standing::Fresh => neighbour.used.load(Relaxed) != 0,
                Standing::Incomplete | Standing::Refreshing => entry.requests < REQUESTS_MAX,
                Standing::Silent => false,
            };
            if ask {
                let standing = match entry.standing {
                    Standing::Fresh => Standing::Refreshing,
                    standing => standing,
                };
                neighbour.write(Entry { standing, requests: entry.requests + 1, ..entry });
                owner.set_deadline(slot, now_ms.wrapping_add(ANSWER_MS));
                let Key { realm, address } = self.table.key(line);
                due.push(Due::Ask(Realm(u32::from_be_bytes(realm)), address.into()));
            } else if entry.standing == Standing::Incomplete {
                neighbour.write(Entry { standing: Standing::Silent, ..entry });
                owner.set_deadline(slot, now_ms.wrapping_add(SILENT_MS));
                due.push(Due::Silent(slot));
            } else {
                // Whoever remembers where it was finds it unknown.
                neighbour.write(Entry { standing: Standing::Incomplete, ..entry });
                owner.remove(slot);
            }
        }
    }

    /// Frees what every gateway has let go of, a bounded number.
    pub(crate) fn reclaim(&mut self) {
        self.owned.iter_mut().flatten().for_each(Owner::reclaim);
    }
}

fn insert(
    owner: &mut Owner<Key, Neighbour, 1>,
    key: Key,
    entry: Entry,
    deadline_ms: u32,
) -> Option<SlotIndex> {
    let fill = |[neighbour]: [&Neighbour; 1]| {
        neighbour.write(entry);
        neighbour.used.store(0, Relaxed);
    };
    owner.insert([key], deadline_ms, fill).ok()
}

#[inline]
fn key(realm: Realm, address: Ipv4Addr) -> Key {
    Key { realm: realm.0.to_be_bytes(), address: address.octets() }
}

#[cfg(test)]
mod tests;
