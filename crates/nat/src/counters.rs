//! The gateway's books: every frame that came in is accounted for, exactly once.
//!
//! ```text
//! received + originated + handed_in = sent + consumed + dropped + held + handed_out      of one worker
//! received + originated = sent + consumed + dropped + held + in_rings                    of all together
//! ```
//!
//! Always, at the end of a turn; and for each port `received` and `sent` are what its driver counted. One worker writes,
//! anyone reads: an add is a relaxed load and a relaxed store, as cheap as on plain memory. A reader sees each counter
//! exactly, but several of them a few packets apart.
//!
//! The counters lie in the flow state's region, so that they go on where a process ended. What that process had in its hands
//! is lost with it: the next one counts it as `gateway_ended`.

use std::iter::Sum;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use packet::PortIndex;
use zerocopy::FromBytes;

use crate::DropReason;

/// The most ports a gateway has.
pub const PORTS_MAX: usize = 16;

/// A number that one thread raises or sets and any thread reads.
#[derive(Debug, Default, FromBytes)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Raises it. Only the counter's one writer may call this.
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(count), Relaxed);
    }

    /// Sets it to zero, and says what it was.
    fn take(&self) -> u64 {
        let value = self.get();
        self.0.store(0, Relaxed);
        value
    }

    /// Its value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What went through one port.
#[derive(Debug, Default, FromBytes)]
#[repr(C)]
pub struct PortCounters {
    /// Frames received.
    pub received_frames: Counter,
    /// Their bytes, from the Ethernet header on.
    pub received_bytes: Counter,
    /// Frames the port took for sending.
    pub sent_frames: Counter,
    /// Their bytes, from the Ethernet header on.
    pub sent_bytes: Counter,
}

/// One worker's books. See the module's page.
#[derive(Debug, Default, FromBytes)]
#[repr(C)]
pub struct Counters {
    /// By port.
    pub ports: [PortCounters; PORTS_MAX],
    /// Frames the gateway itself made: ARP requests and announcements, ICMP errors, resets, the pieces behind the first of what it
    /// cut.
    pub originated: Counter,
    /// Frames that ended here, understood: ARP replies, and what else a known neighbour says of itself.
    pub consumed: Counter,
    /// Frames that wait: for a next hop's MAC, or for the first fragment of their datagram.
    pub held: Counter,
    /// Frames taken over from other workers.
    pub handed_in: Counter,
    /// Frames given to other workers.
    pub handed_out: Counter,
    /// Packets that took the express way.
    pub express: Counter,
    /// Packets translated in place by a session of a shard that another worker owns.
    pub translated_for_others: Counter,
    /// Packets between two hosts of ours, behind sessions of different shards.
    pub hairpins_across_shards: Counter,
    /// Sessions created.
    pub sessions_created: Counter,
    /// Sessions closed, for whatever reason.
    pub sessions_closed: Counter,
    /// ICMP errors and resets that could not be made for want of a buffer.
    pub unmade: Counter,
    /// ICMP errors and answering resets of our own that were not sent because there were too many at once by their
    /// interface (RFC 1812 section 4.3.2.8).
    pub errors_limited: Counter,
    /// ICMP errors of our own that an interface's rules keep back (RFC 5508 REQ-9).
    pub errors_suppressed: Counter,
    drops: Drops,
}

/// By reason.
#[derive(Debug, FromBytes)]
#[repr(transparent)]
struct Drops([Counter; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Counters {
    /// Frames dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.0[reason as usize].get()
    }

    pub(crate) fn count_drop(&self, reason: DropReason) {
        self.drops.0[reason as usize].add(1);
    }

    /// Notes that `port` refused `count` frames for want of room in its ring. Called by the worker alone.
    pub fn refused(&self, count: u64) {
        self.drops.0[DropReason::TransmitRingFull as usize].add(count);
    }

    /// Notes what `port` sent. Called by the worker alone.
    pub fn sent(&self, port: PortIndex, frames: u64, bytes: u64) {
        if let Some(counters) = self.ports.get(usize::from(port.0)) {
            counters.sent_frames.add(frames);
            counters.sent_bytes.add(bytes);
        }
    }

    pub(crate) fn received(&self, port: PortIndex, frames: u64, bytes: u64) {
        if let Some(counters) = self.ports.get(usize::from(port.0)) {
            counters.received_frames.add(frames);
            counters.received_bytes.add(bytes);
        }
    }

    /// The books as they stand. They close while no turn is under way.
    pub fn books(&self) -> Books {
        Books {
            received: self.ports.iter().map(|port| port.received_frames.get()).sum(),
            originated: self.originated.get(),
            handed_in: self.handed_in.get(),
            sent: self.ports.iter().map(|port| port.sent_frames.get()).sum(),
            consumed: self.consumed.get(),
            dropped: self.drops.0.iter().map(Counter::get).sum(),
            held: self.held.get(),
            handed_out: self.handed_out.get(),
        }
    }

    /// Adds what `ended` has counted, and sets that to zero. Only where nobody else writes either.
    pub(crate) fn absorb(&self, ended: &Self) {
        for (counter, ended) in self.all().zip(ended.all()) {
            counter.add(ended.take());
        }
    }

    /// Accounts for what ended with its process, held or between two workers: dropped as [`DropReason::GatewayEnded`].
    /// Only for counters of workers that have all ended together.
    pub(crate) fn close_books(&self) {
        self.held.take();
        let under_way = self.books().in_rings();
        self.handed_in.add(under_way);
        let lost = self.books().balance();
        self.drops.0[DropReason::GatewayEnded as usize].add(lost as u64);
    }

    fn all(&self) -> impl Iterator<Item = &Counter> {
        let Self {
            ports,
            originated,
            consumed,
            held,
            handed_in,
            handed_out,
            express,
            translated_for_others,
            hairpins_across_shards,
            sessions_created,
            sessions_closed,
            unmade,
            errors_limited,
            errors_suppressed,
            drops,
        } = self;
        let of_ports = ports.iter().flat_map(PortCounters::all);
        let frames = [originated, consumed, held, handed_in, handed_out];
        let unsaid = [unmade, errors_limited, errors_suppressed];
        let ways = [express, translated_for_others, hairpins_across_shards];
        let sessions = [sessions_created, sessions_closed];
        of_ports.chain(frames).chain(unsaid).chain(ways).chain(sessions).chain(&drops.0)
    }
}

impl PortCounters {
    fn all(&self) -> [&Counter; 4] {
        let Self { received_frames, received_bytes, sent_frames, sent_bytes } = self;
        [received_frames, received_bytes, sent_frames, sent_bytes]
    }
}

/// The sums of [`Counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Frames received on all ports.
    pub received: u64,
    /// Frames the gateway made.
    pub originated: u64,
    /// Frames taken over from other workers.
    pub handed_in: u64,
    /// Frames sent on all ports.
    pub sent: u64,
    /// Frames that ended here, understood.
    pub consumed: u64,
    /// Frames dropped, for all reasons.
    pub dropped: u64,
    /// Frames that wait for a next hop's MAC.
    pub held: u64,
    /// Frames given to other workers.
    pub handed_out: u64,
}

impl Books {
    /// Frames that came in less frames that are accounted for: 0 where the books close.
    pub fn balance(&self) -> i64 {
        let came = self.received.wrapping_add(self.originated).wrapping_add(self.handed_in);
        let went = self.sent.wrapping_add(self.consumed).wrapping_add(self.dropped).wrapping_add(self.held);
        came.wrapping_sub(went.wrapping_add(self.handed_out)) as i64
    }

    /// Frames on their way from one worker to another. Of all workers' books together, not of one's.
    pub fn in_rings(&self) -> u64 {
        self.handed_out.wrapping_sub(self.handed_in)
    }
}

impl Sum for Books {
    fn sum<I: Iterator<Item = Self>>(books: I) -> Self {
        books.fold(Self::default(), |sum, one| Self {
            received: sum.received.wrapping_add(one.received),
            originated: sum.originated.wrapping_add(one.originated),
            handed_in: sum.handed_in.wrapping_add(one.handed_in),
            sent: sum.sent.wrapping_add(one.sent),
            consumed: sum.consumed.wrapping_add(one.consumed),
            dropped: sum.dropped.wrapping_add(one.dropped),
            held: sum.held.wrapping_add(one.held),
            handed_out: sum.handed_out.wrapping_add(one.handed_out),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters() -> Counters {
        let counters = Counters::default();
        counters.received(PortIndex(0), 10, 600);
        counters.sent(PortIndex(1), 3, 180);
        counters.count_drop(DropReason::NoRoute);
        counters.held.add(2);
        counters.handed_out.add(4);
        counters
    }

    #[test]
    fn a_workers_books_close_and_so_do_those_of_all() {
        let (one, two) = (counters(), Counters::default());
        two.handed_in.add(3);
        two.consumed.add(3);
        assert_eq!((one.books().balance(), two.books().balance()), (0, 0));
        let all: Books = [one.books(), two.books()].into_iter().sum();
        assert_eq!((all.balance(), all.in_rings()), (0, 1));
        one.consumed.add(1);
        assert_eq!(one.books().balance(), -1);
    }

    #[test]
    fn what_a_process_had_in_its_hands_is_dropped_with_it() {
        let (one, two, past) = (counters(), Counters::default(), Counters::default());
        two.handed_in.add(3);
        two.consumed.add(2);
        past.absorb(&one);
        past.absorb(&two);
        past.close_books();
        // Two held, one in a ring, and one that the second was at.
        assert_eq!(past.dropped(DropReason::GatewayEnded), 4);
        let books = past.books();
        assert_eq!((books.balance(), books.in_rings(), books.held), (0, 0, 0));
        assert_eq!((books.received, past.dropped(DropReason::NoRoute)), (10, 1));
        assert_eq!(one.books(), Books::default());
    }
}
