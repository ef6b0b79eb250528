//! The region's header: what lies in the region, for whom, and how the last processes ended.
//!
//! ```text
//!  0          8           12       16            24         28          32
//!  | natgate\0 | version | shards | layout hash | sessions | addresses | hash kind |
//!  40         48          56         64          72         80         88        96
//!  | hash key             | shard key            | boot                 | checksum |     written once, when it begins
//!  96           104       112          120             144
//!  | generation | open    | opened, ms | 3 early crashes |                               written while it lives
//! ```
//!
//! A process that finds a region reads the header before it maps anything. Whatever there does not fit is a reason to
//! start with an empty region, told in one sentence, never to interpret the rest. Deadlines are times of a clock that
//! begins with the machine, so a region does not outlive a boot.
//!
//! A state that makes the process crash would do so again and again, in ever the same way. So crashes that come early,
//! soon after the state was taken over, are remembered; three of them within a minute, and the state is given up.

use std::fmt;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flowtable::HashKind;
use siphasher::sip::SipHasher13;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::Sizes;
use crate::random::checksum;

/// Rises with every change of what the bytes in the region mean that the layout hash does not see.
const LAYOUT_VERSION: u32 = 9;

const MAGIC: [u8; 8] = *b"natgate\0";

/// A crash comes early if the process ends within this time after it opened the region.
const EARLY_MS: u64 = 5_000;

/// So many early crashes within this time make a crash loop.
const CRASH_LOOP: usize = 3;
const CRASH_LOOP_MS: u64 = 60_000;

/// What a region is for. Written once; anything else than expected, and the region is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, FromBytes, Immutable)]
#[repr(C)]
pub(crate) struct Identity {
    magic: [u8; 8],
    version: u32,
    shards: u32,
    layout_hash: u64,
    sessions: u32,
    addresses: u32,
    hosts: u32,
    mappings: u32,
    hash_kind: u64,
    /// Of every table; from the operating system when the region began.
    pub(crate) hash_key: [u64; 2],
    /// Decides to which shard a host belongs.
    pub(crate) shard_key: [u64; 2],
    boot: [u64; 2],
}

const WORDS: usize = size_of::<Identity>() / size_of::<u64>();

/// The header as it lies in the region. See the file's page.
#[derive(Default, FromBytes)]
#[repr(C)]
pub(crate) struct Header {
    identity: [AtomicU64; WORDS],
    checksum: AtomicU64,
    /// The highest generation of rules that lines may name.
    generation: AtomicU64,
    /// 1 while a process uses the region.
    open: AtomicU64,
    opened_ms: AtomicU64,
    early_crashes_ms: [AtomicU64; CRASH_LOOP],
}

/// Before this there is nothing of a header that could be read.
pub(crate) const HEADER_BYTES: usize = size_of::<Header>();

const _: () = {
    assert!(size_of::<Identity>() == 96);
    assert!(std::mem::offset_of!(Header, checksum) == 96);
    assert!(std::mem::offset_of!(Header, generation) == 104);
    assert!(std::mem::offset_of!(Header, early_crashes_ms) == 128);
    assert!(HEADER_BYTES == 152);
};

/// Why a region starts empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreshReason {
    /// There was none.
    New,
    /// It is shorter or longer than what its sizes take.
    OtherLength {
        /// The file's length in bytes.
        found: u64,
        /// What it has to be.
        expected: u64,
    },
    /// What is there was never a region.
    NotARegion,
    /// It was made by another version of natgate, which laid out its state differently.
    OtherLayout {
        /// Its layout version.
        found: u32,
        /// Ours.
        ours: u32,
    },
    /// The header is not what was written: torn, or damaged.
    BadHeader,
    /// It was made for other sizes.
    OtherSizes {
        /// What it was made for.
        found: Sizes,
    },
    /// It is of an earlier boot of this machine, or of another machine: its times mean nothing.
    OtherBoot,
    /// Its hash cannot be computed on this processor, or is not the one that is used on it.
    HashUnavailable,
    /// Processes that took it over ended soon after, again and again.
    CrashLoop,
}

impl fmt::Display for FreshReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("there was no flow state"),
            Self::OtherLength { found, expected } => {
                write!(
                    f,
                    "the flow state is {found} bytes long, not {expected}: it was cut off, or made for other sizes"
                )
            }
            Self::NotARegion => f.write_str("the file holds something else than flow state"),
            Self::OtherLayout { found, ours } if found == ours => {
                f.write_str("the flow state was laid out by another build of natgate")
            }
            Self::OtherLayout { found, ours } => {
                write!(f, "the flow state has layout version {found}, this natgate has {ours}")
            }
            Self::BadHeader => f.write_str("the header of the flow state is damaged"),
            Self::OtherSizes { found: Sizes { sessions, shards, addresses, hosts, mappings } } => write!(
                f,
                "the flow state was made for other sizes: {sessions} sessions, {shards} shards, {addresses} external \
                 addresses, {hosts} hosts, {mappings} mappings"
            ),
            Self::OtherBoot => f.write_str("the flow state is of another boot of the machine"),
            Self::HashUnavailable => {
                f.write_str("the flow state was hashed in a way that this processor does not offer")
            }
            Self::CrashLoop => write!(
                f,
                "the last {CRASH_LOOP} processes ended within {} s of taking the flow state over",
                EARLY_MS / 1_000
            ),
        }
    }
}

impl Identity {
    /// Of a region that begins now, its keys drawn from the seed.
    pub(crate) fn new(sizes: &Sizes, layout_hash: u64, boot: [u64; 2], seed: [u64; 4]) -> Self {
        let hash_key = [seed[0], seed[1]];
        // Not the hash key itself: what a shard's choice shows must say nothing about the tables' hash.
        let derived = |number: u64| {
            let mut hasher = SipHasher13::new_with_keys(seed[0], seed[1]);
            hasher.write(b"shard key");
            hasher.write_u64(number);
            hasher.finish()
        };
        Self {
            magic: MAGIC,
            version: LAYOUT_VERSION,
            shards: sizes.shards.into(),
            layout_hash,
            sessions: sizes.sessions,
            addresses: sizes.addresses,
            hosts: sizes.hosts,
            mappings: sizes.mappings,
            hash_kind: hash_kind(),
            hash_key,
            shard_key: [derived(0), derived(1)],
            boot,
        }
    }

    fn words(&self) -> [u64; WORDS] {
        zerocopy::transmute!(*self)
    }

    fn checksum(&self) -> u64 {
        checksum(&self.words())
    }

    fn sizes(&self) -> Sizes {
        let shards = u8::try_from(self.shards).unwrap_or(u8::MAX);
        let (hosts, mappings) = (self.hosts, self.mappings);
        Sizes { sessions: self.sessions, shards, addresses: self.addresses, hosts, mappings }
    }
}

fn hash_kind() -> u64 {
    match HashKind::of_this_machine() {
        HashKind::Aes => 1,
        HashKind::SipHash => 2,
    }
}

impl Header {
    /// What the region says it is, if it can be what `expected` says. Keys are the region's own.
    ///
    /// In this order, because each makes sense only if the one before is right.
    pub(crate) fn check(&self, expected: &Identity) -> Result<Identity, FreshReason> {
        let found = self.identity();
        if found.magic != MAGIC {
            return Err(FreshReason::NotARegion);
        }
        if found.version != expected.version {
            return Err(FreshReason::OtherLayout { found: found.version, ours: expected.version });
        }
        if found.checksum() != self.checksum.load(Relaxed) {
            return Err(FreshReason::BadHeader);
        }
        if found.sizes() != expected.sizes() {
            return Err(FreshReason::OtherSizes { found: found.sizes() });
        }
        if found.layout_hash != expected.layout_hash {
            return Err(FreshReason::OtherLayout { found: found.version, ours: expected.version });
        }
        if found.boot != expected.boot {
            return Err(FreshReason::OtherBoot);
        }
        if found.hash_kind != expected.hash_kind {
            return Err(FreshReason::HashUnavailable);
        }
        Ok(found)
    }

    /// Whether a process found this region open: it did not end by itself.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Relaxed) != 0
    }

    /// Whether, counting a crash that is found at `now_ms`, too many came early.
    pub(crate) fn is_crash_loop(&self, now_ms: u64) -> bool {
        self.ended_early(now_ms).is_some_and(|crashes_ms| {
            crashes_ms.iter().all(|crash_ms| *crash_ms != 0 && now_ms.wrapping_sub(*crash_ms) < CRASH_LOOP_MS)
        })
    }

    /// The last early crashes, if the process that had the region open has added one to them.
    ///
    /// When it ended is not known, only when that is found: a supervisor that waits long makes no loop.
    fn ended_early(&self, now_ms: u64) -> Option<[u64; CRASH_LOOP]> {
        let ran_ms = now_ms.wrapping_sub(self.opened_ms.load(Relaxed));
        (self.is_open() && ran_ms < EARLY_MS).then(|| {
            let mut crashes_ms = std::array::from_fn(|i| self.early_crashes_ms[i].load(Relaxed));
            crashes_ms.rotate_left(1);
            // 0 is no time.
            crashes_ms[CRASH_LOOP - 1] = now_ms.max(1);
            crashes_ms
        })
    }

    /// Begins a region.
    pub(crate) fn begin(&self, identity: &Identity, now_ms: u64) {
        for (word, value) in self.identity.iter().zip(identity.words()) {
            word.store(value, Relaxed);
        }
        self.checksum.store(identity.checksum(), Relaxed);
        self.open(now_ms);
    }

    /// Notes that this process uses the region from now on, and how the last one ended.
    pub(crate) fn open(&self, now_ms: u64) {
        match self.ended_early(now_ms) {
            Some(crashes_ms) => {
                for (word, crash_ms) in self.early_crashes_ms.iter().zip(crashes_ms) {
                    word.store(crash_ms, Relaxed);
                }
            }
            // Whatever it was, it is over: the last process ran for a while, or ended by itself.
            None => self.early_crashes_ms.iter().for_each(|word| word.store(0, Relaxed)),
        }
        self.opened_ms.store(now_ms, Relaxed);
        self.open.store(1, Relaxed);
    }

    /// Notes that this process has ended by itself.
    pub(crate) fn close(&self) {
        self.open.store(0, Relaxed);
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    pub(crate) fn raise_generation(&self, generation: u64) {
        self.generation.fetch_max(generation, Relaxed);
    }

    fn identity(&self) -> Identity {
        let words: [u64; WORDS] = std::array::from_fn(|i| self.identity[i].load(Relaxed));
        zerocopy::transmute!(words)
    }
}

#[cfg(test)]
mod tests;
