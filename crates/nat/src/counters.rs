//! The gateway's books: every frame that came in is accounted for, exactly once.
//!
//! `received + originated = sent + consumed + dropped + held`, always, and for each port `received` and `sent` are what
//! its driver counted. One worker writes, anyone reads: an add is a relaxed load and a relaxed store, as cheap as on
//! plain memory. A reader sees each counter exactly, but several of them a few packets apart.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use packet::PortIndex;

use crate::DropReason;

/// The most ports a gateway has.
pub const PORTS_MAX: usize = 16;

/// A number that one thread raises or sets and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Raises it. Only the counter's one writer may call this.
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(count), Relaxed);
    }

    /// Its value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What went through one port.
#[derive(Debug, Default)]
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
#[derive(Debug, Default)]
pub struct Counters {
    /// By port.
    pub ports: [PortCounters; PORTS_MAX],
    /// Frames the gateway itself made: ARP requests and announcements, ICMP errors.
    pub originated: Counter,
    /// Frames that ended here, understood: ARP replies, and what else a known neighbour says of itself.
    pub consumed: Counter,
    /// Frames that wait for a next hop's MAC.
    pub held: Counter,
    /// Sessions created.
    pub sessions_created: Counter,
    /// Sessions closed, for whatever reason.
    pub sessions_closed: Counter,
    /// ICMP errors that could not be made for want of a buffer.
    pub unmade: Counter,
    drops: [Counter; DropReason::ALL.len()],
}

impl Counters {
    /// Frames dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].get()
    }

    pub(crate) fn count_drop(&self, reason: DropReason) {
        self.drops[reason as usize].add(1);
    }

    /// Notes that `port` refused `count` frames for want of room in its ring. Called by the worker alone.
    pub fn refused(&self, count: u64) {
        self.drops[DropReason::TransmitRingFull as usize].add(count);
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

    /// The books as they stand. They close while no burst is under way.
    pub fn books(&self) -> Books {
        Books {
            received: self.ports.iter().map(|port| port.received_frames.get()).sum(),
            originated: self.originated.get(),
            sent: self.ports.iter().map(|port| port.sent_frames.get()).sum(),
            consumed: self.consumed.get(),
            dropped: self.drops.iter().map(Counter::get).sum(),
            held: self.held.get(),
        }
    }
}

/// The sums of [`Counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Frames received on all ports.
    pub received: u64,
    /// Frames the gateway made.
    pub originated: u64,
    /// Frames sent on all ports.
    pub sent: u64,
    /// Frames that ended here, understood.
    pub consumed: u64,
    /// Frames dropped, for all reasons.
    pub dropped: u64,
    /// Frames that wait for a next hop's MAC.
    pub held: u64,
}

impl Books {
    /// Frames that came in less frames that are accounted for: 0 where the books close.
    pub fn balance(&self) -> i64 {
        let came = self.received.wrapping_add(self.originated);
        let went = self.sent.wrapping_add(self.consumed).wrapping_add(self.dropped).wrapping_add(self.held);
        came.wrapping_sub(went) as i64
    }
}
