//! The workers as the control thread has them: brings rules to all of them, and reads what they show.

use std::sync::Arc;
use std::time::Duration;

use rules::compiled::RuleSet;
use rules::{NumbersExhausted, Valid};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use worker::{Busy, Handle, SessionPage};

use crate::ledger::Ledger;

/// How long a worker may take to adopt rules or fill a page; it normally takes one turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a worker is looked at meanwhile.
const LOOK: Duration = Duration::from_micros(500);

/// A worker that does not keep up.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("worker {worker} does not answer")]
pub(crate) struct Silent {
    pub(crate) worker: u16,
}

/// All workers, and the rules they run.
pub(crate) struct Fleet {
    workers: Mutex<Vec<Handle>>,
    /// Held for the length of one page, so that two listings do not take each other's.
    listing: Mutex<()>,
    programmed: std::sync::Mutex<Arc<Programmed>>,
}

/// Rules in force, as fed and as compiled.
pub(crate) struct Programmed {
    pub(crate) valid: Valid,
    pub(crate) rules: Arc<RuleSet>,
}

impl Fleet {
    pub(crate) fn new(workers: Vec<Handle>, ports: &[String]) -> Self {
        let programmed = Programmed { valid: Valid::empty(ports), rules: Arc::default() };
        Self {
            workers: Mutex::new(workers),
            listing: Mutex::default(),
            programmed: std::sync::Mutex::new(Arc::new(programmed)),
        }
    }

    /// What every worker runs, or is about to.
    pub(crate) fn programmed(&self) -> Arc<Programmed> {
        let programmed = self.programmed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(&programmed)
    }

    /// The generation that every worker runs, or a later one.
    pub(crate) async fn generation(&self) -> u64 {
        self.each(|handle| handle.status.generation()).await.into_iter().min().unwrap_or_default()
    }

    /// Reads something of every worker.
    pub(crate) async fn each<T>(&self, read: impl Fn(&Handle) -> T) -> Vec<T> {
        self.workers.lock().await.iter().map(read).collect()
    }

    /// The next page of a worker's sessions, from slot `from` on.
    pub(crate) async fn list(&self, worker: u16, from: u32) -> Result<SessionPage, Silent> {
        let _one_at_a_time = self.listing.lock().await;
        let deadline = Instant::now() + PATIENCE;
        // A page that an earlier listing gave up on may still come.
        while let Some(Some(_late)) = self.with(worker, Handle::take_page).await {}
        while let Some(Err(Busy)) = self.with(worker, |handle| handle.list(SessionPage::new(from))).await {
            wait(deadline, worker).await?;
        }
        loop {
            match self.with(worker, Handle::take_page).await.flatten() {
                Some(page) if page.from == from => return Ok(page),
                _ => wait(deadline, worker).await?,
            }
        }
    }

    async fn with<T>(&self, worker: u16, act: impl FnOnce(&mut Handle) -> T) -> Option<T> {
        self.workers.lock().await.get_mut(usize::from(worker)).map(act)
    }

    /// Asks every worker to end.
    pub(crate) async fn stop(&self) {
        self.workers.lock().await.iter().for_each(Handle::stop);
    }

    async fn publish(&self, rules: &Arc<RuleSet>) -> Result<(), Silent> {
        let deadline = Instant::now() + PATIENCE;
        let count = self.workers.lock().await.len() as u16;
        for worker in 0..count {
            while let Some(Err(Busy)) = self.with(worker, |handle| handle.publish(rules)).await {
                wait(deadline, worker).await?;
            }
        }
        for worker in 0..count {
            let runs = |handle: &mut Handle| {
                handle.reclaim();
                handle.status.generation() >= rules.generation
            };
            while self.with(worker, runs).await == Some(false) {
                wait(deadline, worker).await?;
            }
        }
        Ok(())
    }
}

async fn wait(deadline: Instant, worker: u16) -> Result<(), Silent> {
    if Instant::now() >= deadline {
        return Err(Silent { worker });
    }
    sleep(LOOK).await;
    Ok(())
}

/// Brings what the feed accepted to the workers.
pub(crate) struct Programmer {
    fleet: Arc<Fleet>,
    ledger: Arc<Ledger>,
}

impl Programmer {
    pub(crate) fn new(fleet: Arc<Fleet>, ledger: Arc<Ledger>) -> Self {
        Self { fleet, ledger }
    }

    async fn compile(&self, valid: &Valid) -> Result<RuleSet, NumbersExhausted> {
        let before = self.fleet.programmed();
        match self.ledger.compile(valid, &before.rules).await {
            // Some numbers may only wait to be taken back.
            Err(_) => {
                self.ledger.release(self.fleet.generation().await).await;
                self.ledger.compile(valid, &before.rules).await
            }
            compiled => compiled,
        }
    }
}

impl feed::Program for Programmer {
    async fn program(&mut self, valid: &Valid) -> Result<u64, feed::ProgramError> {
        let failed = |error: &dyn std::error::Error| feed::ProgramError(error.to_string());
        let rules = Arc::new(self.compile(valid).await.map_err(|error| failed(&error))?);
        let programmed = Arc::new(Programmed { valid: valid.clone(), rules: Arc::clone(&rules) });
        *self.fleet.programmed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = programmed;
        self.fleet.publish(&rules).await.map_err(|error| failed(&error))?;
        tracing::info!(
            generation = rules.generation,
            routers = rules.routers.len(),
            floating_ips = rules.floating_ips.len(),
            "rules are in force on every worker"
        );
        Ok(rules.generation)
    }
}
