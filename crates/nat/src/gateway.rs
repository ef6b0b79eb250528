//! The gateway: what happens to a burst of frames, on one screen.

use std::net::Ipv4Addr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use flowtable::{HashKey, LineIndex, SWEEP_DUE_MAX, SlotIndex};
use packet::{BURST_FRAMES_MAX, Burst, Frame, Moment, PacketIo, Parsed, Payload, PortIndex};
use rules::RuleSet;
use rules::compiled::{InterfaceIndex, Realm, SegmentIndex};

use crate::DropReason;
use crate::classify::{Entry, classify, session_flow};
use crate::counters::{Counters, PORTS_MAX};
use crate::judge::{Case, Judge};
use crate::neighbours::{Due, Neighbours};
use crate::sessions::{SessionView, Sessions};
use crate::verdict::Verdict;

/// How many announcements (gratuitous ARP) one turn sends.
const ANNOUNCEMENTS_PER_TURN: usize = 16;

/// What a gateway is made with.
pub struct Configuration {
    /// The most sessions it holds; memory for all of them is taken at once.
    pub sessions_max: u32,
    /// Keys every hash and every random choice; from the operating system.
    pub seed: [u64; 4],
    /// Ports whose neighbours may leave checksums to an offload that never runs (af_packet on a virtual link).
    pub checks_checksums: [bool; PORTS_MAX],
}

/// The brain: a plain function of frames, the time, the rules and its own state.
pub struct Gateway<F> {
    pub(crate) rules: Arc<RuleSet>,
    sessions: Sessions,
    pub(crate) neighbours: Neighbours<F>,
    pub(crate) counters: Arc<Counters>,
    checks_checksums: [bool; PORTS_MAX],
    announcements: Vec<(SegmentIndex, Ipv4Addr)>,
}

/// A frame on its way through the stages, and what they have found out about it.
pub(crate) struct Lane<F> {
    pub(crate) frame: F,
    pub(crate) parsed: Parsed,
    pub(crate) port: PortIndex,
    pub(crate) entry: Entry,
    line: Option<LineIndex>,
    /// It was judged before, and has waited for a neighbour since.
    is_again: bool,
}

impl<F: Frame> Gateway<F> {
    /// A gateway without rules: it drops everything.
    pub fn new(configuration: Configuration, counters: Arc<Counters>) -> Self {
        let [a, b, c, d] = configuration.seed;
        let hash_key = HashKey([a, b]);
        Self {
            rules: Arc::default(),
            sessions: Sessions::new(configuration.sessions_max, hash_key, [c, d]),
            neighbours: Neighbours::new(hash_key),
            counters,
            checks_checksums: configuration.checks_checksums,
            announcements: Vec::new(),
        }
    }

    /// Carries a burst of frames, received on `port`, through the gateway.
    pub fn process_burst<I: PacketIo<Frame = F>>(
        &mut self,
        port: PortIndex,
        frames: &mut Burst<F>,
        now: Moment,
        io: &mut I,
    ) {
        let bytes = frames.iter().map(|frame| frame.bytes().len() as u64).sum();
        self.counters.received(port, frames.len() as u64, bytes);
        self.carry(&mut frames.drain(..).map(|frame| (frame, port)).collect(), false, now, io);
    }

    /// Parse all, classify all, look up all; then judge, change and send each.
    fn carry<I: PacketIo<Frame = F>>(
        &mut self,
        frames: &mut Burst<(F, PortIndex)>,
        is_again: bool,
        now: Moment,
        io: &mut I,
    ) {
        let mut lanes = self.parse_and_classify(frames, is_again);
        self.look_up(&mut lanes);
        for lane in lanes {
            match lane.parsed.payload {
                Payload::Ipv4 => {
                    let verdict = self.judge(&lane, now);
                    self.carry_out(verdict, lane, now, io);
                }
                // What waited goes first: frames behind the answer in this burst must not overtake it.
                _ => {
                    if let Some(slot) = self.hear_arp(lane, now, io) {
                        self.release(slot, now, io);
                    }
                }
            }
        }
    }

    /// Judges again the frames that waited for a neighbour.
    fn release<I: PacketIo<Frame = F>>(&mut self, slot: SlotIndex, now: Moment, io: &mut I) {
        let mut frames = self.neighbours.take_held(slot);
        if !frames.is_empty() {
            self.counters.held.sub(frames.len() as u64);
            self.carry(&mut frames, true, now, io);
        }
    }

    fn parse_and_classify(&self, frames: &mut Burst<(F, PortIndex)>, is_again: bool) -> Burst<Lane<F>> {
        let mut lanes = Burst::new();
        for (frame, port) in frames.drain(..) {
            let read = Parsed::read(frame.bytes()).map_err(DropReason::from).and_then(|parsed| {
                classify(&self.rules, port, frame.bytes(), &parsed).map(|entry| (parsed, entry))
            });
            match read {
                Ok((parsed, entry)) => lanes.push(Lane { frame, parsed, port, entry, line: None, is_again }),
                Err(reason) => self.counters.count_drop(reason),
            }
        }
        lanes
    }

    fn look_up(&self, lanes: &mut Burst<Lane<F>>) {
        let flows: ArrayVec<_, BURST_FRAMES_MAX> =
            lanes.iter().map(|lane| session_flow(&self.rules, lane.entry, &lane.parsed)).collect();
        let mut found = [None; BURST_FRAMES_MAX];
        self.sessions.find_burst(&flows, &mut found);
        for (lane, line) in lanes.iter_mut().zip(found) {
            lane.line = line;
        }
    }

    fn judge(&mut self, lane: &Lane<F>, now: Moment) -> Verdict {
        let case = Case {
            bytes: lane.frame.bytes(),
            parsed: &lane.parsed,
            entry: lane.entry,
            line: lane.line,
            is_again: lane.is_again,
            checks_checksums: self
                .checks_checksums
                .get(usize::from(lane.port.0))
                .is_some_and(|checks| *checks),
        };
        let Self { rules, sessions, counters, .. } = self;
        Judge { rules, sessions, counters, now_ms: now.ms() as u32 }.judge(&case)
    }

    fn carry_out<I: PacketIo<Frame = F>>(
        &mut self,
        verdict: Verdict,
        lane: Lane<F>,
        now: Moment,
        io: &mut I,
    ) {
        match verdict {
            Verdict::Forward(change, next_hop) => self.forward(change, next_hop, lane, now, io),
            Verdict::EchoReply => self.reply_to_echo(lane, io),
            Verdict::Drop(reason) => self.counters.count_drop(reason),
            Verdict::Refuse(reason, error) => self.refuse(reason, error, &lane, io),
        }
    }

    /// Runs with other rules from now on, and returns the old ones, to be freed elsewhere. Flows are judged again on their next packet.
    ///
    /// `announcements` are sent over the next turns; see [`new_addresses`].
    pub fn adopt(
        &mut self,
        rules: Arc<RuleSet>,
        announcements: Vec<(SegmentIndex, Ipv4Addr)>,
    ) -> (Arc<RuleSet>, Vec<(SegmentIndex, Ipv4Addr)>) {
        self.sessions.adopt(&rules);
        let rules = std::mem::replace(&mut self.rules, rules);
        let unsent = std::mem::replace(&mut self.announcements, announcements);
        let still_ours = unsent.iter().filter_map(|&(segment, address)| {
            let segment = self.rules.segment_of_realm(rules.segments[segment.0 as usize].realm)?;
            Some((segment, address))
        });
        self.announcements.extend(still_ours);
        (rules, unsent)
    }

    /// The generation it runs.
    pub fn generation(&self) -> u64 {
        self.rules.generation
    }

    /// Does a bounded piece of what time asks for: sessions to expire, neighbours to ask, addresses to announce.
    pub fn tick<I: PacketIo<Frame = F>>(&mut self, now: Moment, io: &mut I) {
        let now_ms = now.ms() as u32;
        self.sessions.expire(&self.rules, &self.counters, now_ms);
        let mut due = ArrayVec::<Due, SWEEP_DUE_MAX>::new();
        self.neighbours.tick(now_ms, &mut due);
        for due in due {
            match due {
                Due::Ask(realm, address) => self.ask_again(realm, address, io),
                // Judged again, they find their next hop silent and are refused.
                Due::Silent(slot) => self.release(slot, now, io),
            }
        }
        for _ in 0..ANNOUNCEMENTS_PER_TURN {
            let Some((segment, address)) = self.announcements.pop() else { break };
            self.announce(segment, address, io);
        }
    }

    /// Shows the next sessions from slot `from` on, `sessions` of them at most, in a bounded time; returns the slot to go on
    /// at, `None` at the end.
    pub fn list_sessions(
        &self,
        from: u32,
        sessions: usize,
        now: Moment,
        show: impl FnMut(SessionView),
    ) -> Option<u32> {
        self.sessions.list(from, sessions, &self.rules, now.ms() as u32, show)
    }

    /// How full the tables are.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            sessions: self.sessions.len(),
            sessions_max: self.sessions.slots_max(),
            mappings: self.sessions.mappings().len(),
            hosts: self.sessions.mappings().hosts(),
            permissions: self.sessions.mappings().permissions(),
            neighbours: self.neighbours.len(),
        }
    }

    /// External ports in use or in hold-down on an address of an external network, all protocols together.
    pub fn ports_used(&self, realm: Realm, address: Ipv4Addr) -> u32 {
        self.sessions.mappings().ports_used(realm, address)
    }
}

/// The addresses that `new` answers for and `old` did not, or under another MAC or tag: their networks are to be told.
/// Walks every address: not for a worker.
pub fn new_addresses(old: &RuleSet, new: &RuleSet) -> Vec<(SegmentIndex, Ipv4Addr)> {
    let mac = |rules: &RuleSet, interface: InterfaceIndex| rules.interfaces[interface.0 as usize].mac;
    let mut addresses = Vec::new();
    for (index, segment) in new.segments.iter().enumerate() {
        let before = old
            .segment_of_realm(segment.realm)
            .map(|before| &old.segments[before.0 as usize])
            .filter(|before| (before.port, before.vlan) == (segment.port, segment.vlan));
        for (address, rules) in &segment.addresses {
            let was = before.and_then(|before| before.addresses.get(address));
            if was.map(|was| mac(old, was.interface)) != Some(mac(new, rules.interface)) {
                addresses.push((SegmentIndex(index as u32), *address));
            }
        }
    }
    addresses
}

/// How full the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Sessions.
    pub sessions: u32,
    /// The most sessions there can be.
    pub sessions_max: u32,
    /// Endpoint-independent mappings, those in hold-down included.
    pub mappings: u32,
    /// Internal hosts that are paired with an external address.
    pub hosts: u32,
    /// Remote addresses that may come in to a mapping, counted for each mapping.
    pub permissions: u32,
    /// Neighbours known, asked for or silent.
    pub neighbours: u32,
}
