//! Taking over what another process left: sessions, ports, hold-downs and books go on where it ended.
//!
//! ```text
//! header fits?     no: the region is emptied, and why is told                                   state/header.rs
//! each shard       every slot and index entry in one stream, on all processors at once          flowtable
//!                  a session whose two lines do not mirror each other is dropped, alone
//! where in work    what the shard's intent names is counted again                               takeover/recount.rs
//!   or broken      everything of the shard is
//! ports            groups' bits and counts made from the cells; cells that nobody can have are freed
//! books            all workers' added up into the past; what they had in their hands is `gateway_ended`
//! ```
//!
//! The index is kept, not rebuilt, and counts are trusted where nothing was in work: a session costs a comparison of two
//! neighbouring cache lines. It happens once, before the first frame: so this is the one place in the brain with threads
//! and files, and it looks at a clock only to say how long it took.

mod recount;

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use flowtable::{HugePages, Owner, Pages, Region, ShardIndex, TakenOver};
use packet::Moment;
use rules::compiled::Realm;
use zerocopy::FromBytes;

use crate::flow::{Flow, has_ports};
use crate::mappings::{Block, Holds, Host, Mapping, Permission};
use crate::sessions::{INBOUND, Line};
use crate::shard::Shard;
use crate::state::{FreshReason, HEADER_BYTES, Header, Identity, Intent, Sizes, State};
use crate::time;
use recount::{Scope, recount};

/// Why there is no state to begin with. That a region cannot be used is none: it is emptied.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it: end that one first.
    #[error("{} is in use by another process", path.display())]
    Busy {
        /// The region's file.
        path: PathBuf,
    },
    /// The file or its memory cannot be had.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The region's file.
        path: PathBuf,
        /// What failed.
        action: &'static str,
        /// How.
        source: io::Error,
    },
}

/// What a process found when it opened its region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takeover {
    /// Why the region starts empty; `None`: it was taken over.
    pub fresh: Option<FreshReason>,
    /// The process before did not end by itself.
    pub crashed: bool,
    /// Sessions that go on.
    pub sessions_kept: u32,
    /// Sessions that were torn or in work twice.
    pub sessions_dropped: u32,
    /// Mappings that go on, those in hold-down included.
    pub mappings_kept: u32,
    /// Index entries that were wrong and made anew.
    pub entries_repaired: u32,
    /// Shards in which something was counted again.
    pub shards_recounted: u32,
    /// How long it took.
    pub elapsed: Duration,
    /// The pages that the region lies in, as far as the kernel tells.
    pub pages: Option<Pages>,
}

impl fmt::Display for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = self.fresh {
            return write!(f, "{reason}: starting without sessions");
        }
        let after = if self.crashed { "a crash" } else { "an orderly end" };
        write!(
            f,
            "took over {} sessions and {} mappings after {after}, in {:.3} s",
            self.sessions_kept,
            self.mappings_kept,
            self.elapsed.as_secs_f64()
        )?;
        if self.sessions_dropped > 0 {
            write!(f, "; dropped {} damaged sessions", self.sessions_dropped)?;
        }
        if self.entries_repaired > 0 {
            write!(f, "; repaired {} index entries", self.entries_repaired)?;
        }
        if self.shards_recounted > 0 {
            write!(f, "; counted again in {} shards", self.shards_recounted)?;
        }
        Ok(())
    }
}

impl State {
    /// Opens the region in a file, on hugetlbfs, tmpfs or any other, and takes over what is there; makes it where there is
    /// none. `now` is a time of the clock that gives all later ones. The seed keys a region that begins, and in any case
    /// the choice of ports from now on. A region that begins may be put into `huge_pages`; one that is taken over stays in
    /// those it has, because packets wait.
    ///
    /// # Errors
    /// [`OpenError`]: the file cannot be had. A file that holds something else, or cannot be understood, is emptied, and
    /// [`Takeover::fresh`] says why.
    ///
    /// # Panics
    /// As [`State::anonymous`].
    pub fn open(
        path: &Path,
        sizes: &Sizes,
        seed: [u64; 4],
        now: Moment,
        huge_pages: HugePages,
    ) -> Result<(Arc<Self>, Vec<Shard>, Takeover), OpenError> {
        Self::open_in(path, sizes, seed, now, huge_pages, boot())
    }

    /// The same, in a boot of the test's choice.
    pub(crate) fn open_in(
        path: &Path,
        sizes: &Sizes,
        seed: [u64; 4],
        now: Moment,
        huge_pages: HugePages,
        boot: [u64; 2],
    ) -> Result<(Arc<Self>, Vec<Shard>, Takeover), OpenError> {
        let failed = |action| move |source| OpenError::Io { path: path.to_owned(), action, source };
        let file = lock(path)?;
        let plan = Self::measure(sizes);
        let expected = Identity::new(sizes, plan.layout_hash(), boot, seed);
        let block_bytes = file.metadata().map_err(failed("look at it"))?.blksize().max(1);
        let bytes = plan.bytes().next_multiple_of(block_bytes);
        let found = look_at(&file, bytes, &expected, now.ms()).map_err(failed("read its header"))?;
        if found.is_err() {
            file.set_len(0).map_err(failed("empty it"))?;
        }
        file.set_len(bytes).map_err(failed("set its length"))?;
        let region = Region::map(&file, bytes, if found.is_err() { huge_pages } else { HugePages::NotAsked })
            .map_err(failed("map it"))?;
        let identity = *found.as_ref().unwrap_or(&expected);
        let state = Arc::new(Self::over(&region, Some(file), sizes, &identity));
        let (shards, mut takeover) = match found {
            Ok(_) => state.take_over(seed, now),
            Err(reason) => {
                state.header().begin(&identity, now.ms());
                (state.shards_of(seed), Takeover { fresh: Some(reason), ..Takeover::default() })
            }
        };
        takeover.pages = region.pages();
        Ok((state, shards, takeover))
    }

    fn take_over(self: &Arc<Self>, seed: [u64; 4], now: Moment) -> (Vec<Shard>, Takeover) {
        let begun = Instant::now();
        let crashed = self.header().is_open();
        // From now on a crash is this process's.
        self.header().open(now.ms());
        let lost = self.parts.addresses.free_damaged();
        for space in lost.iter().flat_map(|address| self.parts.ports.spaces_of(*address)) {
            space.clear();
        }
        let addresses: Vec<_> = self.parts.addresses.records().map(|(address, _)| address).collect();
        let many = on_all_processors(addresses.len(), |index| {
            self.parts.ports.spaces_of(addresses[index]).filter(|space| space.begin_many()).count()
        });
        let taken_over = on_all_processors(usize::from(self.shards()), |shard| {
            let shard = ShardIndex(shard as u8);
            self.take_over_shard(shard, [seed[2], seed[3]], !lost.is_empty(), now.ms() as u32)
        });
        if many.into_iter().sum::<usize>() > 0 {
            let sessions: Vec<_> = taken_over.iter().map(|(shard, _)| &shard.sessions).collect();
            on_all_processors(sessions.len(), |shard| self.count_many(sessions[shard]));
        }
        on_all_processors(addresses.len(), |index| {
            self.parts.ports.spaces_of(addresses[index]).for_each(|space| space.rebuild(self.shards()));
        });
        let mut takeover = Takeover { crashed, ..Takeover::default() };
        let mut shards = Vec::new();
        for (shard, found) in taken_over {
            takeover.add(&found);
            shards.push(shard);
        }
        self.close_books_of_the_past(takeover.sessions_dropped);
        takeover.elapsed = begun.elapsed();
        (shards, takeover)
    }

    /// One shard: tables first, as its owner then, with all counts right at the end.
    fn take_over_shard(
        self: &Arc<Self>,
        shard: ShardIndex,
        seed: [u64; 2],
        lost_addresses: bool,
        now_ms: u32,
    ) -> (Shard, Takeover) {
        let parts = &self.parts;
        let sessions =
            parts.sessions.take_over(shard, |keys, lines| self.is_session(shard, keys, lines, now_ms));
        let hosts = parts.hosts.take_over(shard, |[key], _: [&Host; 1]| self.is_host(shard, &key));
        let mappings = parts.mappings.take_over(shard, |[key], [line]| self.is_mapping(shard, &key, line));
        let permissions =
            parts.permissions.take_over(shard, |[key], _: [&Permission; 1]| is_permission(&key));
        let blocks = parts.blocks.take_over(shard, |[key], [line]| self.is_block(shard, &key, line));
        let tables: [TakenOver; 5] = [sessions, hosts, mappings, permissions, blocks];
        let mut owner = Shard::new(self, shard, seed);
        let mut sessions_dropped = sessions.dropped;
        let is_broken = lost_addresses || tables.iter().any(|table| table.dropped > 0);
        let scope = Scope::of(owner.mappings.intent(), is_broken);
        if let Some(scope) = &scope {
            sessions_dropped += recount(&mut owner, scope, now_ms);
        }
        owner.mappings.queue_all();
        owner.mappings.intent().settle();
        let found = Takeover {
            sessions_kept: owner.sessions.len(),
            sessions_dropped,
            mappings_kept: owner.mappings.mappings.len(),
            entries_repaired: tables.iter().map(|table| table.repaired_entries).sum(),
            shards_recounted: u32::from(scope.is_some()),
            ..Takeover::default()
        };
        (owner, found)
    }

    /// Whether two lines are a session of the shard: each the other's translation, of realms that belong to somebody, and
    /// last seen in the past, for else it would stay until that time comes.
    fn is_session(
        &self,
        shard: ShardIndex,
        [internal, external]: [Flow; 2],
        lines: [&Line; 2],
        now_ms: u32,
    ) -> bool {
        let [outbound, inbound] = lines.map(|line| (line.endpoint(), line.realm()));
        let holds = lines.map(|line| line.holds());
        internal.with_source(outbound.0, outbound.1).reversed() == external
            && holds[0] == holds[1]
            && Holds::all().contains(holds[0])
            && (internal.source(), internal.realm()) == inbound
            && (has_ports(internal.protocol()) || (internal.source().port, external.source().port) == (0, 0))
            && self.is_of(shard, &internal)
            && self.parts.realms.is_taken(external.realm())
            && Intent::is_number(lines[INBOUND].mapping().load(Relaxed))
            && lines.iter().all(|line| time::has_come(line.last_seen_ms(), now_ms))
    }

    fn is_host(&self, shard: ShardIndex, key: &Flow) -> bool {
        let [_, realm @ ..] = key.destination().address.octets();
        let external = Realm(u32::from_be_bytes([0, realm[0], realm[1], realm[2]]));
        key.host_key(external) == *key && self.is_of(shard, key)
    }

    fn is_mapping(&self, shard: ShardIndex, internal: &Flow, line: &Mapping) -> bool {
        let Some((realm, _)) = self.parts.addresses.at(line.external().address()) else { return false };
        Intent::is_number(line.number())
            && has_ports(internal.protocol())
            && self.is_of(shard, internal)
            && self.parts.realms.is_taken(realm)
    }

    fn is_block(&self, shard: ShardIndex, host: &Flow, line: &Block) -> bool {
        let Some((realm, _)) = self.parts.addresses.at(line.external().address()) else { return false };
        let ports = line.ports();
        host.block_key(realm, host.source().port) == *host
            && (8..=4_096).contains(&ports)
            && ports.is_power_of_two()
            && u32::from(line.external().port()) % ports == 0
            && self.is_of(shard, host)
            && self.parts.realms.is_taken(realm)
    }

    /// Counts the shard's uses of ports that sessions of several shards share.
    fn count_many(&self, sessions: &Owner<Flow, Line, 2>) {
        for slot in sessions.live(sessions.first_slot(), sessions.table().slots_per_shard() as usize) {
            let taken = self.taken(slot);
            if taken.holds.contains(Holds::PORT)
                && let Some((space, port)) = self.place_of(&taken.outside)
            {
                space.count_many(port);
            }
        }
    }

    fn is_of(&self, shard: ShardIndex, internal: &Flow) -> bool {
        self.shard_of_host(internal.realm(), internal.source().address) == shard
            && self.parts.realms.is_taken(internal.realm())
    }
}

fn is_permission(key: &Flow) -> bool {
    key.permission_key() == *key && has_ports(key.protocol())
}

impl Takeover {
    fn add(&mut self, other: &Self) {
        self.sessions_kept += other.sessions_kept;
        self.sessions_dropped += other.sessions_dropped;
        self.mappings_kept += other.mappings_kept;
        self.entries_repaired += other.entries_repaired;
        self.shards_recounted += other.shards_recounted;
    }
}

/// Opens the file, for this process alone. It says who speaks with whom: nobody else may read it.
fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |action| move |source| OpenError::Io { path: path.to_owned(), action, source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed("open it"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Busy { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed("lock it")(source)),
    }
}

/// Reads what the file says it is, before any of it is mapped: the region's own identity where it can be taken over.
fn look_at(
    file: &File,
    bytes: u64,
    expected: &Identity,
    now_ms: u64,
) -> io::Result<Result<Identity, FreshReason>> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(Err(FreshReason::New));
    }
    let mut head = [0; HEADER_BYTES];
    let Ok(()) = file.read_exact_at(&mut head, 0) else { return Ok(Err(FreshReason::NotARegion)) };
    let header = Header::read_from_bytes(&head).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(header.check(expected).and_then(|identity| {
        if length != bytes {
            return Err(FreshReason::OtherLength { found: length, expected: bytes });
        }
        if header.is_crash_loop(now_ms) {
            return Err(FreshReason::CrashLoop);
        }
        Ok(identity)
    }))
}

/// Names this boot of this machine. Without a name there is no telling boots apart: then none is like another.
fn boot() -> [u64; 2] {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits = id.trim().replace('-', "");
    u128::from_str_radix(&digits, 16)
        .map_or([u64::from(std::process::id()), 0], |id| [(id >> 64) as u64, id as u64])
}

/// Does `jobs` jobs, on as many threads as there are processors; their results in order.
fn on_all_processors<T: Send>(jobs: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(jobs);
    let next = AtomicUsize::new(0);
    let work = || {
        let take = || Some(next.fetch_add(1, Relaxed)).filter(|number| *number < jobs);
        std::iter::from_fn(take).map(|number| (number, job(number))).collect::<Vec<_>>()
    };
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for helper in helpers {
            match helper.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests;
