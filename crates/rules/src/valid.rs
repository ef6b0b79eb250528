//! Rules that hold together.

use std::sync::Arc;

use crate::model::{Pool, Router, Rules, Segment};
use crate::object::{Object, ObjectKind};

/// Rules without a fault, on a gateway with these ports. Only validation makes one, so that whatever takes a `Valid`
/// need not look again.
///
/// Objects are shared with the set before: a change of one router copies pointers, not rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Valid {
    ports: Arc<[String]>,
    segments: Vec<Arc<Segment>>,
    pools: Vec<Arc<Pool>>,
    routers: Vec<Arc<Router>>,
}

impl Valid {
    /// No rules at all, which is valid.
    pub fn empty(ports: &[String]) -> Self {
        Self { ports: ports.into(), ..Self::default() }
    }

    /// Puts objects that were found without fault in order.
    pub(crate) fn assume(ports: Arc<[String]>, objects: impl IntoIterator<Item = Object>) -> Self {
        let mut valid = Self { ports, ..Self::default() };
        for object in objects {
            match object {
                Object::Segment(segment) => valid.segments.push(segment),
                Object::Pool(pool) => valid.pools.push(pool),
                Object::Router(router) => valid.routers.push(router),
            }
        }
        valid.segments.sort_by(|a, b| a.id.cmp(&b.id));
        valid.pools.sort_by(|a, b| a.id.cmp(&b.id));
        valid.routers.sort_by(|a, b| a.id.cmp(&b.id));
        valid
    }

    /// The gateway's ports, by [`packet::PortIndex`].
    pub fn ports(&self) -> &[String] {
        &self.ports
    }

    pub(crate) fn shared_ports(&self) -> Arc<[String]> {
        Arc::clone(&self.ports)
    }

    /// Networks, by id.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// Pools, by id.
    pub fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    /// Routers, by id.
    pub fn routers(&self) -> &[Arc<Router>] {
        &self.routers
    }

    /// Every object: segments, pools, routers, each by id.
    pub fn objects(&self) -> impl Iterator<Item = Object> + '_ {
        let segments = self.segments.iter().cloned().map(Object::Segment);
        let pools = self.pools.iter().cloned().map(Object::Pool);
        segments.chain(pools).chain(self.routers.iter().cloned().map(Object::Router))
    }

    /// The object of this name, if there is one.
    pub fn get(&self, kind: ObjectKind, id: &str) -> Option<Object> {
        let find = |at: Result<usize, usize>| at.ok();
        match kind {
            ObjectKind::Segment => find(self.segments.binary_search_by(|one| one.id.as_str().cmp(id)))
                .and_then(|at| self.segments.get(at).cloned().map(Object::Segment)),
            ObjectKind::Pool => find(self.pools.binary_search_by(|one| one.id.as_str().cmp(id)))
                .and_then(|at| self.pools.get(at).cloned().map(Object::Pool)),
            ObjectKind::Router => find(self.routers.binary_search_by(|one| one.id.as_str().cmp(id)))
                .and_then(|at| self.routers.get(at).cloned().map(Object::Router)),
        }
    }

    /// The rules as they would be written: for the copy on disk, and to show.
    pub fn to_rules(&self) -> Rules {
        Rules {
            segments: self.segments.iter().map(|one| Segment::clone(one)).collect(),
            pools: self.pools.iter().map(|one| Pool::clone(one)).collect(),
            routers: self.routers.iter().map(|one| Router::clone(one)).collect(),
        }
    }
}
