//! The loop.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nat::{Gateway, Handed, Shard, State, WorkerIndex};
use packet::{Burst, Moment, PacketIo, PortIndex};

use crate::clock;
use crate::exchange::Exchange;
use crate::idle::{Idle, Parked, Sleep};
use crate::mailbox::{Command, Handle, Mailbox, Report, SESSION_PAGE_MAX};
use crate::stages::{Stage, Stopwatch};
use crate::status::Status;

/// How long a worker that leaves waits for the others to do so too.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// A worker: its ways to the ports and to the other workers, and its brain. Runs on the thread that calls
/// [`run`](Self::run).
pub struct Worker<I: PacketIo> {
    io: I,
    ports: u8,
    gateway: Gateway<I::Frame>,
    exchange: Exchange<Handed<I::Frame>>,
    state: Arc<State>,
    me: WorkerIndex,
    mailbox: Arc<Mailbox>,
    status: Arc<Status>,
    stopwatch: Stopwatch,
}

impl<I: PacketIo> Worker<I>
where
    I::Frame: Send,
{
    pub(crate) fn new(
        io: I,
        ports: u8,
        gateway: Gateway<I::Frame>,
        exchange: Exchange<Handed<I::Frame>>,
        state: Arc<State>,
        handle: &Handle,
    ) -> Self {
        let (mailbox, status) = (Arc::clone(&handle.mailbox), Arc::clone(&handle.status));
        let (me, stopwatch) = (handle.index(), Stopwatch::default());
        Self { io, ports, gateway, exchange, state, me, mailbox, status, stopwatch }
    }

    /// With a clock read between the stages of each turn; [`Status::stages`] shows what they cost.
    pub fn with_stage_clocks(mut self) -> Self {
        self.stopwatch.runs = true;
        self.status.show_stages();
        self
    }

    /// Its ports.
    pub fn io(&self) -> &I {
        &self.io
    }

    /// Has other workers wake this one by an eventfd, for which a sleeper of the caller's waits. Before it runs.
    pub fn wake_by(&self, alarm: OwnedFd) {
        self.exchange.wake_by(alarm);
    }

    /// Turns until [`Handle::stop`], and gives back what another team can be made of.
    ///
    /// All workers of a team are to be stopped together: a worker waits a second for the others, so that what is under
    /// way between them arrives.
    pub fn run(self, idle: Idle) -> (I, Vec<Shard>) {
        self.run_with(idle, &mut Parked)
    }

    /// The same, with a sleeper that is [woken](Self::wake_by).
    pub fn run_with(self, idle: Idle, sleeper: &mut impl Sleep) -> (I, Vec<Shard>) {
        self.run_by(idle, sleeper, clock::now)
    }

    /// The same by another clock.
    pub fn run_by(
        mut self,
        idle: Idle,
        sleeper: &mut impl Sleep,
        mut clock: impl FnMut() -> Duration,
    ) -> (I, Vec<Shard>) {
        self.exchange.take_seat();
        let mut began = clock();
        let mut silent_since = began;
        self.status.began(moment(began));
        while !self.mailbox.stop.load(Ordering::Relaxed) {
            let was_empty = self.turn(moment(began));
            if was_empty {
                match idle.sleep_after(began - silent_since) {
                    Some(time) => self.exchange.sleep(time, sleeper),
                    None => std::hint::spin_loop(),
                }
            }
            // The one clock read of a turn: its end is the next one's beginning.
            let ended = clock();
            if !was_empty {
                self.status.worked(ended - began);
                silent_since = ended;
            }
            began = ended;
        }
        self.leave(began + LEAVE_MAX, clock);
        (self.io, self.gateway.into_shards())
    }

    /// One turn: a command, a burst from every port, one from the other workers, what time asks for, and out.
    /// Returns whether no frame came.
    pub fn turn(&mut self, now: Moment) -> bool {
        if let Some(command) = self.mailbox.commands.pop() {
            self.obey(command, now);
        }
        self.stopwatch.begin();
        let mut was_empty = self.receive(now);
        was_empty &= self.take_handed(now);
        self.stopwatch.end(Stage::Handed);
        was_empty &= !self.gateway.tick(now, &mut self.io);
        self.stopwatch.end(Stage::Tick);
        self.send_out();
        self.stopwatch.end(Stage::Transmit);
        if self.stopwatch.runs {
            self.stopwatch.settle(self.status.show_stages());
        }
        self.status.turned(now, was_empty);
        was_empty
    }

    fn receive(&mut self, now: Moment) -> bool {
        let mut was_empty = true;
        for port in (0..self.ports).map(PortIndex) {
            let mut frames = Burst::new();
            self.io.receive(port, &mut frames);
            self.stopwatch.end(Stage::Receive);
            if !frames.is_empty() {
                was_empty = false;
                self.stopwatch.count(frames.len());
                self.gateway.process_burst(port, &mut frames, now, &mut self.io);
                self.stopwatch.end(Stage::Process);
            }
        }
        was_empty
    }

    fn take_handed(&mut self, now: Moment) -> bool {
        let mut handed = self.exchange.take();
        let was_empty = handed.is_empty();
        if !was_empty {
            self.stopwatch.count(handed.len());
            self.gateway.process_handed(&mut handed, now, &mut self.io);
        }
        was_empty
    }

    /// First what goes to the ports, then what goes to other workers: a frame that is handed on must not leave by
    /// another queue before one that came earlier has left by this.
    fn send_out(&mut self) {
        let counters = self.state.counters(self.me);
        for port in (0..self.ports).map(PortIndex) {
            let sent = self.io.flush(port);
            counters.sent(port, sent.frames, sent.bytes);
            counters.refused(sent.refused);
        }
        while let Some((to, handed)) = self.gateway.outbox().pop_front() {
            if let Err(handed) = self.exchange.put(to, handed) {
                self.gateway.refused(handed);
            }
        }
        self.exchange.wake();
        self.gateway.end_turn();
        self.exchange.settle();
    }

    /// Receives nothing more, and deals with what the others hand on until they do so neither.
    fn leave(&mut self, until: Duration, mut clock: impl FnMut() -> Duration) {
        self.exchange.leave();
        while !self.exchange.is_over() {
            let now = clock();
            if now >= until {
                break;
            }
            if self.take_handed(moment(now)) {
                std::thread::yield_now();
            }
            self.send_out();
        }
    }

    fn obey(&mut self, command: Command, now: Moment) {
        let report = match command {
            Command::Adopt { rules, announcements } => {
                let generation = rules.generation;
                let (_rules, _announcements) = self.gateway.adopt(rules, announcements);
                self.status.adopted(generation);
                Report::Retired { _rules, _announcements }
            }
            Command::List(mut page) => {
                let sessions = &mut page.sessions;
                page.next = self
                    .gateway
                    .list_sessions(page.from, SESSION_PAGE_MAX, now, |session| sessions.push(session));
                Report::Listed(page)
            }
        };
        // There is room: the handle sends no more commands than the queue of reports holds.
        let _ = self.mailbox.reports.push(report);
    }
}

fn moment(time: Duration) -> Moment {
    Moment::from_ms(time.as_millis() as u64)
}
