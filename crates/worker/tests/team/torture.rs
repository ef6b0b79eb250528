//! Two workers on a table that is nearly full, while sessions come and go all the time, rules change and pages are listed.
//!
//! `NATGATE_TORTURE_SECONDS` says for how long; scripts/torture asks for ten minutes. What talks all the while must not
//! notice: nothing of it is lost, overtaken or moved. When all have gone quiet, everything has been given back.

use std::time::{Duration, Instant};

use nat::DropReason;
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
const MAY_BE_DROPPED: [&str; 5] = ["filtered", "not_syn", "shard_full", "table_full", "hand_off_astray"];

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
    let (mut now, mut longest_turn) = (Instant::now(), Duration::ZERO);
    while now < end {
        longest_turn = longest_turn.max(now.elapsed());
        now = Instant::now();
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
    // On a machine that stands still for longer than a session lives, one may end that the world still talks on.
    let has_stood_still = longest_turn > Duration::from_millis(500);
    let is_allowed =
        |reason: &str| MAY_BE_DROPPED.contains(&reason) || has_stood_still && reason == "no_mapping";
    assert!(drops.iter().all(|(reason, _)| is_allowed(reason)), "{drops:?}, longest turn {longest_turn:?}");
    let astray = gateway.sum(|counters| counters.dropped(DropReason::HandOffAstray));
    let handed_on = gateway.sum(|counters| counters.handed_out.get());
    assert!(astray * 1_000 <= handed_on, "{astray} of {handed_on} that were handed on went astray");
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
        "{seconds} s: {} packets, {created} sessions, {handed_on} handed on, drops {drops:?}",
        world.came_out,
    );
}
