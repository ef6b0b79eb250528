//! Two workers on a table that is nearly full, while sessions come and go all the time, rules change and pages are listed.
//!
//! `NATGATE_TORTURE_SECONDS` says for how long; scripts/torture asks for ten minutes. What talks all the while must not
//! notice: nothing of it is lost, overtaken or moved. When all have gone quiet, everything has been given back.

use std::time::{Duration, Instant};

use packet::Protocol;
use rules::compiled::AddressIndex;
use worker::SessionPage;

use crate::fleet::{Gateway, wait};
use crate::wires::Wires;
use crate::world::{Plan, Steering, World, rules_with_timeouts};

const SESSIONS: u32 = 8_192;
const FULL: u32 = SESSIONS / 10 * 9;
const PLAN: Plan = Plan { hosts: 200, udp: 1_000, tcp: 0, hairpins: 300, steering: Steering::Spread };

/// What is opened ends soon, what is talked on does not: unless it is left alone for long.
const TIMEOUTS: &str = "{udp_initial_s: 1, udp_stream_s: 5, tcp_syn_s: 1, tcp_rst_s: 1}";

/// What a full table, or a session that ended before its last packet came, may cost what is opened.
const MAY_BE_DROPPED: [&str; 6] =
    ["filtered", "not_syn", "shard_full", "table_full", "port_exhausted", "neighbour_queue_full"];

#[test]
fn a_table_that_is_nearly_full_serves_on_under_constant_change() {
    let seconds = std::env::var("NATGATE_TORTURE_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let wires = Wires::new(3);
    let mut gateway = Gateway::new(SESSIONS);
    let mut fleet = gateway.start(&wires, 2);
    let mut world = World::new(&wires, 2, PLAN);
    world.begin(&mut gateway, &mut fleet, &rules_with_timeouts(0, TIMEOUTS));

    let (mut turn, mut fullest, mut listed) = (0_usize, 0, 0);
    while Instant::now() < end {
        world.step(&gateway);
        let sessions = gateway.state.occupancy().sessions;
        fullest = fullest.max(sessions);
        if world.under_way(&gateway) < 800 {
            let protocol = if turn.is_multiple_of(8) { Protocol::UDP } else { Protocol::TCP };
            world.open(FULL.saturating_sub(sessions).min(64) as usize, protocol);
        }
        turn += 1;
        if turn.is_multiple_of(50) {
            let rules = gateway.compile(&rules_with_timeouts(turn / 50, TIMEOUTS));
            fleet.send(&rules);
        }
        for handle in &mut fleet.handles {
            match handle.take_page() {
                Some(page) => {
                    listed += page.sessions.len();
                    let _ = handle.list(SessionPage::new(page.next.unwrap_or_default()));
                }
                None if turn == 1 => handle.list(SessionPage::new(0)).unwrap(),
                None => {}
            }
        }
    }
    world.settle(&gateway);
    let drops = gateway.drops();
    assert!(drops.iter().all(|(reason, _)| MAY_BE_DROPPED.contains(reason)), "{drops:?}");
    assert!(fullest >= FULL - 64, "{fullest} sessions at most: it was never full");
    assert!(listed > 0);
    let created = gateway.sum(|counters| counters.sessions_created.get());
    assert!(created > u64::from(SESSIONS) * seconds / 4, "{created} sessions in all are no churn");

    // The quiet that follows: all ends, and everything that was taken is given back.
    wait("all sessions and mappings have ended", || {
        let occupancy = gateway.state.occupancy();
        occupancy.sessions + occupancy.mappings + occupancy.hosts + occupancy.permissions == 0
    });
    let ports: u32 = (0..8).map(|address| gateway.state.ports_used(AddressIndex(address))).sum();
    assert_eq!(ports, 0, "ports are in use by nobody");
    let closed = gateway.sum(|counters| counters.sessions_closed.get());
    assert_eq!(closed, created);
    gateway.take_back(fleet.stop());
    gateway.assert_books_close();
    println!(
        "{seconds} s: {} packets, {created} sessions, {} handed on, drops {drops:?}",
        world.came_out,
        gateway.sum(|counters| counters.handed_out.get()),
    );
}
