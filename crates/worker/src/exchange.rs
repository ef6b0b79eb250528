//! The exchange: what one worker hands on to another. A ring from each to each, and a bell for whoever sleeps.
//!
//! ```text
//!            to 0    to 1    to 2
//! from 0       -     ring    ring      A ring keeps its order, has one writer and one reader, and gives back what
//! from 1     ring      -     ring      it has no room for: nobody ever waits for anybody, so nothing can deadlock,
//! from 2     ring    ring      -       not even where two flood each other.
//! ```
//!
//! A ring holds as much as the receive queue of a port. Both wait for the same turn of the same worker, which may
//! sleep a millisecond or be kept by a long turn; so what a port bears, its neighbours bear, and memory for more
//! would only make what is late later.
//!
//! # Sleep
//! A worker that goes to sleep says so, then looks at its rings once more; one that hands something on puts it into the
//! ring, then looks whether the other sleeps. A full fence on either side, between what it says and what it looks at,
//! makes sure that at least one sees the other. The fence is paid once in a turn that hands anything on.
//!
//! # The end
//! Workers leave together: each stops receiving from its ports, and goes on turning until all have done so and nothing
//! is under way between them. To know that, each counts what it puts in before it does, and what it takes out when it
//! has dealt with it. Whoever sees something counted as taken out sees it counted as put in, and what its taker put in on
//! its account too: so once all have left, the sums are equal only where nothing is in a ring nor in anyone's hands,
//! provided that what was taken out is summed first.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use nat::{WORKERS_MAX, WorkerIndex};
use packet::Burst;

use crate::idle::Sleep;
use crate::ring::{Consumer, Producer, ring};

/// What a ring holds. See the module's page.
pub const RING_FRAMES_MAX: usize = 1_024;

/// One worker's end of the exchange.
pub(crate) struct Exchange<T> {
    me: usize,
    /// By receiver; to itself there is none.
    out: Vec<Option<Producer<T>>>,
    /// From all others, in their order.
    incoming: Vec<Consumer<T>>,
    /// The ring that the next burst is taken from first.
    first: usize,
    seats: Arc<[Seat]>,
    /// A bit for each worker that was handed something since the last [`wake`](Self::wake).
    handed: u32,
    put: u64,
    taken: u64,
}

const _: () = assert!(WORKERS_MAX <= u32::BITS as usize, "a bit for each worker");

/// What the others see of a worker. Written by it alone, but for `sleeps`, which whoever wakes it clears.
#[derive(Default)]
struct Seat {
    bell: Bell,
    tally: Tally,
}

/// Read by whoever hands the worker something.
#[derive(Default)]
#[repr(align(128))]
struct Bell {
    sleeps: AtomicBool,
    waking: OnceLock<Waking>,
}

/// How a worker that sleeps is woken.
enum Waking {
    /// Its thread is parked.
    Thread(Thread),
    /// It waits for an eventfd among other things.
    Alarm(OwnedFd),
}

/// Read at the end only.
#[derive(Default)]
#[repr(align(128))]
struct Tally {
    put: AtomicU64,
    taken: AtomicU64,
    has_left: AtomicBool,
}

impl<T: Send> Exchange<T> {
    /// One end for each of `workers`, in order.
    pub(crate) fn between(workers: usize) -> Vec<Self> {
        let seats: Arc<[Seat]> = (0..workers).map(|_| Seat::default()).collect();
        let mut ends: Vec<Self> = (0..workers)
            .map(|me| Self {
                me,
                out: Vec::new(),
                incoming: Vec::new(),
                first: 0,
                seats: Arc::clone(&seats),
                handed: 0,
                put: 0,
                taken: 0,
            })
            .collect();
        for from in 0..workers {
            for to in 0..workers {
                let producer = (from != to).then(|| {
                    let (producer, consumer) = ring(RING_FRAMES_MAX);
                    ends[to].incoming.push(consumer);
                    producer
                });
                ends[from].out.push(producer);
            }
        }
        ends
    }

    /// Hands something on.
    ///
    /// # Errors
    /// It comes back where the ring is full, and where there is no such other worker.
    pub(crate) fn put(&mut self, to: WorkerIndex, value: T) -> Result<(), T> {
        let Some(Some(ring)) = self.out.get_mut(usize::from(to.0)) else { return Err(value) };
        let put = &self.seats[self.me].tally.put;
        put.store(self.put + 1, Ordering::Relaxed);
        let pushed = ring.push(value);
        match pushed {
            Ok(()) => {
                self.put += 1;
                self.handed |= 1 << to.0;
            }
            Err(_) => put.store(self.put, Ordering::Relaxed),
        }
        pushed
    }

    /// Wakes those that were handed something and sleep.
    pub(crate) fn wake(&mut self) {
        if self.handed == 0 {
            return;
        }
        fence(Ordering::SeqCst);
        for (to, seat) in self.seats.iter().enumerate() {
            let Bell { sleeps, waking } = &seat.bell;
            if self.handed & 1 << to != 0
                && sleeps.load(Ordering::Relaxed)
                && sleeps.swap(false, Ordering::Relaxed)
            {
                match waking.get() {
                    Some(Waking::Thread(thread)) => thread.unpark(),
                    // It cannot fail: nobody rings 2^64 times before the sleeper looks.
                    Some(Waking::Alarm(alarm)) => _ = rustix::io::write(alarm, &1_u64.to_ne_bytes()),
                    None => {}
                }
            }
        }
        self.handed = 0;
    }

    /// Takes a burst out of all rings together, each time first from another: however many hand something on, a turn has a
    /// burst of it, and nobody waits for longer than there are others.
    pub(crate) fn take(&mut self) -> Burst<T> {
        let mut values = Burst::new();
        let (before, from) = self.incoming.split_at_mut(self.first);
        for ring in from.iter_mut().chain(before) {
            while !values.is_full()
                && let Some(value) = ring.pop()
            {
                values.push(value);
                self.taken += 1;
            }
        }
        self.first = (self.first + 1) % self.incoming.len().max(1);
        values
    }

    /// Notes that all that was taken out has been dealt with.
    pub(crate) fn settle(&self) {
        self.seats[self.me].tally.taken.store(self.taken, Ordering::Release);
    }

    /// The calling thread is the worker's from now on.
    pub(crate) fn take_seat(&self) {
        let _ = self.seats[self.me].bell.waking.set(Waking::Thread(thread::current()));
    }

    /// The worker is woken by an eventfd from now on. Before it takes its seat.
    pub(crate) fn wake_by(&self, alarm: OwnedFd) {
        let _ = self.seats[self.me].bell.waking.set(Waking::Alarm(alarm));
    }

    /// Sleeps for `time`, or until something comes.
    pub(crate) fn sleep(&mut self, time: Duration, sleeper: &mut impl Sleep) {
        let sleeps = &self.seats[self.me].bell.sleeps;
        sleeps.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.incoming.iter_mut().all(Consumer::is_empty) {
            sleeper.sleep(time);
        }
        sleeps.store(false, Ordering::Relaxed);
    }

    /// This worker receives nothing from its ports any more.
    pub(crate) fn leave(&self) {
        self.seats[self.me].tally.has_left.store(true, Ordering::Release);
    }

    /// Whether all have left, and nothing is under way between them, for ever.
    pub(crate) fn is_over(&self) -> bool {
        let tallies = || self.seats.iter().map(|seat| &seat.tally);
        tallies().all(|tally| tally.has_left.load(Ordering::Acquire)) && {
            let taken: u64 = tallies().map(|tally| tally.taken.load(Ordering::Acquire)).sum();
            taken == tallies().map(|tally| tally.put.load(Ordering::Relaxed)).sum::<u64>()
        }
    }
}

#[cfg(test)]
mod tests;
