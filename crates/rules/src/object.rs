//! The units of the feed: an object is accepted, kept or rejected as a whole.

use std::fmt;
use std::sync::Arc;

use crate::model::{Pool, Router, Segment};

/// What an object is. The order is that of dependence: routers name pools and segments, never the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A network.
    Segment,
    /// A pool of external addresses.
    Pool,
    /// A tenant's router with everything it owns.
    Router,
}

impl ObjectKind {
    /// The kind as operators read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Pool => "pool",
            Self::Router => "router",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An object's name: ids are unique per kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// What it is.
    pub kind: ObjectKind,
    /// Its id as fed.
    pub id: String,
}

impl ObjectRef {
    /// Names an object.
    pub fn new(kind: ObjectKind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Escaped, because an id that was never validated may hold anything, and this goes to logs and terminals.
        write!(f, "{} {}", self.kind, self.id.escape_debug())
    }
}

/// One object of the rules. Shared, because the sets before and after a change have nearly all of them in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A network.
    Segment(Arc<Segment>),
    /// A pool of external addresses.
    Pool(Arc<Pool>),
    /// A tenant's router with everything it owns.
    Router(Arc<Router>),
}

impl Object {
    /// What it is.
    pub const fn kind(&self) -> ObjectKind {
        match self {
            Self::Segment(_) => ObjectKind::Segment,
            Self::Pool(_) => ObjectKind::Pool,
            Self::Router(_) => ObjectKind::Router,
        }
    }

    /// Its id as fed.
    pub fn id(&self) -> &str {
        match self {
            Self::Segment(segment) => &segment.id,
            Self::Pool(pool) => &pool.id,
            Self::Router(router) => &router.id,
        }
    }

    /// Its revision as fed.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Segment(segment) => segment.revision,
            Self::Pool(pool) => pool.revision,
            Self::Router(router) => router.revision,
        }
    }

    /// Its name.
    pub fn name(&self) -> ObjectRef {
        ObjectRef::new(self.kind(), self.id())
    }
}

impl From<Segment> for Object {
    fn from(segment: Segment) -> Self {
        Self::Segment(Arc::new(segment))
    }
}

impl From<Pool> for Object {
    fn from(pool: Pool) -> Self {
        Self::Pool(Arc::new(pool))
    }
}

impl From<Router> for Object {
    fn from(router: Router) -> Self {
        Self::Router(Arc::new(router))
    }
}
