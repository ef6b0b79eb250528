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
//!  |                    |    4    |   2   | scale 1|  1      | 3 + 1 |     4      |
//!  32                   40                48                 56                64
//!  | last seen | origin | packets 5 |     | bytes            | span           8  |
//!  |  ms 4     |      4 | next hop  |   3 |   8              | first 4 |  last 4 |
//!
//!  owner part   address, port, realm and what is held, origin: written before the line can be found, never after
//!  origin       outbound, when the session was created, in ms; inbound, the number of its mapping
//!  seen part    the rest: written by whichever worker sees a packet. Two that see one flow at a time may lose a count, or
//!               a step of the span; `seen` is changed bit by bit; `generation` says under which rules it was found good,
//!               which all agree on.
//!  spoken       a flag of the outbound line's `seen`, of any protocol, that only the owner sets: the host inside has sent
//!  next hop     where its neighbour was last found in the table of neighbours; asked whether it is still there
//!  of TCP       scale, seen and span: what this side has shown, and which of the other's sequence numbers it takes, from
//!               what it has acknowledged to the edge of its window (tcp.rs)
//! ```

mod listing;
mod noting;

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use flowtable::{LineIndex, LineValue, SlotIndex};
use packet::{NewEndpoint, Protocol};
use rules::RuleSet;
use rules::compiled::{GatewayRules, Realm, RouterRules};
use zerocopy::FromBytes;

use crate::flow::{Endpoint, Flow};
use crate::forwarding;
use crate::mappings::{Holds, PoolPorts, Taken};
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
    window_scale: AtomicU8,
    seen: AtomicU8,
    /// Of the other side, in 24 bits; above them what the session [`Holds`].
    realm: AtomicU32,
    generation: AtomicU32,
    last_seen_ms: AtomicU32,
    origin: AtomicU32,
    packets_and_next_hop: AtomicU64,
    bytes: AtomicU64,
    span: AtomicU64,
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
        (std::mem::offset_of!(Line, origin), 20),
        (std::mem::offset_of!(Line, packets_and_next_hop), 24),
        (std::mem::offset_of!(Line, bytes), 32),
        (std::mem::offset_of!(Line, span), 40),
    ];
    let mut i = 0;
    while i < drawn.len() {
        assert!(drawn[i].0 == drawn[i].1, "a field is where it is drawn");
        i += 1;
    }
};

impl LineValue<Flow> for Line {}

/// Of a realm's number.
const REALM_BITS: u32 = 24;

/// Of the number of a neighbour's line; what is left counts packets: 2^40, more than a day of ten million each second.
const NEXT_HOP_BITS: u32 = 24;
const NEXT_HOP_MAX: u32 = (1 << NEXT_HOP_BITS) - 1;

impl Line {
    /// Writes every field but its origin of a line that nobody can find yet.
    pub(crate) fn fill(
        &self,
        other_side: Endpoint,
        realm: Realm,
        holds: Holds,
        generation: u32,
        seen: Seen,
        now_ms: u32,
    ) {
        self.address.store(u32::from_ne_bytes(other_side.address.octets()), Relaxed);
        self.port.store(other_side.port, Relaxed);
        self.realm.store(realm.0 | u32::from(holds.bits()) << REALM_BITS, Relaxed);
        self.generation.store(generation, Relaxed);
        self.last_seen_ms.store(now_ms, Relaxed);
        for word in [&self.packets_and_next_hop, &self.bytes, &self.span] {
            word.store(0, Relaxed);
        }
        self.window_scale.store(0, Relaxed);
        self.seen.store(seen.bits(), Relaxed);
    }

    #[inline]
    pub(crate) fn endpoint(&self) -> Endpoint {
        let address = self.address.load(Relaxed).to_ne_bytes().into();
        Endpoint { address, port: self.port.load(Relaxed) }
    }

    /// The same, to be put into a packet.
    #[inline]
    pub(crate) fn new_endpoint(&self) -> NewEndpoint {
        NewEndpoint { address: self.address.load(Relaxed), port: self.port.load(Relaxed).to_be() }
    }

    #[inline]
    pub(crate) fn realm(&self) -> Realm {
        Realm(self.realm.load(Relaxed) & ((1 << REALM_BITS) - 1))
    }

    /// Whether it was found good by a router's rules of this generation.
    #[inline]
    pub(crate) fn is_of_generation(&self, generation: u32) -> bool {
        self.generation.load(Relaxed) == generation
    }

    /// What the session gives back when it ends: the same in both lines.
    pub(crate) fn holds(&self) -> Holds {
        Holds::from_bits_retain((self.realm.load(Relaxed) >> REALM_BITS) as u8)
    }

    /// Of an outbound line.
    pub(crate) fn created_ms(&self) -> &AtomicU32 {
        &self.origin
    }

    /// Of an inbound line.
    pub(crate) fn mapping(&self) -> &AtomicU32 {
        &self.origin
    }

    pub(crate) fn last_seen_ms(&self) -> u32 {
        self.last_seen_ms.load(Relaxed)
    }

    #[inline]
    fn packets(&self) -> u64 {
        self.packets_and_next_hop.load(Relaxed) >> NEXT_HOP_BITS
    }

    /// Counts one of so many bytes.
    #[inline]
    fn count(&self, bytes: u16) {
        let packets = self.packets_and_next_hop.load(Relaxed);
        self.packets_and_next_hop.store(packets.wrapping_add(1 << NEXT_HOP_BITS), Relaxed);
        self.bytes.store(self.bytes.load(Relaxed).wrapping_add(u64::from(bytes)), Relaxed);
    }

    /// Where its neighbour was last found.
    #[inline]
    pub(crate) fn next_hop(&self) -> LineIndex {
        LineIndex(self.packets_and_next_hop.load(Relaxed) as u32 & NEXT_HOP_MAX)
    }

    /// Remembers where its neighbour is.
    pub(crate) fn remember_next_hop(&self, line: LineIndex) {
        if line.0 <= NEXT_HOP_MAX {
            let packets = self.packets_and_next_hop.load(Relaxed) & !u64::from(NEXT_HOP_MAX);
            self.packets_and_next_hop.store(packets | u64::from(line.0), Relaxed);
        }
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

    /// Whether the line's session was found good by the rules as they are: one read of its own line.
    pub(crate) fn is_current(&self, line: LineIndex, rules: &RuleSet) -> bool {
        let generation = self.parts.sessions.value(line).generation.load(Relaxed);
        self.router_of_line(line, rules).is_some_and(|router| router.generation == generation)
    }

    /// Whether the line's session is still what the rules would make: if they have changed since it was found good, it is
    /// judged again. One that does not stand is to be closed by its owner.
    pub(crate) fn stands(&self, line: LineIndex, rules: &RuleSet, now_ms: u32) -> bool {
        self.is_current(line, rules)
            || self.router_of_line(line, rules).is_some_and(|router| {
                let slot = self.parts.sessions.slot_of(line);
                let ([internal, external], holds) =
                    (self.keys(slot), self.parts.sessions.value(line).holds());
                is_allowed(&internal, &external, holds, router, rules)
                    && self.owns_endpoint(slot)
                    && !time::has_come(self.end_ms(slot, router), now_ms)
            })
    }

    /// Whether the rules have brought the end of the line's session nearer than its owner knows.
    pub(crate) fn ends_before_its_deadline(&self, line: LineIndex, rules: &RuleSet) -> bool {
        let slot = self.parts.sessions.slot_of(line);
        self.router_of_line(line, rules).is_some_and(|router| {
            !time::has_come(self.parts.sessions.deadline(slot), self.end_ms(slot, router))
        })
    }

    /// Notes that the line's session was found good by these rules.
    pub(crate) fn make_current(&self, line: LineIndex, rules: &RuleSet) {
        if let Some(router) = self.router_of_line(line, rules) {
            self.parts.sessions.value(line).generation.store(router.generation, Relaxed);
        }
    }

    /// Whether no packet of the line's direction has been sent on yet.
    pub(crate) fn is_untouched(&self, line: LineIndex) -> bool {
        self.parts.sessions.value(line).packets() == 0
    }

    /// The router of the line's internal side, as far as it is up. Reads the line alone.
    pub(crate) fn router_of_line<'a>(&self, line: LineIndex, rules: &'a RuleSet) -> Option<&'a RouterRules> {
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

    /// What a session has taken, and gives back when it ends.
    pub(crate) fn taken(&self, slot: SlotIndex) -> Taken {
        let ([_, outside], [_, inbound]) = (self.keys(slot), self.lines(slot));
        let (holds, mapping) = (inbound.holds(), inbound.mapping().load(Relaxed));
        Taken { outside, holds, mapping, spoken: self.has_spoken(slot) }
    }

    /// Whether the host inside has sent by a session: it opened it, or has answered.
    pub(crate) fn has_spoken(&self, slot: SlotIndex) -> bool {
        let [outbound, _] = self.lines(slot);
        outbound.seen().contains(Seen::SPOKEN)
    }

    fn lines(&self, slot: SlotIndex) -> [&Line; 2] {
        let sessions = &self.parts.sessions;
        [OUTBOUND, INBOUND].map(|side| sessions.value(sessions.line_of(slot, side)))
    }

    /// When a packet was last seen, outbound and inbound.
    pub(crate) fn last_seen_ms(&self, slot: SlotIndex) -> [u32; 2] {
        self.lines(slot).map(Line::last_seen_ms)
    }

    pub(crate) fn phase(&self, slot: SlotIndex) -> Phase {
        let [outbound, inbound] = self.lines(slot);
        let sessions = &self.parts.sessions;
        match sessions.key(sessions.line_of(slot, OUTBOUND)).protocol() {
            Protocol::TCP => Phase::of_tcp(outbound.seen(), inbound.seen()),
            Protocol::UDP if outbound.packets() > 0 && inbound.packets() > 0 => Phase::UdpStream,
            Protocol::UDP => Phase::UdpInitial,
            Protocol::ICMP => Phase::IcmpQuery,
            _ => Phase::Other,
        }
    }
}

/// Whether the rules would translate the internal flow so today that `outside` are its answers: by a forwarding, or by SNAT
/// with what the session holds for it.
pub(crate) fn is_allowed(
    internal: &Flow,
    outside: &Flow,
    holds: Holds,
    router: &RouterRules,
    rules: &RuleSet,
) -> bool {
    let Some(gateway) = router.gateway_into(outside.realm()) else { return false };
    let destination = internal.destination().address;
    let leaves_here = !router.is_no_nat(destination)
        && router.route(destination).is_some_and(|next_hop| next_hop.interface == gateway.interface);
    let is_translated_so = match forwarding::of_endpoint(rules, gateway, outside) {
        Some(to) => (to.realm, to.internal) == (internal.realm(), internal.source()),
        None => !holds.is_empty() && is_snat(internal, outside.destination(), gateway, router, rules),
    };
    leaves_here && is_translated_so
}

fn is_snat(
    internal: &Flow,
    external: Endpoint,
    gateway: &GatewayRules,
    router: &RouterRules,
    rules: &RuleSet,
) -> bool {
    let Some(pool) = gateway.pool else { return false };
    let source = internal.source().address;
    let is_snat_source = router.route(source).is_some_and(|next_hop| {
        let interface = &rules.interfaces[next_hop.interface.0 as usize];
        interface.snat && !interface.external
    });
    rules.pools[pool.0 as usize].has(external, internal.protocol())
        && is_snat_source
        && !gateway.floating_by_internal.contains_key(&source)
        && forwarding::outward(rules, gateway, internal).is_none()
}
