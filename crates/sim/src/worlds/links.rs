//! Links: what is under way, and the weather, which loses, repeats, delays and damages it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;

use super::World;
use super::node::OUTSIDE;
use super::wire::{self, TCP};
use crate::random::Random;

/// What comes when its time has come.
#[derive(Debug)]
pub(crate) enum Event {
    /// A frame to a port of the gateway.
    ToGateway(u8, Vec<u8>),
    /// A frame to a host, by number.
    ToHost(usize, Vec<u8>),
    /// Somebody does something.
    Act(Act),
}

/// What hosts and strangers do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// A client begins a transfer.
    Transfer,
    /// Somebody asks something in one datagram, or a few.
    Ask(u8),
    /// The server of a transfer forgets it.
    Forget(u32),
    /// A stranger tries something.
    Intrude,
    /// Something happens to the gateway.
    Fault,
    /// The rules change.
    Change,
}

/// Events in the order of their times, and of their coming where those are equal.
#[derive(Default)]
pub(crate) struct Queue {
    order: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    pushed: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at_ms: u64, event: Event) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[slot] = Some(event);
        self.pushed += 1;
        self.order.push(Reverse((at_ms, self.pushed, slot)));
    }

    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.order.peek().map(|Reverse((at_ms, ..))| *at_ms)
    }

    /// All frames that are under way are lost.
    pub(crate) fn lose_frames(&mut self) {
        let Self { order, events, free, .. } = self;
        order.retain(|Reverse((_, _, slot))| {
            let is_frame = !matches!(events[*slot], Some(Event::Act(_)));
            if is_frame {
                events[*slot] = None;
                free.push(*slot);
            }
            !is_frame
        });
    }

    /// The next event that has come by now.
    pub(crate) fn pop(&mut self, now_ms: u64) -> Option<Event> {
        if self.next_ms()? > now_ms {
            return None;
        }
        let Reverse((_, _, slot)) = self.order.pop()?;
        self.free.push(slot);
        self.events[slot].take()
    }
}

/// How links are: shares of frames in 10,000.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) lost: usize,
    pub(crate) repeated: usize,
    pub(crate) damaged: usize,
    /// The most by which one frame is later than another.
    pub(crate) jitter_ms: usize,
}

impl Weather {
    pub(crate) const CALM: Self = Self { lost: 0, repeated: 0, damaged: 0, jitter_ms: 1 };

    /// The weather of an hour.
    pub(crate) fn of_an_hour(random: &mut Random) -> Self {
        match random.below(5) {
            0 | 1 => Self::CALM,
            2 => Self { jitter_ms: 40, ..Self::CALM },
            3 => Self { lost: 50, repeated: 50, damaged: 20, jitter_ms: 10 },
            _ => Self { lost: 200, repeated: 100, damaged: 100, jitter_ms: 60 },
        }
    }

    pub(crate) const STORM: Self = Self { lost: 2_000, repeated: 500, damaged: 500, jitter_ms: 200 };
}

impl World {
    /// A frame from outside, to whoever has its destination.
    pub(super) fn send_outside(&mut self, mut frame: Vec<u8>) {
        let to = Ipv4Addr::new(frame[30], frame[31], frame[32], frame[33]);
        frame[..6].copy_from_slice(&self.plan.mac_for(to));
        self.send(OUTSIDE, 14, frame);
    }

    /// A frame on its way to the gateway.
    pub(super) fn send(&mut self, port: u8, head: usize, frame: Vec<u8>) {
        self.pass(head, frame, |frame| Event::ToGateway(port, frame));
    }

    /// A frame on its way to a host.
    pub(super) fn deliver(&mut self, host: usize, frame: Vec<u8>) {
        self.pass(self.hosts[host].link.bytes(), frame, |frame| Event::ToHost(host, frame));
    }

    fn pass(&mut self, head: usize, mut frame: Vec<u8>, event: impl Fn(Vec<u8>) -> Event) {
        if self.traces
            && let Some(packet) = wire::read(&frame)
        {
            self.say(format_args!("{}", packet.line(&frame)));
        }
        let Weather { lost, repeated, damaged, jitter_ms } = self.weather_now();
        let luck = self.random.below(10_000);
        let at_ms = self.now_ms + 1 + self.random.below(jitter_ms) as u64;
        if lost > 0 || jitter_ms > 1 {
            self.bad_weather_ms = self.now_ms;
        }
        if self.traces && luck < lost + damaged + repeated {
            self.say(format_args!(
                "which is lost below {lost}, then damaged by {damaged}, or repeated: {luck}"
            ));
        }
        if luck < lost {
            self.queries.excuse(&frame);
            return;
        }
        if luck < lost + damaged {
            self.queries.excuse(&frame);
            damage(&mut frame, head, &mut self.random);
        } else if luck < lost + damaged + repeated {
            let again_ms = at_ms + self.random.below(1_000) as u64;
            self.queue.push(again_ms, event(frame.clone()));
        }
        self.queue.push(at_ms, event(frame));
    }
}

/// Flips a bit behind the link's header, which a frame check sequence guards. Of a segment's ports, numbers, flags and window
/// the checksum instead, since the gateway does not look at that: a FIN, or a SYN with other numbers, that nobody sent would
/// shorten what it remembers; a segment of another connection's keep it for longer.
fn damage(frame: &mut [u8], head: usize, random: &mut Random) {
    let at = head + random.below(frame.len() - head);
    let is_believed = frame[head + 9] == TCP && (head + 20..head + 36).contains(&at);
    frame[if is_believed { head + 36 } else { at }] ^= 1 << random.below(8);
}
