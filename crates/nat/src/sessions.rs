//! Sessions: one flow through port translation, in both directions.
//!
//! A session is a slot of two lines, found by the flow as its internal realm sends it and by the flow as the external
//! network answers it. Each line says what to put in place of the address and port of its own side, so an established
//! packet needs one line only, and any worker carries it. The two lines mirror each other: the key of one is the
//! translation of the other. That is how a session left behind by another process proves that it is whole.
//!
//! ```text
//!  0                    16                                   24                32
//!  | key (Flow)         | address | port  | window | seen    | realm | generation |
//!  |                    |    4    |   2   | scale 1|  1      |   4   |     4      |
//!  32                   40                48                 56                64
//!  | last seen | created| packets         | bytes            | acknowledged | window |
//!  |  ms 4     |  ms 4  |       8         |   8              |  (sequence) 4| edge 4 |
//!
//!  owner part   address, port, realm, created: written before the line can be found, never after
//!  seen part    the rest: written by whichever worker sees a packet. Two that see one flow at a time may lose a count;
//!               `seen` only gains bits; `generation` says under which rules it was found good, which all agree on.
//! ```

mod listing;

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use flowtable::{LineIndex, SlotIndex};
use packet::{Parsed, Protocol};
use rules::RuleSet;
use rules::compiled::{Realm, RouterRules, TimeoutsMs};
use zerocopy::FromBytes;

use crate::flow::{Endpoint, Flow};
use crate::mappings::Holds;
use crate::state::State;
use crate::tcp::{Phase, Seen};
use crate::time;

pub use listing::SessionView;

/// One direction of a session. See the file's page.
#[derive(Default, FromBytes)]
#[repr(C)]
pub(crate) struct Line {
    /// Put in place of the source (outbound) or of the destination (inbound); its octets in memory are in wire order.
    address: AtomicU32,
    port: AtomicU16,
    /// Of the TCP window, which is not followed so far; the same holds for `acknowledged` and `window_edge`.
    window_scale: AtomicU8,
    seen: AtomicU8,
    /// Of the other side.
    realm: AtomicU32,
    generation: AtomicU32,
    last_seen_ms: AtomicU32,
    created_ms: AtomicU32,
    packets: AtomicU64,
    bytes: AtomicU64,
    acknowledged: AtomicU32,
    window_edge: AtomicU32,
}

const _: () = {
    assert!(size_of::<Flow>() + size_of::<Line>() == 64, "a line and its key are one cache line");
    let drawn = [
        (std::mem::offset_of!(Line, address), 0),
        (std::mem::offset_of!(Line, port), 4),
        (std::mem::offset_of!(Line, window_scale), 6),
        (std::mem::offset_of!(Line, seen), 7),
        (std::mem::offset_of!(Line, realm), 8),
        (std::mem::offset_of!(Line, generation), 12),
        (std::mem::offset_of!(Line, last_seen_ms), 16),
        (std::mem::offset_of!(Line, created_ms), 20),
        (std::mem::offset_of!(Line, packets), 24),
        (std::mem::offset_of!(Line, bytes), 32),
        (std::mem::offset_of!(Line, acknowledged), 40),
        (std::mem::offset_of!(Line, window_edge), 44),
    ];
    let mut i = 0;
    while i < drawn.len() {
        assert!(drawn[i].0 == drawn[i].1, "a field is where it is drawn");
        i += 1;
    }
};

impl Line {
    /// Writes every field of a line that nobody can find yet.
    pub(crate) fn fill(&self, other_side: Endpoint, realm: Realm, generation: u32, now_ms: u32) {
        self.address.store(u32::from_ne_bytes(other_side.address.octets()), Relaxed);
        self.port.store(other_side.port, Relaxed);
        self.realm.store(realm.0, Relaxed);
        self.generation.store(generation, Relaxed);
        self.last_seen_ms.store(now_ms, Relaxed);
        self.created_ms.store(now_ms, Relaxed);
        for word in [&self.packets, &self.bytes] {
            word.store(0, Relaxed);
        }
        for word in [&self.acknowledged, &self.window_edge] {
            word.store(0, Relaxed);
        }
        self.window_scale.store(0, Relaxed);
        self.seen.store(Seen::empty().bits(), Relaxed);
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let address = self.address.load(Relaxed).to_ne_bytes().into();
        Endpoint { address, port: self.port.load(Relaxed) }
    }

    pub(crate) fn realm(&self) -> Realm {
        Realm(self.realm.load(Relaxed))
    }

    pub(crate) fn last_seen_ms(&self) -> u32 {
        self.last_seen_ms.load(Relaxed)
    }

    fn seen(&self) -> Seen {
        Seen::from_bits_truncate(self.seen.load(Relaxed))
    }

    fn packets(&self) -> u64 {
        self.packets.load(Relaxed)
    }
}

/// Which line of a session's slot.
pub(crate) const OUTBOUND: usize = 0;
pub(crate) const INBOUND: usize = 1;

/// What any worker may do with a session's line that it found.
impl State {
    /// The flow on the other side of the line's translation.
    pub(crate) fn translated(&self, line: LineIndex) -> Flow {
        let sessions = &self.parts.sessions;
        let (key, value) = (sessions.key(line), sessions.value(line));
        match sessions.side_of(line) {
            OUTBOUND => key.with_source(value.endpoint(), value.realm()),
            _ => key.with_destination(value.endpoint(), value.realm()),
        }
    }

    /// Whether the line's session was found good by the rules as they are: one read of its own line, and [`Self::stands`]
    /// would write nothing.
    pub(crate) fn is_current(&self, line: LineIndex, rules: &RuleSet) -> bool {
        let generation = self.parts.sessions.value(line).generation.load(Relaxed);
        self.router_of_line(line, rules).is_some_and(|router| router.generation == generation)
    }

    /// Whether the line's session is still what the rules would make. If they have changed since it was last asked, it is
    /// judged again, in place. One that does not stand is to be closed by its owner.
    ///
    /// The rules may have made its time shorter: an owner that finds it not current before sets its deadline after.
    pub(crate) fn stands(&self, line: LineIndex, rules: &RuleSet) -> bool {
        if self.is_current(line, rules) {
            return true;
        }
        let Some(router) = self.router_of_line(line, rules) else { return false };
        let [internal, external] = self.keys(self.parts.sessions.slot_of(line));
        let stands = is_allowed(&internal, external.destination(), external.realm(), router, rules)
            && self.owns_endpoint(&internal, external.destination(), external.realm());
        if stands {
            self.parts.sessions.value(line).generation.store(router.generation, Relaxed);
        }
        stands
    }

    /// Whether no packet of the line's direction has been sent on yet.
    pub(crate) fn is_untouched(&self, line: LineIndex) -> bool {
        self.parts.sessions.value(line).packets() == 0
    }

    /// Whether a connection is over: the same endpoints may open it again.
    pub(crate) fn is_over(&self, line: LineIndex) -> bool {
        let phase = self.phase(self.parts.sessions.slot_of(line));
        matches!(phase, Phase::TcpTimeWait | Phase::TcpReset)
    }

    /// Whether noting the packet would make the session's time shorter: a first FIN or reset, or, by unusual timers, the
    /// end of a handshake. Then its owner has to note it, and set the deadline.
    pub(crate) fn brings_the_end_nearer(
        &self,
        line: LineIndex,
        packet: &Parsed,
        timeouts: &TimeoutsMs,
    ) -> bool {
        if packet.protocol != Protocol::TCP {
            return false;
        }
        let news = Seen::in_segment(packet.tcp_flags);
        let sessions = &self.parts.sessions;
        if sessions.value(line).seen().contains(news) {
            return false;
        }
        let before = self.lines(sessions.slot_of(line)).map(Line::seen);
        let mut after = before;
        after[sessions.side_of(line)] |= news;
        let [before, after] = [before, after].map(|[outbound, inbound]| Phase::of_tcp(outbound, inbound));
        timeout_ms(after, timeouts) < timeout_ms(before, timeouts)
    }

    /// Notes a packet that is sent on. What a segment shows for the first time is added in place: a later end is found when
    /// the earlier one has come.
    pub(crate) fn touch(&self, line: LineIndex, packet: &Parsed, now_ms: u32) {
        let value = self.parts.sessions.value(line);
        value.last_seen_ms.store(now_ms, Relaxed);
        value.packets.store(value.packets().wrapping_add(1), Relaxed);
        let bytes = value.bytes.load(Relaxed).wrapping_add(u64::from(packet.total_length));
        value.bytes.store(bytes, Relaxed);
        self.note_flags(line, packet);
    }

    /// Notes what a segment shows for the first time, and counts nothing.
    pub(crate) fn note_flags(&self, line: LineIndex, packet: &Parsed) {
        if packet.protocol == Protocol::TCP {
            let value = self.parts.sessions.value(line);
            let news = Seen::in_segment(packet.tcp_flags);
            if !value.seen().contains(news) {
                value.seen.fetch_or(news.bits(), Relaxed);
            }
        }
    }

    /// The router of the line's internal side, as far as it is up. Reads the line alone.
    fn router_of_line<'a>(&self, line: LineIndex, rules: &'a RuleSet) -> Option<&'a RouterRules> {
        let sessions = &self.parts.sessions;
        let realm = match sessions.side_of(line) {
            OUTBOUND => sessions.key(line).realm(),
            _ => sessions.value(line).realm(),
        };
        rules.router_of(realm).map(|index| &rules.routers[index.0 as usize])
    }

    /// The flows of a session: as its internal realm sends it, and as the external network answers it.
    pub(crate) fn keys(&self, slot: SlotIndex) -> [Flow; 2] {
        let sessions = &self.parts.sessions;
        [OUTBOUND, INBOUND].map(|side| sessions.key(sessions.line_of(slot, side)))
    }

    fn lines(&self, slot: SlotIndex) -> [&Line; 2] {
        let sessions = &self.parts.sessions;
        [OUTBOUND, INBOUND].map(|side| sessions.value(sessions.line_of(slot, side)))
    }

    pub(crate) fn last_seen_ms(&self, slot: SlotIndex) -> u32 {
        let [outbound, inbound] = self.lines(slot).map(Line::last_seen_ms);
        if time::has_come(outbound, inbound) { inbound } else { outbound }
    }

    pub(crate) fn phase(&self, slot: SlotIndex) -> Phase {
        let [outbound, inbound] = self.lines(slot);
        let sessions = &self.parts.sessions;
        match sessions.key(sessions.line_of(slot, OUTBOUND)).protocol() {
            Protocol::TCP => Phase::of_tcp(outbound.seen(), inbound.seen()),
            Protocol::UDP if outbound.packets() > 0 && inbound.packets() > 0 => Phase::UdpStream,
            Protocol::UDP => Phase::UdpInitial,
            _ => Phase::IcmpQuery,
        }
    }
}

/// Whether the rules would translate the internal flow to this external endpoint today.
pub(crate) fn is_allowed(
    internal: &Flow,
    external: Endpoint,
    realm: Realm,
    router: &RouterRules,
    rules: &RuleSet,
) -> bool {
    let Some(gateway) = router.gateway_into(realm) else { return false };
    let Some(pool) = gateway.pool else { return false };
    let (source, destination) = (internal.source().address, internal.destination().address);
    let is_snat_source = router.route(source).is_some_and(|next_hop| {
        let interface = &rules.interfaces[next_hop.interface.0 as usize];
        interface.snat && !interface.external
    });
    rules.pools[pool.0 as usize].holds(external)
        && is_snat_source
        && !gateway.floating_by_internal.contains_key(&source)
        && !router.is_no_nat(destination)
        && router.route(destination).is_some_and(|next_hop| next_hop.interface == gateway.interface)
}

/// The phase of a session that begins.
pub(crate) fn first_phase(protocol: Protocol) -> Phase {
    match protocol {
        Protocol::TCP => Phase::TcpOpening,
        Protocol::UDP => Phase::UdpInitial,
        _ => Phase::IcmpQuery,
    }
}

/// How long a session in this phase may stay silent.
pub(crate) fn timeout_ms(phase: Phase, timeouts: &TimeoutsMs) -> u32 {
    match phase {
        Phase::TcpOpening => timeouts.tcp_syn,
        Phase::TcpEstablished => timeouts.tcp_established,
        Phase::TcpClosing => timeouts.tcp_fin,
        Phase::TcpTimeWait => timeouts.tcp_time_wait,
        Phase::TcpReset => timeouts.tcp_rst,
        Phase::UdpInitial => timeouts.udp_initial,
        Phase::UdpStream => timeouts.udp_stream,
        Phase::IcmpQuery => timeouts.icmp,
    }
}
