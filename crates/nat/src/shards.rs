//! The shards of one gateway, by their number.

use flowtable::{SHARDS_MAX, ShardIndex};

use crate::shard::Shard;

/// The owner's roles that one gateway has.
pub(crate) struct Shards([Option<Shard>; SHARDS_MAX]);

impl Shards {
    pub(crate) fn new(shards: Vec<Shard>) -> Self {
        let mut by_number = [const { None }; SHARDS_MAX];
        for shard in shards {
            let number = usize::from(shard.index().0);
            by_number[number] = Some(shard);
        }
        Self(by_number)
    }

    #[inline]
    pub(crate) fn has(&self, shard: ShardIndex) -> bool {
        matches!(self.0.get(usize::from(shard.0)), Some(Some(_)))
    }

    pub(crate) fn get(&self, shard: ShardIndex) -> Option<&Shard> {
        self.0.get(usize::from(shard.0))?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, shard: ShardIndex) -> Option<&mut Shard> {
        self.0.get_mut(usize::from(shard.0))?.as_mut()
    }

    /// From `first` on, in order.
    pub(crate) fn from(&self, first: ShardIndex) -> impl Iterator<Item = &Shard> {
        self.0.iter().skip(first.0.into()).flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Shard> {
        self.0.iter_mut().flatten()
    }

    pub(crate) fn into_vec(self) -> Vec<Shard> {
        self.0.into_iter().flatten().collect()
    }
}
