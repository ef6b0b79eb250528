//! The express way: packets that need no judgement, because one like them was judged before.
//!
//! ```text
//! read       plain packets, the leg they enter by, their flow        port, VLAN, MAC -> Leg
//! shard      where their sessions are                                 outbound: a function; inbound: the port's cell
//! look up    their sessions' lines                                    table, in bursts
//! agree      the line is of this generation, so the rules agree       -> the way: what changes, by which leg, to whom
//! send       the neighbour's MAC, the packet changed, noted, sent
//! ```
//!
//! Each stage asks for the memory that the next one reads. What a session's generation vouches for is not asked again: that
//! the rules translate this flow so, and lead it there. What depends on the packet alone is: where it came in, how long it
//! is, what it says of its connection. Whatever is not plain, or not known at a glance, goes the long way, through
//! [`crate::judge`], and finds out there.
//!
//! The two ways never differ: where assertions are on, every packet that passes here is judged too, and must pass there the
//! same way. And no packet overtakes another of its flow: behind one that goes the long way, all between the same two
//! addresses do.

use arrayvec::ArrayVec;
use flowtable::{LineIndex, ShardIndex};
use packet::{BURST_FRAMES_MAX, Burst, Frame, Moment, PacketIo, Plain, PortIndex, addresses};
use rules::compiled::{AddressIndex, InterfaceIndex, NextHop};
use rules::legs::{Leg, Own};

use crate::flow::Flow;
use crate::gateway::Gateway;
use crate::sessions::{INBOUND, OUTBOUND};
use crate::state::State;

/// A plain packet of the burst.
struct Candidate {
    plain: Plain,
    /// The leg it enters by.
    leg: InterfaceIndex,
    /// From outside: the address whose port it goes to.
    ports: Option<AddressIndex>,
    /// Which frame of the burst.
    at: u8,
}

/// How a packet goes on.
struct Way {
    /// Which candidate.
    of: u8,
    shard: ShardIndex,
    line: LineIndex,
    next_hop: NextHop,
    /// Where the next hop was last found.
    remembered: LineIndex,
}

type OfBurst<T> = ArrayVec<T, BURST_FRAMES_MAX>;
/// Where to look for each candidate's session, and its flow; from outside the shard is known a stage later.
type Lookups = OfBurst<Option<(ShardIndex, Flow)>>;

impl<F: Frame> Gateway<F> {
    /// Sends on what needs no judgement. What is left in `frames` does.
    pub(crate) fn pass_established<I: PacketIo<Frame = F>>(
        &mut self,
        port: PortIndex,
        frames: &mut Burst<F>,
        now: Moment,
        io: &mut I,
    ) {
        let (mut candidates, mut lookups) = (OfBurst::new(), OfBurst::new());
        self.read_plain(port, frames, &mut candidates, &mut lookups);
        if candidates.is_empty() {
            return;
        }
        self.ask_ports(&candidates, &mut lookups);
        let mut lines = [None; BURST_FRAMES_MAX];
        self.state.find_burst(&lookups, &mut lines[..lookups.len()]);
        let mut ways = OfBurst::new();
        self.find_ways(&candidates, &lookups, &lines, &mut ways);
        self.send_established(frames, &candidates, &lookups, &ways, now, io);
    }

    fn read_plain(
        &self,
        port: PortIndex,
        frames: &Burst<F>,
        candidates: &mut OfBurst<Candidate>,
        lookups: &mut Lookups,
    ) {
        for (at, frame) in frames.iter().enumerate() {
            let Some((plain, arrival)) = Plain::read(frame.bytes()) else { continue };
            let Some((leg, rules)) = self.rules.enter(port, arrival.vlan, arrival.mac) else { continue };
            let flow = Flow::of_plain(&plain, rules.realm);
            let mut ports = None;
            let shard = if rules.external {
                let Some(Own::Ports(address)) = self.rules.own(rules.realm, plain.destination()) else {
                    continue;
                };
                self.state.prefetch_port(address, &flow);
                ports = Some(address);
                ShardIndex(0)
            } else {
                self.state.shard_of_host(rules.realm, plain.source())
            };
            candidates.push(Candidate { plain, leg, ports, at: at as u8 });
            lookups.push(Some((shard, flow)));
        }
    }

    /// Whose the ports are that packets from outside go to.
    fn ask_ports(&self, candidates: &OfBurst<Candidate>, lookups: &mut Lookups) {
        for (candidate, lookup) in candidates.iter().zip(lookups) {
            if let (Some(ports), Some((shard, flow))) = (candidate.ports, lookup.as_mut()) {
                match self.state.shard_of_port(ports, flow) {
                    Some(found) => *shard = found,
                    None => *lookup = None,
                }
            }
        }
    }

    fn find_ways(
        &self,
        candidates: &OfBurst<Candidate>,
        lookups: &Lookups,
        lines: &[Option<LineIndex>; BURST_FRAMES_MAX],
        ways: &mut OfBurst<Way>,
    ) {
        for (of, ((candidate, lookup), line)) in candidates.iter().zip(lookups).zip(lines).enumerate() {
            let (Some((shard, _)), Some(line)) = (lookup, line) else { continue };
            let Some((next_hop, remembered)) = self.way(candidate, *line) else { continue };
            self.neighbours.prefetch(remembered);
            ways.push(Way { of: of as u8, shard: *shard, line: *line, next_hop, remembered });
        }
    }

    /// How a packet goes on by its session's line, if the line's generation is the rules' and nothing needs a longer look; and
    /// where its next hop was last found.
    #[inline]
    fn way(
        &self,
        Candidate { plain, leg, .. }: &Candidate,
        index: LineIndex,
    ) -> Option<(NextHop, LineIndex)> {
        let entry = self.rules.leg(*leg)?;
        let sessions = &self.state.parts.sessions;
        let line = sessions.value(index);
        let (side, generation, next_hop) = if entry.external {
            let inside = self.rules.inside(line.realm())?;
            let address = line.endpoint().address;
            let leg = Some(inside.leg)
                .filter(|leg| self.rules.leg(*leg).is_some_and(|leg| leg.is_plainly_reached(address)))?;
            (INBOUND, inside.generation, NextHop { interface: leg, address })
        } else {
            let next_hop = entry.plainly_out(plain.destination())?;
            let is_a_hosts = entry.is_plainly_a_hosts(plain.source());
            (OUTBOUND, entry.generation, Some(next_hop).filter(|_| is_a_hosts)?)
        };
        let exit = &self.rules.leg(next_hop.interface)?.exit;
        let agrees = line.is_of_generation(generation)
            && sessions.side_of(index) == side
            && State::is_established(line, side, plain)
            && plain.total_length <= exit.mtu
            && (side == INBOUND || !self.rules.is_own(exit, plain.destination()));
        agrees.then(|| (next_hop, line.next_hop()))
    }

    fn send_established<I: PacketIo<Frame = F>>(
        &mut self,
        frames: &mut Burst<F>,
        candidates: &OfBurst<Candidate>,
        lookups: &Lookups,
        ways: &OfBurst<Way>,
        now: Moment,
        io: &mut I,
    ) {
        let now_ms = now.ms() as u32;
        let keeps_order = self.waiting.is_empty() && self.outbox.is_quiet();
        let mut rest = Burst::new();
        // A bit for each pair of addresses between which a packet goes the long way.
        let mut behind = 0_u64;
        let mut ways = ways.iter().map(|way| (way, &candidates[usize::from(way.of)])).peekable();
        for (at, mut frame) in frames.drain(..).enumerate() {
            if let Some((way, candidate)) = ways.next_if(|(_, candidate)| usize::from(candidate.at) == at)
                && (behind == 0 || behind & pair_bit(candidate.plain.addresses) == 0)
                && (keeps_order || !self.is_behind_another(&lookups[usize::from(way.of)]))
                && let Some(port) = self.make_ready(candidate, way, &mut frame, now_ms)
            {
                io.send(port, frame);
                continue;
            }
            behind |= addresses(frame.bytes()).map_or(0, pair_bit);
            rest.push(frame);
        }
        if !rest.is_empty() {
            *frames = rest;
        }
    }

    /// Makes a packet ready to be sent by the port that is returned. `None` where its next hop is not known where it was, or
    /// its frame has no room: then nothing has changed.
    #[inline]
    fn make_ready(
        &mut self,
        candidate: &Candidate,
        way: &Way,
        frame: &mut F,
        now_ms: u32,
    ) -> Option<PortIndex> {
        #[cfg(debug_assertions)]
        self.assert_judged_alike(candidate, way, frame, now_ms);
        let plain = &candidate.plain;
        let Leg { exit, .. } = self.rules.leg(way.next_hop.interface)?;
        let line = self.state.parts.sessions.value(way.line);
        let destination = match self.neighbours.recall(way.remembered, exit.realm, way.next_hop.address) {
            Some(mac) => mac,
            None => self.find_neighbour(way, exit.realm)?,
        };
        exit.link.replace(frame, usize::from(plain.network_offset), destination).ok()?;
        let new = line.new_endpoint();
        let bytes = frame.bytes_mut();
        if candidate.ports.is_none() {
            let identification = (!plain.dont_fragment)
                .then(|| self.identifications.draw(plain.destination(), plain.protocol));
            plain.replace_source(bytes, exit.link.length(), new, identification);
        } else {
            plain.replace_destination(bytes, exit.link.length(), new);
        }
        State::touch_established(line, plain, now_ms);
        if !self.shards.has(way.shard) {
            self.counters().translated_for_others.add(1);
        }
        Some(exit.port)
    }

    /// The MAC of a next hop that is not where it was, and remembers where it is.
    #[cold]
    fn find_neighbour(&self, way: &Way, network: rules::compiled::Realm) -> Option<packet::MacAddress> {
        let shard = self.state.shard_of_host(network, way.next_hop.address);
        let found = self.neighbours.locate(shard, network, way.next_hop.address)?;
        self.state.parts.sessions.value(way.line).remember_next_hop(found);
        self.neighbours.recall(found, network, way.next_hop.address)
    }

    /// Whether frames of its flow that came earlier are still here, or under way to another gateway.
    fn is_behind_another(&mut self, lookup: &Option<(ShardIndex, Flow)>) -> bool {
        let Some((_, flow)) = lookup else { return true };
        let hash = self.outbox.hash(flow);
        self.waiting.neighbour_of(hash).is_some() || self.outbox.follows(flow, 0).is_some()
    }

    /// The long way agrees: the verdict would be the same. Another gateway may close the session meanwhile, and then would not
    /// be asked in vain.
    #[cfg(debug_assertions)]
    fn assert_judged_alike(&mut self, candidate: &Candidate, way: &Way, frame: &F, now_ms: u32) {
        use packet::Parsed;

        use crate::judge::{Case, Judge};
        use crate::verdict::{Change, Passage, SessionLine, Verdict};

        let leg = &candidate.leg;
        let Self { rules, state, shards, me, .. } = self;
        let (Ok(parsed), Some(entry)) = (Parsed::read(frame.bytes()), rules.leg(*leg)) else {
            unreachable!("a plain packet can be parsed")
        };
        let flow = &Flow::of(&parsed, entry.realm);
        if !state.parts.sessions.holds(way.line, flow) {
            return;
        }
        let case = Case {
            bytes: frame.bytes(),
            parsed: &parsed,
            entry: crate::classify::Entry { segment: entry.exit.segment, interface: Some(*leg) },
            flow: *flow,
            has_ports: true,
            shard: Some(way.shard),
            line: Some(way.line),
            checks_checksums: false,
        };
        let judged = Judge { rules, state, shards, counters: state.counters(*me), now_ms }.judge(&case);
        let endpoint = self.state.parts.sessions.value(way.line).endpoint();
        let is_outbound = candidate.ports.is_none();
        let other = match is_outbound {
            true => flow.with_source(endpoint, flow.realm()),
            false => flow.with_destination(endpoint, flow.realm()),
        };
        let router =
            self.rules.interfaces[if is_outbound { leg } else { &way.next_hop.interface }.0 as usize].router;
        let session = Some(SessionLine { line: way.line, router });
        let passage = Passage {
            change: Change::Packet(flow.rewrite_to(&other)),
            next_hop: way.next_hop,
            sessions: if is_outbound { [session, None] } else { [None, session] },
        };
        assert_eq!(judged, Verdict::Forward(passage), "{flow:?} passes as it would be judged");
    }
}

/// One of 64 bits for what goes from one address to another.
#[inline]
fn pair_bit(addresses: u64) -> u64 {
    1 << (addresses.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}
