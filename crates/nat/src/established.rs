//! The express way: packets that need no judgement, because one like them was judged before, or because a floating IP or a pool
//! says all there is to say.
//!
//! ```text
//! read       plain packets, the door they come in by, their flow     tenants': Door, MAC -> Leg; outside: address -> Own
//! shard      where their sessions are        outbound: a function; inbound: the address, or the port's cell
//! look up    their sessions' lines                                    table, in bursts
//! agree      the line is of this generation, so the rules agree       -> the way: what changes, by which leg, to whom
//! foresee    flows without a session that may begin here: their memory    openings.rs
//! send       the neighbour's MAC, the packet changed, noted, sent; before that, in its turn, a flow begun
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
use flowtable::{LineIndex, ShardIndex, Sought};
use packet::{
    BURST_FRAMES_MAX, Burst, Frame, MacAddress, Moment, PacketIo, Plain, PortIndex, addresses, tcp,
};
use rules::compiled::{AddressIndex, InterfaceIndex, NextHop, Realm};
use rules::legs::{Door, Leg, Purpose};

use crate::flow::Flow;
use crate::gateway::Gateway;
use crate::neighbours::Neighbours;
use crate::sessions::{INBOUND, OUTBOUND};
use crate::state::State;

use openings::Begun;

/// A plain packet of the burst.
struct Candidate {
    plain: Plain,
    /// As the realm knows it in which its addresses are meant.
    flow: Flow,
    /// Where its session is, if it goes by one; from outside that may be known a stage later.
    shard: Option<ShardIndex>,
    translation: Translation,
    /// Which frame of the burst.
    at: u8,
    /// How it goes on, once that is known.
    way: Option<Way>,
    /// Its session has yet to be opened, in its turn.
    begins: bool,
}

impl Sought<Flow> for Candidate {
    #[inline]
    fn sought(&self) -> Option<(ShardIndex, &Flow)> {
        self.shard.map(|shard| (shard, &self.flow))
    }
}

/// By what a candidate is translated, as far as its addresses tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Translation {
    /// From inside, by this leg: by its session.
    Out(InterfaceIndex),
    /// From outside: by its session. Whose that is, this address' port tells, if the address alone does not.
    In(Option<AddressIndex>),
    /// From a host with this floating IP, by this leg.
    FloatingOut(InterfaceIndex, Ipv4Addr),
    /// To the floating IP of this host, on this leg.
    FloatingIn(InterfaceIndex, Ipv4Addr),
}

/// In which realm a packet's addresses are meant, by what it is translated, and in which shard its session is, if it goes by one.
type Arrived = (Realm, Translation, Option<ShardIndex>);

/// How a packet goes on.
struct Way {
    /// By which session; with a floating IP, by none, and where it has yet to be opened.
    session: Option<LineIndex>,
    next_hop: NextHop,
    /// Where the next hop was last found.
    remembered: LineIndex,
}

type Candidates = ArrayVec<Candidate, BURST_FRAMES_MAX>;

impl<F: Frame> Gateway<F> {
    /// Sends on what needs no judgement. What is left in `frames` does.
    pub(crate) fn pass_established<I: PacketIo<Frame = F>>(
        &mut self,
        port: PortIndex,
        frames: &mut Burst<F>,
        now: Moment,
        io: &mut I,
    ) {
        let mut candidates = Candidates::new();
        let bytes = self.read_plain(port, frames, &mut candidates);
        self.counters().received(port, frames.len() as u64, bytes);
        if candidates.is_empty() {
            return;
        }
        self.ask_ports(&mut candidates);
        let mut lines = [None; BURST_FRAMES_MAX];
        self.state.find_burst(&candidates, &mut lines);
        self.find_ways(&mut candidates, &lines);
        self.find_openings(port, &mut candidates, &lines);
        let received = frames.len();
        self.send_established(frames, &mut candidates, now, io);
        self.counters().express.add((received - frames.len()) as u64);
    }

    /// Returns how many bytes there are in all frames.
    fn read_plain(&self, port: PortIndex, frames: &Burst<F>, candidates: &mut Candidates) -> u64 {
        // Without a session to say so, each packet would have to be asked whether its checksum is there.
        let has_checksums = !self.checks_checksums(port);
        let mut received = 0;
        for (at, frame) in frames.iter().enumerate() {
            let bytes = frame.bytes();
            received += bytes.len() as u64;
            let Some((plain, arrival)) = Plain::read(bytes) else { continue };
            let Some(door) = self.rules.door(port, arrival.vlan) else { continue };
            let candidate = match door.outside {
                None => self.enter_from_inside(&plain, door, arrival.mac),
                Some(network) => self.enter_from_outside(&plain, door, network, arrival.mac),
            };
            let Some((realm, translation, shard)) = candidate else { continue };
            if shard.is_some() || has_checksums {
                let flow = Flow::of_plain(&plain, realm);
                candidates.push(Candidate {
                    plain,
                    flow,
                    shard,
                    translation,
                    at: at as u8,
                    way: None,
                    begins: false,
                });
            }
        }
        received
    }

    #[inline]
    fn enter_from_inside(&self, plain: &Plain, door: &Door, mac: MacAddress) -> Option<Arrived> {
        let (index, leg) = self.rules.enter(door, mac)?;
        if leg.external {
            return None;
        }
        Some(match self.rules.floating_ip_of(leg, plain.source()) {
            Some(floating) => (leg.realm, Translation::FloatingOut(index, floating), None),
            None => {
                let shard = self.state.shard_of_host(leg.realm, plain.source());
                (leg.realm, Translation::Out(index), Some(shard))
            }
        })
    }

    #[inline]
    fn enter_from_outside(
        &self,
        plain: &Plain,
        door: &Door,
        network: Realm,
        mac: MacAddress,
    ) -> Option<Arrived> {
        let own = self.rules.own(network, plain.destination())?;
        // Nearly always it comes to the MAC that ARP has told.
        if own.mac != mac && self.rules.enter(door, mac).is_none() {
            return None;
        }
        match own.purpose {
            Purpose::Ports(address) => match self.state.shard_of_address(address, plain.protocol) {
                Some(shard) => Some((network, Translation::In(None), Some(shard))),
                None => {
                    self.state.prefetch_port(address, &Flow::of_plain(plain, network));
                    Some((network, Translation::In(Some(address)), Some(ShardIndex(0))))
                }
            },
            Purpose::Floating { internal, leg } => {
                Some((network, Translation::FloatingIn(leg, internal), None))
            }
            Purpose::Other => None,
        }
    }

    /// Whose the ports are that packets from outside go to, where their address does not tell.
    fn ask_ports(&self, candidates: &mut Candidates) {
        for candidate in candidates {
            if let Translation::In(Some(ports)) = candidate.translation {
                candidate.shard = self.state.shard_of_port(ports, &candidate.flow);
            }
        }
    }

    fn find_ways(&self, candidates: &mut Candidates, lines: &[Option<LineIndex>; BURST_FRAMES_MAX]) {
        for (candidate, line) in candidates.iter_mut().zip(lines) {
            candidate.way = match *line {
                Some(line) => self.way(candidate, line),
                None => self.floating_way(candidate),
            };
            if let Some(way) = &candidate.way {
                self.neighbours.prefetch(way.remembered);
            }
        }
    }

    /// How a packet from or to a floating IP goes on, if nothing needs a longer look.
    fn floating_way(&self, candidate: &Candidate) -> Option<Way> {
        let plain = &candidate.plain;
        let (source, destination) = (plain.source(), plain.destination());
        let (next_hop, is_outbound) = match candidate.translation {
            Translation::FloatingOut(leg, _) => {
                let entry = self.rules.leg(leg)?;
                (entry.plainly_out(destination).filter(|_| entry.is_plainly_a_hosts(source))?, true)
            }
            Translation::FloatingIn(leg, internal) => (NextHop { interface: leg, address: internal }, false),
            Translation::Out(_) | Translation::In(_) => return None,
        };
        let exit = &self.rules.leg(next_hop.interface)?.exit;
        // The segment size that a SYN asks for may have to be lowered.
        let agrees = plain.total_length <= exit.mtu
            && plain.tcp_flags & tcp::SYN == 0
            && is_plainly_a_host(source)
            && (!is_outbound || is_plainly_a_host(destination) && !self.rules.is_own(exit, destination));
        let remembered = || self.neighbours.remembered(exit.realm, next_hop.address);
        agrees.then(|| Way { session: None, next_hop, remembered: remembered() })
    }

    /// How a packet goes on by its session's line, if the line's generation is the rules' and nothing needs a longer look.
    #[inline]
    fn way(&self, candidate: &Candidate, index: LineIndex) -> Option<Way> {
        let Candidate { plain, translation, .. } = candidate;
        let sessions = &self.state.parts.sessions;
        let line = sessions.value(index);
        let (side, generation, next_hop) = match *translation {
            Translation::Out(leg) => {
                let entry = self.rules.leg(leg)?;
                let next_hop = entry.plainly_out(plain.destination())?;
                (
                    OUTBOUND,
                    entry.generation,
                    Some(next_hop).filter(|_| entry.is_plainly_a_hosts(plain.source()))?,
                )
            }
            _ => {
                let inside = self.rules.inside(line.realm())?;
                let address = line.endpoint().address;
                let is_reached = self.rules.leg(inside.leg)?.is_plainly_reached(address);
                let next_hop = NextHop { interface: inside.leg, address };
                (INBOUND, inside.generation, Some(next_hop).filter(|_| is_reached)?)
            }
        };
        let exit = &self.rules.leg(next_hop.interface)?.exit;
        let agrees = line.is_of_generation(generation)
            && sessions.side_of(index) == side
            && State::is_established(line, side, plain)
            && plain.total_length <= exit.mtu
            && (side == INBOUND || !self.rules.is_own(exit, plain.destination()));
        agrees.then(|| Way { session: Some(index), next_hop, remembered: line.next_hop() })
    }

    fn send_established<I: PacketIo<Frame = F>>(
        &mut self,
        frames: &mut Burst<F>,
        candidates: &mut Candidates,
        now: Moment,
        io: &mut I,
    ) {
        let now_ms = now.ms() as u32;
        let keeps_order = self.waiting.is_empty() && self.outbox.is_quiet();
        let mut rest = Burst::new();
        // A bit for each pair of addresses between which a packet goes the long way.
        let mut behind = 0_u64;
        let mut begun = Begun::default();
        let mut next = 0;
        for (at, mut frame) in frames.drain(..).enumerate() {
            let candidate = candidates.get_mut(next).filter(|candidate| usize::from(candidate.at) == at);
            next += usize::from(candidate.is_some());
            if let Some(candidate) = candidate
                && (behind == 0 || behind & pair_bit(candidate.plain.addresses) == 0)
                && (keeps_order || !self.is_behind_another(candidate))
                && (!candidate.begins || self.begin(candidate, &mut begun, now_ms))
                && let Some(way) = &candidate.way
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
        let bytes = exit.link.replace(frame, usize::from(plain.network_offset), destination).ok()?;
        let offset = exit.link.length();
        if let (Some(line), Some(shard)) = (way.session, candidate.shard) {
            let line = self.state.parts.sessions.value(line);
            let new = line.new_endpoint();
            if matches!(candidate.translation, Translation::Out(_)) {
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
        } else if let Translation::FloatingOut(_, external) = candidate.translation {
            plain.replace_source(bytes, offset, plain.source_at(external), None);
        } else {
            plain.replace_destination(bytes, offset, plain.destination_at(way.next_hop.address));
        }
        Some(exit.port)
    }

    /// Whether frames of its flow that came earlier are still here, or under way to another gateway.
    fn is_behind_another(&mut self, candidate: &Candidate) -> bool {
        let hash = self.outbox.hash(&candidate.flow);
        self.waiting.neighbour_of(hash).is_some() || self.outbox.follows(&candidate.flow, 0).is_some()
    }

    /// The long way agrees: the verdict would be the same. Another gateway may close the session meanwhile, and then would not
    /// be asked in vain.
    #[cfg(debug_assertions)]
    fn assert_judged_alike(&mut self, candidate: &Candidate, way: &Way, frame: &F, now_ms: u32) {
        use packet::Parsed;

        use crate::flow::Endpoint;
        use crate::judge::{Case, Judge};
        use crate::verdict::{Change, Passage, SessionLine, Verdict};

        let me = self.me();
        let Self { rules, state, shards, .. } = self;
        let Ok(parsed) = Parsed::read(frame.bytes()) else { unreachable!("a plain packet can be parsed") };
        let (segment, leg) = match candidate.translation {
            Translation::Out(leg) | Translation::FloatingOut(leg, _) => {
                (rules.interfaces[leg.0 as usize].segment, leg)
            }
            _ => {
                let Some(segment) = rules.segment_of_realm(candidate.flow.realm()) else {
                    unreachable!("it came in from there")
                };
                let mac = packet::ethernet::destination(frame.bytes());
                (segment, rules.segments[segment.0 as usize].interfaces[&mac])
            }
        };
        let flow = &Flow::of(&parsed, candidate.flow.realm());
        if way.session.is_some_and(|line| !state.parts.sessions.holds(line, flow)) {
            return;
        }
        let case = Case {
            bytes: frame.bytes(),
            parsed: &parsed,
            entry: crate::classify::Entry { segment, interface: Some(leg) },
            flow: *flow,
            has_ports: true,
            shard: candidate.shard,
            line: way.session,
            checks_checksums: false,
        };
        let judged = Judge { rules, state, shards, counters: state.counters(me), now_ms }.judge(&case);
        let is_outbound = matches!(candidate.translation, Translation::Out(_) | Translation::FloatingOut(..));
        let endpoint = match (way.session, candidate.translation) {
            (Some(line), _) => self.state.parts.sessions.value(line).endpoint(),
            (None, Translation::FloatingOut(_, address)) => Endpoint { address, port: flow.source().port },
            (None, _) => Endpoint { address: way.next_hop.address, port: flow.destination().port },
        };
        let other = match is_outbound {
            true => flow.with_source(endpoint, flow.realm()),
            false => flow.with_destination(endpoint, flow.realm()),
        };
        let inner = if is_outbound { leg } else { way.next_hop.interface };
        let router = self.rules.interfaces[inner.0 as usize].router;
        let session = way.session.map(|line| SessionLine { line, router });
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
        Some(line) => state.parts.sessions.value(line).remember_next_hop(found),
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
