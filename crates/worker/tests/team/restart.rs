//! Another number of workers is another team over the same state: every session goes on.

use std::time::Duration;

use packet::Protocol;

use crate::fleet::Gateway;
use crate::wires::Wires;
use crate::world::{Plan, Steering, World, rules_with_timeouts};

/// Sockets that are opened while the workers are stopped.
const OPENED: u32 = 600;
/// At most so many of them are of a host with a floating IP, and need no session.
const FLOATING: u32 = 4;

#[test]
fn every_session_goes_on_with_two_workers_one_and_three() {
    let wires = Wires::new(3);
    let mut gateway = Gateway::new(65_536);
    let mut fleet = gateway.start(&wires, 2);
    // No connections: they would make new sessions, and none must be made but those that are opened.
    let plan = Plan { hosts: 60, udp: 300, tcp: 0, hairpins: 60, steering: Steering::Spread };
    let mut world = World::new(&wires, 2, plan);
    world.begin(&mut gateway, &mut fleet, &rules_with_timeouts(199, "{udp_initial_s: 600}"));
    world.talk(&mut gateway, &mut fleet, 8_000, false);
    let mut sessions = gateway.state.occupancy().sessions;
    let dropped = gateway.books().dropped;
    assert!(sessions > 400, "{sessions} sessions");

    for workers in [1, 3, 2] {
        // Packets are under way, also between workers; those that are with them arrive, those before the ports wait there.
        world.open(OPENED as usize, Protocol::UDP);
        std::thread::sleep(Duration::from_micros(300));
        gateway.take_back(fleet.stop());
        gateway.assert_books_close();
        world.pause();
        fleet = gateway.start(&wires, workers);
        let in_force = gateway.rules.clone();
        fleet.publish(&in_force);
        let owned: Vec<_> = fleet.handles.iter().map(|handle| handle.shards()).collect();
        assert_eq!(owned.iter().sum::<usize>(), 16, "each shard has its owner: {owned:?}");
        assert!(owned.iter().all(|shards| *shards >= 16 / workers), "fairly shared out: {owned:?}");

        world.resume(workers);
        world.talk(&mut gateway, &mut fleet, 8_000, false);
        let before = std::mem::replace(&mut sessions, gateway.state.occupancy().sessions);
        assert!(sessions >= before + OPENED - FLOATING, "{before} before, {sessions} after");
        assert_eq!(fleet.list().len(), sessions as usize, "all are listed, by whoever owns them");
    }
    world.settle(&gateway);
    gateway.take_back(fleet.stop());
    gateway.assert_books_close();
    assert_eq!(gateway.state.occupancy().sessions, sessions);
    assert_eq!(
        gateway.sum(|counters| counters.sessions_created.get()),
        u64::from(sessions),
        "none was made twice"
    );
    assert_eq!(gateway.books().dropped, dropped, "{:?}", gateway.drops());
}
