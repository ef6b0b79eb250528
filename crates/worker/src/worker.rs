//! The loop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use nat::{Configuration, Counters, Gateway};
use packet::{Burst, Moment, PacketIo, PortIndex};

use crate::idle::Idle;
use crate::mailbox::{Command, Handle, Mailbox, Report, SESSION_PAGE_MAX};
use crate::status::Status;

/// A worker: its ways to the ports, and its brain. Runs on the thread that calls [`run`](Self::run).
pub struct Worker<I: PacketIo> {
    io: I,
    ports: u8,
    gateway: Gateway<I::Frame>,
    mailbox: Arc<Mailbox>,
    status: Arc<Status>,
    counters: Arc<Counters>,
}

impl<I: PacketIo> Worker<I> {
    /// A worker over the ports 0 to `ports - 1` of `io`, and the control thread's end of it.
    pub fn new(io: I, ports: u8, configuration: Configuration) -> (Self, Handle) {
        let (status, counters) = (Arc::<Status>::default(), Arc::<Counters>::default());
        let handle = Handle::new(Arc::clone(&status), Arc::clone(&counters));
        let gateway = Gateway::new(configuration, Arc::clone(&counters));
        (Self { io, ports, gateway, mailbox: Arc::clone(&handle.mailbox), status, counters }, handle)
    }

    /// Turns until [`Handle::stop`]. `origin` is the zero of the worker's clock.
    pub fn run(mut self, origin: Instant, idle: Idle) -> I {
        let mut began = origin.elapsed();
        let mut silent_since = began;
        while !self.mailbox.stop.load(Ordering::Relaxed) {
            let was_empty = self.turn(Moment::from_ms(began.as_millis() as u64));
            if was_empty {
                match idle.sleep_after(began - silent_since) {
                    Some(time) => std::thread::sleep(time),
                    None => std::hint::spin_loop(),
                }
            }
            // The one clock read of a turn: its end is the next one's beginning.
            let ended = origin.elapsed();
            if !was_empty {
                self.status.worked(ended - began);
                silent_since = ended;
            }
            began = ended;
        }
        self.io
    }

    /// One turn: a command, a burst from every port, what time asks for, and out. Returns whether no frame came.
    pub fn turn(&mut self, now: Moment) -> bool {
        if let Some(command) = self.mailbox.commands.pop() {
            self.obey(command, now);
        }
        let mut was_empty = true;
        for port in (0..self.ports).map(PortIndex) {
            let mut frames = Burst::new();
            self.io.receive(port, &mut frames);
            if !frames.is_empty() {
                was_empty = false;
                self.gateway.process_burst(port, &mut frames, now, &mut self.io);
            }
        }
        self.gateway.tick(now, &mut self.io);
        for port in (0..self.ports).map(PortIndex) {
            let sent = self.io.flush(port);
            self.counters.sent(port, sent.frames, sent.bytes);
            self.counters.refused(sent.refused);
        }
        self.status.turned(now, was_empty, self.gateway.occupancy());
        was_empty
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
