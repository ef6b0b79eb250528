//! What has been seen of a session, and how long it may stay silent: RFC 4787 4.3, RFC 5382 5, RFC 7857 2, RFC 6146 3.5.2.

use super::bytes::{Header, ICMP, TCP, UDP};
use super::world::Router;

/// One side of a connection: what it has shown, and which sequence numbers it takes from the other.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    syn: bool,
    /// It has acknowledged the other side, so its window is known.
    heard: bool,
    fin: bool,
    first: u32,
    last: u32,
    /// How far its windows are shifted. Whose SYN was not seen may have asked for the most (RFC 7323 section 2.3).
    shift: u8,
}

impl Side {
    fn takes(&self, number: u32) -> bool {
        number.wrapping_sub(self.first) <= self.last.wrapping_sub(self.first)
    }
}

/// See the file's page. Index 0 is of packets out, 1 of packets in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Track {
    bytes: [u64; 2],
    last_ms: [u64; 2],
    sides: [Side; 2],
    reset: bool,
    /// The host inside has sent by it, other than a reset: else what comes from outside refreshes nothing.
    pub(super) spoken: bool,
}

impl Track {
    pub(super) fn new(now_ms: u64, spoken: bool) -> Self {
        Self { last_ms: [now_ms; 2], spoken, ..Self::default() }
    }

    /// A packet has passed.
    pub(super) fn note(&mut self, side: usize, header: &Header, now_ms: u64) {
        self.bytes[side] += header.total as u64;
        // A later fragment says nothing of its segment.
        let is_segment = header.protocol == TCP && header.offset == 0;
        let is_news = is_segment && self.hear(side, header);
        let is_reset = is_segment && header.flags & 4 != 0;
        self.spoken |= side == 0 && !is_reset;
        //= rfc7857#8
        if is_news || !is_reset {
            self.last_ms[side] = now_ms;
        }
    }

    /// Who says what he cannot know if he is not the other end is not believed. True where a reset was.
    //= rfc7857#2.1
    //= rfc5382#REQ-2
    //= rfc5382#REQ-2a
    fn hear(&mut self, side: usize, header: &Header) -> bool {
        let [sequence, acknowledged, window] = header.numbers;
        let has = |flag: u8| header.flags & flag != 0;
        let (fin, syn, rst, ack) = (has(1), has(2), has(4), has(16));
        let other = self.sides[1 - side];
        let me = &mut self.sides[side];
        let answers = other.syn && ack && other.takes(acknowledged);
        //= rfc7857#2.3
        if rst {
            let is_believed = if other.heard { other.takes(sequence) } else { answers };
            let is_new = is_believed && !self.reset;
            self.reset |= is_believed;
            return is_new;
        }
        // One before the window is a keep-alive's (RFC 9293 section 3.8.4).
        let is_near = other.takes(sequence) || sequence == other.first.wrapping_sub(1);
        let is_credible = if other.heard {
            is_near
        } else if other.syn {
            answers
        } else {
            side == 0 && !me.syn
        };
        if syn {
            if me.heard || fin {
                return false;
            }
            if ack && is_credible {
                // A SYN's own window is never shifted.
                let last = acknowledged.wrapping_add(window);
                let shift = header.shift;
                *me = Side { syn: true, heard: true, fin: me.fin, first: acknowledged, last, shift };
                self.reset = false;
            } else if !ack {
                let first = sequence.wrapping_add(1);
                let before = if me.syn && me.first == first { me.last.wrapping_sub(first) } else { 0 };
                let last = first.wrapping_add(before.max(header.data));
                *me = Side { syn: true, first, last, shift: header.shift, ..*me };
            }
            return false;
        }
        let shift = if me.heard || me.syn { me.shift } else { 14 };
        let edge = acknowledged.wrapping_add(window << shift);
        if ack && me.heard {
            let step = acknowledged.wrapping_sub(me.first);
            if step <= me.last.wrapping_sub(me.first).saturating_add(0xffff << shift) {
                me.first = acknowledged;
                if edge.wrapping_sub(me.last) as i32 > 0 {
                    me.last = edge;
                }
            }
        } else if ack && is_credible {
            *me = Side { heard: true, first: acknowledged, last: edge, shift, ..*me };
        }
        me.fin |= fin && me.heard && other.heard && other.takes(sequence.wrapping_add(header.data));
        self.reset &= !is_credible;
        false
    }

    /// Whether the connection is over: reset, or finished by both.
    pub(super) fn is_over(&self) -> bool {
        self.reset || self.sides.iter().all(|side| side.fin)
    }

    /// Whether a SYN begins the next connection of the same endpoints: after a reset, or with a number that was not used.
    pub(super) fn is_reopened_by(&self, side: usize, header: &Header) -> bool {
        let before = self.sides[1 - side].first.wrapping_sub(header.numbers[0]);
        let is_used = (1..=self.bytes[side].min(1 << 31)).contains(&before.into());
        header.is_syn() && self.is_over() && (self.reset || !is_used)
    }

    /// When it ends, if nothing more passes.
    pub(super) fn ends_ms(&self, protocol: u8, remote_port: u16, router: &Router) -> u64 {
        let [out, back] = &self.sides;
        let [last_out, last_back] = self.last_ms;
        let all = &router.timeouts;
        let (first, then) = router.timers(protocol, remote_port);
        let is_answered = !self.bytes.contains(&0);
        //= rfc4787#REQ-6a
        let is_refreshed = protocol != UDP || !is_answered || router.inbound_refresh;
        //= rfc4787#REQ-6
        //= rfc7857#7
        let last = if self.spoken && is_refreshed { last_out.max(last_back) } else { last_out };
        //= rfc4787#REQ-5
        //= rfc4787#REQ-5b
        //= rfc4787#REQ-5c
        //= rfc5382#REQ-5
        //= rfc5382#REQ-5a
        //= rfc7857#2.2
        //= rfc5508#REQ-2
        //= rfc5508#REQ-2a
        match protocol {
            UDP if is_answered => last + then,
            UDP => last + first,
            TCP if self.reset => last + all.tcp_rst,
            TCP if out.fin && back.fin => last + all.tcp_time_wait,
            TCP if out.fin || back.fin => last + all.tcp_fin,
            TCP if out.heard && back.heard => last + then,
            TCP => last + first,
            ICMP => last + all.icmp,
            _ => last + all.other,
        }
    }
}
