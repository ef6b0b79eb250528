//! The gateway's side: follows a feed, and never lets go of what works.
//!
//! At start the last good rules are loaded from disk and programmed, before any feed is dialled. Then the feeds are
//! dialled in turn, for ever: what they say is judged by [`replica`](crate::replica), programmed, answered, and saved.
//! Whatever happens to a feed changes nothing about what is forwarded; it shows in [`FeedState`].

mod session;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rules::Valid;
use tokio::sync::watch;

use crate::address::FeedAddress;
use crate::backoff::Backoff;
use crate::digest::Digest;
use crate::last_good::{self, LastGood};
use crate::program::{Program, ProgramError};
use crate::reject::Reject;
use crate::replica::{Judged, Replica};
use crate::server::LOGGED_MAX;
use crate::state::{FeedCounters, FeedState};
use session::Session;

/// Who the gateway is and what it follows.
#[derive(Clone, Debug)]
pub struct SubscriberConfig {
    /// What the gateway calls itself.
    pub node_id: String,
    /// The program's version, for the controller's logs.
    pub version: String,
    /// Feeds, dialled in turn until one answers. Only one is followed at a time.
    pub feeds: Vec<FeedAddress>,
    /// The gateway's ports, in the order of their [`packet::PortIndex`](rules::compiled).
    pub ports: Vec<String>,
    /// Where the last good rules are kept; `None` to keep none.
    pub last_good: Option<PathBuf>,
    /// How long a feed may say nothing before it is taken for dead. Feeds ping every ten seconds.
    pub silence: Duration,
}

impl SubscriberConfig {
    /// A gateway that follows `feeds` and keeps nothing on disk.
    pub fn new(node_id: impl Into<String>, feeds: Vec<FeedAddress>, ports: Vec<String>) -> Self {
        Self {
            node_id: node_id.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            feeds,
            ports,
            last_good: None,
            silence: Duration::from_secs(30),
        }
    }
}

/// So many faults are kept to be shown.
const SHOWN_MAX: usize = 1_000;

/// Rules to be kept on disk, and where they come from.
type ToSave = Option<(u64, u64, Valid)>;

/// Follows a feed on behalf of `P`.
#[derive(Debug)]
pub struct Subscriber<P> {
    config: SubscriberConfig,
    program: P,
    replica: Replica,
    state: watch::Sender<FeedState>,
    to_save: watch::Sender<ToSave>,
    boot_id: String,
}

impl<P: Program> Subscriber<P> {
    /// A subscriber that has nothing yet; [`run`](Self::run) does the rest.
    pub fn new(config: SubscriberConfig, program: P) -> Self {
        Self {
            replica: Replica::new(&config.ports),
            config,
            program,
            state: watch::Sender::new(FeedState::new()),
            to_save: watch::Sender::new(None),
            boot_id: format!("{:016x}", random()),
        }
    }

    /// For whoever shows the state.
    pub fn state(&self) -> watch::Receiver<FeedState> {
        self.state.subscribe()
    }

    /// Loads what is on disk, then follows the feeds until it is dropped.
    ///
    /// Dropping it is safe at any moment: the workers keep the last rules that were programmed.
    pub async fn run(mut self) -> Infallible {
        if let Some(path) = self.config.last_good.clone() {
            self.restore(&path).await;
        }
        let saving = save_each(self.config.last_good.clone(), self.to_save.subscribe(), self.state.clone());
        tokio::select! {
            never = self.follow() => never,
            never = saving => never,
        }
    }

    async fn restore(&mut self, path: &Path) {
        let LastGood { epoch, version, rules } = match last_good::load(path) {
            Ok(Some(last_good)) => last_good,
            Ok(None) => return tracing::info!(path = %path.display(), "no last good rules on disk"),
            Err(error) => {
                tracing::error!("{error}");
                return self.state.send_modify(|state| state.restore_error = Some(error.to_string()));
            }
        };
        let judged = self.replica.judge_restored(epoch, version, rules);
        for reject in &judged.rejects {
            tracing::warn!("last good rules: {reject}");
        }
        match self.program.program(judged.rules()).await {
            Ok(generation) => {
                tracing::info!(path = %path.display(), epoch, version, "last good rules are programmed");
                self.state.send_modify(|state| {
                    (state.from_disk, state.saved_version) = (true, version);
                    state.rejects.clone_from(&judged.rejects);
                });
                self.adopt(judged, Some(generation));
            }
            Err(error) => {
                tracing::error!(%error, "last good rules cannot be programmed");
                self.state.send_modify(|state| state.restore_error = Some(error.to_string()));
            }
        }
    }

    /// What was judged is in force.
    fn adopt(&mut self, judged: Judged, generation: Option<u64>) {
        self.replica.adopt(judged);
        let (epoch, version, objects) =
            (self.replica.epoch(), self.replica.version(), self.replica.objects());
        self.state.send_modify(|state| {
            (state.epoch, state.version, state.objects) = (epoch, version, objects);
            state.generation = generation.unwrap_or(state.generation);
        });
    }

    async fn follow(&mut self) -> Infallible {
        let mut backoff = Backoff::default();
        let feeds = self.config.feeds.clone();
        if feeds.is_empty() {
            return std::future::pending().await;
        }
        loop {
            for feed in &feeds {
                let error = match Session::open(self, feed).await {
                    Ok(session) => session.follow(self, feed, &mut backoff).await,
                    Err(error) => error,
                };
                let wait = backoff.next(random() as u32);
                let retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(%feed, retry_ms, "feed: {error}");
                self.state.send_modify(|state| {
                    state.connected = None;
                    state.last_error = Some(error.to_string());
                    state.counters.failures += 1;
                });
                tokio::time::sleep(wait).await;
            }
        }
    }

    fn count(&self, count: impl FnOnce(&mut FeedCounters)) {
        self.state.send_modify(|state| count(&mut state.counters));
    }

    /// Shows what was refused.
    fn note(&self, rejects: &[Reject], stale: u64) {
        for reject in rejects.iter().take(LOGGED_MAX) {
            tracing::warn!(kept_revision = reject.kept_revision, "refused: {reject}");
        }
        self.state.send_modify(|state| {
            state.rejects = rejects.iter().take(SHOWN_MAX).cloned().collect();
            state.counters.rejects += rejects.len() as u64;
            state.counters.stale_revisions += stale;
        });
    }

    fn digest(&self) -> Vec<u8> {
        if self.replica.version() == 0 { Vec::new() } else { Digest::of_rules(self.replica.rules()).to_vec() }
    }
}

/// Writes what is in force to disk, beside everything else: a disk takes as long as it likes. Rules that are replaced
/// before their turn has come are skipped.
async fn save_each(
    path: Option<PathBuf>,
    mut to_save: watch::Receiver<ToSave>,
    state: watch::Sender<FeedState>,
) -> Infallible {
    let Some(path) = path else { return std::future::pending().await };
    loop {
        if to_save.changed().await.is_err() {
            return std::future::pending().await;
        }
        let Some((epoch, version, rules)) = to_save.borrow_and_update().clone() else { continue };
        let path = path.clone();
        let save = move || last_good::save(&path, &LastGood { epoch, version, rules: rules.to_rules() });
        let error = match tokio::task::spawn_blocking(save).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &error {
            tracing::error!("{error}");
        }
        state.send_modify(|state| {
            if error.is_none() {
                state.saved_version = version;
            }
            state.save_error = error;
        });
    }
}

/// Not for secrets, so that the rare failure of the system's source costs nothing but chance.
fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}

/// A generation, or why there is none.
type Programmed = Result<u64, ProgramError>;
