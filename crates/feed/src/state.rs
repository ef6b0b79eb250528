//! What a gateway knows of its feed, for status and metrics.

use std::time::Duration;

use tokio::time::Instant;

use crate::reject::Reject;

/// A snapshot of the subscriber's state; a new one is published with every change of it.
#[derive(Clone, Debug)]
pub struct FeedState {
    /// The feed that is connected, by its address.
    pub connected: Option<String>,
    /// The term of the controller whose rules are in force; 0 where there are none.
    pub epoch: u64,
    /// Its version of them.
    pub version: u64,
    /// What the workers run, as [`Program`](crate::Program) called it; 0 where nothing was programmed yet.
    pub generation: u64,
    /// Objects in force.
    pub objects: usize,
    /// Whether the rules in force came from disk, and no feed has confirmed or changed them since.
    pub from_disk: bool,
    /// Why the last good rules could not be used at the start.
    pub restore_error: Option<String>,
    /// When the feed was last heard.
    pub last_contact: Option<Instant>,
    /// When the subscriber started.
    pub started: Instant,
    /// What was refused of the last snapshot or delta.
    pub rejects: Vec<Reject>,
    /// Why there is no connection, or why the last one ended.
    pub last_error: Option<String>,
    /// The version on disk; 0 where there is none.
    pub saved_version: u64,
    /// Why the rules in force are not on disk.
    pub save_error: Option<String>,
    /// What happened since the start.
    pub counters: FeedCounters,
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedCounters {
    /// Connections made.
    pub connections: u64,
    /// Connections lost, and attempts that failed.
    pub failures: u64,
    /// Snapshots taken.
    pub snapshots: u64,
    /// Deltas taken.
    pub deltas: u64,
    /// Of these, how many changed nothing, so that nothing was programmed.
    pub unchanged: u64,
    /// Snapshots and deltas of which nothing was taken.
    pub refused: u64,
    /// Faults for which objects or whole messages were refused.
    pub rejects: u64,
    /// Objects ignored because a later revision is in force.
    pub stale_revisions: u64,
}

impl FeedState {
    pub(crate) fn new() -> Self {
        Self {
            connected: None,
            epoch: 0,
            version: 0,
            generation: 0,
            objects: 0,
            from_disk: false,
            restore_error: None,
            last_contact: None,
            started: Instant::now(),
            rejects: Vec::new(),
            last_error: None,
            saved_version: 0,
            save_error: None,
            counters: FeedCounters::default(),
        }
    }

    /// How long the feed has not been heard: since the last contact, or since the start where there was none. A healthy
    /// feed speaks every ten seconds.
    pub fn staleness(&self) -> Duration {
        self.last_contact.unwrap_or(self.started).elapsed()
    }
}
