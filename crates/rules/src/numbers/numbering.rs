//! One kind of number: see the page of [`numbers`](super) for the life of one.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;
use std::ops::RangeInclusive;

use hashbrown::HashMap;

/// What it means that a key is asked for again while its number is retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Return {
    /// The same thing is back, and has its number again.
    AsItself,
    /// Another thing has the key now, and gets another number.
    AsAnother,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Asked for since [`Numbering::begin`].
    Given,
    /// Given before that, and not yet asked for.
    Unasked,
    Retired,
}

#[derive(Clone, Copy, Debug)]
struct Taken<K> {
    key: K,
    state: State,
}

/// Numbers of a range, each free or taken by a key.
#[derive(Clone, Debug)]
pub(super) struct Numbering<K> {
    range: RangeInclusive<u32>,
    returns: Return,
    taken: BTreeMap<u32, Taken<K>>,
    /// The numbers that the next one who asks for the key gets.
    by_key: HashMap<K, u32>,
    /// The one that was free for the longest time comes first.
    free: VecDeque<u32>,
    /// How many asked in vain since [`Self::begin`].
    lacking: u32,
}

impl<K: Copy + Eq + Hash> Numbering<K> {
    pub(super) fn new(range: RangeInclusive<u32>, returns: Return) -> Self {
        Self {
            free: range.clone().collect(),
            range,
            returns,
            taken: BTreeMap::new(),
            by_key: HashMap::new(),
            lacking: 0,
        }
    }

    /// Takes `number` for `key`, as an earlier process had it. Nothing happens where it is out of range or taken.
    pub(super) fn restore(&mut self, number: u32, key: K, retired: bool) {
        if !self.range.contains(&number) || self.taken.contains_key(&number) {
            return;
        }
        self.free.retain(|free| *free != number);
        let is_first = !self.by_key.contains_key(&key);
        let answers = is_first && (!retired || self.returns == Return::AsItself);
        if answers {
            self.by_key.insert(key, number);
        }
        // Of two that claim one key the second can have nothing new: it is kept until it is released.
        let state = if retired || !answers { State::Retired } else { State::Given };
        self.taken.insert(number, Taken { key, state });
    }

    pub(super) fn begin(&mut self) {
        self.lacking = 0;
        for taken in self.taken.values_mut().filter(|taken| taken.state == State::Given) {
            taken.state = State::Unasked;
        }
    }

    /// The number of `key`; `None` where all are taken.
    pub(super) fn number(&mut self, key: K) -> Option<u32> {
        let known = self.by_key.get(&key).copied();
        let Some(number) = known.or_else(|| self.free.pop_front()) else {
            self.lacking += 1;
            return None;
        };
        self.by_key.insert(key, number);
        self.taken.insert(number, Taken { key, state: State::Given });
        Some(number)
    }

    /// Retires what was not asked for. Where numbers were lacking: how many there are, how many are retired, and how many
    /// more are needed.
    pub(super) fn finish(&mut self) -> Result<(), (u32, u32, u32)> {
        for taken in self.taken.values_mut().filter(|taken| taken.state == State::Unasked) {
            taken.state = State::Retired;
            if self.returns == Return::AsAnother {
                self.by_key.remove(&taken.key);
            }
        }
        if self.lacking == 0 {
            return Ok(());
        }
        let count = |numbers: usize| u32::try_from(numbers).unwrap_or(u32::MAX);
        Err((count(self.taken.len() + self.free.len()), count(self.retired()), self.lacking))
    }

    /// Frees the retired numbers that are not in use. How many.
    pub(super) fn release(&mut self, mut is_in_use: impl FnMut(u32) -> bool) -> usize {
        let (by_key, free) = (&mut self.by_key, &mut self.free);
        let before = self.taken.len();
        self.taken.retain(|&number, taken| {
            if taken.state != State::Retired || is_in_use(number) {
                return true;
            }
            if by_key.get(&taken.key) == Some(&number) {
                by_key.remove(&taken.key);
            }
            free.push_back(number);
            false
        });
        before - self.taken.len()
    }

    /// Every number that is taken, by what, and whether it is retired; rising.
    pub(super) fn taken(&self) -> impl Iterator<Item = (u32, &K, bool)> {
        self.taken.iter().map(|(number, taken)| (*number, &taken.key, taken.state == State::Retired))
    }

    pub(super) fn retired(&self) -> usize {
        self.taken.values().filter(|taken| taken.state == State::Retired).count()
    }
}
