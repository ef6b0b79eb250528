//! Between the control thread and a worker: two bounded queues that neither ever waits on.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::ArrayQueue;
use nat::{Counters, SessionView, State, WorkerIndex};
use rules::RuleSet;
use rules::compiled::SegmentIndex;

use crate::Status;

/// Commands that may wait for a worker at once.
const COMMANDS_MAX: usize = 16;

/// The most sessions of one page, which bounds how long one turn takes for it.
pub const SESSION_PAGE_MAX: usize = 512;

/// What the control thread asks of a worker.
pub(crate) enum Command {
    Adopt { rules: Arc<RuleSet>, announcements: Vec<(SegmentIndex, Ipv4Addr)> },
    List(SessionPage),
}

/// What a worker sends back, to be freed or read where that may take time.
pub(crate) enum Report {
    Retired { _rules: Arc<RuleSet>, _announcements: Vec<(SegmentIndex, Ipv4Addr)> },
    Listed(SessionPage),
}

/// A piece of a worker's sessions. It travels empty to the worker and full back, so the worker allocates nothing.
#[derive(Debug)]
pub struct SessionPage {
    /// The first slot to look at.
    pub from: u32,
    /// The sessions found there.
    pub sessions: Vec<SessionView>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<u32>,
}

impl SessionPage {
    /// An empty page that starts at slot `from`.
    pub fn new(from: u32) -> Self {
        Self { from, sessions: Vec::with_capacity(SESSION_PAGE_MAX), next: None }
    }
}

/// The worker has not yet taken what was sent before: try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) commands: ArrayQueue<Command>,
    pub(crate) reports: ArrayQueue<Report>,
    pub(crate) stop: AtomicBool,
}

impl Default for Mailbox {
    fn default() -> Self {
        // A command brings at most one report: where commands find room, their reports will.
        Self {
            commands: ArrayQueue::new(COMMANDS_MAX),
            reports: ArrayQueue::new(2 * COMMANDS_MAX),
            stop: AtomicBool::new(false),
        }
    }
}

/// The control thread's end of a worker.
pub struct Handle {
    pub(crate) mailbox: Arc<Mailbox>,
    /// Its vital signs.
    pub status: Arc<Status>,
    state: Arc<State>,
    me: WorkerIndex,
    shards: usize,
    rules: Arc<RuleSet>,
    outstanding: usize,
    listed: Vec<SessionPage>,
}

impl Handle {
    pub(crate) fn new(state: Arc<State>, me: WorkerIndex, shards: usize) -> Self {
        Self {
            mailbox: Arc::default(),
            status: Arc::default(),
            state,
            me,
            shards,
            rules: Arc::default(),
            outstanding: 0,
            listed: Vec::new(),
        }
    }

    /// Which worker it is.
    pub fn index(&self) -> WorkerIndex {
        self.me
    }

    /// Its books.
    pub fn counters(&self) -> &Counters {
        self.state.counters(self.me)
    }

    /// How many shards it owns.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Sends rules to be adopted. They are in force once [`Status::generation`] shows theirs. The first worker announces
    /// the addresses that are new, for all.
    ///
    /// # Errors
    /// [`Busy`]: the worker has too many commands before it; nothing was sent.
    pub fn publish(&mut self, rules: &Arc<RuleSet>) -> Result<(), Busy> {
        let announcements = match self.me {
            WorkerIndex(0) => nat::new_addresses(&self.rules, rules),
            _ => Vec::new(),
        };
        self.send(Command::Adopt { rules: Arc::clone(rules), announcements })?;
        self.rules = Arc::clone(rules);
        Ok(())
    }

    /// Sends a page to be filled; [`take_page`](Self::take_page) brings it back.
    ///
    /// # Errors
    /// [`Busy`]: as for [`publish`](Self::publish).
    pub fn list(&mut self, page: SessionPage) -> Result<(), Busy> {
        self.send(Command::List(page))
    }

    /// Takes back what the worker is done with, and frees retired rules. To be called now and then.
    pub fn reclaim(&mut self) {
        while let Some(report) = self.mailbox.reports.pop() {
            self.outstanding -= 1;
            if let Report::Listed(page) = report {
                self.listed.push(page);
            }
        }
    }

    /// A page that came back filled, if there is one.
    pub fn take_page(&mut self) -> Option<SessionPage> {
        self.reclaim();
        self.listed.pop()
    }

    /// Asks the worker to end after its current turn.
    pub fn stop(&self) {
        self.mailbox.stop.store(true, Ordering::Relaxed);
    }

    fn send(&mut self, command: Command) -> Result<(), Busy> {
        self.reclaim();
        if self.outstanding >= COMMANDS_MAX {
            return Err(Busy);
        }
        self.mailbox.commands.push(command).map_err(|_| Busy)?;
        self.outstanding += 1;
        Ok(())
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Adopt { .. } => "Adopt",
            Self::List(_) => "List",
        })
    }
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Retired { .. } => "Retired",
            Self::Listed(_) => "Listed",
        })
    }
}
