//! Sessions: one flow through port translation, in both directions.
//!
//! A session is a slot of two lines, found by the flow as its internal realm sends it and by the flow as the external
//! network answers it. Each line says what to put in place of the address and port of its own side, so an established
//! packet needs one line only.

mod listing;

use arrayvec::ArrayVec;
use flowtable::{HashKey, InsertError, LineIndex, SWEEP_DUE_MAX, SlotIndex, Table};
use packet::Protocol;
use rules::RuleSet;
use rules::compiled::{Realm, RouterRules, TimeoutsMs};

use crate::counters::Counters;
use crate::flow::{Endpoint, Flow};
use crate::judge::Case;
use crate::mappings::{Holds, Mappings};
use crate::tcp::{Phase, Seen};
use crate::{DropReason, time};

pub use listing::SessionView;

/// One direction of a session. 16 bytes of key beside it make a cache line.
#[derive(Clone, Copy, Default)]
struct Line {
    // Written when the session is created, and when it is judged again.
    /// Put in place of the source (outbound) or of the destination (inbound).
    address: [u8; 4],
    port: u16,
    /// Of the other side.
    realm: u32,
    /// The router's generation under which it was found good.
    generation: u32,
    // Written with every packet.
    last_seen_ms: u32,
    packets: u64,
    seen: u8,
    bytes: u64,
    created_ms: u32,
}

const _: () = assert!(size_of::<Line>() <= 48, "a line and its key share a cache line");

/// Which line of a session's slot.
const OUTBOUND: usize = 0;
const INBOUND: usize = 1;

/// The sessions of one worker, and what they hold: mappings, ports, permissions.
pub(crate) struct Sessions {
    table: Table<Flow, Line, 2>,
    mappings: Mappings,
    sweep: time::Sweep,
}

impl Sessions {
    pub(crate) fn new(sessions_max: u32, hash_key: HashKey, seed: [u64; 2]) -> Self {
        Self {
            table: Table::new(sessions_max, hash_key),
            mappings: Mappings::new(sessions_max, hash_key, seed),
            sweep: time::Sweep::default(),
        }
    }

    pub(crate) fn adopt(&mut self, rules: &RuleSet) {
        self.mappings.adopt(rules);
    }

    pub(crate) fn len(&self) -> u32 {
        self.table.len()
    }

    pub(crate) fn slots_max(&self) -> u32 {
        self.table.slots_max()
    }

    pub(crate) fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// Looks up a burst of flows at once.
    pub(crate) fn find_burst(&self, flows: &[Option<Flow>], found: &mut [Option<LineIndex>]) {
        self.table.find_burst(flows, found);
    }

    /// The line that is `flow`'s now. `found` is what the burst's look-up said, which an earlier packet of the same
    /// burst may have overtaken.
    pub(crate) fn line(&self, flow: &Flow, found: Option<LineIndex>) -> Option<LineIndex> {
        found.filter(|line| self.table.holds(*line, flow)).or_else(|| self.table.find(flow))
    }

    /// The flow on the other side of the line's translation.
    pub(crate) fn translated(&self, line: LineIndex) -> Flow {
        let value = self.table.value(line);
        let endpoint = Endpoint { address: value.address.into(), port: value.port };
        let realm = Realm(value.realm);
        match self.table.side_of(line) {
            OUTBOUND => self.table.key(line).with_source(endpoint, realm),
            _ => self.table.key(line).with_destination(endpoint, realm),
        }
    }

    /// Whether the line's session is still what the rules would make; if they have changed since it was last asked, it is
    /// judged again, and closed where they say so.
    pub(crate) fn holds(
        &mut self,
        line: LineIndex,
        rules: &RuleSet,
        counters: &Counters,
        now_ms: u32,
    ) -> bool {
        let slot = self.table.slot_of(line);
        let internal = *self.table.key(self.table.line_of(slot, OUTBOUND));
        let router = rules.router_of(internal.realm()).map(|index| &rules.routers[index.0 as usize]);
        if let Some(router) = router {
            if self.table.value(line).generation == router.generation {
                return true;
            }
            let outside = *self.table.key(self.table.line_of(slot, INBOUND));
            let (external, realm) = (outside.destination(), outside.realm());
            if is_allowed(&internal, external, realm, router, rules)
                && self.mappings.owns(&internal, external, realm)
            {
                self.table.value_mut(line).generation = router.generation;
                // Its time may have become shorter; a longer one is found when the shorter has come.
                self.set_deadline(slot, &router.timeouts, now_ms);
                return true;
            }
        }
        self.close(slot, counters, now_ms);
        false
    }

    /// Notes a packet of the line's flow. One that is judged again was counted before.
    pub(crate) fn touch(&mut self, line: LineIndex, case: &Case, timeouts: &TimeoutsMs, now_ms: u32) {
        let packet = case.parsed;
        let value = self.table.value_mut(line);
        value.last_seen_ms = now_ms;
        if !case.is_again || value.packets == 0 {
            value.packets += 1;
            value.bytes += u64::from(packet.total_length);
        }
        if packet.protocol != Protocol::TCP {
            return;
        }
        let seen = Seen::from_bits_truncate(value.seen);
        let news = Seen::in_segment(packet.tcp_flags);
        if !seen.contains(news) {
            value.seen = (seen | news).bits();
            // Only these moments can bring the end nearer; a later end is found when the earlier one has come.
            self.set_deadline(self.table.slot_of(line), timeouts, now_ms);
        }
    }

    fn set_deadline(&mut self, slot: SlotIndex, timeouts: &TimeoutsMs, now_ms: u32) {
        self.table.set_deadline(slot, now_ms.wrapping_add(timeout_ms(self.phase(slot), timeouts)));
    }

    /// Whether no packet of the line's direction has been seen yet.
    pub(crate) fn is_untouched(&self, line: LineIndex) -> bool {
        self.table.value(line).packets == 0
    }

    /// Whether a connection that is over is being opened again by the same endpoints.
    pub(crate) fn is_over(&self, line: LineIndex) -> bool {
        matches!(self.phase(self.table.slot_of(line)), Phase::TcpTimeWait | Phase::TcpReset)
    }

    /// Opens a session for `flow`, which is in its internal realm, and returns its outbound line.
    pub(crate) fn open_outbound(
        &mut self,
        flow: &Flow,
        router: &RouterRules,
        rules: &RuleSet,
        counters: &Counters,
        now_ms: u32,
    ) -> Result<LineIndex, DropReason> {
        let pool = router.gateway.and_then(|gateway| gateway.pool).ok_or(DropReason::NoTranslation)?;
        let pool = &rules.pools[pool.0 as usize];
        let table = &self.table;
        let clash = |external| table.find(&flow.with_source(external, pool.realm).reversed()).is_some();
        let external = self.mappings.acquire(flow, pool, now_ms, clash)?;
        self.insert(flow, external, pool.realm, router, counters, now_ms)
            .map(|slot| self.table.line_of(slot, OUTBOUND))
    }

    /// Opens a session for `flow`, which comes from outside, where a mapping and its filter let it in, and returns its
    /// inbound line.
    pub(crate) fn open_inbound(
        &mut self,
        flow: &Flow,
        rules: &RuleSet,
        counters: &Counters,
        now_ms: u32,
    ) -> Result<LineIndex, DropReason> {
        if !matches!(flow.protocol(), Protocol::UDP) {
            return Err(DropReason::NoMapping);
        }
        let internal = self.mappings.admit(flow)?;
        let router = rules.router_of(internal.realm()).ok_or(DropReason::NoMapping)?;
        let router = &rules.routers[router.0 as usize];
        let external = flow.destination();
        let inside = flow.with_destination(internal.source(), internal.realm()).reversed();
        if !is_allowed(&inside, external, flow.realm(), router, rules) {
            return Err(DropReason::NoMapping);
        }
        let pool = router.gateway.and_then(|gateway| gateway.pool).ok_or(DropReason::NoMapping)?;
        let pool = &rules.pools[pool.0 as usize];
        self.mappings.acquire(&inside, pool, now_ms, |_| false)?;
        self.insert(&inside, external, flow.realm(), router, counters, now_ms)
            .map(|slot| self.table.line_of(slot, INBOUND))
    }

    fn insert(
        &mut self,
        internal: &Flow,
        external: Endpoint,
        realm: Realm,
        router: &RouterRules,
        counters: &Counters,
        now_ms: u32,
    ) -> Result<SlotIndex, DropReason> {
        let side = |endpoint: Endpoint, realm: Realm| Line {
            address: endpoint.address.octets(),
            port: endpoint.port,
            realm: realm.0,
            generation: router.generation,
            last_seen_ms: now_ms,
            created_ms: now_ms,
            ..Line::default()
        };
        let keys = [*internal, internal.with_source(external, realm).reversed()];
        let lines = [side(external, realm), side(internal.source(), internal.realm())];
        let phase = self.new_phase(internal.protocol());
        let deadline_ms = now_ms.wrapping_add(timeout_ms(phase, &router.timeouts));
        let mut inserted = self.table.insert(keys, lines, deadline_ms);
        if let Err(InsertError::Duplicate(line)) = inserted {
            // Left over from rules that gave this external endpoint to someone else: its next packet would close it.
            self.close_line(line, counters, now_ms);
            inserted = self.table.insert(keys, lines, deadline_ms);
        }
        match inserted {
            Ok(slot) => {
                counters.sessions_created.add(1);
                Ok(slot)
            }
            Err(_) => {
                self.mappings.release(internal, external, realm, now_ms);
                Err(DropReason::TableFull)
            }
        }
    }

    fn new_phase(&self, protocol: Protocol) -> Phase {
        match protocol {
            Protocol::TCP => Phase::TcpOpening,
            Protocol::UDP => Phase::UdpInitial,
            _ => Phase::IcmpQuery,
        }
    }

    /// Closes the line's session at once.
    pub(crate) fn close_line(&mut self, line: LineIndex, counters: &Counters, now_ms: u32) {
        self.close(self.table.slot_of(line), counters, now_ms);
    }

    fn close(&mut self, slot: SlotIndex, counters: &Counters, now_ms: u32) {
        let ([internal, external], _) = self.table.remove(slot);
        self.mappings.release(&internal, external.destination(), external.realm(), now_ms);
        counters.sessions_closed.add(1);
    }

    /// Closes sessions whose time is up, a bounded number of them.
    pub(crate) fn expire(&mut self, rules: &RuleSet, counters: &Counters, now_ms: u32) {
        let mut due = ArrayVec::<SlotIndex, SWEEP_DUE_MAX>::new();
        self.table.sweep(now_ms, self.sweep.slots(now_ms, self.table.slots_max()), &mut due);
        for slot in due {
            let internal = *self.table.key(self.table.line_of(slot, OUTBOUND));
            let end_ms = rules.router_of(internal.realm()).map(|router| {
                let timeouts = &rules.routers[router.0 as usize].timeouts;
                self.last_seen_ms(slot).wrapping_add(timeout_ms(self.phase(slot), timeouts))
            });
            match end_ms {
                Some(end_ms) if !time::has_come(end_ms, now_ms) => self.table.set_deadline(slot, end_ms),
                _ => self.close(slot, counters, now_ms),
            }
        }
        self.mappings.sweep(now_ms);
    }

    fn lines(&self, slot: SlotIndex) -> [&Line; 2] {
        [OUTBOUND, INBOUND].map(|side| self.table.value(self.table.line_of(slot, side)))
    }

    fn last_seen_ms(&self, slot: SlotIndex) -> u32 {
        let [outbound, inbound] = self.lines(slot).map(|line| line.last_seen_ms);
        if time::has_come(outbound, inbound) { inbound } else { outbound }
    }

    fn phase(&self, slot: SlotIndex) -> Phase {
        let [outbound, inbound] = self.lines(slot);
        match self.table.key(self.table.line_of(slot, OUTBOUND)).protocol() {
            Protocol::TCP => {
                Phase::of_tcp(Seen::from_bits_truncate(outbound.seen), Seen::from_bits_truncate(inbound.seen))
            }
            Protocol::UDP if outbound.packets > 0 && inbound.packets > 0 => Phase::UdpStream,
            Protocol::UDP => Phase::UdpInitial,
            _ => Phase::IcmpQuery,
        }
    }
}

/// Whether the rules would translate the internal flow to this external endpoint today.
fn is_allowed(
    internal: &Flow,
    external: Endpoint,
    realm: Realm,
    router: &RouterRules,
    rules: &RuleSet,
) -> bool {
    let Some(gateway) = router.gateway else { return false };
    let Some(pool) = gateway.pool else { return false };
    let (source, destination) = (internal.source().address, internal.destination().address);
    let is_snat_source = router.route(source).is_some_and(|next_hop| {
        let interface = &rules.interfaces[next_hop.interface.0 as usize];
        interface.snat && !interface.external
    });
    gateway.realm == realm
        && rules.pools[pool.0 as usize].holds(external)
        && is_snat_source
        && !router.floating_by_internal.contains_key(&source)
        && !router.is_no_nat(destination)
        && router.route(destination).is_some_and(|next_hop| next_hop.interface == gateway.interface)
}

/// How long a session in this phase may stay silent.
fn timeout_ms(phase: Phase, timeouts: &TimeoutsMs) -> u32 {
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
