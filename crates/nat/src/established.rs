//! The express way: packets that need no judgement, because one like them was judged before, or because a floating IP says all
//! there is to say.
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
//! is, what it says of its connection. A packet from or to a floating IP has no session; what may be asked of it are a few
//! comparisons. Whatever is not plain, or not known at a glance, goes the long way, through [`crate::judge`], and finds out
//! there.
//!
//! The two ways never differ: where assertions are on, every packet that passes here is judged too, and must pass there the
//! same way. And no packet overtakes another of its flow: behind one that goes the long way, all between the same two
//! addresses do.

mod openings;

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use flowtable::{LineIndex, ShardIndex};
use packet::{
    BURST_FRAMES_MAX, Burst, Frame, MacAddress, Moment, PacketIo, Plain, PortIndex, addresses, tcp,
};
use rules::compiled::{AddressIndex, InterfaceIndex, NextHop, Realm};
use rules::legs::{Leg, Own};

use crate::flow::Flow;
use crate::gateway::Gateway;
use crate::neighbours::Neighbours;
use crate::sessions::{INBOUND, OUTBOUND};
use crate::state::State;

use openings::{Begun, Opening};

/// A plain packet of the burst.
struct Candidate {
    plain: Plain,
    /// The leg it enters by.
    leg: InterfaceIndex,
    translation: Translation,
    /// Which frame of the burst.
    at: u8,
}

/// By what a candidate is translated, as far as its addresses tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Translation {
    /// From inside: by its session.
    Out,
    /// From outside: by the session that has this address' port.
    In(AddressIndex),
    /// From a host with this floating IP.
    FloatingOut(Ipv4Addr),
    /// To the floating IP of this host, by this leg.
    FloatingIn(Ipv4Addr, InterfaceIndex),
}

/// How a packet goes on.
struct Way {
    /// Which candidate.
    of: u8,
    /// The session it goes by; with a floating IP, none.
    session: Option<(ShardIndex, LineIndex)>,
    next_hop: NextHop,
    /// Where the next hop was last found.
    remembered: LineIndex,
}

type OfBurst<T> = ArrayVec<T, BURST_FRAMES_MAX>;
/// Where to look for each candidate's session; from outside the shard is known a stage later.
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
        let (mut ways, mut openings) = (OfBurst::new(), OfBurst::new());
        self.find_ways(&candidates, &lookups, &lines, &mut ways);
        if ways.len() < candidates.len() {
            self.find_openings(port, &candidates, &lookups, &lines, &mut openings);
        }
        self.send_established(frames, &candidates, &ways, &openings, now, io);
    }

    fn read_plain(
        &self,
        port: PortIndex,
        frames: &Burst<F>,
        candidates: &mut OfBurst<Candidate>,
        lookups: &mut Lookups,
    ) {
        // Without a session to say so, each packet would have to be asked whether its checksum is there.
        let has_checksums = !self.checks_checksums(port);
        for (at, frame) in frames.iter().enumerate() {
            let Some((plain, arrival)) = Plain::read(frame.bytes()) else { continue };
            let Some((leg, rules)) = self.rules.enter(port, arrival.vlan, arrival.mac) else { continue };
            let flow = Flow::of_plain(&plain, rules.realm);
            let (translation, shard) = if rules.external {
                match self.rules.own(rules.realm, plain.destination()) {
                    Some(Own::Ports(address)) => {
                        self.state.prefetch_port(address, &flow);
                        (Translation::In(address), Some(ShardIndex(0)))
                    }
                    Some(Own::Floating { internal, leg }) if has_checksums => {
                        (Translation::FloatingIn(internal, leg), None)
                    }
                    _ => continue,
                }
            } else {
                match self.rules.floating_ip_of(rules, plain.source()) {
                    Some(floating) if has_checksums => (Translation::FloatingOut(floating), None),
                    Some(_) => continue,
                    None => (Translation::Out, Some(self.state.shard_of_host(rules.realm, plain.source()))),
                }
            };
            candidates.push(Candidate { plain, leg, translation, at: at as u8 });
            lookups.push(shard.map(|shard| (shard, flow)));
        }
    }

    /// Whose the ports are that packets from outside go to.
    fn ask_ports(&self, candidates: &OfBurst<Candidate>, lookups: &mut Lookups) {
        for (candidate, lookup) in candidates.iter().zip(lookups) {
            if let (Translation::In(ports), Some((shard, flow))) = (candidate.translation, lookup.as_mut()) {
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
            let session = lookup.zip(*line).map(|((shard, _), line)| (shard, line));
            let way = match session {
                Some((_, line)) => self.way(candidate, line),
                None => self.floating_way(candidate),
            };
            let Some((next_hop, remembered)) = way else { continue };
            self.neighbours.prefetch(remembered);
            ways.push(Way { of: of as u8, session, next_hop, remembered });
        }
    }

    /// How a packet from or to a floating IP goes on, if nothing needs a longer look; and where its next hop was last found.
    fn floating_way(&self, candidate: &Candidate) -> Option<(NextHop, LineIndex)> {
        let plain = &candidate.plain;
        let next_hop = match candidate.translation {
            Translation::FloatingOut(_) => {
                let entry = self.rules.leg(candidate.leg)?;
                let is_a_hosts = entry.is_plainly_a_hosts(plain.source());
                entry.plainly_out(plain.destination()).filter(|_| is_a_hosts)?
            }
            Translation::FloatingIn(internal, leg) => NextHop { interface: leg, address: internal },
            Translation::Out | Translation::In(_) => return None,
        };
        let exit = &self.rules.leg(next_hop.interface)?.exit;
        let is_outbound = matches!(candidate.translation, Translation::FloatingOut(_));
        let (source, destination) = (plain.source(), plain.destination());
        // The segment size that a SYN asks for may have to be lowered.
        let agrees = plain.total_length <= exit.mtu
            && plain.tcp_flags & tcp::SYN == 0
            && is_plainly_a_host(source)
            && (!is_outbound || is_plainly_a_host(destination) && !self.rules.is_own(exit, destination));
        agrees.then(|| (next_hop, self.neighbours.remembered(exit.realm, next_hop.address)))
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
        ways: &OfBurst<Way>,
        openings: &OfBurst<Opening>,
        now: Moment,
        io: &mut I,
    ) {
        let now_ms = now.ms() as u32;
        let keeps_order = self.waiting.is_empty() && self.outbox.is_quiet();
        let mut rest = Burst::new();
        // A bit for each pair of addresses between which a packet goes the long way.
        let mut behind = 0_u64;
        let mut begun = Begun::default();
        let mut openings =
            openings.iter().map(|opening| (opening, &candidates[usize::from(opening.of)])).peekable();
        let mut ways = ways.iter().map(|way| (way, &candidates[usize::from(way.of)])).peekable();
        for (at, mut frame) in frames.drain(..).enumerate() {
            let opened;
            let found = match ways.next_if(|(_, candidate)| usize::from(candidate.at) == at) {
                None => {
                    opened = openings
                        .next_if(|(_, candidate)| usize::from(candidate.at) == at)
                        .filter(|(_, candidate)| behind & pair_bit(candidate.plain.addresses) == 0)
                        .filter(|(_, candidate)| keeps_order || !self.is_behind_another(candidate))
                        .and_then(|(opening, candidate)| {
                            Some((self.begin(candidate, opening, &mut begun, now_ms)?, candidate))
                        });
                    opened.as_ref().map(|(way, candidate)| (way, *candidate))
                }
                found => found,
            };
            if let Some((way, candidate)) = found
                && (behind == 0 || behind & pair_bit(candidate.plain.addresses) == 0)
                && (keeps_order || !self.is_behind_another(candidate))
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
        let destination = match self.neighbours.recall(way.remembered, exit.realm, way.next_hop.address) {
            Some(mac) => mac,
            None => find_neighbour(&self.state, &mut self.neighbours, way, exit.realm)?,
        };
        exit.link.replace(frame, usize::from(plain.network_offset), destination).ok()?;
        let (bytes, offset) = (frame.bytes_mut(), exit.link.length());
        if let Some((shard, line)) = way.session {
            let line = self.state.parts.sessions.value(line);
            let new = line.new_endpoint();
            if candidate.translation == Translation::Out {
                let identification = (!plain.dont_fragment)
                    .then(|| self.identifications.draw(plain.destination(), plain.protocol));
                plain.replace_source(bytes, offset, new, identification);
            } else {
                plain.replace_destination(bytes, offset, new);
            }
            State::touch_established(line, plain, now_ms);
            if !self.shards.has(shard) {
                self.counters().translated_for_others.add(1);
            }
        } else if let Translation::FloatingOut(external) = candidate.translation {
            plain.replace_source(bytes, offset, plain.source_at(external), None);
        } else {
            plain.replace_destination(bytes, offset, plain.destination_at(way.next_hop.address));
        }
        Some(exit.port)
    }

    /// Whether frames of its flow that came earlier are still here, or under way to another gateway.
    fn is_behind_another(&mut self, candidate: &Candidate) -> bool {
        let Some(leg) = self.rules.leg(candidate.leg) else { return true };
        let flow = Flow::of_plain(&candidate.plain, leg.realm);
        let hash = self.outbox.hash(&flow);
        self.waiting.neighbour_of(hash).is_some() || self.outbox.follows(&flow, 0).is_some()
    }

    /// The long way agrees: the verdict would be the same. Another gateway may close the session meanwhile, and then would not
    /// be asked in vain.
    #[cfg(debug_assertions)]
    fn assert_judged_alike(&mut self, candidate: &Candidate, way: &Way, frame: &F, now_ms: u32) {
        use packet::Parsed;

        use crate::flow::Endpoint;
        use crate::judge::{Case, Judge};
        use crate::verdict::{Change, Passage, SessionLine, Verdict};

        let (leg, me) = (&candidate.leg, self.me());
        let Self { rules, state, shards, .. } = self;
        let (Ok(parsed), Some(entry)) = (Parsed::read(frame.bytes()), rules.leg(*leg)) else {
            unreachable!("a plain packet can be parsed")
        };
        let flow = &Flow::of(&parsed, entry.realm);
        if way.session.is_some_and(|(_, line)| !state.parts.sessions.holds(line, flow)) {
            return;
        }
        let case = Case {
            bytes: frame.bytes(),
            parsed: &parsed,
            entry: crate::classify::Entry { segment: entry.exit.segment, interface: Some(*leg) },
            flow: *flow,
            has_ports: true,
            shard: way.session.map(|(shard, _)| shard),
            line: way.session.map(|(_, line)| line),
            checks_checksums: false,
        };
        let judged = Judge { rules, state, shards, counters: state.counters(me), now_ms }.judge(&case);
        let is_outbound = matches!(candidate.translation, Translation::Out | Translation::FloatingOut(_));
        let endpoint = match (way.session, candidate.translation) {
            (Some((_, line)), _) => self.state.parts.sessions.value(line).endpoint(),
            (None, Translation::FloatingOut(address)) => Endpoint { address, port: flow.source().port },
            (None, _) => Endpoint { address: way.next_hop.address, port: flow.destination().port },
        };
        let other = match is_outbound {
            true => flow.with_source(endpoint, flow.realm()),
            false => flow.with_destination(endpoint, flow.realm()),
        };
        let inner = if is_outbound { leg } else { &way.next_hop.interface };
        let router = self.rules.interfaces[inner.0 as usize].router;
        let session = way.session.map(|(_, line)| SessionLine { line, router });
        let passage = Passage {
            change: Change::Packet(flow.rewrite_to(&other)),
            next_hop: way.next_hop,
            sessions: if is_outbound { [session, None] } else { [None, session] },
        };
        assert_eq!(judged, Verdict::Forward(passage), "{flow:?} passes as it would be judged");
    }
}

/// The MAC of a next hop that is not where it was, and remembers where it is.
#[cold]
fn find_neighbour(
    state: &State,
    neighbours: &mut Neighbours,
    way: &Way,
    network: Realm,
) -> Option<MacAddress> {
    let address = way.next_hop.address;
    let found = neighbours.locate(state.shard_of_host(network, address), network, address)?;
    match way.session {
        Some((_, line)) => state.parts.sessions.value(line).remember_next_hop(found),
        None => neighbours.remember(network, address, found),
    }
    neighbours.recall(found, network, address)
}

/// Whether an address is plainly a single host's that packets may go to and come from; that of a session was judged.
#[inline]
fn is_plainly_a_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    (1..224).contains(&first) && first != 127 && !address.is_link_local()
}

/// One of 64 bits for what goes from one address to another.
#[inline]
fn pair_bit(addresses: u64) -> u64 {
    1 << (addresses.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}
