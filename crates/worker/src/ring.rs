//! A ring: what one thread puts in at one end another takes out at the other, in order. The one file of this crate
//! with `unsafe`.
//!
//! ```text
//!              head = 6              tail = 11
//!  cell  0   1   2   3   4   5   6   7           capacity 8, position p in cell p mod 8
//!      | 8 | 9 | 10|   |   |   | 6 | 7 |
//!
//!  producer's line   | tail |     written by him, read by the consumer when he seems to have taken all
//!  consumer's line   | head |     written by him, read by the producer when the ring seems full
//! ```
//!
//! Both operations are a handful of instructions, whatever the other end does: nobody waits, nobody tries again. Each
//! end keeps the other's position as it last saw it, so that the shared lines travel once per batch and not once per
//! value. What is old about it errs on the safe side: a ring seems fuller to the producer, and emptier to the
//! consumer, than it is.
//!
//! | what | happens before what | by |
//! |---|---|---|
//! | the write of a value | its reading | `push` stores the tail with release, `pop` loads it with acquire |
//! | the reading of a value | the next write to its cell | `pop` stores the head with release, `push` loads it with acquire |
//!
//! Not crossbeam's `ArrayQueue`: it serves many at both ends, with a compare-exchange and a stamp for each value.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crate::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};

/// Two lines, because processors fetch them in pairs.
#[repr(align(128))]
struct Padded<T>(T);

/// A ring of at least `capacity` values, empty. Its memory is allocated now and never again.
///
/// # Panics
/// If `capacity` is 0.
pub(crate) fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity > 0, "a ring that holds something");
    let cells = (0..capacity.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let ring = Arc::new(Ring { cells, tail: Padded(AtomicUsize::new(0)), head: Padded(AtomicUsize::new(0)) });
    (Producer { ring: Arc::clone(&ring), tail: 0, head_seen: 0 }, Consumer { ring, head: 0, tail_seen: 0 })
}

/// Positions count values since the beginning and wrap; `head <= tail <= head + capacity`.
struct Ring<T> {
    /// Those from `head` to `tail` hold a value. As many as a power of two.
    cells: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Where the next value goes. The producer's.
    tail: Padded<AtomicUsize>,
    /// The oldest value. The consumer's.
    head: Padded<AtomicUsize>,
}

/// The end where values go in.
pub(crate) struct Producer<T> {
    ring: Arc<Ring<T>>,
    tail: usize,
    /// The head as it was; the cells before it are free.
    head_seen: usize,
}

/// The end where values come out.
pub(crate) struct Consumer<T> {
    ring: Arc<Ring<T>>,
    head: usize,
    /// The tail as it was; the cells before it hold values.
    tail_seen: usize,
}

// SAFETY: there is one `Producer` and one `Consumer`, neither can be cloned, and both work by `&mut self`: so at most
// one thread writes cells and one reads them. A cell is written only while it is outside `head..tail` and read only
// while it is inside, and the orderings of the file's page keep the two apart. Values move between threads: `T: Send`.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: as above; it owns its values, which are `Send`.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T> Ring<T> {
    #[inline]
    fn cell(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.cells[position & (self.cells.len() - 1)]
    }
}

impl<T> Producer<T> {
    /// Puts a value in.
    ///
    /// # Errors
    /// The value comes back where the ring is full.
    #[inline]
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        let capacity = self.ring.cells.len();
        if self.tail.wrapping_sub(self.head_seen) == capacity {
            self.head_seen = self.ring.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == capacity {
                return Err(value);
            }
        }
        // SAFETY: `tail < head + capacity`: the cell holds no value, and the consumer is done reading what it held,
        // which the acquire of his head has made known. He does not read it before the store below.
        self.ring.cell(self.tail).with_mut(|cell| unsafe { (*cell).write(value) });
        self.tail = self.tail.wrapping_add(1);
        self.ring.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest value out.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: `head < tail`: the producer has written the cell, which the acquire of his tail has made known, and
        // it is read once, because the head moves on. He does not write it before the store below.
        let value = self.ring.cell(self.head).with_mut(|cell| unsafe { (*cell).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        self.ring.head.0.store(self.head, Ordering::Release);
        Some(value)
    }

    /// Values that can be taken out now.
    pub(crate) fn len(&mut self) -> usize {
        self.tail_seen = self.ring.tail.0.load(Ordering::Acquire);
        self.tail_seen.wrapping_sub(self.head)
    }

    /// True where nothing can be taken out now.
    #[inline]
    pub(crate) fn is_empty(&mut self) -> bool {
        self.head == self.tail_seen && self.len() == 0
    }
}

/// What is left is dropped when both ends are.
impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let (head, tail) = (self.head.0.load(Ordering::Relaxed), self.tail.0.load(Ordering::Relaxed));
        for position in (0..tail.wrapping_sub(head)).map(|i| head.wrapping_add(i)) {
            // SAFETY: both ends are gone, and `Arc` has made known what they did. From `head` to `tail` each cell
            // holds a value that nobody took.
            self.cell(position).with_mut(|cell| unsafe { (*cell).assume_init_drop() });
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn values_come_out_in_order_and_a_full_ring_gives_them_back() {
        let (mut producer, mut consumer) = ring(4);
        assert!(consumer.is_empty());
        for round in 0..10 {
            for i in 0..4 {
                assert_eq!(producer.push(10 * round + i), Ok(()));
            }
            assert_eq!(producer.push(99), Err(99));
            assert_eq!(consumer.len(), 4);
            for i in 0..4 {
                assert_eq!(consumer.pop(), Some(10 * round + i));
            }
            assert_eq!(consumer.pop(), None);
        }
    }

    #[test]
    fn a_capacity_is_rounded_up_to_a_power_of_two() {
        let (mut producer, _consumer) = ring(5);
        assert_eq!((0..100).take_while(|&i| producer.push(i).is_ok()).count(), 8);
    }

    #[test]
    fn what_is_left_is_dropped_once() {
        struct Counted(std::sync::Arc<std::sync::atomic::AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let dropped = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
        let (mut producer, mut consumer) = ring(4);
        for i in 0..9 {
            assert!(producer.push(Counted(dropped.clone())).is_ok());
            if i < 6 {
                drop(consumer.pop());
            }
        }
        assert_eq!(dropped.load(std::sync::atomic::Ordering::Relaxed), 6);
        drop(consumer);
        assert!(producer.push(Counted(dropped.clone())).is_ok());
        drop(producer);
        assert_eq!(dropped.load(std::sync::atomic::Ordering::Relaxed), 10);
    }

    #[test]
    fn two_threads_lose_nothing_and_keep_the_order() {
        const VALUES: u64 = 200_000;
        let (mut producer, mut consumer) = ring(64);
        let pushes = thread::spawn(move || {
            for value in 0..VALUES {
                while producer.push(Box::new(value)).is_err() {
                    thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < VALUES {
            match consumer.pop() {
                Some(value) => {
                    assert_eq!(*value, expected);
                    expected += 1;
                }
                None => thread::yield_now(),
            }
        }
        pushes.join().unwrap();
        assert!(consumer.is_empty());
    }
}
