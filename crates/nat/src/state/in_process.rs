//! What the gateways of one process share beside the region.

use std::sync::Arc;

use flowtable::{HashKey, Quiescence};
use rules::compiled::Realm;

use super::{Sizes, WORKERS_MAX};
use crate::hand_off::Finished;
use crate::neighbours::{self, NeighbourTable};

/// See the file's page.
pub(crate) struct InProcess {
    /// When what was taken out of a table is free.
    pub(crate) quiescence: Arc<Quiescence>,
    /// Who has which MAC. Soon asked for again, so not worth keeping.
    pub(crate) neighbours: Arc<NeighbourTable>,
    /// How many of the frames that were handed on are finished.
    pub(crate) finished: Finished,
    /// Of the hash by which flows keep their order.
    pub(crate) order_key: [u64; 2],
}

impl InProcess {
    pub(crate) fn new(sizes: &Sizes, hash_key: HashKey) -> Self {
        Self {
            quiescence: Quiescence::new(),
            neighbours: neighbours::table(sizes.shards, hash_key),
            finished: Finished::new(WORKERS_MAX),
            order_key: hash_key.0,
        }
    }

    /// Whether anything here names the realm.
    pub(crate) fn names(&self, realm: Realm) -> bool {
        neighbours::names(&self.neighbours, realm)
    }

    /// Neighbours known, asked for or silent.
    pub(crate) fn neighbours(&self) -> u32 {
        self.neighbours.len()
    }
}
