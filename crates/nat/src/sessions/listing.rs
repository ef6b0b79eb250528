//! Sessions as an operator sees them, listed in pieces between bursts.

use flowtable::SlotIndex;
use packet::Protocol;
use rules::RuleSet;
use rules::compiled::Realm;

use super::{INBOUND, OUTBOUND, Sessions, timeout_ms};
use crate::flow::Endpoint;
use crate::tcp::Phase;

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

impl Sessions {
    /// Shows the next sessions from slot `from` on, `sessions` of them at most; returns the slot to go on at, `None` at the
    /// table's end. Looks at no more than [`LISTED_SLOTS_MAX`] slots.
    pub(crate) fn list(
        &self,
        from: u32,
        sessions: usize,
        rules: &RuleSet,
        now_ms: u32,
        mut show: impl FnMut(SessionView),
    ) -> Option<u32> {
        let mut next = from.saturating_add(LISTED_SLOTS_MAX);
        let mut shown = 0;
        for slot in self.table.live(SlotIndex(from), LISTED_SLOTS_MAX as usize) {
            if shown == sessions {
                next = slot.0;
                break;
            }
            let [internal, external] =
                [OUTBOUND, INBOUND].map(|side| *self.table.key(self.table.line_of(slot, side)));
            if !self.mappings.owns(&internal, external.destination(), external.realm()) {
                // It would be closed on its next packet: its endpoint is someone else's.
                continue;
            }
            shown += 1;
            let lines = self.lines(slot);
            let (phase, idle_ms) = (self.phase(slot), now_ms.wrapping_sub(self.last_seen_ms(slot)));
            let timeout_ms = rules
                .router_of(internal.realm())
                .map_or(0, |router| timeout_ms(phase, &rules.routers[router.0 as usize].timeouts));
            show(SessionView {
                realm: internal.realm(),
                protocol: internal.protocol(),
                phase,
                internal: internal.source(),
                external: external.destination(),
                remote: internal.destination(),
                packets: lines.map(|line| line.packets),
                bytes: lines.map(|line| line.bytes),
                age_ms: now_ms.wrapping_sub(lines[OUTBOUND].created_ms),
                idle_ms,
                expires_in_ms: timeout_ms.saturating_sub(idle_ms),
            });
        }
        (next < self.table.slots_max()).then_some(next)
    }
}
