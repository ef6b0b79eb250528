//! Two threads over one table, each the owner of a shard and a reader of both, against a model.
//!
//! ```text
//! thread 0                              thread 1
//!   look up 32 keys of both shards        the same
//!   insert, remove, sweep in shard 0      ... in shard 1        90 % full: every fourth insertion displaces
//!   look again at what was found          ...                   it must be what it was: the grace
//!   pass, reclaim                         ...
//! ```
//!
//! The model has two parts. Each owner keeps its shard in a hash map and compares its own lookups exactly. For
//! lookups beside an owner there is a *state* for each key, which the owner raises before and after each change: a
//! reader that saw the same state before and after its lookup knows what it must have found. Some keys never leave:
//! of them no lookup may miss, whatever moves around them.
//!
//! `FLOWTABLE_LOOKUPS` says how many lookups the model test makes, `FLOWTABLE_TORTURE_SECONDS` how long the torture
//! lasts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use flowtable::{
    HashKey, InsertError, LineIndex, LineValue, Owner, Quiescence, SWEEP_DUE_MAX, ShardIndex, SlotIndex,
    Table,
};
use hashbrown::HashMap;
use zerocopy::FromBytes;

/// Threads, and shards: each thread owns one.
const THREADS: usize = 2;

const SLOTS_PER_SHARD: u32 = 1 << 14;

/// Slots in use, and how few they may become while others wait for their grace.
const FILL: u32 = SLOTS_PER_SHARD / 100 * 92;
const FILL_LEAST: u32 = SLOTS_PER_SHARD / 100 * 90;

/// Identities of one shard, not all of them present at once. With each comes a slot of two keys.
const IDENTITIES: u32 = 2 * SLOTS_PER_SHARD;

/// The first of them never leave.
const STABLE: u32 = SLOTS_PER_SHARD / 4;

/// Keys looked up together.
const BURST: usize = 32;

/// Insertions of one turn at most.
const INSERTIONS: usize = 4;

/// The longest time until a slot is due: so long that they leave as fast as they come.
const LIFETIME_MAX_MS: u64 = 16_000;

type Key = [u64; 2];

/// What an owner writes on insertion: every word says whose it is and of which insertion.
#[derive(FromBytes)]
#[repr(C)]
struct Value {
    words: [AtomicU64; 5],
    /// Raised by everybody who finds it, as a session's counters are.
    seen: AtomicU64,
}

impl LineValue<Key> for Value {}

impl Value {
    fn fill(&self, key: &Key, state: u32) {
        for (word, expected) in self.words.iter().zip(Self::words(key, state)) {
            word.store(expected, Ordering::Relaxed);
        }
        self.seen.store(0, Ordering::Relaxed);
    }

    fn words(key: &Key, state: u32) -> [u64; 5] {
        std::array::from_fn(|i| scramble(key[0] ^ key[1].rotate_left(17) ^ u64::from(state) << 3 ^ i as u64))
    }
}

/// One identity's place in the model: a number that only rises, and whose remainder is the phase.
struct State(AtomicU32);

const PHASES: u32 = 4;
const ABSENT: u32 = 0;
const COMES: u32 = 1;
const PRESENT: u32 = 2;
const LEAVES: u32 = 3;

impl State {
    /// The owner raises it to the next state of this phase, which is returned.
    fn raise_to(&self, phase: u32) -> u32 {
        let state = self.next(phase);
        // Whoever sees its change has seen its beginning, and whoever sees the end of it sees the change.
        self.0.store(state, Ordering::Release);
        fence(Ordering::Release);
        state
    }

    fn next(&self, phase: u32) -> u32 {
        let state = self.0.load(Ordering::Relaxed);
        state + (phase + PHASES - state % PHASES) % PHASES
    }

    fn before(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn after(&self) -> u32 {
        fence(Ordering::Acquire);
        self.0.load(Ordering::Relaxed)
    }
}

struct Shared {
    table: Arc<Table<Key, Value, 2>>,
    quiescence: Arc<Quiescence>,
    /// By shard, then identity.
    states: [Vec<State>; THREADS],
}

/// What the threads did, for the assertion that they did something.
#[derive(Default)]
struct Done {
    lookups: u64,
    found: u64,
    known: u64,
    insertions: u64,
    removals: u64,
    crowded: u64,
}

/// One line that a lookup of this turn returned.
struct Held {
    line: LineIndex,
    key: Key,
    words: [u64; 5],
}

struct Thread<'a> {
    shared: &'a Shared,
    owner: Owner<Key, Value, 2>,
    shard: usize,
    model: HashMap<u32, SlotIndex>,
    identities: HashMap<SlotIndex, u32>,
    random: u64,
    now_ms: u32,
    done: Done,
}

impl<'a> Thread<'a> {
    fn new(shared: &'a Shared, shard: usize) -> Self {
        let owner = shared.table.owner(ShardIndex(shard as u8), &shared.quiescence);
        let mut thread = Self {
            shared,
            owner,
            shard,
            model: HashMap::new(),
            identities: HashMap::new(),
            random: 0x9e37_79b9_7f4a_7c15 ^ shard as u64,
            now_ms: u32::MAX - 1000,
            done: Done::default(),
        };
        // They come first, so that all others are displaced around them.
        (0..STABLE).for_each(|identity| assert!(thread.insert(identity), "room for those that never leave"));
        while thread.owner.len() < FILL {
            let identity = thread.random_identity();
            thread.insert(identity);
        }
        thread
    }

    /// Turns until `is_enough`, then a last and exact comparison.
    fn run(mut self, is_enough: impl Fn(&Done) -> bool) -> Done {
        let mut reader = self.shared.quiescence.reader();
        while !is_enough(&self.done) {
            let held = self.look_up();
            self.churn();
            held.iter().for_each(|held| self.look_again(held));
            reader.pass();
            self.owner.reclaim();
        }
        self.compare();
        self.done
    }

    /// A burst of keys of both shards, stable and not.
    fn look_up(&mut self) -> ArrayVec<Held, BURST> {
        let wanted: [(usize, u32, usize); BURST] = std::array::from_fn(|_| {
            let random = self.next_random();
            let most = if random & 1 == 0 { STABLE } else { IDENTITIES };
            ((random >> 1) as usize % THREADS, (random >> 32) as u32 % most, (random >> 8) as usize % 2)
        });
        let keys = wanted
            .map(|(shard, identity, side)| Some((ShardIndex(shard as u8), keys(shard, identity)[side])));
        let before = wanted.map(|(shard, identity, _)| self.shared.states[shard][identity as usize].before());
        let mut found = [None; BURST];
        self.shared.table.find_burst(&keys, &mut found);
        let mut held = ArrayVec::new();
        for (i, (shard, identity, side)) in wanted.into_iter().enumerate() {
            let key = keys_of(&keys[i]);
            let words = found[i].map(|line| self.read(line, &key));
            let after = self.shared.states[shard][identity as usize].after();
            if before[i] == after {
                self.done.known += 1;
                match after % PHASES {
                    PRESENT => {
                        let expected = Value::words(&key, after);
                        assert_eq!(
                            words,
                            Some(expected),
                            "identity {identity} of shard {shard}, side {side}"
                        );
                    }
                    ABSENT => assert_eq!(words, None, "identity {identity} of shard {shard} is gone"),
                    _ => {}
                }
            }
            if let (Some(line), Some(words)) = (found[i], words) {
                // Torn or another's, where the model does not know which insertion it was.
                // One on, where its owner has not said yet that it is present; one back, where it has begun to leave.
                let is_whole = (before[i].saturating_sub(1)..=after + 1)
                    .any(|state| state % PHASES == PRESENT && words == Value::words(&key, state));
                assert!(is_whole, "identity {identity} of shard {shard}: {words:x?}");
                held.push(Held { line, key, words });
                self.done.found += 1;
            } else {
                assert!(identity >= STABLE, "a key that never leaves was not found");
            }
        }
        self.done.lookups += BURST as u64;
        held
    }

    fn read(&self, line: LineIndex, key: &Key) -> [u64; 5] {
        let (table, value) = (&self.shared.table, self.shared.table.value(line));
        assert_eq!(table.key(line), *key, "another key's line");
        value.seen.fetch_add(1, Ordering::Relaxed);
        std::array::from_fn(|i| value.words[i].load(Ordering::Relaxed))
    }

    /// What was found in this turn is what it was, though it may have been removed.
    fn look_again(&self, held: &Held) {
        assert_eq!(
            self.read(held.line, &held.key),
            held.words,
            "a slot used again before its grace was over"
        );
    }

    /// Removes what the sweep finds, one more at random, and fills up again.
    fn churn(&mut self) {
        if self.owner.len() > FILL_LEAST {
            self.thin_out();
        } else {
            // All that was removed waits for a thread that does not run.
            thread::yield_now();
        }
        for _ in 0..INSERTIONS {
            if self.owner.len() >= FILL {
                break;
            }
            let identity = self.random_identity();
            self.insert(identity);
        }
        let identity = self.random_identity();
        let found = self.owner.table().find(self.owner.shard(), &keys(self.shard, identity)[1]);
        let expected = self.model.get(&identity).map(|&slot| self.shared.table.line_of(slot, 1));
        assert_eq!(found, expected, "the owner's own lookup of identity {identity}");
    }

    fn thin_out(&mut self) {
        self.now_ms = self.now_ms.wrapping_add(1);
        let mut due = ArrayVec::<_, SWEEP_DUE_MAX>::new();
        self.owner.sweep(self.now_ms, SWEEP_DUE_MAX, &mut due);
        for slot in due {
            let identity = self.identities[&slot];
            if identity < STABLE {
                self.owner.set_deadline(slot, self.now_ms.wrapping_add(1 << 20));
            } else {
                self.remove(identity);
            }
        }
        let identity = self.random_identity();
        if self.model.contains_key(&identity) {
            self.remove(identity);
        }
    }

    fn insert(&mut self, identity: u32) -> bool {
        let keys = keys(self.shard, identity);
        if let Some(&slot) = self.model.get(&identity) {
            let refused = self.owner.insert(keys, 0, |_| panic!("nothing is filled for a duplicate"));
            assert_eq!(refused, Err(InsertError::Duplicate(self.shared.table.line_of(slot, 0))));
            return false;
        }
        let state = &self.shared.states[self.shard][identity as usize];
        state.raise_to(COMES);
        let present = state.next(PRESENT);
        let lifetime_ms = (self.next_random() % LIFETIME_MAX_MS) as u32;
        let inserted = self.owner.insert(keys, self.now_ms.wrapping_add(lifetime_ms), |values| {
            values.iter().zip(&keys).for_each(|(value, key)| value.fill(key, present));
        });
        state.raise_to(if inserted.is_ok() { PRESENT } else { ABSENT });
        match inserted {
            Ok(slot) => {
                assert!(self.model.insert(identity, slot).is_none());
                assert!(self.identities.insert(slot, identity).is_none(), "a slot given out twice");
                self.done.insertions += 1;
                return true;
            }
            // Slots wait for their grace.
            Err(InsertError::Full) => {}
            Err(InsertError::Crowded) => self.done.crowded += 1,
            Err(error) => panic!("{error:?}"),
        }
        false
    }

    fn remove(&mut self, identity: u32) {
        let state = &self.shared.states[self.shard][identity as usize];
        let slot = self.model.remove(&identity).unwrap();
        assert_eq!(self.identities.remove(&slot), Some(identity));
        state.raise_to(LEAVES);
        assert_eq!(self.owner.remove(slot), keys(self.shard, identity));
        state.raise_to(ABSENT);
        self.done.removals += 1;
    }

    /// The shard as a whole.
    fn compare(&self) {
        assert!(self.owner.len() > FILL_LEAST - SWEEP_DUE_MAX as u32 - 1, "it was as full all the time");
        assert_eq!(self.owner.len() as usize, self.model.len());
        let live: Vec<_> = self.owner.live(self.owner.first_slot(), SLOTS_PER_SHARD as usize).collect();
        assert_eq!(live.len(), self.model.len());
        assert!(live.iter().all(|slot| self.identities.contains_key(slot)));
        for identity in 0..IDENTITIES {
            let slot = self.model.get(&identity);
            for (side, key) in keys(self.shard, identity).iter().enumerate() {
                let line = slot.map(|&slot| self.shared.table.line_of(slot, side));
                assert_eq!(self.shared.table.find(self.owner.shard(), key), line);
            }
        }
    }

    fn random_identity(&mut self) -> u32 {
        STABLE + (self.next_random() >> 16) as u32 % (IDENTITIES - STABLE)
    }

    /// xorshift: fast, and the same in every run.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn keys(shard: usize, identity: u32) -> [Key; 2] {
    [0, 1].map(|side| [u64::from(identity) << 8 | side, shard as u64])
}

fn keys_of(wanted: &Option<(ShardIndex, Key)>) -> Key {
    wanted.unwrap().1
}

/// The finalizer of SplitMix64: each bit of the argument moves every bit of the result.
fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

fn from_environment<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name)
        .map_or(default, |value| value.parse().ok().unwrap_or_else(|| panic!("{name}={value}")))
}

/// Runs the threads until each finds that it is enough, and returns what they did together.
fn run(is_enough: impl Fn(&Done) -> bool + Sync) -> Done {
    let table = Arc::new(Table::anonymous(THREADS as u8, SLOTS_PER_SHARD, HashKey([7, 11])));
    let states = std::array::from_fn(|_| (0..IDENTITIES).map(|_| State(AtomicU32::new(0))).collect());
    let shared = Shared { table, quiescence: Quiescence::new(), states };
    // Both shards have those that never leave before anyone looks for them.
    let threads: Vec<_> = (0..THREADS).map(|shard| Thread::new(&shared, shard)).collect();
    let began = Instant::now();
    let each: Vec<Done> = thread::scope(|scope| {
        let is_enough = &is_enough;
        let running: Vec<_> =
            threads.into_iter().map(|thread| scope.spawn(move || thread.run(is_enough))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let sum = |of: fn(&Done) -> u64| each.iter().map(of).sum();
    let done = Done {
        lookups: sum(|done| done.lookups),
        found: sum(|done| done.found),
        known: sum(|done| done.known),
        insertions: sum(|done| done.insertions),
        removals: sum(|done| done.removals),
        crowded: sum(|done| done.crowded),
    };
    println!(
        "{} lookups in {:.1} s: {} found, {} compared with the model, {} insertions, {} removals, {} refused as crowded",
        done.lookups,
        began.elapsed().as_secs_f64(),
        done.found,
        done.known,
        done.insertions,
        done.removals,
        done.crowded,
    );
    // It is no test if nothing changes, or if nearly all lookups fall beside a change of their key.
    assert!(done.insertions > done.lookups / 200 && done.removals > done.lookups / 200, "constant churn");
    assert!(done.known > done.lookups / 10 * 9);
    assert!(done.crowded <= done.insertions / 1000);
    done
}

#[test]
fn lookups_beside_two_owners_agree_with_the_model() {
    let lookups: u64 = from_environment("FLOWTABLE_LOOKUPS", 2_000_000);
    let done = run(|done| done.lookups >= lookups / THREADS as u64);
    assert!(done.lookups >= lookups);
}

#[test]
fn a_table_that_is_nine_tenths_full_stands_constant_churn() {
    let seconds = from_environment("FLOWTABLE_TORTURE_SECONDS", 1);
    let began = Instant::now();
    run(|_| began.elapsed() >= Duration::from_secs(seconds));
}
