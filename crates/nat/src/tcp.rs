//! What a session knows of its TCP connection: what each side has shown of itself, and the phase that amounts to
//! (RFC 7857 section 2, RFC 6146 section 3.5.2).
//!
//! ```text
//!            SYN from inside                          both have acknowledged each other
//!   nothing -----------------> opening ------------------------------------------------> established
//!                                 |                                                         |
//!                                 | a credible RST                                 FIN       v       FIN of the other
//!                                 |                     ----------------------------> closing ------------> time-wait
//!                                 v
//!   any phase -- RST in window -> reset -- anything else that is credible --> where it was
//! ```
//!
//! **Who is believed.** Each side's line holds a span of sequence numbers, of which the other's segments have to be:
//!
//! ```text
//! SYN shown, nothing acknowledged yet     first sequence number after the SYN ..= after the data that came with it:
//!                                         what the other side can acknowledge
//! then                                    acknowledged ..= window edge: what it takes from the other side
//! ```
//!
//! A span follows its own side's acknowledgements alone, and only forward. So an ordinary segment reads and writes its own
//! line and no other; only SYN, FIN, RST, and a side's first acknowledgement are held against the other's span. And whoever
//! forges segments from outside never moves the span that these are held against: that is of what the host inside says.
//!
//! What is not credible is forwarded all the same, and changes nothing here: the endpoint decides, with a challenge (RFC
//! 5961) where it likes. Neither does an acknowledgement beyond the window: at most what one more window reaches is taken,
//! since two workers at once may lose a step.
//!
//! Absent on purpose: whether both sides offered window scaling. A side's shift counts from its own SYN on, so that where the
//! other has none, the window is taken for larger than it is: more is believed, and nothing right is refused.

use bitflags::bitflags;
use packet::tcp::{ACK, FIN, RST, SYN, WINDOW_SCALE_MAX, window_scale};
use packet::{Parsed, Protocol};

bitflags! {
    /// What has been seen of a connection in one direction.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Seen: u8 {
        /// A SYN.
        const SYN = 1;
        /// A credible acknowledgement: this side has heard the other, and its window is known.
        const ACKNOWLEDGED = 2;
        /// A credible FIN.
        const FIN = 4;
        /// A credible reset, of either side: both lines have it, so that whichever is looked at next shows it.
        const RESET = 8;
        /// Of any protocol, outbound: the host inside has sent by the session.
        const SPOKEN = 16;
    }
}

/// Sequence numbers, both ends included. They wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Span {
    fn length(self) -> u32 {
        self.last.wrapping_sub(self.first)
    }

    fn holds(self, sequence: u32) -> bool {
        sequence.wrapping_sub(self.first) <= self.length()
    }
}

/// One side of a connection, as its line holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) seen: Seen,
    pub(crate) span: Span,
    pub(crate) window_scale: u8,
}

impl Side {
    /// Whether a segment of this side's only acknowledges and carries data, as nearly all do: [`Self::acknowledge`] is then
    /// all that comes of it.
    #[inline]
    pub(crate) fn is_plain(self, flags: u8) -> bool {
        flags & (SYN | FIN | RST | ACK) == ACK
            && self.seen.intersection(Seen::ACKNOWLEDGED.union(Seen::RESET)) == Seen::ACKNOWLEDGED
    }

    /// What this side takes from the other, after an acknowledgement of its own.
    #[inline]
    pub(crate) fn acknowledge(self, acknowledgement: u32, window: u16) -> Span {
        let Self { span, window_scale, .. } = self;
        let window_max = u32::from(u16::MAX) << window_scale;
        if acknowledgement.wrapping_sub(span.first) > span.length().saturating_add(window_max) {
            return span;
        }
        let edge = acknowledgement.wrapping_add(u32::from(window) << window_scale);
        let is_forward = edge.wrapping_sub(span.last) as i32 > 0;
        Span { first: acknowledgement, last: if is_forward { edge } else { span.last } }
    }

    fn has(self, seen: Seen) -> bool {
        self.seen.contains(seen)
    }
}

/// What of a segment matters to a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    /// Bytes of data.
    pub(crate) length: u16,
    pub(crate) acknowledgement: u32,
    pub(crate) window: u16,
    /// Of a SYN.
    pub(crate) window_scale: u8,
}

impl Segment {
    pub(crate) fn of(parsed: &Parsed, bytes: &[u8]) -> Self {
        let is_syn = parsed.tcp_flags & SYN != 0;
        Self {
            flags: parsed.tcp_flags,
            sequence: parsed.tcp_sequence,
            length: parsed.tcp_payload_length(),
            acknowledgement: parsed.tcp_acknowledgement,
            window: parsed.tcp_window,
            window_scale: if is_syn { window_scale(bytes, parsed).unwrap_or(0) } else { 0 },
        }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The sequence number behind its data: that of its FIN, if it has one.
    fn end(&self) -> u32 {
        self.sequence.wrapping_add(u32::from(self.length))
    }
}

/// Both sides, as seen by who sends a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) sender: Side,
    pub(crate) receiver: Side,
    /// The sender is the host inside.
    pub(crate) is_from_inside: bool,
}

impl Connection {
    pub(crate) fn phase(&self) -> Phase {
        Phase::of_tcp(self.sender.seen, self.receiver.seen)
    }

    /// The connection after a segment of the sender's.
    //= rfc7857#2.1
    pub(crate) fn hear(mut self, segment: &Segment) -> Self {
        if segment.has(RST) {
            if self.is_credible_reset(segment) {
                self.mark_reset(true);
            }
        } else if segment.has(SYN) {
            self.hear_syn(segment);
        } else {
            self.hear_ordinary(segment);
        }
        self
    }

    /// What a SYN shows before its side has acknowledged anything. Later ones are old, or of a connection that the endpoint
    /// has yet to agree to.
    fn hear_syn(&mut self, segment: &Segment) {
        if self.sender.has(Seen::ACKNOWLEDGED) || segment.has(FIN) {
            return;
        }
        let window_scale = segment.window_scale;
        if segment.has(ACK) {
            if self.is_credible(segment) {
                // The window of a SYN itself is never scaled (RFC 7323 section 2.2).
                let first = segment.acknowledgement;
                let span = Span { first, last: first.wrapping_add(segment.window.into()) };
                self.sender =
                    Side { seen: self.sender.seen | Seen::SYN | Seen::ACKNOWLEDGED, span, window_scale };
                self.mark_reset(false);
            }
            return;
        }
        let first = segment.sequence.wrapping_add(1);
        let length = u32::from(segment.length);
        // Sent again, it may come without the data that it brought first (RFC 7413).
        let is_again = self.sender.has(Seen::SYN) && self.sender.span.first == first;
        let length = if is_again { length.max(self.sender.span.length()) } else { length };
        let span = Span { first, last: first.wrapping_add(length) };
        self.sender = Side { seen: self.sender.seen | Seen::SYN, span, window_scale };
    }

    fn hear_ordinary(&mut self, segment: &Segment) {
        let is_credible = self.is_credible(segment);
        if segment.has(ACK) {
            if self.sender.has(Seen::ACKNOWLEDGED) {
                self.sender.span = self.sender.acknowledge(segment.acknowledgement, segment.window);
            } else if is_credible {
                self.acknowledge_first(segment);
            }
        }
        //= rfc7857#2.3
        if is_credible {
            self.mark_reset(false);
        }
        let both = self.sender.seen & self.receiver.seen;
        if segment.has(FIN) && both.contains(Seen::ACKNOWLEDGED) && self.receiver.span.holds(segment.end()) {
            self.sender.seen |= Seen::FIN;
        }
    }

    /// From here on the sender's span is its window. Of a connection that was picked up in its middle, nobody knows the
    /// shift: it is taken to be the largest.
    fn acknowledge_first(&mut self, segment: &Segment) {
        let sender = &mut self.sender;
        if !sender.has(Seen::SYN) {
            sender.window_scale = WINDOW_SCALE_MAX;
        }
        let first = segment.acknowledgement;
        let window = u32::from(segment.window) << sender.window_scale;
        sender.span = Span { first, last: first.wrapping_add(window) };
        sender.seen |= Seen::ACKNOWLEDGED;
    }

    /// Whether a segment shows that its sender knows the connection: it lies in the receiver's window, or begins one before
    /// as a probe does (RFC 9293 section 3.8.4); or it acknowledges the receiver's SYN. Before the receiver has said anything
    /// nothing can be known: then only a connection that is picked up in its middle begins so, and only the host inside picks
    /// one up. There may be a session before its SYN was heard, which waited for a neighbour in vain; whoever finds its port
    /// then says nothing about it.
    fn is_credible(&self, segment: &Segment) -> bool {
        let Side { seen, span, .. } = self.receiver;
        if seen.contains(Seen::ACKNOWLEDGED) {
            Span { first: span.first.wrapping_sub(1), ..span }.holds(segment.sequence)
        } else if seen.contains(Seen::SYN) {
            segment.has(ACK) && span.holds(segment.acknowledgement)
        } else {
            self.is_from_inside && !self.sender.has(Seen::SYN)
        }
    }

    /// Whether the receiver may believe a reset: within its window, and where it has not heard anything but its own SYN, one
    /// that acknowledges it (RFC 9293 section 3.10.7.3).
    fn is_credible_reset(&self, segment: &Segment) -> bool {
        let Side { seen, span, .. } = self.receiver;
        if seen.contains(Seen::ACKNOWLEDGED) {
            span.holds(segment.sequence)
        } else {
            seen.contains(Seen::SYN) && segment.has(ACK) && span.holds(segment.acknowledgement)
        }
    }

    fn mark_reset(&mut self, is_reset: bool) {
        self.sender.seen.set(Seen::RESET, is_reset);
        self.receiver.seen.set(Seen::RESET, is_reset);
    }
}

/// Whether a segment opens a connection: SYN alone of SYN, ACK, RST and FIN.
pub(crate) fn is_opening(parsed: &Parsed) -> bool {
    parsed.protocol == Protocol::TCP && opens(parsed.tcp_flags)
}

/// Whether a segment with these flags opens a connection.
pub(crate) fn opens(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}

/// Where a session stands, which decides how long it may stay silent. Derived from what both lines have seen; stored
/// nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// TCP, the handshake is not over.
    TcpOpening,
    /// TCP, both sides have acknowledged each other.
    TcpEstablished,
    /// TCP, one side has finished.
    TcpClosing,
    /// TCP, both sides have finished.
    TcpTimeWait,
    /// TCP, one side has reset, and neither has said anything credible since.
    TcpReset,
    /// UDP, no answer yet.
    UdpInitial,
    /// UDP, both sides have spoken.
    UdpStream,
    /// An ICMP query.
    IcmpQuery,
    /// Another protocol, one without ports.
    Other,
}

impl Phase {
    /// The phase of a TCP session whose two lines have seen this, whichever is which.
    pub(crate) fn of_tcp(one: Seen, other: Seen) -> Self {
        let both = one & other;
        let either = one | other;
        if either.contains(Seen::RESET) {
            Self::TcpReset
        } else if both.contains(Seen::FIN) {
            Self::TcpTimeWait
        } else if either.contains(Seen::FIN) {
            Self::TcpClosing
        } else if both.contains(Seen::ACKNOWLEDGED) {
            Self::TcpEstablished
        } else {
            Self::TcpOpening
        }
    }

    /// The name an operator sees.
    pub fn name(self) -> &'static str {
        match self {
            Self::TcpOpening => "opening",
            Self::TcpEstablished => "established",
            Self::TcpClosing => "closing",
            Self::TcpTimeWait => "time_wait",
            Self::TcpReset => "reset",
            Self::UdpInitial => "initial",
            Self::UdpStream => "stream",
            Self::IcmpQuery => "query",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests;
