//! What a port's word says.
//!
//! ```text
//! | holder: shard + 1, or MANY (6) | locked (1) | uses (9) |     0: nobody has it
//!
//! uses    0 rests | 1 .. 510 so many sessions towards different remotes | 511 taken whole, for a mapping
//! ```
//!
//! A port that several sessions use is locked while one more is being opened: the lock says "somebody is about to insert a
//! session on this port", so whoever holds it knows that no session which it does not see is under way. Nobody waits for
//! it: who finds a port locked takes another.

use flowtable::ShardIndex;

const USES_BITS: u32 = 9;
const LOCKED: u16 = 1 << USES_BITS;
const USES: u16 = LOCKED - 1;
const HOLDER_SHIFT: u32 = USES_BITS + 1;

/// The holder of a port that sessions of several shards use.
const MANY: u16 = (1 << (u16::BITS - HOLDER_SHIFT)) - 1;

/// Uses of a port that is one mapping's.
const WHOLE: u16 = USES;

/// The most sessions that share a port.
pub(super) const SHARED_MAX: u16 = WHOLE - 1;

const _: () = assert!(flowtable::SHARDS_MAX < MANY as usize, "every shard fits a cell");

/// A cell's value. See the file's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell(pub(super) u16);

/// Who has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// One shard.
    One(ShardIndex),
    /// Sessions of several shards.
    Many,
}

/// What a port is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A mapping, which has it alone.
    Mapping,
    /// A session, which has it towards its remote endpoint.
    Session,
}

impl Cell {
    pub(super) const FREE: Self = Self(0);

    fn of(shard: ShardIndex, uses: u16) -> Self {
        Self((u16::from(shard.0) + 1) << HOLDER_SHIFT | uses)
    }

    /// A free port, taken: for a session it is locked until that is inserted.
    pub(super) fn taken(shard: ShardIndex, purpose: Purpose) -> Self {
        match purpose {
            Purpose::Mapping => Self::of(shard, WHOLE),
            Purpose::Session => Self::of(shard, LOCKED | 1),
        }
    }

    /// Used by one session that is there already.
    pub(super) fn used_once(shard: ShardIndex) -> Self {
        Self::of(shard, 1)
    }

    /// A mapping's port that rests.
    pub(super) fn resting(shard: ShardIndex) -> Self {
        Self::of(shard, 0)
    }

    #[inline]
    pub(crate) fn holder(self) -> Option<Holder> {
        match (self.0 >> HOLDER_SHIFT).checked_sub(1)? {
            holder if holder + 1 == MANY => Some(Holder::Many),
            shard => Some(Holder::One(ShardIndex(shard as u8))),
        }
    }

    pub(crate) fn is_free(self) -> bool {
        self == Self::FREE
    }

    /// Whether it is a mapping's that has sessions.
    pub(crate) fn is_whole(self) -> bool {
        !self.is_free() && self.uses() == WHOLE
    }

    pub(crate) fn is_resting(self) -> bool {
        !self.is_free() && self.uses() == 0
    }

    pub(crate) fn is_of(self, shard: ShardIndex) -> bool {
        self.holder() == Some(Holder::One(shard))
    }

    /// Whether its holder is one that may be, of so many shards.
    pub(super) fn is_possible(self, shards: u8) -> bool {
        match self.holder() {
            None => self.is_free(),
            Some(Holder::Many) => (1..=SHARED_MAX).contains(&self.uses()),
            Some(Holder::One(shard)) => shard.0 < shards,
        }
    }

    /// Sessions that use it, where it is shared.
    pub(crate) fn uses(self) -> u16 {
        self.0 & USES
    }

    /// Whether one more session may use it, if its remote is another.
    pub(crate) fn is_shareable(self) -> bool {
        self.0 & LOCKED == 0 && (1..SHARED_MAX).contains(&self.uses())
    }

    /// One more session of the shard's, about to be inserted.
    pub(super) fn shared_by(self, shard: ShardIndex) -> Self {
        let holder = if self.is_of(shard) { self.0 & !(LOCKED | USES) } else { MANY << HOLDER_SHIFT };
        Self(holder | LOCKED | (self.uses() + 1))
    }

    /// One more session that is there already; `None` where there cannot be one more.
    pub(super) fn used_once_more(self) -> Option<Self> {
        (self.uses() < SHARED_MAX).then_some(Self(self.0 + 1))
    }

    pub(super) fn unlocked(self) -> Self {
        Self(self.0 & !LOCKED)
    }

    /// Without one of its uses.
    pub(super) fn given_back(self) -> Self {
        match self.uses() {
            0 | 1 | WHOLE => Self::FREE,
            _ => Self(self.0 - 1),
        }
    }

    /// A port of many, as nobody has been counted on it yet.
    pub(super) fn without_uses(self) -> Self {
        Self(self.0 & !(LOCKED | USES))
    }
}

pub(super) const UNLOCK: u16 = !LOCKED;
