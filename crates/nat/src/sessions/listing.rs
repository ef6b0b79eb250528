//! Sessions as an operator sees them, listed in pieces between bursts.

use std::sync::atomic::Ordering::Relaxed;

use flowtable::SlotIndex;
use packet::Protocol;
use rules::RuleSet;
use rules::compiled::Realm;

use super::{Line, OUTBOUND};
use crate::flow::Endpoint;
use crate::shard::Shard;
use crate::state::State;
use crate::tcp::Phase;
use crate::time;

/// Slots that one listing looks at: free ones are passed over 64 at a time.
const LISTED_SLOTS_MAX: u32 = 1 << 15;

/// A session as an operator sees it.
#[derive(Clone, Copy, Debug)]
pub struct SessionView {
    /// The internal realm: names the router.
    pub realm: Realm,
    /// IP protocol.
    pub protocol: Protocol,
    /// Where it stands.
    pub phase: Phase,
    /// Who asked.
    pub internal: Endpoint,
    /// What the outside sees instead.
    pub external: Endpoint,
    /// Who is asked.
    pub remote: Endpoint,
    /// Packets outbound and inbound.
    pub packets: [u64; 2],
    /// Bytes of IPv4 packets outbound and inbound.
    pub bytes: [u64; 2],
    /// Milliseconds since it was created.
    pub age_ms: u32,
    /// Milliseconds since its last packet.
    pub idle_ms: u32,
    /// Milliseconds until it is closed, if no packet comes.
    pub expires_in_ms: u32,
}

impl Shard {
    /// Shows the shard's next sessions from slot `from` on, `sessions` of them at most; returns the slot to go on at, `None`
    /// at the shard's end. Looks at no more than [`LISTED_SLOTS_MAX`] slots.
    pub(crate) fn list(
        &self,
        from: u32,
        sessions: usize,
        rules: &RuleSet,
        now_ms: u32,
        mut show: impl FnMut(SessionView),
    ) -> Option<u32> {
        let first = self.sessions.first_slot().0;
        let from = from.max(first);
        let mut next = from.saturating_add(LISTED_SLOTS_MAX);
        let mut shown = 0;
        for slot in self.sessions.live(SlotIndex(from), LISTED_SLOTS_MAX as usize) {
            if shown == sessions {
                next = slot.0;
                break;
            }
            if let Some(view) = self.state.view(slot, rules, now_ms) {
                show(view);
                shown += 1;
            }
        }
        (next - first < self.sessions.table().slots_per_shard()).then_some(next)
    }
}

impl State {
    /// A live session, unless it would be closed on its next packet because its endpoint is someone else's.
    fn view(&self, slot: SlotIndex, rules: &RuleSet, now_ms: u32) -> Option<SessionView> {
        let [internal, external] = self.keys(slot);
        if !self.owns_endpoint(slot) {
            return None;
        }
        let lines = self.lines(slot);
        let [outbound, inbound] = self.last_seen_ms(slot);
        let last_seen_ms = if time::has_come(outbound, inbound) { inbound } else { outbound };
        let router = rules.router_of(internal.realm()).map(|router| &rules.routers[router.0 as usize]);
        let end_ms =
            router.map(|router| self.end_ms(slot, router)).filter(|end| !time::has_come(*end, now_ms));
        Some(SessionView {
            realm: internal.realm(),
            protocol: internal.protocol(),
            phase: self.phase(slot),
            internal: internal.source(),
            external: external.destination(),
            remote: internal.destination(),
            packets: lines.map(Line::packets),
            bytes: lines.map(|line| line.bytes.load(Relaxed)),
            age_ms: now_ms.wrapping_sub(lines[OUTBOUND].created_ms().load(Relaxed)),
            idle_ms: now_ms.wrapping_sub(last_seen_ms),
            expires_in_ms: end_ms.map_or(0, |end_ms| end_ms.wrapping_sub(now_ms)),
        })
    }
}
