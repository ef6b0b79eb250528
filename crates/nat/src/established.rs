//! The express way: packets that need no judgement, because one like them was judged before, or because a floating IP or a pool
//! says all there is to say.
//!
//! ```text
//! read       plain packets, the door they come in by                  port, VLAN -> Door
//! enter      their flow, by what it is translated                     tenants': Door, MAC -> Leg; outside: address -> Own
//! shard      where their sessions are        outbound: a function; inbound: the address, or the port's cell
//! look up    their sessions' lines                                    table, in bursts
//! foresee    the legs they go on by, the neighbours they were sent to last; of flows without a session that may begin here, their
//!            memory (openings.rs)
//! send       in its turn a flow is begun; the line is of this generation, so the rules agree -> by which leg, to whom (ways.rs);
//!            the neighbour's MAC, the packet changed, noted (what is new of a connection: news.rs), sent
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

mod news;
mod openings;
mod ways;

use std::net::Ipv4Addr;

use flowtable::{LineIndex, Place, ShardIndex, Sought, prefetch_value};
use packet::{
    BURST_FRAMES_MAX, Burst, Frame, MacAddress, MacNumber, Moment, PacketIo, Plain, PortIndex, addresses,
};
use rules::compiled::{AddressIndex, InterfaceIndex, Realm};
use rules::legs::{Door, Exit, Hint, Leg, Purpose};

use crate::flow::Flow;
use crate::gateway::Gateway;
use crate::sessions::{INBOUND, Line, OUTBOUND};
use crate::state::{MIX, State};

use openings::Openings;
use ways::Way;

/// A packet of the burst: in the place of its frame, and known to be plain where it is known how it is translated.
#[derive(Clone, Copy, Default)]
struct Candidate {
    translation: Translation,
    /// As the realm knows it in which its addresses are meant.
    flow: Flow,
    plain: Plain,
    /// Where its session is, if it goes by one; from outside that may be known a stage later.
    shard: Option<ShardIndex>,
    /// Where the next hop was last found, if it goes by no session, which knows.
    remembered: LineIndex,
    /// Which of the burst's openings is its, where its session is to be opened in its turn.
    opening: Option<u8>,
}

impl Sought<Flow> for Candidate {
    #[inline]
    fn sought(&self) -> Option<(ShardIndex, &Flow)> {
        self.shard.map(|shard| (shard, &self.flow))
    }
}

impl Candidate {
    /// Which line its session has for it.
    #[inline]
    fn side(&self) -> usize {
        match self.translation {
            Translation::Out(_) | Translation::FloatingOut(..) => OUTBOUND,
            Translation::In(_) | Translation::FloatingIn(..) | Translation::Unknown => INBOUND,
        }
    }
}

/// By what a candidate is translated, as far as its addresses tell.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Translation {
    /// Not at a glance.
    #[default]
    Unknown,
    /// From inside, by this leg: by its session.
    Out(InterfaceIndex),
    /// From outside: by its session. Whose that is, this address' port tells, if the address alone does not.
    In(Option<AddressIndex>),
    /// From a host with this floating IP, by this leg.
    FloatingOut(InterfaceIndex, Ipv4Addr),
    /// To the floating IP of this host, on this leg.
    FloatingIn(InterfaceIndex, Ipv4Addr),
}

/// Where a plain packet comes in, and to which MAC; `None` for any other.
type Knock<'a> = Option<(&'a Door, MacNumber)>;

/// What the rules say of a packet that comes in.
struct Arrived {
    /// In which its addresses are meant.
    realm: Realm,
    translation: Translation,
    /// Where its session is, if it goes by one.
    shard: Option<ShardIndex>,
    /// Where its next hop was last found, if it goes by no session, which knows.
    remembered: LineIndex,
}

impl Arrived {
    fn of_session(realm: Realm, translation: Translation, shard: ShardIndex) -> Self {
        Self { realm, translation, shard: Some(shard), remembered: LineIndex(0) }
    }

    fn by_floating_ip(realm: Realm, translation: Translation, remembered: LineIndex) -> Self {
        Self { realm, translation, shard: None, remembered }
    }
}

/// Their sessions' lines, each in its candidate's place.
type Lines = [Option<LineIndex>; BURST_FRAMES_MAX];

impl<F: Frame> Gateway<F> {
    /// Sends on what needs no judgement. What is left in `frames` does.
    pub(crate) fn pass_established<I: PacketIo<Frame = F>>(
        &mut self,
        port: PortIndex,
        frames: &mut Burst<F>,
        now: Moment,
        io: &mut I,
    ) {
        // Without a session to say so, each packet would have to be asked whether its checksum is there.
        let has_checksums = !self.checks_checksums(port);
        let mut all = [Candidate::default(); BURST_FRAMES_MAX];
        let Some(candidates) = all.get_mut(..frames.len()) else { return };
        let mut knocks = [None; BURST_FRAMES_MAX];
        let bytes = self.read_plain(port, frames, candidates, &mut knocks);
        self.counters().received(port, frames.len() as u64, bytes);
        let asks_ports = self.enter(has_checksums, &knocks, candidates);
        if asks_ports {
            self.ask_ports(candidates);
        }
        let (mut lines, mut places) = ([None; BURST_FRAMES_MAX], [Place::default(); BURST_FRAMES_MAX]);
        self.state.find_burst_at(candidates, &mut places, &mut lines);
        let may_begin = self.foresee_departures(candidates, &lines);
        let mut openings = Openings::default();
        if may_begin {
            self.prepare_openings(has_checksums, candidates, &places, &lines, &mut openings);
        }
        let received = frames.len();
        self.send_established(has_checksums, frames, candidates, &mut lines, &mut openings, now, io);
        self.counters().express.add((received - frames.len()) as u64);
    }

    /// Reads what is plain. Returns how many bytes all frames have.
    fn read_plain<'a>(
        &'a self,
        port: PortIndex,
        frames: &Burst<F>,
        candidates: &mut [Candidate],
        knocks: &mut [Knock<'a>],
    ) -> u64 {
        let mut all = 0;
        for ((frame, candidate), knock) in frames.iter().zip(candidates).zip(knocks) {
            let bytes = frame.bytes();
            all += bytes.len() as u64;
            let Some(arrival) = candidate.plain.read_here(bytes) else { continue };
            let Some(door) = self.rules.door(port, arrival.vlan) else { continue };
            self.rules.own_cell(door, candidate.plain.destination()).into_iter().for_each(prefetch_value);
            *knock = Some((door, arrival.mac));
        }
        all
    }

    /// By what plain packets are translated, and where their sessions are. Returns whether that is to be
    /// [asked](Gateway::ask_ports) of ports.
    fn enter(&self, has_checksums: bool, knocks: &[Knock], candidates: &mut [Candidate]) -> bool {
        let mut asks_ports = false;
        for (candidate, knock) in candidates.iter_mut().zip(knocks) {
            let Some((door, mac)) = *knock else { continue };
            let plain = &candidate.plain;
            let arrived = match door.outside {
                None => self.enter_from_inside(plain, door, mac),
                Some(network) => {
                    let arrived = self.enter_from_outside(plain, door, network, mac);
                    asks_ports |=
                        matches!(arrived, Some(Arrived { translation: Translation::In(Some(_)), .. }));
                    arrived
                }
            };
            let Some(Arrived { realm, translation, shard, remembered }) = arrived else { continue };
            if shard.is_some() || has_checksums {
                candidate.flow = Flow::of_plain(plain, realm);
                candidate.translation = translation;
                candidate.shard = shard;
                candidate.remembered = remembered;
            }
        }
        asks_ports
    }

    #[inline]
    fn enter_from_inside(&self, plain: &Plain, door: &Door, mac: MacNumber) -> Option<Arrived> {
        let (index, leg) = self.rules.enter(door, mac)?;
        if leg.external {
            return None;
        }
        Some(match self.rules.floating_ip_of(leg, plain.source()) {
            Some(floating) => {
                let next_hop = self.neighbour_by(&self.rules.leg(leg.default_interface()?)?.exit.next_hop);
                Arrived::by_floating_ip(leg.realm, Translation::FloatingOut(index, floating), next_hop)
            }
            None => {
                let shard = self.state.shard_of_host(leg.realm, plain.source());
                Arrived::of_session(leg.realm, Translation::Out(index), shard)
            }
        })
    }

    #[inline]
    fn enter_from_outside(
        &self,
        plain: &Plain,
        door: &Door,
        network: Realm,
        mac: MacNumber,
    ) -> Option<Arrived> {
        let own = self.rules.own_by(door, network, plain.destination())?;
        // Nearly always it comes to the MAC that ARP has told.
        if own.mac != mac && self.rules.enter(door, mac).is_none() {
            return None;
        }
        match own.purpose {
            Purpose::Ports(address) => match self.state.shard_of_address(address, plain.protocol) {
                Some(shard) => Some(Arrived::of_session(network, Translation::In(None), shard)),
                None => {
                    self.state.prefetch_port(address, &Flow::of_plain(plain, network));
                    Some(Arrived::of_session(network, Translation::In(Some(address)), ShardIndex(0)))
                }
            },
            Purpose::Floating { internal, leg } => {
                let host = self.neighbour_by(&own.host);
                Some(Arrived::by_floating_ip(network, Translation::FloatingIn(leg, internal), host))
            }
            Purpose::Other => None,
        }
    }

    /// Where a next hop was last found, and starts to load it.
    #[inline]
    fn neighbour_by(&self, hint: &Hint) -> LineIndex {
        let remembered = LineIndex(hint.get());
        self.neighbours.prefetch(remembered);
        remembered
    }

    /// Whose the ports are that packets from outside go to, where their address does not tell.
    fn ask_ports(&self, candidates: &mut [Candidate]) {
        for candidate in candidates {
            if let Translation::In(Some(ports)) = candidate.translation {
                candidate.shard = self.state.shard_of_port(ports, &candidate.flow);
            }
        }
    }

    /// Asks for the legs by which packets go on, and the neighbours those of sessions were sent to last. Returns whether some
    /// flows from inside have no session.
    fn foresee_departures(&self, candidates: &[Candidate], lines: &Lines) -> bool {
        let mut may_begin = false;
        for (candidate, line) in candidates.iter().zip(lines) {
            if let Some(line) = *line {
                let line = self.state.parts.sessions.value(line);
                if let Some(leg) = self.leg_onwards(candidate.translation, line) {
                    prefetch_value(leg);
                }
                self.neighbours.prefetch(line.next_hop());
            } else if let Translation::Out(leg) = candidate.translation {
                may_begin = true;
                self.leg_out(leg).into_iter().for_each(prefetch_value);
            }
        }
        may_begin
    }

    /// The leg by which a packet of a session goes on, by all that is known at a glance.
    #[inline]
    fn leg_onwards(&self, translation: Translation, line: &Line) -> Option<&Leg> {
        match translation {
            Translation::Out(leg) => self.leg_out(leg),
            _ => self.rules.leg(self.rules.inside(line.realm())?.leg),
        }
    }

    /// The leg by which packets from this one leave by the default route.
    #[inline]
    fn leg_out(&self, leg: InterfaceIndex) -> Option<&Leg> {
        self.rules.leg(self.rules.leg(leg)?.default_interface()?)
    }

    #[expect(clippy::too_many_arguments, reason = "all that was found out about the burst")]
    fn send_established<I: PacketIo<Frame = F>>(
        &mut self,
        has_checksums: bool,
        frames: &mut Burst<F>,
        candidates: &[Candidate],
        lines: &mut Lines,
        openings: &mut Openings,
        now: Moment,
        io: &mut I,
    ) {
        let now_ms = now.ms() as u32;
        let keeps_order = self.waiting.is_empty() && self.outbox.is_quiet();
        let mut rest = Burst::new();
        // A bit for each pair of addresses between which a packet goes the long way.
        let mut behind = 0_u64;
        for ((candidate, line), mut frame) in candidates.iter().zip(lines).zip(frames.drain(..)) {
            if (behind == 0 || behind & pair_bit(candidate.plain.addresses) == 0)
                && (keeps_order || !self.is_behind_another(candidate))
                && candidate
                    .opening
                    .is_none_or(|opening| self.begin(opening, candidate, line, openings, now_ms))
                && let Some(port) = self.make_ready(has_checksums, candidate, *line, &mut frame, now_ms)
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

    /// Makes a packet ready to be sent by the port that is returned. `None` where it takes a longer look, its next hop is not
    /// known where it was, or its frame has no room: then nothing has changed.
    #[inline]
    fn make_ready(
        &mut self,
        has_checksums: bool,
        candidate: &Candidate,
        line: Option<LineIndex>,
        frame: &mut F,
        now_ms: u32,
    ) -> Option<PortIndex> {
        #[cfg(debug_assertions)]
        self.assert_judged_alike(has_checksums, candidate, line, frame, now_ms);
        let plain = &candidate.plain;
        let Way { session, next_hop, exit, news } =
            Way::of(&self.rules, &self.state, &self.shards, candidate, line, has_checksums)?;
        let (network, address) = (exit.realm, next_hop.address);
        let remembered = session.map_or(candidate.remembered, Line::next_hop);
        let destination = match self.neighbours.recall(remembered, network, address) {
            Some(mac) => mac,
            None => self.find_neighbour(candidate, session, exit, address)?,
        };
        let bytes = exit.link.replace(frame, usize::from(plain.network_offset), destination).ok()?;
        let offset = exit.link.length();
        if let (Some(line), Some(shard)) = (session, candidate.shard) {
            let new = line.new_endpoint();
            if matches!(candidate.translation, Translation::Out(_)) {
                let identification = (!plain.dont_fragment)
                    .then(|| self.identifications.draw(plain.destination(), plain.protocol));
                plain.replace_source(bytes, offset, new, identification);
            } else {
                plain.replace_destination(bytes, offset, new);
            }
            match news {
                None => State::touch_established(line, plain, now_ms),
                Some(news) => {
                    news.note(&self.rules, &self.state, &mut self.shards, bytes, exit.mtu, now_ms);
                }
            }
            if !self.shards.has(shard) {
                self.state.counters(self.me()).translated_for_others.add(1);
            }
        } else if let Translation::FloatingOut(_, external) = candidate.translation {
            plain.replace_source(bytes, offset, plain.source_at(external), None);
        } else {
            plain.replace_destination(bytes, offset, plain.destination_at(next_hop.address));
        }
        Some(exit.port)
    }

    /// The MAC of a next hop that is not where it was; where it is, is remembered.
    #[cold]
    fn find_neighbour(
        &self,
        candidate: &Candidate,
        session: Option<&Line>,
        exit: &Exit,
        address: Ipv4Addr,
    ) -> Option<MacAddress> {
        let network = exit.realm;
        let found = self.neighbours.locate(self.state.shard_of_host(network, address), network, address)?;
        if let Some(line) = session {
            line.remember_next_hop(found);
        }
        match candidate.translation {
            Translation::Out(_) | Translation::FloatingOut(..) => exit.next_hop.set(found.0),
            Translation::FloatingIn(..) => {
                let own = self.rules.own_on(candidate.flow.realm(), candidate.plain.destination());
                own.into_iter().for_each(|own| own.host.set(found.0));
            }
            Translation::In(_) | Translation::Unknown => {}
        }
        self.neighbours.recall(found, network, address)
    }

    /// Whether frames of its flow that came earlier are still here, or under way to another gateway.
    fn is_behind_another(&mut self, candidate: &Candidate) -> bool {
        let hash = self.outbox.hash(&candidate.flow);
        self.waiting.neighbour_of(hash).is_some() || self.outbox.follows(&candidate.flow, 0).is_some()
    }

    /// The long way agrees: the verdict would be the same. Another gateway may close the session meanwhile, and then would not
    /// be asked in vain.
    #[cfg(debug_assertions)]
    fn assert_judged_alike(
        &mut self,
        has_checksums: bool,
        candidate: &Candidate,
        line: Option<LineIndex>,
        frame: &F,
        now_ms: u32,
    ) {
        use packet::Parsed;

        use crate::flow::Endpoint;
        use crate::judge::{Case, Judge};
        use crate::verdict::{Change, Passage, SessionLine, Verdict};

        let me = self.me();
        let Self { rules, state, shards, .. } = self;
        let Some(Way { next_hop, .. }) = Way::of(rules, state, shards, candidate, line, has_checksums) else {
            return;
        };
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
        if line.is_some_and(|line| !state.parts.sessions.holds(line, flow)) {
            return;
        }
        let case = Case {
            bytes: frame.bytes(),
            parsed: &parsed,
            entry: crate::classify::Entry { segment, interface: Some(leg) },
            flow: *flow,
            has_ports: true,
            shard: candidate.shard,
            line,
            checks_checksums: false,
        };
        let judged = Judge { rules, state, shards, counters: state.counters(me), now_ms }.judge(&case);
        let is_outbound = matches!(candidate.translation, Translation::Out(_) | Translation::FloatingOut(..));
        let endpoint = match (line, candidate.translation) {
            (Some(line), _) => self.state.parts.sessions.value(line).endpoint(),
            (None, Translation::FloatingOut(_, address)) => Endpoint { address, port: flow.source().port },
            (None, _) => Endpoint { address: next_hop.address, port: flow.destination().port },
        };
        let other = match is_outbound {
            true => flow.with_source(endpoint, flow.realm()),
            false => flow.with_destination(endpoint, flow.realm()),
        };
        let inner = if is_outbound { leg } else { next_hop.interface };
        let router = self.rules.interfaces[inner.0 as usize].router;
        let session = line.map(|line| SessionLine { line, router });
        let passage = Passage {
            change: Change::Packet(flow.rewrite_to(&other)),
            next_hop,
            sessions: if is_outbound { [session, None] } else { [None, session] },
        };
        assert_eq!(judged, Verdict::Forward(passage), "{flow:?} passes as it would be judged");
    }
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
    1 << (addresses.wrapping_mul(MIX) >> 58)
}
