//! What a packet leaves behind in its session's lines, and whose work that is.
//!
//! ```text
//! an ordinary segment, a datagram   its own line alone: counts, when, and how far its side has acknowledged
//! SYN, FIN, RST, a side's first     both lines are read, and the connection is told (tcp.rs); what is new is written by
//!   acknowledgement                 whoever carries it, unless it brings the session's end nearer: then by its owner
//! ```
//!
//! Flags are set and cleared as bits, so that two workers never undo each other's; a span is stored whole, and a step that is
//! lost because two stored at once comes again with the next acknowledgement.

use std::sync::atomic::Ordering::Relaxed;

use flowtable::{LineIndex, SlotIndex};
use packet::{Fragment, Parsed, Plain, Protocol, tcp};
use rules::compiled::RouterRules;

use super::{INBOUND, Line, OUTBOUND};
use crate::state::State;
use crate::tcp::{Connection, Phase, Seen, Segment, Side, Span};
use crate::timers::timeout_ms;

/// What a segment changes of its connection, to be written with [`State::note_news`].
pub(crate) struct News {
    before: Connection,
    after: Connection,
    /// The session's time is shorter after it: its owner has to write it, and to set the deadline.
    pub(crate) brings_the_end_nearer: bool,
}

impl Line {
    #[inline]
    pub(super) fn seen(&self) -> Seen {
        Seen::from_bits_truncate(self.seen.load(Relaxed))
    }

    /// Of an outbound line.
    pub(crate) fn note_spoken(&self) {
        self.seen.fetch_or(Seen::SPOKEN.bits(), Relaxed);
    }

    #[inline]
    fn side(&self) -> Side {
        let window_scale = self.window_scale.load(Relaxed).min(tcp::WINDOW_SCALE_MAX);
        Side { seen: self.seen(), span: unpack(self.span.load(Relaxed)), window_scale }
    }

    fn note_side(&self, before: Side, after: Side) {
        let (gained, lost) = (after.seen - before.seen, before.seen - after.seen);
        // What the flags make of it comes first.
        if after.window_scale != before.window_scale {
            self.window_scale.store(after.window_scale, Relaxed);
        }
        if after.span != before.span {
            self.span.store(pack(after.span), Relaxed);
        }
        if !gained.is_empty() {
            self.seen.fetch_or(gained.bits(), Relaxed);
        }
        if !lost.is_empty() {
            self.seen.fetch_and(!lost.bits(), Relaxed);
        }
    }
}

fn pack(span: Span) -> u64 {
    u64::from(span.last) << 32 | u64::from(span.first)
}

fn unpack(word: u64) -> Span {
    Span { first: word as u32, last: (word >> 32) as u32 }
}

/// What any worker may do with a session's line that it found.
impl State {
    /// What a packet tells of its connection beyond what [`Self::touch`] notes. `None` for nearly all, by one read of their
    /// own line.
    pub(crate) fn news(
        &self,
        line: LineIndex,
        packet: &Parsed,
        bytes: &[u8],
        router: &RouterRules,
    ) -> Option<News> {
        // A later fragment says nothing of its segment.
        if packet.protocol != Protocol::TCP
            || packet.fragment == Fragment::Later
            || self.parts.sessions.value(line).side().is_plain(packet.tcp_flags)
        {
            return None;
        }
        let before = self.connection(line);
        let after = before.hear(&Segment::of(packet, bytes));
        if after == before {
            return None;
        }
        let sessions = &self.parts.sessions;
        let flow = sessions.key(sessions.line_of(sessions.slot_of(line), OUTBOUND));
        let [before_ms, after_ms] =
            [before, after].map(|connection| timeout_ms(connection.phase(), &flow, router));
        Some(News { before, after, brings_the_end_nearer: after_ms < before_ms })
    }

    /// Writes what a segment has changed, and that its time begins now.
    pub(crate) fn note_news(&self, line: LineIndex, news: &News, now_ms: u32) {
        let [sender, receiver] = self.sender_and_receiver(line);
        receiver.note_side(news.before.receiver, news.after.receiver);
        sender.note_side(news.before.sender, news.after.sender);
        sender.last_seen_ms.store(now_ms, Relaxed);
    }

    /// Whether the host inside sends by a session for the first time, which its owner notes. A reset is no word: it answers
    /// what somebody else has sent (RFC 7857 section 8).
    pub(crate) fn is_first_word(&self, line: LineIndex, packet: &Parsed) -> bool {
        let sessions = &self.parts.sessions;
        let is_reset = packet.protocol == Protocol::TCP && packet.tcp_flags & tcp::RST != 0;
        sessions.side_of(line) == OUTBOUND && !sessions.value(line).seen().contains(Seen::SPOKEN) && !is_reset
    }

    /// Notes a packet that is sent on. A reset does not keep a session alive (RFC 7857 section 8).
    pub(crate) fn touch(&self, line: LineIndex, packet: &Parsed, now_ms: u32) {
        let value = self.parts.sessions.value(line);
        value.count(packet.total_length);
        if packet.protocol == Protocol::TCP {
            //= rfc7857#8
            if packet.tcp_flags & tcp::RST != 0 {
                return;
            }
            let side = value.side();
            if side.is_plain(packet.tcp_flags) {
                let span = side.acknowledge(packet.tcp_acknowledgement, packet.tcp_window);
                if span != side.span {
                    value.span.store(pack(span), Relaxed);
                }
            }
        }
        value.last_seen_ms.store(now_ms, Relaxed);
    }

    /// The same for a plain packet of an established session, by its line alone.
    #[inline]
    pub(crate) fn touch_established(line: &Line, packet: &Plain, now_ms: u32) {
        line.count(packet.total_length);
        if packet.protocol == Protocol::TCP {
            let side = line.side();
            let span = side.acknowledge(packet.tcp_acknowledgement, packet.tcp_window);
            if span != side.span {
                line.span.store(pack(span), Relaxed);
            }
        }
        line.last_seen_ms.store(now_ms, Relaxed);
    }

    /// Whether a plain packet is one like those before it, for its line's session: [`Self::touch_established`] is all there is to
    /// note.
    #[inline]
    pub(crate) fn is_one_of_many(line: &Line, packet: &Plain) -> bool {
        packet.protocol != Protocol::TCP || line.side().is_plain(packet.tcp_flags)
    }

    /// Whether something has passed on the line's side that was looked at closely: from inside the host's first word, from
    /// outside the first packet.
    #[inline]
    pub(crate) fn has_been_heard(line: &Line, side: usize) -> bool {
        match side {
            OUTBOUND => line.seen().contains(Seen::SPOKEN),
            _ => line.packets() > 0,
        }
    }

    /// Whether a SYN opens the same endpoints' next connection: the last one is over, and there was a reset, or the SYN's
    /// number is none that the last one has used: then it is not its own, late. That it lies before those says nothing, since
    /// the endpoint may be another host's by now, behind another gateway.
    //= rfc7857#2.1
    pub(crate) fn is_reopened_by(&self, line: LineIndex, packet: &Parsed) -> bool {
        let connection = self.connection(line);
        match connection.phase() {
            Phase::TcpReset => true,
            Phase::TcpTimeWait => {
                let before = connection.receiver.span.first.wrapping_sub(packet.tcp_sequence);
                // Headers make up for what SYN and FIN take; after half of all numbers they begin anew.
                let used = self.parts.sessions.value(line).bytes.load(Relaxed).min(1 << 31);
                !(1..=used).contains(&before.into())
            }
            _ => false,
        }
    }

    /// Notes that both sides of a connection are being reset, and that its time as such begins now.
    pub(crate) fn mark_reset(&self, slot: SlotIndex, now_ms: u32) {
        for line in self.lines(slot) {
            line.seen.fetch_or(Seen::RESET.bits(), Relaxed);
            line.last_seen_ms.store(now_ms, Relaxed);
        }
    }

    /// The sequence number that the receiver of each direction, outbound and inbound, expects next: what it has acknowledged.
    pub(crate) fn expected(&self, slot: SlotIndex) -> [u32; 2] {
        let [outbound, inbound] = self.lines(slot).map(|line| line.side().span.first);
        [inbound, outbound]
    }

    fn connection(&self, line: LineIndex) -> Connection {
        let [sender, receiver] = self.sender_and_receiver(line).map(Line::side);
        Connection { sender, receiver, is_from_inside: self.parts.sessions.side_of(line) == OUTBOUND }
    }

    /// The line, and the session's other one.
    fn sender_and_receiver(&self, line: LineIndex) -> [&Line; 2] {
        let sessions = &self.parts.sessions;
        let other = if sessions.side_of(line) == OUTBOUND { INBOUND } else { OUTBOUND };
        [line, sessions.line_of(sessions.slot_of(line), other)].map(|line| sessions.value(line))
    }
}
