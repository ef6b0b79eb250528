//! Workers on threads, the state they share, and the control side of both.

use std::ops::Deref;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nat::{
    Books, Configuration, Counters, DropReason, PORTS_MAX, Shard, Sizes, State, WORKERS_MAX, WorkerIndex,
};
use packet::PacketIo;
use rules::{Numbers, RuleSet};
use worker::{Handle, Idle, SessionPage, Worker, team};

use crate::wires::{Driver, Io, Wires};

/// The ports' names in the rules.
pub(crate) const PORTS: [&str; 3] = ["in0", "in1", "out0"];

/// Longer than anything takes that works, on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The first digits of pi: keys are as good as random.
const SEED: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

pub(crate) const CONFIGURATION: Configuration = Configuration { checks_checksums: [false; PORTS_MAX] };

/// The state, and the rules that were published last.
pub(crate) struct Gateway {
    pub(crate) state: Arc<State>,
    shards: Vec<Shard>,
    numbers: Numbers,
    pub(crate) rules: Arc<RuleSet>,
}

impl Gateway {
    pub(crate) fn new(sessions: u32) -> Self {
        let sizes = Sizes::new(sessions, 16, 16);
        let (state, shards) = State::anonymous(&sizes, SEED).unwrap();
        let numbers = state.numbers();
        Self { state, shards, numbers, rules: Arc::default() }
    }

    /// Workers that are turned by hand.
    pub(crate) fn team<I: PacketIo>(&mut self, io: Vec<I>) -> Vec<(Worker<I>, Handle)>
    where
        I::Frame: Send,
    {
        team(&self.state, std::mem::take(&mut self.shards), io, PORTS.len() as u8, &CONFIGURATION)
    }

    /// Workers on threads of their own.
    pub(crate) fn start(&mut self, wires: &Wires, workers: usize) -> Fleet {
        let io: Vec<Io> = (0..workers).map(|worker| wires.io(worker)).collect();
        let drivers = io.iter().map(|io| io.driver.clone()).collect();
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for (worker, handle) in self.team(io) {
            handles.push(handle);
            threads.push(std::thread::spawn(move || worker.run(Idle::Sleep).1));
        }
        Fleet { handles, threads, drivers }
    }

    pub(crate) fn compile(&mut self, text: &str) -> Arc<RuleSet> {
        let fed = rules::read_rules(text).unwrap();
        let valid = rules::validate(&fed, &PORTS.map(str::to_owned)).unwrap();
        let rules = rules::compile(&valid, Some(&self.rules), &mut self.numbers).unwrap();
        self.state.store(&self.numbers, rules.generation);
        self.rules = Arc::new(rules);
        Arc::clone(&self.rules)
    }

    /// Takes back what a fleet left, to make another of it.
    pub(crate) fn take_back(&mut self, shards: Vec<Shard>) {
        self.shards.extend(shards);
    }

    pub(crate) fn counters(&self) -> impl Iterator<Item = &Counters> {
        (0..WORKERS_MAX as u8).map(|worker| self.state.counters(WorkerIndex(worker)))
    }

    pub(crate) fn sum(&self, read: impl Fn(&Counters) -> u64) -> u64 {
        self.counters().map(read).sum()
    }

    pub(crate) fn books(&self) -> Books {
        self.counters().map(Counters::books).sum()
    }

    /// Every reason that frames were dropped for, and how many.
    pub(crate) fn drops(&self) -> Vec<(&'static str, u64)> {
        let count = |reason: DropReason| (reason.name(), self.sum(|counters| counters.dropped(reason)));
        DropReason::ALL.into_iter().map(count).filter(|(_, count)| *count > 0).collect()
    }

    /// What was taken from the ports has left by one, or was dropped, or told the gateway something.
    #[track_caller]
    pub(crate) fn assert_books_close(&self) {
        let books = self.books();
        assert_eq!((books.balance(), books.in_rings()), (0, 0), "{books:?}");
    }
}

/// Workers at work.
pub(crate) struct Fleet {
    pub(crate) handles: Vec<Handle>,
    threads: Vec<JoinHandle<Vec<Shard>>>,
    pub(crate) drivers: Vec<Driver>,
}

impl Deref for Fleet {
    type Target = [Handle];

    fn deref(&self) -> &[Handle] {
        &self.handles
    }
}

impl Fleet {
    /// Sends rules to all, and waits until all run them.
    pub(crate) fn publish(&mut self, rules: &Arc<RuleSet>) {
        self.send(rules);
        self.adopted(rules);
    }

    /// Sends rules to all.
    pub(crate) fn send(&mut self, rules: &Arc<RuleSet>) {
        for handle in &mut self.handles {
            wait("there is room for rules", || handle.publish(rules).is_ok());
        }
    }

    fn adopted(&self, rules: &RuleSet) {
        for handle in &self.handles {
            wait("rules are adopted", || handle.status.generation() == rules.generation);
        }
    }

    /// All sessions, as the workers list them.
    pub(crate) fn list(&mut self) -> Vec<nat::SessionView> {
        let mut sessions = Vec::new();
        for handle in &mut self.handles {
            let mut from = Some(0);
            while let Some(slot) = from {
                wait("there is room for a page", || handle.list(SessionPage::new(slot)).is_ok());
                let mut page = None;
                wait("the page comes back", || {
                    page = handle.take_page();
                    page.is_some()
                });
                let page = page.unwrap();
                sessions.extend(page.sessions);
                from = page.next;
            }
        }
        sessions
    }

    /// Ends all together, and gives back the shards.
    pub(crate) fn stop(self) -> Vec<Shard> {
        self.handles.iter().for_each(Handle::stop);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}
