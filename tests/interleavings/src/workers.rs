//! Ring and grace together: a worker asks the owner, by a frame through the ring, to kill a session that it still
//! holds itself.

use std::sync::Arc;

use flowtable::{Quiescence, Reader};

use crate::graces::Table;
use crate::ring::{Consumer, Producer, ring};
use crate::scheduler::{explore, thread};

/// A turn of the worker that hands frames on: finds the slot, asks for its end, and is not done with it yet.
fn hand_on_and_read(table: &Table, reader: &mut Reader, owner: &mut Producer<&'static str>) {
    if let Some(slot) = table.find() {
        owner.push("kill").unwrap();
        assert_eq!(slot.read(), 0, "a slot that was used again");
    }
    reader.pass();
}

/// A turn of the owner, who is a reader too. Returns whether the slot was used again.
fn kill_and_reuse(
    table: &Table,
    quiescence: &Quiescence,
    reader: &mut Reader,
    frames: &mut Consumer<&'static str>,
) -> bool {
    let is_to_go = frames.pop().is_some();
    let grace = is_to_go.then(|| {
        table.unlink();
        quiescence.begin_grace()
    });
    reader.pass();
    let is_over = grace.is_some_and(|grace| quiescence.is_over(grace));
    if is_over {
        table.slot.write(1);
    }
    is_over
}

#[test]
fn who_asks_for_the_end_of_a_session_may_read_it_until_his_turn_ends() {
    explore(|| {
        let (table, quiescence) = (Table::new(), Quiescence::new());
        let (mut producer, mut consumer) = ring(2);
        let (mut worker, mut owner) = (quiescence.reader(), quiescence.reader());
        let workers_table = Arc::clone(&table);
        let turns = thread::spawn(move || {
            hand_on_and_read(&workers_table, &mut worker, &mut producer);
            hand_on_and_read(&workers_table, &mut worker, &mut producer);
        });
        let is_over = (0..2).any(|_| kill_and_reuse(&table, &quiescence, &mut owner, &mut consumer));
        turns.join().unwrap();
        assert!(
            is_over
                || table.find().is_none()
                || kill_and_reuse(&table, &quiescence, &mut owner, &mut consumer)
        );
    });
}
