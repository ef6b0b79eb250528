//! Worlds: tenants with the same addresses, hosts with stacks of their own (smoltcp) and scripted ones, links that lose,
//! repeat, reorder, delay and damage, a gateway of one to three workers, and time, which is free.
//!
//! ```text
//! hosts --- links --- gateway --- links --- hosts         host.rs transfer.rs queries.rs stranger.rs   links.rs   node.rs
//!                        |
//!            every frame that leaves it is judged         watch.rs
//!     every few thousand steps everything is counted      ../invariants.rs
//! ```
//!
//! An hour carries 10,000 packets or more, one fault and one change of rules (faults.rs, plan.rs). What must come of it is
//! told from outside: each transfer ends with every byte right, each question is answered to who asked it, unless somebody
//! knows why not; and no tenant ever sees what is another's. A seed decides everything: the hash of all that came out is
//! the same each time.

use std::fmt;

use packet::PortIndex;

use crate::invariants;
use crate::random::Random;

mod acts;
mod command;
mod faults;
mod host;
mod judge;
mod links;
mod node;
mod plan;
mod queries;
mod stranger;
mod transfer;
mod watch;
mod wire;

pub use command::{command, run};

use host::{Host, everybody};
use links::{Act, Event, Queue, Weather};
use node::{INSIDE, Node};
use plan::{Plan, TENANTS};
use queries::Queries;
use stranger::Stranger;
use transfer::Ended;

const HOUR_MS: u64 = 3_600_000;

/// Packets that an hour carries at least, and sessions that end in it.
const PACKETS_PER_HOUR: u64 = 10_000;
const EXPIRIES_PER_HOUR: u64 = 100;

/// Parts of an hour, in each of which as much is begun as is missing: at once, so that bursts have many packets and what
/// happens happens to all of them.
const PARTS: u64 = 20;
const BEGUN_WITHIN_MS: usize = 400;

/// How often time is looked after where nothing happens.
const IDLE_TURN_MS: u64 = 4_000;

/// In so many steps the books are looked at, and all that is remembered.
const STEPS_PER_BOOKS: u64 = 64;
const STEPS_PER_COUNT: u64 = 8_192;

/// Longer than any timer and hold-down.
const QUIET_MS: u64 = 3 * HOUR_MS;

/// What a world has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Virtual hours.
    pub hours: u64,
    /// Packets that came to the gateway.
    pub packets: u64,
    /// Sessions that ended.
    pub expiries: u64,
    /// Transfers that ended with every byte right; that were broken, and why is known; that outlived their session, as
    /// they had to.
    pub transfers: [u64; 3],
    /// Questions that were answered; that were not, and why is known.
    pub questions: [u64; 2],
    /// Crashes, restarts, stalls, storms, leaps of the clock, floods.
    pub faults: u64,
    /// Changes of the rules.
    pub changes: u64,
}

impl Report {
    /// The sum of two.
    pub fn add(&mut self, other: &Self) {
        let Self { hours, packets, expiries, transfers, questions, faults, changes } = self;
        *hours += other.hours;
        *packets += other.packets;
        *expiries += other.expiries;
        transfers.iter_mut().zip(other.transfers).for_each(|(sum, one)| *sum += one);
        questions.iter_mut().zip(other.questions).for_each(|(sum, one)| *sum += one);
        *faults += other.faults;
        *changes += other.changes;
    }
}

/// Something that must not be.
#[derive(Debug)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// See the module's page.
pub struct World {
    seed: u64,
    random: Random,
    now_ms: u64,
    began_ms: u64,
    /// Everything happens at a multiple of it: what comes meanwhile waits in the cards' queues, and is a burst.
    beat_ms: u64,
    plan: Plan,
    node: Node,
    hosts: Vec<Host>,
    queue: Queue,
    weather: Weather,
    storm_until_ms: u64,
    /// Frames are spread over workers by their flows, as a card does; or anyhow.
    is_spread_by_flow: bool,
    queries: Queries,
    stranger: Stranger,
    transit: watch::Transit,
    flow: u32,
    /// Until when datagrams, and connections, of each tenant have an excuse.
    disturbed_until_ms: [[u64; TENANTS]; 2],
    /// Whom the last change of rules may disturb.
    changed: u8,
    /// When links were last bad, and when each host refused a connection.
    bad_weather_ms: u64,
    full_ms: Vec<u64>,
    overloads: u64,
    flooded: Option<faults::Flood>,
    steps: u64,
    turned_ms: u64,
    out: Vec<(PortIndex, Vec<u8>)>,
    sent: Vec<Vec<u8>>,
    ended: Vec<Ended>,
    trace: u64,
    /// What happens is told.
    pub tells: bool,
    /// And every packet.
    pub traces: bool,
    /// What it has done.
    pub report: Report,
}

impl World {
    /// A world that has not begun.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x776f_726c_6473);
        // The 32 bits of milliseconds wrap in the first two hours, or never.
        let now_ms =
            if random.one_in(2) { u64::from(u32::MAX) - random.below(7_200_000) as u64 } else { 1_000_000 };
        let plan = Plan::new(&mut random);
        let node = Node::new(&plan, 1 + random.below(3), seed, now_ms);
        let hosts = everybody(&mut random);
        Self {
            is_spread_by_flow: random.one_in(2),
            full_ms: vec![0; hosts.len()],
            seed,
            now_ms,
            began_ms: now_ms,
            beat_ms: random.one_of(&[2, 10, 20, 40]),
            plan,
            node,
            hosts,
            queue: Queue::default(),
            weather: Weather::CALM,
            storm_until_ms: 0,
            queries: Queries::new(),
            stranger: Stranger::default(),
            transit: watch::Transit::default(),
            flow: 0,
            disturbed_until_ms: [[0; TENANTS]; 2],
            bad_weather_ms: 0,
            changed: 0,
            overloads: 0,
            flooded: None,
            steps: 0,
            turned_ms: now_ms,
            out: Vec::new(),
            sent: Vec::new(),
            ended: Vec::new(),
            trace: seed,
            tells: false,
            traces: false,
            report: Report::default(),
            random,
        }
    }

    /// An hour.
    ///
    /// # Errors
    /// What in it must not be.
    pub fn hour(&mut self) -> Result<(), Failure> {
        let (begin_ms, packets, closed) = (self.now_ms, self.report.packets, self.node.crew.closed());
        self.weather = Weather::of_an_hour(&mut self.random);
        self.say(format_args!("hour {}: {:?}", self.report.hours + 1, self.weather));
        for act in [Act::Fault, Act::Change] {
            // In the midst of what has just begun, or at any time.
            let part = self.random.below(PARTS as usize * 4 / 5) as u64;
            let within_ms = self.random.one_of(&[2 * BEGUN_WITHIN_MS, (HOUR_MS / PARTS) as usize]);
            let at_ms = begin_ms + HOUR_MS * part / PARTS + self.random.below(within_ms) as u64;
            self.queue.push(at_ms, Event::Act(act));
        }
        for part in 1..=PARTS {
            // The last two make up for what was begun in vain, as some of it will be too.
            let is_last = part > PARTS - 2;
            let wanted = PACKETS_PER_HOUR * part.min(PARTS - 2) / (PARTS - 2) * 21 / 20;
            let missing = wanted.saturating_sub(self.report.packets - packets);
            self.begin_some(if is_last { missing * 3 / 2 } else { missing });
            self.run_until(begin_ms + HOUR_MS * part / PARTS)?;
        }
        self.report.hours += 1;
        self.check_flood()?;
        self.count()?;
        let (packets, closed) = (self.report.packets - packets, self.node.crew.closed() - closed);
        self.report.expiries += closed;
        if packets < PACKETS_PER_HOUR || closed < EXPIRIES_PER_HOUR {
            return self.fail(format!("an hour of {packets} packets, in which {closed} sessions ended"));
        }
        Ok(())
    }

    /// Nobody does anything more until every timer is over: nothing is left.
    ///
    /// # Errors
    /// What is.
    pub fn rest(&mut self) -> Result<(), Failure> {
        // Transfers that pause go on first.
        self.run_until(self.now_ms + 4 * HOUR_MS)?;
        self.run_until(self.now_ms + QUIET_MS)?;
        self.count()?;
        let empty = invariants::empty(&self.node.crew.state, &self.node.crew.rules);
        empty.or_else(|what| self.fail(what))
    }

    /// Of everything that came out, and when: the same for the same seed.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    fn run_until(&mut self, until_ms: u64) -> Result<(), Failure> {
        loop {
            let hosts_ms = self.hosts.iter().map(|host| host.due_ms).min().unwrap_or(u64::MAX);
            let next_ms = [
                self.queue.next_ms().unwrap_or(u64::MAX),
                hosts_ms,
                self.node.busy_at_ms(self.now_ms + 1).unwrap_or(u64::MAX),
                self.turned_ms + IDLE_TURN_MS,
            ];
            let next_ms = next_ms.into_iter().min().unwrap_or(u64::MAX).max(self.now_ms);
            let next_ms = next_ms.next_multiple_of(self.beat_ms);
            if next_ms > until_ms {
                self.now_ms = until_ms;
                return Ok(());
            }
            self.now_ms = next_ms;
            self.step()?;
        }
    }

    /// All that happens now.
    fn step(&mut self) -> Result<(), Failure> {
        self.steps += 1;
        while let Some(event) = self.queue.pop(self.now_ms) {
            match event {
                Event::ToGateway(port, frame) => self.enter(port, frame),
                Event::ToHost(host, frame) => self.hosts[host].receive(frame, self.now_ms),
                Event::Act(act) => self.act(act)?,
            }
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].due_ms <= self.now_ms {
                self.poll(host)?;
            }
        }
        self.turned_ms = self.now_ms;
        if self.node.is_adopting() {
            self.excuse_change();
        }
        let mut out = std::mem::take(&mut self.out);
        let dropped = self.traces.then(|| self.node.crew.drops());
        let stepped = self.node.step(self.now_ms, &mut out);
        if let Some(before) = dropped {
            for ((reason, now), (_, before)) in self.node.crew.drops().into_iter().zip(before) {
                if now > before {
                    self.say(format_args!("{} dropped as {}", now - before, reason.name()));
                }
            }
        }
        self.out = out;
        stepped.or_else(|what| self.fail(what))?;
        self.hear_all()?;
        self.judge_questions()?;
        if self.steps.is_multiple_of(STEPS_PER_BOOKS) {
            self.check_books()?;
        }
        if self.steps.is_multiple_of(STEPS_PER_COUNT) {
            self.count()?;
        }
        Ok(())
    }

    fn hear_all(&mut self) -> Result<(), Failure> {
        let mut out = std::mem::take(&mut self.out);
        let heard = out.drain(..).try_for_each(|(port, frame)| self.hear(port, frame));
        self.out = out;
        heard
    }

    /// A frame comes to the gateway's card.
    fn enter(&mut self, port: u8, frame: Vec<u8>) {
        let mut worker = self.random.below(60);
        if let Some(packet) = wire::read(&frame) {
            self.report.packets += 1;
            self.transit.enter(&frame);
            if self.is_spread_by_flow {
                let ports = u64::from(packet.source.1) << 16 | u64::from(packet.destination.1);
                worker = (wire::hash(&frame[packet.at[0] + 12..packet.at[0] + 20], ports) % 60) as usize;
            }
        } else if wire::ether_type(&frame).0 == 0x0800 {
            // Damaged so that it cannot be read.
            self.report.packets += 1;
            self.transit.damaged += 1;
        }
        self.node.arrive(worker, port, frame);
    }

    fn next_flow(&mut self) -> u32 {
        self.flow = (self.flow + 1) & 0x1ff_ffff;
        self.flow
    }

    fn host_at(&self, tenant: Option<usize>, address: std::net::Ipv4Addr) -> Option<usize> {
        self.hosts.iter().position(|host| host.tenant == tenant && host.address == address)
    }

    fn poll(&mut self, host: usize) -> Result<(), Failure> {
        let mut sent = std::mem::take(&mut self.sent);
        let mut ended = std::mem::take(&mut self.ended);
        self.hosts[host].poll(self.now_ms, &mut sent, &mut ended);
        let (tenant, head) = (self.hosts[host].tenant, self.hosts[host].link.bytes());
        for mut frame in sent.drain(..) {
            if self.hosts[host].refuses(&frame) {
                self.full_ms[host] = self.now_ms;
            }
            self.hosts[host].link.write(&mut frame, 0x0800);
            match tenant {
                Some(_) => self.send(INSIDE, head, frame),
                None => self.send_outside(frame),
            }
        }
        self.sent = sent;
        let judged = ended.drain(..).try_for_each(|one| self.judge_transfer(&one));
        self.ended = ended;
        judged
    }

    fn say(&self, what: fmt::Arguments<'_>) {
        if self.tells {
            println!("seed {} at {} s: {what}", self.seed, (self.now_ms - self.began_ms) as f64 / 1_000.0);
        }
    }

    fn fail<T>(&self, what: String) -> Result<T, Failure> {
        let Self { seed, now_ms, began_ms, report: Report { hours, .. }, .. } = self;
        let at_s = (now_ms - began_ms) as f64 / 1_000.0;
        Err(Failure(format!(
            "seed {seed} at {at_s} s: {what}\n  again: scripts/simulate worlds --seeds {seed}-{seed} --hours {} --tell",
            hours + 1
        )))
    }
}
