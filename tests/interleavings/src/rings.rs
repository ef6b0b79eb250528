//! A ring between two threads: what goes in comes out, once and in order.

use crate::ring::{Consumer, Producer, ring};
use crate::scheduler::{explore, thread};

/// More than the ring holds: positions go round, and each end needs the other's.
const CAPACITY: usize = 2;

#[cfg(loom)]
const TRIES: usize = 4;
#[cfg(shuttle)]
const TRIES: usize = 12;

/// Tries to put in 1, 2, 3 ...; returns how many were taken.
fn push_some(producer: &mut Producer<Box<usize>>) -> usize {
    let mut pushed = 0;
    for _ in 0..TRIES {
        match producer.push(Box::new(pushed + 1)) {
            Ok(()) => pushed += 1,
            Err(back) => assert_eq!(*back, pushed + 1, "a full ring gives the value back"),
        }
    }
    pushed
}

/// Takes out what is there now; returns the last value, each being the one after that before it.
fn pop_some(consumer: &mut Consumer<Box<usize>>, mut last: usize) -> usize {
    for _ in 0..TRIES {
        if let Some(value) = consumer.pop() {
            assert_eq!(*value, last + 1, "in order, nothing lost or twice");
            last += 1;
        }
    }
    last
}

#[test]
fn a_ring_keeps_order_and_loses_nothing() {
    explore(|| {
        let (mut producer, mut consumer) = ring(CAPACITY);
        let pushes = thread::spawn(move || push_some(&mut producer));
        let last = pop_some(&mut consumer, 0);
        let pushed = pushes.join().unwrap();
        let last = pop_some(&mut consumer, last);
        assert_eq!(last, pushed);
        assert!(consumer.is_empty());
    });
}

/// What a consumer left behind is dropped by whoever lets the ring go last, after the other end's last write.
#[test]
fn what_is_left_is_dropped_by_the_last_end() {
    explore(|| {
        let (mut producer, mut consumer) = ring(CAPACITY);
        let pushes = thread::spawn(move || push_some(&mut producer));
        let _first = consumer.pop();
        drop(consumer);
        pushes.join().unwrap();
    });
}
