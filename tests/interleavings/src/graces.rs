//! A slot that is freed after its grace is never read by a reader that found it before.
//!
//! The smallest table there is: one link, which says which of the slots may be read, and no atomics in the slots, so
//! that a read beside a write is a fault in itself.

use std::sync::Arc;

use flowtable::{Quiescence, Reader};

use crate::scheduler::{explore, explore_bounded, thread};
use crate::slot::Slot;
#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(shuttle)]
use shuttle::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Table {
    linked: AtomicBool,
    pub(crate) slot: Slot,
}

impl Table {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { linked: AtomicBool::new(true), slot: Slot::new() })
    }

    pub(crate) fn find(&self) -> Option<&Slot> {
        self.linked.load(Ordering::Acquire).then_some(&self.slot)
    }

    /// The weakest store there is: what orders it is to be the grace.
    pub(crate) fn unlink(&self) {
        self.linked.store(false, Ordering::Relaxed);
    }
}

/// Finds the slot and reads it, which takes a while.
fn look(table: &Table) {
    if let Some(slot) = table.find() {
        assert_eq!(slot.read(), 0, "a slot that was used again");
    }
}

/// A reader's turns: find, read, pass.
fn turns(table: &Table, reader: &mut Reader, count: usize) {
    for _ in 0..count {
        look(table);
        reader.pass();
    }
}

/// An owner's life: takes the slot out, and uses it again once the grace is over. Returns whether it was.
fn reuse(table: &Table, quiescence: &Quiescence, looks: usize) -> bool {
    table.unlink();
    let grace = quiescence.begin_grace();
    let is_over = (0..looks).any(|_| quiescence.is_over(grace));
    if is_over {
        table.slot.write(1);
    }
    is_over
}

#[test]
fn a_slot_is_not_reused_before_its_reader_has_passed() {
    explore(|| {
        let (table, quiescence) = (Table::new(), Quiescence::new());
        let mut reader = quiescence.reader();
        let readers_table = Arc::clone(&table);
        let reads = thread::spawn(move || turns(&readers_table, &mut reader, 2));
        let is_over = reuse(&table, &quiescence, 2);
        reads.join().unwrap();
        // The reader left with its thread.
        assert!(is_over || quiescence.is_over(quiescence.begin_grace()));
    });
}

#[test]
fn every_reader_counts() {
    explore_bounded(|| {
        let (table, quiescence) = (Table::new(), Quiescence::new());
        let reads: Vec<_> = (0..2)
            .map(|_| {
                let (table, mut reader) = (Arc::clone(&table), quiescence.reader());
                thread::spawn(move || turns(&table, &mut reader, 1))
            })
            .collect();
        reuse(&table, &quiescence, 1);
        reads.into_iter().for_each(|reads| reads.join().unwrap());
    });
}

/// It is not counted yet, or already: where it is not, it must not find the slot.
#[test]
fn a_reader_that_joins_meanwhile_is_waited_for_or_finds_nothing() {
    explore(|| {
        let (table, quiescence) = (Table::new(), Quiescence::new());
        let (readers_table, readers_quiescence) = (Arc::clone(&table), Arc::clone(&quiescence));
        let reads = thread::spawn(move || {
            let mut reader = readers_quiescence.reader();
            turns(&readers_table, &mut reader, 1);
        });
        reuse(&table, &quiescence, 1);
        reads.join().unwrap();
    });
}

/// Leaving is a pass like any other, and its place may be taken by another reader at once.
#[test]
fn a_reader_that_leaves_and_comes_again_is_waited_for() {
    explore_bounded(|| {
        let (table, quiescence) = (Table::new(), Quiescence::new());
        let reader = quiescence.reader();
        let (readers_table, readers_quiescence) = (Arc::clone(&table), Arc::clone(&quiescence));
        let reads = thread::spawn(move || {
            look(&readers_table);
            drop(reader);
            let mut reader = readers_quiescence.reader();
            turns(&readers_table, &mut reader, 1);
        });
        reuse(&table, &quiescence, 2);
        reads.join().unwrap();
    });
}

/// Their graces share the era: the later one serves for the earlier.
#[test]
fn two_owners_ask_for_graces_at_once() {
    explore_bounded(|| {
        let (tables, quiescence) = ([Table::new(), Table::new()], Quiescence::new());
        let mut reader = quiescence.reader();
        let (second_table, second_quiescence) = (Arc::clone(&tables[1]), Arc::clone(&quiescence));
        let second = thread::spawn(move || reuse(&second_table, &second_quiescence, 1));
        let readers_tables = tables.clone();
        let reads = thread::spawn(move || {
            turns(&readers_tables[0], &mut reader, 1);
            turns(&readers_tables[1], &mut reader, 1);
        });
        reuse(&tables[0], &quiescence, 1);
        reads.join().unwrap();
        second.join().unwrap();
    });
}
