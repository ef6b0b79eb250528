//! Segments that say something new of their connection, as SYN, FIN and RST do, and a side's first acknowledgement: noted as on
//! the long way, where this gateway owns the session. Another's take the long way, for what they say may be its owner's to
//! note.

use flowtable::{LineIndex, ShardIndex};
use packet::{Parsed, mss, tcp};
use rules::RuleSet;
use rules::compiled::RouterRules;

use super::{Candidate, Translation};
use crate::sessions::OUTBOUND;
use crate::shards::Shards;
use crate::state::State;
use crate::tcp::opens;

/// A segment's, of a session that is this gateway's.
pub(super) struct News<'a> {
    shard: ShardIndex,
    line: LineIndex,
    router: &'a RouterRules,
    /// What the network takes that the segment came from.
    ingress_mtu: u16,
}

impl<'a> News<'a> {
    /// Those of a candidate whose session has this line; `None` where they take a longer look.
    #[cold]
    pub(super) fn of(
        rules: &'a RuleSet,
        state: &State,
        shards: &Shards,
        candidate: &Candidate,
        line: LineIndex,
    ) -> Option<Self> {
        let shard = candidate.shard.filter(|shard| shards.has(*shard))?;
        let router = state.router_of_line(line, rules)?;
        // It may open the next connection of the same endpoints.
        if opens(candidate.plain.tcp_flags) && candidate.opening.is_none() {
            return None;
        }
        // From outside it may have come in by another router's leg, which wants its size lowered.
        let is_syn = candidate.plain.tcp_flags & tcp::SYN != 0;
        if is_syn && candidate.side() != OUTBOUND && !router.tcp.clamp_mss {
            return None;
        }
        let ingress_mtu = match candidate.translation {
            Translation::Out(leg) => rules.leg(leg)?.exit.mtu,
            _ => rules.segments.get(rules.segment_of_realm(candidate.flow.realm())?.0 as usize)?.mtu,
        };
        Some(Self { shard, line, router, ingress_mtu })
    }

    /// Notes them, and that the segment passes; lowers the segment size that a SYN asks for to what both links carry.
    #[cold]
    pub(super) fn note(
        self,
        rules: &RuleSet,
        state: &State,
        shards: &mut Shards,
        bytes: &mut [u8],
        egress_mtu: u16,
        now_ms: u32,
    ) {
        let Self { shard, line, router, ingress_mtu } = self;
        let Ok(parsed) = Parsed::read(bytes) else { return };
        if let Some(news) = state.news(line, &parsed, bytes, router) {
            state.note_news(line, &news, now_ms);
            if news.brings_the_end_nearer
                && let Some(owner) = shards.get_mut(shard)
            {
                owner.set_deadline(line, rules);
            }
        }
        state.touch(line, &parsed, now_ms);
        if router.tcp.clamp_mss {
            mss::clamp(bytes, &parsed, ingress_mtu.min(egress_mtu).saturating_sub(mss::HEADERS_LENGTH));
        }
    }
}
