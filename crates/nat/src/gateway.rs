//! The gateway: what happens to a burst of frames, on one screen.
//!
//! There is one for each worker, over the same state. It carries every frame that it can; what only another may do, it
//! hands to that, untouched.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use flowtable::{Reader, SWEEP_DUE_MAX, ShardIndex, SlotIndex};
use packet::{BURST_FRAMES_MAX, Burst, Fragment, Frame, Moment, PacketIo, Parsed, Payload, PortIndex};
use rules::RuleSet;
use rules::compiled::{InterfaceIndex, SegmentIndex};

use crate::DropReason;
use crate::classify::{Sought, classify, realm_of, sought};
use crate::counters::{Counters, PORTS_MAX};
use crate::error_budget::ErrorBudget;
use crate::flow::Flow;
use crate::fragments::{Datagrams, Held, datagram_key};
use crate::identifications::Identifications;
use crate::idle_reset::Idle;
use crate::judge::{Case, Judge, is_icmp_error};
use crate::lane::{Handed, Lane};
use crate::neighbours::{Due, Neighbours};
use crate::outbox::Outbox;
use crate::sessions::SessionView;
use crate::shard::Shard;
use crate::shards::Shards;
use crate::state::{State, WorkerIndex};
use crate::time::Round;
use crate::unsolicited::Unsolicited;
use crate::verdict::Verdict;
use crate::waiting::Waiting;

/// How many announcements (gratuitous ARP) one turn sends.
const ANNOUNCEMENTS_PER_TURN: usize = 16;

/// A turn in which so many sessions and mappings were due looks at no more shards.
const DUE_PER_TURN: usize = 64;

/// What a gateway is made with, besides its state.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// Ports whose neighbours may leave checksums to an offload that never runs (af_packet on a virtual link).
    pub checks_checksums: [bool; PORTS_MAX],
}

/// The brain of one worker: a plain function of frames, the time, the rules and the state.
///
/// A turn is any number of bursts, a [`tick`](Self::tick), a flush of the ports, the [`outbox`](Self::outbox) emptied, and
/// [`end_turn`](Self::end_turn), in this order: a frame that is handed on must not leave by another worker's queue before
/// one that came earlier has left by this worker's.
pub struct Gateway<F> {
    pub(crate) rules: Arc<RuleSet>,
    pub(crate) state: Arc<State>,
    me: WorkerIndex,
    pub(crate) shards: Shards,
    pub(crate) neighbours: Neighbours,
    pub(crate) waiting: Waiting<F>,
    pub(crate) outbox: Outbox<F>,
    pub(crate) error_budget: ErrorBudget,
    pub(crate) datagrams: Datagrams,
    pub(crate) held: Held<F>,
    pub(crate) identifications: Identifications,
    pub(crate) unsolicited: Unsolicited,
    reader: Reader,
    checks_checksums: [bool; PORTS_MAX],
    announcements: Vec<(SegmentIndex, Ipv4Addr)>,
    /// Which shards have yet to be looked at for what is over.
    round: Round,
}

impl<F: Frame> Gateway<F> {
    /// The gateway of worker `me`, the owner of `shards`. It has no rules yet: it drops everything.
    pub fn new(
        state: &Arc<State>,
        me: WorkerIndex,
        shards: Vec<Shard>,
        configuration: Configuration,
    ) -> Self {
        let in_process = &state.in_process;
        let owned = shards.iter().map(Shard::index);
        Self {
            rules: Arc::default(),
            neighbours: Neighbours::new(&in_process.neighbours, owned, &in_process.quiescence),
            shards: Shards::new(shards),
            waiting: Waiting::new(),
            outbox: Outbox::new(state, me),
            error_budget: ErrorBudget::default(),
            datagrams: Datagrams::new(),
            held: Held::new(),
            identifications: Identifications::new(in_process.order_key[0], me.0, state.workers()),
            unsolicited: Unsolicited::new(),
            reader: in_process.quiescence.reader(),
            state: Arc::clone(state),
            me,
            checks_checksums: configuration.checks_checksums,
            announcements: Vec::new(),
            round: Round::default(),
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
        self.pass_established(port, frames, now, io);
        if frames.is_empty() {
            return;
        }
        self.carry(&mut frames.drain(..).map(|frame| Handed::received(frame, port)).collect(), now, io);
    }

    /// Carries frames that another gateway handed to this one, as if they had come in here.
    pub fn process_handed<I: PacketIo<Frame = F>>(
        &mut self,
        frames: &mut Burst<Handed<F>>,
        now: Moment,
        io: &mut I,
    ) {
        self.counters().handed_in.add(frames.len() as u64);
        self.carry(frames, now, io);
    }

    /// Parse all, classify all, look up all; then judge, change and send each.
    pub(crate) fn carry<I: PacketIo<Frame = F>>(
        &mut self,
        frames: &mut Burst<Handed<F>>,
        now: Moment,
        io: &mut I,
    ) {
        let mut lanes = Burst::new();
        self.parse_and_classify(frames, &mut lanes);
        self.find_shards(&mut lanes);
        self.look_up(&mut lanes);
        for lane in lanes.drain(..) {
            match lane.parsed.payload {
                Payload::Ipv4 => {
                    let verdict = self.in_order(&lane).unwrap_or_else(|| self.judge(&lane, now));
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

    /// `lanes` is filled where it lies: a burst of lanes is kilobytes.
    fn parse_and_classify(&mut self, frames: &mut Burst<Handed<F>>, lanes: &mut Burst<Lane<F>>) {
        for Handed { frame, port, tickets, datagram } in frames.drain(..) {
            let read = Parsed::read(frame.bytes()).map_err(DropReason::from).and_then(|mut parsed| {
                if let Some(datagram) = datagram {
                    datagram.lend(&mut parsed);
                }
                classify(&self.rules, port, frame.bytes(), &parsed).map(|entry| (parsed, entry))
            });
            match read {
                Ok((parsed, entry)) => {
                    let flow = Flow::of(&parsed, realm_of(&self.rules, entry));
                    let order = if datagram.is_none() && parsed.fragment != Fragment::Whole {
                        datagram_key(&flow, frame.bytes(), &parsed)
                    } else {
                        flow
                    };
                    let (shard, line) = (None, None);
                    lanes.push(Lane {
                        frame,
                        port,
                        tickets,
                        datagram,
                        parsed,
                        entry,
                        flow,
                        order,
                        shard,
                        line,
                    });
                }
                Err(reason) => self.discard(&tickets, reason),
            }
        }
    }

    /// Finds the shards in which to look: of a host by a function, of a port by a cell that is asked for a stage ahead.
    fn find_shards(&self, lanes: &mut Burst<Lane<F>>) {
        let sought: ArrayVec<_, BURST_FRAMES_MAX> =
            lanes.iter().map(|lane| sought(&self.rules, lane.entry, &lane.parsed, &lane.flow)).collect();
        for (lane, sought) in lanes.iter().zip(&sought) {
            if let Some(Sought::Port(address)) = sought {
                self.state.prefetch_port(*address, &lane.flow);
            }
        }
        for (lane, sought) in lanes.iter_mut().zip(sought) {
            let flow = &lane.flow;
            lane.shard = sought.and_then(|sought| match sought {
                Sought::Host(realm, address) => Some(self.state.shard_of_host(realm, address)),
                Sought::Port(address) => self.state.shard_of_port(address, flow),
            });
        }
    }

    fn look_up(&self, lanes: &mut Burst<Lane<F>>) {
        let flows: ArrayVec<_, BURST_FRAMES_MAX> =
            lanes.iter().map(|lane| lane.shard.map(|shard| (shard, lane.flow))).collect();
        let mut found = [None; BURST_FRAMES_MAX];
        self.state.find_burst(&flows, &mut found[..flows.len()]);
        for (lane, line) in lanes.iter_mut().zip(found) {
            lane.line = line;
        }
    }

    /// Keeps a frame behind those of its flow that were received before it and have not left: one that waits for a
    /// neighbour, or one that was handed on. ICMP errors keep no order.
    fn in_order(&mut self, lane: &Lane<F>) -> Option<Verdict> {
        if (self.waiting.is_empty() && self.outbox.is_quiet()) || is_icmp_error(&lane.parsed) {
            return None;
        }
        let hash = self.outbox.hash(&lane.order);
        let behind = self.waiting.neighbour_of(hash).map(Verdict::Wait);
        behind.or_else(|| self.outbox.follows(&lane.order, lane.tickets.len()).map(Verdict::HandOff))
    }

    /// Whether a port's neighbours may leave checksums to an offload that never runs.
    pub(crate) fn checks_checksums(&self, port: PortIndex) -> bool {
        self.checks_checksums.get(usize::from(port.0)).is_some_and(|checks| *checks)
    }

    fn judge(&mut self, lane: &Lane<F>, now: Moment) -> Verdict {
        let case = Case {
            bytes: lane.frame.bytes(),
            parsed: &lane.parsed,
            entry: lane.entry,
            flow: lane.flow,
            has_ports: lane.datagram.is_some() || lane.parsed.fragment == Fragment::Whole,
            shard: lane.shard,
            line: lane.line,
            checks_checksums: self.checks_checksums(lane.port),
        };
        let Self { rules, state, shards, me, .. } = self;
        Judge { rules, state, shards, counters: state.counters(*me), now_ms: now.ms() as u32 }.judge(&case)
    }

    pub(crate) fn carry_out<I: PacketIo<Frame = F>>(
        &mut self,
        verdict: Verdict,
        lane: Lane<F>,
        now: Moment,
        io: &mut I,
    ) {
        match verdict {
            Verdict::Forward(passage) => self.forward(passage, lane, now, io),
            Verdict::HandOff(owner) => self.hand_off(lane, owner),
            Verdict::Wait(slot) => self.hold(lane, slot),
            Verdict::Reassemble => self.reassemble(lane, now, io),
            Verdict::EchoReply => self.reply_to_echo(lane, io),
            Verdict::Drop(reason) => self.discard(&lane.tickets, reason),
            Verdict::Refuse(reason, error) => self.refuse(reason, error, lane, io),
            Verdict::Reset(reason) => self.reset(reason, &lane, io),
            Verdict::AnswerLater(reason, flow) => self.answer_later(reason, flow, &lane, now),
        }
    }

    /// Judges again the frames that waited for a neighbour.
    fn release<I: PacketIo<Frame = F>>(&mut self, slot: SlotIndex, now: Moment, io: &mut I) {
        let mut frames = self.waiting.take(slot);
        if !frames.is_empty() {
            self.counters().held.sub(frames.len() as u64);
            self.carry(&mut frames, now, io);
        }
    }

    /// The frames that are to go to other workers, each to the one it is with, in order. To be emptied after the ports were
    /// flushed; what finds no room goes to [`refused`](Self::refused).
    pub fn outbox(&mut self) -> &mut VecDeque<(WorkerIndex, Handed<F>)> {
        self.outbox.frames()
    }

    /// Drops a frame of the outbox for which the other worker had no room.
    pub fn refused(&mut self, handed: Handed<F>) {
        self.outbox.take_back();
        self.discard(&handed.tickets, DropReason::HandOffRingFull);
    }

    /// Ends a turn, once the ports were flushed and the outbox emptied: tells those who handed frames on which of them
    /// have left, and lets go of what it has found in the tables.
    pub fn end_turn(&mut self) {
        let handed_out = self.outbox.end_turn();
        self.counters().handed_out.add(handed_out);
        self.state.in_process.probes.of(self.me).refill();
        self.reader.pass();
    }

    /// Runs with other rules from now on, and returns the old ones, to be freed elsewhere. Flows are judged again on their next packet.
    ///
    /// Workers adopt at different moments. Until all have, a frame that is handed on may be judged by other rules than those
    /// by which it was handed on, and one that two workers each hold to be the other's is dropped in the end
    /// ([`DropReason::HandOffAstray`]).
    ///
    /// `announcements` are sent over the next turns; see [`new_addresses`]. One of the workers has them to send.
    pub fn adopt(
        &mut self,
        rules: Arc<RuleSet>,
        announcements: Vec<(SegmentIndex, Ipv4Addr)>,
    ) -> (Arc<RuleSet>, Vec<(SegmentIndex, Ipv4Addr)>) {
        let rules = std::mem::replace(&mut self.rules, rules);
        self.error_budget.adopt(self.rules.interfaces.len());
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

    /// Does a bounded piece of what time asks for: sessions to expire, neighbours to ask, addresses to announce. Returns whether
    /// some sessions have yet to be looked at, in the next turn.
    pub fn tick<I: PacketIo<Frame = F>>(&mut self, now: Moment, io: &mut I) -> bool {
        let now_ms = now.ms() as u32;
        self.outbox.note_turn(now_ms);
        self.error_budget.note_turn(now_ms);
        let has_passed = self.round.begins(now_ms);
        self.expire(now, io);
        if has_passed {
            self.look_after_neighbours(now, io);
            self.look_after_fragments(now);
            self.look_after_unsolicited(now, io);
        }
        for _ in 0..ANNOUNCEMENTS_PER_TURN {
            let Some((segment, address)) = self.announcements.pop() else { break };
            self.announce(segment, address, io);
        }
        self.rules.generation > 0 && !self.round.is_over()
    }

    /// Ends what is over, shard by shard, each of them once in a millisecond: as many in a turn as keep it short.
    fn expire<I: PacketIo<Frame = F>>(&mut self, now: Moment, io: &mut I) {
        // Before the first rules, every session would be one of a router that is gone.
        if self.rules.generation == 0 || self.round.is_over() {
            return;
        }
        let Self { rules, state, shards, me, round, .. } = self;
        let (mut idle, mut due) = (Idle::new(), 0);
        while due < DUE_PER_TURN
            && let Some(shard) = round.next()
        {
            let Some(shard) = shards.get_mut(shard) else { continue };
            due += shard.expire(rules, state.counters(*me), now.ms() as u32, &mut idle);
        }
        self.reset_both_sides(idle, now, io);
    }

    fn look_after_neighbours<I: PacketIo<Frame = F>>(&mut self, now: Moment, io: &mut I) {
        let now_ms = now.ms() as u32;
        let slots = self.neighbours.slots_due(now_ms);
        for shard in (0..self.state.shards()).map(ShardIndex) {
            let mut due = ArrayVec::<Due, SWEEP_DUE_MAX>::new();
            self.neighbours.look_after(shard, slots, now_ms, &mut due);
            for due in due {
                match due {
                    Due::Ask(realm, address) => self.ask_again(realm, address, io),
                    // Judged again, they find their next hop silent and are refused.
                    Due::Silent(slot) => self.release(slot, now, io),
                }
            }
        }
        self.neighbours.reclaim();
    }

    /// Shows the next sessions of its shards from slot `from` on, `sessions` of them at most, in a bounded time; returns
    /// the slot to go on at, `None` at the end.
    pub fn list_sessions(
        &self,
        from: u32,
        sessions: usize,
        now: Moment,
        show: impl FnMut(SessionView),
    ) -> Option<u32> {
        let slots_per_shard = self.state.parts.sessions.slots_per_shard();
        let first = ShardIndex((from / slots_per_shard) as u8);
        let mut shards = self.shards.from(first);
        let shard = shards.next()?;
        let from = from.max(u32::from(shard.index().0) * slots_per_shard);
        shard
            .list(from, sessions, &self.rules, now.ms() as u32, show)
            .or_else(|| shards.next().map(|next| u32::from(next.index().0) * slots_per_shard))
    }

    /// Gives back its shards, for other gateways over the same state. What waits here is dropped.
    pub fn into_shards(mut self) -> Vec<Shard> {
        while let Some(handed) = self.waiting.pop().or_else(|| self.held.pop()) {
            self.counters().held.sub(1);
            self.discard(&handed.tickets, DropReason::GatewayEnded);
        }
        while let Some((_, handed)) = self.outbox.frames().pop_front() {
            self.outbox.take_back();
            self.discard(&handed.tickets, DropReason::GatewayEnded);
        }
        self.end_turn();
        self.shards.into_vec()
    }

    pub(crate) fn me(&self) -> WorkerIndex {
        self.me
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.state.counters(self.me)
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
