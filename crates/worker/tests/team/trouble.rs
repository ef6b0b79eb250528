//! What is late, full or stuck, stays where it is: the others go on, and every frame is accounted for.

use std::time::Duration;

use packet::Protocol;
use worker::{RING_FRAMES_MAX, clock};

use crate::fleet::{Gateway, wait};
use crate::wires::Wires;
use crate::world::{Plan, Steering, World, rules};

const PLAN: Plan = Plan { hosts: 100, udp: 200, tcp: 0, hairpins: 0, steering: Steering::Spread };

#[test]
fn a_worker_that_hangs_in_its_driver_shows_and_the_others_go_on() {
    let wires = Wires::new(3);
    let mut gateway = Gateway::new(65_536);
    let mut fleet = gateway.start(&wires, 2);
    let mut world = World::new(&wires, 2, PLAN);
    world.begin(&mut gateway, &mut fleet, &rules(0));
    world.talk(&mut gateway, &mut fleet, 5_000, false);
    world.settle(&gateway);
    let [sound, hung] = &fleet.handles[..] else { unreachable!() };

    fleet.drivers[1].hang(true);
    wait("the other shows", || hung.status.is_stuck(clock::moment()));
    assert!(!sound.status.is_stuck(clock::moment()), "this one turns");
    assert_eq!(hung.shards(), 8, "and what it owns can be read");

    // Sessions that the hung one owns are translated by the other, in place.
    let for_others = gateway.sum(|counters| counters.translated_for_others.get());
    world.resume(1);
    world.talk(&mut gateway, &mut fleet, 5_000, false);
    world.settle(&gateway);
    assert!(gateway.sum(|counters| counters.translated_for_others.get()) > for_others + 1_000);
    assert_eq!(gateway.drops(), []);

    // What only the hung one may do waits for it, as much as a ring holds, and the rest has its own reason.
    let flows = 4 * RING_FRAMES_MAX;
    world.open(flows, Protocol::UDP);
    wait("those of the sound one are opened, and the ring is full", || {
        world.pump();
        let dropped = gateway.books().dropped;
        dropped > 0 && world.put_in == world.came_out + dropped + RING_FRAMES_MAX as u64
    });
    let drops = gateway.drops();
    assert!(matches!(drops[..], [("hand_off_ring_full", _)]), "{drops:?}");
    let [sound, hung] = &fleet.handles[..] else { unreachable!() };
    assert!(!sound.status.is_stuck(clock::moment()));
    assert!(hung.status.is_stuck(clock::moment()));

    fleet.drivers[1].hang(false);
    wait("it is well again", || !hung.status.is_stuck(clock::moment()));
    world.settle(&gateway);
    assert_only_hand_offs_were_dropped(&gateway);
    gateway.take_back(fleet.stop());
    gateway.assert_books_close();
}

#[test]
fn two_workers_that_flood_each_other_drop_with_a_reason_and_never_wait() {
    let wires = Wires::new(3);
    let mut gateway = Gateway::new(65_536);
    let mut fleet = gateway.start(&wires, 2);
    let mut world = World::new(&wires, 2, Plan { hosts: 250, ..PLAN });
    world.begin(&mut gateway, &mut fleet, &rules(0));
    // All at once, and half of it the other's: from two ports come twice as many as are taken out of a ring in a turn.
    fleet.drivers.iter().for_each(|driver| driver.hang(true));
    world.open(30_000, Protocol::UDP);
    std::thread::sleep(Duration::from_millis(5));
    fleet.drivers.iter().for_each(|driver| driver.hang(false));
    world.settle(&gateway);
    assert_only_hand_offs_were_dropped(&gateway);
    assert!(fleet.iter().all(|handle| handle.counters().handed_out.get() > 1_000), "both flooded");

    // They are as good as new.
    world.talk(&mut gateway, &mut fleet, 2_000, true);
    world.settle(&gateway);
    gateway.take_back(fleet.stop());
    gateway.assert_books_close();
}

/// Some found no room in a ring; some of what did was sent on with strangers once too often.
fn assert_only_hand_offs_were_dropped(gateway: &Gateway) {
    let drops = gateway.drops();
    let of = |reason: &str| drops.iter().find(|(name, _)| *name == reason).map_or(0, |(_, count)| *count);
    let (no_room, astray) = (of("hand_off_ring_full"), of("hand_off_astray"));
    assert!(no_room > 0, "it was no flood");
    assert!(astray <= no_room / 10, "{drops:?}");
    assert_eq!(no_room + astray, gateway.books().dropped, "{drops:?}");
}

#[test]
fn a_frame_wakes_whoever_sleeps() {
    let wires = Wires::new(3);
    let mut gateway = Gateway::new(65_536);
    let mut fleet = gateway.start(&wires, 2);
    let mut world = World::new(&wires, 2, PLAN);
    world.begin(&mut gateway, &mut fleet, &rules(0));
    // All by the first: the second lives on what it is handed, asleep most of the time.
    world.resume(1);
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(3));
        world.open(4, Protocol::UDP);
        world.settle(&gateway);
    }
    assert_eq!(gateway.drops(), []);
    assert!(fleet[1].counters().handed_in.get() > 20, "it was handed something");
    gateway.take_back(fleet.stop());
    gateway.assert_books_close();
}
