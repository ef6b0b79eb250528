//! The shards of one gateway, by their number.

use flowtable::{SHARDS_MAX, ShardIndex};

use crate::shard::Shard;

/// The owner's roles that one gateway has.
pub(crate) struct Shards {
    by_number: [Option<Shard>; SHARDS_MAX],
    /// A bit for each that is there.
    there: u32,
}

const _: () = assert!(SHARDS_MAX == u32::BITS as usize, "a bit for each shard");

impl Shards {
    pub(crate) fn new(shards: Vec<Shard>) -> Self {
        let (mut by_number, mut there) = ([const { None }; SHARDS_MAX], 0);
        for shard in shards {
            let number = shard.index().0;
            there |= 1 << number;
            by_number[usize::from(number)] = Some(shard);
        }
        Self { by_number, there }
    }

    #[inline]
    pub(crate) fn has(&self, shard: ShardIndex) -> bool {
        self.there.unbounded_shr(shard.0.into()) & 1 == 1
    }

    pub(crate) fn get(&self, shard: ShardIndex) -> Option<&Shard> {
        self.by_number.get(usize::from(shard.0))?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, shard: ShardIndex) -> Option<&mut Shard> {
        self.by_number.get_mut(usize::from(shard.0))?.as_mut()
    }

    /// From `first` on, in order.
    pub(crate) fn from(&self, first: ShardIndex) -> impl Iterator<Item = &Shard> {
        self.by_number.iter().skip(first.0.into()).flatten()
    }

    pub(crate) fn into_vec(self) -> Vec<Shard> {
        self.by_number.into_iter().flatten().collect()
    }
}
