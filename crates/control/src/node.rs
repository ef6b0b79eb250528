//! The gateway as this crate sees it.

use std::future::Future;

use crate::rows::{DropRow, PoolRow, RouterRow, SessionRow, Status};

/// A running gateway. The binary implements it; tests have a small one of their own.
///
/// Every call answers soon or fails: the servers here give up on one after [`crate::Limits::node_timeout`], and
/// dropping the future must be harmless.
pub trait Node: Send + Sync + 'static {
    /// The node as a whole.
    fn status(&self) -> impl Future<Output = Result<Status, NodeError>> + Send;

    /// All routers, in the order of their ids.
    fn routers(&self) -> impl Future<Output = Result<Vec<RouterRow>, NodeError>> + Send;

    /// One router, if it is there.
    fn router(&self, id: &str) -> impl Future<Output = Result<Option<RouterRow>, NodeError>> + Send {
        async move { Ok(self.routers().await?.into_iter().find(|router| router.id == id)) }
    }

    /// Every address that is translated to, pool by pool.
    fn pools(&self) -> impl Future<Output = Result<Vec<PoolRow>, NodeError>> + Send;

    /// The next page of sessions: from the start, or from where the last page ended.
    ///
    /// A worker fills a page between two bursts, so the node looks at a bounded number of slots for it: a page may be
    /// empty and yet not the last. Sessions that come and go meanwhile may be missed; one that stays is seen once.
    fn sessions(
        &self,
        from: Option<SessionCursor>,
    ) -> impl Future<Output = Result<SessionPage, NodeError>> + Send;

    /// All drop reasons, those that never struck included.
    fn drops(&self) -> impl Future<Output = Result<Vec<DropRow>, NodeError>> + Send;
}

/// Where a walk through the sessions stands; only the node knows what the number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCursor(pub u64);

/// A piece of a walk through the sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPage {
    /// The sessions found.
    pub rows: Vec<SessionRow>,
    /// Where to go on; absent after the last page.
    pub next: Option<SessionCursor>,
}

/// Why the gateway could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// A worker did not answer in time.
    #[error("worker {worker} does not answer")]
    WorkerSilent {
        /// Which.
        worker: u16,
    },
    /// The daemon is shutting down.
    #[error("the daemon is stopping")]
    Stopping,
    /// Anything else, in a sentence.
    #[error("{0}")]
    Failed(String),
}
