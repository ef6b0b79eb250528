//! Two workers on a table that is nearly full, while sessions come and go all the time, rules change and pages are listed.
//!
//! `NATGATE_TORTURE_SECONDS` says for how long; scripts/torture asks for ten minutes. What talks all the while must not
//! notice: nothing of it is lost, overtaken or moved. When all have gone quiet, everything has been given back.

use std::time::{Duration, Instant};

use nat::DropReason;
use packet::Protocol;
use rules::compiled::AddressIndex;
use worker::{Handle, SessionPage};

use crate::fleet::{Gateway, PATIENCE, wait};
use crate::wires::Wires;
use crate::world::{Plan, Steering, World, rules_with_timeouts};

const SESSIONS: u32 = 8_192;
const FULL: u32 = SESSIONS / 10 * 9;
const UNDER_WAY_MAX: u64 = 800;
const PLAN: Plan = Plan { hosts: 200, udp: 1_000, tcp: 0, hairpins: 300, steering: Steering::Spread };

/// There is time to get to know each other. After that, what is opened ends soon, and what is talked on does not.
const TIMEOUTS_FIRST: &str = "{udp_initial_s: 8, udp_stream_s: 8}";
const TIMEOUTS: &str = "{udp_initial_s: 2, udp_stream_s: 8, tcp_syn_s: 2, tcp_rst_s: 1}";

/// What a full table, or a session that ended before its last packet came, may cost what is opened.
const MAY_BE_DROPPED: [&str; 7] = [
    "filtered",
    "not_syn",
    "shard_full",
    "table_full",
    "host_table_full",
    "mapping_table_full",
    "hand_off_astray",
];

#[test]
fn a_table_that_is_nearly_full_serves_on_under_constant_change() {
    let seconds = std::env::var("NATGATE_TORTURE_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    let wires = Wires::new(3);
    let mut gateway = Gateway::new(SESSIONS);
    let mut fleet = gateway.start(&wires, 2);
    let mut world = World::new(&wires, 2, PLAN);
    world.begin(&mut gateway, &mut fleet, &rules_with_timeouts(0, TIMEOUTS_FIRST));

    let start = Instant::now();
    let (mut turn, mut listed, mut full_since) = (0_usize, 0, None::<Instant>);
    while full_since.is_none_or(|since| since.elapsed() < Duration::from_secs(seconds)) {
        let sessions = gateway.state.occupancy().sessions;
        if sessions >= FULL {
            full_since.get_or_insert_with(Instant::now);
        }
        assert!(full_since.is_some() || start.elapsed() < PATIENCE, "it does not fill: {sessions} sessions");
        if world.under_way(&gateway) < UNDER_WAY_MAX {
            let protocol = if turn.is_multiple_of(8) { Protocol::UDP } else { Protocol::TCP };
            world.open(FULL.saturating_sub(sessions).min(64) as usize, protocol);
        }
        world.step(&gateway);
        turn += 1;
        if turn.is_multiple_of(50) {
            let rules = gateway.compile(&rules_with_timeouts(turn / 50, TIMEOUTS));
            fleet.send(&rules);
        }
        listed += fleet.handles.iter_mut().map(|handle| list_on(handle, turn == 1)).sum::<usize>();
    }
    world.settle(&gateway);
    let drops = gateway.drops();
    assert!(drops.iter().all(|(reason, _)| MAY_BE_DROPPED.contains(reason)), "{drops:?}");
    let astray = gateway.sum(|counters| counters.dropped(DropReason::HandOffAstray));
    let handed_on = gateway.sum(|counters| counters.handed_out.get());
    assert!(astray * 1_000 <= handed_on, "{astray} of {handed_on} that were handed on went astray");
    let created = gateway.sum(|counters| counters.sessions_created.get());
    assert!(created > u64::from(SESSIONS) * seconds / 4, "{created} sessions in all are no churn");
    assert!(listed > 0);

    // The quiet that follows: all ends, and everything that was taken is given back.
    wait("all sessions and mappings have ended", || {
        let occupancy = gateway.state.occupancy();
        occupancy.sessions + occupancy.mappings + occupancy.hosts + occupancy.permissions == 0
    });
    let ports: u32 = (0..8).map(|address| gateway.state.ports_used(AddressIndex(address))).sum();
    assert_eq!(ports, 0, "ports are in use by nobody");
    assert_eq!(gateway.sum(|counters| counters.sessions_closed.get()), created);
    gateway.take_back(fleet.stop());
    gateway.assert_books_close();
    println!(
        "{seconds} s: {} packets, {created} sessions, {handed_on} handed on, drops {drops:?}",
        world.came_out
    );
}

/// Takes a page that has come back, and asks for the one after it; how many sessions it showed.
fn list_on(handle: &mut Handle, is_first: bool) -> usize {
    if is_first {
        handle.list(SessionPage::new(0)).unwrap();
    }
    handle.take_page().map_or(0, |page| {
        handle.list(SessionPage::new(page.next.unwrap_or_default())).unwrap();
        page.sessions.len()
    })
}
