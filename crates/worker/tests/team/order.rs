//! Several workers are one gateway: nothing is lost, nothing is overtaken, and every packet shows what it must, whichever
//! worker it came to.

use crate::fleet::{Fleet, Gateway};
use crate::wires::Wires;
use crate::world::{Plan, Steering, World, rules};

const PLAN: Plan = Plan { hosts: 120, udp: 320, tcp: 320, hairpins: 80, steering: Steering::Spread };
const PACKETS: u64 = 60_000;

/// What must have happened often for a test to have shown anything.
const OFTEN: u64 = 1_000;

struct Outcome {
    handed_on: u64,
    for_others: u64,
    hairpins_across: u64,
}

/// A world talks through so many workers while the rules change all the time.
fn talk(workers: usize, steering: Steering) -> Outcome {
    let wires = Wires::new(3);
    let mut gateway = Gateway::new(65_536);
    let mut fleet = gateway.start(&wires, workers);
    let mut world = World::new(&wires, workers, Plan { steering, ..PLAN });
    world.begin(&mut gateway, &mut fleet, &rules(0));
    world.talk(&mut gateway, &mut fleet, PACKETS, true);
    world.settle(&gateway);
    end(&mut gateway, fleet, &world);
    Outcome {
        handed_on: gateway.sum(|counters| counters.handed_out.get()),
        for_others: gateway.sum(|counters| counters.translated_for_others.get()),
        hairpins_across: gateway.sum(|counters| counters.hairpins_across_shards.get()),
    }
}

/// Ends the workers, and looks whether everything is accounted for.
fn end(gateway: &mut Gateway, fleet: Fleet, world: &World) {
    let shards = fleet.stop();
    gateway.take_back(shards);
    gateway.assert_books_close();
    // Nobody was let in before he was spoken to; nothing else was lost.
    let drops = gateway.drops();
    assert!(drops.iter().all(|(reason, _)| *reason == "filtered"), "{drops:?}");
    assert_eq!(world.put_in - world.came_out, gateway.books().dropped);
}

#[test]
fn two_workers_are_one_gateway() {
    let outcome = talk(2, Steering::Spread);
    assert!(outcome.handed_on > OFTEN, "{} handed on", outcome.handed_on);
    assert!(outcome.for_others > OFTEN, "{} translated for others", outcome.for_others);
    assert!(outcome.hairpins_across > OFTEN, "{} hairpins across shards", outcome.hairpins_across);
}

#[test]
fn four_workers_are_one_gateway() {
    let outcome = talk(4, Steering::Spread);
    assert!(outcome.handed_on > OFTEN, "{} handed on", outcome.handed_on);
    assert!(outcome.for_others > OFTEN, "{} translated for others", outcome.for_others);
    assert!(outcome.hairpins_across > OFTEN, "{} hairpins across shards", outcome.hairpins_across);
}

#[test]
fn one_queue_may_feed_all_workers() {
    let outcome = talk(3, Steering::OneQueue);
    assert!(outcome.handed_on > OFTEN, "{} handed on", outcome.handed_on);
    assert!(outcome.for_others > OFTEN, "{} translated for others", outcome.for_others);
}

#[test]
fn each_port_may_feed_another_worker() {
    let outcome = talk(3, Steering::ByPort);
    assert!(outcome.handed_on > OFTEN, "{} handed on", outcome.handed_on);
    assert!(outcome.for_others > OFTEN, "{} translated for others", outcome.for_others);
}
